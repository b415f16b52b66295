//! Opening both sides of a bridge: the other broker first, then this one, then what must hold before a message may pass.
//!
//! Always holds: no message passes before exchanges that only one side knows of have ended. Where a session is new on one side
//! and was kept on the other, identifiers that the kept one holds open are let go (PUBREL, for each that there is): else it would
//! take the first new message under one of them for a repetition, and drop it.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::timeout;

use super::remote::{self, RemoteBytes};
use crate::codec::{
    AckKind, Connect, ConnectWill, Forwarded, ReasonCode, RetainHandling, SubscribeFilter, SubscriptionOptions, Version,
};
use crate::config::bridges::{BridgeAddress, BridgeNotifications, BridgeSettings, BridgeTopic, BridgeVersion};
use crate::ids::{PacketId, Qos};
use crate::limits::BRIDGE_EARLIER_MAX_BYTES;
use crate::services::local::{
    LocalClient, LocalConnack, LocalConnect, LocalDoor, LocalError, LocalWill, MqttStream, OwnedAck, OwnedConnack,
    OwnedPacket, OwnedPublish, StreamError,
};
use crate::shard::{Command, Reply};

/// The connection to the other broker.
pub(super) type RemoteStream = MqttStream<Box<dyn RemoteBytes>>;

/// Filters in one SUBSCRIBE.
const FILTERS_AT_A_TIME: usize = 100;
/// How long all that follows CONNACK may take.
const OPENING_PATIENCE: Duration = Duration::from_secs(60);

/// What a bridge is called, and where it says whether it is connected.
#[derive(Clone, Debug)]
pub(super) struct BridgeNames {
    /// The client id here.
    pub(super) local: String,
    /// The client id there.
    pub(super) remote: String,
    /// Where `1` and `0` are published, retained.
    pub(super) state_topic: String,
}

impl BridgeNames {
    pub(super) fn of(settings: &BridgeSettings, node: &str, local: String) -> Self {
        let remote = settings.client_id.as_deref().map_or_else(|| format!("{node}.{}", settings.name), str::to_owned);
        let state_topic = settings.notification_topic.as_deref().map(str::to_owned);
        // A client id of several levels would make it another topic than the one that a bridge may publish to.
        let level = if remote.contains('/') { &*settings.name } else { remote.as_str() };
        let state_topic = state_topic.unwrap_or_else(|| format!("$SYS/broker/connection/{level}/state"));
        Self { local, remote, state_topic }
    }
}

/// Both sides, open.
pub(super) struct OpenBridge {
    pub(super) local: LocalClient,
    pub(super) remote: RemoteStream,
    pub(super) local_connack: LocalConnack,
    pub(super) remote_connack: OwnedConnack,
    /// What has come meanwhile.
    pub(super) earlier_local: EarlierPackets,
    /// Likewise.
    pub(super) earlier_remote: EarlierPackets,
    /// Filters that a side has refused.
    pub(super) refused: Vec<String>,
}

/// What a side has sent before it could be passed on.
#[derive(Debug, Default)]
pub(super) struct EarlierPackets {
    pub(super) packets: VecDeque<OwnedPacket>,
    bytes: usize,
}

impl EarlierPackets {
    /// An error where it is too much.
    fn push(&mut self, packet: OwnedPacket) -> Result<(), OpenError> {
        self.bytes += size_of::<OwnedPacket>();
        if let OwnedPacket::Publish(publish) = &packet {
            self.bytes += publish.topic.len() + publish.properties.len() + publish.payload.len();
        }
        if self.bytes > BRIDGE_EARLIER_MAX_BYTES {
            return Err(OpenError::Other("it sends more than may come before it has answered".to_owned()));
        }
        self.packets.push_back(packet);
        Ok(())
    }
}

/// Who is to be opened, and how.
pub(super) struct BridgeOpener<'a> {
    pub(super) settings: &'a BridgeSettings,
    pub(super) names: &'a BridgeNames,
    pub(super) door: &'a LocalDoor,
    /// It says before 5.0 that it is a bridge.
    pub(super) tells_bridge: bool,
    /// The last connection was to another address, whose exchanges are not this one's.
    pub(super) is_elsewhere: bool,
}

/// Why a bridge is not open.
#[derive(Debug)]
pub(super) enum OpenError {
    /// The other broker says that it does not know the level that says that this is a bridge.
    RefusesBridge,
    /// The other broker has closed the connection instead of an answer to that level.
    ClosesOnBridge,
    /// In words.
    Other(String),
}

impl<E: std::fmt::Display> From<E> for OpenError {
    fn from(error: E) -> Self {
        Self::Other(error.to_string())
    }
}

impl BridgeOpener<'_> {
    /// Opens both sides by an address of the other broker.
    pub(super) async fn open(&self, address: &BridgeAddress) -> Result<OpenBridge, OpenError> {
        let patience = Duration::from_secs(self.settings.connect_timeout_s.into());
        let late = |_| OpenError::Other("the other broker does not answer in time".to_owned());
        let (remote, remote_connack) = timeout(patience, self.open_remote(address)).await.map_err(late)??;
        let (local, local_connack) = self.open_local(&remote_connack).await?;
        let mut open = OpenBridge {
            local,
            remote,
            local_connack,
            remote_connack,
            earlier_local: EarlierPackets::default(),
            earlier_remote: EarlierPackets::default(),
            refused: Vec::new(),
        };
        let late = |_| OpenError::Other("a side does not take what a bridge begins with in time".to_owned());
        timeout(OPENING_PATIENCE, self.prepare(&mut open)).await.map_err(late)??;
        Ok(open)
    }

    async fn open_remote(&self, address: &BridgeAddress) -> Result<(RemoteStream, OwnedConnack), OpenError> {
        let is_told = self.settings.notifications == BridgeNotifications::Both;
        let mut will = is_told.then_some(StateWill::FIRST);
        loop {
            let (stream, connack) = self.ask_remote(address, will).await?;
            let reason = connack.reason;
            if reason == ReasonCode::Success {
                return Ok((stream, connack));
            }
            if let Some(lower) = will.and_then(|will| will.lowered(reason)) {
                will = Some(lower);
                continue;
            }
            let text = connack.reason_string.map_or_else(String::new, |text| format!(": {text}"));
            return Err(OpenError::Other(format!("the other broker refuses: {reason}{text}")));
        }
    }

    /// What the other broker answers to CONNECT.
    async fn ask_remote(
        &self,
        address: &BridgeAddress,
        will: Option<StateWill>,
    ) -> Result<(RemoteStream, OwnedConnack), OpenError> {
        let settings = self.settings;
        let password = remote::secret(&settings.password).await.map_err(OpenError::Other)?;
        let bytes = remote::connect(settings, address).await.map_err(OpenError::Other)?;
        let version = match settings.version {
            BridgeVersion::V31 => Version::V31,
            BridgeVersion::V311 => Version::V311,
            BridgeVersion::V5 => Version::V5,
        };
        let mut stream = MqttStream::new(bytes, version, settings.packet_size_max_bytes);
        let tells_bridge = self.tells_bridge && version != Version::V5;
        stream.put_connect(&Connect {
            is_bridge: tells_bridge,
            keep_alive_s: settings.keep_alive_s,
            username: settings.username.as_deref(),
            password: password.as_deref(),
            will: will.map(|will| will_of(&self.names.state_topic, will)),
            session_expiry_s: if settings.clean_start { 0 } else { settings.session_expiry_s },
            receive_maximum: settings.inflight_max,
            maximum_packet_size_bytes: settings.packet_size_max_bytes,
            ..Connect::new(version, &self.names.remote, settings.clean_start)
        });
        let answer = match stream.next().await {
            // Some that do not know the level just close, and so does a broker that ends.
            Err(StreamError::Closed) if tells_bridge => return Err(OpenError::ClosesOnBridge),
            answer => answer?,
        };
        let OwnedPacket::ConnAck(connack) = answer else {
            return Err(OpenError::Other("the other broker begins with something else than CONNACK".to_owned()));
        };
        if connack.reason == ReasonCode::UnsupportedProtocolVersion && tells_bridge {
            return Err(OpenError::RefusesBridge);
        }
        Ok((stream, *connack))
    }

    async fn open_local(&self, remote: &OwnedConnack) -> Result<(LocalClient, LocalConnack), OpenError> {
        let settings = self.settings;
        let is_told = settings.notifications != BridgeNotifications::Off;
        let mut will = is_told.then_some(StateWill::FIRST);
        loop {
            let who = LocalConnect {
                client_id: self.names.local.clone(),
                clean_start: settings.local_clean_start,
                session_expiry_s: if settings.local_clean_start { 0 } else { u32::MAX },
                // So that the other side never has more of them than it takes.
                receive_maximum: settings.inflight_max.min(remote.receive_maximum),
                will: will.map(|StateWill { qos, retain }| LocalWill {
                    topic: self.names.state_topic.clone(),
                    payload: "0".into(),
                    qos,
                    retain,
                }),
            };
            match self.door.connect(who).await {
                Err(LocalError::Refused(reason)) if will.is_some_and(|will| will.lowered(reason).is_some()) => {
                    will = will.and_then(|will| will.lowered(reason));
                }
                opened => return Ok(opened?),
            }
        }
    }

    async fn prepare(&self, open: &mut OpenBridge) -> Result<(), OpenError> {
        let topics = &self.settings.topics;
        let has_qos_2 =
            |goes: fn(&BridgeTopic) -> bool| topics.iter().any(|topic| topic.qos == Qos::ExactlyOnce && goes(topic));
        let (local_kept, remote_kept) = (open.local_connack.session_present, open.remote_connack.session_present);
        if local_kept && (!remote_kept || self.is_elsewhere) && has_qos_2(|topic| topic.direction.comes_in()) {
            release_all(open.local.stream(), &mut open.earlier_local).await?;
        }
        if remote_kept && (!local_kept || self.is_elsewhere) && has_qos_2(|topic| topic.direction.goes_out()) {
            release_all(&mut open.remote, &mut open.earlier_remote).await?;
        }
        self.subscribe_here(open).await?;
        self.subscribe_there(open).await?;
        self.tell(open, true);
        Ok(())
    }

    async fn subscribe_here(&self, open: &mut OpenBridge) -> Result<(), OpenError> {
        let qos_max = open.remote_connack.qos_max;
        let outgoing = self.settings.topics.iter().filter(|topic| topic.direction.goes_out());
        let filters: Vec<(String, Qos)> =
            outgoing.map(|topic| (topic.local_filter(), topic.qos.min(qos_max))).collect();
        if open.local_connack.session_present {
            let gone = self.filters_of_before(&filters).await;
            if !gone.is_empty() {
                open.local.stream().put_unsubscribe(LAST_ID, gone.iter().map(|filter| &**filter));
                until(open.local.stream(), &mut open.earlier_local, |packet| {
                    matches!(packet, OwnedPacket::UnsubAck { .. })
                })
                .await?;
            }
        }
        // Another broker, or one that has lost its session, has nothing of what is retained here.
        let retained = retained_for(self.is_elsewhere || !open.remote_connack.session_present);
        let local = open.local.stream();
        subscribe(local, (&filters, retained), &mut open.earlier_local, &mut open.refused).await
    }

    /// Filters of an earlier table that the session here still has.
    async fn filters_of_before(&self, filters: &[(String, Qos)]) -> Vec<Box<str>> {
        let mut gone = Vec::new();
        let mut first = 0;
        loop {
            let (reply_to, reply) = tokio::sync::oneshot::channel();
            let command = Command::ListSubscriptions { client_id: self.names.local.as_str().into(), first };
            let sent = self.door.owner(&self.names.local).send_then(command, |reply| drop(reply_to.send(reply)));
            let Ok(Ok(Reply::Subscriptions { page, next, .. })) = (match sent {
                Ok(()) => Ok(reply.await),
                Err(error) => Err(error),
            }) else {
                // Messages that come by them are left out, and counted.
                return gone;
            };
            let known = page.into_iter().map(|row| row.filter);
            gone.extend(known.filter(|known| !filters.iter().any(|(filter, _)| **filter == **known)));
            match next {
                Some(next) => first = next,
                None => return gone,
            }
        }
    }

    async fn subscribe_there(&self, open: &mut OpenBridge) -> Result<(), OpenError> {
        let incoming = self.settings.topics.iter().filter(|topic| topic.direction.comes_in());
        let filters: Vec<(String, Qos)> = incoming.map(|topic| (topic.remote_filter(), topic.qos)).collect();
        let retained = retained_for(self.is_elsewhere || !open.local_connack.session_present);
        subscribe(&mut open.remote, (&filters, retained), &mut open.earlier_remote, &mut open.refused).await
    }

    /// Says on both sides whether the bridge is connected, where that is wanted.
    pub(super) fn tell(&self, open: &mut OpenBridge, is_connected: bool) {
        let payload = if is_connected { "1" } else { "0" };
        let state = OwnedPublish { retain: true, ..OwnedPublish::new(&self.names.state_topic, payload) };
        if self.settings.notifications != BridgeNotifications::Off {
            let retain = open.local_connack.retain_available;
            open.local.stream().put_publish(&OwnedPublish { retain, ..state.clone() });
        }
        if self.settings.notifications == BridgeNotifications::Both {
            let retain = open.remote_connack.retain_available;
            open.remote.put_publish(&OwnedPublish { retain, ..state });
        }
    }
}

/// How a broker is told that the bridge has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct StateWill {
    qos: Qos,
    retain: bool,
}

impl StateWill {
    const FIRST: Self = Self { qos: Qos::AtLeastOnce, retain: true };

    /// What is left of it for a broker that refuses it for this reason, which only 5.0 says; CONNACK would announce it too late.
    fn lowered(self, reason: ReasonCode) -> Option<Self> {
        match reason {
            ReasonCode::RetainNotSupported if self.retain => Some(Self { retain: false, ..self }),
            ReasonCode::QosNotSupported if self.qos != Qos::AtMostOnce => Some(Self { qos: Qos::AtMostOnce, ..self }),
            _ => None,
        }
    }
}

/// For requests: the last that a broker or a client comes to.
const LAST_ID: PacketId = PacketId::MAX;

fn will_of(topic: &str, StateWill { qos, retain }: StateWill) -> ConnectWill<'_> {
    ConnectWill { topic, payload: b"0", qos, retain, delay_s: 0, message_expiry_s: None, properties: Forwarded::EMPTY }
}

/// What was retained before is there already, but for a side that has nothing of what was.
const fn retained_for(is_new: bool) -> RetainHandling {
    if is_new { RetainHandling::SendAlways } else { RetainHandling::SendIfNew }
}

/// Lets go of every exchange that the other end may hold open of messages from here.
async fn release_all<S>(stream: &mut MqttStream<S>, earlier: &mut EarlierPackets) -> Result<(), OpenError>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    for id in 1..=u16::MAX {
        if let Some(id) = PacketId::new(id) {
            stream.put_ack(OwnedAck::new(AckKind::PubRel, id, ReasonCode::Success));
        }
    }
    for _ in 1..=u16::MAX {
        let is_done = |packet: &OwnedPacket| matches!(packet, OwnedPacket::Ack(ack) if ack.kind == AckKind::PubComp);
        until(stream, earlier, is_done).await?;
    }
    Ok(())
}

async fn subscribe<S>(
    stream: &mut MqttStream<S>,
    (filters, retain_handling): (&[(String, Qos)], RetainHandling),
    earlier: &mut EarlierPackets,
    refused: &mut Vec<String>,
) -> Result<(), OpenError>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    for some in filters.chunks(FILTERS_AT_A_TIME) {
        let asked = some.iter().map(|(filter, qos)| SubscribeFilter {
            filter,
            options: SubscriptionOptions { qos: *qos, no_local: true, retain_as_published: true, retain_handling },
        });
        stream.put_subscribe(LAST_ID, None, asked);
        let is_answer = |packet: &OwnedPacket| matches!(packet, OwnedPacket::SubAck { .. });
        let OwnedPacket::SubAck { codes, .. } = until(stream, earlier, is_answer).await? else { continue };
        let errors = some.iter().zip(codes).filter(|(_, code)| code.is_error());
        refused.extend(errors.map(|((filter, _), code)| format!("{filter}: {code}")));
    }
    Ok(())
}

/// The next packet of a kind; what comes before it waits.
async fn until<S>(
    stream: &mut MqttStream<S>,
    earlier: &mut EarlierPackets,
    is_it: impl Fn(&OwnedPacket) -> bool,
) -> Result<OwnedPacket, OpenError>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    loop {
        match stream.next().await? {
            OwnedPacket::Disconnect { reason, .. } => return Err(OpenError::Other(format!("disconnected: {reason}"))),
            packet if is_it(&packet) => return Ok(packet),
            packet => earlier.push(packet)?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_before_a_bridge_is_open_is_bounded() {
        let mut earlier = EarlierPackets::default();
        let publish = OwnedPublish::new("t", vec![0; 1 << 20]);
        let taken = (0..1_000).take_while(|_| earlier.push(OwnedPacket::Publish(publish.clone())).is_ok()).count();
        assert!(taken == BRIDGE_EARLIER_MAX_BYTES / (1 << 20) - 1 && earlier.packets.len() == taken, "{taken}");
        let mut small = EarlierPackets::default();
        let taken = (0..10_000_000).take_while(|_| small.push(OwnedPacket::PingResp).is_ok()).count();
        assert!(taken < BRIDGE_EARLIER_MAX_BYTES / 16, "{taken}");
    }

    #[test]
    fn a_will_is_lowered_to_what_a_broker_takes_and_no_further() {
        let first = StateWill::FIRST;
        let kept = first.lowered(ReasonCode::RetainNotSupported).unwrap();
        assert_eq!(kept, StateWill { qos: Qos::AtLeastOnce, retain: false });
        let least = kept.lowered(ReasonCode::QosNotSupported).unwrap();
        assert_eq!(least, StateWill { qos: Qos::AtMostOnce, retain: false });
        for reason in [ReasonCode::RetainNotSupported, ReasonCode::QosNotSupported, ReasonCode::NotAuthorized] {
            assert_eq!(least.lowered(reason), None);
        }
    }
}
