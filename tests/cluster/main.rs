//! The engine of a cluster: real servers of NATS, as an operator sets them up, well or not.
//!
//! Owns: those servers ([`servers`]), nodes that rest on them ([`fleet`]), and what they have stored in the end ([`stored`]). They are the ones that `scripts/test` installs, of version 2.15.1 and, once, of 2.14.
//! The broker is its library here: nothing that can be started makes a cluster yet.

mod assets;
mod control_store;
mod engine;
mod fleet;
mod nodes;
#[path = "../support/ports.rs"]
mod ports;
mod servers;
mod stored;
mod ways;

use std::time::Duration;

/// How long a machine that is busy may take for something that takes a second.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs `future` to its end, or fails at [`LIMIT`].
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let in_time = async { tokio::time::timeout(LIMIT, future).await };
    runtime.block_on(in_time).expect("it takes no longer than a busy machine may need")
}
