//! What a shard says to other nodes on its way to links, and what comes of links within a turn.

use super::links::{encoded, terms};
use super::nodes::{LARGE, LinkedNode, SLOT, hello, large, record, view_of};
use super::*;
use crate::cluster::{LinkFrame, LinkSealer, LinkSide, NodeId};
use crate::ids::WriteStamp;
use crate::limits::{LINK_BUFFER_MARK_BYTES, LINK_PING_MS, LINK_PINGS_MISSED};
use crate::shard::{Effect, LogRoom, MeshMessage, MeshOut, PeerFault};

/// A node, and its link to another, by which nothing was said yet.
fn dialled() -> (LinkedNode, ConnectionId, LinkSealer) {
    let mut node = LinkedNode::new(terms(1), Some((2, 2)));
    let id = node.dials();
    let mut sealer = node.meets(id, LinkSide::Accepts, &hello(Some(2), 2));
    node.hears(id, &record(&mut sealer, LinkFrame::Received { count: 0 }));
    node.words();
    (node, id, sealer)
}

/// A node, and a link from another.
fn accepted() -> (LinkedNode, ConnectionId, LinkSealer) {
    let mut node = LinkedNode::new(terms(1), Some((2, 2)));
    let id = node.accept();
    let sealer = node.meets(id, LinkSide::Dials, &hello(Some(2), 2));
    node.words();
    (node, id, sealer)
}

fn applied(numbers: std::ops::RangeInclusive<u64>) -> Vec<u8> {
    numbers.flat_map(|number| encoded(LinkFrame::Applied { number })).collect()
}

fn sealed(sealer: &mut LinkSealer, frames: &[u8]) -> Vec<u8> {
    let mut record = Vec::new();
    sealer.seal(frames, &mut record);
    record
}

fn waiting(node: &mut LinkedNode) -> usize {
    node.connections.link_out(SLOT).expect("the view has it").waiting_bytes()
}

#[test]
fn what_a_shard_says_waits_for_the_process_that_the_view_has_and_for_no_other() {
    let (mut node, _, mut sealer) = dialled();
    let mut mesh = MeshOut::default();
    for to in [SLOT, ShardId(0), ShardId(40), SLOT] {
        mesh.to(to).messages.push(MeshMessage::Applied { number: to.0.into() });
    }
    node.connections.take_links(node.core.now, &mut mesh);
    let left: Vec<ShardId> = mesh.batches().map(|(to, _)| to).collect();
    assert_eq!(left, [ShardId(0)], "what is for a shard of this node is left");
    let frames = applied(1..=1).repeat(2);
    assert_eq!(waiting(&mut node), frames.len());
    assert!(node.words().len() > frames.len(), "it is sent, with its tag");
    let id = node.connections.table.iter().next().expect("a link").0;
    node.hears(id, &record(&mut sealer, LinkFrame::Received { count: 2 }));
    assert_eq!(waiting(&mut node), 0);
    // A broker that stops has no links any more.
    mesh.to(SLOT).messages.push(MeshMessage::Counted);
    node.connections.close_awaiting_connect();
    node.connections.take_links(node.core.now, &mut mesh);
    assert_eq!(mesh.waiting_for(SLOT), 0);
}

#[test]
fn a_link_is_behind_from_its_mark_on_until_half_of_it_is_left() {
    let (mut node, id, mut sealer) = dialled();
    let mut mesh = MeshOut::default();
    let topic: Box<str> = "t".repeat(LARGE).into();
    let mut said = 0;
    while waiting(&mut node) <= LINK_BUFFER_MARK_BYTES {
        assert_eq!(node.connections.next_link_room(), None, "after {said}");
        let stamp = WriteStamp { time_ns: 1, shard: 0 };
        mesh.to(SLOT).messages.push(MeshMessage::RetainedDeleted { topic: topic.clone(), stamp });
        node.connections.take_links(node.core.now, &mut mesh);
        said += 1;
    }
    assert_eq!(node.connections.next_link_room(), Some((SLOT, LogRoom::Behind)));
    assert_eq!(node.connections.next_link_room(), None, "once");
    while !node.words().is_empty() {}
    let mut received = 0;
    while waiting(&mut node) > LINK_BUFFER_MARK_BYTES / 2 {
        assert_eq!(node.connections.next_link_room(), None, "{received} have arrived");
        received += 1;
        node.hears(id, &record(&mut sealer, LinkFrame::Received { count: received }));
    }
    assert_eq!(node.connections.next_link_room(), Some((SLOT, LogRoom::Enough)));
    assert_eq!(node.connections.next_link_room(), None, "once");
    assert!(received < said);
}

#[test]
fn a_shard_does_not_sleep_while_a_link_was_not_given_all() {
    let (mut node, id, _) = dialled();
    assert!(!node.connections.has_work());
    let topic = "t".repeat(LARGE);
    for _ in 0..20 {
        node.connections.link_out(SLOT).expect("the view has it").append(&large(&topic));
    }
    let mut turns = 0;
    while !node.words().is_empty() {
        turns += 1;
        assert_eq!(node.connections.has_work(), turns < 10, "turn {turns}");
    }
    assert_eq!(turns, 10, "so much a turn");
    // A socket that is behind says itself when it takes more.
    for _ in 0..20 {
        node.connections.link_out(SLOT).expect("the view has it").append(&large(&topic));
    }
    node.connections.take_links(node.core.now, &mut MeshOut::default());
    let flush = node.connections.begin_flush(&mut node.core);
    let short = ShortSent { connection: id, sent: 1, broken: false };
    node.connections.finish_flush(&mut node.core, flush, [short].into_iter());
    assert!(node.words().is_empty() && !node.connections.has_work());
}

#[test]
fn received_is_said_once_a_turn() {
    let (mut node, id, mut sealer) = accepted();
    node.hears(id, &sealed(&mut sealer, &applied(1..=1)));
    let one = node.words().len();
    assert!(one > 0 && node.words().is_empty());
    for number in 2..=20 {
        node.hears(id, &sealed(&mut sealer, &applied(number..=number)));
    }
    assert_eq!((node.words().len(), node.core.numbers.len()), (one, 20));
    node.hears(id, &record(&mut sealer, LinkFrame::Ping { number: 1, is_answer: false, is_heard: true }));
    assert_ne!(node.words().len(), 0, "an answer");
    assert!(node.words().is_empty(), "nothing has come that counts");
}

#[test]
fn a_link_that_leads_to_enough_for_a_turn_is_heard_on_in_the_next() {
    // By what its messages come to, or because too many of them take several turns.
    for is_overloaded in [false, true] {
        let (mut node, id, mut sealer) = accepted();
        node.core.is_overloaded = is_overloaded;
        node.core.cost = node.connections.config().settings.deliveries_per_turn / 2 + 1;
        let each = if is_overloaded { 1 } else { 2 };
        node.hears(id, &sealed(&mut sealer, &applied(1..=5)));
        assert_eq!(node.core.numbers.len(), each);
        assert!(node.connections.has_work());
        // What comes behind it waits, the end included.
        let later = sealed(&mut sealer, &applied(6..=6));
        let mut kept = Vec::new();
        node.connections.begin_turn();
        node.connections.received(&mut node.core, id, &later, true, || {
            kept.push(later.clone());
            KeptBuffer(0)
        });
        node.connections.receive_ended(&mut node.core, id, ReceiveEnd::PeerGone);
        assert_eq!(node.core.numbers.len(), each);
        let mut turns = 1;
        while node.core.numbers.len() < 5 {
            node.core.deliveries = 0;
            assert!(node.connections.hear_resumed(&mut node.core));
            turns += 1;
            assert_eq!(node.core.numbers.len(), (turns * each).min(5));
        }
        (node.core.is_overloaded, node.core.deliveries) = (false, 0);
        while node.connections.hear_resumed(&mut node.core) {}
        assert_eq!(node.core.numbers, [1, 2, 3, 4, 5]);
        while let Some(deferred) = node.connections.next_deferred() {
            let bytes = deferred.buffer().map_or(Vec::new(), |_| kept.remove(0));
            node.connections.handle_deferred(&mut node.core, deferred, &bytes);
        }
        assert_eq!(node.core.numbers, [1, 2, 3, 4, 5, 6]);
        assert_eq!(node.refusals(), [CloseReason::LinkClosed], "then comes the end");
        assert!(!node.connections.has_work());
    }
}

#[test]
fn a_link_that_ends_while_it_waits_gives_its_buffers_back() {
    let (mut node, id, mut sealer) = accepted();
    node.core.is_overloaded = true;
    node.hears(id, &sealed(&mut sealer, &applied(1..=5)));
    let later = sealed(&mut sealer, &applied(6..=6));
    node.connections.begin_turn();
    node.connections.received(&mut node.core, id, &later, true, || KeptBuffer(3));
    node.connections.use_view(node.core.now, NodeId::new(1), view_of(None, SLOT));
    assert!(node.connections.is_empty());
    while node.connections.hear_resumed(&mut node.core) {}
    let deferred = node.connections.next_deferred().expect("what is kept is given back");
    assert_eq!(deferred.buffer(), Some(KeptBuffer(3)));
    node.connections.handle_deferred(&mut node.core, deferred, &later);
    assert_eq!(node.core.numbers, [1]);
    assert!(node.connections.next_deferred().is_none() && !node.connections.has_work());
}

#[test]
fn who_says_what_it_cannot_mean_loses_its_links_and_goes_on_behind_it() {
    let (mut node, dialled, _) = dialled();
    let accepted = node.accept();
    let mut sealer = node.meets(accepted, LinkSide::Dials, &hello(Some(2), 2));
    node.hears(accepted, &sealed(&mut sealer, &applied(1..=1)));
    let fault = PeerFault::Applied;
    for (slot, left) in [(ShardId(40), 2), (SLOT, 0)] {
        let mut fx = Effects::default();
        fx.list.push(Effect::EndLink { slot, fault });
        node.connections.apply(&fx);
        assert_eq!(node.connections.len(), left);
    }
    let lines: Vec<_> = node.connections.refused().map(|line| (line.reason, line.text)).collect();
    assert_eq!(lines, [(CloseReason::LinkMalformed, fault.text()); 2], "{dialled:?} {accepted:?}");
    node.operations();
    // Both ends connect anew, and what was said wrongly is not said again.
    let again = node.accept();
    let mut sealer =
        node.meets(again, LinkSide::Dials, &crate::cluster::LinkHello { nonce: [7; 32], ..hello(Some(2), 2) });
    node.hears(again, &sealed(&mut sealer, &applied(2..=2)));
    assert_eq!(node.core.numbers, [1, 2]);
}

#[test]
fn a_shard_that_is_paused_calls_nobody_silent() {
    let dead_ms = LINK_PING_MS * u64::from(LINK_PINGS_MISSED);
    for (mut node, ..) in [dialled(), accepted()] {
        node.connections.set_paused(true);
        for _ in 0..5 {
            node.pass_ms(dead_ms);
            assert!(!node.refusals().contains(&CloseReason::LinkSilent), "nothing is heard of anybody");
        }
        node.connections.set_paused(false);
        node.pass_ms(dead_ms - 1);
        assert!(!node.refusals().contains(&CloseReason::LinkSilent), "it has its time from now on");
        node.pass_ms(1);
        assert!(node.refusals().contains(&CloseReason::LinkSilent));
    }
}
