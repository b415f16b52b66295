//! The built binary as it serves an operator who has a file: reloads, signals.

#![cfg(feature = "runtime")]

mod broker;
mod reload;
