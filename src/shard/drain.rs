//! Clients are asked to go, so many a second: the broker is to be stopped, or its clients are to use another.
//!
//! Always holds: it goes on as long as anybody is connected, and whoever comes meanwhile is asked in turn; a tick looks at so many sessions and closes so
//! many connections, and no more. A session stays what it is: kept ones wait for their clients, elsewhere or here.
//! Leaves to others: that nobody comes in any more (whoever stops the listeners).

use super::{Shard, Turn};
use crate::codec::{Disconnect, ReasonCode};
use crate::ids::SessionId;
use crate::limits::CLOSED_PER_TICK;
use crate::telemetry::CloseReason;
use crate::time::Deadline;

/// How clients are asked to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrainPlan {
    /// Clients of this shard a second.
    pub clients_per_s: u32,
    /// What MQTT 5.0 clients are told to use instead (0x9C); without it they are told that an operator wants it (0x98).
    pub server: Option<Box<str>>,
}

/// How far it has come.
#[derive(Debug)]
pub(super) struct Drain {
    plan: DrainPlan,
    /// The next slot to be looked at.
    slot: u32,
    next: Deadline,
    /// Thousandths of clients that the rate allows and nobody was asked for.
    credit: u64,
}

/// Time from one part to the next.
const STEP_MS: u64 = 100;
/// Slots that one part looks at.
const SLOTS_PER_STEP: u32 = 4_096;

impl Drain {
    pub(super) const fn new(plan: DrainPlan) -> Self {
        Self { plan, slot: 0, next: Deadline(0), credit: 0 }
    }

    /// When the next part is due.
    pub(super) const fn next_deadline(&self) -> Deadline {
        self.next
    }
}

impl Shard {
    /// Asks some more to go, if that is due.
    pub(super) fn drain_some(&mut self, turn: &mut Turn<'_>) {
        let Some(mut drain) = self.drain.take_if(|drain| drain.next.is_due(turn.now)) else { return };
        drain.next = turn.now.after_ms(STEP_MS);
        drain.credit += u64::from(drain.plan.clients_per_s) * STEP_MS;
        let most = usize::try_from(drain.credit / 1_000).unwrap_or(usize::MAX).min(CLOSED_PER_TICK);
        let slots = self.clients.sessions.slots();
        let (mut asked, end) = (0, drain.slot.saturating_add(SLOTS_PER_STEP).min(slots));
        while drain.slot < end && asked < most {
            let id = SessionId(drain.slot);
            drain.slot += 1;
            if self.clients.sessions.try_get(id).is_some_and(|session| session.link.is_some()) {
                self.ask_to_go(turn, id, drain.plan.server.as_deref());
                asked += 1;
            }
        }
        if drain.slot >= slots {
            drain.slot = 0;
        }
        // What nobody was there for is not made up for later.
        drain.credit = if asked < most { 0 } else { drain.credit - asked as u64 * 1_000 };
        self.drain = Some(drain);
    }

    fn ask_to_go(&mut self, turn: &mut Turn<'_>, id: SessionId, server: Option<&str>) {
        const TEXT: &str = "the broker is being emptied by its operator";
        if let Some(link) = self.clients.sessions.get(id).link.as_deref()
            && link.version.is_v5()
        {
            let reason = if server.is_some() { ReasonCode::UseAnotherServer } else { ReasonCode::AdministrativeAction };
            // A packet beyond the client's limit may not be sent [MQTT-3.14.2-3].
            let room = link.packet_size_max_bytes as usize;
            let server = server.filter(|server| room >= server.len() + 16);
            let fits = room >= server.map_or(0, str::len) + TEXT.len() + 20;
            let packet = Disconnect {
                reason,
                server_reference: server,
                reason_string: fits.then_some(TEXT),
                ..Disconnect::default()
            };
            let version = link.version;
            if room >= 4 {
                turn.fx.send(link.connection, |out| packet.encode(version, out));
                self.clients.counters.packets_sent += 1;
            }
        }
        self.end_connection(turn, id, CloseReason::AdministrativeAction, TEXT);
    }
}
