//! Connections with layers between socket and MQTT: bytes through them, and what they find out.

use super::connection::Phase;
use super::connections::{Connections, InputHandler};
use super::layer::LayerEnd;
use super::layers::Layers;
use super::operation::ReceiveEnd;
#[cfg(feature = "tls")]
use super::tls::Handshake;
use crate::ids::ConnectionId;
use crate::shard::Input;
use crate::telemetry::CloseReason;

/// The buffer that layers open in gives its memory back beyond this.
const BUFFER_KEPT_BYTES: usize = 64 * 1024;

impl Connections {
    /// Bytes from the socket of a connection with layers.
    pub(super) fn take_layered(&mut self, core: &mut impl InputHandler, id: ConnectionId, bytes: &[u8]) {
        let mut plain = std::mem::take(&mut self.plain);
        plain.clear();
        plain.extend_from_slice(bytes);
        self.open_layers(core, id, &mut plain);
        plain.clear();
        plain.shrink_to(BUFFER_KEPT_BYTES);
        self.plain = plain;
    }

    fn open_layers(&mut self, core: &mut impl InputHandler, id: ConnectionId, bytes: &mut Vec<u8>) {
        let Some(connection) = self.table.get_mut(id) else { return };
        let Some(layers) = connection.wire.layers() else { return };
        if let Some(peer) = layers.open(bytes) {
            connection.peer = peer;
            let listener = connection.listener;
            // Before a handshake is paid for, and before CONNECT: later nothing is learned of an address.
            if let Err((reason, text)) = self.admit_source(core.now(), listener, peer) {
                self.refuse(id, reason, text);
                self.close(id);
                return;
            }
        }
        #[cfg(feature = "tls")]
        self.begin_handshake(id);
        let Some(connection) = self.table.get(id) else { return };
        if connection.wire.has_own_bytes() {
            self.mark_dirty(id);
        }
        if !bytes.is_empty() {
            self.take_plain(core, id, bytes);
        }
        self.finish_layers(core, id);
    }

    /// Has the handshake of a layer run, if there is something to run.
    #[cfg(feature = "tls")]
    pub(super) fn begin_handshake(&mut self, id: ConnectionId) {
        let layers = self.table.get_mut(id).and_then(|connection| connection.wire.layers());
        if let Some(handshake) = layers.and_then(Layers::take_handshake) {
            self.handshakes.begin(id, handshake, &mut self.operations);
        }
    }

    /// A handshake was run.
    #[cfg(feature = "tls")]
    pub fn handshaken(&mut self, core: &mut impl InputHandler, id: ConnectionId, handshake: Handshake) {
        self.handshakes.end(&mut self.operations);
        let Some(connection) = self.table.get_mut(id).filter(|connection| connection.wire.is_away()) else { return };
        if let Some(layers) = connection.wire.layers() {
            layers.take_back(handshake);
        }
        let listener = connection.listener;
        self.take_layered(core, id, &[]);
        if self.table.get(id).is_none_or(|connection| !connection.wire.is_shaking()) {
            self.note_shaken(listener, id);
        }
        self.receive_again(id);
    }

    /// The layers may have found the end of what the peer sends. That waits while its CONNECT is on its way, and behind what it has
    /// sent before.
    pub(super) fn finish_layers(&mut self, core: &mut impl InputHandler, id: ConnectionId) {
        let Some(connection) = self.table.get_mut(id) else { return };
        let (phase, has_words) = (connection.phase, connection.has_words() || connection.rest_bytes > 0);
        let listener = connection.listener;
        let is_on_its_way = matches!(phase, Phase::AwaitingRange | Phase::AwaitingPlace | Phase::HandingOver);
        if is_on_its_way || self.budgets.is_held(id) {
            return;
        }
        match (connection.wire.layers().and_then(Layers::take_end), phase) {
            (None, Phase::AwaitingPeer) => self.find_link_peer(core.now(), id, &[]),
            (Some(LayerEnd::Failed(failure)), Phase::AwaitingPeer | Phase::Link) => {
                self.end_failed_link(id, failure);
            }
            (None, _) | (Some(LayerEnd::Failed(_)), Phase::Lingering(_)) => {}
            // The goodbye crosses that of the broker, which is on its way and closes the connection behind it.
            (Some(LayerEnd::Clean), Phase::Lingering(_)) if has_words => {}
            (Some(LayerEnd::Clean), Phase::AwaitingConnect) => {
                self.counters.refused(listener, CloseReason::SocketClosed);
                self.linger_with(id, CloseReason::SocketClosed, |_| {});
            }
            (Some(LayerEnd::Clean), _) => self.handle_end(core, id, ReceiveEnd::PeerGone),
            (Some(LayerEnd::Failed(failure)), Phase::AwaitingConnect) => {
                self.refuse(id, failure.reason, failure.text);
                self.linger_with(id, failure.reason, |_| {});
            }
            (Some(LayerEnd::Failed(failure)), _) => {
                core.handle(Input::Broken { connection: id, reason: failure.reason, text: failure.text });
            }
        }
    }
}
