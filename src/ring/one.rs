//! One `io_uring` ring with its table of sockets and its receive buffers: set-up, queueing, entering, reaping.

use super::buffers::BufferPool;
use super::coalescing::Coalescing;
use super::config::PlaneConfig;
use super::error::{RingError, error, error_number};
use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, squeue};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

/// What the kernel said about one operation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Completion {
    pub(super) user_data: u64,
    pub(super) result: i32,
    pub(super) flags: u32,
    pub(super) ring: u8,
}

impl Completion {
    /// What was counted or allotted; zero for an error.
    pub(super) fn value(&self) -> u32 {
        self.result.max(0).cast_unsigned()
    }
}

/// The kernel's `struct io_uring_getevents_arg`.
#[repr(C)]
struct GetEvents {
    sigmask: u64,
    sigmask_bytes: u32,
    min_wait_us: u32,
    timespec: u64,
}

/// How long `enter_and_coalesce` may wait for a first event.
const COALESCE_MAX: Duration = Duration::from_secs(3600);

pub(super) struct Ring {
    uring: IoUring,
    pub(super) buffers: BufferPool,
    /// Size of the table of direct descriptors.
    pub(super) descriptors: u32,
    /// How many of them hold a socket that the caller knows of.
    pub(super) open: u32,
    /// Whether operations under way may use memory that is the plane's.
    pub(super) holds_memory: bool,
}

impl Ring {
    /// Sets a ring up on the calling thread, which must be the one that uses it (`SINGLE_ISSUER`).
    pub(super) fn new(config: &PlaneConfig, descriptors: u32, eventfd: RawFd) -> Result<Self, RingError> {
        let uring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            // The flag tells without a system call whether the kernel has completions to hand over.
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(config.completions)
            .setup_clamp()
            .dontfork()
            .build(config.entries)
            .map_err(error("set up an io_uring ring"))?;
        if !uring.params().is_feature_nodrop() || !uring.params().is_feature_submit_stable() {
            return Err(error_number("use io_uring", libc::ENOSYS));
        }
        let submitter = uring.submitter();
        submitter.register_files_sparse(descriptors).map_err(error("register the table of sockets"))?;
        submitter.register_eventfd(eventfd).map_err(error("register the eventfd"))?;
        let buffers = BufferPool::new(&uring, config.buffers, config.buffer_bytes)?;
        let mut ring = Self { uring, buffers, descriptors, open: 0, holds_memory: true };
        ring.set_notify(false);
        Ok(ring)
    }

    pub(super) fn fd(&self) -> RawFd {
        self.uring.as_raw_fd()
    }

    /// Sockets that still fit.
    pub(super) const fn room(&self) -> u32 {
        self.descriptors.saturating_sub(self.open)
    }

    /// Slots that are kept free for sockets that arrive before accepting moves to another ring.
    pub(super) fn reserve(&self) -> u32 {
        (self.descriptors / 8).min(1024)
    }

    /// Queues `entry`; false if the queue is full.
    ///
    /// # Safety
    /// What `entry` points to stays valid and unmoved until it was submitted, and for operations whose memory the
    /// kernel uses afterwards (a send that may wait) until their completion.
    pub(super) unsafe fn push(&mut self, entry: &squeue::Entry) -> bool {
        // SAFETY: the caller's promise.
        unsafe { self.uring.submission().push(entry) }.is_ok()
    }

    /// Queues all of `entries`; false if there is not room for all.
    ///
    /// # Safety
    /// As [`Self::push`].
    pub(super) unsafe fn push_all(&mut self, entries: &[squeue::Entry]) -> bool {
        // SAFETY: the caller's promise.
        unsafe { self.uring.submission().push_multiple(entries) }.is_ok()
    }

    pub(super) fn has_queued(&mut self) -> bool {
        !self.uring.submission().is_empty()
    }

    /// Whether the kernel has something for us that an `enter` or `reap` would bring.
    pub(super) fn has_work(&mut self) -> bool {
        let queue = self.uring.submission();
        let pending = queue.taskrun() || queue.cq_overflow();
        drop(queue);
        pending || !self.uring.completion().is_empty()
    }

    /// Whether the kernel has completions that it could not hand over yet.
    pub(super) fn has_overflow(&mut self) -> bool {
        self.uring.submission().cq_overflow()
    }

    /// Whether operations wait to be finished by the next `enter`, or did a moment ago. The kernel finishes a bounded
    /// number at a time (20 since Linux 6.13) and sends no further notification for the others, so nobody may sleep
    /// while this holds. But it may hold for nothing: another core adds an operation, we enter and finish it, and only
    /// then the other core gets to marking the ring; the mark stays until there is work again. See `run_task_work`.
    pub(super) fn has_task_work(&mut self) -> bool {
        self.uring.submission().taskrun()
    }

    /// One `io_uring_enter`: submits what is queued, runs what is due, waits for nothing.
    pub(super) fn enter(&mut self) -> io::Result<usize> {
        let queued = self.uring.submission().len() as u32;
        // SAFETY: no argument is passed, and the count is the queue's own.
        unsafe { self.uring.submitter().enter::<libc::sigset_t>(queued, 0, EnterFlags::GETEVENTS.bits(), None) }
    }

    /// Finishes operations until one has completed or none is left. When no completion is there afterwards, the kernel
    /// holds nothing back, whatever the mark says. Costs more than an `enter`: the kernel goes as far as arming a timer.
    pub(super) fn run_task_work(&mut self) -> io::Result<()> {
        let at_once = Timespec::new();
        loop {
            match self.uring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&at_once)) {
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
                Err(error) if error.raw_os_error() != Some(libc::ETIME) => return Err(error),
                _ => return Ok(()),
            }
        }
    }

    /// One `io_uring_enter`: submits what is queued and waits until something has completed or `patience` has passed.
    /// Without `patience` the kernel arms no timer.
    pub(super) fn enter_and_wait(&mut self, patience: Option<Duration>) -> io::Result<()> {
        self.enter_for(1, Duration::ZERO, patience)
    }

    /// Whether the kernel has `enter_and_coalesce` (Linux 6.12).
    pub(super) fn can_coalesce(&self) -> bool {
        self.uring.params().is_feature_min_timeout()
    }

    /// One `io_uring_enter`: submits what is queued and waits until there are `coalescing.events`; after `coalescing.window`
    /// one is enough. It may return early.
    pub(super) fn enter_and_coalesce(&mut self, coalescing: Coalescing) -> io::Result<()> {
        // Without an end of the wait the kernel takes the window for it.
        self.enter_for(coalescing.events, coalescing.window, Some(COALESCE_MAX))
    }

    fn enter_for(&mut self, events: u32, window: Duration, patience: Option<Duration>) -> io::Result<()> {
        let end = patience.map(Timespec::from);
        let arguments = GetEvents {
            sigmask: 0,
            sigmask_bytes: 0,
            min_wait_us: window.as_micros() as u32,
            timespec: end.as_ref().map_or(0, |end| std::ptr::from_ref(end).addr() as u64),
        };
        let mut flags = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG;
        // A shard that waits for its clients waits for no disk: without this (Linux 6.15) an idle broker looks like a machine
        // whose storage is stuck.
        flags.set(EnterFlags::NO_IOWAIT, self.uring.params().is_feature_no_iowait());
        let queued = self.uring.submission().len() as u32;
        // SAFETY: `GetEvents` is what the kernel reads with `EXT_ARG`, its pointer is to a local or null, no signal mask is
        // passed, and the count is the queue's own.
        let entered = unsafe { self.uring.submitter().enter(queued, events, flags.bits(), Some(&arguments)) };
        match entered {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                // Time is up, a signal came, or the kernel is short of memory: what is queued stays queued.
                Some(libc::ETIME | libc::EINTR | libc::EAGAIN | libc::EBUSY | libc::ENOMEM) => Ok(()),
                _ => Err(error),
            },
        }
    }

    /// Moves all completions to the end of `into`.
    pub(super) fn reap(&mut self, ring: u8, into: &mut VecDeque<Completion>) -> usize {
        let completions = self.uring.completion();
        let count = completions.len();
        into.extend(completions.map(|entry| Completion {
            user_data: entry.user_data(),
            result: entry.result(),
            flags: entry.flags(),
            ring,
        }));
        count
    }

    /// Ends every operation on a descriptor, and returns when they have ended.
    pub(super) fn end_all(&self, fd: RawFd) {
        // ENOENT says that there were none; and what the kernel cannot end it has nearly done.
        let _ = self.uring.submitter().register_sync_cancel(None, CancelBuilder::fd(Fd(fd)).all());
    }

    /// Whether completions are signalled on the eventfd: only while somebody sleeps on it.
    pub(super) fn set_notify(&mut self, notify: bool) {
        let completions = self.uring.completion();
        if notify { completions.enable_eventfd() } else { completions.disable_eventfd() }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // Closing a ring ends its operations some time later, and nothing may touch the memory that is freed before that.
        // Receives take their buffer when bytes arrive, so without the buffers they have no memory to touch. Operations
        // with memory of their own are ended here; the kernel goes through all others for each it ends, which takes
        // seconds where there are 20,000, so it is not asked to without need. ENOENT says that there were none.
        let submitter = self.uring.submitter();
        let _ = submitter.unregister_buf_ring(BufferPool::GROUP);
        if self.holds_memory {
            let _ = submitter.register_sync_cancel(None, CancelBuilder::any());
        }
    }
}
