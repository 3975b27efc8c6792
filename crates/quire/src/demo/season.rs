//! The first weeks of the recorded season, replayed as the job software would tell them, with what was said in two
//! meetings and a small wiki.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};

use quire_connect::records as connect;
use quire_store::Placement;
use quire_store::records as rows;
use quire_store::tenants::Tenant;
use quire_types::{Lane, RecordState, SourceId};
use sample_company::season;

use super::notebook;
use crate::commands::wait_for;
use crate::failure::Failure;
use crate::node::{Node, Services};
use crate::output::Output;
use crate::progress::Progress;

/// How often records are looked after.
const LOOK: Duration = Duration::from_millis(200);

/// Replays what is not there yet, and waits until it can be found.
pub(super) async fn replay(
    node: &Node,
    services: &Services,
    output: &Output,
    tenant: &Tenant,
) -> Result<(), Failure> {
    let placement = tenant.placement();
    let mut lines = String::new();
    for event in season::first_weeks() {
        lines.push_str(&event.to_string());
        lines.push('\n');
    }
    let (events, _) = connect::parse(lines.as_bytes(), Lane::Standard)?;
    services.connect.hear(placement, &events).await?;

    let mut added: Vec<SourceId> = Vec::new();
    let meetings = notebook(node, tenant, "site-meetings").await?;
    for meeting in season::meetings() {
        let words = Bytes::from(meeting.words());
        let bytes = stream::once(async { Ok::<_, std::io::Error>(words) }).boxed();
        let name = meeting.file_name();
        let source = services
            .ingest
            .add(placement, meetings, name, bytes)
            .await?;
        added.push(source.source().id);
    }
    let wiki = notebook(node, tenant, "team-wiki").await?;
    for page in season::pages() {
        let text = Bytes::from(page.text());
        let bytes = stream::once(async { Ok::<_, std::io::Error>(text) }).boxed();
        let name = format!("{}.md", page.title);
        let source = services.ingest.add(placement, wiki, &name, bytes).await?;
        added.push(source.source().id);
    }
    wait_for(&node.store, placement, &added, output).await?;
    let records = searchable(node, placement, output).await?;
    output.note(format!(
        "{}: {} events of two jobs, {records} records can be found; two meetings, four pages of a wiki",
        tenant.name,
        events.len()
    ));
    Ok(())
}

/// Waits until no record waits for search. Returns how many it finds.
async fn searchable(node: &Node, placement: Placement, output: &Output) -> Result<i64, Failure> {
    let mut progress = None;
    loop {
        let mut tx = node.store.tenant(placement).await?;
        let summary = rows::summary(&mut tx).await?;
        tx.commit().await?;
        let count = |wanted: RecordState| {
            let counts = summary.counts.iter();
            let counts = counts.filter(|(_, state, _)| *state == wanted);
            counts.map(|(.., count)| count).sum::<i64>()
        };
        let (open, done) = (count(RecordState::Queued), count(RecordState::Searchable));
        let total = u64::try_from(open + done).unwrap_or_default();
        let bar = progress.get_or_insert_with(|| Progress::new(output, "records", total));
        bar.at(u64::try_from(done).unwrap_or_default(), "");
        if open == 0 {
            bar.finish();
            return Ok(done);
        }
        tokio::time::sleep(LOOK).await;
    }
}
