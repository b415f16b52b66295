//! Outgoing connections: a socket made, bound and moved into a ring's table at once, then connected by the ring.
//!
//! The process's descriptor table sees a socket for the moment between making it and installing it, one at a time, so
//! that as many connections can be opened as the rings have room for, whatever the limit on open files.

use super::error::{RingError, error};
use super::options::{IntegerOption, open_ip, set_integer};
use super::rings::Rings;
use super::user_data::Op;
use crate::ids::{ConnectionId, SocketId};
use io_uring::opcode;
use io_uring::types::Fixed;
use rustix::net::{SocketAddrAny, SocketType, sockopt};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

/// Addresses that are kept for the kernel to read. There are few peers; where there are many, old ones make room.
const ADDRESSES_MAX: usize = 64;

/// The addresses of connects that may still be queued.
#[derive(Default)]
pub(super) struct Connector {
    /// The kernel reads them when it takes a submission.
    addresses: Vec<SocketAddrAny>,
}

impl Connector {
    /// Connects a socket of a ring's table.
    pub(super) fn connect(&mut self, rings: &mut Rings, socket: SocketId, to: SocketAddrAny, connection: ConnectionId) {
        let known = self.addresses.iter().position(|address| *address == to);
        let at = known.unwrap_or_else(|| {
            if self.addresses.len() == ADDRESSES_MAX {
                // What was queued is submitted, and points to none of them any more.
                rings.enter_all();
                self.addresses.clear();
            }
            // They must not move, so the vector has its full capacity before it has one of them.
            self.addresses.reserve_exact(ADDRESSES_MAX - self.addresses.len());
            self.addresses.push(to);
            self.addresses.len() - 1
        });
        let address = &self.addresses[at];
        let entry = opcode::Connect::new(Fixed(socket.slot()), address.as_ptr().cast(), address.addr_len())
            .build()
            .user_data(Op::Connect.of_connection(connection));
        // SAFETY: the address neither moves nor goes before everything that was queued with it has been submitted.
        unsafe { rings.push(socket.ring(), &entry) };
    }
}

/// A socket for a connection to `to`, from the address `from` where one is given.
pub(super) fn open_tcp(to: SocketAddr, from: Option<IpAddr>) -> Result<OwnedFd, RingError> {
    let socket = open_ip(SocketType::STREAM, to)?;
    sockopt::set_tcp_nodelay(&socket, true).map_err(error("have small packets sent at once"))?;
    if let Some(from) = from {
        set_integer(&socket, IntegerOption::BindAddressNoPort, 1)?;
        let from = SocketAddr::new(from, 0);
        rustix::net::bind(&socket, &from).map_err(|errno| RingError::at("bind", from, errno))?;
    }
    Ok(socket)
}
