//! A broker that is full: who waits, who is told, who is let in all the same.

use super::*;
use crate::limits::{PLACE_AGAIN_MS, PLACE_WAIT_MS, SOCKETS_WITHOUT_PLACE_MAX};

/// CONNACK of 3.1.1 for a broker that is full.
const FULL: [u8; 4] = [0x20, 2, 0, 3];

impl Stage {
    /// Takes in one that says CONNECT, and gives what it is told once it has waited as long as one waits.
    fn told_after_waiting(&mut self, listener: u8, connect: &[u8]) -> (ConnectionId, Vec<u8>) {
        let id = self.accept_by(listener);
        self.receive(id, connect, false);
        self.pass_ms(PLACE_WAIT_MS);
        let mut flushed = self.flush();
        self.operations();
        assert_eq!(flushed.len(), 1, "{flushed:?}");
        flushed.remove(0)
    }
}

#[test]
fn who_comes_to_a_full_broker_waits_a_moment_and_is_told_and_who_has_not_sent_connect_holds_no_place() {
    let [mut stage, ..] = Stage::three(1);
    let silent = stage.accept();
    let first = stage.client("first");
    let second = stage.accept();
    stage.receive(second, &connect_as("c", ShardId(0)), false);
    stage.pass_ms(PLACE_WAIT_MS - 1);
    assert!(stage.operations().is_empty() && stage.flush().is_empty(), "nothing is received from it meanwhile");
    stage.pass_ms(1);
    assert_eq!(stage.flush(), [(second, FULL.to_vec())]);
    let told = stage.operations();
    assert!(matches!(told[..], [Operation::Receive { .. }, Operation::FinishSending { .. }]), "{told:?}");
    assert_eq!(stage.shard.counters().closes[CloseReason::ConnectionsFull as usize], 1);
    // It lingers, and so may many others: what they hold is no place.
    for _ in 0..9 {
        assert_eq!(stage.told_after_waiting(0, &connect_as("c", ShardId(0))).1, FULL);
    }
    stage.with(|connections, core| connections.receive_ended(core, first, ReceiveEnd::PeerGone));
    stage.receive(silent, &connect_as("silent", ShardId(0)), false);
    assert_eq!(stage.flush(), [(silent, CONNACK.to_vec())], "at once");
}

#[test]
fn who_waits_for_a_place_gets_it_as_soon_as_another_shard_sees_that_a_client_has_left() {
    let [mut stage, mut other, _] = Stage::three(1);
    let leaving = other.client("leaves");
    let id = stage.accept();
    let bytes = [connect_as("c", ShardId(0)), PINGREQ.to_vec()].concat();
    stage.receive(id, &bytes, false);
    stage.pass_ms(PLACE_AGAIN_MS);
    assert!(stage.operations().is_empty() && stage.flush().is_empty());
    other.with(|connections, core| connections.receive_ended(core, leaving, ReceiveEnd::PeerGone));
    let again = stage.connections.next_deadline().expect("it looks again");
    assert!(again.0 <= stage.now.ms() + PLACE_AGAIN_MS, "{again:?}");
    stage.pass_ms(PLACE_AGAIN_MS);
    assert_eq!(stage.flush(), [(id, [&CONNACK[..], &PINGRESP].concat())]);
    assert!(matches!(stage.operation(), Operation::Receive { connection, .. } if connection == id));
    assert!(stage.connections.next_deadline().is_none_or(|due| due.0 > stage.now.ms() + PLACE_AGAIN_MS));
}

#[test]
fn a_takeover_of_a_full_broker_is_let_in_at_once() {
    let [mut stage, ..] = Stage::three(1);
    stage.client("first");
    let again = stage.accept();
    stage.receive(again, &connect_as("first", ShardId(0)), false);
    let sent = stage.flush();
    assert_eq!(sent[sent.len() - 1], (again, CONNACK.to_vec()));
    stage.operations();
    assert_eq!(stage.told_after_waiting(0, &connect_as("c", ShardId(0))).1, FULL, "it holds the place now");
}

#[test]
fn a_client_that_is_handed_over_to_a_full_broker_waits_there() {
    let [mut source, mut target, _] = Stage::three(1);
    source.client("first");
    let id = source.accept();
    let (ticket, handover) = hand_over(&mut source, id);
    target.with(|connections, core| connections.take_handover(core, handover));
    target.with(|connections, core| connections.adopted(core, ticket, SocketId::new(0, 3)));
    assert!(target.operations().is_empty() && target.flush().is_empty());
    target.pass_ms(PLACE_WAIT_MS);
    assert!(target.flush().iter().all(|(_, bytes)| bytes[..] == FULL));
    let told = target.operations();
    assert!(matches!(told[..], [Operation::Receive { .. }, Operation::FinishSending { .. }]), "{told:?}");
}

#[test]
fn far_more_than_there_are_places_for_are_reset_unheard() {
    let [mut stage, ..] = Stage::three(1);
    for _ in 0..=SOCKETS_WITHOUT_PLACE_MAX {
        stage.accept();
    }
    let now = stage.now;
    stage.connections.accepted(now, 0, SocketId::new(0, 9), Peer::Unknown);
    let aborted = stage.operation();
    assert!(matches!(aborted, Operation::Abort { under_way: UnderWayOn::Nothing, .. }), "{aborted:?}");
    assert_eq!(stage.connections.len(), SOCKETS_WITHOUT_PLACE_MAX as usize + 1);
    assert_eq!(stage.connections.counters().closes[CloseReason::ConnectionsFull as usize], 1);
}

#[test]
fn a_listener_has_a_limit_of_its_own() {
    let mut stage = Stage::new();
    let first = stage.accept_by(2);
    stage.receive(first, &connect_as("a", ShardId(0)), false);
    assert_eq!(stage.flush(), [(first, CONNACK.to_vec())]);
    stage.operations();
    let (second, told) = stage.told_after_waiting(2, &connect_as("b", ShardId(0)));
    assert_eq!(told, FULL);
    stage.client("of the first listener");
    stage.with(|connections, core| connections.receive_ended(core, first, ReceiveEnd::PeerGone));
    stage.with(|connections, core| connections.receive_ended(core, second, ReceiveEnd::PeerGone));
    stage.connections.finished(second);
    stage.operations();
    let third = stage.accept_by(2);
    stage.receive(third, &connect_as("c", ShardId(0)), false);
    assert_eq!(stage.flush(), [(third, CONNACK.to_vec())]);
}
