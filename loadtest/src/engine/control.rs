//! How a run is watched and stopped from outside.

use super::error::EngineError;
use crate::outcome::{Outcome, Second};
use crate::plan::Plan;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The strings by which a run is held.
#[derive(Clone, Default)]
pub struct Control {
    stop: Arc<AtomicBool>,
    /// Stages before this one are over, whatever they have left to do.
    skipped: Arc<AtomicUsize>,
    /// Passed before each stage, and once more before the end.
    pub gate: Option<Arc<dyn Gate>>,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Control").field("stop", &self.stop).finish_non_exhaustive()
    }
}

impl Control {
    /// Ends the run cleanly: connections are closed and what is known is reported. From any thread or signal handler.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    /// Ends a stage, and those before it: the next begins.
    pub fn end_stage(&self, index: usize) {
        self.skipped.fetch_max(index + 1, Ordering::SeqCst);
    }

    /// Whether a stage was ended from outside.
    pub(super) fn is_ended(&self, index: usize) -> bool {
        index < self.skipped.load(Ordering::SeqCst)
    }

    /// Whether it was told to stop.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// The flag behind `stop`, for signal handlers that take one.
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }
}

/// Keeps the parts of a run in step: no part begins a stage before all have ended the one before.
pub trait Gate: Send + Sync {
    /// This part wants to begin stage `index` (the number of stages: to end).
    fn arrive(&self, index: usize);

    /// Whether all parts may begin it; `None`: not yet, and whoever asks goes on reading and pinging meanwhile. False stops
    /// the run.
    fn answer(&self, index: usize) -> Option<bool>;
}

/// Is told how it goes. Called on the thread that called `run`.
pub trait Watcher {
    /// A stage begins.
    fn handle_stage(&mut self, index: usize, name: &str) {
        let _ = (index, name);
    }

    /// A second has passed.
    fn handle_second(&mut self, progress: &Progress<'_>);
}

/// Where the run is.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// The last second; the watcher may add what it knows of the broker by itself, later.
    pub second: &'a Second,
    /// Index of the stage.
    pub stage: usize,
    /// As the plan calls it.
    pub stage_name: &'a str,
    /// How much of the stage is done, where that can be said: 0 to 1.
    pub stage_done: Option<f64>,
    /// Clients of this part.
    pub clients: u64,
}

/// What carries out a plan: the engine, or what a test puts in its place.
pub type Engine = fn(&Plan, &Control, &mut dyn Watcher) -> Result<Outcome, EngineError>;

/// Watches nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Watcher for Silent {
    fn handle_second(&mut self, _: &Progress<'_>) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopped_run_is_stopped_for_every_copy() {
        let control = Control::default();
        let copy = control.clone();
        assert!(!copy.is_stopped());
        control.stop();
        assert!(copy.is_stopped() && copy.flag().load(Ordering::SeqCst));
    }
}
