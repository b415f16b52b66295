//! What happens with a client, a topic or an address: as a live stream (server-sent events), or for a time in the log.
//!
//! Always holds: a trace ends with its stream, after its time, and when whoever asked for the stream may not look any more. The log says
//! who traces what.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use hyper::body::{Bytes, Frame};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Interval, Sleep, interval, sleep};

use super::access::{Operator, Viewer, identify, origin};
use super::asked::{JsonBody, NameInPath, Parameters};
use super::operated::{TraceDetail, TraceRequest, TraceView};
use super::problem::{ChangeProblems, HttpProblem, ReadProblems};
use super::state::AdminState;
use crate::limits::{TRACE_LINES_MAX, TRACE_MAX_S};
use crate::net::trace::{self, TraceId, TraceLine, TraceRule};
use crate::telemetry::{Verbosity, log};
use crate::topic::TopicFilter;

impl TraceRequest {
    /// What is traced, for the log.
    fn about(&self) -> &str {
        [&self.client_id, &self.topic, &self.address].into_iter().flatten().next().map_or("", |text| text)
    }

    fn rule(&self) -> Result<TraceRule, HttpProblem> {
        if !(1..=TRACE_MAX_S).contains(&self.seconds) {
            return Err(HttpProblem::bad_request(format!("seconds is 1 to {TRACE_MAX_S}")));
        }
        if self.client_id.is_none() && self.topic.is_none() && self.address.is_none() {
            return Err(HttpProblem::bad_request("a client_id, a topic or an address is needed"));
        }
        if self.topic.as_deref().is_some_and(|filter| TopicFilter::parse(filter, u16::MAX).is_err()) {
            return Err(HttpProblem::bad_request("topic is no topic filter"));
        }
        let network = self.address.as_deref().map(str::parse).transpose();
        Ok(TraceRule {
            client_id: self.client_id.as_deref().map(Into::into),
            topic: self.topic.as_deref().map(Into::into),
            network: network.map_err(|text: String| HttpProblem::bad_request(format!("address: {text}")))?,
            detail: match self.detail {
                TraceDetail::Connections => Verbosity::Info,
                TraceDetail::Packets => Verbosity::Debug,
                TraceDetail::Messages => Verbosity::Trace,
            },
            taker: None,
            lost: AtomicU64::new(0),
        })
    }
}

/// Begins a trace, and notes it.
fn begin(
    state: &AdminState,
    request: TraceRequest,
    to: &'static str,
    rule: TraceRule,
) -> Result<(TraceView, Arc<TraceRule>), HttpProblem> {
    let full = || HttpProblem::new(StatusCode::CONFLICT, "as many traces go on as may be: end one");
    let (TraceId(id), rule) = trace::add(rule).ok_or_else(full)?;
    let view = TraceView::new(id, to, request);
    state.with_traces(|traces| traces.insert(id, view.clone()));
    Ok((view, rule))
}

/// Ends one. Returns whether it went on.
fn end(state: &AdminState, id: u64) -> bool {
    state.with_traces(|traces| traces.remove(&id));
    trace::remove(TraceId(id))
}

/// The traces that go on.
#[utoipa::path(
    get, path = "/api/v1/traces", operation_id = "list_traces", tag = "operation",
    responses(
        (status = 200, description = "done", body = Vec<TraceView>),
        ReadProblems,
    )
)]
pub(super) async fn list(State(state): State<Arc<AdminState>>, _: Viewer) -> Json<Vec<TraceView>> {
    Json(state.with_traces(|traces| traces.values().cloned().collect()))
}

/// Tell the log (`traced`, at the level info) what happens with a client, a topic or an address, for a time.
#[utoipa::path(
    post, path = "/api/v1/traces", operation_id = "add_trace", tag = "operation", request_body = TraceRequest,
    responses(
        (status = 200, description = "it has begun", body = TraceView),
        (status = 409, description = "as many go on as may be", body = HttpProblem, content_type = "application/problem+json"),
        ChangeProblems,
    )
)]
pub(super) async fn to_log(
    State(state): State<Arc<AdminState>>,
    operator: Operator,
    JsonBody(request): JsonBody<TraceRequest>,
) -> Result<Json<TraceView>, HttpProblem> {
    let rule = request.rule()?;
    operator.note("trace", request.about());
    let seconds = request.seconds;
    let (view, _) = begin(&state, request, "log", rule)?;
    let id = view.id;
    tokio::spawn(async move {
        sleep(Duration::from_secs(seconds.into())).await;
        end(&state, id);
    });
    Ok(Json(view))
}

/// End a trace before its time.
#[utoipa::path(
    delete, path = "/api/v1/traces/{id}", operation_id = "remove_trace", tag = "operation",
    params(("id" = u64, Path, description = "as the list has it")),
    responses(
        (status = 204, description = "it has ended"),
        (status = 404, description = "there is none", body = HttpProblem, content_type = "application/problem+json"),
        ChangeProblems,
    )
)]
pub(super) async fn remove(
    State(state): State<Arc<AdminState>>,
    operator: Operator,
    NameInPath(id): NameInPath,
) -> Result<StatusCode, HttpProblem> {
    operator.note("end_trace", &id);
    let is_ended = id.parse().is_ok_and(|id| end(&state, id));
    if is_ended { Ok(StatusCode::NO_CONTENT) } else { Err(HttpProblem::not_found("no trace has this id")) }
}

/// See what happens with a client, a topic or an address, as server-sent events: each is a JSON object with `event`, `client_id`, `address`, `topic`, `text`.
#[utoipa::path(
    get, path = "/api/v1/traces/live", operation_id = "trace_live", tag = "operation", params(TraceRequest),
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
    Parameters(request): Parameters<TraceRequest>,
) -> Result<Response, HttpProblem> {
    let identity = identify(&parts, &state)?;
    let (give, lines) = mpsc::channel(TRACE_LINES_MAX);
    let rule = TraceRule { taker: Some(Box::new(move |line| give.try_send(line).is_ok())), ..request.rule()? };
    let until = sleep(Duration::from_secs(request.seconds.into()));
    let about = request.about().to_owned();
    let (TraceView { id, .. }, rule) = begin(&state, request, "stream", rule)?;
    log::event::admin_action(&identity.name, &origin(&parts).peer, ("live_trace", &about), None);
    let stream =
        LiveTrace { lines, rule, id, until: Box::pin(until), beat: interval(BEAT), told_lost: 0, parts, state };
    Ok(([(header::CONTENT_TYPE, "text/event-stream")], Body::new(stream)).into_response())
}

/// How often it is looked whether whoever asked still may, with a word to it, so that one who has gone is missed.
const BEAT: Duration = Duration::from_secs(2);

/// The lines of one stream. The trace ends with it.
struct LiveTrace {
    lines: mpsc::Receiver<TraceLine>,
    rule: Arc<TraceRule>,
    id: u64,
    until: Pin<Box<Sleep>>,
    beat: Interval,
    told_lost: u64,
    /// The request, by which it is known who asks.
    parts: Parts,
    state: Arc<AdminState>,
}

impl Drop for LiveTrace {
    fn drop(&mut self) {
        end(&self.state, self.id);
    }
}

impl hyper::body::Body for LiveTrace {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = |text: String| Poll::Ready(Some(Ok(Frame::data(Bytes::from(text)))));
        // Before all else: many lines do not put it off.
        let is_beat = self.beat.poll_tick(context).is_ready();
        if is_beat && identify(&self.parts, &self.state).is_err() || self.until.as_mut().poll(context).is_ready() {
            return Poll::Ready(None);
        }
        if is_beat {
            return frame(":\n\n".to_owned());
        }
        let lost = self.rule.lost.load(Ordering::Relaxed);
        if lost > self.told_lost {
            self.told_lost = lost;
            return frame(format!("event: lost\ndata: {}\n\n", json!({"lines": lost})));
        }
        if let Poll::Ready(line) = self.lines.poll_recv(context) {
            return line.map_or(Poll::Ready(None), |line| frame(format!("data: {}\n\n", shown(&line))));
        }
        Poll::Pending
    }
}

fn shown(line: &TraceLine) -> serde_json::Value {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let TraceLine { event, client_id, address, topic, text } = line;
    let at_ms = since.as_millis() as u64;
    json!({"at_ms": at_ms, "event": event, "client_id": client_id, "address": address, "topic": topic, "text": text})
}
