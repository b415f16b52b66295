//! Bytes from sockets to inputs of the shard, within each connection's budget of the turn.

use std::ops::ControlFlow;

use super::budget::{Deferral, Deferred, DeferredEvent, KeptBuffer};
use super::connection::{Connection, Hearing, Phase};
use super::connections::{Connections, InputHandler};
use super::layers::Wire;
use super::operation::{Operation, ReceiveEnd};
use super::packet_bounds::PacketBounds;
use super::partial_packet::feed;
use crate::codec::{Side, decode};
use crate::ids::{ConnectionId, SocketId};
use crate::settings::Settings;
use crate::shard::Input;
use crate::telemetry::CloseReason;

impl Connections {
    /// Bytes have come. They are read within the call, or `keep` is called and the buffer stays with the driver until
    /// [`Self::next_deferred`] asks for it. `more` says whether more will come without asking again.
    #[inline]
    pub fn received(
        &mut self,
        core: &mut impl InputHandler,
        id: ConnectionId,
        bytes: &[u8],
        more: bool,
        keep: impl FnOnce() -> KeptBuffer,
    ) {
        if self.may_handle(id, bytes.len()) {
            self.take_bytes(core, id, bytes);
            if !more {
                self.receive_again(id);
            }
        } else if !self.is_paused && self.held.is_empty() && self.budgets.is_copied(id) {
            self.copy_held(core, id, bytes, more);
        } else {
            let what = DeferredEvent::Bytes { buffer: keep(), len: bytes.len(), more };
            self.defer(Deferred { connection: id, what });
        }
    }

    /// What has come of a connection that is not heard, while many are not: it is copied, so that its buffer serves others, and nothing
    /// more is received until it is heard again.
    #[cold]
    fn copy_held(&mut self, core: &mut impl InputHandler, id: ConnectionId, bytes: &[u8], more: bool) {
        self.take_bytes(core, id, bytes);
        let Some(connection) = self.table.get(id) else { return };
        let stops = self.budgets.stop(id) == Deferral::StopsReceiving;
        if more && stops {
            let (socket, connection) = (connection.socket, id);
            self.operations.push_back(Operation::StopReceiving { socket, connection });
        }
        if !more {
            self.defer(Deferred { connection: id, what: DeferredEvent::Ended(ReceiveEnd::Stopped) });
        }
    }

    /// Nothing more comes without asking again.
    pub fn receive_ended(&mut self, core: &mut impl InputHandler, id: ConnectionId, cause: ReceiveEnd) {
        if self.may_handle(id, 0) {
            self.end_receive(core, id, cause);
        } else {
            self.defer(Deferred { connection: id, what: DeferredEvent::Ended(cause) });
        }
    }

    #[inline]
    fn may_handle(&mut self, id: ConnectionId, bytes: usize) -> bool {
        !self.is_paused && self.held.is_empty() && self.budgets.admits(id, bytes)
    }

    fn defer(&mut self, deferred: Deferred) {
        if self.is_paused || !self.held.is_empty() {
            self.held.push_back(deferred);
            return;
        }
        if self.budgets.defer(deferred) == Deferral::StopsReceiving
            && let Some(connection) = self.table.get(deferred.connection)
        {
            let (socket, connection) = (connection.socket, deferred.connection);
            self.operations.push_back(Operation::StopReceiving { socket, connection });
        }
    }

    /// The next of what was deferred, if it may be handled now: for [`Self::handle_deferred`], with the bytes of its
    /// buffer. To be asked when everything else of the turn has been handled.
    pub fn next_deferred(&mut self) -> Option<Deferred> {
        if self.is_paused {
            return None;
        }
        while let Some(deferred) = self.held.pop_front() {
            if self.budgets.admits(deferred.connection, deferred.len()) {
                return Some(deferred);
            }
            if self.budgets.defer(deferred) == Deferral::StopsReceiving
                && let Some(connection) = self.table.get(deferred.connection)
            {
                let (socket, connection) = (connection.socket, deferred.connection);
                self.operations.push_back(Operation::StopReceiving { socket, connection });
            }
        }
        self.budgets.next()
    }

    /// Goes on with what was deferred.
    pub fn handle_deferred(&mut self, core: &mut impl InputHandler, deferred: Deferred, bytes: &[u8]) {
        let id = deferred.connection;
        match deferred.what {
            DeferredEvent::Bytes { more, .. } => {
                self.take_bytes(core, id, bytes);
                if !more {
                    self.receive_again(id);
                }
            }
            DeferredEvent::Ended(cause) => self.end_receive(core, id, cause),
        }
    }

    #[inline]
    fn take_bytes(&mut self, core: &mut impl InputHandler, id: ConnectionId, bytes: &[u8]) {
        self.counters.bytes_received += bytes.len() as u64;
        let Some(connection) = self.table.get_mut(id) else { return };
        match &mut connection.wire {
            Wire::Plain if connection.phase == Phase::Open && !self.budgets.is_held(id) => {
                let limits = FeedLimits { settings: &self.config.settings, bounds: &self.packet_bounds };
                let fed = feed_shard(core, id, connection, bytes, limits);
                self.keep_back(id, fed);
            }
            Wire::Plain => self.take_plain(core, id, bytes),
            Wire::Layered(_) => self.take_layered(core, id, bytes),
        }
    }

    /// What layers have opened, or what needed none.
    pub(super) fn take_plain(&mut self, core: &mut impl InputHandler, id: ConnectionId, bytes: &[u8]) {
        let Some(connection) = self.table.get_mut(id) else { return };
        match connection.phase {
            Phase::Open => self.feed_open(core, id, bytes),
            Phase::AwaitingConnect => self.take_connect_bytes(core, id, bytes),
            Phase::AwaitingVerdict(_) => self.keep_until_verdict(id, bytes),
            Phase::AwaitingPeer | Phase::Link => self.take_link_bytes(core, id, bytes),
            Phase::AwaitingRange | Phase::AwaitingPlace | Phase::HandingOver | Phase::Dialling => {
                unreachable!("nothing is received until it has got on")
            }
            Phase::Lingering(_) => {} // read only to see the peer's end
        }
    }

    /// Bytes of a connection that the shard knows.
    pub(super) fn feed_open(&mut self, core: &mut impl InputHandler, id: ConnectionId, bytes: &[u8]) {
        let Some(connection) = self.table.get_mut(id) else { return };
        if self.budgets.is_held(id) {
            return connection.partial.extend(bytes);
        }
        let limits = FeedLimits { settings: &self.config.settings, bounds: &self.packet_bounds };
        let fed = feed_shard(core, id, connection, bytes, limits);
        self.keep_back(id, fed);
    }

    /// Who is not to be heard for now sends nothing more until it is released.
    #[inline]
    pub(super) fn keep_back(&mut self, id: ConnectionId, fed: Fed) {
        match fed {
            Fed::All => {}
            Fed::Held => self.budgets.hold(id),
            // It goes on in another turn, behind all others of whom this is true.
            Fed::Spent => {
                self.budgets.hold(id);
                self.resume(id);
            }
        }
    }

    /// A receive has brought what it could: what next depends on where the connection stands now.
    pub(super) fn receive_again(&mut self, id: ConnectionId) {
        let Some(connection) = self.table.get(id) else { return };
        if connection.wire.is_away() {
            return;
        }
        let socket = connection.socket;
        match connection.phase {
            Phase::AwaitingConnect | Phase::AwaitingPeer | Phase::AwaitingVerdict(Hearing::Once) => {
                self.operations.push_back(Operation::ReceiveOnce { socket, connection: id });
            }
            Phase::Open | Phase::Link | Phase::Lingering(_) => {
                self.operations.push_back(Operation::Receive { socket, connection: id });
            }
            Phase::Dialling
            | Phase::AwaitingRange
            | Phase::AwaitingPlace
            | Phase::HandingOver
            | Phase::AwaitingVerdict(Hearing::Nothing | Hearing::Ended) => {}
        }
    }

    fn end_receive(&mut self, core: &mut impl InputHandler, id: ConnectionId, cause: ReceiveEnd) {
        if cause == ReceiveEnd::PeerGone
            && let Some(connection) = self.table.get_mut(id)
        {
            connection.wire.silence();
        }
        self.handle_end(core, id, cause);
    }

    /// Nothing more is received: of the socket, or of what its layers open.
    pub(super) fn handle_end(&mut self, core: &mut impl InputHandler, id: ConnectionId, cause: ReceiveEnd) {
        let Some(connection) = self.table.get(id) else { return };
        let (phase, listener) = (connection.phase, connection.listener);
        match (cause, phase) {
            (ReceiveEnd::OutOfBuffers, _) => self.out_of_buffers.push(id),
            // It had sent more than could wait here, and all of that has been handled.
            (ReceiveEnd::Stopped, _) => self.receive_again(id),
            (ReceiveEnd::PeerGone, Phase::AwaitingVerdict(_)) if self.keep_end(id) => {}
            (ReceiveEnd::PeerGone, Phase::Open | Phase::AwaitingVerdict(_)) => {
                core.handle(Input::Closed { connection: id });
            }
            (ReceiveEnd::PeerGone, Phase::AwaitingConnect) => {
                self.counters.refused(listener, CloseReason::SocketClosed);
                self.close(id);
            }
            (ReceiveEnd::PeerGone, Phase::Lingering(_)) => self.close(id),
            (ReceiveEnd::PeerGone, Phase::AwaitingPeer | Phase::Link) => self.end_gone_link(id),
            (
                ReceiveEnd::PeerGone,
                Phase::Dialling | Phase::AwaitingRange | Phase::AwaitingPlace | Phase::HandingOver,
            ) => {}
        }
    }

    /// Lets the connections receive again that were without buffers, as far as `has_buffers` says that there are some now.
    pub fn buffers_freed(&mut self, has_buffers: impl Fn(SocketId) -> bool) {
        let mut waiting = std::mem::take(&mut self.out_of_buffers);
        waiting.retain(|&id| {
            let Some(connection) = self.table.get(id) else { return false };
            if !has_buffers(connection.socket) {
                return true;
            }
            self.receive_again(id);
            false
        });
        self.out_of_buffers = waiting;
    }
}

/// Whether a connection is to be heard on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "who is held is to be kept back"]
pub(super) enum Fed {
    /// All of what came has been heard.
    All,
    /// The shard is about its last packet. What came behind that one is kept.
    Held,
    /// What came has led to as many deliveries as a turn makes. What is left of it is kept.
    Spent,
}

/// Why no more packets are cut out of what came.
enum Stop {
    /// What follows is no packet.
    Bad,
    /// What follows has to wait, and the connection is this.
    Waits(Fed),
}

/// What bounds packets, and what may come of them in a turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct FeedLimits<'a> {
    pub(super) settings: &'a Settings,
    pub(super) bounds: &'a PacketBounds,
}

/// Cuts packets out of `bytes` and gives them to the shard.
#[inline]
pub(super) fn feed_shard(
    core: &mut impl InputHandler,
    id: ConnectionId,
    connection: &mut Connection,
    bytes: &[u8],
    FeedLimits { settings, bounds }: FeedLimits<'_>,
) -> Fed {
    let version = connection.version;
    let (max_size_bytes, deliveries_max) = (settings.packet_size_max_bytes, settings.deliveries_per_turn);
    let max_size_bytes = bounds.get(connection.packet_bound, max_size_bytes);
    let result =
        feed(&mut connection.partial, bytes, max_size_bytes, |frame| match decode(frame, version, Side::Server) {
            Ok(packet) => {
                core.handle(Input::Packet { connection: id, packet });
                if core.holds_sender() {
                    ControlFlow::Break(Stop::Waits(Fed::Held))
                } else if core.deliveries() >= deliveries_max {
                    ControlFlow::Break(Stop::Waits(Fed::Spent))
                } else {
                    ControlFlow::Continue(())
                }
            }
            Err(error) => {
                core.handle(Input::BadPacket { connection: id, error });
                ControlFlow::Break(Stop::Bad)
            }
        });
    match result {
        Ok(ControlFlow::Break((Stop::Waits(fed), rest))) => {
            if !rest.is_empty() {
                connection.partial.extend(rest);
            }
            return fed;
        }
        Err(error) => core.handle(Input::BadPacket { connection: id, error }),
        Ok(ControlFlow::Continue(()))
            if !connection.partial.is_empty() && connection.partial.shows_life(core.now().ms()) =>
        {
            core.handle(Input::Growing { connection: id });
        }
        Ok(_) => {}
    }
    Fed::All
}
