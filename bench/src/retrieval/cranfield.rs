//! The Cranfield collection: 1,400 abstracts, 225 questions, judged by people.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::time::Instant;

use quire_types::{SourceId, SourceState};

use super::engine::Engine;
use super::lists::{Found, Lists, Ranking};
use super::metrics::{mean, ndcg, recall};
use crate::failure::Failure;
use crate::report::{Report, Target, line, note, table};

/// Passages per list: enough for 100 documents.
const LIMIT: usize = 400;

/// The collection as its files have it.
pub(super) struct Collection {
    documents: Vec<Document>,
    /// In the order of the file, which is how the judgements number them.
    questions: Vec<String>,
    /// Relevant documents by number of the question, from 1.
    relevant: HashMap<u32, HashSet<u32>>,
}

struct Document {
    id: u32,
    title: String,
    text: String,
}

pub(super) fn read(data: &Path) -> Result<Collection, Failure> {
    let read = |name: &str| {
        let path = data.join("cranfield").join(name);
        fs::read_to_string(&path).map_err(|error| {
            Failure::Missing(format!(
                "{}: {error}; the Cranfield 1400 collection (cran.all.1400, cran.qry, cranqrel) is on \
                 http://ir.dcs.gla.ac.uk/resources/test_collections/cran/: unpack it into the folder \
                 cranfield of the data folder, or name another data folder with --data",
                path.display()
            ))
        })
    };
    let documents = records(&read("cran.all.1400")?)
        .into_iter()
        .map(|(id, mut fields)| Document {
            id,
            title: fields.remove(".T").unwrap_or_default(),
            text: fields.remove(".W").unwrap_or_default(),
        })
        .collect();
    let questions = records(&read("cran.qry")?)
        .into_iter()
        .map(|(_, mut fields)| fields.remove(".W").unwrap_or_default().replace('\n', " "))
        .collect();
    Ok(Collection {
        documents,
        questions,
        relevant: judgements(&read("cranqrel")?),
    })
}

/// Records of a file in SMART's format: a number, then sections in a fixed order, so that a line that
/// only looks like a mark stays text.
fn records(text: &str) -> Vec<(u32, HashMap<&'static str, String>)> {
    const MARKS: [&str; 4] = [".T", ".A", ".B", ".W"];
    let mut records: Vec<(u32, HashMap<&'static str, String>)> = Vec::new();
    let mut section = None;
    for line in text.lines() {
        if let Some(id) = line.strip_prefix(".I ") {
            records.push((id.trim().parse().unwrap_or(0), HashMap::new()));
            section = None;
            continue;
        }
        let mark = MARKS.iter().position(|mark| line.trim_end() == *mark);
        if mark.is_some() && mark > section {
            section = mark;
            continue;
        }
        if let (Some((_, fields)), Some(section)) = (records.last_mut(), section) {
            let field = fields.entry(MARKS[section]).or_default();
            if !field.is_empty() {
                field.push('\n');
            }
            field.push_str(line);
        }
    }
    records
}

/// Codes 1 to 4 are degrees of relevance; what else there is means "not relevant".
fn judgements(text: &str) -> HashMap<u32, HashSet<u32>> {
    let mut relevant: HashMap<u32, HashSet<u32>> = HashMap::new();
    for line in text.lines() {
        let mut numbers = line.split_whitespace().map(str::parse::<i32>);
        if let (Some(Ok(question)), Some(Ok(document)), Some(Ok(1..=4))) =
            (numbers.next(), numbers.next(), numbers.next())
        {
            let documents = relevant.entry(question.unsigned_abs()).or_default();
            documents.insert(document.unsigned_abs());
        }
    }
    relevant
}

/// Adds the documents, asks the questions, and puts the metrics into the report.
pub(super) async fn measure(
    engine: &Engine,
    collection: &Collection,
    rankings: &[Ranking],
    report: &mut Report,
) -> Result<(), Failure> {
    let placement = engine.tenant("cranfield").await?;
    let notebook = engine.notebook(placement, "abstracts").await?;
    note(format!(
        "cranfield: adding {} documents",
        collection.documents.len()
    ));
    let start = Instant::now();
    // Equal documents are one source.
    let mut documents: HashMap<SourceId, Vec<u32>> = HashMap::new();
    for document in &collection.documents {
        let text = format!("{}\n\n{}", document.title, document.text);
        let name = format!("{}.txt", document.id);
        let source = engine.add(placement, notebook, &name, text).await?;
        documents.entry(source).or_default().push(document.id);
    }
    let ids: Vec<SourceId> = documents.keys().copied().collect();
    let sources = engine.finished(placement, &ids).await?;
    let passages: i32 = sources.iter().map(|source| source.passages).sum();
    let failed: Vec<&str> = sources
        .iter()
        .filter(|source| source.state == SourceState::Failed)
        .map(|source| source.name.as_str())
        .collect();
    let seconds = start.elapsed().as_secs_f64();
    line(format!(
        "cranfield: {} documents, {passages} passages, added in {seconds:.1} s ({:.1} passages/s); without text: {}",
        collection.documents.len(),
        f64::from(passages) / seconds,
        failed.join(", ")
    ));

    note(format!(
        "cranfield: asking {} questions",
        collection.questions.len()
    ));
    let mut asked: Vec<(&HashSet<u32>, Lists)> = Vec::new();
    for (number, question) in (1..).zip(&collection.questions) {
        if let Some(relevant) = collection.relevant.get(&number) {
            let lists = engine.lists(placement, notebook, question, LIMIT).await?;
            asked.push((relevant, lists));
        }
    }
    let mut rows = Vec::new();
    for ranking in rankings {
        let ranked: Vec<(&HashSet<u32>, Vec<u32>)> = asked
            .iter()
            .map(|(relevant, lists)| (*relevant, by_document(&ranking.rank(lists), &documents)))
            .collect();
        let ndcg10 = mean(ranked.iter().map(|(good, list)| ndcg(list, good, 10)));
        let recall100 = mean(ranked.iter().map(|(good, list)| recall(list, good, 100)));
        rows.push([
            ranking.name(),
            format!("{ndcg10:.4}"),
            format!("{recall100:.4}"),
        ]);
        let (name, goals) = match ranking {
            Ranking::Lexical => ("bm25", [0.385, 0.735].map(Target::Reference)),
            Ranking::Dense => ("dense", [0.400, 0.772].map(Target::Reference)),
            Ranking::Hybrid => ("hybrid", [0.435, 0.79].map(Target::AtLeast)),
            _ => continue,
        };
        for ((measure, value), goal) in [("ndcg10", ndcg10), ("recall100", recall100)]
            .into_iter()
            .zip(goals)
        {
            report.metric(
                &format!("cranfield_{measure}_{name}"),
                value,
                "",
                Some(goal),
            );
        }
    }
    line(format!(
        "cranfield, {} questions, a document scores as its best passage:",
        asked.len()
    ));
    table(&["ranking", "nDCG@10", "recall@100"], &rows);
    Ok(())
}

/// Documents in the order of their best passages.
fn by_document(passages: &[Found], documents: &HashMap<SourceId, Vec<u32>>) -> Vec<u32> {
    let mut seen = HashSet::new();
    passages
        .iter()
        .filter(|found| seen.insert(found.source))
        .filter_map(|found| documents.get(&found.source))
        .flatten()
        .copied()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_looks_like_a_mark_stays_text() {
        let text =
            ".I 7\n.T\na title\n.A\nsomebody\n.B\n.W\nfirst\n.T\nlast\n.I 8\n.T\n.A\n.B\n.W\n";
        let found = records(text);
        assert_eq!(found.len(), 2);
        let (id, fields) = &found[0];
        assert_eq!(
            (*id, fields[".T"].as_str(), fields[".W"].as_str()),
            (7, "a title", "first\n.T\nlast")
        );
        assert!(!found[1].1.contains_key(".W"));
    }

    #[test]
    fn only_degrees_one_to_four_are_relevant() {
        let relevant = judgements("1 184 2\n1 29 5\n1 30 -1 \n2 12 4\n");
        assert_eq!(relevant[&1], HashSet::from([184]));
        assert_eq!(relevant[&2], HashSet::from([12]));
    }
}
