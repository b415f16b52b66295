//! What is done with datagram sockets. Sending is in `send.rs`, with all other sends of a turn.

#[cfg(test)]
use super::datagram::DatagramConfig;
use super::error::RingError;
use super::plane::Plane;
use crate::ids::DatagramSocketId;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

impl Plane {
    /// Opens a UDP socket and returns the address it is bound to. Nothing is received until the caller asks for it.
    #[cfg(test)]
    pub(super) fn bind_datagram(
        &mut self,
        config: &DatagramConfig,
    ) -> Result<(DatagramSocketId, SocketAddr), RingError> {
        let (socket, address) = config.open()?;
        Ok((self.adopt_datagram(socket, address)?, address))
    }

    /// A UDP socket that [`DatagramConfig::open`] has bound to `address`. Nothing is received until the caller asks for it.
    pub fn adopt_datagram(&mut self, socket: OwnedFd, address: SocketAddr) -> Result<DatagramSocketId, RingError> {
        let ring = self.rings.choose_with_room()?;
        let socket = self.rings.install(ring, socket)?;
        Ok(self.datagrams.add(socket, address))
    }

    /// Receives datagrams until it ends; the last event says so (`more`, or `DatagramsEnded`).
    pub fn receive_datagrams(&mut self, socket: DatagramSocketId) {
        self.datagrams.receive(&mut self.rings, socket);
    }

    /// Ends what `receive_datagrams` began; `DatagramsEnded` with `Cancelled` follows unless it had ended already. The
    /// kernel keeps what comes meanwhile as far as the socket's buffer has room, and loses the rest.
    #[cfg(test)]
    pub(super) fn stop_receiving_datagrams(&mut self, socket: DatagramSocketId) {
        self.datagrams.stop_receiving(&mut self.rings, socket);
    }

    /// As [`Plane::buffers_free`], for a datagram socket.
    #[cfg(test)]
    pub(super) fn buffers_free_for_datagrams(&self, socket: DatagramSocketId) -> u16 {
        self.buffers_free(self.datagrams.socket(socket))
    }

    /// Closes the socket. Datagrams that had come before may still be told: their buffers must be given back.
    pub fn close_datagram(&mut self, socket: DatagramSocketId) {
        self.datagrams.close(&mut self.rings, socket);
    }
}
