//! What fusing the two paths gives, collection by collection, and the least it gives anywhere.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use quire_index::Reason;
use serde_json::{Value, json};

use super::engine::Engine;
use super::judged::{Answers, Judged};
use super::lists::{Found, Ranking};
use super::metrics::mean;
use crate::failure::Failure;
use crate::report::{Report, Target, line, table};

/// Asks every collection and puts the metrics into the report; with more than one collection, also the
/// least that fusion gave over the better path.
pub(super) async fn measure(
    engine: &Engine,
    collections: Vec<Judged>,
    rankings: &[Ranking],
    lists: Option<&Path>,
    report: &mut Report,
) -> Result<(), Failure> {
    let mut answers = Vec::new();
    for collection in collections {
        answers.push(collection.answers(engine).await?);
    }
    if let Some(path) = lists {
        write(path, &answers).map_err(Failure::doing(format!("writing {}", path.display())))?;
    }
    let margins: Vec<f64> = answers
        .iter()
        .map(|answers| compare(answers, rankings, report))
        .collect();
    if margins.len() > 1 {
        let least = margins.into_iter().fold(f64::INFINITY, f64::min);
        report.metric(
            "fusion_min_margin",
            least,
            "",
            Some(Target::AtLeast(-0.005)),
        );
    }
    Ok(())
}

/// Prints the rankings of a collection and says by how much the product's own beats the better path.
fn compare(answers: &Answers, rankings: &[Ranking], report: &mut Report) -> f64 {
    let name = &answers.name;
    let mut rows = Vec::new();
    let (mut best_path, mut fused) = (0.0_f64, 0.0);
    for ranking in rankings {
        let quality = answers.quality(*ranking);
        rows.push([
            ranking.name(),
            format!("{:.4}", quality.ndcg10),
            format!("{:.4}", quality.recall100),
        ]);
        let short = match ranking {
            Ranking::Lexical => "bm25",
            Ranking::Dense => "dense",
            Ranking::Hybrid => "hybrid",
            _ => continue,
        };
        if matches!(ranking, Ranking::Hybrid) {
            fused = quality.ndcg10;
        } else {
            best_path = best_path.max(quality.ndcg10);
        }
        let measures = [("ndcg10", quality.ndcg10), ("recall100", quality.recall100)];
        for (measure, value) in measures {
            let metric = format!("{name}_{measure}_{short}");
            report.metric(&metric, value, "", target(&metric));
        }
    }
    let margin = fused - best_path;
    report.metric(&format!("{name}_fusion_margin"), margin, "", None);
    line("");
    line(format!(
        "{name}, {} questions, a document scores as its best passage:",
        answers.questions()
    ));
    table(&["ranking", "nDCG@10", "recall@100"], &rows);
    line(weights(answers));
    margin
}

/// Which weights the questions of a collection got.
fn weights(answers: &Answers) -> String {
    let explained = || answers.iter().filter_map(|(_, lists)| lists.explained);
    let weights: Vec<f64> = explained()
        .filter_map(|explained| explained.weight.map(f64::from))
        .collect();
    let count = |reasons: &[Reason]| {
        let matching = explained().filter(|explained| reasons.contains(&explained.reason));
        matching.count()
    };
    format!(
        "adaptive: the vectors weigh {:.2} on average; {} questions without the words, {} without the vectors",
        mean(weights.into_iter()),
        count(&[Reason::WeakWords, Reason::OnlyPath]),
        count(&[Reason::WeakVectors])
    )
}

/// What is asked of a metric of this suite.
fn target(metric: &str) -> Option<Target> {
    match metric {
        "cranfield_ndcg10_bm25" => Some(Target::Reference(0.385)),
        "cranfield_recall100_bm25" => Some(Target::Reference(0.735)),
        "cranfield_ndcg10_dense" => Some(Target::Reference(0.400)),
        "cranfield_recall100_dense" => Some(Target::Reference(0.772)),
        "cranfield_ndcg10_hybrid" => Some(Target::AtLeast(0.437)),
        "cranfield_recall100_hybrid" => Some(Target::AtLeast(0.80)),
        _ => None,
    }
}

/// One line for each question, so that other ways to fuse can be tried without asking again.
fn write(path: &Path, answers: &[Answers]) -> std::io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for answers in answers {
        for (question, lists) in answers.iter() {
            let list = |found: &[Found]| -> Vec<Value> {
                let row = |found: &Found| {
                    let documents = answers.documents(found.source);
                    let scores = found.scores;
                    json!([
                        documents.first(),
                        found.passage.to_string(),
                        scores.lexical,
                        scores.dense
                    ])
                };
                found.iter().map(row).collect()
            };
            let question = json!({
                "collection": answers.name, "kind": question.kind, "question": question.text, "grades": question.grades,
                "lexical": list(&lists.lexical), "dense": list(&lists.dense), "explained": lists.explained,
            });
            writeln!(file, "{question}")?;
        }
    }
    file.flush()
}
