//! Why something was dropped or closed. Each reason is a metric label, a log field and the name of a test.

/// Why a message did not reach a subscriber, or was not taken from a publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum DropReason {
    /// QoS 0 for a connection whose outbox is full.
    OutboxFull,
    /// The session's queue holds `--max-queued-messages` or `--max-queued-bytes`.
    QueueFull,
    /// The queues of all sessions together hold `--max-queued-memory`.
    QueuedMemoryFull,
    /// QoS 0 for a session whose client is not connected.
    OfflineQos0,
    /// Longer than the client's maximum packet size [MQTT-3.1.2-25].
    PacketTooLarge,
    /// Its message expiry interval passed before it was sent [MQTT-3.3.2-5].
    Expired,
    /// A client published, or left a will, to a topic that begins with `$`, has too many levels or has control characters.
    TopicRefused,
    /// A new retained topic beyond `--retained-max`.
    RetainedFull,
    /// A shared group whose last member left while the message was on its way.
    NoGroupMember,
    /// What was queued for a session that ended.
    SessionEnded,
    /// A client published more than `--max-message-size`.
    MessageTooLarge,
    /// The access rules do not allow its publisher to send it, or its subscriber to have it.
    AccessDenied,
    /// QoS 0 for a client that is sent more than its profile allows.
    RateLimited,
    /// It would have to be kept, and the disk is full.
    StorageFull,
    /// It was kept, and its bytes on the disk are damaged.
    StorageDamaged,
    /// QoS 0 for another node, by a link that is behind.
    LinkFull,
}

impl DropReason {
    /// How many reasons there are.
    pub const COUNT: usize = 16;
    /// Every reason, in the order of its number.
    pub const ALL: [Self; Self::COUNT] = [
        Self::OutboxFull,
        Self::QueueFull,
        Self::QueuedMemoryFull,
        Self::OfflineQos0,
        Self::PacketTooLarge,
        Self::Expired,
        Self::TopicRefused,
        Self::RetainedFull,
        Self::NoGroupMember,
        Self::SessionEnded,
        Self::MessageTooLarge,
        Self::AccessDenied,
        Self::RateLimited,
        Self::StorageFull,
        Self::StorageDamaged,
        Self::LinkFull,
    ];

    /// The label of the metric, stable for whoever has dashboards.
    pub const fn label(self) -> &'static str {
        match self {
            Self::OutboxFull => "outbox_full",
            Self::QueueFull => "queue_full",
            Self::QueuedMemoryFull => "queued_memory_full",
            Self::OfflineQos0 => "offline_qos0",
            Self::PacketTooLarge => "packet_too_large",
            Self::Expired => "expired",
            Self::TopicRefused => "topic_refused",
            Self::RetainedFull => "retained_full",
            Self::NoGroupMember => "no_group_member",
            Self::SessionEnded => "session_ended",
            Self::MessageTooLarge => "message_too_large",
            Self::AccessDenied => "access_denied",
            Self::RateLimited => "rate_limited",
            Self::StorageFull => "storage_full",
            Self::StorageDamaged => "storage_damaged",
            Self::LinkFull => "link_full",
        }
    }
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum CloseReason {
    /// DISCONNECT from the client, will discarded.
    ClientDisconnect,
    /// DISCONNECT 0x04 from the client, will kept.
    ClientDisconnectWithWill,
    /// The peer closed the socket or it failed.
    SocketClosed,
    /// Bytes that are no MQTT.
    Malformed,
    /// A first word of HTTP where CONNECT should be.
    Http,
    /// The beginning of TLS where CONNECT should be.
    Tls,
    /// No TLS where a handshake should be.
    TlsPlainText,
    /// No version of TLS that the listener takes.
    TlsOldVersion,
    /// No client certificate where one is required.
    TlsNoCertificate,
    /// A client certificate from no authority that the listener knows.
    TlsUnknownCa,
    /// A client certificate that has expired, or is not valid yet.
    TlsExpired,
    /// A client certificate that was revoked, or cannot be looked up.
    TlsRevoked,
    /// A client certificate that cannot be used for another reason.
    TlsBadCertificate,
    /// The peer ended TLS with an alert: mostly it does not accept our certificate.
    TlsAlert,
    /// A TLS handshake that fails for another reason.
    TlsFailed,
    /// A TLS handshake that waited for its peer and made way for a newer one: `--tls-half-open-max`.
    TlsHalfOpen,
    /// The header of a proxy where CONNECT should be, or none where one should be, or one from somewhere else.
    ProxyHeader,
    /// An address that the listener's lists keep out.
    NetworkDenied,
    /// An address or a client id that an operator, or `--ban-after`, has banned.
    Banned,
    /// More connections a second than the listener, or its peer's address, may have.
    ConnectRate,
    /// A request of HTTP on a listener for WebSocket that opens none.
    UpgradeRefused,
    /// Frames that break the rules of WebSocket.
    WebSocket,
    /// A CONNECT of a protocol level that is none of 3.1, 3.1.1 and 5.0, or that the listener does not let in.
    UnsupportedVersion,
    /// MQTT, but not allowed here and now.
    ProtocolError,
    /// A packet above `--max-packet-size`.
    PacketTooLarge,
    /// More QoS 1 and 2 messages in flight than the broker announced.
    ReceiveMaximumExceeded,
    /// A topic alias that is zero, too large or unknown.
    TopicAliasInvalid,
    /// Nothing was received for 1.5 times the keep alive.
    KeepAliveTimeout,
    /// Another connection came with the same client id.
    SessionTakenOver,
    /// The token, or whatever else the client came in with, has expired.
    CredentialsExpired,
    /// The CONNECT was refused for none of the causes that follow: its will, or what came behind it.
    Refused,
    /// User name or password are wrong, or a token, a proof of SCRAM or a certificate's name is no good.
    BadCredentials,
    /// It shows nothing, and anonymous access is not allowed.
    AnonymousRefused,
    /// Whoever it is, it may not connect, or not with this session or this mount point.
    LoginDenied,
    /// A client id that is none of its user's, or that settings do not take.
    ClientIdRefused,
    /// An authentication method that is not offered.
    BadMethod,
    /// Too many clients are being authenticated, or a later one has taken its client id meanwhile.
    AuthenticatorBusy,
    /// Nobody answers who could authenticate it, no node serves it that it could be brought to, or the broker stops.
    Unavailable,
    /// No room for another session, or for one that is to be kept.
    NoRoom,
    /// Its client id is taken over too often.
    TakeoverRate,
    /// Its client id comes and goes too often (`--flapping-after`).
    Flapping,
    /// It belongs to another node of the cluster, and was told which server that is.
    Redirected,
    /// No complete CONNECT within `--connect-timeout`.
    ConnectTimeout,
    /// As many clients were connected as may be, of all or of the listener.
    ConnectionsFull,
    /// SIGTERM or SIGINT: every client is told and cut off.
    ServerShutdown,
    /// An operator closed it.
    AdministrativeAction,
    /// A resource of the broker's own ran short for this connection.
    Resources,
    /// The client did what the access rules do not allow.
    NotAuthorized,
    /// The client published faster than its profile allows.
    MessageRate,
    /// An MQTT-SN client acknowledged nothing, however often it was sent.
    NoAnswer,
    /// This node does not serve its range any more.
    RangeLost,
    /// No connection to another node: it refuses, does not answer, or no way leads there.
    LinkUnreachable,
    /// The node at the other end was not known in time.
    LinkTimeout,
    /// The other end of a link has closed it, or its connection broke.
    LinkClosed,
    /// As many as may be were not known, and a newer one came.
    LinkMadeWay,
    /// The other end does not know the cluster's secret, or repeats what somebody said who does.
    LinkSecret,
    /// The other end is of another cluster.
    LinkCluster,
    /// The other end is this node itself, or says so.
    LinkItself,
    /// Both ends have no version of what nodes say in common.
    LinkVersion,
    /// Bytes that no node sends, or not then.
    LinkMalformed,
    /// No process of a member, or another one than was dialled.
    LinkNotMember,
    /// Nothing was heard of the other end for three PINGs.
    LinkSilent,
    /// The shard that was to hear the link had no room for its socket.
    LinkNoRoom,
    /// TLS between two nodes has come to nothing, or was broken.
    LinkTls,
}

impl CloseReason {
    /// How many reasons there are.
    pub const COUNT: usize = 64;
    /// Every reason, in the order of its number.
    pub const ALL: [Self; Self::COUNT] = [
        Self::ClientDisconnect,
        Self::ClientDisconnectWithWill,
        Self::SocketClosed,
        Self::Malformed,
        Self::Http,
        Self::Tls,
        Self::TlsPlainText,
        Self::TlsOldVersion,
        Self::TlsNoCertificate,
        Self::TlsUnknownCa,
        Self::TlsExpired,
        Self::TlsRevoked,
        Self::TlsBadCertificate,
        Self::TlsAlert,
        Self::TlsFailed,
        Self::TlsHalfOpen,
        Self::ProxyHeader,
        Self::NetworkDenied,
        Self::Banned,
        Self::ConnectRate,
        Self::UpgradeRefused,
        Self::WebSocket,
        Self::UnsupportedVersion,
        Self::ProtocolError,
        Self::PacketTooLarge,
        Self::ReceiveMaximumExceeded,
        Self::TopicAliasInvalid,
        Self::KeepAliveTimeout,
        Self::SessionTakenOver,
        Self::CredentialsExpired,
        Self::Refused,
        Self::BadCredentials,
        Self::AnonymousRefused,
        Self::LoginDenied,
        Self::ClientIdRefused,
        Self::BadMethod,
        Self::AuthenticatorBusy,
        Self::Unavailable,
        Self::NoRoom,
        Self::TakeoverRate,
        Self::Flapping,
        Self::Redirected,
        Self::ConnectTimeout,
        Self::ConnectionsFull,
        Self::ServerShutdown,
        Self::AdministrativeAction,
        Self::Resources,
        Self::NotAuthorized,
        Self::MessageRate,
        Self::NoAnswer,
        Self::RangeLost,
        Self::LinkUnreachable,
        Self::LinkTimeout,
        Self::LinkClosed,
        Self::LinkMadeWay,
        Self::LinkSecret,
        Self::LinkCluster,
        Self::LinkItself,
        Self::LinkVersion,
        Self::LinkMalformed,
        Self::LinkNotMember,
        Self::LinkSilent,
        Self::LinkNoRoom,
        Self::LinkTls,
    ];

    /// Those that end a connection before CONNACK has let its client in. One that ends others as well is counted apart there
    /// ([`crate::telemetry::TransportCounters`]).
    pub const BEFORE_CONNACK: [Self; 38] = [
        Self::Http,
        Self::Tls,
        Self::TlsPlainText,
        Self::TlsOldVersion,
        Self::TlsNoCertificate,
        Self::TlsUnknownCa,
        Self::TlsExpired,
        Self::TlsRevoked,
        Self::TlsBadCertificate,
        Self::TlsAlert,
        Self::TlsFailed,
        Self::TlsHalfOpen,
        Self::ProxyHeader,
        Self::NetworkDenied,
        Self::Banned,
        Self::ConnectRate,
        Self::UpgradeRefused,
        Self::WebSocket,
        Self::UnsupportedVersion,
        Self::Malformed,
        Self::ProtocolError,
        Self::PacketTooLarge,
        Self::Refused,
        Self::BadCredentials,
        Self::AnonymousRefused,
        Self::LoginDenied,
        Self::ClientIdRefused,
        Self::BadMethod,
        Self::AuthenticatorBusy,
        Self::Unavailable,
        Self::NoRoom,
        Self::TakeoverRate,
        Self::Flapping,
        Self::Redirected,
        Self::ConnectionsFull,
        Self::ConnectTimeout,
        Self::SocketClosed,
        Self::Resources,
    ];
    /// Those that end the connection of a client.
    pub const AFTER_CONNACK: [Self; 20] = [
        Self::ClientDisconnect,
        Self::ClientDisconnectWithWill,
        Self::SocketClosed,
        Self::WebSocket,
        Self::Malformed,
        Self::ProtocolError,
        Self::TlsAlert,
        Self::PacketTooLarge,
        Self::ReceiveMaximumExceeded,
        Self::TopicAliasInvalid,
        Self::KeepAliveTimeout,
        Self::SessionTakenOver,
        Self::CredentialsExpired,
        Self::ServerShutdown,
        Self::AdministrativeAction,
        Self::Resources,
        Self::NotAuthorized,
        Self::MessageRate,
        Self::NoAnswer,
        Self::RangeLost,
    ];

    /// Those that end a link between two nodes, or keep it from being made.
    pub const OF_LINKS: [Self; 13] = [
        Self::LinkUnreachable,
        Self::LinkTimeout,
        Self::LinkClosed,
        Self::LinkMadeWay,
        Self::LinkSecret,
        Self::LinkCluster,
        Self::LinkItself,
        Self::LinkVersion,
        Self::LinkMalformed,
        Self::LinkNotMember,
        Self::LinkSilent,
        Self::LinkNoRoom,
        Self::LinkTls,
    ];

    /// Whether a shard answers a CONNECT with a CONNACK that refuses it for this.
    pub const fn is_refusal(self) -> bool {
        matches!(
            self,
            Self::Refused
                | Self::Banned
                | Self::ConnectionsFull
                | Self::BadCredentials
                | Self::AnonymousRefused
                | Self::LoginDenied
                | Self::ClientIdRefused
                | Self::BadMethod
                | Self::AuthenticatorBusy
                | Self::Unavailable
                | Self::NoRoom
                | Self::TakeoverRate
                | Self::Flapping
        )
    }

    /// Whether a client that keeps to the specification, and to what CONNACK told it, does not end like this.
    pub const fn is_of_client(self) -> bool {
        matches!(
            self,
            Self::Malformed
                | Self::ProtocolError
                | Self::PacketTooLarge
                | Self::ReceiveMaximumExceeded
                | Self::TopicAliasInvalid
        )
    }

    /// Whether it is about a link between two nodes.
    pub fn is_of_link(self) -> bool {
        Self::OF_LINKS.contains(&self)
    }

    /// The metric label and log field.
    pub const fn label(self) -> &'static str {
        match self {
            Self::ClientDisconnect => "client_disconnect",
            Self::ClientDisconnectWithWill => "client_disconnect_with_will",
            Self::SocketClosed => "socket_closed",
            Self::Malformed => "malformed",
            Self::Http => "http",
            Self::Tls => "tls",
            Self::TlsPlainText => "tls_plain_text",
            Self::TlsOldVersion => "tls_old_version",
            Self::TlsNoCertificate => "tls_no_certificate",
            Self::TlsUnknownCa => "tls_unknown_ca",
            Self::TlsExpired => "tls_expired",
            Self::TlsRevoked => "tls_revoked",
            Self::TlsBadCertificate => "tls_bad_certificate",
            Self::TlsAlert => "tls_alert",
            Self::TlsFailed => "tls_failed",
            Self::TlsHalfOpen => "tls_half_open",
            Self::ProxyHeader => "proxy_header",
            Self::NetworkDenied => "network_denied",
            Self::Banned => "banned",
            Self::ConnectRate => "connect_rate",
            Self::UpgradeRefused => "upgrade_refused",
            Self::WebSocket => "websocket",
            Self::UnsupportedVersion => "unsupported_version",
            Self::ProtocolError => "protocol_error",
            Self::PacketTooLarge => "packet_too_large",
            Self::ReceiveMaximumExceeded => "receive_maximum_exceeded",
            Self::TopicAliasInvalid => "topic_alias_invalid",
            Self::KeepAliveTimeout => "keep_alive_timeout",
            Self::SessionTakenOver => "session_taken_over",
            Self::CredentialsExpired => "credentials_expired",
            Self::Refused => "refused",
            Self::BadCredentials => "bad_credentials",
            Self::AnonymousRefused => "anonymous_refused",
            Self::LoginDenied => "login_denied",
            Self::ClientIdRefused => "client_id_refused",
            Self::BadMethod => "authentication_method",
            Self::AuthenticatorBusy => "authenticator_busy",
            Self::Unavailable => "unavailable",
            Self::NoRoom => "no_room",
            Self::TakeoverRate => "takeover_rate",
            Self::Flapping => "flapping",
            Self::Redirected => "redirected",
            Self::ConnectTimeout => "connect_timeout",
            Self::ConnectionsFull => "connections_full",
            Self::ServerShutdown => "server_shutdown",
            Self::AdministrativeAction => "administrative_action",
            Self::Resources => "resources",
            Self::NotAuthorized => "not_authorized",
            Self::MessageRate => "message_rate",
            Self::NoAnswer => "no_answer",
            Self::RangeLost => "range_lost",
            Self::LinkUnreachable => "link_unreachable",
            Self::LinkTimeout => "link_timeout",
            Self::LinkClosed => "link_closed",
            Self::LinkMadeWay => "link_made_way",
            Self::LinkSecret => "link_secret",
            Self::LinkCluster => "link_cluster",
            Self::LinkItself => "link_itself",
            Self::LinkVersion => "link_version",
            Self::LinkMalformed => "link_malformed",
            Self::LinkNotMember => "link_not_member",
            Self::LinkSilent => "link_silent",
            Self::LinkNoRoom => "link_no_room",
            Self::LinkTls => "link_tls",
        }
    }
}

/// Why a message of a client, or a filter of its SUBSCRIBE, was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RequestRefusal {
    /// The access rules, or a back end, do not allow it.
    AccessDenied,
    /// A back end has not said anything about it, and too much waits for its word.
    Undecided,
    /// Its topic or filter is none that is taken from clients.
    TopicRefused,
    /// More than `--max-message-size`.
    MessageTooLarge,
    /// A new retained topic beyond `--retained-max` or `--retained-max-bytes`.
    RetainedFull,
    /// It would have to be kept, and the disk is full.
    StorageFull,
    /// The client has as many subscriptions as it may have, or as long ones.
    SubscriptionsFull,
    /// As many retained replays wait for the client as may.
    ReplaysFull,
}

impl RequestRefusal {
    /// How many causes there are.
    pub const COUNT: usize = 8;
    /// Those for which a message or a will is not taken.
    pub const OF_PUBLISH: [Self; 6] = [
        Self::AccessDenied,
        Self::Undecided,
        Self::TopicRefused,
        Self::MessageTooLarge,
        Self::RetainedFull,
        Self::StorageFull,
    ];
    /// Those for which a filter is not taken.
    pub const OF_SUBSCRIBE: [Self; 6] = [
        Self::AccessDenied,
        Self::Undecided,
        Self::TopicRefused,
        Self::SubscriptionsFull,
        Self::ReplaysFull,
        Self::StorageFull,
    ];

    /// The metric label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::AccessDenied => "access_denied",
            Self::Undecided => "undecided",
            Self::TopicRefused => "topic_refused",
            Self::MessageTooLarge => "message_too_large",
            Self::RetainedFull => "retained_full",
            Self::StorageFull => "storage_full",
            Self::SubscriptionsFull => "subscriptions_full",
            Self::ReplaysFull => "replays_full",
        }
    }
}

/// Which rate a client was over when it was paused: its own, or that of all its user's clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum PauseReason {
    /// Messages that it publishes.
    PublishRate,
    /// Bytes of those.
    PublishRateBytes,
    /// Messages that it is sent.
    DeliveryRate,
    /// Bytes of those.
    DeliveryRateBytes,
    /// Messages that its user's clients publish.
    UserPublishRate,
    /// Bytes of those.
    UserPublishRateBytes,
    /// Messages that its user's clients are sent.
    UserDeliveryRate,
    /// Bytes of those.
    UserDeliveryRateBytes,
}

impl PauseReason {
    /// How many reasons there are.
    pub const COUNT: usize = 8;
    /// Every reason, in the order of its number.
    pub const ALL: [Self; Self::COUNT] = [
        Self::PublishRate,
        Self::PublishRateBytes,
        Self::DeliveryRate,
        Self::DeliveryRateBytes,
        Self::UserPublishRate,
        Self::UserPublishRateBytes,
        Self::UserDeliveryRate,
        Self::UserDeliveryRateBytes,
    ];

    /// The metric label and log field: the key of the profile.
    pub const fn label(self) -> &'static str {
        match self {
            Self::PublishRate => "publish_rate",
            Self::PublishRateBytes => "publish_rate_bytes",
            Self::DeliveryRate => "delivery_rate",
            Self::DeliveryRateBytes => "delivery_rate_bytes",
            Self::UserPublishRate => "user_publish_rate",
            Self::UserPublishRateBytes => "user_publish_rate_bytes",
            Self::UserDeliveryRate => "user_delivery_rate",
            Self::UserDeliveryRateBytes => "user_delivery_rate_bytes",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_numbered_in_the_order_of_their_list() {
        for (number, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, number, "{}", reason.label());
        }
        for (number, reason) in CloseReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, number, "{}", reason.label());
        }
        for (number, reason) in PauseReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, number, "{}", reason.label());
        }
    }

    #[test]
    fn what_a_shard_refuses_is_counted_before_connack_alone() {
        for reason in CloseReason::ALL.into_iter().filter(|reason| reason.is_refusal()) {
            assert!(CloseReason::BEFORE_CONNACK.contains(&reason), "{}", reason.label());
            assert!(!CloseReason::AFTER_CONNACK.contains(&reason), "{}", reason.label());
        }
    }

    #[test]
    fn every_close_is_before_connack_or_after_it_or_of_a_link() {
        for reason in CloseReason::ALL {
            let listed = CloseReason::BEFORE_CONNACK.contains(&reason) || CloseReason::AFTER_CONNACK.contains(&reason);
            assert_ne!(listed, reason.is_of_link(), "{}", reason.label());
        }
    }
}
