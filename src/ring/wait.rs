//! Waiting for something to happen with as few entries into the kernel as can be: the thread blocks, and with it whatever
//! else runs on it.

use super::PlaneHandle;
use super::error::RingError;
use super::plane::Plane;
use super::user_data::Op;
use io_uring::types::Fd;
use io_uring::{opcode, squeue};
use std::os::fd::AsRawFd;
use std::time::Duration;

impl Plane {
    /// Submits what is queued and waits until there is an event, somebody called [`PlaneHandle::wake`], or `patience`
    /// has passed; without `patience`, for as long as it takes. `is_quiet` is asked last: whoever puts something where it
    /// looks, and then wakes, is not missed.
    ///
    /// It waits in the first ring, in the entry into the kernel that submits. What happens in other rings is told there by
    /// the eventfd. It may return early with nothing to tell. Without `patience` it may go on for a moment after the first
    /// event, where more of them are worth it (`moderation.rs`).
    ///
    /// [`PlaneHandle::wake`]: super::PlaneHandle::wake
    ///
    /// # Errors
    /// As [`Plane::submit`].
    pub fn wait(&mut self, patience: Option<Duration>, is_quiet: impl FnOnce() -> bool) -> Result<(), RingError> {
        if !self.ready.is_empty() {
            return self.submit();
        }
        self.arm_wake();
        self.arm_timeout();
        let others = 1..self.rings.len();
        let short_sends = self.short_sends.len();
        self.enter_each(others.clone());
        self.set_sleeping(true);
        self.watch(others.clone());
        let nothing_new = self.ready.is_empty() && self.short_sends.len() == short_sends && self.failed.is_none();
        let patience = if nothing_new && is_quiet() { patience } else { Some(Duration::ZERO) };
        let moderation = std::mem::take(&mut self.turn).moderation(self.sockets());
        self.counters.enters += 1;
        let result = match (moderation, patience) {
            (Some(moderation), None) if self.rings[0].can_moderate() => self.rings[0].enter_and_gather(moderation),
            _ => self.rings[0].enter_and_wait(patience),
        };
        self.set_sleeping(false);
        self.unwatch(others);
        if let Err(error) = result {
            self.failed = Some(error.raw_os_error().unwrap_or(libc::EIO));
        }
        self.reap(0);
        self.submit()
    }

    /// Has the first ring read the eventfd, unless it does.
    fn arm_wake(&mut self) {
        if self.wake_armed {
            return;
        }
        self.wake_armed = true;
        let count = self.wake_count.get().cast();
        let entry = opcode::Read::new(Fd(self.eventfd().as_raw_fd()), count, size_of::<u64>() as u32)
            .build()
            .user_data(Op::Woken.with(0));
        // SAFETY: the count is the plane's, boxed, and touched by nobody else; a plane that is dropped ends the read first.
        unsafe { self.push(0, &entry) };
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
        let entry = opcode::MsgRingData::new(Fd(other.first_ring()), 0, Op::Nudged.with(0), None)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(Op::Nudge.with(index as u64));
        // SAFETY: the operation has no memory.
        unsafe { self.push(0, &entry) };
    }
}

/// Nanoseconds of the machine's monotonic clock, the one that `Plane::set_timeout` means: the same in every process.
pub fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}
