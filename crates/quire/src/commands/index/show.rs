//! What `quire index` prints.

use serde_json::{Value, json};

use quire_index::{Erased, Folded, Mended, Problem, Rebuilt, RolledBack, Stats, Swept, Verified};
use quire_types::{ErrorKind, Language};

use crate::failure::Failure;
use crate::output::Output;

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
    let memory = stats.view_bytes.map_or_else(
        || "nothing, in this process".to_owned(),
        |bytes| size(bytes as u64),
    );
    let lines = [
        (
            "corpus",
            format!(
                "version {}, generation {}",
                stats.manifest.version, stats.manifest.generation
            ),
        ),
        ("language", stats.language.to_string()),
        ("dimension", dimension),
        ("tail", format!("{} passages{tail_age}", stats.tail.rows)),
        (
            "stored",
            format!("{} in segments", size(stats.total_bytes.unsigned_abs())),
        ),
        ("memory", memory),
    ];
    for (name, value) in lines {
        output.line(format!("{name:10} {value}"));
    }
    if let Some(build) = &stats.build {
        output.line(format!(
            "{:10} {}, {} of {} passages, begun {}",
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
    let rows: Vec<Vec<String>> = live.chain(retired).collect();
    if !rows.is_empty() {
        output.table(
            &["segment", "passages", "dead", "size", "scan", "since"],
            &rows,
        );
    }
    Ok(())
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
    let build = stats.build.as_ref().map(|build| {
        json!({
            "id": build.id, "state": build.state.as_str(), "passages_done": build.rows_done,
            "passages_total": build.rows_total, "recall": build.recall, "started_at": build.started_at,
            "finished_at": build.finished_at,
        })
    });
    json!({
        "version": stats.manifest.version, "generation": stats.manifest.generation,
        "dimension": stats.manifest.dimension, "language": stats.language,
        "tail": { "passages": stats.tail.rows, "age_s": stats.tail.age_s },
        "segments": segments, "retired": retired, "build": build,
        "view_bytes": stats.view_bytes, "total_bytes": stats.total_bytes,
    })
}

pub(super) fn folded(output: &Output, done: Folded) -> Result<(), Failure> {
    if output.is_json() {
        return output.json(&json!({
            "folded_passages": done.folded, "merged_passages": done.merged, "written_bytes": done.written_bytes,
        }));
    }
    output.line(format!(
        "{} passages moved from the tail into segments, {} from segments into others; {} written",
        done.folded,
        done.merged,
        size(done.written_bytes)
    ));
    Ok(())
}

pub(super) fn verified(output: &Output, slug: &str, verified: &Verified) -> Result<(), Failure> {
    let problems = || {
        verified
            .segments
            .iter()
            .filter_map(|one| Some((one, one.problem.as_ref()?)))
    };
    if output.is_json() {
        let segments: Vec<Value> = verified
            .segments
            .iter()
            .map(|one| {
                let problem = one.problem.as_ref().map(
                    |problem| json!({ "detail": problem.to_string(), "fix": fix(problem, slug) }),
                );
                json!({ "id": one.id, "passages": one.rows, "problem": problem })
            })
            .collect();
        output.json(&json!({
            "sound": verified.is_sound(), "segments": segments, "tail": verified.tail,
            "questions": verified.questions, "recall": verified.recall,
        }))?;
    } else {
        let passages: i64 = verified
            .segments
            .iter()
            .map(|one| i64::from(one.rows))
            .sum();
        output.line(format!(
            "{} segments with {passages} passages were read",
            verified.segments.len()
        ));
        for (one, problem) in problems() {
            output.line(format!("{}: {problem}; {}", one.id, fix(problem, slug)));
        }
        for source in &verified.tail {
            output.line(format!(
                "{source}: its passages in the database are not as many as they should be; delete it and \
                 add it again"
            ));
        }
        if let Some(recall) = verified.recall {
            output.line(format!(
                "{:.1} % of the best ten passages were found in {} questions",
                recall * 100.0,
                verified.questions
            ));
        }
    }
    if verified.is_sound() {
        return Ok(());
    }
    // Nothing is known to be lost as long as the store only did not answer.
    let is_loss = !verified.tail.is_empty() || problems().any(|(_, problem)| !is_away(problem));
    let kind = if is_loss {
        ErrorKind::Internal
    } else {
        ErrorKind::Unavailable
    };
    let count = problems().count() + verified.tail.len();
    Err(Failure::new(
        kind,
        format!("{count} problems in the index of '{slug}'"),
    ))
}

fn is_away(problem: &Problem) -> bool {
    matches!(problem, Problem::Unreachable(_))
}

/// What to do about a problem.
fn fix(problem: &Problem, slug: &str) -> String {
    match problem {
        Problem::Missing | Problem::Damaged(_) | Problem::Lacks(_) => {
            format!("`quire index mend {slug}` reads its sources again")
        }
        Problem::Foreign(_) => {
            "run the version of quire that wrote it, or see whose bucket this is".to_owned()
        }
        Problem::Unreachable(_) => "see that the object store answers, then try again".to_owned(),
    }
}

pub(super) fn mended(output: &Output, slug: &str, mended: &Mended) -> Result<(), Failure> {
    if output.is_json() {
        let list = |problems: &[(quire_types::SegmentId, Problem)]| -> Vec<Value> {
            let one =
                |(id, problem): &(_, Problem)| json!({ "id": id, "detail": problem.to_string() });
            problems.iter().map(one).collect()
        };
        let sources: Vec<Value> = mended.sources.iter().map(|(id, _)| json!(id)).collect();
        output.json(&json!({
            "segments": list(&mended.segments), "sources": sources, "unknown": list(&mended.unknown),
        }))?;
    } else {
        for (id, problem) in &mended.segments {
            output.line(format!("{id} was given up: {problem}"));
        }
        for (id, problem) in &mended.unknown {
            output.line(format!(
                "{id} was left alone: {problem}; {}",
                fix(problem, slug)
            ));
        }
        match mended.sources.len() {
            0 => output.line("no source has to be read again"),
            count => output.line(format!(
                "{count} sources are queued to be read again by a running quire; until then they can't be found"
            )),
        }
    }
    match mended.unknown.len() {
        0 => Ok(()),
        count => Err(Failure::new(
            ErrorKind::Unavailable,
            format!("{count} segments could not be judged"),
        )),
    }
}

pub(super) fn rebuilt(output: &Output, slug: &str, built: &Rebuilt) -> Result<(), Failure> {
    if output.is_json() {
        return output.json(&json!({
            "build": built.build, "segments": built.segments, "moved_passages": built.moved,
            "passed_over_passages": built.passed_over, "written_bytes": built.written_bytes,
            "questions": built.questions, "recall": built.recall,
        }));
    }
    output.line(format!(
        "{} passages are in {} new segments; {} written",
        built.moved,
        built.segments.len(),
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
            "recall {recall:.3}: the new segments find {:.1} % of the best ten passages in {} questions",
            recall * 100.0,
            built.questions
        ));
    }
    output.note(format!(
        "the old segments stay for a while: `quire index rollback {slug}` puts them back"
    ));
    Ok(())
}

pub(super) fn rolled_back(output: &Output, back: &RolledBack) -> Result<(), Failure> {
    if output.is_json() {
        return output.json(&json!({
            "build": back.build, "segments": back.segments, "moved_passages": back.moved,
        }));
    }
    output.line(format!(
        "{} passages are read from {} old segments again",
        back.moved,
        back.segments.len()
    ));
    Ok(())
}

pub(super) fn language(output: &Output, slug: &str, language: Language) -> Result<(), Failure> {
    if output.is_json() {
        return output.json(&json!({ "language": language }));
    }
    output.line(format!("the language of '{slug}' is {language}"));
    output.note(format!(
        "what is folded already keeps the words it was made with until `quire index rebuild {slug}`"
    ));
    Ok(())
}

pub(super) fn swept(output: &Output, swept: &Swept, is_dry: bool) -> Result<(), Failure> {
    if output.is_json() {
        let keys = |entries: &[quire_store::ObjectEntry]| -> Vec<Value> {
            entries
                .iter()
                .map(|entry| json!({ "key": entry.key.as_str(), "bytes": entry.size_bytes, "modified": entry.modified }))
                .collect()
        };
        return output.json(&json!({
            "dry_run": is_dry, "retired": swept.retired, "orphans": keys(&swept.orphans),
            "noted": keys(&swept.noted), "bytes": swept.bytes,
        }));
    }
    for id in &swept.retired {
        output.line(format!("retired  {id}"));
    }
    for entry in &swept.orphans {
        output.line(format!(
            "orphan   {}  {}",
            entry.key.as_str(),
            size(entry.size_bytes)
        ));
    }
    for entry in &swept.noted {
        output.line(format!(
            "noted    {}  {}  (no row names it; a later sweep removes it)",
            entry.key.as_str(),
            size(entry.size_bytes)
        ));
    }
    let count = swept.retired.len() + swept.orphans.len();
    let done = if is_dry {
        "would be removed"
    } else {
        "removed"
    };
    output.line(format!("{count} objects {done}, {}", size(swept.bytes)));
    Ok(())
}

pub(super) fn erased(output: &Output, slug: &str, erased: &Erased) -> Result<(), Failure> {
    if output.is_json() {
        let tables: Vec<Value> = erased
            .rows
            .iter()
            .zip(&erased.rows_left)
            .map(|((table, rows), (_, left))| {
                json!({ "table": table.as_str(), "erased": rows, "left": left })
            })
            .collect();
        output.json(&json!({
            "complete": erased.is_complete(), "tables": tables, "objects_erased": erased.objects,
            "objects_left": erased.objects_left,
        }))?;
    } else {
        let mut rows: Vec<Vec<String>> = erased
            .rows
            .iter()
            .zip(&erased.rows_left)
            .map(|((table, rows), (_, left))| {
                vec![
                    table.as_str().to_owned(),
                    rows.to_string(),
                    left.to_string(),
                ]
            })
            .collect();
        rows.push(vec![
            "objects".to_owned(),
            erased.objects.to_string(),
            erased.objects_left.to_string(),
        ]);
        output.table(&["what", "erased", "left"], &rows);
    }
    if erased.is_complete() {
        output.note(format!(
            "nothing of '{slug}' is left here; what it used and paid is kept, and backups are yours to remove"
        ));
        return Ok(());
    }
    Err(Failure::new(
        ErrorKind::Unavailable,
        format!(
            "something of '{slug}' is left, perhaps from a task that still ran: erase it again"
        ),
    ))
}

/// Bytes as people read them, in powers of ten.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}
