//! Drives rumqttc's client for MQTT 5.0, which lives in this process: a thread polls its event loop.

use std::collections::HashMap;
use std::sync::mpsc;
use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, ConnectReturnCode, Filter, LastWill, LastWillProperties, Packet, PubAckReason, Publish, PublishProperties,
    RetainForwardRule, SubscribeProperties, SubscribeReasonCode, UnsubAckReason,
};
use rumqttc::v5::{AsyncClient, ConnectionError, Event as Happened, EventLoop, MqttOptions, StateError};
use rumqttc::{Outgoing, v5::mqttbytes::qos};
use tokio::sync::oneshot;

use crate::life::Life;
use crate::tls;
use crate::words::{Command, Connect, Event, Message, Properties, Subscription, Will};

/// Commands on their way to the event loop; a scenario never has more outstanding.
const COMMANDS_MAX: usize = 4096;
/// rumqttc's own limit is 10 KiB.
const PACKET_BYTES_MAX: u32 = 1 << 20;

/// One client. It vanishes when it is dropped.
pub(crate) struct Driver {
    events: mpsc::Sender<Event>,
    client: Option<AsyncClient>,
    /// Dropping it ends the event loop, and with it the socket.
    life: Option<Life>,
}

impl Driver {
    pub(crate) fn new(events: mpsc::Sender<Event>) -> Self {
        Self { events, client: None, life: None }
    }

    pub(crate) fn send(&mut self, command: Command) {
        if let Command::Connect(connect) = command {
            self.connect(&connect);
            return;
        }
        let done = self.client.as_ref().map_or(Err("not connected".to_owned()), |client| request(client, command));
        if let Err(why) = done {
            let _ = self.events.send(Event::Failed { why });
        }
    }

    pub(crate) fn kill(&mut self) {
        self.life = None;
    }

    fn connect(&mut self, connect: &Connect) {
        let mut options = MqttOptions::new(&connect.id, &connect.host, connect.port);
        options
            .set_clean_start(connect.clean)
            .set_keep_alive(Duration::from_secs(connect.keep_alive_s.into()))
            .set_max_packet_size(Some(PACKET_BYTES_MAX))
            .set_session_expiry_interval(connect.session_expiry_s)
            .set_receive_maximum(connect.receive_maximum)
            .set_topic_alias_max(connect.topic_alias_maximum);
        if let Some(will) = &connect.will {
            options.set_last_will(last_will(will));
        }
        if let Some(ca) = &connect.ca {
            options.set_transport(tls::rumqttc(ca));
        }
        let (client, event_loop) = AsyncClient::new(options, COMMANDS_MAX);
        let events = self.events.clone();
        let life = Life::start(move |end| run(event_loop, end, &events));
        (self.client, self.life) = (Some(client), Some(life));
    }
}

/// Polls until the connection ends or the driver is dropped. rumqttc would reconnect; a scenario does that itself.
fn run(mut event_loop: EventLoop, end: oneshot::Receiver<()>, events: &mpsc::Sender<Event>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime for rumqttc");
    let poll = async {
        let mut aliases = HashMap::new();
        let error = loop {
            match event_loop.poll().await {
                Ok(happened) => {
                    if let Some(event) = told(happened, &mut aliases) {
                        let _ = events.send(event);
                    }
                }
                Err(error) => break error,
            }
        };
        if let ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, .. }) = error {
            let _ = events.send(Event::Disconnected { reason: reason_code as u8 });
        }
        let _ = events.send(Event::Closed);
    };
    runtime.block_on(async {
        tokio::select! {
            () = poll => {}
            _ = end => {}
        }
    });
}

fn request(client: &AsyncClient, command: Command) -> Result<(), String> {
    let done = match command {
        Command::Connect(_) => unreachable!("handled by the driver"),
        Command::Subscribe { subscriptions, id } => {
            let filters = subscriptions.into_iter().map(filter);
            match id {
                Some(id) => {
                    let properties = SubscribeProperties { id: Some(id as usize), user_properties: Vec::new() };
                    client.try_subscribe_many_with_properties(filters, properties)
                }
                None => client.try_subscribe_many(filters),
            }
        }
        Command::Unsubscribe { filters } => {
            let unsubscribe = |filter: String| client.try_unsubscribe(filter).map_err(|error| format!("{error:?}"));
            return filters.into_iter().try_for_each(unsubscribe);
        }
        Command::Publish(message) => {
            let (qos, p) = (qos_of(message.qos), message.properties);
            let properties = PublishProperties {
                payload_format_indicator: p.payload_format,
                message_expiry_interval: p.message_expiry_s,
                topic_alias: p.topic_alias,
                response_topic: p.response_topic,
                correlation_data: p.correlation_data.map(Into::into),
                user_properties: p.user,
                subscription_identifiers: Vec::new(),
                content_type: p.content_type,
            };
            client.try_publish_with_properties(message.topic, qos, message.retain, message.payload, properties)
        }
        Command::Disconnect => client.try_disconnect(),
    };
    done.map_err(|error| format!("{error:?}"))
}

fn filter(subscription: Subscription) -> Filter {
    let mut filter = Filter::new(subscription.filter, qos_of(subscription.qos));
    filter.nolocal = subscription.no_local;
    filter.preserve_retain = subscription.retain_as_published;
    filter.retain_forward_rule = match subscription.retain_handling {
        0 => RetainForwardRule::OnEverySubscribe,
        1 => RetainForwardRule::OnNewSubscribe,
        _ => RetainForwardRule::Never,
    };
    filter
}

fn last_will(will: &Will) -> LastWill {
    let message = will.message.clone();
    let p = message.properties;
    let properties = LastWillProperties {
        delay_interval: will.delay_s,
        payload_format_indicator: p.payload_format,
        message_expiry_interval: p.message_expiry_s,
        content_type: p.content_type,
        response_topic: p.response_topic,
        correlation_data: p.correlation_data.map(Into::into),
        user_properties: p.user,
    };
    LastWill::new(message.topic, message.payload, qos_of(message.qos), message.retain, Some(properties))
}

fn qos_of(number: u8) -> QoS {
    qos(number).expect("scenarios use QoS 0, 1 and 2")
}

fn told(happened: Happened, aliases: &mut HashMap<u16, String>) -> Option<Event> {
    Some(match happened {
        Happened::Incoming(Packet::ConnAck(connack)) => connected(&connack),
        Happened::Incoming(Packet::SubAck(suback)) => {
            Event::Suback { reasons: suback.return_codes.into_iter().map(suback_reason).collect() }
        }
        Happened::Incoming(Packet::UnsubAck(unsuback)) => {
            Event::Unsuback { reasons: unsuback.reasons.into_iter().map(unsuback_reason).collect() }
        }
        Happened::Incoming(Packet::PubAck(puback)) => Event::Published { reason: Some(puback_reason(puback.reason)) },
        Happened::Incoming(Packet::PubComp(_)) | Happened::Outgoing(Outgoing::Publish(0)) => {
            Event::Published { reason: None }
        }
        Happened::Incoming(Packet::Publish(publish)) => Event::Message(message(publish, aliases)),
        _ => return None,
    })
}

fn connected(connack: &ConnAck) -> Event {
    let properties = connack.properties.as_ref();
    Event::Connack {
        reason: if connack.code == ConnectReturnCode::Success { 0 } else { 0x80 },
        session_present: connack.session_present,
        assigned_id: properties.and_then(|properties| properties.assigned_client_identifier.clone()),
        topic_alias_maximum: properties.and_then(|properties| properties.topic_alias_max),
    }
}

/// rumqttc hands out a PUBLISH as it came, before it resolves the alias.
fn message(publish: Publish, aliases: &mut HashMap<u16, String>) -> Message {
    let p = publish.properties.unwrap_or_default();
    let mut topic = String::from_utf8_lossy(&publish.topic).into_owned();
    if let Some(alias) = p.topic_alias {
        if topic.is_empty() {
            topic = aliases.get(&alias).cloned().unwrap_or_default();
        } else {
            aliases.insert(alias, topic.clone());
        }
    }
    Message {
        topic,
        payload: publish.payload.to_vec(),
        qos: publish.qos as u8,
        retain: publish.retain,
        properties: Properties {
            payload_format: p.payload_format_indicator,
            message_expiry_s: p.message_expiry_interval,
            content_type: p.content_type,
            response_topic: p.response_topic,
            correlation_data: p.correlation_data.map(|data| data.to_vec()),
            user: p.user_properties,
            subscription_ids: p.subscription_identifiers.into_iter().map(|id| id as u32).collect(),
            topic_alias: None,
        },
    }
}

fn suback_reason(code: SubscribeReasonCode) -> u8 {
    match code {
        SubscribeReasonCode::Success(qos) => qos as u8,
        SubscribeReasonCode::Failure | SubscribeReasonCode::Unspecified => 0x80,
        SubscribeReasonCode::ImplementationSpecific => 0x83,
        SubscribeReasonCode::NotAuthorized => 0x87,
        SubscribeReasonCode::TopicFilterInvalid => 0x8F,
        SubscribeReasonCode::PkidInUse => 0x91,
        SubscribeReasonCode::QuotaExceeded => 0x97,
        SubscribeReasonCode::SharedSubscriptionsNotSupported => 0x9E,
        SubscribeReasonCode::SubscriptionIdNotSupported => 0xA1,
        SubscribeReasonCode::WildcardSubscriptionsNotSupported => 0xA2,
    }
}

fn unsuback_reason(reason: UnsubAckReason) -> u8 {
    match reason {
        UnsubAckReason::Success => 0,
        UnsubAckReason::NoSubscriptionExisted => 0x11,
        UnsubAckReason::UnspecifiedError => 0x80,
        UnsubAckReason::ImplementationSpecificError => 0x83,
        UnsubAckReason::NotAuthorized => 0x87,
        UnsubAckReason::TopicFilterInvalid => 0x8F,
        UnsubAckReason::PacketIdentifierInUse => 0x91,
    }
}

fn puback_reason(reason: PubAckReason) -> u8 {
    match reason {
        PubAckReason::Success => 0,
        PubAckReason::NoMatchingSubscribers => 0x10,
        PubAckReason::UnspecifiedError => 0x80,
        PubAckReason::ImplementationSpecificError => 0x83,
        PubAckReason::NotAuthorized => 0x87,
        PubAckReason::TopicNameInvalid => 0x90,
        PubAckReason::PacketIdentifierInUse => 0x91,
        PubAckReason::QuotaExceeded => 0x97,
        PubAckReason::PayloadFormatInvalid => 0x99,
    }
}
