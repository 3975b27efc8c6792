//! Objects whose store is away, slow, or not telling the truth.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use quire_store::{Error, Objects, S3Config, UploadError};
use quire_testkit::disk::SmallDisk;
use quire_testkit::s3::S3Server;
use quire_testkit::unreliable::{Counts, Fault, Operation, Unreliable};
use quire_types::{ErrorKind, Kind};

use crate::object_stores::{sample, segment, tenant};

struct Lab {
    _dir: tempfile::TempDir,
    objects: Objects,
    unreliable: Unreliable,
}

fn lab() -> Lab {
    let dir = tempfile::tempdir().unwrap();
    let (objects, unreliable) = Unreliable::around(Objects::directory(dir.path()).unwrap());
    Lab {
        _dir: dir,
        objects,
        unreliable,
    }
}

#[tokio::test]
async fn a_server_that_is_away_is_an_outage_and_no_answer() {
    let server = S3Server::start().await;
    let objects = Objects::s3(S3Config {
        timeout: Duration::from_secs(2),
        retries: 1,
        ..server.config()
    })
    .unwrap();
    let placement = tenant();
    let key = segment(placement);
    objects.put(&key, sample(9)).await.unwrap();
    drop(server);
    let refused = [
        objects.put(&key, sample(9)).await.unwrap_err(),
        objects.read(&key).await.unwrap_err(),
        objects.range(&key, 0..2).await.unwrap_err(),
        objects.head(&key).await.unwrap_err(),
        objects.list(placement).await.unwrap_err(),
        objects.delete(&key).await.unwrap_err(),
        objects.delete_all(placement).await.unwrap_err(),
    ];
    for refused in refused {
        assert_eq!(refused.kind(), ErrorKind::Unavailable, "{refused:?}");
        assert!(refused.kind().is_transient());
    }
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_no_missing_object() {
    let server = S3Server::start().await;
    let objects = Objects::s3(S3Config {
        bucket: "another".to_owned(),
        ..server.config()
    })
    .unwrap();
    let refused = objects.list(tenant()).await;
    assert!(refused.is_err());
}

#[tokio::test]
async fn an_operation_fails_when_it_was_told_to() {
    let Lab {
        objects,
        unreliable,
        ..
    } = &lab();
    let key = segment(tenant());
    objects.put(&key, sample(100)).await.unwrap();
    unreliable.fail(Operation::Read, 2, Fault::Error);
    objects.range(&key, 0..10).await.unwrap();
    // The second read fails; the look at the size that follows is the third and tells no truncation.
    let refused = objects.range(&key, 0..10).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    objects.range(&key, 0..10).await.unwrap();

    unreliable.fail_all(Some(Fault::Error));
    let refused = objects.read(&key).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    unreliable.fail_all(None);
    assert_eq!(objects.read(&key).await.unwrap(), sample(100));
}

#[tokio::test]
async fn a_lost_answer_leaves_the_object() {
    let Lab {
        objects,
        unreliable,
        ..
    } = &lab();
    let key = segment(tenant());
    unreliable.fail(Operation::Write, 1, Fault::Lost);
    let refused = objects.put(&key, sample(100)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    let taken = objects.put(&key, sample(100)).await.unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::Conflict);
    assert_eq!(objects.read(&key).await.unwrap(), sample(100));
}

#[tokio::test]
async fn every_write_of_a_large_upload_may_fail() {
    let Lab {
        objects,
        unreliable,
        ..
    } = &lab();
    let bytes = sample(20 << 20);
    let parts = || stream::iter([Ok::<_, &str>(bytes.clone())]).boxed();
    let placement = tenant();
    // Begin, three parts, the end, the name.
    for n in 1..=6 {
        unreliable.fail(Operation::Write, n, Fault::Error);
        let key = segment(placement);
        let refused = objects.put_parts(&key, parts()).await.unwrap_err();
        assert!(
            matches!(&refused, UploadError::Store(error) if error.kind() == ErrorKind::Unavailable),
            "{refused:?}"
        );
        unreliable.fail_all(None);
        assert!(objects.list(placement).await.unwrap().is_empty(), "{n}");
    }
    unreliable.fail(Operation::Write, 7, Fault::Error);
    let key = segment(placement);
    let written = objects.put_parts(&key, parts()).await.unwrap();
    assert_eq!(written, 20 << 20);
}

#[tokio::test]
async fn what_is_cut_off_is_noticed_and_what_is_turned_over_arrives() {
    let Lab {
        objects,
        unreliable,
        ..
    } = &lab();
    let key = segment(tenant());
    let bytes = sample(1_000);
    objects.put(&key, bytes.clone()).await.unwrap();
    for cut in [0, 1, 499] {
        unreliable.fail(Operation::Read, 1, Fault::Truncate(cut));
        let refused = objects.range(&key, 100..600).await.unwrap_err();
        assert!(matches!(refused, Error::Truncated { .. }), "{refused:?}");
        unreliable.fail(Operation::Read, 1, Fault::Truncate(cut));
        let refused = objects.read(&key).await.unwrap_err();
        assert!(matches!(refused, Error::Truncated { .. }), "{refused:?}");
        assert!(!matches!(refused.kind(), ErrorKind::NotFound));
    }
    // Checksums are the business of whoever knows the format.
    unreliable.fail(Operation::Read, 1, Fault::FlipBit(7));
    let read = objects.range(&key, 100..600).await.unwrap();
    let mut expected = bytes[100..600].to_vec();
    expected[7] ^= 1;
    assert_eq!(read, Bytes::from(expected));
    assert_eq!(objects.read(&key).await.unwrap(), bytes);
}

#[tokio::test]
async fn a_store_may_be_slow_or_never_answer() {
    let Lab {
        objects,
        unreliable,
        ..
    } = &lab();
    let key = segment(tenant());
    let (read, write) = (Duration::from_millis(63), Duration::from_millis(100));
    unreliable.delay(read, write);
    let started = tokio::time::Instant::now();
    objects.put(&key, sample(10)).await.unwrap();
    assert!(started.elapsed() >= write);
    let started = tokio::time::Instant::now();
    objects.range(&key, 0..3).await.unwrap();
    assert!(started.elapsed() >= read);

    unreliable.fail(Operation::Read, 1, Fault::Hang);
    let patience = Duration::from_millis(300);
    let answer = tokio::time::timeout(patience, objects.read(&key)).await;
    assert!(answer.is_err());
    objects.read(&key).await.unwrap();
}

#[tokio::test]
async fn requests_and_bytes_are_counted() {
    let Lab {
        objects,
        unreliable,
        ..
    } = &lab();
    let placement = tenant();
    let key = segment(placement);
    objects.put(&key, sample(8 << 20)).await.unwrap();
    assert_eq!(
        unreliable.counts(),
        Counts {
            writes: 1,
            written_bytes: 8 << 20,
            ..Counts::default()
        }
    );
    unreliable.reset_counts();
    // The first three are one read, with the gaps; the fourth is too far away.
    let ranges = [
        0..100,
        1_000..1_100,
        500_000..500_100,
        4 << 20..(4 << 20) + 8,
    ];
    objects.ranges(&key, &ranges).await.unwrap();
    objects.head(&key).await.unwrap();
    objects.list(placement).await.unwrap();
    objects.delete(&key).await.unwrap();
    assert_eq!(
        unreliable.counts(),
        Counts {
            reads: 3,
            read_bytes: 500_108,
            lists: 1,
            deletes: 1,
            ..Counts::default()
        }
    );
}

/// Where this process may mount one.
#[tokio::test]
async fn a_full_disk_says_so_and_keeps_nothing_of_what_did_not_fit() {
    let Some(disk) = SmallDisk::new(1 << 20) else {
        return;
    };
    let objects = Objects::directory(disk.path()).unwrap();
    let placement = tenant();
    let (kept, new) = (segment(placement), segment(placement));
    objects.put(&kept, sample(300_000)).await.unwrap();
    for _ in 0..4 {
        // In one piece, in several, and from somebody who sends.
        let pieces = vec![sample(500_000), sample(500_000)];
        let bytes = stream::iter([Ok::<_, std::io::Error>(sample(900_000))]);
        let sent = objects.upload(placement, bytes.boxed(), 10_000_000).await;
        let sent = match sent {
            Err(UploadError::Store(refused)) => Err(refused),
            sent => sent.map(drop).map_err(|_| Error::Interrupted),
        };
        for refused in [
            objects.put(&new, sample(900_000)).await,
            objects.put_whole(&new, pieces).await,
            sent,
        ] {
            let refused = refused.unwrap_err();
            assert!(matches!(refused, Error::DiskFull), "{refused:?}");
            assert_eq!(refused.kind(), ErrorKind::Unavailable);
        }
        assert_eq!(
            objects.list(placement).await.unwrap(),
            std::slice::from_ref(&kept)
        );
        assert_eq!(objects.read(&kept).await.unwrap(), sample(300_000));
    }
    disk.fill();
    assert!(objects.put(&new, sample(10_000)).await.is_err());
    objects.delete(&kept).await.unwrap();
    disk.free();
    // Nothing is left of all that, so there is room for nearly the whole disk.
    objects.put(&new, sample(900_000)).await.unwrap();
    assert_eq!(objects.read(&new).await.unwrap(), sample(900_000));
}
