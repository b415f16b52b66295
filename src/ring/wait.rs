//! Waiting for something to happen with as few entries into the kernel as can be: the thread blocks, and with it whatever
//! else runs on it.

use super::error::RingError;
use super::plane::Plane;
use std::time::Duration;

impl Plane {
    /// Submits what is queued and waits until there is an event, somebody called [`PlaneHandle::wake`], or `patience`
    /// has passed; without `patience`, for as long as it takes. `is_quiet` is asked last: whoever puts something where it
    /// looks, and then wakes, is not missed.
    ///
    /// It waits in the first ring, in the entry into the kernel that submits. What happens in other rings is told there by
    /// the eventfd. It may return early with nothing to tell. Without `patience` it may go on for a moment after the first
    /// event, where more of them are worth it (`coalescing.rs`) and no write into a file is under way.
    ///
    /// [`PlaneHandle::wake`]: super::PlaneHandle::wake
    ///
    /// # Errors
    /// As [`Plane::submit`].
    pub fn wait(&mut self, patience: Option<Duration>, is_quiet: impl FnOnce() -> bool) -> Result<(), RingError> {
        self.closing.queue(&mut self.rings);
        if !self.rings.completed.is_empty() {
            return self.submit_queued();
        }
        self.wakes.arm(&mut self.rings);
        self.timeout.arm(&mut self.rings);
        let others = 1..self.rings.all.len();
        let short_sends = self.rings.short_sends.len();
        self.rings.enter_each(others.clone());
        self.rings.handle.set_sleeping(true);
        self.rings.watch(others.clone());
        let nothing_new = self.closing.is_empty()
            && self.rings.completed.is_empty()
            && self.rings.short_sends.len() == short_sends
            && self.rings.failed.is_none();
        let patience = if nothing_new && is_quiet() { patience } else { Some(Duration::ZERO) };
        // Whoever waits for the disk is told at once.
        let coalescing = std::mem::take(&mut self.turn_counts).coalescing(self.rings.sockets());
        let coalescing = coalescing.filter(|_| self.writes == 0);
        self.rings.counters.enters += 1;
        let result = match (coalescing, patience) {
            (Some(coalescing), None) if self.rings.all[0].can_coalesce() => {
                self.rings.all[0].enter_and_coalesce(coalescing)
            }
            _ => self.rings.all[0].enter_and_wait(patience),
        };
        self.rings.handle.set_sleeping(false);
        self.rings.unwatch(others);
        if let Err(error) = result {
            self.rings.failed = Some(error.raw_os_error().unwrap_or(libc::EIO));
        }
        self.rings.reap(0);
        self.submit_queued()
    }

    /// Whether the caller may go to sleep on the eventfd. If so, it looks once more at whatever others may have put
    /// before it (whoever puts something there after this call wakes it), sleeps, and calls [`Plane::awake`]. Tests wait so without
    /// an entry into the kernel's ring.
    #[cfg(test)]
    pub(super) fn prepare_sleep(&mut self) -> bool {
        if !self.closing.is_empty() || !self.rings.is_idle() {
            return false;
        }
        self.rings.handle.set_sleeping(true);
        self.rings.watch(0..self.rings.all.len());
        let idle = self.rings.completed.is_empty() && self.rings.failed.is_none();
        if !idle {
            self.awake();
        }
        idle
    }

    /// Turns notifications off again: load must not pay for them.
    #[cfg(test)]
    pub(super) fn awake(&mut self) {
        self.rings.handle.set_sleeping(false);
        self.rings.unwatch(0..self.rings.all.len());
    }
}

/// Nanoseconds of the machine's monotonic clock, the one that `Plane::set_timeout` means: the same in every process.
pub fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}
