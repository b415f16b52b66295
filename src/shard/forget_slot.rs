//! The end of all that a process of another node was interested in, once it is gone.
//!
//! Owns: whose slots are being forgotten on this shard ([`Forgetting`]), and on shard 0 which shards have yet to say that they are done
//! ([`SlotsToForget`]).
//! Always holds: a slot is forgotten behind the view that has it no more, on every shard: the order comes by shard 0, as all that is about the
//! slot does, so nothing of it is applied afterwards. The answer comes when nothing of it is left anywhere. A page is a turn's.
//! Leaves to others: when a process is gone, and who gets its slot next (`cluster`); what the index forgets (`topic`).

use std::collections::VecDeque;

use super::command::{Reply, RequestId};
use super::{MeshMessage, Shard, Turn};
use crate::ids::{ShardId, ShardSet};
use crate::limits::INTEREST_PAGE_FILTERS;
use crate::topic::{InterestCursor, Scan};

/// Slots that are being forgotten on one shard, and how far that has come.
#[derive(Debug, Default)]
pub(super) struct Forgetting(VecDeque<(ShardId, InterestCursor)>);

/// Slots that are being forgotten on all shards: who asked, and which shards are not done.
#[derive(Debug, Default)]
pub(super) struct SlotsToForget(Vec<(RequestId, ShardId, ShardSet)>);

impl Forgetting {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl SlotsToForget {
    /// A shard has forgotten a slot: who is to be answered, if that was the last.
    fn forgotten(&mut self, shard: ShardId, slot: ShardId) -> Option<RequestId> {
        let at = self.0.iter().position(|(_, known, _)| *known == slot)?;
        let (request, _, left) = &mut self.0[at];
        left.remove(shard);
        let request = *request;
        left.is_empty().then(|| {
            self.0.swap_remove(at);
            request
        })
    }
}

impl Shard {
    /// All shards begin to forget a slot. `Err` with the answer, if they do not.
    pub(super) fn begin_forgetting(
        &mut self,
        turn: &mut Turn<'_>,
        request: RequestId,
        slot: ShardId,
    ) -> Result<(), Reply> {
        let shards = self.clients.settings.shards;
        if !slot.is_slot(shards) {
            return Err(Reply::Refused("a shard of this node is not forgotten"));
        }
        let Some(nodes) = self.router.nodes.as_deref_mut() else { return Err(Reply::Refused("there is no cluster")) };
        let Some(speaker) = &mut nodes.speaker else { return Err(Reply::Refused("shard 0 has the others forget")) };
        if nodes.view.peer_at(slot).is_some() {
            return Err(Reply::Refused("a process that is in the view is not forgotten"));
        }
        if speaker.forgetting.0.iter().any(|(_, known, _)| *known == slot) {
            return Err(Reply::NotNow("it is being forgotten"));
        }
        speaker.forgetting.0.push((request, slot, ShardSet::first(shards)));
        for shard in ShardSet::all_but(ShardId::SPEAKER, shards).iter() {
            turn.fx.mesh.push(shard, MeshMessage::ForgetSlot { slot });
        }
        self.forget(slot);
        Ok(())
    }

    /// This shard forgets a slot, a page a turn.
    pub(super) fn forget(&mut self, slot: ShardId) {
        if let Some(nodes) = self.router.nodes.as_deref_mut() {
            nodes.forgetting.0.push_back((slot, InterestCursor::default()));
        }
    }

    /// One more shard is done: whoever asked is answered after the last.
    pub(super) fn note_forgotten(&mut self, turn: &mut Turn<'_>, shard: ShardId, slot: ShardId) {
        let Some(speaker) = self.router.speaker() else { return };
        turn.fx.replies.extend(speaker.forgetting.forgotten(shard, slot).map(|request| (request, Reply::Done)));
    }

    /// The next page of what is forgotten.
    pub(super) fn go_on_forgetting(&mut self, turn: &mut Turn<'_>) {
        let Some(nodes) = self.router.nodes.as_deref_mut() else { return };
        let Some((slot, cursor)) = nodes.forgetting.0.front_mut() else { return };
        let slot = *slot;
        if self.router.index.forget_page(slot, cursor, INTEREST_PAGE_FILTERS) == Scan::More {
            return;
        }
        nodes.forgetting.0.pop_front();
        if self.clients.id == ShardId::SPEAKER {
            self.note_forgotten(turn, ShardId::SPEAKER, slot);
        } else {
            turn.fx.mesh.push(ShardId::SPEAKER, MeshMessage::SlotForgotten { slot });
        }
    }
}
