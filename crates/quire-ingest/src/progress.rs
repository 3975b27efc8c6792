//! Why sources that are queued are not being read, in words for whoever waits.

use std::collections::HashMap;

use quire_queue::{Task, Wait, Wishes, waits};
use quire_store::sources::Source;
use quire_store::{Placement, Store, TenantTx, progress, tenants};
use quire_types::{SourceId, SourceState, TaskId, TenantState};

use crate::Error;

/// Queues the reading of a source and notes the task with it.
pub(crate) async fn queue_reading(
    tx: &mut TenantTx,
    source: SourceId,
    task: &impl Task,
    wishes: Wishes,
) -> Result<(), Error> {
    let id = quire_queue::enqueue_with(tx, task, wishes).await?;
    progress::note_task(tx, source, id).await?;
    Ok(())
}

/// Gives every source that is queued the reason why it waits. Asks nothing where none is.
///
/// # Errors
/// Those of the database.
pub async fn explain(
    store: &Store,
    placement: Placement,
    sources: &mut [Source],
) -> Result<(), Error> {
    let queued: Vec<&mut Source> = sources
        .iter_mut()
        .filter(|source| source.state == SourceState::Queued)
        .collect();
    if queued.is_empty() {
        return Ok(());
    }
    let tasks: Vec<TaskId> = queued.iter().filter_map(|source| source.task).collect();
    let mut tx = store.system().await?;
    let tenant = tenants::get(&mut tx, placement.tenant).await?;
    let waits = waits(&mut tx, tenant.id, &tasks).await?;
    tx.commit().await?;
    for source in queued {
        let reason = reason(source, tenant.state, &waits);
        source.reason = Some(reason);
    }
    Ok(())
}

fn reason(source: &Source, tenant: TenantState, waits: &HashMap<TaskId, Wait>) -> String {
    let Some(wait) = source.task.and_then(|task| waits.get(&task)) else {
        return "its task has just ended; its state follows".to_owned();
    };
    match wait {
        // What the task itself says it waits for.
        Wait::Running => match &source.reason {
            Some(reason) => reason.clone(),
            None => "a worker has taken it and fetches its content".to_owned(),
        },
        Wait::TenantPaused if tenant != TenantState::Active => format!("the tenant is {tenant}"),
        Wait::TenantPaused => {
            "the operator holds back the tenant's tasks, or its limit running_tasks is 0".to_owned()
        }
        Wait::KindPaused => "the operator holds back the reading of files".to_owned(),
        Wait::NoWorker => "no worker runs: start `quire up` or `quire serve`".to_owned(),
        Wait::Until { at, error } => {
            let at = at.format("%Y-%m-%d %H:%M:%S UTC");
            match source.reason.as_ref().or(error.as_ref()) {
                Some(error) => format!("{error}; next try at {at}"),
                None => format!("not before {at}"),
            }
        }
        Wait::AtLimit { most, ahead } => format!(
            "running_tasks is limited to {most} and so many run; {ahead} more of the tenant's are before it"
        ),
        // Nobody of the tenant is before it: what it waits for it said itself, if it came so far.
        Wait::Behind(0) if source.reason.is_some() => source.reason.clone().unwrap_or_default(),
        Wait::Behind(0) => "it is the tenant's next and waits for a free worker".to_owned(),
        Wait::Behind(ahead) => format!("{ahead} tasks of the tenant are before it"),
    }
}
