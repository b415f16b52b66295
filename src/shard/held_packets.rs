//! Packets whose topics somebody else decides about: held, asked about, and taken when the answer has come.
//!
//! Always holds: of a client one packet is held at a time, and nothing behind it is heard ([`super::Effects::holds_sender`]); each question
//! is answered once, by somebody or by its deadline, and then means "no"; what is held is bounded, and what finds no room is not
//! allowed. A packet that is taken later is taken as if it had just come.
//! Leaves to others: what was decided before (`remote_decisions`), who answers (`runtime`).

use std::collections::{BTreeMap, HashSet};

use super::{Shard, Turn};
use crate::auth::acl::Publication;
use crate::auth::{Ask, AskId, AskedTopic, Question, TopicAction, TopicAnswer, TopicDecision, Verdict};
use crate::codec::{Packet, Publish, Side, Subscribe, Version, decode, frame};
use crate::ids::{ConnectionId, SessionId};
use crate::limits::{
    TOPIC_ASKS_MAX, TOPIC_ASKS_MAX_BYTES, TOPICS_ASKED_MAX, TOPICS_ASKED_MAX_BYTES, VERDICT_TIMEOUT_MS,
};
use crate::time::{Deadline, Now};
use crate::topic::SubscribedFilter;

/// Questions about topics have numbers of their own, above those about CONNECTs.
const TOPIC_ASKS: u64 = 1 << 63;

/// A packet that waits, or a will, which has no bytes here.
#[derive(Debug)]
struct HeldPacket {
    connection: ConnectionId,
    version: Version,
    bytes: Vec<u8>,
    topics: Vec<AskedTopic>,
    deadline: Deadline,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct HeldPackets {
    /// By number, so the oldest first.
    waiting: BTreeMap<u64, HeldPacket>,
    last: u64,
    bytes: usize,
}

impl HeldPackets {
    /// When the oldest has waited for too long.
    pub(super) fn next_deadline(&self) -> Option<Deadline> {
        self.waiting.first_key_value().map(|(_, held)| held.deadline)
    }

    fn has_room(&self) -> bool {
        self.waiting.len() < TOPIC_ASKS_MAX && self.bytes < TOPIC_ASKS_MAX_BYTES
    }

    fn insert(&mut self, held: HeldPacket) -> AskId {
        self.last += 1;
        self.bytes += held.bytes.len();
        self.waiting.insert(self.last, held);
        AskId(TOPIC_ASKS | self.last)
    }

    fn remove(&mut self, number: u64) -> Option<HeldPacket> {
        let held = self.waiting.remove(&number)?;
        self.bytes -= held.bytes.len();
        Some(held)
    }
}

impl Shard {
    /// Holds a packet if somebody has to be asked about its topics first. Returns whether it does.
    #[cold]
    pub(super) fn hold_undecided(&mut self, turn: &mut Turn<'_>, id: SessionId, packet: &Packet<'_>) -> bool {
        let topics = match packet {
            Packet::Publish(publish) => self.undecided_topic(turn.now, id, publish).into_iter().collect(),
            Packet::Subscribe(subscribe) => self.undecided_filters(turn.now, id, subscribe),
            _ => return false,
        };
        // What finds no room goes on undecided, and is not allowed.
        if topics.is_empty() || !self.held_packets.has_room() {
            return false;
        }
        let link = self.clients.sessions.get(id).link.as_deref().expect("the packet came over it");
        let (connection, version) = (link.connection, link.version);
        let mut bytes = Vec::new();
        packet.encode(version, &mut bytes);
        self.ask_about_topics(turn, id, HeldPacket { connection, version, bytes, topics, deadline: Deadline(0) });
        turn.fx.holds_sender = true;
        true
    }

    /// Asks about the will of a client that has just come in.
    pub(super) fn ask_about_will(&mut self, turn: &mut Turn<'_>, id: SessionId, asked: AskedTopic) {
        if !self.held_packets.has_room() {
            return; // undecided, it is not published
        }
        let link = self.clients.sessions.get(id).link.as_deref().expect("it has just been attached");
        let (connection, version) = (link.connection, link.version);
        let held = HeldPacket { connection, version, bytes: Vec::new(), topics: vec![asked], deadline: Deadline(0) };
        self.ask_about_topics(turn, id, held);
    }

    fn ask_about_topics(&mut self, turn: &mut Turn<'_>, id: SessionId, held: HeldPacket) {
        let deadline = turn.now.after_ms(VERDICT_TIMEOUT_MS);
        let client_id = &self.clients.sessions.get(id).client_id;
        let Some(question) = self.clients.access.question(id, client_id, held.topics.clone()) else { return };
        let connection = held.connection;
        if !held.bytes.is_empty()
            && let Some(link) = self.clients.sessions.get_mut(id).link.as_deref_mut()
        {
            link.set_held_for_answer(true);
        }
        let ask = self.held_packets.insert(HeldPacket { deadline, ..held });
        let question = Question::Topics(Box::new(question));
        turn.fx.asks.push(Ask { id: ask, connection, deadline, question });
    }

    /// The topic of a PUBLISH, if somebody has to be asked about it.
    fn undecided_topic(&mut self, now: Now, id: SessionId, publish: &Publish<'_>) -> Option<AskedTopic> {
        let session = self.clients.sessions.get(id);
        let link = session.link.as_deref()?;
        let topic = match publish.topic_alias {
            Some(alias) if publish.topic.is_empty() => link.aliases_in.as_deref()?.get(alias)?,
            _ => publish.topic,
        };
        let whole = self.clients.mounts.topic(id, topic);
        let topic = whole.as_deref().unwrap_or(topic);
        let (qos, retain) = match self.clients.settings.check_announced(publish.qos, publish.retain) {
            Ok(()) => (publish.qos, publish.retain),
            // What it is passed on with, if at all.
            Err(_) => (publish.qos.min(self.clients.settings.qos_max()), false),
        };
        if self.clients.access.has_just_decided(now, id, Publication { topic, qos, retain }) {
            return None;
        }
        let asked = AskedTopic { action: TopicAction::Publish, topic: topic.into(), qos, retain };
        self.clients.access.is_undecided(now, id, &session.client_id, &asked).then_some(asked)
    }

    /// Filters of a SUBSCRIBE that somebody has to be asked about, as many as one question may hold.
    fn undecided_filters(&mut self, now: Now, id: SessionId, subscribe: &Subscribe<'_>) -> Vec<AskedTopic> {
        let client_id = &self.clients.sessions.get(id).client_id;
        let (mut topics, mut known, mut bytes) = (Vec::new(), HashSet::new(), 0);
        for requested in subscribe.filters().take(TOPICS_ASKED_MAX) {
            let whole = self.clients.mounts.filter(id, requested.filter);
            let text = whole.as_deref().unwrap_or(requested.filter);
            let Ok(filter) = SubscribedFilter::parse(text, u16::MAX) else { continue };
            bytes += filter.filter.as_str().len();
            if bytes > TOPICS_ASKED_MAX_BYTES {
                break;
            }
            let (topic, qos) = (filter.filter.as_str().into(), requested.options.qos);
            let asked = AskedTopic { action: TopicAction::Subscribe, topic, qos, retain: false };
            if self.clients.access.is_undecided(now, id, client_id, &asked) && known.insert(asked.clone()) {
                topics.push(asked);
            }
        }
        topics
    }

    /// Somebody has decided about topics, or cannot. Returns whether the question was one about them.
    pub(super) fn handle_topic_verdict(&mut self, turn: &mut Turn<'_>, ask: AskId, verdict: &Verdict) -> bool {
        if ask.0 & TOPIC_ASKS == 0 {
            return false;
        }
        if let Some(held) = self.held_packets.remove(ask.0 & !TOPIC_ASKS) {
            let answers: &[TopicAnswer] = if let Verdict::Topics(answers) = verdict { answers } else { &[] };
            self.take_held(turn, held, answers);
        }
        true
    }

    /// Those for whom no answer has come: then it is no.
    pub(super) fn expire_held(&mut self, turn: &mut Turn<'_>, most: usize) {
        for _ in 0..most {
            let oldest = self.held_packets.waiting.first_key_value();
            let Some(number) = oldest.filter(|(_, held)| held.deadline.is_due(turn.now)).map(|(&number, _)| number)
            else {
                return;
            };
            let held = self.held_packets.remove(number).expect("it has just been seen");
            self.take_held(turn, held, &[]);
        }
    }

    fn take_held(&mut self, turn: &mut Turn<'_>, held: HeldPacket, answers: &[TopicAnswer]) {
        let HeldPacket { connection, version, bytes, topics, .. } = held;
        let Some(id) = self.clients.sessions.of_connection(connection) else { return };
        let no = TopicAnswer { decision: TopicDecision::Deny, is_kept: false };
        let answers = answers.iter().copied().chain(std::iter::repeat(no));
        let answered = topics.into_iter().zip(answers);
        for (asked, answer) in answered.filter(|(_, answer)| answer.decision != TopicDecision::Unasked) {
            self.clients.log_decision(turn, id, &asked, answer.decision);
            self.clients.access.keep_decision(turn.now, id, asked, answer);
        }
        if bytes.is_empty() {
            return; // a will
        }
        let framed = frame::next(&bytes, u32::MAX).ok().flatten();
        let (frame, _) = framed.expect("what was encoded is a packet");
        let packet = decode(frame, version, Side::Server).expect("what was decoded once is encoded as it may be");
        self.take_packet(turn, id, &packet);
        turn.fx.holds_sender = false; // what came behind it waits already, be it for more than the answer from now on
        let Some(id) = self.clients.sessions.of_connection(connection) else { return };
        if let Some(link) = self.clients.sessions.get_mut(id).link.as_deref_mut() {
            link.set_held_for_answer(false);
            self.clients.hear_again(turn, id);
        }
    }
}
