//! Time as the core sees it: a value that is passed in. The core never asks a clock.
//!
//! Always holds: an instant that lies beyond what can be counted is the last one, which never comes.

/// One reading of the clocks, taken once a turn after the turn's input was collected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Monotonic nanoseconds since an arbitrary start that all shards of the process share.
    pub mono_ns: u64,
    /// Milliseconds since 1970-01-01 UTC; for what is shown or stored, never for intervals.
    pub unix_ms: u64,
}

impl Now {
    /// Monotonic milliseconds.
    pub const fn ms(self) -> u64 {
        self.mono_ns / 1_000_000
    }

    /// Monotonic whole seconds, coarse enough for 136 years in 32 bits.
    pub const fn s(self) -> u32 {
        (self.mono_ns / 1_000_000_000) as u32
    }

    /// The same in 32 bits.
    pub const fn short(self) -> ShortInstant {
        ShortInstant((self.mono_ns >> ShortInstant::SHIFT) as u32)
    }

    /// The instant `seconds` from now.
    pub const fn after_s(self, seconds: u32) -> Deadline {
        self.after_ms(seconds as u64 * 1_000)
    }

    /// What the wall clock says, or said, or will say at a monotonic instant, if nobody sets it.
    pub const fn timestamp_of(self, instant: Deadline) -> Timestamp {
        Timestamp(self.unix_ms.saturating_add(instant.0).saturating_sub(self.ms()))
    }

    /// The monotonic instant at which the wall clock says `timestamp`. What lies before the monotonic clock's zero is due.
    pub const fn deadline_of(self, timestamp: Timestamp) -> Deadline {
        Deadline(self.ms().saturating_add(timestamp.0).saturating_sub(self.unix_ms))
    }

    /// The instant `ms` milliseconds from now.
    pub const fn after_ms(self, ms: u64) -> Deadline {
        Deadline(self.ms().saturating_add(ms))
    }
}

/// A monotonic instant in 32 bits: 16 us fine, and the same again after 19 hours. For durations that are counted, not relied on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShortInstant(u32);

impl ShortInstant {
    const SHIFT: u32 = 14;

    /// Nanoseconds from it until now.
    pub const fn elapsed_ns(self, now: Now) -> u64 {
        (now.short().0.wrapping_sub(self.0) as u64) << Self::SHIFT
    }
}

/// An instant of the wall clock, in milliseconds since 1970-01-01 UTC: what is written down or told to others, because a
/// monotonic instant means nothing to another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

/// An instant on the monotonic clock, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Deadline(pub u64);

impl Deadline {
    /// Whether the instant has come.
    pub const fn is_due(self, now: Now) -> bool {
        self.0 <= now.ms()
    }

    /// Whole seconds left, rounded up, so that what is sent on never claims less time than there is.
    pub const fn left_s(self, now: Now) -> u32 {
        let seconds = self.0.saturating_sub(now.ms()).div_ceil(1_000);
        if seconds > u32::MAX as u64 { u32::MAX } else { seconds as u32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_survives_a_restart_as_a_timestamp() {
        let before = Now { mono_ns: 9_000_000_000_000, unix_ms: 1_700_000_000_000 };
        let timestamp = before.timestamp_of(before.after_s(60));
        assert_eq!(timestamp, Timestamp(1_700_000_060_000));
        // Another process, ten seconds later, on a machine that was just started.
        let after = Now { mono_ns: 2_000_000_000, unix_ms: 1_700_000_010_000 };
        assert_eq!(after.deadline_of(timestamp), after.after_s(50));
        assert_eq!(after.timestamp_of(after.deadline_of(timestamp)), timestamp);
        let long_ago = before.timestamp_of(Deadline(0));
        assert!(after.deadline_of(long_ago).is_due(after));
    }

    #[test]
    fn instants_beyond_what_can_be_counted_are_never_due() {
        let now = Now { mono_ns: 9_000_000_000_000, unix_ms: 1_700_000_000_000 };
        for ms in [u64::MAX, u64::MAX - 1, u64::MAX - now.ms()] {
            let deadline = now.deadline_of(Timestamp(ms));
            assert!(!deadline.is_due(now) && deadline.left_s(now) == u32::MAX, "{ms}");
        }
        assert_eq!(now.timestamp_of(Deadline(u64::MAX)), Timestamp(u64::MAX - now.ms()));
        assert!(!now.after_ms(u64::MAX).is_due(now));
    }

    #[test]
    fn deadline_is_due_at_its_instant_and_rounds_up_what_is_left() {
        let now = Now { mono_ns: 5_000_000_000, unix_ms: 0 };
        let deadline = now.after_s(2);
        assert_eq!(deadline.left_s(now), 2);
        let later = Now { mono_ns: 6_000_000_001, unix_ms: 0 };
        assert_eq!(deadline.left_s(later), 1);
        assert!(!deadline.is_due(later));
        assert!(deadline.is_due(Now { mono_ns: 7_000_000_000, unix_ms: 0 }));
    }
}
