//! Drives rumqttc's client for MQTT 3.1.1, which lives in this process: a thread polls its event loop.

use std::sync::mpsc;
use std::time::Duration;

use rumqttc::{
    AsyncClient, ConnectReturnCode, Event as Happened, EventLoop, LastWill, MqttOptions, Outgoing, Packet, QoS,
    SubscribeFilter, SubscribeReasonCode, qos,
};
use tokio::sync::oneshot;

use crate::life::Life;
use crate::tls;
use crate::words::{Command, Connect, Event, Message, Properties};

/// Commands on their way to the event loop; a scenario never has more outstanding.
const COMMANDS_MAX: usize = 4096;
/// rumqttc's own limit is 10 KiB both ways.
const PACKET_BYTES_MAX: usize = 1 << 20;

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
            .set_clean_session(connect.clean)
            .set_keep_alive(Duration::from_secs(connect.keep_alive_s.into()))
            .set_max_packet_size(PACKET_BYTES_MAX, PACKET_BYTES_MAX);
        if let Some(will) = &connect.will {
            let message = &will.message;
            let qos = qos_of(message.qos);
            options.set_last_will(LastWill::new(&message.topic, message.payload.clone(), qos, message.retain));
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
        while let Ok(happened) = event_loop.poll().await {
            if let Some(event) = told(happened) {
                let _ = events.send(event);
            }
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
        Command::Subscribe { subscriptions, .. } => client.try_subscribe_many(
            subscriptions
                .into_iter()
                .map(|subscription| SubscribeFilter::new(subscription.filter, qos_of(subscription.qos))),
        ),
        Command::Unsubscribe { filters } => {
            let unsubscribe = |filter: String| client.try_unsubscribe(filter).map_err(|error| format!("{error:?}"));
            return filters.into_iter().try_for_each(unsubscribe);
        }
        Command::Publish(message) => {
            client.try_publish(message.topic, qos_of(message.qos), message.retain, message.payload)
        }
        Command::Disconnect => client.try_disconnect(),
    };
    done.map_err(|error| format!("{error:?}"))
}

fn qos_of(number: u8) -> QoS {
    qos(number).expect("scenarios use QoS 0, 1 and 2")
}

fn told(happened: Happened) -> Option<Event> {
    Some(match happened {
        Happened::Incoming(Packet::ConnAck(connack)) => Event::Connack {
            reason: u8::from(connack.code != ConnectReturnCode::Success),
            session_present: connack.session_present,
            assigned_id: None,
            topic_alias_maximum: None,
        },
        Happened::Incoming(Packet::SubAck(suback)) => {
            let reason = |code: &SubscribeReasonCode| match code {
                SubscribeReasonCode::Success(qos) => *qos as u8,
                SubscribeReasonCode::Failure => 0x80,
            };
            Event::Suback { reasons: suback.return_codes.iter().map(reason).collect() }
        }
        Happened::Incoming(Packet::UnsubAck(_)) => Event::Unsuback { reasons: Vec::new() },
        Happened::Incoming(Packet::PubAck(_) | Packet::PubComp(_)) | Happened::Outgoing(Outgoing::Publish(0)) => {
            Event::Published { reason: None }
        }
        Happened::Incoming(Packet::Publish(publish)) => Event::Message(Message {
            topic: publish.topic,
            payload: publish.payload.to_vec(),
            qos: publish.qos as u8,
            retain: publish.retain,
            properties: Properties::default(),
        }),
        _ => return None,
    })
}
