//! Sending in batches: borrowed bytes are out of the kernel's sight before the borrow ends.

use super::error::RingError;
use super::plane::Plane;
use super::rings::ShortSend;
use super::user_data::Op;
use crate::ids::{ConnectionId, DatagramSocketId, SocketId};
use io_uring::types::Fixed;
use io_uring::{opcode, squeue};
use std::io::IoSlice;
use std::marker::PhantomData;
use std::net::SocketAddr;

/// Sends queued during one [`Plane::flush`]. What they borrow outlives the flush, which is all that the kernel needs.
pub struct SendBatch<'plane, 'env> {
    plane: &'plane mut Plane,
    /// Invariant, so that nobody can shorten what was promised.
    env: PhantomData<fn(&'env ()) -> &'env ()>,
}

impl std::fmt::Debug for SendBatch<'_, '_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("SendBatch").finish_non_exhaustive()
    }
}

/// Most bytes of one send. Far above any outbox, and the kernel cuts at 2 GiB without saying so.
const SEND_MAX_BYTES: usize = 1 << 30;

const SEND_FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_WAITALL | libc::MSG_NOSIGNAL;

impl<'env> SendBatch<'_, 'env> {
    /// Sends `bytes` as far as the socket's buffer has room. No other send of this socket may be under way.
    pub fn send(&mut self, socket: SocketId, connection: ConnectionId, bytes: &'env [u8]) {
        assert!(bytes.len() <= SEND_MAX_BYTES, "an outbox is bounded far below this");
        let entry = opcode::Send::new(Fixed(socket.slot()), bytes.as_ptr(), bytes.len() as u32)
            .flags(SEND_FLAGS)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(Op::Send.of_connection(connection));
        // SAFETY: `bytes` lives for 'env, which outlives `flush`; `flush` returns (or unwinds) only after everything
        // queued was submitted, and with MSG_DONTWAIT a submitted send has already happened.
        unsafe { self.plane.rings.push(socket.ring(), &entry) };
        self.plane.turn_counts.sends += 1;
    }

    /// Sends `pieces` in order as one, without copying them together. As `send` otherwise.
    pub fn send_vectored(&mut self, socket: SocketId, connection: ConnectionId, pieces: &'env [IoSlice<'env>]) {
        assert!(pieces.iter().map(|piece| piece.len()).sum::<usize>() <= SEND_MAX_BYTES);
        assert!(pieces.len() <= libc::UIO_MAXIOV as usize);
        let plane = &mut *self.plane;
        let header = plane.headers.vectored(&mut plane.rings, pieces);
        let entry = opcode::SendMsg::new(Fixed(socket.slot()), header)
            .flags(SEND_FLAGS as u32)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(Op::Send.of_connection(connection));
        // SAFETY: as in `send` for the pieces (an IoSlice is an iovec by its own promise); the header stays where it
        // is until the kernel was entered.
        unsafe { plane.rings.push(socket.ring(), &entry) };
        plane.turn_counts.sends += 1;
    }
}

impl<'env> SendBatch<'_, 'env> {
    /// Sends `bytes` as one datagram. What the socket's buffer has no room for is lost, and `DatagramNotSent` says so, as it
    /// does for what is too long and for an address that cannot be reached.
    pub fn send_datagram(&mut self, socket: DatagramSocketId, to: SocketAddr, bytes: &'env [u8]) {
        let plane = &mut *self.plane;
        let (from, to) = (plane.datagrams.socket(socket), plane.datagrams.address_for(socket, to));
        let header = plane.headers.datagram(&mut plane.rings, to, bytes);
        let entry = opcode::SendMsg::new(Fixed(from.slot()), header)
            .flags((libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as u32)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(Op::SendDatagram.with(socket.0.into()));
        // SAFETY: as in `send_vectored`; address and piece lie beside the header.
        unsafe { plane.rings.push(from.ring(), &entry) };
        plane.turn_counts.sends += 1;
    }
}

/// Submits when dropped, so that borrowed bytes are out of the kernel's sight even if the queueing closure panics.
struct SubmitOnDrop<'plane>(&'plane mut Plane);

impl Drop for SubmitOnDrop<'_> {
    fn drop(&mut self) {
        self.0.timeout.arm(&mut self.0.rings);
        self.0.rings.enter_all();
    }
}

impl Plane {
    /// Runs `queue`, which sends for the connections that have something to send, then submits that and everything
    /// else that was queued, in one entry into the kernel. Returns the sends that did not go out whole; the bytes of
    /// all others are done with.
    ///
    /// # Errors
    /// The ring is beyond repair; see [`Plane::submit`].
    pub fn flush<'env>(&mut self, queue: impl FnOnce(&mut SendBatch<'_, 'env>)) -> Result<&[ShortSend], RingError> {
        self.rings.short_sends.clear();
        self.headers.clear();
        let guard = SubmitOnDrop(self);
        queue(&mut SendBatch { plane: &mut *guard.0, env: PhantomData });
        guard.0.closing.queue(&mut guard.0.rings);
        drop(guard);
        self.rings.check()?;
        Ok(&self.rings.short_sends)
    }

    /// As [`Plane::flush`], and goes on to wait, without `patience` and in the same entry into the kernel where it can, as
    /// [`Plane::wait`] does. It does not wait if a send went out short or there are events already.
    ///
    /// # Errors
    /// As [`Plane::submit`].
    pub fn flush_and_wait<'env>(
        &mut self,
        is_quiet: impl FnOnce() -> bool,
        queue: impl FnOnce(&mut SendBatch<'_, 'env>),
    ) -> Result<&[ShortSend], RingError> {
        self.rings.short_sends.clear();
        self.headers.clear();
        let guard = SubmitOnDrop(self);
        queue(&mut SendBatch { plane: &mut *guard.0, env: PhantomData });
        if guard.0.rings.short_sends.is_empty() {
            guard.0.wait(None, is_quiet)?;
        }
        drop(guard);
        self.rings.check()?;
        Ok(&self.rings.short_sends)
    }

    /// Submits what is queued and collects what is due. No system call if there is neither.
    ///
    /// # Errors
    /// The kernel refuses the ring itself (never a single operation): nothing will work any more, stop the process.
    pub fn submit(&mut self) -> Result<(), RingError> {
        self.closing.queue(&mut self.rings);
        self.submit_queued()
    }

    /// The same, and closes no more sockets.
    pub(super) fn submit_queued(&mut self) -> Result<(), RingError> {
        drop(SubmitOnDrop(self));
        self.rings.check()
    }

    /// Collects what has arrived since the last entry into the kernel, without sending anything. Returns whether there
    /// are events now. No system call where the kernel has marked nothing.
    ///
    /// # Errors
    /// As [`Plane::submit`].
    pub fn collect(&mut self) -> Result<bool, RingError> {
        self.rings.collect();
        self.rings.check()?;
        Ok(!self.rings.completed.is_empty())
    }
}
