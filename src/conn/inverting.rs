//! A layer for tests: it inverts every byte, both ways, and says things of its own.
//!
//! Always holds: [`ESCAPE`] on the wire begins a word of the layer; a byte that would come to it is written twice.
//!
//! Its words to the peer are a hello, an acknowledgement of what it has received, and a goodbye; each time it has to say one
//! of each at most. Those of the peer are the end, an address, and all others, which are mistakes. It makes no difference
//! where the bytes are cut.

use core::net::Ipv4Addr;
use std::sync::Arc;

use super::layer::{LayerEnd, LayerFailure, Learned, WireLayer};
use super::peer::Peer;
use crate::auth::PeerIdentity;
use crate::telemetry::CloseReason;

/// Begins a word, on the wire.
pub(super) const ESCAPE: u8 = 0xa5;
/// The layer's first word.
pub(super) const HELLO: u8 = b'h';
/// Something has come.
pub(super) const ACKNOWLEDGEMENT: u8 = b'a';
/// Its last word, and the peer's.
pub(super) const GOODBYE: u8 = b'e';
/// The peer's: the last byte of its address comes next.
pub(super) const ADDRESS: u8 = b'p';

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Reading {
    #[default]
    Bytes,
    Escape,
    Address,
}

/// What it has to say to the peer, of each kind one.
#[derive(Debug, Default)]
struct ToSay {
    hello: bool,
    acknowledgement: bool,
    goodbye: bool,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Inverting {
    reading: Reading,
    to_say: ToSay,
    has_begun: bool,
    is_silent: bool,
    learned: Option<Learned>,
}

impl Inverting {
    /// Takes one byte of the wire. Returns the byte that it comes to.
    fn take(&mut self, byte: u8) -> Result<Option<u8>, LayerEnd> {
        match std::mem::take(&mut self.reading) {
            Reading::Bytes if byte == ESCAPE => self.reading = Reading::Escape,
            Reading::Bytes => return Ok(Some(!byte)),
            Reading::Escape if byte == ESCAPE => return Ok(Some(!byte)),
            Reading::Escape if byte == GOODBYE => return Err(LayerEnd::Clean),
            Reading::Escape if byte == ADDRESS => self.reading = Reading::Address,
            Reading::Escape => {
                let text = "a word that the test layer does not know";
                return Err(LayerEnd::Failed(LayerFailure { reason: CloseReason::Malformed, text }));
            }
            Reading::Address => {
                let peer = Peer::V4(Ipv4Addr::new(192, 0, 2, byte), 1);
                let common_name = Some(format!("peer-{byte}").into());
                let identity = Arc::new(PeerIdentity { common_name, ..PeerIdentity::default() });
                self.learned = Some(Learned { peer: Some(peer), identity: Some(identity) });
            }
        }
        Ok(None)
    }
}

impl WireLayer for Inverting {
    fn open(&mut self, bytes: &mut Vec<u8>) -> Option<LayerEnd> {
        self.to_say.hello |= !std::mem::replace(&mut self.has_begun, true);
        self.to_say.acknowledgement = true;
        let mut end = None;
        let mut opened = 0;
        for at in 0..bytes.len() {
            match self.take(bytes[at]) {
                Ok(None) => {}
                Ok(Some(byte)) => {
                    bytes[opened] = byte;
                    opened += 1;
                }
                Err(found) => {
                    end = Some(found);
                    break;
                }
            }
        }
        bytes.truncate(opened);
        end
    }

    fn has_own_bytes(&self) -> bool {
        !self.is_silent && (self.to_say.hello || self.to_say.acknowledgement || self.to_say.goodbye)
    }

    fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) {
        let ToSay { hello, acknowledgement, goodbye } = std::mem::take(&mut self.to_say);
        if hello {
            out.extend([ESCAPE, HELLO]);
        }
        if acknowledgement {
            out.extend([ESCAPE, ACKNOWLEDGEMENT]);
        }
        for byte in plain {
            out.push(!byte);
            if !byte == ESCAPE {
                out.push(ESCAPE);
            }
        }
        if goodbye {
            out.extend([ESCAPE, GOODBYE]);
            self.is_silent = true;
        }
    }

    fn end(&mut self, _: CloseReason) {
        self.to_say.goodbye = !self.is_silent;
    }

    fn silence(&mut self) {
        self.is_silent = true;
    }

    fn take_learned(&mut self) -> Option<Learned> {
        self.learned.take()
    }
}
