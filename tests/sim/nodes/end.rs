//! The end of a run: nothing goes wrong any more, nobody wants anything new, and everything must come right by itself.

use super::canary::Canary;
use super::world::World;
use crate::oracle::Check;

/// Longest time in which nodes come to rest: one starts, is told everything and counts; a pause that others took for a death ends.
const HEALS_MS: u64 = 16_000;
/// Longest time in which everything that was said has arrived, after the last client wanted something.
const RESTS_MS: u64 = 7_000;

impl World {
    pub(crate) fn finish(&mut self) -> Check {
        self.trace.note("calm");
        self.is_calm = true;
        self.network.heal();
        for node in &mut self.nodes {
            node.paused_until = node.paused_until.min(self.now);
            node.lanes_stuck_until = 0;
        }
        self.trouble_until = self.trouble_until.min(self.now + 8_000);
        self.run(HEALS_MS)?;
        self.is_resting = true;
        self.run(RESTS_MS)?;
        if self.is_somebody_waiting() {
            return Err("somebody waits for SUBACK, or for a last word, though nothing is wrong".to_owned());
        }
        if self.live().len() < self.plan.nodes && self.canary != Canary::WaitForDead {
            return Err("a node has no process though nothing is wrong".to_owned());
        }
        let live: Vec<u64> =
            self.nodes.iter().filter_map(|node| node.process.as_ref()).map(|process| process.boot).collect();
        if let Some(missing) = self.streams.missing(&live).or_else(|| self.messages.missing()) {
            return Err(format!("at rest {missing}"));
        }
        self.expect_exact()?;
        self.stats.frames = self.streams.frames;
        Ok(())
    }

    fn run(&mut self, ms: u64) -> Check {
        let until = self.now + ms;
        while self.now < until {
            self.step()?;
        }
        Ok(())
    }
}
