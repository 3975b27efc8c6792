//! Copies of segments on local disk: made of what is read often, within bounds, never more than a help.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use quire_store::{CopiesConfig, ObjectKey, Objects, Placement};
use quire_testkit::disk::SmallDisk;
use quire_testkit::postgres::eventually;
use quire_testkit::unreliable::{Fault, Unreliable};
use tempfile::TempDir;

use crate::object_stores::{sample, segment, tenant};

const SIZE: usize = 100_000;

/// A store with copies, both in directories of their own.
struct Lab {
    stored: TempDir,
    copied: TempDir,
    objects: Objects,
    store: Unreliable,
}

impl Lab {
    fn new(bytes: u64) -> Self {
        let (stored, copied) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (objects, store) = open(stored.path(), copied.path(), bytes);
        Self {
            stored,
            copied,
            objects,
            store,
        }
    }

    async fn put(&self, placement: Placement) -> ObjectKey {
        let key = segment(placement);
        self.objects.put(&key, sample(SIZE)).await.unwrap();
        key
    }

    /// Reads a part so often that a copy is made.
    async fn read_often(&self, key: &ObjectKey) {
        for _ in 0..8 {
            assert_eq!(
                read(&self.objects, key).await,
                sample(SIZE).slice(10..5_000)
            );
        }
    }

    fn copy(&self, key: &ObjectKey) -> PathBuf {
        self.copied.path().join(key.as_str())
    }

    async fn is_copied(&self, key: &ObjectKey) {
        let copy = self.copy(key);
        eventually("there is a copy", async || copy.exists()).await;
        eventually("it is known", async || {
            self.objects
                .copy_totals()
                .is_some_and(|totals| totals.copies > 0)
        })
        .await;
    }
}

fn open(stored: &Path, copied: &Path, bytes: u64) -> (Objects, Unreliable) {
    let (objects, store) = Unreliable::around(Objects::directory(stored).unwrap());
    let dir = copied.to_owned();
    let objects = objects.with_copies(CopiesConfig { dir, bytes }).unwrap();
    (objects, store)
}

async fn read(objects: &Objects, key: &ObjectKey) -> Bytes {
    objects.range(key, 10..5_000).await.unwrap()
}

#[tokio::test]
async fn what_is_read_often_is_read_from_a_copy_and_what_is_not_is_not() {
    let lab = Lab::new(10_000_000);
    let (often, once) = (lab.put(tenant()).await, lab.put(tenant()).await);
    lab.read_often(&often).await;
    read(&lab.objects, &once).await;
    lab.is_copied(&often).await;
    assert!(!lab.copy(&once).exists());

    // The store is not asked any more, and need not be there.
    lab.store.reset_counts();
    lab.store.fail_all(Some(Fault::Error));
    assert_eq!(
        read(&lab.objects, &often).await,
        sample(SIZE).slice(10..5_000)
    );
    assert_eq!(lab.store.counts().reads, 0);
    assert!(lab.objects.range(&once, 10..20).await.is_err());
    assert!(
        lab.objects
            .without_copies()
            .range(&often, 10..20)
            .await
            .is_err()
    );

    // The next process finds it.
    let (objects, store) = open(lab.stored.path(), lab.copied.path(), 10_000_000);
    store.fail_all(Some(Fault::Error));
    assert_eq!(read(&objects, &often).await, sample(SIZE).slice(10..5_000));
}

#[tokio::test]
async fn a_copy_that_is_wrong_cut_or_gone_makes_way_for_the_store() {
    let lab = Lab::new(10_000_000);
    let key = lab.put(tenant()).await;
    lab.read_often(&key).await;
    lab.is_copied(&key).await;
    // Readers find out what is wrong with bytes, and say so.
    fs::write(lab.copy(&key), vec![0; SIZE]).unwrap();
    assert_eq!(read(&lab.objects, &key).await, vec![0; 4_990]);
    assert!(lab.objects.distrust(&key) && !lab.objects.distrust(&key));
    assert_eq!(
        read(&lab.objects, &key).await,
        sample(SIZE).slice(10..5_000)
    );
    assert!(!lab.copy(&key).exists());
    for harm in [
        |path: &Path| fs::write(path, b"cut"),
        |path: &Path| fs::remove_file(path),
    ] {
        lab.read_often(&key).await;
        lab.is_copied(&key).await;
        harm(&lab.copy(&key)).unwrap();
        assert_eq!(
            read(&lab.objects, &key).await,
            sample(SIZE).slice(10..5_000)
        );
    }
}

#[tokio::test]
async fn copies_take_no_more_than_their_bytes_and_go_with_their_segment() {
    let lab = Lab::new(5 * SIZE as u64);
    let (placement, other) = (tenant(), tenant());
    let mut keys = Vec::new();
    for _ in 0..20 {
        let key = lab.put(placement).await;
        lab.read_often(&key).await;
        keys.push(key);
    }
    eventually("copies fit", async || {
        let totals = lab.objects.copy_totals().unwrap();
        let files = keys.iter().filter(|key| lab.copy(key).exists()).count();
        (1..=5).contains(&files) && totals.bytes <= 5 * SIZE as u64
    })
    .await;
    let small = Lab::new(SIZE as u64 / 2);
    let key = small.put(other).await;
    small.read_often(&key).await;
    small.read_often(&key).await;
    assert!(!small.copy(&key).exists());

    let of_other = lab.put(other).await;
    eventually("it finds room", async || {
        lab.read_often(&of_other).await;
        lab.copy(&of_other).exists()
    })
    .await;
    lab.objects.delete_all(placement).await.unwrap();
    assert!(keys.iter().all(|key| !lab.copy(key).exists()));
    let owner = (other.tenant.uuid(), other.incarnation);
    assert_eq!(lab.objects.copied(), [owner]);
    lab.objects.delete(&of_other).await.unwrap();
    assert!(!lab.copy(&of_other).exists());
    assert_eq!(lab.objects.copied(), []);
    let gone = lab.objects.range(&of_other, 10..20).await;
    assert!(gone.is_err());
}

#[tokio::test]
async fn a_disk_without_room_for_copies_costs_the_copies_and_nothing_else() {
    let stored = tempfile::tempdir().unwrap();
    // Where no disk can be mounted, a file in the place of a directory lets no copy be written either.
    let (disk, blocked) = (SmallDisk::new(SIZE / 2), tempfile::tempdir().unwrap());
    let dir = match &disk {
        Some(disk) => disk.path().to_owned(),
        None => blocked.path().to_owned(),
    };
    let (objects, store) = open(stored.path(), &dir, 10_000_000);
    let key = segment(tenant());
    objects.put(&key, sample(SIZE)).await.unwrap();
    if disk.is_none() {
        fs::write(dir.join("t"), b"in the way").unwrap();
    }
    for _ in 0..3 * 8 {
        assert_eq!(read(&objects, &key).await, sample(SIZE).slice(10..5_000));
    }
    // Trying to copy reads the whole object beside the 24 ranges.
    eventually("copies were tried", async || store.counts().reads > 24).await;
    assert_eq!(objects.copy_totals().unwrap().copies, 0);
    let Some(disk) = disk else { return };
    // What was written in part is gone, so that there is room for one that fits.
    let few = segment(tenant());
    objects.put(&few, sample(SIZE / 4)).await.unwrap();
    let copy = disk.path().join(few.as_str());
    eventually("there is a copy of it", async || {
        let found = read(&objects, &few).await;
        found == sample(SIZE / 4).slice(10..5_000) && copy.exists()
    })
    .await;
}
