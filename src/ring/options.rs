//! Options of sockets, set before a socket is used. Sockets that are accepted have those of their listener.

use super::error::{RingError, error};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, sockopt};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

/// Probes by which TCP finds out that a silent peer is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpKeepAlive {
    /// Silence before the first probe, in seconds.
    pub idle_s: u32,
    /// From one probe to the next, in seconds.
    pub interval_s: u32,
    /// Probes without an answer after which the connection is broken.
    pub count: u32,
}

/// Fixed sizes of the kernel's buffers of a socket; `None` leaves one to the kernel's own tuning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SocketBuffers {
    pub(super) send_bytes: Option<u32>,
    pub(super) receive_bytes: Option<u32>,
}

/// A socket for addresses like `address`.
pub(super) fn open_ip(kind: SocketType, address: SocketAddr) -> Result<OwnedFd, RingError> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    socket_with(family, kind, SocketFlags::CLOEXEC, None).map_err(error("make a socket"))
}

/// Binds to `address`, which the sockets of other shards may share.
pub(super) fn bind_shared(socket: &OwnedFd, address: SocketAddr) -> Result<(), RingError> {
    sockopt::set_socket_reuseaddr(socket, true).map_err(error("let an address be used again"))?;
    sockopt::set_socket_reuseport(socket, true).map_err(error("let the shards share an address"))?;
    if address.is_ipv6() {
        // Only the unspecified address may serve IPv4 too; elsewhere the option means nothing.
        let only_v6 = !address.ip().is_unspecified();
        sockopt::set_ipv6_v6only(socket, only_v6).map_err(error("say whether IPv4 is served too"))?;
    }
    rustix::net::bind(socket, &address).map_err(|errno| RingError::at("bind", address, errno))
}

pub(super) fn set_buffers(socket: &OwnedFd, buffers: SocketBuffers) -> Result<(), RingError> {
    if let Some(bytes) = buffers.send_bytes {
        sockopt::set_socket_send_buffer_size(socket, bytes as usize).map_err(error("set the size of a send buffer"))?;
    }
    if let Some(bytes) = buffers.receive_bytes {
        sockopt::set_socket_recv_buffer_size(socket, bytes as usize)
            .map_err(error("set the size of a receive buffer"))?;
    }
    Ok(())
}

pub(super) fn set_keep_alive(socket: impl AsFd + Copy, keep_alive: TcpKeepAlive) -> Result<(), RingError> {
    let TcpKeepAlive { idle_s, interval_s, count } = keep_alive;
    sockopt::set_socket_keepalive(socket, true)
        .and_then(|()| sockopt::set_tcp_keepidle(socket, Duration::from_secs(idle_s.into())))
        .and_then(|()| sockopt::set_tcp_keepintvl(socket, Duration::from_secs(interval_s.into())))
        .and_then(|()| sockopt::set_tcp_keepcnt(socket, count))
        .map_err(error("set TCP keep-alive"))
}

/// Options that rustix does not know.
#[derive(Clone, Copy)]
pub(super) enum IntegerOption {
    /// Seconds that a listener keeps a silent peer to itself.
    TcpDeferAccept,
    /// Chooses a port when the peer is known: then one port serves a connection to each peer.
    BindAddressNoPort,
}

pub(super) fn set_integer(socket: &OwnedFd, option: IntegerOption, value: i32) -> Result<(), RingError> {
    let (level, name) = match option {
        IntegerOption::TcpDeferAccept => (libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT),
        IntegerOption::BindAddressNoPort => (libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT),
    };
    let bytes = size_of::<i32>() as libc::socklen_t;
    // SAFETY: the value is a local integer of exactly the length that is passed.
    let result = unsafe { libc::setsockopt(socket.as_fd().as_raw_fd(), level, name, (&raw const value).cast(), bytes) };
    if result == 0 { Ok(()) } else { Err(error("set an option of a socket")(io::Error::last_os_error())) }
}
