//! What one layer between socket and MQTT does.

use std::fmt;
use std::sync::Arc;

use super::peer::Peer;
use crate::auth::PeerIdentity;
use crate::telemetry::CloseReason;

/// One layer of one connection: bytes in, bytes out, no waiting.
pub(super) trait WireLayer: fmt::Debug {
    /// Opens `bytes`, which the layer below has opened, in place: what is left in it is for the layer above. What cannot
    /// be opened yet is kept here, and put before what comes next. Returns the end, if it was found: what is left in
    /// `bytes` came before it.
    fn open(&mut self, bytes: &mut Vec<u8>) -> Option<LayerEnd>;

    /// Whether it has bytes of its own to send that must not wait for those of the layer above. Those that can wait go with
    /// the next [`Self::seal`].
    fn has_own_bytes(&self) -> bool;

    /// Appends to `out`, which is empty, what the layer below is to be given: its own bytes, and what `plain` comes to, which
    /// may be empty; and last its goodbye, if it was told to end.
    fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>);

    /// The connection is to close for this reason. From now on it has own bytes until it has said goodbye, if its peer
    /// is to hear one. It may be told more than once.
    fn end(&mut self, reason: CloseReason);

    /// Nobody hears it any more: it has no own bytes from now on.
    fn silence(&mut self);

    /// Whether it has said goodbye, and the peer is to answer that: where the socket closed before, the answer would be met by a
    /// reset, and the goodbye might not be read.
    fn awaits_goodbye(&self) -> bool {
        false
    }

    /// What it has learned of the peer since it was last asked.
    fn take_learned(&mut self) -> Option<Learned> {
        None
    }

    /// A layer below has learned who the peer is.
    fn hear_peer(&mut self, _: Peer) {}

    /// Whether it has nothing more to do: bytes pass it as they are from now on.
    fn is_done(&self) -> bool {
        false
    }
}

/// How the bytes of a peer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LayerEnd {
    /// The peer has said that it sends no more.
    Clean,
    /// They cannot be opened. The layer's own bytes tell the peer why, where that can be told.
    Failed(LayerFailure),
}

/// Why bytes cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LayerFailure {
    /// For the counters.
    pub(super) reason: CloseReason,
    /// For the log.
    pub(super) text: &'static str,
}

/// What a layer knows of the peer that the socket does not tell.
#[derive(Clone, Debug, Default)]
pub(super) struct Learned {
    /// Its own address, where something trusted stands between.
    pub(super) peer: Option<Peer>,
    /// Who it has proved to be.
    pub(super) identity: Option<Arc<PeerIdentity>>,
}
