//! Clients are asked to go, so many a second: the broker is to be stopped, or its clients are to use another.
//!
//! Always holds: it goes on as long as anybody is connected, and whoever comes meanwhile is asked in turn; a tick looks at so many sessions and closes so
//! many connections, and no more. Services of the broker's own stay: they would be back at once. A session stays what it is: kept ones wait for their clients, elsewhere or here.
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
    /// Whether the broker ends afterwards: without another server clients are told so (0x8B), and the edge lets nobody in any more.
    pub is_last: bool,
}

/// How far it has come.
#[derive(Debug)]
pub(super) struct Drain {
    plan: DrainPlan,
    /// The next slot to be looked at.
    slot: u32,
    /// When the last part was, if there was one, and when the next is due.
    last_ms: Option<u64>,
    next: Deadline,
    /// Thousandths of clients that the rate allows and nobody was asked for.
    credit: u64,
}

/// Time from one part to the next.
const STEP_MS: u64 = 10;
/// A part that comes later than this after the one before makes up for no more: a shard that stood still asks not all at once.
const LATE_MAX_MS: u64 = 500;
/// Slots that one part looks at.
const SLOTS_PER_STEP: u32 = 4_096;

impl Drain {
    pub(super) const fn new(plan: DrainPlan) -> Self {
        Self { plan, slot: 0, last_ms: None, next: Deadline(0), credit: 0 }
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
        let now_ms = turn.now.ms();
        let since_ms = drain.last_ms.map_or(STEP_MS, |last_ms| now_ms.saturating_sub(last_ms)).min(LATE_MAX_MS);
        drain.last_ms = Some(now_ms);
        drain.credit += u64::from(drain.plan.clients_per_s) * since_ms;
        let most = usize::try_from(drain.credit / 1_000).unwrap_or(usize::MAX).min(CLOSED_PER_TICK);
        let slots = self.clients.sessions.slots();
        let (mut asked, end) = (0, drain.slot.saturating_add(SLOTS_PER_STEP).min(slots));
        while drain.slot < end && asked < most {
            let id = SessionId(drain.slot);
            drain.slot += 1;
            let link = self.clients.sessions.try_get(id).and_then(|session| session.link.as_deref());
            if link.is_some_and(|link| !link.is_service()) {
                self.ask_to_go(turn, id, &drain.plan);
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

    fn ask_to_go(&mut self, turn: &mut Turn<'_>, id: SessionId, plan: &DrainPlan) {
        let server = plan.server.as_deref();
        let (reason, cause, text) = if plan.is_last {
            (ReasonCode::ServerShuttingDown, CloseReason::ServerShutdown, "the broker stops")
        } else {
            let text = "the broker is being emptied by its operator";
            (ReasonCode::AdministrativeAction, CloseReason::AdministrativeAction, text)
        };
        if let Some(link) = self.clients.sessions.get(id).link.as_deref()
            && link.version.is_v5()
        {
            let reason = if server.is_some() { ReasonCode::UseAnotherServer } else { reason };
            // A packet beyond the client's limit may not be sent [MQTT-3.14.2-3].
            let room = link.packet_size_max_bytes as usize;
            let server = server.filter(|server| room >= server.len() + 16);
            let fits = room >= server.map_or(0, str::len) + text.len() + 20;
            let packet = Disconnect {
                reason,
                server_reference: server,
                reason_string: fits.then_some(text),
                ..Disconnect::default()
            };
            let version = link.version;
            if room >= 4 {
                turn.fx.send(link.connection, |out| packet.encode(version, out));
                self.clients.counters.packets_sent += 1;
            }
        }
        self.end_connection(turn, id, cause, text);
    }
}
