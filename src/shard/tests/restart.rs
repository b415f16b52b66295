//! What a shard's log comes to becomes a shard again.

use super::harness::{Peer, World, v5_kept};
use super::show::{publish1, publish2};
use crate::codec::{AckKind, Connect, Packet};
use crate::ids::{MessageId, ShardId, WriteStamp};
use crate::session::{Message, MessageRef};
use crate::shard::{RestoredLog, RestoredRetained};
use crate::store::Position;
use crate::store::format::{ForwardTarget, ListOf, LogRecord, Records};
use crate::store::state::LogState;

#[test]
fn a_session_that_was_being_taken_down_goes_on_ending_beside_its_successor() {
    let small = |settings: &mut crate::shard::Settings| settings.subscriptions_per_turn = 4;
    let mut world = World::with(1, small);
    let old = world.connect(&v5_kept("a"));
    world.subscribe(old, "$share/g/t", 1);
    world.close_socket(old);
    let publisher = world.client("publisher");
    for number in 1..=20 {
        world.send(publisher, &Packet::Publish(publish1(number, "t", "m")));
    }
    world.hold_work();
    let new = world.open(&Connect { clean_start: true, ..v5_kept("a") });
    assert_eq!(world.read(new), ["CONNACK success"]);
    let state = std::mem::take(&mut world.durable[0]);
    assert_eq!(state.sessions().filter(|(_, session)| session.was_ending()).count(), 1);
    let body = crate::session::delivery::tests::delivery("t").message;
    let messages: Vec<(MessageId, Message)> = {
        let mut ids: Vec<MessageId> = state.messages.iter().map(|(id, _)| id).collect();
        ids.sort_unstable();
        ids.into_iter().map(|id| (id, Message::new(&MessageRef { ..body.borrow() }))).collect()
    };
    assert_eq!(messages.len(), 20);

    let mut world = World::with(1, small);
    world.restore(0, &RestoredLog { state, messages, lost: Vec::new() });
    assert_eq!(world.shards[0].holdings().ended_sessions, 0, "its end was gone on with");
    let sessions = world.shards[0].holdings().sessions;
    let (_, read) = world.resume(&v5_kept("a"));
    assert_eq!((sessions, read), (1, vec!["CONNACK success present".to_owned()]));
}

/// Its owner's log has nothing of it yet; the other shards would show what was retained before.
#[test]
fn a_retained_message_on_its_way_to_its_owner_is_retained_on_the_other_shards_at_once() {
    let stamp = WriteStamp { time_ns: 9, shard: 0 };
    let body = Message::new(&MessageRef {
        topic: "r/0",
        retain: true,
        ..crate::session::delivery::tests::delivery("r/0").message.borrow()
    });
    let (message, groups) = (MessageId(1), ListOf::Values(&[]));
    let to = ShardId::owner_of("r/0", 2);
    let forward = ForwardTarget { to, number: 1, message, plain: false, retained: Some(stamp), groups };
    let mut records = Vec::new();
    LogRecord::Forward(forward).encode(1, &mut records);
    let mut state = LogState::default();
    state.apply_change(Records::of_batch(&records, 1), &[]);
    let log = RestoredLog { state, messages: vec![(message, body)], lost: Vec::new() };
    let retained: Vec<RestoredRetained> = log.retained().collect();
    assert_eq!(retained.len(), 1);
    for shard in 0..2 {
        let mut world = World::with(2, |_| {});
        world.restore_retained(shard, &retained);
        let is_there = world.shards[shard].holdings().retained_entries;
        assert_eq!(is_there, usize::from(shard != to.index()), "the owner writes it down when it comes");
    }
}

/// Two shards that take down four subscriptions or messages a turn, and whose logs go on behind `last`.
fn in_small_steps(last: Position) -> World {
    World::behind(last, 2, |settings| settings.subscriptions_per_turn = 4)
}

/// Of a world that goes on with what another one has written.
const BEHIND: Position = Position(1_000);

/// A kept member of `$share/g/t` on this shard. Its client has gone.
fn member_that_is_away(world: &mut World, shard: u8, stem: &str) -> String {
    let name = world.name_on(shard, stem);
    let peer = world.connect(&v5_kept(&name));
    world.subscribe(peer, "$share/g/t", 2);
    world.close_socket(peer);
    name
}

fn publish_twenty(world: &mut World) {
    let publisher = world.client(&world.name_on(0, "publisher"));
    for number in 1..=20 {
        world.send(publisher, &Packet::Publish(publish1(number, "t", &number.to_string())));
    }
}

/// The payloads of what comes to a client that is back.
fn payloads(world: &mut World, name: &str) -> Vec<String> {
    let (peer, mut lines) = world.resume(&v5_kept(name));
    lines.remove(0);
    let mut payloads = Vec::new();
    while !lines.is_empty() {
        payloads.extend(lines.iter().filter_map(|line| line.rsplit(' ').next()).map(str::to_owned));
        (1..=20).for_each(|number| acknowledge(world, peer, number));
        lines = world.read(peer);
        lines.retain(|line| line.starts_with("PUBLISH"));
    }
    payloads
}

fn acknowledge(world: &mut World, peer: Peer, number: u16) {
    world.ack(peer, AckKind::PubAck, number);
}

fn one_to_twenty() -> Vec<String> {
    (1..=20).map(|number: u32| number.to_string()).collect()
}

/// Its shard knows of them only from the other one, which restores its own part at the same time.
#[test]
fn what_an_ending_member_had_goes_to_members_on_other_shards() {
    let mut world = in_small_steps(Position(0));
    let leaving = member_that_is_away(&mut world, 0, "leaving");
    publish_twenty(&mut world);
    let staying = member_that_is_away(&mut world, 1, "staying");
    world.hold_work();
    world.open(&Connect { clean_start: true, ..v5_kept(&leaving) });
    let logs = world.killed_all();
    let mut endings = logs[0].state.sessions().filter(|(_, session)| session.was_ending());
    assert_eq!(endings.next().map(|(_, session)| session.deliveries.len()), Some(20));

    let mut world = in_small_steps(BEHIND);
    world.restore_all(&logs);
    assert_eq!(world.shards[0].holdings().ended_sessions, 0, "its end was gone on with");
    assert_eq!(payloads(&mut world, &staying), one_to_twenty());
}

#[test]
fn what_a_member_got_before_it_left_the_group_goes_to_members_on_other_shards_when_it_ends_after_a_restart() {
    let mut world = in_small_steps(Position(0));
    let leaving = member_that_is_away(&mut world, 0, "leaving");
    publish_twenty(&mut world);
    let (peer, _) = world.resume(&Connect { receive_maximum: 1, ..v5_kept(&leaving) });
    world.unsubscribe(peer, "$share/g/t");
    world.close_socket(peer);
    let staying = member_that_is_away(&mut world, 1, "staying");
    let logs = world.killed_all();

    let mut world = in_small_steps(BEHIND);
    world.restore_all(&logs);
    world.open(&Connect { clean_start: true, ..v5_kept(&leaving) });
    let mut arrived = payloads(&mut world, &staying);
    arrived.sort_by_key(|payload| payload.parse::<u32>().unwrap());
    assert_eq!(arrived, one_to_twenty());
}

/// The shard that it goes to asks the one that has a member now: of which it has to know.
#[test]
fn a_message_on_its_way_to_a_member_that_has_left_goes_to_one_on_a_third_shard() {
    let mut world = World::of(3);
    let leaving = member_that_is_away(&mut world, 1, "leaving");
    let publisher = world.connect(&v5_kept(&world.name_on(0, "publisher")));
    world.hold_mesh();
    world.send(publisher, &Packet::Publish(publish2(1, "t", "m")));
    let (peer, _) = world.resume(&v5_kept(&leaving));
    world.unsubscribe_silently(peer, "$share/g/t");
    let staying = world.name_on(2, "staying");
    let peer = world.connect(&v5_kept(&staying));
    world.subscribe_with(peer, "$share/g/t", super::harness::options(2), None);
    let logs = world.killed_all();

    let mut world = World::behind(BEHIND, 3, |_| {});
    world.restore_all(&logs);
    assert_eq!(payloads(&mut world, &staying), ["m"]);
    world.shards.iter().for_each(crate::shard::Shard::assert_invariants);
}
