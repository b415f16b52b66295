//! One shard's task: turns the plane's events, the mesh's messages and the passing of time into inputs of the shard,
//! and carries out its effects. The turn is the unit of everything: one clock read (and one for each batch
//! of another shard), one send per connection, one entry into the kernel, one batch per target shard.
//!
//! Owns: the order of a turn, when it may sleep, and the end. Leaves to others: what comes in ([`intake`]), and what the shard's log
//! has to say ([`durable`]).

mod durable;
mod intake;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::Receiver;

use super::clock;
use super::disk::{FileWrite, LogFailure};
use super::fatal::{End, fatal};
use super::handshakes::Handshaker;
use super::listeners::ListenerOrder;
use super::measured::Measured;
use super::mesh::{Batch, Port};
use super::shard_store::ShardStore;
use super::watchdog::Heartbeat;
use crate::config::Exit;
use crate::conn::ShardTurn;
use crate::ids::ShardId;
use crate::inbox::Inbox;
use crate::limits::{CATCH_UP_TURNS, MESH_PAUSE_MESSAGES, MESH_RESUME_MESSAGES, STALL_MS, TURN_MAX_BYTES};
use crate::net::{Edge, spans, tail, trace};
use crate::ring::RingError;
use crate::shard::{Effects, Input, Reply, Shard, Turn};
use crate::store::Position;
use crate::telemetry::log;
use crate::time::{Deadline, Now};

/// See the module's text.
pub(super) struct Pump {
    edge: Edge,
    shard: Shard,
    fx: Effects,
    port: Port,
    /// What is left of a batch of another shard, whose messages were too much for this one.
    rest: Option<(ShardId, Batch)>,
    inbox: Inbox,
    store: ShardStore,
    /// What the shard was last told to be durable.
    durable: Position,
    /// The disk has failed: what it was given before is told, and then the process ends.
    failed: Option<LogFailure>,
    /// Bytes encoded since the last flush.
    turn_bytes: usize,
    /// When the last turn began.
    last_turn: Now,
    /// Turns in which no deadline is judged: time has passed without this thread, and what came meanwhile is read first.
    catching_up: u16,
    /// Set for all shards when the process is to stop.
    stop: Arc<AtomicBool>,
    stopping: Option<Deadline>,
    /// Nobody is let in any more: the broker is emptied before it stops.
    is_last_drain: bool,
    shutdown_timeout_s: u16,
    heartbeat: Arc<Heartbeat>,
    /// Runs TLS handshakes, where a listener has any.
    handshaker: Option<Handshaker>,
    /// What is to become of its listeners, when it is told that there is something.
    listener_orders: Receiver<ListenerOrder>,
    measured: Measured,
}

/// What a pump is made of.
pub(super) struct Parts {
    /// Listening already.
    pub edge: Edge,
    /// With the sessions that were read back.
    pub shard: Shard,
    /// What has followed from that.
    pub fx: Effects,
    /// Where its records go.
    pub store: ShardStore,
    /// What of them is durable.
    pub durable: Position,
    /// To the other shards.
    pub port: Port,
    /// From threads that are no shard.
    pub inbox: Inbox,
    /// Set when the process is to stop.
    pub stop: Arc<AtomicBool>,
    /// How long stopping may take, in seconds.
    pub shutdown_timeout_s: u16,
    /// For the watchdog.
    pub heartbeat: Arc<Heartbeat>,
    /// Where a listener has TLS.
    pub handshaker: Option<Handshaker>,
    /// From a reload.
    pub listener_orders: Receiver<ListenerOrder>,
}

impl Pump {
    /// A pump that has not run.
    pub(super) fn new(parts: Parts) -> Self {
        let Parts {
            edge,
            shard,
            fx,
            store,
            durable,
            port,
            inbox,
            stop,
            shutdown_timeout_s,
            heartbeat,
            handshaker,
            listener_orders,
        } = parts;
        Self {
            edge,
            shard,
            fx,
            port,
            rest: None,
            inbox,
            store,
            durable,
            failed: None,
            turn_bytes: 0,
            last_turn: clock::now(),
            catching_up: 0,
            stop,
            stopping: None,
            is_last_drain: false,
            shutdown_timeout_s,
            heartbeat,
            handshaker,
            listener_orders,
            measured: Measured::default(),
        }
    }

    /// Runs until the process is to stop. Returns how many connections did not take their last words in time.
    pub(super) fn run(mut self) -> Result<usize, RingError> {
        loop {
            self.turn()?;
            self.heartbeat.beat();
            if let Some(deadline) = self.stopping {
                let left = self.edge.connections();
                if (left == 0 && self.store.is_durable() && self.store.is_final()) || deadline.is_due(clock::now()) {
                    return Ok(left);
                }
            }
            self.edge.submit()?;
        }
    }

    /// What the turn that begins is to tell live tails of, and what the one before could not tell.
    fn watch_tails(&mut self) {
        (self.fx.tails, self.fx.tail_told) = (tail::filters(), 0);
        if self.fx.tail_skipped > 0 {
            tail::skipped(std::mem::take(&mut self.fx.tail_skipped));
        }
        if self.fx.spans_lost > 0 {
            spans::lost(std::mem::take(&mut self.fx.spans_lost));
        }
    }

    /// One turn: everything there is to do, then the sends; where nothing is left, the entry into the kernel that sends also
    /// waits for the next event.
    fn turn(&mut self) -> Result<(), RingError> {
        self.fx.watch(log::verbosity().max(trace::verbosity()), spans::sampling());
        self.watch_tails();
        let began = clock::now();
        let now = began;
        let more = self.take_events(now)?;
        self.note_stall(now, more);
        let now = self.take_messages(now)?;
        self.take_handshakes(now)?;
        self.take_commands(now)?;
        self.take_news(now)?;
        self.keep_time(now);
        self.apply_effects(now)?;
        self.take_written(now)?;
        self.fx.reads.drain(..).for_each(|read| self.store.read(read));
        if let Some(FileWrite { file, offset, bytes, range }) = self.next_write(now) {
            self.measured.begin_write(now, range.len());
            self.edge.write_durable(file, offset, bytes, range);
        }
        self.take_room(now)?;
        self.take_links(now)?;
        self.edge.receive_with_freed_buffers();
        self.port.flush(&mut self.fx.mesh, |shard| self.edge.wake(shard));
        self.push_back();
        self.edge.accept_more(now);
        let deadlines =
            [self.shard.next_deadline(), self.edge.next_deadline(), self.store.next_deadline(), self.stopping];
        if let Some(deadline) = deadlines.into_iter().flatten().min() {
            self.edge.set_timeout(deadline);
        }
        let busy = more || self.has_work();
        self.measured.end_turn(began);
        let now = self.send(now, !busy && !self.is_stopped() && self.failed.is_none())?;
        self.apply_effects(now)?;
        if let Some(error) = &self.failed {
            // What was durable before has been acknowledged; nobody knows what is on the disk now.
            self.edge.submit()?;
            fatal(error, End::Exit(Exit::Environment));
        }
        Ok(())
    }

    /// Whether something is left to do, besides sending, before it may sleep.
    fn has_work(&self) -> bool {
        self.edge.has_work()
            || self.shard.has_work()
            || self.rest.is_some()
            || self.port.waiting(&self.fx.mesh) > 0
            || !self.inbox.is_quiet()
            || !self.store.is_quiet()
            || !self.is_done_shaking()
    }

    /// Sends what the turn made, and may then sleep. Returns the time afterwards.
    fn send(&mut self, mut now: Now, sleeps: bool) -> Result<Now, RingError> {
        let Self { edge, shard, fx, store, port, inbox, stop, stopping, heartbeat, handshaker, .. } = self;
        heartbeat.set_asleep(sleeps);
        let mut core = ShardTurn { shard, turn: Turn { now, fx } };
        let offer = edge.offer(
            &mut core,
            sleeps.then_some(|| {
                let is_done_shaking = handshaker.as_ref().is_none_or(Handshaker::is_quiet);
                is_done_shaking && inbox.is_quiet() && store.is_quiet() && is_quiet(port, stop, *stopping)
            }),
        )?;
        if sleeps {
            heartbeat.set_asleep(false);
            now = clock::now();
        }
        core.turn.now = now;
        edge.finish_offer(&mut core, offer);
        self.turn_bytes = 0;
        Ok(now)
    }

    /// Whether listeners stay shut.
    const fn is_leaving(&self) -> bool {
        self.is_last_drain || self.stopping.is_some()
    }

    /// Whether there is nothing to wait for any more.
    fn is_stopped(&self) -> bool {
        self.stopping.is_some() && self.edge.connections() == 0 && self.store.is_durable()
    }

    /// Notes whether this thread did not run for a while and has not read all yet that came meanwhile: nobody is silent, or
    /// late, because of that.
    fn note_stall(&mut self, now: Now, more: bool) {
        let begins_to_wait = self.shard.is_overloaded() && self.catching_up == 0;
        if begins_to_wait || now.ms().saturating_sub(self.last_turn.ms()) > STALL_MS {
            self.catching_up = CATCH_UP_TURNS;
        }
        self.last_turn = now;
        self.catching_up = if more { self.catching_up.saturating_sub(1) } else { 0 };
    }

    /// Deadlines, work that is left over, and the order to stop.
    fn keep_time(&mut self, now: Now) {
        self.fx.deliveries = 0;
        if self.stopping.is_none() && self.stop.load(Ordering::SeqCst) {
            self.stopping = Some(now.after_s(self.shutdown_timeout_s.into()));
            self.edge.stop_listening();
            self.edge.close_awaiting_connect();
            self.shard.handle(&mut Turn { now, fx: &mut self.fx }, Input::Shutdown);
        }
        if self.catching_up == 0 {
            self.edge.handle_deadlines(&mut core(now, &mut self.shard, &mut self.fx));
        }
        // While receiving is paused a client's silence is not its own. When the broker stops, that is no matter.
        let is_judged = self.catching_up == 0 && (!self.edge.is_paused() || self.stopping.is_some());
        let due = self.shard.next_deadline().is_some_and(|deadline| deadline.is_due(now));
        if is_judged && (due || self.shard.has_work()) {
            self.shard.handle(&mut Turn { now, fx: &mut self.fx }, Input::Tick { transport: self.edge.counters() });
        } else if self.shard.delivers_to_many() {
            self.shard.handle(&mut Turn { now, fx: &mut self.fx }, Input::Deliver);
        }
    }

    /// Carries out what the shard asked for.
    fn apply_effects(&mut self, now: Now) -> Result<(), RingError> {
        self.turn_bytes += self.fx.held_bytes();
        self.edge.apply(&mut self.fx);
        for (shard, handover) in self.edge.handovers() {
            self.port.hand_over(shard, handover);
        }
        for away in self.edge.handshakes() {
            self.handshaker.as_ref().expect("it is there where a listener has TLS").begin(away);
        }
        for ask in self.fx.asks.drain(..) {
            self.inbox.ask(ask);
        }
        for (request, mut reply) in self.fx.replies.drain(..) {
            if let Reply::Counts(report) = &mut reply {
                report.run = self.measured.figures(self.edge.plane_counters());
            }
            self.inbox.reply(request, reply);
        }
        self.store.append(now, &self.fx.log);
        self.fx.clear();
        if self.turn_bytes > TURN_MAX_BYTES {
            self.turn_bytes = 0;
            self.edge.flush(&mut core(now, &mut self.shard, &mut self.fx))?;
            // What the flush itself led to is carried out with the next call.
        }
        Ok(())
    }

    /// Slows publishers down while other shards cannot keep up with them.
    fn push_back(&mut self) {
        let waiting = self.port.waiting(&self.fx.mesh);
        if waiting > MESH_PAUSE_MESSAGES && !self.edge.is_paused() {
            self.edge.set_paused(true);
        } else if waiting <= MESH_RESUME_MESSAGES && self.edge.is_paused() {
            self.edge.set_paused(false);
        }
        if waiting > 0 {
            std::thread::yield_now(); // the shard that has to catch up may share this core
        }
    }
}

/// The shard and its turn, for a call of the edge.
const fn core<'a>(now: Now, shard: &'a mut Shard, fx: &'a mut Effects) -> ShardTurn<'a> {
    ShardTurn { shard, turn: Turn { now, fx } }
}

/// Whether nobody wants anything of a pump: neither another shard nor whoever stops the process.
fn is_quiet(port: &Port, stop: &AtomicBool, stopping: Option<Deadline>) -> bool {
    port.is_quiet() && stop.load(Ordering::SeqCst) == stopping.is_some()
}
