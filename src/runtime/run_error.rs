//! Why the broker does not run, in words that say how to mend it.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::disk::{DirectoryError, SurveyError};
use super::kept_bans::KeptBansError;
use super::tls::TlsProblem;
use crate::config::Exit;
use crate::ring::RingError;
use crate::ring::probe::Shortfall;

/// Why the broker does not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The machine lacks something.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Environment(Vec<Shortfall>),
    /// A listener's certificates, keys or lists are not usable.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Tls(Vec<TlsProblem>),
    /// Somebody else listens there.
    #[error("{0} is in use by another process; stop that, or choose another with --bind or --port")]
    AddressInUse(SocketAddr),
    /// Somebody else listens where the admin server is to.
    #[error(
        "{0} is in use by another process; stop that, choose another with --admin-port, or do without: --admin-port off"
    )]
    AdminAddressInUse(SocketAddr),
    /// Somebody else listens at a path.
    #[error("{} is in use by another process; stop that, or choose another path with --unix", .0.display())]
    PathInUse(PathBuf),
    /// The data directory cannot be used.
    #[error(transparent)]
    Store(#[from] SurveyError),
    /// Nobody knows whom operators have banned.
    #[error(transparent)]
    Bans(#[from] KeptBansError),
    /// A user or a group that is to own a socket is not there.
    #[error("{0}")]
    Account(String),
    /// A socket cannot be given to the user or group that it is to belong to.
    #[error(
        "{} cannot be given to the owner that unix_owner names: the broker's account has to be a member of the group (`usermod -aG GROUP \
         ACCOUNT`, then a restart), and only root gives files to other accounts", .0.display()
    )]
    NotGiven(PathBuf),
    /// An address cannot be listened on.
    #[error("cannot listen on {0}: {reason}", reason = why_not(.0, .1))]
    Listen(SocketAddr, io::Error),
    /// The system refused something at start.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// A thread could not be started.
    #[error("cannot start {0}: {1}")]
    Thread(String, String),
}

impl RunError {
    /// The process's exit status.
    pub const fn exit(&self) -> Exit {
        match self {
            Self::AddressInUse(_)
            | Self::AdminAddressInUse(_)
            | Self::PathInUse(_)
            | Self::Store(SurveyError::Directory(DirectoryError::InUse(_))) => Exit::AddressInUse,
            Self::Tls(_) => Exit::Config,
            _ => Exit::Environment,
        }
    }
}

/// Why an address cannot be listened on, and what to do about it.
fn why_not(address: &SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied if address.port() < 1024 => format!(
            "{error}; ports below 1024 need the capability CAP_NET_BIND_SERVICE: in a systemd unit \
             AmbientCapabilities=CAP_NET_BIND_SERVICE, by hand `setcap cap_net_bind_service=+ep` on the binary; or choose \
             another port with --port"
        ),
        io::ErrorKind::AddrNotAvailable => format!(
            "{} is no address of this machine; `ip address` lists those that are, and {} is all of them",
            address.ip(),
            if address.is_ipv4() { "0.0.0.0" } else { "::" }
        ),
        _ if error.raw_os_error() == Some(libc::EAFNOSUPPORT) && address.is_ipv6() => {
            format!("{error}; this machine has no IPv6: --bind 0.0.0.0 is all of IPv4")
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_keeps_it_from_listening_comes_with_a_remedy() {
        let table = [
            ("192.0.2.1:1883", libc::EADDRNOTAVAIL, "192.0.2.1 is no address of this machine; `ip address` lists"),
            ("[2001:db8::1]:1883", libc::EADDRNOTAVAIL, "and :: is all of them"),
            ("0.0.0.0:80", libc::EACCES, "AmbientCapabilities=CAP_NET_BIND_SERVICE"),
            ("[::1]:1883", libc::EAFNOSUPPORT, "this machine has no IPv6: --bind 0.0.0.0"),
        ];
        for (address, number, remedy) in table {
            let error = RunError::Listen(address.parse().unwrap(), io::Error::from_raw_os_error(number)).to_string();
            assert!(error.starts_with(&format!("cannot listen on {address}: ")) && error.contains(remedy), "{error}");
        }
        let given = RunError::NotGiven("/run/x.sock".into()).to_string();
        assert!(
            given.starts_with("/run/x.sock cannot be given") && given.contains("usermod -aG GROUP ACCOUNT"),
            "{given}"
        );
        let other = RunError::Listen("0.0.0.0:1883".parse().unwrap(), io::Error::from_raw_os_error(libc::EACCES));
        assert!(!other.to_string().contains("1024"), "{other}");
    }
}
