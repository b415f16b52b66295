//! What a shard's log comes to becomes a shard again.

use super::harness::{World, v5_kept};
use super::show::publish1;
use crate::codec::{Connect, Packet};
use crate::ids::MessageId;
use crate::session::{Message, MessageRef};
use crate::shard::RestoredLog;

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
    world.restore(0, &RestoredLog { state, messages });
    assert_eq!(world.shards[0].holdings().ended_sessions, 0, "its end was gone on with");
    let sessions = world.shards[0].holdings().sessions;
    let (_, read) = world.resume(&v5_kept("a"));
    assert_eq!((sessions, read), (1, vec!["CONNACK success present".to_owned()]));
}
