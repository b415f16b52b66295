//! Operations that outlast a turn and have memory: what the kernel works on, or what the caller gets back.

use crate::ids::{ConnectionId, SocketId, Ticket};
use crate::slab::Slab;
use bytes::Bytes;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// An operation under way.
pub(super) enum Pending {
    /// The kernel reads the bytes until it is done.
    Send {
        connection: ConnectionId,
        bytes: Bytes,
    },
    /// The disk reads the bytes until it is done, and the file stays open.
    Write {
        bytes: Vec<u8>,
        file: Arc<OwnedFd>,
        /// Bytes that were to be written.
        len: usize,
    },
    HandOver {
        ticket: Ticket,
        socket: SocketId,
    },
}

/// Operations under way, each by the number that goes through the kernel with it.
#[derive(Default)]
pub(super) struct PendingTable(Slab<Pending>);

impl PendingTable {
    pub(super) fn insert(&mut self, pending: Pending) -> u64 {
        self.0.insert(pending).into()
    }

    /// Whether no operation with memory of its own is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The operation has completed.
    pub(super) fn remove(&mut self, number: u64) -> Pending {
        self.0.remove(number as u32).expect("an operation under way has its entry")
    }
}
