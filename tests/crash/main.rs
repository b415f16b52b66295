//! The built binary with a data directory: what it says of one that it cannot use, and what of the promises in
//! `docs/DURABILITY.md` holds when it is killed.
//!
//! Owns: a client of its own ([`client`]), which speaks MQTT 3.1.1 over loopback and knows nothing of the broker's code; the
//! broker's life ([`broker`]).
//! `CRASH_CYCLES` says how often the broker is killed (40 where nobody says), `CRASH_POWER_CUTS` how often the power goes under it (6), `CRASH_SEED` repeats what a failed run names.

mod backup;
mod bridges;
mod broker;
mod client;
mod cycles;
mod damage;
mod ending;
mod full;
mod fuse;
#[path = "../support/http.rs"]
mod http;
mod ledger;
mod long_queues;
mod mixed;
mod mosquitto;
mod owners;
#[path = "../support/ports.rs"]
mod ports;
mod power;
#[allow(dead_code, reason = "shared with suites that look at requests")]
#[path = "../support/recorder.rs"]
mod recorder;
mod restart;
mod room;
mod sinks;
mod slow;
mod small_disk;
mod start;
mod volatile_disk;
