//! Datagrams of a client: to packets for the shard, to answers, to another state.

use super::client::{SnClient, SnConnect, SnEnd, SnOut, SnState, SnTurn, SnWillChange};
use super::flags::{ReturnCode, SnFlags};
use super::message::{SnMessage, TopicOrName, TopicRef};
use super::retry::packet_id;
use super::under_way::{AskedFor, AskedKind, SentKind, WillDraft};
use crate::codec::{
    AckKind, Disconnect, Forwarded, PINGREQ, PublishOut, ReasonCode, SubscribeFilter, SubscriptionOptions, Version,
    encode_ack, encode_subscribe, encode_unsubscribe,
};
use crate::ids::{PacketId, Qos};
use crate::limits::SN_ASKED_MAX;
use crate::settings::is_topic_name;

impl SnClient {
    /// A message has come from the client.
    pub fn handle(&mut self, turn: SnTurn<'_>, message: &SnMessage<'_>, out: &mut SnOut) {
        self.new_until = None;
        match self.state {
            SnState::AwaitingWill | SnState::AwaitingConnAck => {
                self.handle_before_connack(turn, message, out);
            }
            SnState::Active | SnState::Asleep | SnState::Awake => match message {
                SnMessage::WillTopic(_) | SnMessage::WillMsg(_) if self.is_resuming => {
                    out.is_alive = true;
                    self.handle_will(turn, message, out);
                }
                _ => self.handle_connected(turn, message, out),
            },
            SnState::Ended => {}
        }
        self.trim();
    }

    /// A message has come while the shard does not hear the client. Who waits for an answer is told to try again.
    pub fn handle_congested(&mut self, message: &SnMessage<'_>, out: &mut SnOut) {
        let code = ReturnCode::Congestion;
        match *message {
            SnMessage::Publish {
                flags: SnFlags { qos: Some(Qos::AtLeastOnce | Qos::ExactlyOnce), .. },
                topic,
                msg_id,
                ..
            } => {
                out.send(&SnMessage::PubAck { topic_id: u16::from_be_bytes(topic.to_bytes()), msg_id, code });
            }
            SnMessage::Publish { .. } => out.dropped += 1,
            SnMessage::Register { msg_id, .. } => out.send(&SnMessage::RegAck { topic_id: 0, msg_id, code }),
            SnMessage::Subscribe { msg_id, .. } => {
                out.send(&SnMessage::SubAck { flags: SnFlags::NONE, topic_id: 0, msg_id, code });
            }
            SnMessage::WillTopicUpd(_) => out.send(&SnMessage::WillTopicResp { code }),
            SnMessage::WillMsgUpd(_) => out.send(&SnMessage::WillMsgResp { code }),
            _ => {}
        }
    }

    /// The CONNECT of this client has come again, from where it is: it goes on, or it is not the same any more.
    pub fn reconnect(&mut self, turn: SnTurn<'_>, connect: SnConnect<'_>, out: &mut SnOut) -> Reconnect {
        let is_same = *connect.client_id == *self.client_id && !self.is_publisher;
        match self.state {
            _ if !is_same => Reconnect::Other,
            SnState::Ended => Reconnect::Anew,
            SnState::AwaitingWill | SnState::AwaitingConnAck => {
                if self.state != SnState::AwaitingConnAck {
                    self.ask_about_will(out);
                }
                Reconnect::GoesOn
            }
            // Its CONNACK was lost, or a copy was late: nothing has been heard of it since that it would lose.
            SnState::Active if self.is_copy(turn, &connect) => {
                out.is_alive = true;
                out.send(&SnMessage::ConnAck { code: ReturnCode::Accepted });
                Reconnect::GoesOn
            }
            SnState::Active | SnState::Asleep | SnState::Awake if connect.flags.clean_session => Reconnect::Anew,
            // It may be a late copy, which its client does not know of: until it is answered, everything goes on as before.
            SnState::Active | SnState::Asleep | SnState::Awake => {
                out.is_alive = true;
                self.duration_s = connect.duration_s;
                if std::mem::replace(&mut self.is_resuming, true) && connect.flags.will {
                    self.ask_about_will(out);
                } else {
                    self.begin(turn, connect.flags, out);
                }
                Reconnect::GoesOn
            }
        }
    }

    /// Whether a CONNECT with CleanSession is the one that the client is connected by, sent again.
    fn is_copy(&self, turn: SnTurn<'_>, connect: &SnConnect<'_>) -> bool {
        let is_new = self.new_until.is_some_and(|until| !until.is_due(turn.now));
        let is_clean = connect.flags.clean_session && self.clean_session;
        is_new && is_clean && !connect.flags.will && connect.duration_s == self.duration_s
    }

    fn handle_before_connack(&mut self, turn: SnTurn<'_>, message: &SnMessage<'_>, out: &mut SnOut) {
        match (self.state, message) {
            (SnState::AwaitingWill, SnMessage::WillTopic(_) | SnMessage::WillMsg(_)) => {
                self.handle_will(turn, message, out);
            }
            (_, SnMessage::Disconnect { .. }) => {
                self.say_goodbye(out);
                self.silence();
                out.end = Some(SnEnd::Gone);
            }
            // What it publishes without connecting need not wait: it is heard behind its CONNECT.
            (SnState::AwaitingConnAck, SnMessage::Publish { .. }) if self.is_publisher => {
                self.handle_connected(turn, message, out);
            }
            _ => {}
        }
    }

    /// An answer in the dialogue about a will.
    fn handle_will(&mut self, turn: SnTurn<'_>, message: &SnMessage<'_>, out: &mut SnOut) {
        match (self.asked_will_msg(), message) {
            (false, SnMessage::WillTopic(None)) => {
                let has_one_before = self.is_resuming;
                self.finish_connect(turn, None, out);
                // Asked, it has said that it has none (MQTT-SN 1.2, 5.4.7); without the question the one before stays (6.3).
                if has_one_before {
                    out.renewal_mut().will = Some(SnWillChange::Delete);
                }
            }
            (false, SnMessage::WillTopic(Some((flags, topic)))) => {
                if flags.qos.is_none() || !is_topic_name(topic) {
                    out.send(&SnMessage::ConnAck { code: ReturnCode::NotSupported });
                    out.end = Some(SnEnd::Gone);
                    return;
                }
                let will = &mut self.under_way_mut().will;
                (will.flags, will.topic) = (Some(*flags), (*topic).into());
                self.ask_about_will(out);
            }
            // It has not heard the question, or it has sent its answer twice.
            (true, SnMessage::WillTopic(_)) => self.ask_about_will(out),
            (true, SnMessage::WillMsg(payload)) => {
                let will = std::mem::take(&mut self.under_way_mut().will);
                self.finish_connect(turn, will.flags.map(|flags| (flags, &*will.topic, *payload)), out);
            }
            // It was not asked for its message.
            _ => {}
        }
    }

    fn handle_connected(&mut self, turn: SnTurn<'_>, message: &SnMessage<'_>, out: &mut SnOut) {
        match *message {
            SnMessage::Publish { flags, topic, msg_id, data } => {
                self.handle_publish(turn, (flags, topic), (msg_id, data), out);
            }
            SnMessage::PubAck { topic_id, msg_id, code } => self.handle_puback(turn, topic_id, (msg_id, code), out),
            SnMessage::PubRec { msg_id } => {
                self.pass_on((AckKind::PubRec, SentKind::Publish(Qos::ExactlyOnce)), msg_id, out);
            }
            SnMessage::PubComp { msg_id } => self.pass_on((AckKind::PubComp, SentKind::PubRel), msg_id, out),
            SnMessage::PubRel { msg_id } => ack(AckKind::PubRel, msg_id, ReasonCode::Success, out),
            SnMessage::Register { msg_id, name, .. } => self.handle_register(msg_id, name, out),
            SnMessage::RegAck { msg_id, code, .. } => self.handle_regack(turn, msg_id, code, out),
            SnMessage::Subscribe { flags, msg_id, topic } => self.handle_subscribe(turn, flags, (msg_id, topic), out),
            SnMessage::Unsubscribe { msg_id, topic, .. } => self.handle_unsubscribe(turn, msg_id, topic, out),
            SnMessage::PingReq { client_id } => self.handle_pingreq(turn, client_id, out),
            SnMessage::PingResp => out.is_alive = true,
            SnMessage::Disconnect { duration_s } => self.handle_disconnect(duration_s, out),
            SnMessage::WillTopicUpd(will) => {
                let change = match will {
                    None => Some(SnWillChange::Delete),
                    Some((flags, topic)) if flags.qos.is_some() && is_topic_name(topic) => {
                        Some(SnWillChange::Topic(flags, topic.into()))
                    }
                    Some(_) => None,
                };
                let code = if change.is_some() { ReturnCode::Accepted } else { ReturnCode::NotSupported };
                if change.is_some() {
                    out.renewal_mut().will = change;
                }
                out.send(&SnMessage::WillTopicResp { code });
            }
            SnMessage::WillMsgUpd(payload) => {
                out.renewal_mut().will = Some(SnWillChange::Payload(payload.into()));
                out.send(&SnMessage::WillMsgResp { code: ReturnCode::Accepted });
            }
            // What a gateway says, or what comes too late.
            _ => {}
        }
    }

    /// An acknowledgement goes to the shard, if what it is for waits for one: what comes twice is heard once.
    fn pass_on(&mut self, (kind, sent): (AckKind, SentKind), msg_id: u16, out: &mut SnOut) {
        if self.acknowledged(msg_id, |kind| kind == sent).is_some() {
            ack(kind, msg_id, ReasonCode::Success, out);
        }
    }

    fn handle_publish(
        &mut self,
        turn: SnTurn<'_>,
        (flags, topic): (SnFlags, TopicRef),
        (msg_id, data): (u16, &[u8]),
        out: &mut SnOut,
    ) {
        let qos = flags.qos.unwrap_or_default();
        let refuse = |code: ReturnCode, out: &mut SnOut| {
            if flags.qos.is_some() {
                out.send(&SnMessage::PubAck { topic_id: u16::from_be_bytes(topic.to_bytes()), msg_id, code });
            }
            out.dropped += 1;
        };
        let mut short = String::new();
        let Some(name) = self.topics.name(topic, &turn.settings.sn_topics, &mut short) else {
            return refuse(ReturnCode::InvalidTopicId, out);
        };
        let packet_id = if qos == Qos::AtMostOnce { None } else { packet_id(msg_id) };
        if qos != Qos::AtMostOnce && packet_id.is_none() {
            return refuse(ReturnCode::NotSupported, out);
        }
        let start = out.mqtt.len();
        PublishOut {
            version: Version::V5,
            topic: name,
            topic_alias: None,
            qos,
            dup: flags.dup && packet_id.is_some(),
            retain: flags.retain,
            packet_id,
            message_expiry_s: None,
            subscription_ids: &[],
            forwarded: Forwarded::default(),
            payload: data,
        }
        .encode(&mut out.mqtt);
        let asked = AskedFor { msg_id, topic_id: u16::from_be_bytes(topic.to_bytes()), kind: AskedKind::Publish };
        if packet_id.is_some() && !self.ask(asked) {
            out.mqtt.truncate(start);
            return refuse(ReturnCode::Congestion, out);
        }
        if let TopicRef::Predefined(id) = topic {
            self.topics.use_predefined(id);
        }
    }

    /// Remembers what an answer of the shard is to be about. Returns whether there is room for it.
    fn ask(&mut self, asked: AskedFor) -> bool {
        let list = &mut self.under_way_mut().asked;
        let has_room = list.len() < SN_ASKED_MAX;
        if has_room {
            list.push(asked);
        }
        has_room
    }

    fn handle_puback(&mut self, turn: SnTurn<'_>, topic_id: u16, (msg_id, code): (u16, ReturnCode), out: &mut SnOut) {
        let is_publish = |kind| matches!(kind, SentKind::Publish(_));
        if code == ReturnCode::InvalidTopicId && self.tell_topic_again(turn, topic_id, msg_id, out) {
            return;
        }
        if code == ReturnCode::Congestion {
            return self.wait_for_client(turn, (msg_id, is_publish), out);
        }
        let Some(sent) = self.acknowledged(msg_id, is_publish) else {
            // Of QoS 0 nothing is kept: the next one is told the id before.
            out.is_alive = true;
            if code == ReturnCode::InvalidTopicId {
                self.topics.forget(topic_id);
            }
            return;
        };
        let kind = if sent.kind == SentKind::Publish(Qos::ExactlyOnce) { AckKind::PubRec } else { AckKind::PubAck };
        let reason = match (code, kind) {
            (ReturnCode::Accepted, AckKind::PubAck) => ReasonCode::Success,
            _ => ReasonCode::ImplementationSpecificError,
        };
        ack(kind, msg_id, reason, out);
    }

    fn handle_register(&mut self, msg_id: u16, name: &str, out: &mut SnOut) {
        self.topics.keep(self.ids_under_way());
        let id = if is_topic_name(name) { self.topics.register(name) } else { None };
        let (topic_id, code) = match id {
            None if !is_topic_name(name) => (0, ReturnCode::NotSupported),
            Some(id) => (id, ReturnCode::Accepted),
            None => (0, ReturnCode::Congestion),
        };
        out.is_alive = true;
        out.send(&SnMessage::RegAck { topic_id, msg_id, code });
    }

    fn handle_regack(&mut self, turn: SnTurn<'_>, msg_id: u16, code: ReturnCode, out: &mut SnOut) {
        out.is_alive = true;
        let is_register = |kind| matches!(kind, SentKind::Register { .. });
        if code == ReturnCode::Congestion {
            return self.wait_for_client(turn, (msg_id, is_register), out);
        }
        let Some(sent) = self.acknowledged(msg_id, is_register) else { return };
        let SentKind::Register { topic_id } = sent.kind else { return };
        if code == ReturnCode::Accepted {
            self.topics.confirm(topic_id);
            self.send_again_with(turn, topic_id, out);
        } else {
            self.drop_first_of(topic_id, out);
        }
        self.send_waiting(turn, out);
    }

    fn handle_subscribe(
        &mut self,
        turn: SnTurn<'_>,
        flags: SnFlags,
        (msg_id, topic): (u16, TopicOrName<'_>),
        out: &mut SnOut,
    ) {
        let refuse = |code: ReturnCode, out: &mut SnOut| {
            out.is_alive = true;
            out.send(&SnMessage::SubAck { flags: SnFlags::NONE, topic_id: 0, msg_id, code });
        };
        let mut short = String::new();
        let (Some(qos), Some(packet_id)) = (flags.qos, packet_id(msg_id)) else {
            return refuse(ReturnCode::NotSupported, out);
        };
        let mut kind = AskedKind::Subscribe;
        let (filter, topic_id) = match topic {
            TopicOrName::Name(name) if is_topic_name(name) && name.len() != 2 => {
                kind = AskedKind::SubscribeByName;
                self.topics.keep(self.ids_under_way());
                match self.topics.begin_subscribe(name) {
                    Some(id) => (name, id),
                    None => return refuse(ReturnCode::Congestion, out),
                }
            }
            TopicOrName::Name(filter) => (filter, 0),
            TopicOrName::Predefined(id) => match turn.settings.sn_topics.name(id) {
                Some(name) => {
                    self.topics.use_predefined(id);
                    (name, id)
                }
                None => return refuse(ReturnCode::InvalidTopicId, out),
            },
            TopicOrName::Short(octets) => {
                match self.topics.name(TopicRef::Short(octets), &turn.settings.sn_topics, &mut short) {
                    Some(name) => (name, 0),
                    None => return refuse(ReturnCode::NotSupported, out),
                }
            }
        };
        if filter.is_empty() {
            return refuse(ReturnCode::NotSupported, out);
        }
        let options = SubscriptionOptions { qos, ..SubscriptionOptions::default() };
        let start = out.mqtt.len();
        encode_subscribe(Version::V5, packet_id, None, [SubscribeFilter { filter, options }], &mut out.mqtt);
        if !self.ask(AskedFor { msg_id, topic_id, kind }) {
            out.mqtt.truncate(start);
            if kind == AskedKind::SubscribeByName {
                self.topics.finish_subscribe(topic_id, false);
            }
            refuse(ReturnCode::Congestion, out);
        }
    }

    fn handle_unsubscribe(&mut self, turn: SnTurn<'_>, msg_id: u16, topic: TopicOrName<'_>, out: &mut SnOut) {
        let mut short = String::new();
        let filter = match topic {
            TopicOrName::Name(filter) => Some(filter),
            TopicOrName::Predefined(id) => turn.settings.sn_topics.name(id),
            TopicOrName::Short(octets) => {
                self.topics.name(TopicRef::Short(octets), &turn.settings.sn_topics, &mut short)
            }
        };
        if let (Some(filter), Some(packet_id)) = (filter.filter(|filter| !filter.is_empty()), packet_id(msg_id)) {
            encode_unsubscribe(Version::V5, packet_id, [filter], &mut out.mqtt);
            if let TopicOrName::Name(name) = topic {
                self.topics.unsubscribe(name);
            }
            return;
        }
        // There is no such subscription; UNSUBACK has no code to say so.
        out.is_alive = true;
        out.send(&SnMessage::UnsubAck { msg_id });
    }

    fn handle_pingreq(&mut self, turn: SnTurn<'_>, client_id: Option<&str>, out: &mut SnOut) {
        if client_id.is_some_and(|client_id| *client_id != *self.client_id) {
            // Somebody else, whom nobody knows here.
            return out.send(&SnMessage::Disconnect { duration_s: None });
        }
        match self.state {
            SnState::Asleep => {
                out.is_alive = true;
                self.state = SnState::Awake;
                self.send_all_again(turn, out);
            }
            // It is answered when everything has been sent.
            SnState::Awake => out.is_alive = true,
            _ => out.mqtt.extend(PINGREQ),
        }
    }

    fn handle_disconnect(&mut self, duration_s: Option<u16>, out: &mut SnOut) {
        self.say_goodbye(out);
        self.is_resuming = false;
        if let Some(under_way) = self.under_way.as_deref_mut() {
            under_way.will = WillDraft::default();
        }
        if let Some(duration_s) = duration_s.filter(|duration_s| *duration_s > 0) {
            self.state = SnState::Asleep;
            let renewal = out.renewal_mut();
            (renewal.keep_alive_s, renewal.sleeps) = (Some(duration_s), true);
            return;
        }
        self.silence();
        Disconnect::default().encode(Version::V5, &mut out.mqtt);
    }
}

/// What a CONNECT from the address of a client means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reconnect {
    /// The same client, and the same connection.
    GoesOn,
    /// The same client, that wants nothing of what was.
    Anew,
    /// Another client.
    Other,
}

/// One step of an exchange, for the shard.
pub(super) fn ack(kind: AckKind, msg_id: u16, reason: ReasonCode, out: &mut SnOut) {
    if let Some(packet_id) = PacketId::new(msg_id) {
        encode_ack(Version::V5, kind, packet_id, reason, &mut out.mqtt);
    }
}
