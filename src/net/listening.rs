//! Listening: how it begins, changes and ends while the edge runs.
//!
//! Always holds: connections that came by a listener stay when it closes. An index is used again only when no connection is left of the
//! listener that had it.
//! Leaves to others: which listeners there are to be, binding what a reload adds, and when an index is free (`runtime`).

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::edge::Edge;
use super::listener::{
    ListenOn, ListenerChange, ListenerPlace, ListenerSocket, Listening, OpenListener, datagram_config, layers_of,
    settings_under_test, tcp_config,
};
use crate::ring::RingError;
use crate::settings::{ListenerKind, ListenerSettings};

impl Edge {
    /// Starts listening. Returns where, which tells the port where 0 was asked for.
    pub fn listen(&mut self, listening: Listening) -> Result<ListenOn, RingError> {
        let (on, socket) = match &listening.on {
            ListenOn::Ip(address) => {
                let (socket, address) = open_socket(*address, &listening.settings)?;
                (ListenOn::Ip(address), Some(socket))
            }
            on @ ListenOn::Unix(_) => (on.clone(), None),
        };
        let index = self.listeners.len() as u8;
        self.open_listener(index, Listening { on: on.clone(), ..listening }, socket)?;
        Ok(on)
    }

    /// Takes a change of the listeners over. What the system does not take is as it was, and told.
    pub fn change_listener(&mut self, change: ListenerChange) -> Result<(), RingError> {
        match change {
            ListenerChange::Open { index, listening, socket } => self.open_listener(index, listening, socket)?,
            ListenerChange::Configure { index, settings } => {
                let settings = settings_under_test(settings);
                self.connections.set_listener_settings(index, Arc::clone(&settings));
                let listener = self.listeners[usize::from(index)].as_mut().expect("it is there while it is configured");
                listener.settings = Arc::clone(&settings);
                if let (ListenerPlace::Ip(address), ListenerSocket::Accepts(id)) = (&listener.place, listener.socket) {
                    self.plane.set_listener_options(id, &tcp_config(*address, &settings))?;
                }
            }
            ListenerChange::Stop { index } => self.set_listener(index, false)?,
            ListenerChange::Close { index } => {
                match self.listeners[usize::from(index)].take().map(|gone| gone.socket) {
                    Some(ListenerSocket::Accepts(id)) => {
                        self.connections.set_takes_strangers(index, false);
                        self.plane.close_listener(id);
                    }
                    // Its clients have no sockets of their own: they are told by this one, and go with it.
                    Some(ListenerSocket::Receives(socket)) => {
                        self.connections.end_datagram_listener(index);
                        self.closing.push((index, socket));
                    }
                    None => {}
                }
            }
        }
        Ok(())
    }

    fn open_listener(&mut self, index: u8, listening: Listening, socket: Option<OwnedFd>) -> Result<(), RingError> {
        let Listening { on, settings, connections, layers } = listening;
        let (settings, layers) = match settings.kind {
            ListenerKind::Cluster => (settings, layers), // no test is at the other end
            _ => (settings_under_test(settings), layers_of(layers)),
        };
        let (socket, place) = match (on, socket) {
            (ListenOn::Unix(path), _) => {
                let place = ListenerPlace::Unix(path.place());
                (ListenerSocket::Accepts(self.plane.listen_unix(path)), place)
            }
            (ListenOn::Ip(address), socket) => {
                let socket = socket.expect("a shard has a socket of its own");
                let socket = if settings.kind.has_datagrams() {
                    let id = self.plane.adopt_datagram(socket, address)?;
                    self.plane.receive_datagrams(id);
                    ListenerSocket::Receives(id)
                } else {
                    ListenerSocket::Accepts(self.plane.listen_with(socket.into()))
                };
                (socket, ListenerPlace::Ip(address))
            }
        };
        let open = Some(OpenListener { socket, place, settings: Arc::clone(&settings), is_open: true });
        if let Some(gone) = self.listeners.get_mut(usize::from(index)) {
            *gone = open;
            self.connections.replace_listener(index, settings, connections, layers);
        } else {
            self.listeners.push(open);
            let added = self.connections.add_listener(settings, connections, layers);
            assert_eq!(added, index, "the lowest index that is free");
        }
        Ok(())
    }

    /// Stops accepting. Clients that come in datagrams are still heard, and nobody else who does.
    pub fn stop_listening(&mut self) {
        for (index, listener) in (0..).zip(&mut self.listeners) {
            let Some(listener) = listener else { continue };
            if std::mem::take(&mut listener.is_open) {
                match listener.socket {
                    ListenerSocket::Accepts(id) => self.plane.stop_listener(id),
                    ListenerSocket::Receives(_) => self.connections.set_takes_strangers(index, false),
                }
            }
        }
    }

    /// Stops or starts accepting by one listener, by its index. Its connections stay. The file of a path goes when the last shard has stopped,
    /// and is there again with the first that starts.
    ///
    /// # Errors
    /// It cannot be listened at that address, or at that path, now.
    pub fn set_listener(&mut self, index: u8, is_open: bool) -> Result<(), RingError> {
        let listener = self.listeners.get_mut(usize::from(index)).and_then(Option::as_mut);
        let Some(listener) = listener.filter(|listener| listener.is_open != is_open) else { return Ok(()) };
        match listener.socket {
            ListenerSocket::Receives(_) => self.connections.set_takes_strangers(index, is_open),
            ListenerSocket::Accepts(id) if is_open => match &listener.place {
                ListenerPlace::Ip(address) => {
                    self.plane.reopen_listener(id, &tcp_config(*address, &listener.settings))?;
                }
                ListenerPlace::Unix(place) => self.plane.reopen_unix(id, place.open()?),
            },
            ListenerSocket::Accepts(id) => self.plane.stop_listener(id),
        }
        listener.is_open = is_open;
        Ok(())
    }
}

/// A socket for a listener with these settings, and where it is.
///
/// # Errors
/// The address is another's or none of this machine, or the system takes an option not.
pub fn open_socket(address: SocketAddr, settings: &ListenerSettings) -> Result<(OwnedFd, SocketAddr), RingError> {
    if settings.kind.has_datagrams() {
        return datagram_config(address).open();
    }
    tcp_config(address, settings).open().map(|(socket, address)| (socket.into(), address))
}
