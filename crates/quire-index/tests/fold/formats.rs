//! Segments that an earlier quire wrote.

use quire_index::Mode;
use quire_store::ObjectKey;
use quire_store::segments::{self, NewSegment, Segment};
use quire_types::SegmentId;
use quire_vectors::{Codes, dequantise, row_bytes, unsigned_row_bytes};

use crate::faults::sections;
use crate::lab::{Lab, axis, bodies, query, searching};

/// Coordinates of the codes of the lab's vectors.
const CODED: usize = 64;
const BLOCK_ROWS: usize = 32;

/// The file and the footer of the same segment under another id, as version 1 wrote it: vectors are signed bytes, in
/// units of the largest / 127. Everything else, the length of each section included, is as it is today.
fn of_version_1(today: &[u8], segment: &Segment, id: SegmentId) -> (Vec<u8>, Vec<u8>) {
    let rows = usize::try_from(segment.rows).unwrap();
    let parts = sections(&segment.footer);
    let part = |wanted: &str| {
        let (_, start, length) = parts.iter().find(|(name, ..)| *name == wanted).unwrap();
        *start..start + length
    };
    let mut file = today.to_vec();
    let codes = Codes::new(CODED, rows, &today[part("codes")]).unwrap();
    let unsigned = unsigned_row_bytes(CODED);
    for at in 0..rows {
        let place = part("vectors").start + at * unsigned;
        let kept = &mut file[place..place + unsigned];
        let mut row = kept.to_vec();
        codes.push_signs(at, &mut row).unwrap();
        assert_eq!(row.len(), row_bytes(CODED));
        let mut vector = [0.0_f32; CODED];
        dequantise(&row, &mut vector).unwrap();
        let unit = vector.iter().fold(0.0_f32, |most, x| most.max(x.abs())) / 127.0;
        for (byte, x) in kept.iter_mut().zip(vector) {
            *byte = (x / unit).round() as i8 as u8;
        }
        kept[CODED..].copy_from_slice(&unit.to_le_bytes());
    }
    let checksums: Vec<u8> = file[part("vectors")]
        .chunks(unsigned * BLOCK_ROWS)
        .flat_map(|block| crc32fast::hash(block).to_le_bytes())
        .collect();
    let blocks = part("blocks");
    file[blocks.start..blocks.start + checksums.len()].copy_from_slice(&checksums);
    // See `segment/format.rs`: magic, version, three ids, dimension, rows, seed, then 20 bytes for each section.
    let mut footer = segment.footer.clone();
    footer[8..12].copy_from_slice(&1_u32.to_le_bytes());
    footer[44..60].copy_from_slice(id.uuid().as_bytes());
    let of_blocks = 76 + 5 * 20 + 16;
    footer[of_blocks..of_blocks + 4].copy_from_slice(&crc32fast::hash(&file[blocks]).to_le_bytes());
    let end = footer.len() - 4;
    let own = crc32fast::hash(&footer[..end]);
    footer[end..].copy_from_slice(&own.to_le_bytes());
    let start = file.len() - footer.len();
    file[start..].copy_from_slice(&footer);
    (file, footer)
}

#[tokio::test]
async fn a_segment_of_the_version_before_is_searched_archived_and_merged_into_one_of_today() {
    let mut lab = Lab::new().await;
    let placement = lab.tenant.placement();
    let search = searching(&lab.test.store, 9);
    lab.put_rows("one.txt", 0, 150).await;
    lab.put_rows("two.txt", 3, 50).await;
    lab.fold(&search).await.unwrap();
    let cosines = async |search: &quire_index::Search| {
        let query = query("", axis(0), Mode::Dense, 20);
        let found = search.search(placement, query).await.unwrap();
        let cosines: Vec<f32> = found.hits.iter().map(|hit| hit.scores.dense).collect();
        (cosines, bodies(found))
    };
    let (expected, _) = cosines(&search).await;

    let today = lab.segments().await.pop().unwrap();
    let id = SegmentId::generate();
    let (file, footer) = of_version_1(&std::fs::read(lab.file(today.id)).unwrap(), &today, id);
    let key = ObjectKey::segment(placement, id.uuid());
    let objects = lab.test.store.objects();
    objects.put_whole(&key, vec![file.into()]).await.unwrap();
    let new = NewSegment {
        id,
        rows: today.rows,
        bytes: today.bytes,
        dimension: today.dimension,
        footer,
    };
    let mut tx = lab.test.tx(&lab.tenant).await;
    let located = segments::located(&mut tx, None).await.unwrap();
    let versions: Vec<_> = located
        .iter()
        .map(|one| (one.source, one.version))
        .collect();
    segments::note(&mut tx, &new).await.unwrap();
    let moved = segments::install(&mut tx, &new, &versions, Some(&[today.id])).await;
    assert_eq!(moved.unwrap(), 200);
    segments::retire_unnamed(&mut tx).await.unwrap();
    tx.commit().await.unwrap();

    let old = searching(&lab.test.store, 1);
    // More often than it takes until all vectors are in memory.
    for _ in 0..20 {
        // The best are so near each other that eight bits order them differently.
        let (found, _) = cosines(&old).await;
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() < 0.01, "{found} {expected}");
        }
        lab.check(&old).await;
    }
    assert!(old.verify(placement, 20).await.unwrap().is_sound());
    let before = cosines(&old).await;
    // What is merged, archived and brought back keeps its vectors to the bit.
    lab.put_rows("three.txt", 5, 30).await;
    assert_eq!(lab.fold(&old).await.unwrap().merged, 230);
    assert_eq!(cosines(&old).await, before);
    let version = |footer: &[u8]| footer[8];
    assert_eq!(version(&lab.segments().await.pop().unwrap().footer), 2);
    assert_eq!(
        old.archive(placement, lab.notebook).await.unwrap().passages,
        230
    );
    assert_eq!(
        old.bring_back(placement, lab.notebook)
            .await
            .unwrap()
            .passages,
        230
    );
    assert_eq!(cosines(&old).await, before);
    lab.check(&old).await;
}
