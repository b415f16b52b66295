//! One connection to a server of HTTP, kept for the next request.
//!
//! Always holds: a request has an answer within its time or an error; of an answer no more than [`SINK_ANSWER_MAX_BYTES`] is read, and a
//! body that cannot be read takes nothing from the status before it; over TLS the server's certificate comes from the authorities that
//! were given, or from those of the system.
//! Leaves to others: what is asked, and what an answer means.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use crate::config::sink_targets::HttpUrl;
use crate::config::unreadable::read_bytes;
use crate::http::{SYSTEM_AUTHORITIES, authorities};
use crate::limits::SINK_ANSWER_MAX_BYTES;

/// See the module's text.
#[derive(Debug)]
pub(super) struct HttpConnection {
    url: HttpUrl,
    ca: Option<std::path::PathBuf>,
    timeout: Duration,
    kept: Option<SendRequest<Body>>,
}

/// What a server has answered.
#[derive(Debug)]
pub(super) struct SinkAnswer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// Or why it cannot be read: it is too long, cut off, or late.
    pub(super) body: Result<Bytes, String>,
}

impl HttpConnection {
    /// Connects with the first request.
    pub(super) fn new(url: HttpUrl, ca: Option<std::path::PathBuf>, timeout: Duration) -> Self {
        Self { url, ca, timeout, kept: None }
    }

    /// Sends a request, which `make` makes, and reads the answer. A connection that was kept may have been closed by the server just
    /// now: what has got no answer by it is sent once more by a new one.
    pub(super) async fn send(&mut self, make: impl Fn() -> Request<Body>) -> Result<SinkAnswer, String> {
        let (until, longest) = (Instant::now() + self.timeout, self.timeout.as_millis());
        let head = timeout_at(until, self.ask(make)).await;
        let head = head.unwrap_or_else(|_| Err(format!("{} has not answered within {longest} ms", self.url)));
        let (sender, answer) = head?;
        let (head, body) = answer.into_parts();
        let body = match timeout_at(until, to_bytes(Body::new(body), SINK_ANSWER_MAX_BYTES)).await {
            Ok(Ok(body)) => {
                self.kept = Some(sender);
                Ok(body)
            }
            Ok(Err(error)) => Err(format!("its answer cannot be read: {}", causes(&error))),
            Err(_) => Err(format!("its answer has not ended within {longest} ms")),
        };
        Ok(SinkAnswer { status: head.status, headers: head.headers, body })
    }

    /// The head of the answer, with what sends the next request once the body is read.
    async fn ask(
        &mut self,
        make: impl Fn() -> Request<Body>,
    ) -> Result<(SendRequest<Body>, Response<Incoming>), String> {
        // Taken out: when this is dropped half way, the connection goes with it.
        if let Some(mut kept) = self.kept.take()
            && kept.ready().await.is_ok()
            && let Ok(answer) = kept.send_request(make()).await
        {
            return Ok((kept, answer));
        }
        let mut fresh = self.connect().await?;
        let answer = fresh.send_request(make()).await;
        let answer = answer.map_err(|error| format!("{}: {}", self.url, causes(&error)))?;
        Ok((fresh, answer))
    }

    async fn connect(&self) -> Result<SendRequest<Body>, String> {
        let HttpUrl { host, port, is_tls, .. } = &self.url;
        let stream = TcpStream::connect((host.as_str(), *port)).await;
        let stream = stream.map_err(|error| format!("{}: {error}", self.url))?;
        // A request is one write, and nothing is to wait behind it.
        let _ = stream.set_nodelay(true);
        if !is_tls {
            return self.shake_hands(stream).await;
        }
        let name = ServerName::try_from(host.clone()).map_err(|_| format!("{host:?} is no name of a server"))?;
        let connector = TlsConnector::from(tls_config(self.ca.as_deref())?);
        let stream = connector.connect(name, stream).await.map_err(|error| format!("{}: {error}", self.url))?;
        self.shake_hands(stream).await
    }

    async fn shake_hands(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Result<SendRequest<Body>, String> {
        let (sender, connection) =
            handshake(TokioIo::new(stream)).await.map_err(|error| format!("{}: {error}", self.url))?;
        // It ends when the sender is dropped; what goes wrong with it the request tells.
        tokio::spawn(async move { drop(connection.await) });
        Ok(sender)
    }
}

/// An error with what is behind it: hyper's own words are short.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Reads the authorities, as they are now.
fn tls_config(ca: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let of_system = || SYSTEM_AUTHORITIES.iter().map(Path::new).find(|path| path.exists());
    let path =
        ca.or_else(of_system).ok_or("this system has no file of authorities that it trusts: name one in tls_ca")?;
    let pem = read_bytes(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut roots = RootCertStore::empty();
    for certificate in authorities(&pem).map_err(|why| format!("{} {why}", path.display()))? {
        // A system's file may hold some that rustls does not take; one that was named has to be all right.
        if let (Err(error), Some(_)) = (roots.add(certificate), ca) {
            return Err(format!("{}: {error}", path.display()));
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}
