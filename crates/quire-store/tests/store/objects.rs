//! Objects: inside their tenant, whole or not there at all.

use std::path::Path;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use quire_store::{Error, ObjectKey, UploadError};
use quire_testkit::postgres::{TestStore, eventually};
use quire_types::{ErrorKind, Kind};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Every file below a directory.
fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().flatten();
    entries
        .flat_map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => files(&entry.path()),
            _ => vec![entry.path()],
        })
        .collect()
}

#[tokio::test]
async fn an_object_is_written_read_and_removed() {
    let test = TestStore::new().await;
    let placement = test.tenant("a").await.placement();
    let objects = test.store.objects();
    // More than one part, in pieces that fit none.
    let pieces: Vec<Bytes> = (0..10_u8)
        .map(|byte| Bytes::from(vec![byte; 1_234_567]))
        .collect();
    let all: Vec<u8> = pieces.concat();
    let bytes = stream::iter(pieces.into_iter().map(Ok::<_, std::io::Error>)).boxed();
    let upload = objects
        .upload(placement, bytes, all.len() as u64)
        .await
        .unwrap();
    assert_eq!(upload.size_bytes, all.len() as u64);
    assert_eq!(upload.content_hash, Sha256::digest(&all).to_vec());
    assert_eq!(objects.read(&upload.key).await.unwrap(), all);
    let streamed: Vec<Bytes> = objects
        .stream(&upload.key)
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    assert_eq!(streamed.concat(), all);
    assert_eq!(
        objects.list(placement).await.unwrap(),
        std::slice::from_ref(&upload.key)
    );

    for _ in 0..2 {
        objects.delete(&upload.key).await.unwrap();
    }
    let gone = objects.read(&upload.key).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
    assert!(objects.list(placement).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_upload_that_does_not_end_well_leaves_nothing() {
    let test = TestStore::new().await;
    let placement = test.tenant("a").await.placement();
    let objects = test.store.objects();
    let part = || Ok::<_, &str>(Bytes::from(vec![7; 3 << 20]));

    let endless = stream::repeat_with(part).boxed();
    let refused = objects
        .upload(placement, endless, 20 << 20)
        .await
        .unwrap_err();
    assert!(matches!(refused, UploadError::Store(Error::TooLarge(_))));
    assert_eq!(files(test.objects_dir()), Vec::<std::path::PathBuf>::new());

    let cut = stream::iter([part(), part(), part(), part(), Err("cut")]).boxed();
    let refused = objects.upload(placement, cut, u64::MAX).await.unwrap_err();
    assert!(matches!(refused, UploadError::Source("cut")));
    assert_eq!(files(test.objects_dir()), Vec::<std::path::PathBuf>::new());

    // A caller that goes away in the middle.
    let stuck = stream::iter([part(), part(), part(), part()])
        .chain(stream::pending())
        .boxed();
    let upload = objects.upload(placement, stuck, u64::MAX);
    let waited = tokio::time::timeout(std::time::Duration::from_millis(200), upload).await;
    assert!(waited.is_err());
    eventually("the cut upload is gone", || async {
        files(test.objects_dir()).is_empty()
    })
    .await;
}

#[tokio::test]
async fn a_name_outside_the_tenant_is_refused() {
    let test = TestStore::new().await;
    let (a, b) = (
        test.tenant("a").await.placement(),
        test.tenant("b").await.placement(),
    );
    let key = ObjectKey::original(a);
    assert_eq!(ObjectKey::stored(a, key.as_str()).unwrap(), key);
    let recreated = quire_store::Placement {
        incarnation: Uuid::new_v4(),
        ..a
    };
    let own = format!("t/{}/{}/", a.tenant.uuid(), a.incarnation);
    for (placement, name) in [
        (b, key.as_str()),
        (recreated, key.as_str()),
        (a, ""),
        (a, "originals/x"),
        (a, &format!("/{own}originals/x")),
        (a, &format!("{own}../../{}/x", b.tenant.uuid())),
        (a, &format!("t/{}/x", a.tenant.uuid())),
    ] {
        let refused = ObjectKey::stored(placement, name);
        assert!(matches!(refused, Err(Error::NotFound { .. })), "{name}");
    }
}
