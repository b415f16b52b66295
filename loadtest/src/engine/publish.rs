//! What goes out: who may send, which message is next, and its bytes.

use super::client::{Open, State, Unacknowledged};
use super::crew::Crew;
use super::mode::Mode;
use super::schedule::Schedule;
use super::stamp::Stamp;
use crate::plan::Order as TargetOrder;
use dunlin::codec::{Forwarded, PublishOut};
use dunlin::ids::Qos;
use dunlin::ring::monotonic_ns;

/// Whether a message is due that was not sent.
fn is_due(schedule: &Schedule, now_ns: u64) -> bool {
    schedule.next_ns().is_some_and(|at| at <= now_ns)
}

/// Messages that one client sends before another has its turn.
const SPREE_MAX: u32 = 64;
/// Bytes of one flush: what is stamped now is with the kernel soon.
const FLUSH_BYTES: usize = 128 * 1024;

impl Crew {
    /// Sends what is due by schedule. Returns when the next is; `None`: never.
    pub(super) fn follow_schedules(&mut self) -> Option<u64> {
        let mut earliest: Option<u64> = None;
        for role in 0..self.modes.len() {
            let Mode::Open(mut schedule) = self.modes[role] else { continue };
            let mut now_ns = monotonic_ns();
            while let Some(at) = schedule.next_ns() {
                if at > now_ns {
                    now_ns = monotonic_ns();
                }
                if at > now_ns || self.outbox.len() > FLUSH_BYTES {
                    earliest = Some(earliest.map_or(at, |other| other.min(at)));
                    break;
                }
                let client = self.cast.roles[role].first_local + schedule.take();
                self.send_scheduled(role, client, at);
            }
            self.modes[role] = Mode::Open(schedule);
        }
        earliest
    }

    fn send_scheduled(&mut self, role: usize, client: u32, intended_ns: u64) {
        let qos = self.qos_of(role);
        let state = &mut self.clients[client as usize];
        if state.state != State::Live {
            let messages = &mut self.tally.outcome.verdict.messages[qos as usize];
            messages.unsent += 1;
            messages.unconnected += 1;
            return;
        }
        let is_free = !state.is_blocked();
        let flight = &mut state.busy().flight;
        let has_room = qos == Qos::AtMostOnce || flight.unacknowledged.len() < usize::from(flight.acknowledged_max);
        if flight.waiting > 0 || !has_room || !is_free {
            if flight.waiting == 0 {
                flight.waiting_from_ns = intended_ns;
            }
            flight.waiting += 1;
        } else {
            let now_ns = monotonic_ns();
            self.tally.own_delay.record(now_ns.saturating_sub(intended_ns));
            self.send(role, client, Some(intended_ns), now_ns);
        }
    }

    /// Sends for clients that may have become able to. Returns whether some are left.
    pub(super) fn serve_eager(&mut self) -> bool {
        let mut turns = self.eager.len();
        while turns > 0 && self.outbox.len() < FLUSH_BYTES {
            turns -= 1;
            let Some(client) = self.eager.pop_front() else { break };
            self.clients[client as usize].eager = false;
            if self.serve(client) {
                self.make_eager(client);
            }
        }
        !self.eager.is_empty()
    }

    /// Sends what a client may send now, up to a spree. Returns whether it could send more.
    fn serve(&mut self, client: u32) -> bool {
        let role = self.cast.role_of(client);
        // Once for all that leave together: the next entry into the kernel takes them all.
        let now_ns = monotonic_ns();
        for _ in 0..SPREE_MAX {
            let state = &mut self.clients[client as usize];
            if state.state != State::Live || state.is_blocked() {
                return false;
            }
            let Some(publishing) = &self.cast.roles[role].publishing else { return false };
            let flight = &mut state.busy().flight;
            let in_acknowledged = flight.unacknowledged.len();
            if publishing.what.qos > 0 && in_acknowledged >= usize::from(flight.acknowledged_max) {
                return false;
            }
            let intended_ns = match &self.modes[role] {
                Mode::Silent => return false,
                Mode::Open(schedule) => {
                    if flight.waiting == 0 {
                        return false;
                    }
                    let at = flight.waiting_from_ns;
                    flight.waiting -= 1;
                    flight.waiting_from_ns += schedule.period_ns() as u64;
                    Some(at)
                }
                Mode::Closed { window, limit } => {
                    let under_way = flight.open.len().max(in_acknowledged);
                    if under_way >= *window as usize || flight.sent >= *limit {
                        return false;
                    }
                    None
                }
                Mode::Burst { limit } => {
                    if flight.sent >= *limit {
                        return false;
                    }
                    None
                }
            };
            self.send(role, client, intended_ns, now_ns);
        }
        true
    }

    /// Sends one message. Without an intended time it is now.
    fn send(&mut self, role: usize, client: u32, intended_ns: Option<u64>, sent_ns: u64) {
        let stream = self.next_stream(role, client);
        let sequence = self.seat.take_next(stream);
        let message = Unacknowledged {
            packet_id: 0,
            released: false,
            released_again: false,
            stream,
            sequence,
            intended_ns: intended_ns.unwrap_or(sent_ns),
            sent_ns,
        };
        if let Some(intended_ns) = intended_ns {
            self.tally.send_delay.record(sent_ns.saturating_sub(intended_ns));
        }
        let qos = self.qos_of(role);
        let fan = self.interest.fan(role, stream);
        let verdict = &mut self.tally.outcome.verdict;
        verdict.messages[qos as usize].sent += 1;
        for (lane, count) in (0..).zip(fan) {
            verdict.lane_mut(lane).expected += u64::from(count);
        }
        let state = &mut self.clients[client as usize];
        let mut packet_id = None;
        if qos != Qos::AtMostOnce {
            let id = state.next_packet_id();
            packet_id = Some(id);
            state.busy().flight.unacknowledged.push_back(Unacknowledged { packet_id: id.get(), ..message });
        }
        let flight = &mut state.busy().flight;
        flight.sent += 1;
        // What subscribers in another process have cannot be seen here: of those, the acknowledgement must do.
        let left = self.interest.fan_here(role, stream).iter().sum();
        if left > 0 && matches!(self.modes[role], Mode::Closed { .. }) {
            flight.open.push_back(Open { stream, sequence, left, sent_ns });
        }
        self.write_message(role, client, &message, packet_id, false);
    }

    /// Writes a PUBLISH, for the first time or again.
    pub(super) fn write_message(
        &mut self,
        role: usize,
        client: u32,
        message: &Unacknowledged,
        packet_id: Option<std::num::NonZeroU16>,
        dup: bool,
    ) {
        let qos = self.qos_of(role);
        let Some(publishing) = &self.cast.roles[role].publishing else { return };
        let sequence = if publishing.is_sequenced { message.sequence } else { 0 };
        if (self.topic_of.0, self.topic_of.1) != (message.stream, sequence) {
            self.topic_of.2.clear();
            self.cast.write_topic(role, message.stream, sequence, &mut self.topic_of.2);
            (self.topic_of.0, self.topic_of.1) = (message.stream, sequence);
        }
        let stamp = Stamp {
            stream: message.stream,
            sequence: message.sequence,
            intended_ns: message.intended_ns,
            sent_ns: message.sent_ns,
        };
        let len = publishing.what.payload_bytes as usize;
        let has_content = !publishing.contents.is_empty();
        let retain = publishing.what.retain;
        if has_content {
            self.render(role, &stamp);
        }
        let out = PublishOut {
            version: self.version,
            topic: &self.topic_of.2,
            topic_alias: None,
            qos,
            dup,
            retain,
            packet_id,
            message_expiry_s: None,
            subscription_ids: &[],
            forwarded: Forwarded::EMPTY,
            payload: if has_content { &self.payload } else { self.stamper.blank(len) },
        };
        let stamper = &self.stamper;
        self.outbox.write(client, |bytes| {
            if has_content {
                out.encode(bytes);
            } else {
                out.encode_head(bytes);
                stamper.write(&stamp, len, bytes);
            }
        });
        self.tally.outcome.traffic.messages_sent += 1;
    }

    fn next_stream(&mut self, role: usize, client: u32) -> u32 {
        let index = self.cast.index_of(role, client);
        let clients = self.cast.roles[role].group.clients;
        let Some(publishing) = &self.cast.roles[role].publishing else { return index };
        let (first, streams) = (publishing.first_stream, publishing.streams);
        let Some(targets) = publishing.what.targets else { return first + index };
        // Target `t` is published by client `t % clients`.
        let mine = (streams - index).div_ceil(clients);
        let nth = match targets.order {
            TargetOrder::Random => self.draw(mine),
            TargetOrder::InTurn => {
                let flight = &mut self.clients[client as usize].busy().flight;
                let nth = flight.next_target;
                flight.next_target = if nth + 1 == mine { 0 } else { nth + 1 };
                nth
            }
        };
        first + index + nth * clients
    }

    fn qos_of(&self, role: usize) -> Qos {
        let publishing = self.cast.roles[role].publishing.as_ref();
        publishing.and_then(|publishing| Qos::from_bits(publishing.what.qos)).unwrap_or_default()
    }

    /// Sets how a role publishes from now on.
    pub(super) fn set_mode(&mut self, role: usize, mode: Mode, now_ns: u64) {
        let clients = self.cast.roles[role].first_local..self.cast.roles[role].first_local + self.cast.roles[role].here;
        let qos = self.qos_of(role) as usize;
        if let Mode::Open(mut schedule) = std::mem::replace(&mut self.modes[role], mode) {
            // What was due before the end of the stage and was not sent by then, never is.
            while is_due(&schedule, now_ns) {
                schedule.take();
                self.tally.outcome.verdict.messages[qos].unsent += 1;
            }
        }
        for client in clients {
            let Some(busy) = &mut self.clients[client as usize].busy else { continue };
            self.tally.outcome.verdict.messages[qos].unsent += std::mem::take(&mut busy.flight.waiting);
            busy.flight.sent = 0;
            busy.flight.open.clear();
            if !matches!(mode, Mode::Silent | Mode::Open(_)) {
                self.make_eager(client);
            }
        }
    }

    /// Whether the clients of a role have sent all that a burst asks for, and know that it arrived.
    pub(super) fn has_burst(&self, role: usize) -> bool {
        let Mode::Burst { limit } = self.modes[role] else { return true };
        let role = &self.cast.roles[role];
        self.clients[role.first_local as usize..(role.first_local + role.here) as usize].iter().all(|client| {
            client.state != State::Live
                || client.busy.as_ref().is_some_and(|busy| {
                    busy.flight.sent >= limit && busy.flight.unacknowledged.is_empty() && busy.blocked.is_none()
                })
        })
    }
}
