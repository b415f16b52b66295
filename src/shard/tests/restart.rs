//! What a shard's log comes to becomes a shard again.

use super::harness::{World, v5_kept};
use super::show::publish1;
use crate::codec::{Connect, Packet};
use crate::ids::{MessageId, ShardId, WriteStamp};
use crate::session::{Message, MessageRef};
use crate::shard::{RestoredLog, RestoredRetained};
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
