//! The end of a part's run: what is under way is waited for, accounts are settled, retained messages are taken back.

use super::bottleneck::bottleneck;
use super::error::EngineError;
use super::part::{QUIET_NS, Run, SHORT_NS};
use super::sweep::Sweep;
use super::system;
use crate::outcome::{Ending, Outcome};
use dunlin::ring::monotonic_ns;

/// Retained messages that were not taken back after this time stay with the broker.
const SWEEP_NS: u64 = 60_000_000_000;
/// More connections than this are left to the end of the process instead of a DISCONNECT each.
const FAREWELLS_MAX: u32 = 100_000;
/// Longest sleep: so soon a stop is seen.
const NAP_NS: u64 = 50_000_000;

impl Run<'_> {
    /// Waits for what is under way, settles accounts, says goodbye.
    pub(super) fn finish(mut self) -> Result<Outcome, EngineError> {
        self.stage_done = None;
        if !matches!(self.turn.crew.tally.outcome.ending, Ending::BrokerLost { .. }) {
            self.drain()?;
        }
        self.turn.crew.settle();
        let ended_ns = monotonic_ns();
        if ended_ns > self.second_ns {
            self.end_second(ended_ns);
        }
        if ended_ns > self.start_ns + SHORT_NS {
            self.turn.crew.tally.outcome.tenths.clear();
        } else if ended_ns > self.tenth_ns {
            self.end_tenth(ended_ns);
        }
        self.turn.crew.tally.outcome.connections.at_end = self.turn.crew.tally.connected;
        let written_off = self.turn.crew.tally.written_off;
        self.turn.crew.tally.name_kinds();
        let mut outcome = std::mem::take(&mut self.turn.crew.tally.outcome);
        outcome.duration_s = self.ms_of(ended_ns) / 1e3;
        let left = if matches!(outcome.ending, Ending::BrokerLost { .. }) { 0 } else { self.sweep()? };
        if left > 0 {
            outcome
                .warnings
                .push(format!("{left} retained messages of this run could not be taken back from the broker"));
        }
        if self.turn.crew.cast.clients <= FAREWELLS_MAX {
            self.turn.say_goodbye()?;
        }
        let generator = &mut outcome.generator;
        (generator.cpu_user_s, generator.cpu_system_s) = system::process_cpu_s();
        if outcome.measured_s > 0.0 {
            generator.worker_share_measured = generator.cpu_measured_s / outcome.measured_s;
        }
        outcome.bottleneck = bottleneck(&outcome);
        if written_off > 0 {
            outcome.warnings.push(format!(
                "{written_off} messages of the closed loop had not reached all subscribers after 5 s and were no longer \
                 waited for"
            ));
        }
        Ok(outcome)
    }

    fn drain(&mut self) -> Result<(), EngineError> {
        self.turn.crew.excuse_absent(true);
        let began_ns = monotonic_ns();
        let deadline = began_ns + u64::from(self.plan.drain_s) * 1_000_000_000;
        // A stop that was asked for is not asked for again: a second one ends the process.
        loop {
            let now_ns = monotonic_ns();
            let crew = &mut self.turn.crew;
            let quiet = now_ns.saturating_sub(crew.tally.last_delivery_ns.max(began_ns)) > QUIET_NS;
            let nothing_owed = if crew.seat.is_whole() { crew.seat.is_settled(&crew.tally) } else { quiet };
            if (nothing_owed && !crew.has_unacknowledged()) || now_ns >= deadline || crew.tally.connected == 0 {
                return Ok(());
            }
            self.turn.go(Some(deadline.min(now_ns + NAP_NS)))?;
            self.keep_time(self.turn.now_ns);
        }
    }

    /// Takes retained messages back. Returns how many stay.
    fn sweep(&mut self) -> Result<u64, EngineError> {
        let mut sweep = Sweep::new(&self.turn.crew);
        self.turn.stop_keeping_alive();
        let deadline = monotonic_ns() + SWEEP_NS;
        while monotonic_ns() < deadline && sweep.step(&mut self.turn.crew, monotonic_ns()) {
            self.turn.go(Some(deadline))?;
        }
        Ok(sweep.left())
    }
}
