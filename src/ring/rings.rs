//! All rings of a plane: queueing, entering the kernel, and collecting what is completed.
//!
//! Owns the rings with their tables of sockets and their receive buffers, the completions that nobody has looked at, and
//! the sends of the current flush that went out short.
//!
//! What always holds: a full submission queue is submitted, a full completion queue is kept by the kernel, and entering a
//! ring ends only when both are empty. So nothing that was queued is lost.
//!
//! Leaves to others: what a completion means, and the memory that operations point to. `table.rs` puts sockets into the
//! tables.

use super::config::PlaneConfig;
use super::error::{RingError, error_number};
use super::handle::PlaneHandle;
use super::one::{Completion, Ring};
use super::user_data::{Op, connection_of};
use crate::ids::ConnectionId;
use crate::limits::COMPLETIONS_PER_TURN;
use io_uring::types::CancelBuilder;
use io_uring::{opcode, squeue};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{Ordering, fence};

/// What a plane has done since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlaneCounters {
    /// Calls of `io_uring_enter`.
    pub enters: u64,
    /// Completions taken.
    pub completions: u64,
    /// Submission queues found full in mid-turn.
    pub queue_full: u64,
    /// Receives that found no provided buffer free.
    pub out_of_buffers: u64,
    /// Sends that did not go out whole.
    pub short_sends: u64,
    /// Connections lost on their way in, or refused for want of a descriptor or memory.
    pub accept_failures: u64,
    /// Datagrams that the system did not take.
    pub datagrams_not_sent: u64,
}

/// A send that did not go out whole: the socket's buffer is full, or the connection is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShortSend {
    /// Whose bytes they were.
    pub connection: ConnectionId,
    /// How many bytes went out; the caller keeps the others and passes them to `send_rest`.
    pub sent: usize,
    /// The connection is broken: the kernel's error number. `None` while it is only slow.
    pub error: Option<i32>,
}

/// Times in a row that the kernel may be short of memory before the plane gives up.
const STUCK_MAX: u32 = 10_000;

/// See the module's text.
pub(super) struct Rings {
    pub(super) config: PlaneConfig,
    pub(super) handle: PlaneHandle,
    pub(super) all: Vec<Ring>,
    /// Completions in the order in which they came.
    pub(super) completed: VecDeque<Completion>,
    pub(super) short_sends: Vec<ShortSend>,
    pub(super) counters: PlaneCounters,
    /// The kernel refuses a ring: its error number.
    pub(super) failed: Option<i32>,
}

impl Rings {
    /// One ring, set up on the calling thread, the only one that can use it.
    pub(super) fn new(config: PlaneConfig) -> Result<Self, RingError> {
        let mut rings = Self {
            config,
            handle: PlaneHandle::new()?,
            all: Vec::new(),
            completed: VecDeque::with_capacity(1024),
            short_sends: Vec::new(),
            counters: PlaneCounters::default(),
            failed: None,
        };
        rings.add_ring()?;
        Ok(rings)
    }

    pub(super) fn check(&self) -> Result<(), RingError> {
        match self.failed {
            Some(errno) => Err(error_number("enter the ring", errno)),
            None => Ok(()),
        }
    }

    /// Whether there is neither something to tell nor to submit.
    #[cfg(test)]
    pub(super) fn is_idle(&mut self) -> bool {
        self.completed.is_empty() && !self.all.iter_mut().any(Ring::has_queued)
    }

    /// Queues `entry` on `ring`, entering the kernel first if the queue is full.
    ///
    /// # Safety
    /// As [`Ring::push`].
    pub(super) unsafe fn push(&mut self, ring: usize, entry: &squeue::Entry) {
        // SAFETY: the caller's promise.
        while !unsafe { self.all[ring].push(entry) } {
            self.counters.queue_full += 1;
            self.enter(ring);
            if self.failed.is_some() {
                return;
            }
        }
    }

    /// As [`Self::push`], for two operations that are linked: both are queued, and nothing is submitted between them.
    ///
    /// # Safety
    /// As [`Ring::push`].
    pub(super) unsafe fn push_pair(&mut self, ring: usize, entries: &[squeue::Entry; 2]) {
        // SAFETY: the caller's promise.
        while !unsafe { self.all[ring].push_all(entries) } {
            self.counters.queue_full += 1;
            self.enter(ring);
            if self.failed.is_some() {
                return;
            }
        }
    }

    /// As [`Self::push`], for an operation whose outcome nobody waits for.
    ///
    /// # Safety
    /// As [`Ring::push`].
    pub(super) unsafe fn push_ignored(&mut self, ring: usize, entry: squeue::Entry) {
        let entry = entry.flags(squeue::Flags::SKIP_SUCCESS).user_data(Op::Ignored.with(0));
        // SAFETY: the caller's promise.
        unsafe { self.push(ring, &entry) };
    }

    /// Ends operations; each completes with `ECANCELED` unless it was done.
    pub(super) fn cancel(&mut self, ring: usize, which: CancelBuilder) {
        let entry = opcode::AsyncCancel2::new(which).build();
        // SAFETY: the operation has no memory.
        unsafe { self.push_ignored(ring, entry) };
    }

    /// Enters every ring that has something to submit or to collect.
    pub(super) fn enter_all(&mut self) {
        self.enter_each(0..self.all.len());
    }

    /// Enters those of these rings that have something to submit or to collect.
    pub(super) fn enter_each(&mut self, rings: Range<usize>) {
        for index in rings {
            let ring = &mut self.all[index];
            if ring.has_queued() || ring.has_work() {
                self.enter(index);
            }
        }
    }

    /// Collects what the kernel has marked as done, and submits nothing.
    pub(super) fn collect(&mut self) {
        for index in 0..self.all.len() {
            if self.all[index].has_work() {
                self.enter(index);
            }
        }
    }

    /// Enters one ring until its queue is empty and no completion is held back, and takes what is due up to a turn's
    /// worth.
    pub(super) fn enter(&mut self, index: usize) {
        let mut stuck = 0;
        while self.failed.is_none() {
            let ring = &mut self.all[index];
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
            let ring = &mut self.all[index];
            // The mark of work may be an old one: it is believed only as long as there is progress.
            let more = ring.has_queued()
                || ring.has_overflow()
                || (ring.has_task_work() && reaped > 0 && self.completed.len() < COMPLETIONS_PER_TURN);
            if !more {
                return;
            }
        }
    }

    /// Collects from one ring until it is certain that it has nothing more, or something was collected.
    pub(super) fn drain(&mut self, index: usize) {
        self.counters.enters += 1;
        if let Err(error) = self.all[index].run_task_work() {
            self.failed = Some(error.raw_os_error().unwrap_or(libc::EIO));
        }
        self.reap(index);
    }

    /// Takes the completions of one ring, sorting out the short sends: `flush` must know them before it returns.
    pub(super) fn reap(&mut self, index: usize) -> usize {
        let before = self.completed.len();
        let count = self.all[index].reap(index as u8, &mut self.completed);
        self.counters.completions += count as u64;
        let is_short = |completion: &Completion| Op::of(completion.user_data) == Op::Send;
        if !self.completed.range(before..).any(is_short) {
            return count;
        }
        for _ in before..self.completed.len() {
            let completion = self.completed.remove(before).expect("within the range counted above");
            if is_short(&completion) {
                self.note_short_send(completion);
            } else {
                self.completed.push_back(completion);
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

    /// From now on what happens in these rings is signalled on the eventfd; what has happened already is collected.
    pub(super) fn watch(&mut self, rings: Range<usize>) {
        if rings.is_empty() {
            return;
        }
        for ring in &mut self.all[rings.clone()] {
            ring.set_notify(true);
        }
        // The kernel adds work, marks the ring, and then looks whether to notify; we ask for notification and then
        // look for the mark. With full barriers on both sides one of us sees the other.
        fence(Ordering::SeqCst);
        for index in rings {
            // Elsewhere the kernel's marking is not a full barrier, its adding of work is: let it look at the work.
            if self.all[index].has_work() || !cfg!(target_arch = "x86_64") {
                self.drain(index);
            }
        }
    }

    /// Ends what `watch` began.
    pub(super) fn unwatch(&mut self, rings: Range<usize>) {
        for ring in &mut self.all[rings] {
            ring.set_notify(false);
        }
    }
}
