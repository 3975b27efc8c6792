//! `quire tasks`.

use std::collections::HashMap;

use serde_json::json;

use quire_queue::{DeadGroup, ScheduleRow, ScheduleSelection, Selection, TaskRow, advise};
use quire_store::{SystemTx, tenants};
use quire_types::{ScheduleId, TaskId, TenantId};

use crate::cli::{Held, TaskSelection, TasksCommand};
use crate::failure::Failure;
use crate::node::Node;
use crate::output::{Output, count};

pub(super) async fn run(
    command: &TasksCommand,
    node: &Node,
    output: &Output,
) -> Result<(), Failure> {
    let mut tx = node.store.system().await?;
    match command {
        TasksCommand::List {
            selection,
            state,
            limit,
        } => {
            let selection = select(&mut tx, selection).await?;
            let tasks = quire_queue::list(&mut tx, &selection, state.as_deref(), *limit).await?;
            let slugs = slugs(&mut tx, tasks.iter().map(|task| task.tenant_id.into())).await?;
            show(output, &tasks, &slugs)?;
        }
        TasksCommand::Show { task } => {
            let task = quire_queue::get(&mut tx, id(task)?).await?;
            let slugs = slugs(&mut tx, [task.tenant_id.into()]).await?;
            output.json(&as_json(&task, &slugs))?;
        }
        TasksCommand::Stats { hours } => stats(&mut tx, output, *hours).await?,
        TasksCommand::Dead(selection) => {
            let selection = select(&mut tx, selection).await?;
            show_dead(output, &quire_queue::dead(&mut tx, &selection).await?)?;
        }
        TasksCommand::Retry(selection) => {
            let selection = select(&mut tx, selection).await?;
            let tasks = quire_queue::retry(&mut tx, &selection).await?;
            tell(output, tasks, "tried again")?;
        }
        TasksCommand::Discard(selection) => {
            let selection = select(&mut tx, selection).await?;
            let tasks = quire_queue::discard(&mut tx, &selection).await?;
            tell(output, tasks, "discarded")?;
        }
        TasksCommand::Cancel(selection) => {
            let selection = select(&mut tx, selection).await?;
            let tasks = quire_queue::cancel(&mut tx, &selection).await?;
            tell(output, tasks, "cancelled")?;
        }
        TasksCommand::Pause(held) => pause(&mut tx, output, held, true).await?,
        TasksCommand::Resume(held) => pause(&mut tx, output, held, false).await?,
        TasksCommand::Limit { kind, most, .. } => {
            quire_queue::limit_kind(&mut tx, kind, *most).await?;
            let limit = match most {
                Some(most) => format!("at most {most} tasks of kind '{kind}' run at once"),
                None => format!("tasks of kind '{kind}' have no limit but that of their code"),
            };
            output.note(format!("{limit}, in all workers within two seconds"));
        }
        TasksCommand::Schedules {
            tenant,
            kind,
            broken,
            limit,
        } => {
            let selection = ScheduleSelection {
                schedule: None,
                tenant: tenant_id(&mut tx, tenant.as_deref()).await?,
                kind: kind.clone(),
                is_broken: *broken,
            };
            let rows = quire_queue::schedules(&mut tx, &selection, *limit).await?;
            let slugs = slugs(&mut tx, rows.iter().map(|row| row.tenant_id.into())).await?;
            show_schedules(output, &rows, &slugs)?;
        }
        TasksCommand::Dedicate { slug } => {
            let tenant = tenants::by_slug(&mut tx, slug).await?;
            quire_queue::dedicate(&mut tx, tenant.id).await?;
            output.note(format!(
                "new tasks of '{slug}' go to a shard of its own; start: quire serve --role worker --tenant {slug}"
            ));
        }
        TasksCommand::Advise => {
            let advice = advise(&quire_queue::stats(&mut tx).await?);
            if output.is_json() {
                output.json(&serde_json::to_value(&advice).unwrap_or_default())?;
            } else {
                output.line(format!(
                    "{} workers are there, {} should be: {}",
                    advice.workers, advice.wanted, advice.why
                ));
            }
        }
    }
    Ok(tx.commit().await?)
}

fn id(text: &str) -> Result<TaskId, Failure> {
    text.parse()
        .map_err(|error| Failure::invalid(format!("{error}")))
}

async fn tenant_id(tx: &mut SystemTx, slug: Option<&str>) -> Result<Option<TenantId>, Failure> {
    Ok(match slug {
        Some(slug) => Some(tenants::by_slug(tx, slug).await?.id),
        None => None,
    })
}

async fn select(tx: &mut SystemTx, selection: &TaskSelection) -> Result<Selection, Failure> {
    Ok(Selection {
        task: selection.task.as_deref().map(id).transpose()?,
        tenant: tenant_id(tx, selection.tenant.as_deref()).await?,
        kind: selection.kind.clone(),
        signature: selection.signature.clone(),
    })
}

/// The short names of tenants.
async fn slugs(
    tx: &mut SystemTx,
    ids: impl IntoIterator<Item = TenantId>,
) -> Result<HashMap<TenantId, String>, Failure> {
    let mut slugs = HashMap::new();
    for id in ids {
        if let std::collections::hash_map::Entry::Vacant(entry) = slugs.entry(id) {
            // A task may outlive its tenant.
            let slug = tenants::get(tx, id)
                .await
                .map_or_else(|_| id.to_string(), |tenant| tenant.slug);
            entry.insert(slug);
        }
    }
    Ok(slugs)
}

fn as_json(task: &TaskRow, slugs: &HashMap<TenantId, String>) -> serde_json::Value {
    json!({
        "id": TaskId::from(task.id), "tenant": slugs.get(&task.tenant_id.into()), "kind": task.kind,
        "state": task.state, "priority": task.priority, "attempts": task.attempt, "concurrency_key": task.key,
        "at": task.at, "error": task.error, "error_kind": task.error_kind, "payload": task.payload,
    })
}

fn show(
    output: &Output,
    tasks: &[TaskRow],
    slugs: &HashMap<TenantId, String>,
) -> Result<(), Failure> {
    if output.is_json() {
        let tasks: Vec<_> = tasks.iter().map(|task| as_json(task, slugs)).collect();
        return output.json(&json!({ "tasks": tasks }));
    }
    let rows: Vec<Vec<String>> = tasks
        .iter()
        .map(|task| {
            vec![
                TaskId::from(task.id).to_string(),
                slugs
                    .get(&task.tenant_id.into())
                    .cloned()
                    .unwrap_or_default(),
                task.kind.clone(),
                task.state.clone(),
                task.attempt.to_string(),
                task.error.clone().unwrap_or_default(),
            ]
        })
        .collect();
    output.table(
        &["id", "tenant", "kind", "state", "attempts", "error"],
        &rows,
    );
    Ok(())
}

fn show_dead(output: &Output, groups: &[DeadGroup]) -> Result<(), Failure> {
    if output.is_json() {
        return output.json(&json!({ "groups": groups }));
    }
    let rows: Vec<Vec<String>> = groups
        .iter()
        .map(|group| {
            vec![
                group.kind.clone(),
                group.tasks.to_string(),
                group.tenants.to_string(),
                group.last.format("%Y-%m-%d %H:%M").to_string(),
                group.error_kind.clone(),
                group.signature.clone(),
            ]
        })
        .collect();
    output.table(
        &["kind", "tasks", "tenants", "last", "error", "signature"],
        &rows,
    );
    Ok(())
}

fn show_schedules(
    output: &Output,
    rows: &[ScheduleRow],
    slugs: &HashMap<TenantId, String>,
) -> Result<(), Failure> {
    let slug = |row: &ScheduleRow| {
        let slug = slugs.get(&row.tenant_id.into());
        slug.cloned().unwrap_or_default()
    };
    if output.is_json() {
        let schedules: Vec<_> = rows
            .iter()
            .map(|row| {
                json!({
                    "id": ScheduleId::from(row.id), "tenant": slug(row), "name": row.name, "kind": row.kind,
                    "priority": row.priority, "rule": row.rule, "time_zone": row.time_zone, "missed": row.missed,
                    "paused": row.is_paused, "next_at": row.next_at, "fired_at": row.fired_at, "problem": row.problem,
                })
            })
            .collect();
        return output.json(&json!({ "schedules": schedules }));
    }
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let next = match (&row.problem, row.next_at) {
                (Some(problem), _) => format!("never: {problem}"),
                (None, None) => "never: it is over".to_owned(),
                (None, Some(_)) if row.is_paused => "when it is resumed".to_owned(),
                (None, Some(at)) => at.format("%Y-%m-%d %H:%M:%S").to_string(),
            };
            vec![
                ScheduleId::from(row.id).to_string(),
                slug(row),
                row.kind.clone(),
                row.rule.clone(),
                row.missed.clone(),
                next,
            ]
        })
        .collect();
    output.table(&["id", "tenant", "kind", "rule", "missed", "next"], &rows);
    Ok(())
}

fn tell(output: &Output, tasks: u64, what: &str) -> Result<(), Failure> {
    if output.is_json() {
        return output.json(&json!({ "tasks": tasks }));
    }
    output.note(format!("{tasks} tasks are {what}"));
    Ok(())
}

async fn pause(
    tx: &mut SystemTx,
    output: &Output,
    held: &Held,
    paused: bool,
) -> Result<(), Failure> {
    let state = if paused { "held back" } else { "let go" };
    let what = match (&held.kind, &held.tenant, &held.schedule) {
        (Some(kind), ..) => {
            quire_queue::pause_kind(tx, kind, paused).await?;
            format!("kind '{kind}'")
        }
        (_, Some(slug), _) => {
            let tenant = tenants::by_slug(tx, slug).await?;
            quire_queue::pause_tenant(tx, tenant.id, paused).await?;
            format!("tenant '{slug}'")
        }
        (.., Some(schedule)) => {
            let id = schedule
                .parse()
                .map_err(|error| Failure::invalid(format!("{error}")))?;
            quire_queue::pause_schedule(tx, id, paused).await?;
            output.note(format!("schedule {schedule} is {state}"));
            return Ok(());
        }
        _ => return Err(Failure::invalid("name a kind, a tenant or a schedule")),
    };
    output.note(format!(
        "tasks of {what} are {state}, in all workers within two seconds"
    ));
    Ok(())
}

async fn stats(tx: &mut SystemTx, output: &Output, hours: i32) -> Result<(), Failure> {
    let stats = quire_queue::stats(tx).await?;
    let top = quire_queue::top_tenants(tx, hours, 10).await?;
    let events = quire_queue::events(tx, 10).await?;
    let ids = top
        .iter()
        .map(|row| row.tenant_id)
        .chain(events.iter().map(|event| event.tenant_id));
    let slugs = slugs(tx, ids.map(TenantId::from).collect::<Vec<_>>()).await?;
    let slug = |id: TenantId| slugs.get(&id).cloned().unwrap_or_default();
    if output.is_json() {
        let tenants: Vec<_> = top
            .iter()
            .map(|row| {
                json!({
                    "tenant": slug(row.tenant_id.into()), "done": row.done, "failed": row.failed, "dead": row.dead,
                    "busy_ms": row.busy_ms, "waited_ms": row.waited_ms,
                })
            })
            .collect();
        let events: Vec<_> = events
            .iter()
            .map(|event| {
                json!({ "tenant": slug(event.tenant_id.into()), "at": event.at, "what": event.what, "detail": event.detail })
            })
            .collect();
        return output.json(&json!({ "queue": stats, "tenants": tenants, "events": events }));
    }
    output.line(format!(
        "{}, {} of {} seats in use, {} tasks wait for their time, {} are dead",
        count(stats.workers, "worker"),
        stats.seats_used,
        stats.seats,
        stats.deferred,
        stats.dead
    ));
    if !stats.unknown_kinds.is_empty() {
        output.line(format!(
            "nobody can run: {}",
            stats.unknown_kinds.join(", ")
        ));
    }
    for row in &stats.kinds {
        let limit = row
            .most_running
            .map(|most| format!("at most {most} at once"));
        let paused = row.is_paused.then(|| "held back".to_owned());
        let said: Vec<String> = paused.into_iter().chain(limit).collect();
        output.line(format!("kind '{}': {}", row.kind, said.join(", ")));
    }
    if stats.broken_schedules > 0 {
        output.line(format!(
            "{} schedules fire no more: quire tasks schedules --broken",
            stats.broken_schedules
        ));
    }
    let rows: Vec<Vec<String>> = stats
        .priorities
        .iter()
        .map(|row| {
            vec![
                row.priority.to_owned(),
                row.ready.to_string(),
                row.held.to_string(),
                row.running.to_string(),
                format!("{:.1} s", row.drain_s),
                format!("{:.1} s", row.oldest_s),
            ]
        })
        .collect();
    output.table(
        &["priority", "ready", "held", "running", "drain", "oldest"],
        &rows,
    );
    let busy: i64 = top.iter().map(|row| row.busy_ms).sum();
    let rows: Vec<Vec<String>> = top
        .iter()
        .map(|row| {
            vec![
                slug(row.tenant_id.into()),
                row.done.to_string(),
                row.failed.to_string(),
                row.dead.to_string(),
                format!("{:.1} s", row.busy_ms as f64 / 1e3),
                format!("{:.0} %", row.busy_ms as f64 / busy.max(1) as f64 * 100.0),
            ]
        })
        .collect();
    if !rows.is_empty() {
        output.line(format!(
            "\nthe busiest tenants of the last {hours} h, with their shares of this list"
        ));
        output.table(
            &["tenant", "done", "failed", "dead", "time", "share"],
            &rows,
        );
    }
    for event in events {
        output.line(format!(
            "{}  {}  {}  {}",
            event.at.format("%Y-%m-%d %H:%M"),
            event.what,
            slug(event.tenant_id.into()),
            event.detail
        ));
    }
    Ok(())
}
