//! The way in, and a client that has come by it.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::packets::{OwnedPacket, OwnedPublish};
use super::stream::{MqttStream, StreamError};
use crate::codec::frame::PACKET_SIZE_MAX_BYTES;
use crate::codec::{Connect, ConnectWill, Forwarded, ReasonCode, SubscribeFilter, Version};
use crate::ids::{PacketId, Qos, ShardId, SubscriptionId};
use crate::inbox::{InboxSender, SendError};
use crate::limits::USER_PROPERTIES_MAX;
use crate::shard::{Command, Reply};

/// How long a shard may take to its CONNACK: it may be reading back what its sessions hold, which it says by being silent.
const CONNACK_PATIENCE: Duration = Duration::from_secs(600);

/// How a service comes into the broker as a client.
#[derive(Clone)]
pub(crate) struct LocalDoor {
    inboxes: Arc<[InboxSender]>,
}

/// Who comes, and how.
#[derive(Clone, Debug)]
pub(crate) struct LocalConnect {
    /// Begins with `$bridge/`, `$sink/` or `$source/`.
    pub(crate) client_id: String,
    pub(crate) clean_start: bool,
    pub(crate) session_expiry_s: u32,
    /// QoS 1 and 2 messages that it takes at a time.
    pub(crate) receive_maximum: u16,
    pub(crate) will: Option<LocalWill>,
}

/// What is published when the service loses its connection.
#[derive(Clone, Debug)]
pub(crate) struct LocalWill {
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
}

/// What the shard has said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LocalConnack {
    pub(crate) session_present: bool,
    /// QoS 1 and 2 messages that may be published at a time.
    pub(crate) receive_maximum: u16,
    /// Largest packet that may be published.
    pub(crate) packet_size_max_bytes: u32,
    /// Highest QoS of what may be published.
    pub(crate) qos_max: Qos,
    /// Whether RETAIN may be set.
    pub(crate) retain_available: bool,
}

impl LocalConnack {
    /// Lowers QoS and RETAIN of a message to what the broker has announced.
    pub(crate) fn lower(&self, publish: &mut OwnedPublish) {
        publish.qos = publish.qos.min(self.qos_max);
        publish.retain &= self.retain_available;
    }

    /// Whether the broker takes a packet of this size and with so many user properties, or why not: beyond either it would end the
    /// connection, and so again each time.
    pub(crate) fn check_size(&self, publish: &OwnedPublish) -> Result<(), &'static str> {
        if publish.user_properties() > USER_PROPERTIES_MAX {
            return Err("it has more user properties than a message may have");
        }
        if !publish.out(Version::V5).fits(self.packet_size_max_bytes) {
            return Err("it is larger than this broker takes (max_packet_size)");
        }
        Ok(())
    }
}

/// Why a service is no client, or no client any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LocalError {
    #[error("no sockets: {0}")]
    Sockets(io::Error),
    #[error("{0}")]
    Inbox(#[from] SendError),
    #[error("{0}")]
    Stream(#[from] StreamError),
    #[error("the broker refuses: {0}")]
    Refused(ReasonCode),
    /// The broker has ended the connection, and says why.
    #[error("the broker disconnects: {0}")]
    Disconnected(ReasonCode),
    #[error("the broker does not answer")]
    Silent,
    #[error("the broker has sent what nobody expects here")]
    Unexpected,
}

impl LocalDoor {
    /// By which every shard is reached.
    pub(crate) fn new(inboxes: Vec<InboxSender>) -> Self {
        Self { inboxes: inboxes.into() }
    }

    /// The lane to the shard that owns this client id.
    pub(crate) fn owner(&self, client_id: &str) -> &InboxSender {
        &self.inboxes[ShardId::owner_of(client_id, self.inboxes.len()).index()]
    }

    /// What the session of this client id holds, as its shard answers; `None` where it does not.
    pub(crate) async fn describe(&self, client_id: &str) -> Option<Reply> {
        let (reply_to, reply) = tokio::sync::oneshot::channel();
        let command = Command::DescribeClient { client_id: client_id.into() };
        self.owner(client_id).send_then(command, |reply| drop(reply_to.send(reply))).ok()?;
        reply.await.ok()
    }

    /// Connects. While the broker starts that takes until the sessions are there.
    pub(crate) async fn connect(&self, who: LocalConnect) -> Result<(LocalClient, LocalConnack), LocalError> {
        let (ours, theirs) = StdUnixStream::pair().map_err(LocalError::Sockets)?;
        ours.set_nonblocking(true).map_err(LocalError::Sockets)?;
        let ours = UnixStream::from_std(ours).map_err(LocalError::Sockets)?;
        self.owner(&who.client_id).connect(OwnedFd::from(theirs))?;
        let mut stream = MqttStream::new(ours, Version::V5, PACKET_SIZE_MAX_BYTES);
        stream.put_connect(&Connect {
            session_expiry_s: who.session_expiry_s,
            receive_maximum: who.receive_maximum.max(1),
            will: who.will.as_ref().map(LocalWill::as_packet),
            ..Connect::new(Version::V5, &who.client_id, who.clean_start)
        });
        let answer = timeout(CONNACK_PATIENCE, stream.next()).await.map_err(|_| LocalError::Silent)?;
        let OwnedPacket::ConnAck(connack) = answer? else { return Err(LocalError::Unexpected) };
        if connack.reason != ReasonCode::Success {
            return Err(LocalError::Refused(connack.reason));
        }
        let told = LocalConnack {
            session_present: connack.session_present,
            receive_maximum: connack.receive_maximum,
            packet_size_max_bytes: connack.packet_size_max_bytes,
            qos_max: connack.qos_max,
            retain_available: connack.retain_available,
        };
        Ok((LocalClient { stream, last_id: 0 }, told))
    }
}

impl LocalWill {
    fn as_packet(&self) -> ConnectWill<'_> {
        ConnectWill {
            topic: &self.topic,
            payload: &self.payload,
            qos: self.qos,
            retain: self.retain,
            delay_s: 0,
            message_expiry_s: None,
            properties: Forwarded::EMPTY,
        }
    }
}

/// A service that has come in.
#[derive(Debug)]
pub(crate) struct LocalClient {
    stream: MqttStream<UnixStream>,
    last_id: u16,
}

impl LocalClient {
    /// Packets as such, for whoever needs more than what follows.
    pub(crate) const fn stream(&mut self) -> &mut MqttStream<UnixStream> {
        &mut self.stream
    }

    /// The next packet; meanwhile what was sent before leaves. Dropped before it is done, it loses nothing. DISCONNECT is an error.
    pub(crate) async fn next(&mut self) -> Result<OwnedPacket, LocalError> {
        match self.stream.next().await? {
            OwnedPacket::Disconnect { reason, .. } => Err(LocalError::Disconnected(reason)),
            packet => Ok(packet),
        }
    }

    /// An identifier for a request or a message of its own, each in turn. Whoever has 65,535 of them open counts for itself.
    pub(crate) fn next_id(&mut self) -> PacketId {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        PacketId::new(self.last_id).unwrap_or(PacketId::MIN)
    }

    /// Publishes a message, and waits until the socket has taken it; its acknowledgement comes by [`Self::next`].
    pub(crate) async fn publish(&mut self, publish: &OwnedPublish) -> Result<(), LocalError> {
        self.stream.put_publish(publish);
        Ok(self.stream.flush().await?)
    }

    /// Subscribes, and waits for the answer: a code for each filter. Messages that come before it wait in `earlier`.
    pub(crate) async fn subscribe(
        &mut self,
        subscription_id: Option<SubscriptionId>,
        filters: &[SubscribeFilter<'_>],
        earlier: &mut Vec<OwnedPacket>,
    ) -> Result<Vec<ReasonCode>, LocalError> {
        let id = self.next_id();
        self.stream.put_subscribe(id, subscription_id, filters.iter().copied());
        loop {
            match self.next().await? {
                OwnedPacket::SubAck { packet_id, codes } if packet_id == id => return Ok(codes),
                packet => earlier.push(packet),
            }
        }
    }

    /// Says goodbye: no will is published.
    pub(crate) async fn disconnect(mut self) -> Result<(), LocalError> {
        self.stream.put_disconnect(ReasonCode::NORMAL_DISCONNECTION);
        Ok(self.stream.flush().await?)
    }
}
