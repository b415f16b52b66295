//! One client and its translator, without a shard: datagrams in, packets and datagrams out.

use std::sync::Arc;

use super::*;
use crate::codec::{
    Ack, AckKind, ConnAck, Connect, Disconnect, Forwarded, Packet, PublishOut, ReasonCode, Side, Version, decode,
    encode_suback, frame,
};
use crate::ids::{PacketId, Qos};
use crate::limits::{
    SN_ASKED_MAX, SN_KEEP_ALIVE_DEFAULT_S, SN_TOPICS_MAX, SN_TRIES_OF_TOPIC_MAX, SN_WAIT_S, SN_WAITING_MAX_BYTES,
};
use crate::settings::{ListenerSettings, PredefinedTopics};
use crate::time::Now;

struct Peer {
    client: SnClient,
    settings: ListenerSettings,
    now: Now,
    out: SnOut,
}

impl Peer {
    fn connecting(flags: SnFlags) -> Self {
        let sn_topics = Arc::new(PredefinedTopics::parse("7 fleet/seven").unwrap());
        let settings = ListenerSettings { sn_topics, sn_retry_s: 10, sn_retries: 2, ..ListenerSettings::default() };
        let now = Now { mono_ns: 1_000_000_000, unix_ms: 1 };
        let mut out = SnOut::default();
        let connect = SnConnect { flags, duration_s: 60, client_id: "c" };
        let client = SnClient::connect(SnTurn { now, settings: &settings }, connect, &mut out);
        Self { client, settings, now, out }
    }

    /// A client that is connected, with nothing left to be read.
    fn connected() -> Self {
        let mut peer = Self::connecting(SnFlags::NONE);
        assert_eq!(peer.packets(), ["CONNECT c clean=false keep_alive=60 expiry=4294967295 window=1"]);
        assert_eq!(peer.answer(&Packet::ConnAck(ConnAck::new(ReasonCode::Success))), ["ConnAck { code: Accepted }"]);
        assert_eq!(peer.client.state(), SnState::Active);
        peer
    }

    fn with<T>(&mut self, act: impl FnOnce(&mut SnClient, SnTurn<'_>, &mut SnOut) -> T) -> T {
        self.out.clear();
        let turn = SnTurn { now: self.now, settings: &self.settings };
        act(&mut self.client, turn, &mut self.out)
    }

    /// The client says something. What it is told comes back.
    fn hear(&mut self, message: &SnMessage<'_>) -> Vec<String> {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        let message = SnMessage::decode(&bytes).unwrap();
        self.with(|client, turn, out| client.handle(turn, &message, out));
        self.datagrams()
    }

    /// The shard sends a packet. What the client is told comes back.
    fn answer(&mut self, packet: &Packet<'_>) -> Vec<String> {
        let mut bytes = Vec::new();
        packet.encode(Version::V5, &mut bytes);
        self.with(|client, turn, out| client.send(turn, &bytes, out));
        self.datagrams()
    }

    fn deliver(&mut self, topic: &str, qos: Qos, payload: &[u8]) -> Vec<String> {
        let mut bytes = Vec::new();
        let packet_id = (qos != Qos::AtMostOnce).then_some(PacketId::MIN);
        PublishOut {
            version: Version::V5,
            topic,
            topic_alias: None,
            qos,
            dup: false,
            retain: false,
            packet_id,
            message_expiry_s: None,
            subscription_ids: &[],
            forwarded: Forwarded::default(),
            payload,
        }
        .encode(&mut bytes);
        self.with(|client, turn, out| client.send(turn, &bytes, out));
        self.datagrams()
    }

    fn pass_s(&mut self, seconds: u64) -> Vec<String> {
        self.now.mono_ns += seconds * 1_000_000_000;
        self.with(super::client::SnClient::retry);
        self.datagrams()
    }

    fn datagrams(&self) -> Vec<String> {
        self.out.datagrams().map(|bytes| format!("{:?}", SnMessage::decode(bytes).unwrap())).collect()
    }

    /// What the shard was told by the latest step.
    fn packets(&self) -> Vec<String> {
        let mut bytes = &self.out.mqtt[..];
        let mut told = Vec::new();
        while let Some((framed, total)) = frame::next(bytes, u32::MAX).unwrap() {
            told.push(match decode(framed, Version::V5, Side::Server) {
                Ok(Packet::Connect(connect)) => show_connect(&connect),
                Ok(Packet::Publish(publish)) => {
                    format!(
                        "PUBLISH {} {:?} {:?} {:?}",
                        publish.topic,
                        publish.qos,
                        publish.packet_id,
                        publish.payload.len()
                    )
                }
                Ok(Packet::Subscribe(subscribe)) => {
                    let filters: Vec<_> =
                        subscribe.filters().map(|filter| (filter.filter, filter.options.qos)).collect();
                    format!("SUBSCRIBE {} {filters:?}", subscribe.packet_id)
                }
                Ok(Packet::Unsubscribe(unsubscribe)) => {
                    format!("UNSUBSCRIBE {} {:?}", unsubscribe.packet_id, unsubscribe.filters().collect::<Vec<_>>())
                }
                Ok(Packet::Ack(ack)) => format!("{:?} {} {:?}", ack.kind, ack.packet_id, ack.reason),
                Ok(Packet::Disconnect(disconnect)) => format!("DISCONNECT {:?}", disconnect.reason),
                Ok(packet) => format!("{packet:?}"),
                Err(error) => panic!("{error:?}"),
            });
            bytes = &bytes[total..];
        }
        assert!(bytes.is_empty());
        told
    }
}

fn show_connect(connect: &Connect<'_>) -> String {
    let will = connect.will.map(|will| {
        format!(" will={} {:?} {:?} {}", will.topic, String::from_utf8_lossy(will.payload), will.qos, will.retain)
    });
    format!(
        "CONNECT {} clean={} keep_alive={} expiry={} window={}{}",
        connect.client_id,
        connect.clean_start,
        connect.keep_alive_s,
        connect.session_expiry_s,
        connect.receive_maximum,
        will.unwrap_or_default()
    )
}

fn publish(topic: TopicRef, qos: Option<Qos>, msg_id: u16) -> SnMessage<'static> {
    SnMessage::Publish { flags: SnFlags { qos, ..SnFlags::NONE }, topic, msg_id, data: b"hi" }
}

fn ack(kind: AckKind, msg_id: u16, reason: ReasonCode) -> Packet<'static> {
    Packet::Ack(Ack::new(kind, PacketId::new(msg_id).unwrap(), reason))
}

const QOS_1: Option<Qos> = Some(Qos::AtLeastOnce);

#[test]
fn a_will_is_asked_for_before_the_shard_hears_of_the_client() {
    let flags = SnFlags { will: true, clean_session: true, ..SnFlags::NONE };
    let mut peer = Peer::connecting(flags);
    assert_eq!((peer.datagrams(), peer.packets()), (vec!["WillTopicReq".to_owned()], vec![]));
    assert_eq!(peer.hear(&SnMessage::WillMsg(b"early")), [""; 0], "it was not asked for");
    let topic = SnFlags { retain: true, ..SnFlags::of_qos(Qos::AtLeastOnce) };
    assert_eq!(peer.hear(&SnMessage::WillTopic(Some((topic, "w/t")))), ["WillMsgReq"]);
    assert_eq!(peer.hear(&SnMessage::WillTopic(Some((topic, "w/t")))), ["WillMsgReq"], "it has not heard the question");
    assert_eq!(peer.hear(&SnMessage::WillMsg(b"bye")), [""; 0]);
    let connect = "CONNECT c clean=true keep_alive=60 expiry=0 window=1 will=w/t \"bye\" AtLeastOnce true";
    assert_eq!(peer.packets(), [connect]);
    let mut none = Peer::connecting(flags);
    assert_eq!(none.hear(&SnMessage::WillTopic(None)), [""; 0]);
    assert_eq!(none.packets(), ["CONNECT c clean=true keep_alive=60 expiry=0 window=1"]);
    let mut bad = Peer::connecting(flags);
    assert_eq!(bad.hear(&SnMessage::WillTopic(Some((topic, "w/#")))), ["ConnAck { code: NotSupported }"]);
    assert_eq!(bad.out.end, Some(SnEnd::Gone));
}

#[test]
fn each_return_code_is_told() {
    for (reason, code) in [
        (ReasonCode::Success, "Accepted"),
        (ReasonCode::QuotaExceeded, "Congestion"),
        (ReasonCode::ServerBusy, "Congestion"),
        (ReasonCode::NotAuthorized, "NotSupported"),
    ] {
        let mut peer = Peer::connecting(SnFlags::NONE);
        assert_eq!(peer.answer(&Packet::ConnAck(ConnAck::new(reason))), [format!("ConnAck {{ code: {code} }}")]);
        if reason == ReasonCode::ServerBusy {
            continue; // which no PUBACK has
        }
        let mut peer = Peer::connected();
        assert_eq!(peer.hear(&publish(TopicRef::Short(*b"ab"), QOS_1, 9)), [""; 0]);
        assert_eq!(peer.packets(), ["PUBLISH ab AtLeastOnce Some(9) 2"]);
        let told = peer.answer(&ack(AckKind::PubAck, 9, reason));
        assert_eq!(told, [format!("PubAck {{ topic_id: 24930, msg_id: 9, code: {code} }}")]);
        assert!(peer.client.under_way.is_none(), "nothing is kept");
    }
    let mut peer = Peer::connected();
    let unknown = peer.hear(&publish(TopicRef::Normal(3), QOS_1, 9));
    assert_eq!(unknown, ["PubAck { topic_id: 3, msg_id: 9, code: InvalidTopicId }"]);
    assert_eq!(peer.hear(&publish(TopicRef::Predefined(8), Some(Qos::AtMostOnce), 0)).len(), 1, "QoS 0 is told, too");
    assert_eq!(peer.hear(&publish(TopicRef::Predefined(8), None, 0)), [""; 0], "QoS -1 is not");
    assert_eq!(peer.hear(&publish(TopicRef::Short(*b"ab"), QOS_1, 0)).len(), 1, "0 is no message id");
    let name = peer.hear(&SnMessage::Register { topic_id: 0, msg_id: 1, name: "a/#" });
    assert_eq!(name, ["RegAck { topic_id: 0, msg_id: 1, code: NotSupported }"]);
    for number in 0..SN_TOPICS_MAX {
        peer.hear(&SnMessage::Register { topic_id: 0, msg_id: 1, name: &format!("t/{number}") });
    }
    let one_more = peer.hear(&SnMessage::Register { topic_id: 0, msg_id: 2, name: "one/more" });
    assert_eq!(one_more, ["RegAck { topic_id: 0, msg_id: 2, code: Congestion }"]);
    for msg_id in 1..=SN_ASKED_MAX as u16 {
        assert_eq!(peer.hear(&publish(TopicRef::Short(*b"ab"), QOS_1, msg_id)), [""; 0]);
    }
    assert_eq!(
        peer.hear(&publish(TopicRef::Short(*b"ab"), QOS_1, 99)),
        ["PubAck { topic_id: 24930, msg_id: 99, code: Congestion }"]
    );
    assert_eq!(peer.packets(), [""; 0], "what is refused goes nowhere");
    let subscribe = SnMessage::Subscribe { flags: SnFlags::NONE, msg_id: 5000, topic: TopicOrName::Predefined(9) };
    let told = peer.hear(&subscribe);
    assert!(told.len() == 1 && told[0].contains("code: InvalidTopicId"), "{told:?}");
}

#[test]
fn a_message_that_is_never_released_takes_no_room_for_answers() {
    let mut peer = Peer::connected();
    for msg_id in 1..=2 * SN_ASKED_MAX as u16 {
        assert_eq!(peer.hear(&publish(TopicRef::Short(*b"ab"), Some(Qos::ExactlyOnce), msg_id)), [""; 0]);
        let told = peer.answer(&ack(AckKind::PubRec, msg_id, ReasonCode::Success));
        assert_eq!(told, [format!("PubRec {{ msg_id: {msg_id} }}")]);
    }
    assert!(peer.client.under_way.is_none());
}

#[test]
fn who_is_not_heard_is_told_to_try_again() {
    let mut peer = Peer::connected();
    let mut told = |message: &SnMessage<'_>| {
        peer.with(|client, _, out| client.handle_congested(message, out));
        (peer.datagrams().join(" "), peer.packets().len())
    };
    let flags = SnFlags::NONE;
    for message in [
        publish(TopicRef::Normal(1), QOS_1, 4),
        SnMessage::Register { topic_id: 0, msg_id: 4, name: "a" },
        SnMessage::Subscribe { flags, msg_id: 4, topic: TopicOrName::Name("a") },
        SnMessage::WillTopicUpd(None),
        SnMessage::WillMsgUpd(b""),
    ] {
        let (told, packets) = told(&message);
        assert!(told.contains("code: Congestion") && packets == 0, "{message:?}: {told}");
    }
    for message in
        [publish(TopicRef::Normal(1), Some(Qos::AtMostOnce), 0), SnMessage::PubRel { msg_id: 4 }, SnMessage::PingResp]
    {
        assert_eq!(told(&message), (String::new(), 0), "{message:?}");
    }
}

#[test]
fn a_topic_is_told_before_its_first_message_and_messages_keep_their_order() {
    let mut peer = Peer::connected();
    assert_eq!(peer.deliver("a/b", Qos::AtMostOnce, b"1"), ["Register { topic_id: 1, msg_id: 1, name: \"a/b\" }"]);
    assert_eq!(peer.deliver("ab", Qos::AtMostOnce, b"2"), [""; 0], "it waits behind the other");
    assert!(peer.client.waiting_bytes() > 0);
    let told = peer.hear(&SnMessage::RegAck { topic_id: 1, msg_id: 1, code: ReturnCode::Accepted });
    assert!(told.len() == 2 && told[0].contains("Normal(1)") && told[1].contains("Short([97, 98])"), "{told:?}");
    assert!(peer.client.waiting_bytes() == 0 && peer.client.under_way.is_none());
    assert_eq!(peer.deliver("a/b", Qos::AtMostOnce, b"3").len(), 1, "it knows the id");
    assert_eq!(peer.deliver("c/d", Qos::AtLeastOnce, b"4"), ["Register { topic_id: 2, msg_id: 2, name: \"c/d\" }"]);
    peer.hear(&SnMessage::RegAck { topic_id: 2, msg_id: 2, code: ReturnCode::NotSupported });
    assert_eq!(peer.packets(), ["PubAck 1 ImplementationSpecificError"], "its session goes on without it");
    assert_eq!(peer.out.dropped, 1);
}

#[test]
fn what_is_not_acknowledged_is_sent_again_and_then_the_client_is_lost() {
    let mut peer = Peer::connected();
    assert_eq!(peer.deliver("ab", Qos::AtLeastOnce, b"x").len(), 1);
    assert_eq!(peer.pass_s(9), [""; 0]);
    for _ in 0..2 {
        let again = peer.pass_s(10);
        assert!(again.len() == 1 && again[0].contains("dup: true"), "{again:?}");
        assert_eq!(peer.out.end, None);
    }
    assert_eq!(peer.pass_s(10), ["Disconnect { duration_s: None }"]);
    assert_eq!((peer.out.end, peer.client.next_retry()), (Some(SnEnd::Lost), None));
    let mut peer = Peer::connected();
    peer.deliver("ab", Qos::ExactlyOnce, b"x");
    for _ in 0..5 {
        peer.hear(&SnMessage::PubAck { topic_id: 0, msg_id: 1, code: ReturnCode::Congestion });
        assert!(peer.out.is_alive, "it has answered");
        assert_eq!(peer.pass_s(u64::from(SN_WAIT_S) - 1), [""; 0], "a client that is congested is left alone");
        assert_eq!((peer.pass_s(1).len(), peer.out.end), (1, None), "it is sent it later, and is not lost");
    }
    peer.hear(&SnMessage::PubRec { msg_id: 1 });
    assert_eq!(peer.packets(), ["PubRec 1 Success"]);
    peer.hear(&SnMessage::PubRec { msg_id: 1 });
    assert_eq!(peer.packets(), [""; 0], "what comes twice is heard once");
    assert_eq!(peer.answer(&ack(AckKind::PubRel, 1, ReasonCode::Success)), ["PubRel { msg_id: 1 }"]);
    assert_eq!(peer.pass_s(11), ["PubRel { msg_id: 1 }"]);
    peer.hear(&SnMessage::PubComp { msg_id: 1 });
    assert_eq!((peer.packets(), peer.client.next_retry()), (vec!["PubComp 1 Success".to_owned()], None));
}

#[test]
fn an_id_that_the_client_has_forgotten_is_told_again_and_not_for_ever() {
    let mut peer = Peer::connected();
    peer.deliver("a/b", Qos::AtLeastOnce, b"x");
    peer.hear(&SnMessage::RegAck { topic_id: 1, msg_id: 1, code: ReturnCode::Accepted });
    for number in 0..SN_TRIES_OF_TOPIC_MAX {
        let told = peer.hear(&SnMessage::PubAck { topic_id: 1, msg_id: 1, code: ReturnCode::InvalidTopicId });
        assert!(told.len() == 1 && told[0].starts_with("Register"), "{told:?}");
        let again =
            peer.hear(&SnMessage::RegAck { topic_id: 1, msg_id: u16::from(number) + 2, code: ReturnCode::Accepted });
        assert!(again.len() == 1 && again[0].contains("dup: true"), "{again:?}");
    }
    peer.hear(&SnMessage::PubAck { topic_id: 1, msg_id: 1, code: ReturnCode::InvalidTopicId });
    assert_eq!(peer.packets(), ["PubAck 1 ImplementationSpecificError"]);
    assert!(!peer.client.has_unacknowledged());
}

#[test]
fn one_that_sleeps_is_sent_nothing_until_it_asks_and_then_everything() {
    let mut peer = Peer::connected();
    assert_eq!(peer.hear(&SnMessage::Disconnect { duration_s: Some(300) }), ["Disconnect { duration_s: None }"]);
    assert_eq!(peer.out.renewal, Some(SnRenewal { keep_alive_s: Some(300), sleeps: true, will: None }));
    assert_eq!((peer.client.state(), peer.packets()), (SnState::Asleep, vec![]));
    assert_eq!(peer.deliver("ab", Qos::AtMostOnce, b"1"), [""; 0]);
    assert_eq!(peer.deliver("ab", Qos::AtLeastOnce, b"2"), [""; 0]);
    assert_eq!(peer.hear(&SnMessage::PingReq { client_id: Some("other") }), ["Disconnect { duration_s: None }"]);
    let told = peer.hear(&SnMessage::PingReq { client_id: Some("c") });
    assert_eq!((told.len(), peer.client.state()), (2, SnState::Awake));
    assert!(peer.client.has_unacknowledged() && peer.client.waiting_bytes() == 0);
    assert_eq!(peer.hear(&SnMessage::PingReq { client_id: Some("c") }), [""; 0], "it is answered at the end");
    for _ in 0..2 {
        assert_eq!(peer.pass_s(11).len(), 1);
    }
    assert_eq!(
        (peer.pass_s(11).len(), peer.out.end, peer.client.state()),
        (0, None, SnState::Asleep),
        "it may ask again"
    );
    assert_eq!(peer.pass_s(11), [""; 0], "and is left alone until then");
    assert_eq!(
        peer.hear(&SnMessage::PingReq { client_id: Some("c") }).len(),
        1,
        "the one that it has not acknowledged"
    );
    peer.hear(&SnMessage::PubAck { topic_id: 0, msg_id: 1, code: ReturnCode::Accepted });
    assert!(!peer.client.has_unacknowledged());
    peer.with(|client, _, out| client.fall_asleep_again(out));
    assert_eq!((peer.datagrams(), peer.client.state()), (vec!["PingResp".to_owned()], SnState::Asleep));
    let connect = SnConnect { flags: SnFlags::NONE, duration_s: 30, client_id: "c" };
    assert_eq!(peer.with(|client, turn, out| client.reconnect(turn, connect, out)), Reconnect::GoesOn);
    assert_eq!(peer.datagrams(), ["ConnAck { code: Accepted }"]);
    assert_eq!((peer.out.renewal.clone().unwrap().keep_alive_s, peer.client.state()), (Some(30), SnState::Active));
}

#[test]
fn what_waits_for_one_that_sleeps_is_bounded() {
    let mut peer = Peer::connected();
    peer.hear(&SnMessage::Disconnect { duration_s: Some(300) });
    let mut dropped = 0;
    for _ in 0..100 {
        peer.deliver("ab", Qos::AtMostOnce, &[0; 1_000]);
        dropped += peer.out.dropped;
    }
    assert!(dropped > 50 && peer.client.waiting_bytes() as usize <= SN_WAITING_MAX_BYTES, "{dropped}");
    peer.deliver("ab", Qos::AtLeastOnce, &[0; 1_000]);
    assert_eq!(peer.out.dropped, 0, "what its session answers for is not dropped");
    let sent = peer.hear(&SnMessage::PingReq { client_id: Some("c") }).len();
    assert_eq!((sent as u32, peer.client.waiting_bytes()), (101 - dropped, 0));
}

#[test]
fn wills_change_while_the_connection_lasts() {
    let mut peer = Peer::connected();
    let flags = SnFlags { retain: true, ..SnFlags::of_qos(Qos::AtLeastOnce) };
    let told = peer.hear(&SnMessage::WillTopicUpd(Some((flags, "w/2"))));
    assert_eq!(told, ["WillTopicResp { code: Accepted }"]);
    let change = |peer: &mut Peer| peer.out.renewal.take().and_then(|renewal| renewal.will);
    assert_eq!(change(&mut peer), Some(SnWillChange::Topic(flags, "w/2".into())));
    assert_eq!(peer.hear(&SnMessage::WillMsgUpd(b"new")), ["WillMsgResp { code: Accepted }"]);
    assert_eq!(change(&mut peer), Some(SnWillChange::Payload((*b"new").into())));
    peer.hear(&SnMessage::WillTopicUpd(None));
    assert_eq!(change(&mut peer), Some(SnWillChange::Delete));
    let bad = peer.hear(&SnMessage::WillTopicUpd(Some((flags, "w/+"))));
    assert_eq!((bad, change(&mut peer)), (vec!["WillTopicResp { code: NotSupported }".to_owned()], None));
}

#[test]
fn subscriptions_are_by_name_by_wildcard_by_short_name_and_by_predefined_id() {
    let mut peer = Peer::connected();
    let flags = SnFlags::of_qos(Qos::AtLeastOnce);
    for (topic, filter, topic_id) in [
        (TopicOrName::Name("a/b"), "a/b", 1),
        (TopicOrName::Name("a/#"), "a/#", 0),
        (TopicOrName::Short(*b"xy"), "xy", 0),
        (TopicOrName::Predefined(7), "fleet/seven", 7),
    ] {
        assert_eq!(peer.hear(&SnMessage::Subscribe { flags, msg_id: 3, topic }), [""; 0]);
        assert_eq!(peer.packets(), [format!("SUBSCRIBE 3 [({filter:?}, AtLeastOnce)]")]);
        let mut bytes = Vec::new();
        encode_suback(Version::V5, PacketId::new(3).unwrap(), &[ReasonCode::GrantedQos1], None, &mut bytes);
        peer.with(|client, turn, out| client.send(turn, &bytes, out));
        let told = peer.datagrams();
        assert!(
            told.len() == 1 && told[0].contains(&format!("topic_id: {topic_id}, msg_id: 3, code: Accepted")),
            "{told:?}"
        );
        assert!(told[0].contains("qos: Some(AtLeastOnce)"), "{told:?}");
        peer.hear(&SnMessage::Unsubscribe { flags, msg_id: 4, topic });
        assert_eq!(peer.packets(), [format!("UNSUBSCRIBE 4 [{filter:?}]")]);
    }
    assert!(peer.deliver("a/b", Qos::AtMostOnce, b"")[0].contains("Normal(1)"));
    assert!(peer.deliver("fleet/seven", Qos::AtMostOnce, b"")[0].contains("Predefined(7)"));
}

#[test]
fn goodbyes_are_said_once_and_nothing_after_them() {
    let mut peer = Peer::connected();
    assert_eq!(peer.hear(&SnMessage::Disconnect { duration_s: None }), ["Disconnect { duration_s: None }"]);
    assert_eq!(peer.packets(), ["DISCONNECT Success"]);
    assert_eq!(peer.answer(&Packet::Disconnect(Disconnect::default())), [""; 0]);
    assert_eq!(peer.hear(&SnMessage::PingReq { client_id: None }), [""; 0]);
    let mut peer = Peer::connected();
    let taken_over = Packet::Disconnect(Disconnect::new(ReasonCode::SessionTakenOver));
    assert_eq!(peer.answer(&taken_over), ["Disconnect { duration_s: None }"]);
    assert_eq!((peer.deliver("ab", Qos::AtMostOnce, b""), peer.client.state()), (vec![], SnState::Ended));
}

#[test]
fn a_connect_that_comes_again_is_not_a_new_one_unless_it_says_so() {
    let connect = |flags, client_id| SnConnect { flags, duration_s: 60, client_id };
    let clean = SnFlags { clean_session: true, ..SnFlags::NONE };
    let with_will = SnFlags { will: true, ..SnFlags::NONE };
    let mut peer = Peer::connected();
    let mut again =
        |flags, client_id| peer.with(|client, turn, out| client.reconnect(turn, connect(flags, client_id), out));
    assert_eq!(again(SnFlags::NONE, "c"), Reconnect::GoesOn);
    assert_eq!((again(clean, "c"), again(SnFlags::NONE, "d")), (Reconnect::Anew, Reconnect::Other));
    assert_eq!(again(with_will, "c"), Reconnect::GoesOn);
    assert_eq!((peer.datagrams(), peer.client.state()), (vec!["WillTopicReq".to_owned()], SnState::Active));
    peer.hear(&SnMessage::WillTopic(Some((SnFlags::NONE, "w"))));
    let fate = peer.with(|client, turn, out| client.reconnect(turn, connect(with_will, "c"), out));
    assert_eq!((fate, peer.datagrams()), (Reconnect::GoesOn, vec!["WillMsgReq".to_owned()]), "where it was");
    assert_eq!(peer.hear(&SnMessage::WillMsg(b"m")), ["ConnAck { code: Accepted }"]);
    let whole = SnWillChange::Whole(SnFlags::NONE, "w".into(), (*b"m").into());
    assert_eq!(peer.out.renewal.clone().unwrap().will, Some(whole));
    let mut waiting = Peer::connecting(with_will);
    let fate = waiting.with(|client, turn, out| client.reconnect(turn, connect(with_will, "c"), out));
    assert_eq!((fate, waiting.datagrams()), (Reconnect::GoesOn, vec!["WillTopicReq".to_owned()]));
}

#[test]
fn a_late_copy_of_a_connect_with_will_does_not_make_the_client_deaf() {
    let flags = SnFlags { will: true, ..SnFlags::NONE };
    let copy = SnConnect { flags, duration_s: 60, client_id: "c" };
    let mut peer = Peer::connected();
    assert_eq!(peer.with(|client, turn, out| client.reconnect(turn, copy, out)), Reconnect::GoesOn);
    assert_eq!((peer.datagrams(), peer.out.is_alive), (vec!["WillTopicReq".to_owned()], true));
    assert!(peer.deliver("ab", Qos::AtLeastOnce, b"x")[0].starts_with("Publish"), "it is sent what comes");
    assert_eq!(peer.pass_s(11).len(), 1, "and sent it again");
    peer.hear(&SnMessage::PubAck { topic_id: 0, msg_id: 1, code: ReturnCode::Accepted });
    assert_eq!(peer.packets(), ["PubAck 1 Success"]);
    peer.hear(&SnMessage::PingReq { client_id: None });
    assert_eq!(peer.packets(), ["PingReq"]);
    peer.hear(&publish(TopicRef::Short(*b"ab"), QOS_1, 5));
    assert_eq!(peer.packets().len(), 1);
    assert_eq!(peer.hear(&SnMessage::WillTopic(Some((SnFlags::NONE, "w")))), ["WillMsgReq"]);
    assert!(peer.out.is_alive);
    assert_eq!(peer.hear(&SnMessage::Register { topic_id: 0, msg_id: 6, name: "a/b" }).len(), 1);
    assert_eq!(peer.hear(&SnMessage::WillMsg(b"m")), ["ConnAck { code: Accepted }"]);
    assert!(peer.out.renewal.as_ref().is_some_and(|renewal| renewal.will.is_some()));
    // One that sleeps does not hear the question, and sleeps on.
    let mut asleep = Peer::connected();
    asleep.hear(&SnMessage::Disconnect { duration_s: Some(300) });
    asleep.deliver("ab", Qos::AtLeastOnce, b"x");
    asleep.with(|client, turn, out| client.reconnect(turn, copy, out));
    assert_eq!(asleep.client.state(), SnState::Asleep);
    assert!(asleep.hear(&SnMessage::PingReq { client_id: Some("c") })[0].starts_with("Publish"));
}

fn subscribe_by(name: &str, msg_id: u16) -> SnMessage<'_> {
    SnMessage::Subscribe { flags: SnFlags::of_qos(Qos::AtLeastOnce), msg_id, topic: TopicOrName::Name(name) }
}

fn subacks(answers: &[(u16, ReasonCode)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for &(msg_id, reason) in answers {
        encode_suback(Version::V5, PacketId::new(msg_id).unwrap(), &[reason], None, &mut bytes);
    }
    bytes
}

#[test]
fn a_subscription_by_name_has_an_id_or_is_refused_and_one_that_is_refused_takes_none() {
    let mut peer = Peer::connected();
    let decide = |peer: &mut Peer, msg_id, reason| {
        peer.with(|client, turn, out| client.send(turn, &subacks(&[(msg_id, reason)]), out));
        peer.datagrams().join(" ")
    };
    // Neither what the shard refuses, nor what was unsubscribed from, keeps its id.
    for number in 0..SN_TOPICS_MAX {
        let name = format!("refused/{number}");
        peer.hear(&subscribe_by(&name, 1));
        assert!(decide(&mut peer, 1, ReasonCode::NotAuthorized).contains("topic_id: 0, msg_id: 1, code: NotSupported"));
        let name = format!("left/{number}");
        peer.hear(&subscribe_by(&name, 1));
        assert!(decide(&mut peer, 1, ReasonCode::GrantedQos1).contains("code: Accepted"));
        let topic = TopicOrName::Name(&name);
        peer.hear(&SnMessage::Unsubscribe { flags: SnFlags::NONE, msg_id: 2, topic });
    }
    for number in 0..SN_TOPICS_MAX - 1 {
        let told = peer.hear(&SnMessage::Register { topic_id: 0, msg_id: 1, name: &format!("t/{number}") });
        assert!(told[0].contains("code: Accepted"), "{number}: {told:?}");
    }
    peer.hear(&subscribe_by("last/one", 3));
    let told = peer.hear(&SnMessage::Register { topic_id: 0, msg_id: 1, name: "while/asked" });
    assert!(told[0].contains("code: Congestion"), "its id waits for what the shard says: {told:?}");
    let told = decide(&mut peer, 3, ReasonCode::GrantedQos1);
    assert!(told.contains("code: Accepted") && !told.contains("topic_id: 0"), "{told}");
    let told = peer.hear(&subscribe_by("no/room", 4)).join(" ");
    assert!(told.contains("topic_id: 0, msg_id: 4, code: Congestion"), "{told}");
    assert_eq!(peer.packets(), [""; 0], "and nobody is subscribed");
    peer.hear(&subscribe_by("last/one", 5));
    assert!(decide(&mut peer, 5, ReasonCode::GrantedQos1).contains("code: Accepted"), "what has an id keeps it");
}

#[test]
fn what_comes_twice_in_one_turn_is_answered_twice_with_the_same_id() {
    let mut peer = Peer::connected();
    for _ in 0..2 {
        peer.hear(&publish(TopicRef::Short(*b"ab"), QOS_1, 7));
        peer.hear(&subscribe_by("a/b", 7));
    }
    let mut bytes = subacks(&[(7, ReasonCode::GrantedQos1); 2]);
    for _ in 0..2 {
        ack(AckKind::PubAck, 7, ReasonCode::Success).encode(Version::V5, &mut bytes);
    }
    peer.with(|client, turn, out| client.send(turn, &bytes, out));
    let told = peer.datagrams();
    assert_eq!(told.len(), 4);
    assert!(told[..2].iter().all(|told| told.contains("topic_id: 1, msg_id: 7, code: Accepted")), "{told:?}");
    assert!(told[2..].iter().all(|told| told == "PubAck { topic_id: 24930, msg_id: 7, code: Accepted }"), "{told:?}");
    assert!(peer.client.under_way.is_none(), "nothing is kept");
}

#[test]
fn an_id_means_no_other_topic_while_a_message_with_it_is_under_way() {
    let mut peer = Peer::connected();
    peer.hear(&subscribe_by("a/b", 1));
    peer.with(|client, turn, out| client.send(turn, &subacks(&[(1, ReasonCode::GrantedQos1)]), out));
    assert!(peer.deliver("a/b", Qos::AtLeastOnce, b"x")[0].contains("Normal(1)"));
    peer.hear(&SnMessage::Unsubscribe { flags: SnFlags::NONE, msg_id: 2, topic: TopicOrName::Name("a/b") });
    for number in 1..SN_TOPICS_MAX {
        peer.hear(&SnMessage::Register { topic_id: 0, msg_id: 1, name: &format!("t/{number}") });
    }
    let mut register = || peer.hear(&SnMessage::Register { topic_id: 0, msg_id: 3, name: "one/more" });
    assert_eq!(register(), ["RegAck { topic_id: 0, msg_id: 3, code: Congestion }"], "it may be sent again");
    peer.hear(&SnMessage::PubAck { topic_id: 1, msg_id: 1, code: ReturnCode::Accepted });
    let told = peer.hear(&SnMessage::Register { topic_id: 0, msg_id: 3, name: "one/more" });
    assert_eq!(told, ["RegAck { topic_id: 1, msg_id: 3, code: Accepted }"]);
}

#[test]
fn a_client_that_has_begun_anew_is_told_ids_again_also_for_qos_0() {
    let mut peer = Peer::connected();
    let accept =
        |peer: &mut Peer, msg_id| peer.hear(&SnMessage::RegAck { topic_id: 1, msg_id, code: ReturnCode::Accepted });
    peer.deliver("a/b", Qos::AtMostOnce, b"1");
    assert_eq!(accept(&mut peer, 1).len(), 1);
    assert!(peer.deliver("a/b", Qos::AtMostOnce, b"2")[0].contains("Normal(1)"), "it knows the id");
    // It has lost its memory, and says so of a message of which nothing is kept.
    peer.hear(&SnMessage::PubAck { topic_id: 1, msg_id: 0, code: ReturnCode::InvalidTopicId });
    assert_eq!((peer.packets(), peer.out.is_alive), (vec![], true));
    assert!(peer.deliver("a/b", Qos::AtMostOnce, b"3")[0].starts_with("Register"));
    assert_eq!(accept(&mut peer, 2).len(), 1);
    // It connects to the session that it had, without a word about ids.
    let connect = SnConnect { flags: SnFlags::NONE, duration_s: 60, client_id: "c" };
    peer.with(|client, turn, out| client.reconnect(turn, connect, out));
    assert!(peer.deliver("a/b", Qos::AtMostOnce, b"4")[0].starts_with("Register"));
    // What it has registered itself it knows; where it does not, it says so.
    accept(&mut peer, 3);
    peer.hear(&SnMessage::Register { topic_id: 0, msg_id: 1, name: "own/topic" });
    peer.with(|client, turn, out| client.reconnect(turn, connect, out));
    assert!(peer.deliver("own/topic", Qos::AtMostOnce, b"5")[0].starts_with("Publish"));
}

#[test]
fn a_topic_that_is_refused_costs_the_message_that_was_sent_with_its_id() {
    let mut peer = Peer::connected();
    peer.deliver("a/b", Qos::AtLeastOnce, b"x");
    peer.hear(&SnMessage::RegAck { topic_id: 1, msg_id: 1, code: ReturnCode::Accepted });
    assert_eq!(peer.deliver("cd", Qos::AtMostOnce, b"other").len(), 1);
    let told = peer.deliver("e/f", Qos::AtMostOnce, b"waits");
    assert_eq!(told, ["Register { topic_id: 2, msg_id: 2, name: \"e/f\" }"]);
    peer.hear(&SnMessage::RegAck { topic_id: 2, msg_id: 2, code: ReturnCode::Accepted });
    let told = peer.hear(&SnMessage::PubAck { topic_id: 1, msg_id: 1, code: ReturnCode::InvalidTopicId });
    assert!(told[0].starts_with("Register { topic_id: 1, msg_id: 3"), "{told:?}");
    assert_eq!(peer.deliver("g/h", Qos::AtMostOnce, b"behind"), [""; 0]);
    let told = peer.hear(&SnMessage::RegAck { topic_id: 1, msg_id: 3, code: ReturnCode::NotSupported });
    assert_eq!((peer.packets(), peer.out.dropped), (vec!["PubAck 1 ImplementationSpecificError".to_owned()], 1));
    assert!(
        told[0].contains("g/h") && !peer.client.has_sent(|kind| matches!(kind, super::under_way::SentKind::Publish(_)))
    );
    let sent = peer.hear(&SnMessage::RegAck { topic_id: 3, msg_id: 4, code: ReturnCode::Accepted });
    assert!(sent.len() == 1 && sent[0].contains("Normal(3)"), "{sent:?}");
}

#[test]
fn an_empty_will_topic_of_a_connected_client_deletes_its_will_and_no_question_leaves_it() {
    let mut peer = Peer::connected();
    let with_will = SnFlags { will: true, ..SnFlags::NONE };
    let connect = |flags| SnConnect { flags, duration_s: 60, client_id: "c" };
    peer.with(|client, turn, out| client.reconnect(turn, connect(with_will), out));
    assert_eq!(peer.hear(&SnMessage::WillTopic(None)), ["ConnAck { code: Accepted }"]);
    assert_eq!(peer.out.renewal.clone().unwrap().will, Some(SnWillChange::Delete));
    peer.with(|client, turn, out| client.reconnect(turn, connect(SnFlags::NONE), out));
    assert_eq!(peer.out.renewal.clone().unwrap().will, None);
}

#[test]
fn a_copy_of_a_clean_connect_is_answered_again_until_something_was_heard() {
    let clean = SnFlags { clean_session: true, ..SnFlags::NONE };
    let connect = |duration_s| SnConnect { flags: clean, duration_s, client_id: "c" };
    let connected = || {
        let mut peer = Peer::connecting(clean);
        peer.answer(&Packet::ConnAck(ConnAck::new(ReasonCode::Success)));
        peer
    };
    let again =
        |peer: &mut Peer, duration_s| peer.with(|client, turn, out| client.reconnect(turn, connect(duration_s), out));
    let mut peer = connected();
    for _ in 0..2 {
        assert_eq!(again(&mut peer, 60), Reconnect::GoesOn);
        assert_eq!((peer.datagrams(), peer.packets()), (vec!["ConnAck { code: Accepted }".to_owned()], vec![]));
    }
    assert_eq!(again(&mut peer, 61), Reconnect::Anew, "it is another one");
    peer.hear(&SnMessage::PingReq { client_id: None });
    assert_eq!(again(&mut peer, 60), Reconnect::Anew, "it has begun: nobody can say whether it begins anew");
    let mut peer = connected();
    peer.pass_s(20);
    assert_eq!(again(&mut peer, 60), Reconnect::Anew, "nobody repeats for so long");
}

#[test]
fn a_client_that_asks_for_no_keep_alive_has_the_listeners() {
    let connect = SnConnect { flags: SnFlags::NONE, duration_s: 0, client_id: "c" };
    let mut peer = Peer::connected();
    peer.with(|client, turn, out| *client = SnClient::connect(turn, connect, out));
    let expected = format!("CONNECT c clean=false keep_alive={SN_KEEP_ALIVE_DEFAULT_S} expiry=4294967295 window=1");
    assert_eq!(peer.packets(), [expected]);
    peer.answer(&Packet::ConnAck(ConnAck::new(ReasonCode::Success)));
    peer.with(|client, turn, out| client.reconnect(turn, connect, out));
    assert_eq!(peer.out.renewal.clone().unwrap().keep_alive_s, Some(SN_KEEP_ALIVE_DEFAULT_S));
}
