//! Where a request comes from.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::auth::admin_users::{AdminIdentity, Role};

/// What the server knows of a connection, and each of its requests carries.
#[derive(Clone, Debug)]
pub(super) struct RequestOrigin {
    pub(super) peer: AdminPeer,
    /// Nobody else can read it: it came in TLS.
    pub(super) is_secret: bool,
    /// It came in plain HTTP to a listener that this machine alone reaches.
    pub(super) is_plain_loopback: bool,
}

/// The other end of a connection to the admin server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AdminPeer {
    /// By TCP.
    Network(SocketAddr),
    /// A process of this machine, by the socket's path, and whose it is.
    Local {
        /// As the system says it.
        user_id: u32,
        /// It may do all without a password: root, or the user that the broker runs as.
        is_trusted: bool,
    },
}

impl AdminPeer {
    /// What wrong passwords are counted by.
    pub(super) const fn ip(self) -> IpAddr {
        match self {
            Self::Network(address) => address.ip(),
            Self::Local { .. } => IpAddr::V4(Ipv4Addr::LOCALHOST),
        }
    }

    /// Who it is without having shown anything.
    pub(super) fn identity(self) -> Option<AdminIdentity> {
        match self {
            Self::Local { user_id, is_trusted: true } => {
                Some(AdminIdentity { name: format!("uid-{user_id}").into(), role: Role::Operator })
            }
            _ => None,
        }
    }
}

impl fmt::Display for AdminPeer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(address) => address.fmt(out),
            Self::Local { user_id, .. } => write!(out, "unix:uid={user_id}"),
        }
    }
}
