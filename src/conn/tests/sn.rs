//! Clients that come in datagrams: to which shard, with what answers, and how they end.

use core::net::SocketAddr;

use super::*;
use crate::conn::sn::{SnMessage, TopicRef};
use crate::limits::{SN_PUBLISHER_IDLE_S, SN_WAITING_MAX_BYTES};
use crate::settings::ListenerKind;

/// The listeners for datagrams: one lets everybody in, the other asks.
const ADMITS: u8 = 5;
const ASKS: u8 = 6;

fn peer(port: u16) -> SocketAddr {
    ([192, 0, 2, 1], port).into()
}

/// A message as one datagram: type and body.
fn datagram(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[body.len() as u8 + 2, kind], body].concat()
}

/// CONNECT with these flags of a client that belongs to a shard.
fn sn_connect(name: &str, owner: u8, flags: u8) -> (Vec<u8>, String) {
    let ids = (0..1_000).map(|salt| format!("{name}-{salt}"));
    let id = ids.into_iter().find(|id| ShardId::owner_of(id, 3) == ShardId(owner)).unwrap();
    (datagram(0x04, &[&[flags, 1, 0, 0], id.as_bytes()].concat()), id)
}

impl Stage {
    /// All of so many, with the listeners for datagrams.
    fn with_datagrams<const SHARDS: usize>(connections_max: u32) -> [Self; SHARDS] {
        Self::among(connections_max).map(|mut stage| {
            for policy in [Policy::Admit, Policy::Ask] {
                let kind = ListenerKind::MqttSn;
                let settings = ListenerSettings { kind, policy, connect_timeout_s: 10, ..ListenerSettings::default() };
                stage.connections.add_listener(Arc::new(settings), Arc::default(), ListenerLayers::None);
            }
            stage
        })
    }

    /// The only shard of its broker.
    fn sn() -> Self {
        let [stage] = Self::with_datagrams(100);
        stage
    }

    fn set_publishers_max(&mut self, most: u32) {
        let entry = &mut self.connections.listeners[usize::from(ADMITS)];
        entry.settings = Arc::new(ListenerSettings { sn_publishers_max: most, ..(*entry.settings).clone() });
    }

    fn arrive(&mut self, port: u16, bytes: &[u8]) {
        self.arrive_by(ADMITS, port, bytes);
    }

    fn arrive_by(&mut self, listener: u8, port: u16, bytes: &[u8]) {
        self.connections.begin_turn();
        self.with(|connections, core| connections.datagram(core, listener, peer(port), bytes));
    }

    /// The ends of turns, until nothing is sent any more: what went to whom.
    fn sent(&mut self) -> Vec<(u16, Vec<u8>)> {
        let mut all = Vec::new();
        loop {
            let flush = self.with(|connections, core| connections.begin_flush(core));
            let sent: Vec<_> =
                self.connections.datagrams_to_send().map(|(_, to, bytes)| (to.port(), bytes.to_vec())).collect();
            self.with(|connections, core| connections.finish_flush(core, flush, std::iter::empty()));
            self.tick();
            if sent.is_empty() && !self.shard.has_work() && self.connections.dirty.is_empty() {
                return all;
            }
            all.extend(sent);
        }
    }

    /// What one peer is sent in answer.
    fn asked(&mut self, port: u16, bytes: &[u8]) -> Vec<Vec<u8>> {
        self.arrive(port, bytes);
        self.sent().into_iter().filter(|(to, _)| *to == port).map(|(_, bytes)| bytes).collect()
    }

    /// A client of shard 0 without a session before.
    fn sn_client(&mut self, port: u16, name: &str) -> String {
        let (connect, id) = sn_connect(name, 0, 0x04);
        assert_eq!(self.asked(port, &connect), [vec![3, 5, 0]]);
        id
    }

    fn pass_s(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.pass_ms(1_000);
            self.tick();
        }
    }
}

const PING: [u8; 2] = [2, 0x16];
const PONG: [u8; 2] = [2, 0x17];
const BYE: [u8; 2] = [2, 0x18];

/// Takes what one shard has for another to that one.
fn carry([from, to]: [&mut Stage; 2]) -> usize {
    let handovers: Vec<_> = from.connections.handovers().collect();
    let count = handovers.len();
    for (owner, handover) in handovers {
        assert_eq!(owner, to.connections.config.own);
        to.connections.begin_turn();
        to.with(|connections, core| connections.take_handover(core, handover));
    }
    count
}

#[test]
fn datagrams_are_passed_on_to_the_shard_that_owns_the_client_id_until_its_connection_ends() {
    let [mut chosen, mut owner, _] = Stage::with_datagrams::<3>(100);
    let (connect, _) = sn_connect("c", 1, 0x04);
    chosen.arrive(1, &connect);
    assert_eq!(carry([&mut chosen, &mut owner]), 1);
    assert_eq!(owner.sent(), [(1, vec![3, 5, 0])], "it answers itself");
    chosen.arrive(1, &PING);
    carry([&mut chosen, &mut owner]);
    assert_eq!(owner.sent(), [(1, PONG.to_vec())]);
    assert_eq!((chosen.connections.len(), owner.connections.len()), (0, 1));
    chosen.arrive(1, &BYE);
    carry([&mut chosen, &mut owner]);
    assert_eq!(owner.sent(), [(1, BYE.to_vec())]);
    assert_eq!(owner.connections.len(), 0);
    assert_eq!(carry([&mut owner, &mut chosen]), 1, "the shard that was chosen is told");
    assert_eq!(chosen.asked(1, &PING), [BYE.to_vec()], "and knows nobody any more");
    assert_eq!(carry([&mut chosen, &mut owner]), 0);
    assert_eq!(chosen.connections.config.connections.load(Ordering::Relaxed), 0);
}

#[test]
fn nobody_without_a_connection_is_answered_with_more_octets_than_it_sent() {
    let mut stage = Stage::sn();
    let mut port = 1_000;
    let mut answered = 0;
    let bodies: [&[u8]; 7] =
        [b"", b"\0", b"\0\x01", b"\x62ab\0\0", b"\x20\0\x01\0\x05", b"\0\x01\0\x3c\0", b"\x0c\x01\0\x3cid-x"];
    for kind in 0..=u8::MAX {
        for body in bodies {
            port += 1;
            let bytes = datagram(kind, body);
            let told = stage.asked(port, &bytes);
            let octets: usize = told.iter().map(Vec::len).sum();
            assert!(octets <= bytes.len(), "{bytes:02x?} is answered with {told:02x?}");
            answered += usize::from(octets > 0);
        }
    }
    for _ in 0..60 {
        stage.pass_s(1);
        assert!(stage.sent().is_empty(), "nothing comes later");
    }
    assert!(answered > 20, "{answered}");
    // Whoever is told that it is unknown must not be able to start an exchange of goodbyes.
    assert_eq!(stage.asked(9, &BYE), Vec::<Vec<u8>>::new());
    // A will dialogue, with every question asked again as often as its CONNECT comes.
    let (connect, _) = sn_connect("w", 0, 0x0c);
    for _ in 0..5 {
        assert_eq!(stage.asked(8, &connect), [vec![2, 6]]);
    }
    stage.pass_s(11);
    assert!(stage.sent().iter().map(|(_, bytes)| bytes.len()).sum::<usize>() <= connect.len());
}

#[test]
fn what_is_published_without_a_connection_reaches_subscribers_and_is_bounded() {
    let mut stage = Stage::sn();
    stage.sn_client(1, "s");
    assert_eq!(stage.asked(1, &datagram(0x12, b"\x02\0\x01ab")).len(), 1);
    let told = stage.asked(1, b"");
    assert!(told.is_empty());
    stage.arrive(2, &datagram(0x0c, b"\x62ab\0\0hi"));
    assert_eq!(stage.sent(), [(1, datagram(0x0c, b"\x02ab\0\0hi"))]);
    stage.arrive(2, &datagram(0x0c, b"\x62ab\0\0ho"));
    assert_eq!(stage.sent(), [(1, datagram(0x0c, b"\x02ab\0\0ho"))]);
    assert_eq!(stage.connections.len(), 2);
    // One about whom somebody is asked: what it says meanwhile is kept, and not more than so much.
    for _ in 0..100 {
        stage.arrive_by(ASKS, 3, &datagram(0x0c, &[&b"\x62ab\0\0"[..], &[0; 240]].concat()));
        stage.fx.clear();
    }
    let waiting = stage.connections.sn.ids().filter_map(|id| stage.connections.table.get(id));
    assert!(waiting.map(|connection| connection.partial.len()).max().unwrap() <= SN_WAITING_MAX_BYTES + 260);
}

#[test]
fn one_datagram_of_whoever_only_publishes_is_all_that_it_takes_to_be_forgotten() {
    let mut stage = Stage::sn();
    stage.arrive(2, &datagram(0x0c, b"\x62ab\0\0hi"));
    stage.sent();
    assert_eq!(stage.connections.len(), 1);
    stage.pass_s(u64::from(SN_PUBLISHER_IDLE_S) + 1);
    assert!(stage.sent().is_empty(), "it hears nothing of it");
    assert_eq!((stage.connections.len(), stage.connections.sn.publishers(ADMITS)), (0, 0));
}

#[test]
fn no_more_than_so_many_only_publish_at_a_time_and_none_where_that_is_off() {
    let mut stage = Stage::sn();
    stage.set_publishers_max(3);
    for port in 1..=5 {
        stage.arrive(port, &datagram(0x0c, b"\x62ab\0\0hi"));
        stage.sent();
    }
    assert_eq!((stage.connections.len(), stage.connections.sn.publishers(ADMITS)), (3, 3));
    assert_eq!(stage.connections.counters().datagrams_dropped, 2);
    stage.pass_s(u64::from(SN_PUBLISHER_IDLE_S) + 1);
    stage.sent();
    stage.arrive(5, &datagram(0x0c, b"\x62ab\0\0hi"));
    assert_eq!(stage.connections.len(), 1, "there is room again");
    stage.set_publishers_max(0);
    stage.arrive(6, &datagram(0x0c, b"\x62ab\0\0hi"));
    assert_eq!(stage.connections.len(), 1);
}

#[test]
fn whoever_only_publishes_is_forgotten_when_silent() {
    let mut stage = Stage::sn();
    stage.arrive(2, &datagram(0x0c, b"\x62ab\0\0hi"));
    stage.sent();
    stage.pass_s(u64::from(SN_PUBLISHER_IDLE_S) - 1);
    stage.arrive(2, &datagram(0x0c, b"\x62ab\0\0hi"));
    stage.sent();
    assert_eq!(stage.connections.len(), 1, "the same as before");
    stage.pass_s(u64::from(SN_PUBLISHER_IDLE_S) - 1);
    assert_eq!(stage.connections.len(), 1);
    stage.pass_s(2);
    assert!(stage.sent().is_empty(), "it hears nothing of it");
    assert_eq!(stage.connections.len(), 0);
    assert_eq!(stage.shard.counters().closes[CloseReason::ClientDisconnect as usize], 1);
}

#[test]
fn a_client_that_sleeps_gets_all_that_waits_for_it_and_is_lost_when_it_sleeps_too_long() {
    let mut stage = Stage::sn();
    let id = stage.sn_client(1, "sleeps");
    stage.sn_client(2, "w");
    assert_eq!(stage.asked(2, &datagram(0x12, b"\x22\0\x01zz")).len(), 1, "it hears the will");
    stage.asked(1, &datagram(0x12, b"\x22\0\x01ab"));
    assert_eq!(stage.asked(1, &datagram(0x1a, b"\x20zz")), [vec![3, 0x1b, 0]], "a will");
    assert_eq!(stage.asked(1, &datagram(0x1c, b"lost")), [vec![3, 0x1d, 0]]);
    assert_eq!(stage.asked(1, &datagram(0x18, &[0, 200])), [BYE.to_vec()]);
    for number in 0..20_u8 {
        stage.arrive(2, &datagram(0x0c, &[0x22, b'a', b'b', 0, number + 1, number]));
        assert!(stage.sent().iter().all(|(to, _)| *to == 2), "nothing for one that sleeps");
    }
    stage.pass_s(250);
    stage.arrive(1, &datagram(0x16, id.as_bytes()));
    let mut got = Vec::new();
    loop {
        let sent: Vec<_> = stage.sent().into_iter().filter(|(to, _)| *to == 1).map(|(_, bytes)| bytes).collect();
        let Some(last) = sent.last().cloned() else { panic!("{got:?}") };
        if last == PONG {
            break;
        }
        assert_eq!(sent.len(), 1, "one at a time");
        let Ok(SnMessage::Publish { topic: TopicRef::Short(_), msg_id, data, .. }) = SnMessage::decode(&last) else {
            panic!("{last:?}")
        };
        got.extend_from_slice(data);
        stage.arrive(1, &datagram(0x0d, &[&b"ab"[..], &msg_id.to_be_bytes(), &[0]].concat()));
    }
    assert_eq!(got, (0..20).collect::<Vec<u8>>());
    // 1.5 times what it said.
    stage.pass_s(298);
    assert!(stage.sent().is_empty() && stage.connections.len() == 2);
    stage.pass_s(10);
    let told = stage.sent();
    assert!(told.iter().any(|(to, bytes)| *to == 2 && bytes.ends_with(b"lost")), "{told:?}");
    assert_eq!(stage.shard.counters().closes[CloseReason::KeepAliveTimeout as usize], 1);
    assert_eq!(stage.connections.len(), 1);
}

#[test]
fn a_will_that_was_changed_is_the_one_that_is_published() {
    let mut stage = Stage::sn();
    stage.sn_client(2, "hears");
    stage.asked(2, &datagram(0x12, b"\x02\0\x01zz"));
    let (connect, _) = sn_connect("dies", 0, 0x0c);
    assert_eq!(stage.asked(1, &connect), [vec![2, 6]]);
    assert_eq!(stage.asked(1, &datagram(0x07, b"\0yy")), [vec![2, 8]]);
    assert_eq!(stage.asked(1, &datagram(0x09, b"first")), [vec![3, 5, 0]]);
    stage.asked(1, &datagram(0x1a, b"\0zz"));
    stage.asked(1, &datagram(0x1c, b"second"));
    // Another client from the same address: the one before is lost.
    let (other, _) = sn_connect("other", 0, 0x04);
    stage.arrive(1, &other);
    let sent = stage.sent();
    assert!(sent.contains(&(2, datagram(0x0c, b"\x02zz\0\0second"))), "{sent:?}");
    assert_eq!(sent.iter().filter(|(to, _)| *to == 1).count(), 1, "its CONNACK, and no goodbye of the one before");
    // A clean session takes its will along.
    let (again, _) = sn_connect("other", 0, 0x0c);
    stage.asked(1, &again);
    stage.asked(1, &datagram(0x07, b"\0zz"));
    stage.asked(1, &datagram(0x09, b"third"));
    stage.arrive(1, &other);
    assert_eq!(stage.sent(), [(1, vec![3, 5, 0])]);
}

#[test]
fn who_comes_while_the_shard_is_busy_is_told_to_try_again() {
    let mut stage = Stage::sn();
    stage.sn_client(1, "c");
    stage.connections.set_paused(true);
    assert_eq!(stage.asked(1, &datagram(0x0c, b"\x22ab\0\x07hi")), [datagram(0x0d, b"ab\0\x07\x01")]);
    let (connect, _) = sn_connect("new", 0, 0);
    assert_eq!(stage.asked(2, &connect), [vec![3, 5, 1]]);
    stage.connections.set_paused(false);
    assert_eq!(stage.asked(1, &datagram(0x0c, b"\x22ab\0\x07hi")), [datagram(0x0d, b"ab\0\x07\0")]);
    assert_eq!(stage.asked(2, &connect), [vec![3, 5, 0]]);
    stage.connections.set_takes_strangers(ADMITS, false);
    assert!(stage.asked(3, &connect).is_empty() && stage.asked(2, &PING) == [PONG.to_vec()]);
    assert!(stage.connections.counters().datagrams_dropped > 0);
}

#[test]
fn who_may_not_come_from_there_or_finds_no_place_is_not_let_in() {
    let [mut stage] = Stage::with_datagrams(1);
    stage.sn_client(1, "first");
    let (connect, _) = sn_connect("second", 0, 0);
    stage.arrive(2, &connect);
    assert!(stage.sent().is_empty(), "it waits for a place");
    stage.arrive(2, &PING);
    stage.pass_ms(crate::limits::PLACE_WAIT_MS);
    assert_eq!(stage.sent(), [(2, vec![3, 5, 1])]);
    let denied = stage.connections.listeners[usize::from(ADMITS)].settings.clone();
    let deny_from = crate::settings::Networks::All;
    stage.connections.set_listener_settings(ADMITS, Arc::new(ListenerSettings { deny_from, ..(*denied).clone() }));
    for message in [&connect[..], &PING, &datagram(0x0c, b"\x62ab\0\0hi")] {
        assert!(stage.asked(3, message).is_empty(), "{message:?}");
    }
    assert_eq!(stage.connections.counters().closes[CloseReason::NetworkDenied as usize], 3);
}

#[test]
fn clients_of_a_listener_that_goes_are_told_and_go() {
    let mut stage = Stage::sn();
    stage.sn_client(1, "c");
    stage.sn_client(2, "d");
    let (will, _) = sn_connect("asked", 0, 0x0c);
    stage.asked(3, &will);
    stage.connections.end_datagram_listener(ADMITS);
    assert!(stage.connections.has_work());
    stage.pass_ms(1);
    let mut told = stage.sent();
    told.sort();
    assert_eq!(told, [(1, BYE.to_vec()), (2, BYE.to_vec()), (3, BYE.to_vec())]);
    assert!(stage.connections.is_empty() && !stage.connections.has_datagram_clients(ADMITS));
}

#[test]
fn a_client_that_answers_nothing_is_lost_with_a_reason_of_its_own() {
    let mut stage = Stage::sn();
    stage.sn_client(1, "c");
    stage.sn_client(2, "d");
    stage.asked(1, &datagram(0x12, b"\x22\0\x01ab"));
    stage.arrive(2, &datagram(0x0c, b"\x22ab\0\x07hi"));
    assert_eq!(stage.sent().len(), 2);
    let mut again = 0;
    for _ in 0..45 {
        stage.pass_s(1);
        again += stage.sent().iter().filter(|(to, bytes)| *to == 1 && bytes[1] == 0x0c).count();
    }
    assert_eq!((again, stage.connections.len()), (3, 1));
    assert_eq!(stage.shard.counters().closes[CloseReason::NoAnswer as usize], 1);
}

/// A client of shard 1 with a will, whose datagrams shard 0 is given; somebody on shard 1 hears the will.
fn connect_through([chosen, owner]: [&mut Stage; 2]) {
    let (hears, _) = sn_connect("hears", 1, 0x04);
    assert_eq!(owner.asked(9, &hears), [vec![3, 5, 0]]);
    owner.asked(9, &datagram(0x12, b"\x02\0\x01zz"));
    let (connect, _) = sn_connect("c", 1, 0x0c);
    for step in [connect, datagram(0x07, b"\0zz"), datagram(0x09, b"gone")] {
        chosen.arrive(1, &step);
        assert_eq!(carry([&mut *chosen, &mut *owner]), 1);
        owner.sent();
    }
    assert_eq!(owner.connections.len(), 2);
}

#[test]
fn another_client_of_an_address_ends_the_one_before_on_its_own_shard() {
    // The new one belongs to the shard that has the datagrams.
    let [mut chosen, mut owner, _] = Stage::with_datagrams::<3>(100);
    connect_through([&mut chosen, &mut owner]);
    let (connect, _) = sn_connect("new", 0, 0x04);
    assert_eq!(chosen.asked(1, &connect), [vec![3, 5, 0]]);
    assert_eq!(carry([&mut chosen, &mut owner]), 1, "the shard of the one before is told");
    assert_eq!(owner.sent(), [(9, datagram(0x0c, b"\x02zz\0\0gone"))], "its will, and no goodbye to its address");
    assert_eq!((chosen.connections.len(), owner.connections.len()), (1, 1));
    carry([&mut owner, &mut chosen]);
    assert_eq!(chosen.asked(1, &PING), [PONG.to_vec()], "what the owner says late ends nobody");
    // It belongs to a third.
    let [mut chosen, mut owner, mut third] = Stage::with_datagrams::<3>(100);
    connect_through([&mut chosen, &mut owner]);
    let (connect, _) = sn_connect("new", 2, 0x04);
    chosen.arrive(1, &connect);
    let handovers: Vec<_> = chosen.connections.handovers().collect();
    assert_eq!(handovers.iter().map(|(to, _)| to.0).collect::<Vec<_>>(), [1, 2]);
    for (to, handover) in handovers {
        let stage = if to.0 == 1 { &mut owner } else { &mut third };
        stage.connections.begin_turn();
        stage.with(|connections, core| connections.take_handover(core, handover));
    }
    assert_eq!(owner.sent(), [(9, datagram(0x0c, b"\x02zz\0\0gone"))]);
    assert_eq!(third.sent(), [(1, vec![3, 5, 0])]);
    assert_eq!(carry([&mut owner, &mut chosen]), 1, "the one before is gone");
    chosen.arrive(1, &PING);
    assert_eq!(carry([&mut chosen, &mut third]), 1, "and the new one has its route");
    assert_eq!(third.sent(), [(1, PONG.to_vec())]);
    assert_eq!((owner.connections.len(), third.connections.len()), (1, 1));
}

#[test]
fn a_late_word_that_a_peer_is_gone_does_not_end_the_route_of_its_next_connect() {
    let [mut chosen, mut owner, _] = Stage::with_datagrams::<3>(100);
    connect_through([&mut chosen, &mut owner]);
    chosen.arrive(1, &BYE);
    carry([&mut chosen, &mut owner]);
    owner.sent();
    let late: Vec<_> = owner.connections.handovers().collect();
    assert_eq!(late.len(), 1);
    let (connect, _) = sn_connect("c", 1, 0x04);
    chosen.arrive(1, &connect);
    for (_, handover) in late {
        chosen.connections.begin_turn();
        chosen.with(|connections, core| connections.take_handover(core, handover));
    }
    assert_eq!(carry([&mut chosen, &mut owner]), 1);
    assert_eq!(owner.sent(), [(1, vec![3, 5, 0])]);
    chosen.arrive(1, &PING);
    carry([&mut chosen, &mut owner]);
    assert_eq!(owner.sent(), [(1, PONG.to_vec())]);
    chosen.connections.set_paused(true);
    let (other, _) = sn_connect("new", 2, 0x04);
    chosen.arrive(1, &other);
    assert_eq!(chosen.connections.handovers().count(), 0, "a CONNECT that cannot be passed on changes nothing");
    chosen.connections.set_paused(false);
    chosen.arrive(1, &PING);
    carry([&mut chosen, &mut owner]);
    assert_eq!(owner.sent(), [(1, PONG.to_vec())]);
}

#[test]
fn who_has_too_many_messages_in_flight_is_told_to_try_again_and_stays() {
    let mut stage = Stage::sn();
    stage.sn_client(1, "c");
    let message =
        |qos: u8, msg_id: u16| datagram(0x0c, &[&[qos << 5 | 2, b'a', b'b'], &msg_id.to_be_bytes()[..], b"x"].concat());
    let with_id = |kind, msg_id: u16| datagram(kind, &msg_id.to_be_bytes());
    let congested = |msg_id: u16| vec![datagram(0x0d, &[&b"ab"[..], &msg_id.to_be_bytes(), &[1]].concat())];
    let all = crate::limits::RECEIVE_MAXIMUM_DEFAULT;
    for msg_id in 1..=all {
        assert_eq!(stage.asked(1, &message(2, msg_id)), [with_id(0x0f, msg_id)]);
    }
    assert_eq!(stage.asked(1, &message(2, all + 1)), congested(all + 1));
    assert_eq!(stage.asked(1, &message(1, all + 2)), congested(all + 2));
    assert_eq!(stage.asked(1, &message(2, 5)), [with_id(0x0f, 5)], "one that comes again takes no place");
    assert_eq!(stage.asked(1, &with_id(0x10, 5)), [with_id(0x0e, 5)]);
    assert_eq!(stage.asked(1, &message(2, all + 1)), [with_id(0x0f, all + 1)]);
    assert_eq!(stage.asked(1, &message(2, all + 2)), congested(all + 2));
    let (clean, _) = sn_connect("c", 0, 0x04);
    assert_eq!(stage.asked(1, &clean), [vec![3, 5, 0]]);
    assert_eq!(stage.asked(1, &message(2, all + 2)), [with_id(0x0f, all + 2)], "a new session has room");
}
