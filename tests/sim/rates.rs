//! Rates that profiles give to hostile clients, held against the clock.
//!
//! Always holds: of one connection no more messages are heard, and no more are sent on it, than a second's worth and what the time since
//! its CONNECT has brought. Who is over a rate is not closed: it waits, until what it has published is on schedule.

use std::collections::BTreeMap;

use dunlin::auth::{ClientProfile, RateKind};
use dunlin::codec::Packet;
use dunlin::limits::RATE_PAUSE_MIN_MS;

use crate::conn::Owner;
use crate::oracle::Check;
use crate::world::World;

/// Messages a second that a hostile client may publish.
const PUBLISHES_PER_S: u64 = 3;
/// Messages a second that it is sent.
const DELIVERIES_PER_S: u64 = 5;

/// How far ahead of its schedule a client may be.
const BURST_MS: u64 = 1_000;
/// How much one message that is published adds, rounded up as a pause is.
const MESSAGE_MS: u64 = 1_000 / PUBLISHES_PER_S + 1;

/// What has passed on one connection.
#[derive(Debug)]
struct Flow {
    since_ms: u64,
    heard: u64,
    sent: u64,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    flows: BTreeMap<usize, Flow>,
    /// By hostile client: when all that it has published is on schedule. What came on earlier connections counts.
    on_schedule_ms: BTreeMap<usize, u64>,
}

/// Gives the rates of this world to a profile.
pub(crate) const fn give(profile: &mut ClientProfile) {
    profile.rates[RateKind::Publish as usize] = Some(PUBLISHES_PER_S);
    profile.rates[RateKind::Delivery as usize] = Some(DELIVERIES_PER_S);
}

impl World {
    /// A shard is about to be told of a CONNECT.
    pub(crate) fn begin_flow(&mut self, index: usize) {
        if self.plan.rates && matches!(self.conns[&index].owner, Owner::Hostile(_)) {
            self.rates.flows.insert(index, Flow { since_ms: self.now.ms(), heard: 0, sent: 0 });
        }
    }

    /// A shard has closed a connection.
    pub(crate) fn end_flow(&mut self, index: usize) {
        self.rates.flows.remove(&index);
    }

    /// A shard is about to hear a packet.
    pub(crate) fn check_heard(&mut self, index: usize, packet: &Packet<'_>) -> Check {
        let now_ms = self.now.ms();
        let Some(flow) = self.rates.flows.get_mut(&index).filter(|_| matches!(packet, Packet::Publish(_))) else {
            return Ok(());
        };
        flow.heard += 1;
        if let Owner::Hostile(hostile) = self.conns[&index].owner {
            let on_schedule_ms = self.rates.on_schedule_ms.entry(hostile).or_default();
            *on_schedule_ms = now_ms.max(*on_schedule_ms) + MESSAGE_MS;
        }
        let most = most(PUBLISHES_PER_S, now_ms - flow.since_ms);
        self.oracle.stats.paced += u64::from(flow.heard == most);
        if flow.heard > most {
            return Err(format!("{} messages of connection {index} are heard, {most} are the most", flow.heard));
        }
        Ok(())
    }

    /// Time has passed: receiving from a client that may be paused may stay stopped.
    pub(crate) fn excuse_paused(&mut self) {
        let (now_ms, step) = (self.now.ms(), self.trace.step);
        for index in self.rates.flows.keys() {
            let Some(conn) = self.conns.get_mut(index) else { continue };
            let Owner::Hostile(hostile) = conn.owner else { continue };
            let on_schedule_ms = self.rates.on_schedule_ms.get(&hostile).copied().unwrap_or_default();
            if now_ms + BURST_MS <= on_schedule_ms + RATE_PAUSE_MIN_MS {
                conn.stopped = conn.stopped.map(|_| step);
            }
        }
    }

    /// A packet leaves for a connection. Again is what was counted before; what waits for stable storage was taken into flight before, and counts
    /// when it goes.
    pub(crate) fn check_sent(&mut self, index: usize, packet: &Packet<'_>) -> Check {
        let (now_ms, in_flight_max) = (self.now.ms(), u64::from(self.plan.settings.inflight_max));
        let is_first = |packet: &Packet<'_>| matches!(packet, Packet::Publish(publish) if !publish.dup);
        let Some(flow) = self.rates.flows.get_mut(&index).filter(|_| is_first(packet)) else { return Ok(()) };
        flow.sent += 1;
        let paced = most(DELIVERIES_PER_S, now_ms - flow.since_ms);
        self.oracle.stats.paced += u64::from(flow.sent == paced);
        let most = paced + in_flight_max;
        if flow.sent > most {
            return Err(format!("{} messages are sent on connection {index}, {most} are the most", flow.sent));
        }
        Ok(())
    }
}

/// A second's worth, and what the time brings; one more may begin before its time. The clock counts parts of milliseconds as well.
const fn most(per_s: u64, elapsed_ms: u64) -> u64 {
    per_s * (elapsed_ms + 1_001) / 1_000 + 1
}
