//! Messages to other nodes, and what they answer.
//!
//! Always holds: one message goes to each node that is interested, whoever there is to have it, and only to processes that the view has; a retained one goes to all.
//! What came from another node goes to a third one for a group alone, and says so.
//! Each node that is sent a QoS 1 or 2 message is asked, and each question counts once for the acknowledgement that waits: as it is answered, or as
//! not taken when the node's process is gone.
//! Leaves to others: who is interested (`route`), what waits for which answer (`asked`), the frames (`link_words`).

use super::clients::Clients;
use super::forwards::ForwardRoute;
use super::groups::RemotePicks;
use super::link_rooms::LinkFate;
use super::nodes::Nodes;
use super::route::ToOtherShards;
use super::router::Router;
use super::{ConfirmToken, Confirmation, MeshMessage, PeerFault, PublishDetails, Shard, Turn};
use crate::ids::{ConnectionId, Qos, ShardId, ShardSet};
use crate::limits::{LINK_GROUPS_MAX, RELEASED_PER_TURN};
use crate::session::{AckNumber, Reception, Routed};

/// Questions that one message leads to at most. One that names so many groups that it takes more frames asks no more.
const QUESTIONS_MAX: u8 = 128;

impl ToOtherShards<'_> {
    /// One message per interested node. Returns how many questions they will answer, and a node whose link is behind, for which it waits.
    pub(super) fn send_to_nodes(
        &self,
        turn: &mut Turn<'_>,
        clients: &mut Clients,
        nodes: &mut Nodes,
        routed: &mut Routed<'_>,
    ) -> (u8, Option<ShardId>) {
        let slots = nodes.view.slots();
        let targets = if self.retained.is_some() { slots } else { self.targets().and(slots) };
        // What belongs to a change, and what goes behind such a message, crosses when that is durable.
        let waits_for_log =
            clients.forwards.waiting[routed.message.qos as usize] > 0 || self.once && clients.record_log.is_kept();
        let (mut waits, mut behind) = (0, None);
        let weight = (routed.message.qos, self.retained.is_some());
        for slot in targets.iter() {
            match nodes.rooms.fate(clients, slot, weight) {
                LinkFate::Said => {}
                LinkFate::SaidAndHeld => behind = Some(slot),
                LinkFate::Dropped => continue,
            }
            let groups = self.groups_of(slot);
            for frame in 0..groups.len().div_ceil(LINK_GROUPS_MAX).max(1) {
                let is_first = frame == 0;
                let asked = self.confirm.filter(|_| waits < QUESTIONS_MAX);
                let confirm = asked.map(|confirmation| nodes.question(clients.id, slot, confirmation));
                waits += u8::from(confirm.is_some());
                let details = PublishDetails {
                    groups: groups.iter().skip(frame * LINK_GROUPS_MAX).take(LINK_GROUPS_MAX).copied().collect(),
                    retained: self.retained.filter(|_| is_first),
                    confirm,
                    ..PublishDetails::default()
                };
                let plain = is_first && self.matches.shards.contains(slot);
                if waits_for_log {
                    let route = ForwardRoute { to: slot, plain, is_kept_there: false };
                    clients.forward(turn, route, routed, details);
                } else {
                    turn.fx.mesh.publish(slot, routed, plain, details);
                }
            }
        }
        (waits, behind)
    }
}

impl Nodes {
    /// What a peer is asked so that its answer counts for `confirmation`.
    fn question(&mut self, own: ShardId, peer: ShardId, confirmation: Confirmation) -> Confirmation {
        let number = self.asked.ask(peer, confirmation);
        Confirmation::of(ConfirmToken { shard: own, connection: ConnectionId::of_node(peer.0), number })
    }
}

impl Router {
    /// What `to` is asked so that its answer counts for `confirmation`: another shard of this node that itself.
    pub(super) fn question_to(&mut self, clients: &Clients, to: ShardId, confirmation: Confirmation) -> Confirmation {
        match self.nodes.as_deref_mut() {
            Some(nodes) if to.is_slot(clients.settings.shards) => nodes.question(clients.id, to, confirmation),
            _ => confirmation,
        }
    }

    /// Whether `to`, which a group's message is passed on to, takes it: a shard of this node does, and another node unless its link is behind and
    /// nobody acknowledges the message, which is counted then. Its publisher is elsewhere, and is not kept from publishing.
    pub(super) fn takes(&self, clients: &mut Clients, to: ShardId, qos: Qos) -> bool {
        match self.nodes.as_deref() {
            Some(nodes) => nodes.rooms.fate(clients, to, (qos, false)) != LinkFate::Dropped,
            None => true,
        }
    }

    /// A message that another node has picked this one for, for groups without members here: it goes to the nodes among the picks. Returns how many
    /// questions they will answer.
    pub(super) fn pass_on(
        &mut self,
        turn: &mut Turn<'_>,
        clients: &mut Clients,
        routed: &mut Routed<'_>,
        (picks, confirm): (&RemotePicks, Option<Confirmation>),
    ) -> u8 {
        let mut slots = ShardSet::default();
        picks.iter().for_each(|&(picked, _)| slots.insert(picked));
        let mut waits = 0;
        for slot in slots.without(self.others_here).iter() {
            if !self.takes(clients, slot, routed.message.qos) {
                continue;
            }
            let groups = picks.iter().filter(|&&(picked, _)| picked == slot).map(|&(_, key)| key).collect();
            let confirm = confirm.map(|confirmation| self.question_to(clients, slot, confirmation));
            waits += u8::from(confirm.is_some());
            let details = PublishDetails { groups, confirm, passed_on: true, ..PublishDetails::default() };
            turn.fx.mesh.publish(slot, routed, false, details);
        }
        waits
    }
}

impl Shard {
    /// Asks other shards, and other nodes, to say when all that was sent to them so far is durable there.
    pub(super) fn send_barriers(&mut self, turn: &mut Turn<'_>, token: ConfirmToken, asked: ShardSet) {
        for shard in asked.iter() {
            let confirmation = Confirmation::of(token);
            if self.router.others.contains(shard) {
                let Confirmation { token, .. } = self.router.question_to(&self.clients, shard, confirmation);
                turn.fx.mesh.push(shard, MeshMessage::Barrier { token });
            } else {
                self.clients.tell_stored(turn, confirmation); // the process is gone meanwhile
            }
        }
    }

    /// Somebody wants to know when all that it has sent so far is durable.
    pub(super) fn handle_barrier(&mut self, turn: &mut Turn<'_>, token: ConfirmToken) {
        let confirmation = Confirmation::of(token);
        if !self.router.fanouts.wait_behind(confirmation) {
            self.clients.confirm_when_durable(turn, confirmation);
        }
    }

    /// A peer answers by the link to this shard, whichever shard of this node has asked.
    pub(super) fn handle_answer(
        &mut self,
        turn: &mut Turn<'_>,
        from: ShardId,
        Confirmation { token, reception }: Confirmation,
    ) -> Result<(), PeerFault> {
        let number = token.number;
        if token.shard.is_slot(self.clients.settings.shards) {
            return Err(PeerFault::Answer);
        }
        if token.shard != self.clients.id {
            turn.fx.mesh.push(token.shard, MeshMessage::PeerStored { peer: from, number, reception });
            return Ok(());
        }
        if self.take_answer(turn, from, number, reception) { Ok(()) } else { Err(PeerFault::Answer) }
    }

    /// A peer has answered a question of this shard. Returns whether there was such a question.
    pub(super) fn take_answer(
        &mut self,
        turn: &mut Turn<'_>,
        peer: ShardId,
        number: AckNumber,
        reception: Reception,
    ) -> bool {
        let nodes = self.router.nodes.as_deref_mut();
        let Some(confirmation) = nodes.and_then(|nodes| nodes.asked.answered(peer, number)) else { return false };
        self.clients.tell_stored(turn, confirmation.and(reception));
        true
    }

    /// What processes that are gone were asked counts as not taken, for one turn's part.
    pub(super) fn answer_for_ended(&mut self, turn: &mut Turn<'_>) {
        for _ in 0..RELEASED_PER_TURN {
            let Some(confirmation) = self.router.nodes.as_deref_mut().and_then(|nodes| nodes.asked.next_ended()) else {
                return;
            };
            self.clients.tell_stored(turn, confirmation);
        }
    }
}
