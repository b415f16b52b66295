//! What a listener is to an edge: where, what holds for those who come by it, and how that may change.
//!
//! Always holds: a listener has the same index on every shard.

use std::fmt;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use crate::conn::ListenerLayers;
use crate::ids::{DatagramSocketId, ListenerId};
use crate::limits;
use crate::ring::{DatagramConfig, ListenConfig, SharedUnixListener, TcpKeepAlive, UnixPlace};
use crate::settings::ListenerSettings;

/// Where to listen.
#[derive(Clone, Debug)]
pub enum ListenOn {
    /// At an address; every shard has a listener of its own on it.
    Ip(SocketAddr),
    /// At a path, which all shards share.
    Unix(SharedUnixListener),
}

impl fmt::Display for ListenOn {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(out),
            Self::Unix(socket) => socket.path().display().fmt(out),
        }
    }
}

/// A listener of all shards.
#[derive(Clone, Debug)]
pub struct Listening {
    /// Where it listens.
    pub on: ListenOn,
    /// What holds for the connections that come by it.
    pub settings: Arc<ListenerSettings>,
    /// Those of them that there are at present, shared by all edges.
    pub connections: Arc<AtomicU32>,
    /// What their bytes pass.
    pub layers: ListenerLayers,
}

fn tcp_keep_alive(settings: &ListenerSettings) -> Option<TcpKeepAlive> {
    let &ListenerSettings { tcp_keepalive_idle_s, tcp_keepalive_interval_s, tcp_keepalive_count, .. } = settings;
    (tcp_keepalive_idle_s > 0).then(|| TcpKeepAlive {
        idle_s: tcp_keepalive_idle_s.into(),
        interval_s: tcp_keepalive_interval_s.into(),
        count: tcp_keepalive_count.into(),
    })
}

/// How a listener with these settings listens at an address.
pub fn tcp_config(address: SocketAddr, settings: &ListenerSettings) -> ListenConfig {
    ListenConfig {
        // In MQTT, in TLS and in HTTP the client speaks first, and in the PROXY protocol the proxy.
        defer_accept_s: Some(limits::DEFER_ACCEPT_S),
        keep_alive: tcp_keep_alive(settings),
        user_timeout_ms: user_timeout_ms(settings),
        ..ListenConfig::new(address)
    }
}

fn user_timeout_ms(settings: &ListenerSettings) -> Option<u32> {
    (settings.tcp_user_timeout_s > 0).then(|| settings.tcp_user_timeout_s * 1_000)
}

/// How a listener with these settings receives datagrams at an address.
pub(super) fn datagram_config(address: SocketAddr) -> DatagramConfig {
    let bytes = Some(limits::DATAGRAM_SOCKET_BYTES);
    DatagramConfig { send_buffer_bytes: bytes, receive_buffer_bytes: bytes, ..DatagramConfig::new(address) }
}

/// By which of the plane's sockets a listener has its peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ListenerSocket {
    /// It accepts connections.
    Accepts(ListenerId),
    /// Whoever comes has no connection of the kernel's.
    Receives(DatagramSocketId),
}

/// Where a listener accepts, or does again once it is started.
#[derive(Debug)]
pub(super) enum ListenerPlace {
    /// With its port.
    Ip(SocketAddr),
    Unix(UnixPlace),
}

/// A listener of this shard.
#[derive(Debug)]
pub(super) struct OpenListener {
    pub(super) socket: ListenerSocket,
    pub(super) place: ListenerPlace,
    pub(super) settings: Arc<ListenerSettings>,
    pub(super) is_open: bool,
}

/// What becomes of one listener.
#[derive(Debug)]
pub enum ListenerChange {
    /// Accept by one more.
    Open {
        /// The lowest that is free, below [`limits::LISTENER_INDEXES_MAX`].
        index: u8,
        /// What it is to the shards.
        listening: Listening,
        /// This shard's socket, unless all of them share one.
        socket: Option<OwnedFd>,
    },
    /// Connections that come from now on have other settings.
    Configure {
        /// Whose.
        index: u8,
        /// All of them.
        settings: Arc<ListenerSettings>,
    },
    /// Accept nobody for now, as an operator has it.
    Stop {
        /// Whose.
        index: u8,
    },
    /// Accept no more. Who came by it stays.
    Close {
        /// Which. It is free as soon as no connection is left.
        index: u8,
    },
}

/// What connections of a listener begin with: what it says, and under test what the test says.
pub(super) fn layers_of(layers: ListenerLayers) -> ListenerLayers {
    #[cfg(feature = "test-layers")]
    match std::env::var("DUNLIN_TEST_LAYER").as_deref() {
        Ok("inverting") => return ListenerLayers::Inverting,
        Ok("inverting-twice") => return ListenerLayers::InvertingTwice,
        _ => {}
    }
    layers
}

/// Listeners speak WebSocket where a test says so, whatever their kind.
pub(super) fn settings_under_test(settings: Arc<ListenerSettings>) -> Arc<ListenerSettings> {
    #[cfg(feature = "test-layers")]
    if std::env::var_os("DUNLIN_TEST_LAYER").is_some_and(|layer| layer == "websocket") {
        let kind = crate::settings::ListenerKind::WebSocket;
        return Arc::new(ListenerSettings { kind, ..(*settings).clone() });
    }
    settings
}
