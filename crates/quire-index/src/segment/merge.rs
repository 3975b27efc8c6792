//! One segment out of what is alive in others.
//!
//! Sources come in order of their ids, as they do in each of the old segments, so every old file is read
//! from front to back. Vectors are taken over as they are, unless the new segment is made differently.

use std::sync::Arc;

use quire_store::Placement;

use super::{Built, Io, Recipe, Segment, SegmentWriter, SourceRows, Text};
use crate::{Error, blocking};

/// Rows that are read and written at a time.
const WINDOW_ROWS: u32 = 4_096;

/// What is alive in a segment.
pub(crate) struct Survivors {
    pub(crate) segment: Arc<Segment>,
    pub(crate) sources: Vec<SourceRows>,
}

/// Makes a segment of the survivors, to be stored and installed; none when nothing is alive. Calls
/// `progress` with the rows done so far.
pub(crate) async fn merge(
    io: &Io<'_>,
    placement: Placement,
    recipe: Recipe,
    survivors: &[Survivors],
    mut progress: impl FnMut(u32),
) -> Result<Option<Built>, Error> {
    let mut plan: Vec<(&Arc<Segment>, SourceRows)> = survivors
        .iter()
        .flat_map(|part| part.sources.iter().map(|rows| (&part.segment, *rows)))
        .collect();
    plan.sort_unstable_by_key(|(_, rows)| rows.source);
    if plan.is_empty() {
        return Ok(None);
    }
    let mut writer = SegmentWriter::new(placement, recipe)?;
    let mut rest = plan.as_slice();
    while !rest.is_empty() {
        let mut rows = 0;
        let end = rest.iter().position(|(_, source)| {
            rows += source.rows;
            rows > WINDOW_ROWS
        });
        // A source with more rows than a window is one by itself.
        let (window, after) = rest.split_at(end.unwrap_or(rest.len()).max(1));
        let window = read(io, window).await?;
        writer = blocking(move || {
            write(&mut writer, recipe, window)?;
            Ok(writer)
        })
        .await?;
        progress(writer.rows());
        rest = after;
    }
    blocking(move || writer.finish()).await.map(Some)
}

/// A source with what its passages are.
type Read = (Arc<Segment>, SourceRows, Vec<(Text, Vec<u8>)>);

async fn read(io: &Io<'_>, window: &[(&Arc<Segment>, SourceRows)]) -> Result<Vec<Read>, Error> {
    let mut of_segments: Vec<(&Arc<Segment>, Vec<u32>)> = Vec::new();
    for (segment, source) in window {
        let rows = source.first_row..source.first_row + source.rows;
        match of_segments
            .iter_mut()
            .find(|(known, _)| known.id() == segment.id())
        {
            Some((_, known)) => known.extend(rows),
            None => of_segments.push((segment, rows.collect())),
        }
    }
    let mut queues = Vec::with_capacity(of_segments.len());
    for (segment, rows) in of_segments {
        let texts = segment.texts(io, &rows).await?;
        let vectors = segment.vectors(io, &rows).await?;
        queues.push((segment.id(), texts.into_iter().zip(vectors)));
    }
    let mut found = Vec::with_capacity(window.len());
    for (segment, source) in window {
        let queue = queues.iter_mut().find(|(id, _)| *id == segment.id());
        let passages = queue.map(|(_, queue)| queue.take(source.rows as usize).collect());
        found.push(((*segment).clone(), *source, passages.unwrap_or_default()));
    }
    Ok(found)
}

fn write(writer: &mut SegmentWriter, recipe: Recipe, window: Vec<Read>) -> Result<(), Error> {
    for (segment, source, passages) in window {
        writer.source(
            source.source,
            source.version,
            source.first_passage,
            source.rows,
        );
        let old = segment.recipe();
        let keeps_vectors =
            (old.rotation_seed, old.dimension) == (recipe.rotation_seed, recipe.dimension);
        for (text, row) in &passages {
            let Text {
                context,
                body,
                place,
            } = text;
            if keeps_vectors {
                writer.push_kept(context, body, place, row)?;
            } else {
                writer.push(context, body, place, &segment.unrotated(row)?)?;
            }
        }
    }
    Ok(())
}
