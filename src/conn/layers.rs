//! Layers between socket and MQTT: what a listener's bytes go through before they are packets.
//!
//! Owns: the state of a connection's layers, in the order in which bytes from the socket pass them. A plain connection has
//! none and pays one pointer.
//! Always holds: a layer takes all that was received and keeps what it cannot open yet; it seals an outbox once, just
//! before the socket is given it; while it is not quiescent the connection stays with its shard, and what it holds goes
//! along when the connection is handed over.
//! Leaves to others: when to receive and to flush.
//!
//! The next ones (a PROXY header, TLS, WebSocket) are a field of [`Layers`] and a variant of [`ListenerLayers`] each. The
//! only one so far is for tests: [`Inverting`]. Only a build with the feature `test-layers` can put it on a listener.

use super::outbox::Outbox;

/// What a connection's bytes pass.
#[derive(Debug, Default)]
pub enum Wire {
    /// Nothing: they are MQTT.
    #[default]
    Plain,
    /// At least one layer.
    Layered(Box<Layers>),
}

const _: () = assert!(size_of::<Wire>() == 8);

/// The layers of one connection.
#[derive(Debug)]
pub struct Layers {
    inverting: Inverting,
}

/// What the connections of a listener begin with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListenerLayers {
    /// MQTT directly.
    #[default]
    None,
    /// Every byte inverted. For tests.
    #[cfg(feature = "test-layers")]
    Inverting,
}

impl ListenerLayers {
    /// The state of a connection that was just accepted.
    pub(super) fn begin(self) -> Wire {
        match self {
            Self::None => Wire::Plain,
            #[cfg(feature = "test-layers")]
            Self::Inverting => {
                Wire::Layered(Box::new(Layers { inverting: Inverting { mask: 0xff, is_quiescent: true } }))
            }
        }
    }
}

impl Wire {
    /// Whether the connection may be handed over.
    pub(super) const fn is_quiescent(&self) -> bool {
        match self {
            Self::Plain => true,
            Self::Layered(layers) => layers.inverting.is_quiescent,
        }
    }

    /// What was sealed has been given to the socket.
    pub(super) const fn flushed(&mut self) {
        if let Self::Layered(layers) = self {
            layers.inverting.is_quiescent = true;
        }
    }
}

impl Layers {
    /// Appends to `plain` what `received` comes to.
    pub(super) fn open(&mut self, received: &[u8], plain: &mut Vec<u8>) {
        self.inverting.open(received, plain);
    }

    /// Turns an outbox into what the socket is to be given.
    pub(super) fn seal(&self, outbox: &mut Outbox) {
        self.inverting.seal(outbox);
    }
}

/// Inverts every byte, both ways. It behaves as a layer that answers by itself: from what it has received until the next
/// flush it is not quiescent.
#[derive(Debug)]
struct Inverting {
    mask: u8,
    is_quiescent: bool,
}

impl Inverting {
    fn open(&mut self, received: &[u8], plain: &mut Vec<u8>) {
        self.is_quiescent = false;
        plain.extend(received.iter().map(|byte| byte ^ self.mask));
    }

    fn seal(&self, outbox: &mut Outbox) {
        outbox.rewrite(|bytes| bytes.iter_mut().for_each(|byte| *byte ^= self.mask));
    }
}
