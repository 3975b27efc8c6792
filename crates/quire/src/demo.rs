//! The demonstration: two sample tenants, their files, records and meetings, five questions answered with citations.

mod season;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;
use futures::{StreamExt, stream};

use quire_ask::Question;
use quire_index::Filter;
use quire_store::notebooks;
use quire_store::sources;
use quire_store::tenants::{self, NewTenant, Tenant};
use quire_types::{ErrorKind, Kind, NotebookId, SourceId};

use crate::commands::{show_answer, wait_for};
use crate::failure::Failure;
use crate::node::{Node, Services};
use crate::output::Output;
use crate::progress::Progress;

/// Short name and name; the files of a tenant are in the folder with its short name.
const TENANTS: [(&str, &str); 2] = [
    ("northgate", "Northgate Builders"),
    ("harbor", "Harbor Fit-Out"),
];

/// The one whose job software told of a season.
const SEASON: &str = "northgate";

const QUESTIONS: [(&str, &str); 5] = [
    (
        "northgate",
        "How much retainage does the clinic keep back from our progress payments?",
    ),
    (
        "northgate",
        "What is the liquidated damages amount per day if the clinic finishes late?",
    ),
    (
        "northgate",
        "What load does the deck have to carry under the compact shelving?",
    ),
    (
        "northgate",
        "Which color did the board choose for the carpet of the reading room?",
    ),
    (
        "harbor",
        "How much retainage does the clinic keep back from our progress payments?",
    ),
];

/// Loads what is missing and asks. Safe to repeat: what is there already stays as it is.
pub(crate) async fn run(
    node: &Node,
    services: &Services,
    output: &Output,
    address: SocketAddr,
) -> Result<(), Failure> {
    let files = sample_company::files()
        .map_err(|error| Failure::internal(format!("sample company: {error}")))?;
    let mut tenants = BTreeMap::new();
    for (slug, name) in TENANTS {
        let tenant = tenant(node, slug, name).await?;
        load(node, services, output, &tenant, &files).await?;
        if slug == SEASON {
            season::replay(node, services, output, &tenant).await?;
        }
        tenants.insert(slug, tenant);
    }
    for (slug, question) in QUESTIONS {
        let Some(tenant) = tenants.get(slug) else {
            continue;
        };
        output.line(format!("\n{} asks: {question}", tenant.name));
        let question = Question {
            text: question.to_owned(),
            filter: Filter::default(),
            explain: false,
            fresh: true,
            route: None,
            history: Vec::new(),
        };
        let answer = services
            .asker
            .ask(&node.asking(tenant).await?, question, &mut |_| {})
            .await?;
        show_answer(output, &answer)?;
    }
    output.line("");
    output.note("ask your own: quire ask --tenant northgate 'When was the roof inspected?'");
    output.note("or over HTTP, with a key of the tenant:");
    output.note("  export QUIRE_KEY=$(quire key create --tenant northgate --name first)");
    output.note(format!(
        "  curl http://{address}/v1/ask -H \"Authorization: Bearer $QUIRE_KEY\" --json '{{\"question\": \"Who takes the warranty calls?\"}}'"
    ));
    Ok(())
}

async fn tenant(node: &Node, slug: &str, name: &str) -> Result<Tenant, Failure> {
    let mut tx = node.store.system().await?;
    let tenant = match tenants::by_slug(&mut tx, slug).await {
        Ok(tenant) => tenant,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            tenants::create(&mut tx, &NewTenant::local(slug, name)).await?
        }
        Err(error) => return Err(error.into()),
    };
    tx.commit().await?;
    Ok(tenant)
}

async fn load(
    node: &Node,
    services: &Services,
    output: &Output,
    tenant: &Tenant,
    files: &[sample_company::File],
) -> Result<(), Failure> {
    let placement = tenant.placement();
    let mut ids: BTreeMap<&str, NotebookId> = BTreeMap::new();
    let mut added: Vec<SourceId> = Vec::new();
    let own: Vec<(&str, &str, &[u8])> = files
        .iter()
        .filter_map(|file| {
            let (notebook, name) = file
                .path
                .strip_prefix(&tenant.slug)?
                .strip_prefix('/')?
                .split_once('/')?;
            Some((notebook, name, file.bytes.as_slice()))
        })
        .collect();
    let progress = Progress::new(output, &tenant.name, own.len() as u64);
    for (done, (notebook, name, bytes)) in (1..).zip(own) {
        let id = match ids.get(notebook) {
            Some(id) => *id,
            None => *ids
                .entry(notebook)
                .or_insert(self::notebook(node, tenant, notebook).await?),
        };
        let bytes =
            stream::once(async { Ok::<_, std::io::Error>(Bytes::copy_from_slice(bytes)) }).boxed();
        added.push(
            services
                .ingest
                .add(placement, id, name, bytes)
                .await?
                .source()
                .id,
        );
        progress.at(done, name);
    }
    progress.finish();
    let finished = wait_for(&node.store, placement, &added, output).await?;
    let passages: i64 = finished
        .iter()
        .map(|source| i64::from(source.passages))
        .sum();
    output.note(format!(
        "{}: {} files, {passages} passages can be found",
        tenant.name,
        finished.len()
    ));
    for source in finished
        .iter()
        .filter(|source: &&sources::Source| source.reason.is_some())
    {
        output.note(format!(
            "  {}: {}",
            source.name,
            source.reason.as_deref().unwrap_or_default()
        ));
    }
    Ok(())
}

async fn notebook(node: &Node, tenant: &Tenant, name: &str) -> Result<NotebookId, Failure> {
    let mut tx = node.store.tenant(tenant.placement()).await?;
    let notebook = match notebooks::by_name(&mut tx, name).await {
        Ok(notebook) => notebook,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            notebooks::create(&mut tx, name).await?
        }
        Err(error) => return Err(error.into()),
    };
    tx.commit().await?;
    Ok(notebook.id)
}
