//! Shared subscriptions: who of a group gets a message, and groups that are to know whether a member's client is there.
//!
//! Always holds: a message goes to a member that may receive it, where access rules let one; to one that can be sent it at once, if any shard is known to have one; else to one with room in
//! its queue. It is for no member that has ended, and for one without connection only where the index knows of
//! none that has one. A session with many shared subscriptions tells its groups some in each turn; a group that picks a
//! member before it was told puts that right, tells the other shards, and picks again.

use smallvec::SmallVec;

use super::clients::Clients;
use super::forwards::ForwardRoute;
use super::node_rooms::{GROUPS_PER_TURN, LOOK_AGAIN_MS};
use super::outgoing::{Fanout, PickedFor};
use super::router::Router;
use super::{MeshMessage, PublishDetails, Turn};
use crate::ids::{MessageId, SessionId, ShardId, ShardSet};
use crate::session::{Delivery, Outbound, Place, Routed};
use crate::telemetry::DropReason;
use crate::topic::{EntryId, Matches, MemberRoom, Pick, Subscriber};

/// Members with full queues that one message looks at before it is given up here.
const FULL_MAX: usize = 16;

/// Which members of a group are picked from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Among {
    /// Those of all shards and nodes.
    AllShards,
    /// Those of this node.
    ThisNode,
    /// Those of other nodes: this one has none.
    OtherNodes,
    /// Those of this shard; where they are full, those of some others.
    ThisShard(ShardSet),
}

/// A group that somebody else has picked this shard, or this node, for.
#[derive(Clone, Copy)]
pub(super) struct PickedGroup {
    pub key: u64,
    /// Another node has.
    pub of_node: bool,
    /// Another node had been picked before.
    pub passed_on: bool,
}

/// The picks for one message that live on other shards, by group key.
pub(super) type RemotePicks = SmallVec<[(ShardId, u64); 2]>;

impl Router {
    /// Picks one member of each matching group. Returns the picks that live on other shards, and whether any group had a
    /// member.
    pub(super) fn deliver_groups(
        &mut self,
        turn: &mut Turn<'_>,
        clients: &mut Clients,
        fanout: &mut Fanout<'_>,
        matches: &Matches,
    ) -> (RemotePicks, bool) {
        let mut picks = RemotePicks::new();
        let mut any = false;
        for &group in &matches.groups {
            let key = self.index.group_key(group);
            let topic = fanout.routed.message.topic;
            let pick = self.pick(turn, clients, (key, topic), Among::AllShards);
            any |= pick.is_some();
            match pick {
                Some(Pick::Local(subscriber)) => {
                    let picked = PickedFor { tag: self.index.group_tag(group), key };
                    self.catch_up(turn, clients, subscriber.session);
                    clients.deliver_to_member(turn, subscriber, picked, fanout);
                }
                Some(Pick::Remote(shard)) => picks.push((shard, key)),
                None => {} // its last members have ended: it was left in the index for being taken out
            }
        }
        (picks, any)
    }

    /// This shard was picked for a group whose members may have left meanwhile: then another shard is asked, of this node as long as it has members
    /// if another node has picked this one: it is returned.
    pub(super) fn deliver_to_group_member(
        &mut self,
        turn: &mut Turn<'_>,
        clients: &mut Clients,
        group: PickedGroup,
        fanout: &mut Fanout<'_>,
    ) -> Option<(ShardId, u64)> {
        let about = (group.key, fanout.routed.message.topic);
        let (among, others) =
            if group.of_node { (Among::ThisNode, self.others_here) } else { (Among::AllShards, self.others) };
        let pick = self.pick(turn, clients, about, Among::ThisShard(others));
        let pick = pick.or_else(|| self.pick(turn, clients, about, among));
        let pick = pick.or_else(|| self.pick_once_more(turn, clients, group, about.1));
        self.deliver_pick(turn, clients, fanout, (group.key, pick))
    }

    /// Another node has picked this one for a group. Returns the shard that was picked here, if it is another, or the node that is to have it.
    pub(super) fn deliver_to_group_of_node(
        &mut self,
        turn: &mut Turn<'_>,
        clients: &mut Clients,
        group: PickedGroup,
        fanout: &mut Fanout<'_>,
    ) -> Option<(ShardId, u64)> {
        let topic = fanout.routed.message.topic;
        let pick = self.pick(turn, clients, (group.key, topic), Among::ThisNode);
        let pick = pick.or_else(|| self.pick_once_more(turn, clients, group, topic));
        self.deliver_pick(turn, clients, fanout, (group.key, pick))
    }

    /// This node has no member any more of a group that another node has picked it for: one of another node is picked, that one itself perhaps.
    #[cold]
    fn pick_once_more(
        &mut self,
        turn: &mut Turn<'_>,
        clients: &mut Clients,
        PickedGroup { key, of_node, passed_on }: PickedGroup,
        topic: &str,
    ) -> Option<Pick> {
        let may = of_node && !passed_on;
        may.then(|| self.pick(turn, clients, (key, topic), Among::OtherNodes)).flatten()
    }

    fn deliver_pick(
        &mut self,
        turn: &mut Turn<'_>,
        clients: &mut Clients,
        fanout: &mut Fanout<'_>,
        (key, pick): (u64, Option<Pick>),
    ) -> Option<(ShardId, u64)> {
        match pick {
            Some(Pick::Local(subscriber)) => {
                let group = self.index.group_by_key(key).expect("it has a member");
                self.catch_up(turn, clients, subscriber.session);
                let picked = PickedFor { tag: self.index.group_tag(group), key };
                clients.deliver_to_member(turn, subscriber, picked, fanout);
            }
            Some(Pick::Remote(shard)) => return Some((shard, key)),
            None => clients.counters.dropped(DropReason::NoGroupMember),
        }
        None
    }

    /// A message goes to another member of its group, because the session `id` that had it has ended (MQTT 5.0, 4.8.2). Returns
    /// whether there was one.
    pub(super) fn hand_to_another_member(
        &mut self,
        turn: &mut Turn<'_>,
        clients: &mut Clients,
        id: SessionId,
        delivery: &Delivery,
    ) -> bool {
        let Some(group) = self.index.group_by_tag(delivery.group) else { return false };
        let key = self.index.group_key(group);
        let mut fanout = Fanout::new(Routed::shared(&delivery.message));
        if clients.sessions.get(id).is_persistent() {
            fanout.routed.stored_as = delivery.stored_as; // until what follows is written, it is wanted there
        }
        match self.pick(turn, clients, (key, fanout.routed.message.topic), Among::AllShards) {
            Some(Pick::Local(subscriber)) => {
                self.catch_up(turn, clients, subscriber.session);
                clients.deliver_to_member(turn, subscriber, PickedFor { tag: delivery.group, key }, &mut fanout);
            }
            // It is counted as dropped for the link.
            Some(Pick::Remote(shard)) if !self.takes(clients, shard, fanout.routed.message.qos) => {}
            Some(Pick::Remote(shard)) => {
                let groups = SmallVec::from_slice(&[key]);
                let details = PublishDetails { groups, ..PublishDetails::default() };
                clients.counters.mesh_sent += 1;
                if fanout.routed.stored_as != MessageId::NONE && clients.record_log.is_kept() {
                    let is_kept_there = self.others_here.contains(shard);
                    let route = ForwardRoute { to: shard, plain: false, is_kept_there };
                    clients.forward(turn, route, &mut fanout.routed, details);
                } else {
                    turn.fx.mesh.publish(shard, &mut fanout.routed, false, details);
                }
            }
            None => return false,
        }
        clients.log_dropped(turn, id, delivery.stored_as, DropReason::SessionEnded);
        true
    }

    /// Whose turn it is in a group to get a message on this topic. `None` if there is no group, or no member of it.
    fn pick(
        &mut self,
        turn: &mut Turn<'_>,
        clients: &mut Clients,
        (key, topic): (u64, &str),
        among: Among,
    ) -> Option<Pick> {
        let pick = self.pick_uncounted(turn, clients, (key, topic), among);
        if clients.traffic.is_counted()
            && let Some(Pick::Local(subscriber)) = pick
            && let Some(group) = self.index.group_by_key(key)
            && let Some(position) = clients.sessions.get(subscriber.session).subscriptions.position(group)
        {
            self.index.count_pick(group, position);
        }
        pick
    }

    fn pick_uncounted(
        &mut self,
        turn: &mut Turn<'_>,
        clients: &mut Clients,
        (key, topic): (u64, &str),
        among: Among,
    ) -> Option<Pick> {
        let (mut full, mut barred) = (0, 0);
        loop {
            let group = self.index.group_by_key(key)?;
            let (pick, others) = match among {
                Among::AllShards => (self.index.pick(group)?, self.others),
                Among::ThisNode => (self.index.pick_among(group, self.others_here)?, self.others_here),
                Among::OtherNodes => {
                    let slots = self.others.without(self.others_here);
                    (self.index.pick_among(group, slots)?, slots)
                }
                Among::ThisShard(others) => (Pick::Local(self.index.pick_local(group)?), others),
            };
            let subscriber = match pick {
                Pick::Local(subscriber) => subscriber,
                Pick::Remote(shard) if self.others.contains(shard) => return Some(pick),
                Pick::Remote(gone) => {
                    self.index.forget_members(group, gone); // the process of another node: nobody of it is picked again
                    continue;
                }
            };
            if self.correct_stale_pick(turn, clients, group, subscriber) {
                continue;
            }
            if clients.access.checks && !clients.may_receive(subscriber.session, topic) {
                // Another of the group may. Where none here may, one elsewhere is asked, once: who was asked by others asks nobody.
                barred += 1;
                if barred >= self.index.candidates(group).min(FULL_MAX) {
                    let asks = !matches!(among, Among::ThisShard(_));
                    let elsewhere = if asks { self.index.pick_elsewhere(group, others) } else { None };
                    return Some(elsewhere.map_or(pick, Pick::Remote));
                }
                continue;
            }
            if clients.takes_at_once(subscriber.session) {
                return Some(pick);
            }
            if self.index.room(group) == MemberRoom::Window {
                self.note_busy(turn, clients, group, subscriber.session);
                continue;
            }
            // Nobody is ready, here or elsewhere: what matters is room in a queue.
            if clients.may_queue(subscriber.session) {
                return Some(pick);
            }
            full += 1;
            if full >= self.index.candidates(group).min(FULL_MAX) {
                self.tell_room(turn, clients, group, MemberRoom::Full);
                return Some(self.index.pick_elsewhere(group, others).map_or(pick, Pick::Remote));
            }
        }
    }

    /// A member that was ready could not be sent a message at once.
    fn note_busy(&mut self, turn: &mut Turn<'_>, clients: &mut Clients, group: EntryId, id: SessionId) {
        let session = clients.sessions.get_mut(id);
        let position = session.subscriptions.position(group).expect("it was picked for this subscription");
        session.outbound_mut().note_busy(group);
        self.index.set_busy(group, position, true);
        if clients.has_window(id) {
            clients.add_work(id); // its outbox was full: no acknowledgement may come that would make it ready
        }
        if self.index.room(group) == MemberRoom::Queue {
            self.tell_room(turn, clients, group, MemberRoom::Queue);
        }
    }

    /// A session may be ready again for the groups that count it as busy.
    pub(super) fn room_again(&mut self, clients: &mut Clients, id: SessionId) {
        let is_busy = |outbound: &Outbound| outbound.is_busy_somewhere();
        if !clients.sessions.get(id).outbound().is_some_and(is_busy) || !clients.takes_at_once(id) {
            return;
        }
        for _ in 0..clients.settings.subscriptions_per_share().max(1) {
            let session = clients.sessions.get_mut(id);
            let Some(group) = session.outbound_existing_mut().and_then(Outbound::take_busy) else { return };
            if let Some(position) = session.subscriptions.position(group) {
                self.index.set_busy(group, position, false);
            }
        }
        clients.add_work(id);
    }

    /// Tells the other shards what the members here can do with a message, if that matters and is news.
    fn tell_room(&mut self, turn: &mut Turn<'_>, clients: &Clients, group: EntryId, room: MemberRoom) {
        let (is_news, begins) = self.index.tell_room(group, room);
        let key = self.index.group_key(group);
        if is_news {
            for shard in ShardSet::all_but(clients.id, clients.settings.shards).iter() {
                turn.fx.mesh.push(shard, MeshMessage::GroupRoom { key, room });
            }
            self.note_room_of_node(turn, key);
        }
        if begins {
            self.busy_groups.push_back((turn.now.after_ms(LOOK_AGAIN_MS), key));
        }
    }

    /// Looks again at groups whose members were busy.
    pub(super) fn look_again(&mut self, turn: &mut Turn<'_>, clients: &Clients) {
        for _ in 0..GROUPS_PER_TURN {
            let Some(&(due, key)) = self.busy_groups.front().filter(|(due, _)| due.is_due(turn.now)) else { return };
            debug_assert!(due.is_due(turn.now));
            self.busy_groups.pop_front();
            if let Some(group) = self.index.group_by_key(key) {
                self.index.end_watch(group);
                self.tell_room(turn, clients, group, self.index.room(group));
            }
        }
    }

    /// Whether the index did not know yet what has become of a member that was picked. Now it does: each of its
    /// subscriptions is here once at most.
    fn correct_stale_pick(
        &mut self,
        turn: &mut Turn<'_>,
        clients: &mut Clients,
        group: EntryId,
        picked: Subscriber,
    ) -> bool {
        let session = clients.sessions.get_mut(picked.session);
        if session.link.is_some() || !session.has_ended && session.groups_to_update == 0 {
            return false;
        }
        if session.has_ended {
            let durable = session.counts_as_durable;
            let place = clients.sessions.take_from_ended(picked.session, group);
            self.remove_from_index(turn, clients, place.expect("it was picked for this subscription"), durable);
            return true;
        }
        let position = session.subscriptions.position(group).expect("it was picked for this subscription");
        self.update_group(turn, clients, Place { entry: group, position }, false)
    }

    /// A session's client has come or gone: its groups are to know. Now if they are few, else some in each turn.
    pub(super) fn connection_changed(&mut self, turn: &mut Turn<'_>, clients: &mut Clients, id: SessionId) {
        let session = clients.sessions.get_mut(id);
        session.groups_to_update = session.subscriptions.shared_len() as u32;
        self.update_groups(turn, clients, id);
    }

    /// Goes on telling them. Returns how many were told.
    pub(super) fn update_groups(&mut self, turn: &mut Turn<'_>, clients: &mut Clients, id: SessionId) -> usize {
        let session = clients.sessions.get_mut(id);
        if session.groups_to_update == 0 {
            return 0;
        }
        let online = session.link.is_some();
        let shared = session.subscriptions.shared();
        let until = shared.len().min(session.groups_to_update as usize);
        let from = until.saturating_sub(clients.settings.subscriptions_per_share().max(1));
        let places = SmallVec::<[Place; 8]>::from_slice(&shared[from..until]);
        session.groups_to_update = from as u32;
        for &place in &places {
            self.update_group(turn, clients, place, online);
        }
        if from > 0 {
            clients.add_work(id);
        }
        places.len()
    }

    /// Returns whether that was new.
    fn update_group(&mut self, turn: &mut Turn<'_>, clients: &mut Clients, place: Place, online: bool) -> bool {
        let Some(change) = self.index.set_online(place.entry, place.position, online) else { return false };
        let mut text = String::new();
        self.index.filter_text(place.entry, &mut text);
        self.announce(turn, clients, &text, change);
        true
    }
}
