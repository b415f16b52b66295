//! Ports for programs that must be told one: brokers of others, scripts, whatever is started twice at one place.
//!
//! A port that the system chooses and that is let go again may be given to the next connection that any client opens. These
//! lie below what it gives to clients (`net.ipv4.ip_local_port_range` begins at 32,768 unless somebody changed it), and each
//! belongs to one [`Port`] of one test process: it holds the UDP port of that number meanwhile. Whoever can bind to port 0 and
//! say what it became needs none of this.

use std::fmt::{self, Display, Formatter};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::ops::Range;

const PORTS: Range<u16> = 20_000..32_000;

/// A TCP port of 127.0.0.1 that is the holder's until it is dropped.
pub(crate) struct Port {
    number: u16,
    _claim: UdpSocket,
}

impl Port {
    /// One that nobody has. Processes begin to look at different ones.
    pub(crate) fn claim() -> Self {
        let first = PORTS.start + (std::process::id() % u32::from(PORTS.end - PORTS.start)) as u16;
        let free = (first..PORTS.end).chain(PORTS.start..first).find_map(|number| {
            let claim = UdpSocket::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
            TcpListener::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
            Some(Self { number, _claim: claim })
        });
        free.expect("a port is free")
    }

    /// `127.0.0.1` and the port.
    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.number).into()
    }
}

/// The number.
impl Display for Port {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.number.fmt(f)
    }
}
