//! What goes wrong with a request, as `application/problem+json` (RFC 9457).

use std::collections::BTreeMap;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::openapi::{self, ContentBuilder, Ref, RefOr, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

use super::shards::Unanswered;
use crate::shard::Reply;

/// What went wrong, in words for people and a status for programs.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct HttpProblem {
    /// The kind of problem; `about:blank` is what the status says.
    #[serde(rename = "type")]
    #[schema(example = "about:blank")]
    kind: &'static str,
    /// The kind in words.
    #[schema(example = "Not Found")]
    title: String,
    /// The HTTP status.
    #[schema(example = 404)]
    status: u16,
    /// What is wrong with this request.
    #[schema(example = "no session has this client id")]
    detail: String,
    /// Seconds after which another try makes sense.
    #[serde(skip)]
    retry_after_s: Option<u64>,
}

impl HttpProblem {
    /// A problem of this status.
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("HttpProblem").to_owned();
        Self { kind: "about:blank", title, status: status.as_u16(), detail: detail.into(), retry_after_s: None }
    }

    /// Whoever asks has not said who it is, or nobody knows it.
    pub(super) fn unauthorized(detail: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, detail)
    }

    /// Whoever asks may not.
    pub(super) fn forbidden(detail: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    /// There is no such thing.
    pub(super) fn not_found(detail: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// The request makes no sense.
    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// It cannot be done now; another try makes sense.
    pub(super) fn not_now(detail: &str) -> Self {
        Self { retry_after_s: Some(1), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
    }

    /// Too many tries: another makes sense after `seconds`.
    pub(super) fn too_many(seconds: u64) -> Self {
        let detail = format!("too many wrong passwords from this address: wait {seconds} s");
        Self { retry_after_s: Some(seconds), ..Self::new(StatusCode::TOO_MANY_REQUESTS, detail) }
    }

    /// It took too long.
    pub(super) fn late() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "the request took too long")
    }

    /// What is wrong, in words.
    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    /// The same status, with these words.
    pub(super) fn told_as(self, detail: String) -> Self {
        Self { detail, ..self }
    }

    /// What a shard says that has not done what it was asked for.
    pub(super) fn of_reply(reply: &Reply) -> Self {
        match reply {
            Reply::NotFound => Self::not_found("no session has this client id"),
            Reply::Refused(text) => Self::bad_request(*text),
            Reply::NotNow(text) => Self::not_now(text),
            _ => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "a shard's answer does not fit the question"),
        }
    }

    /// The answer where no extractor is at hand.
    pub(super) fn into_response_now(self) -> Response {
        self.into_response()
    }
}

/// What goes wrong with questions, as the description has it.
pub(super) struct ReadProblems;

/// The same of changes.
pub(super) struct ChangeProblems;

const OF_READING: [(&str, &str); 3] =
    [("400", "something in it is wrong"), ("401", "nobody known"), ("503", "it cannot be answered now")];

impl IntoResponses for ReadProblems {
    fn responses() -> BTreeMap<String, RefOr<openapi::Response>> {
        described(&OF_READING)
    }
}

impl IntoResponses for ChangeProblems {
    fn responses() -> BTreeMap<String, RefOr<openapi::Response>> {
        let mut responses = described(&OF_READING);
        responses.extend(described(&[("403", "not an operator"), ("413", "its body is too long")]));
        responses
    }
}

fn described(problems: &[(&str, &str)]) -> BTreeMap<String, RefOr<openapi::Response>> {
    let response = |(status, text): &(&str, &str)| {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("HttpProblem"))).build();
        let response = ResponseBuilder::new().description(*text).content("application/problem+json", content);
        ((*status).to_owned(), RefOr::T(response.build()))
    };
    problems.iter().map(response).collect()
}

impl From<Unanswered> for HttpProblem {
    fn from(unanswered: Unanswered) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, unanswered.to_string())
    }
}

impl IntoResponse for HttpProblem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).expect("it was made from a status");
        let body = serde_json::to_vec(&self).expect("numbers and texts become JSON");
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"dunlin\""));
        }
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
