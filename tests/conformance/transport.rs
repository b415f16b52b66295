//! The transport below a client's packets: a TCP connection, and what lies between it and MQTT.
//!
//! `DUNLIN_TEST_LAYER=inverting` runs the whole suite over a layer that inverts every byte. The brokers that the tests
//! start are built with it and hear of it by the same variable.

use std::io::{Read, Result, Write};
use std::net::TcpStream;
use std::sync::LazyLock;

/// What the layer does with every byte, both ways.
static MASK: LazyLock<u8> = LazyLock::new(|| match std::env::var("DUNLIN_TEST_LAYER") {
    Err(_) => 0,
    Ok(layer) if layer == "inverting" => 0xff,
    Ok(other) => panic!("DUNLIN_TEST_LAYER={other}: the only layer is \"inverting\""),
});

/// Bytes as they are on the wire.
pub(crate) fn to_wire(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| byte ^ *MASK).collect()
}

/// One end of a connection.
pub(crate) struct Transport(pub(crate) TcpStream);

impl Read for Transport {
    fn read(&mut self, out: &mut [u8]) -> Result<usize> {
        let count = self.0.read(out)?;
        out[..count].iter_mut().for_each(|byte| *byte ^= *MASK);
        Ok(count)
    }
}

impl Write for Transport {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.0.write(&to_wire(bytes))
    }

    fn flush(&mut self) -> Result<()> {
        self.0.flush()
    }
}
