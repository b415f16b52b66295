//! The session of a sink, while it is connected: messages in, rows to lanes, acknowledgements back.
//!
//! Always holds: a message of QoS 1 is acknowledged when its target has it, when the condition does not hold for it, or when its dead
//! letter is acknowledged; what is not stays in the session's queue. Held is no more than the receive maximum, and the socket is not read
//! while [`SINK_HELD_MAX_BYTES`] of rows and dead letters are held: a target that is down costs that, and as much again for the same messages
//! in the window of the session. Only while a dead letter waits for its acknowledgement, which comes behind messages, is it read beyond that.
//! Leaves to others: the queue behind it (`session` of the shard), batches and attempts (`lane`).

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use super::dead_letters::DeadLetter;
use super::lane::{HeldRow, LaneReport, SinkLane};
use super::message_ids::MessageIds;
use super::row::Row;
use super::target::Target;
use super::transform::{Transformed, transform};
use crate::codec::{AckKind, ReasonCode};
use crate::config::SinkSettings;
use crate::ids::{PacketId, Qos};
use crate::limits::{DEAD_LETTER_AGAIN_MS, DEAD_LETTERS_SENT_MAX, SINK_HELD_MAX_BYTES, SINK_HELD_QOS0_MAX};
use crate::services::connectors::{ConnectorContext, now_ms};
use crate::services::local::{LocalClient, LocalConnack, LocalError, OwnedAck, OwnedPacket, OwnedPublish};

/// How long what is under way may still take when the sink stops.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// From one dead letter in the log to the next.
const DEAD_LETTER_LOG_INTERVAL: Duration = Duration::from_secs(60);

/// See the module's text.
pub(super) struct SinkSession {
    settings: Arc<SinkSettings>,
    context: ConnectorContext,
    client: LocalClient,
    lanes: Vec<LaneEnd>,
    reports: UnboundedReceiver<LaneReport>,
    /// Ends the lanes with it.
    tasks: JoinSet<()>,
    ids: MessageIds,
    keys: RandomState,
    /// Of rows.
    held_bytes: usize,
    /// Of dead letters.
    dead_bytes: usize,
    /// Rows and dead letters.
    held_qos0: usize,
    /// Dead letters that wait for their acknowledgement, by their packet identifier.
    sent_dead: HashMap<PacketId, DeadLetter>,
    /// ... and those that wait to be sent.
    waiting_dead: VecDeque<DeadLetter>,
    /// What the broker has announced.
    told: LocalConnack,
    /// Dead letters that may be published at a time: one, after one that the broker had no room for.
    dead_window: usize,
    /// When the next of them is published, after that.
    dead_again: Option<Instant>,
    /// The log has that nobody is subscribed to them.
    is_nobody_in_log: bool,
    /// When the log had a dead letter last.
    dead_in_log: Option<Instant>,
}

/// The end of a lane that rows are put into.
struct LaneEnd {
    rows: UnboundedSender<HeldRow>,
    held: usize,
}

/// What comes next.
enum Next {
    Packet(Result<OwnedPacket, LocalError>),
    Report(Option<LaneReport>),
    DeadLetters,
    Stop,
}

impl SinkSession {
    /// Over a client that has subscribed.
    pub(super) fn new(
        settings: Arc<SinkSettings>,
        context: ConnectorContext,
        (client, told): (LocalClient, LocalConnack),
        ids: MessageIds,
    ) -> Self {
        let (reports_in, reports) = unbounded_channel();
        let mut tasks = JoinSet::new();
        let lanes = (0..settings.workers).map(|number| {
            let (rows_in, rows) = unbounded_channel();
            let target = Target::new(&settings, number, &context.door);
            let (reports, context) = (reports_in.clone(), context.clone());
            let address = settings.target.to_string();
            tasks.spawn(SinkLane { number, bounds: settings.batch, target, rows, reports, context, address }.run());
            LaneEnd { rows: rows_in, held: 0 }
        });
        let lanes = lanes.collect();
        Self {
            settings,
            context,
            client,
            lanes,
            reports,
            tasks,
            ids,
            keys: RandomState::new(),
            held_bytes: 0,
            dead_bytes: 0,
            held_qos0: 0,
            sent_dead: HashMap::new(),
            waiting_dead: VecDeque::new(),
            dead_window: dead_window(&told),
            told,
            dead_again: None,
            is_nobody_in_log: false,
            dead_in_log: None,
        }
    }

    /// Until the sink is to stop, or the connection ends; `earlier` are packets that came before it began. Gives back what message ids
    /// go on from.
    pub(super) async fn run(mut self, earlier: Vec<OwnedPacket>) -> (MessageIds, Result<(), LocalError>) {
        let done = self.serve(earlier).await;
        let ids = self.ids.clone();
        match done {
            Ok(()) => (ids, self.stop().await),
            error => (ids, error),
        }
    }

    async fn serve(&mut self, earlier: Vec<OwnedPacket>) -> Result<(), LocalError> {
        for packet in earlier {
            self.take(packet);
        }
        let mut stop = self.context.clone();
        loop {
            self.send_dead_letters();
            // Acknowledgements of dead letters come by the socket, too.
            let reads = !self.is_full() || !self.sent_dead.is_empty();
            let again = self.dead_again.unwrap_or_else(Instant::now);
            let next = tokio::select! {
                biased;
                () = stop.stopped() => Next::Stop,
                report = self.reports.recv() => Next::Report(report),
                packet = self.client.next(), if reads => Next::Packet(packet),
                () = tokio::time::sleep_until(again.into()), if self.dead_again.is_some() => Next::DeadLetters,
            };
            match next {
                Next::Packet(packet) => self.take(packet?),
                Next::Report(Some(report)) => self.finish(report),
                Next::DeadLetters => self.dead_again = None,
                Next::Report(None) | Next::Stop => return Ok(()),
            }
            if !reads {
                self.client.stream().flush().await?;
            }
        }
    }

    /// What is under way may come to its end; the rest stays in the session.
    async fn stop(mut self) -> Result<(), LocalError> {
        let ends = async { while self.tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(STOP_PATIENCE, ends).await;
        while let Ok(report) = self.reports.try_recv() {
            self.finish(report);
        }
        self.client.disconnect().await
    }

    fn take(&mut self, packet: OwnedPacket) {
        match packet {
            OwnedPacket::Publish(publish) => self.take_message(publish),
            OwnedPacket::Ack(ack) if ack.kind == AckKind::PubAck => self.take_ack(ack),
            OwnedPacket::Unreadable { packet_id, why, .. } => {
                self.context.state.counters.dropped.fetch_add(1, Relaxed);
                self.context.state.failed(&format!("a message cannot be read: {why}"));
                self.acknowledge(packet_id);
            }
            _ => {}
        }
    }

    /// Whether it holds as much as it may.
    const fn is_full(&self) -> bool {
        self.held_bytes + self.dead_bytes >= SINK_HELD_MAX_BYTES
    }

    fn take_message(&mut self, publish: OwnedPublish) {
        let counters = &self.context.state.counters;
        counters.messages_in.fetch_add(1, Relaxed);
        counters.bytes_in.fetch_add(publish.payload.len() as u64, Relaxed);
        let packet_id = publish.packet_id;
        if packet_id.is_none() && (self.held_qos0 >= SINK_HELD_QOS0_MAX || self.is_full()) {
            counters.dropped.fetch_add(1, Relaxed);
            return;
        }
        let id = self.ids.of(&publish);
        let queued_ms = now_ms().saturating_sub(publish.waited_ms());
        match transform(&self.settings, &publish, id, queued_ms) {
            Transformed::Row(row) => self.hold(HeldRow { row: *row, packet_id }),
            Transformed::PassedOver => {
                counters.passed_over.fetch_add(1, Relaxed);
                self.acknowledge(packet_id);
            }
            Transformed::Dead(why) => {
                let (topic, payload) = (publish.topic.into(), publish.payload);
                self.add_dead_letter(DeadLetter { topic, payload, why, packet_id, is_refused: false });
            }
        }
    }

    fn hold(&mut self, held: HeldRow) {
        let lane = self.lane_of(&held.row);
        self.held_bytes += held.row.held_bytes();
        self.held_qos0 += usize::from(held.packet_id.is_none());
        self.lanes[lane].held += 1;
        // A lane ends when the sink stops: then the message comes again.
        let _ = self.lanes[lane].rows.send(held);
    }

    /// Rows of one key go to one lane; others to that which has least to do.
    fn lane_of(&self, row: &Row) -> usize {
        let lanes = self.lanes.len();
        match &row.key {
            Some(key) => (self.keys.hash_one(key) % lanes as u64) as usize,
            None => (0..lanes).min_by_key(|at| self.lanes[*at].held).unwrap_or(0),
        }
    }

    fn finish(&mut self, report: LaneReport) {
        self.lanes[report.lane].held -= report.rows.len();
        for (held, rejected) in report.rows {
            let HeldRow { row, packet_id } = held;
            self.held_bytes -= row.held_bytes();
            self.held_qos0 -= usize::from(packet_id.is_none());
            match rejected {
                None => self.acknowledge(packet_id),
                Some(why) => {
                    let (topic, payload) = (row.topic, row.original);
                    self.add_dead_letter(DeadLetter { topic, payload, why, packet_id, is_refused: false });
                }
            }
        }
    }

    fn acknowledge(&mut self, packet_id: Option<PacketId>) {
        if let Some(packet_id) = packet_id {
            self.client.stream().put_ack(OwnedAck::new(AckKind::PubAck, packet_id, ReasonCode::Success));
        }
    }

    fn add_dead_letter(&mut self, dead: DeadLetter) {
        self.context.state.counters.dead_letters.fetch_add(1, Relaxed);
        let text = format!("a message on {:?} is a dead letter: {}", dead.topic, dead.why);
        // Clients make them: the log has one in a while, the counter all.
        if self.dead_in_log.is_none_or(|last| last.elapsed() >= DEAD_LETTER_LOG_INTERVAL) {
            self.dead_in_log = Some(Instant::now());
            self.context.state.failed(&text);
        } else {
            self.context.state.note_error(&text);
        }
        self.dead_bytes += dead.held_bytes();
        self.held_qos0 += usize::from(dead.packet_id.is_none());
        self.waiting_dead.push_back(dead);
    }

    /// Publishes dead letters, as many as may be under way. With as many bytes of rows as may be held it waits for them: behind the
    /// acknowledgement of a dead letter there are more messages.
    fn send_dead_letters(&mut self) {
        while self.dead_again.is_none()
            && self.held_bytes < SINK_HELD_MAX_BYTES
            && self.sent_dead.len() < self.dead_window
            && let Some(dead) = self.waiting_dead.pop_front()
        {
            let Some(mut publish) = dead.publish(&self.settings, &self.told) else {
                let topic = &self.settings.dead_letters;
                self.context
                    .state
                    .failed(&format!("a dead letter is lost: no packet that this broker takes holds {topic:?}"));
                self.end_dead_letter(&dead);
                continue;
            };
            if publish.qos == Qos::AtMostOnce {
                publish.packet_id = None;
                self.client.stream().put_publish(&publish);
                self.end_dead_letter(&dead);
                continue;
            }
            let id = loop {
                let id = self.client.next_id();
                if !self.sent_dead.contains_key(&id) {
                    break id;
                }
            };
            publish.packet_id = Some(id);
            self.client.stream().put_publish(&publish);
            self.sent_dead.insert(id, dead);
        }
    }

    fn take_ack(&mut self, ack: OwnedAck) {
        let Some(mut dead) = self.sent_dead.remove(&ack.packet_id) else { return };
        match ack.reason {
            ReasonCode::NoMatchingSubscribers if !std::mem::replace(&mut self.is_nobody_in_log, true) => {
                let topic = &self.settings.dead_letters;
                self.context.state.failed(&format!("nobody is subscribed to {topic}: dead letters are lost"));
            }
            reason if !reason.is_error() => {}
            // Its payload is longer than messages may be; where without it is not taken either, it is never.
            ReasonCode::ImplementationSpecificError | ReasonCode::PacketTooLarge if !dead.is_refused => {
                dead.is_refused = true;
                return self.waiting_dead.push_front(dead);
            }
            reason @ (ReasonCode::ImplementationSpecificError | ReasonCode::PacketTooLarge) => {
                self.context.state.failed(&format!("a dead letter is lost: the broker refuses it: {reason}"));
            }
            // There is no room for it now.
            reason => {
                self.context.state.failed(&format!("a dead letter waits: the broker refuses it: {reason}"));
                self.waiting_dead.push_front(dead);
                self.dead_window = 1;
                self.dead_again = Some(Instant::now() + Duration::from_millis(DEAD_LETTER_AGAIN_MS));
                return;
            }
        }
        self.dead_window = dead_window(&self.told);
        self.end_dead_letter(&dead);
    }

    /// Nothing more is to be done for it.
    fn end_dead_letter(&mut self, dead: &DeadLetter) {
        self.dead_bytes -= dead.held_bytes();
        self.held_qos0 -= usize::from(dead.packet_id.is_none());
        self.acknowledge(dead.packet_id);
    }
}

/// Dead letters that may be published at a time.
fn dead_window(told: &LocalConnack) -> usize {
    usize::from(told.receive_maximum.max(1)).min(DEAD_LETTERS_SENT_MAX)
}
