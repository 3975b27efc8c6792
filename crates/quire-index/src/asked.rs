//! Which notebooks questions found something in lately, written down for the rules about tiers.
//!
//! Half a day is exact enough for rules that count days, so each process writes a notebook down once in that
//! time, beside the question and not before it. What is lost with a process comes with the next question.

use std::collections::BTreeSet;
use std::time::Duration;

use moka::sync::Cache;

use quire_store::{Placement, Store, tiers};
use quire_types::NotebookId;

use crate::Hit;

const EXACT_TO: Duration = Duration::from_hours(12);
/// Notebooks that are remembered; those beyond are written down more often.
const MOST: u64 = 100_000;

/// What was written down lately. A clone is the same memory.
#[derive(Clone)]
pub(crate) struct Asked {
    noted: Cache<(Placement, NotebookId), ()>,
}

impl Default for Asked {
    fn default() -> Self {
        let noted = Cache::builder()
            .max_capacity(MOST)
            .time_to_live(EXACT_TO)
            .build();
        Self { noted }
    }
}

impl Asked {
    /// Notes that a question found these passages.
    pub(crate) fn note(&self, store: &Store, placement: Placement, hits: &[Hit]) {
        let mut notebooks: BTreeSet<NotebookId> =
            hits.iter().map(|hit| hit.passage.notebook).collect();
        notebooks.retain(|notebook| !self.noted.contains_key(&(placement, *notebook)));
        if notebooks.is_empty() {
            return;
        }
        let notebooks: Vec<NotebookId> = notebooks.into_iter().collect();
        for notebook in &notebooks {
            self.noted.insert((placement, *notebook), ());
        }
        let (noted, store) = (self.noted.clone(), store.clone());
        tokio::spawn(async move {
            let written = async {
                let mut tx = store.tenant(placement).await?;
                tiers::note_asked(&mut tx, &notebooks).await?;
                tx.commit().await
            };
            if let Err(error) = written.await {
                tracing::debug!(tenant = %placement.tenant, %error,
                    "can't note that notebooks were asked; the next question will");
                for notebook in notebooks {
                    noted.invalidate(&(placement, notebook));
                }
            }
        });
    }
}
