//! What a shard knows of the other nodes of a cluster.
//!
//! Owns: the view that holds, how far each new peer has been told what this shard is interested in, and what peers were asked ([`Nodes`]).
//! Always holds: shard 0 is told first, and passes the view on before all that is about it; a shard that finds a slot in a set of shards knows
//! which process is meant. Without a cluster there is nothing here, and nothing is asked. What a peer says wrongly ends its links and changes nothing.
//! Leaves to others: what shard 0 says for all of its node (`speaker`, `peer_words`), who is in the view (`cluster`), links and their frames (`conn`, `link_words`).

use std::sync::Arc;

use super::asked::AskedPeers;
use super::forget_slot::Forgetting;
use super::link_rooms::LinkRooms;
use super::speaker::Speaker;
use super::{Effect, InterestTold, MeshMessage, Reply, Shard, Turn};
use crate::cluster::ClusterView;
use crate::ids::{ShardId, ShardSet};
use crate::limits::INTEREST_PAGE_FILTERS;
use crate::store::LogRoom;
use crate::topic::{InterestCursor, Scan, SubscribedFilter};

/// See the module's text.
#[derive(Debug)]
pub(super) struct Nodes {
    /// What holds now.
    pub view: Arc<ClusterView>,
    /// Of shard 0 alone.
    pub speaker: Option<Speaker>,
    /// Where the next page begins of what a peer is told.
    told: Vec<(ShardId, InterestCursor)>,
    /// Peers that are gone.
    pub forgetting: Forgetting,
    /// Whose answers are waited for.
    pub asked: AskedPeers,
    /// What links have room for.
    pub rooms: LinkRooms,
}

impl Nodes {
    /// The next page of what this shard's sessions are interested in, for a peer.
    pub(super) fn tell_page(&mut self, peer: ShardId, tell: impl FnOnce(&mut InterestCursor) -> Scan) -> InterestTold {
        let at = self.told.iter().position(|(known, _)| *known == peer).unwrap_or_else(|| {
            self.told.push((peer, InterestCursor::default()));
            self.told.len() - 1
        });
        match tell(&mut self.told[at].1) {
            Scan::More => InterestTold::Page,
            Scan::Done => {
                self.told.swap_remove(at);
                InterestTold::All
            }
        }
    }
}

impl Shard {
    /// The cluster is as `view` says from now on.
    pub(super) fn use_cluster(&mut self, turn: &mut Turn<'_>, view: Arc<ClusterView>) -> Reply {
        if self.clients.id != ShardId::SPEAKER {
            return Reply::Refused("shard 0 is told of the cluster, and tells the others");
        }
        for shard in ShardSet::all_but(ShardId::SPEAKER, self.clients.settings.shards).iter() {
            turn.fx.mesh.push(shard, MeshMessage::View(Arc::clone(&view)));
        }
        self.use_view(turn, view);
        Reply::Done
    }

    fn use_view(&mut self, turn: &mut Turn<'_>, view: Arc<ClusterView>) {
        let shards = self.clients.settings.shards;
        assert!(view.slots().and(ShardSet::first(shards)).is_empty(), "a slot is no shard of this node");
        turn.fx.view = Some(Arc::clone(&view));
        let is_speaker = self.clients.id == ShardId::SPEAKER;
        let now = view.slots();
        let before = self.router.nodes.as_ref().map(|nodes| nodes.view.slots()).unwrap_or_default();
        let nodes = self.router.nodes.get_or_insert_with(|| {
            let speaker = is_speaker.then(|| Speaker::new(shards));
            let (forgetting, asked, rooms) = (Forgetting::default(), AskedPeers::default(), LinkRooms::default());
            Box::new(Nodes { view: Arc::clone(&view), speaker, told: Vec::new(), forgetting, asked, rooms })
        });
        nodes.view = view;
        nodes.told.retain(|(peer, _)| now.contains(*peer));
        before.without(now).iter().for_each(|gone| nodes.asked.end(gone));
        if let Some(speaker) = &mut nodes.speaker {
            before.without(now).iter().for_each(|gone| speaker.end(gone));
            now.without(before).iter().for_each(|new| speaker.begin(new));
            self.router.announcements.wait_for_fence();
            self.answer_behind_fence(turn);
        }
        self.router.others = self.router.others_here;
        self.router.others.extend(now);
        for gone in before.without(now).iter() {
            self.clients.questions.end(gone);
            self.note_room_of_link(turn, gone, LogRoom::Enough);
            // Another process may have the slot before links are given what was said.
            turn.fx.mesh.forget(gone);
        }
        self.answer_closed(turn);
    }

    /// Whether a turn would go on with what peers are told, with what is forgotten of them, with what they will not answer any more, or with who waited for
    /// a link.
    pub(super) fn has_work_for_peers(&self) -> bool {
        let Some(nodes) = self.router.nodes.as_deref() else { return false };
        !nodes.forgetting.is_empty()
            || nodes.asked.has_ended()
            || nodes.rooms.has_publishers_to_resume()
            || nodes.speaker.as_ref().is_some_and(|speaker| speaker.is_telling(&nodes.rooms))
    }

    /// One turn's part of it.
    pub(super) fn go_on_for_peers(&mut self, turn: &mut Turn<'_>) {
        if self.router.nodes.is_some() {
            self.go_on_telling(turn);
            self.router.look_at_rooms(turn);
            self.go_on_forgetting(turn);
            self.answer_for_ended(turn);
            self.resume_for_links(turn);
        }
    }

    /// What another node's process says.
    #[inline(never)]
    pub(super) fn hear_peer(&mut self, turn: &mut Turn<'_>, from: ShardId, message: MeshMessage, bytes: &[u8]) {
        if let Err(fault) = self.handle_word_of_peer(turn, from, message, bytes) {
            turn.fx.list.push(Effect::EndLink { slot: from, fault });
        }
    }

    /// What shards say of other nodes.
    #[cold]
    pub(super) fn handle_word_of_nodes(&mut self, turn: &mut Turn<'_>, from: ShardId, message: MeshMessage) {
        match message {
            MeshMessage::View(view) => self.use_view(turn, view),
            MeshMessage::PeerInterest { peer, number, filter, interest } => {
                let filter = SubscribedFilter::parse(&filter, u16::MAX).expect("shard 0 has parsed it");
                self.router.index.apply_remote(peer, &filter, interest);
                turn.fx.mesh.push(from, MeshMessage::PeerApplied { number });
            }
            MeshMessage::PeerApplied { number } => self.note_applied_for_peers(turn, from, number),
            MeshMessage::PeerRoom { peer, key, room } => {
                if let Some(group) = self.router.index.group_by_key(key) {
                    self.router.index.set_remote_room(group, peer, room);
                }
            }
            MeshMessage::TellInterest { peer } => self.tell_interest(turn, peer),
            MeshMessage::ToldInterest { peer, told } => self.router.take_told(turn, peer, told),
            MeshMessage::ForgetSlot { slot } => self.forget(slot),
            MeshMessage::SlotForgotten { slot } => self.note_forgotten(turn, from, slot),
            // Late where nothing waits: of a process that is gone.
            MeshMessage::PeerStored { peer, number, reception } => {
                self.take_answer(turn, peer, number, reception);
            }
            // The rest is for peers, or comes from them.
            _ => {}
        }
    }

    /// Shard 0 asks for a page of what this shard's sessions are interested in.
    fn tell_interest(&mut self, turn: &mut Turn<'_>, peer: ShardId) {
        let Some(nodes) = self.router.nodes.as_deref_mut() else { return };
        let told = nodes.tell_page(peer, |cursor| {
            self.router.index.own_interest_page(cursor, INTEREST_PAGE_FILTERS, |filter| {
                let told = InterestTold::Filter(filter.into());
                turn.fx.mesh.push(ShardId::SPEAKER, MeshMessage::ToldInterest { peer, told });
            })
        });
        turn.fx.mesh.push(ShardId::SPEAKER, MeshMessage::ToldInterest { peer, told });
    }
}
