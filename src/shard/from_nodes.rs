//! What another node's process sends by a link: its messages, and what it asks about them.
//!
//! Always holds: what came by a link is for this node: it is routed among its shards, and but for the answer nothing of it leaves by a link, so nodes cannot
//! block each other in a circle. A message for a group that has no member here any more goes to one other node, which passes it on no further.
//! The shard whose link it came by counts who has to confirm, and answers each question once.
//! Leaves to others: messages of this node's own publishers (`route`), what other nodes answer (`route_nodes`), questions that wait
//! (`peer_questions`).

use super::clients::Clients;
use super::groups::{PickedGroup, RemotePicks};
use super::outgoing::Fanout;
use super::route::ToOtherShards;
use super::router::Router;
use super::{ConfirmToken, Confirmation, MeshMessage, PeerFault, PublishDetails, Shard, Turn};
use crate::session::Routed;
use crate::topic::TopicName;

/// What a message of another node has to say besides itself.
#[derive(Debug)]
pub(super) struct NodeMessage {
    /// It is for plain subscribers as well.
    pub plain: bool,
    /// Members of which groups it is for, and what is asked.
    pub details: PublishDetails,
}

impl Router {
    /// A message that a client of another node has published: for the subscribers of this node.
    pub(super) fn route_from_node(
        &mut self,
        turn: &mut Turn<'_>,
        clients: &mut Clients,
        mut routed: Routed<'_>,
        from: NodeMessage,
    ) -> Result<(), PeerFault> {
        let NodeMessage { plain, details: PublishDetails { groups, retained, confirm: asked, passed_on, .. } } = from;
        if retained.is_some() && !routed.message.retain {
            return Err(PeerFault::Message);
        }
        let before = clients.record_log.last();
        let confirm = asked.map(|_| Confirmation::of(clients.questions.next_token(clients.id)));
        let mut waits_for_log = false;
        if let Some(stamp) = retained {
            waits_for_log = self.take_retained(turn, clients, &mut routed, stamp);
        }
        let topic = TopicName::checked_before(routed.message.topic);
        let mut fanout = Fanout::new(routed);
        // Interest may have arisen here that the other node had not heard of when it sent a retained message.
        let mut matches = self.find_matches(clients, topic);
        if !plain && retained.is_none() {
            matches.clear();
        }
        let is_under_way = self.deliver_plain(turn, clients, &mut fanout, &mut matches, confirm);
        let mut picks = RemotePicks::new();
        for key in groups {
            let group = PickedGroup { key, of_node: true, passed_on };
            picks.extend(self.deliver_to_group_of_node(turn, clients, group, &mut fanout));
        }
        let mut waits = u8::from(is_under_way && confirm.is_some());
        if !self.others_here.is_empty() {
            let of_node = Some(passed_on);
            let others = ToOtherShards { matches: &matches, picks: &picks, retained, confirm, once: false, of_node };
            waits += others.send(turn, clients, &mut fanout.routed, self.others_here);
        }
        self.matches = Some(matches);
        waits += self.pass_on(turn, clients, &mut fanout.routed, (&picks, confirm));
        if let (Some(confirmation), Some(asked)) = (confirm, asked) {
            waits_for_log |= clients.record_log.last() > before;
            if waits_for_log {
                clients.record_log.wait(turn, confirmation);
            }
            waits += u8::from(waits_for_log);
            waits += u8::from(clients.wait_for_room(turn.now, fanout.fullest, confirmation));
            clients.questions.add(confirmation.token.number, asked.and(fanout.reception), waits);
            clients.answer_nodes(turn);
        }
        Ok(())
    }
}

impl Shard {
    /// Another node wants to know when all that it has sent to this shard so far is durable, wherever it went.
    pub(super) fn handle_barrier_of_node(&mut self, turn: &mut Turn<'_>, asked: ConfirmToken) {
        let own = self.clients.questions.next_token(self.clients.id);
        let others = self.router.others_here;
        self.clients.questions.add(own.number, Confirmation::of(asked), others.iter().count() as u8 + 1);
        for shard in others.iter() {
            turn.fx.mesh.push(shard, MeshMessage::Barrier { token: own });
        }
        self.handle_barrier(turn, own);
    }
}

impl Clients {
    /// Answers the questions of other nodes that nobody has to confirm any more.
    #[cold]
    pub(super) fn answer_nodes(&mut self, turn: &mut Turn<'_>) {
        while let Some(confirmation) = self.questions.next_answer() {
            turn.fx.mesh.push(confirmation.token.shard, MeshMessage::Stored { confirmation });
        }
    }
}
