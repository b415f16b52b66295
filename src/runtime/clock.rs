//! The two clocks, read together.

use rustix::time::{ClockId, clock_gettime};

use crate::time::Now;

/// Reads the clocks. All shards of the process read the same two.
pub(super) fn now() -> Now {
    let nanoseconds = |clock| {
        let time = clock_gettime(clock);
        time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
    };
    Now { mono_ns: nanoseconds(ClockId::Monotonic), unix_ms: nanoseconds(ClockId::RealtimeCoarse) / 1_000_000 }
}

/// Whether somebody keeps this machine's clock right, as the kernel was told; `None` where it cannot be asked.
pub(super) fn is_synchronized() -> Option<bool> {
    // SAFETY: it is a structure of numbers, for which zeros are a value.
    let mut state: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: it lives until the call has returned; with no modes set nothing is changed.
    let status = unsafe { libc::adjtimex(&raw mut state) };
    (status >= 0).then_some(status != libc::TIME_ERROR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monotonic_clock_ascends_and_the_other_tells_the_date() {
        let (first, second) = (now(), now());
        assert!(second.mono_ns >= first.mono_ns);
        let system = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
        assert!(system.abs_diff(second.unix_ms) < 1_000);
    }

    #[test]
    fn the_kernel_says_whether_the_clock_is_kept() {
        assert!(is_synchronized().is_some(), "every kernel that the probe admits can be asked");
    }
}
