//! SUBSCRIBE and UNSUBSCRIBE with so many filters that they take several turns, and the packets behind them.
//!
//! Always holds: each turn sees to a bounded part; nothing of a packet takes effect before all of it was looked at; it has one
//! answer, with a code for each filter. What its client sends behind it is handled behind it, the end of its connection
//! included. What waits so is bounded: a client that goes on sending without end is cut off.

use std::ops::ControlFlow;

use super::interest::PendingSubAck;
use super::subscribe::SubscribeRequest;
use super::{Shard, Turn};
use crate::codec::{
    Packet, ReasonCode, Side, Subscribe, Unsubscribe, Version, decode, encode_unsuback, frame, subscribe_filters,
    unsubscribe_filters,
};
use crate::ids::SessionId;
use crate::limits::{DEFERRED_TURN_BYTES, TURN_BUDGET_BYTES};
use crate::session::{HeldEnd, Link, Request, RequestKind, RequestUnderWay};
use crate::telemetry::CloseReason;

/// Filters that are looked at for one that takes effect: it costs that much less.
const CHECKS_PER_FILTER: usize = 4;

/// Bytes that came behind a request, handled in one turn: a little more than a connection may send in one, so that they end.
const HELD_PER_TURN_BYTES: usize = TURN_BUDGET_BYTES + DEFERRED_TURN_BYTES + TURN_BUDGET_BYTES;
/// And no more than these, however small: each costs the shard what it costs elsewhere.
const HELD_PER_TURN_PACKETS: usize = 512;

/// Whether the end of a connection is to be handled now.
pub(super) enum Admission {
    Now,
    /// It waits for its turn.
    Held,
}

impl Shard {
    /// Begins with a SUBSCRIBE that has more filters than one slice.
    pub(super) fn begin_subscribe(&mut self, id: SessionId, subscribe: &Subscribe<'_>) {
        let kind = RequestKind::Subscribe(subscribe.subscription_id);
        self.begin_request(id, Request::new(kind, subscribe.packet_id, subscribe.payload()));
    }

    /// Begins with an UNSUBSCRIBE that has more filters than one slice.
    pub(super) fn begin_unsubscribe(&mut self, id: SessionId, unsubscribe: &Unsubscribe<'_>) {
        let request = Request::new(RequestKind::Unsubscribe, unsubscribe.packet_id, unsubscribe.payload());
        self.begin_request(id, request);
    }

    /// The packet has been decoded and is copied: that is this turn's part.
    fn begin_request(&mut self, id: SessionId, request: Request) {
        let link = self.clients.sessions.get_mut(id).link.as_deref_mut().expect("the packet came over it");
        let waiting = link.backlog_mut().waiting.get_or_insert_default();
        assert!(waiting.request.is_none(), "what comes behind a request waits");
        waiting.request = Some(request);
        self.clients.add_work(id);
    }

    /// Whether what comes over a connection waits behind a request of its client.
    #[inline]
    pub(super) fn is_held(link: &Link) -> bool {
        link.backlog.as_deref().is_some_and(|backlog| backlog.waiting.is_some())
    }

    /// Keeps a packet until what came before it is done.
    #[cold]
    pub(super) fn hold_packet(&mut self, turn: &mut Turn<'_>, id: SessionId, packet: &Packet<'_>) {
        let most = self.clients.settings.packet_size_max_bytes as usize;
        let link = self.clients.sessions.get_mut(id).link.as_deref_mut().expect("the packet came over it");
        let version = link.version;
        let waiting = link.backlog_mut().waiting.as_deref_mut().expect("the caller has looked");
        if waiting.held.len() - waiting.handled < most {
            packet.encode(version, &mut waiting.held);
        } else {
            let text = "it sent too much behind a SUBSCRIBE or UNSUBSCRIBE that is under way";
            self.close(turn, id, ReasonCode::QuotaExceeded, CloseReason::Resources, text);
        }
    }

    /// Whether the end of a connection waits for what came before it.
    pub(super) fn hold_end(&mut self, id: SessionId, end: HeldEnd) -> Admission {
        let link = self.clients.sessions.get_mut(id).link.as_deref_mut().expect("a connection leads to its link");
        match link.backlog.as_deref_mut().and_then(|backlog| backlog.waiting.as_deref_mut()) {
            None => Admission::Now,
            Some(waiting) => {
                waiting.end.get_or_insert(end);
                Admission::Held
            }
        }
    }

    /// Does one turn's part of what a client waits for. Returns how much that was, in messages.
    pub(super) fn go_on_with_request(&mut self, turn: &mut Turn<'_>, id: SessionId) -> usize {
        let Some(mut waiting) = self.take_waiting(id) else { return 0 };
        let mut done = 1;
        if let Some(mut request) = waiting.request.take() {
            let slice = self.clients.settings.filters_per_slice as usize;
            done += slice / 2;
            match self.do_slice(turn, id, &mut request, slice) {
                ControlFlow::Break(()) => return done, // the connection has been closed
                ControlFlow::Continue(()) if request.done < request.payload.len() => waiting.request = Some(request),
                ControlFlow::Continue(()) => self.answer(turn, id, request),
            }
        } else {
            self.handle_held(turn, id, &mut waiting);
        }
        let Some(link) = self.clients.sessions.try_get_mut(id).and_then(|session| session.link.as_deref_mut()) else {
            return done;
        };
        // One of those behind it may be a request of the same kind: then what is left waits for that one.
        if let Some(next) = link.backlog.as_deref_mut().and_then(|backlog| backlog.waiting.take()) {
            waiting.request = next.request;
        }
        let is_done = waiting.request.is_none() && waiting.handled == waiting.held.len();
        if is_done && waiting.end.is_none() {
            return done;
        }
        if is_done && let Some(end) = waiting.end {
            match end {
                HeldEnd::Closed => {
                    self.end_connection(turn, id, CloseReason::SocketClosed, "the peer closed the socket");
                }
                HeldEnd::BadPacket(error) => self.close_for_bad_packet(turn, id, error),
            }
            return done;
        }
        link.backlog_mut().waiting = Some(waiting);
        self.clients.add_work(id);
        done
    }

    fn take_waiting(&mut self, id: SessionId) -> Option<Box<RequestUnderWay>> {
        let session = self.clients.sessions.try_get_mut(id)?;
        session.link.as_deref_mut()?.backlog.as_deref_mut()?.waiting.take()
    }

    /// A bounded part of one request: first all of it is checked, then it takes effect.
    fn do_slice(&mut self, turn: &mut Turn<'_>, id: SessionId, request: &mut Request, slice: usize) -> ControlFlow<()> {
        let link = self.clients.sessions.get(id).link.as_deref().expect("it waits for its request");
        let version = link.version;
        if request.checked < request.payload.len() {
            let rest = &request.payload[request.checked..];
            let (checked, result) = self.check_part(request.kind, rest, version, slice * CHECKS_PER_FILTER);
            if let Err((code, text)) = result {
                self.close(turn, id, code, CloseReason::ProtocolError, text);
                return ControlFlow::Break(());
            }
            request.checked += checked;
            if request.checked < request.payload.len() {
                return ControlFlow::Continue(());
            }
        }
        let rest = &request.payload[request.done..];
        let mut done = 0;
        match request.kind {
            RequestKind::Subscribe(identifier) => {
                // Those that came before it: what is retained may be shown before its own SUBACK, but after theirs.
                let suback = self.router.announcements.subacks_so_far();
                for requested in subscribe_filters(rest, version).take(slice) {
                    let one = SubscribeRequest { id, requested, identifier, suback };
                    request.codes.push(self.subscribe_to_one(turn, &one, version));
                    done += requested.len_bytes();
                }
            }
            RequestKind::Unsubscribe => {
                for text in unsubscribe_filters(rest).take(slice) {
                    request.codes.push(self.unsubscribe_from_one(turn, id, text));
                    done += 2 + text.len();
                }
            }
        }
        request.done += done;
        ControlFlow::Continue(())
    }

    /// Looks at some filters. Returns their bytes.
    fn check_part(
        &self,
        kind: RequestKind,
        rest: &[u8],
        version: Version,
        most: usize,
    ) -> (usize, Result<(), (ReasonCode, &'static str)>) {
        let mut checked = 0;
        match kind {
            RequestKind::Subscribe(_) => {
                for requested in subscribe_filters(rest, version).take(most) {
                    if let Err(error) = self.check_filter(&requested, version) {
                        return (checked, Err(error));
                    }
                    checked += requested.len_bytes();
                }
            }
            RequestKind::Unsubscribe => {
                for text in unsubscribe_filters(rest).take(most) {
                    if let Err(error) = self.check_text(text, version) {
                        return (checked, Err(error));
                    }
                    checked += 2 + text.len();
                }
            }
        }
        (checked, Ok(()))
    }

    fn answer(&mut self, turn: &mut Turn<'_>, id: SessionId, request: Request) {
        let Request { kind, packet_id, codes, .. } = request;
        match kind {
            RequestKind::Subscribe(_) => {
                let link = self.clients.sessions.get(id).link.as_deref().expect("it waits for its answer");
                let (connection, version) = (link.connection, link.version);
                let codes = codes.into();
                self.answer_subscribe(turn, id, PendingSubAck { connection, packet_id, codes }, version);
            }
            RequestKind::Unsubscribe => {
                self.reply(turn, id, |out, link| encode_unsuback(link.version, packet_id, &codes, None, out));
            }
        }
    }

    /// The packets that came behind a request which has been answered: as many bytes as a connection may send in a turn.
    fn handle_held(&mut self, turn: &mut Turn<'_>, id: SessionId, waiting: &mut RequestUnderWay) {
        let most = waiting.handled + HELD_PER_TURN_BYTES;
        for _ in 0..HELD_PER_TURN_PACKETS {
            if waiting.handled >= waiting.held.len().min(most) {
                break;
            }
            let Some(session) = self.clients.sessions.try_get(id) else { return };
            let Some(link) = session.link.as_deref() else { return };
            if link.backlog.as_deref().is_some_and(|backlog| backlog.waiting.is_some()) {
                return; // for another one of the kind
            }
            let version = link.version;
            let rest = &waiting.held[waiting.handled..];
            let (frame, len) = frame::next(rest, u32::MAX).expect("we wrote it").expect("whole packets are held");
            let packet = decode(frame, version, Side::Server).expect("it was decoded before");
            waiting.handled += len;
            self.handle_packet_of(turn, id, &packet);
        }
        if waiting.handled > waiting.held.len() / 2 {
            waiting.held.drain(..waiting.handled);
            waiting.handled = 0;
        }
    }
}
