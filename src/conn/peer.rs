//! A peer's address in 24 bytes, where [`PeerAddress`] takes 32: an idle connection keeps one for the log.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::fmt;

use crate::ids::{PeerAddress, UnixPeer};
use crate::telemetry::CloseReason;

/// Who is at the other end of a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Peer {
    /// Nobody knows: the connection has gone.
    #[default]
    Unknown,
    /// Over IPv4.
    V4(Ipv4Addr, u16),
    /// Over IPv6, with the scope of a link-local address.
    V6(Ipv6Addr, u16, u32),
    /// A process of this machine.
    Unix(UnixPeer),
}

const _: () = assert!(size_of::<Peer>() == 24);

impl Peer {
    /// As others know it; `None` where nobody knows.
    pub fn address(self) -> Option<PeerAddress> {
        match self {
            Self::Unknown => None,
            Self::V4(ip, port) => Some(PeerAddress::Ip(SocketAddrV4::new(ip, port).into())),
            Self::V6(ip, port, scope) => Some(PeerAddress::Ip(SocketAddrV6::new(ip, port, 0, scope).into())),
            Self::Unix(peer) => Some(PeerAddress::Unix(peer)),
        }
    }

    /// The address, where it has one.
    pub const fn ip(self) -> Option<IpAddr> {
        match self {
            Self::V4(ip, _) => Some(IpAddr::V4(ip)),
            Self::V6(ip, ..) => Some(IpAddr::V6(ip)),
            Self::Unix(_) | Self::Unknown => None,
        }
    }
}

/// A peer that was refused before CONNACK, for a line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedPeer {
    /// Who it is.
    pub peer: Peer,
    /// Why it was refused.
    pub reason: CloseReason,
    /// The same in words.
    pub text: &'static str,
    /// The level of the protocol that its CONNECT named, where that was the reason.
    pub level: Option<u8>,
    /// The client id of its CONNECT, as far as that could be read.
    pub client_id: Option<Box<str>>,
}

impl From<PeerAddress> for Peer {
    fn from(address: PeerAddress) -> Self {
        match address {
            PeerAddress::Ip(SocketAddr::V4(address)) => Self::V4(*address.ip(), address.port()),
            PeerAddress::Ip(SocketAddr::V6(address)) => Self::V6(*address.ip(), address.port(), address.scope_id()),
            PeerAddress::Unix(peer) => Self::Unix(peer),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address() {
            Some(address) => address.fmt(out),
            None => out.write_str("unknown"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_shown_as_its_address_is() {
        for text in ["192.0.2.7:1883", "[2001:db8::1]:65535", "[fe80::1%3]:1"] {
            let address = PeerAddress::Ip(text.parse().unwrap());
            assert_eq!(Peer::from(address).to_string(), address.to_string());
        }
        let address = PeerAddress::Unix(UnixPeer { process_id: None, user_id: 7, group_id: 8 });
        assert_eq!(Peer::from(address).to_string(), address.to_string());
        assert_eq!(Peer::default().to_string(), "unknown");
    }
}
