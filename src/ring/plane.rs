//! The plane itself: its rings, and every operation on a socket except the sends of a turn.

use super::accept::Listener;
use super::error::{RingError, error_number};
use super::handle::PlaneHandle;
use super::moderation::Turn;
use super::one::{Completion, Ring};
use super::submit::{MESSAGES_MAX, ShortSend};
use super::user_data::Op;
use super::{Buffer, Counters, PlaneConfig};
use crate::ids::{ConnectionId, SocketId, Ticket};
use crate::limits::{LATER_RING_RECEIVE_BUFFERS, RING_DESCRIPTORS_MAX, RINGS_MAX};
use bytes::Bytes;
use io_uring::types::{CancelBuilder, DestinationSlot, Fd, Fixed, Timespec};
use io_uring::{opcode, squeue};
use rustix::net::SocketAddrAny;
use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{Ordering, fence};

/// One shard's sockets. Lives on the thread that made it.
pub struct Plane {
    config: PlaneConfig,
    handle: PlaneHandle,
    pub(super) rings: Vec<Ring>,
    pub(super) listeners: Vec<Listener>,
    pub(super) ready: VecDeque<Completion>,
    pub(super) short_sends: Vec<ShortSend>,
    pub(super) messages: Vec<libc::msghdr>,
    pub(super) pending: PendingTable,
    pub(super) timeout_wanted: Option<u64>,
    pub(super) timeout_armed: Option<u64>,
    pub(super) timespec: Timespec,
    pub(super) counters: Counters,
    pub(super) failed: Option<i32>,
    /// Peers that were connected to, as the kernel reads their names.
    pub(super) names: Vec<SocketAddrAny>,
    /// Whether the first ring reads the eventfd.
    pub(super) wake_armed: bool,
    /// Where the kernel writes what it read; boxed, because the read under way points to it.
    pub(super) wake_count: Box<UnsafeCell<u64>>,
    /// Since the last wait.
    pub(super) turn: Turn,
    /// Planes that this one has woken.
    pub(super) neighbours: Vec<PlaneHandle>,
}

/// What has to be ended before a socket can close: an operation that stays under way would keep the socket open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnderWay {
    /// Neither a receive nor a send.
    Nothing,
    /// A receive at most, of this connection. The kernel finds it by its name.
    Receive(ConnectionId),
    /// A `send_rest` or `connect`, and perhaps a receive. The kernel looks at every operation of the ring to find them, so the cost
    /// grows with the number of connections.
    Anything,
}

/// An operation whose memory is the plane's while the kernel works on it.
pub(super) enum Pending {
    Send { connection: ConnectionId, bytes: Bytes },
    HandOver { ticket: Ticket, socket: SocketId },
}

/// Operations under way, named by their index. Empty, and nearly free of memory, while nothing is under way.
#[derive(Default)]
pub(super) struct PendingTable {
    entries: Vec<Option<Pending>>,
    free: Vec<u32>,
}

/// Read by the kernel when an abort is submitted: a close that throws away what was not sent and sends RST.
static LINGER_NOW: libc::linger = libc::linger { l_onoff: 1, l_linger: 0 };

impl Plane {
    /// Sets the plane up on the calling thread, the only one that can use it.
    pub fn new(config: PlaneConfig) -> Result<Self, RingError> {
        let handle = PlaneHandle::new()?;
        let mut plane = Self {
            config,
            handle,
            rings: Vec::new(),
            listeners: Vec::new(),
            ready: VecDeque::with_capacity(1024),
            short_sends: Vec::new(),
            messages: Vec::with_capacity(MESSAGES_MAX),
            pending: PendingTable::default(),
            timeout_wanted: None,
            timeout_armed: None,
            timespec: Timespec::new(),
            counters: Counters::default(),
            failed: None,
            names: Vec::new(),
            wake_armed: false,
            wake_count: Box::default(),
            turn: Turn::default(),
            neighbours: Vec::new(),
        };
        plane.add_ring()?;
        Ok(plane)
    }

    /// How other threads reach this plane.
    pub fn handle(&self) -> PlaneHandle {
        self.handle.clone()
    }

    /// The descriptor to sleep on: a blocking eventfd, readable (8 bytes) when there is something to do.
    pub fn eventfd(&self) -> BorrowedFd<'_> {
        self.handle.eventfd()
    }

    /// Counts since the start.
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// Sockets that the caller has.
    pub fn sockets(&self) -> u32 {
        self.rings.iter().map(|ring| ring.open).sum()
    }

    /// Receives once. Nothing else of this socket is in flight afterwards, so that it can be handed over.
    pub fn receive_once(&mut self, socket: SocketId, connection: ConnectionId) {
        let entry = opcode::Recv::new(Fixed(socket.slot()), std::ptr::null_mut(), 0)
            .buf_group(super::buffers::BufferPool::GROUP)
            .build()
            .flags(squeue::Flags::BUFFER_SELECT)
            .user_data(Op::Receive.of_connection(connection));
        // SAFETY: the memory comes from the buffer ring, which outlives the ring's operations (`Ring::drop`).
        unsafe { self.push(socket.ring(), &entry) };
    }

    /// Receives until it ends.
    pub fn receive_multi(&mut self, socket: SocketId, connection: ConnectionId) {
        let entry = opcode::RecvMulti::new(Fixed(socket.slot()), super::buffers::BufferPool::GROUP)
            .build()
            .user_data(Op::Receive.of_connection(connection));
        // SAFETY: as in `receive_once`.
        unsafe { self.push(socket.ring(), &entry) };
    }

    /// Ends what `receive_once` or `receive_multi` started, so that the peer is slowed down; `ReceiveEnded` with
    /// `Cancelled` follows unless it had ended already.
    pub fn stop_receiving(&mut self, socket: SocketId, connection: ConnectionId) {
        self.cancel(socket.ring(), CancelBuilder::user_data(Op::Receive.of_connection(connection)));
    }

    /// The bytes in a buffer on loan.
    pub fn bytes(&self, buffer: &Buffer) -> &[u8] {
        self.rings[usize::from(buffer.ring)].buffers.bytes(buffer.id, buffer.bytes)
    }

    /// Lends a buffer to the kernel again.
    #[expect(clippy::needless_pass_by_value, reason = "who gave a buffer back has none any more")]
    pub fn give_back(&mut self, buffer: Buffer) {
        self.rings[usize::from(buffer.ring)].buffers.give_back(buffer.id);
    }

    /// Buffers that the kernel has left for receiving from `socket`: while zero, receiving ends at once with
    /// `OutOfBuffers`.
    pub fn buffers_free(&self, socket: SocketId) -> u16 {
        self.rings[socket.ring()].buffers.free()
    }

    /// Sends `bytes`, waiting in the kernel for room as long as it takes; `Event::Sent` brings them back. For what a
    /// [`ShortSend`] left over. No other send of this socket may be under way. Only `close` and `abort` end it early.
    pub fn send_rest(&mut self, socket: SocketId, connection: ConnectionId, bytes: Bytes) {
        let (address, count) = (bytes.as_ptr(), u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        let index = self.pending.insert(Pending::Send { connection, bytes });
        let entry = opcode::Send::new(Fixed(socket.slot()), address, count)
            .flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL)
            .build()
            .user_data(Op::SendRest.with(index));
        // SAFETY: `pending` keeps the reference-counted bytes, which do not move with their handle, until the
        // completion; a plane that is dropped ends its operations first.
        unsafe { self.push(socket.ring(), &entry) };
    }

    /// Says that nothing more will be sent (FIN after what was sent); `Event::Finished` follows, and until then the
    /// socket must not be closed: the kernel does it on a thread of its own, which looks the descriptor up only then and
    /// would find whatever connection has the slot by that time. The peer's end of the connection shows as `Eof`; a
    /// `close` after that loses nothing. For partings, not in bulk.
    pub fn finish_sending(&mut self, socket: SocketId, connection: ConnectionId) {
        let entry = opcode::Shutdown::new(Fixed(socket.slot()), libc::SHUT_WR)
            .build()
            .user_data(Op::Finish.of_connection(connection));
        // SAFETY: the operation has no memory.
        unsafe { self.push(socket.ring(), &entry) };
    }

    /// Ends what is under way on `socket`, closes it, and frees its slot. The kernel still delivers what was sent,
    /// unless the peer's own bytes lie unread.
    pub fn close(&mut self, socket: SocketId, under_way: UnderWay) {
        match under_way {
            UnderWay::Nothing => {}
            UnderWay::Receive(connection) => {
                self.cancel(socket.ring(), CancelBuilder::user_data(Op::Receive.of_connection(connection)));
            }
            UnderWay::Anything => self.cancel(socket.ring(), CancelBuilder::fd(Fixed(socket.slot())).all()),
        }
        self.free_slot(socket);
    }

    /// As `close`, but throws away what the peer has not taken and resets the connection: for peers that must not keep
    /// memory. Before Linux 6.7 it is a `close`.
    pub fn abort(&mut self, socket: SocketId, under_way: UnderWay) {
        let entry = opcode::SetSockOpt::new(
            Fixed(socket.slot()),
            libc::SOL_SOCKET as u32,
            libc::SO_LINGER as u32,
            (&raw const LINGER_NOW).cast(),
            size_of::<libc::linger>() as u32,
        )
        .build();
        // SAFETY: the option's value is static.
        unsafe { self.push_ignored(socket.ring(), entry) };
        self.close(socket, under_way);
    }

    /// Moves a socket, on which nothing is under way, to another plane, where `Event::Adopted` brings `ticket`. Here,
    /// `HandedOver` or `HandOverFailed` follows; until then the socket is nobody's to use. Bytes that the peer sends
    /// meanwhile wait in the socket.
    pub fn hand_over(&mut self, socket: SocketId, ticket: Ticket, target: &PlaneHandle) {
        let index = self.pending.insert(Pending::HandOver { ticket, socket });
        let entry = opcode::MsgRingSendFd::new(
            Fd(target.adopting_ring()),
            Fixed(socket.slot()),
            DestinationSlot::auto_target(),
            Op::Adopted.with(ticket.bits()),
        )
        .build()
        .user_data(Op::HandOver.with(index));
        // SAFETY: the operation has no memory.
        unsafe { self.push(socket.ring(), &entry) };
    }

    /// Wishes for `Event::Timeout` at `at_mono_ns` (`CLOCK_MONOTONIC`), or earlier. The earliest wish counts, one is
    /// armed at a time, and a later wish costs nothing: an event that comes too early is the reason to wish again.
    pub fn set_timeout(&mut self, at_mono_ns: u64) {
        self.timeout_wanted = Some(self.timeout_wanted.map_or(at_mono_ns, |wanted| wanted.min(at_mono_ns)));
    }

    /// Whether the caller may go to sleep on the eventfd. If so, it looks once more at whatever others may have put
    /// before it (whoever puts something there after this call wakes it), sleeps, and calls [`Plane::awake`].
    pub fn prepare_sleep(&mut self) -> bool {
        if !self.ready.is_empty() || self.rings.iter_mut().any(Ring::has_queued) {
            return false;
        }
        self.handle.set_sleeping(true);
        self.watch(0..self.rings.len());
        let idle = self.ready.is_empty() && self.failed.is_none();
        if !idle {
            self.awake();
        }
        idle
    }

    /// Turns notifications off again: load must not pay for them.
    pub fn awake(&mut self) {
        self.handle.set_sleeping(false);
        self.unwatch(0..self.rings.len());
    }

    /// From now on what happens in these rings is signalled on the eventfd; what has happened already is collected.
    pub(super) fn watch(&mut self, rings: Range<usize>) {
        if rings.is_empty() {
            return;
        }
        for ring in &mut self.rings[rings.clone()] {
            ring.set_notify(true);
        }
        // The kernel adds work, marks the ring, and then looks whether to notify; we ask for notification and then
        // look for the mark. With full barriers on both sides one of us sees the other.
        fence(Ordering::SeqCst);
        for index in rings {
            // Elsewhere the kernel's marking is not a full barrier, its adding of work is: let it look at the work.
            if self.rings[index].has_work() || !cfg!(target_arch = "x86_64") {
                self.settle(index);
            }
        }
    }

    /// Ends what `watch` began.
    pub(super) fn unwatch(&mut self, rings: Range<usize>) {
        for ring in &mut self.rings[rings] {
            ring.set_notify(false);
        }
    }

    pub(super) fn set_sleeping(&self, sleeping: bool) {
        self.handle.set_sleeping(sleeping);
    }

    pub(super) fn cancel(&mut self, ring: usize, which: CancelBuilder) {
        let entry = opcode::AsyncCancel2::new(which).build();
        // SAFETY: the operation has no memory.
        unsafe { self.push_ignored(ring, entry) };
    }

    /// Closes the direct descriptor. The kernel runs operations in the order they were queued, so whatever was queued
    /// for the socket before still finds it.
    pub(super) fn free_slot(&mut self, socket: SocketId) {
        let entry = opcode::Close::new(Fixed(socket.slot())).build();
        self.rings[socket.ring()].open -= 1;
        // SAFETY: the operation has no memory.
        unsafe { self.push_ignored(socket.ring(), entry) };
    }

    /// # Safety
    /// As [`Ring::push`].
    unsafe fn push_ignored(&mut self, ring: usize, entry: squeue::Entry) {
        let entry = entry.flags(squeue::Flags::SKIP_SUCCESS).user_data(Op::Ignored.with(0));
        // SAFETY: the caller's promise.
        unsafe { self.push(ring, &entry) };
    }

    /// Picks the ring that takes the next sockets: one with room to spare, else a new one, else the one with most room.
    pub(super) fn choose_adopting(&mut self) -> usize {
        let spare = self.rings.iter().position(|ring| ring.room() > ring.reserve());
        let chosen = spare.or_else(|| self.add_ring().ok()).unwrap_or_else(|| {
            (0..self.rings.len()).max_by_key(|&index| self.rings[index].room()).expect("a plane has a ring")
        });
        self.handle.set_adopting(chosen);
        chosen
    }

    /// Adds a ring as large as the limit on open files and what is missing to the plane's own limit allow.
    pub(super) fn add_ring(&mut self) -> Result<usize, RingError> {
        let index = self.rings.len();
        let have: u32 = self.rings.iter().map(|ring| ring.descriptors).sum();
        let want = self.config.sockets_max.saturating_sub(have);
        if index == RINGS_MAX || want == 0 {
            return Err(error_number("add a ring", libc::ENFILE));
        }
        let files_max = super::probe::open_files_limit().0.min(u64::from(RING_DESCRIPTORS_MAX)) as u32;
        let descriptors = want.min(files_max).min(self.config.ring_sockets_max).max(1);
        let buffers_max = if index == 0 { u16::MAX } else { LATER_RING_RECEIVE_BUFFERS };
        let buffers = self.config.buffers.min(buffers_max);
        let config = PlaneConfig { buffers, ..self.config };
        let ring = Ring::new(&config, descriptors, self.handle.eventfd().as_raw_fd())?;
        self.handle.set_ring(index, ring.fd());
        self.rings.push(ring);
        Ok(index)
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        for index in 0..self.rings.len() {
            self.handle.set_ring(index, -1);
        }
        // Accepts write down who came, into memory of the listeners.
        for listener in &self.listeners {
            if let Some(socket) = &listener.socket {
                self.rings[listener.ring].end_all(socket.as_raw_fd());
            }
        }
        // The first ring writes down how often it was woken, into `wake_count`.
        if self.wake_armed {
            self.rings[0].end_all(self.handle.eventfd().as_raw_fd());
        }
        // The rings go first: they end the operations that use the memory in `pending`.
        let holds_memory = !self.pending.is_empty();
        for ring in &mut self.rings {
            ring.holds_memory = holds_memory;
        }
        self.rings.clear();
    }
}

impl PendingTable {
    pub(super) fn insert(&mut self, pending: Pending) -> u64 {
        if let Some(index) = self.free.pop() {
            self.entries[index as usize] = Some(pending);
            return u64::from(index);
        }
        self.entries.push(Some(pending));
        self.entries.len() as u64 - 1
    }

    /// Whether no operation with memory of its own is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.free.len() == self.entries.len()
    }

    pub(super) fn remove(&mut self, index: u64) -> Pending {
        let pending = self.entries[index as usize].take().expect("an operation under way has its entry");
        self.free.push(index as u32);
        pending
    }
}

#[cfg(test)]
impl PendingTable {
    pub(super) fn heap_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Option<Pending>>() + self.free.capacity() * size_of::<u32>()
    }
}
