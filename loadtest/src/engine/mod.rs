//! Turns a plan into an outcome: connects, subscribes, publishes, receives, and judges.
//!
//! Owns every socket, every clock and every thread of a run. What always holds: one monotonic clock stamps all times;
//! nothing is allocated per message; an idle client costs less than 1 KiB of this process, whatever its names look like,
//! because names are computed from its number when they are needed.
//!
//! One thread does it all, in turns: what the plane tells, what time asks for, what goes out, then one entry into the kernel.
//! A plan that needs more than a core can give is split into parts, each a run of its own, and their outcomes are merged:
//! between threads (`workers`, which meet at the `board`), and in the same way between processes.
//!
//! Reading order: [`run`], `part` with `finish`, `turn` with `sends` and `shaking`; `stages`; `crew` with its steps `life`, `publish`, `flights`, `receive`, `owing` and `judge`; then what they rest on:
//! `cast` and `names` (who is there), `interest` (who is owed what), `stamp`, `tracker` (what came), `schedule`, `outbox`,
//! `client`, `tally`, `transport` (what lies below MQTT); last `sweep` (what is taken back from the broker).
//!
//! Leaves to others: where plans come from, what the broker and the machine are doing, and how outcomes are shown.

mod board;
mod bottleneck;
mod cast;
mod client;
mod content;
mod control;
mod crew;
mod error;
mod finish;
mod flights;
mod interest;
mod judge;
mod life;
mod mode;
mod names;
mod outbox;
mod owing;
mod part;
mod payload;
mod pings;
mod publish;
mod receive;
mod run;
mod schedule;
mod sends;
mod shaking;
mod stages;
mod stamp;
mod start;
mod sweep;
mod system;
mod tally;
mod tracker;
mod transport;
mod turn;
mod workers;

pub use control::{Control, Engine, Gate, Progress, Silent, Watcher};
pub use error::EngineError;
pub use run::run;
