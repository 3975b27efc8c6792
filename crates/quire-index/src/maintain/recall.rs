//! How much of the truth search finds: questions that were asked, or that are like the tenant's passages, asked
//! the normal way and answered exactly.
//!
//! The truth is the ten greatest cosines over all vectors as they are kept. A found passage counts when its
//! cosine is among them, whichever of several equal ones it is.

use std::sync::Arc;

use uuid::Uuid;

use quire_vectors::{Level, dequantise, dot_f32};

use super::{Rebuild, RebuildError};
use crate::query::Mode;
use crate::segment::{Io, Segment};
use crate::view::View;
use crate::{Error, Filter, Fusion, Query, blocking, score};

/// How many of the best passages count.
const BEST: usize = 10;
/// Rows whose vectors are read at a time.
const WINDOW_ROWS: usize = 4_096;
/// How far a question lies from the passage it was made of: the length of what is added to a unit vector.
const DISTANCE: f32 = 0.3;
/// Cosines nearer than this are equal.
const TIE: f32 = 1e-6;

/// What a new index was asked before search reads it.
pub(super) struct Tried {
    pub(super) questions: usize,
    pub(super) own_questions: usize,
    /// None where nothing could be asked.
    pub(super) recall: Option<f64>,
}

/// Asks a new index the questions of a corpus, and refuses it when it finds too little.
pub(super) async fn tried(
    new: &Arc<View>,
    corpus: &View,
    io: &Io<'_>,
    change: Rebuild,
    own: &[Vec<f32>],
) -> Result<Tried, RebuildError> {
    let (asked, own_questions) = questions(corpus, io, own, change.questions).await?;
    let questions = asked.len();
    let recall = recall(new, io, asked).await?;
    match recall {
        Some(recall) if recall < change.least_recall => Err(RebuildError::Recall {
            recall,
            least: change.least_recall,
            questions,
            own_questions,
        }),
        _ => Ok(Tried {
            questions,
            own_questions,
            recall,
        }),
    }
}

/// So many questions: the tenant's own, and where these are too few, vectors of passages that are moved a little.
/// Returns how many are its own.
pub(super) async fn questions(
    view: &View,
    io: &Io<'_>,
    own: &[Vec<f32>],
    count: usize,
) -> Result<(Vec<Vec<f32>>, usize), Error> {
    let has_direction = |vector: &&Vec<f32>| {
        let square: f32 = vector.iter().map(|value| value * value).sum();
        square.is_normal() && view.check_dimension(vector.len()).is_ok()
    };
    let own = own.iter().filter(has_direction).take(count);
    let mut questions: Vec<Vec<f32>> = own.cloned().collect();
    let asked = questions.len();
    questions.extend(like_passages(view, io, count - asked).await?);
    Ok((questions, asked))
}

/// The vectors of randomly chosen passages, each moved a little.
async fn like_passages(view: &View, io: &Io<'_>, count: usize) -> Result<Vec<Vec<f32>>, Error> {
    let mut random = Random(Uuid::new_v4().as_u64_pair().0);
    let spans: Vec<(usize, u32, u32)> = view.all_rows().collect();
    let ends: Vec<u64> = spans
        .iter()
        .scan(0, |end, (.., rows)| {
            *end += u64::from(*rows);
            Some(*end)
        })
        .collect();
    let Some(total) = ends.last().copied().filter(|total| *total > 0) else {
        return Ok(Vec::new());
    };
    let mut chosen: Vec<Vec<u32>> = vec![Vec::new(); view.segments.len() + 1];
    for _ in 0..count {
        let pick = random.next() % total;
        let at = ends.partition_point(|end| *end <= pick);
        let span = spans.get(at).zip(ends.get(at));
        if let Some(((part, first, rows), end)) = span
            && let Some(chosen) = chosen.get_mut(*part)
        {
            let back = u32::try_from(end - pick).unwrap_or(*rows);
            chosen.push(first + rows - back);
        }
    }
    let mut questions = Vec::with_capacity(count);
    for (part, rows) in chosen.iter().enumerate() {
        match view.segments.get(part) {
            Some(segment) => {
                for row in segment.vectors(io, rows).await? {
                    questions.push(segment.unrotated(&row)?);
                }
            }
            None => {
                let vectors = rows.iter().filter_map(|row| view.tail.vector(*row));
                questions.extend(vectors.map(<[f32]>::to_vec));
            }
        }
    }
    for question in &mut questions {
        random.perturb(question);
    }
    Ok(questions)
}

/// The share of the best ten passages that search finds, over all questions; none without questions or
/// passages.
pub(super) async fn recall(
    view: &Arc<View>,
    io: &Io<'_>,
    questions: Vec<Vec<f32>>,
) -> Result<Option<f64>, Error> {
    if questions.is_empty() {
        return Ok(None);
    }
    let questions: Arc<[Vec<f32>]> = questions.into();
    let truth = exact(view, io, &questions).await?;
    let (mut found, mut wanted) = (0, 0);
    for (question, best) in questions.iter().zip(truth) {
        let query = Query {
            text: String::new(),
            vector: question.clone(),
            filter: Filter::default(),
            limit: BEST,
            mode: Mode::Dense,
            fusion: Fusion::default(),
        };
        let mut broken = Vec::new();
        let ranking = Box::pin(score::rank(view, io, &query, &mut broken)).await?;
        if let Some(segment) = broken.first().and_then(|part| view.segments.get(*part)) {
            return Err(Error::Missing {
                segment: segment.id(),
            });
        }
        let last = best.0.last().copied().unwrap_or(f32::MAX);
        let right = ranking
            .rows
            .iter()
            .filter(|(_, scores)| scores.dense >= last - TIE);
        found += right.count().min(best.0.len());
        wanted += best.0.len();
    }
    Ok((wanted > 0).then(|| found as f64 / wanted as f64))
}

/// The greatest cosines to each question, over every passage of the view.
async fn exact(view: &View, io: &Io<'_>, questions: &Arc<[Vec<f32>]>) -> Result<Vec<Best>, Error> {
    let mut best: Vec<Best> = vec![Best::default(); questions.len()];
    let masks = view.open_rows(&Filter::default());
    for (segment, mask) in view.segments.iter().zip(&masks) {
        let is_alive = |row: &u32| mask.as_ref().is_none_or(|mask| mask.has(*row));
        let mut rows: Vec<u32> = (0..segment.rows()).filter(is_alive).collect();
        // In the order of the file, so that each of its blocks is read once.
        rows.sort_by_key(|row| segment.vector_place(*row));
        let rotated: Arc<[Vec<f32>]> = questions
            .iter()
            .map(|question| segment.rotate(question))
            .collect::<Result<_, _>>()?;
        for window in rows.chunks(WINDOW_ROWS) {
            best = scan(segment, io, &rotated, window, best).await?;
        }
    }
    let mask = masks.last().and_then(Option::as_ref);
    for (question, best) in questions.iter().zip(&mut best) {
        for (row, cosine) in (0..).zip(view.tail.cosines(question)?) {
            if mask.is_none_or(|mask| mask.has(row)) {
                best.offer(cosine);
            }
        }
    }
    Ok(best)
}

async fn scan(
    segment: &Segment,
    io: &Io<'_>,
    rotated: &Arc<[Vec<f32>]>,
    rows: &[u32],
    mut best: Vec<Best>,
) -> Result<Vec<Best>, Error> {
    let vectors = segment.vectors(io, rows).await?;
    let rotated = rotated.clone();
    blocking(move || {
        let level = Level::detect();
        let mut vector = vec![0.0; rotated.first().map_or(0, Vec::len)];
        for row in &vectors {
            dequantise(row, &mut vector)?;
            for (question, best) in rotated.iter().zip(&mut best) {
                best.offer(dot_f32(question, &vector, level)?);
            }
        }
        Ok(best)
    })
    .await
}

/// The greatest numbers of those offered, greatest first.
#[derive(Clone, Debug, Default)]
struct Best(Vec<f32>);

impl Best {
    fn offer(&mut self, value: f32) {
        let at = self.0.partition_point(|kept| *kept >= value);
        if at < BEST {
            self.0.insert(at, value);
            self.0.truncate(BEST);
        }
    }
}

/// SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Adds about [`DISTANCE`] in a random direction, and brings the vector back to unit length.
    fn perturb(&mut self, vector: &mut [f32]) {
        // Coordinates that are uniform in -a..a have the variance a²/3.
        let most = DISTANCE * (3.0 / vector.len().max(1) as f32).sqrt();
        for value in vector.iter_mut() {
            let unit = (self.next() >> 40) as f32 / (1_u32 << 24) as f32;
            *value += most * (2.0 * unit - 1.0);
        }
        let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
        if length.is_normal() {
            for value in vector {
                *value /= length;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_are_the_greatest_in_order_and_equal_ones_count_each() {
        let mut best = Best::default();
        for value in [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9_u8] {
            best.offer(f32::from(value));
        }
        assert_eq!(best.0, [9.0, 9.0, 9.0, 8.0, 7.0, 6.0, 5.0, 5.0, 5.0, 4.0]);
    }

    #[test]
    fn a_question_lies_near_its_passage() {
        let mut random = Random(7);
        for _ in 0..100 {
            let mut vector = vec![0.0; 384];
            vector[3] = 1.0;
            random.perturb(&mut vector);
            // The angle whose tangent is 0.3 has the cosine 0.958.
            assert!((0.93..0.98).contains(&vector[3]), "{}", vector[3]);
        }
    }
}
