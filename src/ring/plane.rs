//! The plane itself: its parts, and the calls that concern more than one socket.
//!
//! Each part owns what is used together: [`Rings`] the rings, their tables and what has completed; [`Listeners`] the
//! accepts; [`DatagramSockets`] what is received without a connection; [`Connector`] the addresses of connects; [`Closing`] the sockets that are to be closed; [`PendingTable`] the memory of operations that outlast a turn;
//! [`Timeout`], [`Wakes`] and [`MessageHeaders`] what their names say. Parts are handed the rings and know nothing of each
//! other or of the plane.

use super::accept::{ListenSource, Listeners};
use super::closing::Closing;
use super::coalescing::TurnCounts;
use super::config::PlaneConfig;
use super::connect::{Connector, open_tcp};
use super::datagram::DatagramSockets;
use super::error::RingError;
use super::handle::PlaneHandle;
use super::headers::MessageHeaders;
use super::listen::ListenConfig;
use super::pending::PendingTable;
use super::rings::{PlaneCounters, Rings};
use super::timeout::Timeout;
use super::unix::{SharedUnixListener, open_unix, unix_address};
use super::wakes::Wakes;
use crate::ids::{ConnectionId, ListenerId, SocketId};
use rustix::net::SocketFlags;
use rustix::net::addr::SocketAddrArg;
use std::net::{IpAddr, SocketAddr, TcpListener};
#[cfg(test)]
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::path::Path;

/// One shard's sockets. Lives on the thread that made it.
pub struct Plane {
    pub(super) rings: Rings,
    pub(super) listeners: Listeners,
    pub(super) datagrams: DatagramSockets,
    connector: Connector,
    pub(super) closing: Closing,
    pub(super) pending: PendingTable,
    /// Of those, writes into files.
    pub(super) writes: u32,
    pub(super) timeout: Timeout,
    pub(super) wakes: Wakes,
    pub(super) headers: MessageHeaders,
    /// Since the last wait.
    pub(super) turn_counts: TurnCounts,
}

impl std::fmt::Debug for Plane {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Plane").finish_non_exhaustive()
    }
}

impl Plane {
    /// Sets the plane up on the calling thread, the only one that can use it.
    pub fn new(config: PlaneConfig) -> Result<Self, RingError> {
        Ok(Self {
            rings: Rings::new(config)?,
            listeners: Listeners::default(),
            datagrams: DatagramSockets::default(),
            connector: Connector::default(),
            closing: Closing::default(),
            pending: PendingTable::default(),
            writes: 0,
            timeout: Timeout::default(),
            wakes: Wakes::default(),
            headers: MessageHeaders::default(),
            turn_counts: TurnCounts::default(),
        })
    }

    /// How other threads reach this plane.
    pub fn handle(&self) -> PlaneHandle {
        self.rings.handle.clone()
    }

    /// The descriptor to sleep on: a blocking eventfd, readable (8 bytes) when there is something to do.
    #[cfg(test)]
    pub(super) fn eventfd(&self) -> BorrowedFd<'_> {
        self.rings.handle.eventfd()
    }

    /// Counts since the start.
    pub const fn counters(&self) -> PlaneCounters {
        self.rings.counters
    }

    /// Sockets that the caller has.
    pub fn sockets(&self) -> u32 {
        self.rings.sockets() - self.closing.len()
    }

    /// Opens a listener and accepts from it the first [`ACCEPTS_PER_TURN`] connections, and more whenever `accept_more`
    /// is called, until [`Plane::close_listener`]. Returns the address it is bound to.
    ///
    /// [`ACCEPTS_PER_TURN`]: crate::limits::ACCEPTS_PER_TURN
    pub fn listen(&mut self, config: &ListenConfig) -> Result<(ListenerId, SocketAddr), RingError> {
        let (socket, address) = config.open()?;
        Ok((self.listen_with(socket), address))
    }

    /// As [`Plane::listen`], with a socket that [`ListenConfig::open`] has made.
    pub fn listen_with(&mut self, socket: TcpListener) -> ListenerId {
        self.listeners.add(&mut self.rings, ListenSource::Tcp(socket))
    }

    /// Connections that come by a listener from now on are probed, and broken, as `config` says; its other options stay.
    ///
    /// # Errors
    /// The system takes an option not.
    pub fn set_listener_options(&self, listener: ListenerId, config: &ListenConfig) -> Result<(), RingError> {
        self.listeners.set_options(listener, config)
    }

    /// As [`Plane::listen`], for a Unix path, which several planes may listen at together. Each accepts what it asks for.
    pub fn listen_unix(&mut self, socket: SharedUnixListener) -> ListenerId {
        self.listeners.add(&mut self.rings, ListenSource::Unix(socket))
    }

    /// Asks for as many connections of each listener as were told since the last call. Costs nothing where none were.
    pub fn accept_more(&mut self) {
        self.listeners.accept_more(&mut self.rings);
    }

    /// Whether a listener accepts nothing because no ring has a slot for what might come, and none can be added.
    pub fn is_out_of_room(&self) -> bool {
        self.listeners.are_out_of_room(&self.rings)
    }

    /// Stops accepting. Connections that the kernel has completed already may still be told. The listener's name stays its own, for
    /// [`Plane::reopen_listener`] or [`Plane::close_listener`].
    pub fn stop_listener(&mut self, listener: ListenerId) {
        self.listeners.stop(&mut self.rings, listener);
    }

    /// Stops accepting for good, also what was stopped before. A listener that comes later may have its name.
    pub fn close_listener(&mut self, listener: ListenerId) {
        self.listeners.close(&mut self.rings, listener);
    }

    /// Accepts again with a listener that was stopped, at an address that says its port.
    ///
    /// # Errors
    /// The address is another's meanwhile, or the system has no descriptor: the listener stays stopped.
    pub fn reopen_listener(&mut self, listener: ListenerId, config: &ListenConfig) -> Result<(), RingError> {
        let (socket, _) = config.open()?;
        self.listeners.reopen(&mut self.rings, listener, ListenSource::Tcp(socket));
        Ok(())
    }

    /// The same with one that was stopped at a path.
    pub fn reopen_unix(&mut self, listener: ListenerId, socket: SharedUnixListener) {
        self.listeners.reopen(&mut self.rings, listener, ListenSource::Unix(socket));
    }

    /// Opens a connection to `to`, from the address `from` where one is given (the system chooses the port, and uses a
    /// port for several peers). `SocketEvent::Connected` tells how that went; the socket is the caller's at once, and `close`
    /// gives up waiting. Rings are added as they fill up.
    ///
    /// # Errors
    /// Nothing was opened: no descriptor or ring is left (ENFILE, EMFILE), or `from` is not an address of this machine.
    pub fn connect(
        &mut self,
        to: SocketAddr,
        from: Option<IpAddr>,
        connection: ConnectionId,
    ) -> Result<SocketId, RingError> {
        let ring = self.rings.choose_with_room()?;
        let socket = self.rings.install(ring, open_tcp(to, from)?)?;
        self.connector.connect(&mut self.rings, socket, to.as_any(), connection);
        Ok(socket)
    }

    /// As [`Plane::connect`], to a Unix path. Where many wait to be accepted, it waits behind them.
    ///
    /// # Errors
    /// Nothing was opened: no descriptor or ring is left (ENFILE, EMFILE), or the path is too long.
    pub fn connect_unix(&mut self, path: &Path, connection: ConnectionId) -> Result<SocketId, RingError> {
        let address = unix_address(path)?;
        let ring = self.rings.choose_with_room()?;
        let socket = self.rings.install(ring, open_unix(SocketFlags::CLOEXEC)?)?;
        self.connector.connect(&mut self.rings, socket, address.as_any(), connection);
        Ok(socket)
    }

    /// Takes in a connected socket of this process, as if it had been accepted. Rings are added as they fill up.
    ///
    /// # Errors
    /// No ring has a slot for it (ENFILE), and it is closed.
    pub fn take_in(&mut self, socket: OwnedFd) -> Result<SocketId, RingError> {
        let ring = self.rings.choose_with_room()?;
        self.rings.install(ring, socket)
    }

    /// Wishes for `SocketEvent::Timeout` at `at_mono_ns` (`CLOCK_MONOTONIC`), or earlier. The earliest wish counts, one is
    /// armed at a time, and a later wish costs nothing: an event that comes too early is the reason to wish again.
    pub fn set_timeout(&mut self, at_mono_ns: u64) {
        self.timeout.wish(at_mono_ns);
    }

    /// As [`PlaneHandle::wake`], for whoever has a plane: the wake-up is no system call of its own but leaves with this
    /// plane's next entry into the kernel.
    pub fn wake(&mut self, other: &PlaneHandle) {
        self.wakes.wake(&mut self.rings, other);
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        for index in 0..self.rings.all.len() {
            self.rings.handle.set_ring(index, -1);
        }
        // Accepts write down who came, and the first ring how often it was woken, into memory of these two.
        self.listeners.end_all(&mut self.rings);
        self.wakes.end(&self.rings);
        self.finish_writes();
        // The rings go first: they end the operations that use the memory in `pending`.
        let holds_memory = !self.pending.is_empty();
        for ring in &mut self.rings.all {
            ring.holds_memory = holds_memory;
        }
        self.rings.all.clear();
    }
}
