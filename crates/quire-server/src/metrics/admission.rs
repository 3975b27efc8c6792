//! The control plane of this process: what was let in, what was refused, and who waits for a seat.

use std::sync::atomic::Ordering;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use quire_tenancy::Control;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClassLabels {
    class: &'static str,
    state: &'static str,
}

#[derive(Default)]
pub(super) struct Admission {
    admitted: Counter,
    cheaper: Counter,
    refused: Family<ReasonLabels, Counter>,
    queue: Family<ClassLabels, Gauge>,
}

impl Admission {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let admission = Self::default();
        registry.register(
            "requests_admitted",
            "Questions and searches that were let in",
            admission.admitted.clone(),
        );
        registry.register(
            "requests_cheaper",
            "Of these, those answered without what costs money or much time",
            admission.cheaper.clone(),
        );
        registry.register(
            "requests_refused",
            "Questions and searches that were not let in",
            admission.refused.clone(),
        );
        registry.register(
            "requests",
            "Questions and searches that wait for a seat or have one",
            admission.queue.clone(),
        );
        admission
    }

    pub(super) fn update(&self, control: &Control) {
        let set = |counter: &Counter, count| counter.inner().store(count, Ordering::Relaxed);
        let totals = control.totals();
        set(&self.admitted, totals.admitted);
        set(&self.cheaper, totals.cheaper);
        for (reason, count) in totals.refused {
            let reason = reason.as_str();
            let counter = self.refused.get_or_create(&ReasonLabels { reason });
            set(&counter, count);
        }
        for (class, waiting, running) in control.queue() {
            for (state, count) in [("waiting", waiting), ("running", running)] {
                let class = class.as_str();
                let labels = ClassLabels { class, state };
                self.queue.get_or_create(&labels).set(i64::from(count));
            }
        }
    }
}
