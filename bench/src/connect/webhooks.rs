//! Webhooks at a steady pace while files are read: the time to each answer, from when the webhook was due.
//!
//! The real program over HTTP, with its worker in the same process, as `quire up` runs it.

use std::path::Path;
use std::time::{Duration, Instant};

use chrono::Utc;
use quire_connect::standard::sign;
use quire_types::Secret;
use tokio::task::JoinSet;

use super::records::line;
use crate::failure::Failure;
use crate::first_run::{Client, Quire};
use crate::lab::{Waits, open_folder};
use crate::report::note;

const PER_SECOND: u32 = 200;
const WARM_UP: usize = 200;
/// Texts that are read meanwhile, and the paragraphs of each: more than two cores embed in the time.
const TEXTS: usize = 40;
const PARAGRAPHS: usize = 400;

/// How long the answers took.
pub(super) async fn run(program: &Path, seconds: u32) -> Result<Waits, Failure> {
    note(format!(
        "{PER_SECOND} webhooks a second while files are read"
    ));
    let folder = open_folder()?;
    let quiet = [("QUIRE_LOG", "warn".to_owned())];
    let mut quire = Quire::start_with(program, folder.path().join("data"), &quiet)?;
    let measured = Box::pin(measure(&mut quire, seconds)).await;
    Box::pin(quire.stop()).await?;
    measured
}

async fn measure(quire: &mut Quire, seconds: u32) -> Result<Waits, Failure> {
    quire.serving().await?;
    let client = Client::new(quire.address(), &quire.key("northgate").await?)?;
    let (hook, secret) = client.connect_webhook("bench").await?;
    let notebook = client.create_notebook("texts that keep it busy").await?;
    for number in 0..TEXTS {
        let text: String = (0..PARAGRAPHS)
            .map(|at| {
                format!(
                    "Crew {number} framed unit {at} and set its headers on day {at}, as drawn.\n\n"
                )
            })
            .collect();
        client
            .add(&notebook, &format!("{number}.txt"), &text)
            .await?;
    }

    let mut sending = JoinSet::new();
    let began = Instant::now();
    let count = (PER_SECOND * seconds) as usize + WARM_UP;
    for number in 0..count {
        let due = began + Duration::from_secs_f64(number as f64 / f64::from(PER_SECOND));
        tokio::time::sleep_until(due.into()).await;
        let webhook = Webhook::new(number, &secret)?;
        let (client, hook) = (client.clone(), hook.clone());
        sending.spawn(async move {
            client
                .post_webhook(&hook, webhook.headers, webhook.body)
                .await?;
            Ok::<_, Failure>((number >= WARM_UP).then(|| due.elapsed()))
        });
    }
    let mut waits = Vec::new();
    while let Some(answered) = sending.join_next().await {
        waits.extend(answered.map_err(Failure::doing("sending a webhook"))??);
    }
    if client.is_all_searchable(&notebook).await? {
        return Err(Failure::failed(
            "the files were read before the webhooks were over",
        ));
    }
    Ok(Waits::of(waits))
}

/// A webhook with one event.
struct Webhook {
    headers: [(&'static str, String); 3],
    body: String,
}

impl Webhook {
    fn new(number: usize, secret: &Secret) -> Result<Self, Failure> {
        let (id, timestamp) = (format!("msg_{number}"), Utc::now().timestamp());
        let body = line(number, 1, 20);
        let signature = sign(
            std::slice::from_ref(secret),
            &id,
            timestamp,
            body.as_bytes(),
        );
        let headers = [
            (
                "webhook-signature",
                signature.map_err(Failure::doing("signing"))?,
            ),
            ("webhook-id", id),
            ("webhook-timestamp", timestamp.to_string()),
        ];
        Ok(Self { headers, body })
    }
}
