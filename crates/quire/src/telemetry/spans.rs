//! Spans as they end, for a collector: those that are marked with a kind (`otel.kind`), with the fields they were given
//! and nothing else. Events inside them, which are the log's, are none of its business.
//!
//! Refuses to wait: what can't be handed over at once is dropped and counted.

use std::fmt::Debug;
use std::time::SystemTime;

use quire_server::SpanTotals;
use tokio::sync::mpsc;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// The mark of a span that is exported: `client`, `server`, or anything else for one inside this process.
const KIND: &str = "otel.kind";
/// The name under which it is exported, if not its own.
const NAME: &str = "otel.name";
/// The span of a caller elsewhere that it belongs to (W3C Trace Context).
const CALLER: &str = "traceparent";

/// Whether a span is one to export.
pub(super) fn is_exported(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && metadata.fields().field(KIND).is_some()
}

/// What a span is called everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) trace: u128,
    pub(super) span: u64,
    /// Whether whoever began the trace wants it kept.
    is_wanted: bool,
}

/// A field of a span.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Text(String),
    Whole(i64),
    Number(f64),
    Truth(bool),
}

/// A span, from its beginning to its end.
#[derive(Clone, Debug)]
pub(super) struct Span {
    pub(super) place: Place,
    pub(super) parent: Option<u64>,
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) began: SystemTime,
    pub(super) ended: SystemTime,
    pub(super) fields: Vec<(&'static str, Value)>,
}

/// Hands spans over as they end.
pub(super) struct SpanLayer {
    sink: mpsc::Sender<Span>,
    totals: SpanTotals,
}

impl SpanLayer {
    pub(super) fn new(sink: mpsc::Sender<Span>, totals: SpanTotals) -> Self {
        Self { sink, totals }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for SpanLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut said = Said::default();
        attributes.record(&mut said);
        let above = span.parent().and_then(|parent| {
            let extensions = parent.extensions();
            extensions.get::<Span>().map(|above| above.place)
        });
        let caller = said.caller.as_deref().and_then(Place::of_caller);
        let above = above.or(caller);
        let now = SystemTime::now();
        let place = Place {
            // Zero is no id.
            trace: above.map_or_else(|| rand::random::<u128>().max(1), |above| above.trace),
            span: rand::random::<u64>().max(1),
            is_wanted: above.is_none_or(|above| above.is_wanted),
        };
        span.extensions_mut().insert(Span {
            place,
            parent: above.map(|above| above.span),
            name: said.name.unwrap_or_else(|| span.name().to_owned()),
            kind: said.kind,
            began: now,
            ended: now,
            fields: said.fields,
        });
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut said = Said::default();
        values.record(&mut said);
        if let Some(span) = span.extensions_mut().get_mut::<Span>() {
            for (name, value) in said.fields {
                span.fields.retain(|(known, _)| *known != name);
                span.fields.push((name, value));
            }
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let span = context.span(&id);
        let Some(mut span) = span.and_then(|span| span.extensions_mut().remove::<Span>()) else {
            return;
        };
        span.ended = SystemTime::now();
        if span.place.is_wanted && self.sink.try_send(span).is_err() {
            self.totals.dropped(1);
        }
    }
}

impl Place {
    /// The span in a header `traceparent`: `00-<trace>-<span>-<flags>`, all in hexadecimal.
    fn of_caller(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split('-').collect();
        let [version, trace, span, flags, ..] = parts.as_slice() else {
            return None;
        };
        let is_hex = |part: &str| {
            part.bytes()
                .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
        };
        let is_right = parts.iter().take(4).all(|part| is_hex(part))
            && (version.len(), trace.len(), span.len(), flags.len()) == (2, 32, 16, 2)
            && *version != "ff"
            && (parts.len() == 4 || *version != "00");
        if !is_right {
            return None;
        }
        let place = Self {
            trace: u128::from_str_radix(trace, 16).ok()?,
            span: u64::from_str_radix(span, 16).ok()?,
            is_wanted: u8::from_str_radix(flags, 16).ok()? & 1 == 1,
        };
        (place.trace != 0 && place.span != 0).then_some(place)
    }
}

/// What a span says of itself.
#[derive(Default)]
struct Said {
    name: Option<String>,
    kind: String,
    caller: Option<String>,
    fields: Vec<(&'static str, Value)>,
}

impl Said {
    fn hear(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            (NAME, Value::Text(text)) => self.name = Some(text),
            (KIND, Value::Text(text)) => self.kind = text,
            (CALLER, Value::Text(text)) => self.caller = Some(text),
            (name, value) => self.fields.push((name, value)),
        }
    }
}

impl Visit for Said {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.hear(field, Value::Number(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.hear(field, Value::Whole(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.hear(
            field,
            Value::Whole(i64::try_from(value).unwrap_or(i64::MAX)),
        );
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.hear(field, Value::Truth(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.hear(field, Value::Text(value.to_owned()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.hear(field, Value::Text(format!("{value:?}")));
    }
}

#[cfg(test)]
#[expect(clippy::panic, reason = "a test fails by panicking")]
mod tests {
    //! The layer under real spans.

    use tracing::{info, info_span};
    use tracing_subscriber::filter::filter_fn;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// The spans that end while this is done, of which so many fit.
    fn spans(room: usize, totals: &SpanTotals, work: impl FnOnce()) -> Vec<Span> {
        let (sink, mut spans) = mpsc::channel(room);
        let layer = SpanLayer::new(sink, totals.clone()).with_filter(filter_fn(is_exported));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), work);
        std::iter::from_fn(|| spans.try_recv().ok()).collect()
    }

    #[test]
    fn what_is_marked_is_told_with_its_fields_and_whatever_is_between_is_left_out() {
        let found = spans(9, &SpanTotals::default(), || {
            let outer = info_span!(
                "outer",
                otel.kind = "server",
                status = tracing::field::Empty
            );
            outer.in_scope(|| {
                let between = info_span!("between", secret = "prompt");
                between.in_scope(|| {
                    let inner = info_span!("inner", otel.kind = "client", otel.name = %"chat m", tokens = 7_u64);
                    inner.in_scope(|| info!(text = "prompt", "an event"));
                });
            });
            outer.record("status", 500);
            outer.record("status", 200);
        });
        let [inner, outer] = found.as_slice() else {
            panic!("{found:?}");
        };
        assert_eq!(
            (inner.name.as_str(), outer.name.as_str()),
            ("chat m", "outer")
        );
        assert_eq!(inner.place.trace, outer.place.trace);
        assert_eq!((inner.parent, outer.parent), (Some(outer.place.span), None));
        assert_eq!(inner.fields, [("tokens", Value::Whole(7))]);
        assert_eq!(outer.fields, [("status", Value::Whole(200))]);
        assert!(inner.began >= outer.began && inner.ended <= outer.ended);
    }

    #[test]
    fn a_span_belongs_to_that_of_a_caller_who_may_not_want_it() {
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0";
        let under = |flags: &str| {
            let caller = format!("{parent}{flags}");
            spans(9, &SpanTotals::default(), || {
                let span = info_span!("s", otel.kind = "server", traceparent = caller);
                span.in_scope(|| drop(info_span!("t", otel.kind = "client")));
            })
        };
        let found = under("1");
        assert_eq!(found.len(), 2);
        for span in &found {
            assert_eq!(span.place.trace, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        }
        assert_eq!(found[1].parent, Some(0x00f0_67aa_0ba9_02b7));
        assert!(under("0").is_empty());
        for wrong in [
            "",
            "00-1-2-01",
            "zz",
            &format!("{parent}1-x"),
            &parent.replace("00f0", "+0f0"),
        ] {
            assert_eq!(Place::of_caller(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let totals = SpanTotals::default();
        let found = spans(2, &totals, || {
            for _ in 0..5 {
                drop(info_span!("s", otel.kind = "client"));
            }
        });
        assert_eq!((found.len(), totals.get()), (2, (0, 3)));
    }
}
