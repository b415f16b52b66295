//! Connections by a listener for TLS: handshakes that are run elsewhere, and come back or do not.

use std::io::{Read, Write};

use rustls::{ClientConnection, pki_types::ServerName};

use super::*;
use crate::conn::tls::tests::{Pki, Suite, client_config, server_config, suites};
use crate::conn::tls::{Handshake, TlsListener};
use crate::limits::TLS_HANDSHAKES_MAX;
use crate::settings::ListenerKind;

/// The listener for TLS, on a stage that has it.
const TLS: u8 = 5;

struct Secure {
    stage: Stage,
    pki: Pki,
    suite: Suite,
}

impl Secure {
    fn add_listener(stage: &mut Stage, pki: &Pki, suite: &Suite) {
        let config = server_config(pki, suite, true);
        let settings = ListenerSettings { policy: Policy::Ask, connect_timeout_s: 10, ..ListenerSettings::default() };
        let layers = ListenerLayers::Tls(TlsListener::new(config));
        assert_eq!(stage.connections.add_listener(Arc::new(settings), Arc::default(), layers), TLS);
    }

    fn new() -> Self {
        let (pki, suite) = (Pki::new(), suites().remove(0));
        let mut stage = Stage::new();
        stage.connections.config.connections_max = u32::MAX;
        Self::add_listener(&mut stage, &pki, &suite);
        Self { stage, pki, suite }
    }

    fn client(&self) -> ClientConnection {
        let config = Arc::new(client_config(&self.pki, &self.suite, true));
        ClientConnection::new(config, ServerName::try_from("localhost").unwrap()).unwrap()
    }

    /// A connection that has sent its first flight, and its handshake, which is away.
    fn shaking(&mut self) -> (ConnectionId, ClientConnection, Box<Handshake>) {
        let mut client = self.client();
        let id = self.stage.accept_by(TLS);
        self.stage.receive(id, &written(&mut client), false);
        match self.stage.operation() {
            Operation::Handshake { connection, handshake } if connection == id => (id, client, handshake),
            other => panic!("{other:?}"),
        }
    }

    fn run(&mut self, id: ConnectionId, mut handshake: Box<Handshake>) {
        handshake.run();
        self.stage.with(|connections, core| connections.handshaken(core, id, *handshake));
    }
}

fn written(client: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).unwrap();
    }
    bytes
}

fn read(client: &mut ClientConnection, mut bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    while !bytes.is_empty() {
        client.read_tls(&mut bytes).unwrap();
        let state = client.process_new_packets().unwrap();
        let mut part = vec![0; state.plaintext_bytes_to_read()];
        client.reader().read_exact(&mut part).unwrap();
        plain.extend(part);
    }
    plain
}

#[test]
fn a_client_comes_in_over_tls_and_is_asked_about_with_its_certificate() {
    let mut secure = Secure::new();
    let (id, mut client, handshake) = secure.shaking();
    assert!(secure.stage.flush().is_empty(), "nothing to send until it is run");
    secure.run(id, handshake);
    assert!(matches!(secure.stage.operation(), Operation::ReceiveOnce { .. }));
    let [(_, flight)] = &secure.stage.flush()[..] else { panic!("no flight") };
    client.writer().write_all(&connect_as("c", ShardId(0))).unwrap();
    assert!(read(&mut client, flight).is_empty());
    secure.stage.receive(id, &written(&mut client), false);
    let Operation::Handshake { mut handshake, .. } = secure.stage.operation() else { panic!("it is not run") };
    handshake.run();
    let Stage { connections, shard, fx, now } = &mut secure.stage;
    let turn = Turn { now: *now, fx };
    connections.handshaken(&mut ShardTurn { shard, turn }, id, *handshake);
    let crate::auth::Question::Connect(question) = &fx.asks[0].question else { panic!() };
    assert_eq!(question.identity.as_deref().unwrap().common_name.as_deref(), Some("device-7"));
}

#[test]
fn a_connection_that_goes_while_its_handshake_is_away_is_nothing() {
    let mut secure = Secure::new();
    let (id, _, handshake) = secure.shaking();
    secure.stage.pass_ms(10_000);
    assert!(matches!(secure.stage.operation(), Operation::Close { .. }), "its time was over");
    assert!(!handshake.is_wanted());
    secure.run(id, handshake);
    assert!(secure.stage.operations().is_empty() && secure.stage.flush().is_empty());
}

#[test]
fn no_more_handshakes_are_away_than_may_be() {
    let mut secure = Secure::new();
    let hello = written(&mut secure.client());
    let mut away = Vec::new();
    for _ in 0..TLS_HANDSHAKES_MAX {
        let id = secure.stage.accept_by(TLS);
        secure.stage.receive(id, &hello, false);
        let Operation::Handshake { connection, handshake } = secure.stage.operation() else { panic!("it waits") };
        away.push((connection, handshake));
    }
    let now = secure.stage.now;
    assert!(!secure.stage.connections.may_accept(now), "others wait in the kernel");
    let waiting: Vec<ConnectionId> = (0..3)
        .map(|_| {
            let id = secure.stage.accept_by(TLS);
            secure.stage.receive(id, &hello, false);
            assert!(secure.stage.operations().is_empty(), "it waits here");
            id
        })
        .collect();
    let (id, handshake) = away.remove(0);
    secure.run(id, handshake);
    let begun = secure.stage.operations();
    let is_next = |operation: &Operation| matches!(operation, Operation::Handshake { connection, .. } if *connection == waiting[0]);
    assert!(begun.iter().any(is_next), "{begun:?}");
    for (id, handshake) in away.drain(..) {
        secure.run(id, handshake);
    }
    assert!(secure.stage.connections.may_accept(now));
}

#[test]
fn the_oldest_half_open_handshake_makes_way_and_whoever_is_done_stays() {
    let mut secure = Secure::new();
    let layers = ListenerLayers::Tls(TlsListener::new(server_config(&secure.pki, &secure.suite, true)));
    let max = 9;
    let settings = ListenerSettings {
        kind: ListenerKind::Tls,
        policy: Policy::Admit,
        tls_half_open_max: max,
        ..ListenerSettings::default()
    };
    let listener = secure.stage.connections.add_listener(Arc::new(settings), Arc::default(), layers);
    let hello = written(&mut secure.client());
    let stall = |secure: &mut Secure| {
        let now = secure.stage.now;
        secure.stage.connections.accepted(now, listener, SocketId::new(0, 7), Peer::Unknown);
        // Another one may be closed for it.
        let Some(Operation::ReceiveOnce { connection: id, .. }) = secure.stage.operations().pop() else { panic!() };
        secure.stage.receive(id, &hello, false);
        let Operation::Handshake { handshake, .. } = secure.stage.operation() else { panic!("it waits") };
        secure.run(id, handshake);
        secure.stage.operations();
        id
    };
    // One goes all the way.
    let mut client = secure.client();
    let done = secure.stage.accept_by(listener);
    secure.stage.receive(done, &written(&mut client), false);
    let Operation::Handshake { handshake, .. } = secure.stage.operation() else { panic!("it waits") };
    secure.run(done, handshake);
    let flights = secure.stage.flush();
    assert!(read(&mut client, &flights[0].1).is_empty());
    secure.stage.receive(done, &written(&mut client), false);
    while let Some(Operation::Handshake { handshake, .. }) =
        secure.stage.operations().into_iter().find(|operation| matches!(operation, Operation::Handshake { .. }))
    {
        secure.run(done, handshake);
    }
    let share = 3;
    let stalled: Vec<ConnectionId> = (0..share).map(|_| stall(&mut secure)).collect();
    let refused = |secure: &Secure| secure.stage.connections.counters().closes[CloseReason::TlsHalfOpen as usize];
    assert_eq!(refused(&secure), 0, "as many as may be");
    for count in 1..=5 {
        stall(&mut secure);
        assert_eq!(refused(&secure), count);
    }
    let there = |secure: &Secure, id| secure.stage.connections.table.get(id).is_some();
    assert!(stalled.iter().all(|id| !there(&secure, *id)) && there(&secure, done));
    assert_eq!(secure.stage.connections.listeners[usize::from(listener)].half_open.len(), share);
    // Their time runs out, and nothing of them is left.
    secure.stage.pass_ms(60_000);
    secure.stage.operations();
    assert!(secure.stage.connections.listeners[usize::from(listener)].half_open.is_empty());
}

#[test]
fn whoever_speaks_mqtt_to_a_port_for_tls_is_counted_and_closed() {
    let mut secure = Secure::new();
    let id = secure.stage.accept_by(TLS);
    secure.stage.receive(id, &connect_as("c", ShardId(0)), false);
    let refused: Vec<_> = secure.stage.connections.refused().map(|refused| refused.text).collect();
    assert_eq!(refused, ["it speaks MQTT without TLS, and this listener takes TLS only"]);
    assert_eq!(secure.stage.connections.counters().closes[CloseReason::TlsPlainText as usize], 1);
    assert!(secure.stage.flush().is_empty(), "no answer that it could not read");
}

#[test]
fn a_handshake_behind_a_proxy_begins_only_for_who_may_come() {
    use super::sources::{networks, peer};
    let (pki, suite) = (Pki::new(), suites().remove(0));
    let mut stage = Stage::new();
    let settings = ListenerSettings {
        policy: Policy::Admit,
        proxy_protocol: true,
        proxy_from: networks(&["192.0.2.1"]),
        deny_from: networks(&["203.0.113.66"]),
        ..ListenerSettings::default()
    };
    let layers = ListenerLayers::Tls(TlsListener::new(server_config(&pki, &suite, true)));
    assert_eq!(stage.connections.add_listener(Arc::new(settings), Arc::default(), layers), TLS);
    let hello = || {
        let config = Arc::new(client_config(&pki, &suite, true));
        written(&mut ClientConnection::new(config, ServerName::try_from("localhost").unwrap()).unwrap())
    };
    for (source, begins) in [("203.0.113.7", true), ("203.0.113.66", false)] {
        stage.connections.accepted(stage.now, TLS, SocketId::new(0, 9), peer("192.0.2.1:1"));
        let Operation::ReceiveOnce { connection, .. } = stage.operation() else { panic!("it is heard") };
        let header = format!("PROXY TCP4 {source} 192.0.2.9 5 8883\r\n");
        stage.receive(connection, &[header.as_bytes(), &hello()].concat(), false);
        match stage.operation() {
            Operation::Handshake { .. } if begins => {}
            Operation::Close { .. } if !begins => {}
            other => panic!("{source}: {other:?}"),
        }
    }
}
