//! The way to an admin server: over HTTP, or by a path of this machine.

use std::fmt::Write as _;
use std::io::{self, BufRead as _, BufReader, Read};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::Agent;
use ureq::http::Request;

use super::http::told;

/// Most bytes of an answer's head.
const HEAD_MAX_BYTES: u64 = 64 * 1024;

/// See the module's text.
#[derive(Debug)]
pub(super) enum Way {
    /// Begins each URL with this.
    Http(Agent, String),
    /// The server listens there, and knows who asks. A read of its answer may take so long.
    Local(PathBuf, Duration),
}

/// One request.
pub(super) struct Asked<'a> {
    /// As HTTP has it.
    pub(super) method: &'a str,
    /// With its query, percent-encoded.
    pub(super) path: &'a str,
    /// An API key.
    pub(super) key: Option<&'a str>,
    /// In JSON.
    pub(super) body: Option<String>,
}

/// What came back, its body still to be read.
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) body: Box<dyn Read>,
}

/// Why nothing came back.
pub(super) enum AskError {
    /// The path is not for this account.
    Denied,
    /// Anything else, in words.
    Failed(String),
}

/// Whether a server listens at a path, to this account or not.
pub(super) fn is_closed_to_us(path: &Path) -> bool {
    UnixStream::connect(path).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

impl Way {
    /// How it is called where it does not lead anywhere.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Http(_, url) => url.clone(),
            Self::Local(path, _) => path.display().to_string(),
        }
    }

    pub(super) fn ask(&self, asked: &Asked<'_>) -> Result<Answered, AskError> {
        match self {
            Self::Http(agent, url) => ask_by_http(agent, url, asked).map_err(|error| AskError::Failed(told(&error))),
            Self::Local(path, patience) => ask_by_path(path, *patience, asked).map_err(|error| match error.kind() {
                io::ErrorKind::PermissionDenied => AskError::Denied,
                _ => AskError::Failed(error.to_string()),
            }),
        }
    }
}

fn ask_by_http(agent: &Agent, url: &str, asked: &Asked<'_>) -> Result<Answered, ureq::Error> {
    let mut request = Request::builder().method(asked.method).uri(format!("{url}{}", asked.path));
    // Where nobody has given a key, the answer says how one is made.
    request = request.header("Authorization", format!("Bearer {}", asked.key.unwrap_or_default()));
    let answer = match &asked.body {
        Some(body) => agent.run(request.header("Content-Type", "application/json").body(body.clone())?)?,
        None => agent.run(request.body(())?)?,
    };
    Ok(Answered { status: answer.status().as_u16(), body: Box::new(answer.into_body().into_reader()) })
}

fn ask_by_path(path: &Path, patience: Duration, asked: &Asked<'_>) -> io::Result<Answered> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(patience))?;
    // To 1.0 a body comes as it is, and ends with the connection.
    let mut text = format!("{} {} HTTP/1.0\r\nHost: local\r\n", asked.method, asked.path);
    if let Some(key) = asked.key {
        text.push_str("Authorization: Bearer ");
        text.push_str(key);
        text.push_str("\r\n");
    }
    let body = asked.body.as_deref().unwrap_or_default();
    let _ = write!(text, "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    io::Write::write_all(&mut stream, text.as_bytes())?;
    let wrong = || io::Error::other("what came back is no answer of HTTP");
    let mut reader = BufReader::new(stream);
    let mut head = reader.by_ref().take(HEAD_MAX_BYTES);
    let mut line = String::new();
    head.read_line(&mut line)?;
    let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)).ok_or_else(wrong)?;
    let status = status.trim().parse().map_err(|_| wrong())?;
    loop {
        line.clear();
        if head.read_line(&mut line)? == 0 {
            return Err(wrong());
        }
        if line.trim_end().is_empty() {
            return Ok(Answered { status, body: Box::new(reader) });
        }
    }
}
