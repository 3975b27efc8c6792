//! Products of `f32` and eight-bit rows against sums in double precision.

use quire_vectors::{Level, dequantise, dot, dot_f32, quantise, row_bytes};

use crate::data::Random;

fn product(a: &[f32], b: &[f32]) -> f64 {
    a.iter()
        .zip(b)
        .map(|(&a, &b)| f64::from(a) * f64::from(b))
        .sum()
}

#[test]
fn every_level_is_exact_up_to_rounding() {
    for dimension in [8, 40, 72, 384, 768, 1536, 3072] {
        let mut random = Random::new(dimension as u64);
        let (query, vector) = (random.unit(dimension), random.unit(dimension));
        let mut row = Vec::new();
        quantise(&vector, &mut row);
        assert_eq!(row.len(), row_bytes(dimension));
        let mut back = vec![0.0; dimension];
        dequantise(&row, &mut back).unwrap();
        let largest = vector.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
        for (x, y) in vector.iter().zip(&back) {
            assert!((x - y).abs() <= largest / 253.0, "{dimension} {x} {y}");
        }
        for level in Level::available() {
            let exact = dot_f32(&query, &vector, level).unwrap();
            assert!((f64::from(exact) - product(&query, &vector)).abs() < 1e-6);
            let eight_bits = dot(&query, &row, level).unwrap();
            assert!((f64::from(eight_bits) - product(&query, &back)).abs() < 1e-6);
        }
    }
}

#[test]
fn wrong_lengths_are_refused_and_nothing_is_nothing() {
    let level = Level::detect();
    let mut row = Vec::new();
    quantise(&[1.0; 64], &mut row);
    for cut in [0, 4, 64, 67] {
        assert!(dot(&[1.0; 64], &row[..cut], level).is_err());
    }
    assert!(dot(&[1.0; 72], &row, level).is_err());
    assert!(dequantise(&row, &mut [0.0; 63]).is_err());
    assert!(dot_f32(&[1.0; 64], &[1.0; 63], level).is_err());
    for nothing in [[0.0; 64], [f32::NAN; 64]] {
        row.clear();
        quantise(&nothing, &mut row);
        assert_eq!(dot(&[1.0; 64], &row, level).unwrap(), 0.0);
    }
}
