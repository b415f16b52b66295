//! loadtest: a load generator for MQTT brokers that can be believed.
//!
//! Publishers and subscribers run in one process with one monotonic clock; every message says when it was meant to be
//! sent and when it was, and the run ends with a verdict on each of them. A [`plan::Plan`] says what is to happen, an
//! [`outcome::Outcome`] what did, and both are plain values that travel as JSON, so that one plan can be split between
//! processes and their outcomes merged.
//!
//! Read in this order: [`plan`], [`outcome`], then [`engine`], which turns the one into the other.
//!
//! Who may import whom:
//!
//! ```text
//! plan                     <- units                     (dunlin: topic, to check filters)
//! outcome                  <- plan units
//! engine                   <- plan outcome              (dunlin: codec, topic, ring; of conn: tls, websocket)
//! units suggest            <- nothing of ours
//! preset scenario          <- plan threshold units suggest
//! threshold                <- outcome units suggest
//! machine                  <- outcome units
//! exit                     <- plan outcome engine threshold units
//! report                   <- plan outcome engine exit machine units
//! exporter                 <- outcome engine
//! killer                   <- plan preset outcome engine exit units
//! compare                  <- outcome exit report units
//! cli                      <- plan preset scenario threshold exit machine units
//! checks                   <- plan exit machine
//! agents run               <- everything
//! ```

#![forbid(unsafe_code)]
// Figures: counts far below 2^52 become rates, and rates and percentages that are never negative become counts.
#![allow(clippy::cast_precision_loss, clippy::cast_sign_loss)]

pub mod agents;
pub mod checks;
pub mod cli;
pub mod compare;
pub mod engine;
pub mod exit;
pub mod exporter;
pub mod killer;
pub mod machine;
pub mod outcome;
pub mod plan;
pub mod preset;
pub mod report;
pub mod run;
pub mod scenario;
pub mod suggest;
pub mod threshold;
pub mod units;
