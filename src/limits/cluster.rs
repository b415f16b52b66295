//! Bounds of a cluster: its nodes, ranges and links.

use super::{PACKET_SIZE_MAX_BYTES, SHARDS_MAX};

// --- cluster ---------------------------------------------------------------------------------------------------

/// Nodes that a cluster may have: a set of them is one `u64`, and 20 of them carry ten million clients.
pub const NODES_MAX: usize = 64;
/// Shards of a node in a cluster, at most: each other node has the number of a shard, too, and there are two to spare for processes that have just gone.
pub const CLUSTER_SHARDS_MAX: usize = SHARDS_MAX - 3;
/// Ranges of a cluster unless it was founded with another number: four for each of three nodes.
pub const RANGES_DEFAULT: u16 = 12;
/// Most ranges that a cluster can be founded with. Each is a log of the engine, and with 64 logs at once one append in a hundred took half
/// a second.
pub const RANGES_MAX: u16 = 64;
/// Longest message of a range's log, header included. The engine refuses more than 1 MiB unless it is told otherwise, and 64 KiB already reach the
/// bytes a second that it can take.
pub const RANGE_BATCH_MAX_BYTES: usize = 512 * 1024;
/// Batches of a range that are on their way to the engine at once: with 8 of 4 KiB it took 2,000 to 2,400 a second, with one 600, and each that is
/// on its way when a range is lost is appended for nothing.
pub const RANGE_APPENDS_IN_FLIGHT_MAX: usize = 4;
/// Pause before the engine is asked the same again, in milliseconds. What fails at once is thus asked 20 times a second.
pub const RANGE_RETRY_MS: u64 = 50;
/// Times that a log is looked at again where it is shorter than it was, before a replica is blamed for it: a second's worth.
pub const RANGE_LOOKS_MAX: u32 = 20;
/// Replicas that are asked for one place of a log beside the first: logs have three, and one that comes back may need a second try.
pub const STEP_DOWNS_MAX: u32 = 3;
/// Highest sequence that a range's log is believed to have: a million appends a second reach it in 146,000 years. An engine that tells more is not
/// heard, so that counting on never overflows.
pub const RANGE_SEQUENCE_MAX: u64 = 1 << 62;
/// Longest document of the control store: the map of as many nodes as there may be, with the longest names escaped, and of all ranges has 107,000 bytes.
pub const CONTROL_DOCUMENT_MAX_BYTES: usize = 128 * 1024;
/// Longest name of a cluster or a node, address of a link and version: that of a host (RFC 1035) with a port.
pub const MEMBER_NAME_MAX_BYTES: usize = 255;
/// Time between two beats of a node, in milliseconds. Twenty nodes then write 20 small documents a second.
pub const BEAT_INTERVAL_MS: u64 = 1_000;
/// A beat that has not moved for so long while others came back is that of a dead node: three were missed.
pub const DEATH_MS: u64 = 3_000;
/// A node whose last beat that came back was sent so long ago is unheard: before anybody may call it dead, also by a clock that is a tenth faster.
pub const UNHEARD_MS: u64 = 2_700;
/// A node that did nothing for longer than that was paused, and asks whether it still is who it was before it acknowledges anything. Less than
/// [`DEATH_MS`] by one beat.
pub const PAUSE_MS: u64 = 2_000;
/// Longest time, in milliseconds, that an unheard node serves on until its linked peers have said that they are unheard as well. When the engine is away, nodes notice
/// within one beat of each other and say so with the next PING. Others may have called the node dead 300 ms after it is unheard, and two live connections
/// of one client id are promised to end after 4 s.
pub const UNHEARD_DOUBT_MS: u64 = 1_600;
/// Beats of a member that this node must have seen since a link between them broke before it says that it does not reach it. A link that can be made again is by
/// then ([`LINK_REDIAL_MAX_MS`]).
pub const CUT_OFF_BEATS: u32 = 3;
/// A member is put out of the map for want of links only when for so long, in milliseconds, the beats of all have said that it is the one who lacks most: time for each of
/// them to have said whom it does not reach.
pub const CUT_OFF_MS: u64 = 3_000;
/// Beats of which it is known when they were sent, until they come back. Older ones say nothing, because the node is unheard long before.
pub const BEATS_KEPT_MAX: usize = 8;
/// Changes of the map that wait at one node: each range can be marked and given on, each other node can die, and operators have some.
pub const MAP_CHANGES_MAX: usize = 256;
/// Longest frame between two nodes: a message of the longest packet, with its topic and properties written apart.
pub const LINK_FRAME_MAX_BYTES: usize = PACKET_SIZE_MAX_BYTES as usize + 64 * 1024;
/// Longest frame of a peer that is not known yet: a HELLO with the longest name of a cluster has 313 bytes.
pub const LINK_HELLO_MAX_BYTES: usize = 512;
/// Longest word of one node to another about a client that it forwards: what certificates say. TLS lets none through with more than 64 KiB, and a subject
/// grows where its signs are escaped. A client of which there is more to say is refused.
pub const LINK_FORWARD_MAX_BYTES: usize = 128 * 1024;
/// Time from accept or dial until the peer of a link is known, in milliseconds: HELLO and a proof take the way there and back twice.
pub const LINK_HELLO_MS: u64 = 5_000;
/// Time that a node has to take a connection, in milliseconds: whoever is there takes it in the time of the way there and back, and a node that returns
/// is tried again soon.
pub const LINK_DIAL_MS: u64 = 1_000;
/// Connections to one shard's port for links whose peers are not known; the oldest makes way for one more. Each holds 512 bytes, and 19 nodes of 8 shards
/// that come to a node of one shard at once are 152.
pub const PEERS_UNKNOWN_MAX: usize = 256;
/// Bytes of one link that wait for its peer before QoS 0 is dropped and publishers of what has to wait are held: 64 ms of a network of 500 Mbit/s, and 300 MiB
/// where 8 shards talk to 9 nodes that stand still.
pub const LINK_BUFFER_MARK_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of frames that are sent and forgotten together: what one write to a socket takes.
pub const LINK_CHUNK_BYTES: usize = 64 * 1024;
/// Bytes of frames that one link is given a turn: their tags take a quarter of a millisecond.
pub const LINK_TURN_BYTES: usize = 128 * 1024;
/// Time between two PINGs on a link, in milliseconds.
pub const LINK_PING_MS: u64 = 500;
/// PINGs without an answer that end a connection: a node whose network is cut is noticed before its beats are missed ([`DEATH_MS`]).
pub const LINK_PINGS_MISSED: u32 = 3;
/// Pause before a link's connection is tried again, in milliseconds. It doubles each time ...
pub const LINK_REDIAL_MIN_MS: u64 = 50;
/// ... up to this one: a node that comes back is linked within a second.
pub const LINK_REDIAL_MAX_MS: u64 = 1_000;
/// Shortest shared secret of a cluster: whoever has seen a proof may try secrets at home, and 16 random bytes are out of reach.
pub const LINK_SECRET_MIN_BYTES: usize = 16;
/// Shared subscriptions of which one message between two nodes names the receiver as the one that delivers.
pub const LINK_GROUPS_MAX: usize = 4_096;
/// How long a client waits until somebody serves its range, in milliseconds, before it is refused: the death of a node takes 3 to 5 s, and a fleet that is refused
/// comes back at once.
pub const CLUSTER_WAIT_MS: u64 = 6_000;
/// Clients of one shard that wait so; one more is refused. Each has a socket, and those of a node with 50,000 clients on 8 shards that dies are 6,250 a shard
/// even where a single other node takes them all.
pub const RANGE_WAITERS_MAX: usize = 10_000;
/// Bytes of what these have said: 3 KiB each, where a CONNECT with a password has some hundred and may have 128 KiB.
pub const RANGE_WAITERS_MAX_BYTES: usize = 32 * 1024 * 1024;
/// Of these, how many one turn lets on: each costs some microseconds.
pub const RANGE_WAITERS_PER_TURN: usize = 64;
/// Client ids that are made up for a client without one until one is in a range of this node: with one range of 64 it takes 64, and more than this many
/// once in 10^28 times.
pub const ASSIGNED_IDS_TRIED_MAX: usize = 4_096;
/// Servers of the engine that can be named: three hold each log, and more than a handful are seen seldom.
pub const ENGINE_SERVERS_MAX: usize = 16;
/// Longest wait for the engine, in milliseconds: for a connection, and for an answer. A server that takes longer is given up, and another one asked, before
/// beats are missed ([`UNHEARD_MS`]).
pub const ENGINE_TIMEOUT_MS: u64 = 2_000;
/// Time between two pings of a server of the engine, in milliseconds: after three without an answer, 2.1 s, it is given up, before beats are missed
/// ([`UNHEARD_MS`]).
pub const ENGINE_PING_MS: u64 = 700;
/// Pause before an engine that could not be used is tried again, in milliseconds: one that starts is found within a second or two.
pub const ENGINE_RETRY_MS: u64 = 1_000;
/// Servers of the engine that are listened to when each is asked what it is: as many as may be named, four times over, since those of other clusters answer as well.
pub const ENGINE_ANSWERS_MAX: usize = 4 * ENGINE_SERVERS_MAX;
/// Longest answer of such a server: that of 2.15 has 1,400 bytes, and 80 more for each further server.
pub const ENGINE_ANSWER_MAX_BYTES: usize = 64 * 1024;
/// How long the watch of the control store may lack what the engine has acknowledged, in milliseconds, before it is read from the leader: well within the time in
/// which a beat has to come back ([`UNHEARD_MS`]).
pub const ENGINE_WATCH_LAG_MS: u64 = 300;
/// What one server of the engine has not answered for so long, in milliseconds, is said to another one as well: a beat whose server has gone still comes back
/// before the next one is due, and a log that 63 others are written beside takes 469 ms at most (p99).
pub const ENGINE_SAY_AGAIN_MS: u64 = 400;
/// Longest wait for an answer about documents and logs, in milliseconds, by both servers. As long as the time between two beats: one that is not stored by then
/// gives way to the next.
pub const ENGINE_ANSWER_MS: u64 = BEAT_INTERVAL_MS;
/// Messages of logs that are asked for and not judged yet, by a whole node: at 0.5 ms a message 1,000 are read in 16 ms, and of the longest ones they are
/// 16 MiB.
pub const ENGINE_READS_MAX: usize = 32;
/// What shards and links have told the node's thread and it has not heard: each of 19 peers says a handful of words when it comes. Whoever finds no room says it
/// again in its next turn.
pub const CLUSTER_WORDS_MAX: usize = 1_024;
/// Appends that the node's thread has not looked at yet: of the longest ones they are 8 MiB.
pub const CLUSTER_APPENDS_MAX: usize = 16;
/// What the node's thread has told and nobody has taken. Beyond that it does nothing more, its beats are missed, and others take over: a node that does not do
/// as it is told owns nothing.
pub const CLUSTER_NEWS_MAX: usize = 1_024;
/// Filters of which a peer that knows nothing yet is told in one turn, or that are forgotten of one that is gone: as many as any other page has.
pub const INTEREST_PAGE_FILTERS: usize = 256;
/// Longest retained message as the engine keeps it: that of the longest packet, with its topic and properties written apart.
pub const RETAINED_ENTRY_MAX_BYTES: usize = LINK_FRAME_MAX_BYTES;
/// Seconds after which the engine forgets a deletion: what was deleted is by then in no node's hands any more, and a node that comes back reads all anew.
pub const RETAINED_DELETED_TTL_S: u64 = 3_600;
/// Appends of retained messages and looks at them that are on their way to the engine at once: with 32 it takes some 2,000 a second, and more only wait there.
pub const RETAINED_APPENDS_IN_FLIGHT_MAX: usize = 32;
/// Time between two appends of one topic whose writers wait for nothing (QoS 0), in milliseconds: what is lost with all nodes at once is a second's worth.
pub const RETAINED_COALESCE_MS: u64 = 1_000;
/// Time for which a node keeps the latest write that it has seen on a topic, in milliseconds: an earlier one that overtakes it on the way to the engine is written over.
pub const RETAINED_KEPT_MS: u64 = 60_000;
/// Bytes of these writes; beyond it the oldest is forgotten early, and others still have it.
pub const RETAINED_KEPT_MAX_BYTES: usize = 64 * 1024 * 1024;
/// A write that has waited for so long, in milliseconds, is compared with what the engine has before it is stored: it can overtake nothing that others
/// have forgotten ([`RETAINED_KEPT_MS`]), however late it arrives.
pub const RETAINED_LATE_MS: u64 = 10_000;
/// Time after which a write that came by a link, and that the engine does not show, is stored by who has got it, in milliseconds: a node that lives has stored it by then,
/// one that does not is dead.
pub const RETAINED_ORPHAN_MS: u64 = 5_000;
/// Delay with which shards are told of a linked node's write, in milliseconds: it comes by the link, with its delivery, and is to be seen once.
pub const RETAINED_LINKED_MS: u64 = 1_000;
/// Writes that wait for that; beyond it the oldest is told early, and a subscriber may be shown it as retained instead of live.
pub const RETAINED_LATE_WRITES_MAX: usize = 10_000;
/// Topics with writes that the engine has not; beyond it publishers of retained messages are held until half of them are stored: five seconds' worth.
pub const RETAINED_WAITING_MAX: usize = 10_000;
