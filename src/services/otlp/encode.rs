//! Spans as a collector reads them: names and attributes by OpenTelemetry's semantic conventions for messaging.
//!
//! Always holds: a span's name is one of three words, so that names are few; what was published, and with which properties, is in none.

use prost::Message as _;

use super::wire::{
    AnyValue, AttributeValue, ExportRequest, ResourceSpans, ScopeSpans, SpanAttribute, SpanResource, SpanScope,
    SpanStatus, WireSpan,
};
use crate::net::spans::EndedSpan;
use crate::shard::{SpanEnd, SpanKind};

/// The conventions that names and attributes follow.
const SCHEMA: &str = "https://opentelemetry.io/schemas/1.37.0";

/// `SpanKind` of the protocol.
const INTERNAL: i32 = 1;
const PRODUCER: i32 = 4;
const CONSUMER: i32 = 5;
/// `StatusCode` of the protocol.
const ERROR: i32 = 2;
/// Flags: the trace is sampled; whether the parent is of another process is known; it is.
const SAMPLED: u32 = 1;
const PARENT_KNOWN: u32 = 1 << 8;
const PARENT_REMOTE: u32 = 1 << 9;

/// What every span says of its broker.
#[derive(Clone, Debug)]
pub(super) struct SpanSource {
    pub(super) service_name: String,
    pub(super) node_name: String,
}

/// A request with these spans; `unix_ns_at_zero` is the wall clock at the monotonic clock's zero.
pub(super) fn encode(source: &SpanSource, spans: &[EndedSpan], unix_ns_at_zero: u64) -> Vec<u8> {
    let attributes = vec![
        text("service.name", &source.service_name),
        text("service.version", env!("CARGO_PKG_VERSION")),
        text("service.instance.id", &source.node_name),
    ];
    let scope = SpanScope { name: "dunlin".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
    let spans = spans.iter().map(|ended| wire_span(ended, unix_ns_at_zero)).collect();
    let resource_spans = ResourceSpans {
        resource: Some(SpanResource { attributes }),
        scope_spans: vec![ScopeSpans { scope: Some(scope), spans }],
        schema_url: SCHEMA.to_owned(),
    };
    ExportRequest { resource_spans: vec![resource_spans] }.encode_to_vec()
}

fn wire_span(EndedSpan { span, ended_ns }: &EndedSpan, unix_ns_at_zero: u64) -> WireSpan {
    let message = &span.message;
    let (name, kind, operation) = match span.kind {
        SpanKind::Receive => ("receive", CONSUMER, Some("receive")),
        SpanKind::Store => ("store", INTERNAL, None),
        SpanKind::Send => ("send", PRODUCER, Some("send")),
    };
    let mut attributes = vec![text("messaging.system", "mqtt"), text("messaging.operation.name", name)];
    attributes.extend(operation.map(|operation| text("messaging.operation.type", operation)));
    attributes.extend([
        text("messaging.destination.name", &message.topic),
        text("messaging.client.id", &span.client_id),
        number("messaging.message.body.size", message.payload_bytes),
        number("mqtt.qos", span.qos as u64),
        number("dunlin.shard", span.shard.0.into()),
    ]);
    let (is_error, error) = match span.end {
        SpanEnd::Code(code) => (code.is_error(), code.text()),
        SpanEnd::GivenUp => (true, "not acknowledged in time"),
    };
    if let SpanEnd::Code(code) = span.end {
        attributes.push(number("mqtt.reason_code", code as u64));
    }
    let status = is_error.then(|| {
        attributes.push(text("error.type", &error_type(span.end)));
        SpanStatus { message: error.to_owned(), code: ERROR }
    });
    let (parent, is_remote) = match span.kind {
        SpanKind::Receive => (message.sent_by, message.sent_by.is_some()),
        _ => (Some(message.receive_id), false),
    };
    WireSpan {
        trace_id: message.trace_id.to_vec(),
        span_id: span.id.to_vec(),
        trace_state: message.trace_state.as_deref().unwrap_or_default().to_owned(),
        parent_span_id: parent.map_or_else(Vec::new, |id| id.to_vec()),
        name: name.to_owned(),
        kind,
        start_time_unix_nano: unix_ns_at_zero + span.began_ns,
        // A batch that came from another shard may have read the clock later than this span's end.
        end_time_unix_nano: unix_ns_at_zero + (*ended_ns).max(span.began_ns),
        attributes,
        status,
        flags: SAMPLED | PARENT_KNOWN | if is_remote { PARENT_REMOTE } else { 0 },
    }
}

/// A word for queries, of few that there are: the specification's name of the reason code.
fn error_type(end: SpanEnd) -> String {
    match end {
        SpanEnd::Code(code) => code.text().replace([' ', '-'], "_"),
        SpanEnd::GivenUp => "timeout".to_owned(),
    }
}

fn text(key: &str, value: &str) -> SpanAttribute {
    attribute(key, AnyValue::Text(value.to_owned()))
}

fn number(key: &str, value: u64) -> SpanAttribute {
    attribute(key, AnyValue::Number(value.cast_signed()))
}

fn attribute(key: &str, value: AnyValue) -> SpanAttribute {
    SpanAttribute { key: key.to_owned(), value: Some(AttributeValue { value: Some(value) }) }
}
