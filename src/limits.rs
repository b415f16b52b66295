//! Every bound of the broker, with its unit and its reason.
//!
//! What a peer can make the broker hold is bounded here and nowhere else. A default is what the configuration starts
//! from; a `_MAX` or `_MIN` is what the configuration itself may not cross. Units come last in a name.

mod cluster;
mod services;

pub use cluster::*;
pub use services::*;

/// Shards one process may have. A set of shards is one `u64` at every node of the subscription index, and each shard
/// carries several hundred thousand messages a second: 64 of them outrun any network card a server has.
pub const SHARDS_MAX: usize = 64;

// --- packets ---------------------------------------------------------------------------------------------------

/// The largest remaining length that the variable byte integer can express (MQTT 5.0, 1.5.5).
pub const REMAINING_LENGTH_MAX_BYTES: u32 = 268_435_455;
/// Default of `--max-packet-size`: whole packet, fixed header included. Brokers ship 1 to 2 MB; more would take a shard longer than
/// a millisecond to copy.
pub const PACKET_SIZE_DEFAULT_BYTES: u32 = 1024 * 1024;
/// Smallest `--max-packet-size` that still admits every packet of a plain client.
pub const PACKET_SIZE_MIN_BYTES: u32 = 1024;
/// Largest `--max-packet-size`: the round number next to the longest packet there is, 268,435,460 bytes.
pub const PACKET_SIZE_MAX_BYTES: u32 = 256 * 1024 * 1024;
/// CONNECT is read before anybody is known, so it is held to less than other packets: a client id, a will and
/// credentials fit; 10,000 peers that announce more and send nothing hold nothing.
pub const CONNECT_SIZE_MAX_BYTES: u32 = 128 * 1024;
/// User properties in one packet; with more it is refused and its connection ends. No application comes near it; decoding that
/// many takes 30 us. Mosquitto's CVE-2021-41039 is what no bound leads to.
pub const USER_PROPERTIES_MAX: usize = 1_024;
/// Topic filters in one SUBSCRIBE or UNSUBSCRIBE; with more it is refused and its connection ends. A packet is decoded in one
/// go, and this many take half a millisecond. No client comes near it: the largest seen asks for 5,000.
pub const FILTERS_PER_PACKET_MAX: u32 = 32_768;
/// Topic filters of one SUBSCRIBE or UNSUBSCRIBE that are seen to in one go: a quarter of a millisecond where each is new and has
/// 128 levels. A packet with more is seen to in the turns that follow.
pub const FILTERS_PER_SLICE: u32 = 256;

/// Subscribers that a turn serves with one message of QoS 0, which takes 0.7 ms; with QoS 1 or 2 a quarter of that.
pub const SUBSCRIBERS_PER_TURN: u32 = 8_192;

/// Deliveries after which a turn hears no more of what has come, be it in the middle of what one client has sent; those of what had waited, and
/// of what other shards send, count apart.
pub const DELIVERIES_PER_TURN: u32 = 16_384;

/// Messages with more subscribers than that which are under way on one shard before it hears nobody who may bring another. Each that
/// is costs a look at every delivery of a newer message.
pub const FANOUTS_MAX: usize = 32;
/// Turns that what is under way may take before whoever adds to it is read no further, until its message has been delivered. Half of
/// [`FANOUTS_MAX`] messages, too, are enough for that.
pub const FANOUT_TURNS_AHEAD: u32 = 16;

// --- topics ----------------------------------------------------------------------------------------------------

/// Default of `--topic-levels-max`. Brokers ship 128 to 200; a match costs at most a constant a level and filter.
pub const TOPIC_LEVELS_DEFAULT: u16 = 128;
/// Most that `--topic-levels-max` can be set to: as many as a topic of 65,535 bytes has.
pub const TOPIC_LEVELS_MAX: u16 = u16::MAX;
/// Different shapes (at which levels the `+` are) that the filters of all sessions may have, counting every level a
/// filter leads through. A match visits at most one node of the index for each: this many take under a millisecond even
/// where every one of them misses the cache.
pub const FILTER_SHAPES_MAX: usize = 4_096;
/// Filters of up to this many levels are admitted whatever shapes there are: they have at most 2^(this + 1) together, so
/// nobody can use up what ordinary filters need.
pub const FILTER_SHAPES_FREE_LEVELS: usize = 8;
/// Default of `--topic-alias-max`, both ways. An alias table is allocated as it is used: at most this many topics.
pub const TOPIC_ALIAS_DEFAULT: u16 = 16;
/// Smallest `--topic-levels-max` that still admits the broker's own topics, `$SYS/brokers/<node>/clients/<id>/connected`.
pub const TOPIC_LEVELS_MIN: u16 = 8;

/// Aliases that the broker gives out on one connection, whatever the client allows: they are searched one by one.
pub const TOPIC_ALIAS_OUT_MAX: u16 = 64;

// --- one session -----------------------------------------------------------------------------------------------

/// Default of `--max-inflight`: QoS 1 and 2 messages sent to one client and not yet acknowledged.
pub const INFLIGHT_DEFAULT: u16 = 64;
/// Default of `--receive-max`: QoS 1 and 2 messages accepted from one client and not yet completed.
pub const RECEIVE_MAXIMUM_DEFAULT: u16 = 1024;
/// QoS 2 exchanges of one client that are remembered as completed, two bytes each, until it is idle: a PUBREL that comes again is
/// then answered with success. More at once are in flight of few clients, and 0x92 is no error to one that recovers.
pub const COMPLETED_REMEMBERED: usize = 16;
/// Default of `--max-queued-messages`: messages that wait for one session.
pub const QUEUED_MESSAGES_DEFAULT: u32 = 1_000;
/// Default of `--max-queued-bytes`: bytes of message (topic, properties, payload) that wait for one session.
pub const QUEUED_DEFAULT_BYTES: u64 = 16 * 1024 * 1024;
/// Default of `--session-expiry-max`: one week. A session that nobody comes back for must end some day.
pub const SESSION_EXPIRY_DEFAULT_S: u32 = 7 * 24 * 3600;
/// Default of `--keep-alive-max`: what the client asks for, 0 (off) included. A lower value caps every client, also
/// those that asked for none; TCP keep-alive finds dead peers in any case.
pub const KEEP_ALIVE_DEFAULT_S: u16 = u16::MAX;
/// Default of `--max-subscriptions`: subscriptions of one session.
pub const SUBSCRIPTIONS_DEFAULT: u32 = 100_000;
/// Bytes of filters that one session may be subscribed to, `$share/...` included. 100,000 subscriptions of ordinary length
/// fit; as many of 65,535 bytes would be six gigabytes on every shard.
pub const SUBSCRIPTIONS_MAX_BYTES: u32 = 16 * 1024 * 1024;
/// Most that `--max-queued-messages` can be set to. Its least is 1, not 0: elsewhere 0 means "no limit", and a file that
/// was carried over must not silently mean the opposite.
pub const QUEUED_MESSAGES_MAX: u32 = 10_000_000;
/// Smallest `--max-queued-bytes`.
pub const QUEUED_MIN_BYTES: u64 = 1024;
/// Largest `--max-queued-bytes`: one session must not be able to take a whole server's memory.
pub const QUEUED_MAX_BYTES: u64 = 64 * 1024 * 1024 * 1024;
/// A session expiry interval that never ends (MQTT 5.0, 3.1.2.11.2).
pub const SESSION_EXPIRY_NEVER_S: u32 = u32::MAX;
/// Most that `--max-subscriptions` can be set to.
pub const SUBSCRIPTIONS_MAX: u32 = 10_000_000;

// --- one connection --------------------------------------------------------------------------------------------

/// Default of `--connect-timeout`: from accept to a complete CONNECT.
pub const CONNECT_TIMEOUT_DEFAULT_S: u16 = 10;
/// Default of `--outbox-max-bytes`: encoded packets that wait for one slow socket. QoS 0 beyond it is dropped.
pub const OUTBOX_DEFAULT_BYTES: u32 = 1024 * 1024;
/// Smallest `--outbox-max-bytes`: less than one receive buffer's worth of small packets would drop on every burst.
pub const OUTBOX_MIN_BYTES: u32 = 16 * 1024;
/// Largest `--outbox-max-bytes`.
pub const OUTBOX_MAX_BYTES: u32 = 1024 * 1024 * 1024;
/// Default of `--tcp-keepalive-idle`: silence before TCP asks whether the peer is still there. A peer that lost its power or
/// its network says no goodbye; without a keep alive of MQTT nothing else finds that out.
pub const TCP_KEEPALIVE_IDLE_DEFAULT_S: u16 = 60;
/// Default of `--tcp-keepalive-interval`: how long it waits before it asks again.
pub const TCP_KEEPALIVE_INTERVAL_DEFAULT_S: u16 = 15;
/// Default of `--tcp-keepalive-count`: how often it asks until the connection counts as broken, two minutes after the last
/// word, all in all.
pub const TCP_KEEPALIVE_COUNT_DEFAULT: u16 = 4;
/// Longest `--tcp-keepalive-idle` and `--tcp-keepalive-interval` that Linux takes.
pub const TCP_KEEPALIVE_MAX_S: u16 = 32_767;
/// Most that `--tcp-keepalive-count` can be set to on Linux.
pub const TCP_KEEPALIVE_COUNT_MAX: u16 = 127;
/// Longest `--tcp-user-timeout`: a day.
pub const TCP_USER_TIMEOUT_MAX_S: u32 = 24 * 3600;
/// Bytes of the request that opens a WebSocket. Browsers send their cookies with it, and web servers take as much.
pub const UPGRADE_MAX_BYTES: usize = 8 * 1024;
/// ... and header fields in it.
pub const UPGRADE_HEADERS_MAX: usize = 64;
/// Bytes of a PROXY header of version 2: addresses, and what a proxy says of the client's certificate. Proxies write no
/// longer ones.
pub const PROXY_HEADER_MAX_BYTES: usize = 4 * 1024;
/// Longest `--connect-timeout`: until then a peer that says nothing holds a slot.
pub const CONNECT_TIMEOUT_MAX_S: u16 = 300;
/// Takeovers of one client id that are let through in a row. A device whose network flaps needs a few of them; two clients
/// that were given one identifier take each other's connection for ever, and each time costs a session's hand-over and
/// two presence messages to everybody who listens. Beyond it the newcomer is refused and the connection that is there stays.
pub const TAKEOVERS_BURST: u8 = 16;
/// One more takeover is let through for each of these that has passed since the connection at hand was made.
pub const TAKEOVER_REFILL_MS: u64 = 1_000;
/// How long an acknowledgement waits for a subscriber's queue, in milliseconds, with `--full-queue hold-back`: time for a client
/// that pauses to collect garbage, and less than publishers wait before they give up. It is also how long a publisher goes unheard.
pub const HOLD_BACK_MAX_MS: u64 = 5_000;
/// Acknowledgements that wait at which a publisher is not read on with `--full-queue hold-back`: clients before 5.0 would send
/// thousands all the same. At half of it they are read again.
pub const HOLD_BACK_UNACKED_MAX: usize = 32;
/// Publishers of one shard that are not read at a time with `--full-queue hold-back`. Each may keep a receive buffer or two, so that
/// these leave enough for the others.
pub const HOLD_BACK_PUBLISHERS_MAX: usize = 64;
/// Packets and acknowledgements that one turn lets go when what they say has become durable.
pub const RELEASED_PER_TURN: usize = 4_096;
/// Publishers that one turn reads again when a disk has caught up with them.
pub const BEHIND_RELEASED_PER_TURN: usize = 256;
/// Acknowledgements that one turn lets go when a queue has room again.
pub const HOLD_BACK_RELEASED_PER_TURN: usize = 256;
/// Bytes a second by which a packet that has come in part must grow for its sender to count as alive: a client whose link takes
/// longer for one large packet than its keep alive allows is not silent. Links of the slowest kind bring as much; a sender that
/// dribbles is closed by its keep alive, and a packet of the default largest size is whole within 70 minutes or never.
pub const PACKET_GROWTH_MIN_BYTES_PER_S: u32 = 256;
/// Payloads from here on are sent by reference; below, a copy into the outbox is cheaper than an entry of its own.
pub const PAYLOAD_BY_REFERENCE_MIN_BYTES: usize = 4 * 1024;

// --- the whole broker ------------------------------------------------------------------------------------------

/// Default of `--max-connections`.
pub const CONNECTIONS_DEFAULT: u32 = 1_000_000;
/// Default of `--max-sessions`: as many again as may be connected.
pub const SESSIONS_DEFAULT: u32 = 2 * CONNECTIONS_DEFAULT;
/// Most that `--max-sessions` can be set to.
pub const SESSIONS_MAX: u32 = 100_000_000;
/// Default of `--max-queued-memory`: what the queues of all sessions take together. 256 sessions with full queues
/// (`QUEUED_DEFAULT_BYTES`) and no message in common.
pub const QUEUED_MEMORY_DEFAULT_BYTES: u64 = 4 * 1024 * 1024 * 1024;
/// Smallest `--max-queued-memory`.
pub const QUEUED_MEMORY_MIN_BYTES: u64 = 64 * 1024;
/// Largest `--max-queued-memory`.
pub const QUEUED_MEMORY_MAX_BYTES: u64 = 16 * 1024 * 1024 * 1024 * 1024;
/// Default of `--retained-max`: retained messages. Above it a new topic is refused, an existing one still replaced.
pub const RETAINED_DEFAULT: u32 = 1_000_000;
/// A deleted retained message is remembered this long, so that an older write that is still on its way between shards
/// cannot bring it back. A shard that stalls for longer is stopped by the watchdog.
pub const TOMBSTONE_S: u32 = 60;
/// Deletions remembered at a time; beyond it the oldest is forgotten early. Deleting costs a peer nothing, so what it
/// leaves behind is bounded: an older write would have to be on its way for longer than this many deletions take.
pub const TOMBSTONES_MAX: usize = 64 * 1024;
/// CONNECTs of one shard that wait for somebody else to decide about them: more are told that the broker is busy. A back end
/// that answers a thousand a second gets through all of them in the time that each may wait.
pub const PENDING_CONNECTS_MAX: usize = 8 * 1024;
/// ... and the bytes of them: a CONNECT may be large.
pub const PENDING_CONNECTS_MAX_BYTES: usize = 16 * 1024 * 1024;
/// How long a CONNECT waits for a verdict, in milliseconds: longer than a back end takes, shorter than clients wait.
pub const VERDICT_TIMEOUT_MS: u64 = 5_000;
/// CONNECTs without a verdict that one tick refuses: each costs a few microseconds.
pub const ASKS_EXPIRED_PER_TICK: usize = 64;
/// Verdicts that a shard takes in one turn: each may let a client in.
pub const VERDICTS_PER_TURN: usize = 64;
/// Connections that one tick closes when the broker stops: each is told why, and may have a will.
pub const CLOSED_PER_TICK: usize = 128;
/// Commands of operators that go on over many turns at once, a shard: more are refused.
pub const COMMANDS_UNDER_WAY_MAX: usize = 16;
/// Commands of operators that a shard takes in one turn: each may cost it what a packet may.
pub const COMMANDS_PER_TURN: usize = 4;
/// Commands of operators that wait for a shard: whoever has more is told that the lane is full.
pub const INBOX_COMMANDS: usize = 256;
/// Bytes of the reason that an operator gives for a ban or for closing a connection: it goes to the client, and into the log.
pub const OPERATOR_REASON_MAX_BYTES: usize = 256;
/// Connections to the admin server at one time: for one more, one on which no request is under way makes way.
pub const ADMIN_CONNECTIONS_MAX: usize = 128;
/// Connections to the admin server by its path, which have places of their own.
pub const ADMIN_CONNECTIONS_LOCAL_MAX: usize = 16;
/// Bytes of a request's head to the admin server: client ids and filters stand in it.
pub const ADMIN_HEAD_MAX_BYTES: usize = 72 * 1024;
/// Bytes of a request's body to the admin server: a message and what JSON makes of it.
pub const ADMIN_BODY_MAX_BYTES: usize = 2 * 1024 * 1024;
/// How long a request to the admin server may take to arrive, and to be answered, and how long its answer waits for whoever does not
/// read it, in seconds.
pub const ADMIN_REQUEST_MAX_S: u64 = 30;
/// People and programs that may use the admin API.
pub const ADMIN_USERS_MAX: usize = 1_024;
/// People who are logged in to the admin server at one time: whoever has not come for longest gives way.
pub const ADMIN_SESSIONS_MAX: usize = 256;
/// Time after which a login to the admin server ends that is not used, in seconds.
pub const ADMIN_SESSION_IDLE_S: u64 = 3_600;
/// Time after which a login to the admin server ends in any case, in seconds.
pub const ADMIN_SESSION_MAX_S: u64 = 12 * 3_600;
/// Time for which the password of the user `admin` can be shown that a start tells in the log, in seconds: whoever reads old logs has
/// nothing of it.
pub const ADMIN_FIRST_PASSWORD_S: u64 = 3_600;
/// Bytes of a name and a password at the admin server, in JSON.
pub const ADMIN_LOGIN_MAX_BYTES: usize = 8 * 1024;
/// Wrong passwords at the admin server after which an address waits, within the time that follows.
pub const ADMIN_FAILURES_MAX: u32 = 5;
/// How long such an address waits, in seconds, from its last wrong password on.
pub const ADMIN_FAILURES_WAIT_S: u64 = 30;
/// Addresses whose wrong passwords the admin server remembers.
pub const ADMIN_FAILURES_ADDRESSES_MAX: usize = 4_096;
/// Pages of sessions that one request of the admin API looks at, of all shards: a search goes on with the next request.
pub const ADMIN_PAGES_PER_REQUEST: usize = 128;
/// How long traffic of clients and topics goes on being counted after somebody has looked at it, in seconds.
pub const TRAFFIC_COUNTED_S: u32 = 60;
/// Filters that a topic may match where somebody asks who is subscribed to it: each is looked for in many sessions.
pub const AUDIENCE_FILTERS_MAX: usize = 1_024;
/// Topics that a shard keeps of all that are published, while it counts them.
pub const TOPICS_SEEN_MAX: usize = 512;
/// Bytes of a topic that it keeps: longer ones are not counted.
pub const TOPIC_SEEN_MAX_BYTES: usize = 1_024;
/// Client ids and networks that an operator may have banned at a time.
pub const OPERATOR_BANS_MAX: usize = 1_024;
/// Traces of clients, topics and addresses at a time, those of live streams included.
pub const TRACES_MAX: usize = 8;
/// How long one of them may last, in seconds.
pub const TRACE_MAX_S: u32 = 3_600;
/// Lines that wait for whoever reads a live stream: further ones are lost, and counted.
pub const TRACE_LINES_MAX: usize = 1_024;
/// Live tails of topic filters at a time: each has shards look at every message.
pub const TAILS_MAX: usize = 8;
/// Messages that a shard tells live tails of in one turn: further ones are counted.
pub const TAIL_MESSAGES_PER_TURN: u32 = 32;
/// Bytes of a payload that a live tail shows.
pub const TAIL_PAYLOAD_MAX_BYTES: usize = 1_024;
/// Messages that a live tail is sent in a quarter of a second, and that wait for it: further ones are counted.
pub const TAIL_MESSAGES_MAX: usize = 64;
/// How long a live tail may last, in seconds.
pub const TAIL_MAX_S: u32 = 3_600;
/// Samples of what the broker does that the admin server keeps: with one in [`HISTORY_STEP_S`] an hour.
pub const HISTORY_SAMPLES_MAX: usize = 720;
/// Time between two of them, in seconds.
pub const HISTORY_STEP_S: u64 = 5;
/// Lines of the log that are kept for whoever reads it by the admin API.
pub const LOG_RECENT_LINES: usize = 1_000;
/// Bytes of those lines altogether: the oldest go first.
pub const LOG_RECENT_MAX_BYTES: usize = 512 * 1024;
/// How long the admin server waits for a shard's answer, in seconds.
pub const ADMIN_REPLY_MAX_S: u64 = 5;
/// How long a bridge, a sink or a source may take to end when it is asked to, in seconds: then it is cut off, and what it holds stays in its session.
pub const CONNECTOR_STOP_MAX_S: u64 = 3;
/// Bytes that wait for one side of a bridge before the other side is not heard.
pub const BRIDGE_OUT_MAX_BYTES: usize = 256 * 1024;
/// How often in a row another broker may have no room for a message, while it takes others, before the message is left out.
pub const BRIDGE_REFUSALS_MAX: u8 = 3;
/// How often a bridge that is not at its first address looks whether that is there again, in seconds.
pub const BRIDGE_PRIMARY_AGAIN_S: u64 = 20;
/// ... and how rarely, where that takes connections and no bridge: twice as long each time up to an hour.
pub const BRIDGE_PRIMARY_AGAIN_MAX_S: u64 = 3_600;
/// How long a connection has to last for its address to be one that works, in seconds.
pub const BRIDGE_WORKS_AFTER_S: u64 = 30;
/// Bytes of messages that may come from one side of a bridge before it has answered what a bridge begins with: what it may send without a
/// word of ours, `max_inflight` messages and what of QoS 0 it has, and no flood.
pub const BRIDGE_EARLIER_MAX_BYTES: usize = 64 * 1024 * 1024;
/// How long a scrape of metrics waits for a shard, in milliseconds: then it shows the numbers that it has of it.
pub const METRICS_REPLY_MAX_MS: u64 = 1_000;
/// Work that is not an answer to a packet (retained replay, a backlog) done in one turn, in messages: bounds how long
/// other clients of the shard wait for it.
pub const WORK_PER_TURN_MESSAGES: usize = 256;
/// Messages of one queue that come back from the disk at a time, and their bytes, near enough: what a client that stops reading then has
/// in memory.
pub const DISK_PAGE_MESSAGES: usize = 32;
/// See [`DISK_PAGE_MESSAGES`].
pub const DISK_PAGE_BYTES: u64 = 64 * 1024;
/// Queues of a shard whose messages are being read from the disk at a time; the others wait.
pub const DISK_PAGES_MAX: usize = 64;
/// Subscriptions that one turn sees to where all of a session's have to be: those of sessions that have ended are taken out of
/// the index, shared ones are told whether their client is there. About a microsecond each, and more where many shards have
/// to hear of it. A session with up to a quarter of this is done with at once: nearly every client has fewer.
pub const SUBSCRIPTIONS_PER_TURN: u32 = 256;
/// How often `$SYS` topics are published.
pub const SYS_INTERVAL_DEFAULT_S: u16 = 10;
/// Sessions that one turn looks at whose time has come: each may be closed, and have a will.
pub const DUE_PER_TURN: usize = 512;
/// Of the messages with QoS 1 and 2 one of so many is timed: from PUBLISH to acknowledgement, in both directions. A power of two.
pub const TIMED_ONE_OF: u32 = 64;
/// Granularity of the shard's timers.
pub const TIMER_TICK_MS: u64 = 100;
/// Furthest ahead that a timer is armed. A session that ends leaves its timer, four bytes, behind for that long: 25,000
/// connects a second for ten minutes are 60 MB, where a keep alive of 65,535 s would make them ten gigabytes.
pub const TIMER_HORIZON_S: u32 = 600;
/// Default of `--shutdown-timeout`: how long SIGTERM waits for queued packets to leave.
pub const SHUTDOWN_TIMEOUT_DEFAULT_S: u16 = 5;
/// Longest `--shutdown-timeout`, and longest `--shutdown-drain`.
pub const SHUTDOWN_TIMEOUT_MAX_S: u16 = 3_600;
/// Most that `--max-connections` can be set to: a million for each of the most shards there can be.
pub const CONNECTIONS_MAX: u32 = (SHARDS_MAX as u32) << 20;
/// Default of `--retained-max-bytes`: bytes of retained messages (topic, properties, payload). The shards share them.
pub const RETAINED_DEFAULT_BYTES: u64 = 1024 * 1024 * 1024;
/// Largest `--retained-max-bytes`.
pub const RETAINED_MAX_BYTES: u64 = 1024 * 1024 * 1024 * 1024;
/// Most that `--retained-max` can be set to.
pub const RETAINED_MAX: u32 = 100_000_000;
/// A `--retained-expiry` that never comes.
pub const RETAINED_EXPIRY_NEVER_S: u32 = u32::MAX;
/// Longest `--sys-interval`.
pub const SYS_INTERVAL_MAX_S: u16 = 3_600;
/// Listening addresses one process may have; each is a socket on every shard.
pub const LISTENERS_MAX: usize = 16;
/// Listeners at one time, with those that a reload has taken away while clients that came by them are still there.
pub const LISTENER_INDEXES_MAX: usize = 64;
/// Networks in one of a listener's lists. Each connection is compared with all of them, which takes less than a microsecond.
pub const NETWORKS_MAX: usize = 64;
/// Origins in `--ws-origins`.
pub const ORIGINS_MAX: usize = 64;
/// Longest path, origin or account in the settings, in bytes.
pub const LISTENER_TEXT_MAX_BYTES: usize = 255;
/// Most that `--max-connect-rate` and `--max-connect-rate-per-address` can be set to: more than a machine accepts.
pub const CONNECT_RATE_MAX: u32 = 1_000_000;
/// Cells of the table that holds connect rates per source address, 8 bytes each, the same for any number of addresses. Each address
/// has two of them. As long as fewer than a thousand addresses are at their limit, one in a thousand others would share both of its
/// own with some of them, and be held to what is left.
pub const ADDRESS_RATE_CELLS: usize = 64 * 1024;
/// Longest `--node-name` in bytes; as long as a host name may be.
pub const NODE_NAME_MAX_BYTES: usize = 64;

// --- the log ---------------------------------------------------------------------------------------------------

/// Default of `--log-rate`: lines a second of one kind (connects, disconnects, ...) that are written; the rest is
/// counted. A storm of 25,000 connects a second then costs the log what a busy hour does.
pub const LOG_RATE_DEFAULT: u32 = 1_000;
/// Most that `--log-rate` can be set to.
pub const LOG_RATE_MAX: u32 = 1_000_000;
/// Sessions of a shard of which it is noted that they lose messages; beyond it losses are counted, and not told one by one.
pub const LOSING_SESSIONS_MAX: usize = 64 * 1024;
/// A session that has lost no message for this long is told to be well again.
pub const LOSS_OVER_S: u32 = 10;
/// Bytes of events below `$SYS/brokers` that wait on a shard: those of the subscriptions of a packet with 10,000 filters. What has no room
/// is counted as dropped.
pub const CLIENT_EVENTS_MAX_BYTES: usize = 4 * 1024 * 1024;
/// Such events that a turn publishes, and filters of a packet that it sees to while some wait.
pub const CLIENT_EVENTS_PER_TURN: usize = 64;
/// Lines that wait for the log's writer. When a disk or a pipe stalls, further lines are lost and counted.
pub const LOG_QUEUE_LINES: usize = 8 * 1024;
/// Bytes of one field that are shown in a log line. A client chooses its id, up to 65,535 bytes of it.
pub const LOG_FIELD_MAX_BYTES: usize = 256;
/// ... and of the broker's own words, which say what to do: they may name a path or a few settings.
pub const LOG_TEXT_MAX_BYTES: usize = 2_048;

// --- between shards --------------------------------------------------------------------------------------------

/// Batches that fit a mesh channel between two shards before the sender keeps them itself.
pub const MESH_CHANNEL_BATCHES: usize = 256;
/// Messages waiting for one shard beyond which the sender stops receiving from its own publishers.
pub const MESH_PAUSE_MESSAGES: usize = 16 * 1024;
/// ... and goes on receiving once no more than this wait.
pub const MESH_RESUME_MESSAGES: usize = 4 * 1024;

// --- the socket plane ------------------------------------------------------------------------------------------

/// Submissions one ring queues before it enters the kernel by itself. A turn that sends to more connections than this
/// costs one more system call for every 1,024 of them: nothing a measurement would show.
pub const RING_ENTRIES: u32 = 1024;
/// Completions one ring holds between two entries into the kernel (16 bytes each). The plane empties it after every
/// entry, and a full queue loses nothing: the kernel keeps what does not fit.
pub const RING_COMPLETIONS: u32 = 4096;
/// Rings one shard may open. A ring holds as many sockets as the process may open files, so a shard outgrows one ring
/// only where that limit is low: 64 rings of 20,000 are more than a million sockets a shard.
pub const RINGS_MAX: usize = 64;
/// Sockets beyond `--max-connections` that a shard has room for: those that are told that the broker is full, and those
/// that are on their way in, out or to another shard.
pub const SOCKETS_OVER_LIMIT: u32 = 16 * 1024;
/// Connections beyond `--max-connections`, or beyond `max_connections` of a listener, that may be open all the same. They hold no
/// client's place: they have not sent CONNECT, are about to be told that the broker is full, or read their last words. So many can
/// come back at once to a full broker and be told so; more are reset unheard.
pub const SOCKETS_WITHOUT_PLACE_MAX: u32 = 4 * 1024;
const _: () = assert!(SOCKETS_WITHOUT_PLACE_MAX < SOCKETS_OVER_LIMIT, "each of them needs a socket");
/// Sockets one ring's table can hold at most (the kernel's `IORING_MAX_FIXED_FILES`).
pub const RING_DESCRIPTORS_MAX: u32 = 1 << 20;
/// Receive buffers one ring lends to its sockets; a power of two. With `RECEIVE_BUFFER_BYTES`: 4 MiB a shard.
pub const RECEIVE_BUFFERS: u16 = 1024;
/// ... and a further ring, which is there because the process may not open enough files for one. Together they have more than
/// one ring would have for the same sockets.
pub const LATER_RING_RECEIVE_BUFFERS: u16 = 256;
/// Size of one receive buffer: a page. Most packets of a fleet fit many times over, a large one takes several.
pub const RECEIVE_BUFFER_BYTES: u32 = 4096;
/// A turn that begins this much later than the last one, in milliseconds, has been asleep or kept from running: no deadline is judged
/// before what came meanwhile has been read.
pub const STALL_MS: u64 = 1_000;
/// ... and turns after which deadlines are judged all the same: with as much as each takes in, more than all clients send at once.
pub const CATCH_UP_TURNS: u16 = 4_096;
/// Completions after which a turn stops reaping and handles what it has, so that latency stays bounded under load.
pub const COMPLETIONS_PER_TURN: usize = 512;
/// Sockets that are closed with one entry into the kernel, where more wait for it: what others have sent is heard in between.
pub const CLOSES_PER_ENTRY: usize = 32;
/// ... and one more for each so many that wait.
pub const CLOSES_WAITING_SHARE: usize = 64;
/// Connections the kernel keeps for a listener that is busy (the system's `somaxconn` caps it).
pub const LISTEN_BACKLOG: i32 = 4096;
/// A peer that connects and says nothing is left to the kernel, which keeps less for it than a connection takes, for about
/// this long, in seconds; `--connect-timeout` begins after that. MQTT's client speaks first, so others do not notice.
pub const DEFER_ACCEPT_S: u16 = 1;
/// Connections that one turn takes in at most from one listener. Each leads to a few completions, so that a turn takes
/// far fewer than it can handle, and whoever is connected is served at a flood's side; the others wait in the kernel.
pub const ACCEPTS_PER_TURN: u16 = 64;
/// How long accepting rests after the system ran out of descriptors or memory: trying again at once would spin.
pub const ACCEPT_PAUSE_MS: u32 = 20;

// --- the store -------------------------------------------------------------------------------------------------

/// What a file of the store is divided into: no disk that is to be had writes larger sectors, and memory is paged so.
pub const STORE_BLOCK_BYTES: usize = 4096;
/// Most that one flush writes, and so most that recovery has to see at once. A disk of 500 MB/s takes 2 ms for it.
pub const STORE_BATCH_MAX_BYTES: usize = 1024 * 1024;
/// Payload bytes in one record. A longer payload goes on in further records, so that it fits whatever batch it meets.
pub const STORE_PART_MAX_BYTES: usize = 256 * 1024;
/// How long a record that nobody waits for may wait for others that somebody does, in milliseconds: a QoS 0 retained message, the
/// end of a connection. With the tick that it is written at it is a second.
pub const STORE_LAZY_MS: u64 = 1_000 - TIMER_TICK_MS;
/// Segments that are kept ready behind the one that is written. Making one of 64 MiB takes a second on a slow disk, in which
/// a fast shard fills two.
pub const STORE_SEGMENTS_PREPARED: usize = 3;
/// Segments that are kept ready on a full disk for what frees room: acknowledgements of subscribers, deletions, messages that are written
/// again elsewhere. The last of them is for the latter.
pub const STORE_SEGMENTS_RESERVED: usize = 2;
/// Bytes that wait to be written before publishers of what is kept are not read: a disk of 100 MB/s takes 80 ms for them. At half of
/// it they are read again.
pub const STORE_PENDING_MAX_BYTES: usize = 8 * 1024 * 1024;
/// How long a log waits on a full disk before it tries again to make a segment, in seconds.
pub const STORE_SPACE_RETRY_S: u32 = 1;
/// How often a message is looked for whose blocks the disk does not give back, [`STORE_SPACE_RETRY_S`] apart, before it counts as lost: a disk that was
/// reset meanwhile has it again, and its session waits no longer than for seconds.
pub const STORE_READ_ATTEMPTS: u32 = 3;
/// What threads that work on files may have to say to a shard that it has not heard: beyond it they wait.
pub const STORE_NEWS_MAX: usize = 64;
/// Segments that are filled before a checkpoint is made whether it is time or not: what a start has to replay is bounded by it, and what it reads by the
/// segments that messages are still wanted of.
pub const STORE_CHECKPOINT_SEGMENTS: u32 = 4;
/// Bytes of messages that one checkpoint has written again, so that the segments they are in can be used for something else.
pub const STORE_COPY_BYTES: usize = 64 * 1024 * 1024;
/// Of them, what a shard is told of at once: a turn writes no more.
pub const STORE_COPIES_AT_ONCE_BYTES: usize = 64 * 1024;
/// So much longer than a checkpoint took, at least, until the next one of the log that is not overdue: reading and writing it is a tenth of a core's work
/// and of a disk's at most. One that is overdue waits as long as the last one took.
pub const STORE_REST_PER_WORK: u32 = 10;
/// Orders to the thread that makes and deletes files which wait for the disk. Each log has a few at a time.
pub const STORE_ORDERS_MAX: usize = 1024;
/// Spare files of a log; more are deleted, so that a burst does not keep its room for ever.
pub const STORE_SPARES_MAX: usize = 4;
/// Damaged files that are kept for whoever wants to look at them: beyond it the oldest are deleted.
pub const STORE_QUARANTINED_MAX: usize = 16;
/// Smallest size of a segment's file: the largest batch fits into it.
pub const STORE_SEGMENT_MIN_BYTES: u64 = 2 * 1024 * 1024;
/// Largest size of a segment's file: a place in it is kept in 32 bits.
pub const STORE_SEGMENT_MAX_BYTES: u64 = 1024 * 1024 * 1024;
/// Size of a segment's file where nobody says: zeros for it take a slow disk less than a second.
pub const STORE_SEGMENT_DEFAULT_BYTES: u64 = 64 * 1024 * 1024;
/// Time between checkpoints of a log where nobody says.
pub const STORE_CHECKPOINT_DEFAULT_S: u32 = 60;
/// Longest time between checkpoints of a log.
pub const STORE_CHECKPOINT_MAX_S: u32 = 24 * 3600;
/// What checkpoints write in a second where nobody says, in bytes: a tenth of what a disk of 2020 takes.
pub const STORE_PACE_DEFAULT_BYTES: u64 = 50 * 1024 * 1024;
/// Least that checkpoints write in a second: one of a million sessions is done within minutes.
pub const STORE_PACE_MIN_BYTES: u64 = 1024 * 1024;
/// Most that checkpoints write in a second: no pace.
pub const STORE_PACE_MAX_BYTES: u64 = 1024 * 1024 * 1024 * 1024;
/// Bytes that a checkpoint may read while it may write one: a log is read as a whole, and what it comes to is a part of it.
pub const STORE_PACE_READ_RATIO: u64 = 8;
/// Room on the disk that is left to others where nobody says.
pub const STORE_FREE_DEFAULT_BYTES: u64 = 256 * 1024 * 1024;
/// Most room on the disk that can be left to others.
pub const STORE_FREE_MAX_BYTES: u64 = 1024 * 1024 * 1024 * 1024;

// --- the edge --------------------------------------------------------------------------------------------------

/// Connections on their way to one shard beyond which no shard accepts more: the shard that owns them cannot keep up.
pub const HANDOVERS_MAX: u32 = 256;
/// ... and when to look again, in milliseconds.
pub const ACCEPT_AGAIN_MS: u64 = 2;
/// How long the CONNECT of a client that finds the broker full waits for a place, in milliseconds, before it is refused: another
/// shard may be about to see that one of its clients has left.
pub const PLACE_WAIT_MS: u64 = 100;
/// ... and how often it looks again meanwhile.
pub const PLACE_AGAIN_MS: u64 = 5;
/// Bytes in a row that a turn handles of one connection before all others have had theirs: a hundred messages or two.
pub const TURN_BUDGET_BYTES: usize = 8 * 1024;
/// Bytes that a turn handles, once the others have been served, of connections that have sent more than their share: five
/// hundred messages of 64 bytes.
pub const DEFERRED_TURN_BYTES: usize = 32 * 1024;
/// Receive buffers that may wait for their connections' next shares; beyond it a connection that sends more receives
/// no longer until what it has sent was handled. Half of what the smallest ring has, so that others can receive meanwhile.
pub const DEFERRED_BUFFERS_MAX: usize = LATER_RING_RECEIVE_BUFFERS as usize / 2;
/// Outboxes kept for the next turn; of at most 16 KiB each.
pub const OUTBOX_POOL: usize = 1024;
/// TLS handshakes of one shard that are with the thread that runs them. While there are so many, nobody is accepted: at 100 us
/// each they are 26 ms of work, and who waits in the kernel costs less than who waits here.
pub const TLS_HANDSHAKES_MAX: usize = 256;
/// Handshakes whose end one turn sees to, of some 20 us each.
pub const TLS_HANDSHAKES_PER_TURN: usize = 16;
/// What a peer may have sent of a TLS handshake that is not used yet: a certificate chain of 64 KiB, which is what rustls
/// takes of one message, with its records' headers.
pub const TLS_HANDSHAKE_INPUT_MAX_BYTES: usize = 68 * 1024;
/// TLS records in a row that bring no bytes (empty ones, warnings, key updates): an honest peer sends one or two.
pub const TLS_EMPTY_RECORDS_MAX: u8 = 32;
/// Default of `--tls-handshake-timeout`: two round trips of the slowest link, with room for a lost packet.
pub const TLS_HANDSHAKE_TIMEOUT_DEFAULT_S: u16 = 5;
/// Default of `--tls-half-open-max`, of each listener for TLS: at 5,000 handshakes a second peers have two seconds to answer before one makes way for
/// another, and those that never do hold some 200 MB at most, or 700 MB where each has sent all that is kept of one.
pub const TLS_HALF_OPEN_DEFAULT: u32 = 10_000;
/// Most that `--tls-half-open-max` can be set to.
pub const TLS_HALF_OPEN_MAX: u32 = 1_000_000;
/// Certificates of one listener, each with a key; a client that comes is compared with each.
pub const TLS_CERTIFICATES_MAX: usize = 64;
/// Revocation lists of one listener.
pub const TLS_CRLS_MAX: usize = 64;
/// More cipher suites than there are with AEAD.
pub const TLS_CIPHERS_MAX: usize = 16;
/// Days before a certificate expires in which each start and reload says so.
pub const TLS_EXPIRY_WARNING_DAYS: i64 = 30;
/// How long a connection that the broker ends may take to accept its last words, in milliseconds.
pub const LINGER_MS: u64 = 2_000;
/// Encoded bytes that one turn gathers before they are given to the sockets in its middle.
pub const TURN_MAX_BYTES: usize = 1024 * 1024;
/// A shard that is awake and completes no turn for this long ends the process. Less than `TOMBSTONE_S`.
pub const WATCHDOG_S: u64 = 30;
const _: () = assert!(WATCHDOG_S < TOMBSTONE_S as u64);

// --- who may come in -------------------------------------------------------------------------------------------

/// Most users of one password file: a million of them take 300 MB.
pub const USERS_MAX: usize = 1_000_000;
/// Default of `--remember-logins`: as long as a network that was gone may take to come back whole.
pub const REMEMBER_LOGINS_DEFAULT_S: u32 = 3600;
/// Longest `--remember-logins`: a week.
pub const REMEMBER_LOGINS_MAX_S: u32 = 7 * 24 * 3600;
/// Threads that hash passwords: as many as shards, up to this; each may take what one argon2id takes of memory.
pub const AUTH_THREADS_MAX: usize = 4;
/// Passwords that are remembered as found right, for `--remember-logins`: beyond it the oldest is forgotten. 250 bytes each.
pub const REMEMBERED_LOGINS_MAX: usize = 200_000;
/// Pieces of work (a hash, a request) that clients who want to come in may have under way; more are told that the broker is busy. With
/// the default argon2id two cores do about two hundred in the time that a client waits.
pub const AUTH_WORK_MAX: usize = 1_024;
/// Addresses and client ids whose failed logins are counted, or that are banned, for `--ban-after`: 20 MB of them.
pub const BANS_MAX: usize = 65_536;
/// Longest client id whose failed logins are counted.
pub const BANNED_CLIENT_ID_MAX_BYTES: usize = 128;
/// Topics of a client whose decisions by access rules are kept, of those that it publishes and of those that it receives: a device that takes turns with
/// so many is decided about once for each.
pub const ACL_DECISIONS_KEPT: usize = 8;
/// Longest topic of those beside the last.
pub const ACL_DECISION_TOPIC_MAX_BYTES: usize = 256;
/// Client ids and networks of `--bans-file`: some 10 MB of them.
pub const BAN_LIST_MAX: usize = 100_000;
/// Client ids whose comings a shard counts for `--flapping-after`: 1.5 MB of them. Where more come within the window, as in a reconnect storm, those that
/// came first are forgotten, and who flaps is found when the storm is over.
pub const FLAPPING_IDS_MAX: usize = 16_384;
/// Client ids that a shard turns away for that at a time: beyond it the one whose ban ends first is let in.
pub const FLAPPING_BANS_MAX: usize = 4_096;
/// Most that `--flapping-after` can be set to.
pub const FLAPPING_AFTER_MAX: u32 = 1_000_000;
/// Default of `--flapping-window`, as in EMQX.
pub const FLAPPING_WINDOW_DEFAULT_S: u32 = 60;
/// Default of `--flapping-time`, as in EMQX.
pub const FLAPPING_TIME_DEFAULT_S: u32 = 300;
/// Most that `--ban-after` can be set to.
pub const BAN_AFTER_MAX: u32 = 1_000_000;
/// Default of `--ban-window`: failures that lie further apart are no guessing.
pub const BAN_WINDOW_DEFAULT_S: u32 = 600;
/// Default of `--ban-time`: guessing four times an hour finds nothing, and a device that was mended need not wait for long.
pub const BAN_TIME_DEFAULT_S: u32 = 900;
/// Longest `--ban-window` and `--ban-time`: a week.
pub const BAN_TIME_MAX_S: u32 = 7 * 24 * 3600;
/// Most memory that one argon2id of a password file may ask for: a login must not take a whole machine's.
pub const ARGON2_MEMORY_MAX_KIB: u32 = 1024 * 1024;
/// Most passes of one argon2id.
pub const ARGON2_PASSES_MAX: u32 = 64;
/// Most lanes of one argon2id.
pub const ARGON2_LANES_MAX: u32 = 64;
/// Longest JSON Web Token that is looked at: longer than any provider's, shorter than a CONNECT can make it.
pub const TOKEN_MAX_BYTES: usize = 16 * 1024;
/// Longest user name that a token says: as long as one of `--superusers`.
pub const TOKEN_USER_MAX_BYTES: usize = SUPERUSER_MAX_BYTES;
/// Most keys of one file or one key set. A token without the name of its key is tried with each of its kind, 0.1 ms long.
pub const TOKEN_KEYS_MAX: usize = 64;
/// Shortest secret that tokens are signed with: what HMAC-SHA256 puts out (RFC 7518, 3.2). Shorter ones are guessed from one token.
pub const TOKEN_SECRET_MIN_BYTES: usize = 32;
/// Most key files of one listener.
pub const TOKEN_KEY_FILES_MAX: usize = 16;
/// Time after an attempt to fetch a key set before a token with an unknown key leads to the next.
pub const KEYS_FETCH_PAUSE_S: u32 = 10;
/// Most headers of `--auth-http-headers`.
pub const HTTP_HEADERS_MAX: usize = 16;
/// Largest key set, and largest answer of a back end, that is read.
pub const HTTP_ANSWER_MAX_BYTES: usize = 256 * 1024;
/// Default of `--auth-http-timeout`: a back end that takes longer is down.
pub const AUTH_HTTP_TIMEOUT_DEFAULT_S: u32 = 3;
/// Longest `--auth-http-timeout`: a shard gives a question five seconds.
pub const AUTH_HTTP_TIMEOUT_MAX_S: u32 = 5;
/// Default of `--auth-http-connections`: at 10 ms an answer they are 1,600 a second.
pub const AUTH_HTTP_CONNECTIONS_DEFAULT: u32 = 16;
/// Most `--auth-http-connections`: each is a thread.
pub const AUTH_HTTP_CONNECTIONS_MAX: u32 = 256;
/// Decisions of a back end that are kept for one session: beyond it the oldest is forgotten.
pub const TOPIC_DECISIONS_MAX: usize = 256;
/// Topics and filters of one packet that a back end is asked about; further filters of a SUBSCRIBE are refused.
pub const TOPICS_ASKED_MAX: usize = 256;
/// ... and the bytes of them: a SUBSCRIBE of a megabyte would take its shard a hundredth of a second.
pub const TOPICS_ASKED_MAX_BYTES: usize = 64 * 1024;
/// Packets of one shard that wait for a back end's decision about their topics, one for each client, and wills.
pub const TOPIC_ASKS_MAX: usize = 8 * 1024;
/// ... and the bytes of them.
pub const TOPIC_ASKS_MAX_BYTES: usize = 16 * 1024 * 1024;
/// Default of `--acl-http-cache`: a right that was taken away is good for so long.
pub const ACL_HTTP_CACHE_DEFAULT_S: u32 = 60;
/// Longest `--acl-http-cache`: a day.
pub const ACL_HTTP_CACHE_MAX_S: u32 = 24 * 3600;
/// Default of `--jwks-refresh`: a key that was withdrawn is good for so long.
pub const JWKS_REFRESH_DEFAULT_S: u32 = 300;
/// Bounds of `--jwks-refresh`: not more often than a provider bears, not less than a key changes.
pub const JWKS_REFRESH_MIN_S: u32 = 10;
/// See above: a day.
pub const JWKS_REFRESH_MAX_S: u32 = 24 * 3600;
/// Default of `--jwt-leeway`: clocks that are kept by NTP lie closer together.
pub const JWT_LEEWAY_DEFAULT_S: u32 = 10;
/// Longest `--jwt-leeway`.
pub const JWT_LEEWAY_MAX_S: u32 = 600;
/// Longest URL, issuer, audience or name of a claim in a setting.
pub const AUTH_TEXT_MAX_BYTES: usize = 2_048;
/// Iterations of a SCRAM password that `dunlin passwd --scram` writes: what RFC 7677 advises. The client pays for them.
pub const SCRAM_ITERATIONS: u32 = 15_000;
/// Fewest iterations of a SCRAM password that are read (RFC 7677, 4).
pub const SCRAM_ITERATIONS_MIN: u32 = 4_096;
/// Longest message of a SCRAM exchange.
pub const SCRAM_MESSAGE_MAX_BYTES: usize = 4 * 1024;
/// SCRAM exchanges that wait for their client's proof, over all shards; beyond it the oldest gives way.
pub const SCRAM_EXCHANGES_MAX: usize = 8 * 1024;
/// ... of one address, or of one /64 of IPv6; beyond it its own oldest gives way, so that one address keeps nobody else out.
pub const SCRAM_EXCHANGES_OF_ADDRESS_MAX: usize = 1_024;
/// Re-authentications of one shard that are under way.
pub const REAUTHENTICATIONS_MAX: usize = 8 * 1024;
/// Most rounds of PBKDF2 of one login: some seconds.
pub const PBKDF2_ITERATIONS_MAX: u32 = 10_000_000;
/// Longest salt and longest hash of argon2id in a password file; 64 is what is written.
pub const STORED_HASH_MAX_BYTES: usize = 128;

/// Profiles of one file: each is looked at when a client connects, a microsecond in all.
pub const PROFILES_MAX: usize = 64;
/// Names in one list of a profile.
pub const PROFILE_NAMES_MAX: usize = 100_000;
/// Most messages or bytes a second that a profile can name.
pub const PROFILE_RATE_MAX: u64 = 1_000_000_000_000;
/// Cells that rates of users are kept in, 8 bytes each, where a profile has such a rate: 512 KiB, in which a thousand users that are at
/// their limits hold up one in a thousand others.
pub const USER_RATE_CELLS: usize = 65_536;
/// Longest mount point, with its ids.
pub const MOUNT_POINT_MAX_BYTES: usize = 1_024;
/// Shortest pause of a client that is over its rate, in milliseconds: what it may send meanwhile comes at once afterwards, and a
/// thousand paused clients wake their shard a hundred times a second, not more.
pub const RATE_PAUSE_MIN_MS: u64 = 10;
/// Pauses that one tick ends: each may bring a packet.
pub const RATE_PAUSES_ENDED_PER_TICK: usize = 256;
/// Receive buffers that wait for their turns at which what comes of a connection that is not heard is copied, so that it takes no
/// buffer from others: a quarter of what may wait. A slow disk may hold every publisher.
pub const HELD_BUFFERS_MAX: usize = DEFERRED_BUFFERS_MAX / 4;

// --- what it may do --------------------------------------------------------------------------------------------

/// What `dunlin import` reads of a mosquitto.conf and of the files that it includes, together: that of Mosquitto with all its comments has 40 KB.
pub const IMPORT_CONF_MAX_BYTES: u64 = 1024 * 1024;
/// Most users of `--superusers`: each decision of a client with a name looks for it among them.
pub const SUPERUSERS_MAX: usize = 64;
/// Longest name of one of them.
pub const SUPERUSER_MAX_BYTES: usize = 1_024;
/// Default of `--watch-files`: a certificate that was renewed can wait so long, and a look costs one system call a file.
pub const WATCH_FILES_DEFAULT_S: u32 = 5;
/// Longest `--watch-files`: an hour.
pub const WATCH_FILES_MAX_S: u32 = 3_600;
/// Most rules of one access file, each topic of a rule counted.
pub const ACL_RULES_MAX: usize = 1_000_000;
/// Rules that may be about one client, those about everybody included: a decision looks at each, some twenty nanoseconds long, and
/// a message may need one for each subscriber.
pub const ACL_RULES_OF_CLIENT_MAX: usize = 256;
/// Sessions that one turn visits when the rules have changed, to see whether they have subscriptions.
pub const ACL_SLOTS_PER_TURN: usize = 1_024;
/// Subscriptions that one turn compares to rules that have changed: half a millisecond where a client has as many rules as it may.
pub const ACL_REVIEWS_PER_TURN: usize = 64;
/// Where there are rules, a filter of SUBSCRIBE costs up to so many times as much: that many fewer are seen to in one go.
pub const ACL_FILTERS_COST: usize = 8;

// --- MQTT-SN ---------------------------------------------------------------------------------------------------

/// Default of `--sn-retry`: `T_retry` of MQTT-SN 1.2, 7.2.
pub const SN_RETRY_DEFAULT_S: u16 = 10;
/// Longest `--sn-retry`: an hour.
pub const SN_RETRY_MAX_S: u16 = 3_600;
/// Default of `--sn-retries`: `N_retry` of MQTT-SN 1.2, 7.2.
pub const SN_RETRIES_DEFAULT: u16 = 3;
/// Most `--sn-retries`.
pub const SN_RETRIES_MAX: u16 = 100;
/// Default of `--sn-max-datagram`: what an Ethernet frame carries in whatever it is wrapped.
pub const SN_DATAGRAM_DEFAULT_BYTES: u16 = 1_400;
/// Shortest `--sn-max-datagram`: a frame of IEEE 802.15.4 carries as little, and what the shard answers has room.
pub const SN_DATAGRAM_MIN_BYTES: u16 = 128;
/// Longest `--sn-max-datagram`: what a receive buffer holds behind the kernel's header and an address (`ring::datagram`).
pub const SN_DATAGRAM_MAX_BYTES: u16 = 4_052;
/// Topic ids of one MQTT-SN client, those that it registers and those that it is told; beyond it those that it was told mean something else.
pub const SN_TOPICS_MAX: usize = 256;
/// Bytes of the names behind them.
pub const SN_TOPICS_MAX_BYTES: usize = 16 * 1024;
/// Bytes of packets that wait for one MQTT-SN client, which sleeps or has to be told a topic id; QoS 0 beyond it is dropped, and of QoS 1 and 2
/// there is one at a time.
pub const SN_WAITING_MAX_BYTES: usize = 16 * 1024;
/// Requests of one MQTT-SN client that are not answered; it is told to try again later beyond it. The specification lets it have one.
pub const SN_ASKED_MAX: usize = 16;
/// How often one message leads to a topic id being told anew, because the client says that it does not know it.
pub const SN_TRIES_OF_TOPIC_MAX: u8 = 3;
/// Bytes that the kernel keeps of datagrams that have come, and of those that leave; beyond it they are lost, and their senders send them
/// again. What the machine does not allow (`net.core.rmem_max`) is as much as it allows.
pub const DATAGRAM_SOCKET_BYTES: u32 = 4 * 1024 * 1024;
/// Default of `--sn-keep-alive`: half a day.
pub const SN_KEEP_ALIVE_DEFAULT_S: u16 = 43_200;
/// How long a client that says "congestion" is left alone, in seconds; it is asked again then. `T_WAIT` of MQTT-SN 1.2 is five minutes, made
/// for a gateway that many clients burden.
pub const SN_WAIT_S: u32 = 60;
/// Silence after which whoever only publishes, without connecting, is forgotten, in seconds.
pub const SN_PUBLISHER_IDLE_S: u32 = 10;
/// Default of `--sn-max-publishers`: a hundred new ones a second, each of which is remembered for [`SN_PUBLISHER_IDLE_S`].
pub const SN_PUBLISHERS_DEFAULT: u32 = 1_000;
/// Most `--sn-max-publishers`: each takes a connection.
pub const SN_PUBLISHERS_MAX: u32 = 1_000_000;
