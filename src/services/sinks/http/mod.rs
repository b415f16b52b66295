//! Rows as requests of HTTP: each by itself, or a batch in one body.
//!
//! Always holds: what the server says is a row's fault (a status of 4xx) is found row by row: a batch is halved until one row is left,
//! which goes to the dead letters. What is the server's fault, or ours, is tried again: no answer, 5xx, 408, 425, 429, and 401, 403, 404,
//! 405, 407 and 410, which are about credentials and places. What is done of a batch is not sent again when the rest is.
//! Leaves to others: connections (`connection`), what each row of an answer says (`answer`), how far a batch is (`progress`).

mod answer;
mod connection;
mod progress;
mod signature;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{HeaderMap, Method, Request, StatusCode};

use super::delivered::{DeliverError, Delivered};
use super::row::Row;
use super::transform::one_line_json;
use crate::config::sink_targets::{HttpAnswerKind, HttpBody, HttpLogin, HttpSinkSettings, SinkRequestMethod};
use connection::{HttpConnection, SinkAnswer};
use progress::BatchProgress;

/// See the module's text.
#[derive(Debug)]
pub(crate) struct HttpTarget {
    settings: Box<HttpSinkSettings>,
    connection: HttpConnection,
    /// Of the batch that the server has not answered for as a whole.
    progress: Option<BatchProgress>,
}

/// What a server has said of some rows.
enum ServerWord {
    /// It has them, but for these.
    Taken(Vec<(usize, String)>),
    /// It does not take them as they are.
    Refused(String),
}

impl HttpTarget {
    /// Connects with the first batch.
    pub(crate) fn new(settings: Box<HttpSinkSettings>) -> Self {
        let timeout = Duration::from_millis(settings.timeout_ms);
        let connection = HttpConnection::new(settings.url.clone(), settings.ca.clone(), timeout);
        Self { settings, connection, progress: None }
    }

    /// Gives the server a batch, or what of it is left from the attempt before.
    pub(crate) async fn deliver(&mut self, batch: &[Row]) -> Result<Delivered, DeliverError> {
        if !self.progress.as_ref().is_some_and(|progress| progress.is_of(batch)) {
            self.progress = Some(BatchProgress::new(&self.settings.body, batch));
        }
        while let Some(rows) = self.progress.as_ref().and_then(|progress| progress.next_rows(batch)) {
            let word = self.send(&rows).await?;
            if let Some(progress) = &mut self.progress {
                progress.advance(word);
            }
        }
        Ok(self.progress.take().map_or(Delivered::All, BatchProgress::delivered))
    }

    /// One request. What of it depends on files is read each time: a renewed token is taken.
    async fn send(&mut self, rows: &[&Row]) -> Result<ServerWord, DeliverError> {
        let body = body(&self.settings.body, rows);
        let headers = headers(&self.settings, rows, &body, unix_s()).map_err(DeliverError::retry)?;
        let method = match self.settings.method {
            SinkRequestMethod::Post => Method::POST,
            SinkRequestMethod::Put => Method::PUT,
        };
        let path = self.settings.url.path.clone();
        let make = || {
            let mut request = Request::new(Body::from(body.clone()));
            *request.method_mut() = method.clone();
            // It was read as a URL, and what a URL holds is what this takes.
            *request.uri_mut() = path.parse().unwrap_or_default();
            *request.headers_mut() = headers.clone();
            request
        };
        let answer = self.connection.send(make).await.map_err(DeliverError::retry)?;
        self.judge(&answer, rows)
    }

    fn judge(&self, answer: &SinkAnswer, rows: &[&Row]) -> Result<ServerWord, DeliverError> {
        let status = answer.status;
        let text = match &answer.body {
            Ok(body) => String::from_utf8_lossy(body),
            Err(why) => why.as_str().into(),
        };
        let text: String = text.chars().take(200).map(|c| if c.is_control() { ' ' } else { c }).collect();
        let why = format!("{} answers {status}: {}", self.settings.url, text.trim());
        if status.is_success() {
            return match self.settings.answer {
                HttpAnswerKind::Status => Ok(ServerWord::Taken(Vec::new())),
                // The one answer that must be read: its status says nothing of the rows.
                HttpAnswerKind::Elasticsearch => match &answer.body {
                    Ok(body) => answer::of_bulk(body, rows.len()).map(ServerWord::Taken),
                    Err(_) => Err(DeliverError::retry(why)),
                },
            };
        }
        // Whom nobody knows, or who is at the wrong place, has said nothing wrong of its rows.
        let is_about_us = [
            StatusCode::UNAUTHORIZED,
            StatusCode::FORBIDDEN,
            StatusCode::NOT_FOUND,
            StatusCode::METHOD_NOT_ALLOWED,
            StatusCode::GONE,
            StatusCode::PROXY_AUTHENTICATION_REQUIRED,
            StatusCode::REQUEST_TIMEOUT,
            StatusCode::TOO_EARLY,
            StatusCode::TOO_MANY_REQUESTS,
        ];
        if status.is_client_error() && !is_about_us.contains(&status) {
            return Ok(ServerWord::Refused(why));
        }
        Err(DeliverError::Retry { why, after: retry_after(&answer.headers) })
    }
}

/// What the server asks to wait for, where it says so in seconds.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// What a request for these rows holds.
fn body(kind: &HttpBody, rows: &[&Row]) -> Bytes {
    match (kind, rows) {
        (HttpBody::Single, [row, ..]) => row.payload.clone(),
        (HttpBody::Single, []) => Bytes::new(),
        (HttpBody::Joined { begin, between, end, .. }, rows) => {
            let mut body = begin.clone().into_bytes();
            for (at, row) in rows.iter().enumerate() {
                if at > 0 {
                    body.extend_from_slice(between.as_bytes());
                }
                // JSON over several lines would be several rows to whoever reads lines.
                match one_line_json(&row.payload) {
                    Some(line) => body.extend_from_slice(&line),
                    None => body.extend_from_slice(&row.payload),
                }
            }
            body.extend_from_slice(end.as_bytes());
            body.into()
        }
    }
}

fn headers(settings: &HttpSinkSettings, rows: &[&Row], body: &[u8], now_s: u64) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    let value =
        |text: &str| HeaderValue::from_str(text).map_err(|_| "a header cannot hold what it is to hold".to_owned());
    headers.insert(HOST, value(&settings.url.authority())?);
    headers.insert(USER_AGENT, HeaderValue::from_static("dunlin"));
    let content_type = match (&settings.content_type, &settings.body, rows) {
        (Some(given), ..) => given.as_str(),
        (None, HttpBody::Joined { content_type, .. }, _) => content_type,
        (None, HttpBody::Single, [row, ..]) => row.content_type.as_deref().unwrap_or("application/octet-stream"),
        (None, HttpBody::Single, []) => "application/octet-stream",
    };
    // What a publisher says of its payload may be anything.
    let content_type = value(content_type).unwrap_or(HeaderValue::from_static("application/octet-stream"));
    headers.insert(CONTENT_TYPE, content_type);
    if let (HttpBody::Single, [row, ..]) = (&settings.body, rows) {
        headers.insert("idempotency-key", value(&format!("{:032x}", row.id))?);
    }
    match &settings.login {
        HttpLogin::None => {}
        HttpLogin::Bearer(token) => drop(headers.insert(AUTHORIZATION, value(&format!("Bearer {}", token.read()?))?)),
        HttpLogin::Basic(user, password) => {
            let both = STANDARD.encode(format!("{user}:{}", password.read()?));
            headers.insert(AUTHORIZATION, value(&format!("Basic {both}"))?);
        }
    }
    for (name, text) in &settings.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("{name:?} is no name of a header"))?;
        headers.insert(name, value(text)?);
    }
    if let Some((name, key)) = &settings.signature {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("{name:?} is no name of a header"))?;
        headers.insert(name, value(&signature::of(&key.read()?, now_s, body))?);
    }
    Ok(headers)
}

fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;
