//! The settings that the core reads: those of the whole broker and those of one listener.
//!
//! Always holds: a shard and a connection are given these structs by `Arc` and see them change at a reload only.

#![allow(clippy::doc_markdown, reason = "what explains a setting is shown on terminals, as it stands")]

use core::net::IpAddr;

use super::texts::check_file;
use super::{
    Fallback, Kind, PredefinedTopics, Section, Setting,
    Unit::{Bytes, Count, Seconds},
    lists::{self, MqttVersions, Networks, Origins, UserNames},
    value::{
        Acceptance, AnonymousAccess, AuthMethod, CertificateUser, ClientCertificates, DeniedPublish, ExpiredLists,
        FullQueue, FullQueueCode, ListenerKind, MethodOrder, OptionalFile, RefusedDollarTopics, TlsTickets, TlsVersion,
    },
};
use crate::auth::Policy;
use crate::limits;

super::declare_settings! {
    /// What the operator chose, as shards need it; the same on every shard of a process.
    Settings, SETTINGS_ROWS;

    Mqtt {
        /// Largest packet taken from a client.
        ///
        /// The whole packet counts, fixed header included. A longer one closes its connection before anything is
        /// allocated for it.
        packet_size_max_bytes: u32 = Setting::number(
            "max-packet-size", Bytes, limits::PACKET_SIZE_MIN_BYTES as u64, limits::PACKET_SIZE_MAX_BYTES as u64,
            limits::PACKET_SIZE_DEFAULT_BYTES as u64,
        ), Start;

        /// Most QoS 1 and 2 messages in flight to one client.
        ///
        /// Further ones wait in its session's queue. An MQTT 5.0 client may ask for fewer with its receive maximum.
        inflight_max: u16 = Setting::number(
            "max-inflight", Count, 1, u16::MAX as u64, limits::INFLIGHT_DEFAULT as u64,
        ), Reload;

        /// Most QoS 1 and 2 messages in flight from one client.
        ///
        /// Announced to MQTT 5.0 clients as the receive maximum.
        receive_maximum: u16 = Setting::number(
            "receive-max", Count, 1, u16::MAX as u64, limits::RECEIVE_MAXIMUM_DEFAULT as u64,
        ), Start;

        /// Longest keep alive a client may have.
        ///
        /// A client is closed after 1.5 times its keep alive without a packet. A client that asks for a longer one, or
        /// for none, gets this one; "any" leaves every client its choice.
        keep_alive_max_s: u16 = Setting::number(
            "keep-alive-max", Seconds, 1, u16::MAX as u64, limits::KEEP_ALIVE_DEFAULT_S as u64,
        ).word("any", u16::MAX as u64), Reload;

        /// Most topic aliases of one connection, in each direction.
        topic_alias_max: u16 = Setting::number(
            "topic-alias-max", Count, 0, u16::MAX as u64, limits::TOPIC_ALIAS_DEFAULT as u64,
        ), Start;

        /// Most levels of a topic name or filter.
        topic_levels_max: u16 = Setting::number(
            "topic-levels-max", Count, limits::TOPIC_LEVELS_MIN as u64, limits::TOPIC_LEVELS_MAX as u64,
            limits::TOPIC_LEVELS_DEFAULT as u64,
        ), Reload;

        /// Most retained messages, over the whole broker.
        ///
        /// At the limit a new topic is refused; a topic that has one already can still be replaced.
        retained_max: u32 = Setting::number(
            "retained-max", Count, 0, limits::RETAINED_MAX as u64, limits::RETAINED_DEFAULT as u64,
        ), Reload;

        /// Most bytes of retained messages, over the whole broker.
        ///
        /// Topic, properties and payload count. A message that does not fit, in place of the one its topic has, is
        /// refused.
        retained_max_bytes: u64 = Setting::number(
            "retained-max-bytes", Bytes, 0, limits::RETAINED_MAX_BYTES, limits::RETAINED_DEFAULT_BYTES,
        ), Reload;

        /// Time after which a retained message goes that has no expiry of its own.
        ///
        /// It counts from the last message on the topic. Subscribers are told what is left of it when they are shown the
        /// message. The broker's own topics stay.
        retained_expiry_s: u32 = Setting::number(
            "retained-expiry", Seconds, 1, limits::RETAINED_EXPIRY_NEVER_S as u64, limits::RETAINED_EXPIRY_NEVER_S as u64,
        ).word("never", limits::RETAINED_EXPIRY_NEVER_S as u64), Reload;

        /// Whether clients may retain messages.
        ///
        /// Where they may not, MQTT 5.0 clients are told so in CONNACK, and one that does it all the same is closed with 0x9A;
        /// a message or will of an older client is passed on and not retained. The broker's own topics are retained in any case.
        retain_available: bool = Setting::new(
            "retain-available", Kind::Switch { off_flag: "no-retain-available" }, Fallback::Switch(true),
        ), Start;

        /// Highest QoS of a client's messages.
        ///
        /// MQTT 5.0 clients are told in CONNACK, and one that sends more is closed with 0x9B; a message or will of an older
        /// client is acknowledged and goes on with this QoS. Subscriptions are granted no more than it.
        qos_max: u16 = Setting::number("max-qos", Count, 0, 2, 2), Start;

        /// Largest payload of a client's message.
        ///
        /// A larger one is refused, with 0x83 in MQTT 5.0, and its client stays connected; a packet above max_packet_size closes
        /// the connection. A will with a larger one is left out.
        message_size_max_bytes: u32 = Setting::number(
            "max-message-size", Bytes, 1, limits::PACKET_SIZE_MAX_BYTES as u64, limits::PACKET_SIZE_MAX_BYTES as u64,
        ).word("any", limits::PACKET_SIZE_MAX_BYTES as u64), Reload;

        /// Longest keep alive of a client that cannot be told one: before MQTT 5.0.
        ///
        /// Such a client goes on by its own keep alive and is closed after 1.5 times this one, so it should not be less than what
        /// those clients use. "same" is that of keep_alive_max; 65535 leaves them their choice.
        keep_alive_max_before_v5_s: u16 = Setting::number(
            "keep-alive-max-before-v5", Seconds, 0, u16::MAX as u64, 0,
        ).word("same", 0), Reload;

        /// Topics that begin with $ to which clients may not publish: all, or those below $SYS.
        ///
        /// sys lets clients use topics such as $aws/... and $sparkplug/... among themselves. A message to another is refused, with
        /// 0x90 in MQTT 5.0; a will for another is left out. $SYS/broker/connection/NAME/state is taken in any case: bridges tell
        /// there whether they are connected.
        refused_dollar_topics: RefusedDollarTopics = Setting::new(
            "refuse-dollar-topics", Kind::Choice { words: RefusedDollarTopics::WORDS, planned: &[], bare: None },
            Fallback::Text("all"),
        ), Reload;

        /// Control characters and non-characters in topics, filters and client ids.
        ///
        /// U+0001 to U+001F, U+007F to U+009F, and the code points that Unicode keeps from interchange, such as U+FFFF. MQTT
        /// advises against them and lets the server choose. Refused is the message, the filter or the client that has one.
        control_characters: Acceptance = Setting::new(
            "control-characters", Kind::Choice { words: Acceptance::WORDS, planned: &[], bare: None },
            Fallback::Text("accept"),
        ), Reload;

        /// Clients without a client id.
        ///
        /// Accepted, they are given one, as MQTT lets the server do. Refused, they are told that their client id is not valid.
        empty_client_ids: Acceptance = Setting::new(
            "empty-client-ids", Kind::Choice { words: Acceptance::WORDS, planned: &[], bare: None },
            Fallback::Text("accept"),
        ), Reload;
    }

    Auth {
        /// What becomes of messages of clients before MQTT 5.0 that the rules do not allow.
        ///
        /// drop acknowledges them as if they had been taken, which is what Mosquitto does; close ends the connection. A client of
        /// MQTT 5.0 is told 0x87 and stays.
        denied_before_v5: DeniedPublish = Setting::new(
            "denied-before-v5", Kind::Choice { words: DeniedPublish::WORDS, planned: &[], bare: None },
            Fallback::Text("drop"),
        ), Reload;

        /// A client id that has a session of another user.
        ///
        /// Refused, each session belongs to the user whose client began it, until it ends; clients without a verified user name are
        /// one user. Accepted, whoever comes with its client id takes it over, messages and all, and is its user from then on. A session that
        /// was kept before dunlin wrote down whose it is belongs to nobody, and is refused to all, wherever there are users or rules.
        foreign_sessions: Acceptance = Setting::new(
            "foreign-sessions", Kind::Choice { words: Acceptance::WORDS, planned: &[], bare: None },
            Fallback::Text("refuse"),
        ), Reload;
    }

    Session {
        /// Most sessions, connected or not, over the whole broker.
        ///
        /// Each shard has an equal part of it. At the limit a client comes back to the session that it has, and one that has
        /// none is refused: with 0x97, with 3 before MQTT 5.0.
        sessions_max: u32 = Setting::number(
            "max-sessions", Count, 1, limits::SESSIONS_MAX as u64, limits::SESSIONS_DEFAULT as u64,
        ), Reload;

        /// Most messages queued for one session.
        ///
        /// Beyond it further ones for that session are dropped and counted, unless older ones have expired meanwhile: those
        /// give way.
        queued_messages_max: u32 = Setting::number(
            "max-queued-messages", Count, 1, limits::QUEUED_MESSAGES_MAX as u64,
            limits::QUEUED_MESSAGES_DEFAULT as u64,
        ), Reload;

        /// Most bytes queued for one session.
        ///
        /// Topic, properties and payload count.
        queued_bytes_max: u64 = Setting::number(
            "max-queued-bytes", Bytes, limits::QUEUED_MIN_BYTES, limits::QUEUED_MAX_BYTES,
            limits::QUEUED_DEFAULT_BYTES,
        ), Reload;

        /// What gives way when a session's queue is full: drop-newest, drop-oldest or hold-back.
        ///
        /// drop-newest drops the message that comes; drop-oldest those that have waited longest, for clients that would rather
        /// have the latest. Each is counted and, for the first of a session, told in the log. hold-back drops the newest, too, but
        /// has publishers wait before it comes to that: while the queue of a connected client is half full or more, QoS 1 and 2
        /// messages for it are acknowledged later, for 5 seconds at most, and who has 32 unacknowledged is not read on
        /// meanwhile, unless its own queue is half full as well. --queue-full is the same flag, and newest, oldest and hold are
        /// the same words.
        full_queue: FullQueue = Setting::new(
            "full-queue", Kind::Choice { words: FullQueue::WORDS, planned: &[], bare: None },
            Fallback::Text("drop-newest"),
        ).also("queue-full", FullQueue::ALSO), Reload;

        /// What publishers are told of a message that nobody could take: success or quota-exceeded.
        ///
        /// With quota-exceeded it is 0x97 for MQTT 5.0 clients, in PUBACK or PUBREC, where there are subscribers and somebody's queue
        /// was full and nobody took it. Older clients cannot be told.
        full_queue_code: FullQueueCode = Setting::new(
            "full-queue-code", Kind::Choice { words: FullQueueCode::WORDS, planned: &[], bare: None },
            Fallback::Text("success"),
        ), Reload;

        /// Queue QoS 0 messages as well for clients that are away.
        ///
        /// They count against the queue as others do, keep their order with each other, and are sent once the client is back.
        /// Without it they are dropped and counted.
        queue_qos0: bool = Setting::new(
            "queue-qos0", Kind::Switch { off_flag: "no-queue-qos0" }, Fallback::Switch(false),
        ), Reload;

        /// Most memory for what is queued for all sessions together.
        ///
        /// A message that waits for many sessions counts once, with some bytes more for each of them. Beyond it QoS 1 and 2 messages
        /// for sessions that are kept wait on the disk alone (--storage disk), with some 10 bytes of memory each, and are read when their
        /// client can take them. Others that would have to be queued are dropped, counted and reported in the log; what can be sent at
        /// once is sent.
        queued_memory_max_bytes: u64 = Setting::number(
            "max-queued-memory", Bytes, limits::QUEUED_MEMORY_MIN_BYTES, limits::QUEUED_MEMORY_MAX_BYTES,
            limits::QUEUED_MEMORY_DEFAULT_BYTES,
        ), Reload;

        /// Longest time a session outlives its connection.
        ///
        /// Also the life of MQTT 3.1.1 sessions with clean session off, which ask for no end. 0 ends every session
        /// with its connection.
        session_expiry_max_s: u32 = Setting::number(
            "session-expiry-max", Seconds, 0, limits::SESSION_EXPIRY_NEVER_S as u64,
            limits::SESSION_EXPIRY_DEFAULT_S as u64,
        ).word("never", limits::SESSION_EXPIRY_NEVER_S as u64).key_in_file("expiry_max"), Reload;

        /// Most subscriptions of one session.
        subscriptions_max: u32 = Setting::number(
            "max-subscriptions", Count, 1, limits::SUBSCRIPTIONS_MAX as u64, limits::SUBSCRIPTIONS_DEFAULT as u64,
        ), Reload;

        /// Most bytes that wait for one slow connection.
        ///
        /// Beyond it QoS 0 messages for that client are dropped and counted; QoS 1 and 2 stay in its session's queue.
        outbox_max_bytes: u32 = Setting::number(
            "outbox-max-bytes", Bytes, limits::OUTBOX_MIN_BYTES as u64, limits::OUTBOX_MAX_BYTES as u64,
            limits::OUTBOX_DEFAULT_BYTES as u64,
        ).also_in(Section::Listener), Reload;
    }

    Node {
        /// This broker's name in $SYS topics and metrics.
        node_name: Box<str> = Setting::new(
            "node-name",
            Kind::Text { check: check_name, noun: "name", allowed: NAMES },
            Fallback::HostName,
        ).key_in_file("name"), Start;

        /// Threads that each serve a part of the clients.
        ///
        /// A session stays with one of them, and they share nothing. The default leaves one core, of those that the process's
        /// CPU affinity and its cgroup's quota allow, to the kernel, handshakes, passwords and the disk; with two cores one
        /// shard is cheaper than two until it is busy. More shards than cores is legal and seldom of use.
        shards: usize = Setting::number("shards", Count, 1, limits::SHARDS_MAX as u64, 1)
            .default_from(Fallback::CoresButOne), Start;

        /// Time from one publication of the $SYS topics to the next.
        sys_interval_s: u16 = Setting::number(
            "sys-interval", Seconds, 0, limits::SYS_INTERVAL_MAX_S as u64, limits::SYS_INTERVAL_DEFAULT_S as u64,
        ).word("off", 0), Reload;

        /// Whether messages and bytes are counted of each client and of topics all the time.
        ///
        /// Otherwise they are counted while somebody looks, by the admin API or dunlin ctl, and for a minute afterwards. It costs some
        /// nanoseconds a message, and 100 bytes for each client that has sent or been sent one.
        count_traffic: bool = Setting::new(
            "count-traffic", Kind::Switch { off_flag: "no-count-traffic" }, Fallback::Switch(false),
        ), Reload;
    }

    .. derived {
        /// Subscriptions that one turn sees to where all of a session's have to be. Not the operator's choice:
        /// simulations choose so few that sessions have more.
        subscriptions_per_turn: u32 = limits::SUBSCRIPTIONS_PER_TURN;
        /// Filters of one packet that are seen to in one go. Not the operator's choice either.
        filters_per_slice: u32 = limits::FILTERS_PER_SLICE;
        /// Subscribers of one message that are served in one go. Nor this.
        subscribers_per_turn: u32 = limits::SUBSCRIBERS_PER_TURN;
        /// Deliveries after which a turn hears nobody any more. Nor this.
        deliveries_per_turn: u32 = limits::DELIVERIES_PER_TURN;
    }
}

super::declare_settings! {
    /// What the operator chose for one listener. Shared with the connections that were accepted on it.
    ListenerSettings, LISTENER_ROWS;

    Listener {
        /// The listener's name in the log.
        name: Box<str> = Setting::new(
            "listener-name",
            Kind::Text { check: check_name, noun: "name", allowed: NAMES },
            Fallback::Address,
        ).key_in_file("name").in_tables_only(), Reload;

        /// What it speaks below MQTT.
        ///
        /// tls is MQTT in TLS, by default at port 8883; websocket (or ws) is MQTT over WebSocket, by default at port 8083; unix is a
        /// socket at the path that unix says; wss is WebSocket in TLS, by default at port 8084; mqtt-sn is MQTT-SN 1.2 over UDP, by default at
        /// port 1884 of this machine alone.
        kind: ListenerKind = Setting::new(
            "listener-kind",
            Kind::Choice { words: ListenerKind::WORDS, planned: &[], bare: None },
            Fallback::Text("tcp"),
        ).key_in_file("kind").in_tables_only(), Reload;

        /// Most clients of this listener that are connected at one time.
        ///
        /// One more is refused with 0x97 (3 before 5.0), unless it takes over a connection of its own. Those of all listeners together are bounded by [node] max_connections.
        connections_max: u32 = Setting::number(
            "listener-max-connections", Count, 1, limits::CONNECTIONS_MAX as u64, limits::CONNECTIONS_MAX as u64,
        ).key_in_file("max_connections").word("all", limits::CONNECTIONS_MAX as u64).in_tables_only(), Reload;

        /// Time from accepting a connection to its complete CONNECT.
        connect_timeout_s: u16 = Setting::number(
            "connect-timeout", Seconds, 1, limits::CONNECT_TIMEOUT_MAX_S as u64,
            limits::CONNECT_TIMEOUT_DEFAULT_S as u64,
        ).for_each_listener(), Reload;

        /// Silence after which TCP asks a peer whether it is still there.
        ///
        /// SO_KEEPALIVE with TCP_KEEPIDLE. It ends connections of peers that are gone even where MQTT's keep alive is off. off
        /// leaves that to MQTT.
        tcp_keepalive_idle_s: u16 = Setting::number(
            "tcp-keepalive-idle", Seconds, 0, limits::TCP_KEEPALIVE_MAX_S as u64,
            limits::TCP_KEEPALIVE_IDLE_DEFAULT_S as u64,
        ).word("off", 0).for_each_listener(), Reload;

        /// Time from one such question to the next, while none is answered.
        tcp_keepalive_interval_s: u16 = Setting::number(
            "tcp-keepalive-interval", Seconds, 1, limits::TCP_KEEPALIVE_MAX_S as u64,
            limits::TCP_KEEPALIVE_INTERVAL_DEFAULT_S as u64,
        ).for_each_listener(), Reload;

        /// Questions without an answer that end a connection.
        tcp_keepalive_count: u16 = Setting::number("tcp-keepalive-count", Count, 1, limits::TCP_KEEPALIVE_COUNT_MAX as u64,
            limits::TCP_KEEPALIVE_COUNT_DEFAULT as u64).for_each_listener(), Reload;

        /// Longest time that what was sent may go unacknowledged by the peer's TCP.
        ///
        /// TCP_USER_TIMEOUT. Beyond it the connection ends. off leaves it to the kernel's retransmissions, a quarter of an
        /// hour. Where it is set, it also bounds how long unanswered keep-alive questions go on.
        tcp_user_timeout_s: u32 = Setting::number("tcp-user-timeout", Seconds, 0, limits::TCP_USER_TIMEOUT_MAX_S as u64, 0)
            .word("off", 0).for_each_listener(), Reload;

        /// Time after which MQTT-SN sends again what a client has not acknowledged.
        ///
        /// T_retry of MQTT-SN 1.2. A client that has acknowledged nothing after sn_retries times is taken for lost, and its will is published.
        sn_retry_s: u16 = Setting::number("sn-retry", Seconds, 1, limits::SN_RETRY_MAX_S as u64,
            limits::SN_RETRY_DEFAULT_S as u64).for_each_listener(), Reload;

        /// How often MQTT-SN sends something again.
        ///
        /// N_retry of MQTT-SN 1.2.
        sn_retries: u16 = Setting::number("sn-retries", Count, 0, limits::SN_RETRIES_MAX as u64,
            limits::SN_RETRIES_DEFAULT as u64).for_each_listener(), Reload;

        /// Longest datagram of MQTT-SN, in either direction.
        ///
        /// A message whose topic and payload do not fit one is not sent to the client, and counted as packet_too_large. A longer datagram
        /// that comes is not taken.
        sn_datagram_max_bytes: u16 = Setting::number("sn-max-datagram", Bytes, limits::SN_DATAGRAM_MIN_BYTES as u64,
            limits::SN_DATAGRAM_MAX_BYTES as u64, limits::SN_DATAGRAM_DEFAULT_BYTES as u64).for_each_listener(), Reload;

        /// File of the topic ids that MQTT-SN clients know beforehand; none for none.
        ///
        /// An id and a topic a line, as in 7 sensors/temperature; a line that begins with # is a remark. It is read at a start and again at
        /// SIGHUP; with anything wrong in it the broker does not start, or keeps the ids that it has.
        sn_topics_file: OptionalFile = Setting::new("sn-topics",
            Kind::Text { check: check_file, noun: "path", allowed: "a path, or none" }, Fallback::Text("none"),
        ).for_each_listener(), Reload;

        /// Number by which MQTT-SN clients find this gateway, 1 to 255; off does not answer them.
        ///
        /// With it SEARCHGW is answered with GWINFO.
        sn_gateway_id: u16 = Setting::number("sn-gateway-id", Count, 0, u8::MAX as u64, 0).word("off", 0)
            .for_each_listener(), Reload;

        /// Keep alive of an MQTT-SN client that asks for none.
        ///
        /// No connection breaks when such a client is gone: it is lost after 1.5 times this silence.
        sn_keep_alive_s: u16 = Setting::number("sn-keep-alive", Seconds, 1, u16::MAX as u64,
            limits::SN_KEEP_ALIVE_DEFAULT_S as u64).for_each_listener(), Reload;

        /// How many MQTT-SN peers may publish without CONNECT (QoS -1) at a time.
        ///
        /// By one listener, on each shard; off takes nothing from them. Each takes a connection until it has been silent for ten seconds. What comes from more of them is dropped and counted.
        sn_publishers_max: u32 = Setting::number("sn-max-publishers", Count, 0, limits::SN_PUBLISHERS_MAX as u64,
            limits::SN_PUBLISHERS_DEFAULT as u64).word("off", 0).for_each_listener(), Reload;

        /// Versions of MQTT that are let in: 3.1, 3.1.1 and 5.0.
        ///
        /// A CONNECT of another version is answered with "unsupported protocol version" and closed. Of MQTT-SN it says nothing.
        mqtt_versions: MqttVersions = Setting::new("mqtt-versions",
            Kind::Texts { check: lists::check_version, noun: "version", most: 3 }, Fallback::Text("3.1,3.1.1,5.0"),
        ).for_each_listener(), Reload;

        /// Networks that clients may come from; all, or networks and addresses.
        ///
        /// 192.0.2.0/24, 2001:db8::/32 or a single address. Behind a trusted proxy the client's own address counts. Whoever comes
        /// from elsewhere is closed unheard. Peers of a Unix socket have no address, and its file says who may connect.
        allow_from: Networks = Setting::new(
            "allow-from", Kind::Texts { check: lists::check_network, noun: "network", most: limits::NETWORKS_MAX },
            Fallback::Text("all"),
        ).for_each_listener(), Reload;

        /// Networks that clients may not come from; none, or networks and addresses.
        ///
        /// It wins over allow_from.
        deny_from: Networks = Setting::new(
            "deny-from", Kind::Texts { check: lists::check_network, noun: "network", most: limits::NETWORKS_MAX },
            Fallback::Text("none"),
        ).for_each_listener(), Reload;

        /// Expect a PROXY header, of version 1 or 2, at the beginning of each connection.
        ///
        /// It says where the client behind the proxy is, and with version 2 the name in its certificate. A connection without it is
        /// closed, and so is one that does not come from proxy_from.
        proxy_protocol: bool = Setting::new(
            "proxy-protocol", Kind::Switch { off_flag: "no-proxy-protocol" }, Fallback::Switch(false),
        ).for_each_listener(), Reload;

        /// Networks of proxies whose PROXY header and X-Forwarded-For are believed; none, or networks.
        ///
        /// On a Unix socket each peer's header is believed: the file says who may connect.
        proxy_from: Networks = Setting::new(
            "proxy-from", Kind::Texts { check: lists::check_network, noun: "network", most: limits::NETWORKS_MAX },
            Fallback::Text("none"),
        ).for_each_listener(), Reload;

        /// Most connections a second of one listener.
        ///
        /// As many as that may come at once. Whoever comes beyond it is closed unheard.
        connect_rate_max: u32 = Setting::number(
            "max-connect-rate", Count, 0, limits::CONNECT_RATE_MAX as u64, 0,
        ).word("any", 0).for_each_listener(), Reload;

        /// Most connections a second from one address: of IPv6 from one /64.
        ///
        /// As many as that may come at once. Whoever comes beyond it is closed unheard. Behind a trusted proxy the client's own
        /// address counts.
        connect_rate_per_address_max: u32 = Setting::number(
            "max-connect-rate-per-address", Count, 0, limits::CONNECT_RATE_MAX as u64, 0,
        ).word("any", 0).for_each_listener(), Reload;

        /// Path of MQTT over WebSocket.
        ///
        /// A request for another one is answered with 404.
        ws_path: Box<str> = Setting::new(
            "ws-path", Kind::Text { check: lists::check_http_path, noun: "path", allowed: "a path such as /mqtt" },
            Fallback::Text("/mqtt"),
        ).for_each_listener(), Reload;

        /// Origins of the pages whose scripts may connect over WebSocket; any, or origins.
        ///
        /// As browsers name them: https://console.example, http://localhost:3000. Programs that are no browsers name none and
        /// may connect in any case.
        ws_origins: Origins = Setting::new(
            "ws-origins", Kind::Texts { check: lists::check_origin, noun: "origin", most: limits::ORIGINS_MAX },
            Fallback::Text("any"),
        ).for_each_listener(), Reload;

        /// Clients of a Unix socket are called what the account is called that they run under.
        ///
        /// That is their user name then, whatever CONNECT says. Names are those of /etc/passwd when the broker starts; an
        /// account that is not in it is called by its number.
        unix_user_names: bool = Setting::new(
            "unix-user-names", Kind::Switch { off_flag: "no-unix-user-names" }, Fallback::Switch(false),
        ).for_each_listener(), Reload;
        /// What of a client's certificate is its user name.
        ///
        /// That is its user name then, whatever CONNECT says, and no password is asked for. The certificate is the one that TLS has verified
        /// (tls_client_cert), or whose name a trusted proxy passes on. A client without one is asked as any other.
        certificate_user: CertificateUser = Setting::new(
            "certificate-user", Kind::Choice { words: CertificateUser::WORDS, planned: &[], bare: None }, Fallback::Text("off"),
        ).for_each_listener(), Reload;
        /// Certificate chains of the listener, as PEM files; none is no TLS.
        ///
        /// Given for all listeners it makes tls_port listen, or 8883. The server's own certificate comes first in each.
        /// A client that names a host (SNI) gets the first one that is for that name and that it can verify, any other client the first of
        /// all. Each has its key at the same place of tls_key. All files of a listener are read again on SIGHUP, and when one of them is
        /// wrong, all stay as they were.
        tls_certificates: Vec<String> = Setting::new(
            "tls-cert", Kind::Texts { check: check_file, noun: "path", most: limits::TLS_CERTIFICATES_MAX }, Fallback::Text("none"),
        ).for_each_listener(), Reload;

        /// Private keys of the certificates, as PEM files: PKCS#8, PKCS#1 or SEC1.
        ///
        /// PKCS#8 may be encrypted; the passphrase is the same for all of a listener.
        tls_keys: Vec<String> = Setting::new(
            "tls-key", Kind::Texts { check: check_file, noun: "path", most: limits::TLS_CERTIFICATES_MAX }, Fallback::Text("none"),
        ).for_each_listener(), Reload;

        /// File whose first line is the passphrase of the keys.
        tls_key_passphrase_file: Box<str> = Setting::new(
            "tls-key-passphrase-file", Kind::Text { check: check_file, noun: "path", allowed: FILES }, Fallback::Text("none"),
        ).for_each_listener(), Reload;

        /// Environment variable that holds the passphrase of the keys.
        tls_key_passphrase_variable: Box<str> = Setting::new(
            "tls-key-passphrase-variable", Kind::Text { check: check_variable, noun: "name", allowed: "the name of an environment variable, or none" }, Fallback::Text("none"),
        ).for_each_listener(), Reload;

        /// Authorities that client certificates must come from, as a PEM file.
        tls_ca: Box<str> = Setting::new(
            "tls-ca", Kind::Text { check: check_file, noun: "path", allowed: FILES }, Fallback::Text("none"),
        ).for_each_listener(), Reload;

        /// Whether clients show certificates: off, optional or required.
        ///
        /// optional asks for one and takes in who has none; one that is shown must be right.
        tls_client_certificates: ClientCertificates = Setting::new(
            "tls-client-cert", Kind::Choice { words: ClientCertificates::WORDS, planned: &[], bare: None }, Fallback::Text("off"),
        ).for_each_listener(), Reload;

        /// Revocation lists of those authorities, as PEM files.
        ///
        /// With them a client certificate is refused that is on its issuer's list, or whose issuer has no list here. A certificate between it and
        /// tls_ca is refused if a list has it, and needs none.
        tls_crls: Vec<String> = Setting::new(
            "tls-crl", Kind::Texts { check: check_file, noun: "path", most: limits::TLS_CRLS_MAX }, Fallback::Text("none"),
        ).for_each_listener(), Reload;

        /// What becomes of clients whose issuer's list in tls_crl has expired: refuse or accept.
        tls_crl_expired: ExpiredLists = Setting::new(
            "tls-crl-expired", Kind::Choice { words: ExpiredLists::WORDS, planned: &[], bare: None }, Fallback::Text("refuse"),
        ).for_each_listener(), Reload;

        /// Oldest version of TLS that is taken: 1.2 or 1.3.
        tls_version_min: TlsVersion = Setting::new(
            "tls-min-version", Kind::Choice { words: TlsVersion::WORDS, planned: &[], bare: None }, Fallback::Text("1.2"),
        ).for_each_listener(), Reload;

        /// Cipher suites that are taken, by their IANA names, or all.
        ///
        /// Only suites with AEAD are known: AES-GCM and ChaCha20-Poly1305.
        tls_ciphers: Vec<String> = Setting::new(
            "tls-ciphers", Kind::Texts { check: check_suite, noun: "name", most: limits::TLS_CIPHERS_MAX }, Fallback::Text("all"),
        ).for_each_listener(), Reload;

        /// OCSP response that is stapled to the first certificate, as a DER file.
        tls_ocsp: Box<str> = Setting::new(
            "tls-ocsp", Kind::Text { check: check_file, noun: "path", allowed: FILES }, Fallback::Text("none"),
        ).for_each_listener(), Reload;

        /// Whether clients get tickets by which they resume: on or off.
        ///
        /// Their keys are random, change every six hours, and end with the process. Listeners that ask for no client certificates share them, and
        /// a reload leaves them as they are; of others a reload voids the tickets, since authorities or revocation lists may have changed.
        tls_tickets: TlsTickets = Setting::new(
            "tls-tickets", Kind::Choice { words: TlsTickets::WORDS, planned: &[], bare: None }, Fallback::Text("on"),
        ).for_each_listener(), Reload;

        /// How long a TLS handshake may take, from the connection on.
        ///
        /// connect_timeout bounds it as well, which goes on to CONNECT.
        tls_handshake_timeout_s: u16 = Setting::number(
            "tls-handshake-timeout", Seconds, 1, limits::CONNECT_TIMEOUT_MAX_S as u64, limits::TLS_HANDSHAKE_TIMEOUT_DEFAULT_S as u64,
        ).for_each_listener(), Reload;
    }

    Auth {
        /// Admit clients without credentials: loopback, true (all) or false.
        ///
        /// loopback admits those of loopback listeners and nobody else. true (or the bare flag) admits every client of
        /// every listener; false admits none, not even on loopback.
        allow_anonymous: AnonymousAccess = Setting::new(
            "allow-anonymous", Kind::Choice { words: AnonymousAccess::WORDS, planned: &[], bare: Some("true") },
            Fallback::Text("loopback"),
        ).for_each_listener(), Reload;

        /// Users and their hashed passwords: a file in Mosquitto's format.
        ///
        /// dunlin passwd writes it, and mosquitto_passwd does. It is read at a start and again at SIGHUP; with anything wrong in
        /// it, or no user, the broker does not start, or keeps the users that it has. A client that shows a user name or a
        /// password must then be one of them, wherever allow_anonymous admits those that show nothing.
        password_file: OptionalFile = Setting::new(
            "password-file",
            Kind::Text { check: check_file, noun: "path", allowed: "a path, or none" },
            Fallback::Text("none"),
        ).for_each_listener(), Reload;

        /// Who is asked about a client that shows a user name or a password, in this order.
        ///
        /// configured is each of them that has its file or key set. The first that knows the client decides; one about whom nobody
        /// decides is refused. There are jwt, password-file and http.
        authentication: MethodOrder = Setting::new(
            "authentication",
            Kind::Texts { check: check_method, noun: "method", most: AuthMethod::WORDS.len() },
            Fallback::Text("configured"),
        ).for_each_listener(), Reload;
    }

    .. derived {
        /// Who comes in here: what `allow_anonymous` says of the listener's address, and whether credentials can be checked.
        policy: Policy = Policy::Refuse;
        /// What its methods are set to.
        auth: super::AuthenticationSettings = super::AuthenticationSettings::default();
        /// What accounts are called, where peers of a Unix socket are called like them.
        user_names: Option<std::sync::Arc<UserNames>> = None;
        /// Topic ids of MQTT-SN that clients know beforehand.
        sn_topics: std::sync::Arc<PredefinedTopics> = std::sync::Arc::default();
        /// Its clients are the broker's own services, which come over no network: nobody else gets in here, and nothing bounds them.
        is_internal: bool = false;
    }
}

impl ListenerSettings {
    /// Those of the broker's own services.
    pub fn internal() -> Self {
        Self { name: INTERNAL_LISTENER_NAME.into(), policy: Policy::Admit, is_internal: true, ..Self::default() }
    }

    /// Whether something else than CONNECT says what its clients' users are called.
    pub fn names_users(&self) -> bool {
        self.unix_user_names || self.certificate_user != CertificateUser::Off
    }

    /// Sets who comes in: what `allow_anonymous` says of an address that is loopback, or is not, and who checks credentials.
    pub fn decide_policy(&mut self, is_loopback: bool) {
        self.policy = match (self.methods().is_empty(), self.allow_anonymous.admits(is_loopback)) {
            (true, true) => Policy::Admit,
            (true, false) => Policy::Refuse,
            (false, true) => Policy::AskAboutCredentials,
            (false, false) => Policy::Ask,
        };
    }

    /// Whether clients may come from an address.
    pub fn lets_in(&self, address: IpAddr) -> bool {
        self.allow_from.contain(address) && !self.deny_from.contain(address)
    }

    /// Whether what a peer says of who is behind it is believed; a peer without an address is of this machine, where the file of the
    /// socket says who may connect.
    pub fn is_proxy(&self, peer: Option<IpAddr>) -> bool {
        let may_speak = self.proxy_protocol || self.kind.has_websocket();
        may_speak && peer.map_or(self.kind == ListenerKind::Unix, |peer| self.proxy_from.contain(peer))
    }

    /// Files of its TLS: certificates, keys, authorities, revocation lists.
    pub fn tls_files(&self) -> impl Iterator<Item = &str> {
        let lists = [&self.tls_certificates, &self.tls_keys, &self.tls_crls].into_iter().flatten().map(String::as_str);
        let single = [&*self.tls_ca, &*self.tls_ocsp, &*self.tls_key_passphrase_file];
        lists.chain(single).filter(|path| *path != "none" && self.kind.has_tls())
    }

    /// Whether somebody is asked about its clients.
    pub fn asks(&self) -> bool {
        let has_others = self.auth.scram_file.path().is_some() || self.auth.acl_http_url.get().is_some();
        has_others || !self.methods().is_empty()
    }

    /// Whether clients without credentials come in.
    pub fn admits_anonymous(&self) -> bool {
        matches!(self.policy, Policy::Admit | Policy::AskAboutCredentials)
    }

    /// Who checks credentials, in this order.
    pub fn methods(&self) -> Vec<AuthMethod> {
        match &self.authentication {
            MethodOrder::Configured => {
                AuthMethod::ALL.into_iter().filter(|method| self.is_configured(*method)).collect()
            }
            MethodOrder::Given(methods) => methods.to_vec(),
        }
    }

    /// Whether there is what a method needs.
    pub fn is_configured(&self, method: AuthMethod) -> bool {
        match method {
            AuthMethod::PasswordFile => self.password_file.path().is_some(),
            AuthMethod::Http => self.auth.auth_http_url.get().is_some(),
            AuthMethod::Jwt => self.auth.has_tokens(),
        }
    }
}

/// A method's word, or the one for all that are configured.
fn check_method(text: &str) -> Result<String, String> {
    let text = text.trim();
    let mut words = std::iter::once(MethodOrder::CONFIGURED).chain(AuthMethod::WORDS.iter().copied());
    let known = words.find(|word| word.eq_ignore_ascii_case(text));
    known.map(str::to_owned).ok_or_else(|| {
        format!(
            "{text:?} is no method: there is configured (all that have what they need), or {}",
            AuthMethod::WORDS.join(", ")
        )
    })
}

/// What the listener of the broker's own services is called; no other one may be.
pub const INTERNAL_LISTENER_NAME: &str = "internal";

/// What names may hold.
const NAMES: &str = "1 to 64 letters, digits, dots, hyphens and underscores";
const _: () = assert!(limits::NODE_NAME_MAX_BYTES == 64, "NAMES says so");

/// Names become a level of `$SYS` topics and a label of metrics, so nothing that either would have to escape.
pub(crate) fn check_name(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if (1..=limits::NODE_NAME_MAX_BYTES).contains(&text.len()) && text.bytes().all(allowed) {
        return Ok(text.to_owned());
    }
    Err(format!("{text:?} is no name: allowed is {NAMES}"))
}

/// What a file's path may be.
const FILES: &str = "a path, or none";

fn check_variable(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if !text.is_empty() && text.bytes().all(allowed) {
        return Ok(text.to_owned());
    }
    Err(format!("{text:?} is no name of a variable: letters, digits and underscores"))
}

/// A name of the IANA's list; which of them are known is the matter of whoever reads it.
fn check_suite(text: &str) -> Result<String, String> {
    let upper = text.to_ascii_uppercase();
    if text == "all" || upper.starts_with("TLS_") {
        return Ok(if text == "all" { text.to_owned() } else { upper });
    }
    Err(format!("{text:?} is no cipher suite: write its IANA name, such as TLS_AES_128_GCM_SHA256, or all"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Value;

    #[test]
    fn names_fit_a_topic_level_and_a_label() {
        for good in ["a", "edge-7.example.com", "NODE_1"] {
            assert_eq!(check_name(good).as_deref(), Ok(good));
        }
        let long = "x".repeat(65);
        for bad in ["", "a/b", "a+b", "#", "a b", "a\nb", "ä", long.as_str()] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn every_bound_and_every_word_fits_its_field() {
        let extreme = |row: &Setting, most: bool| match row.kind {
            Kind::Number { min, max, .. } => Value::Number(if most { max } else { min }),
            Kind::Choice { words, .. } => {
                let words: Vec<Value> = words.iter().map(|word| Value::Text((*word).to_owned())).collect();
                if most { words[words.len() - 1].clone() } else { words[0].clone() }
            }
            _ => row.default_value(&crate::settings::Machine::default()),
        };
        for most in [false, true] {
            let settings = Settings::from_values(&|row| extreme(row, most));
            assert_eq!(settings.inflight_max, if most { u16::MAX } else { 1 });
            let listener = ListenerSettings::from_values(&|row| extreme(row, most));
            assert_eq!(listener.connect_timeout_s, if most { limits::CONNECT_TIMEOUT_MAX_S } else { 1 });
        }
        for (word, access) in [
            ("loopback", AnonymousAccess::Loopback),
            ("true", AnonymousAccess::Everywhere),
            ("false", AnonymousAccess::Nowhere),
        ] {
            let listener = ListenerSettings::from_values(&|row| match row.flag {
                "allow-anonymous" => row.parse(&[word.to_owned()]).expect(word),
                _ => row.default_value(&crate::settings::Machine::default()),
            });
            assert_eq!(listener.allow_anonymous, access);
        }
    }

    #[test]
    fn what_simulations_start_from_is_what_the_rows_say() {
        let settings = Settings::default();
        assert_eq!((settings.shards, &*settings.node_name), (1, "dunlin"));
        assert_eq!(settings.queued_messages_max, limits::QUEUED_MESSAGES_DEFAULT);
    }
}
