//! Client ids and networks that an operator bans.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::access::{Operator, Viewer};
use super::asked::{JsonBody, Parameters, check_reason};
use super::operated::to_the_end;
use super::problem::{ChangeProblems, HttpProblem, ReadProblems};
use super::state::AdminState;
use crate::auth::operator_bans::{BannedWho, OperatorBan, OperatorBans};
use crate::settings::Network;
use crate::shard::command::{ClientFilter, PAGE_MAX};
use crate::shard::{Command, Reply, SessionFate};
use crate::telemetry::log;
use crate::time::Timestamp;

/// Whom to ban, and for how long.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewBan {
    /// Whoever says this client id, from wherever.
    #[schema(min_length = 1)]
    client_id: Option<String>,
    /// Whoever comes from this address or network, instead.
    #[schema(example = "192.0.2.0/24")]
    network: Option<String>,
    /// How long; without it until it is taken out, or, with `--storage memory`, as long as the broker runs.
    #[schema(value_type = Option<u64>, minimum = 1, maximum = 4_294_967_295_u64)]
    seconds: Option<u32>,
    /// Why, for whoever reads the list.
    #[serde(default)]
    #[schema(max_length = 256)]
    reason: String,
    /// Whether who is connected and banned now is closed (0x98).
    #[serde(default = "yes")]
    disconnect: bool,
}

const fn yes() -> bool {
    true
}

/// A ban that holds.
#[derive(Serialize, ToSchema)]
pub(super) struct BanView {
    /// Whoever says this client id.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    /// Whoever comes from there.
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<String>,
    /// When it ends, in milliseconds since 1970; without it it ends when it is taken out, or with the process, see `kept`.
    #[serde(skip_serializing_if = "Option::is_none")]
    until_ms: Option<u64>,
    /// Why.
    reason: String,
    /// Whether it outlives the process: it does not with `--storage memory`, nor where the disk has refused it.
    kept: bool,
}

impl BanView {
    fn new(who: &BannedWho, ban: &OperatorBan, kept: bool) -> Self {
        let (client_id, network) = match who {
            BannedWho::ClientId(id) => (Some(id.to_string()), None),
            BannedWho::Network(first, bits) => (None, Some(format!("{first}/{bits}"))),
        };
        Self { client_id, network, until_ms: ban.until.map(|until| until.0), reason: ban.reason.to_string(), kept }
    }
}

/// The wall clock.
pub(super) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Who is meant, and the network where it is one.
fn who_of(client_id: Option<&str>, network: Option<&str>) -> Result<(BannedWho, Option<Network>), HttpProblem> {
    match (client_id, network) {
        (Some(id), None) if !id.is_empty() && u16::try_from(id.len()).is_ok() => {
            Ok((BannedWho::ClientId(id.into()), None))
        }
        (None, Some(text)) => {
            let network: Network =
                text.parse().map_err(|text: String| HttpProblem::bad_request(format!("network: {text}")))?;
            Ok((BannedWho::Network(network.address(), network.prefix()), Some(network)))
        }
        _ => Err(HttpProblem::bad_request("a client_id or a network is needed, and one of them alone")),
    }
}

/// The bans of operators that hold, in no order that means anything. What `--ban-after` does is not among them.
#[utoipa::path(
    get, path = "/api/v1/bans", operation_id = "list_bans", tag = "operation",
    responses(
        (status = 200, description = "done", body = Vec<BanView>),
        ReadProblems,
    )
)]
pub(super) async fn list(State(state): State<Arc<AdminState>>, _: Viewer) -> Json<Vec<BanView>> {
    let kept = state.are_bans_kept();
    Json(state.with_bans(|bans| bans.iter(now()).map(|(who, ban)| BanView::new(who, ban, kept)).collect()))
}

/// Ban a client id or a network: whoever comes in is refused (0x8A), until it ends. It outlives the process, but with `--storage memory` (`kept`).
#[utoipa::path(
    post, path = "/api/v1/bans", operation_id = "add_ban", tag = "operation", request_body = NewBan,
    responses(
        (status = 200, description = "it holds", body = BanView),
        (status = 409, description = "there are as many as may be", body = HttpProblem, content_type = "application/problem+json"),
        ChangeProblems,
    )
)]
pub(super) async fn add(
    State(state): State<Arc<AdminState>>,
    operator: Operator,
    JsonBody(new): JsonBody<NewBan>,
) -> Result<Json<BanView>, HttpProblem> {
    let (who, network) = who_of(new.client_id.as_deref(), new.network.as_deref())?;
    check_reason(&new.reason)?;
    if new.seconds == Some(0) {
        return Err(HttpProblem::bad_request("seconds is at least 1; without it the ban has no end"));
    }
    let about = new.client_id.as_deref().or(new.network.as_deref()).unwrap_or_default();
    operator.note_with_reason("ban", about, Some(&*new.reason).filter(|reason| !reason.is_empty()));
    let now = now();
    let until = new.seconds.map(|seconds| Timestamp(now.0 + u64::from(seconds) * 1_000));
    let ban = OperatorBan { until, reason: new.reason.into() };
    let mut view = BanView::new(&who, &ban, false);
    to_the_end(async move {
        let alone = state.changes.lock().await;
        let is_added = change_bans(&state, |bans| bans.add(now, who.clone(), ban)).await?;
        if !is_added {
            let text = "there are as many bans as may be: take some out, or ban a network";
            return Err(HttpProblem::new(StatusCode::CONFLICT, text));
        }
        // It holds in any case; whether it will after a start is told.
        view.kept = keep(&state).await.is_ok_and(|is_kept| is_kept);
        drop(alone);
        if new.disconnect {
            close_banned(&state, who, network).await?;
        }
        Ok(Json(view))
    })
    .await
}

/// Closes who is banned now.
async fn close_banned(state: &Arc<AdminState>, who: BannedWho, network: Option<Network>) -> Result<(), HttpProblem> {
    match (who, network) {
        (BannedWho::ClientId(client_id), _) => {
            state
                .shards
                .ask_owner(&Command::Disconnect { client_id, session: SessionFate::Kept, reason: None })
                .await?;
        }
        (BannedWho::Network(..), Some(network)) => {
            let state = Arc::clone(state);
            // There may be many. A shard that does not answer is the watchdog's affair.
            tokio::spawn(async move { close_from(&state, network).await.ok() });
        }
        (BannedWho::Network(..), None) => {}
    }
    Ok(())
}

/// Has the bans written down. Returns whether they are, or why that failed.
async fn keep(state: &AdminState) -> Result<bool, String> {
    let Some(keeper) = state.keep_bans.clone() else { return Ok(false) };
    let bans = state.with_bans(|bans| bans.clone());
    let written = tokio::task::spawn_blocking(move || keeper(&bans)).await;
    let written = written.unwrap_or_else(|_| Err("the broker stops".to_owned()));
    state.note_bans_kept(written.is_ok());
    if let Err(text) = &written {
        log::event::bans_not_kept(text);
    }
    written.map(|()| true)
}

/// Changes them, and tells all shards, for whoever has locked the changes. Returns whether there was anything to change. Nothing has changed
/// when it fails.
async fn change_bans(state: &AdminState, change: impl FnOnce(&mut OperatorBans) -> bool) -> Result<bool, HttpProblem> {
    let before = state.with_bans(|bans| bans.clone());
    if !state.with_bans(change) {
        return Ok(false);
    }
    let tell = async |bans: &OperatorBans| {
        let bans = (!bans.is_empty()).then(|| Arc::new(bans.clone()));
        state.shards.change_all(&Command::UseBans(bans)).await
    };
    let after = state.with_bans(|bans| bans.clone());
    if let Err(unanswered) = tell(&after).await {
        // Those that have them forget them, and who is late does both.
        let _ = tell(&before).await;
        state.with_bans(|bans| *bans = before);
        return Err(unanswered.into());
    }
    Ok(true)
}

/// Closes connections from a network, page by page.
async fn close_from(state: &AdminState, network: Network) -> Result<(), HttpProblem> {
    let filter = ClientFilter { network: Some(network), connected: Some(true), ..ClientFilter::default() };
    for shard in 0..state.shards.len() {
        let mut after = None;
        loop {
            let command = Command::ListClients { after, limit: PAGE_MAX, filter: filter.clone() };
            let Reply::Clients { page, next } = state.shards.ask(shard, command).await? else { return Ok(()) };
            for client in page {
                let command =
                    Command::Disconnect { client_id: client.client_id, session: SessionFate::Kept, reason: None };
                state.shards.ask(shard, command).await?;
            }
            match next {
                Some(_) => after = next,
                None => break,
            }
        }
    }
    Ok(())
}

/// Which ban is taken out.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct BanQuery {
    /// As it was banned.
    client_id: Option<String>,
    /// That of this address or network.
    network: Option<String>,
}

/// Take a ban out.
#[utoipa::path(
    delete, path = "/api/v1/bans", operation_id = "remove_ban", tag = "operation", params(BanQuery),
    responses(
        (status = 204, description = "it does not hold any more"),
        (status = 404, description = "there is none", body = HttpProblem, content_type = "application/problem+json"),
        ChangeProblems,
    )
)]
pub(super) async fn remove(
    State(state): State<Arc<AdminState>>,
    operator: Operator,
    Parameters(query): Parameters<BanQuery>,
) -> Result<StatusCode, HttpProblem> {
    let (who, _) = who_of(query.client_id.as_deref(), query.network.as_deref())?;
    operator.note("unban", query.client_id.as_deref().or(query.network.as_deref()).unwrap_or_default());
    to_the_end(async move {
        let _alone = state.changes.lock().await;
        if !change_bans(&state, |bans| bans.remove(&who)).await? {
            return Err(HttpProblem::not_found("there is no such ban"));
        }
        keep(&state).await.map_err(|text| {
            HttpProblem::not_now(&format!("it does not hold any more, but the next start brings it back: {text}"))
        })?;
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::super::failing_shards::state_with_a_lost_shard;
    use super::*;

    #[tokio::test]
    async fn a_ban_that_one_shard_does_not_hear_of_holds_nowhere() {
        let (state, asked) = state_with_a_lost_shard(Vec::new());
        let who = BannedWho::ClientId("evil".into());
        let ban = OperatorBan { until: None, reason: "".into() };
        let changed = change_bans(&state, |bans| bans.add(now(), who.clone(), ban)).await;
        assert_eq!(changed.unwrap_err().detail(), "shard 1 takes no question: the shard has stopped");
        assert_eq!(asked.all(), ["bans true", "bans false"], "who heard of it is told that it does not hold");
        assert!(state.with_bans(|bans| bans.is_empty()));
        // Nor is one forgotten that all the others still have.
        let ban = OperatorBan { until: None, reason: "".into() };
        state.with_bans(|bans| bans.add(now(), who.clone(), ban));
        assert!(change_bans(&state, |bans| bans.remove(&who)).await.is_err());
        assert_eq!(asked.all(), ["bans false", "bans true"]);
        assert!(!state.with_bans(|bans| bans.is_empty()));
    }
}
