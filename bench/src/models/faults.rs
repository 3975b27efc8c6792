//! Every fault in every protocol, once, with a provider that is well behind it: does an answer come, does every
//! stream end, is every attempt accounted for.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use futures::StreamExt;
use quire_models::registry::{Model, Registry};
use quire_models::{
    ChatEvent, Error, Models, ModelsConfig, Patience, Pool, PoolState, Quota, Supply, Wish, Work,
};
use quire_tenancy::usage::{Kind, Quantities};
use quire_tenancy::{Admitted, Call, Class, GateConfig, Ladder};
use quire_testkit::provider::{ChatDouble, Dialect, Script};
use quire_types::{NanoUsd, RequestId, TenantId};

use super::added::{CHAIN, INPUT_TOKENS, OUTPUT_TOKENS, question};
use crate::control::{Running, caller, customer, open};
use crate::failure::Failure;
use crate::lab::{Lab, number};
use crate::report::{line, note};

const PRICE: NanoUsd = NanoUsd::from_nanos(150_000_000);
const OPEN: &str = "select count(*) from control.usage_events where is_open";
const TOLD: &str = "select count(*) from control.usage_events where kind = 'chat'";
const HELD: &str = "select coalesce(sum(held), 0)::bigint from control.budgets where held <> 0";

#[derive(Default)]
pub(super) struct Faults {
    pub(super) cases: f64,
    pub(super) endless: f64,
    pub(super) unsettled: f64,
    pub(super) failed: f64,
}

/// What one question came to.
#[derive(PartialEq)]
enum Came {
    /// The whole answer, after so many attempts.
    Answer(i16),
    /// Text, then an error: nothing may follow it.
    CutOff(i16),
    /// No answer although somebody could have given it.
    Nothing(i16),
    /// A stream stopped without saying so.
    NoEnd(i16),
}

pub(super) async fn run(lab: &Lab) -> Result<Faults, Failure> {
    note("models: every fault in every protocol");
    let (_, store) = open(lab).await?;
    let tenant = customer(&store, "asker", "standard", &[]).await?;
    let running = Running::start(&store, GateConfig::default(), Ladder::default());
    let caller = caller(&running.control, &tenant.key).await?;
    let mut found = Faults::default();
    let mut attempts = 0_i64;
    for dialect in Dialect::ALL {
        for script in scripts() {
            let shown = format!("{dialect:?} {script:?}");
            let call = Call {
                cost: NanoUsd::from_nanos(1_000_000),
                ..Call::new(RequestId::generate().uuid(), Class::Interactive)
            };
            let admitted = running.control.admit(&caller, call).await?;
            let came = ask(&admitted, dialect, script).await?;
            drop(admitted);
            found.cases += 1.0;
            let (number, wrong) = match came {
                Came::Answer(number) | Came::CutOff(number) => (number, None),
                Came::Nothing(number) => (number, Some(&mut found.failed)),
                Came::NoEnd(number) => (number, Some(&mut found.endless)),
            };
            attempts += i64::from(number);
            if let Some(wrong) = wrong {
                *wrong += 1.0;
                line(format!(
                    "went wrong       {}",
                    &shown[..shown.len().min(90)]
                ));
            }
        }
    }
    running.control.settle().await?;
    running.stop().await?;
    let (open, told, held) = (
        number(&store, OPEN).await?,
        number(&store, TOLD).await?,
        number(&store, HELD).await?,
    );
    found.unsettled = (open + (told - attempts).abs() + held.min(1)) as f64;
    line(format!(
        "faults           {} questions, {attempts} attempts, {told} of them told, {open} open, {held} n$ still held",
        found.cases
    ));
    Ok(found)
}

fn scripts() -> Vec<Script> {
    let status = |code: u16, message: &str| Script::Status {
        code,
        body: format!("{{\"error\":{{\"message\":\"{message}\"}}}}"),
        retry_after: None,
    };
    let raw = |pieces: Vec<Vec<u8>>| Script::Raw {
        content_type: "text/event-stream".to_owned(),
        pieces,
    };
    let text = "an answer of some words ".repeat(10);
    vec![
        Script::Answer(text.clone()),
        status(429, "slow down"),
        status(401, "no such key"),
        status(404, "the model was removed"),
        status(400, "maximum context length is 128000 tokens"),
        status(500, "broken"),
        status(529, "overloaded"),
        Script::ErrorBody200,
        Script::ErrorInStream,
        Script::EndAfter(0),
        Script::EndAfter(3),
        Script::CutAfter(0),
        Script::CutAfter(3),
        Script::HangBefore,
        Script::HangAfter(0),
        Script::HangAfter(3),
        Script::Malformed,
        Script::NoUsage(text.clone()),
        Script::Usage(text.clone(), 0, 0),
        Script::Usage(text, u64::MAX, u64::MAX),
        Script::Endless,
        raw(vec![b"data: \xff\xfe\x9f\n\n".to_vec()]),
        raw(vec![vec![b'x'; 1 << 20]; 50]),
        raw(Vec::new()),
    ]
}

/// Asks as the ask path does: hop after hop until one says a word.
async fn ask(admitted: &Admitted, dialect: Dialect, script: Script) -> Result<Came, Failure> {
    let starting = Failure::doing("starting a provider");
    let bad = ChatDouble::start().await.map_err(starting)?;
    let good = ChatDouble::start()
        .await
        .map_err(Failure::doing("starting a provider"))?;
    bad.push(script);
    good.always(Script::Answer("an answer of some words".to_owned()));
    let models = models(dialect, &bad, &good)?;
    let wish = Wish {
        chain: CHAIN.to_owned(),
        tenant: TenantId::generate(),
        region: "local".to_owned(),
        home: "bad".to_owned(),
        input_tokens: INPUT_TOKENS,
        output_tokens: OUTPUT_TOKENS,
        work: Work::Chat,
        features: Vec::new(),
    };
    let mut route = models.route(wish, Utc::now())?;
    let mut failed: Option<Error> = None;
    let mut number = 0;
    while let Ok(hop) = route.next(failed.as_ref()) {
        number += 1;
        let mut attempt = admitted
            .attempt(Kind::Chat, number, hop.provider(), hop.model(), hop.costs())
            .await?;
        let (mut has_begun, mut has_ended, mut error) = (false, false, None);
        match hop.stream(&[question()], None).await {
            Err(refused) => error = Some(refused),
            Ok(mut events) => {
                while let Some(event) = events.next().await {
                    match event {
                        Ok(ChatEvent::Delta(_)) => {
                            has_begun = true;
                            attempt.began();
                        }
                        Ok(ChatEvent::Usage(_)) => {}
                        Ok(ChatEvent::Done { .. }) => has_ended = true,
                        Err(cut) => error = Some(cut),
                    }
                }
            }
        }
        match error {
            None if has_ended => {
                attempt.close(Quantities::default(), NanoUsd::from_nanos(1));
                return Ok(Came::Answer(number));
            }
            None => return Ok(Came::NoEnd(number)),
            Some(_) if has_begun => return Ok(Came::CutOff(number)),
            Some(error) => {
                attempt.failed(&error);
                failed = Some(error);
            }
        }
    }
    Ok(Came::Nothing(number))
}

fn models(dialect: Dialect, bad: &ChatDouble, good: &ChatDouble) -> Result<Models, Failure> {
    let wire = match dialect {
        Dialect::OpenAi => "openai",
        Dialect::Responses => "openai-responses",
        Dialect::Anthropic => "anthropic",
        Dialect::Gemini => "gemini",
    };
    let mut registry = Registry::default().with(&format!(
        "[providers.bad]\nwire = \"{wire}\"\n[providers.good]\nwire = \"openai\"\n"
    ))?;
    let mut pools = Vec::new();
    for (name, base_url) in [("bad", bad.base_url_of(dialect)), ("good", good.base_url())] {
        registry.add(Model::chat(name, name, PRICE, PRICE))?;
        pools.push(Pool {
            id: name.to_owned(),
            region: "local".to_owned(),
            provider: name.to_owned(),
            base_url: Some(base_url),
            key: None,
            models: Vec::new(),
            quota: Quota::default(),
            state: PoolState::Active,
            reserved_for: None,
        });
    }
    let models = Models::new(ModelsConfig {
        chains: [(CHAIN.to_owned(), vec!["bad".to_owned(), "good".to_owned()])].into(),
        patience: Patience {
            first_token: Duration::from_millis(500),
            between_tokens: Duration::from_millis(500),
            ..Patience::default()
        },
    });
    models.supply(Arc::new(Supply {
        registry: Arc::new(registry),
        pools,
    }))?;
    Ok(models)
}
