//! The transport below a client's packets: a TCP connection, and what lies between it and MQTT.
//!
//! `DUNLIN_TEST_LAYER=inverting` runs the whole suite over a layer that inverts every byte and says things of its own;
//! `inverting-twice` over two of them. The brokers that the tests start are built with it and hear of it by the same variable.

use std::io::{Read, Result, Write};
use std::net::TcpStream;
use std::sync::LazyLock;

use crate::layer::{self, Reader};

/// How many layers there are.
static LAYERS: LazyLock<usize> = LazyLock::new(|| match std::env::var("DUNLIN_TEST_LAYER").as_deref() {
    Err(_) => 0,
    Ok("inverting") => 1,
    Ok("inverting-twice") => 2,
    Ok(other) => panic!("DUNLIN_TEST_LAYER={other}: there are \"inverting\" and \"inverting-twice\""),
});

/// Bytes as they are on the wire.
pub(crate) fn to_wire(bytes: &[u8]) -> Vec<u8> {
    (0..*LAYERS).fold(bytes.to_vec(), |bytes, _| layer::to_wire(&bytes))
}

/// One end of a connection.
pub(crate) struct Transport {
    pub(crate) socket: TcpStream,
    /// The layers' ends, the one next to the socket first.
    layers: Vec<Reader>,
}

impl Transport {
    pub(crate) fn new(socket: TcpStream) -> Self {
        Self { socket, layers: (0..*LAYERS).map(|_| Reader::default()).collect() }
    }
}

impl Read for Transport {
    fn read(&mut self, out: &mut [u8]) -> Result<usize> {
        loop {
            let count = self.socket.read(out)?;
            let read = |bytes: Vec<u8>, layer: &mut Reader| layer.read(&bytes);
            let bytes = self.layers.iter_mut().fold(out[..count].to_vec(), read);
            out[..bytes.len()].copy_from_slice(&bytes);
            // What came may have been words of layers alone, which are not the end.
            if count == 0 || !bytes.is_empty() {
                return Ok(bytes.len());
            }
        }
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
