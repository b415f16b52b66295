//! Layers between socket and packets: the layer for tests, alone and on top of itself.

use super::*;
use crate::auth::{Ask, Question};
use crate::conn::inverting::{ACKNOWLEDGEMENT, ADDRESS, ESCAPE, GOODBYE, HELLO};

/// What the test layer says by itself.
const FIRST: [u8; 4] = [ESCAPE, HELLO, ESCAPE, ACKNOWLEDGEMENT];
const ACK: [u8; 2] = [ESCAPE, ACKNOWLEDGEMENT];
const BYE: [u8; 2] = [ESCAPE, GOODBYE];

/// Bytes through the layer.
fn wire(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().flat_map(|&byte| if !byte == ESCAPE { vec![ESCAPE; 2] } else { vec![!byte] }).collect()
}

impl Stage {
    fn layered_client(&mut self) -> ConnectionId {
        let id = self.accept_by(1);
        self.receive(id, &wire(&connect_as("layered", ShardId(0))), false);
        self.operations();
        assert_eq!(self.flush(), [(id, [&FIRST[..], &wire(&CONNACK)].concat())]);
        id
    }

    fn adopt_from(&mut self, source: &mut Self) -> ConnectionId {
        let Operation::HandOver { ticket, .. } = source.operation() else { panic!("it stays") };
        let (_, handover) = handover_of(source);
        self.with(|connections, core| connections.take_handover(core, handover));
        self.with(|connections, core| connections.adopted(core, ticket, SocketId::new(0, 0)));
        source.connections.handed_over(ticket);
        match self.operation() {
            Operation::Receive { connection, .. } => connection,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_layer_speaks_by_itself_before_there_is_mqtt_to_send() {
    let mut stage = Stage::new();
    let id = stage.accept_by(1);
    let connect = wire(&connect_as("c", ShardId(0)));
    stage.receive(id, &connect[..5], false);
    stage.operations();
    assert_eq!(stage.flush(), [(id, FIRST.to_vec())], "nothing of MQTT yet");
    stage.receive(id, &connect[5..], false);
    stage.operations();
    assert_eq!(stage.flush(), [(id, [&ACK[..], &wire(&CONNACK)].concat())]);
    assert!(stage.flush().is_empty(), "it has said all");
}

#[test]
fn own_bytes_pass_the_layers_below() {
    let mut stage = Stage::new();
    let id = stage.accept_by(4);
    let connect = wire(&wire(&connect_as("c", ShardId(0))));
    stage.receive(id, &connect, false);
    assert_eq!(stage.flush(), [(id, [&FIRST[..], &wire(&FIRST)].concat())]);
}

#[test]
fn layers_travel_with_what_they_have_not_said() {
    let [mut source, mut target, _] = Stage::three(100);
    let id = source.accept_by(1);
    let bytes = wire(&[connect_as("there", ShardId(1)), PINGREQ.to_vec()].concat());
    source.receive(id, &bytes[..5], false);
    source.operations();
    source.receive(id, &bytes[5..], false);
    let id = target.adopt_from(&mut source);
    assert!(source.flush().is_empty(), "its words went along");
    assert_eq!(target.flush(), [(id, [&FIRST[..], &wire(&CONNACK), &wire(&PINGRESP)].concat())]);
    target.receive(id, &wire(&PINGREQ), true);
    assert_eq!(target.flush(), [(id, [&ACK[..], &wire(&PINGRESP)].concat())]);
}

#[test]
fn a_handover_waits_until_the_socket_has_taken_what_was_said() {
    for broken in [false, true] {
        let [mut source, mut target, _] = Stage::three(100);
        let id = source.accept_by(1);
        let connect = wire(&connect_as("there", ShardId(1)));
        source.receive(id, &connect[..5], false);
        let flush = source.with(|connections, core| connections.begin_flush(core));
        let short = ShortSent { connection: id, sent: 1, broken: false };
        source.with(|connections, core| connections.finish_flush(core, flush, [short].into_iter()));
        source.operations();
        source.receive(id, &connect[5..], false);
        assert!(source.operations().is_empty(), "a send is under way");
        assert!(!source.connections.has_work(), "the shard may sleep");
        assert_eq!(source.connections.handovers_pending(), 1);
        source.with(|connections, core| connections.sent(core, id, broken));
        if broken {
            assert!(matches!(source.operation(), Operation::Close { .. }));
            assert_eq!((source.connections.handovers_pending(), source.connections.len()), (0, 0));
        } else {
            let id = target.adopt_from(&mut source);
            assert_eq!(target.flush(), [(id, [&ACK[..], &wire(&CONNACK)].concat())]);
        }
    }
}

#[test]
fn who_reads_no_hello_does_not_wait_for_ever() {
    let [mut source, ..] = Stage::three(100);
    let id = source.accept_by(1);
    let connect = wire(&connect_as("there", ShardId(1)));
    source.receive(id, &connect[..5], false);
    let flush = source.with(|connections, core| connections.begin_flush(core));
    let short = ShortSent { connection: id, sent: 0, broken: false };
    source.with(|connections, core| connections.finish_flush(core, flush, [short].into_iter()));
    source.receive(id, &connect[5..], false);
    source.operations();
    source.pass_ms(10_000);
    assert!(matches!(source.operation(), Operation::Close { under_way: UnderWayOn::Anything, .. }));
    assert_eq!((source.connections.handovers_pending(), source.connections.len()), (0, 0));
}

#[test]
fn a_clean_end_is_answered_and_closes() {
    let mut stage = Stage::new();
    let id = stage.layered_client();
    stage.receive(id, &[&wire(&PINGREQ)[..], &BYE].concat(), true);
    let (before, end) = ([&ACK[..], &wire(&PINGRESP)].concat(), BYE);
    assert_eq!(stage.flush(), [(id, [&before[..], &end].concat())], "what came before the end is answered");
    assert!(matches!(stage.operation(), Operation::Close { .. }));
    assert_eq!(stage.shard.counters().closes[CloseReason::SocketClosed as usize], 1);
    // And before CONNECT.
    let id = stage.accept_by(1);
    stage.receive(id, &BYE, false);
    stage.operations();
    assert_eq!(stage.flush(), [(id, [&FIRST[..], &BYE].concat())]);
    assert!(matches!(stage.operation(), Operation::Close { .. }));
    assert_eq!(stage.connections.counters().closes[CloseReason::SocketClosed as usize], 1);
}

#[test]
fn a_failed_layer_is_counted_and_says_why_before_the_connection_closes() {
    let mut stage = Stage::new();
    let bad = [ESCAPE, b'?'];
    let early = stage.accept_by(1);
    stage.receive(early, &bad, false);
    stage.operations();
    assert_eq!(stage.flush(), [(early, [&FIRST[..], &BYE].concat())]);
    assert!(matches!(stage.operation(), Operation::FinishSending { .. }), "it is told, and given time to read it");
    assert_eq!(stage.connections.counters().closes[CloseReason::Malformed as usize], 1);
    let refused: Vec<_> = stage.connections.refused().map(|refused| refused.text).collect();
    assert_eq!(refused, ["a word that the test layer does not know"]);

    let id = stage.layered_client();
    stage.receive(id, &[&bad[..], &wire(&PINGREQ)].concat(), true);
    assert_eq!(stage.flush(), [(id, [ACK, BYE].concat())], "nothing behind it is heard");
    assert!(matches!(stage.operation(), Operation::FinishSending { .. }));
    assert_eq!(stage.shard.counters().closes[CloseReason::Malformed as usize], 1);
    stage.receive(id, &wire(&PINGREQ), true);
    assert!(stage.flush().is_empty());
}

#[test]
fn an_end_behind_connect_travels_along() {
    for (word, reason) in [(GOODBYE, CloseReason::SocketClosed), (b'?', CloseReason::Malformed)] {
        let [mut source, mut target, _] = Stage::three(100);
        let id = source.accept_by(1);
        source.receive(id, &[&wire(&connect_as("there", ShardId(1)))[..], &[ESCAPE, word]].concat(), false);
        let id = target.adopt_from(&mut source);
        assert_eq!(target.flush(), [(id, [&FIRST[..], &wire(&CONNACK), &BYE].concat())]);
        assert_eq!(target.shard.counters().closes[reason as usize], 1);
    }
}

#[test]
fn a_connection_that_is_gone_is_told_nothing() {
    let mut stage = Stage::new();
    let id = stage.layered_client();
    stage.receive(id, &wire(&PINGREQ), true);
    stage.with(|connections, core| connections.receive_ended(core, id, ReceiveEnd::PeerGone));
    stage.flush();
    assert!(matches!(stage.operation(), Operation::Close { .. }));
    assert!(stage.connections.is_empty());
}

#[test]
fn what_a_layer_learns_of_the_peer_is_shown_and_asked_with() {
    let [mut source, mut target, _] = Stage::three(100);
    let id = source.accept_by(4);
    let connect = wire(&[&[ESCAPE, ADDRESS, 7][..], &wire(&connect_as("there", ShardId(1)))].concat());
    source.receive(id, &connect[..3], false);
    source.operations();
    source.receive(id, &connect[3..], false);
    assert_eq!(source.connections.peer(id).to_string(), "192.0.2.7:1");
    let Operation::HandOver { ticket, .. } = source.operation() else { panic!("it stays") };
    let (_, handover) = handover_of(&mut source);
    let turn = Turn { now: target.now, fx: &mut target.fx };
    let mut core = ShardTurn { shard: &mut target.shard, turn };
    target.connections.take_handover(&mut core, handover);
    target.connections.adopted(&mut core, ticket, SocketId::new(0, 0));
    let Ask { connection, question: Question::Connect(question), .. } = &target.fx.asks[0] else { panic!() };
    assert_eq!(target.connections.peer(*connection).to_string(), "192.0.2.7:1");
    let identity = question.identity.as_deref().expect("it has proved who it is");
    assert_eq!(identity.common_name.as_deref(), Some("peer-7"));
}
