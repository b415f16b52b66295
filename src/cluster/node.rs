//! One node of a cluster: its membership, the logs of the ranges that it owns, the processes of its peers, and the view that its shards go by.
//!
//! Owns: which log is claimed, given up and claimed again, and when ([`HeldRange`]); the slots of peers.
//! Always holds: a range is [`RangePlace::Here`] only while its log is this node's, and is claimed or given on only when the clients that it had
//! were closed. What became durable while the node was paused is told when it knows that it still is who it was. Answers and messages of an earlier
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
use super::range::{BootId, Mark, NodeId, RangeId, RangeSet};
use super::range_log::RangeLog;
use super::view::{ClusterView, NodeStanding, PeerProcess, PeerSlots, RangePlace};
use crate::ids::ShardId;
use crate::limits::RANGE_RETRY_MS;
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
    peers: BTreeMap<NodeId, (BootId, ShardId)>,
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
        let serves = self.view.as_ref().is_some_and(|view| view.standing == NodeStanding::Serves);
        let unheard = self.membership.unheard_at().filter(|_| serves);
        logs.chain(self.membership.next_deadline()).chain(unheard).min().filter(|_| self.phase == NodePhase::Runs)
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
            self.membership = Membership::new(self.identity.clone());
            (self.phase, self.wants_watch) = (NodePhase::Runs, true);
        }
        if self.phase == NodePhase::Runs {
            self.hear_logs(now);
            self.claim(now);
            self.know_peers();
        }
        self.tell_view(now);
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
        for (_, slot) in std::mem::take(&mut self.peers).into_values() {
            self.lose_slot(slot);
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
    fn know_peers(&mut self) {
        let Some(map) = self.membership.map() else { return };
        let own = self.membership.node();
        let boots: BTreeMap<NodeId, BootId> = map
            .members()
            .filter(|(node, _)| Some(*node) != own)
            .filter_map(|(node, _)| Some((node, self.membership.document(node)?.boot)))
            .collect();
        let gone: Vec<NodeId> = self
            .peers
            .iter()
            .filter(|(node, (boot, _))| boots.get(node) != Some(boot))
            .map(|(node, _)| *node)
            .collect();
        for node in gone {
            let (_, slot) = self.peers.remove(&node).expect("it is there");
            self.lose_slot(slot);
        }
        for (node, boot) in boots {
            if !self.peers.contains_key(&node)
                && let Some(slot) = self.slots.take(node, boot)
            {
                self.peers.insert(node, (boot, slot));
            }
        }
    }

    /// Tells the shards what has changed for them.
    fn tell_view(&mut self, now: Now) {
        let view = self.make_view(now);
        if view.is_some() && view.as_ref() != self.view.as_deref() {
            self.view = view.map(Arc::new);
            self.news.extend(self.view.clone().map(NodeNews::View));
        }
    }

    fn make_view(&self, now: Now) -> Option<ClusterView> {
        let ranges = self.membership.cluster()?.ranges;
        let map = self.membership.map();
        let standing = match self.standing(now) {
            Standing::Member => NodeStanding::Serves,
            Standing::Paused => NodeStanding::Paused,
            Standing::Joining | Standing::Unheard | Standing::Out => NodeStanding::Alone,
        };
        let mut peers: Vec<PeerProcess> =
            self.peers.iter().filter_map(|(node, process)| self.peer_process(map?, *node, *process)).collect();
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
    fn peer_process(&self, map: &ClusterMap, node: NodeId, (boot, slot): (BootId, ShardId)) -> Option<PeerProcess> {
        let at = self.membership.document(node)?.link.parse().ok()?;
        let (_, member) = map.members().find(|(number, _)| *number == node)?;
        Some(PeerProcess { node, boot, slot, at, name: member.name.clone(), server: None })
    }
}
