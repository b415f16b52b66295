//! Messages: publishing one; retained ones, shown and deleted.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::access::{Operator, Viewer};
use super::asked::{JsonBody, Paged as _, Parameters, paged_query};
use super::problem::{ChangeProblems, HttpProblem, ReadProblems};
use super::properties::PropertiesView;
use super::state::AdminState;
use crate::codec::Forwarded;
use crate::ids::Qos;
use crate::limits::{ADMIN_BATCH_MESSAGES_MAX, ADMIN_PAGES_PER_REQUEST};
use crate::session::{Message, MessageRef};
use crate::shard::command::RetainedSummary;
use crate::shard::{Command, Reply};
use crate::topic::Cursor;

/// A message to be published.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewMessage {
    /// Its topic name.
    #[schema(example = "plant/7/valve")]
    topic: String,
    /// Its payload as text.
    payload: Option<String>,
    /// Its payload in base64, instead of `payload`.
    payload_base64: Option<String>,
    /// Its QoS.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 2)]
    qos: u8,
    /// Whether it becomes its topic's retained message.
    #[serde(default)]
    retain: bool,
}

/// What came of a message.
#[derive(Serialize, ToSchema)]
pub(super) struct PublishedView {
    /// Whether anybody has a matching subscription.
    matched: bool,
}

/// Publish a message. It has been routed when the answer comes, which says nothing about storage.
#[utoipa::path(
    post, path = "/api/v1/publish", tag = "messages", request_body = NewMessage,
    responses(
        (status = 200, description = "done", body = PublishedView),
        ChangeProblems,
    )
)]
pub(super) async fn publish(
    State(state): State<Arc<AdminState>>,
    operator: Operator,
    JsonBody(message): JsonBody<NewMessage>,
) -> Result<Json<PublishedView>, HttpProblem> {
    let kept = message.kept()?;
    operator.note("publish", &message.topic);
    match state.shards.ask(0, Command::Publish(kept)).await? {
        Reply::Published { matched } => Ok(Json(PublishedView { matched })),
        other => Err(HttpProblem::of_reply(&other)),
    }
}

/// What came of a message of a batch.
#[derive(Serialize, ToSchema)]
pub(super) struct BatchItemView {
    /// Whether it was published.
    published: bool,
    /// Whether anybody has a matching subscription.
    matched: bool,
    /// Why it was not published.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

/// Publish messages, 1,000 at most, in their order. Each has been routed when the answer comes, or the answer says why it was not; nothing is
/// published where one of them cannot be read.
#[utoipa::path(
    post, path = "/api/v1/publish/batch", tag = "messages", request_body = Vec<NewMessage>,
    responses(
        (status = 200, description = "what came of each, in their order", body = Vec<BatchItemView>),
        ChangeProblems,
    )
)]
pub(super) async fn publish_batch(
    State(state): State<Arc<AdminState>>,
    operator: Operator,
    JsonBody(messages): JsonBody<Vec<NewMessage>>,
) -> Result<Json<Vec<BatchItemView>>, HttpProblem> {
    if messages.len() > ADMIN_BATCH_MESSAGES_MAX {
        let text = format!("{} messages are too many: {ADMIN_BATCH_MESSAGES_MAX} are allowed", messages.len());
        return Err(HttpProblem::new(StatusCode::PAYLOAD_TOO_LARGE, text));
    }
    let kept: Vec<Message> = messages.iter().map(NewMessage::kept).collect::<Result<_, _>>()?;
    operator.note("publish_batch", &format!("{} messages", messages.len()));
    let mut views = Vec::with_capacity(kept.len());
    for message in kept {
        views.push(match state.shards.ask(0, Command::Publish(message)).await? {
            Reply::Published { matched } => BatchItemView { published: true, matched, problem: None },
            other => {
                let problem = Some(HttpProblem::of_reply(&other).detail().to_owned());
                BatchItemView { published: false, matched: false, problem }
            }
        });
    }
    Ok(Json(views))
}

impl NewMessage {
    /// As shards have it.
    fn kept(&self) -> Result<Message, HttpProblem> {
        let payload = self.payload()?;
        let qos = Qos::from_bits(self.qos).ok_or_else(|| HttpProblem::bad_request("qos is 0, 1 or 2"))?;
        if self.topic.len() > usize::from(u16::MAX) {
            return Err(HttpProblem::bad_request("the topic is longer than MQTT can say"));
        }
        Ok(Message::new(&MessageRef {
            topic: &self.topic,
            qos,
            retain: self.retain,
            expires: None,
            publisher: None,
            properties: Forwarded::EMPTY,
            payload: &payload,
        }))
    }

    fn payload(&self) -> Result<Vec<u8>, HttpProblem> {
        match (&self.payload, &self.payload_base64) {
            (Some(_), Some(_)) => Err(HttpProblem::bad_request("payload and payload_base64 are both there")),
            (Some(text), None) => Ok(text.clone().into_bytes()),
            (None, Some(text)) => {
                STANDARD.decode(text).map_err(|_| HttpProblem::bad_request("payload_base64 is no base64"))
            }
            (None, None) => Ok(Vec::new()),
        }
    }
}

paged_query! {
    /// Which retained messages are listed.
    RetainedQuery {
        /// A topic filter. `#` does not match topics that begin with `$`.
        #[param(example = "plant/#")]
        filter: Option<String>,
    }
}

/// A retained message of a list.
#[derive(Serialize, ToSchema)]
pub(super) struct RetainedRow {
    /// Its topic name.
    topic: String,
    /// QoS of its publisher.
    qos: u8,
    /// Its payload as text, if it is one and is shown whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<String>,
    /// Otherwise in base64, the first 4,096 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
    /// How long the whole payload is, in bytes.
    payload_bytes: u32,
    /// When it goes, in milliseconds since 1970; none stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at_ms: Option<u64>,
    #[serde(flatten)]
    properties: PropertiesView,
}

/// A page of retained messages.
#[derive(Serialize, ToSchema)]
pub(super) struct RetainedPage {
    /// In the order of their topics.
    messages: Vec<RetainedRow>,
    /// The cursor of the next page; none after the last. A page may have fewer messages than asked for, or none, before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// List retained messages with their values, a page at a time.
#[utoipa::path(
    get, path = "/api/v1/retained", tag = "messages", params(RetainedQuery),
    responses(
        (status = 200, description = "done", body = RetainedPage),
        ReadProblems,
    )
)]
pub(super) async fn list_retained(
    State(state): State<Arc<AdminState>>,
    _: Viewer,
    Parameters(query): Parameters<RetainedQuery>,
) -> Result<Json<RetainedPage>, HttpProblem> {
    let limit = query.limit()?;
    let mut cursor = query.begin(Cursor::parse)?.unwrap_or_default();
    let filter: Box<str> = query.filter.as_deref().unwrap_or("#").into();
    let mut messages = Vec::new();
    for _ in 0..ADMIN_PAGES_PER_REQUEST {
        let left = limit - messages.len() as u16;
        // Every shard has them all.
        let command = Command::ListRetained { filter: filter.clone(), cursor, limit: left };
        match state.shards.ask(0, command).await? {
            Reply::Retained { page, next } => {
                messages.extend(page.into_iter().map(RetainedRow::from));
                match next {
                    Some(next) => cursor = next,
                    None => return Ok(Json(RetainedPage { messages, next: None })),
                }
            }
            other => return Err(HttpProblem::of_reply(&other)),
        }
        if messages.len() >= usize::from(limit) {
            break;
        }
    }
    Ok(Json(RetainedPage { messages, next: Some(cursor.to_text()) }))
}

impl From<RetainedSummary> for RetainedRow {
    fn from(message: RetainedSummary) -> Self {
        let RetainedSummary { topic, qos, payload, payload_bytes, expires_at, properties } = message;
        let is_whole = payload.len() == payload_bytes as usize;
        let text = std::str::from_utf8(&payload).ok().filter(|_| is_whole).map(str::to_owned);
        let payload_base64 = text.is_none().then(|| STANDARD.encode(&payload));
        let expires_at_ms = expires_at.map(|at| at.0);
        let (topic, qos, properties) = (topic.into(), qos as u8, properties.into());
        Self { topic, qos, payload: text, payload_base64, payload_bytes, expires_at_ms, properties }
    }
}

/// Which retained messages are deleted.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct DeletionQuery {
    /// A topic filter. `#` does not match topics that begin with `$`; one that begins with `$SYS` is refused.
    #[param(example = "plant/7/#")]
    filter: String,
}

/// What a deletion came to.
#[derive(Serialize, ToSchema)]
pub(super) struct DeletedView {
    /// Retained messages that were deleted.
    messages: u64,
}

/// Delete the retained messages that match a filter. Subscribers are sent nothing; what is written meanwhile stays.
#[utoipa::path(
    delete, path = "/api/v1/retained", tag = "messages", params(DeletionQuery),
    responses(
        (status = 200, description = "done", body = DeletedView),
        ChangeProblems,
    )
)]
pub(super) async fn delete_retained(
    State(state): State<Arc<AdminState>>,
    operator: Operator,
    Parameters(DeletionQuery { filter }): Parameters<DeletionQuery>,
) -> Result<Json<DeletedView>, HttpProblem> {
    operator.note("delete_retained", &filter);
    // Every shard has them all, so one deletes them everywhere.
    match state.shards.ask(0, Command::DeleteRetained { filter: filter.as_str().into() }).await? {
        Reply::Deleted { messages } => Ok(Json(DeletedView { messages })),
        other => Err(HttpProblem::of_reply(&other)),
    }
}
