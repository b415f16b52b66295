//! A message on its way to everybody who is to have it: the retained store, sessions of this shard, other shards; and one that
//! comes from another shard.

use smallvec::SmallVec;

use super::clients::Clients;
use super::deliver::Templates;
use super::groups::RemotePicks;
use super::router::Router;
use super::{ConfirmToken, Rider, Settings, Stamp, Turn};
use crate::ids::{Qos, ShardId, ShardSet};
use crate::session::Routed;
use crate::store::Record;
use crate::topic::{Matches, TopicName};

/// What became of a routed message.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outcome {
    /// Somebody has a matching subscription.
    pub matched: bool,
    /// Confirmations that the acknowledgement has to wait for: other shards, and this shard's own store.
    pub waits: u8,
}

impl Router {
    /// Whether there is room to retain a message of so many bytes on `topic`, in place of the one that it may have.
    pub(super) fn may_retain(&self, settings: &Settings, topic: &str, bytes: u64) -> bool {
        let has_room = |sum_bytes: u64| sum_bytes + bytes <= settings.retained_max_bytes;
        if self.retained.len() < settings.retained_max as usize && has_room(self.retained.bytes()) {
            return true; // without looking anything up
        }
        self.retained.bytes_of(topic).is_some_and(|old_bytes| has_room(self.retained.bytes() - old_bytes))
    }

    /// Gives a message to everybody who is to have it: the retained store, sessions of this shard, other shards.
    pub(super) fn route(
        &mut self,
        turn: &mut Turn<'_>,
        clients: &mut Clients,
        topic: TopicName<'_>,
        routed: &mut Routed<'_>,
        confirm: Option<ConfirmToken>,
    ) -> Outcome {
        let before = clients.ledger.last();
        let stamp = routed.message.retain.then(|| self.retain(turn, clients, routed));
        let mut matches = self.matches.take().unwrap_or_default();
        self.index.matches_again(topic, &mut matches);
        let mut templates = Templates::default();
        clients.deliver_plain(turn, routed, &mut matches, &mut templates);
        let (picks, any_member) = self.deliver_groups(turn, clients, routed, &matches, &mut templates);
        let matched = !matches.local.is_empty() || !matches.shards.is_empty() || any_member;
        let mut outcome = Outcome { matched, waits: 0 };
        let confirm = confirm.filter(|_| routed.message.qos != Qos::AtMostOnce);
        if let Some(token) = confirm
            && clients.ledger.last() > before
        {
            clients.ledger.wait(token);
            outcome.waits += 1;
        }
        if clients.settings.shards > 1 {
            outcome.waits += self.send_to_shards(turn, clients, routed, &matches, &picks, stamp, confirm);
        }
        self.matches = Some(matches);
        outcome
    }

    /// Writes a retained message, or deletes one [MQTT-3.3.1-6], on this shard.
    pub(super) fn retain(&mut self, turn: &mut Turn<'_>, clients: &mut Clients, routed: &mut Routed<'_>) -> Stamp {
        let stamp = self.retained.stamp(turn.now, clients.id);
        let message = (!routed.message.payload.is_empty()).then(|| routed.share().clone());
        clients
            .ledger
            .append(Record::Retained { topic: routed.message.topic.into(), message: message.clone() }, turn.fx);
        self.retained.write(turn.now, routed.message.topic, message, stamp);
        stamp
    }

    /// One message per interested shard. Returns how many of them will confirm.
    pub(super) fn send_to_shards(
        &mut self,
        turn: &mut Turn<'_>,
        clients: &mut Clients,
        routed: &mut Routed<'_>,
        matches: &Matches,
        picks: &[(ShardId, u64)],
        retained: Option<Stamp>,
        confirm: Option<ConfirmToken>,
    ) -> u8 {
        let mut targets = matches.shards;
        for &(shard, _) in picks {
            targets.insert(shard);
        }
        if retained.is_some() {
            targets = ShardSet::all_but(clients.id, clients.settings.shards);
        }
        let mut waits = 0;
        for shard in targets.iter() {
            let groups: SmallVec<[u64; 2]> =
                picks.iter().filter(|&&(picked, _)| picked == shard).map(|&(_, key)| key).collect();
            // A retained message is taken over when every copy has it: whoever subscribes after seeing it acknowledged
            // is shown it with RETAIN 1, wherever the subscription lives.
            let owed = retained.is_some() || matches.durable_shards.contains(shard) || !groups.is_empty();
            let confirm = confirm.filter(|_| owed);
            waits += u8::from(confirm.is_some());
            clients.counters.mesh_sent += 1;
            turn.fx.mesh.publish(shard, routed, matches.shards.contains(shard), Rider { groups, retained, confirm });
        }
        waits
    }

    /// A message that a client of another shard published.
    pub(super) fn handle_mesh_publish(
        &mut self,
        turn: &mut Turn<'_>,
        clients: &mut Clients,
        mut routed: Routed<'_>,
        plain: bool,
        rider: Rider,
    ) {
        let Rider { groups, retained, mut confirm } = rider;
        let before = clients.ledger.last();
        let text = routed.message.topic;
        if let Some(stamp) = retained {
            let message = (!routed.message.payload.is_empty()).then(|| routed.share().clone());
            self.retained.write(turn.now, text, message, stamp);
        }
        let mut templates = Templates::default();
        // Interest may have arisen here that the publisher's shard had not heard of when it sent a retained message.
        if plain || retained.is_some() {
            let mut matches = self.matches.take().unwrap_or_default();
            let topic = TopicName::checked_before(text);
            self.index.matches_again(topic, &mut matches);
            clients.deliver_plain(turn, &mut routed, &mut matches, &mut templates);
            self.matches = Some(matches);
        }
        let mut forwarded = RemotePicks::new();
        for key in groups {
            self.deliver_to_group_member(turn, clients, key, &mut routed, &mut templates, &mut forwarded);
        }
        let stored_here = clients.ledger.last() > before;
        for (shard, key) in forwarded {
            // Whoever takes the message last confirms, unless something of it is stored here.
            let confirm = if stored_here { None } else { confirm.take() };
            let rider = Rider { groups: SmallVec::from_slice(&[key]), retained: None, confirm };
            clients.counters.mesh_sent += 1;
            turn.fx.mesh.publish(shard, &mut routed, false, rider);
        }
        match confirm {
            Some(token) if stored_here => clients.ledger.wait(token),
            Some(token) => clients.tell_stored(turn, token),
            None => {}
        }
    }
}
