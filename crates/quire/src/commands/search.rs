//! `quire search`.

use serde_json::json;

use quire_index::{Filter, Mode};

use super::{after_name, notebook_ids, tenant};
use crate::cli::{SearchArgs, SearchMode};
use crate::failure::Failure;
use crate::node::Node;
use crate::output::Output;

pub(super) async fn run(args: &SearchArgs, node: &Node, output: &Output) -> Result<(), Failure> {
    let tenant = tenant(&node.store, &args.tenant).await?;
    let placement = tenant.placement();
    let notebooks = notebook_ids(&node.store, placement, &args.notebook).await?;
    let services = node.services().await?;
    let mode = match args.mode {
        SearchMode::Hybrid => Mode::Hybrid,
        SearchMode::Lexical => Mode::Lexical,
        SearchMode::Dense => Mode::Dense,
    };
    let filter = Filter {
        notebooks,
        groups: args.groups.clone(),
        ..Filter::default()
    };
    let asking = node.asking(&tenant).await?;
    let limit = usize::from(args.limit);
    let found = services
        .asker
        .search(&asking, &args.query, filter, limit, mode)
        .await?;
    let hits = found.hits;
    if output.is_json() {
        let hits: Vec<_> = hits
            .iter()
            .map(|hit| {
                json!({
                    "score": hit.scores.fused, "lexical_score": hit.scores.lexical, "dense_score": hit.scores.dense,
                    "passage": hit.passage.id, "source": hit.passage.source, "source_name": hit.passage.source_name,
                    "notebook": hit.passage.notebook, "context": hit.passage.context, "text": hit.passage.body,
                    "place": hit.passage.place,
                })
            })
            .collect();
        return output.json(&json!({ "hits": hits, "degraded": found.is_degraded }));
    }
    for (rank, hit) in (1..).zip(&hits) {
        let place = after_name(&hit.passage.place);
        output.line(format!(
            "{rank}. {}{place}  ({:.3})",
            hit.passage.source_name, hit.scores.fused
        ));
        for line in hit.passage.body.lines() {
            output.line(format!("   {line}"));
        }
    }
    if hits.is_empty() {
        output.note("nothing was found");
    }
    if found.is_degraded {
        output.note(format!(
            "a part of the sources can't be read right now: `quire index verify {}` says why",
            tenant.slug
        ));
    }
    Ok(())
}
