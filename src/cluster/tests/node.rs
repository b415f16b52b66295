//! One node against a store and logs that answer at once: what it tells its shards, in which order, and what it waits for.

use std::collections::BTreeMap;

use crate::cluster::{
    BootId, ClusterDocument, ClusterMap, ClusterNode, ClusterView, ControlKey, EndReason, LogAnswer, LogOperation,
    LossReason, MapChange, NodeAsk, NodeDocument, NodeId, NodeIdentity, NodeNews, NodeSet, NodeStanding, PeerWord,
    RangeCount, RangeId, RangePlace, RangeSet,
};
use crate::ids::ShardId;
use crate::time::{Deadline, Now};

const RANGES: u16 = 2;

pub(super) fn node(number: u16) -> NodeId {
    NodeId::new(number).unwrap()
}

fn identity(name: &str, boot: u64) -> NodeIdentity {
    NodeIdentity {
        name: name.to_owned(),
        boot: BootId(boot),
        link: format!("10.0.0.{boot}:1885"),
        server: Some(format!("{name}.example")),
        version: "0.1.0".to_owned(),
        cluster: ClusterDocument {
            name: "fleet".to_owned(),
            ranges: RangeCount::new(RANGES).unwrap(),
            hash_seeds: [1; 4],
        },
    }
}

/// A store and logs, and one node with two shards between them.
pub(super) struct Bench {
    pub(super) node: ClusterNode,
    pub(super) ms: u64,
    pub(super) documents: BTreeMap<ControlKey, (u64, Vec<u8>)>,
    revision: u64,
    logs: Vec<Vec<Vec<u8>>>,
    /// What was asked about logs and has no answer yet: where the test wants it so.
    held_back: Vec<(RangeId, u32, LogOperation)>,
    holds_back: bool,
    /// The store takes what it is given, and does not show it.
    pub(super) is_mute: bool,
    news: Vec<NodeNews>,
}

impl Bench {
    pub(super) fn new() -> Self {
        let mut bench = Self {
            node: ClusterNode::new(identity("a", 1), 2),
            ms: 10_000,
            documents: BTreeMap::new(),
            revision: 0,
            logs: vec![Vec::new(); usize::from(RANGES)],
            held_back: Vec::new(),
            holds_back: false,
            is_mute: false,
            news: Vec::new(),
        };
        bench.run();
        bench
    }

    pub(super) fn now(&self) -> Now {
        Now { mono_ns: self.ms * 1_000_000, unix_ms: 1_700_000_000_000 + self.ms }
    }

    /// Lets time pass, as an edge does: by ticks.
    pub(super) fn pass(&mut self, ms: u64) {
        let until = self.ms + ms;
        while self.ms < until {
            self.ms += (until - self.ms).min(100);
            self.node.handle_tick(self.now());
            self.run();
        }
    }

    pub(super) fn run(&mut self) {
        loop {
            if let Some(news) = self.node.next_news(self.now()) {
                self.news.push(news);
                continue;
            }
            match self.node.next_ask(self.now()) {
                Some(NodeAsk::Watch) => {
                    let (documents, now) = (self.documents.clone(), self.now());
                    for (key, (revision, bytes)) in documents {
                        self.node.handle_entry(key, revision, &bytes, now);
                    }
                    self.node.handle_caught_up();
                }
                Some(NodeAsk::Put(put)) => self.put(put.key, put.expected, &put.bytes),
                Some(NodeAsk::Log { range, attempt, operation }) if self.holds_back => {
                    self.held_back.push((range, attempt, operation));
                }
                Some(NodeAsk::Log { range, attempt, operation }) => self.answer(range, attempt, operation),
                None => return,
            }
        }
    }

    fn put(&mut self, key: ControlKey, expected: u64, bytes: &[u8]) {
        if self.documents.get(&key).map_or(0, |(revision, _)| *revision) == expected {
            self.revision += 1;
            self.documents.insert(key, (self.revision, bytes.to_vec()));
            if !self.is_mute {
                let now = self.now();
                self.node.handle_entry(key, self.revision, bytes, now);
            }
        }
    }

    fn answer(&mut self, range: RangeId, attempt: u32, operation: LogOperation) {
        let (now, log) = (self.now(), &mut self.logs[usize::from(range.0)]);
        let last = log.len() as u64;
        let answer = match operation {
            LogOperation::Look => LogAnswer::Info { first: 1, last },
            LogOperation::Read { read, from, to } => {
                for sequence in from..=to {
                    let bytes = log[sequence as usize - 1].clone();
                    self.node.handle_message((range, attempt, read), sequence, &bytes);
                }
                LogAnswer::ReadEnded { read, is_whole: true }
            }
            LogOperation::Append { id, expected_last, .. } if expected_last != last => LogAnswer::Refused { id },
            LogOperation::Append { id, bytes, .. } => {
                log.push(bytes);
                LogAnswer::Appended { id, sequence: last + 1 }
            }
            LogOperation::StepDown => LogAnswer::SteppedDown,
            LogOperation::Purge { .. } => LogAnswer::Purged,
        };
        self.node.handle_answer(range, attempt, answer, now);
    }

    pub(super) fn map(&self) -> ClusterMap {
        ClusterMap::decode(&self.documents[&ControlKey::Map].1).unwrap()
    }

    /// Somebody else changes the map.
    pub(super) fn change(&mut self, change: &MapChange) {
        let (revision, map) = (self.documents[&ControlKey::Map].0, self.map());
        self.put(ControlKey::Map, revision, &map.after(change).expect("it changes something").encode());
        self.run();
    }

    /// A process of another member beats.
    pub(super) fn peer_beats(&mut self, number: u16, boot: u64, beat: u64) {
        let document = NodeDocument {
            boot: BootId(boot),
            beat,
            link: format!("10.0.0.{boot}:1885"),
            server: None,
            version: "0.1.0".to_owned(),
            epoch: self.map().epoch(),
            cut_off: NodeSet::default(),
            floors: vec![0; usize::from(RANGES)],
        };
        let key = ControlKey::Node(node(number));
        let expected = self.documents.get(&key).map_or(0, |(revision, _)| *revision);
        self.put(key, expected, &document.encode());
        self.run();
    }

    pub(super) fn take_news(&mut self) -> Vec<NodeNews> {
        std::mem::take(&mut self.news)
    }

    pub(super) fn view(&self) -> ClusterView {
        let mut views =
            self.news.iter().filter_map(|news| if let NodeNews::View(view) = news { Some(view) } else { None });
        ClusterView::clone(views.next_back().expect("there was a view"))
    }
}

/// The kinds of what was told, in order, but for what peers are told; of views, where the ranges are, if that has changed.
pub(super) fn told(news: &[NodeNews]) -> Vec<String> {
    let all = news.iter().filter(|news| !matches!(news, NodeNews::Heard(_))).map(|news| match news {
        NodeNews::View(view) => format!("view {:?}", view.owners),
        NodeNews::CloseRanges(ranges) => format!("close {:?}", ranges.iter().map(|range| range.0).collect::<Vec<_>>()),
        NodeNews::ForgetSlot(slot) => format!("forget {}", slot.0),
        NodeNews::BegunAnew(range) => format!("begun {}", range.0),
        NodeNews::Owned { range, .. } => format!("owned {}", range.0),
        NodeNews::Lost { range, reason } => format!("lost {} {reason:?}", range.0),
        NodeNews::Durable { range, n } => format!("durable {} {n}", range.0),
        other => format!("{other:?}"),
    });
    let mut all: Vec<String> = all.collect();
    all.dedup();
    all
}

fn both() -> RangeSet {
    let mut ranges = RangeSet::default();
    (0..RANGES).for_each(|range| ranges.insert(RangeId(range)));
    ranges
}

#[test]
fn a_node_alone_founds_a_cluster_and_serves_all_of_it() {
    let mut bench = Bench::new();
    let news = told(&bench.take_news());
    let begun = news.iter().position(|news| news == "begun 0").expect("it claims");
    assert_eq!(
        news[begun..],
        [
            "begun 0",
            "begun 1",
            "view [Coming, Coming]",
            "owned 0",
            "view [Here, Coming]",
            "owned 1",
            "view [Here, Here]"
        ]
    );
    assert_eq!(bench.node.append(RangeId(1), 1, b"x"), Some(1), "the MARK is number 0");
    bench.run();
    assert_eq!(bench.take_news(), [NodeNews::Durable { range: RangeId(1), n: 1 }]);
    assert_eq!(bench.node.append(RangeId(RANGES), 1, b"x"), None, "there is no such range");
}

#[test]
fn a_range_that_moves_is_given_on_when_its_clients_are_closed() {
    let mut bench = Bench::new();
    bench.change(&MapChange::Join { name: "b".to_owned() });
    bench.peer_beats(2, 2, 1);
    let view = bench.view();
    let [peer] = &*view.peers else { panic!("one peer") };
    assert_eq!((peer.node, peer.boot, peer.slot), (node(2), BootId(2), ShardId(2)));
    assert_eq!((peer.name.as_str(), peer.at), ("b", "10.0.0.2:1885".parse().unwrap()));
    bench.take_news();
    bench.change(&MapChange::Move { range: RangeId(0), to: node(2) });
    assert_eq!(told(&bench.take_news()), ["view [Coming, Here]", "close [0]"]);
    assert_eq!(bench.node.append(RangeId(0), 1, b"x"), None, "nothing more is appended");
    bench.pass(500);
    assert_eq!(bench.map().entries()[0].owner, Some(node(1)), "its clients are not closed yet");
    bench.take_news();
    bench.node.handle_closed(both());
    bench.pass(1_500);
    assert_eq!(bench.map().entries()[0].owner, Some(node(2)));
    assert_eq!(bench.node.place_of(RangeId(0)), RangePlace::Peer(node(2)));
    let news = told(&bench.take_news());
    assert!(news.contains(&"lost 0 Released".to_owned()), "{news:?}");
}

#[test]
fn a_range_that_another_node_has_marked_is_claimed_again_when_its_clients_are_closed() {
    let mut bench = Bench::new();
    bench.take_news();
    let other = crate::cluster::RangeBatchHeader {
        range: RangeId(0),
        mark: crate::cluster::Mark { sequence: 2, boot: BootId(9), attempt: 1 },
        node: node(9),
        n: 0,
        kind: crate::cluster::BatchKind::Mark,
        count: 0,
        previous: crate::cluster::RangeBatch::read(&bench.logs[0][0]).unwrap().checksum,
    };
    bench.logs[0].push(other.seal(b"").0);
    assert_eq!(bench.node.append(RangeId(0), 1, b"x"), Some(1));
    bench.run();
    assert_eq!(told(&bench.take_news()), ["lost 0 Refused", "view [Coming, Here]", "close [0]"]);
    bench.pass(400);
    assert_eq!(told(&bench.take_news()), Vec::<String>::new(), "clients of it are still there");
    bench.node.handle_closed(both());
    bench.pass(100);
    assert_eq!(told(&bench.take_news()), ["begun 0", "owned 0", "view [Here, Here]"]);
    assert_eq!(bench.logs[0].len(), 3);
}

#[test]
fn a_late_answer_to_an_earlier_claim_is_none_to_a_later_one() {
    let mut bench = Bench::new();
    // Both ranges go away and come back, so that they are claimed twice with the same end of the log in sight.
    bench.change(&MapChange::Join { name: "b".to_owned() });
    for step in [MapChange::Move { range: RangeId(0), to: node(2) }, MapChange::Death(node(2))] {
        bench.holds_back = true;
        bench.change(&step);
        bench.node.handle_closed(both());
        bench.pass(1_500);
    }
    let attempt = bench.held_back.iter().map(|(_, attempt, _)| *attempt).max().expect("it looks again");
    bench.take_news();
    let id = crate::cluster::AppendId { n: 0, attempt: 1 };
    let last = bench.logs[0].len() as u64;
    let is_append = |operation: &LogOperation| matches!(operation, LogOperation::Append { .. });
    while let Some(at) = bench.held_back.iter().position(|(_, _, operation)| !is_append(operation)) {
        let (range, attempt, operation) = bench.held_back.remove(at);
        bench.answer(range, attempt, operation);
        bench.run();
    }
    // The MARK is on its way now; an answer to the one before it, in the name of which nothing may be served, comes late.
    assert_eq!(bench.held_back.iter().map(|(range, by, _)| (*range, *by)).collect::<Vec<_>>(), [(RangeId(0), attempt)]);
    let now = bench.now();
    bench.node.handle_answer(RangeId(0), 1, LogAnswer::Appended { id, sequence: last + 1 }, now);
    bench.run();
    assert_eq!(bench.node.place_of(RangeId(0)), RangePlace::Coming);
    bench.node.handle_answer(RangeId(0), attempt, LogAnswer::Appended { id, sequence: last + 1 }, now);
    bench.run();
    assert_eq!(bench.node.place_of(RangeId(0)), RangePlace::Here);
}

#[test]
fn who_is_out_of_the_map_closes_everything_and_begins_anew() {
    let mut bench = Bench::new();
    bench.change(&MapChange::Join { name: "b".to_owned() });
    bench.peer_beats(2, 2, 1);
    bench.take_news();
    bench.change(&MapChange::Death(node(1)));
    let news = bench.take_news();
    assert_eq!(
        told(&news),
        ["lost 0 Released", "lost 1 Released", "Expelled", "view [Nobody, Nobody]", "close [0, 1]", "forget 2"]
    );
    bench.pass(2_000);
    assert_eq!(told(&bench.take_news()), Vec::<String>::new(), "its clients are not closed yet");
    assert_eq!(bench.map().node_named("a"), None);
    bench.node.handle_closed(both());
    bench.peer_beats(2, 2, 2);
    bench.pass(2_000);
    assert_eq!(bench.map().node_named("a"), None, "it has not reached the other");
    bench.node.handle_peer(ShardId(3), PeerWord::Linked);
    bench.pass(2_000);
    assert_eq!(bench.map().node_named("a"), Some(node(1)), "it is a member again");
    let view = bench.view();
    assert_eq!(&*view.owners, [RangePlace::Peer(node(2)); 2]);
    assert_eq!(view.peers[0].slot, ShardId(3), "the shards have not forgotten the other slot");
    bench.node.handle_forgotten(ShardId(2));
}

#[test]
fn who_is_out_and_served_nothing_tells_that_its_peers_are_gone_before_they_come_back() {
    let mut bench = Bench::new();
    bench.change(&MapChange::Join { name: "b".to_owned() });
    bench.peer_beats(2, 2, 1);
    for range in [0, 1] {
        bench.change(&MapChange::Move { range: RangeId(range), to: node(2) });
    }
    bench.node.handle_closed(both());
    bench.pass(1_500);
    assert_eq!(bench.map().owned_by(node(2)).count(), 2);
    bench.take_news();
    bench.change(&MapChange::Death(node(1)));
    let news = bench.take_news();
    let gone = news.iter().position(|news| matches!(news, NodeNews::View(view) if view.peers.is_empty()));
    let forgotten = news.iter().position(|news| *news == NodeNews::ForgetSlot(ShardId(2)));
    let back = news.iter().position(|news| matches!(news, NodeNews::View(view) if !view.peers.is_empty()));
    assert!(gone.is_some() && gone < forgotten, "{news:?}");
    assert!(back.is_none_or(|back| Some(back) > gone), "{news:?}");
}

#[test]
fn another_process_of_a_peer_gets_another_slot() {
    let mut bench = Bench::new();
    bench.change(&MapChange::Join { name: "b".to_owned() });
    bench.peer_beats(2, 2, 1);
    bench.peer_beats(2, 2, 2);
    assert_eq!(bench.view().peers[0].slot, ShardId(2));
    bench.take_news();
    bench.peer_beats(2, 7, 1);
    assert_eq!((bench.view().peers[0].slot, bench.view().peers[0].boot), (ShardId(3), BootId(7)));
    assert_eq!(told(&bench.take_news())[1..], ["forget 2"], "behind the view that has it no more");
    bench.node.handle_forgotten(ShardId(2));
    bench.peer_beats(2, 8, 1);
    assert_eq!(bench.view().peers[0].slot, ShardId(2));
}

#[test]
fn what_becomes_durable_in_a_pause_is_told_when_the_node_is_known_again() {
    let mut bench = Bench::new();
    bench.take_news();
    bench.holds_back = true;
    assert_eq!(bench.node.append(RangeId(0), 1, b"x"), Some(1));
    bench.run();
    bench.is_mute = true;
    bench.ms += 2_500;
    let (range, attempt, operation) = bench.held_back.pop().unwrap();
    bench.answer(range, attempt, operation);
    bench.run();
    let news = bench.take_news();
    assert_eq!(Bench::view_standing(&news), Some(NodeStanding::Paused));
    assert!(!told(&news).iter().any(|news| news.starts_with("durable")), "{news:?}");
    bench.is_mute = false;
    let (key, (revision, bytes)) = (ControlKey::Node(node(1)), bench.documents[&ControlKey::Node(node(1))].clone());
    let now = bench.now();
    bench.node.handle_entry(key, revision, &bytes, now);
    bench.run();
    let news = bench.take_news();
    assert_eq!(told(&news)[0], "durable 0 1");
    assert_eq!(Bench::view_standing(&news), Some(NodeStanding::Serves));
}

#[test]
fn a_node_whose_beats_do_not_come_back_is_alone_before_it_can_be_called_dead() {
    let mut bench = Bench::new();
    bench.pass(1_000);
    bench.take_news();
    let began = bench.ms;
    bench.is_mute = true;
    let mut at = None;
    while at.is_none() {
        // As an edge that sleeps until something is due.
        let due = bench.node.next_deadline().expect("a member has something to do");
        bench.ms = due.0.max(bench.ms + 1);
        bench.run();
        let news = bench.take_news();
        at = Bench::view_standing(&news).filter(|standing| *standing == NodeStanding::Alone).map(|_| bench.ms);
    }
    assert!(at.is_some_and(|at| at < began + 3_000), "{at:?} of {began}");
    assert_eq!(bench.node.place_of(RangeId(0)), RangePlace::Here, "its logs are still its own");
    assert!(bench.node.next_deadline() > Some(Deadline(bench.ms)), "nothing is due again and again");
}

#[test]
fn a_successor_under_the_same_name_ends_a_node() {
    let mut bench = Bench::new();
    bench.take_news();
    bench.peer_beats(1, 5, 1);
    let news = bench.take_news();
    assert_eq!(told(&news)[..2], ["lost 0 Released", "lost 1 Released"]);
    assert_eq!(news.last(), Some(&NodeNews::Ends(EndReason::Replaced)));
    assert!(news.contains(&NodeNews::CloseRanges(both())));
    bench.node.handle_closed(both());
    bench.pass(2_000);
    assert_eq!((bench.take_news(), bench.node.next_deadline()), (Vec::new(), None));
    let lost = news.iter().filter(|news| matches!(news, NodeNews::Lost { reason: LossReason::Released, .. })).count();
    assert_eq!(lost, 2);
}

#[test]
fn a_store_of_another_cluster_ends_a_node() {
    let mut bench = Bench::new();
    let other = ClusterDocument { name: "other".to_owned(), ..identity("a", 1).cluster };
    bench.put(ControlKey::Cluster, bench.documents[&ControlKey::Cluster].0, &other.encode());
    bench.run();
    let last = bench.take_news().pop();
    assert!(matches!(last, Some(NodeNews::Ends(EndReason::Unusable(ControlKey::Cluster, _)))), "{last:?}");
}

impl Bench {
    pub(super) fn view_standing(news: &[NodeNews]) -> Option<NodeStanding> {
        let mut views = news.iter().filter_map(|news| if let NodeNews::View(view) = news { Some(view) } else { None });
        views.next_back().map(|view| view.standing)
    }
}
