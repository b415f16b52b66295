//! The sockets that a start listens on.
//!
//! Always holds: an address that another process uses is refused before anything else has happened.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::accounts;
use super::run_error::RunError;
use crate::config::unix::UnixSocket;
use crate::config::{ListenAddress, Listener};
use crate::conn::ListenerLayers;
use crate::limits;
use crate::net::{ListenOn, Listening, open_socket};
use crate::ring::{SharedUnixListener, UnixAccess};

/// Every shard's listener shares its address with the others (`SO_REUSEPORT`), and would share it with another broker of
/// the same user as well. So one socket that does not share is bound first.
fn check_free(address: SocketAddr, has_datagrams: bool) -> Result<(), RunError> {
    let bind = || if has_datagrams { UdpSocket::bind(address).map(drop) } else { TcpListener::bind(address).map(drop) };
    when_released(
        || match bind() {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(RunError::AddressInUse(address)),
            Err(error) => Err(RunError::Listen(address, error)),
        },
        |error| matches!(error, RunError::AddressInUse(_)),
    )
}

/// How long an address may be in use by a broker that was killed. The kernel ends its rings, and the sockets in them, after the process.
const RELEASE_MAX: Duration = Duration::from_secs(2);

/// Tries again while something is in use that may be released in a moment.
fn when_released<T>(
    mut attempt: impl FnMut() -> Result<T, RunError>,
    is_in_use: impl Fn(&RunError) -> bool,
) -> Result<T, RunError> {
    let deadline = Instant::now() + RELEASE_MAX;
    loop {
        match attempt() {
            Err(error) if is_in_use(&error) && Instant::now() < deadline => thread::sleep(Duration::from_millis(5)),
            done => return done,
        }
    }
}

/// Where a listener of the configuration is: free to listen on, and bound where the shards share it.
pub(super) fn place_of(listener: &Listener) -> Result<ListenOn, RunError> {
    Ok(match &listener.address {
        ListenAddress::Ip(address) => {
            check_free(*address, listener.settings.kind.has_datagrams())?;
            ListenOn::Ip(*address)
        }
        ListenAddress::Unix(socket) => ListenOn::Unix(bind_unix(socket)?),
    })
}

/// What a listener of the configuration is to the shards.
pub(super) fn listening_of(listener: &Listener, on: ListenOn, layers: ListenerLayers) -> Listening {
    let settings = accounts::with_user_names(&listener.settings);
    Listening { on, settings, connections: Arc::default(), layers }
}

/// Where a listener is that is added while the broker runs, and a socket for each of so many shards, unless they share one. `is_ours`: the
/// broker itself has the port at present.
pub(super) fn bind_for_shards(
    listener: &Listener,
    shards: usize,
    is_ours: bool,
) -> Result<(ListenOn, Vec<OwnedFd>), RunError> {
    let ListenAddress::Ip(address) = listener.address else { return Ok((place_of(listener)?, Vec::new())) };
    if !is_ours {
        check_free(address, listener.settings.kind.has_datagrams())?;
    }
    let (first, address) = open_socket(address, &listener.settings)?;
    let mut sockets = vec![first];
    while sockets.len() < shards {
        sockets.push(open_socket(address, &listener.settings)?.0);
    }
    Ok((ListenOn::Ip(address), sockets))
}

fn bind_unix(socket: &UnixSocket) -> Result<SharedUnixListener, RunError> {
    let access = accounts::access(socket).map_err(RunError::Account)?;
    bind_at(&socket.path, access)
}

/// One that belonged to a broker that has just been killed is waited for.
fn bind_at(path: &Path, access: UnixAccess) -> Result<SharedUnixListener, RunError> {
    when_released(
        || {
            let bound = SharedUnixListener::bind(path, access, limits::LISTEN_BACKLOG);
            bound.map_err(|error| match error.errno() {
                libc::EADDRINUSE => RunError::PathInUse(path.to_owned()),
                libc::EPERM if access.user_id.is_some() || access.group_id.is_some() => {
                    RunError::NotGiven(path.to_owned())
                }
                _ => RunError::Ring(error),
            })
        },
        |error| matches!(error, RunError::PathInUse(_)),
    )
}

/// A socket for the admin server. It is bound before anything else has happened, so that one that is in use changes nothing.
pub(super) fn listen_for_admin(address: SocketAddr) -> Result<TcpListener, RunError> {
    TcpListener::bind(address).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => RunError::AdminAddressInUse(address),
        _ => RunError::Listen(address, error),
    })
}

/// The same at a path, for root and this process's user alone.
pub(super) fn listen_for_admin_at(path: &Path) -> Result<SharedUnixListener, RunError> {
    let access = UnixAccess { mode: Some(0o600), ..UnixAccess::default() };
    bind_at(path, access)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::{Plane, PlaneConfig};

    #[test]
    fn an_address_that_somebody_shares_is_in_use_all_the_same() {
        let mut plane = Plane::new(PlaneConfig::default()).unwrap();
        let config = crate::ring::ListenConfig::new(([127, 0, 0, 1], 0).into());
        let (_, address) = plane.listen(&config).unwrap();
        assert!(matches!(check_free(address, false), Err(RunError::AddressInUse(at)) if at == address));
    }

    #[test]
    fn an_address_that_a_killed_broker_still_has_for_a_moment_is_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::scope(|scope| {
            let checked = scope.spawn(|| check_free(address, false));
            thread::sleep(Duration::from_millis(200));
            drop(listener);
            assert!(checked.join().unwrap().is_ok());
        });
    }
}
