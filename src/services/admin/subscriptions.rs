//! Subscriptions: to a filter, to what a topic matches, all of them; and shared ones.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::access::Viewer;
use super::asked::{Paged as _, Parameters, page_over_shards, paged_query};
use super::problem::{HttpProblem, ReadProblems};
use super::state::AdminState;
use crate::limits::ADMIN_PAGES_PER_REQUEST;
use crate::shard::command::{Audience, GroupRow, SubscriptionRow};
use crate::shard::{Command, Reply};

paged_query! {
    /// Which subscriptions are listed. Without a filter and a topic it is all of them.
    AudienceQuery {
        /// A filter, letter by letter; `$share/name/filter` for the members of a shared subscription.
        #[param(example = "plant/+/temperature")]
        filter: Option<String>,
        /// A topic name: those that match it, shared ones too.
        #[param(example = "plant/7/temperature")]
        topic: Option<String>,
    }
}

/// A subscription of a list.
#[derive(Serialize, ToSchema)]
pub(super) struct SubscriptionView {
    /// Whose it is.
    client_id: String,
    /// Whether that client is connected.
    connected: bool,
    /// Whole: `$share/name/` and a mount point are part of it.
    filter: String,
    /// The highest QoS that messages come with.
    qos: u8,
    /// What it published itself is not sent to it.
    no_local: bool,
    /// RETAIN stays as the publisher set it.
    retain_as_published: bool,
    /// What is sent along with each message.
    #[serde(skip_serializing_if = "Option::is_none")]
    identifier: Option<u32>,
    /// Messages that this member of a shared subscription was picked for, while that is counted: see `/api/v1/top`.
    #[serde(skip_serializing_if = "Option::is_none")]
    picked_messages: Option<u32>,
    /// Whether access rules let it receive a message on the topic that was asked for: where they do not, its client hears nothing of
    /// that topic. Not there unless a topic was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    may_receive: Option<bool>,
}

impl From<SubscriptionRow> for SubscriptionView {
    fn from(row: SubscriptionRow) -> Self {
        let SubscriptionRow { client_id, is_connected, filter, options, identifier, picked, may_receive } = row;
        Self {
            client_id: client_id.into(),
            connected: is_connected,
            filter: filter.into(),
            qos: options.qos as u8,
            no_local: options.no_local,
            retain_as_published: options.retain_as_published,
            identifier: identifier.map(Into::into),
            picked_messages: picked,
            may_receive,
        }
    }
}

/// A page of subscriptions.
#[derive(Serialize, ToSchema)]
pub(super) struct AudiencePage {
    /// In no order that means anything. A subscription that is there all the time is on one page of all, once.
    subscriptions: Vec<SubscriptionView>,
    /// The cursor of the next page; none after the last. A page may have fewer than asked for, or none, before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// List subscriptions: to a filter, to all that a topic matches, or all of them.
#[utoipa::path(
    get, path = "/api/v1/subscriptions", operation_id = "list_subscriptions", tag = "subscriptions", params(AudienceQuery),
    responses(
        (status = 200, description = "done", body = AudiencePage),
        ReadProblems,
    )
)]
pub(super) async fn list(
    State(state): State<Arc<AdminState>>,
    _: Viewer,
    Parameters(query): Parameters<AudienceQuery>,
) -> Result<Json<AudiencePage>, HttpProblem> {
    let of = match (&query.filter, &query.topic) {
        (None, None) => Audience::All,
        (Some(filter), None) => Audience::Filter(filter.as_str().into()),
        (None, Some(topic)) => Audience::Topic(topic.as_str().into()),
        (Some(_), Some(_)) => return Err(HttpProblem::bad_request("filter and topic are both there")),
    };
    let ask = |after, limit| Command::ListAudience { of: of.clone(), after, limit };
    let take = |reply| match reply {
        Reply::Audience { page, next } => Ok((page.into_iter().map(SubscriptionView::from).collect(), next)),
        other => Err(HttpProblem::of_reply(&other)),
    };
    let (subscriptions, next) = page_over_shards(&state, &query, ask, take).await?;
    Ok(Json(AudiencePage { subscriptions, next }))
}

paged_query! {
    /// Which part of the shared subscriptions is listed.
    GroupsQuery {
    }
}

/// A shared subscription of a list.
#[derive(Serialize, ToSchema)]
pub(super) struct GroupView {
    /// `$share/name/filter`: `/api/v1/subscriptions?filter=` lists its members with what each was picked for.
    filter: String,
    /// Members of all shards.
    members: u32,
    /// Those of them whose clients are connected.
    connected: u32,
}

/// A page of shared subscriptions.
#[derive(Serialize, ToSchema)]
pub(super) struct GroupPage {
    /// In no order that means anything.
    groups: Vec<GroupView>,
    /// The cursor of the next page; none after the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// List the shared subscriptions, and how many members each has.
#[utoipa::path(
    get, path = "/api/v1/groups", operation_id = "list_groups", tag = "subscriptions", params(GroupsQuery),
    responses(
        (status = 200, description = "done", body = GroupPage),
        ReadProblems,
    )
)]
pub(super) async fn groups(
    State(state): State<Arc<AdminState>>,
    _: Viewer,
    Parameters(query): Parameters<GroupsQuery>,
) -> Result<Json<GroupPage>, HttpProblem> {
    let limit = query.limit()?;
    let mut first = query.begin(|text| text.parse().ok())?.unwrap_or(0);
    let view = |GroupRow { filter, members, connected }| GroupView { filter: filter.into(), members, connected };
    let mut groups = Vec::new();
    for _ in 0..ADMIN_PAGES_PER_REQUEST {
        let left = limit - groups.len() as u16;
        // Every shard knows of them all.
        match state.shards.ask(0, Command::ListGroups { first, limit: left }).await? {
            Reply::Groups { page, next } => {
                groups.extend(page.into_iter().map(view));
                match next {
                    Some(next) => first = next,
                    None => return Ok(Json(GroupPage { groups, next: None })),
                }
            }
            other => return Err(HttpProblem::of_reply(&other)),
        }
        if groups.len() >= usize::from(limit) {
            break;
        }
    }
    Ok(Json(GroupPage { groups, next: Some(first.to_string()) }))
}
