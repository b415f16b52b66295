//! Clients of a cluster: heard here, sent elsewhere, or waiting until somebody serves them.

use super::links::terms;
use super::*;
use crate::cluster::{BootId, ClusterView, NodeId, NodeStanding, PeerProcess, RangeCount, RangeId, RangePlace};
use crate::codec::{ConnAck, ConnectPacket, ReasonCode, frame};
use crate::conn::handed_over::{ArrivedClient, HandedOver};
use crate::conn::range_waiters::{AwaitedRange, RangeWait};
use crate::limits::{CLUSTER_WAIT_MS, PLACE_AGAIN_MS, RANGE_WAITERS_MAX_BYTES, RANGE_WAITERS_PER_TURN};
use crate::time::Deadline;

pub(super) const HERE: RangePlace = RangePlace::Here;
pub(super) const OWN: ShardId = ShardId(0);
/// What a client before 5.0 is told, and one of 5.0.
pub(super) const UNAVAILABLE: [&[u8]; 2] = [&[0x20, 2, 0, 3], &[0x20, 3, 0, 0x88, 0]];

pub(super) fn other() -> RangePlace {
    RangePlace::Peer(NodeId::new(2).unwrap())
}

/// Ranges by who serves them. The other node is known.
pub(super) fn view(owners: &[RangePlace]) -> ClusterView {
    ClusterView {
        epoch: 1,
        ranges: RangeCount::new(owners.len() as u16).unwrap(),
        owners: owners.into(),
        peers: [PeerProcess {
            node: NodeId::new(2).unwrap(),
            boot: BootId(2),
            slot: ShardId(3),
            at: "192.0.2.2:1885".parse().unwrap(),
            name: "node-2".to_owned(),
            server: None,
        }]
        .into(),
        standing: NodeStanding::Serves,
    }
}

/// The same, where the other node's clients may be sent to it.
pub(super) fn redirecting(owners: &[RangePlace]) -> ClusterView {
    let mut view = view(owners);
    view.peers[0].server = Some("mqtt-2.example".to_owned());
    view
}

impl Stage {
    /// The first shard of a node with this view.
    fn member(view: ClusterView) -> Self {
        let mut stage = Self::node(1);
        stage.sees(view);
        stage
    }

    /// Two of the three shards of such a node.
    fn members(view: &ClusterView) -> (Self, Self) {
        let [mut first, mut second, _] = Self::three(100);
        for stage in [&mut first, &mut second] {
            stage.connections.use_links(terms(1));
            stage.sees(view.clone());
        }
        (first, second)
    }

    pub(super) fn sees(&mut self, view: ClusterView) {
        let now = self.now;
        self.connections.use_view(now, NodeId::new(1), Arc::new(view));
    }

    /// A client of this version and its PINGREQ, and what follows at once.
    fn comes(&mut self, version: Version, client_id: &str) -> (ConnectionId, Vec<u8>) {
        self.says(&connect(version, client_id))
    }

    fn says(&mut self, connect: &[u8]) -> (ConnectionId, Vec<u8>) {
        self.operations();
        let id = self.accept();
        self.receive(id, &[connect, &PINGREQ].concat(), false);
        (id, self.told())
    }

    /// What is sent to the one client that there is.
    fn told(&mut self) -> Vec<u8> {
        self.flush().into_iter().flat_map(|(_, bytes)| bytes).collect()
    }

    /// What it is told when so much time has passed, and whether it is received from.
    fn told_after_ms(&mut self, ms: u64) -> (Vec<u8>, bool) {
        self.pass_ms(ms);
        let told = self.told();
        (told, self.operations().iter().any(|operation| matches!(operation, Operation::Receive { .. })))
    }

    /// Of clients: the other node, which does not answer, is dialled as well.
    fn refusals(&mut self) -> Vec<CloseReason> {
        let reasons = self.connections.refused().map(|refused| refused.reason);
        reasons.filter(|reason| !reason.is_of_link()).collect()
    }
}

/// A client id of this range and this one of three shards.
pub(super) fn client_of(view: &ClusterView, range: u16, shard: ShardId) -> String {
    let is_it = |id: &String| view.ranges.range_of(id) == RangeId(range) && ShardId::owner_of(id, 3) == shard;
    (0..10_000).map(|number| format!("client-{number}")).find(is_it).unwrap()
}

pub(super) fn connect(version: Version, client_id: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    Connect::new(version, client_id, true).encode(&mut bytes);
    bytes
}

pub(super) fn connack(bytes: &[u8], version: Version) -> ConnAck<'_> {
    let (frame, _) = frame::next(bytes, 1_000).unwrap().unwrap();
    ConnAck::decode(frame, version).unwrap()
}

#[test]
fn a_client_is_heard_where_its_range_is_and_refused_where_another_node_has_it() {
    let view = view(&[HERE, other()]);
    for version in [Version::V31, Version::V311, Version::V5] {
        let mut stage = Stage::member(view.clone());
        let (_, told) = stage.comes(version, &client_of(&view, 0, OWN));
        assert_eq!(connack(&told, version).reason, ReasonCode::Success);
        assert!(told.ends_with(&PINGRESP), "what came behind is heard, too");

        let mut stage = Stage::member(view.clone());
        let (_, told) = stage.comes(version, &client_of(&view, 1, OWN));
        assert_eq!(told, UNAVAILABLE[usize::from(version.is_v5())]);
        assert_eq!(stage.refusals(), [CloseReason::Unavailable]);
        assert_eq!(stage.connections.counters().refused_by_listener.of(0), 1);
        assert!(stage.operations().iter().any(|operation| matches!(operation, Operation::FinishSending { .. })));
    }
}

#[test]
fn a_node_that_has_no_view_is_a_broker_by_itself() {
    let mut stage = Stage::node(1);
    let (_, told) = stage.comes(Version::V311, &client_of(&view(&[HERE]), 0, OWN));
    assert_eq!(told, [&CONNACK[..], &PINGRESP].concat());
}

#[test]
fn a_client_of_5_0_is_told_where_to_go_if_it_can_hear_that() {
    let view = redirecting(&[HERE, other()]);
    let client = client_of(&view, 1, ShardId(2));
    let mut stage = Stage::member(view.clone());
    let (_, told) = stage.comes(Version::V5, &client);
    let told = connack(&told, Version::V5);
    assert_eq!((told.reason, told.server_reference), (ReasonCode::UseAnotherServer, Some("mqtt-2.example")));
    let refused: Vec<_> = stage.connections.refused().collect();
    assert_eq!(refused[0].client_id.as_deref(), Some(&*client));
    assert_eq!((refused.len(), refused[0].reason), (1, CloseReason::Redirected));

    let mut stage = Stage::member(view.clone());
    assert_eq!(stage.comes(Version::V311, &client).1, UNAVAILABLE[0], "it has no word for it");
    let mut small = Vec::new();
    let short = Connect { maximum_packet_size_bytes: 21, ..Connect::new(Version::V5, &client, true) };
    short.encode(&mut small);
    assert_eq!(stage.says(&small).1, UNAVAILABLE[1], "it would have one byte too many [MQTT-3.1.2-24]");
    let mut enough = Vec::new();
    Connect { maximum_packet_size_bytes: 22, ..short }.encode(&mut enough);
    assert_eq!(connack(&stage.says(&enough).1, Version::V5).reason, ReasonCode::UseAnotherServer);
}

#[test]
fn who_belongs_to_nobody_yet_waits_unheard_and_is_let_on_when_this_node_serves_it() {
    let here = view(&[HERE]);
    let unknown = ClusterView { peers: Box::default(), ..view(&[other()]) };
    let alone = ClusterView { standing: NodeStanding::Alone, ..here.clone() };
    let paused = ClusterView { standing: NodeStanding::Paused, ..here.clone() };
    let elsewhere = ClusterView { standing: NodeStanding::Alone, ..redirecting(&[other()]) };
    for waits in [view(&[RangePlace::Coming]), view(&[RangePlace::Nobody]), unknown, alone, paused, elsewhere] {
        let mut stage = Stage::member(waits.clone());
        let (_, told) = stage.comes(Version::V311, &client_of(&here, 0, OWN));
        assert!(told.is_empty() && stage.operations().is_empty(), "{waits:?}");
        assert_eq!(stage.told_after_ms(CLUSTER_WAIT_MS - 1), (Vec::new(), false), "{waits:?}");
        // Another view that changes nothing for it.
        stage.sees(waits.clone());
        assert_eq!(stage.told_after_ms(0), (Vec::new(), false), "{waits:?}");
        stage.sees(here.clone());
        assert!(stage.connections.next_deadline().unwrap().is_due(stage.now), "it is looked at once");
        assert_eq!(stage.told_after_ms(0), ([&CONNACK[..], &PINGRESP].concat(), true), "{waits:?}");
        assert!(stage.refusals().is_empty());
    }
}

#[test]
fn who_waits_for_its_range_is_refused_after_six_seconds() {
    let waits = view(&[RangePlace::Nobody]);
    for version in [Version::V31, Version::V311, Version::V5] {
        let mut stage = Stage::member(waits.clone());
        stage.comes(version, &client_of(&waits, 0, OWN));
        assert_eq!(stage.told_after_ms(5_999), (Vec::new(), false));
        assert!(stage.connections.next_deadline().unwrap().0 <= stage.now.ms() + 1);
        let told = UNAVAILABLE[usize::from(version.is_v5())].to_vec();
        assert_eq!(stage.told_after_ms(1), (told, true), "its end is to be seen");
        assert_eq!(stage.refusals(), [CloseReason::Unavailable]);
        // Nothing is left of it.
        stage.sees(view(&[HERE]));
        assert!(stage.told_after_ms(0).0.is_empty());
    }
}

#[test]
fn who_waits_is_sent_to_another_node_as_soon_as_that_serves_it() {
    let mut stage = Stage::member(view(&[RangePlace::Nobody]));
    let after = redirecting(&[other()]);
    let client = client_of(&after, 0, OWN);
    let newer = stage.comes(Version::V5, &client).0;
    stage.sees(after.clone());
    stage.pass_ms(0);
    let told = stage.flush();
    assert_eq!((told.len(), told[0].0), (1, newer));
    assert_eq!(connack(&told[0].1, Version::V5).reason, ReasonCode::UseAnotherServer);
    assert_eq!(stage.refusals(), [CloseReason::Redirected]);
}

#[test]
fn who_is_handed_over_is_asked_about_there_and_waits_six_seconds_on_both_shards_together() {
    let [here, coming] = [view(&[HERE]), view(&[RangePlace::Coming])];
    let client = client_of(&here, 0, ShardId(1));
    for is_served in [true, false] {
        let (mut source, mut target) = Stage::members(&coming);
        let id = source.accept();
        source.receive(id, &[connect(Version::V311, &client), PINGREQ.to_vec()].concat(), false);
        assert_eq!(source.told_after_ms(4_000), (Vec::new(), false));
        source.sees(here.clone());
        source.pass_ms(0);
        let Operation::HandOver { ticket, target: to, .. } = source.operation() else { panic!("it stays") };
        let (shard, handover) = handover_of(&mut source);
        assert_eq!((to, shard), (ShardId(1), ShardId(1)));
        // The other shard has not been told of the new view.
        target.now = source.now;
        target.with(|connections, core| connections.take_handover(core, handover));
        target.with(|connections, core| connections.adopted(core, ticket, SocketId::new(0, 3)));
        assert_eq!(target.told_after_ms(1_999), (Vec::new(), false));
        if is_served {
            target.sees(here.clone());
            assert_eq!(target.told_after_ms(0), ([&CONNACK[..], &PINGRESP].concat(), true));
        } else {
            assert_eq!(target.told_after_ms(1), (UNAVAILABLE[0].to_vec(), true));
        }
    }
}

#[test]
fn who_is_handed_over_to_a_shard_that_knows_better_is_refused_there() {
    let (mut source, mut target) = Stage::members(&view(&[HERE]));
    let client = client_of(&view(&[HERE]), 0, ShardId(1));
    let id = source.accept();
    source.receive(id, &connect(Version::V311, &client), false);
    let Operation::HandOver { ticket, .. } = source.operation() else { panic!("it stays") };
    let (_, handover) = handover_of(&mut source);
    target.sees(view(&[other()]));
    target.with(|connections, core| connections.take_handover(core, handover));
    target.with(|connections, core| connections.adopted(core, ticket, SocketId::new(0, 3)));
    assert!(target.operations().iter().any(|operation| matches!(operation, Operation::Receive { .. })));
    assert_eq!((target.told(), target.refusals()), (UNAVAILABLE[0].to_vec(), vec![CloseReason::Unavailable]));
}

#[test]
fn a_client_id_is_made_up_until_it_is_in_a_range_of_this_node() {
    let mut owners = [other(); 64];
    owners[40] = HERE;
    let view = view(&owners);
    let mut stage = Stage::member(view.clone());
    let mut opened = 0;
    for _ in 0..20 {
        let (_, told) = stage.comes(Version::V5, "");
        stage.operations();
        let handovers: Vec<_> = stage.connections.handovers().collect();
        let assigned = match &handovers[..] {
            [(_, Handover::Begun { connection: HandedOver::Client(client), .. })] => client.client_id().to_owned(),
            [] => {
                opened += 1;
                connack(&told, Version::V5).assigned_client_id.unwrap().to_owned()
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(view.ranges.range_of(&assigned), RangeId(40), "{assigned}");
    }
    assert!((1..20).contains(&opened), "{opened} belong to this shard");
    assert!(stage.refusals().is_empty());
}

#[test]
fn who_has_no_client_id_waits_until_this_node_has_any_range() {
    let mut stage = Stage::member(view(&[other(), RangePlace::Coming]));
    let (_, told) = stage.comes(Version::V5, "");
    assert!(told.is_empty() && stage.refusals().is_empty(), "{told:?}");
    stage.sees(view(&[other(), HERE]));
    stage.pass_ms(0);
    let is_handed_over = stage.connections.handovers().count() == 1;
    assert_ne!(is_handed_over, stage.told().ends_with(&PINGRESP), "it is let on");

    let mut stage = Stage::member(view(&[other()]));
    stage.comes(Version::V5, "");
    assert_eq!(stage.told_after_ms(CLUSTER_WAIT_MS).0, UNAVAILABLE[1]);
    assert_eq!(stage.connections.refused().next().and_then(|refused| refused.client_id), None);
}

#[test]
fn a_service_of_the_brokers_own_comes_in_where_its_range_is_and_waits_nowhere() {
    let paused = ClusterView { standing: NodeStanding::Paused, ..view(&[HERE]) };
    let places = [view(&[RangePlace::Coming]), view(&[RangePlace::Nobody]), redirecting(&[other()]), paused];
    for (view, is_served) in places.into_iter().map(|view| (view, false)).chain([(view(&[HERE]), true)]) {
        let mut stage = Stage::member(view);
        stage.connections.accepted_internal(SocketId::new(0, 5));
        let Operation::ReceiveOnce { connection: id, .. } = stage.operation() else { panic!("it is not read") };
        let service = (0..1_000).map(|number| format!("$sink/{number}")).find(|id| ShardId::owner_of(id, 3) == OWN);
        stage.receive(id, &connect(Version::V5, &service.unwrap()), false);
        let told = stage.told();
        let reason = if is_served { ReasonCode::Success } else { ReasonCode::ServerUnavailable };
        assert_eq!(connack(&told, Version::V5).reason, reason);
        assert_eq!(stage.refusals().len(), usize::from(!is_served));
    }
}

#[test]
fn a_turn_lets_on_some_and_the_next_one_others() {
    let mut stage = Stage::member(view(&[RangePlace::Coming]));
    let is_own = |id: &String| ShardId::owner_of(id, 3) == OWN;
    let clients = (0..).map(|number| format!("client-{number}")).filter(is_own);
    for client in clients.take(RANGE_WAITERS_PER_TURN + 1) {
        stage.comes(Version::V311, &client);
    }
    stage.sees(view(&[HERE]));
    stage.pass_ms(0);
    assert_eq!(stage.flush().len(), RANGE_WAITERS_PER_TURN);
    assert_eq!(stage.connections.next_deadline(), Some(Deadline(0)), "there is more to do");
    stage.pass_ms(0);
    assert_eq!(stage.flush().len(), 1);
    assert_ne!(stage.connections.next_deadline(), Some(Deadline(0)));
}

#[test]
fn who_finds_too_many_waiting_is_refused_at_once_and_nobody_is_let_on_while_the_shard_is_paused() {
    let waits = view(&[RangePlace::Nobody]);
    let mut stage = Stage::member(waits.clone());
    let packet = ConnectPacket::copy_of(&Connect::new(Version::V311, "c", true));
    let arrived = Box::new(ArrivedClient::new(packet, vec![0; RANGE_WAITERS_MAX_BYTES - 100], None, 0, Peer::Unknown));
    // Of a connection that has ended meanwhile.
    let gone = AwaitedRange { until: stage.now.after_ms(1), connection: ConnectionId::new(900, 0), arrived };
    stage.connections.links.as_mut().unwrap().waiters.push(RangeWait::AnyOwn, gone);
    let client = client_of(&waits, 0, OWN);
    let large = connect(Version::V311, &format!("{client}-{}", "x".repeat(100)));
    assert_eq!(stage.says(&large).1, UNAVAILABLE[0]);
    assert_eq!(stage.refusals(), [CloseReason::Unavailable]);
    stage.operations();
    assert!(stage.comes(Version::V311, &client).1.is_empty(), "this one fits");
    stage.pass_ms(1);
    assert!(stage.says(&large).1.is_empty(), "there is room again");
    stage.operations();

    stage.connections.set_paused(true);
    stage.sees(view(&[HERE]));
    assert!(stage.told_after_ms(CLUSTER_WAIT_MS).0.is_empty());
    assert!(stage.connections.next_deadline().is_none_or(|due| !due.is_due(stage.now)), "the pump would never sleep");
    stage.connections.set_paused(false);
    assert!(stage.told_after_ms(0).0.starts_with(&CONNACK), "it may be heard by now");
}

#[test]
fn who_waits_for_a_place_is_not_heard_when_its_range_has_gone() {
    let [mut stage, ..] = Stage::three(1);
    stage.connections.use_links(terms(1));
    stage.sees(view(&[HERE]));
    let first = stage.client("first");
    let (second, told) = stage.comes(Version::V311, &client_of(&view(&[HERE]), 0, OWN));
    assert!(told.is_empty() && stage.operations().is_empty());
    stage.sees(view(&[other()]));
    stage.with(|connections, core| connections.receive_ended(core, first, ReceiveEnd::PeerGone));
    stage.pass_ms(PLACE_AGAIN_MS);
    let told = stage.flush();
    assert!(told.contains(&(second, UNAVAILABLE[0].to_vec())), "{told:?}");
    assert_eq!(stage.shard.counters().connections, 1, "the shard never heard of it");
}

#[test]
fn who_has_waited_and_whose_socket_takes_nothing_is_not_waited_for_for_ever() {
    let mut stage = Stage::member(view(&[RangePlace::Coming]));
    let settings = ListenerSettings { connect_timeout_s: 2, ..ListenerSettings::default() };
    stage.connections.set_listener_settings(0, Arc::new(settings));
    let here = view(&[HERE]);
    let (id, _) = stage.comes(Version::V311, &client_of(&here, 0, ShardId(1)));
    // What its layers have said is under way.
    stage.connections.table.get_mut(id).unwrap().rest_bytes = 1;
    stage.pass_ms(CLUSTER_WAIT_MS - 1);
    stage.sees(here);
    stage.pass_ms(0);
    assert_eq!(stage.connections.handovers_pending(), 1, "it goes when that has left");
    stage.pass_ms(1_999);
    assert_eq!(stage.connections.handovers_pending(), 1, "it has the time for a CONNECT");
    stage.pass_ms(1);
    assert_eq!((stage.connections.handovers_pending(), stage.refusals()), (0, vec![CloseReason::ConnectTimeout]));
}

#[test]
fn a_broker_that_stops_refuses_who_waits_for_a_range() {
    let waits = view(&[RangePlace::Nobody]);
    let mut stage = Stage::member(waits.clone());
    let (id, _) = stage.comes(Version::V5, &client_of(&waits, 0, OWN));
    stage.connections.close_awaiting_connect();
    assert_eq!(stage.flush(), [(id, UNAVAILABLE[1].to_vec())]);
    assert_eq!(stage.refusals(), [CloseReason::Unavailable]);
    assert!(matches!(stage.operations()[0], Operation::Receive { connection, .. } if connection == id));
}
