//! Queueing and entering: nothing queued is ever lost, and borrowed bytes are only ever borrowed.

use super::error::{RingError, error_number};
use super::one::Completion;
use super::plane::Plane;
use super::user_data::{Op, connection_of};
use crate::ids::{ConnectionId, SocketId};
use crate::limits::COMPLETIONS_PER_TURN;
use io_uring::types::{Fixed, TimeoutFlags, Timespec};
use io_uring::{opcode, squeue};
use std::io::IoSlice;
use std::marker::PhantomData;
use std::ops::Range;

/// A send that did not go out whole: the socket's buffer is full, or the connection is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShortSend {
    /// The connection.
    pub connection: ConnectionId,
    /// How many bytes went out; the caller keeps the others and passes them to `send_rest`.
    pub sent: usize,
    /// The connection is broken: the kernel's error number. `None` while it is only slow.
    pub error: Option<i32>,
}

/// Sends queued during one [`Plane::flush`]. What they borrow outlives the flush, which is all that the kernel needs.
pub struct Batch<'plane, 'env> {
    plane: &'plane mut Plane,
    /// Invariant, so that nobody can shorten what was promised.
    env: PhantomData<fn(&'env ()) -> &'env ()>,
}

/// Message headers that may wait for one entry into the kernel.
pub(super) const MESSAGES_MAX: usize = 256;
/// Most bytes of one send. Far above any outbox, and the kernel cuts at 2 GiB without saying so.
const SEND_MAX_BYTES: usize = 1 << 30;
/// Times in a row that the kernel may be short of memory before the plane gives up.
const STUCK_MAX: u32 = 10_000;

const SEND_FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_WAITALL | libc::MSG_NOSIGNAL;

impl<'env> Batch<'_, 'env> {
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
        unsafe { self.plane.push(socket.ring(), &entry) };
        self.plane.turn.sends += 1;
    }

    /// Sends `pieces` in order as one, without copying them together. As `send` otherwise.
    pub fn send_vectored(&mut self, socket: SocketId, connection: ConnectionId, pieces: &'env [IoSlice<'env>]) {
        assert!(pieces.iter().map(|piece| piece.len()).sum::<usize>() <= SEND_MAX_BYTES);
        assert!(pieces.len() <= libc::UIO_MAXIOV as usize);
        let plane = &mut *self.plane;
        if plane.messages.len() == MESSAGES_MAX {
            plane.enter(socket.ring());
            // A header of another ring may still be queued there.
            plane.enter_all();
            plane.messages.clear();
        }
        // SAFETY: all-zero is a valid msghdr: null pointers with zero lengths.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = pieces.as_ptr().cast_mut().cast();
        message.msg_iovlen = pieces.len() as _;
        plane.messages.push(message);
        let message = plane.messages.last().expect("pushed above");
        let entry = opcode::SendMsg::new(Fixed(socket.slot()), message)
            .flags(SEND_FLAGS as u32)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(Op::Send.of_connection(connection));
        // SAFETY: as in `send` for the pieces (an IoSlice is an iovec by its own promise); the header lies in a vector
        // that has its full capacity from the start and is cleared only after an entry into the kernel.
        unsafe { plane.push(socket.ring(), &entry) };
        plane.turn.sends += 1;
    }
}

/// Submits when dropped, so that borrowed bytes are out of the kernel's sight even if the queueing closure panics.
struct SubmitOnDrop<'plane>(&'plane mut Plane);

impl Drop for SubmitOnDrop<'_> {
    fn drop(&mut self) {
        self.0.arm_timeout();
        self.0.enter_all();
    }
}

impl Plane {
    /// Runs `queue`, which sends for the connections that have something to send, then submits that and everything
    /// else that was queued, in one entry into the kernel. Returns the sends that did not go out whole; the bytes of
    /// all others are done with.
    ///
    /// # Errors
    /// The ring is beyond repair; see [`Plane::submit`].
    pub fn flush<'env>(&mut self, queue: impl FnOnce(&mut Batch<'_, 'env>)) -> Result<&[ShortSend], RingError> {
        self.short_sends.clear();
        self.messages.clear();
        let guard = SubmitOnDrop(self);
        queue(&mut Batch { plane: &mut *guard.0, env: PhantomData });
        drop(guard);
        self.check()?;
        Ok(&self.short_sends)
    }

    /// As [`Plane::flush`], and goes on to wait, without `patience` and in the same entry into the kernel where it can, as
    /// [`Plane::wait`] does. It does not wait if a send went out short or there are events already.
    ///
    /// # Errors
    /// As [`Plane::submit`].
    pub fn flush_and_wait<'env>(
        &mut self,
        is_quiet: impl FnOnce() -> bool,
        queue: impl FnOnce(&mut Batch<'_, 'env>),
    ) -> Result<&[ShortSend], RingError> {
        self.short_sends.clear();
        self.messages.clear();
        let guard = SubmitOnDrop(self);
        queue(&mut Batch { plane: &mut *guard.0, env: PhantomData });
        if guard.0.short_sends.is_empty() {
            guard.0.wait(None, is_quiet)?;
        }
        drop(guard);
        self.check()?;
        Ok(&self.short_sends)
    }

    /// Submits what is queued and collects what is due. No system call if there is neither.
    ///
    /// # Errors
    /// The kernel refuses the ring itself (never a single operation): nothing will work any more, stop the process.
    pub fn submit(&mut self) -> Result<(), RingError> {
        drop(SubmitOnDrop(self));
        self.check()
    }

    /// Collects what has arrived since the last entry into the kernel, without sending anything. Returns whether there
    /// are events now. No system call where the kernel has marked nothing.
    ///
    /// # Errors
    /// As [`Plane::submit`].
    pub fn collect(&mut self) -> Result<bool, RingError> {
        for index in 0..self.rings.len() {
            if self.rings[index].has_work() {
                self.enter(index);
            }
        }
        self.check()?;
        Ok(!self.ready.is_empty())
    }

    pub(super) fn check(&self) -> Result<(), RingError> {
        match self.failed {
            Some(errno) => Err(error_number("enter the ring", errno)),
            None => Ok(()),
        }
    }

    /// Queues `entry` on `ring`, entering the kernel first if the queue is full.
    ///
    /// # Safety
    /// As [`super::one::Ring::push`].
    pub(super) unsafe fn push(&mut self, ring: usize, entry: &squeue::Entry) {
        // SAFETY: the caller's promise.
        while !unsafe { self.rings[ring].push(entry) } {
            self.counters.queue_full += 1;
            self.enter(ring);
            if self.failed.is_some() {
                return;
            }
        }
    }

    /// Enters every ring that has something to submit or to collect.
    pub(super) fn enter_all(&mut self) {
        self.enter_each(0..self.rings.len());
    }

    /// Enters those of these rings that have something to submit or to collect.
    pub(super) fn enter_each(&mut self, rings: Range<usize>) {
        for index in rings {
            let ring = &mut self.rings[index];
            if ring.has_queued() || ring.has_work() {
                self.enter(index);
            }
        }
    }

    /// Enters one ring until its queue is empty and no completion is held back, and takes what is due up to a turn's
    /// worth.
    pub(super) fn enter(&mut self, index: usize) {
        let mut stuck = 0;
        while self.failed.is_none() {
            let ring = &mut self.rings[index];
            self.counters.enters += 1;
            match ring.enter() {
                Ok(_) => stuck = 0,
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
                // The kernel has no memory for requests just now, or wants completions collected first.
                Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EBUSY | libc::ENOMEM)) => {
                    stuck += 1;
                    std::thread::yield_now();
                    if stuck == STUCK_MAX {
                        self.failed = error.raw_os_error();
                    }
                }
                Err(error) => self.failed = Some(error.raw_os_error().unwrap_or(libc::EIO)),
            }
            let reaped = self.reap(index);
            let ring = &mut self.rings[index];
            // The mark of work may be an old one: it is believed only as long as there is progress.
            let more = ring.has_queued()
                || ring.has_overflow()
                || (ring.has_task_work() && reaped > 0 && self.ready.len() < COMPLETIONS_PER_TURN);
            if !more {
                return;
            }
        }
    }

    /// Collects from one ring until it is certain that it has nothing more, or something was collected.
    pub(super) fn settle(&mut self, index: usize) {
        self.counters.enters += 1;
        if let Err(error) = self.rings[index].settle() {
            self.failed = Some(error.raw_os_error().unwrap_or(libc::EIO));
        }
        self.reap(index);
    }

    /// Takes the completions of one ring, sorting out the short sends: `flush` must know them before it returns.
    pub(super) fn reap(&mut self, index: usize) -> usize {
        let before = self.ready.len();
        let count = self.rings[index].reap(index as u8, &mut self.ready);
        self.counters.completions += count as u64;
        let is_short = |completion: &Completion| Op::of(completion.user_data) == Op::Send;
        if !self.ready.range(before..).any(is_short) {
            return count;
        }
        for _ in before..self.ready.len() {
            let completion = self.ready.remove(before).expect("within the range counted above");
            if is_short(&completion) {
                self.note_short_send(completion);
            } else {
                self.ready.push_back(completion);
            }
        }
        count
    }

    fn note_short_send(&mut self, completion: Completion) {
        let error = match -completion.result {
            errno if errno <= 0 || errno == libc::EAGAIN => None,
            errno => Some(errno),
        };
        let sent = completion.value() as usize;
        self.counters.short_sends += 1;
        self.short_sends.push(ShortSend { connection: connection_of(completion.user_data), sent, error });
    }

    /// Queues the timeout that `set_timeout` wished for, if it is earlier than the one that is armed.
    pub(super) fn arm_timeout(&mut self) {
        let Some(at) = self.timeout_wanted.take() else { return };
        if self.timeout_armed.is_some_and(|armed| armed <= at) {
            return;
        }
        self.timespec = Timespec::new().sec(at / 1_000_000_000).nsec((at % 1_000_000_000) as u32);
        let user_data = Op::Timeout.with(0);
        let entry = if self.timeout_armed.is_some() {
            // Fails if the old one fires just now: then its completion comes, and the caller sets the next.
            opcode::TimeoutUpdate::new(user_data, &raw const self.timespec)
                .flags(TimeoutFlags::ABS)
                .build()
                .flags(squeue::Flags::SKIP_SUCCESS)
                .user_data(Op::Ignored.with(0))
        } else {
            opcode::Timeout::new(&raw const self.timespec).flags(TimeoutFlags::ABS).build().user_data(user_data)
        };
        self.timeout_armed = Some(at);
        // SAFETY: the kernel reads the timespec when it takes the entry, which `SubmitOnDrop` makes it do next while
        // it holds the plane in place.
        unsafe { self.push(0, &entry) };
    }
}
