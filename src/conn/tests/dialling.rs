//! Connections to other nodes: made, refused, without an answer, given up.

use core::net::SocketAddr;

use super::links::{LINKS, terms};
use super::*;
use crate::cluster::LinkFrame;
use crate::limits::{LINK_DIAL_MS, LINK_HELLO_MS};

const TO: &str = "192.0.2.1:1884";

fn address() -> SocketAddr {
    TO.parse().unwrap()
}

impl Stage {
    fn dial(&mut self) -> ConnectionId {
        let now = self.now;
        let id = self.connections.dial(now, address()).expect("it is a node");
        match self.operation() {
            Operation::Dial { to, connection } if (to, connection) == (address(), id) => id,
            other => panic!("{other:?}"),
        }
    }

    fn ends(&self, reason: CloseReason) -> u64 {
        self.connections.counters().closes[reason as usize]
    }
}

#[test]
fn who_takes_a_connection_is_told_who_it_is_from() {
    let mut stage = Stage::node(1);
    let id = stage.dial();
    assert!(stage.flush().is_empty(), "it has no socket");
    let socket = SocketId::new(0, 3);
    stage.connections.connected(id, Ok(socket));
    let receive = stage.operation();
    assert!(matches!(receive, Operation::ReceiveOnce { connection, .. } if connection == id), "{receive:?}");
    let sent = stage.flush();
    let (to, bytes) = &sent[0];
    let Ok(Some((LinkFrame::Hello(hello), len))) = LinkFrame::next(bytes, 512) else { panic!("{bytes:?}") };
    assert_eq!((*to, len, sent.len()), (id, bytes.len(), 1));
    assert_eq!((hello.node, hello.shards, hello.cluster), (terms(1).node, (3, 0), "fleet"));
    assert_eq!(stage.connections.peer(id).to_string(), TO);
    assert_eq!(stage.connections.config().connections.load(Ordering::Relaxed), 0, "it is no client's");
}

#[test]
fn who_refuses_is_counted_and_told() {
    let mut stage = Stage::node(1);
    for errno in [111, 113, 24, 5] {
        let id = stage.dial();
        stage.connections.connected(id, Err(errno));
        assert!(stage.operations().is_empty() && stage.connections.is_empty());
        let refused: Vec<_> = stage.connections.refused().collect();
        assert_eq!((refused.len(), refused[0].reason), (1, CloseReason::LinkUnreachable));
        assert_eq!(refused[0].peer.to_string(), TO);
    }
    assert_eq!(stage.ends(CloseReason::LinkUnreachable), 4);
}

#[test]
fn who_does_not_answer_is_given_up_in_time_and_what_comes_later_is_closed() {
    let mut stage = Stage::node(1);
    let id = stage.dial();
    assert_eq!(stage.connections.next_deadline(), Some(stage.now.after_ms(LINK_DIAL_MS)));
    stage.pass_ms(LINK_DIAL_MS - 1);
    assert!(stage.operations().is_empty(), "it has its time");
    stage.pass_ms(1);
    assert!(matches!(stage.operation(), Operation::GiveUpDial { connection } if connection == id));
    assert_eq!((stage.ends(CloseReason::LinkUnreachable), stage.connections.len()), (1, 0));
    // The system had ended it just before.
    let socket = SocketId::new(0, 3);
    stage.connections.connected(id, Ok(socket));
    assert!(matches!(stage.operation(), Operation::Close { under_way: UnderWayOn::Nothing, .. }));
    stage.connections.connected(id, Err(110));
    assert!(stage.operations().is_empty());
    assert_eq!(stage.ends(CloseReason::LinkUnreachable), 1, "it is counted once");
}

#[test]
fn one_that_is_closed_meanwhile_is_given_up_and_one_that_has_a_socket_is_closed() {
    let mut stage = Stage::node(1);
    let (first, second) = (stage.dial(), stage.dial());
    stage.connections.connected(second, Ok(SocketId::new(0, 3)));
    stage.operations();
    stage.connections.close_awaiting_connect();
    let mut operations = stage.operations();
    operations.sort_by_key(|operation| matches!(operation, Operation::Close { .. }));
    assert!(matches!(operations[0], Operation::GiveUpDial { connection } if connection == first), "{operations:?}");
    assert!(matches!(operations[1], Operation::Close { under_way: UnderWayOn::Receive(id), .. } if id == second));
    assert!(stage.connections.is_empty() && stage.flush().is_empty());
    let now = stage.now;
    assert_eq!(stage.connections.dial(now, address()), None, "it is no node any more");
    // A later one has the slot, and is not taken for it.
    stage.connections.use_links(terms(1));
    let again = stage.dial();
    stage.connections.connected(first, Err(110));
    assert_eq!((stage.connections.len(), stage.operations().len()), (1, 0));
    stage.connections.connected(again, Ok(SocketId::new(0, 4)));
    assert_eq!(stage.flush().len(), 1);
}

#[test]
fn who_takes_a_connection_and_says_nothing_is_given_up_too() {
    let mut stage = Stage::node(1);
    let id = stage.dial();
    stage.connections.connected(id, Ok(SocketId::new(0, 3)));
    stage.operations();
    stage.pass_ms(LINK_HELLO_MS - 1);
    assert!(stage.operations().is_empty());
    stage.pass_ms(1);
    assert!(matches!(stage.operation(), Operation::Close { .. }));
    assert_eq!(stage.ends(CloseReason::LinkTimeout), 1);
    assert_eq!(stage.connections.next_deadline(), None);
}

#[test]
fn a_broker_without_a_cluster_dials_nobody_and_takes_no_links() {
    let mut stage = Stage::new();
    let now = stage.now;
    assert_eq!(stage.connections.dial(now, address()), None);
    stage.add_link_listener();
    stage.connections.accepted(now, LINKS, SocketId::new(0, 7), Peer::Unknown);
    assert!(matches!(stage.operation(), Operation::Abort { .. }));
    assert!(stage.connections.is_empty());
}
