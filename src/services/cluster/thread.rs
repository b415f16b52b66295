//! A node's thread: everything that it says to the engine and hears from it happens there, so that no shard and no sink holds up a beat.
//!
//! Owns: the thread, and waiting for an engine that is not there yet.
//! Always holds: it ends when its news have no taker any more, when there is no [`ClusterDoor`], or behind its last news.
//! Leaves to others: what it does once there is an engine (`driver`).

use std::io;
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc::Receiver;
use tokio::time::sleep;

use super::driver::NodeDriver;
use super::engine::Engine;
use super::engine_fault::EngineFault;
use super::lanes::{ClusterDoor, ClusterNews, DriverLanes, lanes};
use crate::cluster::NodeIdentity;
use crate::config::cluster::EngineConfig;
use crate::limits::ENGINE_RETRY_MS;
use crate::time::Now;

/// What a node's thread begins with.
#[derive(Clone, Debug)]
pub struct ClusterStart {
    /// How it is reached, by both logins.
    pub engine: EngineConfig,
    /// Who the node is.
    pub identity: NodeIdentity,
    /// How many shards it has: numbers behind theirs are peers'.
    pub shards: usize,
    /// Reads the clocks. Its milliseconds go on while the process stands still.
    pub clock: fn() -> Now,
}

/// Begins. The engine need not be there yet.
///
/// # Errors
/// The system gives no thread, or not what tokio needs.
pub fn start_node(start: ClusterStart) -> io::Result<(ClusterDoor, Receiver<ClusterNews>)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (door, news, lanes) = lanes();
    thread::Builder::new().name("cluster".into()).spawn(move || {
        runtime.block_on(live(start, lanes));
        // A name that is being looked up would be waited for.
        runtime.shutdown_background();
    })?;
    Ok((door, news))
}

async fn live(start: ClusterStart, lanes: DriverLanes) {
    let ClusterStart { engine, identity, shards, clock } = start;
    let reached = tokio::select! {
        reached = reach(&engine, &lanes) => reached,
        () = lanes.news.closed() => return,
    };
    match reached {
        Ok(engine) => NodeDriver::new(engine, lanes, identity, shards, clock).run().await,
        Err(news) => {
            let _ = lanes.news.send(news).await;
        }
    }
}

/// The engine with its control store, or the last news.
async fn reach(config: &EngineConfig, lanes: &DriverLanes) -> Result<Engine, ClusterNews> {
    let mut last = None;
    // The lane is empty as yet; what a fault finds no room for is told by the next one.
    let mut tell = |fault: &EngineFault| {
        if last.as_ref() != Some(fault) {
            let _ = lanes.news.try_send(ClusterNews::Waits(fault.clone()));
        }
        last = Some(fault.clone());
    };
    loop {
        let engine = Engine::reach(config, &mut tell).await.map_err(ClusterNews::Failed)?;
        match engine.open_control_store().await {
            Ok(_) => return Ok(engine),
            Err(fault) if fault.may_pass() => tell(&fault),
            Err(fault) => return Err(ClusterNews::Failed(fault)),
        }
        sleep(Duration::from_millis(ENGINE_RETRY_MS)).await;
    }
}
