//! How large a plane is.

use crate::limits;

/// How large a plane is.
#[derive(Clone, Copy, Debug)]
pub struct PlaneConfig {
    /// Submissions queued before the kernel is entered in mid-turn.
    pub entries: u32,
    /// Completions that one entry can bring.
    pub completions: u32,
    /// Sockets this plane may hold. More rings are added as needed, each up to the limit on open files.
    pub sockets_max: u32,
    /// Sockets in one ring, where that should be fewer than the limit on open files.
    pub ring_sockets_max: u32,
    /// Receive buffers of one ring; a power of two.
    pub buffers: u16,
    /// Size of a receive buffer. A datagram finds room in one, behind 44 bytes about it, or is truncated.
    pub buffer_bytes: u32,
}

impl Default for PlaneConfig {
    fn default() -> Self {
        Self {
            entries: limits::RING_ENTRIES,
            completions: limits::RING_COMPLETIONS,
            sockets_max: limits::CONNECTIONS_DEFAULT,
            ring_sockets_max: limits::RING_DESCRIPTORS_MAX,
            buffers: limits::RECEIVE_BUFFERS,
            buffer_bytes: limits::RECEIVE_BUFFER_BYTES,
        }
    }
}
