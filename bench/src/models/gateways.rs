//! What others add to a call: the same provider, directly and through each of them, in turn, over HTTP.

use std::time::Duration;

use quire_testkit::provider::{ChatDouble, Script};
use reqwest::header::HeaderMap;

use crate::failure::Failure;
use crate::gateways::{GATEWAYS, Gateways, Line};
use crate::lab::Waits;
use crate::report::{line, note};

/// As many as quire's answers have.
const WORDS: usize = super::added::WORDS;

/// One gateway, measured.
pub(super) struct Others {
    pub(super) name: &'static str,
    /// Milliseconds that it adds to an answer in one piece.
    pub(super) added_p50: f64,
}

pub(super) async fn run(gateways: &Gateways, calls: u32) -> Result<Vec<Others>, Failure> {
    let double = ChatDouble::start()
        .await
        .map_err(Failure::doing("starting the provider"))?;
    double.forget_requests();
    let direct = Line::new(
        double.base_url(),
        "gpt-4o-mini".to_owned(),
        HeaderMap::new(),
    )?;
    let mut found = Vec::new();
    for name in GATEWAYS {
        note(format!(
            "models: {calls} calls directly and through {name}, in turn"
        ));
        match one(gateways, name, &double, &direct, calls).await {
            Ok(others) => found.push(others),
            Err(failure) => line(format!("{name:16} skipped: {failure}")),
        }
    }
    Ok(found)
}

async fn one(
    gateways: &Gateways,
    name: &'static str,
    double: &ChatDouble,
    direct: &Line,
    calls: u32,
) -> Result<Others, Failure> {
    let gateway = gateways.start(name, &double.base_url(), false).await?;
    double.always(Script::NotStreaming("word ".repeat(WORDS)));
    let whole = pairs(calls, async |question| {
        Ok((
            direct.whole("tenant", question).await?,
            gateway.line.whole("tenant", question).await?,
        ))
    })
    .await?;
    double.always(Script::Answer("word ".repeat(WORDS)));
    let first = pairs(calls, async |question| {
        Ok((
            direct.first("tenant", question).await?,
            gateway.line.first("tenant", question).await?,
        ))
    })
    .await;
    let first = match first {
        Ok((direct, through)) => format!("{:.2} ms to the first word", through.p50 - direct.p50),
        Err(failure) => format!("no streams ({failure})"),
    };
    let (direct, through) = whole;
    let added_p50 = through.p50 - direct.p50;
    line(format!(
        "{name:16} {}: adds p50 {added_p50:.2}, p99 {:.2} ms (direct {:.2} ms), {first}",
        gateway.version,
        through.p99 - direct.p99,
        direct.p50
    ));
    gateway.stop().await?;
    Ok(Others { name, added_p50 })
}

/// Asks both ways, question after question; the first tenth warms up.
async fn pairs(
    calls: u32,
    mut ask: impl AsyncFnMut(&str) -> Result<(Duration, Duration), Failure>,
) -> Result<(Waits, Waits), Failure> {
    let (mut direct, mut through) = (Vec::new(), Vec::new());
    let question = super::added::question().content;
    let warm_up = calls / 10;
    for number in 0..calls + warm_up {
        let waits = ask(&question).await?;
        if number >= warm_up {
            direct.push(waits.0);
            through.push(waits.1);
        }
    }
    Ok((Waits::of(direct), Waits::of(through)))
}
