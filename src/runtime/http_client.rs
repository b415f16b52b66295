//! Requests of HTTP, from threads that may wait for an answer.
//!
//! Always holds: each request has a time limit, from the look-up of its host to the last byte of the answer; of an answer no more than
//! [`HTTP_ANSWER_MAX_BYTES`] is read; nothing is followed elsewhere; connections are kept for the next request. Over TLS the server's
//! certificate must come from the authorities that were given.
//! Leaves to others: what is asked and what an answer means (`auth`), who asks (`authenticator`).

use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

use crate::auth::http::HttpHeaders;
use crate::limits::HTTP_ANSWER_MAX_BYTES;

/// See the module's text. Clones share their connections.
#[derive(Clone, Debug)]
pub(super) struct HttpClient {
    agent: Agent,
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
        let roots: Vec<Certificate<'static>> =
            authorities.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect();
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .root_certs(RootCerts::from(roots.into_iter()))
            .unversioned_rustls_crypto_provider(Arc::new(aws_lc_rs::default_provider()))
            .build();
        let config = Agent::config_builder()
            .tls_config(tls)
            // What the environment says is meant for others.
            .proxy(None)
            .max_redirects(0)
            .http_status_as_error(false)
            .timeout_global(Some(timeout))
            .max_idle_connections(connections)
            .max_idle_connections_per_host(connections)
            .user_agent("dunlin")
            .build();
        Self { agent: config.into(), headers: None }
    }

    /// The same, with these headers for back ends.
    pub(super) fn with_headers(self, headers: Option<HttpHeaders>) -> Self {
        Self { headers: headers.map(Arc::new), ..self }
    }

    /// Fetches what is at a URL.
    pub(super) fn get(&self, url: &str) -> Result<HttpReply, ureq::Error> {
        read(self.agent.get(url).header("Accept", "application/json").call()?)
    }

    /// Sends JSON to a URL.
    pub(super) fn post(&self, url: &str, json: &str) -> Result<HttpReply, ureq::Error> {
        let mut request =
            self.agent.post(url).header("Accept", "application/json").header("Content-Type", "application/json");
        for (name, value) in self.headers.iter().flat_map(|headers| headers.iter()) {
            request = request.header(name, value);
        }
        read(request.send(json)?)
    }
}

fn read(mut answer: ureq::http::Response<ureq::Body>) -> Result<HttpReply, ureq::Error> {
    let status = answer.status().as_u16();
    let body = answer.body_mut().with_config().limit(HTTP_ANSWER_MAX_BYTES as u64).read_to_vec()?;
    Ok(HttpReply { status, body })
}
