//! Messages on a topic filter as they are routed, live: server-sent events for a page.
//!
//! Always holds: what is told is bounded: so many messages in a quarter of a second, the others counted; the watching ends with the stream,
//! after its time, and when whoever asked may not look any more. The log says who watches what.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::body::{Bytes, Frame};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Interval, Sleep, interval, sleep};
use utoipa::IntoParams;

use super::access::{Viewer, identify, origin};
use super::asked::Parameters;
use super::problem::{HttpProblem, ReadProblems};
use super::properties::PropertiesView;
use super::state::AdminState;
use crate::limits::{TAIL_MAX_S, TAIL_MESSAGES_MAX};
use crate::net::tail::{self, TailWatch};
use crate::shard::TailedMessage;
use crate::telemetry::log;
use crate::topic::TopicFilter;

/// What is watched.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct TailQuery {
    /// A topic filter. `#` does not match topics that begin with `$`.
    #[param(example = "plant/#")]
    filter: String,
    /// How long.
    #[param(minimum = 1, maximum = 3_600, default = 600)]
    seconds: Option<u32>,
}

/// How long without a word about it.
const SECONDS_DEFAULT: u32 = 600;
/// Messages are told this often.
const STEP: Duration = Duration::from_millis(250);
/// Steps after which it is looked whether whoever asked still may, and whether anybody listens.
const STEPS_PER_BEAT: u32 = 8;

/// Messages on a topic filter, live, as server-sent events. Each event is `{"messages": [...], "skipped": N}`: messages with `at_ms`, `topic`, `qos`,
/// `retain`, `client_id`, `payload` or `payload_base64` (the first 1,024 bytes) and `payload_bytes`, and with `content_type`, `response_topic`, `user_properties` and
/// `properties_left_out` as in `/api/v1/retained` (1,024 bytes in all); `skipped` is how many since the begin were too many to be shown.
#[utoipa::path(
    get, path = "/api/v1/tail", operation_id = "tail", tag = "messages", params(TailQuery),
    responses(
        (status = 200, description = "the stream", body = String, content_type = "text/event-stream"),
        (status = 409, description = "as many go on as may be", body = HttpProblem, content_type = "application/problem+json"),
        ReadProblems,
    )
)]
pub(super) async fn live(
    State(state): State<Arc<AdminState>>,
    _: Viewer,
    parts: Parts,
    Parameters(query): Parameters<TailQuery>,
) -> Result<Response, HttpProblem> {
    let identity = identify(&parts, &state)?;
    let seconds = query.seconds.unwrap_or(SECONDS_DEFAULT);
    if !(1..=TAIL_MAX_S).contains(&seconds) {
        return Err(HttpProblem::bad_request(format!("seconds is 1 to {TAIL_MAX_S}")));
    }
    if TopicFilter::parse(&query.filter, u16::MAX).is_err() {
        return Err(HttpProblem::bad_request("filter is no topic filter"));
    }
    let (give, messages) = mpsc::channel(TAIL_MESSAGES_MAX);
    let taker = Box::new(move |message| give.try_send((now_ms(), message)).is_ok());
    let full = || HttpProblem::new(StatusCode::CONFLICT, "as many live tails go on as may be: end one");
    let watch = tail::watch(&query.filter, taker).ok_or_else(full)?;
    log::event::admin_action(&identity.name, &origin(&parts).peer, ("tail", &query.filter), None);
    let until = Box::pin(sleep(Duration::from_secs(seconds.into())));
    let stream = LiveTail { messages, watch, until, step: interval(STEP), steps: 0, told_skipped: 0, parts, state };
    Ok(([(header::CONTENT_TYPE, "text/event-stream")], Body::new(stream)).into_response())
}

/// What one stream is told. The watching ends with it.
struct LiveTail {
    messages: mpsc::Receiver<(u64, TailedMessage)>,
    watch: TailWatch,
    until: Pin<Box<Sleep>>,
    step: Interval,
    /// Since the last that anything was said with.
    steps: u32,
    told_skipped: u64,
    /// The request, by which it is known who asks.
    parts: Parts,
    state: Arc<AdminState>,
}

impl LiveTail {
    /// What came since the step before; `None` where there is nothing to say.
    fn take(&mut self) -> Option<String> {
        let messages: Vec<Value> =
            std::iter::from_fn(|| self.messages.try_recv().ok()).take(TAIL_MESSAGES_MAX).map(shown).collect();
        let skipped = self.watch.skipped();
        if messages.is_empty() && skipped == self.told_skipped {
            return None;
        }
        self.told_skipped = skipped;
        Some(format!("data: {}\n\n", json!({"messages": messages, "skipped": skipped})))
    }
}

impl hyper::body::Body for LiveTail {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.until.as_mut().poll(context).is_ready() {
            return Poll::Ready(None);
        }
        while self.step.poll_tick(context).is_ready() {
            self.steps += 1;
            let is_beat = self.steps.is_multiple_of(STEPS_PER_BEAT);
            if is_beat && identify(&self.parts, &self.state).is_err() {
                return Poll::Ready(None);
            }
            let text = self.take().or_else(|| is_beat.then(|| ":\n\n".to_owned()));
            if let Some(text) = text {
                return Poll::Ready(Some(Ok(Frame::data(Bytes::from(text)))));
            }
        }
        Poll::Pending
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

fn shown((at_ms, message): (u64, TailedMessage)) -> Value {
    let TailedMessage { topic, qos, retain, client_id, properties, payload, payload_bytes } = message;
    let mut value = json!({
        "at_ms": at_ms, "topic": topic, "qos": qos as u8, "retain": retain, "client_id": client_id, "payload_bytes": payload_bytes,
    });
    if let (Value::Object(all), Value::Object(of_message)) = (&mut value, json!(PropertiesView::from(properties))) {
        all.extend(of_message);
    }
    let is_whole = payload.len() as u64 == payload_bytes;
    match std::str::from_utf8(&payload).ok().filter(|_| is_whole) {
        Some(text) => value["payload"] = text.into(),
        None => value["payload_base64"] = STANDARD.encode(&payload).into(),
    }
    value
}
