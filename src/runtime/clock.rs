//! The two clocks, read together.

use crate::time::Now;

/// Reads the clocks. All shards of the process read the same two.
pub fn now() -> Now {
    let nanoseconds = |clock| {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: writes a timespec to a local; both clocks exist on every Linux.
        let result = unsafe { libc::clock_gettime(clock, &raw mut time) };
        assert_eq!(result, 0, "CLOCK_MONOTONIC and CLOCK_REALTIME exist");
        time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
    };
    Now { mono_ns: nanoseconds(libc::CLOCK_MONOTONIC), unix_ms: nanoseconds(libc::CLOCK_REALTIME_COARSE) / 1_000_000 }
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
}
