//! The transport below a client's packets: a TCP connection, and what lies between it and MQTT.
//!
//! `DUNLIN_TEST_LAYER=inverting` runs the whole suite over a layer that inverts every byte and says things of its own;
//! `inverting-twice` over two of them, and `websocket` over WebSocket: a frame for each write. The brokers that the tests start are built with it and hear of it by the same variable.

use std::io::{Read, Result, Write};
use std::net::TcpStream;
use std::sync::LazyLock;

use crate::layer::{self, Reader};
use crate::websocket;

/// What lies between.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Below {
    /// So many layers of the kind for tests.
    Inverting(usize),
    WebSocket,
}

static BELOW: LazyLock<Below> = LazyLock::new(|| match std::env::var("DUNLIN_TEST_LAYER").as_deref() {
    Err(_) => Below::Inverting(0),
    Ok("inverting") => Below::Inverting(1),
    Ok("inverting-twice") => Below::Inverting(2),
    Ok("websocket") => Below::WebSocket,
    Ok(other) => panic!("DUNLIN_TEST_LAYER={other}: there are inverting, inverting-twice and websocket"),
});

/// Bytes as they are on the wire, once a connection has begun.
pub(crate) fn to_wire(bytes: &[u8]) -> Vec<u8> {
    match *BELOW {
        Below::Inverting(layers) => (0..layers).fold(bytes.to_vec(), |bytes, _| layer::to_wire(&bytes)),
        Below::WebSocket => websocket::binary(bytes),
    }
}

/// What a connection begins with.
pub(crate) fn opening() -> &'static [u8] {
    if *BELOW == Below::WebSocket { websocket::REQUEST } else { b"" }
}

/// One end of a connection.
pub(crate) struct Transport {
    pub(crate) socket: TcpStream,
    /// The layers' ends, the one next to the socket first.
    layers: Vec<Reader>,
    websocket: Option<websocket::Peer>,
    /// What they have come to beyond what was asked for.
    unread: Vec<u8>,
}

impl Transport {
    pub(crate) fn new(mut socket: TcpStream) -> Self {
        let (layers, websocket) = match *BELOW {
            Below::Inverting(layers) => (layers, None),
            Below::WebSocket => (0, Some(websocket::Peer::default())),
        };
        // A broker that is full closes at once, and the test finds out.
        let _ = socket.write_all(opening());
        Self { socket, layers: (0..layers).map(|_| Reader::default()).collect(), websocket, unread: Vec::new() }
    }
}

impl Read for Transport {
    fn read(&mut self, out: &mut [u8]) -> Result<usize> {
        while self.unread.is_empty() {
            let count = self.socket.read(out)?;
            if count == 0 {
                return Ok(0);
            }
            // What comes may be words of layers alone, which are not the end.
            self.unread = match &mut self.websocket {
                Some(peer) => peer.read(&out[..count], &mut self.socket),
                None => self.layers.iter_mut().fold(out[..count].to_vec(), |bytes, layer| layer.read(&bytes)),
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
        self.socket.write_all(&to_wire(bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<()> {
        self.socket.flush()
    }
}
