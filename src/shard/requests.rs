//! SUBSCRIBE and UNSUBSCRIBE with so many filters that they take several turns.
//!
//! Always holds: each turn sees to a bounded part; nothing of a packet takes effect before all of it was looked at; it has one
//! answer, with a code for each filter.
//! Leaves to others: what its client sends behind it, the end of its connection included (`conn` holds it until the answer).

use std::ops::ControlFlow;

use super::interest::PendingSubAck;
use super::subscribe::SubscribeRequest;
use super::{Shard, Turn};
use crate::codec::{ReasonCode, Subscribe, Unsubscribe, Version, subscribe_filters, unsubscribe_filters};
use crate::ids::SessionId;
use crate::session::{Request, RequestKind};
use crate::store::Position;
use crate::telemetry::CloseReason;

/// Filters that are looked at for one that takes effect: it costs that much less.
const CHECKS_PER_FILTER: usize = 4;

impl Shard {
    /// Begins with a SUBSCRIBE that has more filters than one slice.
    pub(super) fn begin_subscribe(&mut self, turn: &mut Turn<'_>, id: SessionId, subscribe: &Subscribe<'_>) {
        let kind = RequestKind::Subscribe(subscribe.subscription_id);
        self.begin_request(turn, id, Request::new(kind, subscribe.packet_id, subscribe.payload()));
    }

    /// Begins with an UNSUBSCRIBE that has more filters than one slice.
    pub(super) fn begin_unsubscribe(&mut self, turn: &mut Turn<'_>, id: SessionId, unsubscribe: &Unsubscribe<'_>) {
        let request = Request::new(RequestKind::Unsubscribe, unsubscribe.packet_id, unsubscribe.payload());
        self.begin_request(turn, id, request);
    }

    /// The packet has been decoded and is copied: that is this turn's part.
    fn begin_request(&mut self, turn: &mut Turn<'_>, id: SessionId, request: Request) {
        let link = self.clients.sessions.get_mut(id).link.as_deref_mut().expect("the packet came over it");
        let before = link.backlog_mut().request.replace(Box::new(request));
        assert!(before.is_none(), "what comes behind a request is held");
        turn.fx.holds_sender = true;
        self.clients.add_work(id);
    }

    /// Does one turn's part of what a client waits for. Returns how much that was, in messages.
    pub(super) fn go_on_with_request(&mut self, turn: &mut Turn<'_>, id: SessionId) -> usize {
        let Some(mut request) = self.take_request(id) else { return 0 };
        let slice = self.clients.filters_per_slice();
        let done = 1 + slice / 2;
        if self.do_slice(turn, id, &mut request, slice).is_break() {
            return done; // the connection has been closed
        }
        if request.done < request.payload.len() {
            let link = self.clients.sessions.get_mut(id).link.as_deref_mut().expect("it has just been served");
            link.backlog_mut().request = Some(request);
            self.clients.add_work(id);
            return done;
        }
        self.clients.hear_again(turn, id);
        self.answer(turn, id, *request);
        done
    }

    fn take_request(&mut self, id: SessionId) -> Option<Box<Request>> {
        let session = self.clients.sessions.try_get_mut(id)?;
        session.link.as_deref_mut()?.backlog.as_deref_mut()?.request.take()
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
                self.answer_subscribe(
                    turn,
                    id,
                    PendingSubAck { connection, packet_id, codes, position: Position(0) },
                    version,
                );
            }
            RequestKind::Unsubscribe => {
                self.answer_unsubscribe(turn, id, packet_id, codes.into());
            }
        }
    }
}
