//! The corpora of brandonstarxel/chunking_evaluation: each question has exact spans in its corpus. Quire's passages,
//! and pieces of the same mean length that two usual ways cut; everything else is the same for all of them.

mod align;
mod baseline;
mod csv;

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::time::Instant;

use quire_store::Placement;
use quire_store::passages::Passage;
use quire_types::NotebookId;
use serde::Deserialize;

use super::engine::Engine;
use super::lists::{Lists, Ranking};
use super::metrics::Spans;
use crate::failure::Failure;
use crate::report::{Report, line, note, table};
use align::Alignment;
use baseline::{Baseline, mean_length};

/// Candidates of each path, as many as search itself looks at.
const LIMIT: usize = 400;
/// With fewer of the wanted spans at their places the measures would mean nothing.
const LEAST_EXACT: f64 = 0.99;

/// The collection as its files have it.
pub(super) struct Collection {
    corpora: BTreeMap<String, Corpus>,
}

#[derive(Default)]
struct Corpus {
    text: String,
    questions: Vec<Asked>,
}

struct Asked {
    question: String,
    references: Vec<Reference>,
}

impl Asked {
    fn wanted(&self) -> Vec<Range<usize>> {
        self.references.iter().map(Reference::span).collect()
    }
}

/// Characters of the corpus that answer a question.
#[derive(Deserialize)]
struct Reference {
    content: String,
    start_index: usize,
    end_index: usize,
}

impl Reference {
    fn span(&self) -> Range<usize> {
        self.start_index..self.end_index
    }
}

pub(super) fn read(data: &Path) -> Result<Collection, Failure> {
    let folder = data.join("chunking");
    let read = |name: &str| {
        let path = folder.join(name);
        fs::read_to_string(&path).map_err(|error| {
            Failure::Missing(format!(
                "{}: {error}; the corpora and questions_df.csv are in the folder \
                 chunking_evaluation/evaluation_framework/general_evaluation_data of \
                 https://github.com/brandonstarxel/chunking_evaluation: copy them into the folder chunking \
                 of the data folder, or name another data folder with --data",
                path.display()
            ))
        })
    };
    let mut corpora: BTreeMap<String, Corpus> = BTreeMap::new();
    for row in csv::rows(&read("questions_df.csv")?).into_iter().skip(1) {
        let Ok([question, references, id]) = <[String; 3]>::try_from(row) else {
            return Err(Failure::failed(
                "questions_df.csv: a row has not three fields",
            ));
        };
        let references = serde_json::from_str(&references)
            .map_err(Failure::doing(format!("the references of '{question}'")))?;
        let corpus = corpora.entry(id).or_default();
        corpus.questions.push(Asked {
            question,
            references,
        });
    }
    for (id, corpus) in &mut corpora {
        corpus.text = read(&format!("{id}.md"))?;
    }
    Ok(Collection { corpora })
}

/// Adds the corpora, asks the questions, and puts the metrics into the report.
pub(super) async fn measure(
    engine: &Engine,
    collection: &Collection,
    passages: usize,
    rankings: &[Ranking],
    report: &mut Report,
) -> Result<(), Failure> {
    let placement = engine.tenant("chunking").await?;
    let mut asked: Vec<(&Asked, Lists, &str)> = Vec::new();
    let mut alignments: BTreeMap<&str, Alignment> = BTreeMap::new();
    let mut lengths = Vec::new();
    for (id, corpus) in &collection.corpora {
        let notebook = engine.notebook(placement, id).await?;
        let added = Box::pin(add(engine, placement, notebook, id, corpus)).await?;
        lengths.extend(added.iter().map(|passage| passage.body.chars().count()));
        alignments.insert(id, Alignment::new(&corpus.text, &added));
        for question in &corpus.questions {
            let lists = engine.lists(placement, notebook, &question.question, LIMIT);
            asked.push((question, lists.await?, id));
        }
    }
    check(collection, &alignments)?;

    let mut rows = Vec::new();
    let mut own = Vec::new();
    for ranking in rankings {
        let spans: Vec<Spans> = asked
            .iter()
            .filter_map(|(question, lists, id)| {
                let alignment = alignments.get(id)?;
                let found = ranking.rank(lists).into_iter().take(passages);
                let found: Vec<Range<usize>> = found
                    .filter_map(|found| alignment.original(&found.chars))
                    .collect();
                Some(Spans::of(&question.wanted(), &found))
            })
            .collect();
        rows.push(row(ranking.name(), &spans));
        if matches!(ranking, Ranking::Hybrid) {
            tell(report, "chunking", &spans);
            own = spans;
        }
    }
    line(format!(
        "chunking, {} questions, the best {passages} passages of the question's corpus:",
        asked.len()
    ));
    table(&["ranking", "recall", "precision", "IoU"], &rows);

    let mean = lengths.iter().sum::<usize>() as f64 / lengths.len().max(1) as f64;
    let mut rows = vec![row(format!("quire, {mean:.0} characters"), &own)];
    for baseline in Baseline::ALL {
        let (spans, mean) = Box::pin(beside(engine, collection, baseline, passages, mean)).await?;
        rows.push(row(
            format!("{}, {mean:.0} characters", baseline.name()),
            &spans,
        ));
        rows.push(difference(&own, &spans));
        tell(report, baseline.name(), &spans);
    }
    line("ways to cut, ranked alike; differences are paired, with 95 % intervals:");
    table(&["cut", "recall", "precision", "IoU"], &rows);
    Ok(())
}

fn row(name: String, spans: &[Spans]) -> [String; 4] {
    let mean = Spans::mean(spans);
    let [recall, precision, iou] =
        [mean.recall, mean.precision, mean.iou].map(|value| format!("{value:.4}"));
    [name, recall, precision, iou]
}

fn tell(report: &mut Report, name: &str, spans: &[Spans]) {
    let mean = Spans::mean(spans);
    for (measure, value) in [
        ("recall", mean.recall),
        ("precision", mean.precision),
        ("iou", mean.iou),
    ] {
        report.metric(&format!("{name}_{measure}"), value, "", None);
    }
}

/// How much more one way has than another, question by question.
fn difference(own: &[Spans], other: &[Spans]) -> [String; 4] {
    let of = |value: fn(&Spans) -> f64| {
        let pairs = own.iter().zip(other);
        let differences: Vec<f64> = pairs.map(|(one, two)| value(one) - value(two)).collect();
        let count = differences.len().max(1) as f64;
        let mean = differences.iter().sum::<f64>() / count;
        let squares = differences.iter().map(|one| (one - mean).powi(2));
        let half = 1.96 * (squares.sum::<f64>() / count / count).sqrt();
        format!("{mean:+.4} ± {half:.4}")
    };
    [
        "  quire has more".to_owned(),
        of(|spans| spans.recall),
        of(|spans| spans.precision),
        of(|spans| spans.iou),
    ]
}

/// The same questions over pieces that were cut another way, and the mean length of those.
async fn beside(
    engine: &Engine,
    collection: &Collection,
    baseline: Baseline,
    passages: usize,
    mean: f64,
) -> Result<(Vec<Spans>, f64), Failure> {
    note(format!("chunking: cutting the {} way", baseline.name()));
    let placement = engine.tenant(baseline.name()).await?;
    let texts: Vec<Vec<char>> = collection
        .corpora
        .values()
        .map(|corpus| corpus.text.chars().collect())
        .collect();
    let cut = baseline.cut_like(&texts, mean);
    let mut all = Vec::new();
    for (((id, corpus), text), pieces) in collection.corpora.iter().zip(&texts).zip(&cut) {
        let notebook = engine.notebook(placement, id).await?;
        let name = format!("{id}.txt");
        engine
            .publish(placement, notebook, &name, text, pieces)
            .await?;
        for question in &corpus.questions {
            let lists = engine.lists(placement, notebook, &question.question, LIMIT);
            let found: Vec<Range<usize>> = (lists.await?.hybrid.into_iter().take(passages))
                .map(|found| found.chars.start as usize..found.chars.end as usize)
                .collect();
            all.push(Spans::of(&question.wanted(), &found));
        }
    }
    Ok((all, mean_length(&cut)))
}

/// Adds a corpus as plain text, whose characters quire keeps except for blanks.
async fn add(
    engine: &Engine,
    placement: Placement,
    notebook: NotebookId,
    id: &str,
    corpus: &Corpus,
) -> Result<Vec<Passage>, Failure> {
    note(format!("chunking: adding {id}"));
    let start = Instant::now();
    let name = format!("{id}.txt");
    let source = engine
        .add(placement, notebook, &name, corpus.text.clone())
        .await?;
    engine.finished(placement, &[source]).await?;
    let passages = engine.passages(placement, source).await?;
    let seconds = start.elapsed().as_secs_f64();
    let lengths = passages.iter().map(|passage| passage.body.chars().count());
    line(format!(
        "chunking: {id}: {} characters, {} passages of {} characters on average, added in {seconds:.1} s",
        corpus.text.chars().count(),
        passages.len(),
        lengths.sum::<usize>() / passages.len().max(1),
    ));
    Ok(passages)
}

/// Refuses to measure unless the wanted spans are where the alignment says.
fn check(collection: &Collection, alignments: &BTreeMap<&str, Alignment>) -> Result<(), Failure> {
    let (mut exact, mut all) = (0_u32, 0_u32);
    for (id, corpus) in &collection.corpora {
        let references = corpus.questions.iter().flat_map(|asked| &asked.references);
        for reference in references {
            let extracted = alignments
                .get(id.as_str())
                .and_then(|alignment| alignment.extracted(&reference.span()));
            all += 1;
            exact += u32::from(extracted.is_some_and(|text| same(&text, &reference.content)));
        }
    }
    let share = f64::from(exact) / f64::from(all.max(1));
    line(format!(
        "chunking: {exact} of {all} wanted spans stand verbatim at their mapped places ({:.2} %)",
        share * 100.0
    ));
    if share < LEAST_EXACT {
        return Err(Failure::failed(
            "the places of passages can't be mapped to the corpus files",
        ));
    }
    Ok(())
}

/// Equal but for the amount of white space.
fn same(one: &str, two: &str) -> bool {
    one.split_whitespace().eq(two.split_whitespace())
}
