//! One client in a scenario: says what to do, waits for the answer, and hands out what came.
//!
//! Every wait ends after [`WAIT`] with a panic that says what was awaited. Events that were not asked for yet are kept in
//! their order, so a scenario never races a client.

use std::collections::VecDeque;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::process::Process;
use crate::stage::{Library, Stage, WAIT};
use crate::words::{Command, Connect, Event, Message, Properties, Subscription, Version};
use crate::{rumqttc_driver_v4, rumqttc_driver_v5};

/// A client under the scenario's control.
pub(crate) struct Peer {
    name: String,
    driver: Driver,
    events: mpsc::Receiver<Event>,
    /// What came and was not asked for yet.
    unread: VecDeque<Event>,
    transcript: std::sync::Arc<crate::stage::Transcript>,
}

/// What stands between the scenario and the library.
enum Driver {
    Process(Process),
    RumqttcV4(rumqttc_driver_v4::Driver),
    RumqttcV5(rumqttc_driver_v5::Driver),
}

impl Driver {
    fn start(stage: &Stage, name: &str, events: mpsc::Sender<Event>) -> Self {
        let program: &[&str] = match (stage.client().library, stage.version()) {
            (Library::Paho, _) => &[".venv/bin/python", "tests/clients/py/paho_driver.py"],
            (Library::Gmqtt, _) => &[".venv/bin/python", "tests/clients/py/gmqtt_driver.py"],
            (Library::MqttJs, _) => &["node", "tests/clients/js/driver.js"],
            (Library::Rumqttc, Version::V5) => return Self::RumqttcV5(rumqttc_driver_v5::Driver::new(events)),
            (Library::Rumqttc, _) => return Self::RumqttcV4(rumqttc_driver_v4::Driver::new(events)),
            (Library::Mosquitto, _) => unreachable!("mosquitto's clients are commands, not drivers"),
        };
        Self::Process(Process::start(program, name, stage.transcript(), events))
    }
}

impl Peer {
    /// A client that has done nothing yet.
    pub(crate) fn new(stage: &Stage, name: &str) -> Self {
        let (sender, events) = mpsc::channel();
        let driver = Driver::start(stage, name, sender);
        let transcript = std::sync::Arc::clone(stage.transcript());
        Self { name: name.to_owned(), driver, events, unread: VecDeque::new(), transcript }
    }

    /// A client whose CONNECT was accepted, and whether the server had its session.
    #[track_caller]
    pub(crate) fn connected(stage: &Stage, name: &str, connect: Connect) -> (Self, bool) {
        let mut peer = Self::new(stage, name);
        match peer.ask(Command::Connect(connect)) {
            Event::Connack { reason: 0, session_present, .. } => (peer, session_present),
            other => panic!("{name}: CONNECT was answered with {other:?}"),
        }
    }

    /// Gives a command and waits for its answer.
    #[track_caller]
    pub(crate) fn ask(&mut self, command: Command) -> Event {
        let what = format!("the answer to {command:?}");
        self.tell(command);
        self.next("an answer", |event| !matches!(event, Event::Message(_) | Event::Disconnected { .. }), &what)
    }

    /// Gives a command and does not wait.
    pub(crate) fn tell(&mut self, command: Command) {
        let shown = serde_json::to_string(&command).expect("a command has a JSON form");
        self.transcript.add(&self.name, ">", &shown);
        match &mut self.driver {
            Driver::Process(process) => process.send(&command),
            Driver::RumqttcV4(driver) => driver.send(command),
            Driver::RumqttcV5(driver) => driver.send(command),
        }
        // What the drivers in this process tell is not seen by a reader of lines.
    }

    /// Subscribes to one filter, which must be granted as asked.
    #[track_caller]
    pub(crate) fn subscribe(&mut self, filter: &str, qos: u8) {
        let subscription = Subscription { filter: filter.to_owned(), qos, ..Subscription::default() };
        assert_eq!(self.subscribe_with(vec![subscription], None), [qos], "{}: SUBSCRIBE {filter}", self.name);
    }

    /// Subscribes with options; the reasons of the SUBACK.
    #[track_caller]
    pub(crate) fn subscribe_with(&mut self, subscriptions: Vec<Subscription>, id: Option<u32>) -> Vec<u8> {
        match self.ask(Command::Subscribe { subscriptions, id }) {
            Event::Suback { reasons } => reasons,
            other => panic!("{}: SUBSCRIBE was answered with {other:?}", self.name),
        }
    }

    /// Unsubscribes; the reasons of the UNSUBACK, none before MQTT 5.0.
    #[track_caller]
    pub(crate) fn unsubscribe(&mut self, filter: &str) -> Vec<u8> {
        match self.ask(Command::Unsubscribe { filters: vec![filter.to_owned()] }) {
            Event::Unsuback { reasons } => reasons,
            other => panic!("{}: UNSUBSCRIBE was answered with {other:?}", self.name),
        }
    }

    /// Waits until the server has seen everything that this client has acknowledged so far: whatever vanishes before that
    /// comes again, and rightly. A question and its answer do it, because the answer to the last PUBREC comes before them.
    #[track_caller]
    pub(crate) fn wait_until_heard(&mut self) {
        self.unsubscribe("nothing/of/this/name");
    }

    /// Publishes and waits until the server has taken it.
    #[track_caller]
    pub(crate) fn publish(&mut self, message: Message) -> Option<u8> {
        match self.ask(Command::Publish(message)) {
            Event::Published { reason } => {
                assert!(reason.is_none_or(|reason| reason < 0x80), "{}: PUBLISH was refused: {reason:?}", self.name);
                reason
            }
            other => panic!("{}: PUBLISH was answered with {other:?}", self.name),
        }
    }

    /// Publishes all before it waits for any.
    #[track_caller]
    pub(crate) fn publish_all(&mut self, messages: Vec<Message>) {
        let count = messages.len();
        for message in messages {
            self.tell(Command::Publish(message));
        }
        for n in 0..count {
            let what = format!("the end of PUBLISH {} of {count}", n + 1);
            self.next("published", |event| matches!(event, Event::Published { .. }), &what);
        }
    }

    /// The next message.
    #[track_caller]
    pub(crate) fn message(&mut self) -> Message {
        match self.next("message", |event| matches!(event, Event::Message(_)), "a message") {
            Event::Message(message) => message,
            other => unreachable!("{other:?} is no message"),
        }
    }

    /// The next message if one comes within the time.
    pub(crate) fn message_within(&mut self, limit: Duration) -> Option<Message> {
        match self.take(|event| matches!(event, Event::Message(_)), limit) {
            Some(Event::Message(message)) => Some(message),
            _ => None,
        }
    }

    /// The next message must have this topic and this text; it is returned for more to be looked at.
    #[track_caller]
    pub(crate) fn expect(&mut self, topic: &str, text: &str) -> Message {
        let message = self.message();
        assert_eq!((message.topic.as_str(), message.text()), (topic, text), "{}: the next message", self.name);
        message
    }

    /// Proves that nothing is on its way here from `from`: what it publishes now is the next thing that comes.
    #[track_caller]
    pub(crate) fn expect_nothing_before(&mut self, from: &mut Self, fence: Message) {
        let (topic, text) = (fence.topic.clone(), fence.text().to_owned());
        from.publish(fence);
        let next = self.message();
        assert_eq!((&next.topic, next.text()), (&topic, text.as_str()), "{}: nothing else was to come", self.name);
    }

    /// The reason of the server's DISCONNECT.
    #[track_caller]
    pub(crate) fn disconnected(&mut self) -> u8 {
        match self.next("disconnected", |event| matches!(event, Event::Disconnected { .. }), "the server's DISCONNECT")
        {
            Event::Disconnected { reason } => reason,
            other => unreachable!("{other:?} is no DISCONNECT"),
        }
    }

    /// Waits for the end of the connection.
    #[track_caller]
    pub(crate) fn closed(&mut self) {
        self.next("closed", |event| matches!(event, Event::Closed), "the end of the connection");
    }

    /// DISCONNECT, and the end of the connection.
    #[track_caller]
    pub(crate) fn disconnect(mut self) {
        self.tell(Command::Disconnect);
        self.closed();
    }

    /// Vanishes without a DISCONNECT: the socket is closed and nothing said.
    pub(crate) fn vanish(mut self) {
        self.transcript.add(&self.name, ">", "(vanishes)");
        match &mut self.driver {
            Driver::Process(process) => process.kill(),
            Driver::RumqttcV4(driver) => driver.kill(),
            Driver::RumqttcV5(driver) => driver.kill(),
        }
    }

    /// The next event that is wanted; a `failed` on the way ends the wait.
    #[track_caller]
    fn next(&mut self, kind: &str, wanted: impl Fn(&Event) -> bool, what: &str) -> Event {
        let found = self.take(|event| wanted(event) || matches!(event, Event::Failed { .. }), WAIT);
        match found {
            Some(event) if wanted(&event) => event,
            Some(Event::Failed { why }) => panic!("{}: awaited {kind}, the client says: {why} ({what})", self.name),
            _ => panic!("{}: {what} did not come in {WAIT:?}; unread: {:?}", self.name, self.unread),
        }
    }

    /// Takes the first event that is wanted, those that came before it stay.
    fn take(&mut self, wanted: impl Fn(&Event) -> bool, limit: Duration) -> Option<Event> {
        if let Some(at) = self.unread.iter().position(&wanted) {
            return self.unread.remove(at);
        }
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let event = self.events.recv_timeout(left).ok()?;
            if matches!(self.driver, Driver::RumqttcV4(_) | Driver::RumqttcV5(_)) {
                let shown = serde_json::to_string(&event).expect("an event has a JSON form");
                self.transcript.add(&self.name, "<", &shown);
            }
            if wanted(&event) {
                return Some(event);
            }
            self.unread.push_back(event);
        }
    }
}

/// Properties with everything that the server must pass on unchanged.
pub(crate) fn passed_on() -> Properties {
    Properties {
        payload_format: Some(1),
        content_type: Some("application/json; charset=utf-8".to_owned()),
        response_topic: Some("reply/here".to_owned()),
        correlation_data: Some((0..=255).collect()),
        // Order and repeated names are part of the value [MQTT-3.3.2-17], [MQTT-3.3.2-18].
        user: [("b", "1"), ("a", "2"), ("b", "3"), ("", ""), ("ä", "€")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .to_vec(),
        ..Properties::default()
    }
}
