//! What requests carry: parameters, a body, a place in a list.
//!
//! Always holds: what cannot be read is a problem in JSON, like all others; a list's page is asked for in one way.

use axum::Json;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::cursor::ListPlace;
use super::problem::HttpProblem;
use super::state::AdminState;
use crate::limits::{ADMIN_PAGES_PER_REQUEST, OPERATOR_REASON_MAX_BYTES};
use crate::shard::command::PAGE_MAX;
use crate::shard::{ClientCursor, Command, Reply};

/// Parameters behind the path.
pub(super) struct Parameters<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Parameters<T> {
    type Rejection = HttpProblem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, HttpProblem> {
        let read = Query::<T>::try_from_uri(&parts.uri);
        read.map(|Query(value)| Self(value)).map_err(|rejection| HttpProblem::bad_request(rejection.body_text()))
    }
}

/// What a request brings: read whole, and refused where it does not fit the type.
pub(super) struct JsonBody<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = HttpProblem;

    async fn from_request(request: Request, state: &S) -> Result<Self, HttpProblem> {
        let read = Json::<T>::from_request(request, state).await;
        read.map(|Json(value)| Self(value)).map_err(|rejection| {
            let is_too_long = rejection.status() == StatusCode::PAYLOAD_TOO_LARGE;
            let status = if is_too_long { StatusCode::PAYLOAD_TOO_LARGE } else { StatusCode::BAD_REQUEST };
            HttpProblem::new(status, rejection.body_text())
        })
    }
}

/// The name in a path (a client id, a listener), percent-decoded.
pub(super) struct NameInPath(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for NameInPath {
    type Rejection = HttpProblem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HttpProblem> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        path.map(|Path(name)| Self(name)).map_err(|rejection| HttpProblem::bad_request(rejection.body_text()))
    }
}

/// The parameters of a list: those that choose what is in it, and with them how a page is asked for.
macro_rules! paged_query {
    ($(#[$of_struct:meta])* $name:ident { $($(#[$of_field:meta])* $field:ident: $kind:ty,)* }) => {
        $(#[$of_struct])*
        #[derive(serde::Deserialize, utoipa::IntoParams)]
        #[into_params(parameter_in = Query)]
        #[serde(deny_unknown_fields)]
        pub(super) struct $name {
            $($(#[$of_field])* $field: $kind,)*
            /// Most entries of this page.
            #[param(minimum = 1, maximum = 256, default = 100)]
            limit: Option<u16>,
            /// The `next` of the page before, with the same parameters.
            cursor: Option<String>,
        }

        impl $crate::services::admin::asked::Paged for $name {
            fn asked(&self) -> (Option<u16>, Option<&str>) {
                (self.limit, self.cursor.as_deref())
            }
        }
    };
}
pub(super) use paged_query;

/// How a page of a list is asked for.
pub(super) trait Paged {
    /// Most entries, and where it begins, as they came.
    fn asked(&self) -> (Option<u16>, Option<&str>);

    /// Most entries of the page.
    fn limit(&self) -> Result<u16, HttpProblem> {
        let limit = self.asked().0.unwrap_or(LIMIT_DEFAULT);
        let is_right = (1..=PAGE_MAX).contains(&limit);
        is_right.then_some(limit).ok_or_else(|| HttpProblem::bad_request(format!("limit is 1 to {PAGE_MAX}")))
    }

    /// Where it begins, as `parse` reads it; none at the begin of the list.
    fn begin<T>(&self, parse: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, HttpProblem> {
        let wrong = || HttpProblem::bad_request("cursor is none that a page of this list had");
        self.asked().1.map(|text| parse(text).ok_or_else(wrong)).transpose()
    }
}

const LIMIT_DEFAULT: u16 = 100;

/// A page of a list that goes over all shards, one after another, and the cursor of the next. `ask` is the question to a shard from
/// a place on, for so many entries; `take` is what an answer comes to.
pub(super) async fn page_over_shards<Row>(
    state: &AdminState,
    query: &impl Paged,
    ask: impl Fn(Option<ClientCursor>, u16) -> Command,
    take: impl Fn(Reply) -> Result<(Vec<Row>, Option<ClientCursor>), HttpProblem>,
) -> Result<(Vec<Row>, Option<String>), HttpProblem> {
    let limit = query.limit()?;
    let is_there = |place: &ListPlace| place.shard < state.shards.len();
    let begin = query.begin(|text| ListPlace::parse(text).filter(is_there))?;
    let mut place = begin.unwrap_or(ListPlace::BEGIN);
    let mut rows = Vec::new();
    for _ in 0..ADMIN_PAGES_PER_REQUEST {
        let left = limit - rows.len() as u16;
        let (page, next) = take(state.shards.ask(place.shard, ask(place.after, left)).await?)?;
        rows.extend(page);
        place = match next {
            Some(after) => ListPlace { after: Some(after), ..place },
            None => ListPlace { shard: place.shard + 1, after: None },
        };
        if place.shard == state.shards.len() {
            return Ok((rows, None));
        }
        if rows.len() >= usize::from(limit) {
            break;
        }
    }
    Ok((rows, Some(place.to_text())))
}

/// A number that a parameter has or that stands for its absence, 0: up to what the description's format, int64, has.
pub(super) fn int64(name: &str, value: Option<u64>) -> Result<u64, HttpProblem> {
    let value = value.unwrap_or(0);
    if i64::try_from(value).is_err() {
        return Err(HttpProblem::bad_request(format!("{name} is 0 to {}", i64::MAX)));
    }
    Ok(value)
}

/// Whether an operator may give this reason: it stands in the log, and in packets of MQTT 5.0.
pub(super) fn check_reason(reason: &str) -> Result<(), HttpProblem> {
    if reason.len() > OPERATOR_REASON_MAX_BYTES || reason.contains(char::is_control) {
        let text = format!("reason has up to {OPERATOR_REASON_MAX_BYTES} bytes, without control characters");
        return Err(HttpProblem::bad_request(text));
    }
    Ok(())
}
