//! What commands show of clients, subscriptions, groups and topics: what may be looked for, and the rows of the lists.

use core::net::IpAddr;
use std::fmt;

use crate::codec::{SubscriptionOptions, Version};
use crate::ids::{ConnectionId, PeerAddress, SubscriptionId};
use crate::settings::Network;
use crate::telemetry::{DropReason, TransportCounters};

/// What the edge knows of connections, for whoever looks at a client.
pub trait EdgeFacts: fmt::Debug {
    /// What has happened on the shard's sockets so far.
    fn transport(&self) -> &TransportCounters;
    /// Who is at the other end.
    fn peer(&self, connection: ConnectionId) -> Option<PeerAddress>;
    /// The name of the listener that it came by.
    fn listener(&self, connection: ConnectionId) -> Option<&str>;
    /// Version and cipher suite of its TLS.
    fn tls(&self, connection: ConnectionId) -> Option<(&'static str, String)>;
}

/// An edge without connections.
impl EdgeFacts for TransportCounters {
    fn transport(&self) -> &TransportCounters {
        self
    }

    fn peer(&self, _: ConnectionId) -> Option<PeerAddress> {
        None
    }

    fn listener(&self, _: ConnectionId) -> Option<&str> {
        None
    }

    fn tls(&self, _: ConnectionId) -> Option<(&'static str, String)> {
        None
    }
}

/// Which clients are looked for. The default is all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientFilter {
    /// What their client ids begin with.
    pub prefix: Box<str>,
    /// What stands in their client ids, letter by letter.
    pub contains: Box<str>,
    /// The user that somebody has verified.
    pub user: Option<Box<str>>,
    /// Where their connections come from.
    pub network: Option<Network>,
    /// Only those that are connected, or only those that are not.
    pub connected: Option<bool>,
}

/// One line of a list of clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientSummary {
    /// As it came in CONNECT, or was assigned.
    pub client_id: Box<str>,
    /// Its connection's protocol version; `None` while it has no connection.
    pub connected: Option<Version>,
    /// The user that somebody has verified, where it makes a difference who a client is.
    pub user: Option<Box<str>>,
    /// Where it is connected from.
    pub peer: Option<PeerAddress>,
    /// Filters it is subscribed to.
    pub subscriptions: u32,
    /// Messages queued or in flight to it.
    pub messages: u32,
}

impl ClientSummary {
    /// Bytes that it adds to a page.
    pub(super) fn len_bytes(&self) -> usize {
        self.client_id.len() + self.user.as_deref().map_or(0, str::len)
    }
}

/// What a client has sent, been sent and lost since it is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientTraffic {
    /// Messages from it.
    pub received: u32,
    /// Messages to it.
    pub sent: u32,
    /// Bytes of topics, properties and payloads of those from it.
    pub received_bytes: u64,
    /// The same of those to it.
    pub sent_bytes: u64,
    /// Messages for it that were dropped, by [`DropReason`].
    pub drops: [u32; DropReason::COUNT],
}

/// Whose subscriptions are listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Everybody's.
    All,
    /// Those to this very filter, `$share/name/` included.
    Filter(Box<str>),
    /// Those that match this topic.
    Topic(Box<str>),
}

/// One line of a list of subscriptions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionRow {
    /// Whose it is.
    pub client_id: Box<str>,
    /// Whether that client is there.
    pub is_connected: bool,
    /// Whole, `$share/name/` included.
    pub filter: Box<str>,
    /// As they were granted.
    pub options: SubscriptionOptions,
    /// What is sent along with each message.
    pub identifier: Option<SubscriptionId>,
    /// Messages that this member of a shared subscription was picked for while that was counted; `None` of a plain one.
    pub picked: Option<u32>,
    /// Whether the rules let it receive a message on the topic that was asked for; `None` where none was.
    pub may_receive: Option<bool>,
}

/// One line of a list of shared subscriptions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRow {
    /// `$share/name/filter`.
    pub filter: Box<str>,
    /// Members of all shards.
    pub members: u32,
    /// Those of them whose clients are connected.
    pub connected: u32,
}

/// What a list of the first is in the order of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopBy {
    /// Messages from clients, while that is counted.
    Received,
    /// Messages to clients, likewise.
    Sent,
    /// Bytes from clients, likewise.
    ReceivedBytes,
    /// Bytes to clients, likewise.
    SentBytes,
    /// Messages for clients that were dropped, likewise.
    Dropped,
    /// Messages that wait for them.
    Queued,
    /// Bytes of those.
    QueuedBytes,
    /// How long the oldest of those has waited, in milliseconds.
    QueueAge,
    /// Messages that they have not acknowledged.
    InFlight,
    /// How long the first of those has been with them since it was last sent, in milliseconds, up to 19 hours.
    AckAge,
}

impl TopBy {
    /// Whether it is known only while somebody looks.
    pub(super) const fn is_counted(self) -> bool {
        matches!(self, Self::Received | Self::Sent | Self::ReceivedBytes | Self::SentBytes | Self::Dropped)
    }
}

/// One of the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopRow {
    /// Who.
    pub client_id: Box<str>,
    /// How much of what was asked for.
    pub value: u64,
}

/// What a list of topics is in the order of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicsBy {
    /// By how many were published.
    Messages,
    /// Bytes of topics, properties and payloads.
    Bytes,
    /// The last message.
    Last,
}

/// A topic that has been published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicRow {
    /// Its name, mount points included.
    pub topic: Box<str>,
    /// Messages, of which at most `overcount` were on topics that it took the place of.
    pub messages: u64,
    /// See `messages`.
    pub overcount: u64,
    /// Bytes since it has its place.
    pub bytes: u64,
    /// How long it has had its place, in milliseconds.
    pub seen_for_ms: u64,
    /// How long ago the last message was, in milliseconds.
    pub last_ago_ms: u64,
    /// Clients that have published on it, as one bit each of 64 by their keys: see [`publishers_of`].
    pub publishers: u64,
}

/// About how many clients have set so many bits (linear counting); more than some 250 are told as that.
pub fn publishers_of(bits: u64) -> u32 {
    let free = f64::from(bits.count_zeros().max(1));
    let about = -64.0 * (free / 64.0).ln();
    (0..=PUBLISHERS_MAX).take_while(|&count| f64::from(count) <= about + 0.5).last().unwrap_or_default()
}

/// What all bits come to.
const PUBLISHERS_MAX: u32 = 266;

/// Where a client comes from, without its port.
pub(super) const fn ip_of(peer: PeerAddress) -> Option<IpAddr> {
    match peer {
        PeerAddress::Ip(address) => Some(address.ip()),
        PeerAddress::Unix(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publishers_are_counted_well_while_they_are_few_and_roughly_when_they_are_many() {
        let mut random = 7_u64;
        let bits = (0..40).fold(0_u64, |bits, _| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            bits | 1 << (random >> 58)
        });
        assert_eq!((publishers_of(0), publishers_of(1), publishers_of(0b111)), (0, 1, 3));
        let about = publishers_of(bits);
        assert!((30..=50).contains(&about), "{about}");
        assert!(publishers_of(u64::MAX) >= 250);
    }
}
