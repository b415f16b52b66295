//! The last lines of the log.

use axum::Json;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::access::Viewer;
use super::asked::{Parameters, int64};
use super::problem::{HttpProblem, ReadProblems};
use crate::limits::LOG_RECENT_LINES;
use crate::telemetry::log::{RecentLine, recent_lines};

/// Which lines.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct LogQuery {
    /// Those that are newer than the line of this number; without it all that are kept.
    after: Option<u64>,
    /// Most lines: of more than these the newest.
    #[param(minimum = 1, maximum = 1000, default = 200)]
    limit: Option<usize>,
}

/// With the number by which the next question goes on.
#[derive(Serialize, ToSchema)]
pub(super) struct LogLine {
    /// Counted since the start. Where one is missing, more lines came than are kept.
    number: u64,
    /// As it was written.
    text: String,
}

/// How many there are without a word about it.
const LINES_DEFAULT: usize = 200;

/// The last lines of the log, oldest first. The broker keeps 1,000 of them, 512 KiB at most; the one with a password is none of them.
#[utoipa::path(
    get, path = "/api/v1/log", operation_id = "list_log_lines", tag = "operation", params(LogQuery),
    responses(
        (status = 200, description = "done", body = Vec<LogLine>),
        ReadProblems,
    )
)]
pub(super) async fn list(
    _: Viewer,
    Parameters(LogQuery { after, limit }): Parameters<LogQuery>,
) -> Result<Json<Vec<LogLine>>, HttpProblem> {
    let limit = limit.unwrap_or(LINES_DEFAULT);
    if !(1..=LOG_RECENT_LINES).contains(&limit) {
        return Err(HttpProblem::bad_request(format!("limit is 1 to {LOG_RECENT_LINES}")));
    }
    let view = |RecentLine { number, text }| LogLine { number, text: text.into() };
    Ok(Json(recent_lines(int64("after", after)?, limit).into_iter().map(view).collect()))
}
