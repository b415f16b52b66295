//! A member of a shared subscription whose session ends with many messages: killed while they are handed on, the broker goes on with that.

use std::collections::BTreeSet;

use dunlin::ids::ShardId;

use crate::broker::{Broker, DataDirectory};
use crate::client::{Client, PATIENCE, PUBACK, Received};

const MESSAGES: u32 = 10_000;
const FLAGS: [&str; 4] = ["--max-queued-messages", "100000", "--shards", "2"];

/// A client id that the shard owns.
fn name_on(shard: u8, stem: &str) -> String {
    let mut names = (0..1_000).map(|number| format!("{stem}-{number}"));
    names.find(|name| ShardId::owner_of(name, 2) == ShardId(shard)).expect("the hash reaches every shard")
}

/// Has a session that is kept, as a member of the group, whose client is away.
fn away(broker: &Broker, id: &str) {
    let mut member = Client::connect(broker.address, id, false, None).expect("the broker lives");
    member.subscribe("$share/g/t", 1).expect("the broker lives");
    member.disconnect();
}

/// Publishes them all, and waits for their acknowledgements.
fn publish(broker: &Broker) {
    let mut publisher = Client::connect(broker.address, "publisher", true, None).expect("the broker lives");
    for numbers in (0..MESSAGES).collect::<Vec<_>>().chunks(100) {
        for number in numbers {
            let packet_id = (number % 60_000 + 1) as u16;
            publisher.publish("t", &number.to_be_bytes(), 2, packet_id).expect("the broker lives");
        }
        for _ in numbers {
            let answer = publisher.next(PATIENCE).expect("the broker lives");
            assert!(matches!(answer, Some(Received::Answer(PUBACK, _, _))), "no PUBACK: {answer:?}");
        }
    }
}

#[test]
fn what_an_ended_member_leaves_to_one_on_another_shard_survives_a_kill() {
    for (shard, other) in [(0, 1), (1, 0)] {
        let data = DataDirectory::new("ending");
        let broker = Broker::start(&data, &FLAGS);
        let (leaving, staying) = (name_on(shard, "leaving"), name_on(other, "staying"));
        away(&broker, &leaving);
        publish(&broker);
        away(&broker, &staying);
        // CONNACK says that the session is gone, and not that all that it had has found another member.
        let ended = Client::connect(broker.address, &leaving, true, None).expect("the broker lives");
        assert!(!ended.session_present);
        broker.kill();

        let broker = Broker::start(&data, &FLAGS);
        let mut member = Client::connect(broker.address, &staying, false, None).expect("the broker lives");
        assert!(member.session_present);
        let mut missing: BTreeSet<u32> = (0..MESSAGES).collect();
        while !missing.is_empty() {
            let taken = member.take(PATIENCE).expect("the broker lives");
            let Some(taken) = taken else { panic!("{} of {MESSAGES} never come: {}", missing.len(), broker.log()) };
            missing.remove(&u32::from_be_bytes(taken.payload.try_into().expect("four bytes")));
        }
    }
}
