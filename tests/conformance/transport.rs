//! The transport below a client's packets: a TCP connection, and what lies between it and MQTT.
//!
//! `DUNLIN_TEST_LAYER=inverting` runs the whole suite over a layer that inverts every byte and says things of its own;
//! `inverting-twice` over two of them, `websocket` over WebSocket, a frame for each write, and `tls` over TLS 1.3, a record
//! for each write. The brokers that the tests start are built with it and hear of it by the same variable, or by
//! [`broker_flags`].

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::certificate::Certificate;
use crate::client::PATIENCE;
use crate::layer::{self, Reader};
use crate::websocket;

/// What lies between.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Below {
    /// So many layers of the kind for tests.
    Inverting(usize),
    WebSocket,
    Tls,
}

static BELOW: LazyLock<Below> = LazyLock::new(|| match std::env::var("DUNLIN_TEST_LAYER").as_deref() {
    Err(_) => Below::Inverting(0),
    Ok("inverting") => Below::Inverting(1),
    Ok("inverting-twice") => Below::Inverting(2),
    Ok("websocket") => Below::WebSocket,
    Ok("tls") => Below::Tls,
    Ok(other) => panic!("DUNLIN_TEST_LAYER={other}: there are inverting, inverting-twice, websocket and tls"),
});

/// What a broker has besides its own flags.
pub(crate) fn broker_flags() -> Vec<PathBuf> {
    if *BELOW != Below::Tls {
        return Vec::new();
    }
    let [chain, key] = [CERTIFICATE.chain(), CERTIFICATE.key()];
    vec!["--tls-port".into(), "0".into(), "--tls-cert".into(), chain, "--tls-key".into(), key]
}

/// Which of its listeners the tests connect to.
pub(crate) fn listener_index() -> usize {
    usize::from(*BELOW == Below::Tls)
}

/// That of all brokers of this process. It stays for the next one: nothing ends with a static value.
static CERTIFICATE: LazyLock<Certificate> =
    LazyLock::new(|| Certificate::kept(Path::new(env!("CARGO_TARGET_TMPDIR")).join("conformance-certificate")));

/// Trusts that certificate and no other. There are no tickets: each handshake is a whole one.
static TRUST: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| {
    let pem = std::fs::read(CERTIFICATE.chain()).expect("the certificate was written");
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&pem).expect("a certificate")).expect("one that can be trusted");
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has what these versions need")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    Arc::new(config)
});

/// One end of a connection.
pub(crate) struct Transport {
    pub(crate) socket: TcpStream,
    end: End,
    /// What it has come to beyond what was asked for.
    unread: Vec<u8>,
}

/// The client's end of what lies between.
enum End {
    /// The one next to the socket first.
    Layers(Vec<Reader>),
    WebSocket(websocket::Peer),
    Tls(Box<ClientConnection>),
}

impl Transport {
    pub(crate) fn new(mut socket: TcpStream) -> Self {
        // A broker that is full closes at once, and the test finds out: what fails here shows at the first read.
        let end = match *BELOW {
            Below::Inverting(layers) => End::Layers((0..layers).map(|_| Reader::default()).collect()),
            Below::WebSocket => {
                let _ = socket.write_all(websocket::REQUEST);
                End::WebSocket(websocket::Peer::default())
            }
            Below::Tls => End::Tls(shake_hands(&mut socket)),
        };
        Self { socket, end, unread: Vec::new() }
    }

    /// A connection on which these bytes were sent, as far as the broker took them, and whose answers nobody reads.
    pub(crate) fn deaf(address: SocketAddr, bytes: &[u8]) -> TcpStream {
        let mut transport = Self::new(TcpStream::connect(address).expect("the backlog holds"));
        let _ = transport.write_all(bytes);
        transport.socket
    }
}

fn shake_hands(socket: &mut TcpStream) -> Box<ClientConnection> {
    let name = ServerName::try_from("localhost").expect("a name");
    let mut tls = ClientConnection::new(Arc::clone(&TRUST), name).expect("the configuration is whole");
    tls.set_buffer_limit(None);
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout above zero");
    while tls.is_handshaking() {
        match tls.complete_io(socket) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::InvalidData => panic!("the broker's TLS: {error}"),
            Err(_) => break,
        }
    }
    Box::new(tls)
}

/// One read of the socket into `tls`, and what it came to. Records may be words of TLS alone.
fn read_tls(tls: &mut ClientConnection, socket: &mut TcpStream) -> Result<Option<Vec<u8>>> {
    let count = tls.read_tls(socket)?;
    let state = tls.process_new_packets().map_err(|error| Error::new(ErrorKind::InvalidData, error))?;
    let mut bytes = vec![0; state.plaintext_bytes_to_read()];
    tls.reader().read_exact(&mut bytes)?;
    if !bytes.is_empty() {
        return Ok(Some(bytes));
    }
    let has_ended = state.peer_has_closed() || count == 0;
    Ok(if has_ended { None } else { Some(bytes) })
}

impl Read for Transport {
    fn read(&mut self, out: &mut [u8]) -> Result<usize> {
        while self.unread.is_empty() {
            // What comes may be words of what lies between alone, which are not the end.
            if let End::Tls(tls) = &mut self.end {
                let Some(bytes) = read_tls(tls, &mut self.socket)? else { return Ok(0) };
                self.unread = bytes;
                continue;
            }
            let count = self.socket.read(out)?;
            if count == 0 {
                return Ok(0);
            }
            self.unread = match &mut self.end {
                End::WebSocket(peer) => peer.read(&out[..count], &mut self.socket),
                End::Layers(layers) => layers.iter_mut().fold(out[..count].to_vec(), |bytes, layer| layer.read(&bytes)),
                End::Tls(_) => unreachable!("read above"),
            };
        }
        let count = out.len().min(self.unread.len());
        out[..count].copy_from_slice(&self.unread[..count]);
        self.unread.drain(..count);
        Ok(count)
    }
}

impl Write for Transport {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        match &mut self.end {
            End::Layers(layers) => {
                let wire = layers.iter().fold(bytes.to_vec(), |bytes, _| layer::to_wire(&bytes));
                self.socket.write_all(&wire)?;
            }
            End::WebSocket(_) => self.socket.write_all(&websocket::binary(bytes))?,
            End::Tls(tls) => {
                tls.writer().write_all(bytes)?;
                while tls.wants_write() {
                    tls.write_tls(&mut self.socket)?;
                }
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<()> {
        self.socket.flush()
    }
}
