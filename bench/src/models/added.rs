//! What quire adds to a call: the same answer of the same provider, directly and through quire, in turn.

use std::time::{Duration, Instant};

use futures::StreamExt;
use quire_models::registry::{Model, Wire};
use quire_models::{
    ChatCall, ChatEvent, ChatStream, Models, ModelsConfig, Patience, Pool, PoolState, Quota,
    Server, ServerConfig,
};
use quire_store::sealed::Keyring;
use quire_tenancy::usage::{Kind, Quantities};
use quire_tenancy::{
    Call, Class, Control, GateConfig, Ladder, LimitName, LocalPool, Providers, Wanted,
};
use quire_testkit::provider::{ChatDouble, Script};
use quire_types::{ChatMessage, ChatRole, NanoUsd, RequestId};

use crate::control::{Customer, Running, caller, customer, open};
use crate::failure::Failure;
use crate::lab::{Lab, Waits};
use crate::report::{line, note};

pub(super) const CHAIN: &str = "answer";
pub(super) const WORDS: usize = 64;
/// What a question with its passages takes, in bytes and in tokens.
const BYTES: usize = 6_000;
pub(super) const INPUT_TOKENS: u64 = 2_000;
pub(super) const OUTPUT_TOKENS: u64 = 500;

pub(super) struct Added {
    pub(super) direct: Waits,
    through: Waits,
    direct_first: Waits,
    through_first: Waits,
    /// The part of it that waits for PostgreSQL to write the attempt down.
    pub(super) attempt: Waits,
}

impl Added {
    pub(super) fn added_p50(&self) -> f64 {
        self.through.p50 - self.direct.p50
    }

    pub(super) fn added_p99(&self) -> f64 {
        self.through.p99 - self.direct.p99
    }

    pub(super) fn added_ttft(&self) -> f64 {
        self.through_first.p50 - self.direct_first.p50
    }
}

pub(super) async fn run(lab: &Lab, calls: u32) -> Result<Added, Failure> {
    note(format!(
        "models: {calls} calls directly and through quire, in turn"
    ));
    let double = ChatDouble::start()
        .await
        .map_err(Failure::doing("starting the provider"))?;
    double.forget_requests();
    double.always(Script::Answer("word ".repeat(WORDS)));
    let server = Server::new(ServerConfig {
        wire: Wire::OpenAi,
        base_url: double.base_url(),
        api_key: None,
        patience: Patience::default(),
    })?;
    let (_, store) = open(lab).await?;
    // What is measured is a call, not the refusal of the next one.
    let unlimited = [
        (LimitName::RequestsPerMinute, "unlimited"),
        (LimitName::KeyRequestsPerMinute, "unlimited"),
    ];
    let tenant = customer(&store, "asker", "standard", &unlimited).await?;
    let running = Running::start(&store, GateConfig::default(), Ladder::default());
    let keyring = Keyring::open(&lab.folder().join("keys"))?;
    let providers = providers(&running.control, keyring, &double)?;

    let (mut direct, mut direct_first) = (Vec::new(), Vec::new());
    let (mut through, mut through_first, mut attempts) = (Vec::new(), Vec::new(), Vec::new());
    let warm_up = calls / 10;
    for number in 0..calls + warm_up {
        let messages = [question()];
        let call = ChatCall {
            model: "double",
            messages: &messages,
            max_tokens: OUTPUT_TOKENS as u32,
            schema: None,
            picture: None,
        };
        let began = Instant::now();
        let events = server.stream(&call).await?.events;
        let first = read(events, began, || ()).await?;
        let whole = began.elapsed();
        let asked = one(&running.control, &providers, &tenant, &messages).await?;
        if number >= warm_up {
            direct.push(whole);
            direct_first.push(first);
            through.push(asked.whole);
            through_first.push(asked.first);
            attempts.push(asked.attempt);
        }
    }
    running.stop().await?;
    let found = Added {
        direct: Waits::of(direct),
        through: Waits::of(through),
        direct_first: Waits::of(direct_first),
        through_first: Waits::of(through_first),
        attempt: Waits::of(attempts),
    };
    line(format!(
        "added            {WORDS} words: direct {:.2} ms, through quire {:.2} ms, of that {:.2} ms to write the attempt down",
        found.direct.p50, found.through.p50, found.attempt.p50
    ));
    Ok(found)
}

struct Asked {
    whole: Duration,
    first: Duration,
    attempt: Duration,
}

/// A call as the ask path makes it.
async fn one(
    control: &Control,
    providers: &Providers,
    tenant: &Customer,
    messages: &[ChatMessage],
) -> Result<Asked, Failure> {
    let began = Instant::now();
    let caller = caller(control, &tenant.key).await?;
    let wanted = Wanted {
        chain: CHAIN.to_owned(),
        input_tokens: INPUT_TOKENS,
        output_tokens: OUTPUT_TOKENS,
        ..Wanted::default()
    };
    let mut route = providers.route(&caller.account, wanted).await?;
    let call = Call {
        questions: 1,
        tokens: INPUT_TOKENS + OUTPUT_TOKENS,
        cost: route.most(),
        ..Call::new(RequestId::generate().uuid(), Class::Interactive)
    };
    let admitted = control.admit(&caller, call).await?;
    let hop = route.next(None)?;
    let before = Instant::now();
    let mut attempt = admitted
        .attempt(Kind::Chat, 1, hop.provider(), hop.model(), hop.costs())
        .await?;
    let written = before.elapsed();
    let events = hop.stream(messages, None).await?;
    let first = read(events, began, || attempt.began()).await?;
    attempt.close(Quantities::default(), NanoUsd::from_nanos(1));
    drop(admitted);
    Ok(Asked {
        whole: began.elapsed(),
        first,
        attempt: written,
    })
}

/// Reads a stream to its end; the time to its first piece of text.
async fn read(
    mut events: ChatStream,
    began: Instant,
    mut on_text: impl FnMut(),
) -> Result<Duration, Failure> {
    let mut first = None;
    while let Some(event) = events.next().await {
        if let ChatEvent::Delta(_) = event? {
            on_text();
            first.get_or_insert_with(|| began.elapsed());
        }
    }
    first.ok_or_else(|| Failure::failed("an answer without text"))
}

pub(super) fn question() -> ChatMessage {
    ChatMessage {
        role: ChatRole::User,
        content: "what does the contract say? ".repeat(BYTES / 28),
    }
}

fn providers(
    control: &Control,
    keyring: Keyring,
    double: &ChatDouble,
) -> Result<Providers, Failure> {
    let price = NanoUsd::from_nanos(150_000_000);
    let chains = [(CHAIN.to_owned(), vec!["double".to_owned()])].into();
    let models = Models::new(ModelsConfig {
        chains,
        patience: Patience::default(),
    });
    let local = LocalPool {
        pool: Pool {
            id: "local".to_owned(),
            region: "local".to_owned(),
            provider: "compatible".to_owned(),
            base_url: Some(double.base_url()),
            key: None,
            models: vec!["double".to_owned()],
            quota: Quota::default(),
            state: PoolState::Active,
            reserved_for: None,
        },
        models: vec![Model::chat("double", "compatible", price, price)],
    };
    Ok(Providers::new(
        control.clone(),
        keyring,
        models,
        Some(local),
    ))
}
