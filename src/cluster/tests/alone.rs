//! What a node does with what links say of its peers: who serves on, who may join, who gets ranges.

use super::node::{Bench, node, told};
use crate::cluster::{
    ControlKey, MapChange, NodeDocument, NodeId, NodeNews, NodeStanding, PeerWord, RangeId, RangePlace,
};
use crate::ids::ShardId;
use crate::limits::{CUT_OFF_BEATS, UNHEARD_DOUBT_MS, UNHEARD_MS};

const B: ShardId = ShardId(2);
const C: ShardId = ShardId(3);

/// A node with two linked peers, `b` and `c`.
fn linked() -> Bench {
    let mut bench = Bench::new();
    for (number, name) in [(2, "b"), (3, "c")] {
        bench.change(&MapChange::Join { name: name.to_owned() });
        bench.peer_beats(number, u64::from(number), 1);
    }
    for slot in [B, C] {
        bench.node.handle_peer(slot, PeerWord::Linked);
    }
    bench.run();
    bench
}

/// Nothing comes back to the node from now on, until that is noticed.
fn mute(bench: &mut Bench) {
    bench.pass(1_000);
    bench.is_mute = true;
    bench.pass(UNHEARD_MS);
}

fn says(bench: &mut Bench, slot: ShardId, word: PeerWord) {
    bench.node.handle_peer(slot, word);
    bench.run();
}

/// What the store has of the node's own comes back after all, and its next beat at once.
fn show(bench: &mut Bench) {
    bench.is_mute = false;
    let key = ControlKey::Node(node(1));
    let (revision, bytes) = bench.documents[&key].clone();
    let now = bench.now();
    bench.node.handle_entry(key, revision, &bytes, now);
    bench.pass(1_100);
}

#[test]
fn who_is_unheard_like_all_others_serves_on() {
    let mut bench = linked();
    says(&mut bench, B, PeerWord::Heard(false));
    says(&mut bench, C, PeerWord::Heard(false));
    mute(&mut bench);
    bench.pass(60_000);
    assert_eq!(bench.view().standing, NodeStanding::Serves);
    let news = bench.take_news();
    let heard = news.iter().filter(|news| matches!(news, NodeNews::Heard(_)));
    let heard: Vec<_> = heard.collect();
    assert_eq!(heard, [&NodeNews::Heard(true), &NodeNews::Heard(false)], "and it says itself that it is unheard");
    let news = told(&news);
    assert!(!news.iter().any(|news| news.starts_with("close")), "{news:?}");
    assert!(bench.node.next_deadline().is_some_and(|at| at.0 > bench.ms), "nothing is due again and again");
}

#[test]
fn a_peer_that_is_heard_has_time_to_say_otherwise_and_no_more() {
    let mut bench = linked();
    says(&mut bench, B, PeerWord::Heard(false));
    mute(&mut bench);
    bench.pass(UNHEARD_DOUBT_MS - 200);
    assert_eq!(bench.view().standing, NodeStanding::Serves);
    says(&mut bench, C, PeerWord::Heard(false));
    bench.pass(10_000);
    assert_eq!(bench.view().standing, NodeStanding::Serves, "the doubt is over");
    // The store is back for a peer: it may call this node dead three seconds after.
    says(&mut bench, C, PeerWord::Heard(true));
    let began = bench.ms;
    bench.take_news();
    let mut alone_at = None;
    while alone_at.is_none() {
        // As an edge that sleeps until something is due.
        bench.ms = bench.node.next_deadline().expect("there is something to do").0.max(bench.ms + 1);
        bench.run();
        let news = bench.take_news();
        alone_at = Bench::view_standing(&news).filter(|to| *to == NodeStanding::Alone).map(|_| bench.ms);
    }
    assert_eq!(alone_at, Some(began + UNHEARD_DOUBT_MS));
    assert_eq!(bench.node.place_of(RangeId(0)), RangePlace::Here, "its log is still its own");
    // What was possible for a moment may have happened, whatever is said now.
    says(&mut bench, C, PeerWord::Heard(false));
    bench.pass(10_000);
    assert_eq!(Bench::view_standing(&bench.take_news()), None);
    show(&mut bench);
    assert_eq!(Bench::view_standing(&bench.take_news()), Some(NodeStanding::Serves));
}

#[test]
fn a_member_that_is_not_linked_may_have_taken_over() {
    for word in [None, Some(PeerWord::Broken)] {
        let mut bench = Bench::new();
        for (number, name) in [(2, "b"), (3, "c")] {
            bench.change(&MapChange::Join { name: name.to_owned() });
            bench.peer_beats(number, u64::from(number), 1);
        }
        says(&mut bench, B, PeerWord::Linked);
        says(&mut bench, B, PeerWord::Heard(false));
        if let Some(word) = word {
            says(&mut bench, C, PeerWord::Linked);
            says(&mut bench, C, PeerWord::Heard(false));
            says(&mut bench, C, word);
        }
        mute(&mut bench);
        bench.pass(UNHEARD_DOUBT_MS);
        assert_eq!(bench.view().standing, NodeStanding::Alone, "{word:?}");
    }
}

#[test]
fn who_reaches_nobody_cannot_tell_and_is_alone_at_once() {
    let mut bench = linked();
    says(&mut bench, B, PeerWord::Broken);
    says(&mut bench, C, PeerWord::Broken);
    mute(&mut bench);
    assert_eq!(bench.view().standing, NodeStanding::Alone);
}

#[test]
fn a_node_joins_once_it_reaches_all_and_gets_ranges_once_all_wait_for_it() {
    let mut bench = linked();
    bench.change(&MapChange::Death(node(1)));
    let all = (0..2).fold(crate::cluster::RangeSet::default(), |mut all, range| {
        all.insert(RangeId(range));
        all
    });
    bench.node.handle_closed(all);
    bench.run();
    // Shards have not forgotten the slots of before, so the same processes get others.
    let [b, c] = [ShardId(4), ShardId(5)];
    let is_member = |bench: &Bench| bench.map().node_named("a").is_some();
    for (slot, word) in [(B, PeerWord::Linked), (b, PeerWord::Linked), (c, PeerWord::Linked), (c, PeerWord::Broken)] {
        says(&mut bench, slot, word);
        assert!(slot != c || is_member(&bench) || word == PeerWord::Broken, "both are reached");
        assert!(slot == c || !is_member(&bench), "it has not reached both");
    }
    bench.pass(1_100);
    let owns = |bench: &Bench, node: NodeId| {
        let map = bench.map();
        map.entries().iter().filter(|entry| entry.next.or(entry.owner) == Some(node)).count()
    };
    assert_eq!(owns(&bench, node(1)), 0, "one that comes takes nothing by itself");
    says(&mut bench, b, PeerWord::Counted);
    bench.pass(1_100);
    assert_eq!(owns(&bench, node(1)), 0, "one does not wait for it yet");
    // One of the others has all, so that there is something to share.
    bench.change(&MapChange::Move { range: RangeId(1), to: node(2) });
    bench.change(&MapChange::GivenUp { range: RangeId(1), from: node(3) });
    bench.pass(1_100);
    assert_eq!((owns(&bench, node(1)), owns(&bench, node(2))), (0, 2));
    says(&mut bench, c, PeerWord::Linked);
    says(&mut bench, c, PeerWord::Counted);
    bench.pass(1_100);
    assert_eq!((owns(&bench, node(1)), owns(&bench, node(2))), (1, 1), "all wait for it");
}

#[test]
fn a_beat_names_members_that_beat_and_are_not_reached() {
    let mut bench = linked();
    let names = |bench: &Bench| -> Vec<u16> {
        let document = NodeDocument::decode(&bench.documents[&ControlKey::Node(node(1))].1).unwrap();
        document.cut_off.iter().map(NodeId::get).collect()
    };
    says(&mut bench, C, PeerWord::Broken);
    for beat in 0..u64::from(CUT_OFF_BEATS) {
        bench.peer_beats(2, 2, 2 + beat);
        assert!(names(&bench).is_empty(), "{beat} beats");
        if beat + 1 < u64::from(CUT_OFF_BEATS) {
            bench.peer_beats(3, 3, 2 + beat);
        }
        bench.pass(1_000);
    }
    bench.peer_beats(3, 3, 9);
    bench.pass(1_000);
    assert_eq!(names(&bench), [3]);
    bench.pass(1_900);
    assert!(names(&bench).is_empty(), "it does not beat any more");
    bench.peer_beats(3, 3, 10);
    says(&mut bench, C, PeerWord::Linked);
    bench.pass(1_100);
    assert!(names(&bench).is_empty());
}

#[test]
fn a_member_says_where_its_clients_may_connect() {
    let mut bench = linked();
    let own = NodeDocument::decode(&bench.documents[&ControlKey::Node(node(1))].1).unwrap();
    assert_eq!(own.server.as_deref(), Some("a.example"));
    assert!(bench.view().peers.iter().all(|peer| peer.server.is_none()));
    let key = ControlKey::Node(node(2));
    let (revision, bytes) = bench.documents[&key].clone();
    let document = NodeDocument { server: Some("b.example".to_owned()), ..NodeDocument::decode(&bytes).unwrap() };
    let now = bench.now();
    bench.node.handle_entry(key, revision + 1, &document.encode(), now);
    bench.run();
    assert_eq!(bench.view().peer(node(2)).unwrap().server.as_deref(), Some("b.example"));
}

#[test]
fn a_word_about_a_process_that_is_gone_is_about_nobody() {
    let mut bench = linked();
    says(&mut bench, C, PeerWord::Heard(false));
    says(&mut bench, B, PeerWord::Heard(false));
    bench.peer_beats(3, 9, 1);
    says(&mut bench, C, PeerWord::Linked);
    says(&mut bench, C, PeerWord::Heard(false));
    mute(&mut bench);
    bench.pass(UNHEARD_DOUBT_MS);
    assert_eq!(bench.view().standing, NodeStanding::Alone, "its successor has another slot, and no link");
    assert!(bench.take_news().contains(&NodeNews::ForgetSlot(C)));
}
