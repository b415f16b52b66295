//! What a pump measures of itself: its turns, its writes into the log; with what its rings have counted.

use super::clock;
use crate::ring::PlaneCounters;
use crate::telemetry::LoopFigures;
use crate::time::Now;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Measured {
    figures: LoopFigures,
    /// When the write under way was given to the kernel.
    write_began: Option<Now>,
}

impl Measured {
    /// A turn that began at `began` enters the kernel now.
    pub(super) fn end_turn(&mut self, began: Now) {
        self.figures.turns.note(clock::mono_ns().saturating_sub(began.mono_ns));
    }

    /// A write into the log is given to the kernel. There is one at a time.
    pub(super) fn begin_write(&mut self, now: Now, bytes: usize) {
        self.write_began = Some(now);
        self.figures.log_bytes += bytes as u64;
    }

    /// It has ended.
    pub(super) fn end_write(&mut self, now: Now) {
        if let Some(began) = self.write_began.take() {
            self.figures.log_writes.note(now.mono_ns.saturating_sub(began.mono_ns));
        }
    }

    /// All of it.
    pub(super) fn figures(&self, rings: PlaneCounters) -> LoopFigures {
        let PlaneCounters {
            enters,
            completions,
            queue_full,
            out_of_buffers,
            short_sends,
            accept_failures,
            datagrams_not_sent,
        } = rings;
        LoopFigures {
            ring_enters: enters,
            ring_completions: completions,
            ring_queue_full: queue_full,
            ring_out_of_buffers: out_of_buffers,
            ring_short_sends: short_sends,
            ring_accept_failures: accept_failures,
            ring_datagrams_not_sent: datagrams_not_sent,
            ..self.figures.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_timed_once_and_what_the_rings_count_is_beside_it() {
        let at = |mono_ns| Now { mono_ns, unix_ms: 0 };
        let mut measured = Measured::default();
        measured.begin_write(at(1_000), 4_096);
        measured.end_write(at(3_000));
        measured.end_write(at(9_000));
        measured.end_turn(clock::now());
        let figures = measured.figures(PlaneCounters { enters: 7, ..PlaneCounters::default() });
        assert_eq!((figures.log_writes.count(), figures.log_writes.sum_ns(), figures.log_bytes), (1, 2_000, 4_096));
        assert_eq!((figures.turns.count(), figures.ring_enters), (1, 7));
    }
}
