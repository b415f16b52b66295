//! Executors, the pump, the mesh between shards, signals: where the pure core meets the machine.
//!
//! Owns: one glommio executor a shard (named `shard-N`, pinned to a core where that is asked for) with one task, the
//! `pump`; the channels between shards; the clock; the data directory; start and stop of the process.
//! Always holds: a shard's state is touched by its own thread alone; the clock is read once a turn, after the turn's input
//! was collected; a shard that makes no progress for `limits::WATCHDOG_S` ends the process rather than serve half of it.
//! Leaves to others: everything that has to do with MQTT.
//!
//! Reading order: `start` (`needs`, `binding`, `shard_threads`, `run_error`), `pump` (`measured`), `mesh`, `authenticator`, `kept_bans`, `handshakes`, `tls` (certificates), `signals`, `reload`, `listeners`, `clock`, `watchdog`, `service_manager`, `fatal`;
//! [`disk`] and [`doctor`] by themselves.

mod accounts;
mod authenticator;
mod binding;
mod clock;
pub mod disk;
pub mod doctor;
mod emptying;
mod fatal;
mod file_watch;
mod handshakes;
mod http_asks;
mod http_client;
mod kept_bans;
mod key_fetch;
mod listeners;
mod measured;
mod mesh;
mod needs;
mod pump;
mod random;
mod reload;
mod restoring;
mod run_error;
mod service_manager;
mod shard_logs;
mod shard_store;
mod shard_threads;
mod signals;
mod start;
mod store_import;
mod tls;
mod watchdog;

pub use accounts::check_owners;
pub use fatal::{End, fatal};
pub use kept_bans::KeptBansError;
pub use run_error::RunError;
pub use shard_threads::PREEMPT_TIMER;
pub use start::run;
pub use store_import::import;
pub use tls::{LinkSecurity, TlsProblem, check_tls};
