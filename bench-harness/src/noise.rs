//! How quiet a machine is: what threads miss that do nothing but read the clock, one on each core at the same time.
//!
//! Where the host of a virtual machine, or another program, stops a core for milliseconds, no broker's tail can be shorter,
//! and whoever reads the figures should know.

use std::fmt;
use std::time::{Duration, Instant};

/// A shorter gap is no interruption: a timer's interrupt takes a few microseconds, now and then some tens.
const SHORT: Duration = Duration::from_micros(100);

/// What the threads missed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Interruptions {
    /// Their sum over all cores.
    pub held: Duration,
    /// Of one hold-up: a latency of that length says nothing about a broker.
    pub longest: Duration,
    /// How long all threads watched together.
    pub watched: Duration,
}

impl Interruptions {
    /// Of one thread, from what its clock read.
    fn between(readings: impl IntoIterator<Item = Duration>) -> Self {
        let mut seen = Self::default();
        let mut last: Option<Duration> = None;
        for reading in readings {
            let gap = last.map_or(Duration::ZERO, |last| reading.saturating_sub(last));
            seen.watched += gap;
            if gap > SHORT {
                seen.held += gap;
                seen.longest = seen.longest.max(gap);
            }
            last = Some(reading);
        }
        seen
    }

    fn and(self, other: Self) -> Self {
        Self {
            held: self.held + other.held,
            longest: self.longest.max(other.longest),
            watched: self.watched + other.watched,
        }
    }
}

impl fmt::Display for Interruptions {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = 100.0 * self.held.as_secs_f64() / self.watched.as_secs_f64().max(1e-9);
        let longest_ms = self.longest.as_secs_f64() * 1e3;
        write!(
            out,
            "a thread on each core that only read the clock was stopped {share:.2} % of {:.0} s, {longest_ms:.1} ms at the \
             longest",
            self.watched.as_secs_f64()
        )
    }
}

/// Watches these cores for `time`. A core that this process may not use is left out.
pub(crate) fn watch(cores: usize, time: Duration) -> Interruptions {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|core| scope.spawn(move || watch_one(core, time))).collect();
        let seen = threads.into_iter().map(|thread| thread.join().expect("it only reads the clock"));
        seen.flatten().fold(Interruptions::default(), Interruptions::and)
    })
}

fn watch_one(core: usize, time: Duration) -> Option<Interruptions> {
    let mut only = nix::sched::CpuSet::new();
    only.set(core).ok()?;
    nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &only).ok()?;
    let began = Instant::now();
    let readings = std::iter::repeat_with(|| began.elapsed()).take_while(|reading| *reading < time);
    Some(Interruptions::between(readings))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_told_from_the_time_between_two_readings() {
        let ms = Duration::from_millis;
        let readings = [0, 50, 100, 2_100, 2_150, 7_150].map(Duration::from_micros);
        let seen = Interruptions::between(readings);
        assert_eq!((seen.held, seen.longest), (ms(7), ms(5)));
        assert_eq!(seen.watched, Duration::from_micros(7_150));
        let both = seen.and(Interruptions { held: ms(6), longest: ms(6), watched: ms(100) });
        assert_eq!((both.held, both.longest, both.watched), (ms(13), ms(6), Duration::from_micros(107_150)));
        assert_eq!(Interruptions::between([]), Interruptions::default());
    }

    #[test]
    fn the_words_say_share_and_longest() {
        let ms = Duration::from_millis;
        let seen = Interruptions { held: ms(10), longest: ms(7), watched: Duration::from_secs(4) };
        let text = seen.to_string();
        assert!(text.ends_with("was stopped 0.25 % of 4 s, 7.0 ms at the longest"), "{text}");
    }

    #[test]
    fn every_core_is_watched_and_one_that_is_shared_is_seen_to_be() {
        let cores = crate::machine::cores();
        let time = Duration::from_millis(100);
        let stop = std::sync::atomic::AtomicBool::new(false);
        let seen = std::thread::scope(|scope| {
            // Two more for each core: its watcher has a third of it.
            for _ in 0..2 * cores {
                scope.spawn(|| {
                    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                });
            }
            let seen = watch(cores, time);
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            seen
        });
        assert!(seen.watched >= time / 2, "{seen:?}");
        assert!(seen.longest > SHORT && seen.held > time / 10, "{seen:?}");
    }
}
