//! Clusters: found where they are, the nearest first, and whole after a way through bytes.

use quire_vectors::{Centroids, Error, Level, dot_f32, train};

use crate::data::{Random, clustered};

/// More and fewer vectors than fit a tile, and more centroids than a panel.
#[test]
fn assignment_is_the_largest_inner_product() {
    for dimension in [72, 384, 768] {
        let mut random = Random::new(9);
        let vectors = clustered(&mut random, dimension, 333).concat();
        let centroids = train(&vectors, dimension, 45, 3, 1).unwrap();
        let assigned = centroids.assign_all(&vectors).unwrap();
        assert_eq!(assigned.len(), 333);
        for (vector, &cluster) in vectors.chunks(dimension).zip(&assigned) {
            let nearest = centroids.nearest(vector, usize::MAX).unwrap();
            assert_eq!(nearest.len(), 45);
            assert!(nearest.is_sorted_by(|a, b| a.1 >= b.1));
            assert_eq!(nearest[0].0, cluster);
            assert_eq!(centroids.assign(vector).unwrap(), cluster);
            for (cluster, product) in nearest {
                let bytes = centroids.to_bytes();
                let start = 8 + cluster as usize * dimension * 4;
                let centroid: Vec<f32> = bytes[start..start + dimension * 4]
                    .chunks_exact(4)
                    .map(|x| f32::from_le_bytes(x.try_into().unwrap()))
                    .collect();
                let exact = dot_f32(vector, &centroid, Level::SCALAR).unwrap();
                assert!((product - exact).abs() < 1e-5);
            }
        }
    }
}

#[test]
fn clusters_are_found_and_equal_vectors_do_no_harm() {
    let mut random = Random::new(4);
    let vectors = clustered(&mut random, 64, 2_000);
    let flat = vectors.concat();
    let inside = |iterations| {
        let centroids = train(&flat, 64, 40, iterations, 2).unwrap();
        let best = vectors
            .iter()
            .map(|v| centroids.nearest(v, 1).unwrap()[0].1);
        best.sum::<f32>() / vectors.len() as f32
    };
    assert!(
        inside(10) > inside(0) + 0.05,
        "{} {}",
        inside(0),
        inside(10)
    );

    let equal = vectors[0].repeat(20);
    let centroids = train(&equal, 64, 5, 4, 3).unwrap();
    assert!((centroids.nearest(&vectors[0], 1).unwrap()[0].1 - 1.0).abs() < 1e-5);
    let none = train(&[0.0; 640], 64, 3, 2, 3).unwrap();
    assert_eq!(none.assign_all(&[f32::NAN; 64]).unwrap(), [0]);
}

#[test]
fn bytes_come_back_and_what_does_not_fit_is_refused() {
    let mut random = Random::new(8);
    let vectors = clustered(&mut random, 64, 100).concat();
    let centroids = train(&vectors, 64, 33, 2, 5).unwrap();
    let bytes = centroids.to_bytes();
    let read = Centroids::from_bytes(&bytes).unwrap();
    assert_eq!((read.count(), read.dimension()), (33, 64));
    assert_eq!(read.to_bytes(), bytes);
    let before = centroids.assign_all(&vectors).unwrap();
    assert_eq!(read.assign_all(&vectors).unwrap(), before);
    for cut in [0, 7, 8, bytes.len() - 1] {
        assert!(Centroids::from_bytes(&bytes[..cut]).is_err());
    }
    assert!(Centroids::from_bytes(&[u8::MAX; 64]).is_err());
    assert!(Centroids::from_bytes(&[64, 0, 0, 0, 0, 0, 0, 0]).is_err());

    for clusters in [0, 101] {
        let refused = train(&vectors, 64, clusters, 1, 1).unwrap_err();
        assert_eq!(
            refused,
            Error::Clusters {
                vectors: 100,
                clusters
            }
        );
    }
    assert!(train(&vectors, 72, 2, 1, 1).is_err());
    assert!(train(&[], 64, 1, 1, 1).is_err());
    assert!(read.assign_all(&vectors[1..]).is_err());
    assert!(read.assign(&vectors).is_err());
    assert!(read.nearest(&vectors, 1).is_err());
    assert_eq!(read.nearest(&vectors[..64], 0).unwrap(), []);
    assert_eq!(read.assign_all(&[]).unwrap(), []);
}
