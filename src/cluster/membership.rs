//! A node's part in the cluster: its beat, what it sees of the others', and the changes of the map that it asks for.
//!
//! Always holds: a peer is called dead only when its beat has not moved while this node's own beats came back, without a longer gap, over
//! [`DEATH_MS`]: neither a store that stands still nor a node that was paused calls anybody dead. A beat counts when it is seen in the
//! store's own order of events, so every beat and every map before it has been seen as well. Nobody is called dead by a member that he may not know of: then
//! he cannot know whom to ask before he serves on unheard. A node that was paused acknowledges nothing until
//! a beat that it sent afterwards has come back and it still is who it was. Who is put out of the map for want of links follows from the documents of
//! all members alike, and is judged again each time that the change is tried, so that no two put each other out.
//! Leaves to others: the store, the logs of ranges, links, and what a node that cannot beat does with its clients.

use std::collections::{BTreeMap, VecDeque};

use super::document::{ClusterDocument, ControlKey, DocumentError, NodeDocument};
use super::map::{ClusterMap, MapChange};
use super::range::{BootId, NodeId, NodeSet, RangeId};
use crate::limits::{BEAT_INTERVAL_MS, BEATS_KEPT_MAX, CUT_OFF_MS, DEATH_MS, MAP_CHANGES_MAX, PAUSE_MS, UNHEARD_MS};
use crate::time::{Deadline, Now};

/// Who a node is.
#[derive(Clone, Debug)]
pub struct NodeIdentity {
    /// Under which it is a member, always the same.
    pub name: String,
    /// Its process.
    pub boot: BootId,
    /// Where other nodes reach it.
    pub link: String,
    /// Where clients reach it that could connect by themselves; see [`NodeDocument::server`].
    pub server: Option<String>,
    /// Of dunlin.
    pub version: String,
    /// The cluster that it wants to be in, and what one that it founds is like.
    pub cluster: ClusterDocument,
}

/// A document to be stored, if the one that is there is that of `expected`. What comes of it is seen when it comes back; else the same is tried
/// again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlPut {
    /// Which.
    pub key: ControlKey,
    /// The revision that is replaced; 0 where there is none yet.
    pub expected: u64,
    /// The document.
    pub bytes: Vec<u8>,
}

/// What a node has to know of its membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MembershipNews {
    /// There is another map: what this node owns may have changed.
    Map,
    /// A member's beat has stood still; the map is to be changed.
    Dead(NodeId),
    /// A member lacks more links than any other, or as many and has the higher number; the map is to be changed.
    CutOff(NodeId),
    /// Another process is this node now. Everything ends.
    Replaced,
    /// It is not a member any more: others own what it owned. It may join again.
    Expelled,
    /// The store belongs to another cluster, or has a document that cannot be read. Nothing is done there.
    Unusable(ControlKey, String),
}

/// What a node may do at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing yet.
    Joining,
    /// Everything.
    Member,
    /// It was paused, and others may own what it owned: it acknowledges nothing.
    Paused,
    /// Its beats have not come back for so long that others may call it dead, if they can beat.
    Unheard,
    /// Nothing any more.
    Out,
}

/// What is known of another node's beat.
#[derive(Clone, Copy, Debug)]
struct PeerBeat {
    revision: u64,
    /// When an own beat came back first after it had moved.
    still_since: Option<Deadline>,
}

/// This node's own beat.
#[derive(Debug, Default)]
struct OwnBeat {
    /// Of the last that was sent.
    sent: u64,
    sent_at: Option<Deadline>,
    /// When the last ones were sent, for those that have not come back.
    sent_times: VecDeque<(u64, Deadline)>,
    /// Revision of this node's document.
    revision: u64,
    /// When the newest that has come back was sent, and came back.
    heard_sent_at: Option<Deadline>,
    heard_at: Option<Deadline>,
}

/// See the module's text.
#[derive(Debug)]
pub struct Membership {
    identity: NodeIdentity,
    /// Whether everything that was there at first has been seen.
    is_caught_up: bool,
    is_out: bool,
    /// It was no member when it came.
    has_joined: bool,
    founded: Option<ClusterDocument>,
    node: Option<NodeId>,
    map: Option<(u64, ClusterMap)>,
    own: OwnBeat,
    peers: BTreeMap<NodeId, PeerBeat>,
    documents: BTreeMap<NodeId, NodeDocument>,
    floors: Vec<u64>,
    /// Members that this node reaches, and those of them that beat and that it does not.
    reached: NodeSet,
    cut_off: NodeSet,
    /// Who lacks most links, and since which own beat that is so.
    most_cut: Option<(NodeId, Deadline)>,
    changes: VecDeque<MapChange>,
    /// The cluster's or the map's document was put: until then it may still come back.
    asked_until: Option<Deadline>,
    last_tick: Option<Deadline>,
    /// The beat that ends a pause by coming back.
    paused_until: Option<u64>,
    news: VecDeque<MembershipNews>,
}

impl Membership {
    /// Of a process that has just begun.
    pub fn new(identity: NodeIdentity) -> Self {
        Self {
            identity,
            is_caught_up: false,
            is_out: false,
            has_joined: false,
            founded: None,
            node: None,
            map: None,
            own: OwnBeat::default(),
            peers: BTreeMap::new(),
            documents: BTreeMap::new(),
            floors: Vec::new(),
            reached: NodeSet::default(),
            cut_off: NodeSet::default(),
            most_cut: None,
            changes: VecDeque::new(),
            asked_until: None,
            last_tick: None,
            paused_until: None,
            news: VecDeque::new(),
        }
    }

    /// The number that this node has as a member.
    pub const fn node(&self) -> Option<NodeId> {
        self.node
    }

    /// What was decided when the cluster was founded.
    pub const fn cluster(&self) -> Option<&ClusterDocument> {
        self.founded.as_ref()
    }

    /// The newest map that was seen.
    pub fn map(&self) -> Option<&ClusterMap> {
        self.map.as_ref().map(|(_, map)| map)
    }

    /// What a member has said of itself last, be it dead by now.
    pub fn document(&self, node: NodeId) -> Option<&NodeDocument> {
        self.documents.get(&node)
    }

    /// When it will be unheard, unless a beat comes back before.
    pub fn unheard_at(&self) -> Option<Deadline> {
        self.own.heard_sent_at.map(|at| Deadline(at.0.saturating_add(UNHEARD_MS)))
    }

    /// What it may do.
    pub fn standing(&self, now: Now) -> Standing {
        if self.is_out {
            return Standing::Out;
        }
        let Some(heard) = self.own.heard_sent_at.filter(|_| self.node.is_some()) else { return Standing::Joining };
        if self.paused_until.is_some() || self.is_jump(now) {
            Standing::Paused
        } else if now.ms().saturating_sub(heard.0) >= UNHEARD_MS {
            Standing::Unheard
        } else {
            Standing::Member
        }
    }

    /// Whether its beats come back, however late they are: then it may call others dead, and says so to its peers.
    pub fn is_heard(&self, now: Now) -> bool {
        let last = self.own.heard_at.filter(|_| !self.is_out && self.node.is_some());
        last.is_some_and(|last| now.ms().saturating_sub(last.0) < UNHEARD_MS)
    }

    /// When it is not heard any more, unless a beat comes back before.
    pub fn silent_at(&self) -> Option<Deadline> {
        self.own.heard_at.map(|at| Deadline(at.0.saturating_add(UNHEARD_MS)))
    }

    /// Whether this process was no member when it came, and had to join.
    pub const fn has_joined(&self) -> bool {
        self.has_joined
    }

    /// Which members links say are reached, and which of the others beat: the next beat tells these, and a node joins only where it reaches all.
    pub const fn tell_links(&mut self, reached: NodeSet, cut_off: NodeSet) {
        (self.reached, self.cut_off) = (reached, cut_off);
    }

    /// The lowest sequence that a range's log must reach, as far as anybody has told.
    pub fn floor(&self, range: RangeId) -> u64 {
        self.floors.get(usize::from(range.0)).copied().unwrap_or(0)
    }

    /// A range's log has this sequence, which the next beat tells.
    pub fn tell_floor(&mut self, range: RangeId, sequence: u64) {
        if let Some(floor) = self.floors.get_mut(usize::from(range.0)) {
            *floor = (*floor).max(sequence);
        }
    }

    /// Has the map changed, as soon as it can be. `false` where too many changes wait.
    pub fn request(&mut self, change: MapChange) -> bool {
        let is_new = !self.changes.contains(&change);
        if is_new && self.changes.len() >= MAP_CHANGES_MAX {
            return false;
        }
        if is_new {
            self.changes.push_back(change);
        }
        true
    }

    /// What is to be told next.
    pub fn next_news(&mut self) -> Option<MembershipNews> {
        self.news.pop_front()
    }

    /// When [`Self::handle_tick`] and [`Self::next_put`] are wanted.
    pub fn next_deadline(&self) -> Option<Deadline> {
        let beat = self.own.sent_at.map(|at| Deadline(at.0 + BEAT_INTERVAL_MS));
        beat.into_iter().chain(self.asked_until).min().filter(|_| !self.is_out)
    }

    /// Everything that the store had at first has been told.
    pub const fn handle_caught_up(&mut self) {
        self.is_caught_up = true;
    }

    /// Time has passed; call it at least each second.
    pub fn handle_tick(&mut self, now: Now) {
        if self.is_jump(now) {
            self.paused_until = Some(self.own.sent + 1);
        }
        self.last_tick = Some(Deadline(now.ms()));
    }

    /// What to store next; each is said once.
    pub fn next_put(&mut self, now: Now) -> Option<ControlPut> {
        if self.is_out || !self.is_caught_up {
            return None;
        }
        self.handle_tick(now);
        self.take_number();
        self.next_beat(now).or_else(|| self.next_change(now))
    }

    /// A document as the store has it now, in the store's order.
    pub fn handle_entry(&mut self, key: ControlKey, revision: u64, bytes: &[u8], now: Now) {
        if self.is_out {
            return;
        }
        self.handle_tick(now);
        let read = match key {
            ControlKey::Cluster => self.handle_cluster(bytes),
            ControlKey::Node(node) => self.handle_node(node, revision, bytes, now),
            ControlKey::Map => self.handle_map(revision, bytes),
        };
        if let Err(what) = read {
            self.is_out = true;
            self.news.push_back(MembershipNews::Unusable(key, what));
        }
    }

    /// Who is a member by its name has its number.
    fn take_number(&mut self) {
        if self.node.is_none()
            && let Some(node) = self.map().and_then(|map| map.node_named(&self.identity.name))
        {
            self.node = Some(node);
            self.own.revision = self.peers.get(&node).map_or(0, |peer| peer.revision);
        }
    }

    fn next_beat(&mut self, now: Now) -> Option<ControlPut> {
        let node = self.node?;
        if self.own.sent_at.is_some_and(|at| !Deadline(at.0 + BEAT_INTERVAL_MS).is_due(now)) {
            return None;
        }
        self.own.sent += 1;
        self.own.sent_at = Some(Deadline(now.ms()));
        if self.own.sent_times.len() >= BEATS_KEPT_MAX {
            self.own.sent_times.pop_front();
        }
        self.own.sent_times.push_back((self.own.sent, Deadline(now.ms())));
        let document = NodeDocument {
            boot: self.identity.boot,
            beat: self.own.sent,
            link: self.identity.link.clone(),
            server: self.identity.server.clone(),
            version: self.identity.version.clone(),
            epoch: self.map().map_or(0, ClusterMap::epoch),
            cut_off: self.cut_off,
            floors: self.floors.clone(),
        };
        Some(ControlPut { key: ControlKey::Node(node), expected: self.own.revision, bytes: document.encode() })
    }

    fn next_change(&mut self, now: Now) -> Option<ControlPut> {
        if self.asked_until.is_some_and(|until| !until.is_due(now)) {
            return None;
        }
        let put = if self.founded.is_none() {
            ControlPut { key: ControlKey::Cluster, expected: 0, bytes: self.identity.cluster.encode() }
        } else {
            let (expected, map) = self.changed_map(now)?;
            ControlPut { key: ControlKey::Map, expected, bytes: map.encode() }
        };
        self.asked_until = Some(now.after_ms(BEAT_INTERVAL_MS));
        Some(put)
    }

    /// The map after the first change that is not made yet, and what it replaces.
    fn changed_map(&mut self, now: Now) -> Option<(u64, ClusterMap)> {
        let ranges = self.founded.as_ref()?.ranges;
        let (revision, map) = self.map.clone().unwrap_or_else(|| (0, ClusterMap::found(ranges)));
        if self.node.is_none() {
            self.has_joined = true;
            let reaches_all = map.members().all(|(node, _)| self.reached.contains(node));
            let join = MapChange::Join { name: self.identity.name.clone() };
            return map.after(&join).filter(|_| reaches_all).map(|map| (revision, map));
        }
        while let Some(change) = self.changes.front() {
            if let Some(map) = map.after(change).filter(|_| !self.is_taken_back(change, now)) {
                return Some((revision, map));
            }
            self.changes.pop_front();
        }
        None
    }

    /// Whether what others have said meanwhile, or that they could not be heard, makes a change void.
    fn is_taken_back(&self, change: &MapChange, now: Now) -> bool {
        let is_current = self.own.heard_at.is_some_and(|at| now.ms().saturating_sub(at.0) <= PAUSE_MS);
        match change {
            MapChange::Death(node) => {
                let still_since = self.peers.get(node).and_then(|peer| peer.still_since);
                !is_current || still_since.is_none_or(|since| now.ms().saturating_sub(since.0) < DEATH_MS)
            }
            MapChange::CutOff(node) => !is_current || self.who_lacks_most() != Some(*node),
            _ => false,
        }
    }

    fn handle_cluster(&mut self, bytes: &[u8]) -> Result<(), String> {
        let document = ClusterDocument::decode(bytes).map_err(|error| error.to_string())?;
        if document.name != self.identity.cluster.name {
            return Err(format!("it is that of the cluster {:?}", document.name));
        }
        if self.founded.as_ref().is_some_and(|founded| *founded != document) {
            return Err("it is another one than before".to_owned());
        }
        self.floors.resize(usize::from(document.ranges.get()), 0);
        self.founded = Some(document);
        self.asked_until = None;
        Ok(())
    }

    fn handle_node(&mut self, node: NodeId, revision: u64, bytes: &[u8], now: Now) -> Result<(), String> {
        let document = NodeDocument::decode(bytes).map_err(|error: DocumentError| error.to_string())?;
        for (floor, told) in self.floors.iter_mut().zip(&document.floors) {
            *floor = (*floor).max(*told);
        }
        if Some(node) == self.node {
            self.handle_own(revision, &document, now);
        }
        self.peers.insert(node, PeerBeat { revision, still_since: None });
        // A node beats behind the map that has it, in the store's order: what comes from who is out is nobody's word.
        if self.map().is_none_or(|map| map.has(node)) {
            self.documents.insert(node, document);
        }
        Ok(())
    }

    fn handle_own(&mut self, revision: u64, document: &NodeDocument, now: Now) {
        if document.boot != self.identity.boot {
            // What was there before this process wrote for the first time is its predecessor's.
            if self.own.heard_at.is_some() {
                self.is_out = true;
                self.news.push_back(MembershipNews::Replaced);
            } else {
                self.own.revision = revision;
            }
            return;
        }
        self.own.revision = revision;
        let last = self.own.heard_at.replace(Deadline(now.ms()));
        while let Some((beat, at)) = self.own.sent_times.front().copied().filter(|(beat, _)| *beat <= document.beat) {
            self.own.sent_times.pop_front();
            if beat == document.beat {
                self.own.heard_sent_at = Some(at);
            }
        }
        if self.paused_until.is_some_and(|beat| beat <= document.beat) {
            self.paused_until = None;
        }
        // Over a gap nobody knows who could have beaten.
        let is_gap = last.is_none_or(|last| now.ms().saturating_sub(last.0) > PAUSE_MS);
        self.look_for_deaths(is_gap, now);
        self.look_for_cuts(is_gap, now);
    }

    fn look_for_deaths(&mut self, is_gap: bool, now: Now) {
        let Some((_, map)) = &self.map else { return };
        // Who has not seen a map with this node serves on without asking it.
        let known_since = self.node.and_then(|own| map.member(own)).map_or(u64::MAX, |member| member.since);
        let mut dead = Vec::new();
        for (node, _) in map.members().filter(|(node, _)| Some(*node) != self.node) {
            // A member that has never beaten stands still as well.
            let peer = self.peers.entry(node).or_insert(PeerBeat { revision: 0, still_since: None });
            let since = match peer.still_since {
                Some(since) if !is_gap => since,
                _ => *peer.still_since.insert(Deadline(now.ms())),
            };
            let may_be_called_dead = self.documents.get(&node).is_none_or(|document| document.epoch >= known_since);
            if now.ms().saturating_sub(since.0) >= DEATH_MS && may_be_called_dead {
                dead.push(node);
            }
        }
        for node in dead {
            if !self.changes.contains(&MapChange::Death(node)) && self.request(MapChange::Death(node)) {
                self.news.push_back(MembershipNews::Dead(node));
            }
        }
    }

    fn look_for_cuts(&mut self, is_gap: bool, now: Now) {
        let most = self.who_lacks_most();
        let since = match (self.most_cut, most) {
            (_, None) => None,
            (Some((before, since)), Some(node)) if before == node && !is_gap => Some((node, since)),
            (_, Some(node)) => Some((node, Deadline(now.ms()))),
        };
        self.most_cut = since;
        if let Some((node, since)) = since
            && now.ms().saturating_sub(since.0) >= CUT_OFF_MS
            && !self.changes.contains(&MapChange::CutOff(node))
            && self.request(MapChange::CutOff(node))
        {
            self.news.push_back(MembershipNews::CutOff(node));
        }
    }

    /// The member that lacks links to most others, by what any of the two says; of several the one with the highest number.
    fn who_lacks_most(&self) -> Option<NodeId> {
        let map = self.map()?;
        let says = |node: NodeId, of: NodeId| self.documents.get(&node).is_some_and(|d| d.cut_off.contains(of));
        let lacks = |node: NodeId| {
            let others = map.members().filter(|(other, _)| *other != node);
            others.filter(|(other, _)| says(node, *other) || says(*other, node)).count()
        };
        let counts = map.members().map(|(node, _)| (lacks(node), node));
        counts.max().filter(|(count, _)| *count > 0).map(|(_, node)| node)
    }

    fn handle_map(&mut self, revision: u64, bytes: &[u8]) -> Result<(), String> {
        let map = ClusterMap::decode(bytes).map_err(|error| error.to_string())?;
        for (floor, entry) in self.floors.iter_mut().zip(map.entries()) {
            *floor = (*floor).max(entry.floor);
        }
        for (node, peer) in &mut self.peers {
            if !map.has(*node) {
                peer.still_since = None;
            }
        }
        // Whoever gets the number of one that is gone says something of itself first.
        self.documents.retain(|node, _| map.has(*node));
        let named = map.node_named(&self.identity.name);
        self.map = Some((revision, map));
        self.asked_until = None;
        if self.node.is_some() && self.node != named {
            self.is_out = true;
            self.news.push_back(MembershipNews::Expelled);
        } else {
            self.news.push_back(MembershipNews::Map);
        }
        Ok(())
    }

    /// Whether more time has passed since the last tick than a node that runs lets pass.
    fn is_jump(&self, now: Now) -> bool {
        self.last_tick.is_some_and(|last| now.ms().saturating_sub(last.0) > PAUSE_MS)
    }
}
