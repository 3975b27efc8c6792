//! Scans: all levels alike, masks as filters, estimates that mean what they say.

use proptest::prelude::*;
use quire_vectors::{
    BLOCK_ROWS, Candidate, Level, Rotation, ScanQuery, dot_f32, quantise, unsigned_row_bytes,
};

use crate::data::{Random, clustered, codes, encoded, rotated};

/// All rows of a scan that leaves nothing out, best first.
fn all(dimension: usize, vectors: &[Vec<f32>], query: &[f32], level: Level) -> Vec<Candidate> {
    let bytes = encoded(dimension, vectors);
    let codes = codes(dimension, vectors.len(), &bytes);
    let query = ScanQuery::new(query).unwrap();
    let found = codes.scan(&query, 0..codes.blocks(), None, usize::MAX, level);
    found.unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_level_equals_the_scalar_reference(
        dimension in prop::sample::select(vec![8, 64, 72, 384, 768, 1536, 3072, 4096]),
        rows in 1_usize..150,
        seed in any::<u64>(),
    ) {
        let mut random = Random::new(seed);
        let vectors: Vec<_> = (0..rows).map(|_| random.vector(dimension)).collect();
        let query = random.vector(dimension);
        let reference = all(dimension, &vectors, &query, Level::SCALAR);
        prop_assert_eq!(reference.len(), rows);
        for level in Level::available() {
            prop_assert_eq!(&all(dimension, &vectors, &query, level), &reference, "{}", level.name());
        }
    }

    #[test]
    fn a_mask_is_a_filter(
        rows in 1_usize..300,
        limit in 0_usize..320,
        words in prop::collection::vec(prop_oneof![Just(0), Just(u32::MAX), any::<u32>()], 0..12),
        seed in any::<u64>(),
    ) {
        let dimension = 64;
        let mut random = Random::new(seed);
        let vectors: Vec<_> = (0..rows).map(|_| random.vector(dimension)).collect();
        let query = random.vector(dimension);
        let mut expected = all(dimension, &vectors, &query, Level::SCALAR);
        expected.retain(|found| {
            let (block, bit) = (found.row as usize / BLOCK_ROWS, found.row as usize % BLOCK_ROWS);
            words.get(block).is_some_and(|word| word >> bit & 1 == 1)
        });
        expected.truncate(limit);
        let bytes = encoded(dimension, &vectors);
        let codes = codes(dimension, rows, &bytes);
        let query = ScanQuery::new(&query).unwrap();
        for level in Level::available() {
            let found = codes.scan(&query, 0..codes.blocks(), Some(&words), limit, level).unwrap();
            prop_assert_eq!(&found, &expected);
            // The same in pieces, one of which ends where there are no blocks any more.
            let pieces = [0..1, 1..1, 1..4, 4..20].into_iter().flatten();
            let found = codes.scan(&query, pieces, Some(&words), limit, level).unwrap();
            prop_assert_eq!(&found, &expected);
        }
    }
}

/// The largest sums there are: every magnitude is 15 and every sign agrees.
#[test]
fn sums_do_not_overflow() {
    let ones = vec![1.0; 4096];
    let minus = vec![-1.0; 4096];
    for level in Level::available() {
        let found = all(4096, &[minus.clone(), ones.clone()], &ones, level);
        let rows: Vec<u32> = found.iter().map(|found| found.row).collect();
        assert_eq!(rows, [1, 0]);
        assert!((found[0].estimate - 4096.0).abs() < 0.01, "{found:?}");
        assert!((found[1].estimate + 4096.0).abs() < 0.01, "{found:?}");
    }
}

/// Over random rotations the mean of estimates is the inner product, for vectors of any length, and
/// single ones miss it by about 1/√D.
#[test]
fn estimates_are_unbiased() {
    let dimension = 384;
    let mut random = Random::new(11);
    for angle in [0.0, 0.3, 0.8, 0.95] {
        let a = random.unit(dimension);
        let noise = random.unit(dimension);
        let b: Vec<f32> = (0..dimension)
            .map(|i| 2.0 * (angle * a[i] + (1.0 - angle * angle).sqrt() * noise[i]))
            .collect();
        let exact = dot_f32(&a, &b, Level::SCALAR).unwrap();
        let trials = 400;
        let errors: Vec<f32> = (0..trials)
            .map(|seed| {
                let rotation = Rotation::new(dimension, seed).unwrap();
                let vectors = [rotated(&rotation, &b)];
                let query = rotated(&rotation, &a);
                all(dimension, &vectors, &query, Level::detect())[0].estimate - exact
            })
            .collect();
        let mean = errors.iter().sum::<f32>() / trials as f32;
        let deviation = (errors.iter().map(|e| e * e).sum::<f32>() / trials as f32).sqrt();
        assert!(deviation < 2.0 * 0.05, "{angle}: {deviation}");
        assert!(
            mean.abs() < 4.0 * deviation / (trials as f32).sqrt(),
            "{angle}: {mean} of {deviation}"
        );
    }
}

#[test]
fn rescoring_a_hundred_candidates_finds_nearly_all() {
    let (dimension, rows, queries, wanted) = (384, 10_000, 50, 10);
    let level = Level::detect();
    let mut random = Random::new(23);
    let rotation = Rotation::new(dimension, 1).unwrap();
    let mut vectors = clustered(&mut random, dimension, rows + queries);
    vectors
        .iter_mut()
        .for_each(|vector| *vector = rotated(&rotation, vector));
    let (vectors, queries) = vectors.split_at(rows);
    let bytes = encoded(dimension, vectors);
    let codes = codes(dimension, rows, &bytes);
    let unsigned = |vector: &Vec<f32>| {
        let mut row = Vec::new();
        quantise(vector, &mut row);
        row.truncate(unsigned_row_bytes(dimension));
        row
    };
    let unsigned: Vec<Vec<u8>> = vectors.iter().map(unsigned).collect();

    let mut found = 0;
    for query in queries {
        let exact = |row: u32| dot_f32(query, &vectors[row as usize], level).unwrap();
        let mut truth: Vec<f32> = (0..rows as u32).map(exact).collect();
        truth.sort_unstable_by(|a, b| b.total_cmp(a));
        let tables = ScanQuery::new(query).unwrap();
        let candidates = codes.scan(&tables, 0..codes.blocks(), None, 100, level);
        let mut rescored: Vec<(f32, u32)> = candidates
            .unwrap()
            .into_iter()
            .map(|candidate| {
                let row = candidate.row as usize;
                let product = codes.dot(query, row, &unsigned[row], level);
                (product.unwrap(), candidate.row)
            })
            .collect();
        rescored.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
        found += rescored[..wanted]
            .iter()
            .filter(|(_, row)| exact(*row) >= truth[wanted - 1])
            .count();
    }
    let recall = found as f32 / (queries.len() * wanted) as f32;
    assert!(recall >= 0.99, "{recall}");
}

#[test]
fn strange_input_finds_nothing_or_is_refused() {
    let vectors = [vec![0.0; 64], vec![f32::NAN; 64], vec![f32::MAX; 64]];
    let bytes = encoded(64, &vectors);
    let three = codes(64, 3, &bytes);
    let level = Level::detect();
    assert!(ScanQuery::new(&[1.0; 63]).is_err());
    let other = ScanQuery::new(&[1.0; 128]).unwrap();
    assert!(three.scan(&other, 0..1, None, 1, level).is_err());
    for query in [[0.0; 64], [f32::MIN_POSITIVE / 8e6; 64], [1.0; 64]] {
        let query = ScanQuery::new(&query).unwrap();
        let found = three.scan(&query, 0..1, None, 9, level).unwrap();
        assert_eq!(found.len(), 3);
        assert!(found.iter().all(|found| found.estimate == 0.0));
    }
    for query in [[f32::NAN; 64], [f32::INFINITY; 64]] {
        let query = ScanQuery::new(&query).unwrap();
        assert!(three.scan(&query, 0..1, None, 9, level).is_ok());
    }
    let none = codes(64, 0, &[]);
    let query = ScanQuery::new(&[1.0; 64]).unwrap();
    assert_eq!(none.scan(&query, 0..1, None, 9, level).unwrap(), []);
}
