//! Products of `f32`, and of rows with the signs of their codes, against sums in double precision.

use quire_vectors::{
    CodesBuilder, Level, dequantise, dot_f32, quantise, row_bytes, unsigned_row_bytes,
};

use crate::data::{Random, codes, encoded};

fn product(a: &[f32], b: &[f32]) -> f64 {
    a.iter()
        .zip(b)
        .map(|(&a, &b)| f64::from(a) * f64::from(b))
        .sum()
}

fn quantised(vector: &[f32]) -> Vec<u8> {
    let mut row = Vec::new();
    quantise(vector, &mut row);
    row
}

fn dequantised(row: &[u8], dimension: usize) -> Vec<f32> {
    let mut vector = vec![0.0; dimension];
    dequantise(row, &mut vector).unwrap();
    vector
}

#[test]
fn every_level_is_exact_up_to_rounding() {
    for dimension in [8, 40, 72, 384, 768, 1536, 3072] {
        let mut random = Random::new(dimension as u64);
        let query = random.unit(dimension);
        // One more than a block, so that every place in one is taken.
        let vectors: Vec<Vec<f32>> = (0..33).map(|_| random.unit(dimension)).collect();
        let rows: Vec<Vec<u8>> = vectors.iter().map(|vector| quantised(vector)).collect();
        let stood_for: Vec<Vec<f32>> = rows.iter().map(|row| dequantised(row, dimension)).collect();
        let bytes = encoded(dimension, &stood_for);
        let codes = codes(dimension, rows.len(), &bytes);
        for (at, (vector, row)) in vectors.iter().zip(&rows).enumerate() {
            assert_eq!(row.len(), row_bytes(dimension));
            let largest = vector.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
            for (x, y) in vector.iter().zip(&stood_for[at]) {
                assert!((x - y).abs() <= largest / 509.0, "{dimension} {x} {y}");
            }
            let mut unsigned = row[..unsigned_row_bytes(dimension)].to_vec();
            for level in Level::available() {
                let exact = dot_f32(&query, vector, level).unwrap();
                assert!((f64::from(exact) - product(&query, vector)).abs() < 1e-6);
                let nine_bits = codes.dot(&query, at, &unsigned, level).unwrap();
                let exact = product(&query, &stood_for[at]);
                let name = level.name();
                assert!(
                    (f64::from(nine_bits) - exact).abs() < 1e-6,
                    "{name} {dimension} {at}: {nine_bits} {exact}"
                );
            }
            codes.push_signs(at, &mut unsigned).unwrap();
            assert_eq!(unsigned, *row, "the code holds the signs of its row");
        }
    }
}

/// However often a passage is merged, its vector stays what it was when it was folded.
#[test]
fn a_row_that_is_read_and_quantised_again_is_the_same() {
    let mut random = Random::new(3);
    for dimension in [8, 384, 1536] {
        for power in [-100, -20, -1, 0, 1, 60] {
            let mut vector = random.vector(dimension);
            vector[3] = 0.0;
            vector[5] *= 1e-4;
            let scaled: Vec<f32> = vector.iter().map(|x| x * 2.0_f32.powi(power)).collect();
            let row = quantised(&scaled);
            let stood_for = dequantised(&row, dimension);
            assert_eq!(quantised(&stood_for), row, "{dimension} {power}");
        }
    }
}

#[test]
fn wrong_lengths_are_refused_and_nothing_is_nothing() {
    let level = Level::detect();
    let ones = [1.0; 64];
    let row = quantised(&ones);
    let mut builder = CodesBuilder::new(64).unwrap();
    builder.push(&ones).unwrap();
    let bytes = builder.finish();
    let one = codes(64, 1, &bytes);
    for cut in [0, 4, 64, 67, 69, 76] {
        assert!(one.dot(&ones, 0, &row[..cut], level).is_err());
    }
    let unsigned = &row[..unsigned_row_bytes(64)];
    assert!((one.dot(&ones, 0, unsigned, level).unwrap() - 64.0).abs() < 1e-3);
    assert!(one.dot(&[1.0; 72], 0, unsigned, level).is_err());
    assert!(one.dot(&ones, 1, unsigned, level).is_err());
    assert!(one.push_signs(1, &mut Vec::new()).is_err());
    assert!(dequantise(&row, &mut [0.0; 63]).is_err());
    assert!(dequantise(unsigned, &mut [0.0; 64]).is_err());
    assert!(dot_f32(&ones, &[1.0; 63], level).is_err());
    for nothing in [0.0, f32::NAN, f32::INFINITY, f32::MIN_POSITIVE / 2.0] {
        let row = quantised(&[nothing; 64]);
        let unsigned = &row[..unsigned_row_bytes(64)];
        assert_eq!(one.dot(&ones, 0, unsigned, level).unwrap(), 0.0);
    }
}
