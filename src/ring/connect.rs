//! Outgoing connections: a socket made, bound and moved into a ring's table at once, then connected by the ring.
//!
//! The process's descriptor table sees a socket for the moment between making it and installing it, one at a time, so
//! that as many connections can be opened as the rings have room for, whatever the limit on open files.

use super::error::{RingError, error, error_number};
use super::one::Completion;
use super::options::{IntegerOption, open_ip, set_integer};
use super::plane::Plane;
use super::user_data::Op;
use crate::ids::{ConnectionId, SocketId};
use io_uring::opcode;
use io_uring::types::Fixed;
use rustix::net::addr::SocketAddrArg;
use rustix::net::{SocketAddrAny, SocketType, sockopt};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// The kernel's `IORING_FILE_INDEX_ALLOC`: it picks a free slot, and writes its number over the descriptor's.
const ANY_SLOT: i32 = -1;
/// Entries into the kernel until an installation, which it does on the spot, must have answered.
const INSTALL_ENTERS_MAX: u32 = 1000;

impl Plane {
    /// Opens a connection to `to`, from the address `from` where one is given (the system chooses the port, and uses a
    /// port for several peers). `Event::Connected` tells how that went; the socket is the caller's at once, and `close`
    /// gives up waiting. Rings are added as they fill up.
    ///
    /// # Errors
    /// Nothing was opened: no descriptor or ring is left (ENFILE, EMFILE), or `from` is not an address of this machine.
    pub fn connect(
        &mut self,
        to: SocketAddr,
        from: Option<IpAddr>,
        connection: ConnectionId,
    ) -> Result<SocketId, RingError> {
        let ring = self.choose_connecting()?;
        let socket = open(to, from)?;
        let slot = self.install(ring, socket.as_raw_fd())?;
        self.rings[ring].open += 1;
        let name = self.name_of(to.as_any());
        let (address, len) = (self.names[name].as_ptr(), self.names[name].addr_len());
        let entry = opcode::Connect::new(Fixed(slot), address.cast(), len)
            .build()
            .user_data(Op::Connect.of_connection(connection));
        // SAFETY: the name does not move, and stays until everything that was queued before has been submitted (`name_of`).
        unsafe { self.push(ring, &entry) };
        Ok(SocketId::new(ring, slot))
    }

    /// A ring with room: the newest, else any, else a new one.
    fn choose_connecting(&mut self) -> Result<usize, RingError> {
        let newest = self.rings.len() - 1;
        if self.rings[newest].room() > 0 {
            return Ok(newest);
        }
        match self.rings.iter().position(|ring| ring.room() > 0) {
            Some(ring) => Ok(ring),
            None => self.add_ring(),
        }
    }

    /// Puts a descriptor into a free slot of a ring's table.
    fn install(&mut self, ring: usize, fd: RawFd) -> Result<u32, RingError> {
        let mut descriptor = fd;
        let entry =
            opcode::FilesUpdate::new(&raw mut descriptor, 1).offset(ANY_SLOT).build().user_data(Op::Install.with(0));
        // SAFETY: `descriptor` lives until the completion, which this function waits for; the kernel does this
        // operation as it takes it.
        unsafe { self.push(ring, &entry) };
        let mut enters = 0;
        loop {
            self.enter(ring);
            let is_ours = |completion: &Completion| Op::of(completion.user_data) == Op::Install;
            if let Some(at) = self.ready.iter().rposition(is_ours) {
                let completion = self.ready.remove(at).expect("just found");
                return match completion.result {
                    1 => Ok(descriptor.cast_unsigned()),
                    result => Err(error_number("find a slot for a socket", -result)),
                };
            }
            enters += 1;
            // Going on would free memory that the kernel may still write to.
            assert!(enters < INSTALL_ENTERS_MAX || self.failed.is_some(), "the kernel does not answer");
            self.check()?;
        }
    }

    /// The index of the `sockaddr` for `to`. There are few peers; where there are many, old ones make room once no
    /// queued submission can point to them.
    fn name_of(&mut self, to: SocketAddrAny) -> usize {
        const NAMES_MAX: usize = 64;
        if let Some(at) = self.names.iter().position(|name| *name == to) {
            return at;
        }
        if self.names.len() == NAMES_MAX {
            self.enter_all();
            self.names.clear();
        }
        // They are pointed to, so the vector has its full capacity before it has one of them.
        self.names.reserve_exact(NAMES_MAX - self.names.len());
        self.names.push(to);
        self.names.len() - 1
    }
}

fn open(to: SocketAddr, from: Option<IpAddr>) -> Result<OwnedFd, RingError> {
    let socket = open_ip(SocketType::STREAM, to)?;
    sockopt::set_tcp_nodelay(&socket, true).map_err(error("have small packets sent at once"))?;
    if let Some(from) = from {
        set_integer(&socket, IntegerOption::BindAddressNoPort, 1)?;
        let from = SocketAddr::new(from, 0);
        rustix::net::bind(&socket, &from).map_err(|errno| RingError::at("bind", from, errno))?;
    }
    Ok(socket)
}
