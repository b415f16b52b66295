//! Carries out a plan: on the calling thread, or shared between several.

use super::board::{Board, Seat};
use super::control::{Control, Watcher};
use super::error::EngineError;
use super::part::run_part;
use super::workers;
use crate::outcome::Outcome;
use crate::plan::Plan;

/// Carries out a plan. Blocks until it is over or stopped.
///
/// # Errors
/// There is no outcome: the plan is wrong, the broker cannot be reached or lets nobody in, or the system lacks something.
pub fn run(plan: &Plan, control: &Control, watcher: &mut dyn Watcher) -> Result<Outcome, EngineError> {
    plan.check()?;
    match workers::count(plan) {
        1 => run_part(plan, Seat::new(Board::new(plan, 1), 0), control, watcher),
        several => workers::run(plan, several, control, watcher),
    }
}
