//! Clients whose last packet takes their shard several turns: what they send behind it is heard behind it.

use super::*;
use crate::codec::encode_unsubscribe;
use crate::conn::InputHandler;
use crate::ids::PacketId;
use crate::limits::{DELIVERIES_PER_TURN, FILTERS_PER_SLICE, HELD_BUFFERS_MAX};
use crate::shard::Input;
use crate::telemetry::TransportCounters;

/// What an UNSUBSCRIBE of 3.1.1 is answered with.
pub(super) const UNSUBACK: [u8; 4] = [0xb0, 2, 0, 1];

/// An UNSUBSCRIBE that takes two turns.
pub(super) fn long_unsubscribe() -> Vec<u8> {
    let names: Vec<String> = (0..=FILTERS_PER_SLICE).map(|number| format!("t/{number}")).collect();
    let mut bytes = Vec::new();
    encode_unsubscribe(Version::V311, PacketId::MIN, names.iter().map(String::as_str), &mut bytes);
    bytes
}

impl Stage {
    /// A client that sends an UNSUBSCRIBE which is under way, and `behind` with it.
    fn held(&mut self, behind: &[u8]) -> ConnectionId {
        let id = self.client("c");
        self.receive(id, &[&long_unsubscribe(), behind].concat(), true);
        assert!(self.flush().is_empty());
        id
    }

    /// Something comes that has to wait.
    fn defer(&mut self, id: ConnectionId, bytes: &[u8], buffer: u32) {
        self.connections.begin_turn();
        let mut is_kept = false;
        self.with(|connections, core| {
            connections.received(core, id, bytes, true, || {
                is_kept = true;
                KeptBuffer(buffer)
            });
        });
        assert!(is_kept);
    }

    /// A turn of the shard's own.
    pub(super) fn tick(&mut self) {
        self.with(|_, core| core.handle(Input::Tick { transport: &TransportCounters::default() }));
    }

    /// Ticks until the packet that is under way is answered, and then hears its client again.
    pub(super) fn resume(&mut self) {
        while self.shard.has_work() {
            assert!(!self.with(|connections, core| connections.hear_resumed(core)), "too early");
            self.tick();
        }
        assert!(self.connections.has_work(), "the pump may not sleep now");
        assert!(self.with(|connections, core| connections.hear_resumed(core)));
    }
}

#[test]
fn what_comes_behind_is_heard_behind_in_its_order_and_the_end_last() {
    let mut stage = Stage::new();
    let id = stage.held(&[&PINGREQ[..], &[0x30, 5]].concat());
    stage.defer(id, &[0, 1, b't', b'h'], 0);
    stage.with(|connections, core| connections.receive_ended(core, id, ReceiveEnd::PeerGone));
    assert!(!stage.connections.has_work(), "the shard alone has something to do");
    assert!(stage.connections.next_deferred().is_none());
    stage.resume();
    assert_eq!(stage.flush(), [(id, [&UNSUBACK[..], &PINGRESP].concat())]);
    stage.connections.begin_turn();
    for bytes in [&[0, 1, b't', b'h'][..], &[]] {
        let deferred = stage.connections.next_deferred().expect("it has its turn again");
        stage.with(|connections, core| connections.handle_deferred(core, deferred, bytes));
    }
    assert!(stage.connections.next_deferred().is_none());
    assert_eq!(stage.shard.counters().closes[CloseReason::SocketClosed as usize], 1);
}

#[test]
fn a_second_one_behind_the_first_holds_what_is_behind_both() {
    let mut stage = Stage::new();
    let id = stage.held(&[&long_unsubscribe()[..], &PINGREQ].concat());
    stage.resume();
    assert_eq!(stage.flush(), [(id, UNSUBACK.to_vec())], "the ping is behind the second");
    stage.resume();
    assert_eq!(stage.flush(), [(id, [&UNSUBACK[..], &PINGRESP].concat())]);
}

#[test]
fn one_that_is_closed_meanwhile_gives_its_buffers_back() {
    let mut stage = Stage::new();
    let id = stage.held(&PINGREQ);
    stage.defer(id, &PINGREQ, 3);
    let taken_over = stage.accept();
    stage.receive(taken_over, &connect_as("c", ShardId(0)), false);
    let deferred = stage.connections.next_deferred().expect("nobody waits for it any more");
    assert_eq!(deferred.buffer(), Some(KeptBuffer(3)));
    stage.with(|connections, core| connections.handle_deferred(core, deferred, &PINGREQ));
    stage.tick();
    assert!(!stage.with(|connections, core| connections.hear_resumed(core)));
    assert_eq!(stage.flush(), [(taken_over, CONNACK.to_vec())]);
}

#[test]
fn whoever_sends_on_and_on_behind_it_is_stopped_by_its_own_socket() {
    let mut stage = Stage::new();
    let id = stage.held(&[]);
    for buffer in 0..=DEFERRED_BUFFERS_MAX as u32 {
        assert!(stage.operations().is_empty());
        stage.defer(id, &PINGREQ, buffer);
    }
    assert!(matches!(stage.operation(), Operation::StopReceiving { connection, .. } if connection == id));
}

/// A slow disk may hold every publisher: those beyond some keep no buffers of which all others live.
#[test]
fn when_many_are_held_what_comes_of_others_is_copied_and_heard_in_its_order() {
    let mut stage = Stage::new();
    let id = stage.held(&[]);
    for buffer in 0..HELD_BUFFERS_MAX as u32 {
        stage.defer(id, &PINGREQ, buffer);
    }
    for more in [true, false] {
        let other = stage.client(if more { "d" } else { "e" });
        stage.receive(other, &long_unsubscribe(), true);
        for (bytes, more) in [(&[0xc0][..], true), (&[0], more)] {
            stage.with(|connections, core| {
                connections.received(core, other, bytes, more, || panic!("no buffer is kept"));
            });
        }
        let stopped = stage.operations();
        assert!(
            matches!(stopped[..], [Operation::StopReceiving { connection, .. }] if connection == other),
            "{stopped:?}"
        );
        if more {
            stage.with(|connections, core| connections.receive_ended(core, other, ReceiveEnd::Stopped));
        }
        while stage.shard.has_work() {
            stage.tick();
        }
        while stage.with(|connections, core| connections.hear_resumed(core)) {}
        let sent: Vec<u8> =
            stage.flush().into_iter().filter(|(to, _)| *to == other).flat_map(|(_, bytes)| bytes).collect();
        assert_eq!(sent, [&UNSUBACK[..], &PINGRESP].concat());
        stage.connections.begin_turn();
        while let Some(deferred) = stage.connections.next_deferred() {
            stage.with(|connections, core| connections.handle_deferred(core, deferred, &[]));
        }
        let again = stage.operations();
        assert!(
            again
                .iter()
                .any(|operation| matches!(operation, Operation::Receive { connection, .. } if *connection == other))
        );
        let held = stage.client(if more { "f" } else { "g" });
        stage.receive(held, &long_unsubscribe(), true);
        for buffer in 0..HELD_BUFFERS_MAX as u32 {
            stage.defer(held, &PINGREQ, buffer);
        }
    }
}

#[test]
fn who_comes_when_a_turn_has_led_to_enough_is_heard_by_turns_packet_after_packet() {
    let mut stage = Stage::new();
    let [first, second] = ["c", "d"].map(|name| stage.client(name));
    stage.fx.deliveries = DELIVERIES_PER_TURN;
    stage.receive(first, &[PINGREQ, PINGREQ, PINGREQ].concat(), true);
    stage.receive(second, &[PINGREQ, PINGREQ].concat(), true);
    stage.defer(second, &PINGREQ, 0);
    assert_eq!(stage.flush(), [(first, PINGRESP.to_vec()), (second, PINGRESP.to_vec())]);
    for expected in [first, second, first] {
        assert!(stage.connections.has_work() && stage.connections.next_deferred().is_none());
        assert!(stage.with(|connections, core| connections.hear_resumed(core)));
        assert_eq!(stage.flush(), [(expected, PINGRESP.to_vec())]);
    }
    stage.fx.deliveries = 0;
    assert!(stage.with(|connections, core| connections.hear_resumed(core)), "the second, of whom nothing is left here");
    let deferred = stage.connections.next_deferred().expect("what came later has its turn again");
    stage.with(|connections, core| connections.handle_deferred(core, deferred, &PINGREQ));
    assert_eq!(stage.flush(), [(second, PINGRESP.to_vec())]);
    assert!(stage.with(|connections, core| connections.hear_resumed(core)), "the first");
    assert!(!stage.connections.has_work());
}
