//! What is done with one connected socket: receiving, sending what waits, closing, handing over.

use super::buffers::{Buffer, BufferPool};
use super::closing::{UnderWay, Unsent};
use super::handle::PlaneHandle;
use super::pending::Pending;
use super::plane::Plane;
use super::user_data::Op;
use crate::ids::{ConnectionId, SocketId, Ticket};
use bytes::Bytes;
use io_uring::types::{CancelBuilder, DestinationSlot, Fd, Fixed};
use io_uring::{opcode, squeue};

impl Plane {
    /// Receives once. Nothing else of this socket is in flight afterwards, so that it can be handed over.
    pub fn receive_once(&mut self, socket: SocketId, connection: ConnectionId) {
        let entry = opcode::Recv::new(Fixed(socket.slot()), std::ptr::null_mut(), 0)
            .buf_group(BufferPool::GROUP)
            .build()
            .flags(squeue::Flags::BUFFER_SELECT)
            .user_data(Op::Receive.of_connection(connection));
        // SAFETY: the memory comes from the buffer ring, which outlives the ring's operations (`Ring::drop`).
        unsafe { self.rings.push(socket.ring(), &entry) };
    }

    /// Receives until it ends.
    pub fn receive_multi(&mut self, socket: SocketId, connection: ConnectionId) {
        let entry = opcode::RecvMulti::new(Fixed(socket.slot()), BufferPool::GROUP)
            .build()
            .user_data(Op::Receive.of_connection(connection));
        // SAFETY: as in `receive_once`.
        unsafe { self.rings.push(socket.ring(), &entry) };
    }

    /// Ends what `receive_once` or `receive_multi` started, so that the peer is slowed down; `ReceiveEnded` with
    /// `Cancelled` follows unless it had ended already.
    pub fn stop_receiving(&mut self, socket: SocketId, connection: ConnectionId) {
        self.rings.cancel(socket.ring(), CancelBuilder::user_data(Op::Receive.of_connection(connection)));
    }

    /// The bytes in a buffer on loan.
    pub fn bytes(&self, buffer: &Buffer) -> &[u8] {
        self.rings.all[usize::from(buffer.ring)].buffers.bytes(buffer)
    }

    /// Lends a buffer to the kernel again.
    pub fn give_back(&mut self, buffer: Buffer) {
        self.rings.give_back(buffer);
    }

    /// Buffers that the kernel has left for receiving from `socket`: while zero, receiving ends at once with
    /// `OutOfBuffers`.
    pub fn buffers_free(&self, socket: SocketId) -> u16 {
        self.rings.all[socket.ring()].buffers.free()
    }

    /// Sends `bytes`, waiting in the kernel for room as long as it takes; `SocketEvent::Sent` brings them back. For what a
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
        unsafe { self.rings.push(socket.ring(), &entry) };
    }

    /// Says that nothing more will be sent (FIN after what was sent); `SocketEvent::Finished` follows, and until then the
    /// socket must not be closed: the kernel does it on a thread of its own, which looks the descriptor up only then and
    /// would find whatever connection has the slot by that time. The peer's end of the connection shows as `Eof`; a
    /// `close` after that loses nothing. For partings, not in bulk.
    pub fn finish_sending(&mut self, socket: SocketId, connection: ConnectionId) {
        let entry = opcode::Shutdown::new(Fixed(socket.slot()), libc::SHUT_WR)
            .build()
            .user_data(Op::Finish.of_connection(connection));
        // SAFETY: the operation has no memory.
        unsafe { self.rings.push(socket.ring(), &entry) };
    }

    /// Ends what is under way on `socket`, closes it, and frees its slot. The kernel still delivers what was sent,
    /// unless the peer's own bytes lie unread. Where many are closed at once, it is done in one of the next entries into the kernel.
    pub fn close(&mut self, socket: SocketId, under_way: UnderWay) {
        self.closing.add(socket, under_way, Unsent::Delivered);
    }

    /// As `close`, but throws away what the peer has not taken and resets the connection: for peers that must not keep
    /// memory. Before Linux 6.7 it is a `close`.
    pub fn abort(&mut self, socket: SocketId, under_way: UnderWay) {
        self.closing.add(socket, under_way, Unsent::ThrownAway);
    }

    /// Moves a socket, on which nothing is under way, to another plane, where `SocketEvent::Adopted` brings `ticket`. Here,
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
        unsafe { self.rings.push(socket.ring(), &entry) };
    }
}
