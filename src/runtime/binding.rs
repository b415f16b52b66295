//! The sockets that a start listens on.
//!
//! Always holds: an address that another process uses is refused before anything else has happened.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use super::accounts;
use super::run_error::RunError;
use crate::config::unix::UnixSocket;
use crate::config::{ListenAddress, Listener};
use crate::conn::ListenerLayers;
use crate::limits;
use crate::net::{ListenOn, Listening};
use crate::ring::SharedUnixListener;

/// Every shard's listener shares its address with the others (`SO_REUSEPORT`), and would share it with another broker of
/// the same user as well. So one socket that does not share is bound first.
fn check_free(address: SocketAddr) -> Result<(), RunError> {
    match TcpListener::bind(address) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(RunError::AddressInUse(address)),
        Err(error) => Err(RunError::Listen(address, error)),
    }
}

/// What a listener of the configuration is to the shards: free to listen on, and bound where they share it.
pub(super) fn listening_of(listener: &Listener, layers: ListenerLayers) -> Result<Listening, RunError> {
    let on = match &listener.address {
        ListenAddress::Ip(address) => {
            check_free(*address)?;
            ListenOn::Ip(*address)
        }
        ListenAddress::Unix(socket) => ListenOn::Unix(bind_unix(socket)?),
    };
    let settings = accounts::with_user_names(&listener.settings);
    Ok(Listening { on, settings, connections: Arc::default(), layers })
}

fn bind_unix(socket: &UnixSocket) -> Result<SharedUnixListener, RunError> {
    let access = accounts::access(socket).map_err(RunError::Account)?;
    SharedUnixListener::bind(&socket.path, access, limits::LISTEN_BACKLOG).map_err(|error| match error.errno() {
        libc::EADDRINUSE => RunError::PathInUse(socket.path.clone()),
        _ => RunError::Ring(error),
    })
}

/// A socket for the admin server. It is bound before anything else has happened, so that one that is in use changes nothing.
pub(super) fn listen_for_admin(address: SocketAddr) -> Result<TcpListener, RunError> {
    TcpListener::bind(address).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => RunError::AdminAddressInUse(address),
        _ => RunError::Listen(address, error),
    })
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
        assert!(matches!(check_free(address), Err(RunError::AddressInUse(at)) if at == address));
    }
}
