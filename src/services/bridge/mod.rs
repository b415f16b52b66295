//! Bridges: messages from here to another broker, and from there to here.
//!
//! Owns: for each bridge when it connects and where, and the two connections that it has then: one to a session here, one to
//! a session there, with everything that comes by the one sent on by the other.
//! Always holds: a message is acknowledged to its sender when the other side has acknowledged it, with the sender's own packet
//! identifier, and not before; both connections are opened and closed together, so that what is sent again is sent again by
//! both; nothing of a message is kept here.
//! Leaves to others: where messages wait (the session here), what a table says (`config::bridges`), when a bridge runs (`connectors`).
//!
//! Reading order: this file, `open`, `relay`, `topics`; `remote`, `websocket`.

mod open;
mod relay;
#[cfg(test)]
mod relay_tests;
mod remote;
mod topics;
mod websocket;

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::connectors::{ConnectorContext, ConnectorStatus};
use super::local::{OwnedPacket, StreamError};
use crate::codec::{ReasonCode, Version};
use crate::config::BridgeSettings;
use crate::config::bridges::{BridgeStart, BridgeVersion};
use crate::limits::{BRIDGE_OUT_MAX_BYTES, BRIDGE_PRIMARY_AGAIN_MAX_S, BRIDGE_PRIMARY_AGAIN_S, BRIDGE_WORKS_AFTER_S};
use crate::shard::Reply;
use crate::telemetry::log;
use open::{BridgeNames, BridgeOpener, OpenBridge, OpenError};
use relay::{BridgeSide, Refusals, Relay, RelayBounds, RelayStep};

/// How long the last words of a bridge may take.
const GOODBYE_PATIENCE: Duration = Duration::from_secs(1);
/// How long what is under way may still be acknowledged when a side has no room for one message.
const LATER_PATIENCE: Duration = Duration::from_secs(1);
/// How often a lazy bridge looks whether messages wait.
const LAZY_LOOK: Duration = Duration::from_secs(1);

/// Why both connections end.
enum BridgeEnd {
    /// It is to.
    Stopped,
    /// No message has come for a while, and it is a lazy one.
    Idle,
    /// The first address is there again.
    PrimaryBack,
    /// A side has no room for a message now, as it says.
    Later(&'static str),
    /// In words.
    Failed(String),
}

/// How long to wait before the first address is looked at, while another one is used.
struct PrimaryLook {
    wait: Duration,
    /// It took connections, and nothing else is known of it yet.
    is_tried: bool,
}

impl PrimaryLook {
    const MIN: Duration = Duration::from_secs(BRIDGE_PRIMARY_AGAIN_S);

    /// An address has worked, or has not. The first one takes connections, and no bridge: what works is not given up for it so soon again.
    fn note(&mut self, index: usize, works: bool) {
        if index != 0 {
            return;
        }
        let is_tried = std::mem::take(&mut self.is_tried);
        if works {
            self.wait = Self::MIN;
        } else if is_tried {
            self.wait = (self.wait * 2).min(Duration::from_secs(BRIDGE_PRIMARY_AGAIN_MAX_S));
        }
    }
}

/// Whether it says before 5.0 that it is a bridge: at each new outage, until the other broker does not take that.
struct BridgeBit {
    is_off: bool,
    /// How often in a row an address has closed the connection instead of an answer to it.
    closes: Vec<u8>,
}

impl BridgeBit {
    /// An address has closed the connection. Once may be anything; returns whether it is tried without.
    fn closed(&mut self, index: usize) -> bool {
        self.closes[index] += 1;
        self.is_off = self.closes[index] >= 2;
        self.is_off
    }

    /// A connection has come to its end, or to nothing for another reason.
    fn begin_anew(&mut self, index: usize) {
        (self.is_off, self.closes[index]) = (false, 0);
    }
}

/// Runs a bridge until it is told to end.
pub(super) async fn run(settings: Arc<BridgeSettings>, node: &str, context: ConnectorContext) {
    let names = BridgeNames::of(&settings, node, context.state.client_id());
    let bit = BridgeBit { is_off: false, closes: vec![0; settings.addresses.len()] };
    let primary = PrimaryLook { wait: PrimaryLook::MIN, is_tried: false };
    let refusals = Refusals::default();
    let mut bridge = Bridge { settings, names, context, at: 0, last: None, bit, primary, refusals };
    bridge.keep_open().await;
}

/// What `work` comes to, unless it is to stop before. One that is open hears that itself, and ends in order.
async fn unless_stopped<T>(mut context: ConnectorContext, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        result = work => Some(result),
        () = context.stopped() => None,
    }
}

struct Bridge {
    settings: Arc<BridgeSettings>,
    names: BridgeNames,
    context: ConnectorContext,
    /// Which address is next.
    at: usize,
    /// Which it was connected to last.
    last: Option<usize>,
    bit: BridgeBit,
    primary: PrimaryLook,
    refusals: Refusals,
}

impl Bridge {
    async fn keep_open(&mut self) {
        let mut backoff = Backoff::new(self.settings.reconnect_s);
        loop {
            if self.settings.start == BridgeStart::Lazy {
                self.context.state.set_status(ConnectorStatus::Idle, None);
                if unless_stopped(self.context.clone(), self.wait_for_messages()).await.is_none() {
                    return;
                }
            }
            let Some(opened) = unless_stopped(self.context.clone(), Box::pin(self.open_once())).await else { return };
            match opened {
                Ok((opened, index)) => {
                    match self.relay(opened, index, &mut backoff).await {
                        BridgeEnd::Stopped => return,
                        BridgeEnd::Idle | BridgeEnd::PrimaryBack => continue,
                        BridgeEnd::Later(text) => self.context.state.failed(text),
                        BridgeEnd::Failed(text) => self.context.state.failed(&text),
                    }
                    if self.settings.start == BridgeStart::Once {
                        return self.context.state.set_status(ConnectorStatus::Stopped, None);
                    }
                }
                Err(error) => {
                    if self.handle_unopened(error) {
                        continue;
                    }
                }
            }
            let next = self.settings.addresses[self.at].to_string();
            self.context.state.set_status(ConnectorStatus::Connecting, Some(next));
            if unless_stopped(self.context.clone(), sleep(backoff.next())).await.is_none() {
                return;
            }
        }
    }

    /// An address has come to nothing. Returns whether the same is tried at once, without saying that this is a bridge.
    fn handle_unopened(&mut self, error: OpenError) -> bool {
        let text = match error {
            OpenError::RefusesBridge => {
                self.bit.is_off = true;
                return true;
            }
            OpenError::ClosesOnBridge if self.bit.closed(self.at) => return true,
            OpenError::ClosesOnBridge => "it closes the connection instead of CONNACK".to_owned(),
            OpenError::Other(text) => {
                self.bit.begin_anew(self.at);
                text
            }
        };
        let address = &self.settings.addresses[self.at];
        self.context.state.failed(&format!("{address}: {text}"));
        self.note_address(self.at, false);
        false
    }

    /// An address has worked, or has not: which one is next.
    fn note_address(&mut self, index: usize, works: bool) {
        self.primary.note(index, works);
        let next = (index + 1) % self.settings.addresses.len();
        self.at = if !works || self.settings.round_robin { next } else { 0 };
    }

    async fn open_once(&mut self) -> Result<(OpenBridge, usize), OpenError> {
        let index = self.at;
        let address = &self.settings.addresses[index];
        self.context.state.set_status(ConnectorStatus::Connecting, Some(address.to_string()));
        // Nobody knows which of several it was connected to before this process began.
        let is_elsewhere = self.last.map_or(self.settings.addresses.len() > 1, |last| last != index);
        let opened = self.opener(is_elsewhere).open(address).await?;
        self.last = Some(index);
        if !opened.local_connack.session_present || !opened.remote_connack.session_present || is_elsewhere {
            self.refusals = Refusals::default();
        }
        self.context.state.counters.connects.fetch_add(1, Ordering::Relaxed);
        self.context.state.set_status(ConnectorStatus::Connected, Some(address.to_string()));
        for filter in &opened.refused {
            self.context.state.failed(&format!("a filter is refused: {filter}"));
        }
        if self.bit.is_off {
            self.context
                .state
                .failed("the other broker does not take that this is a bridge: its messages may come back");
        }
        log::event::connector_connected("bridge", &self.settings.name, &address.to_string());
        Ok((opened, index))
    }

    fn opener(&self, is_elsewhere: bool) -> BridgeOpener<'_> {
        BridgeOpener {
            settings: &self.settings,
            names: &self.names,
            door: &self.context.door,
            tells_bridge: self.settings.tells_bridge && !self.bit.is_off,
            is_elsewhere,
        }
    }

    /// Until so many messages wait in the session here as a lazy bridge connects for.
    async fn wait_for_messages(&self) {
        loop {
            match self.context.door.describe(&self.names.local).await {
                Some(Reply::Client(client)) if client.summary.messages >= self.settings.lazy_messages => return,
                // There is no session yet that anything could wait in: it begins with the first connection.
                Some(Reply::NotFound) => return,
                _ => {}
            }
            sleep(LAZY_LOOK).await;
        }
    }

    /// Passes messages on until something ends it, and learns from that which address is next, and how soon.
    async fn relay(&mut self, mut open: OpenBridge, index: usize, backoff: &mut Backoff) -> BridgeEnd {
        let mut relay = Relay::new(self.bounds(&open), std::mem::take(&mut self.refusals));
        let primary = (index != 0 && !self.settings.round_robin).then(|| self.watch_primary());
        // 0 is none.
        let asked = open.remote_connack.keep_alive_s.filter(|seconds| *seconds > 0);
        let mut clock = BridgeClock::new(asked.unwrap_or(self.settings.keep_alive_s));
        let end = self.pass_on(&mut open, &mut relay, (primary.as_ref(), &mut clock)).await;
        if let Some(primary) = primary {
            primary.abort();
        }
        self.refusals = relay.into_refusals();
        self.bit.begin_anew(index);
        match &end {
            BridgeEnd::PrimaryBack => (self.at, self.primary.is_tried) = (0, true),
            // It works, and another one would say nothing else of its own messages.
            BridgeEnd::Later(_) => self.at = index,
            BridgeEnd::Stopped | BridgeEnd::Idle | BridgeEnd::Failed(_) => {
                let works = clock.has_worked() || matches!(end, BridgeEnd::Idle);
                self.note_address(index, works);
                if works {
                    backoff.reset();
                }
            }
        }
        // Whoever still hears it is told; a side that has failed is not waited for.
        self.opener(false).tell(&mut open, false);
        open.local.stream().put_disconnect(ReasonCode::NORMAL_DISCONNECTION);
        open.remote.put_disconnect(ReasonCode::NORMAL_DISCONNECTION);
        let _ =
            timeout(GOODBYE_PATIENCE, async { tokio::join!(open.local.stream().flush(), open.remote.flush()) }).await;
        end
    }

    fn bounds(&self, open: &OpenBridge) -> RelayBounds {
        let remote = &open.remote_connack;
        RelayBounds {
            topics: self.settings.topics.clone(),
            hops_max: self.settings.hops_max,
            outgoing_retain: self.settings.outgoing_retain && remote.retain_available,
            remote_version: match self.settings.version {
                BridgeVersion::V31 => Version::V31,
                BridgeVersion::V311 => Version::V311,
                BridgeVersion::V5 => Version::V5,
            },
            remote_qos_max: remote.qos_max,
            remote_packet_max_bytes: remote.packet_size_max_bytes,
            local: open.local_connack,
        }
    }

    /// Ends when the first address takes connections.
    fn watch_primary(&self) -> JoinHandle<()> {
        let (settings, wait) = (Arc::clone(&self.settings), self.primary.wait);
        tokio::spawn(async move {
            let patience = Duration::from_secs(settings.connect_timeout_s.into());
            loop {
                sleep(wait).await;
                if remote::is_there(&settings.addresses[0], patience).await {
                    return;
                }
            }
        })
    }

    async fn pass_on(
        &mut self,
        open: &mut OpenBridge,
        relay: &mut Relay,
        (primary, clock): (Option<&JoinHandle<()>>, &mut BridgeClock),
    ) -> BridgeEnd {
        for (side, earlier) in [
            (BridgeSide::Local, std::mem::take(&mut open.earlier_local)),
            (BridgeSide::Remote, std::mem::take(&mut open.earlier_remote)),
        ] {
            for packet in earlier.packets {
                self.handle(open, relay, (side, packet), clock);
            }
        }
        let is_lazy = self.settings.start == BridgeStart::Lazy;
        let idle = Duration::from_secs(self.settings.idle_timeout_s.into());
        let mut is_remote_first = false;
        let mut context = self.context.clone();
        loop {
            is_remote_first = !is_remote_first;
            let idle_at = if is_lazy { clock.last_message + idle } else { clock.ping_at + idle };
            let later_at = clock.later.map_or(clock.ping_at, |(at, _)| at);
            tokio::select! {
                (side, packet) = next_of_both(open, is_remote_first) => {
                    let packet = match packet {
                        Ok(OwnedPacket::Disconnect { reason, .. }) => {
                            return BridgeEnd::Failed(format!("{} disconnects: {reason}", side.name()));
                        }
                        Ok(packet) => packet,
                        Err(error) => return BridgeEnd::Failed(format!("{}: {error}", side.name())),
                    };
                    clock.heard(side, &packet);
                    self.handle(open, relay, (side, packet), clock);
                }
                () = sleep_until(clock.ping_at) => {
                    // Whoever is not heard, because this broker takes nothing now, says nothing.
                    let is_heard = open.local.stream().waiting_bytes() < BRIDGE_OUT_MAX_BYTES;
                    if is_heard && clock.is_silent {
                        return BridgeEnd::Failed("the other broker is silent".to_owned());
                    }
                    open.remote.put_ping();
                    clock.pinged(is_heard);
                }
                () = sleep_until(later_at), if clock.later.is_some() => {
                    return BridgeEnd::Later(clock.later.map_or("", |(_, text)| text));
                }
                () = sleep_until(idle_at), if is_lazy => return BridgeEnd::Idle,
                () = finished(primary) => return BridgeEnd::PrimaryBack,
                () = context.stopped() => return BridgeEnd::Stopped,
            }
        }
    }

    /// Does what follows from a packet.
    fn handle(
        &self,
        open: &mut OpenBridge,
        relay: &mut Relay,
        (side, packet): (BridgeSide, OwnedPacket),
        clock: &mut BridgeClock,
    ) {
        let counters = &self.context.state.counters;
        for step in relay.handle(side, packet) {
            match step {
                RelayStep::Publish(to, publish) => {
                    let bytes = publish.payload.len() as u64;
                    let (messages, all_bytes) = match to {
                        BridgeSide::Local => (&counters.messages_in, &counters.bytes_in),
                        BridgeSide::Remote => (&counters.messages_out, &counters.bytes_out),
                    };
                    messages.fetch_add(1, Ordering::Relaxed);
                    all_bytes.fetch_add(bytes, Ordering::Relaxed);
                    match to {
                        BridgeSide::Local => open.local.stream().put_publish(&publish),
                        BridgeSide::Remote => open.remote.put_publish(&publish),
                    }
                }
                RelayStep::Ack(BridgeSide::Local, ack) => open.local.stream().put_ack(ack),
                RelayStep::Ack(BridgeSide::Remote, ack) => open.remote.put_ack(ack),
                RelayStep::NotPassed(reason, topic) => {
                    if self.context.state.count_not_passed(reason) {
                        log::event::connector_not_passed("bridge", &self.settings.name, reason.label(), &topic);
                    }
                }
                RelayStep::TryLater(text) => clock.try_later(text),
            }
        }
    }
}

impl BridgeSide {
    const fn name(self) -> &'static str {
        match self {
            Self::Local => "this broker",
            Self::Remote => "the other broker",
        }
    }
}

/// The next packet of either side, of the one first or of the other. Meanwhile both are sent what is for them, and a side is heard
/// only while what is for the other does not pile up.
async fn next_of_both(open: &mut OpenBridge, is_remote_first: bool) -> (BridgeSide, Result<OwnedPacket, StreamError>) {
    poll_fn(|context| {
        let OpenBridge { local, remote, .. } = open;
        let local = local.stream();
        if let Poll::Ready(Err(error)) = local.poll_flush(context) {
            return Poll::Ready((BridgeSide::Local, Err(error.into())));
        }
        if let Poll::Ready(Err(error)) = remote.poll_flush(context) {
            return Poll::Ready((BridgeSide::Remote, Err(error.into())));
        }
        let has_room = |bytes: usize| bytes < BRIDGE_OUT_MAX_BYTES;
        let (hears_local, hears_remote) = (has_room(remote.waiting_bytes()), has_room(local.waiting_bytes()));
        for of_remote in [is_remote_first, !is_remote_first] {
            if of_remote && hears_remote {
                if let Poll::Ready(packet) = remote.poll_packet(context) {
                    return Poll::Ready((BridgeSide::Remote, packet));
                }
            } else if !of_remote
                && hears_local
                && let Poll::Ready(packet) = local.poll_packet(context)
            {
                return Poll::Ready((BridgeSide::Local, packet));
            }
        }
        Poll::Pending
    })
    .await
}

/// Until a task has finished; never without one.
async fn finished(task: Option<&JoinHandle<()>>) {
    match task {
        Some(task) => {
            while !task.is_finished() {
                sleep(Duration::from_millis(500)).await;
            }
        }
        None => std::future::pending().await,
    }
}

/// When what has happened last.
struct BridgeClock {
    begun: Instant,
    beat: Duration,
    ping_at: Instant,
    /// Nothing has come since the last PINGREQ.
    is_silent: bool,
    last_message: Instant,
    /// The other broker has acknowledged a message.
    has_acknowledged: bool,
    /// When both connections end because a side has no room, and what it says.
    later: Option<(Instant, &'static str)>,
}

impl BridgeClock {
    fn new(keep_alive_s: u16) -> Self {
        let now = Instant::now();
        let beat = Duration::from_millis(u64::from(keep_alive_s.max(1)) * 750);
        Self {
            begun: now,
            beat,
            ping_at: now + beat,
            is_silent: false,
            last_message: now,
            has_acknowledged: false,
            later: None,
        }
    }

    fn heard(&mut self, side: BridgeSide, packet: &OwnedPacket) {
        if side == BridgeSide::Remote {
            self.is_silent = false;
        }
        match packet {
            OwnedPacket::Publish(_) => self.last_message = Instant::now(),
            OwnedPacket::Ack(ack) if side == BridgeSide::Remote => self.has_acknowledged |= !ack.reason.is_error(),
            _ => {}
        }
    }

    /// `is_heard`: what comes is read.
    fn pinged(&mut self, is_heard: bool) {
        self.is_silent = is_heard;
        self.ping_at = Instant::now() + self.beat;
    }

    fn try_later(&mut self, text: &'static str) {
        self.later.get_or_insert((Instant::now() + LATER_PATIENCE, text));
    }

    /// Whether this address is one that works, and not one that takes connections alone.
    fn has_worked(&self) -> bool {
        self.has_acknowledged || self.begun.elapsed() >= Duration::from_secs(BRIDGE_WORKS_AFTER_S)
    }
}

/// How long to wait before the next attempt: longer each time, and never the same for all who wait.
struct Backoff {
    min: Duration,
    max: Duration,
    ceiling: Duration,
}

impl Backoff {
    fn new((min_s, max_s): (u32, u32)) -> Self {
        let (min, max) = (Duration::from_secs(min_s.into()), Duration::from_secs(max_s.into()));
        Self { min, max, ceiling: min }
    }

    const fn reset(&mut self) {
        self.ceiling = self.min;
    }

    /// Between half of what it has come to and all of that.
    fn next(&mut self) -> Duration {
        let mut random = [0; 8];
        let half_ms = (self.ceiling / 2).as_millis() as u64;
        // Without random numbers all wait as long as they may.
        let part_ms = match aws_lc_rs::rand::fill(&mut random) {
            Ok(()) => u64::from_ne_bytes(random) % (half_ms + 1),
            Err(_) => 0,
        };
        let wait = self.ceiling.saturating_sub(Duration::from_millis(part_ms));
        self.ceiling = (self.ceiling * 2).min(self.max);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_address_that_takes_connections_and_no_bridge_is_tried_more_and_more_rarely() {
        let mut look = PrimaryLook { wait: PrimaryLook::MIN, is_tried: false };
        look.note(0, false);
        assert_eq!(look.wait, PrimaryLook::MIN, "nobody had said that it is there");
        for times in [2, 4, 8] {
            look.is_tried = true;
            look.note(0, false);
            look.note(1, true);
            assert_eq!(look.wait, PrimaryLook::MIN * times);
        }
        for _ in 0..20 {
            look.is_tried = true;
            look.note(0, false);
        }
        assert_eq!(look.wait.as_secs(), BRIDGE_PRIMARY_AGAIN_MAX_S);
        look.note(0, true);
        assert_eq!(look.wait, PrimaryLook::MIN);
    }

    #[test]
    fn a_bridge_says_what_it_is_until_an_address_has_closed_twice_in_a_row() {
        let mut bit = BridgeBit { is_off: false, closes: vec![0; 2] };
        assert_eq!((bit.closed(0), bit.closed(1)), (false, false));
        assert!(bit.closed(0) && bit.is_off);
        bit.begin_anew(0);
        assert!(!bit.is_off && !bit.closed(0), "the next outage");
    }

    #[test]
    fn an_address_works_when_it_has_acknowledged_something_or_lasts_and_one_that_is_not_heard_is_not_silent() {
        let mut clock = BridgeClock::new(60);
        assert!(!clock.has_worked());
        let puback = |reason| {
            OwnedPacket::Ack(crate::services::local::OwnedAck::new(
                crate::codec::AckKind::PubAck,
                crate::ids::PacketId::MIN,
                reason,
            ))
        };
        clock.heard(BridgeSide::Local, &puback(ReasonCode::Success));
        clock.heard(BridgeSide::Remote, &puback(ReasonCode::QuotaExceeded));
        assert!(!clock.has_worked());
        clock.heard(BridgeSide::Remote, &puback(ReasonCode::Success));
        assert!(clock.has_worked());
        clock.pinged(false);
        assert!(!clock.is_silent);
        clock.pinged(true);
        assert!(clock.is_silent);
    }

    #[test]
    fn each_wait_is_longer_up_to_the_longest_and_begins_anew() {
        let mut backoff = Backoff::new((1, 5));
        for (least, most) in [(500, 1000), (1000, 2000), (2000, 4000), (2500, 5000), (2500, 5000)] {
            let wait = backoff.next().as_millis() as u64;
            assert!((least..=most).contains(&wait), "{wait}");
        }
        backoff.reset();
        assert!(backoff.next() <= Duration::from_secs(1));
    }
}
