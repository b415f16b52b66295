//! What is counted while somebody looks: the first clients in some order, and the topics that are published.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::access::Viewer;
use super::asked::Parameters;
use super::problem::{HttpProblem, ReadProblems};
use super::state::AdminState;
use crate::limits::TOPICS_SEEN_MAX;
use crate::shard::command::{PAGE_MAX, TopBy, TopRow, TopicRow, TopicsBy, publishers_of};
use crate::shard::{Command, Reply};

/// What clients are put in the order of.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum TopOrder {
    /// Messages from them.
    MessagesReceived,
    /// Messages to them.
    MessagesSent,
    /// Bytes of messages from them.
    BytesReceived,
    /// Bytes of messages to them.
    BytesSent,
    /// Messages for them that were dropped.
    Dropped,
    /// Messages that wait for them.
    Queued,
    /// Bytes of those.
    QueuedBytes,
    /// How long the oldest of those has waited, in milliseconds.
    QueueAge,
    /// Messages that they have not acknowledged.
    InFlight,
    /// Of clients that are connected, how long the first of those has been with them, in milliseconds.
    AckAge,
}

impl From<TopOrder> for TopBy {
    fn from(order: TopOrder) -> Self {
        match order {
            TopOrder::MessagesReceived => Self::Received,
            TopOrder::MessagesSent => Self::Sent,
            TopOrder::BytesReceived => Self::ReceivedBytes,
            TopOrder::BytesSent => Self::SentBytes,
            TopOrder::Dropped => Self::Dropped,
            TopOrder::Queued => Self::Queued,
            TopOrder::QueuedBytes => Self::QueuedBytes,
            TopOrder::QueueAge => Self::QueueAge,
            TopOrder::InFlight => Self::InFlight,
            TopOrder::AckAge => Self::AckAge,
        }
    }
}

/// Which clients are the first.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct TopQuery {
    /// The order. Messages, bytes and drops are counted from the first question on, and for a minute after the last.
    #[param(inline)]
    by: TopOrder,
    /// How many.
    #[param(minimum = 1, maximum = 256, default = 10)]
    limit: Option<u16>,
}

/// A client that is among the first.
#[derive(Serialize, ToSchema)]
pub(super) struct TopView {
    /// Who.
    client_id: String,
    /// How much.
    value: u64,
}

/// The first clients.
#[derive(Serialize, ToSchema)]
pub(super) struct TopList {
    /// For how long messages, bytes and drops have been counted, in milliseconds: the first question begins it.
    counted_ms: u64,
    /// The greatest first; whoever has none of it is left out.
    clients: Vec<TopView>,
}

/// The first clients by messages, bytes, drops, queue or what they have not acknowledged.
#[utoipa::path(
    get, path = "/api/v1/top", tag = "traffic", params(TopQuery),
    responses(
        (status = 200, description = "done", body = TopList),
        ReadProblems,
    )
)]
pub(super) async fn top(
    State(state): State<Arc<AdminState>>,
    _: Viewer,
    Parameters(query): Parameters<TopQuery>,
) -> Result<Json<TopList>, HttpProblem> {
    let limit = first_of(query.limit)?;
    let (mut all, mut counted_ms) = (Vec::new(), u64::MAX);
    for reply in state.shards.ask_all(&Command::ListTop { by: query.by.into(), limit }).await? {
        let Reply::Top { rows, counted_ms: of_shard } = reply else { return Err(HttpProblem::of_reply(&reply)) };
        all.extend(rows);
        counted_ms = counted_ms.min(of_shard);
    }
    all.sort_unstable_by(|left, right| {
        (Reverse(left.value), &left.client_id).cmp(&(Reverse(right.value), &right.client_id))
    });
    all.truncate(limit.into());
    let view = |TopRow { client_id, value }| TopView { client_id: client_id.into(), value };
    Ok(Json(TopList { counted_ms, clients: all.into_iter().map(view).collect() }))
}

/// What topics are put in the order of.
#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum TopicOrder {
    /// By how many were published.
    #[default]
    Messages,
    /// By what topics, properties and payloads come to.
    Bytes,
    /// The last message.
    Last,
}

/// Which topics are the first.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct TopicsQuery {
    /// What comes first; without it the busiest.
    #[param(inline)]
    by: Option<TopicOrder>,
    /// What stands in their names, letter by letter: of all that are counted, those alone are listed.
    contains: Option<String>,
    /// How many.
    #[param(minimum = 1, maximum = 256, default = 10)]
    limit: Option<u16>,
}

/// A topic that clients publish on.
#[derive(Serialize, ToSchema)]
pub(super) struct TopicView {
    /// Its name, a mount point included.
    topic: String,
    /// Messages while it is counted: at most so many, and at least `overcount` less.
    messages: u64,
    /// How many of those may have been on topics that it took the place of.
    overcount: u64,
    /// Bytes of topics, properties and payloads.
    bytes: u64,
    /// Messages a second since it is counted.
    messages_per_s: f64,
    /// Bytes a second since it is counted.
    bytes_per_s: f64,
    /// How long ago the last message was, in milliseconds.
    last_ago_ms: u64,
    /// About how many clients publish on it; 266 is that or more.
    publishers: u32,
}

/// The first topics.
#[derive(Serialize, ToSchema)]
pub(super) struct TopicList {
    /// For how long they have been counted, in milliseconds: the first question begins it.
    counted_ms: u64,
    /// The first of those that each shard keeps, 512 each, in the order that was asked for.
    topics: Vec<TopicView>,
}

/// Which topics clients publish on: the busiest, or the latest. They are counted from the first question on, and for a minute after the last.
#[utoipa::path(
    get, path = "/api/v1/topics", tag = "traffic", params(TopicsQuery),
    responses(
        (status = 200, description = "done", body = TopicList),
        ReadProblems,
    )
)]
pub(super) async fn topics(
    State(state): State<Arc<AdminState>>,
    _: Viewer,
    Parameters(query): Parameters<TopicsQuery>,
) -> Result<Json<TopicList>, HttpProblem> {
    let limit = first_of(query.limit)?;
    let by = match query.by.unwrap_or_default() {
        TopicOrder::Messages => TopicsBy::Messages,
        TopicOrder::Bytes => TopicsBy::Bytes,
        TopicOrder::Last => TopicsBy::Last,
    };
    let (mut all, mut counted_ms) = (BTreeMap::new(), u64::MAX);
    // Clients of several shards may publish on one topic, and what is looked for may be the last of all: each shard is asked for all that it has.
    // Names are looked through here, where no message waits for it.
    let contains = query.contains.unwrap_or_default();
    for reply in state.shards.ask_all(&Command::ListTopics { by, limit: TOPICS_SEEN_MAX as u16 }).await? {
        let Reply::Topics { rows, counted_ms: of_shard } = reply else { return Err(HttpProblem::of_reply(&reply)) };
        counted_ms = counted_ms.min(of_shard);
        for row in rows.into_iter().filter(|row| row.topic.contains(&*contains)) {
            add_topic(&mut all, row);
        }
    }
    let mut all: Vec<TopicRow> = all.into_values().collect();
    all.sort_by_key(|row| match by {
        TopicsBy::Messages => Reverse(row.messages),
        TopicsBy::Bytes => Reverse(row.bytes),
        TopicsBy::Last => Reverse(u64::MAX - row.last_ago_ms),
    });
    all.truncate(limit.into());
    Ok(Json(TopicList { counted_ms, topics: all.into_iter().map(TopicView::from).collect() }))
}

fn add_topic(all: &mut BTreeMap<Box<str>, TopicRow>, row: TopicRow) {
    match all.get_mut(&row.topic) {
        None => drop(all.insert(row.topic.clone(), row)),
        Some(known) => {
            known.messages += row.messages;
            known.overcount += row.overcount;
            known.bytes += row.bytes;
            known.seen_for_ms = known.seen_for_ms.max(row.seen_for_ms);
            known.last_ago_ms = known.last_ago_ms.min(row.last_ago_ms);
            known.publishers |= row.publishers;
        }
    }
}

impl From<TopicRow> for TopicView {
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    fn from(row: TopicRow) -> Self {
        // Of what has been seen for less than a second the rate is told as of one.
        let a_second = |value: u64| (value as f64 * 1_000.0 / row.seen_for_ms.max(1_000) as f64 * 10.0).round() / 10.0;
        Self {
            messages_per_s: a_second(row.messages - row.overcount),
            bytes_per_s: a_second(row.bytes),
            topic: row.topic.into(),
            messages: row.messages,
            overcount: row.overcount,
            bytes: row.bytes,
            last_ago_ms: row.last_ago_ms,
            publishers: publishers_of(row.publishers),
        }
    }
}

fn first_of(asked: Option<u16>) -> Result<u16, HttpProblem> {
    let limit = asked.unwrap_or(FIRST_DEFAULT);
    let is_right = (1..=PAGE_MAX).contains(&limit);
    is_right.then_some(limit).ok_or_else(|| HttpProblem::bad_request(format!("limit is 1 to {PAGE_MAX}")))
}

const FIRST_DEFAULT: u16 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn row(messages: u64, overcount: u64, seen_for_ms: u64, publishers: u64) -> TopicRow {
        let (bytes, last_ago_ms) = (10 * messages, seen_for_ms / 2);
        TopicRow { topic: "t".into(), messages, overcount, bytes, seen_for_ms, last_ago_ms, publishers }
    }

    #[test]
    fn a_topic_of_several_shards_is_one() {
        let mut all = BTreeMap::new();
        add_topic(&mut all, row(40, 4, 8_000, 0b11));
        add_topic(&mut all, row(10, 0, 9_000, 0b110));
        let view = TopicView::from(all.remove("t").unwrap());
        assert!(all.is_empty());
        assert_eq!(
            (view.messages, view.overcount, view.bytes, view.last_ago_ms, view.publishers),
            (50, 4, 500, 4_000, 3)
        );
        assert!((view.messages_per_s - 5.1).abs() < 0.01 && (view.bytes_per_s - 55.6).abs() < 0.01);
    }
}
