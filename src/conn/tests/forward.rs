//! Clients that another node forwards: they are what it says, they go no further, and whatever else says so is nobody.

use core::net::IpAddr;

use super::belonging::{HERE, OWN, UNAVAILABLE, client_of, connack, connect, other, redirecting, view};
use super::links::{LINKS, encoded, terms};
use super::nodes::hello;
use super::*;
use crate::auth::operator_bans::{BannedWho, OperatorBan, OperatorBans};
use crate::auth::{ClientProfile, PeerIdentity, Profile, ProfileScope, Profiles};
use crate::cluster::{
    LinkForward, LinkFrame, LinkHandshake, LinkHello, LinkIdentity, LinkOpener, LinkSealer, LinkSide, LinkTexts, NodeId,
};
use crate::codec::ReasonCode;
use crate::conn::InputHandler;
use crate::ids::{PacketId, PeerAddress, Qos, UnixPeer};
use crate::limits::{CLUSTER_WAIT_MS, LINK_FORWARD_MAX_BYTES, LINK_HELLO_MS};
use crate::settings::{CertificateUser, ListenerKind};
use crate::shard::{Command, Input, RequestId, UserNameBasis};
use crate::telemetry::TransportCounters;
use crate::time::Timestamp;

/// The listener that clients come by, on both nodes.
const DEVICES: u8 = LINKS + 1;

/// What a shard is told of a CONNECT.
#[derive(Debug, Default, PartialEq, Eq)]
struct ToldClient {
    client_id: String,
    is_assigned: bool,
    user: Option<String>,
    has_password: bool,
    is_proved: bool,
    identity: Option<PeerIdentity>,
    address: Option<IpAddr>,
    listener: (u8, String),
}

/// A shard that notes it.
struct ConnectNotes {
    now: Now,
    told: Vec<ToldClient>,
}

impl InputHandler for ConnectNotes {
    fn now(&self) -> Now {
        self.now
    }

    fn is_full_for(&self, _: &str, _: u8) -> bool {
        false
    }

    fn handle(&mut self, input: Input<'_>) {
        let Input::Connect { connect, info, .. } = input else { return };
        self.told.push(ToldClient {
            client_id: connect.client_id.to_owned(),
            is_assigned: info.assigned_client_id,
            user: connect.username.map(str::to_owned),
            has_password: connect.password.is_some(),
            is_proved: info.user_name == UserNameBasis::Proof,
            identity: info.identity.map(|identity| (**identity).clone()),
            address: info.peer,
            listener: (info.listener_index, info.listener.name.to_string()),
        });
    }

    fn has_asked_about(&self, _: ConnectionId) -> bool {
        false
    }

    fn holds_sender(&mut self) -> bool {
        false
    }

    fn deliveries(&self) -> u32 {
        0
    }

    fn is_overloaded(&self) -> bool {
        false
    }

    fn has_more_for(&self, _: ConnectionId) -> bool {
        false
    }

    fn has_room_for(&self, _: ConnectionId, _: PacketId, _: Qos) -> bool {
        true
    }
}

/// A connection by which the other node forwards a client to the stage.
struct Forwarding {
    id: ConnectionId,
    sealer: LinkSealer,
    opener: LinkOpener,
}

impl Stage {
    /// The first shard of the node that serves the first of two ranges, with the listener.
    fn owner(settings: ListenerSettings) -> Self {
        let mut stage = Self::node(1);
        stage.add_devices(settings);
        stage.sees(view(&[HERE, other()]));
        stage
    }

    fn add_devices(&mut self, settings: ListenerSettings) {
        let settings = ListenerSettings { name: "devices".into(), policy: Policy::Admit, ..settings };
        let index = self.connections.add_listener(Arc::new(settings), Arc::default(), ListenerLayers::None);
        assert_eq!(index, DEVICES);
    }

    /// Somebody connects who knows the secret and says this of itself.
    fn forwarder(&mut self, hello: &LinkHello<'_>) -> Forwarding {
        let mut peer = LinkHandshake::new(LinkSide::Dials, terms(1).trust, hello);
        self.operations();
        let id = self.accept_by(LINKS);
        for _ in 0..2 {
            self.receive(id, &peer.take_out(), false);
            let said: Vec<u8> = self.flush().into_iter().flat_map(|(_, bytes)| bytes).collect();
            peer.handle_bytes(&said).unwrap();
        }
        self.operations();
        let (sealer, opener) = peer.records().expect("both know the secret");
        Forwarding { id, sealer, opener }
    }

    /// The other node's connection for a client.
    fn forwarding(&mut self) -> Forwarding {
        self.forwarder(&LinkHello { carries_client: true, ..hello(Some(2), 2) })
    }

    /// It sends this in a record.
    fn forwards(&mut self, by: &mut Forwarding, bytes: &[u8]) {
        let mut record = Vec::new();
        by.sealer.seal(bytes, &mut record);
        self.receive(by.id, &record, false);
    }

    /// What the client is told by it.
    fn told_by(&mut self, by: &mut Forwarding) -> Vec<u8> {
        let said: Vec<u8> = self.flush().into_iter().flat_map(|(_, bytes)| bytes).collect();
        let (mut rest, mut told) = (&said[..], Vec::new());
        while let Some((frames, len)) = by.opener.open(rest).unwrap() {
            told.extend_from_slice(frames);
            rest = &rest[len..];
        }
        assert!(rest.is_empty());
        told
    }

    fn lines(&mut self) -> Vec<CloseReason> {
        self.connections.refused().map(|refused| refused.reason).collect()
    }

    fn command(&mut self, command: Command) {
        let edge = TransportCounters::default();
        let request = RequestId(1);
        let turn = Turn { now: self.now, fx: &mut self.fx };
        ShardTurn { shard: &mut self.shard, turn }.handle(Input::Command { request, command, edge: &edge });
        self.fx.clear();
    }
}

/// FORWARD of a client of this version of which nothing is known but where it comes from.
fn forward(version: Version) -> LinkForward<'static> {
    LinkForward {
        listener: "devices",
        peer: Some(PeerAddress::Ip("198.51.100.7:4711".parse().unwrap())),
        version: version as u8,
        client_id: None,
        proved_user: None,
        identity: None,
    }
}

/// The same with this CONNECT behind it.
fn with_connect(forward: LinkForward<'_>, connect: &[u8]) -> Vec<u8> {
    [&encoded(LinkFrame::Forward(forward)), connect].concat()
}

/// CONNECT with a user and a password.
fn connect_with_user(client_id: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let connect = Connect::new(Version::V5, client_id, true);
    Connect { username: Some("claimed"), password: Some(b"secret"), ..connect }.encode(&mut bytes);
    bytes
}

/// A listener whose own layers would take the names out of a certificate.
fn of_certificates() -> ListenerSettings {
    let mut settings =
        ListenerSettings { certificate_user: CertificateUser::CommonName, ..ListenerSettings::default() };
    settings.auth.certificate_client_id = CertificateUser::CommonName;
    settings
}

/// What the shard of an owner is told when these bytes have come in pieces of this length.
fn told_of(settings: ListenerSettings, bytes: &[u8], piece: usize) -> Vec<ToldClient> {
    let mut stage = Stage::owner(settings);
    let mut by = stage.forwarding();
    let mut notes = ConnectNotes { now: stage.now, told: Vec::new() };
    stage.connections.begin_turn();
    for piece in bytes.chunks(piece) {
        let mut record = Vec::new();
        by.sealer.seal(piece, &mut record);
        stage.connections.received(&mut notes, by.id, &record, false, || panic!("it is within its budget"));
    }
    assert!(stage.lines().is_empty());
    notes.told
}

#[test]
fn what_the_first_node_says_of_a_client_is_what_the_shard_is_told() {
    let view = view(&[HERE, other()]);
    let (own_id, chosen) = (client_of(&view, 1, OWN), client_of(&view, 0, OWN));
    let mut names = Vec::new();
    let identity = LinkIdentity {
        common_name: Some("device-7"),
        subject: Some("CN=device-7,O=fleet"),
        tls_version: Some("TLSv1.3"),
        alternative_names: LinkTexts::write(["device-7.example", "urn:device:7"], &mut names),
    };
    let certified = LinkForward {
        client_id: Some(&chosen),
        proved_user: Some("operator"),
        identity: Some(identity),
        ..forward(Version::V5)
    };
    let expected = || ToldClient {
        client_id: chosen.clone(),
        is_assigned: false,
        user: Some("operator".to_owned()),
        has_password: false,
        is_proved: true,
        identity: Some(PeerIdentity {
            common_name: Some("device-7".into()),
            subject: Some("CN=device-7,O=fleet".into()),
            alternative_names: ["device-7.example", "urn:device:7"].map(Box::<str>::from).into(),
            tls_version: Some("TLSv1.3".into()),
        }),
        address: Some("198.51.100.7".parse().unwrap()),
        listener: (DEVICES, "devices".to_owned()),
    };
    // Its range is by the chosen id, not by that of its CONNECT, which another node serves.
    let bytes = with_connect(certified, &connect_with_user(&own_id));
    for piece in [usize::MAX, 1, 7, 150] {
        assert_eq!(told_of(ListenerSettings::default(), &bytes, piece), [expected()], "in pieces of {piece}");
    }
    // The first node's listener has taken nothing out of the certificate: this one's does not either.
    let named = LinkForward { client_id: None, proved_user: None, ..certified };
    let told = told_of(of_certificates(), &with_connect(named, &connect_with_user(&chosen)), usize::MAX);
    let claimed = ToldClient { user: Some("claimed".to_owned()), has_password: true, is_proved: false, ..expected() };
    assert_eq!(told, [claimed]);
}

#[test]
fn a_process_of_the_first_node_s_machine_and_a_client_without_an_id_are_told_as_such() {
    let view = view(&[HERE, other()]);
    let chosen = client_of(&view, 0, OWN);
    let unix = PeerAddress::Unix(UnixPeer { process_id: Some(9), user_id: 1_000, group_id: 100 });
    let local = LinkForward { peer: Some(unix), proved_user: Some("ada"), ..forward(Version::V311) };
    let told = told_of(ListenerSettings::default(), &with_connect(local, &connect(Version::V311, &chosen)), usize::MAX);
    assert_eq!((told[0].user.as_deref(), told[0].is_proved, told[0].address), (Some("ada"), true, None));
    assert!(!told[0].is_assigned && told[0].identity.is_none());
    // It had none, and the first node has made one up: CONNACK tells it.
    let nameless = LinkForward { client_id: Some(&chosen), peer: None, ..forward(Version::V5) };
    let told = told_of(ListenerSettings::default(), &with_connect(nameless, &connect(Version::V5, "")), usize::MAX);
    assert_eq!((told[0].client_id.as_str(), told[0].is_assigned, told[0].is_proved), (&chosen[..], true, false));
}

#[test]
fn a_client_is_heard_by_its_link_and_counts_for_its_listener_until_it_goes() {
    let mut stage = Stage::owner(ListenerSettings { connect_timeout_s: 30, ..ListenerSettings::default() });
    let client_id = client_of(&view(&[HERE, other()]), 0, OWN);
    let mut by = stage.forwarding();
    let count = |stage: &Stage| stage.connections.config.connections.load(Ordering::Relaxed);
    assert_eq!(count(&stage), 0, "nobody knows yet that it is a client's");
    let bytes = with_connect(forward(Version::V5), &[connect(Version::V5, &client_id), PINGREQ.to_vec()].concat());
    stage.forwards(&mut by, &bytes);
    let told = stage.told_by(&mut by);
    assert_eq!(connack(&told, Version::V5).reason, ReasonCode::Success);
    assert!(told.ends_with(&PINGRESP));
    assert!(matches!(stage.operations().pop(), Some(Operation::Receive { connection, .. }) if connection == by.id));
    assert_eq!((count(&stage), stage.connections.peer(by.id).to_string()), (1, "198.51.100.7:4711".to_owned()));
    stage.forwards(&mut by, &PINGREQ);
    assert_eq!(stage.told_by(&mut by), PINGRESP);
    stage.pass_ms(LINK_HELLO_MS);
    assert_eq!(stage.told_by(&mut by), b"", "its time as a stranger is over");
    stage.with(|connections, core| connections.receive_ended(core, by.id, ReceiveEnd::PeerGone));
    stage.flush();
    assert_eq!(count(&stage), 0);
    // One that never sends CONNECT has the listener's time for it, and one that never comes to FORWARD that of a link.
    let mut by = stage.forwarding();
    stage.forwards(&mut by, &encoded(LinkFrame::Forward(forward(Version::V311))));
    stage.forwarding();
    stage.pass_ms(LINK_HELLO_MS);
    assert_eq!(stage.lines().last(), Some(&CloseReason::LinkTimeout));
    assert_eq!(count(&stage), 1);
    stage.pass_ms(30_000);
    assert!(stage.lines().contains(&CloseReason::ConnectTimeout));
    assert_eq!(count(&stage), 0);
}

#[test]
fn bans_and_profiles_hold_for_the_client_and_not_for_the_node_that_forwards_it() {
    let client_id = client_of(&view(&[HERE, other()]), 0, OWN);
    let mut bans = OperatorBans::default();
    let ban = OperatorBan { until: None, reason: "x".into() };
    bans.add(Timestamp(0), BannedWho::Network("198.51.100.0".parse().unwrap(), 24), ban);
    let bans = Arc::new(bans);
    for (address, reason) in [("198.51.100.7:1", ReasonCode::Banned), ("203.0.113.9:1", ReasonCode::Success)] {
        let mut stage = Stage::owner(ListenerSettings::default());
        stage.command(Command::UseBans(Some(Arc::clone(&bans))));
        let mut by = stage.forwarding();
        let peer = Some(PeerAddress::Ip(address.parse().unwrap()));
        let from = LinkForward { peer, ..forward(Version::V5) };
        stage.forwards(&mut by, &with_connect(from, &connect(Version::V5, &client_id)));
        assert_eq!(connack(&stage.told_by(&mut by), Version::V5).reason, reason, "{address}");
    }
    for (user, bound) in [("operator", Some(4_321)), ("other", None)] {
        let mut stage = Stage::owner(ListenerSettings::default());
        let settings = ClientProfile { packet_size_max_bytes: Some(4_321), ..ClientProfile::default() };
        let mut scope = ProfileScope::of_clients([]);
        scope.users = Some(std::collections::BTreeSet::from([Box::<str>::from("operator")]));
        stage.command(Command::UseProfiles(Some(Arc::new(Profiles::new(vec![Profile { scope, settings }])))));
        let mut by = stage.forwarding();
        let proved = LinkForward { proved_user: Some(user), ..forward(Version::V5) };
        stage.forwards(&mut by, &with_connect(proved, &connect(Version::V5, &client_id)));
        let told = stage.told_by(&mut by);
        let told = connack(&told, Version::V5).maximum_packet_size_bytes;
        assert_eq!(told.filter(|size| *size == 4_321), bound, "{user}");
    }
}

#[test]
fn who_may_not_come_from_where_it_is_does_not_come_by_way_of_another_node_either() {
    let client_id = client_of(&view(&[HERE, other()]), 0, OWN);
    let settings = ListenerSettings {
        deny_from: super::sources::networks(&["198.51.100.0/24"]),
        proxy_protocol: true,
        proxy_from: super::sources::networks(&["192.0.2.1"]),
        ..ListenerSettings::default()
    };
    for (address, lines) in [("198.51.100.7:1", &[CloseReason::NetworkDenied][..]), ("203.0.113.9:1", &[][..])] {
        let mut stage = Stage::owner(settings.clone());
        let mut by = stage.forwarding();
        let peer = Some(PeerAddress::Ip(address.parse().unwrap()));
        stage.forwards(
            &mut by,
            &with_connect(LinkForward { peer, ..forward(Version::V5) }, &connect(Version::V5, &client_id)),
        );
        assert_eq!(stage.lines(), lines, "{address}: a header was the first node's to read");
        assert_eq!(stage.told_by(&mut by).is_empty(), !lines.is_empty());
        assert_eq!(stage.connections.is_empty(), !lines.is_empty());
    }
}

#[test]
fn a_client_of_a_listener_that_is_not_here_is_refused_in_words_of_its_own() {
    for (name, version, told) in [
        ("elsewhere", Version::V311, UNAVAILABLE[0]),
        ("elsewhere", Version::V5, UNAVAILABLE[1]),
        ("gone", Version::V31, UNAVAILABLE[0]),
        ("links", Version::V5, UNAVAILABLE[1]),
    ] {
        let mut stage = Stage::owner(ListenerSettings::default());
        let listener = |name: &str, kind| ListenerSettings { name: name.into(), kind, ..ListenerSettings::default() };
        let gone = Arc::new(listener("gone", ListenerKind::Tcp));
        let gone = stage.connections.add_listener(gone, Arc::default(), ListenerLayers::None);
        stage.connections.set_takes_strangers(gone, false);
        let links = Arc::new(listener("links", ListenerKind::Cluster));
        stage.connections.add_listener(links, Arc::default(), ListenerLayers::None);
        let mut by = stage.forwarding();
        let unknown = LinkForward { listener: name, ..forward(version) };
        stage.forwards(&mut by, &with_connect(unknown, &connect(version, "c")));
        assert_eq!(stage.told_by(&mut by), told, "{name}");
        let lines: Vec<_> = stage.connections.refused().collect();
        assert_eq!((lines.len(), lines[0].reason), (1, CloseReason::Unavailable));
        assert_eq!(lines[0].peer.to_string(), "198.51.100.7:4711");
        assert!(lines[0].text.contains("listener"));
        assert!(stage.operations().iter().any(|operation| matches!(operation, Operation::FinishSending { .. })));
    }
}

#[test]
fn nobody_forwards_but_a_process_of_a_member_and_nothing_else_comes_by_such_a_connection() {
    let client_id = client_of(&view(&[HERE, other()]), 0, OWN);
    let bytes = with_connect(forward(Version::V5), &connect(Version::V5, &client_id));
    let too_long = (LINK_FORWARD_MAX_BYTES as u32 + 1).to_le_bytes();
    let client = |node, boot| LinkHello { carries_client: true, ..hello(node, boot) };
    for (hello, bytes, reason) in [
        (client(Some(3), 3), &bytes[..], CloseReason::LinkNotMember),
        (client(Some(2), 9), &bytes[..], CloseReason::LinkNotMember),
        (client(None, 2), &bytes[..], CloseReason::LinkNotMember),
        (client(Some(2), 2), &encoded(LinkFrame::Applied { number: 1 })[..], CloseReason::LinkMalformed),
        (client(Some(2), 2), &connect(Version::V5, &client_id)[..], CloseReason::LinkMalformed),
        (client(Some(2), 2), &too_long[..], CloseReason::LinkMalformed),
        // A link is none.
        (LinkHello { shards: (1, 0), ..hello(Some(2), 2) }, &bytes[..], CloseReason::LinkMalformed),
    ] {
        let mut stage = Stage::owner(ListenerSettings::default());
        let mut by = stage.forwarder(&hello);
        stage.forwards(&mut by, bytes);
        assert_eq!(stage.lines(), [reason], "{hello:?}");
        assert!(stage.connections.is_empty() && stage.flush().is_empty());
    }
    // Without a view nobody is a member.
    let mut stage = Stage::node(1);
    stage.add_devices(ListenerSettings::default());
    let mut by = stage.forwarding();
    stage.forwards(&mut by, &bytes);
    assert_eq!(stage.lines(), [CloseReason::LinkNotMember]);
}

#[test]
fn such_a_connection_ends_no_link_of_the_same_shard_and_is_not_one_that_makes_way() {
    let mut stage = Stage::owner(ListenerSettings::default());
    let link = stage.forwarder(&hello(Some(2), 2));
    let forwarding = stage.forwarding();
    assert_eq!(stage.connections.link_peer(link.id).unwrap().node, NodeId::new(2));
    for _ in 0..crate::limits::PEERS_UNKNOWN_MAX {
        stage.accept_by(LINKS);
    }
    assert!(stage.lines().is_empty(), "as many may be unknown, and neither is one of them");
    assert!(stage.connections.table.get(forwarding.id).is_some());
}

#[test]
fn a_client_waits_until_its_range_is_here_and_is_passed_on_by_nobody() {
    let theirs = redirecting(&[HERE, other()]);
    let client_id = client_of(&theirs, 1, OWN);
    let bytes = with_connect(forward(Version::V5), &connect(Version::V5, &client_id));
    let waiting = || {
        let mut stage = Stage::owner(ListenerSettings::default());
        stage.sees(theirs.clone());
        let mut by = stage.forwarding();
        stage.forwards(&mut by, &bytes);
        stage.pass_ms(0);
        assert!(stage.told_by(&mut by).is_empty(), "it is not told to go elsewhere");
        (stage, by)
    };
    let (mut stage, mut by) = waiting();
    // The same once more, and nobody at all, are no reason to look at it again and again.
    for view in [theirs.clone(), view(&[HERE, crate::cluster::RangePlace::Nobody])] {
        stage.sees(view);
        stage.pass_ms(0);
        let next = stage.connections.next_deadline().unwrap();
        assert!(!next.is_due(stage.now), "it sleeps");
        assert!(stage.flush().is_empty());
    }
    stage.sees(view(&[HERE, HERE]));
    stage.pass_ms(0);
    assert_eq!(connack(&stage.told_by(&mut by), Version::V5).reason, ReasonCode::Success);
    let (mut stage, mut by) = waiting();
    stage.pass_ms(CLUSTER_WAIT_MS);
    assert_eq!(stage.told_by(&mut by), UNAVAILABLE[1]);
}

#[test]
fn a_client_goes_to_the_shard_of_its_session_with_all_that_is_known_of_it() {
    let view = view(&[HERE, other()]);
    let chosen = client_of(&view, 0, ShardId(1));
    let [mut first, mut second, _] = Stage::three(100);
    for stage in [&mut first, &mut second] {
        stage.add_link_listener();
        stage.connections.use_links(terms(1));
        stage.add_devices(of_certificates());
        stage.sees(view.clone());
    }
    let mut by = first.forwarding();
    let identity = LinkIdentity { common_name: Some("device-7"), ..LinkIdentity::default() };
    let certified = LinkForward {
        client_id: Some(&chosen),
        proved_user: Some("operator"),
        identity: Some(identity),
        ..forward(Version::V311)
    };
    first.forwards(&mut by, &with_connect(certified, &[connect(Version::V311, "x"), PINGREQ.to_vec()].concat()));
    let Some(Operation::HandOver { ticket, target: ShardId(1), .. }) = first.operations().pop() else {
        panic!("it stays")
    };
    let (_, handover) = handover_of(&mut first);
    let mut notes = ConnectNotes { now: second.now, told: Vec::new() };
    second.connections.take_handover(&mut notes, handover);
    second.connections.adopted(&mut notes, ticket, SocketId::new(0, 3));
    first.connections.handed_over(ticket);
    let told = &notes.told[0];
    assert_eq!((told.client_id.as_str(), told.user.as_deref(), told.is_proved), (&chosen[..], Some("operator"), true));
    assert_eq!(told.identity.as_ref().unwrap().common_name.as_deref(), Some("device-7"));
    assert_eq!((&told.listener, told.address), (&(DEVICES, "devices".to_owned()), "198.51.100.7".parse().ok()));
}
