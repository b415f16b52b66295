//! One node of a cluster: its membership, the logs of the ranges that it owns, the processes of its peers, and the view that its shards go by.
//!
//! Owns: which log is claimed, given up and claimed again, and when ([`HeldRange`]); the slots of peers.
//! Always holds: a range is [`RangePlace::Here`] only while its log is this node's, and is claimed or given on only when the clients that it had
//! were closed. A node that is unheard serves on only while every other member is linked and says that it is unheard as well: whoever could have the map changed
//! says otherwise for longer than [`UNHEARD_DOUBT_MS`]. Once it was alone it stays so until a beat comes back. What became durable while the node was paused is told when it knows that it still is who it was. Answers and messages of an earlier
//! attempt to own a range are nothing to a later one.
//! Leaves to others: the engine's protocol and time-outs (the edge), what records mean (`store`), clients (`shard`), links.
//!
//! Drive it so: hand in what has come, then take [`ClusterNode::next_news`] and [`ClusterNode::next_ask`] until both are empty. Do so at
//! [`ClusterNode::next_deadline`] as well, and each second.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::batch::RangeBatch;
use super::document::ControlKey;
use super::exchange::{LogAnswer, LossReason, RangeClaim, RangeNews};
use super::map::{ClusterMap, MapChange};
use super::membership::{Membership, MembershipNews, NodeIdentity, Standing};
use super::node_exchange::{EndReason, NodeAsk, NodeNews};
use super::peer_words::{KnownPeer, PeerWord};
use super::range::{BootId, Mark, NodeId, NodeSet, RangeId, RangeSet};
use super::range_log::RangeLog;
use super::view::{ClusterView, NodeStanding, PeerProcess, PeerSlots, RangePlace};
use crate::ids::ShardId;
use crate::limits::{RANGE_RETRY_MS, UNHEARD_DOUBT_MS};
use crate::time::{Deadline, Now};

/// A range that this node owns by the map, or is about to give up.
#[derive(Debug)]
struct HeldRange {
    log: RangeLog,
    attempt: u32,
    /// Of its run, while its log is this node's.
    mark: Option<Mark>,
    /// It was lost: claimed again then.
    again_at: Option<Deadline>,
    /// It is to be given to another member, and its clients were told to go.
    is_moving: bool,
    /// Durable, and not told as long as the node is paused.
    durable_n: Option<u64>,
}

/// What the process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NodePhase {
    /// It is a member, or becomes one.
    Runs,
    /// It is out of the map, and begins anew once its clients are closed.
    Clears,
    Ended,
}

/// See the module's text.
#[derive(Debug)]
pub struct ClusterNode {
    identity: NodeIdentity,
    phase: NodePhase,
    membership: Membership,
    held: BTreeMap<RangeId, HeldRange>,
    /// Counts what this process tried to own: two runs of one range never have one number.
    attempts: u32,
    /// Whose clients are being closed.
    closing: RangeSet,
    /// Of these the shards were not told yet.
    to_close: RangeSet,
    /// Of slots that were lost, neither.
    to_forget: Vec<ShardId>,
    ends: Option<EndReason>,
    slots: PeerSlots,
    peers: BTreeMap<NodeId, KnownPeer>,
    /// As it was when it was looked at last.
    standing: Standing,
    /// It is unheard, and since then not everybody says the same of himself.
    doubt_since: Option<Deadline>,
    /// Others may have taken over what it owned.
    is_alone: bool,
    /// What its peers are told of it.
    is_heard: bool,
    /// This process has asked for its share of the ranges.
    has_asked_share: bool,
    view: Option<Arc<ClusterView>>,
    wants_watch: bool,
    news: VecDeque<NodeNews>,
    /// It keeps what it has claimed, whatever the map says. Simulations alone have it so.
    contends: bool,
}

impl ClusterNode {
    /// Of a process that has just begun, with so many shards.
    pub fn new(identity: NodeIdentity, shards: usize) -> Self {
        Self {
            membership: Membership::new(identity.clone()),
            identity,
            phase: NodePhase::Runs,
            held: BTreeMap::new(),
            attempts: 0,
            closing: RangeSet::default(),
            to_close: RangeSet::default(),
            to_forget: Vec::new(),
            ends: None,
            slots: PeerSlots::new(shards),
            peers: BTreeMap::new(),
            standing: Standing::Joining,
            doubt_since: None,
            is_alone: false,
            is_heard: false,
            has_asked_share: false,
            view: None,
            wants_watch: true,
            news: VecDeque::new(),
            contends: false,
        }
    }

    /// What it knows of the cluster.
    pub const fn membership(&self) -> &Membership {
        &self.membership
    }

    /// Has the map changed, as soon as it can be; see [`Membership::request`].
    pub fn request(&mut self, change: MapChange) -> bool {
        self.membership.request(change)
    }

    /// What it may do.
    pub fn standing(&self, now: Now) -> Standing {
        if self.phase == NodePhase::Runs { self.membership.standing(now) } else { Standing::Out }
    }

    /// Who serves a range, as this node sees it now.
    pub fn place_of(&self, range: RangeId) -> RangePlace {
        let (Some(map), Some(own)) = (self.membership.map(), self.membership.node()) else { return RangePlace::Nobody };
        if self.phase != NodePhase::Runs {
            return RangePlace::Nobody;
        }
        let held = self.held.get(&range);
        let is_here = held.is_some_and(|held| held.mark.is_some() && !held.is_moving) && !self.closing.contains(range);
        match map.entries().get(usize::from(range.0)).and_then(|entry| entry.owner) {
            _ if is_here => RangePlace::Here,
            Some(owner) if owner == own => RangePlace::Coming,
            Some(owner) => RangePlace::Peer(owner),
            None => RangePlace::Nobody,
        }
    }

    /// What is to be done next.
    pub fn next_news(&mut self, now: Now) -> Option<NodeNews> {
        self.follow_up(now);
        self.news.pop_front()
    }

    /// What to ask next; each is said once. To be taken when there is no news.
    pub fn next_ask(&mut self, now: Now) -> Option<NodeAsk> {
        self.follow_up(now);
        if self.phase != NodePhase::Runs {
            return None;
        }
        if std::mem::take(&mut self.wants_watch) {
            return Some(NodeAsk::Watch);
        }
        if let Some(put) = self.membership.next_put(now) {
            return Some(NodeAsk::Put(put));
        }
        self.held.iter_mut().find_map(|(range, held)| {
            let operation = held.log.next_operation(now)?;
            Some(NodeAsk::Log { range: *range, attempt: held.attempt, operation })
        })
    }

    /// When there will be something to ask or tell without anything that comes.
    pub fn next_deadline(&self) -> Option<Deadline> {
        let logs = self.held.values().flat_map(|held| held.log.next_deadline().into_iter().chain(held.again_at));
        let unheard = self.membership.unheard_at().filter(|_| self.standing == Standing::Member);
        let silent = self.membership.silent_at().filter(|_| self.is_heard);
        let alone = self.doubt_since.filter(|_| !self.is_alone).map(|at| Deadline(at.0 + UNHEARD_DOUBT_MS));
        let others = unheard.into_iter().chain(silent).chain(alone);
        logs.chain(self.membership.next_deadline()).chain(others).min().filter(|_| self.phase == NodePhase::Runs)
    }

    /// Time has passed.
    pub fn handle_tick(&mut self, now: Now) {
        self.held.values_mut().for_each(|held| held.log.handle_tick(now));
    }

    /// A document as the store has it now, in the store's order.
    pub fn handle_entry(&mut self, key: ControlKey, revision: u64, bytes: &[u8], now: Now) {
        if self.phase == NodePhase::Runs && !self.wants_watch {
            self.membership.handle_entry(key, revision, bytes, now);
        }
    }

    /// Everything that the store had when it was asked to [`NodeAsk::Watch`] was told.
    pub const fn handle_caught_up(&mut self) {
        if !self.wants_watch {
            self.membership.handle_caught_up();
        }
    }

    /// The engine has answered what an attempt to own a range has asked.
    pub fn handle_answer(&mut self, range: RangeId, attempt: u32, answer: LogAnswer, now: Now) {
        if let Some(held) = self.held_by(range, attempt) {
            held.log.handle_answer(answer, now);
        }
    }

    /// A message of the read `read`, and what it says if that is needed.
    pub fn handle_message<'a>(
        &mut self,
        (range, attempt, read): (RangeId, u32, u32),
        sequence: u64,
        bytes: &'a [u8],
    ) -> Option<RangeBatch<'a>> {
        self.held_by(range, attempt)?.log.handle_message(read, sequence, bytes)
    }

    /// The shards have closed all clients of these ranges.
    pub fn handle_closed(&mut self, ranges: RangeSet) {
        self.closing = self.closing.without(ranges);
    }

    /// What links say of the process that has a slot. Of one that is gone it says nothing any more.
    pub fn handle_peer(&mut self, slot: ShardId, says: PeerWord) {
        if let Some(peer) = self.peers.values_mut().find(|peer| peer.slot == slot) {
            peer.handle(says);
        }
    }

    /// The shards have forgotten the process that had a slot.
    pub fn handle_forgotten(&mut self, slot: ShardId) {
        self.slots.forgotten(slot);
    }

    /// Appends `count` records to a range's log and tells the number that [`NodeNews::Durable`] will name. `None` where the range is not served or
    /// has too much on its way: to be tried again later.
    pub fn append(&mut self, range: RangeId, count: u32, records: &[u8]) -> Option<u64> {
        let owner = self.writable(range)?;
        owner.has_room().then(|| owner.append(count, records))
    }

    /// Appends the next page of what a range's log comes to, as [`Self::append`] does.
    pub fn append_state(&mut self, range: RangeId, is_last: bool, count: u32, records: &[u8]) -> Option<u64> {
        let owner = self.writable(range)?;
        owner.has_room().then(|| owner.append_state(is_last, count, records))
    }

    /// Whether a range's log still has what an earlier state stands for.
    pub fn is_compacting(&mut self, range: RangeId) -> bool {
        self.writable(range).is_some_and(|owner| owner.is_compacting())
    }

    /// Has it keep what it has claimed, whatever the map says, so that the log alone decides: for simulations.
    #[cfg(feature = "test-layers")]
    pub fn contend(&mut self, contends: bool) {
        self.contends = contends;
    }

    /// Claims a range whatever the map says; whether it has not claimed it already. For simulations.
    #[cfg(feature = "test-layers")]
    pub fn grab(&mut self, range: RangeId) -> bool {
        let is_claimed = self.held.get(&range).is_some_and(|held| held.again_at.is_none());
        let Some(own) = self.membership.node().filter(|_| !is_claimed && !self.closing.contains(range)) else {
            return false;
        };
        self.begin_claim(range, own);
        true
    }

    fn writable(&mut self, range: RangeId) -> Option<&mut super::owner::LogOwner> {
        if self.place_of(range) != RangePlace::Here {
            return None;
        }
        self.held.get_mut(&range)?.log.owner()
    }

    fn held_by(&mut self, range: RangeId, attempt: u32) -> Option<&mut HeldRange> {
        self.held.get_mut(&range).filter(|held| held.attempt == attempt)
    }

    /// Does what follows from all that has come.
    fn follow_up(&mut self, now: Now) {
        if self.phase == NodePhase::Ended {
            return;
        }
        while self.phase == NodePhase::Runs
            && let Some(news) = self.membership.next_news()
        {
            self.hear_membership(news);
        }
        if self.phase == NodePhase::Clears && self.closing.is_empty() {
            // Peers that are gone may come back under the slots that they had: shards hear first that they are gone.
            self.judge_standing(now);
            self.tell_view();
            self.membership = Membership::new(self.identity.clone());
            (self.phase, self.wants_watch, self.has_asked_share) = (NodePhase::Runs, true, false);
        }
        if self.phase == NodePhase::Runs {
            self.hear_logs(now);
            self.claim(now);
            self.know_peers(now);
            self.ask_for_share(now);
        }
        self.judge_standing(now);
        self.tell_view();
        let is_heard = self.phase == NodePhase::Runs && self.membership.is_heard(now);
        if std::mem::replace(&mut self.is_heard, is_heard) != is_heard {
            self.news.push_back(NodeNews::Heard(is_heard));
        }
        let to_close = std::mem::take(&mut self.to_close);
        if !to_close.is_empty() {
            self.news.push_back(NodeNews::CloseRanges(to_close));
        }
        self.news.extend(self.to_forget.drain(..).map(NodeNews::ForgetSlot));
        self.news.extend(self.ends.take().map(NodeNews::Ends));
    }

    fn hear_membership(&mut self, news: MembershipNews) {
        match news {
            MembershipNews::Map => {}
            MembershipNews::Dead(node) => self.news.push_back(NodeNews::Dead(node)),
            MembershipNews::CutOff(node) => self.news.push_back(NodeNews::CutOff(node)),
            MembershipNews::Expelled => {
                self.give_all_up();
                self.phase = NodePhase::Clears;
                self.news.push_back(NodeNews::Expelled);
            }
            MembershipNews::Replaced => self.end(EndReason::Replaced),
            MembershipNews::Unusable(key, what) => self.end(EndReason::Unusable(key, what)),
        }
    }

    fn end(&mut self, reason: EndReason) {
        self.give_all_up();
        self.phase = NodePhase::Ended;
        self.ends = Some(reason);
    }

    fn give_all_up(&mut self) {
        let ranges: Vec<RangeId> = self.held.keys().copied().collect();
        for range in ranges {
            self.drop_range(range);
        }
        for peer in std::mem::take(&mut self.peers).into_values() {
            self.lose_slot(peer.slot);
        }
    }

    fn lose_slot(&mut self, slot: ShardId) {
        self.slots.gone(slot);
        self.to_forget.push(slot);
    }

    /// A range is this node's no more; its clients go.
    fn drop_range(&mut self, range: RangeId) {
        let Some(held) = self.held.remove(&range) else { return };
        if held.mark.is_some() {
            self.close(range);
            self.news.push_back(NodeNews::Lost { range, reason: LossReason::Released });
        }
    }

    fn close(&mut self, range: RangeId) {
        if !self.closing.contains(range) {
            self.closing.insert(range);
            self.to_close.insert(range);
        }
    }

    fn hear_logs(&mut self, now: Now) {
        let is_silent = matches!(self.membership.standing(now), Standing::Paused | Standing::Out);
        let ranges: Vec<RangeId> = self.held.keys().copied().collect();
        for range in ranges {
            while let Some(news) = self.held.get_mut(&range).and_then(|held| held.log.next_news()) {
                self.hear_log(range, news, now);
            }
            if let Some(held) = self.held.get_mut(&range)
                && !is_silent
                && let Some(n) = held.durable_n.take()
            {
                self.news.push_back(NodeNews::Durable { range, n });
            }
        }
    }

    fn hear_log(&mut self, range: RangeId, news: RangeNews, now: Now) {
        let held = self.held.get_mut(&range).expect("the log is held");
        match news {
            RangeNews::BegunAnew => self.news.push_back(NodeNews::BegunAnew(range)),
            RangeNews::Owned { mark } => {
                held.mark = Some(mark);
                self.membership.tell_floor(range, mark.sequence);
                if let Some(owner) = self.membership.node() {
                    self.membership.request(MapChange::Marked { range, owner, sequence: mark.sequence });
                }
                self.news.push_back(NodeNews::Owned { range, mark });
            }
            RangeNews::Durable { n } => {
                let mark = held.mark.expect("who has something durable has marked the range");
                held.durable_n = Some(n);
                self.membership.tell_floor(range, mark.sequence + n);
            }
            RangeNews::Lost { reason } => {
                held.durable_n = None;
                held.again_at = Some(now.after_ms(RANGE_RETRY_MS));
                if held.mark.take().is_some() {
                    self.close(range);
                    self.news.push_back(NodeNews::Lost { range, reason });
                }
            }
            RangeNews::Quarantined { sequence, damage } => {
                self.news.push_back(NodeNews::Quarantined { range, sequence, damage });
            }
        }
    }

    /// Claims what the map says, and gives up what it does not.
    fn claim(&mut self, now: Now) {
        let Some(own) = self.membership.node() else { return };
        let Some(map) = self.membership.map() else { return };
        let owned: Vec<(RangeId, bool)> =
            map.owned_by(own).map(|range| (range, map.entries()[usize::from(range.0)].next.is_some())).collect();
        let foreign = self.held.keys().filter(|range| !owned.iter().any(|(owned, _)| owned == *range));
        let foreign: Vec<RangeId> = foreign.copied().filter(|_| !self.contends).collect();
        for range in foreign {
            self.drop_range(range);
        }
        for (range, is_moving) in owned {
            if is_moving {
                self.give_on(range, own);
            } else {
                self.claim_range(range, own, now);
            }
        }
    }

    fn claim_range(&mut self, range: RangeId, own: NodeId, now: Now) {
        let is_due = match self.held.get_mut(&range) {
            None => true,
            Some(held) => {
                // A move that was planned may be taken back.
                held.is_moving &= self.closing.contains(range);
                held.again_at.is_some_and(|at| at.is_due(now))
            }
        };
        if !is_due || self.closing.contains(range) || self.membership.standing(now) != Standing::Member {
            return;
        }
        self.begin_claim(range, own);
    }

    fn begin_claim(&mut self, range: RangeId, own: NodeId) {
        self.attempts += 1;
        let floor = self.membership.floor(range);
        let claim = RangeClaim { range, node: own, boot: self.identity.boot, attempt: self.attempts, floor };
        let held = HeldRange {
            log: RangeLog::new(claim),
            attempt: self.attempts,
            mark: None,
            again_at: None,
            is_moving: false,
            durable_n: None,
        };
        self.held.insert(range, held);
        self.news.push_back(NodeNews::BegunAnew(range));
    }

    /// Gives a range to whom it is to go: at once if it was never served, else when its clients are closed and nothing is under way.
    fn give_on(&mut self, range: RangeId, own: NodeId) {
        if let Some(held) = self.held.get_mut(&range)
            && held.mark.is_some()
        {
            if !std::mem::replace(&mut held.is_moving, true) {
                self.close(range);
            }
            if self.closing.contains(range) || !self.held.get(&range).is_some_and(|held| held.log.is_idle()) {
                return;
            }
            self.held.remove(&range);
            self.news.push_back(NodeNews::Lost { range, reason: LossReason::Released });
        }
        if self.closing.contains(range) {
            return;
        }
        self.held.remove(&range);
        self.membership.request(MapChange::GivenUp { range, from: own });
    }

    /// Gives slots to the processes of members, and takes them from those that are gone.
    fn know_peers(&mut self, now: Now) {
        let Some(map) = self.membership.map() else { return };
        let own = self.membership.node();
        let seen: BTreeMap<NodeId, (BootId, u64)> = map
            .members()
            .filter(|(node, _)| Some(*node) != own)
            .filter_map(|(node, _)| self.membership.document(node).map(|document| (node, document)))
            .map(|(node, document)| (node, (document.boot, document.beat)))
            .collect();
        let is_gone = |node: &NodeId, boot| seen.get(node).is_none_or(|(now_has, _)| *now_has != boot);
        let gone: Vec<NodeId> =
            self.peers.iter().filter(|(node, peer)| is_gone(node, peer.boot)).map(|(node, _)| *node).collect();
        for node in gone {
            let peer = self.peers.remove(&node).expect("it is there");
            self.lose_slot(peer.slot);
        }
        for (node, (boot, beat)) in seen {
            if let Some(peer) = self.peers.get_mut(&node) {
                peer.see_beat(beat, now);
            } else if let Some(slot) = self.slots.take(node, boot) {
                self.peers.insert(node, KnownPeer::new((boot, slot), beat, now));
            }
        }
        let (mut reached, mut cut_off) = (NodeSet::default(), NodeSet::default());
        for (node, peer) in &self.peers {
            if peer.is_linked() {
                reached.insert(*node);
            } else if peer.is_cut_off(now) {
                cut_off.insert(*node);
            }
        }
        self.membership.tell_links(reached, cut_off);
    }

    /// What is known of each other member by its links; `None` where its process is not known.
    fn others(&self) -> impl Iterator<Item = Option<&KnownPeer>> {
        let members = self.membership.map().into_iter().flat_map(ClusterMap::members);
        let others = members.filter(|(node, _)| Some(*node) != self.membership.node());
        others.map(|(node, _)| self.peers.get(&node))
    }

    /// A process that has come, or owns nothing, asks for ranges once everybody waits for it before a SUBACK. One that cannot be linked gets none.
    fn ask_for_share(&mut self, now: Now) {
        let (Some(map), Some(own)) = (self.membership.map(), self.membership.node()) else { return };
        let is_counted = self.others().all(|peer| peer.is_some_and(KnownPeer::has_counted));
        if self.has_asked_share || !is_counted || self.membership.standing(now) != Standing::Member {
            return;
        }
        let owns = map.entries().iter().any(|entry| entry.owner == Some(own) || entry.next == Some(own));
        let is_due = self.membership.has_joined() || !owns;
        self.has_asked_share = !is_due || self.membership.request(MapChange::Rebalance);
    }

    /// Whether it may serve on although its beats do not come back.
    fn judge_standing(&mut self, now: Now) {
        self.standing = self.standing(now);
        match self.standing {
            Standing::Member | Standing::Joining | Standing::Out => (self.doubt_since, self.is_alone) = (None, false),
            // What was doubtful before a pause is not less so behind it.
            Standing::Paused => {}
            Standing::Unheard if self.is_alone => {}
            Standing::Unheard => {
                let is_anybody_linked = self.others().flatten().any(KnownPeer::is_linked);
                if is_anybody_linked && self.others().all(|peer| peer.is_some_and(KnownPeer::is_unheard)) {
                    self.doubt_since = None;
                    return;
                }
                let since = *self.doubt_since.get_or_insert(now.after_ms(0));
                self.is_alone = !is_anybody_linked || now.ms().saturating_sub(since.0) >= UNHEARD_DOUBT_MS;
            }
        }
    }

    /// Tells the shards what has changed for them.
    fn tell_view(&mut self) {
        let view = self.make_view();
        if view.is_some() && view.as_ref() != self.view.as_deref() {
            self.view = view.map(Arc::new);
            self.news.extend(self.view.clone().map(NodeNews::View));
        }
    }

    fn make_view(&self) -> Option<ClusterView> {
        let ranges = self.membership.cluster()?.ranges;
        let map = self.membership.map();
        let standing = match self.standing {
            Standing::Member => NodeStanding::Serves,
            Standing::Paused => NodeStanding::Paused,
            Standing::Unheard if !self.is_alone => NodeStanding::Serves,
            Standing::Joining | Standing::Unheard | Standing::Out => NodeStanding::Alone,
        };
        let mut peers: Vec<PeerProcess> =
            self.peers.iter().filter_map(|(node, peer)| self.peer_process(map?, *node, peer)).collect();
        peers.sort_by_key(|peer| peer.slot);
        Some(ClusterView {
            epoch: map.map_or(0, ClusterMap::epoch),
            ranges,
            owners: ranges.all().map(|range| self.place_of(range)).collect(),
            peers: peers.into(),
            standing,
        })
    }

    /// `None` where its document has no address: it cannot be linked.
    fn peer_process(&self, map: &ClusterMap, node: NodeId, peer: &KnownPeer) -> Option<PeerProcess> {
        let document = self.membership.document(node)?;
        let at = document.link.parse().ok()?;
        let (name, server) = (map.member(node)?.name.clone(), document.server.clone());
        Some(PeerProcess { node, boot: peer.boot, slot: peer.slot, at, name, server })
    }
}
