//! What a node hears of other nodes; and what shard 0 says to them and hears for all shards: interest, and how far it is applied.
//!
//! Always holds: a change of what this node's shards want is told to peers in the turn in which shard 0 hears of it, and the shard that announced it
//! is answered through the fence. What a peer says is looked at before any of it is applied, and passed on to the other shards in order. A peer is
//! told of as counting when both nodes wait for each other: then clients of either may publish and subscribe.
//! Leaves to others: who waits for what (`fence`, `passed_on`), which page is told next (`speaker`), messages and questions (`from_nodes`), answers (`route_nodes`).

use super::from_nodes::NodeMessage;
use super::passed_on::PeerAnswer;
use super::router::Router;
use super::speaker::Speaker;
use super::{InterestTold, MeshMessage, PeerFault, Shard, Turn};
use crate::ids::{ShardId, ShardSet};
use crate::limits::INTEREST_PAGE_FILTERS;
use crate::topic::{Interest, InterestChange, SubscribedFilter};

impl Shard {
    /// What a peer says of itself.
    pub(super) fn handle_word_of_peer(
        &mut self,
        turn: &mut Turn<'_>,
        from: ShardId,
        message: MeshMessage,
        bytes: &[u8],
    ) -> Result<(), PeerFault> {
        // Without a view that has it, what comes is the rest of a link that is about to end.
        if !self.router.others.contains(from) {
            return Ok(());
        }
        match message {
            MeshMessage::Publish { message, plain, details } => {
                let details = details.map(|details| *details).unwrap_or_default();
                let (routed, from) = (message.routed(bytes), NodeMessage { plain, details });
                return self.router.route_from_node(turn, &mut self.clients, routed, from);
            }
            MeshMessage::Barrier { token } => self.handle_barrier_of_node(turn, token),
            MeshMessage::Stored { confirmation } => return self.handle_answer(turn, from, confirmation),
            MeshMessage::RetainedDeleted { topic, stamp } => {
                self.router.apply_retained_deletion(turn, &mut self.clients, &topic, stamp);
            }
            MeshMessage::LogRoom { room } => self.note_room_of_link(turn, from, room),
            to_node => return self.handle_word_to_node(turn, from, to_node),
        }
        Ok(())
    }

    /// What a peer says to the whole node, which shard 0 hears.
    fn handle_word_to_node(
        &mut self,
        turn: &mut Turn<'_>,
        from: ShardId,
        message: MeshMessage,
    ) -> Result<(), PeerFault> {
        let Some(nodes) = self.router.nodes.as_deref_mut() else { return Ok(()) };
        let speaker = nodes.speaker.as_mut().ok_or(PeerFault::Order)?;
        match message {
            MeshMessage::Interest { number, filter, interest } => {
                self.router.hear_interest(turn, from, (number, &filter), interest)?;
            }
            MeshMessage::ToldInterest { told: InterestTold::All, .. } => {
                speaker.passed_on.told_all(from)?;
                self.router.answer_peers(turn);
            }
            MeshMessage::Applied { number } => {
                speaker.fence.applied(from, number)?;
                self.answer_behind_fence(turn);
            }
            MeshMessage::Synced => {
                speaker.fence.count(from)?;
                turn.fx.mesh.push(from, MeshMessage::Counted);
                turn.fx.counted_by.extend(speaker.passed_on.counts(from).then_some(from));
            }
            MeshMessage::Counted => {
                speaker.passed_on.counted_by(from)?;
                self.router.answer_peers(turn);
            }
            MeshMessage::GroupRoom { key, room } => {
                if let Some(group) = self.router.index.group_by_key(key) {
                    self.router.index.set_remote_room(group, from, room);
                }
                for shard in ShardSet::all_but(ShardId::SPEAKER, self.clients.settings.shards).iter() {
                    turn.fx.mesh.push(shard, MeshMessage::PeerRoom { peer: from, key, room });
                }
            }
            _ => return Err(PeerFault::Order),
        }
        Ok(())
    }

    /// Another shard has applied what it was passed on of peers.
    pub(super) fn note_applied_for_peers(&mut self, turn: &mut Turn<'_>, shard: ShardId, number: u64) {
        let Some(speaker) = self.router.speaker() else { return };
        speaker.passed_on.applied(shard, number);
        self.router.answer_peers(turn);
    }

    /// Answers the shards that waited for peers, this one included.
    pub(super) fn answer_behind_fence(&mut self, turn: &mut Turn<'_>) {
        self.router.pass_fence(turn);
        self.release_subacks(turn);
    }

    /// The next page of what this node is interested in, for a peer that is told all.
    pub(super) fn go_on_telling(&mut self, turn: &mut Turn<'_>) {
        let Some(nodes) = self.router.nodes.as_deref_mut() else { return };
        let page = nodes.speaker.as_mut().and_then(|speaker| speaker.ask_page(&nodes.rooms));
        let Some((peer, shard)) = page else { return };
        if shard == ShardId::SPEAKER {
            self.router.tell_own_page(turn, peer);
        } else {
            turn.fx.mesh.push(shard, MeshMessage::TellInterest { peer });
        }
    }
}

impl Router {
    pub(super) fn speaker(&mut self) -> Option<&mut Speaker> {
        self.nodes.as_deref_mut()?.speaker.as_mut()
    }

    /// Shard 0's own interest has changed, which the other shards are told under `number`.
    #[cold]
    pub(super) fn tell_peers(
        &mut self,
        turn: &mut Turn<'_>,
        filter: &str,
        InterestChange { before, now }: InterestChange,
        number: u64,
    ) {
        let Some(speaker) = self.nodes.as_deref_mut().and_then(|nodes| nodes.speaker.as_mut()) else { return };
        let parsed = SubscribedFilter::parse(filter, u16::MAX).expect("it is in the index");
        let [before, now] = [before, now].map(|own| self.index.interest_with(&parsed, own, speaker.own));
        speaker.tell(turn, filter, before, now);
        speaker.fence.add(ShardId::SPEAKER, number);
        self.note_members(turn, &parsed, Some(now));
        self.pass_fence(turn);
    }

    /// Another shard's interest has changed: applied here, told to peers, and answered when they have applied it. Returns whether this shard speaks for
    /// its node.
    pub(super) fn apply_interest_as_speaker(
        &mut self,
        turn: &mut Turn<'_>,
        from: ShardId,
        (number, filter): (u64, &str),
        interest: Interest,
    ) -> bool {
        let Some(speaker) = self.nodes.as_deref_mut().and_then(|nodes| nodes.speaker.as_mut()) else { return false };
        let parsed = SubscribedFilter::parse(filter, u16::MAX).expect("the announcing shard has checked it");
        let before = self.index.interest_among(&parsed, speaker.own);
        self.index.apply_remote(from, &parsed, interest);
        let now = self.index.interest_among(&parsed, speaker.own);
        speaker.tell(turn, filter, before, now);
        speaker.fence.add(from, number);
        self.note_members(turn, &parsed, Some(now));
        self.pass_fence(turn);
        true
    }

    /// Answers the shards whose announcements all peers have applied. Of its own this shard makes a note: its SUBACKs may leave.
    fn pass_fence(&mut self, turn: &mut Turn<'_>) {
        let Some(speaker) = self.nodes.as_deref_mut().and_then(|nodes| nodes.speaker.as_mut()) else { return };
        while let Some((shard, number)) = speaker.fence.next_ready() {
            if shard == ShardId::SPEAKER {
                self.announcements.applied(ShardId::SPEAKER, number);
            } else {
                turn.fx.mesh.push(shard, MeshMessage::Applied { number });
            }
        }
    }

    /// A peer's interest has changed: applied here and passed on.
    fn hear_interest(
        &mut self,
        turn: &mut Turn<'_>,
        from: ShardId,
        (number, filter): (u64, &str),
        interest: Interest,
    ) -> Result<(), PeerFault> {
        let Some(speaker) = self.nodes.as_deref_mut().and_then(|nodes| nodes.speaker.as_mut()) else { return Ok(()) };
        let parsed = SubscribedFilter::parse(filter, u16::MAX).map_err(|_| PeerFault::Interest)?;
        if parsed.share.is_some() != matches!(interest, Interest::Shared { .. }) {
            return Err(PeerFault::Interest);
        }
        let count = speaker.passed_on.announced(from, number)?;
        self.index.apply_remote(from, &parsed, interest);
        for shard in speaker.own.without(ShardSet(1)).iter() {
            let filter = filter.into();
            turn.fx.mesh.push(shard, MeshMessage::PeerInterest { peer: from, number: count, filter, interest });
        }
        self.note_members(turn, &parsed, None);
        self.answer_peers(turn);
        Ok(())
    }

    /// Says to peers what all shards have applied of theirs, and who of them waits for this node.
    fn answer_peers(&mut self, turn: &mut Turn<'_>) {
        let Some(speaker) = self.speaker() else { return };
        while let Some((peer, answer)) = speaker.passed_on.next_due() {
            let message = match answer {
                PeerAnswer::Applied(number) => MeshMessage::Applied { number },
                PeerAnswer::Synced => MeshMessage::Synced,
                PeerAnswer::Counted => {
                    // What this node's own clients subscribe to has to be waited for as well.
                    turn.fx.counted_by.extend(speaker.fence.counts(peer).then_some(peer));
                    continue;
                }
            };
            turn.fx.mesh.push(peer, message);
        }
    }

    /// A page of this shard's own filters.
    fn tell_own_page(&mut self, turn: &mut Turn<'_>, peer: ShardId) {
        let Self { nodes, index, .. } = self;
        let Some(nodes) = nodes.as_deref_mut() else { return };
        let Some((own, number)) = nodes.speaker.as_ref().map(|speaker| (speaker.own, speaker.fence.announced())) else {
            return;
        };
        let mut groups = Vec::new();
        let told = nodes.tell_page(peer, |cursor| {
            index.own_interest_page(cursor, INTEREST_PAGE_FILTERS, |filter| {
                let parsed = SubscribedFilter::parse(filter, u16::MAX).expect("it is in the index");
                let interest = index.interest_among(&parsed, own);
                turn.fx.mesh.push(peer, MeshMessage::Interest { number, filter: filter.into(), interest });
                groups.extend(index.key_of(&parsed));
            })
        });
        self.tell_rooms_to(turn, peer, groups);
        if let Some(speaker) = self.speaker() {
            speaker.end_page(turn, &told);
        }
    }

    /// A part of what another shard is interested in, for a peer that is told all.
    pub(super) fn take_told(&mut self, turn: &mut Turn<'_>, peer: ShardId, told: InterestTold) {
        let Some(speaker) = self.nodes.as_deref_mut().and_then(|nodes| nodes.speaker.as_mut()) else { return };
        let InterestTold::Filter(filter) = told else { return speaker.end_page(turn, &told) };
        if !speaker.is_told(peer) {
            return;
        }
        let parsed = SubscribedFilter::parse(&filter, u16::MAX).expect("the shard has it in its index");
        // What all want now: nothing, if the shard has told meanwhile that it wants it no more.
        let interest = self.index.interest_among(&parsed, speaker.own);
        if !interest.is_nothing() {
            let number = speaker.fence.announced();
            let group = self.index.key_of(&parsed);
            turn.fx.mesh.push(peer, MeshMessage::Interest { number, filter, interest });
            self.tell_rooms_to(turn, peer, group);
        }
    }
}
