//! Requests to an admin server.

use std::fmt::Write as _;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::super::http::agent;
use super::super::way::{Answered, AskError, Asked, Way};

/// Most bytes of an answer that are read.
const ANSWER_MAX_BYTES: u64 = 64 * 1024 * 1024;
/// Most bytes of a URL: what HTTP libraries take.
const URL_MAX_BYTES: usize = 65_000;
/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How much longer than it is asked for a stream may take.
const STREAM_EXTRA: Duration = Duration::from_secs(10);

/// The way to one admin server.
#[derive(Debug)]
pub(super) struct Api {
    way: Way,
    key: Option<String>,
}

/// Where the admin server is.
#[derive(Debug)]
pub(super) enum ServerPlace<'a> {
    /// At a URL, with the authorities of its certificate.
    Url(&'a str, Option<&'a Path>),
    /// At a path of this machine.
    Path(&'a Path),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    /// Nobody answers.
    #[error("{0}: {1}; is the broker running, with an admin server? --url and --socket name other places")]
    Unreachable(String, String),
    /// The path is root's and the broker's.
    #[error(
        "{0}: root and the broker's user alone may ask there: run it with sudo, or give an API key by --key-file or DUNLIN_CTL_KEY \
         (dunlin passwd --admin --api-key makes one)"
    )]
    Denied(String),
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
    /// The target of a sink has not taken a message.
    #[error("the message was not delivered: {0}")]
    NotDelivered(String),
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
    /// The admin server there, asked by whoever has this key. `extra` is how much longer than usual an answer may take.
    pub(super) fn new(place: &ServerPlace<'_>, key: Option<String>, extra: Duration) -> Result<Self, ApiError> {
        let way = match place {
            ServerPlace::Path(path) => Way::Local(path.to_path_buf(), TIMEOUT),
            ServerPlace::Url(url, ca_file) => {
                let timeout = if extra.is_zero() { TIMEOUT } else { extra + STREAM_EXTRA };
                let agent = agent(url, *ca_file, timeout).map_err(ApiError::Authorities)?;
                Way::Http(agent, url.trim_end_matches('/').to_owned())
            }
        };
        Ok(Self { way, key })
    }

    pub(super) fn get(&self, path: &str, query: &Query<'_>) -> Result<Value, ApiError> {
        self.read("GET", &with_query(path, query)?, None)
    }

    pub(super) fn delete(&self, path: &str, query: &Query<'_>) -> Result<Value, ApiError> {
        self.read("DELETE", &with_query(path, query)?, None)
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> Result<Value, ApiError> {
        self.read("POST", &with_query(path, &[])?, Some(body.to_string()))
    }

    /// What a stream of events tells, one after another, until it ends.
    pub(super) fn events(
        &self,
        path: &str,
        query: &Query<'_>,
        mut take: impl FnMut(&Value) -> Result<(), ApiError>,
    ) -> Result<(), ApiError> {
        let answered = self.ask("GET", &with_query(path, query)?, None)?;
        if answered.status != 200 {
            return self.value_of(answered).map(drop);
        }
        for line in BufReader::new(answered.body).lines() {
            let line = line.map_err(|error| ApiError::Unreachable(self.way.name(), error.to_string()))?;
            if let Some(data) = line.strip_prefix("data: ") {
                take(&serde_json::from_str(data).map_err(|_| ApiError::Foreign(self.way.name()))?)?;
            }
        }
        Ok(())
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
                return Err(ApiError::Foreign(self.way.name()));
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

    fn ask(&self, method: &str, path: &str, body: Option<String>) -> Result<Answered, ApiError> {
        let asked = Asked { method, path, key: self.key.as_deref(), body };
        self.way.ask(&asked).map_err(|error| match error {
            AskError::Denied => ApiError::Denied(self.way.name()),
            AskError::Failed(words) => ApiError::Unreachable(self.way.name(), words),
        })
    }

    fn read(&self, method: &str, path: &str, body: Option<String>) -> Result<Value, ApiError> {
        self.value_of(self.ask(method, path, body)?)
    }

    fn value_of(&self, answered: Answered) -> Result<Value, ApiError> {
        let (status, mut body) = (answered.status, Vec::new());
        let read = answered.body.take(ANSWER_MAX_BYTES).read_to_end(&mut body);
        read.map_err(|error| ApiError::Unreachable(self.way.name(), error.to_string()))?;
        if status == 204 {
            return Ok(Value::Null);
        }
        if matches!(status, 414 | 431) {
            return Err(ApiError::TooLong);
        }
        let value = serde_json::from_slice::<Value>(&body).map_err(|_| ApiError::Foreign(self.way.name()))?;
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

fn with_query(path: &str, query: &Query<'_>) -> Result<String, ApiError> {
    let query: Vec<String> = query.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    let mark = if query.is_empty() { "" } else { "?" };
    let path = format!("{path}{mark}{}", query.join("&"));
    if path.len() <= URL_MAX_BYTES { Ok(path) } else { Err(ApiError::TooLong) }
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
        assert_eq!(with_query("/x", &[("a", "1&2"), ("b", "")]).unwrap(), "/x?a=1%262&b=");
        assert_eq!(with_query("/x", &[]).unwrap(), "/x");
    }
}
