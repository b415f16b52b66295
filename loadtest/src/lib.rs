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
//! plan                     <- nothing of ours           (dunlin: topic, to check filters)
//! outcome                  <- plan
//! engine                   <- plan outcome              (dunlin: codec, topic, ring)
//! ```

#![forbid(unsafe_code)]

pub mod engine;
pub mod outcome;
pub mod plan;
