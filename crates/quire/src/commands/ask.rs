//! `quire ask`.

use serde_json::json;

use quire_ask::{Answer, Citation, Note, Question, Route};
use quire_index::Filter;

use super::{after_name, notebook_ids, tenant};
use crate::cli::{AskArgs, AskRoute};
use crate::failure::Failure;
use crate::node::Node;
use crate::output::Output;

pub(super) async fn run(args: &AskArgs, node: &Node, output: &Output) -> Result<(), Failure> {
    let tenant = tenant(&node.store, &args.tenant).await?;
    let placement = tenant.placement();
    let notebooks = notebook_ids(&node.store, placement, &args.notebook).await?;
    let services = node.services().await?;
    let question = Question {
        text: args.question.clone(),
        filter: Filter {
            notebooks,
            ..Filter::default()
        },
        fresh: true,
        history: Vec::new(),
        route: args.route.map(|route| match route {
            AskRoute::Simple => Route::Simple,
            AskRoute::Moderate => Route::Moderate,
            AskRoute::Complex => Route::Complex,
        }),
    };
    let answer = services
        .asker
        .ask(&node.asking(&tenant).await?, question, &mut |_| {})
        .await?;
    show(output, &answer)
}

/// The answer with its citations below it.
pub(crate) fn show(output: &Output, answer: &Answer) -> Result<(), Failure> {
    if output.is_json() {
        let citations: Vec<_> = answer.citations.iter().map(citation_json).collect();
        return output.json(&json!({
            "kind": answer.kind.as_str(), "text": answer.text, "note": answer.note.map(Note::as_str), "model": answer.model,
            "citations": citations, "route": answer.decision, "cost": answer.usage.cost.to_string(),
        }));
    }
    output.line(&answer.text);
    for citation in &answer.citations {
        output.line(format!("  [{}] {}", citation.marker, place(citation)));
    }
    if let Some(note) = answer.note {
        output.note(format!("({})", note.as_str()));
    }
    Ok(())
}

fn place(citation: &Citation) -> String {
    let mut place = citation.source_name.clone() + &after_name(&citation.place);
    if let Some(heading) = citation.place.heading_path.last() {
        place.push_str(&format!(", {heading}"));
    }
    place
}

fn citation_json(citation: &Citation) -> serde_json::Value {
    json!({
        "marker": citation.marker, "source": citation.source, "source_name": citation.source_name,
        "source_version": citation.source_version, "passage": citation.passage,
        "notebook": citation.notebook, "place": citation.place, "quote": citation.quote,
    })
}
