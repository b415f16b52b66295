//! Message headers that the kernel reads when it takes a send: they stay where they are until it was entered.

use super::rings::Rings;
use rustix::net::SocketAddrAny;
use rustix::net::addr::SocketAddrArg;
use std::io::IoSlice;
use std::net::SocketAddr;

/// Headers that may wait for one entry into the kernel.
const HEADERS_MAX: usize = 256;

/// See the module's text.
#[derive(Default)]
pub(super) struct MessageHeaders {
    vectored: Vec<libc::msghdr>,
    datagrams: Vec<DatagramHeader>,
}

/// A header and what it points to, in one place.
struct DatagramHeader {
    header: libc::msghdr,
    to: SocketAddrAny,
    piece: libc::iovec,
}

impl MessageHeaders {
    /// Everything that was queued has been submitted.
    pub(super) fn clear(&mut self) {
        self.vectored.clear();
        self.datagrams.clear();
    }

    /// A header for `pieces`, good until the next flush. Enters the kernel where there is no room.
    pub(super) fn vectored(&mut self, rings: &mut Rings, pieces: &[IoSlice<'_>]) -> *const libc::msghdr {
        if self.vectored.len() == HEADERS_MAX {
            rings.enter_all();
            self.vectored.clear();
        }
        // They must not move, so the vector has its full capacity before it has one of them.
        self.vectored.reserve_exact(HEADERS_MAX - self.vectored.len());
        let mut header = empty_header();
        header.msg_iov = pieces.as_ptr().cast_mut().cast();
        header.msg_iovlen = pieces.len() as _;
        self.vectored.push(header);
        &raw const self.vectored[self.vectored.len() - 1]
    }

    /// A header for a datagram, good until the next flush. Enters the kernel where there is no room.
    pub(super) fn datagram(&mut self, rings: &mut Rings, to: SocketAddr, bytes: &[u8]) -> *const libc::msghdr {
        if self.datagrams.len() == HEADERS_MAX {
            rings.enter_all();
            self.datagrams.clear();
        }
        self.datagrams.reserve_exact(HEADERS_MAX - self.datagrams.len());
        let piece = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        self.datagrams.push(DatagramHeader { header: empty_header(), to: to.as_any(), piece });
        let at = self.datagrams.len() - 1;
        let datagram = &mut self.datagrams[at];
        datagram.header.msg_name = datagram.to.as_mut_ptr().cast();
        datagram.header.msg_namelen = datagram.to.addr_len();
        datagram.header.msg_iov = &raw mut datagram.piece;
        datagram.header.msg_iovlen = 1;
        &raw const datagram.header
    }
}

/// A header that points to nothing.
pub(super) fn empty_header() -> libc::msghdr {
    // SAFETY: all-zero is a valid msghdr: null pointers with zero lengths.
    unsafe { std::mem::zeroed() }
}
