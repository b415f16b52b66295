//! Clients of MQTT-SN behind a network that loses, doubles and reorders datagrams: one shard, its translator, and the model of what
//! each client is owed.
//!
//! Always holds: what a publisher was told has been taken reaches the subscriber, whatever the network does and however often the
//! subscriber sleeps or forgets what topic ids mean; with QoS 2 once, unless the network keeps a copy back until its exchange has ended: then it is a new message, and
//! MQTT-SN has nothing that tells them apart.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use dunlin::auth::Policy;
use dunlin::conn::sn::{ReturnCode, SnFlags, SnMessage, TopicOrName, TopicRef};
use dunlin::conn::{ConnectRates, Connections, ConnectionsConfig, ListenerLayers, ShardTurn};
use dunlin::ids::{Qos, ShardId};
use dunlin::settings::{ListenerKind, ListenerSettings, PredefinedTopics, Settings};
use dunlin::shard::{Effects, Input, LogStart, Places, ProcessContext, Shard, Turn};
use dunlin::telemetry::TransportCounters;
use dunlin::time::Now;

use crate::rng::Rng;

/// Messages that the publisher has.
const MESSAGES: u32 = 60;
/// What they are on: three that are registered, a short one, and one that both sides know beforehand.
const TOPICS: [&str; 5] = ["a/b", "c/d", "e/f", "xy", "fleet/seven"];
const REGISTERED: usize = 3;
const PREDEFINED: u16 = 7;
/// A client says again what was not answered.
const RETRY_MS: u64 = 1_000;
/// Far above what any run takes.
const LIMIT_MS: u64 = 3_600_000;

/// How bad a network is, in percent.
#[derive(Clone, Copy)]
struct Network {
    loses: usize,
    doubles: usize,
    delay_ms: usize,
    /// No copy comes later than the end of its exchange.
    keeps_qos_2: bool,
}

/// One datagram on its way: to a client, or from one.
struct OnItsWay {
    at_ms: u64,
    client: usize,
    to_client: bool,
    bytes: Vec<u8>,
}

/// What a client waits for, and says again until it comes.
struct Question {
    bytes: Vec<u8>,
    answered_by: fn(&SnMessage<'_>) -> bool,
    again_ms: u64,
}

#[derive(Default)]
struct SnModel {
    asks: Option<Question>,
    /// Steps that it has yet to take.
    steps: VecDeque<Step>,
    /// What it has registered.
    topic_ids: Vec<u16>,
    next_msg_id: u16,
    topics: BTreeMap<u16, String>,
    /// QoS 2 messages that it has and that are not released.
    unreleased: BTreeSet<u16>,
    got: BTreeMap<u32, usize>,
    asleep: bool,
    is_subscribed: bool,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Connect,
    Register(&'static str),
    Subscribe,
    Publish(u32, Qos, usize),
    Release,
    Sleep,
    WakeForMore,
    Reconnect,
    /// It has forgotten what ids mean, and connects to the session that it had.
    Reboot,
}

struct World {
    connections: Connections,
    shard: Shard,
    fx: Effects,
    now: Now,
    rng: Rng,
    network: Network,
    on_its_way: Vec<OnItsWay>,
    clients: [SnModel; 2],
    /// What the publisher was told has been taken.
    taken: BTreeMap<u32, Qos>,
    /// What each message is on.
    topics: BTreeMap<u32, &'static str>,
    /// What somebody was told and is not so.
    wrong: Option<String>,
    /// The model loses a message on purpose: it has to be noticed.
    canary: bool,
    trace: u64,
}

const PUBLISHER: usize = 0;
const SUBSCRIBER: usize = 1;

fn address(client: usize) -> SocketAddr {
    ([192, 0, 2, 1], 1_000 + client as u16).into()
}

fn encoded(message: &SnMessage<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    bytes
}

impl World {
    fn new(seed: u64, network: Network, canary: bool) -> Self {
        let now = Now { mono_ns: 1_000_000_000, unix_ms: 1_700_000_000_000 };
        let settings = Settings { sys_interval_s: 0, ..Settings::default() };
        let places = Arc::new(Places::new(100, []));
        let process = ProcessContext { places, ..ProcessContext::new(settings, 1, now) };
        let mut connections = Connections::new(ConnectionsConfig {
            own: ShardId(0),
            shards: 1,
            connections_max: 100,
            connections: Arc::default(),
            rates: Arc::new(ConnectRates::none()),
            handovers: Arc::default(),
            settings: Arc::clone(&process.settings),
            instance: 1,
        });
        let listener = ListenerSettings {
            kind: ListenerKind::MqttSn,
            policy: Policy::Admit,
            sn_retry_s: 1,
            sn_retries: 100,
            sn_topics: Arc::new(PredefinedTopics::parse("7 fleet/seven").expect("it is one")),
            ..ListenerSettings::default()
        };
        connections.add_listener(Arc::new(listener), Arc::default(), ListenerLayers::None);
        let mut rng = Rng::new(seed);
        let mut publisher = vec![Step::Connect];
        publisher.extend(TOPICS[..REGISTERED].iter().map(|name| Step::Register(name)));
        let mut topics = BTreeMap::new();
        for number in 0..MESSAGES {
            let qos = *rng.pick(&[Qos::AtMostOnce, Qos::AtLeastOnce, Qos::AtLeastOnce, Qos::ExactlyOnce]);
            // One that the canary loses is owed.
            let qos = if number == MESSAGES / 2 { qos.max(Qos::AtLeastOnce) } else { qos };
            let topic = rng.below(TOPICS.len());
            topics.insert(number, TOPICS[topic]);
            publisher.push(Step::Publish(number, qos, topic));
            if qos == Qos::ExactlyOnce {
                publisher.push(Step::Release);
            }
        }
        let model = |steps: Vec<Step>| SnModel { steps: steps.into(), next_msg_id: 1, ..SnModel::default() };
        let clients = [model(publisher), model(vec![Step::Connect, Step::Subscribe])];
        let shard = Shard::new(ShardId(0), &process, now, LogStart::default());
        Self {
            connections,
            shard,
            fx: Effects::default(),
            now,
            rng,
            network,
            on_its_way: Vec::new(),
            clients,
            taken: BTreeMap::new(),
            topics,
            wrong: None,
            canary,
            trace: 0,
        }
    }

    fn with(&mut self, act: impl FnOnce(&mut Connections, &mut ShardTurn<'_>)) {
        let turn = Turn { now: self.now, fx: &mut self.fx };
        act(&mut self.connections, &mut ShardTurn { shard: &mut self.shard, turn });
        self.connections.apply(&self.fx);
        self.fx.clear();
    }

    /// Puts a datagram on its way, once, twice or not at all.
    fn send(&mut self, client: usize, to_client: bool, bytes: &[u8]) {
        for byte in bytes {
            self.trace = self.trace.wrapping_mul(0x0100_0000_01b3) ^ u64::from(*byte);
        }
        let copies = match self.rng.below(100) {
            chance if chance < self.network.loses => 0,
            chance if chance < self.network.loses + self.network.doubles => 2,
            _ => 1,
        };
        for _ in 0..copies {
            let at_ms = self.now.ms() + 1 + self.rng.below(self.network.delay_ms) as u64;
            self.on_its_way.push(OnItsWay { at_ms, client, to_client, bytes: bytes.to_vec() });
        }
    }

    /// One turn of the broker.
    fn turn(&mut self) {
        self.connections.begin_turn();
        self.with(|connections, core| connections.handle_deadlines(core));
        self.with(|_, core| {
            core.shard.handle(&mut core.turn, Input::Tick { transport: &TransportCounters::default() });
        });
        let mut flush = None;
        self.with(|connections, core| flush = Some(connections.begin_flush(core)));
        let sent: Vec<_> = self
            .connections
            .datagrams_to_send()
            .map(|(_, to, bytes)| (usize::from(to.port()) - 1_000, bytes.to_vec()))
            .collect();
        self.with(|connections, core| {
            connections.finish_flush(core, flush.take().expect("it was begun"), std::iter::empty());
        });
        for (client, bytes) in sent {
            self.send(client, true, &bytes);
        }
    }

    fn run(&mut self) -> Result<(), String> {
        let begun_ms = self.now.ms();
        while !self.is_done() {
            if self.now.ms() - begun_ms > LIMIT_MS {
                return Err(format!("it takes too long: {:?} were taken, {:?} came", self.taken, self.clients[1].got));
            }
            self.now.mono_ns += 10_000_000;
            let due_ms = self.now.ms();
            let (due, later) = std::mem::take(&mut self.on_its_way).into_iter().partition(|way| way.at_ms <= due_ms);
            self.on_its_way = later;
            let mut due: Vec<OnItsWay> = due;
            due.sort_by_key(|way| way.at_ms);
            for OnItsWay { client, to_client, bytes, .. } in due {
                if to_client {
                    self.hear(client, &bytes);
                } else {
                    self.with(|connections, core| connections.datagram(core, 0, address(client), &bytes));
                }
            }
            self.ask(PUBLISHER);
            self.ask(SUBSCRIBER);
            self.turn();
        }
        self.judge()
    }

    fn is_done(&self) -> bool {
        let publisher = &self.clients[PUBLISHER];
        let has_published = publisher.steps.is_empty() && publisher.asks.is_none();
        let missing = self.taken.keys().any(|number| !self.clients[SUBSCRIBER].got.contains_key(number));
        has_published && (!missing || self.canary && self.on_its_way.is_empty())
    }

    fn judge(&self) -> Result<(), String> {
        if let Some(wrong) = &self.wrong {
            return Err(wrong.clone());
        }
        for (number, qos) in &self.taken {
            match (self.clients[SUBSCRIBER].got.get(number), qos) {
                (None, _) => return Err(format!("message {number} was taken and never came")),
                (Some(2..), Qos::ExactlyOnce) if self.network.keeps_qos_2 => {
                    return Err(format!("message {number} of QoS 2 came twice"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A client goes on with what it has to do, or says again what was not answered.
    fn ask(&mut self, client: usize) {
        let now_ms = self.now.ms();
        let model = &mut self.clients[client];
        if let Some(question) = &mut model.asks {
            if now_ms < question.again_ms {
                return;
            }
            question.again_ms = now_ms + RETRY_MS;
            let bytes = question.bytes.clone();
            return self.send(client, false, &bytes);
        }
        // A publisher waits until somebody hears it; a subscriber sleeps from time to time.
        if client == PUBLISHER && !self.clients[SUBSCRIBER].is_subscribed {
            return;
        }
        if client == SUBSCRIBER && self.clients[client].steps.is_empty() && self.rng.percent(2) {
            let step = match (self.clients[client].asleep, self.rng.percent(30)) {
                (false, true) => Step::Reboot,
                (false, false) => Step::Sleep,
                (true, false) => Step::WakeForMore,
                (true, true) => Step::Reconnect,
            };
            self.clients[client].steps.push_back(step);
        }
        let Some(step) = self.clients[client].steps.pop_front() else { return };
        let (bytes, answered_by) = self.question(client, step);
        let bytes_to_send = bytes.clone();
        // Of QoS 0 nobody hears anything.
        if !matches!(step, Step::Publish(_, Qos::AtMostOnce, _)) {
            self.clients[client].asks = Some(Question { bytes, answered_by, again_ms: now_ms + RETRY_MS });
        }
        self.send(client, false, &bytes_to_send);
    }

    fn question(&mut self, client: usize, step: Step) -> (Vec<u8>, fn(&SnMessage<'_>) -> bool) {
        let model = &mut self.clients[client];
        let name = if client == PUBLISHER { "publisher" } else { "subscriber" };
        if !matches!(step, Step::Release) {
            model.next_msg_id += 1;
        }
        let msg_id = model.next_msg_id;
        let connect = SnMessage::Connect { flags: SnFlags::NONE, protocol_id: 1, duration_s: 0, client_id: name };
        match step {
            Step::Connect => (encoded(&connect), |answer| matches!(answer, SnMessage::ConnAck { .. })),
            Step::Reconnect | Step::Reboot => {
                model.asleep = false;
                if matches!(step, Step::Reboot) {
                    model.topics.clear();
                }
                (encoded(&connect), |answer| matches!(answer, SnMessage::ConnAck { .. }))
            }
            Step::Register(name) => {
                let register = SnMessage::Register { topic_id: 0, msg_id, name };
                (encoded(&register), |answer| matches!(answer, SnMessage::RegAck { code: ReturnCode::Accepted, .. }))
            }
            Step::Subscribe => {
                let flags = SnFlags::of_qos(Qos::ExactlyOnce);
                let subscribe = SnMessage::Subscribe { flags, msg_id, topic: TopicOrName::Name("#") };
                (encoded(&subscribe), |answer| matches!(answer, SnMessage::SubAck { code: ReturnCode::Accepted, .. }))
            }
            Step::Publish(number, qos, topic) => {
                let topic = match topic {
                    registered @ 0..REGISTERED => TopicRef::Normal(model.topic_ids[registered]),
                    REGISTERED => TopicRef::Short(*b"xy"),
                    _ => TopicRef::Predefined(PREDEFINED),
                };
                let publish =
                    SnMessage::Publish { flags: SnFlags::of_qos(qos), topic, msg_id, data: &number.to_be_bytes() };
                let bytes = encoded(&publish);
                if qos != Qos::AtMostOnce {
                    self.taken.insert(number, qos);
                }
                match qos {
                    Qos::ExactlyOnce => (bytes, |answer| matches!(answer, SnMessage::PubRec { .. })),
                    _ => (bytes, |answer| matches!(answer, SnMessage::PubAck { code: ReturnCode::Accepted, .. })),
                }
            }
            Step::Release => {
                (encoded(&SnMessage::PubRel { msg_id }), |answer| matches!(answer, SnMessage::PubComp { .. }))
            }
            Step::Sleep => {
                model.asleep = true;
                let goodbye = SnMessage::Disconnect { duration_s: Some(60_000) };
                (encoded(&goodbye), |answer| matches!(answer, SnMessage::Disconnect { .. }))
            }
            Step::WakeForMore => {
                (encoded(&SnMessage::PingReq { client_id: Some(name) }), |answer| matches!(answer, SnMessage::PingResp))
            }
        }
    }

    /// A client hears something.
    fn hear(&mut self, client: usize, bytes: &[u8]) {
        let message = SnMessage::decode(bytes).expect("the broker speaks MQTT-SN");
        let model = &mut self.clients[client];
        let expected_id = model.next_msg_id;
        let is_of_now = match message {
            SnMessage::PubAck { msg_id, .. }
            | SnMessage::PubRec { msg_id }
            | SnMessage::PubComp { msg_id }
            | SnMessage::RegAck { msg_id, .. }
            | SnMessage::SubAck { msg_id, .. } => msg_id == expected_id,
            _ => true,
        };
        if is_of_now && model.asks.as_ref().is_some_and(|question| (question.answered_by)(&message)) {
            model.asks = None;
            match message {
                SnMessage::RegAck { topic_id, .. } => model.topic_ids.push(topic_id),
                SnMessage::SubAck { .. } => model.is_subscribed = true,
                _ => {}
            }
        }
        match message {
            SnMessage::Register { topic_id, msg_id, name } => {
                model.topics.insert(topic_id, name.to_owned());
                let code = ReturnCode::Accepted;
                self.send(client, false, &encoded(&SnMessage::RegAck { topic_id, msg_id, code }));
            }
            SnMessage::Publish { flags, topic, msg_id, data } => self.take(client, (flags, topic), msg_id, data),
            SnMessage::PubRel { msg_id } => {
                model.unreleased.remove(&msg_id);
                self.send(client, false, &encoded(&SnMessage::PubComp { msg_id }));
            }
            _ => {}
        }
    }

    fn take(&mut self, client: usize, (flags, topic): (SnFlags, TopicRef), msg_id: u16, data: &[u8]) {
        let model = &mut self.clients[client];
        let topic_id = u16::from_be_bytes(topic.to_bytes());
        let name = match topic {
            TopicRef::Normal(id) => model.topics.get(&id).cloned(),
            TopicRef::Short(octets) => Some(String::from_utf8_lossy(&octets).into_owned()),
            TopicRef::Predefined(id) => (id == PREDEFINED).then(|| "fleet/seven".to_owned()),
        };
        let Some(name) = name else {
            let code = ReturnCode::InvalidTopicId;
            return self.send(client, false, &encoded(&SnMessage::PubAck { topic_id, msg_id, code }));
        };
        let number = u32::from_be_bytes(data.try_into().expect("as it was published"));
        if self.topics.get(&number) != Some(&name.as_str()) {
            self.wrong = Some(format!("message {number} came as one on {name}"));
        }
        let is_new = flags.qos != Some(Qos::ExactlyOnce) || model.unreleased.insert(msg_id);
        let is_lost = self.canary && number == MESSAGES / 2;
        if is_new && !is_lost {
            *model.got.entry(number).or_default() += 1;
        }
        let answer = match flags.qos {
            Some(Qos::AtMostOnce) => return,
            Some(Qos::ExactlyOnce) => SnMessage::PubRec { msg_id },
            _ => SnMessage::PubAck { topic_id, msg_id, code: ReturnCode::Accepted },
        };
        self.send(client, false, &encoded(&answer));
    }
}

const NETWORKS: [Network; 4] = [
    Network { loses: 0, doubles: 0, delay_ms: 1, keeps_qos_2: true },
    Network { loses: 30, doubles: 0, delay_ms: 50, keeps_qos_2: true },
    Network { loses: 0, doubles: 30, delay_ms: 1, keeps_qos_2: true },
    Network { loses: 15, doubles: 15, delay_ms: 300, keeps_qos_2: false },
];

#[test]
fn what_was_taken_comes_over_any_network_and_to_whoever_sleeps() {
    for seed in 0..40 {
        for (number, network) in NETWORKS.into_iter().enumerate() {
            let mut world = World::new(seed, network, false);
            if let Err(text) = world.run() {
                panic!("seed {seed}, network {number}: {text}");
            }
            let got = &world.clients[SUBSCRIBER].got;
            let of_qos_0 = (0..MESSAGES).filter(|message| !world.taken.contains_key(message));
            let (came, sent) = (of_qos_0.clone().filter(|message| got.contains_key(message)).count(), of_qos_0.count());
            assert!(sent > 0 && world.taken.len() as u32 + sent as u32 == MESSAGES);
            // What is under way to somebody who has just forgotten what it means is lost; no more than that.
            assert!(number != 0 || came * 2 > sent, "seed {seed}: {came} of {sent} of QoS 0");
        }
    }
}

#[test]
fn one_seed_of_datagrams_run_twice_is_one_history() {
    let trace = |seed| {
        let mut world = World::new(seed, NETWORKS[3], false);
        world.run().expect("it passes above");
        world.trace
    };
    assert_eq!(trace(7), trace(7));
    assert_ne!(trace(7), trace(8));
}

#[test]
fn a_message_that_the_model_loses_is_noticed() {
    let told = World::new(1, NETWORKS[1], true).run().unwrap_err();
    assert_eq!(told, format!("message {} was taken and never came", MESSAGES / 2));
}
