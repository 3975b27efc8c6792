//! A rotation keeps lengths and angles, spreads what is concentrated, and never changes.

use quire_vectors::{Error, Level, Rotation, dot_f32};

use crate::data::{Random, rotated};

const DIMENSIONS: [usize; 8] = [8, 72, 256, 384, 768, 1024, 1536, 3072];

#[test]
fn it_is_orthogonal_and_can_be_undone() {
    for dimension in DIMENSIONS {
        let rotation = Rotation::new(dimension, 7).unwrap();
        let mut random = Random::new(dimension as u64);
        let (a, b) = (random.unit(dimension), random.unit(dimension));
        let before = dot_f32(&a, &b, Level::SCALAR).unwrap();
        let after = dot_f32(
            &rotated(&rotation, &a),
            &rotated(&rotation, &b),
            Level::SCALAR,
        );
        assert!((before - after.unwrap()).abs() < 1e-5, "{dimension}");
        let mut back = vec![0.0; dimension];
        rotation.undo(&rotated(&rotation, &a), &mut back).unwrap();
        for (x, y) in a.iter().zip(&back) {
            assert!((x - y).abs() < 1e-5, "{dimension}");
        }
    }
}

/// A single coordinate must not stay where it was: no coordinate of the result stands out, and none
/// of its halves is empty.
#[test]
fn it_spreads_every_coordinate_over_all() {
    for dimension in [256, 384, 504, 768, 1024, 1536, 3072] {
        let rotation = Rotation::new(dimension, 3).unwrap();
        for i in (0..dimension).step_by(61) {
            let mut vector = vec![0.0; dimension];
            vector[i] = 1.0;
            let spread = rotated(&rotation, &vector);
            let most = spread.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
            assert!(
                most < 6.0 / (dimension as f32).sqrt(),
                "{dimension} {i} {most}"
            );
            for part in spread.chunks(dimension / 4) {
                let share: f32 = part.iter().map(|x| x * x).sum();
                assert!((0.1..0.45).contains(&share), "{dimension} {i} {share}");
            }
        }
    }
}

/// Seeds are kept in files: what one version wrote, the next must read, on every machine.
#[test]
fn a_seed_means_the_same_bits_for_ever() {
    let pinned = [
        (384, 0x0902_EE1D_4C5C_1313),
        (768, 0x62C0_3B42_3F94_3342),
        (1024, 0x95FB_1FB6_4BFC_BC59),
        (1536, 0x86B6_8D8C_6726_7252),
        (3072, 0x645E_B5AF_3A7E_E160),
    ];
    for (dimension, expected) in pinned {
        let rotation = Rotation::new(dimension, 42).unwrap();
        let vector = Random::new(1).vector(dimension);
        // FNV-1a.
        let hash = rotated(&rotation, &vector)
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3)
            });
        assert_eq!(hash, expected, "{dimension} {hash:#x}");
    }
}

#[test]
fn wrong_dimensions_are_refused() {
    for dimension in [0, 4, 100, 4104, usize::MAX - 7] {
        let refused = Rotation::new(dimension, 1).unwrap_err();
        assert_eq!(refused, Error::Dimension(dimension));
    }
    let rotation = Rotation::new(64, 1).unwrap();
    assert!(rotation.rotate(&[0.0; 63], &mut [0.0; 64]).is_err());
    assert!(rotation.undo(&[0.0; 64], &mut [0.0; 65]).is_err());
}
