//! From a question to ranked rows of a view: both paths over the same rows, exact scores for every
//! candidate, one list.

use std::sync::Arc;

use crate::fusion::{self, Explained, Question};
use crate::mask::Mask;
use crate::query::Mode;
use crate::segment::{Io, Text};
use crate::text::{Bm25, LexicalQuery, Statistics};
use crate::view::View;
use crate::{Error, Query, Scores, blocking};

/// Candidates of each path: at least so many, and so many for each passage that is wanted.
const CANDIDATES: usize = 100;
const CANDIDATES_EACH: usize = 10;
/// So many rows are scored in a tenth of a millisecond, which is not worth another thread.
const ROWS_OF_A_MOMENT: u64 = 10_000;
/// Candidates whose texts are searched for a quoted phrase at a time, and at most.
const PHRASE_WINDOW: usize = 1_000;
const PHRASE_CANDIDATES: usize = 100_000;

/// What may stand around a phrase.
const QUOTES: [char; 6] = ['"', '“', '”', '„', '«', '»'];

/// A row of a view: which part, and which row of it. The tail is the part after the last segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Address {
    pub(crate) part: usize,
    pub(crate) row: u32,
}

/// What a part was found to have.
struct PartScores {
    /// The question as the part's vectors are rotated; empty for the tail.
    rotated: Vec<f32>,
    lexical: Vec<(u32, f32)>,
    /// Estimates in a segment, exact in the tail.
    dense: Vec<(u32, f32)>,
    /// The exact cosine of every row, in the tail.
    cosines: Vec<f32>,
}

/// Exact scores of candidates, in order of their addresses.
#[derive(Default)]
struct Cosines(Vec<(Address, f32)>);

impl Cosines {
    fn get(&self, address: Address) -> Option<f32> {
        let at = self.0.binary_search_by_key(&address, |(at, _)| *at).ok()?;
        self.0.get(at).map(|(_, cosine)| *cosine)
    }
}

/// The best rows for a question.
#[derive(Default)]
pub(crate) struct Ranking {
    /// Best first.
    pub(crate) rows: Vec<(Address, Scores)>,
    /// What decided the order; none when a quoted phrase did.
    pub(crate) explained: Option<Explained>,
}

/// The best rows for a question outside the `broken` parts. Segments that turn out to be unreadable are
/// added to these, and then what is left may not be the best.
pub(crate) async fn rank(
    view: &Arc<View>,
    io: &Io<'_>,
    query: &Query,
    broken: &mut Vec<usize>,
) -> Result<Ranking, Error> {
    let square: f32 = query.vector.iter().map(|value| value * value).sum();
    if !square.is_normal() {
        return Err(Error::Direction);
    }
    view.check_dimension(query.vector.len())?;
    if query.limit == 0 || view.live_rows() == 0 {
        return Ok(Ranking::default());
    }
    let mut masks = view.open_rows(&query.filter);
    for part in broken.iter() {
        if let Some(mask) = masks.get_mut(*part) {
            *mask = Some(Mask::none(0));
        }
    }
    let masks: Arc<[Option<Mask>]> = masks.into();
    let text = match query.mode {
        Mode::Dense => "",
        Mode::Lexical | Mode::Hybrid => &query.text,
    };
    let words = Arc::new(LexicalQuery::parse(text, view.language));
    if words.has_phrases() {
        let known = broken.len();
        let found = phrases(view, io, query, &words, &masks, broken).await?;
        // A phrase that nobody wrote says nothing; the words in it still do.
        if !found.is_empty() || broken.len() > known {
            return Ok(Ranking {
                rows: found,
                explained: None,
            });
        }
    }
    let words = if words.has_phrases() {
        Arc::new(LexicalQuery::parse(
            &text.replace(QUOTES, " "),
            view.language,
        ))
    } else {
        words
    };
    let limit = query.limit.saturating_mul(CANDIDATES_EACH).max(CANDIDATES);
    let parts = if view.live_rows() <= ROWS_OF_A_MOMENT {
        score(view, query, &words, &masks, limit)?
    } else {
        let (view, query) = (view.clone(), query.clone());
        blocking(move || score(&view, &query, &words, &masks, limit)).await?
    };

    let mut lexical = best(&parts, |part| &part.lexical, limit);
    let mut dense = best(&parts, |part| &part.dense, estimates(view, limit));
    let mut wanted: Vec<Vec<u32>> = vec![Vec::new(); parts.len()];
    for (address, _) in lexical.iter().chain(&dense) {
        if let Some(rows) = wanted.get_mut(address.part) {
            rows.push(address.row);
        }
    }
    let mut cosines = Cosines::default();
    for (part, (mut rows, scores)) in wanted.into_iter().zip(&parts).enumerate() {
        rows.sort_unstable();
        rows.dedup();
        let exact = match view.segments.get(part) {
            Some(segment) if !rows.is_empty() => {
                match segment.cosines(io, &scores.rotated, &rows).await {
                    Ok(exact) => exact,
                    Err(error) => {
                        // Estimates order candidates well enough to answer from the other parts, but
                        // texts of this one can't be read either.
                        tracing::warn!(
                            tenant = %io.placement.tenant,
                            segment = %segment.id(),
                            %error,
                            "a segment can't be read; answering without it"
                        );
                        broken.push(part);
                        continue;
                    }
                }
            }
            Some(_) => continue,
            None => rows
                .iter()
                .map(|row| scores.cosines.get(*row as usize).copied().unwrap_or(0.0))
                .collect(),
        };
        let addresses = rows.into_iter().map(|row| Address { part, row });
        cosines.0.extend(addresses.zip(exact));
    }
    lexical.retain(|(address, _)| cosines.get(*address).is_some());
    dense.retain_mut(|(address, score)| {
        let exact = cosines.get(*address);
        *score = exact.unwrap_or(*score);
        exact.is_some()
    });
    keep_best(&mut dense, limit);
    let (rows, explained) = fuse(view, query, &lexical, &dense, &cosines);
    Ok(Ranking {
        rows,
        explained: Some(explained),
    })
}

/// How many candidates by estimate make sure that the best by exact score are among them. Over MiniLM vectors
/// of real text 100 of 12,000 hold .983 of the best ten and 200 hold .996; more rows need more: see
/// docs/benchmarks.md.
fn estimates(view: &View, candidates: usize) -> usize {
    let times = match view.live_rows() {
        0..5_000 => 2,
        5_000..50_000 => 3,
        50_000..200_000 => 6,
        200_000..500_000 => 10,
        _ => 16,
    };
    candidates.saturating_mul(times)
}

/// Both paths over every part.
fn score(
    view: &View,
    query: &Query,
    words: &LexicalQuery,
    masks: &[Option<Mask>],
    limit: usize,
) -> Result<Vec<PartScores>, Error> {
    let bm25 = Bm25::new(words, &statistics(view, words)?);
    let mut parts = Vec::with_capacity(view.segments.len() + 1);
    let mut rotated: Vec<f32> = Vec::new();
    let mut seed = None;
    for (at, segment) in view.segments.iter().enumerate() {
        let mask = masks.get(at).and_then(Option::as_ref).map(Mask::words);
        if seed != Some(segment.recipe().rotation_seed) {
            rotated = segment.rotate(&query.vector)?;
            seed = Some(segment.recipe().rotation_seed);
        }
        let dense = match query.mode {
            Mode::Lexical => Vec::new(),
            _ => segment
                .scan(&rotated, mask, estimates(view, limit))?
                .into_iter()
                .map(|candidate| (candidate.row, candidate.estimate))
                .collect(),
        };
        let lexical = match query.mode {
            Mode::Dense => Vec::new(),
            _ => segment.lexical().search(words, &bm25, mask, limit)?,
        };
        parts.push(PartScores {
            rotated: rotated.clone(),
            lexical,
            dense,
            cosines: Vec::new(),
        });
    }
    let mask = masks.last().and_then(Option::as_ref);
    let cosines = view.tail.cosines(&query.vector)?;
    let dense = match query.mode {
        Mode::Lexical => Vec::new(),
        _ => (0..)
            .zip(cosines.iter().copied())
            .filter(|(row, _)| mask.is_none_or(|mask| mask.has(*row)))
            .collect(),
    };
    let lexical = match query.mode {
        Mode::Dense => Vec::new(),
        _ => view
            .tail
            .lexical()
            .search(words, &bm25, mask.map(Mask::words), limit),
    };
    parts.push(PartScores {
        rotated: Vec::new(),
        lexical,
        dense,
        cosines,
    });
    Ok(parts)
}

fn statistics(view: &View, words: &LexicalQuery) -> Result<Statistics, Error> {
    let mut statistics = Statistics::new(words);
    for segment in &view.segments {
        segment.lexical().count(words, &mut statistics)?;
    }
    view.tail.lexical().count(words, &mut statistics);
    Ok(statistics)
}

/// The best rows of all parts, best first.
fn best(
    parts: &[PartScores],
    list: impl Fn(&PartScores) -> &Vec<(u32, f32)>,
    limit: usize,
) -> Vec<(Address, f32)> {
    let mut rows: Vec<(Address, f32)> = parts
        .iter()
        .enumerate()
        .flat_map(|(part, scores)| {
            list(scores)
                .iter()
                .map(move |(row, score)| (Address { part, row: *row }, *score))
        })
        .collect();
    keep_best(&mut rows, limit);
    rows
}

/// Keeps the best `limit` rows, best first; of equal ones, those that come first.
fn keep_best(rows: &mut Vec<(Address, f32)>, limit: usize) {
    let by_score = |a: &(Address, f32), b: &(Address, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    if rows.len() > limit {
        rows.select_nth_unstable_by(limit, by_score);
        rows.truncate(limit);
    }
    rows.sort_unstable_by(by_score);
}

/// One list, through the numbers that fusion knows rows by.
fn fuse(
    view: &View,
    query: &Query,
    lexical: &[(Address, f32)],
    dense: &[(Address, f32)],
    cosines: &Cosines,
) -> (Vec<(Address, Scores)>, Explained) {
    let mut addresses: Vec<Address> = lexical.iter().chain(dense).map(|(at, _)| *at).collect();
    addresses.sort_unstable();
    addresses.dedup();
    let numbered = |list: &[(Address, f32)]| -> Vec<(usize, f32)> {
        let number = |at: &Address| addresses.binary_search(at).ok();
        list.iter()
            .filter_map(|(at, score)| Some((number(at)?, *score)))
            .collect()
    };
    let cosine = |row: usize| {
        let address = addresses.get(row);
        address.and_then(|at| cosines.get(*at)).unwrap_or(0.0)
    };
    let rows = usize::try_from(view.live_rows()).unwrap_or(usize::MAX);
    let fused = fusion::fuse(
        (query.mode, query.fusion),
        &numbered(lexical),
        &numbered(dense),
        cosine,
        Question::new(&query.text, view.language, rows),
        query.limit,
    );
    let ranked = fused.ranked.into_iter();
    let ranked = ranked.filter_map(|(row, scores)| Some((*addresses.get(row)?, scores)));
    (ranked.collect(), fused.explained)
}

/// The best rows that hold every quoted phrase, by BM25 alone: whoever quotes means these words. Rows that hold all
/// the words are read in this order until enough of them hold the phrases.
async fn phrases(
    view: &Arc<View>,
    io: &Io<'_>,
    query: &Query,
    words: &Arc<LexicalQuery>,
    masks: &Arc<[Option<Mask>]>,
    broken: &mut Vec<usize>,
) -> Result<Vec<(Address, Scores)>, Error> {
    let query = Query {
        mode: Mode::Lexical,
        ..query.clone()
    };
    let (mut found, mut read) = (Vec::new(), 0);
    // Most phrases are among the first, so the others are only listed when they are wanted.
    for most in [PHRASE_WINDOW, PHRASE_CANDIDATES] {
        let parts = {
            let (view, query) = (view.clone(), query.clone());
            let (words, masks) = (words.clone(), masks.clone());
            blocking(move || score(&view, &query, &words, &masks, most)).await?
        };
        let listed = best(&parts, |part| &part.lexical, most);
        for window in listed.get(read..).unwrap_or_default().chunks(PHRASE_WINDOW) {
            let known = broken.len();
            found.extend(holding(view, io, words, &parts, window, broken).await?);
            if found.len() >= query.limit || broken.len() > known {
                found.truncate(query.limit);
                return Ok(found);
            }
        }
        read = listed.len();
        if read < most {
            break;
        }
    }
    Ok(found)
}

/// Those of some rows that hold every quoted phrase, in the same order.
async fn holding(
    view: &Arc<View>,
    io: &Io<'_>,
    words: &Arc<LexicalQuery>,
    parts: &[PartScores],
    window: &[(Address, f32)],
    broken: &mut Vec<usize>,
) -> Result<Vec<(Address, Scores)>, Error> {
    let mut cosines = Cosines::default();
    for (part, scores) in parts.iter().enumerate() {
        let of_part = window.iter().filter(|(address, _)| address.part == part);
        let mut rows: Vec<u32> = of_part.map(|(address, _)| address.row).collect();
        rows.sort_unstable();
        let read = match view.segments.get(part) {
            _ if rows.is_empty() => continue,
            Some(segment) => {
                let matching = async {
                    let texts = segment.texts(io, &rows).await?;
                    let rows = matching(words, rows, texts).await?;
                    let cosines = segment.cosines(io, &scores.rotated, &rows).await?;
                    Ok::<_, Error>((rows, cosines))
                };
                matching.await
            }
            None => {
                let passage = |row: &u32| view.tail.passage(*row).map(|found| found.text.clone());
                let texts = rows.iter().map(|row| passage(row).unwrap_or_default());
                let texts = texts.collect();
                let rows = matching(words, rows, texts).await?;
                let cosine = |row: &u32| scores.cosines.get(*row as usize).copied();
                let cosines = rows.iter().map(|row| cosine(row).unwrap_or(0.0)).collect();
                Ok((rows, cosines))
            }
        };
        match read {
            Ok((rows, exact)) => {
                let addresses = rows.into_iter().map(|row| Address { part, row });
                cosines.0.extend(addresses.zip(exact));
            }
            Err(error) => {
                let segment = view.segments.get(part).map(|segment| segment.id());
                tracing::warn!(
                    tenant = %io.placement.tenant,
                    segment = segment.map(tracing::field::display),
                    %error,
                    "a segment can't be read; answering without it"
                );
                broken.push(part);
            }
        }
    }
    let holding = window.iter().filter_map(|(address, score)| {
        let scores = Scores {
            fused: *score,
            lexical: Some(*score),
            dense: cosines.get(*address)?,
        };
        Some((*address, scores))
    });
    Ok(holding.collect())
}

/// Those of the rows whose texts hold every quoted phrase.
async fn matching(
    words: &Arc<LexicalQuery>,
    rows: Vec<u32>,
    texts: Vec<Text>,
) -> Result<Vec<u32>, Error> {
    let words = words.clone();
    blocking(move || {
        let texts = rows.into_iter().zip(texts);
        let holds = |text: &Text| words.phrases_match(&text.context, &text.body);
        let holding = texts.filter(|(_, text)| holds(text));
        Ok(holding.map(|(row, _)| row).collect())
    })
    .await
}
