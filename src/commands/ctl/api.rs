//! Requests to an admin server.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use ureq::Agent;
use ureq::http::Response;

use super::super::http::agent;

/// Most bytes of an answer that are read.
const ANSWER_MAX_BYTES: u64 = 64 * 1024 * 1024;
/// Most bytes of a URL: what HTTP libraries take.
const URL_MAX_BYTES: usize = 65_000;
/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The way to one admin server.
#[derive(Debug)]
pub(super) struct Api {
    agent: Agent,
    url: String,
    key: Option<String>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    /// Nobody answers.
    #[error("{0}: {1}; is the broker running, with --admin-port? --url names another place")]
    Unreachable(String, Box<ureq::Error>),
    /// It has answered that it cannot be.
    #[error("{detail} (HTTP {status}){remedy}")]
    Refused {
        /// Of HTTP.
        status: u16,
        /// In the server's words.
        detail: String,
        /// What to do about it; may be empty.
        remedy: &'static str,
    },
    /// What came is no answer of an admin server.
    #[error("{0} does not answer as an admin server of dunlin does")]
    Foreign(String),
    /// The key cannot be read.
    #[error("{}: {error}", path.display())]
    KeyFile {
        /// Where it was to be.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// It does not fit into a request.
    #[error("the client id, filter or topic is too long for a request")]
    TooLong,
    /// Whose certificates are to be trusted cannot be told.
    #[error("{0}")]
    Authorities(String),
    /// What was to be shown cannot be.
    #[error("standard output: {0}")]
    Output(io::Error),
    /// Standard input cannot be read.
    #[error("standard input: {0}")]
    Input(io::Error),
}

/// A path of the API; each part may hold anything.
pub(super) fn path(parts: &[&str]) -> String {
    let parts = parts.iter().map(|part| format!("/{}", encoded(part)));
    std::iter::once("/api/v1".to_owned()).chain(parts).collect()
}

/// Percent-encoded, but for what RFC 3986 calls unreserved.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(byte.into());
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// Parameters behind a path.
type Query<'a> = [(&'a str, &'a str)];

impl Api {
    /// The admin server at `url`, asked by whoever has this key.
    pub(super) fn new(url: &str, ca_file: Option<&Path>, key: Option<String>) -> Result<Self, ApiError> {
        let agent = agent(url, ca_file, TIMEOUT).map_err(ApiError::Authorities)?;
        Ok(Self { agent, url: url.trim_end_matches('/').to_owned(), key })
    }

    pub(super) fn get(&self, path: &str, query: &Query<'_>) -> Result<Value, ApiError> {
        let url = self.url(path, query)?;
        self.read(self.agent.get(&url).header("Authorization", self.authorization()).call())
    }

    pub(super) fn delete(&self, path: &str, query: &Query<'_>) -> Result<Value, ApiError> {
        let url = self.url(path, query)?;
        self.read(self.agent.delete(&url).header("Authorization", self.authorization()).call())
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> Result<Value, ApiError> {
        let request = self.agent.post(self.url(path, &[])?).header("Authorization", self.authorization());
        self.read(request.header("Content-Type", "application/json").send(body.to_string()))
    }

    /// The pages of a list put together, up to `limit` entries if that is not 0. `names` are those of the list and of the
    /// parameter that takes what `next` says.
    pub(super) fn pages(
        &self,
        path: &str,
        query: &Query<'_>,
        names: (&str, &str),
        limit: usize,
    ) -> Result<Value, ApiError> {
        let (mut all, mut next): (Vec<Value>, Option<String>) = (Vec::new(), None);
        loop {
            let mut query = query.to_vec();
            query.extend(next.as_deref().map(|next| (names.1, next)));
            let mut page = self.get(path, &query)?;
            let Some(Value::Array(entries)) = page.get_mut(names.0).map(Value::take) else {
                return Err(ApiError::Foreign(self.url.clone()));
            };
            all.extend(entries);
            next = match &page["next"] {
                Value::Null => None,
                Value::String(text) => Some(text.clone()),
                other => Some(other.to_string()),
            };
            if next.is_none() || (limit > 0 && all.len() >= limit) {
                all.truncate(if limit > 0 { limit } else { usize::MAX });
                return Ok(Value::Array(all));
            }
        }
    }

    fn url(&self, path: &str, query: &Query<'_>) -> Result<String, ApiError> {
        let query: Vec<String> = query.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let mark = if query.is_empty() { "" } else { "?" };
        let url = format!("{}{path}{mark}{}", self.url, query.join("&"));
        if url.len() <= URL_MAX_BYTES { Ok(url) } else { Err(ApiError::TooLong) }
    }

    fn authorization(&self) -> String {
        format!("Bearer {}", self.key.as_deref().unwrap_or_default())
    }

    fn read(&self, answer: Result<Response<ureq::Body>, ureq::Error>) -> Result<Value, ApiError> {
        let unreachable = |error| ApiError::Unreachable(self.url.clone(), Box::new(error));
        let mut answer = answer.map_err(unreachable)?;
        let status = answer.status().as_u16();
        let body = answer.body_mut().with_config().limit(ANSWER_MAX_BYTES).read_to_vec().map_err(unreachable)?;
        if status == 204 {
            return Ok(Value::Null);
        }
        if matches!(status, 414 | 431) {
            return Err(ApiError::TooLong);
        }
        let value = serde_json::from_slice::<Value>(&body).map_err(|_| ApiError::Foreign(self.url.clone()))?;
        if (200..300).contains(&status) {
            return Ok(value);
        }
        let detail = value["detail"].as_str().unwrap_or("it is refused").to_owned();
        let remedy = match (status, &self.key) {
            (401, None) => "; --key-file or DUNLIN_CTL_KEY gives a key, as dunlin passwd --admin --api-key makes it",
            _ => "",
        };
        Err(ApiError::Refused { status, detail, remedy })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_may_hold_anything() {
        assert_eq!(
            path(&["clients", "a/b c%é?", "subscriptions"]),
            "/api/v1/clients/a%2Fb%20c%25%C3%A9%3F/subscriptions"
        );
        let api = Api::new("http://127.0.0.1:1/", None, None).unwrap();
        assert_eq!(api.url("/x", &[("a", "1&2"), ("b", "")]).unwrap(), "http://127.0.0.1:1/x?a=1%262&b=");
        assert_eq!(api.url("/x", &[]).unwrap(), "http://127.0.0.1:1/x");
    }
}
