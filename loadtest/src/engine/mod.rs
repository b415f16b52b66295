//! Turns a plan into an outcome: connects, subscribes, publishes, receives, and judges.
//!
//! Owns every socket, every clock and every thread of a run. What always holds: one monotonic clock stamps all times;
//! nothing is allocated per message; an idle client costs less than 1 KiB of this process, whatever its names look like,
//! because names are computed from its number when they are needed.
//!
//! Leaves to others: where plans come from, what the broker and the machine are doing, and how outcomes are shown.

mod control;
mod error;

pub use control::{Control, Gate, Progress, Silent, Watcher};
pub use error::EngineError;
