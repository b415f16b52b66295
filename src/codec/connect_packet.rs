//! A CONNECT that owns its bytes: decoded once, read wherever the connection goes.
//!
//! The shard that a peer happens to reach has to read the client id to know which shard it belongs to, and that one has
//! to read all the rest. `self_cell` keeps the bytes and what was decoded from them together, so nothing has to be
//! decoded again and believed to succeed (`docs/decisions/2026-11-29-connect-decoded-once.md`). A CONNECT that waits for a
//! verdict is kept in the same form.

use std::fmt;

use super::connect::Connect;
use super::error::ConnectRefusal;
use super::frame::{self, Frame};

self_cell::self_cell!(
    struct Decoded {
        owner: Vec<u8>,
        #[covariant]
        dependent: Connect,
    }
);

/// See the module's text.
pub struct ConnectPacket(Decoded);

impl ConnectPacket {
    /// Copies and decodes the first packet of a connection.
    pub fn decode(frame: Frame<'_>) -> Result<Self, ConnectRefusal> {
        let first = frame.first;
        Decoded::try_new(frame.body.to_vec(), |body| Connect::decode(Frame { first, body })).map(Self)
    }

    /// The same CONNECT with bytes of its own.
    pub fn copy_of(connect: &Connect<'_>) -> Self {
        let mut bytes = Vec::new();
        connect.encode(&mut bytes);
        let framed = frame::next(&bytes, u32::MAX).ok().flatten();
        let (frame, _) = framed.expect("what was encoded is a packet");
        Self::decode(frame).expect("what was decoded once is encoded as it may be")
    }

    /// Bytes that it keeps.
    pub fn len_bytes(&self) -> usize {
        self.0.borrow_owner().len()
    }

    /// What it says.
    pub fn get(&self) -> &Connect<'_> {
        self.0.borrow_dependent()
    }
}

/// As the codec shows it, without secrets; the bytes would show them.
impl fmt::Debug for ConnectPacket {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Version;

    #[test]
    fn what_was_decoded_outlives_the_bytes_it_came_in_and_keeps_its_secrets() {
        let mut bytes = Vec::new();
        let mut connect = Connect::new(Version::V311, "sensor-1", true);
        (connect.username, connect.password) = (Some("user"), Some(b"tell nobody".as_slice()));
        connect.encode(&mut bytes);
        let (frame, _) = frame::next(&bytes, 1024).unwrap().unwrap();
        let packet = ConnectPacket::decode(frame).unwrap();
        bytes.fill(0);
        let mut expected = connect;
        (expected.client_id, expected.password) = ("sensor-1", Some(b"tell nobody".as_slice()));
        assert_eq!(*packet.get(), expected);
        let shown = format!("{packet:?}");
        assert!(shown.contains("sensor-1") && !shown.contains("nobody") && !shown.contains("116"), "{shown}");
    }

    #[test]
    fn what_is_no_connect_is_refused() {
        assert!(ConnectPacket::decode(Frame { first: 0xc0, body: &[] }).is_err());
    }
}
