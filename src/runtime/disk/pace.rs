//! How fast checkpoints are read and written, so that what acknowledgements wait for has the disk in between.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use crate::limits::STORE_PACE_READ_RATIO;
use crate::store::format::{LogId, StoreFile};
use crate::store::{Medium, MediumError};

/// What may be read and written in a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointPace {
    /// `None`: as fast as can be.
    written_bytes_per_s: Option<u64>,
}

impl CheckpointPace {
    /// So many bytes are written in a second.
    pub const fn new(written_bytes_per_s: u64) -> Self {
        Self { written_bytes_per_s: Some(written_bytes_per_s) }
    }

    /// No rest is taken.
    pub const fn unbounded() -> Self {
        Self { written_bytes_per_s: None }
    }

    /// Begins to write.
    pub(super) fn write(self) -> PacedWork {
        PacedWork::new(self.written_bytes_per_s)
    }

    /// Begins to read.
    pub(super) fn read(self) -> PacedWork {
        PacedWork::new(self.written_bytes_per_s.map(|bytes| bytes.saturating_mul(STORE_PACE_READ_RATIO)))
    }
}

/// Bytes of one piece of work, and when it began.
#[derive(Debug)]
pub(super) struct PacedWork {
    bytes_per_s: Option<u64>,
    begun: Instant,
    done_bytes: u64,
}

impl PacedWork {
    fn new(bytes_per_s: Option<u64>) -> Self {
        Self { bytes_per_s, begun: Instant::now(), done_bytes: 0 }
    }

    /// So much more was done; how long to rest before more is.
    pub(super) fn rest_after(&mut self, bytes: u64, now: Instant) -> Duration {
        self.done_bytes += bytes;
        let Some(bytes_per_s) = self.bytes_per_s else { return Duration::ZERO };
        let wanted_ns = u128::from(self.done_bytes) * 1_000_000_000 / u128::from(bytes_per_s.max(1));
        let wanted = Duration::from_nanos(u64::try_from(wanted_ns).unwrap_or(u64::MAX));
        wanted.saturating_sub(now.saturating_duration_since(self.begun))
    }
}

/// A medium that is read at a pace, and to the end at once where the broker stops.
pub(super) struct PacedMedium<'a, M> {
    pub(super) medium: M,
    pub(super) work: PacedWork,
    /// Closed when the broker stops.
    pub(super) stopped: &'a Receiver<()>,
}

/// Rests are no shorter: a timer's own work is not worth it.
const REST_MIN: Duration = Duration::from_millis(5);

impl<M: Medium> Medium for PacedMedium<'_, M> {
    fn files(&mut self, log: LogId) -> Result<Vec<StoreFile>, MediumError> {
        self.medium.files(log)
    }

    fn len(&mut self, file: StoreFile) -> Result<u64, MediumError> {
        self.medium.len(file)
    }

    fn read(&mut self, file: StoreFile, offset: u64, into: &mut [u8]) -> Result<usize, MediumError> {
        let read = self.medium.read(file, offset, into)?;
        let rest = self.work.rest_after(read as u64, Instant::now());
        if rest >= REST_MIN && self.stopped.recv_timeout(rest) != Err(RecvTimeoutError::Timeout) {
            self.work.bytes_per_s = None;
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_takes_as_long_as_its_pace_says() {
        let mut work = CheckpointPace::new(1_000_000).write();
        let at = |ms| work_begun(&work) + Duration::from_millis(ms);
        let (soon, late) = (at(100), at(2_000));
        assert_eq!(work.rest_after(500_000, soon), Duration::from_millis(400));
        assert_eq!(work.rest_after(500_000, late), Duration::ZERO, "it was slower by itself");
        let mut read = CheckpointPace::new(1_000_000).read();
        let begun = work_begun(&read);
        assert_eq!(read.rest_after(STORE_PACE_READ_RATIO * 1_000_000, begun), Duration::from_secs(1));
        let mut free = CheckpointPace::unbounded().read();
        assert_eq!(free.rest_after(u64::MAX / 2, Instant::now()), Duration::ZERO);
    }

    fn work_begun(work: &PacedWork) -> Instant {
        work.begun
    }

    /// What it reads is zeros.
    struct Zeros;

    impl Medium for Zeros {
        fn files(&mut self, _: LogId) -> Result<Vec<StoreFile>, MediumError> {
            Ok(Vec::new())
        }

        fn len(&mut self, _: StoreFile) -> Result<u64, MediumError> {
            Ok(u64::MAX)
        }

        fn read(&mut self, _: StoreFile, _: u64, into: &mut [u8]) -> Result<usize, MediumError> {
            Ok(into.len())
        }
    }

    #[test]
    fn a_medium_rests_and_does_not_keep_the_broker_from_stopping() {
        let (stop, stopped) = crossbeam_channel::bounded(0);
        let work = CheckpointPace::new(1_000_000 / STORE_PACE_READ_RATIO).read();
        let mut medium = PacedMedium { medium: Zeros, work, stopped: &stopped };
        let begun = Instant::now();
        for _ in 0..4 {
            assert_eq!(medium.read(StoreFile::Manifest, 0, &mut vec![0; 50_000]), Ok(50_000));
        }
        assert!(begun.elapsed() >= Duration::from_millis(190), "200 kB at 1 MB/s: {:?}", begun.elapsed());
        drop(stop);
        let begun = Instant::now();
        assert_eq!(medium.read(StoreFile::Manifest, 0, &mut vec![0; 100_000_000]), Ok(100_000_000));
        assert!(begun.elapsed() < Duration::from_secs(20), "it would take 100 s");
    }
}
