//! Calls of models in this process, by pool and model: written when they are asked for, from what the models
//! count themselves.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use quire_models::{BreakerState, Buckets, Models, Tally};

/// The models whose calls are shown, once they are known.
#[derive(Clone, Debug, Default)]
pub(super) struct ModelMetrics(Arc<Mutex<Option<Shown>>>);

#[derive(Clone)]
struct Shown(Models);

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Models")
    }
}

impl ModelMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register_collector(Box::new(metrics.clone()));
        metrics
    }

    pub(super) fn update(&self, models: &Models) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Shown(models.clone()));
    }
}

impl Collector for ModelMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let shown = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let Some(Shown(models)) = shown else {
            return Ok(());
        };
        let tallies = models.tallies();
        let mut calls = encoder.encode_descriptor(
            "model_calls",
            "Calls of models, by how they ended",
            None,
            MetricType::Counter,
        )?;
        for (pool, model, tally) in &tallies {
            for (outcome, count) in [
                ("good", tally.good),
                ("bad", tally.bad),
                ("limited", tally.limited),
                ("other", tally.other),
            ] {
                let labels = [
                    ("pool", pool.as_str()),
                    ("model", model),
                    ("outcome", outcome),
                ];
                ConstCounter::new(count).encode(calls.encode_family(&labels)?)?;
            }
        }
        let mut tokens = encoder.encode_descriptor(
            "model_tokens",
            "Tokens that went into models and came out",
            None,
            MetricType::Counter,
        )?;
        for (pool, model, tally) in &tallies {
            for (direction, count) in [("in", tally.input_tokens), ("out", tally.output_tokens)] {
                let labels = [
                    ("pool", pool.as_str()),
                    ("model", model),
                    ("direction", direction),
                ];
                ConstCounter::new(count).encode(tokens.encode_family(&labels)?)?;
            }
        }
        counters(&mut encoder, &tallies)?;
        gauges(&mut encoder, &tallies)?;
        times(
            &mut encoder,
            &tallies,
            "model_first_token",
            "Time to the first piece of text",
            |tally| &tally.first_token,
        )?;
        times(
            &mut encoder,
            &tallies,
            "model_call_duration",
            "Time of calls that ended well",
            |tally| &tally.total,
        )
    }
}

type Tallies = [(String, String, Tally)];

fn counters(encoder: &mut DescriptorEncoder<'_>, tallies: &Tallies) -> fmt::Result {
    let help = "What calls cost whose usage is known, in US dollars";
    let mut cost = encoder.encode_descriptor("model_cost_usd", help, None, MetricType::Counter)?;
    for (pool, model, tally) in tallies {
        let labels = [("pool", pool.as_str()), ("model", model)];
        let dollars = tally.cost.nanos() as f64 / 1e9;
        ConstCounter::new(dollars).encode(cost.encode_family(&labels)?)?;
    }
    hedges(
        encoder,
        tallies,
        "model_hedges",
        "Calls that were silent for so long that another model was asked beside",
        |tally| tally.hedged,
    )?;
    hedges(
        encoder,
        tallies,
        "model_hedges_won",
        "Of these, those that the other model answered",
        |tally| tally.hedges_won,
    )
}

/// A counter by the pool and the model that were silent.
fn hedges(
    encoder: &mut DescriptorEncoder<'_>,
    tallies: &Tallies,
    name: &str,
    help: &str,
    count: fn(&Tally) -> u64,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (pool, model, tally) in tallies {
        let labels = [("pool", pool.as_str()), ("model", model)];
        ConstCounter::new(count(tally)).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn gauges(encoder: &mut DescriptorEncoder<'_>, tallies: &Tallies) -> fmt::Result {
    let mut gauge = |name, help, value: fn(&Tally) -> f64| {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (pool, model, tally) in tallies {
            let labels = [("pool", pool.as_str()), ("model", model)];
            ConstGauge::new(value(tally)).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    };
    gauge("model_calls_running", "Calls that run", |tally| {
        f64::from(tally.running)
    })?;
    gauge(
        "model_headroom",
        "How often a call of 1,000 tokens in and out fits into what is left; infinite without a quota",
        |tally| tally.headroom,
    )?;
    gauge(
        "model_breaker_open",
        "1 while a breaker lets nothing through, 0.5 while it tries, 0 otherwise",
        |tally| match tally.breaker {
            Some(BreakerState::Open) => 1.0,
            Some(BreakerState::Trying) => 0.5,
            Some(BreakerState::Closed) | None => 0.0,
        },
    )
}

fn times(
    encoder: &mut DescriptorEncoder<'_>,
    tallies: &Tallies,
    name: &str,
    help: &str,
    of: fn(&Tally) -> &Buckets,
) -> fmt::Result {
    let seconds = Some(&Unit::Seconds);
    let mut family = encoder.encode_descriptor(name, help, seconds, MetricType::Histogram)?;
    for (pool, model, tally) in tallies {
        let labels = [("pool", pool.as_str()), ("model", model)];
        let times = of(tally);
        family
            .encode_family(&labels)?
            .encode_histogram::<[(&str, &str); 0]>(
                times.sum(),
                times.count(),
                &times.by_bound(),
                None,
            )?;
    }
    Ok(())
}
