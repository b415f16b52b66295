//! Listening over TCP: plain descriptors, set up with plain system calls, at start only.

use super::error::{RingError, error};
use super::options::{
    IntegerOption, SocketBuffers, TcpKeepAlive, bind_shared, open_ip, set_buffers, set_integer, set_keep_alive,
};
use rustix::net::{SocketType, sockopt};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;

/// How to listen over TCP.
#[derive(Clone, Copy, Debug)]
pub struct ListenConfig {
    /// Port 0 lets the system choose; the address that it chose comes back, for the other shards to share.
    pub address: SocketAddr,
    /// Connections the kernel keeps for us; `limits::LISTEN_BACKLOG`.
    pub backlog: i32,
    /// Tells of a connection only when its peer has said something, or after about so many seconds of silence: for
    /// protocols in which the client speaks first. The first receive then finds bytes and need not wait for them.
    pub defer_accept_s: Option<u16>,
    /// Fixed size of the kernel's send buffer of each connection; `None` leaves it to the kernel's own tuning.
    pub send_buffer_bytes: Option<u32>,
    /// Fixed size of the kernel's receive buffer of each connection; `None` leaves it to the kernel's own tuning.
    pub receive_buffer_bytes: Option<u32>,
    /// Probes on each connection that is silent; `None` sends none.
    pub keep_alive: Option<TcpKeepAlive>,
    /// A connection breaks when what was sent is not acknowledged for so long; `None` leaves it to the kernel.
    pub user_timeout_ms: Option<u32>,
}

impl ListenConfig {
    /// Listens at `address` with the kernel's own buffer sizes and timeouts.
    pub const fn new(address: SocketAddr) -> Self {
        Self {
            address,
            backlog: crate::limits::LISTEN_BACKLOG,
            defer_accept_s: None,
            send_buffer_bytes: None,
            receive_buffer_bytes: None,
            keep_alive: None,
            user_timeout_ms: None,
        }
    }

    /// Binds and listens; tells where. `SO_REUSEPORT` lets every shard have a listener of its own at the same address. Connections
    /// inherit every option that is set here.
    ///
    /// # Errors
    /// The address is another's or none of this machine, or the system takes an option not.
    pub fn open(&self) -> Result<(TcpListener, SocketAddr), RingError> {
        let socket = open_ip(SocketType::STREAM, self.address)?;
        sockopt::set_tcp_nodelay(&socket, true).map_err(error("have small packets sent at once"))?;
        if let Some(seconds) = self.defer_accept_s {
            set_integer(&socket, IntegerOption::TcpDeferAccept, seconds.into())?;
        }
        self.set_options(&socket)?;
        let buffers = SocketBuffers { send_bytes: self.send_buffer_bytes, receive_bytes: self.receive_buffer_bytes };
        set_buffers(&socket, buffers)?;
        bind_shared(&socket, self.address)?;
        rustix::net::listen(&socket, self.backlog).map_err(error("listen"))?;
        let socket = TcpListener::from(socket);
        let address = socket.local_addr().map_err(error("read the address of a listener"))?;
        Ok((socket, address))
    }

    /// How connections that come from now on are probed, and when they break.
    pub(super) fn set_options(&self, socket: impl AsFd + Copy) -> Result<(), RingError> {
        match self.keep_alive {
            Some(keep_alive) => set_keep_alive(socket, keep_alive)?,
            None => sockopt::set_socket_keepalive(socket, false).map_err(error("turn TCP keep-alive off"))?,
        }
        let timeout_ms = self.user_timeout_ms.unwrap_or(0);
        sockopt::set_tcp_user_timeout(socket, timeout_ms).map_err(error("set TCP_USER_TIMEOUT"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_listeners_share_a_port_that_the_system_chose() {
        let (_first, address) = ListenConfig::new("127.0.0.1:0".parse().unwrap()).open().unwrap();
        assert_ne!(address.port(), 0);
        let (_second, again) = ListenConfig::new(address).open().unwrap();
        assert_eq!(again, address);
        let (_v6, address) = ListenConfig::new("[::1]:0".parse().unwrap()).open().unwrap();
        assert!(address.is_ipv6());
    }

    #[test]
    fn an_address_that_is_not_ours_is_named_in_the_error() {
        let error = ListenConfig::new("192.0.2.1:1883".parse().unwrap()).open().unwrap_err();
        assert!(error.to_string().contains("192.0.2.1:1883"), "{error}");
    }
}
