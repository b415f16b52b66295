//! Message headers that the kernel reads when it takes a send: they stay where they are until it was entered.

use super::rings::Rings;
use std::io::IoSlice;

/// Headers that may wait for one entry into the kernel.
const HEADERS_MAX: usize = 256;

/// See the module's text.
#[derive(Default)]
pub(super) struct MessageHeaders {
    vectored: Vec<libc::msghdr>,
}

impl MessageHeaders {
    /// Everything that was queued has been submitted.
    pub(super) fn clear(&mut self) {
        self.vectored.clear();
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
}

/// A header that points to nothing.
pub(super) fn empty_header() -> libc::msghdr {
    // SAFETY: all-zero is a valid msghdr: null pointers with zero lengths.
    unsafe { std::mem::zeroed() }
}
