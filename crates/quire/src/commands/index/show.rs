//! What `quire index` prints of segments, and of making them anew.

use serde_json::{Value, json};

use quire_index::{Folded, Rebuilt, RolledBack, Stats};
use quire_models::SHIPPED_EMBEDDER;
use quire_types::Language;

use crate::failure::Failure;
use crate::output::{Output, count};

pub(super) fn stats(output: &Output, stats: &Stats) -> Result<(), Failure> {
    if output.is_json() {
        return output.json(&stats_json(stats));
    }
    let tail_age = stats.tail.age_s.map_or_else(String::new, |age| {
        format!(", the oldest {} min old", (age / 60.0) as u64)
    });
    let dimension = stats
        .manifest
        .dimension
        .map_or_else(|| "none yet".to_owned(), |value| value.to_string());
    let embedding = embedding_name(stats.manifest.embedding.as_ref());
    let lines = [
        (
            "corpus",
            format!(
                "version {}, generation {}",
                stats.manifest.version, stats.manifest.generation
            ),
        ),
        ("language", stats.language.to_string()),
        ("embedding", format!("{embedding}, dimension {dimension}")),
        ("tail", count(stats.tail.rows, "passage") + &tail_age),
        (
            "stored",
            format!("{} in segments", size(stats.total_bytes.unsigned_abs())),
        ),
    ];
    for (name, value) in lines {
        output.line(format!("{name:10} {value}"));
    }
    if let Some(build) = &stats.build {
        let by = build
            .embedding
            .as_ref()
            .map_or_else(String::new, |embedding| {
                format!(" by {}", embedding_name(embedding.model.as_ref()))
            });
        output.line(format!(
            "{:10} {}{by}, {} of {} passages, begun {}",
            "rebuild",
            build.state.as_str(),
            build.rows_done,
            build.rows_total,
            build.started_at.format("%Y-%m-%d %H:%M")
        ));
    }
    let live = stats.segments.iter().map(|segment| {
        vec![
            segment.id.to_string(),
            segment.rows.to_string(),
            format!("{:.1} %", segment.dead_share() * 100.0),
            size(segment.bytes.unsigned_abs()),
            if segment.is_clustered {
                "clusters"
            } else {
                "flat"
            }
            .to_owned(),
            segment.created_at.format("%Y-%m-%d %H:%M").to_string(),
        ]
    });
    let retired = stats.retired.iter().map(|segment| {
        vec![
            segment.id.to_string(),
            String::new(),
            "retired".to_owned(),
            size(segment.bytes.unsigned_abs()),
            String::new(),
            segment.retired_at.format("%Y-%m-%d %H:%M").to_string(),
        ]
    });
    let archives = stats.archives.iter().map(|archive| {
        let segment = &archive.segment;
        vec![
            segment.id.to_string(),
            segment.rows.to_string(),
            String::new(),
            size(segment.bytes.unsigned_abs()),
            "archive".to_owned(),
            segment.created_at.format("%Y-%m-%d %H:%M").to_string(),
        ]
    });
    let rows: Vec<Vec<String>> = live.chain(archives).chain(retired).collect();
    if !rows.is_empty() {
        output.table(
            &["segment", "passages", "dead", "size", "scan", "since"],
            &rows,
        );
    }
    Ok(())
}

fn embedding_name(model: Option<&String>) -> &str {
    model.map_or(SHIPPED_EMBEDDER, String::as_str)
}

fn stats_json(stats: &Stats) -> Value {
    let segments: Vec<Value> = stats
        .segments
        .iter()
        .map(|segment| {
            json!({
                "id": segment.id, "passages": segment.rows, "alive": segment.alive,
                "dead_share": segment.dead_share(), "bytes": segment.bytes, "format": segment.format,
                "clustered": segment.is_clustered, "created_at": segment.created_at,
            })
        })
        .collect();
    let retired: Vec<Value> = stats
        .retired
        .iter()
        .map(|segment| {
            json!({ "id": segment.id, "bytes": segment.bytes, "retired_at": segment.retired_at })
        })
        .collect();
    let archives: Vec<Value> = stats
        .archives
        .iter()
        .map(|archive| {
            let segment = &archive.segment;
            json!({
                "id": segment.id, "notebook": archive.notebook, "passages": segment.rows,
                "bytes": segment.bytes, "created_at": segment.created_at,
            })
        })
        .collect();
    let build = stats.build.as_ref().map(|build| {
        json!({
            "id": build.id, "state": build.state.as_str(), "passages_done": build.rows_done,
            "embedding": build.embedding.as_ref().map(|embedding| embedding_name(embedding.model.as_ref())),
            "passages_total": build.rows_total, "recall": build.recall, "started_at": build.started_at,
            "finished_at": build.finished_at,
        })
    });
    json!({
        "version": stats.manifest.version, "generation": stats.manifest.generation,
        "dimension": stats.manifest.dimension, "language": stats.language,
        "embedding": embedding_name(stats.manifest.embedding.as_ref()),
        "tail": { "passages": stats.tail.rows, "age_s": stats.tail.age_s },
        "segments": segments, "archives": archives, "retired": retired, "build": build,
        "total_bytes": stats.total_bytes,
    })
}

pub(super) fn folded(output: &Output, done: Folded) -> Result<(), Failure> {
    if output.is_json() {
        return output.json(&json!({
            "folded_passages": done.folded, "merged_passages": done.merged, "written_bytes": done.written_bytes,
        }));
    }
    output.line(format!(
        "{} moved from the tail into segments, {} from segments into others; {} written",
        count(done.folded, "passage"),
        done.merged,
        size(done.written_bytes)
    ));
    Ok(())
}

pub(super) fn rebuilt(output: &Output, slug: &str, built: &Rebuilt) -> Result<(), Failure> {
    if output.is_json() {
        return output.json(&json!({
            "build": built.build, "segments": built.segments, "moved_passages": built.moved,
            "passed_over_passages": built.passed_over, "written_bytes": built.written_bytes,
            "questions": built.questions, "own_questions": built.own_questions, "recall": built.recall,
        }));
    }
    output.line(format!(
        "{} moved to {}; {} written",
        count(built.moved, "passage"),
        count(built.segments.len() as u64, "new segment"),
        size(built.written_bytes)
    ));
    if built.passed_over > 0 {
        output.line(format!(
            "{} passages were replaced, deleted or moved meanwhile",
            built.passed_over
        ));
    }
    if let Some(recall) = built.recall {
        output.line(format!(
            "recall {recall:.3}: the new segments find {:.1} % of the best ten passages in {} of the tenant's own \
             questions and {} made of its passages",
            recall * 100.0,
            built.own_questions,
            built.questions - built.own_questions
        ));
    }
    output.note(format!(
        "the old segments stay for a while: `quire index rollback {slug}` puts them back"
    ));
    Ok(())
}

pub(super) fn rolled_back(output: &Output, slug: &str, back: &RolledBack) -> Result<(), Failure> {
    if output.is_json() {
        return output.json(&json!({
            "build": back.build, "segments": back.segments, "moved_passages": back.moved,
            "passages_to_embed": back.to_embed, "going_on": back.going_on,
        }));
    }
    if back.going_on.is_some() {
        output.line(format!(
            "{} came since, and the model of before has to embed them first; then the old segments are back",
            count(back.to_embed, "passage")
        ));
        output.note(format!(
            "a running quire does it: `quire index stats {slug}` shows how far it is"
        ));
        return Ok(());
    }
    output.line(format!(
        "{} moved back to {}",
        count(back.moved, "passage"),
        count(back.segments.len() as u64, "old segment")
    ));
    Ok(())
}

pub(super) fn language(output: &Output, slug: &str, language: Language) -> Result<(), Failure> {
    if output.is_json() {
        return output.json(&json!({ "language": language }));
    }
    output.line(format!("the language of '{slug}' is {language}"));
    output.note(format!(
        "words of passages in segments match as before only after `quire index rebuild {slug}`"
    ));
    Ok(())
}

/// Bytes as people read them, in powers of ten.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}
