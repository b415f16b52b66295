//! What comes from another node is routed among the shards of this one, and answered once.

use super::harness::{Peer, World, options, v5_kept};
use super::node_pair::{NodePair, OTHER};
use super::nodes::view_of;
use super::show::{publish, publish1, publish2, retained};
use crate::codec::{AckKind, Forwarded, Packet, Publish};
use crate::ids::{ConnectionId, Qos, ShardId, WriteStamp};
use crate::limits::HOLD_BACK_MAX_MS;
use crate::session::{AckNumber, Message, MessageRef, Reception};
use crate::settings::FullQueue;
use crate::shard::{
    Command, ConfirmToken, Confirmation, Input, MeshBatch, MeshMessage, MessageInTransit, PeerFault, PublishDetails,
    Reply, Settings,
};
use crate::store::LogRoom;
use crate::telemetry::DropReason;
use crate::topic::{Interest, SubscribedFilter};

/// The third process of the cluster.
const THIRD: ShardId = ShardId(11);

fn client(world: &mut World, shard: u8, stem: &str) -> Peer {
    let name = world.name_on(shard, stem);
    world.client(&name)
}

/// A client on a shard of the second node that subscribes; all words of that have been said.
fn subscriber(pair: &mut NodePair, (shard, stem): (u8, &str), filter: &str, qos: u8) -> Peer {
    let name = pair.0[1].name_on(shard, stem);
    let peer = pair.0[1].connect(&v5_kept(&name));
    pair.0[1].subscribe_with(peer, filter, options(qos), None);
    pair.carry_all();
    assert_eq!(pair.0[1].read(peer), [format!("SUBACK #1 [{qos}]")]);
    peer
}

fn send(world: &mut World, peer: Peer, publish: Publish<'_>) {
    world.send(peer, &Packet::Publish(publish));
}

fn waiting(world: &World) -> usize {
    world.shards.iter().map(|shard| shard.holdings().peer_questions + shard.holdings().questions).sum()
}

/// A node of so many shards that knows two others, of which the third is interested in `#` and has a member of `$share/g/t`.
fn node(shards: usize, choose: impl FnOnce(&mut Settings)) -> World {
    let mut world = World::in_memory(shards, choose);
    assert_eq!(world.ask(0, Command::UseCluster(view_of(&[OTHER.0, THIRD.0]))), Reply::Done);
    let plain = Interest::Plain { any: true, durable: true };
    let shared = Interest::Shared { online: 1, total: 1, durable: true };
    for (number, filter, interest) in [(1, "#", plain), (2, "$share/g/t", shared)] {
        let message = MeshMessage::Interest { number, filter: filter.into(), interest };
        world.turn(0, Input::Mesh { from: THIRD, message, bytes: &[] });
    }
    world.to_peers.clear();
    world
}

/// A client of a node that subscribes. Nobody of the other nodes waits for anything, so it is granted.
fn local(world: &mut World, (shard, stem): (u8, &str), filter: &str, qos: u8) -> Peer {
    let name = world.name_on(shard, stem);
    let peer = world.connect(&v5_kept(&name));
    world.subscribe(peer, filter, qos);
    world.to_peers.clear();
    peer
}

/// What a message of the other node is called there.
fn question(number: u32) -> Confirmation {
    Confirmation::of(ConfirmToken { shard: OTHER, connection: ConnectionId::of_node(5), number: AckNumber(number) })
}

/// What the other node's link brings of a publisher there: topic `t`, and `plain` whether subscribers of their own get it.
fn said(qos: Qos, (plain, details): (bool, PublishDetails)) -> MeshMessage {
    let message = Message::new(&MessageRef {
        topic: "t",
        qos,
        retain: details.retained.is_some(),
        expires: None,
        publisher: None,
        properties: Forwarded::EMPTY,
        payload: b"x",
    });
    MeshMessage::Publish { message: MessageInTransit::Shared(message), plain, details: Some(Box::new(details)) }
}

/// The other node's message, by the link to a shard.
fn says(world: &mut World, shard: usize, qos: Qos, (plain, details): (bool, PublishDetails)) {
    world.turn(shard, Input::Mesh { from: OTHER, message: said(qos, (plain, details)), bytes: &[] });
}

/// One for plain subscribers that is asked about.
fn asks(number: u32) -> (bool, PublishDetails) {
    (true, PublishDetails { confirm: Some(question(number)), ..PublishDetails::default() })
}

/// One for a member of `$share/g/t`.
fn for_member(world: &World, number: u32) -> (bool, PublishDetails) {
    let filter = SubscribedFilter::parse("$share/g/t", 9).unwrap();
    let index = &world.shards[0].router.index;
    let key = index.group_key(index.find(&filter).expect("the third node has a member"));
    (false, PublishDetails { groups: [key].as_slice().into(), ..asks(number).1 })
}

/// What was said to other nodes but for this node's own interest, and what its members can take: answers to the other one, by number. Nothing else may be.
fn answers(world: &mut World) -> Vec<(u32, Reception)> {
    let is_of_subscribers =
        |batch: &MeshBatch| matches!(batch.messages[0], MeshMessage::Interest { .. } | MeshMessage::GroupRoom { .. });
    let said = world.to_peers.drain(..).filter(|(_, _, batch)| !is_of_subscribers(batch)).map(|(_, slot, batch)| {
        let MeshMessage::Stored { confirmation: Confirmation { token, reception } } = batch.messages[0] else {
            panic!("what came by a link leads to answers alone: {batch:?}")
        };
        assert_eq!((slot, token.shard, token.connection), (OTHER, OTHER, ConnectionId::of_node(5)));
        (token.number.0, reception)
    });
    said.collect()
}

#[test]
fn a_message_reaches_each_subscriber_of_the_other_node_once() {
    for qos in [0, 1, 2] {
        let mut pair = NodePair::joined_with([2, 3], |_| {});
        let subs = [0, 1, 2].map(|shard| subscriber(&mut pair, (shard, "sub"), "t", qos));
        for (number, shard) in [(1, 0), (2, 1)] {
            let publisher = client(&mut pair.0[0], shard, "pub");
            send(&mut pair.0[0], publisher, publish("t", "x"));
            send(&mut pair.0[0], publisher, publish1(number, "t", "y"));
            send(&mut pair.0[0], publisher, publish2(number + 10, "t", "z"));
            assert_eq!(pair.carry(0), ["PUBLISH"; 3]);
            for sub in subs {
                let texts: Vec<String> = pair.0[1].read(sub).iter().map(|line| line[line.len() - 1..].into()).collect();
                assert_eq!(texts, ["x", "y", "z"], "in their order");
            }
            assert_eq!(pair.carry(1), ["STORED"; 2]);
            let expected = [format!("PUBACK #{number}"), format!("PUBREC #{}", number + 10)];
            assert_eq!(pair.0[0].read(publisher), expected);
        }
        assert_eq!((waiting(&pair.0[0]), waiting(&pair.0[1])), (0, 0));
        assert!(pair.0.iter().all(|world| world.ended_links.is_empty()));
    }
}

#[test]
fn the_answer_waits_for_all_shards_of_the_node_and_is_one() {
    let mut world = node(3, |_| {});
    let subs = [0, 1, 2].map(|shard| local(&mut world, (shard, "sub"), "t", 1));
    for by in 0..3 {
        world.hold_mesh();
        says(&mut world, by, Qos::AtLeastOnce, asks(7));
        assert!(answers(&mut world).is_empty() && waiting(&world) == 1);
        let [one, other] = [1, 2].map(|step| ((by + step) % 3) as u8);
        for (from, to) in [(by as u8, one), (by as u8, other), (other, by as u8)] {
            assert!(world.deliver_one(from, to));
            assert!(answers(&mut world).is_empty(), "one of them has not confirmed");
        }
        world.release_mesh();
        assert_eq!(answers(&mut world), [(7, Reception::Taken)]);
        assert_eq!(waiting(&world), 0);
    }
    for sub in subs {
        assert_eq!(world.read(sub).len(), 3);
    }
}

#[test]
fn what_nobody_here_wants_any_more_is_answered_at_once() {
    let mut world = node(2, |_| {});
    says(&mut world, 1, Qos::AtLeastOnce, asks(1));
    says(&mut world, 0, Qos::ExactlyOnce, asks(2));
    says(&mut world, 0, Qos::AtMostOnce, asks(3));
    let not_taken = Reception::NotTaken;
    assert_eq!(answers(&mut world), [(1, not_taken), (2, not_taken), (3, not_taken)]);
    assert!(world.crossed.iter().all(|kind| *kind != "Publish"), "{:?}", world.crossed);
}

#[test]
fn nothing_that_came_by_a_link_leaves_by_one() {
    // The third node is interested in everything.
    let mut world = node(2, |_| {});
    says(&mut world, 0, Qos::AtLeastOnce, asks(1));
    let stamp = WriteStamp { time_ns: 5, shard: 3 };
    let write = PublishDetails { retained: Some(stamp), ..asks(2).1 };
    says(&mut world, 1, Qos::AtLeastOnce, (true, write));
    let expected = [(1, Reception::NotTaken), (2, Reception::NotTaken)];
    assert_eq!(answers(&mut world), expected);
}

/// What has left for the third node, all of it for a group and passed on: what it is asked.
fn passed_on(world: &mut World) -> Vec<Confirmation> {
    let is_publish = |batch: &MeshBatch| matches!(batch.messages[0], MeshMessage::Publish { .. });
    let (publishes, rest) = world.to_peers.drain(..).partition(|(_, _, batch)| is_publish(batch));
    world.to_peers = rest;
    let asked = |(_, slot, batch): (usize, ShardId, MeshBatch)| {
        let MeshMessage::Publish { plain, details: Some(details), .. } = &batch.messages[0] else {
            panic!("what is passed on has details: {batch:?}")
        };
        assert!(slot == THIRD && !plain && details.passed_on && !details.of_node, "{details:?}");
        assert_eq!((details.groups.len(), details.retained), (1, None));
        details.confirm.expect("it is asked about")
    };
    publishes.into_iter().map(asked).collect()
}

/// The third node answers, by the link to a shard.
fn third_answers(world: &mut World, shard: usize, asked: Confirmation) {
    let confirmation = asked.and(Reception::Taken);
    world.turn(shard, Input::Mesh { from: THIRD, message: MeshMessage::Stored { confirmation }, bytes: &[] });
}

#[test]
fn a_message_for_a_group_without_members_here_is_passed_on_once_and_its_answer_waited_for() {
    for by in [0, 1] {
        let mut world = node(2, |_| {});
        for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
            let details = for_member(&world, 7);
            says(&mut world, by, qos, details);
            assert!(world.to_peers.len() == 1 && waiting(&world) > 0, "the third one has not answered");
            let asked = passed_on(&mut world);
            third_answers(&mut world, 1 - by, asked[0]);
            assert_eq!(answers(&mut world), [(7, Reception::Taken)]);
        }
        // What was passed on already is nobody's.
        let (plain, details) = for_member(&world, 8);
        says(&mut world, by, Qos::AtLeastOnce, (plain, PublishDetails { passed_on: true, ..details }));
        assert_eq!(answers(&mut world), [(8, Reception::NotTaken)]);
        assert_eq!((world.dropped(DropReason::NoGroupMember), waiting(&world)), (1, 0));
        // A process that is gone has not taken it.
        let details = for_member(&world, 9);
        says(&mut world, by, Qos::AtLeastOnce, details);
        assert_eq!(passed_on(&mut world).len(), 1);
        assert_eq!(world.ask(0, Command::UseCluster(view_of(&[OTHER.0]))), Reply::Done);
        assert_eq!(answers(&mut world), [(9, Reception::NotTaken)]);
        assert_eq!(waiting(&world), 0);
    }
}

#[test]
fn what_nobody_acknowledges_is_not_passed_on_by_a_link_that_is_behind() {
    let mut world = node(2, |_| {});
    for shard in [0, 1] {
        let message = MeshMessage::LogRoom { room: LogRoom::Behind };
        world.turn(shard, Input::Mesh { from: THIRD, message, bytes: &[] });
    }
    let (plain, details) = for_member(&world, 7);
    let unasked = PublishDetails { confirm: None, ..details };
    // By the link to a shard, and by the other shard that was picked on this node.
    says(&mut world, 0, Qos::AtMostOnce, (plain, unasked.clone()));
    let of_node = PublishDetails { of_node: true, ..unasked };
    let message = said(Qos::AtMostOnce, (plain, of_node));
    world.turn(1, Input::Mesh { from: ShardId(0), message, bytes: &[] });
    assert!(world.to_peers.is_empty());
    assert_eq!(world.dropped(DropReason::LinkFull), 2);
    let details = for_member(&world, 8);
    says(&mut world, 0, Qos::AtLeastOnce, details);
    let asked = passed_on(&mut world);
    third_answers(&mut world, 0, asked[0]);
    assert_eq!((answers(&mut world), world.dropped(DropReason::LinkFull)), (vec![(8, Reception::Taken)], 2));
}

#[test]
fn what_is_passed_on_goes_to_a_member_of_any_shard() {
    let mut world = node(3, |_| {});
    let members = [0, 1, 2].map(|shard| local(&mut world, (shard, "m"), "$share/g/t", 1));
    for number in 1..=9 {
        let (plain, details) = for_member(&world, number);
        says(&mut world, 0, Qos::AtLeastOnce, (plain, PublishDetails { passed_on: true, ..details }));
        assert_eq!(answers(&mut world), [(number, Reception::Taken)]);
    }
    assert_eq!(members.map(|member| world.read(member).len()), [3; 3]);
    // The shard that was picked has none any more, and nobody else has.
    world.hold_mesh();
    let (plain, details) = for_member(&world, 10);
    for member in [members[0], members[1]] {
        world.unsubscribe_silently(member, "$share/g/t");
    }
    while world.deliver_one(1, 0) {}
    says(&mut world, 0, Qos::AtLeastOnce, (plain, PublishDetails { passed_on: true, ..details }));
    world.unsubscribe_silently(members[2], "$share/g/t");
    world.release_mesh();
    assert_eq!(answers(&mut world), [(10, Reception::NotTaken)]);
    assert_eq!(world.dropped(DropReason::NoGroupMember), 1);
}

#[test]
fn many_subscribers_take_several_turns_and_the_answer_waits_for_the_last() {
    for by in [0, 1] {
        let mut world = node(2, |settings| settings.subscribers_per_turn = 8);
        let subs: Vec<Peer> = (0..5).map(|number| local(&mut world, (1, &format!("s{number}-")), "t", 1)).collect();
        world.hold_work();
        says(&mut world, by, Qos::AtLeastOnce, asks(1));
        for turns in 1..=3 {
            assert!(answers(&mut world).is_empty());
            assert!(world.shards[1].delivers_to_many());
            world.work_once(1);
            let served: usize = subs.iter().map(|sub| world.read(*sub).len()).sum();
            assert_eq!(served, if turns == 3 { 1 } else { 2 }, "turn {turns}");
        }
        assert_eq!(answers(&mut world), [(1, Reception::Taken)]);
        assert_eq!(waiting(&world), 0);
    }
}

#[test]
fn a_publisher_of_another_node_waits_for_a_subscriber_that_is_behind() {
    for shard in [0, 1] {
        let mut world = node(2, |settings| {
            settings.full_queue = FullQueue::HoldBack;
            settings.queued_messages_max = 8;
            settings.inflight_max = 1;
        });
        let sub = local(&mut world, (shard, "sub"), "t", 1);
        for number in 1..=6 {
            says(&mut world, 0, Qos::AtLeastOnce, asks(number));
        }
        let numbers = |world: &mut World| answers(world).iter().map(|(number, _)| *number).collect::<Vec<_>>();
        assert_eq!(numbers(&mut world), [1, 2, 3, 4], "one in flight, three queued");
        for taken in 1..=2 {
            assert!(numbers(&mut world).is_empty());
            world.ack(sub, AckKind::PubAck, taken);
        }
        assert_eq!(numbers(&mut world), [5, 6]);
        for number in 7..=8 {
            says(&mut world, 1, Qos::AtLeastOnce, asks(number));
        }
        assert!(numbers(&mut world).is_empty());
        world.pass_ms(HOLD_BACK_MAX_MS);
        assert_eq!(numbers(&mut world), [7, 8], "no longer than that");
        assert_eq!(waiting(&world), 0);
    }
}

#[test]
fn a_message_for_a_group_goes_to_one_member_of_this_node() {
    let mut world = node(3, |_| {});
    let members = [(1, "a"), (1, "b"), (2, "c")].map(|member| local(&mut world, member, "$share/g/t", 1));
    for number in 1..=30 {
        let details = for_member(&world, number);
        says(&mut world, number as usize % 3, Qos::AtLeastOnce, details);
        assert_eq!(answers(&mut world), [(number, Reception::Taken)]);
    }
    let served = members.map(|member| world.read(member).len());
    assert_eq!(served.iter().sum::<usize>(), 30, "each once: {served:?}");
    assert!(served.iter().all(|count| (7..=13).contains(count)), "{served:?}");
    assert_eq!(world.dropped(DropReason::NoGroupMember), 0);
}

#[test]
fn a_member_that_leaves_meanwhile_is_replaced_by_one_of_this_node_or_of_another() {
    for remains in [true, false] {
        let mut world = node(3, |_| {});
        let leaves = local(&mut world, (1, "leaves"), "$share/g/t", 1);
        world.hold_mesh();
        for (number, qos) in [(1, Qos::AtLeastOnce), (2, Qos::AtMostOnce)] {
            let details = for_member(&world, number);
            says(&mut world, 0, qos, details);
        }
        world.unsubscribe_silently(leaves, "$share/g/t");
        let stays = remains.then(|| {
            let stays = client(&mut world, 2, "stays");
            world.subscribe_with(stays, "$share/g/t", options(1), None);
            while world.deliver_one(2, 1) {} // shard 1 knows of it when the message comes
            stays
        });
        world.release_mesh();
        let asked = passed_on(&mut world);
        assert_eq!(asked.len(), if remains { 0 } else { 2 });
        for (to, asked) in asked.into_iter().enumerate() {
            third_answers(&mut world, to, asked);
        }
        let mut told = answers(&mut world);
        told.sort_unstable_by_key(|(number, _)| *number);
        assert_eq!(told, [(1, Reception::Taken), (2, Reception::Taken)]);
        assert_eq!(waiting(&world), 0);
        if let Some(stays) = stays {
            let lines = world.read(stays);
            assert_eq!(lines.iter().filter(|line| line.starts_with("PUBLISH")).count(), 2, "{lines:?}");
        }
        assert_eq!(world.dropped(DropReason::NoGroupMember), 0);
    }
}

#[test]
fn a_full_member_is_no_reason_to_send_a_message_back() {
    // The third node's member has room.
    let mut world = node(2, |settings| {
        settings.queued_messages_max = 1;
        settings.inflight_max = 1;
    });
    let member = local(&mut world, (1, "m"), "$share/g/t", 1);
    for number in 1..=4 {
        let details = for_member(&world, number);
        says(&mut world, 0, Qos::AtLeastOnce, details);
    }
    let expected: Vec<_> = [Reception::Taken, Reception::Taken, Reception::QueuesFull, Reception::QueuesFull].into();
    assert_eq!(answers(&mut world).iter().map(|(_, reception)| *reception).collect::<Vec<_>>(), expected);
    assert_eq!((world.read(member).len(), world.dropped(DropReason::QueueFull)), (1, 2));
}

#[test]
fn what_another_node_retains_is_retained_on_every_shard() {
    let mut pair = NodePair::joined_with([1, 3], |_| {});
    let live = subscriber(&mut pair, (2, "live"), "a", 1);
    let publisher = client(&mut pair.0[0], 0, "pub");
    send(&mut pair.0[0], publisher, retained(publish1(1, "a", "1")));
    pair.carry_all();
    assert_eq!(pair.0[0].read(publisher), ["PUBACK #1"]);
    assert_eq!(pair.0[1].read(live), ["PUBLISH a q1 #1 1"]);
    let late = client(&mut pair.0[1], 1, "late");
    pair.0[1].subscribe_with(late, "a", options(1), None);
    pair.carry_all();
    assert_eq!(pair.0[1].read(late), ["SUBACK #1 [1]", "PUBLISH a q1 #1 retain 1"]);
    send(&mut pair.0[0], publisher, retained(publish1(2, "a", "")));
    for is_retained in [true, false] {
        let stores = pair.0.iter().flat_map(|world| &world.shards).map(|shard| shard.router.retained.state_of("a"));
        let stores: Vec<_> = stores.skip(1).collect();
        assert!(stores.iter().all(|state| state.is_some_and(|(_, retains)| retains == is_retained)), "{stores:?}");
        pair.carry_all();
    }
    assert_eq!(pair.0[0].read(publisher), ["PUBACK #2"]);
    let stamps = pair.0.iter().flat_map(|world| &world.shards).map(|shard| shard.router.retained.state_of("a"));
    let stamps: Vec<_> = stamps.collect();
    assert!(stamps.windows(2).all(|two| two[0] == two[1]), "{stamps:?}");
}

#[test]
fn an_older_write_changes_nothing_and_is_delivered() {
    let mut world = node(2, |_| {});
    let sub = local(&mut world, (1, "sub"), "t", 0);
    for (number, time_ns) in [(1, 10), (2, 5)] {
        let stamp = WriteStamp { time_ns, shard: 4 };
        let details = PublishDetails { retained: Some(stamp), ..asks(number).1 };
        says(&mut world, 0, Qos::AtLeastOnce, (false, details));
        assert_eq!(answers(&mut world), [(number, Reception::Taken)]);
    }
    let kept = Some((WriteStamp { time_ns: 10, shard: 4 }, true));
    assert!(world.shards.iter().all(|shard| shard.router.retained.state_of("t") == kept));
    assert_eq!(world.read(sub), ["PUBLISH t x", "PUBLISH t x"], "whoever has subscribed meanwhile is not left out");
}

#[test]
fn a_barrier_of_another_node_waits_for_all_shards() {
    let mut world = node(3, |_| {});
    let sub = local(&mut world, (2, "sub"), "t", 0);
    world.hold_mesh();
    says(&mut world, 1, Qos::AtMostOnce, (true, PublishDetails::default()));
    let message = MeshMessage::Barrier { token: question(9).token };
    world.turn(1, Input::Mesh { from: OTHER, message, bytes: &[] });
    assert!(world.deliver_one(1, 0) && world.deliver_one(0, 1));
    assert!(answers(&mut world).is_empty() && world.read(sub).is_empty());
    world.release_mesh();
    assert_eq!(answers(&mut world), [(9, Reception::NotTaken)]);
    assert_eq!(world.read(sub), ["PUBLISH t x"]);
    let mut alone = node(1, |_| {});
    let message = MeshMessage::Barrier { token: question(1).token };
    alone.turn(0, Input::Mesh { from: OTHER, message, bytes: &[] });
    assert_eq!(answers(&mut alone), [(1, Reception::NotTaken)]);
}

#[test]
fn a_process_that_is_gone_is_not_answered_and_the_next_in_its_slot_is() {
    let mut world = node(2, |_| {});
    let sub = local(&mut world, (1, "sub"), "t", 1);
    world.hold_mesh();
    says(&mut world, 0, Qos::AtLeastOnce, asks(1));
    assert_eq!(world.ask(0, Command::UseCluster(view_of(&[THIRD.0]))), Reply::Done);
    says(&mut world, 0, Qos::AtLeastOnce, asks(2)); // the rest of its link
    assert_eq!(world.ask(0, Command::UseCluster(view_of(&[OTHER.0, THIRD.0]))), Reply::Done);
    world.release_mesh();
    world.to_peers.retain(|(_, _, batch)| matches!(batch.messages[0], MeshMessage::Stored { .. }));
    assert!(answers(&mut world).is_empty() && waiting(&world) == 0);
    says(&mut world, 0, Qos::AtLeastOnce, asks(1));
    assert_eq!(answers(&mut world), [(1, Reception::Taken)]);
    assert_eq!(world.read(sub).len(), 2);
}

#[test]
fn a_write_without_retain_ends_the_link_and_is_nobodys() {
    let mut world = node(2, |_| {});
    let sub = local(&mut world, (0, "sub"), "t", 0);
    let message = Message::new(&MessageRef {
        topic: "t",
        qos: Qos::AtLeastOnce,
        retain: false,
        expires: None,
        publisher: None,
        properties: Forwarded::EMPTY,
        payload: b"x",
    });
    let details = PublishDetails { retained: Some(WriteStamp { time_ns: 5, shard: 0 }), ..asks(1).1 };
    let message = MeshMessage::Publish {
        message: MessageInTransit::Shared(message),
        plain: true,
        details: Some(Box::new(details)),
    };
    world.turn(1, Input::Mesh { from: OTHER, message, bytes: &[] });
    assert_eq!(world.ended_links, [(OTHER, PeerFault::Message)]);
    assert!(world.read(sub).is_empty() && answers(&mut world).is_empty() && waiting(&world) == 0);
    assert!(world.shards.iter().all(|shard| shard.router.retained.state_of("t").is_none()));
}

#[test]
fn a_message_takes_its_way_though_nobody_is_asked_about_it() {
    let mut pair = NodePair::joined_with([2, 2], |_| {});
    let subs = [0, 1].map(|shard| subscriber(&mut pair, (shard, "sub"), "t", 1));
    let publisher = client(&mut pair.0[0], 1, "pub");
    for _ in 0..3 {
        send(&mut pair.0[0], publisher, publish("t", &"long".repeat(5_000)));
    }
    assert_eq!(pair.carry(0), ["PUBLISH"; 3]);
    assert!(pair.0[1].to_peers.is_empty());
    assert!(subs.iter().all(|sub| pair.0[1].read(*sub) == ["PUBLISH t (20000 bytes)"; 3]));
}
