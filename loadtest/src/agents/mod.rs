//! One load, several processes: agents that wait for their share, and the controller that gives it to them.
//!
//! Owns: the words between the two (`wire`), the agent (`server`), and the controller (`controller`). Always holds:
//! a client belongs to one part, client `n` of a group to part `n % agents`, so that a publisher and the subscriber with the
//! same number share an agent, and with it a clock; stages begin everywhere at once; histograms and verdicts are merged, not
//! averaged; an agent that dies is named, the others go on, and the verdict is not claimed.
//! Leaves to others: who may reach an agent's port. Whoever does can start a load.

mod controller;
mod server;
mod wire;

pub use controller::run;
pub use server::{Agent, serve};

use crate::outcome::Outcome;

/// The outcome of all parts that lived, and a line for each that did not.
#[derive(Clone, Debug)]
pub struct Merged {
    /// Of all parts that lived.
    pub outcome: Outcome,
    /// Which part is missing, and why.
    pub missing: Vec<String>,
}

#[cfg(test)]
mod tests;
