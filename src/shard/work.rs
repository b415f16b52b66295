//! Work that no packet asks for any more: exchanges sent again after a reconnect, retained messages for a new
//! subscription, a queue behind a window that has room, groups that are to know whether a client is there.
//!
//! Always holds: all of it pages under the client's window and outbox and under a budget for the turn, so a replay of a
//! million messages neither stops at a cap nor holds other clients up.

use std::ops::ControlFlow;

use super::clients::Clients;
use super::profiled::Direction;
use super::record_log::Held;
use super::retained::Page;
use super::router::Router;
use super::{Shard, Turn};
use crate::codec::{AckKind, ReasonCode, encode_ack};
use crate::ids::{Qos, SessionId};
use crate::limits::WORK_PER_TURN_MESSAGES;
use crate::session::{Backlog, Exchange, Link, Message, Outbound, Replay, Resend, Routed};
use crate::telemetry::DropReason;
use crate::topic::{Scan, TopicFilter};

/// Messages for one session before the next one's turn.
const SHARE_MESSAGES: usize = 64;
/// Retained entries looked at for one session before the next one's turn.
const SHARE_ENTRIES: usize = 1_024;
/// What a retained PUBLISH has at most beside topic, properties and payload: 5 bytes of fixed header, 2 of topic length,
/// 2 of packet identifier, 4 of property length, 5 of message expiry, 5 of subscription identifier.
const HEADER_BYTES: usize = 23;

impl Shard {
    /// Gives each session with work its share, until the turn's budget is used up.
    pub(super) fn work(&mut self, turn: &mut Turn<'_>) {
        let mut budget = WORK_PER_TURN_MESSAGES;
        for _ in 0..self.clients.work.len() {
            if budget == 0 {
                break;
            }
            let Some(id) = self.clients.work.pop_front() else { break };
            match self.clients.sessions.try_get_mut(id) {
                Some(session) if session.has_work => session.has_work = false,
                _ => continue, // the session has ended
            }
            let mut done = self.router.update_groups(turn, &mut self.clients, id);
            done += self.go_on_with_request(turn, id);
            if self.clients.sessions.try_get(id).is_some_and(|session| !session.has_ended) {
                done += self.advance(turn, id);
            }
            budget = budget.saturating_sub(done.max(1));
        }
    }

    /// A client is back: everything that was in flight is sent again, in order, before anything new; replays that the
    /// end of its connection broke off go on.
    pub(super) fn resume(&mut self, turn: &mut Turn<'_>, id: SessionId) {
        let session = self.clients.sessions.get_mut(id);
        let again = |packet_id| Resend { packet_id, dup: true };
        let open: Vec<Resend> = session
            .outbound()
            .map(|outbound| outbound.window().iter().map(|(id, _)| again(id)).collect())
            .unwrap_or_default();
        let replays = session.outbound_existing_mut().map(Outbound::unpark).unwrap_or_default();
        let Some(link) = session.link.as_deref_mut() else { return };
        if !open.is_empty() || !replays.is_empty() {
            let inherited = self.router.announcements.subacks_so_far();
            *link.backlog_mut() =
                Backlog { resend: open.into(), replays, inherited, request: None, waits: false, subacks: 0 };
        }
        // Of QoS 2 nothing is said that may not be known after a restart.
        let has_qos_2 = self.clients.sessions.get(id).outbound().is_some_and(|outbound| outbound.window().has_qos_2());
        if has_qos_2 && self.clients.hold(turn, id, || Held::Backlog) {
            let link = self.clients.sessions.get_mut(id).link.as_deref_mut().expect("it had one above");
            link.backlog_mut().waits = true;
        }
        self.advance(turn, id);
    }

    /// Does one session's share. Returns how many messages that were. What is left and can go on is noted as work;
    /// what waits for the client (an acknowledgement, room in the socket) comes back with it.
    pub(super) fn advance(&mut self, turn: &mut Turn<'_>, id: SessionId) -> usize {
        let mut done = 0;
        if self.clients.sessions.get(id).link.as_deref().is_some_and(|link| link.backlog.is_some()) {
            done += self.send_backlog_again(turn, id);
            while done < SHARE_MESSAGES
                && self.router.replay(turn, &mut self.clients, id, SHARE_MESSAGES - done, &mut done)
            {}
        }
        if done < SHARE_MESSAGES {
            done += self.clients.send_queued(turn, id, SHARE_MESSAGES - done);
        }
        let session = self.clients.sessions.get_mut(id);
        let Some(link) = session.link.as_deref_mut() else { return done };
        link.backlog
            .take_if(|backlog| backlog.resend.is_empty() && backlog.replays.is_empty() && backlog.request.is_none());
        let resends = link.resends() > 0;
        let mut blocked = link.is_blocked() || link.backlog.as_deref().is_some_and(|backlog| backlog.waits);
        let queue = session.outbound().is_some_and(Outbound::can_go_on);
        blocked |= self.clients.is_sent_nothing(id);
        let replay = self.router.ready_replay(&mut self.clients, id);
        let replays_at_most_once = replay.is_some_and(|replay| replay.qos == Qos::AtMostOnce);
        // A full outbox that is not blocked is empty after the next flush; a full window waits for the client.
        let goes_on = (resends || queue || replay.is_some()) && self.clients.has_window(id) || replays_at_most_once;
        if goes_on && !blocked {
            self.clients.add_work(id);
        }
        self.router.room_again(&mut self.clients, id);
        done
    }

    /// Sends exchanges of an earlier connection again, and what is behind them, as far as window and outbox go.
    fn send_backlog_again(&mut self, turn: &mut Turn<'_>, id: SessionId) -> usize {
        let mut done = 0;
        while done < SHARE_MESSAGES && self.clients.has_window(id) && !self.clients.is_sent_nothing(id) {
            let flush = self.clients.flush;
            let limit = self.clients.settings.outbox_max_bytes;
            let session = self.clients.sessions.get_mut(id);
            let Some(link) = session.link.as_deref_mut().filter(|link| link.outbox_bytes(flush) < limit) else { break };
            let backlog = link.backlog.as_deref_mut().filter(|backlog| !backlog.waits);
            let Some(Resend { packet_id, dup }) = backlog.and_then(|backlog| backlog.resend.pop_front()) else {
                break;
            };
            let exchange = session.outbound_existing_mut().and_then(|outbound| outbound.exchange_mut(packet_id));
            match exchange {
                Some(Exchange::Published(delivery)) => {
                    let delivery = delivery.clone();
                    self.clients.send_in_flight(turn, id, packet_id, (&delivery, dup));
                }
                Some(Exchange::Released) => {
                    let kind = AckKind::PubRel;
                    let code = ReasonCode::Success;
                    self.reply(turn, id, |out, link| encode_ack(link.version, kind, packet_id, code, out));
                }
                Some(Exchange::Completed) | None => {} // completed by a late acknowledgement
            }
            done += 1;
        }
        done
    }
}

impl Router {
    fn ready_replay(&self, clients: &mut Clients, id: SessionId) -> Option<Replay> {
        let backlog = clients.sessions.get(id).link.as_deref()?.backlog.as_deref()?;
        backlog.ready_replay(self.announcements.released()).copied()
    }

    /// One page of the oldest replay. Returns whether there may be more that can be sent now.
    fn replay(
        &mut self,
        turn: &mut Turn<'_>,
        clients: &mut Clients,
        id: SessionId,
        budget: usize,
        done: &mut usize,
    ) -> bool {
        let (flush, limit) = (clients.flush, clients.settings.outbox_max_bytes as usize);
        let Some(replay) = self.ready_replay(clients, id) else { return false };
        self.catch_up(turn, clients, id); // before it is asked for room
        if clients.is_sent_nothing(id) {
            return false;
        }
        let is_paced = clients.profiled.has_rates && clients.profiled.is_paced(id, Direction::Delivery);
        let session = clients.sessions.get_mut(id);
        let in_flight = session.outbound().map_or(0, |outbound| usize::from(outbound.window().len()));
        let queued = session.outbound().is_some_and(Outbound::has_queue);
        let key = session.key;
        let link = session.link.as_deref_mut().expect("a replay is ready on it");
        let window = usize::from(link.window_max).saturating_sub(in_flight);
        let mut room_bytes = (limit / 2).saturating_sub(link.outbox_bytes(flush) as usize);
        let at_most_once = replay.qos == Qos::AtMostOnce;
        let backlog = link.backlog_mut();
        if at_most_once && replay.suback <= backlog.inherited {
            backlog.replays.finish_first(); // QoS 0 was no part of the session's state
            *done += 1;
            return true;
        }
        // One at a time of a client that may be paused after any of them.
        let budget = if is_paced { budget.min(1) } else { budget };
        let room = if at_most_once { budget } else { budget.min(window) };
        // Live messages that queue behind a full window go first, or a long replay would let their queue overflow.
        if room == 0 || room_bytes == 0 || queued && !at_most_once {
            return false;
        }
        let mut cursor = std::mem::take(&mut backlog.replays.cursor);
        let mut page: Vec<Message> = Vec::new();
        let mut text = String::new();
        self.index.filter_text(replay.entry, &mut text);
        let filter = TopicFilter::parse(&text, u16::MAX).expect("it was checked in SUBSCRIBE");
        let entries = Page { filter, cursor: &mut cursor, budget: SHARE_ENTRIES, as_of: replay.as_of };
        let mut denied = 0;
        let scan = self.retained.scan(turn.now, entries, |message| {
            if clients.access.checks && !clients.may_receive(id, message.borrow().topic) {
                denied += 1;
                return if denied == budget { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
            }
            if replay.no_local && message.publisher() == Some(key) {
                return ControlFlow::Continue(()); // [MQTT-3.8.3-3]
            }
            page.push(message.clone());
            room_bytes = room_bytes.saturating_sub(message.len_bytes() as usize + HEADER_BYTES);
            if page.len() == room || room_bytes == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        *done += (page.len() + denied).max(1);
        for message in &page {
            clients.deliver_retained(turn, id, Routed::shared(message), replay.qos, replay.id);
        }
        if let Some(link) = clients.sessions.get_mut(id).link.as_deref_mut() {
            let replays = &mut link.backlog_mut().replays;
            match scan {
                Scan::Done => replays.finish_first(),
                Scan::More => replays.cursor = cursor,
            }
        }
        true
    }
}

impl Clients {
    /// Notes that a session may have something to send.
    pub(super) fn add_work(&mut self, id: SessionId) {
        let session = self.sessions.get_mut(id);
        if !session.has_work {
            session.has_work = true;
            self.work.push_back(id);
        }
    }

    /// Whether a queue waits for nobody: neither for the client to acknowledge something nor for its socket.
    pub(super) fn queue_can_go_on(&self, id: SessionId) -> bool {
        let session = self.sessions.get(id);
        let blocked = session.link.as_deref().is_none_or(Link::is_blocked);
        !blocked
            && !self.is_sent_nothing(id)
            && session.outbound().is_some_and(Outbound::can_go_on)
            && self.has_window(id)
    }

    /// Sends from the queue as far as window, outbox and `budget` go. Returns how many messages were sent.
    pub(super) fn send_queued(&mut self, turn: &mut Turn<'_>, id: SessionId, budget: usize) -> usize {
        let mut done = 0;
        while done < budget && self.has_room(id) {
            let Some(outbound) = self.sessions.get_mut(id).outbound_existing_mut() else { break };
            let Some(delivery) = outbound.dequeue(&mut self.queues) else { break };
            if delivery.message.is_expired(turn.now) {
                self.counters.dropped(DropReason::Expired); // [MQTT-3.3.2-5]
                self.log_dropped(turn, id, delivery.stored_as, DropReason::Expired);
                continue;
            }
            self.send_from_queue(turn, id, delivery);
            done += 1;
        }
        self.ask_for_disk(turn, id);
        self.note_room(turn, id);
        done
    }
}
