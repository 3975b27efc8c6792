//! Questions about the sample company, and whether an answer is right.

use std::fs;
use std::path::Path;

use serde::Deserialize;

use super::client::{Answer, Client, Notebooks};
use crate::failure::Failure;
use crate::report::line;

#[derive(Deserialize)]
pub(crate) struct Question {
    pub(super) id: String,
    /// Where to ask; none for all notebooks.
    pub(super) notebook: Option<String>,
    #[serde(rename = "question")]
    pub(super) text: String,
    expect: Expectation,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Expectation {
    Nothing {
        none: bool,
    },
    Something {
        /// Notebook and file that answer.
        source: String,
        /// Other files that say the same.
        also: Vec<String>,
        /// Words of the answer.
        contains: Vec<String>,
    },
}

pub(crate) fn read(path: &Path) -> Result<Vec<Question>, Failure> {
    let text = fs::read_to_string(path).map_err(|error| {
        Failure::Missing(format!(
            "{}: {error}; the questions are part of the repository: start in its root, or name the file \
             with --questions",
            path.display()
        ))
    })?;
    text.lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| {
            serde_json::from_str(line)
                .map_err(Failure::doing(format!("{}: {line}", path.display())))
        })
        .collect()
}

/// How many questions are answered right; says of the others why they are not.
pub(crate) async fn right(questions: &[Question], client: &Client) -> Result<f64, Failure> {
    let notebooks = client.notebooks().await?;
    let mut right = 0_u32;
    for question in questions {
        let answer = client.ask(question, &notebooks).await?;
        match question.judge(&answer, &notebooks) {
            Ok(()) => right += 1,
            Err(why) => line(format!("wrong: {} {}: {why}", question.id, question.text)),
        }
    }
    line(format!("{right} of {} answered right", questions.len()));
    Ok(f64::from(right))
}

impl Question {
    /// Says why an answer is wrong, if it is.
    pub(super) fn judge(&self, answer: &Answer, notebooks: &Notebooks) -> Result<(), String> {
        let is_unanswered = answer.kind == "unanswered";
        let (source, also, contains) = match &self.expect {
            Expectation::Nothing { none } if is_unanswered == *none => return Ok(()),
            Expectation::Nothing { .. } => {
                return Err(format!("nothing answers it, but: {}", shown(answer)));
            }
            Expectation::Something {
                source,
                also,
                contains,
            } => (source, also, contains),
        };
        if is_unanswered {
            return Err(format!("unanswered; {source} answers it"));
        }
        let cited: Vec<String> = answer
            .citations
            .iter()
            .map(|citation| {
                let notebook = notebooks.get(&citation.notebook);
                let notebook = notebook.map_or("?", String::as_str);
                format!("{notebook}/{}", citation.source_name)
            })
            .collect();
        if !cited
            .iter()
            .any(|name| name == source || also.contains(name))
        {
            return Err(format!(
                "expected {source}, cites {}: {}",
                cited.join(", "),
                shown(answer)
            ));
        }
        let said = said(answer);
        let missing = contains
            .iter()
            .find(|words| !said.contains(&squeezed(words)));
        match missing {
            Some(words) => Err(format!("'{words}' is missing: {}", shown(answer))),
            None => Ok(()),
        }
    }
}

/// The answer and its quotes.
fn said(answer: &Answer) -> String {
    let quotes = answer.citations.iter().map(|citation| &citation.quote);
    let all: Vec<String> = std::iter::once(&answer.text)
        .chain(quotes)
        .map(|text| squeezed(text))
        .collect();
    all.join("\n")
}

fn squeezed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The beginning of an answer in one line.
fn shown(answer: &Answer) -> String {
    squeezed(&answer.text).chars().take(160).collect()
}
