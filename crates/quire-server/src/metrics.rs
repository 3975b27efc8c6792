//! Counters of this process. No label names a tenant: at 100,000 tenants one labelled counter would be
//! 100,000 series; numbers per tenant are rows.

use std::time::Duration;

use axum::http::StatusCode;
use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use quire_ask::Asker;
use quire_index::Search;
use quire_ingest::tasks::FoldTotals;
use quire_models::Models;
use quire_queue::{Stats, Tally};
use quire_tenancy::Control;

mod admission;
mod cache;
mod models;
mod search;
mod spans;
mod tasks;

use admission::Admission;
use cache::CacheMetrics;
use models::ModelMetrics;
use search::SearchMetrics;
pub use spans::SpanTotals;
use tasks::Tasks;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: String,
    route: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnswerLabels {
    kind: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    version: String,
}

/// What happened so far.
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    durations: Family<RouteLabels, Histogram>,
    answers: Family<AnswerLabels, Counter>,
    admission: Admission,
    models: ModelMetrics,
    tasks: Tasks,
    search: SearchMetrics,
    cache: CacheMetrics,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("quire");
        let requests = Family::<RequestLabels, Counter>::default();
        let durations = Family::<RouteLabels, Histogram>::new_with_constructor(|| {
            Histogram::new([
                0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0,
            ])
        });
        let answers = Family::<AnswerLabels, Counter>::default();
        let build = Family::<BuildLabels, Gauge>::default();
        build
            .get_or_create(&BuildLabels {
                version: env!("CARGO_PKG_VERSION").to_owned(),
            })
            .set(1);

        registry.register("http_requests", "Requests answered", requests.clone());
        registry.register_with_unit(
            "http_request_duration",
            "Time from request to response head",
            Unit::Seconds,
            durations.clone(),
        );
        registry.register("answers", "Questions answered", answers.clone());
        let admission = Admission::register(&mut registry);
        let models = ModelMetrics::register(&mut registry);
        let tasks = Tasks::register(&mut registry);
        let search = SearchMetrics::register(&mut registry);
        let cache = CacheMetrics::register(&mut registry);
        registry.register("build_info", "The running version", build);
        Self {
            registry,
            requests,
            durations,
            answers,
            admission,
            models,
            tasks,
            search,
            cache,
        }
    }
}

impl Metrics {
    /// The same, with what becomes of spans that are exported.
    #[must_use]
    pub fn telling_of(mut self, spans: &SpanTotals) -> Self {
        spans.register(&mut self.registry);
        self
    }

    pub(crate) fn request(&self, method: &str, route: &str, status: StatusCode, elapsed: Duration) {
        // A method is the caller's text; only known ones become a label.
        let known = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"].contains(&method);
        let labels = RequestLabels {
            method: if known {
                method.to_owned()
            } else {
                "other".to_owned()
            },
            route: route.to_owned(),
            status: status.as_u16(),
        };
        self.requests.get_or_create(&labels).inc();
        self.durations
            .get_or_create(&RouteLabels {
                route: route.to_owned(),
            })
            .observe(elapsed.as_secs_f64());
    }

    pub(crate) fn answered(&self, kind: &str) {
        self.answers
            .get_or_create(&AnswerLabels {
                kind: kind.to_owned(),
            })
            .inc();
    }

    /// Where the workers of this process count how tasks end.
    pub fn tally(&self) -> Tally {
        self.tasks.tally()
    }

    pub(crate) fn queue(&self, stats: &Stats) {
        self.tasks.update(stats);
    }

    pub(crate) fn control(&self, control: &Control) {
        self.admission.update(control);
    }

    pub(crate) fn models(&self, models: &Models) {
        self.models.update(models);
    }

    pub(crate) fn search(&self, search: &Search, folds: FoldTotals, degraded: u64) {
        self.search.update(search, folds, degraded);
    }

    pub(crate) fn cache(&self, asker: &Asker) {
        self.cache.update(asker);
    }

    /// The text that Prometheus scrapes (OpenMetrics 1.0).
    pub(crate) fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
