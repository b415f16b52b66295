//! One part of a run from beginning to end: stage after stage, turn after turn, second after second.

use super::board::Seat;
use super::cast::Cast;
use super::control::{Control, Progress, Watcher};
use super::crew::Crew;
use super::error::EngineError;
use super::interest::Interest;
use super::mode::Mode;
use super::stages::Doing;
use super::start::{Destination, action_name, blank_outcome, sources};
use super::system;
use super::tally::Tally;
use super::transport::{TokenMaker, Transport};
use super::turn::Turn;
use crate::outcome::{Ending, Outcome, StageOutcome, Traffic};
use crate::plan::{Action, Plan, PlanError};
use dunlin::ring::monotonic_ns;

/// How often it is looked whether all parts have come to a gate.
const GATE_LOOK_NS: u64 = 1_000_000;
/// Without news for so long, a process that cannot know what it is owed takes it that all has come.
pub(super) const QUIET_NS: u64 = 1_000_000_000;
/// So long a run is short: it is sampled tenth by tenth, because a second is much of it.
pub(super) const SHORT_NS: u64 = 3_000_000_000;
const TENTH_NS: u64 = 100_000_000;

/// What a reader of the closed loop's figures must know, where subscribers are in other processes than publishers.
const ELSEWHERE: &str = "closed loop over several agents: a message is waited for until its acknowledgement, and until the \
    subscribers of the same agent have it; those of other agents may have it later, so more than the window may be under way";

/// Carries out one part of a plan on the calling thread.
pub(super) fn run_part(
    plan: &Plan,
    seat: Seat,
    control: &Control,
    watcher: &mut dyn Watcher,
) -> Result<Outcome, EngineError> {
    let target = Destination::resolve(plan)?;
    let cast = Cast::new(plan);
    let interest =
        Interest::new(&cast, seat.process()).map_err(|problem| EngineError::Plan(PlanError::of_plan(problem)))?;
    let mut outcome = blank_outcome(plan);
    if (0..cast.roles.len())
        .any(|role| cast.roles[role].is_closed && interest.leaves_process(&cast, role, seat.process()))
    {
        outcome.warnings.push(ELSEWHERE.to_owned());
    }
    let mut crew = Crew::new(plan, seat, cast, interest, Tally::new(outcome));
    crew.token = plan.target.token.as_ref().map(TokenMaker::new).transpose()?;
    let transport = Transport::new(&plan.target, crew.cast.clients, crew.dice)?;
    let sources = sources(plan, &target);
    let turn = Turn::new(crew, transport, (target, sources), &plan.target)
        .map_err(|error| EngineError::System(error.to_string()))?;
    system::sharpen_timers();
    let now_ns = monotonic_ns();
    let mut run = Run {
        plan,
        control,
        watcher,
        turn,
        start_ns: now_ns,
        stage: 0,
        second_ns: now_ns,
        second_cpu_ns: system::thread_cpu_ns(),
        tenth_ns: now_ns,
        tenth_cpu_ns: system::thread_cpu_ns(),
        probed_losses: 0,
        stage_done: None,
    };
    run.turn.crew.tally.outcome.generator.rss_start_bytes = system::rss_bytes();
    run.go()
}

/// A part that is under way.
pub(super) struct Run<'a> {
    pub(super) plan: &'a Plan,
    pub(super) control: &'a Control,
    pub(super) watcher: &'a mut dyn Watcher,
    pub(super) turn: Turn,
    pub(super) start_ns: u64,
    pub(super) stage: usize,
    /// When the current second began.
    pub(super) second_ns: u64,
    pub(super) second_cpu_ns: u64,
    /// When the current tenth of a second began, in the first seconds of the run.
    pub(super) tenth_ns: u64,
    pub(super) tenth_cpu_ns: u64,
    /// Lost connections when the broker was last looked for.
    pub(super) probed_losses: u64,
    pub(super) stage_done: Option<f64>,
}

impl Run<'_> {
    fn go(mut self) -> Result<Outcome, EngineError> {
        for at in 0..self.plan.stages.len() {
            if !self.may_begin(at)? {
                self.end(Ending::Interrupted);
            }
            if self.is_over() {
                break;
            }
            self.stage(at)?;
        }
        if !self.is_over() && !self.may_begin(self.plan.stages.len())? {
            self.end(Ending::Interrupted);
        }
        self.finish()
    }

    /// Whether a stage may begin. Waits for the other parts; connections are read from and kept alive meanwhile.
    fn may_begin(&mut self, stage: usize) -> Result<bool, EngineError> {
        if self.control.is_stopped() {
            return Ok(false);
        }
        let Some(gate) = &self.control.gate else { return Ok(true) };
        gate.arrive(stage);
        loop {
            if let Some(may_begin) = gate.answer(stage) {
                return Ok(may_begin);
            }
            self.turn.go(Some(monotonic_ns() + GATE_LOOK_NS))?;
            self.look_around()?;
        }
    }

    fn end(&mut self, ending: Ending) {
        self.turn.crew.tally.outcome.ending = ending;
    }

    fn is_over(&self) -> bool {
        self.turn.crew.tally.outcome.ending != Ending::Finished
    }

    fn stage(&mut self, at: usize) -> Result<(), EngineError> {
        let stage = &self.plan.stages[at];
        self.stage = at;
        self.watcher.handle_stage(at, &stage.name);
        let began_ns = monotonic_ns();
        let cpu_ns = system::thread_cpu_ns();
        let before = self.turn.crew.tally.outcome.traffic;
        let established = self.turn.crew.tally.outcome.connections.established;
        self.turn.crew.tally.begin_stage(StageOutcome {
            name: stage.name.clone(),
            action: action_name(&stage.action).to_owned(),
            measured: stage.measured,
            started_ms: self.ms_of(began_ns),
            ..StageOutcome::default()
        });
        let mut doing = Doing::new(&stage.action, self.plan, &mut self.turn.crew, began_ns);
        while !self.is_over() {
            let step = doing.step(&mut self.turn.crew, monotonic_ns());
            self.stage_done = step.done.or_else(|| self.share_of_time(&stage.action, began_ns));
            self.turn.connect(&step.connect);
            if step.over || self.control.is_ended(at) {
                break;
            }
            self.turn.go(step.wake_ns)?;
            self.look_around()?;
        }
        // The last messages that are due still leave.
        self.turn.crew.follow_schedules();
        for role in 0..self.turn.crew.modes.len() {
            self.turn.crew.set_mode(role, Mode::Silent, monotonic_ns());
        }
        self.turn.crew.seat.end_action();
        let action_ended = self.ms_of(monotonic_ns());
        let completed_ns = match stage.await_deliveries_s {
            Some(at_most_s) if !self.is_over() => self.await_deliveries(began_ns, u64::from(at_most_s))?,
            _ => None,
        };
        self.close_stage(
            action_ended,
            completed_ns.map(|at| at.saturating_sub(began_ns)),
            cpu_ns,
            &before,
            established,
        );
        Ok(())
    }

    fn close_stage(
        &mut self,
        action_ended: f64,
        completed: Option<u64>,
        cpu_ns: u64,
        before: &Traffic,
        established: u64,
    ) {
        let ended_ms = self.ms_of(monotonic_ns());
        if let Some(outcome) = self.turn.crew.tally.outcome.stages.last_mut() {
            outcome.action_ended_ms = action_ended;
            outcome.ended_ms = ended_ms;
            outcome.completed_in_ms = completed.map(|ns| ns as f64 / 1e6);
            outcome.generator_cpu_s = (system::thread_cpu_ns() - cpu_ns) as f64 / 1e9;
        }
        self.turn.crew.tally.end_stage(before, established);
    }

    /// Goes on until nothing is owed, or time is up. Returns when the last delivery came.
    fn await_deliveries(&mut self, began_ns: u64, at_most_s: u64) -> Result<Option<u64>, EngineError> {
        let asked_ns = monotonic_ns();
        self.turn.crew.excuse_absent(false);
        let deadline = asked_ns + at_most_s * 1_000_000_000;
        loop {
            let now_ns = monotonic_ns();
            let last = self.turn.crew.tally.last_delivery_ns;
            // Of what other processes publish and receive, only silence can be known.
            let crew = &mut self.turn.crew;
            let complete = if crew.seat.is_whole() {
                crew.seat.is_settled(&crew.tally)
            } else {
                now_ns.saturating_sub(last.max(asked_ns)) > QUIET_NS
            };
            if complete {
                return Ok(Some(last.max(began_ns)));
            }
            if now_ns > deadline || self.is_over() {
                return Ok(None);
            }
            self.turn.go(Some(deadline))?;
            self.look_around()?;
        }
    }

    /// What is looked at in every turn: the stop, the second, the broker's death.
    fn look_around(&mut self) -> Result<(), EngineError> {
        if self.control.is_stopped() {
            self.end(Ending::Interrupted);
        }
        let now_ns = self.turn.now_ns;
        self.keep_time(now_ns);
        let outcome = &self.turn.crew.tally.outcome;
        if outcome.connections.established == 0
            && let Some(reason) = outcome.connections.failed.keys().next().copied()
        {
            let words = outcome.connections.first_failure.clone().unwrap_or_default();
            return Err(EngineError::no_entry(reason, outcome.target.clone(), words));
        }
        let losses = outcome.connections.lost_total();
        if self.turn.crew.tally.connected == 0 && losses > self.probed_losses && self.plan.target.restarts.is_none() {
            self.probed_losses = losses;
            // The rest of the program stands still for it, and nobody is there to miss it.
            if !self.turn.target.answers() {
                let at_s = self.ms_of(now_ns) / 1e3;
                self.end(Ending::BrokerLost { at_s });
            }
        }
        Ok(())
    }

    /// Ends the second, and in the beginning the tenth of one, whose time has come.
    pub(super) fn keep_time(&mut self, now_ns: u64) {
        if now_ns >= self.tenth_ns + TENTH_NS && now_ns < self.start_ns + SHORT_NS + TENTH_NS {
            self.end_tenth(now_ns);
        }
        if now_ns >= self.second_ns + 1_000_000_000 {
            self.end_second(now_ns);
        }
    }

    pub(super) fn end_tenth(&mut self, now_ns: u64) {
        let cpu_ns = system::thread_cpu_ns();
        let cores = (cpu_ns - self.tenth_cpu_ns) as f64 / (now_ns - self.tenth_ns) as f64;
        (self.tenth_ns, self.tenth_cpu_ns) = (now_ns, cpu_ns);
        self.turn.crew.tally.end_tenth(self.ms_of(now_ns) / 1e3, self.stage, cores);
    }

    pub(super) fn end_second(&mut self, now_ns: u64) {
        let cpu_ns = system::thread_cpu_ns();
        let cores = (cpu_ns - self.second_cpu_ns) as f64 / (now_ns - self.second_ns) as f64;
        (self.second_ns, self.second_cpu_ns) = (now_ns, cpu_ns);
        let at_s = self.ms_of(now_ns) / 1e3;
        let tally = &mut self.turn.crew.tally;
        tally.end_second(at_s, self.stage, cores);
        let generator = &mut tally.outcome.generator;
        generator.busiest_worker_share = generator.busiest_worker_share.max(cores);
        generator.rss_peak_bytes = generator.rss_peak_bytes.max(system::rss_bytes());
        self.turn.crew.write_off(now_ns);
        let series = &self.turn.crew.tally.outcome.series;
        let stage = self.stage.min(self.plan.stages.len() - 1);
        if let Some(second) = series.last() {
            self.watcher.handle_second(&Progress {
                second,
                stage,
                stage_name: &self.plan.stages[stage].name,
                stage_done: self.stage_done,
                clients: u64::from(self.turn.crew.cast.clients),
            });
        }
    }

    fn share_of_time(&self, action: &Action, began_ns: u64) -> Option<f64> {
        let (Action::Hold { seconds, .. } | Action::Churn { seconds, .. }) = action else { return None };
        Some(((self.turn.now_ns.saturating_sub(began_ns)) as f64 / 1e9 / seconds.max(1e-9)).min(1.0))
    }

    pub(super) fn ms_of(&self, at_ns: u64) -> f64 {
        at_ns.saturating_sub(self.start_ns) as f64 / 1e6
    }
}
