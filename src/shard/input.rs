//! Everything that can happen to a shard.

use core::net::IpAddr;
use std::sync::Arc;

use crate::auth::{AskId, PeerIdentity, Verdict};
use crate::codec::{Connect, ConnectWill, DecodeError, Packet};
use crate::ids::{ConnectionId, MessageId, Qos, SessionId, ShardId};
use crate::session::Message;
use crate::store::{LogRoom, Position};
use crate::telemetry::{CloseReason, TransportCounters};

use super::command::{Command, EdgeFacts, RequestId};
use super::mesh::MeshMessage;
use super::restored_log::RestoreStep;
use crate::settings::ListenerSettings;

/// What the edge knows about a connection when its CONNECT arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectInfo<'a> {
    /// The client sent no client id and the edge has made one up, which CONNACK must tell [MQTT-3.2.2-16].
    pub assigned_client_id: bool,
    /// The index of the listener that it came by, the same on all shards.
    pub listener_index: u8,
    /// Where the client comes from, if that is an address.
    pub peer: Option<IpAddr>,
    /// What holds on that listener.
    pub listener: &'a Arc<ListenerSettings>,
    /// Who its peer has proved to be already.
    pub identity: Option<&'a Arc<PeerIdentity>>,
    /// What the user name of its CONNECT rests on.
    pub user_name: UserNameBasis,
}

/// What becomes of the will of a client that is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WillChange<'a> {
    /// There is none any more.
    Delete,
    /// It goes to another topic, with another QoS and RETAIN; its payload stays.
    Topic(&'a str, Qos, bool),
    /// It says something else.
    Payload(&'a [u8]),
    /// It is this one.
    Whole(ConnectWill<'a>),
}

/// What a user name rests on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UserNameBasis {
    /// The client says so, and a password may show that it is right.
    #[default]
    Claim,
    /// The system says so, or a certificate: whoever is called that comes in.
    Proof,
}

/// One input. The edge calls `Shard::handle` with each, in the order in which they happened.
#[derive(Debug)]
pub enum Input<'a> {
    /// A connection was handed to this shard, which owns its client id, with its CONNECT.
    Connect {
        /// The edge's name for it.
        connection: ConnectionId,
        /// The decoded packet. `client_id` is never empty.
        connect: &'a Connect<'a>,
        /// What the edge knows.
        info: ConnectInfo<'a>,
    },
    /// A packet after CONNECT. None comes, and no end of the connection that its peer chose, while the one before it is under way:
    /// [`Effects::holds_sender`](super::Effects::holds_sender).
    Packet {
        /// Where it came from.
        connection: ConnectionId,
        /// The decoded packet.
        packet: Packet<'a>,
    },
    /// A client whose protocol says more than MQTT changes its connection while it lasts. It has shown that it is there.
    Renew {
        /// Whose.
        connection: ConnectionId,
        /// Its keep alive from now on, if that changes; 0 is off.
        keep_alive_s: Option<u16>,
        /// It sleeps so long: what it may not ask for while it is awake.
        sleeps: bool,
        /// Its will from now on, if that changes.
        will: Option<WillChange<'a>>,
    },
    /// A packet that has come in part has grown as fast as a living client's does.
    Growing {
        /// Where it comes from.
        connection: ConnectionId,
    },
    /// Bytes that are no packet. The connection reads nothing more.
    BadPacket {
        /// Where they came from.
        connection: ConnectionId,
        /// What is wrong with them.
        error: DecodeError,
    },
    /// What a [`DiskRead`](super::DiskRead) has come to: the messages that it named, in its order; `None` for one that is lost.
    Bodies {
        /// Whose queue they are of.
        session: SessionId,
        /// With their ids.
        bodies: Vec<(MessageId, Option<Message>)>,
    },
    /// The socket is gone: end of file or an error.
    Closed {
        /// The connection that it carried.
        connection: ConnectionId,
    },
    /// Bytes that a layer below MQTT cannot open. Nothing more is heard, and MQTT has no word for it.
    Broken {
        /// Where they came from.
        connection: ConnectionId,
        /// For the counters.
        reason: CloseReason,
        /// For the log.
        text: &'static str,
    },
    /// What the socket did not take waits in the edge: so many bytes now.
    Blocked {
        /// Whose socket it is.
        connection: ConnectionId,
        /// Bytes that wait; 0 when the last of them has gone.
        bytes: u32,
    },
    /// A message from another shard, in the order in which that shard sent it.
    Mesh {
        /// The sender.
        from: ShardId,
        /// What it says.
        message: MeshMessage,
        /// The bytes of the batch that it came with.
        bytes: &'a [u8],
    },
    /// Every record up to here is on stable storage.
    Durable {
        /// The last durable record.
        position: Position,
    },
    /// Messages of its log are to be written down again, so that the file they are in can be used for something else.
    Copies {
        /// Encoded: they name themselves, and refer to nothing.
        records: &'a [u8],
        /// How many they are.
        count: u32,
    },
    /// What its log has room for has changed.
    Room {
        /// From now on.
        room: LogRoom,
    },
    /// Everything encoded so far has been given to the sockets; what they did not take came by [`Input::Blocked`], or
    /// will.
    Flushed,
    /// Time to go on with a message that has more subscribers than one turn serves, where [`Input::Tick`] has to wait:
    /// `Shard::delivers_to_many` said so.
    Deliver,
    /// Time has passed, or `Shard::has_work` said so.
    Tick {
        /// What has happened on the shard's sockets so far.
        transport: &'a TransportCounters,
    },
    /// Somebody who is no client asks for something.
    Command {
        /// Names the answer.
        request: RequestId,
        /// What is asked for.
        command: Command,
        /// What the edge knows of connections.
        edge: &'a dyn EdgeFacts,
    },
    /// Somebody answers a question of [`Effects::asks`](super::Effects::asks). A late answer changes nothing.
    Verdict {
        /// The question.
        ask: AskId,
        /// The answer.
        verdict: Verdict,
    },
    /// What was read back of a process before, a step at a time: before anything else but what
    /// other shards say, and what the log has room for.
    Restore(RestoreStep<'a>),
    /// The broker stops: tell every client.
    Shutdown,
}
