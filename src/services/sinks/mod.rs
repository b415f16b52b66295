//! Sinks: messages on their way from topics to other systems.
//!
//! Owns: what a sink is made of: its rows, and the targets that they go to.
//! Always holds: a message is acknowledged to its session only after its target has it, or its dead letter is acknowledged.
//! Leaves to others: the session and its queue (`session`), how a service comes in as a client (`local`), what is configured (`config`).

#[cfg(any(feature = "kafka", feature = "nats"))]
mod headers;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "nats")]
mod nats;
#[cfg(feature = "parquet")]
mod parquet;
#[cfg(feature = "postgres")]
mod postgres;
pub(crate) mod row;
#[cfg(test)]
mod samples;
pub(crate) mod target;
mod time_text;
mod values;
