//! Listeners that ask where a connection comes from: networks, rates, PROXY headers, versions of MQTT, accounts.

use super::*;
use crate::ids::{HashKeys, PeerAddress, UnixPeer};
use crate::settings::{ListenerKind, MqttVersions, Networks, UserNames};
use crate::shard::Event;

/// The listener that a test adds behind those of the stage.
pub(super) const ADDED: u8 = 5;

pub(super) fn networks(list: &[&str]) -> Networks {
    Networks::Some(list.iter().map(|text| text.parse().unwrap()).collect())
}

pub(super) fn peer(address: &str) -> Peer {
    Peer::from(PeerAddress::Ip(address.parse().unwrap()))
}

impl Stage {
    /// One shard of three with one more listener.
    pub(super) fn listening(settings: ListenerSettings) -> [Self; 3] {
        let mut stages = Self::three(100);
        let settings = Arc::new(settings);
        for stage in &mut stages {
            let rates = ConnectRates::new(usize::from(ADDED) + 1, HashKeys::from(1).names);
            rates.count_addresses();
            stage.connections.config.rates = Arc::new(rates);
            stage.connections.add_listener(Arc::clone(&settings), Arc::default(), ListenerLayers::None);
        }
        stages
    }

    /// Somebody connects: the connection, or why there is none.
    pub(super) fn come(&mut self, peer: Peer) -> Result<ConnectionId, CloseReason> {
        let now = self.now;
        self.connections.accepted(now, ADDED, SocketId::new(0, 9), peer);
        match self.operation() {
            Operation::ReceiveOnce { connection, .. } => Ok(connection),
            Operation::Abort { under_way: UnderWayOn::Nothing, .. } => {
                let refused: Vec<_> = self.connections.refused().collect();
                assert_eq!(refused.len(), 1);
                assert_eq!(refused[0].peer, peer);
                assert_eq!(self.connections.counters().closes[refused[0].reason as usize], 1);
                self.connections.counters.closes = crate::telemetry::CountsByReason::default();
                Err(refused[0].reason)
            }
            other => panic!("{other:?}"),
        }
    }
}

fn admitting(settings: ListenerSettings) -> ListenerSettings {
    ListenerSettings { policy: Policy::Admit, ..settings }
}

#[test]
fn who_comes_from_elsewhere_is_closed_unheard_and_counted() {
    let settings = ListenerSettings {
        allow_from: networks(&["192.0.2.0/24", "2001:db8::/32"]),
        deny_from: networks(&["192.0.2.128/25"]),
        ..ListenerSettings::default()
    };
    let [mut stage, ..] = Stage::listening(settings);
    for (address, admitted) in [
        ("192.0.2.1:1", true),
        ("[2001:db8::1]:1", true),
        ("[::ffff:192.0.2.1]:1", true),
        ("192.0.2.129:1", false),
        ("198.51.100.1:1", false),
        ("[::1]:1", false),
    ] {
        let expected = if admitted { Ok(()) } else { Err(CloseReason::NetworkDenied) };
        assert_eq!(stage.come(peer(address)).map(drop), expected, "{address}");
    }
    assert_eq!(stage.connections.len(), 3);
    assert_eq!(stage.connections.config.connections.load(std::sync::atomic::Ordering::Relaxed), 3);
}

#[test]
fn who_connects_too_often_is_closed_unheard_and_others_are_not() {
    let settings =
        ListenerSettings { connect_rate_per_address_max: 3, connect_rate_max: 10, ..ListenerSettings::default() };
    let [mut stage, ..] = Stage::listening(settings);
    let come = |stage: &mut Stage, address: &str, times: usize| -> Vec<bool> {
        (0..times).map(|_| stage.come(peer(address)).is_ok()).collect()
    };
    assert_eq!(come(&mut stage, "192.0.2.1:1", 5), [true, true, true, false, false]);
    assert_eq!(come(&mut stage, "192.0.2.2:1", 5), [true, true, true, false, false]);
    assert_eq!(come(&mut stage, "[2001:db8::1]:1", 3), [true; 3]);
    assert_eq!(come(&mut stage, "[2001:db8::2]:1", 1), [false], "of the same /64");
    // The listener's own rate: what was refused for its address has not used it up.
    assert_eq!(come(&mut stage, "192.0.2.3:1", 2), [true, false]);
    stage.now.mono_ns += 1_000_000_000;
    assert_eq!(come(&mut stage, "192.0.2.1:1", 4), [true, true, true, false]);
    assert_eq!(stage.come(peer("192.0.2.1:1")), Err(CloseReason::ConnectRate));
}

#[test]
fn versions_that_a_listener_does_not_let_in_are_told_so_in_their_own_words() {
    let only = |v31, v311, v5| {
        admitting(ListenerSettings { mqtt_versions: MqttVersions { v31, v311, v5 }, ..ListenerSettings::default() })
    };
    for (version, settings, answer) in [
        (Version::V31, only(false, true, true), &[0x20, 2, 0, 1][..]),
        (Version::V311, only(true, false, true), &[0x20, 2, 0, 1]),
        (Version::V5, only(true, true, false), &[0x20, 3, 0, 0x84, 0]),
    ] {
        let [mut stage, ..] = Stage::listening(settings);
        let mut bytes = Vec::new();
        Connect::new(version, "c", true).encode(&mut bytes);
        let id = stage.come(peer("192.0.2.1:1")).unwrap();
        stage.receive(id, &bytes, false);
        assert_eq!(stage.flush(), [(id, answer.to_vec())]);
        let refused: Vec<_> = stage.connections.refused().map(|refused| (refused.reason, refused.level)).collect();
        assert_eq!(refused, [(CloseReason::UnsupportedVersion, Some(version as u8))]);
    }
    let [mut stage, ..] = Stage::listening(only(false, true, false));
    let id = stage.come(peer("192.0.2.1:1")).unwrap();
    stage.receive(id, &connect_as("c", ShardId(0)), false);
    assert_eq!(stage.flush(), [(id, CONNACK.to_vec())]);
}

fn proxied() -> ListenerSettings {
    admitting(ListenerSettings {
        proxy_protocol: true,
        proxy_from: networks(&["192.0.2.0/24"]),
        allow_from: networks(&["203.0.113.0/24"]),
        connect_rate_per_address_max: 2,
        ..ListenerSettings::default()
    })
}

#[test]
fn behind_a_proxy_the_client_s_own_address_counts() {
    let [mut stage, mut other, _] = Stage::listening(proxied());
    assert_eq!(stage.come(peer("203.0.113.7:1")), Err(CloseReason::ProxyHeader), "from somewhere else than the proxy");
    let header = b"PROXY TCP4 203.0.113.7 192.0.2.1 5000 1883\r\n";
    let bytes = [&header[..], &connect_as("c", ShardId(0)), &PINGREQ].concat();
    let split = header.len() / 2;
    let id = stage.come(peer("192.0.2.1:1")).unwrap();
    stage.receive(id, &bytes[..split], false);
    stage.operations();
    stage.receive(id, &bytes[split..], false);
    assert_eq!(stage.flush(), [(id, [&CONNACK[..], &PINGRESP].concat())]);
    assert_eq!(stage.connections.peer(id).to_string(), "203.0.113.7:5000");
    assert!(matches!(stage.connections.table.get(id).unwrap().wire, crate::conn::layers::Wire::Plain), "it is done");
    stage.operations();
    // From one address too often, from another network, and without a header.
    for (bytes, reason) in [
        (&header[..], None),
        (&header[..], Some(CloseReason::ConnectRate)),
        (b"PROXY TCP4 198.51.100.7 192.0.2.1 5000 1883\r\n", Some(CloseReason::NetworkDenied)),
        (&connect_as("c", ShardId(0)), Some(CloseReason::ProxyHeader)),
        (b"PROXY TCP4 nonsense\r\n", Some(CloseReason::ProxyHeader)),
    ] {
        let id = stage.come(peer("192.0.2.1:1")).unwrap();
        stage.receive(id, bytes, false);
        let refused: Vec<_> = stage.connections.refused().map(|refused| refused.reason).collect();
        assert_eq!(refused, Vec::from_iter(reason), "{:?}", String::from_utf8_lossy(bytes));
        stage.flush();
        stage.operations();
    }
    // What it has learned goes along to another shard.
    let id = other.come(peer("192.0.2.1:1")).unwrap();
    other.receive(id, &[&header[..], &connect_as("there", ShardId(0))].concat(), false);
    let Operation::HandOver { ticket, .. } = other.operation() else { panic!("it stays") };
    let (_, handover) = handover_of(&mut other);
    stage.with(|connections, core| connections.take_handover(core, handover));
    stage.with(|connections, core| connections.adopted(core, ticket, SocketId::new(0, 1)));
    let Operation::Receive { connection, .. } = stage.operation() else { panic!("it is received from") };
    assert_eq!(stage.connections.peer(connection).to_string(), "203.0.113.7:5000");
}

#[test]
fn a_proxy_that_speaks_for_itself_is_let_in_as_what_it_is() {
    let [mut stage, ..] = Stage::listening(proxied());
    for header in [&b"PROXY UNKNOWN\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"] {
        let id = stage.come(peer("192.0.2.1:77")).unwrap();
        stage.receive(id, &[header, &connect_as("c", ShardId(0))].concat(), false);
        assert_eq!(stage.flush().last().map(|(_, sent)| sent.clone()), Some(CONNACK.to_vec()));
        assert_eq!(stage.connections.peer(id).to_string(), "192.0.2.1:77");
        stage.operations();
    }
}

#[test]
fn peers_of_a_path_are_called_what_their_account_is_called() {
    let names = UserNames::of_passwd("mqtt:x:999:999::/:/bin/false\n");
    let settings = ListenerSettings {
        policy: Policy::Ask,
        kind: ListenerKind::Unix,
        user_names: Some(Arc::new(names)),
        allow_from: networks(&[]),
        ..ListenerSettings::default()
    };
    for (user_id, called) in [(999, "mqtt"), (1000, "1000")] {
        let [mut stage, ..] = Stage::listening(settings.clone());
        let id = stage.come(Peer::Unix(UnixPeer { process_id: None, user_id, group_id: 1 })).unwrap();
        let client_id =
            (0..1_000).map(|salt| format!("c{salt}")).find(|id| ShardId::owner_of(id, 3) == ShardId(0)).unwrap();
        let claims = Connect {
            username: Some("root"),
            password: Some(b"secret"),
            ..Connect::new(Version::V311, &client_id, true)
        };
        let mut bytes = Vec::new();
        claims.encode(&mut bytes);
        let turn = Turn { now: stage.now, fx: &mut stage.fx };
        let mut core = ShardTurn { shard: &mut stage.shard, turn };
        stage.connections.received(&mut core, id, &bytes, false, || panic!("it is deferred"));
        assert!(stage.fx.asks.is_empty(), "the system has said who it is");
        let connected = stage.fx.events.iter().find_map(|event| match event {
            Event::Connected { user, .. } => user.as_deref(),
            _ => None,
        });
        assert_eq!(connected, Some(called));
    }
}

#[cfg(feature = "tls")]
mod banned {
    use super::*;
    use crate::auth::BannedAddresses;
    use crate::auth::operator_bans::{BannedWho, OperatorBan, OperatorBans};
    use crate::conn::tls::TlsListener;
    use crate::conn::tls::tests::{Pki, client_config, server_config, suites};
    use crate::time::{Deadline, Timestamp};

    const HEADER: &[u8] = b"PROXY TCP4 198.51.100.7 192.0.2.1 4711 8883\r\n";

    /// A listener for TLS, and the first bytes that a client says to it.
    fn listening_for_tls(settings: ListenerSettings) -> (Stage, Vec<u8>) {
        let (pki, suites) = (Pki::new(), suites());
        let [mut stage, ..] = Stage::listening(ListenerSettings::default());
        let layers = ListenerLayers::Tls(TlsListener::new(server_config(&pki, &suites[0], false)));
        let settings = ListenerSettings { kind: ListenerKind::Tls, ..settings };
        stage.connections.replace_listener(ADDED, Arc::new(settings), Arc::default(), layers);
        let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
        let client = Arc::new(client_config(&pki, &suites[0], false));
        let mut hello = Vec::new();
        rustls::ClientConnection::new(client, name).unwrap().write_tls(&mut hello).unwrap();
        (stage, hello)
    }

    fn banning(network: &str, bits: u8) -> Arc<OperatorBans> {
        let mut bans = OperatorBans::default();
        let ban = OperatorBan { until: None, reason: "x".into() };
        assert!(bans.add(Timestamp(0), BannedWho::Network(network.parse().unwrap(), bits), ban));
        Arc::new(bans)
    }

    fn failed(address: &str, until: Deadline) -> Arc<BannedAddresses> {
        let addresses = BannedAddresses::default();
        addresses.replace([(address.parse().unwrap(), until)].into());
        Arc::new(addresses)
    }

    /// Whether the handshake of somebody who says this has begun.
    fn shakes(stage: &mut Stage, id: ConnectionId, bytes: &[u8]) -> bool {
        stage.receive(id, bytes, false);
        stage.operations().iter().any(|operation| matches!(operation, Operation::Handshake { .. }))
    }

    #[test]
    fn whoever_is_banned_pays_and_costs_no_handshake() {
        let (mut stage, hello) = listening_for_tls(ListenerSettings::default());
        let by_operator = |stage: &mut Stage, on| stage.connections.use_bans(on);
        let good = |stage: &mut Stage, address: &str| {
            let id = stage.come(peer(address)).unwrap();
            shakes(stage, id, &hello)
        };
        assert!(good(&mut stage, "192.0.2.1:1"), "the test has a client hello");
        by_operator(&mut stage, Some(banning("192.0.2.0", 24)));
        assert_eq!(stage.come(peer("192.0.2.1:2")), Err(CloseReason::Banned));
        assert_eq!(stage.come(peer("[::ffff:192.0.2.9]:2")), Err(CloseReason::Banned));
        assert!(good(&mut stage, "192.0.3.1:1"));
        by_operator(&mut stage, None);
        assert!(good(&mut stage, "192.0.2.1:3"), "it was lifted");
        let list = crate::auth::BanList::parse("198.51.100.0/24\n").unwrap();
        stage.connections.use_ban_list(Some(Arc::new(list)));
        assert_eq!(stage.come(peer("198.51.100.7:1")), Err(CloseReason::Banned), "a file says so");
        assert!(good(&mut stage, "192.0.2.1:5"));
        stage.connections.use_ban_list(None);
        assert!(good(&mut stage, "198.51.100.7:2"));
        let until = stage.now.after_s(60);
        stage.connections.watch_banned(failed("2001:db8::", until));
        assert_eq!(stage.come(peer("[2001:db8::9]:1")), Err(CloseReason::Banned), "of the same /64");
        assert!(good(&mut stage, "192.0.2.1:4"));
        stage.now.mono_ns += 60_000_000_000;
        assert!(good(&mut stage, "[2001:db8::9]:2"), "it has run out");
    }

    /// The proxy's own address is that of many: it is not asked.
    #[test]
    fn the_address_that_a_proxy_tells_is_asked_before_the_handshake() {
        let settings = ListenerSettings {
            proxy_protocol: true,
            proxy_from: networks(&["192.0.2.1"]),
            ..ListenerSettings::default()
        };
        let (mut stage, hello) = listening_for_tls(settings);
        stage.connections.use_bans(Some(banning("192.0.2.1", 32)));
        let through = |stage: &mut Stage| {
            let id = stage.come(peer("192.0.2.1:1")).unwrap();
            let shakes = shakes(stage, id, &[HEADER, &hello].concat());
            (shakes, stage.connections.refused().map(|refused| refused.reason).collect::<Vec<_>>())
        };
        assert_eq!(through(&mut stage), (true, vec![]));
        let until = stage.now.after_s(60);
        stage.connections.watch_banned(failed("198.51.100.7", until));
        assert_eq!(through(&mut stage), (false, vec![CloseReason::Banned]));
    }

    /// Without a handshake to be spared, CONNACK tells the client why.
    #[test]
    fn a_listener_without_tls_hears_connect() {
        let [mut stage, ..] = Stage::listening(ListenerSettings::default());
        stage.connections.use_bans(Some(banning("192.0.2.1", 32)));
        assert!(stage.come(peer("192.0.2.1:1")).is_ok());
    }
}
