//! The session of a sink, while it is connected: messages in, rows to lanes, acknowledgements back.
//!
//! Always holds: a message of QoS 1 is acknowledged when its target has it, when the condition does not hold for it, or when its dead
//! letter is acknowledged; what is not stays in the session's queue. Held is no more than the receive maximum, and the socket is not read
//! while more than [`SINK_HELD_MAX_BYTES`] are held, so a target that is down costs no memory.
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
use crate::limits::{SINK_HELD_MAX_BYTES, SINK_HELD_QOS0_MAX};
use crate::services::connectors::{ConnectorContext, now_ms};
use crate::services::local::{LocalClient, LocalError, OwnedAck, OwnedPacket, OwnedPublish};

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
    held_bytes: usize,
    held_qos0: usize,
    /// Dead letters that wait for their acknowledgement, by their packet identifier.
    sent_dead: HashMap<PacketId, DeadLetter>,
    /// ... and those that wait to be sent.
    waiting_dead: VecDeque<DeadLetter>,
    /// Messages that may be published at a time.
    receive_maximum: usize,
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
    Stop,
}

impl SinkSession {
    /// Over a client that has subscribed.
    pub(super) fn new(
        settings: Arc<SinkSettings>,
        context: ConnectorContext,
        (client, receive_maximum): (LocalClient, u16),
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
            held_qos0: 0,
            sent_dead: HashMap::new(),
            waiting_dead: VecDeque::new(),
            receive_maximum: usize::from(receive_maximum.max(1)),
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
            self.take(packet)?;
        }
        let mut stop = self.context.clone();
        loop {
            self.send_dead_letters();
            // Acknowledgements of dead letters come by the socket, too.
            let reads = self.held_bytes < SINK_HELD_MAX_BYTES || !self.sent_dead.is_empty();
            let next = tokio::select! {
                biased;
                () = stop.stopped() => Next::Stop,
                report = self.reports.recv() => Next::Report(report),
                packet = self.client.next(), if reads => Next::Packet(packet),
            };
            match next {
                Next::Packet(packet) => self.take(packet?)?,
                Next::Report(Some(report)) => self.finish(report),
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

    fn take(&mut self, packet: OwnedPacket) -> Result<(), LocalError> {
        match packet {
            OwnedPacket::Publish(publish) => self.take_message(publish),
            OwnedPacket::Ack(ack) if ack.kind == AckKind::PubAck => return self.take_ack(ack),
            _ => {}
        }
        Ok(())
    }

    fn take_message(&mut self, publish: OwnedPublish) {
        let counters = &self.context.state.counters;
        counters.messages_in.fetch_add(1, Relaxed);
        counters.bytes_in.fetch_add(publish.payload.len() as u64, Relaxed);
        let packet_id = publish.packet_id;
        if packet_id.is_none() && self.held_qos0 >= SINK_HELD_QOS0_MAX {
            counters.dropped.fetch_add(1, Relaxed);
            return;
        }
        let id = self.ids.of(&publish);
        match transform(&self.settings, &publish, id, now_ms()) {
            Transformed::Row(row) => self.hold(HeldRow { row: *row, packet_id }),
            Transformed::PassedOver => {
                counters.passed_over.fetch_add(1, Relaxed);
                self.acknowledge(packet_id);
            }
            Transformed::Dead(why) => {
                let (topic, payload) = (publish.topic.into(), publish.payload);
                self.add_dead_letter(DeadLetter { topic, payload, why, packet_id });
            }
        }
    }

    fn hold(&mut self, held: HeldRow) {
        let lane = self.lane_of(&held.row);
        self.held_bytes += held.row.len_bytes();
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
            self.held_bytes -= row.len_bytes();
            self.held_qos0 -= usize::from(packet_id.is_none());
            match rejected {
                None => self.acknowledge(packet_id),
                Some(why) => {
                    self.add_dead_letter(DeadLetter { topic: row.topic, payload: row.original, why, packet_id })
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
        self.waiting_dead.push_back(dead);
    }

    fn send_dead_letters(&mut self) {
        while self.sent_dead.len() < self.receive_maximum
            && let Some(dead) = self.waiting_dead.pop_front()
        {
            let id = loop {
                let id = self.client.next_id();
                if !self.sent_dead.contains_key(&id) {
                    break id;
                }
            };
            let mut publish = dead.publish(&self.settings);
            publish.packet_id = Some(id);
            publish.qos = Qos::AtLeastOnce;
            self.client.stream().put_publish(&publish);
            self.sent_dead.insert(id, dead);
        }
    }

    fn take_ack(&mut self, ack: OwnedAck) -> Result<(), LocalError> {
        let Some(dead) = self.sent_dead.remove(&ack.packet_id) else { return Ok(()) };
        if ack.reason.is_error() {
            // There is no room for it: the message stays unacknowledged, and comes again with the next connection.
            return Err(LocalError::Refused(ack.reason));
        }
        self.acknowledge(dead.packet_id);
        Ok(())
    }
}
