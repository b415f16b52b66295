//! Connections whose CONNECT waits for a verdict: what is received, kept, heard, and when.

use super::*;
use crate::auth::{AskId, RefusalCause, Verdict};
use crate::conn::connections::InputHandler;
use crate::shard::Input;

/// The listener that asks.
const ASKING: u8 = 3;

impl Stage {
    /// A connection whose CONNECT waits, `behind` having come with it, and the question about it.
    fn waiting(&mut self, behind: &[u8]) -> (ConnectionId, AskId) {
        let id = self.accept_by(ASKING);
        self.receive(id, &[&connect_as("c", self.connections.config.own)[..], behind].concat(), false);
        assert!(matches!(self.operation(), Operation::ReceiveOnce { connection, .. } if connection == id));
        let ask = self.fx.asks.pop().expect("the shard asks");
        assert!(ask.connection == id && self.flush().is_empty(), "nothing is sent before the verdict");
        (id, ask.id)
    }

    fn decide(&mut self, ask: AskId, verdict: Verdict) {
        self.with(|_, core| core.handle(Input::Verdict { ask, verdict }));
    }

    fn hear(&mut self) -> bool {
        self.with(|connections, core| connections.hear_resumed(core))
    }
}

#[test]
fn what_comes_before_the_verdict_is_heard_after_it_in_its_order() {
    let mut stage = Stage::new();
    // The end of a packet that began with CONNECT, in the one receive that a client which waits still has.
    let publish = [&[0x30, 5, 0, 1, b't', b'h', b'i'][..], &PINGREQ].concat();
    let (id, ask) = stage.waiting(&publish[..3]);
    stage.receive(id, &publish[3..], false);
    assert!(stage.operations().is_empty(), "no more is received than may be kept");
    assert!(!stage.connections.has_work() && stage.flush().is_empty());
    stage.decide(ask, Verdict::Admit);
    assert!(stage.connections.has_work(), "the pump may not sleep now");
    assert_eq!(stage.shard.counters().publish_received, 0);
    assert!(stage.hear() && !stage.hear());
    assert_eq!(stage.shard.counters().publish_received, 1);
    assert!(matches!(stage.operation(), Operation::Receive { connection, .. } if connection == id));
    assert_eq!(stage.flush(), [(id, [&CONNACK[..], &PINGRESP].concat())]);
}

#[test]
fn what_comes_between_the_verdict_and_its_turn_keeps_its_place() {
    let mut stage = Stage::new();
    let (id, ask) = stage.waiting(&[0x30, 5, 0, 1]);
    stage.decide(ask, Verdict::Admit);
    stage.receive(id, &[&[b't', b'h', b'i'][..], &PINGREQ].concat(), false);
    assert!(stage.hear());
    assert_eq!(stage.shard.counters().publish_received, 1);
    assert!(matches!(stage.operations()[..], [Operation::Receive { .. }]));
    assert_eq!(stage.flush(), [(id, [&CONNACK[..], &PINGRESP].concat())]);
}

#[test]
fn a_receive_that_is_still_under_way_goes_on_as_that_of_a_client() {
    let mut stage = Stage::new();
    let (id, ask) = stage.waiting(&[]);
    stage.decide(ask, Verdict::Admit);
    assert!(stage.hear());
    assert!(stage.operations().is_empty(), "two receives at a time would mix up their bytes");
    stage.receive(id, &PINGREQ, false);
    assert!(matches!(stage.operation(), Operation::Receive { .. }));
    assert_eq!(stage.flush(), [(id, [&CONNACK[..], &PINGRESP].concat())]);
}

#[test]
fn whoever_is_refused_is_told_and_its_end_is_seen() {
    for behind in [&[][..], &PINGREQ] {
        let mut stage = Stage::new();
        let (id, ask) = stage.waiting(&[]);
        if !behind.is_empty() {
            stage.receive(id, behind, false);
        }
        stage.decide(ask, Verdict::Refuse(RefusalCause::BadCredentials));
        assert_eq!(stage.flush(), [(id, vec![0x20, 2, 0, 4])]);
        let receives = stage.operations().iter().filter(|one| matches!(one, Operation::Receive { .. })).count();
        assert_eq!(receives, usize::from(!behind.is_empty()), "one that is under way is enough");
        assert!(!stage.hear());
        stage.connections.finished(id);
        stage.with(|connections, core| connections.receive_ended(core, id, ReceiveEnd::PeerGone));
        assert!(stage.connections.is_empty());
    }
}

#[test]
fn whoever_goes_while_it_waits_is_closed_and_a_late_verdict_is_nothing() {
    let mut stage = Stage::new();
    let (id, ask) = stage.waiting(&[]);
    stage.with(|connections, core| connections.receive_ended(core, id, ReceiveEnd::PeerGone));
    stage.flush();
    assert!(matches!(stage.operation(), Operation::Close { .. }));
    assert_eq!(stage.shard.holdings().pending_connects, 0);
    stage.decide(ask, Verdict::Admit);
    assert!(!stage.hear() && stage.flush().is_empty() && stage.connections.is_empty());
}

#[test]
fn a_paused_shard_hears_nobody_and_a_connection_without_buffers_receives_once_again() {
    let mut stage = Stage::new();
    let (id, ask) = stage.waiting(&PINGREQ);
    stage.with(|connections, core| connections.receive_ended(core, id, ReceiveEnd::OutOfBuffers));
    stage.connections.buffers_freed(|_| true);
    assert!(matches!(stage.operation(), Operation::ReceiveOnce { .. }));
    stage.connections.set_paused(true);
    stage.decide(ask, Verdict::Admit);
    assert!(!stage.hear() && !stage.connections.has_work(), "a paused shard may sleep");
    stage.connections.set_paused(false);
    assert!(stage.hear());
    assert_eq!(stage.flush(), [(id, [&CONNACK[..], &PINGRESP].concat())]);
}

#[test]
fn a_connection_that_was_handed_over_waits_where_it_is() {
    let [mut source, mut target, _] = Stage::three(100);
    let id = source.accept_by(ASKING);
    let (ticket, handover) = hand_over(&mut source, id);
    target.with(|connections, core| connections.take_handover(core, handover));
    target.with(|connections, core| connections.adopted(core, ticket, SocketId::new(0, 3)));
    let Operation::ReceiveOnce { connection, .. } = target.operation() else { panic!("it is not listened to") };
    let ask = target.fx.asks.pop().expect("the owner asks");
    assert!(source.fx.asks.is_empty() && ask.connection == connection);
    target.decide(ask.id, Verdict::Admit);
    assert!(target.hear());
    assert_eq!(target.flush(), [(connection, [&CONNACK[..], &PINGRESP].concat())]);
}

#[test]
fn whoever_waited_for_a_place_and_then_for_a_verdict_has_one_receive() {
    let [mut stage, ..] = Stage::three(1);
    let first = stage.client("first");
    let id = stage.accept_by(ASKING);
    stage.receive(id, &connect_as("c", ShardId(0)), false);
    stage.with(|connections, core| connections.receive_ended(core, first, ReceiveEnd::PeerGone));
    stage.pass_ms(5);
    stage.flush();
    let before = stage.operations(); // holds `Receive`: it goes on until it ends
    for _ in 0..100 {
        stage.receive(id, &[0xc0; 4096], true); // all of it is kept: 400 KiB
    }
    stage.decide(AskId(0), Verdict::Admit);
    stage.hear();
    let after = stage.operations();
    let receives = |operations: &[Operation]| {
        operations
            .iter()
            .filter(|one| matches!(one, Operation::Receive { connection, .. } if *connection == id))
            .count()
    };
    assert_eq!(receives(&before) + receives(&after), 1, "two receives at a time mix up their bytes");
}

#[test]
fn the_end_of_a_socket_does_not_overtake_what_came_before_it() {
    for verdict_first in [false, true] {
        let mut stage = Stage::new();
        let (id, ask) = stage.waiting(&[0x30, 5, 0, 1, b't', b'h', b'i', 0xe0, 0]);
        if verdict_first {
            stage.decide(ask, Verdict::Admit);
        }
        stage.with(|connections, core| connections.receive_ended(core, id, ReceiveEnd::PeerGone));
        stage.decide(ask, Verdict::Admit);
        stage.hear();
        assert_eq!(stage.shard.counters().publish_received, 1, "verdict first: {verdict_first}");
    }
}
