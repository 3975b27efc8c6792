//! Pools of very uneven quota behind one chain, used by two processes that know of each other only what the
//! providers tell: how often is a provider asked that has nothing left.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use futures::StreamExt;
use quire_models::registry::{Model, Registry};
use quire_models::{
    Error, Models, ModelsConfig, Patience, Pool, PoolState, Quota, Supply, Wish, Work,
};
use quire_testkit::provider::{ChatDouble, Quota as ProviderQuota, Script};
use quire_types::{NanoUsd, TenantId};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::added::{CHAIN, question};
use crate::failure::Failure;
use crate::report::{line, note};

/// Requests a minute of each pool.
const QUOTAS: [usize; 4] = [1_200, 300, 120, 60];
/// The part of all quotas together that is asked for.
const LOAD: f64 = 0.95;
const TENANTS: u128 = 200;
const MINUTE: Duration = Duration::from_secs(60);

pub(super) struct Balance {
    pub(super) sent: f64,
    refused: f64,
    served: f64,
}

impl Balance {
    pub(super) fn refused_pct(&self) -> f64 {
        self.refused * 100.0 / self.sent.max(1.0)
    }

    pub(super) fn served_pct(&self) -> f64 {
        self.served * 100.0 / self.sent.max(1.0)
    }
}

pub(super) async fn run(seconds: u32) -> Result<Balance, Failure> {
    let all: usize = QUOTAS.iter().sum();
    note(format!(
        "models: {seconds} s at {LOAD} of {all} requests a minute over pools of {QUOTAS:?}, two processes"
    ));
    let mut doubles = Vec::new();
    for requests in QUOTAS {
        let double = ChatDouble::start()
            .await
            .map_err(Failure::doing("starting a provider"))?;
        double.forget_requests();
        double.always(Script::Answer("an answer of some words".to_owned()));
        double.limit(ProviderQuota {
            requests,
            window: MINUTE,
            is_told: true,
        });
        doubles.push(double);
    }
    let processes = [models(&doubles)?, models(&doubles)?];
    let gap = MINUTE.as_secs_f64() / (all as f64 * LOAD);
    let began = Instant::now();
    let mut calls = JoinSet::new();
    for number in 0_u32.. {
        let due = Duration::from_secs_f64(gap * f64::from(number));
        if due.as_secs() >= u64::from(seconds) {
            break;
        }
        tokio::time::sleep(due.saturating_sub(began.elapsed())).await;
        let tenant = Uuid::from_u128(u128::from(number) * 7_919 % TENANTS + 1);
        calls.spawn(one(processes[number as usize % 2].clone(), tenant));
    }
    let outcomes = calls.join_all().await;
    let served = outcomes.iter().filter(|is_served| **is_served).count();
    let refused: usize = doubles.iter().map(ChatDouble::refused).sum();
    let shares: Vec<usize> = doubles.iter().map(ChatDouble::count).collect();
    line(format!(
        "balance          {} calls, asked {shares:?}, {refused} refused by a provider, {served} served",
        outcomes.len()
    ));
    Ok(Balance {
        sent: outcomes.len() as f64,
        refused: refused as f64,
        served: served as f64,
    })
}

/// One call; whether somebody answered it.
async fn one(models: Models, tenant: Uuid) -> bool {
    let wish = Wish {
        chain: CHAIN.to_owned(),
        tenant: TenantId::from(tenant),
        region: "local".to_owned(),
        home: String::new(),
        input_tokens: 100,
        output_tokens: 100,
        work: Work::Chat,
        features: Vec::new(),
    };
    let Ok(mut route) = models.route(wish, Utc::now()) else {
        return false;
    };
    let mut failed: Option<Error> = None;
    while let Ok(hop) = route.next(failed.as_ref()) {
        match hop.stream(&[question()], None).await {
            Ok(events) => return events.all(async |event| event.is_ok()).await,
            Err(error) => failed = Some(error),
        }
    }
    false
}

fn models(doubles: &[ChatDouble]) -> Result<Models, Failure> {
    let mut registry = Registry::default().with("[providers.pools]\nwire = \"openai\"\n")?;
    let price = NanoUsd::from_nanos(150_000_000);
    registry.add(Model::chat("double", "pools", price, price))?;
    let pools = doubles
        .iter()
        .zip(QUOTAS)
        .enumerate()
        .map(|(number, (double, quota))| Pool {
            id: format!("pool-{number}"),
            region: "local".to_owned(),
            provider: "pools".to_owned(),
            base_url: Some(double.base_url()),
            key: None,
            models: Vec::new(),
            quota: Quota {
                requests_per_minute: Some(quota as u64),
                ..Quota::default()
            },
            state: PoolState::Active,
            reserved_for: None,
        });
    let supply = Supply {
        registry: Arc::new(registry),
        pools: pools.collect(),
    };
    let models = Models::new(ModelsConfig {
        chains: [(CHAIN.to_owned(), vec!["double".to_owned()])].into(),
        patience: Patience::default(),
    });
    models.supply(Arc::new(supply))?;
    Ok(models)
}
