//! Back ends that are asked over HTTP: who may come in, and who may publish or subscribe to what.
//!
//! Bodies and answers are those of EMQX's HTTP authenticator and authorizer (5.x), so that back ends written for them work unchanged.
//! Owns: what a request says and what an answer means.
//! Always holds: an answer that cannot be read, of a status that means nothing, or that does not come decides as the operator chose for
//! that: never in favour of the client; `Debug` shows no password.
//! Leaves to others: sending (`runtime`), when to ask ([`super::Authenticator`]).
//!
//! Reading order: `connect` (who may come in), `topic` (who may do what), `answer`, `headers`.

mod answer;
mod connect;
mod headers;
mod topic;

pub use answer::{HttpAnswer, WhenDown};
pub use connect::HttpMethod;
pub use headers::{HttpHeaders, HttpHeadersError};
pub use topic::HttpAuthorizer;

/// A request to be sent.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpRequest {
    /// Where to.
    pub url: Box<str>,
    /// JSON.
    pub body: Box<str>,
}

/// Without the body, which may hold a password.
impl std::fmt::Debug for HttpRequest {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("HttpRequest").field("url", &self.url).finish_non_exhaustive()
    }
}
