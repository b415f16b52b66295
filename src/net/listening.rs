//! Listening: how it begins, changes and ends while the edge runs.
//!
//! Always holds: connections that came by a listener stay when it closes. An index is used again only when no connection is left of the
//! listener that had it.
//! Leaves to others: which listeners there are to be, binding what a reload adds, and when an index is free (`runtime`).

use std::net::TcpListener;
use std::sync::Arc;

use super::edge::Edge;
use super::listener::{ListenOn, ListenerChange, Listening, OpenListener, layers_of, settings_under_test, tcp_config};
use crate::ring::RingError;

impl Edge {
    /// Starts listening. Returns where, which tells the port where 0 was asked for.
    pub fn listen(&mut self, listening: Listening) -> Result<ListenOn, RingError> {
        let (on, socket) = match &listening.on {
            ListenOn::Ip(address) => {
                let (socket, address) = tcp_config(*address, &listening.settings).open()?;
                (ListenOn::Ip(address), Some(socket))
            }
            on @ ListenOn::Unix(_) => (on.clone(), None),
        };
        let index = self.listeners.len() as u8;
        self.open_listener(index, Listening { on: on.clone(), ..listening }, socket);
        Ok(on)
    }

    /// Takes a change of the listeners over. What the system does not take is as it was, and told.
    pub fn change_listener(&mut self, change: ListenerChange) -> Result<(), RingError> {
        match change {
            ListenerChange::Open { index, listening, socket } => self.open_listener(index, listening, socket),
            ListenerChange::Configure { index, settings } => {
                let settings = settings_under_test(settings);
                self.connections.set_listener_settings(index, Arc::clone(&settings));
                let listener = self.listeners[usize::from(index)].as_mut().expect("it is there while it is configured");
                listener.settings = Arc::clone(&settings);
                if let Some(address) = listener.address {
                    self.plane.set_listener_options(listener.id, &tcp_config(address, &settings))?;
                }
            }
            ListenerChange::Close { index } => {
                let gone = self.listeners[usize::from(index)].take();
                if let Some(gone) = gone.filter(|gone| gone.is_open) {
                    self.plane.close_listener(gone.id);
                }
            }
        }
        Ok(())
    }

    fn open_listener(&mut self, index: u8, listening: Listening, socket: Option<TcpListener>) {
        let Listening { on, settings, connections, layers } = listening;
        let (settings, layers) = (settings_under_test(settings), layers_of(layers));
        let (id, address) = match (on, socket) {
            (ListenOn::Unix(path), _) => (self.plane.listen_unix(path), None),
            (ListenOn::Ip(address), socket) => {
                let socket = socket.expect("a shard has a socket of its own");
                (self.plane.listen_with(socket), Some(address))
            }
        };
        let open = Some(OpenListener { id, address, settings: Arc::clone(&settings), is_open: true });
        if let Some(gone) = self.listeners.get_mut(usize::from(index)) {
            *gone = open;
            self.connections.replace_listener(index, settings, connections, layers);
        } else {
            self.listeners.push(open);
            let added = self.connections.add_listener(settings, connections, layers);
            assert_eq!(added, index, "the lowest index that is free");
        }
    }

    /// Stops accepting.
    pub fn stop_listening(&mut self) {
        for listener in self.listeners.iter_mut().flatten() {
            if std::mem::take(&mut listener.is_open) {
                self.plane.close_listener(listener.id);
            }
        }
    }

    /// Stops or starts accepting by one listener, by its index. Its connections stay. A path has one socket for all shards: it stays as it is.
    ///
    /// # Errors
    /// It cannot be listened at that address now.
    pub fn set_listener(&mut self, index: u8, is_open: bool) -> Result<(), RingError> {
        let listener = self.listeners.get_mut(usize::from(index)).and_then(Option::as_mut);
        let Some(listener) = listener.filter(|listener| listener.is_open != is_open) else { return Ok(()) };
        let Some(address) = listener.address else { return Ok(()) };
        if is_open {
            self.plane.reopen_listener(listener.id, &tcp_config(address, &listener.settings))?;
        } else {
            self.plane.close_listener(listener.id);
        }
        listener.is_open = is_open;
        Ok(())
    }
}
