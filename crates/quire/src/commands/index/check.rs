//! What `quire index` prints of faults, and of what was removed.

use serde_json::{Value, json};

use quire_index::{Erased, Mended, Problem, Swept, Verified};
use quire_types::{ErrorKind, SegmentId};

use super::show::size;
use crate::failure::Failure;
use crate::output::{Output, count};

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
            "read every byte of {} with {}",
            count(verified.segments.len() as u64, "segment"),
            count(passages, "passage")
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
                "found {:.1} % of the best ten passages in {}",
                recall * 100.0,
                count(verified.questions as u64, "question")
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
    let number = problems().count() + verified.tail.len();
    Err(Failure::new(
        kind,
        format!(
            "{} in the index of '{slug}'",
            count(number as u64, "problem")
        ),
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
        let list = |problems: &[(SegmentId, Problem)]| -> Vec<Value> {
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
        if mended.sources.is_empty() {
            output.line("no source has to be read again");
        } else {
            output.line(format!(
                "{} to be read again by a running quire; nothing of these can be found until then",
                count(mended.sources.len() as u64, "source")
            ));
        }
    }
    if mended.unknown.is_empty() {
        return Ok(());
    }
    let unknown = count(mended.unknown.len() as u64, "segment");
    Err(Failure::new(
        ErrorKind::Unavailable,
        format!("{unknown} could not be judged"),
    ))
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
    let number = swept.retired.len() + swept.orphans.len();
    let done = if is_dry {
        "would be removed"
    } else {
        "removed"
    };
    output.line(format!(
        "{} {done}, {}",
        count(number as u64, "object"),
        size(swept.bytes)
    ));
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
