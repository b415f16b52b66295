//! Requests of HTTP, from threads that may wait for an answer.
//!
//! Always holds: each request has a time limit, from the look-up of its host to the last byte of the answer; of an answer no more than
//! [`HTTP_ANSWER_MAX_BYTES`] is read; nothing is followed elsewhere; connections are kept for the next request. Over TLS the server's
//! certificate must come from the authorities that were given.
//! Leaves to others: what is asked and what an answer means (`auth`), who asks (`authenticator`).

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use ureq::Agent;

use crate::auth::http::HttpHeaders;
use crate::http;
use crate::limits::HTTP_ANSWER_MAX_BYTES;

/// See the module's text. Clones share their connections.
#[derive(Clone, Debug)]
pub(super) struct HttpClient {
    agent: Agent,
    /// The same, which keeps no connection.
    fresh: Agent,
    /// What requests to back ends carry.
    headers: Option<Arc<HttpHeaders>>,
}

/// What a server answered.
#[derive(Debug)]
pub(super) struct HttpReply {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

impl HttpClient {
    /// A client that trusts these authorities and waits so long for an answer.
    pub(super) fn new(authorities: &[CertificateDer<'_>], timeout: Duration, connections: usize) -> Self {
        let agent = |kept| http::agent(authorities, timeout, kept);
        Self { agent: agent(connections), fresh: agent(0), headers: None }
    }

    /// The same, with these headers for back ends.
    pub(super) fn with_headers(self, headers: Option<HttpHeaders>) -> Self {
        Self { headers: headers.map(Arc::new), ..self }
    }

    /// Fetches what is at a URL.
    pub(super) fn get(&self, url: &str) -> Result<HttpReply, ureq::Error> {
        read(self.agent.get(url).header("Accept", "application/json").call()?)
    }

    /// Sends JSON to a URL. A server may close a connection that is kept just when it is used again: what has got no answer then is sent once more,
    /// by a new one.
    pub(super) fn post(&self, url: &str, json: &str) -> Result<HttpReply, ureq::Error> {
        match self.post_by(&self.agent, url, json) {
            Err(error) if is_unanswered(&error) => read(self.post_by(&self.fresh, url, json)?),
            answered => read(answered?),
        }
    }

    /// Up to the head of the answer.
    fn post_by(&self, agent: &Agent, url: &str, json: &str) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
        let mut request =
            agent.post(url).header("Accept", "application/json").header("Content-Type", "application/json");
        for (name, value) in self.headers.iter().flat_map(|headers| headers.iter()) {
            request = request.header(name, value);
        }
        request.send(json)
    }
}

/// Whether a server has closed the connection before it answered.
fn is_unanswered(error: &ureq::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    let kind = if let ureq::Error::Io(error) = error { Some(error.kind()) } else { None };
    matches!(kind, Some(BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof))
}

fn read(mut answer: ureq::http::Response<ureq::Body>) -> Result<HttpReply, ureq::Error> {
    let status = answer.status().as_u16();
    let body = answer.body_mut().with_config().limit(HTTP_ANSWER_MAX_BYTES as u64).read_to_vec()?;
    Ok(HttpReply { status, body })
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// A server that answers so many requests of each connection, and closes it when the next has come.
    fn server(answers: usize) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let url = format!("http://{}/", listener.local_addr().expect("it is bound"));
        thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let mut request = [0; 4_096];
                for _ in 0..answers {
                    if stream.read(&mut request).unwrap_or(0) == 0 {
                        break;
                    }
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
                }
                let _ = stream.read(&mut request);
            }
        });
        url
    }

    #[test]
    fn a_request_that_a_kept_connection_has_swallowed_is_sent_once_more_by_a_new_one() {
        let client = HttpClient::new(&[], Duration::from_secs(5), 4);
        let url = server(1);
        for number in 0..10 {
            let reply = client.post(&url, "{}").unwrap_or_else(|error| panic!("request {number}: {error}"));
            assert_eq!((reply.status, &reply.body[..]), (200, &b"ok"[..]));
        }
        // One that never answers is asked twice and no more.
        let silent = server(0);
        assert!(is_unanswered(&client.post(&silent, "{}").unwrap_err()));
    }
}
