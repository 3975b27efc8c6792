//! What an answer is made from. A search finds it; for a complex question the search is made deeper: by other
//! phrasings, by a model that puts what was found in order, by more sources, and by what stands beside the best.
//! Each of these may be left out, and one that fails is: the answer is made without it, and the explanation says so.

use std::collections::{HashMap, HashSet};

use quire_index::{Fusion, Hit, Mode, Query, Scores, Snapshot, merge};
use quire_store::passages::Passage;
use quire_tenancy::Admitted;
use quire_types::{PassageId, SourceId};

use crate::Error;
use crate::answering::Asked;
use crate::explain::{Explanation, Origin, Outcome, StepName};
use crate::recipe::{Depth, Recipe};
use crate::rerank::{Scored, reorder};
use crate::vector::Vector;

/// What an answer is made from.
pub(crate) struct Seen {
    /// Passages, best first.
    pub(crate) hits: Vec<Hit>,
    /// The first passages of the sources in reach, where the recipe wants them.
    pub(crate) openings: Vec<Passage>,
    /// Whether a part of the sources could not be read just now.
    pub(crate) is_degraded: bool,
    /// Archived notebooks that were not looked at.
    pub(crate) archived: usize,
    /// How the passages came there.
    pub(crate) explanation: Explanation,
}

impl Asked {
    /// What the answer is to be made from.
    pub(crate) async fn look(
        &self,
        admitted: &Admitted,
        text: &str,
        corpus: Snapshot,
        vector: &Vector,
        recipe: Recipe,
    ) -> Result<Seen, Error> {
        let mut explanation = Explanation::default();
        // No place in the search and no database connection is held while a model works.
        let phrasings = match recipe.depth {
            Some(Depth { phrasings: 0, .. }) => {
                explanation.note(StepName::Rephrase, Outcome::Off, "'depth.phrasings' is 0");
                Vec::new()
            }
            Some(Depth { phrasings, .. }) => {
                self.rephrase(admitted, text, phrasings, &mut explanation)
                    .await?
            }
            None => Vec::new(),
        };
        let mut queries = vec![self.query(text, vector, recipe)];
        if !phrasings.is_empty() && vector.is_sound {
            let by = corpus.embedding();
            let vectors = self.asker.embedded(&self.asking, &by, phrasings.clone());
            let vectors = vectors.await?.unwrap_or_default();
            let others = phrasings.iter().zip(vectors);
            queries.extend(others.map(|(text, numbers)| {
                let vector = Vector::sound(numbers.into());
                self.query(text, &vector, recipe)
            }));
        }
        explanation.phrasings = phrasings;

        let (lists, openings, is_degraded) = self.find_all(&corpus, &queries, recipe).await?;
        let is_degraded = is_degraded || !vector.is_sound;
        let archived = corpus.left_out(&self.question.filter);
        let ranks = ranks(&lists);
        let mut hits = match lists.len() {
            1 => lists.into_iter().next().unwrap_or_default(),
            _ => merge(lists, recipe.candidates()),
        };
        explanation.note(
            StepName::Search,
            Outcome::Done,
            format!("{} passages were found", hits.len()),
        );

        let mut scores = HashMap::new();
        let mut beside = HashSet::new();
        if let Some(depth) = recipe.depth {
            let (scored, step) = self.rerank(admitted, text, &hits).await?;
            explanation.steps.push(step);
            scores = by_passage(&hits, &scored);
            if !scored.is_empty() {
                hits = reorder(hits, &scored);
            }
            hits = spread(hits, depth, recipe.passages, &mut explanation);
            hits.truncate(recipe.passages);
            let found: HashSet<PassageId> = hits.iter().map(|hit| hit.passage.id).collect();
            hits = self.widen(&corpus, hits, depth, &mut explanation).await?;
            let all = hits.iter().map(|hit| hit.passage.id);
            beside = all.filter(|id| !found.contains(id)).collect();
        }
        explanation.passages = (hits.iter().map(|hit| hit.passage.id))
            .map(|passage| Origin {
                passage,
                ranks: ranks.get(&passage).cloned().unwrap_or_default(),
                rerank_score: scores.get(&passage).copied(),
                is_neighbour: beside.contains(&passage),
                is_read: false,
            })
            .collect();
        Ok(Seen {
            hits,
            openings,
            is_degraded,
            archived,
            explanation,
        })
    }

    fn query(&self, text: &str, vector: &Vector, recipe: Recipe) -> Query {
        Query {
            text: text.to_owned(),
            vector: vector.numbers.to_vec(),
            filter: self.question.filter.clone(),
            limit: recipe.candidates(),
            mode: vector.mode(Mode::Hybrid),
            fusion: Fusion::default(),
        }
    }

    /// What each query finds in the same version of the corpus.
    async fn find_all(
        &self,
        corpus: &Snapshot,
        queries: &[Query],
        recipe: Recipe,
    ) -> Result<(Vec<Vec<Hit>>, Vec<Passage>, bool), Error> {
        let filter = &self.question.filter;
        let _place = self.asker.config.searching.enter().await?;
        let mut lists = Vec::with_capacity(queries.len());
        let mut is_degraded = false;
        for query in queries {
            let found = corpus.search(query).await?;
            is_degraded |= !found.missing.is_empty();
            lists.push(found.hits);
        }
        let openings = match recipe.openings {
            0 => Vec::new(),
            most => corpus.openings(filter, most).await,
        };
        self.asker.note_search(is_degraded);
        Ok((lists, openings, is_degraded))
    }

    /// The hits, the best of them with what stands beside them.
    async fn widen(
        &self,
        corpus: &Snapshot,
        hits: Vec<Hit>,
        depth: Depth,
        explanation: &mut Explanation,
    ) -> Result<Vec<Hit>, Error> {
        if depth.neighbours == 0 {
            explanation.note(
                StepName::Neighbours,
                Outcome::Off,
                "'depth.neighbours' is 0",
            );
            return Ok(hits);
        }
        let best = hits.iter().take(depth.neighbours);
        let best: Vec<Passage> = best.map(|hit| hit.passage.clone()).collect();
        let beside = {
            let _place = self.asker.config.searching.enter().await?;
            corpus.beside(&best).await
        };
        let found = hits.len();
        let hits = between(hits, beside, depth.neighbours);
        explanation.note(
            StepName::Neighbours,
            Outcome::Done,
            format!(
                "{} passages beside the best {} were added",
                hits.len() - found,
                best.len()
            ),
        );
        Ok(hits)
    }
}

/// The rank of each passage in each list, from 1.
fn ranks(lists: &[Vec<Hit>]) -> HashMap<PassageId, Vec<Option<u32>>> {
    let mut ranks: HashMap<PassageId, Vec<Option<u32>>> = HashMap::new();
    for (number, list) in lists.iter().enumerate() {
        for (rank, hit) in (1..).zip(list) {
            let of_passage = ranks
                .entry(hit.passage.id)
                .or_insert_with(|| vec![None; lists.len()]);
            of_passage[number] = Some(rank);
        }
    }
    ranks
}

fn by_passage(hits: &[Hit], scored: &Scored) -> HashMap<PassageId, f32> {
    let scored = scored.iter();
    scored
        .filter_map(|(at, score)| Some((hits.get(*at)?.passage.id, *score)))
        .collect()
}

/// The hits with no more than so many of one source before those of others. None is lost: where there is one
/// source only, nothing changes.
fn spread(hits: Vec<Hit>, depth: Depth, wanted: usize, explanation: &mut Explanation) -> Vec<Hit> {
    if depth.per_source == 0 {
        explanation.note(StepName::PerSource, Outcome::Off, "'depth.per_source' is 0");
        return hits;
    }
    let mut counts: HashMap<SourceId, usize> = HashMap::new();
    let before = hits.len().min(wanted);
    let (mut first, back): (Vec<_>, Vec<_>) = hits.into_iter().enumerate().partition(|(_, hit)| {
        let count = counts.entry(hit.passage.source).or_default();
        *count += 1;
        *count <= depth.per_source
    });
    first.extend(back);
    let kept = first.iter().take(wanted);
    let moved = kept.filter(|(at, _)| *at >= before).count();
    explanation.note(
        StepName::PerSource,
        Outcome::Done,
        format!("{moved} passages gave way to those of other sources"),
    );
    first.into_iter().map(|(_, hit)| hit).collect()
}

/// The hits, each of the first `anchors` followed by the passages beside it that were not found themselves.
fn between(hits: Vec<Hit>, mut beside: Vec<Passage>, anchors: usize) -> Vec<Hit> {
    beside.retain(|passage| hits.iter().all(|hit| hit.passage.id != passage.id));
    let mut wider = Vec::with_capacity(hits.len() + beside.len());
    for (at, hit) in hits.into_iter().enumerate() {
        let (source, ordinal) = (hit.passage.source, hit.passage.ordinal);
        wider.push(hit);
        if at >= anchors {
            continue;
        }
        let is_beside = |passage: &mut Passage| {
            passage.source == source && passage.ordinal.abs_diff(ordinal) == 1
        };
        wider.extend(beside.extract_if(.., is_beside).map(|passage| Hit {
            passage,
            // Nothing scored it.
            scores: Scores {
                fused: 0.0,
                lexical: None,
                dense: 0.0,
            },
        }));
    }
    wider
}

#[cfg(test)]
mod tests {
    use quire_types::{NotebookId, Place};

    use super::*;

    fn passage(source: SourceId, ordinal: i32) -> Passage {
        Passage {
            id: PassageId::generate(),
            notebook: NotebookId::generate(),
            source,
            source_version: 1,
            source_name: String::new(),
            ordinal,
            context: String::new(),
            body: String::new(),
            place: Place::default(),
        }
    }

    fn hit(source: SourceId, ordinal: i32) -> Hit {
        Hit {
            passage: passage(source, ordinal),
            scores: Scores {
                fused: 1.0,
                lexical: None,
                dense: 0.5,
            },
        }
    }

    fn order(hits: &[Hit], sources: &[SourceId]) -> Vec<(usize, i32)> {
        let number = |source| sources.iter().position(|other| *other == source);
        hits.iter()
            .map(|hit| {
                let number = number(hit.passage.source).unwrap_or(usize::MAX);
                (number, hit.passage.ordinal)
            })
            .collect()
    }

    #[test]
    fn one_source_gives_way_to_others_but_loses_nothing_where_it_is_alone() {
        let [a, b] = [SourceId::generate(), SourceId::generate()];
        let depth = Depth {
            phrasings: 0,
            per_source: 2,
            neighbours: 0,
        };
        let hits = [(a, 0), (a, 1), (a, 2), (b, 0), (a, 3)].map(|(source, at)| hit(source, at));
        let mut explanation = Explanation::default();
        let spread_out = spread(hits.to_vec(), depth, 3, &mut explanation);
        assert_eq!(
            order(&spread_out, &[a, b]),
            [(0, 0), (0, 1), (1, 0), (0, 2), (0, 3)]
        );
        assert!(
            explanation.steps[0].detail.starts_with("1 passages"),
            "{explanation:?}"
        );
        let alone: Vec<Hit> = (0..5).map(|at| hit(a, at)).collect();
        let same = spread(alone.clone(), depth, 5, &mut explanation);
        assert_eq!(order(&same, &[a]), order(&alone, &[a]));
    }

    #[test]
    fn what_stands_beside_the_best_follows_it_and_nothing_is_there_twice() {
        let [a, b] = [SourceId::generate(), SourceId::generate()];
        let hits = vec![hit(a, 4), hit(b, 1), hit(a, 5), hit(b, 7)];
        let found_already = hits[2].passage.clone();
        let beside = vec![
            passage(a, 3),
            found_already,
            passage(b, 0),
            passage(b, 2),
            passage(b, 6),
        ];
        let wider = between(hits, beside, 2);
        assert_eq!(
            order(&wider, &[a, b]),
            [(0, 4), (0, 3), (1, 1), (1, 0), (1, 2), (0, 5), (1, 7)]
        );
    }
}
