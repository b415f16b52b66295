//! A shard that does what shards do, in the plainest way there is: what its log must come to.

use std::collections::{BTreeMap, BTreeSet};

use dunlin::ids::{PacketId, Qos, SessionId, ShardId, SubscriptionId};
use dunlin::store::format::{
    BackEndDecision, ForwardTarget, ListOf, LogRecord, MessageId, MessageRecord, QueuedRecord, SessionOwner, WriteStamp,
};
use dunlin::store::{RecordGroup, Urgency};
use dunlin::time::Timestamp;

use crate::world::World;

/// One message for one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ModelDelivery {
    pub(crate) payload: Option<Vec<u8>>,
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
    pub(crate) packet_id: Option<u16>,
    pub(crate) group: Option<u64>,
    pub(crate) ids: Vec<u32>,
}

/// What a client has when it comes back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ModelSession {
    pub(crate) client_id: String,
    pub(crate) expiry_s: u32,
    pub(crate) disconnected: Option<u64>,
    pub(crate) subscriptions: BTreeMap<String, (u8, Option<u32>)>,
    pub(crate) deliveries: Vec<ModelDelivery>,
    pub(crate) exchanges: BTreeSet<u16>,
    /// Payload, delay and message expiry.
    pub(crate) will: Option<(Vec<u8>, u32, Option<u32>)>,
    /// What a back end has said of it.
    pub(crate) will_decision: Option<BackEndDecision>,
    /// User, and what stands for the rest of its owner.
    pub(crate) owner: Option<(Option<String>, Vec<u8>)>,
    /// Filters that a back end has allowed, the latest last.
    pub(crate) allowed: Vec<String>,
}

/// Everything that survives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Model {
    pub(crate) sessions: BTreeMap<u32, ModelSession>,
    /// By topic: the time of the stamp, and the payload.
    pub(crate) retained: BTreeMap<String, (u64, Option<Vec<u8>>)>,
    /// To which log, number, payload.
    pub(crate) forwards: Vec<(u8, u64, Vec<u8>)>,
    pub(crate) numbered: BTreeMap<u8, u64>,
}

/// The model, and what it needs to go on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shard {
    pub(crate) model: Model,
    /// Message ids beside the deliveries of each session.
    ids: BTreeMap<u32, Vec<Option<MessageId>>>,
    next_packet_id: u16,
    stamp: u64,
    begun: u64,
}

/// Records of one group, encoded as they come.
struct Records {
    bytes: Vec<u8>,
    first: u64,
    count: u32,
}

impl Records {
    fn push(&mut self, record: LogRecord<'_>) -> u64 {
        let position = self.first + u64::from(self.count);
        record.encode(position, &mut self.bytes);
        self.count += 1;
        position
    }

    fn message(&mut self, payload: &[u8]) -> MessageId {
        let id = MessageId(self.first + u64::from(self.count));
        let message = MessageRecord {
            id,
            qos: Qos::AtLeastOnce,
            retain: false,
            expires: None,
            publisher: None,
            topic: "t",
            properties: &[1, 1],
            properties_bytes: 2,
            payload,
            later_bytes: 0,
        };
        // Some go on in parts.
        let half = payload.len() / 2;
        if payload.len() % 5 == 4 {
            let later_bytes = (payload.len() - half) as u32;
            self.push(LogRecord::Message(MessageRecord { payload: &payload[..half], later_bytes, ..message }));
            self.push(LogRecord::MessagePart { message: id, bytes: &payload[half..] });
        } else {
            self.push(LogRecord::Message(message));
        }
        id
    }
}

impl Shard {
    /// Does something, and appends what it wrote as one group.
    pub(crate) fn step(&mut self, world: &mut World) {
        let first = world.writer.appended() + 1;
        let mut records = Records { bytes: Vec::new(), first, count: 0 };
        self.act(world, &mut records);
        if records.count > 0 {
            let now = world.now();
            let urgency = Urgency::Awaited;
            let group = RecordGroup { records: &records.bytes, count: records.count, inbox: &[], urgency };
            world.writer.append(now, group);
        }
    }

    fn act(&mut self, world: &mut World, out: &mut Records) {
        let slot = world.dice.below(12) as u32;
        let session = SessionId(slot);
        let number = world.dice.next();
        if !self.model.sessions.contains_key(&slot) {
            return self.begin(slot, number, out);
        }
        match world.dice.below(16) {
            0 => {
                out.push(LogRecord::SessionEnded { session });
                self.model.sessions.remove(&slot);
                self.ids.remove(&slot);
            }
            1 | 2 => self.subscribe(slot, number, out),
            3 if number & 1 == 0 => self.connection(slot, number >> 1, out),
            3 => self.owner(slot, number >> 1, out),
            4..=8 => self.publish(world, out),
            9 => self.retain(number, out),
            10 => self.forward(number, out),
            11 => self.exchange(slot, number, out),
            _ => self.progress(slot, number, out),
        }
    }

    fn begin(&mut self, slot: u32, number: u64, out: &mut Records) {
        self.begun += 1;
        let client_id = format!("client-{slot}-{}", self.begun);
        let expiry_s = number as u32 >> 8;
        let (session, at) = (SessionId(slot), Timestamp(self.begun));
        out.push(LogRecord::SessionBegun { session, client_id: &client_id, expiry_s, at });
        self.model.sessions.insert(slot, ModelSession { client_id, expiry_s, ..ModelSession::default() });
        self.ids.insert(slot, Vec::new());
    }

    fn subscribe(&mut self, slot: u32, number: u64, out: &mut Records) {
        let session = SessionId(slot);
        let filter = format!("a/{}", number % 7);
        let subscriptions = &mut self.model.sessions.get_mut(&slot).expect("it is there").subscriptions;
        if number >> 8 & 1 == 0 {
            let identifier = SubscriptionId::new((number >> 16) as u32 & 3);
            out.push(LogRecord::Subscribed { session, filter: &filter, options: number as u8, identifier });
            subscriptions.insert(filter, (number as u8, identifier.map(SubscriptionId::get)));
        } else {
            out.push(LogRecord::Unsubscribed { session, filter: &filter });
            subscriptions.remove(&filter);
        }
    }

    fn connection(&mut self, slot: u32, number: u64, out: &mut Records) {
        let session = SessionId(slot);
        let known = self.model.sessions.get_mut(&slot).expect("it is there");
        match number % 5 {
            0 => {
                out.push(LogRecord::Connected { session });
                known.disconnected = None;
            }
            1 => {
                out.push(LogRecord::Disconnected { session, at: Timestamp(number >> 20) });
                known.disconnected = Some(number >> 20);
            }
            2 => {
                out.push(LogRecord::SessionExpiry { session, expiry_s: number as u32 });
                known.expiry_s = number as u32;
            }
            3 => {
                let payload = number.to_le_bytes().to_vec();
                let message = out.message(&payload);
                let (delay_s, message_expiry_s) =
                    (number as u32 & 0xff, (number >> 9 & 1 == 0).then_some(number as u32));
                out.push(LogRecord::WillSet { session, message, delay_s, message_expiry_s });
                known.will = Some((payload, delay_s, message_expiry_s));
                known.will_decision = None;
            }
            _ => {
                out.push(LogRecord::WillCleared { session });
                (known.will, known.will_decision) = (None, None);
            }
        }
    }

    /// Whose it is, and what a back end says.
    fn owner(&mut self, slot: u32, number: u64, out: &mut Records) {
        let session = SessionId(slot);
        let known = self.model.sessions.get_mut(&slot).expect("it is there");
        match number % 4 {
            0 => {
                let user = (number & 16 == 0).then(|| format!("user-{}", number >> 5 & 3));
                let rules = (number >> 8).to_le_bytes();
                let keeps_filters = number & 32 == 0;
                let owner = SessionOwner {
                    user: user.as_deref(),
                    listener: "l",
                    peer: None,
                    is_superuser: false,
                    asks_back_end: true,
                    rules: Some(&rules),
                };
                out.push(LogRecord::SessionOwner { session, owner, keeps_filters });
                known.owner = Some((user, rules.to_vec()));
                if !keeps_filters {
                    known.allowed.clear();
                }
            }
            1 if known.will.is_some() => {
                let decisions = [BackEndDecision::Allow, BackEndDecision::Deny, BackEndDecision::Ignore];
                let decision = decisions[(number >> 8) as usize % 3];
                out.push(LogRecord::WillDecided { session, decision });
                known.will_decision = Some(decision);
            }
            _ => {
                let (filter, is_allowed) = (format!("f/{}", number >> 8 & 7), number & 16 == 0);
                out.push(LogRecord::FilterDecided { session, filter: &filter, is_allowed });
                known.allowed.retain(|known| *known != filter);
                known.allowed.extend(is_allowed.then_some(filter));
            }
        }
    }

    /// One message for several sessions, written once.
    fn publish(&mut self, world: &mut World, out: &mut Records) {
        let payload = vec![world.dice.next() as u8; world.dice.below(60) as usize];
        let mut id = None;
        for (&slot, known) in &mut self.model.sessions {
            if world.dice.once_in(2) {
                continue;
            }
            let message = *id.get_or_insert_with(|| out.message(&payload));
            let number = world.dice.next();
            let queue_is_empty = known.deliveries.iter().all(|delivery| delivery.packet_id.is_some());
            self.next_packet_id = self.next_packet_id % 60_000 + 1;
            let packet_id = (queue_is_empty && number & 1 == 0).then_some(self.next_packet_id);
            let qos = if number & 2 == 0 { Qos::AtLeastOnce } else { Qos::ExactlyOnce };
            let ids: Vec<SubscriptionId> = SubscriptionId::new(number as u32 >> 30).into_iter().collect();
            let (retain, group) = (number & 4 == 0, (number & 0x18 == 0).then_some(number));
            let queued = QueuedRecord {
                session: SessionId(slot),
                message,
                qos,
                retain,
                packet_id: packet_id.and_then(PacketId::new),
                group,
                ids: ListOf::Values(&ids),
            };
            out.push(LogRecord::Queued(queued));
            let ids = ids.iter().map(|id| id.get()).collect();
            let payload = Some(payload.clone());
            known.deliveries.push(ModelDelivery { payload, qos, retain, packet_id, group, ids });
            self.ids.get_mut(&slot).expect("beside the session").push(Some(message));
        }
    }

    fn retain(&mut self, number: u64, out: &mut Records) {
        let topic = format!("r/{}", number % 5);
        // Now and then a late one comes behind a newer, and changes nothing.
        self.stamp += 1;
        let time_ns = 10 + self.stamp - if (number >> 8).is_multiple_of(8) { 5 } else { 0 };
        let stamp = WriteStamp { time_ns, shard: 0 };
        let payload = (number >> 16 & 1 == 0).then(|| number.to_le_bytes().to_vec());
        let message = payload.as_ref().map(|payload| out.message(payload));
        out.push(LogRecord::Retained { topic: &topic, stamp, message });
        let known = self.model.retained.entry(topic).or_insert((0, None));
        if time_ns > known.0 {
            *known = (time_ns, payload);
        }
    }

    fn forward(&mut self, number: u64, out: &mut Records) {
        let to = (number % 3) as u8 + 4;
        let numbered = self.model.numbered.entry(to).or_default();
        *numbered += 1;
        let payload = number.to_le_bytes().to_vec();
        let message = out.message(&payload);
        let (plain, groups) = (number & 8 == 0, [number]);
        let groups = ListOf::Values(&groups);
        let target = ForwardTarget { to: ShardId(to), number: *numbered, message, plain, retained: None, groups };
        out.push(LogRecord::Forward(target));
        self.model.forwards.push((to, *numbered, payload));
    }

    fn exchange(&mut self, slot: u32, number: u64, out: &mut Records) {
        let session = SessionId(slot);
        let packet_id = PacketId::new(number as u16 % 6 + 1).expect("not zero");
        let exchanges = &mut self.model.sessions.get_mut(&slot).expect("it is there").exchanges;
        if exchanges.remove(&packet_id.get()) {
            out.push(LogRecord::ExchangeClosed { session, packet_id });
        } else {
            exchanges.insert(packet_id.get());
            out.push(LogRecord::ExchangeOpened { session, packet_id });
        }
    }

    /// A delivery of the session goes on: sent, released, completed or dropped.
    fn progress(&mut self, slot: u32, number: u64, out: &mut Records) {
        let session = SessionId(slot);
        let deliveries = &mut self.model.sessions.get_mut(&slot).expect("it is there").deliveries;
        let ids = self.ids.get_mut(&slot).expect("beside the session");
        let sent = deliveries.iter().take_while(|delivery| delivery.packet_id.is_some()).count();
        if let Some(delivery) = deliveries.get_mut(sent)
            && number & 1 == 0
        {
            let message = ids[sent].expect("it was not released");
            if number & 6 == 0 {
                out.push(LogRecord::Dropped { session, message, reason: 3 });
                deliveries.remove(sent);
                ids.remove(sent);
                return;
            }
            self.next_packet_id = self.next_packet_id % 60_000 + 1;
            delivery.packet_id = Some(self.next_packet_id);
            let packet_id = PacketId::new(self.next_packet_id).expect("not zero");
            out.push(LogRecord::Sent { session, message, packet_id });
            return;
        }
        if sent == 0 {
            return;
        }
        let at = (number >> 8) as usize % sent;
        let packet_id = deliveries[at].packet_id.and_then(PacketId::new).expect("it was sent");
        if deliveries[at].qos == Qos::ExactlyOnce && ids[at].is_some() {
            out.push(LogRecord::Released { session, packet_id });
            ids[at] = None;
            deliveries[at] =
                ModelDelivery { payload: None, retain: false, group: None, ids: Vec::new(), ..deliveries[at].clone() };
        } else {
            out.push(LogRecord::Completed { session, packet_id });
            deliveries.remove(at);
            ids.remove(at);
        }
    }
}
