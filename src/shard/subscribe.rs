//! SUBSCRIBE and UNSUBSCRIBE: the index here, the announcement to the other shards, and SUBACK once all of them know.

use smallvec::SmallVec;

use super::clients::Clients;
use super::interest::PendingSubAck;
use super::lifecycle::UnsubscribedBy;
use super::policy::granted_options;
use super::record_log::Held;
use super::router::Router;
use super::{MeshMessage, Shard, Turn};
use crate::auth::{AskedTopic, TopicAction};
use crate::codec::{
    ReasonCode, RetainHandling, Subscribe, SubscribeFilter, SubscriptionOptions, Unsubscribe, Version, encode_suback,
    encode_unsuback,
};
use crate::ids::{PacketId, SessionId, ShardId, ShardSet, SubscriptionId};
use crate::limits;
use crate::session::{Link, Place, Replay};
use crate::store::format::LogRecord;
use crate::store::{Position, Urgency};
use crate::telemetry::{CloseReason, RequestRefusal, Verbosity};
use crate::topic::{Interest, InterestChange, SubscribedFilter, Subscriber, TopicError};

const EMPTY_FILTER: &str = "an empty topic filter";
const NO_FILTER: &str = "a topic filter that is none";

impl Shard {
    pub(super) fn handle_subscribe(&mut self, turn: &mut Turn<'_>, id: SessionId, subscribe: &Subscribe<'_>) {
        if subscribe.len() > self.clients.filters_per_slice() {
            self.begin_subscribe(turn, id, subscribe);
            return;
        }
        let link = self.clients.sessions.get(id).link.as_deref().expect("the packet came over it");
        let (connection, version) = (link.connection, link.version);
        // The whole packet is looked at before any of it takes effect.
        if let Err((code, text)) = subscribe.filters().try_for_each(|requested| self.check_filter(&requested, version))
        {
            self.close(turn, id, code, CloseReason::ProtocolError, text);
            return;
        }
        let mut codes = SmallVec::<[ReasonCode; 8]>::new();
        let suback = self.router.announcements.subacks_so_far() + 1;
        for requested in subscribe.filters() {
            let one = SubscribeRequest { id, requested, identifier: subscribe.subscription_id, suback };
            codes.push(self.subscribe_to_one(turn, &one, version));
        }
        let suback = PendingSubAck { connection, packet_id: subscribe.packet_id, codes, position: Position(0) };
        self.answer_subscribe(turn, id, suback, version);
    }

    /// One filter that has been looked at. Returns its code.
    pub(super) fn subscribe_to_one(
        &mut self,
        turn: &mut Turn<'_>,
        request: &SubscribeRequest<'_>,
        version: Version,
    ) -> ReasonCode {
        let whole = self.clients.mounts.filter(request.id, request.requested.filter);
        let filter = whole.as_deref().unwrap_or(request.requested.filter);
        let request = &SubscribeRequest { requested: SubscribeFilter { filter, ..request.requested }, ..*request };
        let not_taken = if version.is_v5() { ReasonCode::TopicFilterInvalid } else { ReasonCode::UnspecifiedError };
        let not_allowed = if version.is_v5() { ReasonCode::NotAuthorized } else { ReasonCode::UnspecifiedError };
        let text = request.requested.filter;
        let is_refused = self.clients.settings.refuses_text(text);
        let code = match SubscribedFilter::parse(text, self.clients.settings.topic_levels_max) {
            Ok(_) if is_refused => self.clients.refuse_filter(RequestRefusal::TopicRefused, not_taken),
            Ok(filter) if !self.clients.may_subscribe(request.id, &filter, request.requested.options.qos) => {
                let (topic, qos) = (filter.filter.as_str(), request.requested.options.qos);
                let asked = || AskedTopic { action: TopicAction::Subscribe, topic: topic.into(), qos, retain: false };
                let is_unanswered = version.is_v5() && self.clients.is_unanswered(request.id, asked);
                if is_unanswered {
                    self.clients.refuse_filter(RequestRefusal::Undecided, ReasonCode::QuotaExceeded)
                } else {
                    self.clients.refuse_filter(RequestRefusal::AccessDenied, not_allowed)
                }
            }
            Ok(filter) => {
                let link = self.clients.sessions.get(request.id).link.as_deref();
                let is_bridge = link.is_some_and(Link::is_bridge);
                let options = granted_options(&self.clients.settings, request.requested.options, &filter, is_bridge);
                let requested = SubscribeFilter { options, ..request.requested };
                let request = SubscribeRequest { requested, ..*request };
                self.router.subscribe(turn, &mut self.clients, &request, &filter)
            }
            // 0x80 is the one failure that 3.1.1 has.
            Err(_) => self.clients.refuse_filter(RequestRefusal::TopicRefused, not_taken),
        };
        self.tell_subscribed(turn, request.id, request.requested.filter, code);
        if turn.fx.verbosity >= Verbosity::Debug {
            self.clients.report_subscribed(turn, request.id, &request.requested, code);
        }
        code
    }

    /// SUBACK is owed from now on, and leaves when every shard knows.
    pub(super) fn answer_subscribe(
        &mut self,
        turn: &mut Turn<'_>,
        id: SessionId,
        suback: PendingSubAck,
        version: Version,
    ) {
        let refused = suback.codes.iter().any(|code| code.is_error());
        let mut suback = suback;
        if self.clients.sessions.get(id).is_persistent() {
            suback.position = self.clients.record_log.last();
            turn.fx.log.urgency = Urgency::Awaited;
        }
        self.router.announcements.add(suback);
        if version == Version::V31 && refused {
            let text = "a subscription was refused, and SUBACK of 3.1 cannot say so";
            self.close(turn, id, ReasonCode::QuotaExceeded, CloseReason::Resources, text);
        }
        self.release_subacks(turn);
    }

    /// What makes the whole SUBSCRIBE an error of the protocol, not of one filter.
    pub(super) fn check_filter(
        &self,
        requested: &SubscribeFilter<'_>,
        version: Version,
    ) -> Result<(), (ReasonCode, &'static str)> {
        match SubscribedFilter::parse(requested.filter, self.clients.settings.topic_levels_max) {
            Ok(filter) if filter.share.is_some() && requested.options.no_local => {
                // [MQTT-3.8.3-4]
                Err((ReasonCode::ProtocolError, "no-local on a shared subscription"))
            }
            // Before 5.0 there is no code for a filter that is none [MQTT-4.7.1-2, MQTT-4.7.1-3]. One that is
            // merely too deep is refused in SUBACK, which can say so since 3.1.1.
            Err(error) if !version.is_v5() && (!error.is_policy() || version == Version::V31) => {
                Err((ReasonCode::TopicFilterInvalid, NO_FILTER))
            }
            // There is a code for a filter that is none, but this one is not even a string of the right kind
            // [MQTT-4.7.3-1].
            Err(TopicError::Empty) => Err((ReasonCode::ProtocolError, EMPTY_FILTER)),
            _ => Ok(()),
        }
    }

    /// The same of an UNSUBSCRIBE.
    pub(super) fn check_text(&self, text: &str, version: Version) -> Result<(), (ReasonCode, &'static str)> {
        match SubscribedFilter::parse(text, self.clients.settings.topic_levels_max) {
            Err(error) if !version.is_v5() && !error.is_policy() => Err((ReasonCode::TopicFilterInvalid, NO_FILTER)),
            Err(TopicError::Empty) => Err((ReasonCode::ProtocolError, EMPTY_FILTER)), // [MQTT-4.7.3-1]
            _ => Ok(()),
        }
    }

    /// Sends the SUBACKs whose announcements every shard has applied, and begins their replays.
    pub(super) fn release_subacks(&mut self, turn: &mut Turn<'_>) {
        while let Some(suback) = self.router.announcements.next_ready() {
            let connection = suback.connection;
            let Some(id) = self.clients.sessions.of_connection(connection) else { continue };
            if self.clients.record_log.has(suback.position) || !self.clients.record_log.is_kept() {
                self.send_suback(turn, id, &suback);
                continue;
            }
            // Others do not wait behind it; what is retained does.
            if let Some(link) = self.clients.sessions.get_mut(id).link.as_deref_mut() {
                link.backlog_mut().subacks += 1;
            }
            self.clients.record_log.hold(turn, connection, Held::SubAck(Box::new(suback)));
        }
    }

    /// SUBACK, and the first page of its replays at once: mostly it is the only one.
    pub(super) fn send_suback(&mut self, turn: &mut Turn<'_>, id: SessionId, suback: &PendingSubAck) {
        let PendingSubAck { packet_id, codes, .. } = suback;
        self.reply(turn, id, |out, link| {
            encode_suback(link.version, *packet_id, codes, None, out);
        });
        let Some(session) = self.clients.sessions.try_get(id) else { return };
        if session.link.as_deref().is_some_and(|link| link.replays() > 0) {
            self.advance(turn, id);
        }
    }

    pub(super) fn handle_unsubscribe(&mut self, turn: &mut Turn<'_>, id: SessionId, unsubscribe: &Unsubscribe<'_>) {
        if unsubscribe.len() > self.clients.settings.filters_per_slice as usize {
            self.begin_unsubscribe(turn, id, unsubscribe);
            return;
        }
        let link = self.clients.sessions.get(id).link.as_deref().expect("the packet came over it");
        let version = link.version;
        // The whole packet is looked at before any of it takes effect.
        if let Err((code, text)) = unsubscribe.filters().try_for_each(|text| self.check_text(text, version)) {
            self.close(turn, id, code, CloseReason::ProtocolError, text);
            return;
        }
        let mut codes = SmallVec::<[ReasonCode; 8]>::new();
        for text in unsubscribe.filters() {
            codes.push(self.unsubscribe_from_one(turn, id, text));
        }
        self.answer_unsubscribe(turn, id, unsubscribe.packet_id, codes);
    }

    /// UNSUBACK, at once or when what it says is durable.
    pub(super) fn answer_unsubscribe(
        &mut self,
        turn: &mut Turn<'_>,
        id: SessionId,
        packet_id: PacketId,
        codes: SmallVec<[ReasonCode; 8]>,
    ) {
        let mut codes = Some(codes);
        let mut take = || codes.take().unwrap_or_default();
        if !self.clients.hold(turn, id, || Held::UnsubAck(Box::new((packet_id, take())))) {
            let codes = take();
            self.reply(turn, id, |out, link| encode_unsuback(link.version, packet_id, &codes, None, out));
        }
    }

    /// One filter that has been looked at. Returns its code.
    pub(super) fn unsubscribe_from_one(&mut self, turn: &mut Turn<'_>, id: SessionId, text: &str) -> ReasonCode {
        let whole = self.clients.mounts.filter(id, text);
        let text = whole.as_deref().unwrap_or(text);
        let code = match SubscribedFilter::parse(text, self.clients.settings.topic_levels_max) {
            Ok(filter) => self.router.unsubscribe(turn, &mut self.clients, id, &filter, text),
            Err(_) => ReasonCode::TopicFilterInvalid,
        };
        if code == ReasonCode::Success {
            self.tell_unsubscribed(turn, id, text, UnsubscribedBy::Client);
        }
        if turn.fx.verbosity >= Verbosity::Debug {
            self.clients.report_unsubscribed(turn, id, text, code);
        }
        code
    }
}

impl Clients {
    /// Counts a filter that is not taken. Returns its code.
    #[cold]
    const fn refuse_filter(&mut self, cause: RequestRefusal, code: ReasonCode) -> ReasonCode {
        self.counters.filter_refused(cause);
        code
    }
}

/// One filter of a SUBSCRIBE.
pub(super) struct SubscribeRequest<'a> {
    pub id: SessionId,
    pub requested: SubscribeFilter<'a>,
    pub identifier: Option<SubscriptionId>,
    /// Of the shard's SUBACKs, counted from its start, the one that goes before what is retained.
    pub suback: u64,
}

impl Router {
    /// One filter of a SUBSCRIBE. Returns its reason code.
    fn subscribe(
        &mut self,
        turn: &mut Turn<'_>,
        clients: &mut Clients,
        request: &SubscribeRequest<'_>,
        filter: &SubscribedFilter<'_>,
    ) -> ReasonCode {
        let SubscribeRequest { id, requested, identifier, suback } = *request;
        let options = requested.options;
        let subscriber = Subscriber { session: id, options: options.to_bits(), identifier };
        let found = self.index.find(filter);
        self.catch_up(turn, clients, id);
        let subscriptions_max = clients.profiled.subscriptions_max(id, &clients.settings);
        let session = clients.sessions.get_mut(id);
        let link = session.link.as_deref().expect("the packet came over it");
        let held = found.and_then(|entry| Some((entry, session.subscriptions.position(entry)?)));
        // A client that subscribes over and over must not make replays pile up; one that has every subscription it may have is
        // shown them all. What it repeats beyond that is shown once, by the replay that still waits.
        let has_all_replays = link.replays() >= subscriptions_max;
        if has_all_replays && !held.is_some_and(|(entry, _)| link.is_to_be_shown(entry)) {
            return clients.refuse_filter(RequestRefusal::ReplaysFull, ReasonCode::QuotaExceeded);
        }
        let is_new = held.is_none();
        let entry = if let Some((entry, position)) = held {
            self.index.replace(entry, position, subscriber); // [MQTT-3.8.4-3]
            entry
        } else {
            let bytes = session.subscriptions_bytes + requested.filter.len() as u32;
            if session.subscriptions.len() >= subscriptions_max
                || bytes > limits::SUBSCRIPTIONS_MAX_BYTES
                || !self.index.admits(filter)
            {
                return clients.refuse_filter(RequestRefusal::SubscriptionsFull, ReasonCode::QuotaExceeded);
            }
            if session.is_persistent() && clients.log_rooms.is_short() {
                return clients.refuse_filter(RequestRefusal::StorageFull, ReasonCode::QuotaExceeded);
            }
            session.subscriptions_bytes = bytes;
            let inserted = self.index.insert(filter, subscriber, session.counts_as_durable);
            session.subscriptions.set(Place { entry: inserted.entry, position: inserted.position });
            self.inserted_meanwhile += usize::from(!clients.sessions.ended().is_empty());
            if let Some(change) = inserted.change {
                self.announce(turn, clients, requested.filter, change);
            }
            inserted.entry
        };
        if clients.sessions.get(id).is_persistent() {
            let (filter, options) = (requested.filter, options.to_bits());
            clients.record_log.append(turn, &LogRecord::Subscribed { session: id, filter, options, identifier });
        }
        let replays = match options.retain_handling {
            RetainHandling::SendAlways => true,  // [MQTT-3.3.1-9]
            RetainHandling::SendIfNew => is_new, // [MQTT-3.3.1-10]
            RetainHandling::Never => false,      // [MQTT-3.3.1-11]
        };
        if replays && !has_all_replays && filter.share.is_none() && !self.retained.is_empty() {
            let (qos, as_of) = (options.qos, self.retained.written());
            let replay = Replay { entry, as_of, suback, qos, no_local: options.no_local, id: identifier };
            let link = clients.sessions.get_mut(id).link.as_deref_mut().expect("it had one above");
            link.backlog_mut().replays.push(replay);
        }
        ReasonCode::granted(options.qos)
    }

    /// Takes a subscription away. Returns its reason code.
    pub(super) fn unsubscribe(
        &mut self,
        turn: &mut Turn<'_>,
        clients: &mut Clients,
        id: SessionId,
        filter: &SubscribedFilter<'_>,
        text: &str,
    ) -> ReasonCode {
        self.catch_up(turn, clients, id);
        let session = clients.sessions.get_mut(id);
        let held = self.index.find(filter).and_then(|entry| Some((entry, session.subscriptions.remove(entry)?)));
        let Some((entry, position)) = held else { return ReasonCode::NoSubscriptionExisted };
        session.subscriptions_bytes -= text.len() as u32;
        let (durable, is_persistent) = (session.counts_as_durable, session.is_persistent());
        // Its replays, under way or waiting for their SUBACK, have lost their reason.
        if let Some(backlog) = session.link.as_deref_mut().and_then(|link| link.backlog.as_deref_mut()) {
            backlog.replays.end(entry);
        } else if let Some(outbound) = session.outbound_existing_mut() {
            outbound.end_parked(entry);
        }
        self.remove_from_index(turn, clients, Place { entry, position }, durable);
        if is_persistent {
            clients.record_log.append(turn, &LogRecord::Unsubscribed { session: id, filter: text });
        }
        ReasonCode::Success
    }

    /// Tells the other shards, and other nodes, what this one is interested in now.
    pub(super) fn announce(&mut self, turn: &mut Turn<'_>, clients: &Clients, filter: &str, change: InterestChange) {
        let others = ShardSet::all_but(clients.id, clients.settings.shards);
        if others.is_empty() && self.nodes.is_none() {
            return;
        }
        let number = self.announcements.next_number();
        for shard in others.iter() {
            turn.fx.mesh.push(shard, MeshMessage::Interest { number, filter: filter.into(), interest: change.now });
        }
        if self.nodes.is_some() {
            self.tell_peers(turn, filter, change, number);
        }
    }

    /// Another shard's interest in a filter has changed.
    pub(super) fn apply_interest(
        &mut self,
        turn: &mut Turn<'_>,
        from: ShardId,
        (number, filter): (u64, &str),
        interest: Interest,
    ) {
        if self.nodes.is_some() && self.apply_interest_as_speaker(turn, from, (number, filter), interest) {
            return;
        }
        let filter = SubscribedFilter::parse(filter, u16::MAX).expect("the announcing shard has checked it");
        self.index.apply_remote(from, &filter, interest);
        turn.fx.mesh.push(from, MeshMessage::Applied { number });
    }
}

const _: () = assert!(size_of::<SubscriptionOptions>() <= 4);
