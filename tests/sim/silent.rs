//! Peers that connect and say too little: nothing, a part of CONNECT, or a whole CONNECT and then that they send no more.
//!
//! Always holds: who has not sent CONNECT is cut off when its time is over, neither earlier nor never; who sends no more is let go of once
//! the broker knows.

use dunlin::codec::{Connect, Version};

use crate::canary::Canary;
use crate::conn::{Conn, Owner, Place, Receiving};
use crate::oracle::Check;
use crate::rng::Rng;
use crate::world::{RESUME_STEPS, World};

/// How long a listener waits for CONNECT.
pub(crate) const CONNECT_TIMEOUT_S: u16 = 10;
/// Steps from one such peer to the next.
const COMES_EVERY: usize = 300;
/// So many of them at a time.
const PEERS_MAX: usize = 4;

/// How much of CONNECT a peer ever sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Says {
    Nothing,
    Part,
    All,
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct SilentPeers {
    rng: Rng,
    count: u32,
}

impl SilentPeers {
    pub(crate) const fn new(seed: u64) -> Self {
        Self { rng: Rng::new(seed ^ 0x51e7), count: 0 }
    }
}

impl World {
    /// One more may come, say a little more, or go.
    pub(crate) fn silent_peers_act(&mut self) {
        if !self.plan.silents {
            return;
        }
        let theirs = |conn: &Conn| matches!(conn.owner, Owner::Silent(_)) && !conn.is_closed() && !conn.dropped;
        let open: Vec<usize> = self.conns.iter().filter(|(_, conn)| theirs(conn)).map(|(&index, _)| index).collect();
        if self.silents.rng.below(COMES_EVERY) == 0 && open.len() < PEERS_MAX {
            self.silent_peer_comes();
        }
        if open.is_empty() || self.silents.rng.below(COMES_EVERY) > 0 {
            return;
        }
        let index = *self.silents.rng.pick(&open);
        if self.silents.rng.percent(30) {
            self.drop_conn(index);
        } else if self.silents.rng.percent(30)
            && let Some(conn) = self.conns.get_mut(&index)
        {
            conn.half_closed = true;
        }
    }

    fn silent_peer_comes(&mut self) {
        self.silents.count += 1;
        let rng = &mut self.silents.rng;
        let says = *rng.pick(&[Says::Nothing, Says::Part, Says::All]);
        let shard = rng.below(self.shards.len());
        let listener = if self.plan.layered { rng.below(2) as u8 } else { 0 };
        let mut conn = Conn::new(Owner::Silent(says), Version::V311, shard, listener);
        let name = format!("silent-{}", self.silents.count);
        let mut bytes = Vec::new();
        Connect::new(Version::V311, &name, true).encode(&mut bytes);
        let len = match says {
            Says::Nothing => 0,
            Says::Part => rng.between(1, bytes.len() - 1),
            Says::All => bytes.len(),
        };
        conn.write(&bytes[..len]);
        // It reads on, and holds its end open until it has read the broker's.
        conn.half_closed = says == Says::All || rng.percent(20);
        let index = self.add_conn(conn);
        self.trace.note(&format!("a peer that says {says:?} opens connection {index}"));
    }

    /// The broker closes a connection.
    pub(crate) fn ends_in_time(&mut self, index: usize) -> Check {
        let conn = &self.conns[&index];
        if conn.end_told.is_some() && !conn.dropped {
            self.oracle.stats.half_closed += 1;
        }
        let (Owner::Silent(Says::Nothing | Says::Part), Some(since)) = (conn.owner, conn.taken_in_ms) else {
            return Ok(());
        };
        if conn.dropped || conn.half_closed {
            return Ok(());
        }
        self.oracle.stats.timed_out += 1;
        let due = since + u64::from(CONNECT_TIMEOUT_S) * 1_000;
        if self.now.ms() < due {
            return Err(format!("connection {index} is cut off {} ms before its time", due - self.now.ms()));
        }
        Ok(())
    }

    /// A half-closed peer's end is told to the connections of its shard, or is not.
    pub(crate) fn hides_half_close(&mut self, index: usize) -> bool {
        let conn = self.conns.get_mut(&index).expect("the caller has it");
        if !conn.half_closed || conn.dropped {
            return false;
        }
        conn.end_told.get_or_insert(self.trace.step);
        let hides = self.cage.canary == Canary::ForgetHalfClosed;
        if hides {
            conn.receiving = Receiving::Nothing;
        }
        hides
    }

    /// Nobody stays who has not sent CONNECT in time, nor who sends no more and was heard to say so.
    pub(crate) fn check_patience(&mut self) -> Check {
        let (now_ms, step) = (self.now.ms(), self.trace.step);
        for (index, conn) in &mut self.conns {
            if !matches!(conn.place, Place::Socket(..)) {
                continue;
            }
            let due = |since: u64| now_ms >= since + u64::from(CONNECT_TIMEOUT_S) * 1_000;
            let is_silent = matches!(conn.owner, Owner::Silent(Says::Nothing | Says::Part));
            if is_silent && conn.taken_in_ms.is_some_and(due) {
                let since = *conn.overdue_since.get_or_insert(step);
                if since + RESUME_STEPS < step {
                    return Err(format!("connection {index} has not sent CONNECT in time, and stays"));
                }
            }
            // What was sent before the end may still be under way, or wait for a verdict.
            let is_busy = conn.left || conn.held || self.authenticator.is_waiting(*index);
            if is_busy {
                conn.end_told = conn.end_told.map(|_| step);
            } else if conn.end_told.is_some_and(|since| since + RESUME_STEPS < step) {
                return Err(format!("the peer of connection {index} sends no more, and it stays"));
            }
        }
        Ok(())
    }

    /// Whether as many places are taken as clients are connected.
    pub(crate) fn check_places(&self) -> Check {
        let connected: u64 = self.shards.iter().map(|shard| shard.gauges().clients_connected).sum();
        let (is_full, max) = (self.places.is_full(0, None), u64::from(self.plan.connections_max));
        if is_full == (connected >= max) {
            return Ok(());
        }
        Err(format!(
            "{connected} clients of {max} are connected, and the broker is {}full",
            if is_full { "" } else { "not " }
        ))
    }
}
