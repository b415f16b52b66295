//! Waiting for something to happen with as few entries into the kernel as can be: the thread blocks, and with it whatever
//! else runs on it.

use super::plane::Plane;
use super::token::Op;
use super::{PlaneHandle, RingError};
use io_uring::types::Fd;
use io_uring::{opcode, squeue};
use std::os::fd::AsRawFd;
use std::time::Duration;

impl Plane {
    /// Submits what is queued and waits until there is an event, somebody called [`PlaneHandle::wake`], or `patience`
    /// has passed; without `patience`, for as long as it takes. `is_quiet` is asked last: whoever puts something where it
    /// looks, and then wakes, is not missed.
    ///
    /// With one ring that is a single entry into the kernel; several rings are waited for through the eventfd. It may
    /// return early with nothing to tell. Without `patience` it may go on for a moment after the first event, where more of
    /// them are worth it (`moderation.rs`).
    ///
    /// [`PlaneHandle::wake`]: super::PlaneHandle::wake
    ///
    /// # Errors
    /// As [`Plane::submit`].
    pub fn wait(&mut self, patience: Option<Duration>, is_quiet: impl FnOnce() -> bool) -> Result<(), RingError> {
        if self.rings.len() == 1 {
            return self.wait_in_ring(patience, is_quiet);
        }
        self.submit()?;
        if self.prepare_sleep() {
            if is_quiet() {
                self.wait_for_signal(patience);
            }
            self.awake();
        }
        self.submit()
    }

    pub(super) fn wait_in_ring(
        &mut self,
        patience: Option<Duration>,
        is_quiet: impl FnOnce() -> bool,
    ) -> Result<(), RingError> {
        if !self.ready.is_empty() {
            return self.submit();
        }
        if !self.wake_armed {
            self.wake_armed = true;
            let entry = opcode::PollAdd::new(Fd(self.eventfd().as_raw_fd()), libc::POLLIN as u32)
                .build()
                .user_data(Op::Woken.with(0));
            // SAFETY: the operation has no memory.
            unsafe { self.push(0, &entry) };
        }
        self.arm_timeout();
        self.set_sleeping(true);
        let patience = if is_quiet() { patience } else { Some(Duration::ZERO) };
        let moderation = std::mem::take(&mut self.turn).moderation(self.rings[0].open);
        self.counters.enters += 1;
        let result = match (moderation, patience) {
            (Some(moderation), None) if self.rings[0].can_moderate() => self.rings[0].enter_and_gather(moderation),
            _ => self.rings[0].enter_and_wait(patience),
        };
        self.set_sleeping(false);
        if let Err(error) = result {
            self.failed = Some(error.raw_os_error().unwrap_or(libc::EIO));
        }
        self.reap(0);
        self.submit()
    }

    /// As [`PlaneHandle::wake`], for whoever has a plane: the wake-up is no system call of its own but leaves with this plane's
    /// next entry into the kernel.
    ///
    /// [`PlaneHandle::wake`]: super::PlaneHandle::wake
    pub fn wake(&mut self, other: &PlaneHandle) {
        if !other.is_to_be_woken() {
            return;
        }
        let known = self.neighbours.iter().position(|neighbour| neighbour.is_same(other));
        let index = known.unwrap_or_else(|| {
            self.neighbours.push(other.clone());
            self.neighbours.len() - 1
        });
        let entry = opcode::MsgRingData::new(Fd(other.adopting_ring()), 0, Op::Nudged.with(0), None)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(Op::Nudge.with(index as u64));
        // SAFETY: the operation has no memory.
        unsafe { self.push(0, &entry) };
    }

    /// Sleeps on the eventfd; its count is taken.
    fn wait_for_signal(&mut self, patience: Option<Duration>) {
        if self.is_signalled(patience) {
            self.take_signal();
        }
    }

    fn is_signalled(&self, patience: Option<Duration>) -> bool {
        let fd = self.eventfd().as_raw_fd();
        let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        let patience = patience.map(|patience| libc::timespec {
            tv_sec: i64::try_from(patience.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: patience.subsec_nanos().into(),
        });
        let patience = patience.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: one pollfd is passed and counted; the timespec is a local or none; no signal mask is passed.
        unsafe { libc::ppoll(&raw mut poll, 1, patience, std::ptr::null()) == 1 }
    }

    /// Takes the eventfd's count unless somebody did: reading nothing would block.
    pub(super) fn take_signal(&mut self) {
        if !self.is_signalled(Some(Duration::ZERO)) {
            return;
        }
        let mut count = 0_u64;
        // SAFETY: 8 bytes are read into a u64 from a descriptor that the plane owns. A failure leaves the count to the
        // next call.
        unsafe { libc::read(self.eventfd().as_raw_fd(), (&raw mut count).cast(), size_of::<u64>()) };
    }
}

/// Nanoseconds of the machine's monotonic clock, the one that `Plane::set_timeout` means: the same in every process.
pub fn monotonic_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one whole timespec. It cannot fail: the clock exists, and the pointer is good.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}
