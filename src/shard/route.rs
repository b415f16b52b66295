//! A message on its way to everybody who is to have it: the retained store, sessions of this shard, other shards, other nodes; and one
//! that comes from another shard.

use smallvec::SmallVec;

use super::clients::Clients;
use super::forwards::ForwardRoute;
use super::groups::{PickedGroup, RemotePicks};
use super::outgoing::Fanout;
use super::router::Router;
use super::{ConfirmToken, Confirmation, PublishDetails, Settings, Turn};
use crate::ids::{Qos, SessionId, ShardId, ShardSet, WriteStamp};
use crate::limits::RETAINED_EXPIRY_NEVER_S;
use crate::session::{Message, MessageRef, Reception, Routed};
use crate::store::format::LogRecord;
use crate::time::Now;
use crate::topic::{Matches, TopicName, TopicOwner};

/// What became of a routed message.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outcome {
    /// Somebody has a matching subscription.
    pub matched: bool,
    /// Confirmations that the acknowledgement has to wait for: other shards, this shard's own store, subscribers here that are
    /// too many for one turn, and one whose queue is nearly full.
    pub waits: u8,
    /// This shard's own store is among them.
    pub waits_for_log: bool,
    /// What became of it here, as far as that is known.
    pub reception: Reception,
    /// Its delivery to subscribers here takes several turns: whoever published it is to be held.
    pub is_under_way: bool,
}

/// Where a message comes from, as far as that matters for its way.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MessageOrigin {
    /// The acknowledgement that waits for it.
    pub confirm: Option<ConfirmToken>,
    /// It belongs to a change of a session that is kept, and is to arrive on other shards once.
    pub once: bool,
    /// Whose message it is, for whoever watches.
    pub publisher: Option<SessionId>,
}

impl Router {
    /// Whether there is room to retain a message of so many bytes on `topic`, in place of the one that it may have.
    pub(super) fn may_retain(&self, settings: &Settings, topic: &str, bytes: u64) -> bool {
        let has_room = |sum_bytes: u64| sum_bytes + bytes <= settings.retained_max_bytes;
        let charged = self.retained.charged();
        if charged.messages < settings.retained_max as usize && has_room(charged.bytes) {
            return true; // without looking anything up
        }
        self.retained.bytes_of(topic).is_some_and(|old_bytes| has_room(charged.bytes.saturating_sub(old_bytes)))
    }

    /// Gives a message to everybody who is to have it: the retained store, sessions of this shard, other shards, other nodes.
    pub(super) fn route(
        &mut self,
        turn: &mut Turn<'_>,
        clients: &mut Clients,
        topic: TopicName<'_>,
        fanout: &mut Fanout<'_>,
        MessageOrigin { confirm, once, publisher }: MessageOrigin,
    ) -> Outcome {
        let before = clients.record_log.last();
        if turn.fx.tails.is_some() {
            clients.tell_tail(turn, publisher, &fanout.routed.message);
        }
        let retained = fanout.routed.message.retain.then(|| self.retain(turn, clients, &mut fanout.routed));
        if retained.is_some() {
            fanout.reception = Reception::Taken;
        }
        let confirm = confirm.filter(|_| fanout.routed.message.qos != Qos::AtMostOnce).map(Confirmation::of);
        let mut matches = self.find_matches(clients, topic);
        let is_under_way = self.deliver_plain(turn, clients, fanout, &mut matches, confirm);
        let (picks, any_member) = self.deliver_groups(turn, clients, fanout, &matches);
        let others = self.others;
        let is_elsewhere = !matches.shards.and(others).is_empty();
        let matched = is_under_way || !matches.local.is_empty() || is_elsewhere || any_member;
        let mut others_wait = 0;
        if !others.is_empty() {
            let others = ToOtherShards { matches: &matches, picks: &picks, retained, confirm, once, of_node: None };
            others_wait = others.send(turn, clients, &mut fanout.routed, self.others_here);
            if let Some(nodes) = self.nodes.as_deref_mut() {
                let (waits, behind) = others.send_to_nodes(turn, clients, nodes, &mut fanout.routed);
                others_wait += waits;
                if let Some(held) = publisher.zip(behind) {
                    nodes.rooms.hold(turn, clients, held);
                }
            }
        }
        let waits = u8::from(is_under_way && confirm.is_some());
        let mut outcome = Outcome { matched, waits, waits_for_log: false, is_under_way, reception: fanout.reception };
        if let Some(confirmation) = confirm {
            if clients.record_log.last() > before {
                clients.record_log.wait(turn, confirmation);
                (outcome.waits, outcome.waits_for_log) = (outcome.waits + 1, true);
            }
            outcome.waits += u8::from(clients.wait_for_room(turn.now, fanout.fullest, confirmation));
        }
        outcome.waits += others_wait;
        self.matches = Some(matches);
        outcome
    }

    /// Whether anybody is subscribed to a topic, here or on another shard.
    pub(super) fn is_wanted(&mut self, clients: &Clients, topic: TopicName<'_>) -> bool {
        let matches = self.find_matches(clients, topic);
        let is_wanted = !matches.is_empty();
        self.matches = Some(matches);
        is_wanted
    }

    /// Everybody whom a message on `topic` is for. To be given back to `matches`.
    #[inline]
    pub(super) fn find_matches(&mut self, clients: &Clients, topic: TopicName<'_>) -> Box<Matches> {
        let mut matches = self.matches.take().unwrap_or_default();
        matches.copied_max = clients.settings.subscribers_per_turn as usize;
        self.index.matches_again(topic, &mut matches);
        matches
    }

    /// Delivers to the plain subscribers of this shard, or begins to: then `confirm` is told in the end. Returns whether it has
    /// only begun.
    #[inline]
    pub(super) fn deliver_plain(
        &mut self,
        turn: &mut Turn<'_>,
        clients: &mut Clients,
        fanout: &mut Fanout<'_>,
        matches: &mut Matches,
        confirm: Option<Confirmation>,
    ) -> bool {
        if matches.is_crowd || matches.local.len() > 1 || !self.fanouts.is_empty() {
            if self.is_for_many(clients, fanout.routed.message.qos, matches) {
                self.begin_fanout(&mut fanout.routed, matches, confirm);
                clients.keep_span(turn, fanout.routed.share());
                return true;
            }
            self.catch_all_up(turn, clients, &matches.local);
        }
        clients.deliver_plain(turn, fanout, matches);
        false
    }

    /// Writes a retained message, or deletes one [MQTT-3.3.1-6], on this shard.
    pub(super) fn retain(&mut self, turn: &mut Turn<'_>, clients: &mut Clients, routed: &mut Routed<'_>) -> WriteStamp {
        let stamp = self.retained.stamp(turn.now, clients.id);
        let message = copy_to_retain(&clients.settings, turn.now, routed);
        if clients.logs_retained(routed.message.topic) {
            clients.log_retained(turn, routed, message.as_ref(), stamp);
        }
        self.retained.write(turn.now, routed.message.topic, message, stamp);
        stamp
    }

    /// Takes over what another shard, or another node, has retained or deleted under its stamp. Returns whether this shard's log has it.
    #[inline]
    pub(super) fn take_retained(
        &mut self,
        turn: &mut Turn<'_>,
        clients: &mut Clients,
        routed: &mut Routed<'_>,
        stamp: WriteStamp,
    ) -> bool {
        let topic = routed.message.topic;
        let message = copy_to_retain(&clients.settings, turn.now, routed);
        // An older write waits as well: for the newer one in its place.
        let stored_here = clients.logs_retained(topic);
        let kept = message.clone().filter(|_| stored_here);
        if self.retained.write(turn.now, topic, message, stamp) && stored_here {
            clients.log_retained(turn, routed, kept.as_ref(), stamp);
        }
        stored_here
    }

    /// A message that a client of another shard published.
    pub(super) fn handle_mesh_publish(
        &mut self,
        turn: &mut Turn<'_>,
        clients: &mut Clients,
        mut routed: Routed<'_>,
        plain: bool,
        details: PublishDetails,
    ) {
        let PublishDetails { groups, retained, mut confirm, forward, of_node, passed_on, .. } = details;
        let before = clients.record_log.last();
        let text = routed.message.topic;
        let mut stored_here = false;
        if let Some(stamp) = retained {
            stored_here = self.take_retained(turn, clients, &mut routed, stamp);
        }
        let mut fanout = Fanout::new(routed);
        // Interest may have arisen here that the publisher's shard had not heard of when it sent a retained message.
        let mut is_under_way = false;
        if plain || retained.is_some() {
            let mut matches = self.find_matches(clients, TopicName::checked_before(text));
            is_under_way = self.deliver_plain(turn, clients, &mut fanout, &mut matches, None);
            self.matches = Some(matches);
        }
        let mut forwarded = RemotePicks::new();
        for key in groups {
            let group = PickedGroup { key, of_node, passed_on };
            forwarded.extend(self.deliver_to_group_member(turn, clients, group, &mut fanout));
        }
        stored_here |= is_under_way || clients.record_log.last() > before;
        for (shard, key) in forwarded {
            if !self.takes(clients, shard, fanout.routed.message.qos) {
                continue;
            }
            // Whoever takes the message last confirms, unless something of it is stored here.
            let confirm = if stored_here { None } else { confirm.take() };
            let confirm = confirm.map(|confirmation| confirmation.and(fanout.reception));
            let confirm = confirm.map(|confirmation| self.question_to(clients, shard, confirmation));
            let groups = SmallVec::from_slice(&[key]);
            // What another node has picked this one for leaves it when it is passed on.
            let is_here = self.others_here.contains(shard);
            let details = PublishDetails {
                groups,
                confirm,
                sampled: clients.spans.sampled().cloned(),
                of_node: of_node && is_here,
                passed_on: if is_here { passed_on } else { of_node },
                ..PublishDetails::default()
            };
            clients.counters.mesh_sent += 1;
            if forward.is_some() {
                let route = ForwardRoute { to: shard, plain: false, is_kept_there: is_here };
                clients.forward(turn, route, &mut fanout.routed, details);
            } else {
                turn.fx.mesh.publish(shard, &mut fanout.routed, false, details);
            }
        }
        if let Some(count) = forward {
            clients.note_taken_over(turn, count, before, !self.fanouts.is_empty());
        }
        match confirm.map(|confirmation| confirmation.and(fanout.reception)) {
            Some(confirmation) if is_under_way => self.fanouts.confirm_last(confirmation, fanout.fullest),
            Some(confirmation) if clients.wait_for_room(turn.now, fanout.fullest, confirmation) => {}
            Some(confirmation) if stored_here => clients.confirm_when_durable(turn, confirmation),
            Some(confirmation) => clients.tell_stored(turn, confirmation),
            None => {}
        }
    }
}

impl Clients {
    /// Whether this shard is the one whose log has what is retained on a topic. What the broker tells of itself is in none.
    pub(super) fn logs_retained(&self, topic: &str) -> bool {
        self.record_log.is_kept() && self.retained_owner(topic) == Some(self.id)
    }

    /// The shard whose log that is.
    fn retained_owner(&self, topic: &str) -> Option<ShardId> {
        let shards = self.settings.shards;
        let is_stored = TopicOwner::of(topic) != TopicOwner::Broker;
        is_stored.then(|| if shards == 1 { self.id } else { ShardId::owner_of(topic, shards) })
    }

    /// Writes down what is retained from now on: mostly it is the message that is sent on as well.
    fn log_retained(
        &mut self,
        turn: &mut Turn<'_>,
        routed: &mut Routed<'_>,
        message: Option<&Message>,
        stamp: WriteStamp,
    ) {
        let topic = routed.message.topic;
        let message = message.map(|message| {
            if message.expires() == routed.message.expires {
                self.record_log.message(turn, routed)
            } else {
                self.record_log.message(turn, &mut Routed::shared(message))
            }
        });
        self.record_log.append(turn, &LogRecord::Retained { topic, stamp, message });
    }
}

/// What is kept of a message with RETAIN; nothing of one that deletes. Mostly it is the message that is sent on as well; one that
/// the operator gives an end, and its publisher did not, is another from then on.
fn copy_to_retain(settings: &Settings, now: Now, routed: &mut Routed<'_>) -> Option<Message> {
    let message = routed.message;
    if message.payload.is_empty() {
        return None;
    }
    let is_given_an_end = settings.retained_expiry_s != RETAINED_EXPIRY_NEVER_S
        && message.expires.is_none()
        && TopicOwner::of(message.topic) != TopicOwner::Broker;
    Some(if is_given_an_end {
        Message::new(&MessageRef { expires: Some(now.after_s(settings.retained_expiry_s)), ..message })
    } else {
        routed.share().clone()
    })
}

/// What goes to other shards, and other nodes, of a message that was routed here.
pub(super) struct ToOtherShards<'a> {
    pub matches: &'a Matches,
    /// Members of groups that were picked there.
    pub picks: &'a [(ShardId, u64)],
    /// Set when it is also a write to the retained store.
    pub retained: Option<WriteStamp>,
    /// The acknowledgement that waits for them.
    pub confirm: Option<Confirmation>,
    /// It arrives there once.
    pub once: bool,
    /// It came from another node, and whether that has passed it on.
    pub of_node: Option<bool>,
}

impl ToOtherShards<'_> {
    /// Whoever has subscribers that it is for.
    #[inline]
    pub(super) fn targets(&self) -> ShardSet {
        let mut targets = self.matches.shards;
        for &(shard, _) in self.picks {
            targets.insert(shard);
        }
        targets
    }

    /// The groups of which a member there was picked.
    #[inline]
    pub(super) fn groups_of(&self, shard: ShardId) -> SmallVec<[u64; 2]> {
        self.picks.iter().filter(|&&(picked, _)| picked == shard).map(|&(_, key)| key).collect()
    }

    /// Whether it crosses when what it belongs to is durable, and then whether the other shard writes down what comes of it.
    fn is_forward(&self, clients: &Clients, shard: ShardId, routed: &Routed<'_>, groups: &[u64]) -> Option<bool> {
        if !self.once || !clients.record_log.is_kept() {
            return (clients.forwards.waiting[routed.message.qos as usize] > 0).then_some(false);
        }
        let topic = routed.message.topic;
        let is_retained_there = self.retained.is_some() && clients.retained_owner(topic) == Some(shard);
        Some(self.matches.durable_shards.contains(shard) || !groups.is_empty() || is_retained_there)
    }

    /// One message per interested shard of this node, of which the others are `here`. Returns how many of them will confirm.
    pub(super) fn send(
        &self,
        turn: &mut Turn<'_>,
        clients: &mut Clients,
        routed: &mut Routed<'_>,
        here: ShardSet,
    ) -> u8 {
        let targets = if self.retained.is_some() { here } else { self.targets().and(here) };
        let mut waits = 0;
        for shard in targets.iter() {
            let groups = self.groups_of(shard);
            // A retained message is taken over when every copy has it: whoever subscribes after seeing it acknowledged
            // is shown it with RETAIN 1, wherever the subscription lives.
            let is_kept = self.retained.is_some() || self.matches.durable_shards.contains(shard) || !groups.is_empty();
            let confirm = self.confirm.filter(|_| is_kept || clients.settings.asks_every_shard());
            waits += u8::from(confirm.is_some());
            clients.counters.mesh_sent += 1;
            let plain = self.matches.shards.contains(shard);
            let is_forward = self.is_forward(clients, shard, routed, &groups);
            let sampled = clients.spans.sampled().cloned();
            let details = PublishDetails {
                groups,
                retained: self.retained,
                confirm,
                forward: None,
                sampled,
                of_node: self.of_node.is_some(),
                passed_on: self.of_node.unwrap_or_default(),
            };
            match is_forward {
                None => turn.fx.mesh.publish(shard, routed, plain, details),
                Some(is_kept_there) => {
                    clients.forward(turn, ForwardRoute { to: shard, plain, is_kept_there }, routed, details);
                }
            }
        }
        waits
    }
}
