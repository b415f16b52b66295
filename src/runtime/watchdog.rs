//! A shard that hangs takes its clients with it, silently. The watchdog ends the process instead: a service manager
//! starts it again, and every client comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::fatal::{End, fatal};
use crate::limits::WATCHDOG_S;

/// One shard's sign of life.
#[derive(Debug, Default)]
pub(super) struct Heartbeat {
    turns: AtomicU64,
    asleep: AtomicBool,
}

impl Heartbeat {
    /// A turn has been completed.
    pub(super) fn beat(&self) {
        self.turns.store(self.turns.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// The shard goes to sleep, or has woken up: a sleeping shard is well.
    pub(super) fn set_asleep(&self, asleep: bool) {
        self.asleep.store(asleep, Ordering::Relaxed);
    }
}

/// Compares two looks at one shard.
#[derive(Debug, Default)]
struct Watch {
    turns: u64,
    unchanged_s: u64,
}

impl Watch {
    /// Looks again after `elapsed_s` seconds; whether the shard has hung for too long.
    fn look(&mut self, heartbeat: &Heartbeat, elapsed_s: u64) -> bool {
        let turns = heartbeat.turns.load(Ordering::Relaxed);
        if turns == self.turns && !heartbeat.asleep.load(Ordering::Relaxed) {
            self.unchanged_s += elapsed_s;
        } else {
            self.unchanged_s = 0;
            self.turns = turns;
        }
        self.unchanged_s >= WATCHDOG_S
    }
}

/// Seconds between two looks.
const LOOK_S: u64 = 5;

/// Watches until the process ends.
pub(super) fn start(heartbeats: Vec<Arc<Heartbeat>>) -> std::io::Result<()> {
    let watch = move || {
        let mut watches: Vec<Watch> = heartbeats.iter().map(|_| Watch::default()).collect();
        loop {
            std::thread::sleep(Duration::from_secs(LOOK_S));
            for (shard, (watch, heartbeat)) in watches.iter_mut().zip(&heartbeats).enumerate() {
                if watch.look(heartbeat, LOOK_S) {
                    fatal(&format_args!("shard {shard} has made no progress for {WATCHDOG_S} s"), End::Abort);
                }
            }
        }
    };
    std::thread::Builder::new().name("watchdog".into()).spawn(watch).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_shard_that_is_awake_and_stands_still_has_hung() {
        let heartbeat = Heartbeat::default();
        let mut watch = Watch::default();
        heartbeat.set_asleep(true);
        assert!(!watch.look(&heartbeat, WATCHDOG_S), "it sleeps");
        heartbeat.set_asleep(false);
        heartbeat.beat();
        assert!(!watch.look(&heartbeat, WATCHDOG_S), "it moved");
        assert!(!watch.look(&heartbeat, WATCHDOG_S - 1));
        assert!(watch.look(&heartbeat, 1));
    }
}
