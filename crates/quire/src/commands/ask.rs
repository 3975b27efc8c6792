//! `quire ask`.

use serde_json::json;

use quire_ask::{Answer, Citation, Explanation, Question, Route};
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
            groups: args.groups.clone(),
            ..Filter::default()
        },
        fresh: true,
        explain: args.explain,
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
            "kind": answer.kind.as_str(), "text": answer.text, "note": answer.remark(), "model": answer.model,
            "citations": citations, "route": answer.decision, "cost": answer.usage.cost.to_string(),
            "archived_notebooks": answer.archived, "explain": answer.explanation,
        }));
    }
    output.line(&answer.text);
    for citation in &answer.citations {
        output.line(format!("  [{}] {}", citation.marker, place(citation)));
    }
    if let Some(remark) = answer.remark() {
        output.note(format!("({remark})"));
    }
    if let Some(explanation) = &answer.explanation {
        explain(output, explanation);
    }
    Ok(())
}

/// How the passages were found, a line for each step and phrasing.
fn explain(output: &Output, explanation: &Explanation) {
    for step in &explanation.steps {
        let model = step.model.as_deref().map(|name| format!(" by {name}"));
        output.note(format!(
            "{:<11} {:<8} {}{}, {}",
            step.name.as_str(),
            step.outcome.as_str(),
            step.detail,
            model.unwrap_or_default(),
            step.cost
        ));
    }
    for phrasing in &explanation.phrasings {
        output.note(format!("also looked for: {phrasing}"));
    }
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
