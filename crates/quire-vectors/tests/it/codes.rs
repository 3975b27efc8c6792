//! Bytes of codes: refused when they don't fit.

use quire_vectors::{Codes, CodesBuilder, Error, block_bytes};

use crate::data::{Random, encoded};

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

    let mut builder = CodesBuilder::new(64).unwrap();
    assert!(builder.push(&[0.0; 128]).is_err());
    assert_eq!(builder.rows(), 0);
    assert!(builder.finish().is_empty());
}
