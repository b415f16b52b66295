//! Listening sockets: plain descriptors, set up with plain system calls, at start only.

use super::{RingError, error};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// How to listen.
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
}

impl ListenConfig {
    /// Listens at `address` with the kernel's own buffer sizes.
    pub const fn new(address: SocketAddr) -> Self {
        Self {
            address,
            backlog: crate::limits::LISTEN_BACKLOG,
            defer_accept_s: None,
            send_buffer_bytes: None,
            receive_buffer_bytes: None,
        }
    }

    /// Binds and listens. `SO_REUSEPORT` lets every shard have a listener of its own at the same address; the options
    /// set here are inherited by the connections.
    pub(super) fn open(&self) -> Result<TcpListener, RingError> {
        let family = if self.address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        // SAFETY: no pointers are passed; the descriptor is checked before it is owned.
        let fd = unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(error("make a listening socket")(io::Error::last_os_error()));
        }
        // SAFETY: the descriptor was just made and nobody else owns it.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        set_option(&socket, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
        set_option(&socket, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
        set_option(&socket, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
        if let Some(seconds) = self.defer_accept_s {
            set_option(&socket, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, seconds.into())?;
        }
        if self.address.is_ipv6() {
            // Only the unspecified address may serve IPv4 too; elsewhere the option means nothing.
            set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, i32::from(!self.address.ip().is_unspecified()))?;
        }
        for (name, bytes) in [(libc::SO_SNDBUF, self.send_buffer_bytes), (libc::SO_RCVBUF, self.receive_buffer_bytes)] {
            if let Some(bytes) = bytes {
                set_option(&socket, libc::SOL_SOCKET, name, i32::try_from(bytes).unwrap_or(i32::MAX))?;
            }
        }
        bind(&socket, self.address)?;
        // SAFETY: no pointers are passed, and the descriptor is ours.
        if unsafe { libc::listen(socket.as_raw_fd(), self.backlog) } != 0 {
            return Err(error("listen")(io::Error::last_os_error()));
        }
        Ok(TcpListener::from(socket))
    }
}

pub(super) fn set_option(socket: &OwnedFd, level: i32, name: i32, value: i32) -> Result<(), RingError> {
    // SAFETY: the option value is a local int of exactly the length that is passed.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(error("set an option of a socket")(io::Error::last_os_error())) }
}

pub(super) fn bind(socket: &OwnedFd, address: SocketAddr) -> Result<(), RingError> {
    let fd = socket.as_raw_fd();
    let result = match address {
        SocketAddr::V4(v4) => {
            let name = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                sin_zero: [0; 8],
            };
            // SAFETY: `name` is a whole sockaddr_in and its length is passed.
            unsafe { libc::bind(fd, (&raw const name).cast(), size_of_val(&name) as libc::socklen_t) }
        }
        SocketAddr::V6(v6) => {
            let name = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            };
            // SAFETY: `name` is a whole sockaddr_in6 and its length is passed.
            unsafe { libc::bind(fd, (&raw const name).cast(), size_of_val(&name) as libc::socklen_t) }
        }
    };
    if result == 0 {
        Ok(())
    } else {
        Err(RingError { doing: "bind", at: Some(address), source: io::Error::last_os_error() })
    }
}

/// Reads a `sockaddr` as the kernel wrote it, `None` for a family that we do not speak.
pub(super) fn parse_address(bytes: &[u8]) -> Option<SocketAddr> {
    let family = u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?);
    let port = u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?);
    if i32::from(family) == libc::AF_INET {
        let ip: [u8; 4] = bytes.get(4..8)?.try_into().ok()?;
        return Some(SocketAddr::from((ip, port)));
    }
    if i32::from(family) != libc::AF_INET6 {
        return None;
    }
    let ip = std::net::Ipv6Addr::from(<[u8; 16]>::try_from(bytes.get(8..24)?).ok()?);
    let scope = u32::from_ne_bytes(bytes.get(24..28)?.try_into().ok()?);
    // An IPv4 peer of a dual-stack listener is shown, and matched by rules, as the IPv4 address that it is.
    Some(match ip.to_ipv4_mapped() {
        Some(v4) => SocketAddr::from((v4, port)),
        None => std::net::SocketAddrV6::new(ip, port, 0, scope).into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_the_kernel_writes_them() {
        let v4 = [2, 0, 0x07, 0x5b, 10, 1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(parse_address(&v4), Some("10.1.2.3:1883".parse().unwrap()));
        let mut v6 = [0; 28];
        v6[..4].copy_from_slice(&[10, 0, 0x07, 0x5b]);
        v6[8..24].copy_from_slice(&"2001:db8::1".parse::<std::net::Ipv6Addr>().unwrap().octets());
        assert_eq!(parse_address(&v6), Some("[2001:db8::1]:1883".parse().unwrap()));
        v6[8..24].copy_from_slice(&"::ffff:10.1.2.3".parse::<std::net::Ipv6Addr>().unwrap().octets());
        assert_eq!(parse_address(&v6), Some("10.1.2.3:1883".parse().unwrap()));
        for short in [&v6[..27], &v4[..7], &v4[..1], &[1, 0, 0, 0]] {
            assert_eq!(parse_address(short), None, "{short:?}");
        }
    }

    #[test]
    fn two_listeners_share_a_port_that_the_system_chose() {
        let first = ListenConfig::new("127.0.0.1:0".parse().unwrap()).open().unwrap();
        let address = first.local_addr().unwrap();
        assert_ne!(address.port(), 0);
        let second = ListenConfig::new(address).open().unwrap();
        assert_eq!(second.local_addr().unwrap(), address);
        let v6 = ListenConfig::new("[::1]:0".parse().unwrap()).open().unwrap();
        assert!(v6.local_addr().unwrap().is_ipv6());
    }

    #[test]
    fn an_address_that_is_not_ours_is_named_in_the_error() {
        let error = ListenConfig::new("192.0.2.1:1883".parse().unwrap()).open().unwrap_err();
        assert!(error.to_string().contains("192.0.2.1:1883"), "{error}");
    }
}
