//! What was found, put in order by a model that reads each passage beside the question.

use std::collections::HashMap;

use quire_index::{Hit, Scores};
use quire_tenancy::usage::{Kind as Work, Quantities};
use quire_tenancy::{Admitted, Route as Admission};

use crate::Error;
use crate::answering::Asked;
use crate::explain::{Outcome, Step, StepName};

/// Bytes of a passage that count; it begins with what it is about.
const DOCUMENT_BYTES: usize = 1_200;
/// Tokens of question and passage beyond which Cohere counts a passage as several, and passages of a search.
const DOCUMENT_TOKENS: usize = 500;
const SEARCH_DOCUMENTS: usize = 100;

/// Bytes that a model reads of so many passages at most: the question with each of them.
pub(crate) fn most_bytes(question: &str, documents: usize) -> usize {
    documents * (question.len() + DOCUMENT_BYTES)
}

/// Searches that so many passages count as at most.
pub(crate) fn most_searches(question: &str, documents: usize, bytes_per_token: usize) -> u64 {
    let tokens = (question.len() + DOCUMENT_BYTES).div_ceil(bytes_per_token);
    let counted = documents * tokens.div_ceil(DOCUMENT_TOKENS);
    counted.div_ceil(SEARCH_DOCUMENTS) as u64
}

fn document(hit: &Hit) -> String {
    let mut text = format!("{}\n{}", hit.passage.context, hit.passage.body);
    text.truncate(text.floor_char_boundary(DOCUMENT_BYTES));
    text
}

/// What the model said about passages, by their place in the list that it was given.
pub(crate) type Scored = HashMap<usize, f32>;

/// The hits in the order of their scores; those without one behind, as they were.
pub(crate) fn reorder(hits: Vec<Hit>, scored: &Scored) -> Vec<Hit> {
    let mut hits: Vec<(Option<f32>, Hit)> = hits
        .into_iter()
        .enumerate()
        .map(|(at, hit)| (scored.get(&at).copied(), hit))
        .collect();
    let worth = |score: &Option<f32>| score.unwrap_or(f32::NEG_INFINITY);
    hits.sort_by(|(a, _), (b, _)| worth(b).total_cmp(&worth(a)));
    hits.into_iter()
        .map(|(score, hit)| match score {
            Some(fused) => Hit {
                scores: Scores {
                    fused,
                    ..hit.scores
                },
                ..hit
            },
            None => hit,
        })
        .collect()
}

impl Asked {
    /// The scores that a model gives to what was found; empty where no model can be asked.
    pub(crate) async fn rerank(
        &self,
        admitted: &Admitted,
        question: &str,
        hits: &[Hit],
    ) -> Result<(Scored, Step), Error> {
        let mut step = Step::new(StepName::Rerank);
        let Some(wanted) = self.asker.reranking(question, hits.len()) else {
            step.outcome = Outcome::Off;
            step.detail = "no chain 'rerank' is configured".to_owned();
            return Ok((Scored::new(), step));
        };
        if hits.len() < 2 || admitted.route != Admission::Full {
            step.detail = match hits.len() {
                0 | 1 => "there is nothing to put in order",
                _ => "there is no money or no room for it",
            }
            .to_owned();
            return Ok((Scored::new(), step));
        }
        let Some(mut hops) = self.asker.hops_for(admitted.account(), wanted).await? else {
            step.detail = "no model can be asked right now".to_owned();
            return Ok((Scored::new(), step));
        };
        let documents: Vec<String> = hits.iter().map(document).collect();
        let mut failed = None;
        for number in 1.. {
            let hop = match hops.next(failed.as_ref()) {
                Ok(hop) => hop,
                Err(_) => {
                    match &failed {
                        Some(failed) => step.failed(failed),
                        None => step.detail = "no model can be asked right now".to_owned(),
                    }
                    break;
                }
            };
            step.model = Some(hop.model().to_owned());
            let costs = hop.costs();
            let attempt = admitted
                .attempt(Work::Rerank, number, hop.provider(), hop.model(), costs)
                .await?;
            match hop.rerank(question, &documents).await {
                Ok((reranked, cost)) => {
                    step.cost = step.cost.saturating_add(cost.unwrap_or(costs.0));
                    if let Some(cost) = cost {
                        let tokens = reranked.input_tokens.unwrap_or_default();
                        let quantities = Quantities {
                            input_tokens: i64::try_from(tokens).unwrap_or(i64::MAX),
                            ..Quantities::default()
                        };
                        attempt.close(quantities, cost);
                    }
                    step.outcome = Outcome::Done;
                    step.detail = format!("{} passages were put in order", hits.len());
                    return Ok((reranked.order.into_iter().collect(), step));
                }
                Err(error) => {
                    attempt.failed(&error);
                    if !error.is_unbilled() {
                        step.cost = step.cost.saturating_add(costs.1);
                    }
                    failed = Some(error);
                }
            }
        }
        Ok((Scored::new(), step))
    }
}
