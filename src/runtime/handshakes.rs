//! The thread beside a shard that runs TLS handshakes.
//!
//! Always holds: it has a lower priority than the shard, so that connected clients do not wait for those who come; what it was
//! given it gives back, run or not; the lane is bounded by how many `conn` lets away at one time; a shard that sleeps wakes.
//! It ends with its shard.

use std::io;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::conn::tls::Handshake;
use crate::ids::{ConnectionId, ShardId};
use crate::limits::TLS_HANDSHAKES_MAX;
use crate::ring::PlaneHandle;

/// How much nicer than the shard.
const NICE: i32 = 5;

type HandshakeJob = (ConnectionId, Box<Handshake>);

/// A shard's end of the lane to its thread.
pub(super) struct Handshaker {
    to_run: Sender<HandshakeJob>,
    run: Receiver<HandshakeJob>,
}

impl Handshaker {
    /// Starts the thread for a shard whose plane `plane` reaches.
    pub(super) fn start(shard: ShardId, plane: PlaneHandle) -> io::Result<Self> {
        let (to_run, jobs) = bounded::<HandshakeJob>(TLS_HANDSHAKES_MAX);
        let (results, run) = bounded::<HandshakeJob>(TLS_HANDSHAKES_MAX);
        let work = move || {
            be_nice();
            for (connection, mut handshake) in jobs {
                handshake.run();
                if results.send((connection, handshake)).is_err() {
                    return; // the shard has ended
                }
                plane.wake();
            }
        };
        std::thread::Builder::new().name(format!("handshakes-{}", shard.0)).spawn(work)?;
        Ok(Self { to_run, run })
    }

    /// Has a handshake run.
    pub(super) fn begin(&self, away: HandshakeJob) {
        // `conn` lets no more away than the lane holds, and the thread ends after the shard.
        self.to_run.try_send(away).expect("there is room for every handshake that is away");
    }

    /// One that was run.
    pub(super) fn next(&self) -> Option<HandshakeJob> {
        self.run.try_recv().ok()
    }

    /// Whether none has come back.
    pub(super) fn is_quiet(&self) -> bool {
        self.run.is_empty()
    }
}

fn be_nice() {
    // Shards go first. Where that is not allowed it is still right.
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE);
}
