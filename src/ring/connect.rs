//! Outgoing connections: a socket made, bound and moved into a ring's table at once, then connected by the ring.
//!
//! The process's descriptor table sees a socket for the moment between making it and installing it, one at a time, so
//! that as many connections can be opened as the rings have room for, whatever the limit on open files.

use super::listen::{bind, set_option};
use super::one::Completion;
use super::plane::Plane;
use super::user_data::Op;
use super::{RingError, error};
use crate::ids::{ConnectionId, SocketId};
use io_uring::opcode;
use io_uring::types::Fixed;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// The kernel's `IORING_FILE_INDEX_ALLOC`: it picks a free slot, and writes its number over the descriptor's.
const ANY_SLOT: i32 = -1;
/// Entries into the kernel until an installation, which it does on the spot, must have answered.
const INSTALL_ENTERS_MAX: u32 = 1000;

/// A `sockaddr` of either family. The kernel copies it when it takes a submission.
pub(super) struct Name {
    bytes: [u8; size_of::<libc::sockaddr_in6>()],
    len: u32,
}

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
        let name = self.name_of(to);
        let (address, len) = (self.names[name].1.bytes.as_ptr(), self.names[name].1.len);
        let entry = opcode::Connect::new(Fixed(slot), address.cast(), len)
            .build()
            .user_data(Op::Connect.of_connection(connection));
        // SAFETY: the name is boxed, and stays until everything that was queued before has been submitted (`name_of`).
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
                    result => Err(error("find a slot for a socket")(io::Error::from_raw_os_error(-result))),
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
    fn name_of(&mut self, to: SocketAddr) -> usize {
        const NAMES_MAX: usize = 64;
        if let Some(at) = self.names.iter().position(|(address, _)| *address == to) {
            return at;
        }
        if self.names.len() == NAMES_MAX {
            self.enter_all();
            self.names.clear();
        }
        self.names.push((to, Box::new(Name::new(to))));
        self.names.len() - 1
    }
}

impl Name {
    /// As the kernel reads it.
    fn new(address: SocketAddr) -> Self {
        let mut bytes = [0; size_of::<libc::sockaddr_in6>()];
        bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
        match address {
            SocketAddr::V4(v4) => {
                bytes[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
                bytes[4..8].copy_from_slice(&v4.ip().octets());
                Self { bytes, len: size_of::<libc::sockaddr_in>() as u32 }
            }
            SocketAddr::V6(v6) => {
                bytes[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
                bytes[4..8].copy_from_slice(&v6.flowinfo().to_ne_bytes());
                bytes[8..24].copy_from_slice(&v6.ip().octets());
                bytes[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
                Self { bytes, len: size_of::<libc::sockaddr_in6>() as u32 }
            }
        }
    }
}

fn open(to: SocketAddr, from: Option<IpAddr>) -> Result<OwnedFd, RingError> {
    let family = if to.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: no pointers are passed; the descriptor is checked before it is owned.
    let fd = unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(error("make a socket")(io::Error::last_os_error()));
    }
    // SAFETY: the descriptor was just made and nobody else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    set_option(&socket, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
    if let Some(from) = from {
        // A port is chosen when the peer is known: then one port serves a connection to each peer.
        set_option(&socket, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1)?;
        bind(&socket, SocketAddr::new(from, 0))?;
    }
    Ok(socket)
}
