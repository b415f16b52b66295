//! Several threads share a plan: each carries out a part of its own, and their outcomes become one.
//!
//! A thread is to the run what a process is to several of them: a [`Part`](crate::plan::Part) with its own clients, ring and
//! accounts. They share the gate that keeps their stages in step, and the board that says what each must know of the others.

use super::board::{Board, Seat};
use super::control::{Control, Gate, Progress, Watcher};
use super::error::EngineError;
use super::part::run_part;
use super::system;
use crate::outcome::{Outcome, Second};
use crate::plan::{LoopKind, Plan};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// From so many clients on, two threads share them if nothing speaks against it.
const CLIENTS_FOR_TWO: u64 = 200_000;

/// How many threads carry a plan out. The closed loop waits for subscribers, and across threads that takes a wake-up of the
/// other one, so it stays on one unless told otherwise.
pub(super) fn count(plan: &Plan) -> u32 {
    let wanted = match plan.workers {
        0 if plan.clients_here() >= CLIENTS_FOR_TWO && matches!(plan.loop_kind(), LoopKind::None | LoopKind::Open) => 2,
        0 => 1,
        workers => u32::from(workers),
    };
    let smallest = plan.groups.iter().map(|group| group.clients).max().unwrap_or(1);
    wanted.clamp(1, smallest.div_ceil(plan.part.of).max(1))
}

/// Carries out a plan on several threads.
pub(super) fn run(
    plan: &Plan,
    workers: u32,
    control: &Control,
    watcher: &mut dyn Watcher,
) -> Result<Outcome, EngineError> {
    let board = Board::new(plan, workers);
    let step = Step::new(workers, control.gate.clone());
    let (sender, seconds) = channel();
    let results: Vec<Result<Outcome, EngineError>> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..workers)
            .map(|worker| {
                let (sender, step, board) = (sender.clone(), Arc::clone(&step), Arc::clone(&board));
                scope.spawn(move || {
                    let plan = Plan { part: board.part(worker), workers: 1, ..plan.clone() };
                    let seat = Seat::new(Arc::clone(&board), worker);
                    let mut control = control.clone();
                    control.gate = Some(Arc::clone(&step) as Arc<dyn Gate>);
                    let result = run_part(&plan, seat, &control, &mut Reporter { worker, sender });
                    board.leave();
                    step.leave();
                    if result.is_err() {
                        control.stop();
                    }
                    result
                })
            })
            .collect();
        drop(sender);
        report(plan, workers, &seconds, watcher);
        // A worker that panicked takes the run with it: that is a bug of ours.
        handles.into_iter().map(|handle| handle.join().expect("a worker does not panic")).collect()
    });
    let mut outcomes = Vec::with_capacity(results.len());
    for result in results {
        outcomes.push(result?);
    }
    Ok(merged(&outcomes))
}

/// What the workers' seconds become for who watches: the sum, as soon as the slowest has told its own.
fn report(plan: &Plan, workers: u32, seconds: &Receiver<Told>, watcher: &mut dyn Watcher) {
    let mut told: Vec<Vec<Second>> = vec![Vec::new(); workers as usize];
    let (mut next, mut stages) = (0, 0);
    while let Ok(one) = seconds.recv() {
        match one {
            Told::Stage(at) if at >= stages => {
                stages = at + 1;
                watcher.handle_stage(at, &plan.stages[at].name);
            }
            Told::Stage(_) => {}
            Told::Second { worker, second, stage_done } => {
                told[worker as usize].push(*second);
                while let Some(sum) = sum_of(&told, next) {
                    next += 1;
                    let stage = sum.stage as usize;
                    watcher.handle_second(&Progress {
                        second: &sum,
                        stage,
                        stage_name: &plan.stages[stage].name,
                        stage_done,
                        clients: plan.clients_here(),
                    });
                }
            }
        }
    }
}

fn sum_of(told: &[Vec<Second>], at: usize) -> Option<Second> {
    let mut sum = *told.first()?.get(at)?;
    for other in &told[1..] {
        sum.merge(other.get(at)?);
    }
    Some(sum)
}

fn merged(outcomes: &[Outcome]) -> Outcome {
    let mut all = outcomes.first().cloned().unwrap_or_default();
    let rss = |of: fn(&Outcome) -> u64| outcomes.iter().map(of).max().unwrap_or(0);
    for other in outcomes.iter().skip(1) {
        all.merge(other);
    }
    // Of the process there is one, and each worker looked at it.
    all.parts = 1;
    all.generator.rss_start_bytes = rss(|outcome| outcome.generator.rss_start_bytes);
    all.generator.rss_peak_bytes = rss(|outcome| outcome.generator.rss_peak_bytes);
    (all.generator.cpu_user_s, all.generator.cpu_system_s) = system::process_cpu_s();
    all
}

enum Told {
    Stage(usize),
    Second { worker: u32, second: Box<Second>, stage_done: Option<f64> },
}

struct Reporter {
    worker: u32,
    sender: Sender<Told>,
}

impl Watcher for Reporter {
    fn handle_stage(&mut self, index: usize, _: &str) {
        // Nobody listens any more only when the run is over.
        let _ = self.sender.send(Told::Stage(index));
    }

    fn handle_second(&mut self, progress: &Progress<'_>) {
        let told =
            Told::Second { worker: self.worker, second: Box::new(*progress.second), stage_done: progress.stage_done };
        let _ = self.sender.send(told);
    }
}

/// Keeps the workers in step, and them together with the parts elsewhere.
struct Step {
    outer: Option<Arc<dyn Gate>>,
    state: Mutex<StepState>,
}

#[derive(Default)]
struct StepState {
    workers: u32,
    waiting: u32,
    /// All are here, and the outer gate was told.
    asks_outer: bool,
    /// What each gate said, in their order.
    answers: Vec<bool>,
}

impl StepState {
    fn open(&mut self, may_pass: bool) {
        self.answers.push(may_pass);
        self.waiting = 0;
        self.asks_outer = false;
    }
}

impl Step {
    fn new(workers: u32, outer: Option<Arc<dyn Gate>>) -> Arc<Self> {
        Arc::new(Self { outer, state: Mutex::new(StepState { workers, ..StepState::default() }) })
    }

    fn lock(&self) -> MutexGuard<'_, StepState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker that will not come to the gate again.
    fn leave(&self) {
        let mut state = self.lock();
        state.workers -= 1;
        if state.waiting > 0 && state.waiting == state.workers && !state.asks_outer {
            // Those who wait would wait for nobody: a part of the run is over, so all of it is.
            state.open(false);
        }
    }
}

impl Gate for Step {
    fn arrive(&self, index: usize) {
        let mut state = self.lock();
        state.waiting += 1;
        if state.waiting < state.workers {
            return;
        }
        match &self.outer {
            None => state.open(true),
            Some(outer) => {
                state.asks_outer = true;
                outer.arrive(index);
            }
        }
    }

    fn answer(&self, index: usize) -> Option<bool> {
        let mut state = self.lock();
        if state.asks_outer
            && let Some(may_pass) = self.outer.as_ref().and_then(|outer| outer.answer(index))
        {
            state.open(may_pass);
        }
        state.answers.get(index).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(step: &Step, index: usize) -> bool {
        step.arrive(index);
        loop {
            match step.answer(index) {
                Some(may_pass) => return may_pass,
                None => std::thread::yield_now(),
            }
        }
    }

    #[test]
    fn nobody_passes_the_gate_alone_and_nobody_waits_for_who_has_left() {
        let step = Step::new(3, None);
        let passed = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for worker in 0..3_u32 {
                let (step, passed) = (&step, &passed);
                scope.spawn(move || {
                    for index in 0..10 {
                        let may_pass = pass(step, index);
                        passed.lock().unwrap().push((index, worker, may_pass));
                        if worker == 2 && index == 5 {
                            break;
                        }
                    }
                    step.leave();
                });
            }
        });
        let passed = passed.into_inner().unwrap();
        let together: Vec<usize> = passed.iter().take(18).map(|one| one.0).collect();
        assert!(together.is_sorted(), "{together:?}");
        assert_eq!(passed.iter().filter(|one| one.0 <= 5 && one.2).count(), 18);
        assert!(passed.iter().filter(|one| one.0 > 5).count() == 8);
    }
}
