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
use crate::limits::{BRIDGE_OUT_MAX_BYTES, BRIDGE_PRIMARY_AGAIN_S};
use crate::shard::Reply;
use crate::telemetry::log;
use open::{BridgeNames, BridgeOpener, OpenBridge, OpenError};
use relay::{BridgeSide, Relay, RelayBounds, RelayStep};

/// How long the last words of a bridge may take.
const GOODBYE_PATIENCE: Duration = Duration::from_secs(1);
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
    /// In words.
    Failed(String),
}

/// Runs a bridge until it is told to end.
pub(super) async fn run(settings: Arc<BridgeSettings>, node: &str, context: ConnectorContext) {
    let names = BridgeNames::of(&settings, node, context.state.client_id());
    let mut bridge = Bridge { settings, names, context, at: 0, last: None, says_what_it_is: true };
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
    /// Until the other broker refuses that.
    says_what_it_is: bool,
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
                    backoff.reset();
                    match self.relay(opened, index).await {
                        BridgeEnd::Stopped => return,
                        BridgeEnd::Idle => continue,
                        BridgeEnd::PrimaryBack => {
                            self.at = 0;
                            continue;
                        }
                        BridgeEnd::Failed(text) => self.context.state.failed(&text),
                    }
                    if self.settings.start == BridgeStart::Once {
                        return self.context.state.set_status(ConnectorStatus::Stopped, None);
                    }
                }
                Err(OpenError::TellsBridge) => {
                    self.says_what_it_is = false;
                    continue;
                }
                Err(OpenError::Other(text)) => {
                    let address = &self.settings.addresses[self.at];
                    self.context.state.failed(&format!("{address}: {text}"));
                    self.at = (self.at + 1) % self.settings.addresses.len();
                }
            }
            let next = self.settings.addresses[self.at].to_string();
            self.context.state.set_status(ConnectorStatus::Connecting, Some(next));
            if unless_stopped(self.context.clone(), sleep(backoff.next())).await.is_none() {
                return;
            }
        }
    }

    async fn open_once(&mut self) -> Result<(OpenBridge, usize), OpenError> {
        let index = self.at;
        let address = &self.settings.addresses[index];
        self.context.state.set_status(ConnectorStatus::Connecting, Some(address.to_string()));
        let opened = self.opener(self.last.is_some_and(|last| last != index)).open(address).await?;
        self.last = Some(index);
        if self.settings.round_robin {
            self.at = (index + 1) % self.settings.addresses.len();
        } else {
            self.at = 0;
        }
        self.context.state.counters.connects.fetch_add(1, Ordering::Relaxed);
        self.context.state.set_status(ConnectorStatus::Connected, Some(address.to_string()));
        for filter in &opened.refused {
            self.context.state.failed(&format!("a filter is refused: {filter}"));
        }
        log::event::connector_connected("bridge", &self.settings.name, &address.to_string());
        Ok((opened, index))
    }

    fn opener(&self, is_elsewhere: bool) -> BridgeOpener<'_> {
        BridgeOpener {
            settings: &self.settings,
            names: &self.names,
            door: &self.context.door,
            tells_bridge: self.settings.tells_bridge && self.says_what_it_is,
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

    /// Passes messages on until something ends it.
    async fn relay(&mut self, mut open: OpenBridge, index: usize) -> BridgeEnd {
        let mut relay = Relay::new(self.bounds(&open));
        let primary = (index != 0 && !self.settings.round_robin).then(|| self.watch_primary());
        let keep_alive_s = open.remote_connack.keep_alive_s.unwrap_or(self.settings.keep_alive_s);
        let end = self.pass_on(&mut open, &mut relay, (primary.as_ref(), keep_alive_s)).await;
        if let Some(primary) = primary {
            primary.abort();
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
            local_packet_max_bytes: open.local_connack.packet_size_max_bytes,
        }
    }

    /// Ends when the first address takes connections.
    fn watch_primary(&self) -> JoinHandle<()> {
        let settings = Arc::clone(&self.settings);
        tokio::spawn(async move {
            let patience = Duration::from_secs(settings.connect_timeout_s.into());
            loop {
                sleep(Duration::from_secs(BRIDGE_PRIMARY_AGAIN_S)).await;
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
        (primary, keep_alive_s): (Option<&JoinHandle<()>>, u16),
    ) -> BridgeEnd {
        for (side, earlier) in [
            (BridgeSide::Local, std::mem::take(&mut open.earlier_local)),
            (BridgeSide::Remote, std::mem::take(&mut open.earlier_remote)),
        ] {
            for packet in earlier {
                if let Err(text) = self.handle(open, relay, side, packet) {
                    return BridgeEnd::Failed(text);
                }
            }
        }
        let beat = Duration::from_millis(u64::from(keep_alive_s.max(1)) * 750);
        let is_lazy = self.settings.start == BridgeStart::Lazy;
        let idle = Duration::from_secs(self.settings.idle_timeout_s.into());
        let mut clock = BridgeClock::new(beat);
        let mut is_remote_first = false;
        let mut context = self.context.clone();
        loop {
            is_remote_first = !is_remote_first;
            let idle_at = if is_lazy { clock.last_message + idle } else { clock.ping_at + idle };
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
                    if let Err(text) = self.handle(open, relay, side, packet) {
                        return BridgeEnd::Failed(text);
                    }
                }
                () = sleep_until(clock.ping_at) => {
                    if clock.is_silent {
                        return BridgeEnd::Failed("the other broker is silent".to_owned());
                    }
                    open.remote.put_ping();
                    clock.pinged();
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
        side: BridgeSide,
        packet: OwnedPacket,
    ) -> Result<(), String> {
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
                RelayStep::TryLater(text) => return Err(text.to_owned()),
            }
        }
        Ok(())
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
    beat: Duration,
    ping_at: Instant,
    /// Nothing has come since the last PINGREQ.
    is_silent: bool,
    last_message: Instant,
}

impl BridgeClock {
    fn new(beat: Duration) -> Self {
        let now = Instant::now();
        Self { beat, ping_at: now + beat, is_silent: false, last_message: now }
    }

    fn heard(&mut self, side: BridgeSide, packet: &OwnedPacket) {
        if side == BridgeSide::Remote {
            self.is_silent = false;
        }
        if matches!(packet, OwnedPacket::Publish(_)) {
            self.last_message = Instant::now();
        }
    }

    fn pinged(&mut self) {
        self.is_silent = true;
        self.ping_at = Instant::now() + self.beat;
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
