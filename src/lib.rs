//! dunlin: an MQTT broker for large IoT fleets on Linux.
//!
//! One core of pure state machines, one thin edge that touches the operating system. Read in this order: [`limits`],
//! [`ids`], [`time`], [`settings`]; [`codec`] and [`topic`]; [`session`], then [`shard`] (the heart: `Shard::handle`); [`store`];
//! [`cluster`]; [`conn`]; then the edge, `ring`, `net`, `runtime`. `docs/ARCHITECTURE.md` follows one PUBLISH through all of them.
//!
//! Who may import whom (kept by `tests/tidy.rs`):
//!
//! ```text
//! limits time              <- nothing of ours
//! ids                      <- limits
//! settings                 <- auth limits
//! slab                     <- ids
//! codec                    <- limits ids
//! topic                    <- limits ids slab
//! telemetry                <- limits ids time            (counters and reasons; its log writer is edge)
//! store                    <- codec limits ids time
//! session                  <- codec topic limits ids time telemetry
//! auth                     <- codec topic limits ids time
//! cluster                  <- limits ids time         (nodes, ranges, their logs, what nodes say to each other)
//! shard                    <- session topic codec auth store cluster telemetry settings limits ids time slab
//! conn                     <- shard cluster auth codec telemetry settings limits ids time slab
//! ---- feature "ring": the edge's lower half, shared with loadtest ----
//! ring                     <- limits ids slab            (knows sockets and buffers, nothing of MQTT)
//! ---- feature "runtime": the edge ----
//! http                     <- nothing of ours
//! template                 <- limits                      (conditions and templates of operators)
//! config                   <- settings auth http template topic ids limits
//! commands                 <- auth config http topic ids limits (what the binary does besides running the broker)
//! net                      <- conn shard cluster auth codec topic ring settings telemetry limits ids time slab
//! inbox                    <- shard auth codec ring ids limits time (lanes to the shards for threads that are none)
//! services                 <- inbox config cluster http template net ring shard session topic auth codec telemetry settings limits ids time (threads of their own beside the shards)
//! runtime                  <- everything; the only one that names glommio
//! ```

pub mod auth;
pub mod cluster;
pub mod codec;
pub mod conn;
pub mod ids;
pub mod limits;
pub mod session;
pub mod settings;
pub mod shard;
pub mod slab;
pub mod store;
pub mod telemetry;
pub mod time;
pub mod topic;

#[cfg(feature = "runtime")]
pub mod commands;
#[cfg(feature = "runtime")]
pub mod config;
#[cfg(feature = "runtime")]
mod http;
#[cfg(feature = "runtime")]
mod inbox;
#[cfg(feature = "runtime")]
pub mod net;
#[cfg(feature = "ring")]
pub mod ring;
#[cfg(feature = "runtime")]
pub mod runtime;
#[cfg(feature = "runtime")]
pub mod services;
#[cfg(feature = "runtime")]
pub mod template;
