//! The way to the other broker: TCP, TLS, WebSocket, and both.
//!
//! Always holds: over TLS the other broker's certificate must come from the authorities that were given, or else from the
//! system's, and name its host. Files are read each time, so that a certificate that was replaced holds from the next connection on.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use super::websocket::WebSocketBytes;
use crate::config::bridges::{BridgeAddress, BridgeSecret, BridgeSettings, BridgeTls};
use crate::config::unreadable::read_bytes;
use crate::http::{SYSTEM_AUTHORITIES, authorities};

/// Bytes both ways, whatever is below them.
pub(super) trait RemoteBytes: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> RemoteBytes for T {}

/// Connects to an address.
pub(super) async fn connect(
    settings: &BridgeSettings,
    address: &BridgeAddress,
) -> Result<Box<dyn RemoteBytes>, String> {
    let tcp = TcpStream::connect((&*address.host, address.port)).await.map_err(|error| error.to_string())?;
    // What is relayed is small, and each acknowledgement is waited for.
    tcp.set_nodelay(true).map_err(|error| error.to_string())?;
    if !address.transport.has_tls() {
        return if address.transport.has_websocket() { websocket(tcp, address).await } else { Ok(Box::new(tcp)) };
    }
    let (tls, is_websocket) = (settings.tls.clone(), address.transport.has_websocket());
    let config = in_background(move || client_config(&tls, is_websocket)).await??;
    let name = settings.tls.server_name.as_deref().unwrap_or(&address.host);
    let name = ServerName::try_from(name.to_owned()).map_err(|_| format!("{name:?} is no name of a server"))?;
    let connector = TlsConnector::from(Arc::new(config));
    let stream = connector.connect(name, tcp).await.map_err(|error| format!("TLS: {error}"))?;
    if is_websocket { websocket(stream, address).await } else { Ok(Box::new(stream)) }
}

async fn websocket(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    address: &BridgeAddress,
) -> Result<Box<dyn RemoteBytes>, String> {
    let told = |error: tokio_tungstenite::tungstenite::Error| format!("WebSocket: {error}");
    let mut request = address.to_string().into_client_request().map_err(told)?;
    request.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static("mqtt"));
    let config = WebSocketConfig::default();
    let (socket, _) = tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await.map_err(told)?;
    Ok(Box::new(WebSocketBytes::new(socket)))
}

/// Whether somebody listens there.
pub(super) async fn is_there(address: &BridgeAddress, patience: Duration) -> bool {
    let connect = TcpStream::connect((&*address.host, address.port));
    matches!(tokio::time::timeout(patience, connect).await, Ok(Ok(_)))
}

/// A secret, as it is now.
pub(super) async fn secret(secret: &BridgeSecret) -> Result<Option<Vec<u8>>, String> {
    match secret {
        BridgeSecret::None => Ok(None),
        BridgeSecret::Variable(name) => match std::env::var_os(&**name) {
            Some(value) => Ok(Some(value.into_encoded_bytes())),
            None => Err(format!("the environment has no variable {name}")),
        },
        BridgeSecret::File(path) => {
            let path = path.clone();
            let read = in_background(move || read_bytes(Path::new(&*path)).map_err(|error| format!("{path}: {error}")));
            let mut bytes = read.await??;
            if let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
                bytes.truncate(end);
            }
            Ok(Some(bytes))
        }
    }
}

/// What may wait for a disk.
async fn in_background<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())
}

fn client_config(tls: &BridgeTls, is_websocket: bool) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(trusted(tls)?);
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let mut config = match (&tls.certificate, &tls.key) {
        (Some(certificate), Some(key)) => {
            let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(certificate)?).collect();
            let chain = chain.map_err(|error| format!("{certificate}: {error}"))?;
            let key = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|error| format!("{key}: {error}"))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| error.to_string())?
        }
        _ => builder.with_no_client_auth(),
    };
    let protocol = tls.alpn.as_deref().filter(|_| !is_websocket);
    config.alpn_protocols = protocol.map(|name| name.as_bytes().to_vec()).into_iter().collect();
    Ok(config)
}

fn trusted(tls: &BridgeTls) -> Result<Vec<CertificateDer<'static>>, String> {
    let (path, pem) = match &tls.ca {
        Some(path) => (&**path, read(path)?),
        None => SYSTEM_AUTHORITIES
            .into_iter()
            .find_map(|path| Some((path, read_bytes(Path::new(path)).ok()?)))
            .ok_or("this system has no list of authorities: give tls_ca")?,
    };
    authorities(&pem).map_err(|error| format!("{path}: {error}"))
}

fn read(path: &str) -> Result<Vec<u8>, String> {
    let told = |error: io::Error| format!("{path}: {error}");
    read_bytes(Path::new(path)).map_err(told)
}
