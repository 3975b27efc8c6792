//! Bytes of codes: merged as they are, refused when they don't fit.

use quire_vectors::{Codes, CodesBuilder, Error, block_bytes};

use crate::data::{Random, codes, encoded};

#[test]
fn merging_codes_equals_encoding_anew() {
    for dimension in [72, 384, 768, 1536, 3072] {
        let mut random = Random::new(5);
        let vectors: Vec<_> = (0..75).map(|_| random.vector(dimension)).collect();
        let bytes = encoded(dimension, &vectors);
        let source = codes(dimension, vectors.len(), &bytes);
        // Every third row goes, as deleted ones do, so that the others change their places in blocks.
        let kept: Vec<usize> = (0..75).filter(|row| row % 3 != 1).collect();
        let mut merged = CodesBuilder::new(dimension).unwrap();
        let mut anew = CodesBuilder::new(dimension).unwrap();
        for &row in &kept {
            merged.push_code(&source, row).unwrap();
            anew.push(&vectors[row]).unwrap();
        }
        assert_eq!(merged.rows(), kept.len());
        assert_eq!(merged.finish(), anew.finish(), "{dimension}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    assert_eq!(block_bytes(384), 1664);
    let vectors: Vec<_> = (0..40).map(|_| Random::new(2).vector(64)).collect();
    let bytes = encoded(64, &vectors);
    let length = |found, expected| Error::Length {
        what: "bytes of codes",
        expected,
        found,
    };
    for cut in [0, 1, bytes.len() / 2, bytes.len() - 1] {
        let refused = Codes::new(64, 40, &bytes[..cut]).unwrap_err();
        assert_eq!(refused, length(cut, bytes.len()));
    }
    assert!(Codes::new(64, 65, &bytes).is_err());
    assert!(Codes::new(64, 32, &bytes).is_err());
    assert!(Codes::new(128, 40, &bytes).is_err());
    assert_eq!(
        Codes::new(60, 40, &bytes).unwrap_err(),
        Error::Dimension(60)
    );
    let too_many = Codes::new(64, usize::MAX, &bytes).unwrap_err();
    assert_eq!(too_many, Error::Rows(usize::MAX));

    let codes = codes(64, 40, &bytes);
    let mut builder = CodesBuilder::new(64).unwrap();
    let refused = builder.push_code(&codes, 40).unwrap_err();
    assert_eq!(refused, Error::Row { row: 40, rows: 40 });
    assert!(builder.push(&[0.0; 128]).is_err());
    assert!(
        CodesBuilder::new(128)
            .unwrap()
            .push_code(&codes, 0)
            .is_err()
    );
    assert_eq!(builder.rows(), 0);
    assert!(builder.finish().is_empty());
}
