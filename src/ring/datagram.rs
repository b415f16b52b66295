//! UDP sockets: their table, receiving into provided buffers, and how the kernel lays a datagram out in one.
//!
//! One operation receives datagram after datagram. The kernel puts each into a buffer of the ring behind a header and the
//! sender's address; what is longer than the rest of the buffer is truncated, and says so. An empty datagram ends the
//! operation, as does a full queue of completions: then the caller asks again.
//!
//! Every shard may bind the same address. The kernel chooses by the sender's, so that one peer stays with one shard.

use super::address::{IP_ADDRESS_MAX_BYTES, read_ip_address};
use super::buffers::BufferPool;
use super::error::{RingError, error};
use super::event::{Completeness, EndCause, SocketEvent};
use super::headers::empty_header;
use super::one::Completion;
use super::options::{SocketBuffers, bind_shared, open_ip, set_buffers};
use super::rings::Rings;
use super::user_data::{Op, payload_of};
use crate::ids::{DatagramSocketId, SocketId};
use io_uring::types::{CancelBuilder, Fixed, RecvMsgOut};
use io_uring::{cqueue, opcode};
use rustix::net::SocketType;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

/// How to receive datagrams.
#[derive(Clone, Copy, Debug)]
pub struct DatagramConfig {
    /// Port 0 lets the system choose; the address that it chose comes back, for the other shards to share.
    pub address: SocketAddr,
    /// Fixed size of the kernel's send buffer; `None` leaves it to the system's default.
    pub send_buffer_bytes: Option<u32>,
    /// Fixed size of the kernel's receive buffer: datagrams beyond it are lost. `None`: the system's default.
    pub receive_buffer_bytes: Option<u32>,
}

impl DatagramConfig {
    /// Binds to `address`, with the system's buffer sizes.
    pub const fn new(address: SocketAddr) -> Self {
        Self { address, send_buffer_bytes: None, receive_buffer_bytes: None }
    }

    /// Binds, and tells where. `SO_REUSEPORT` lets every shard have a socket of its own at the same address: the kernel gives a peer's
    /// datagrams to one of them.
    ///
    /// # Errors
    /// The address is another's or none of this machine.
    pub fn open(&self) -> Result<(OwnedFd, SocketAddr), RingError> {
        let socket = open_ip(SocketType::DGRAM, self.address)?;
        set_buffers(
            &socket,
            SocketBuffers { send_bytes: self.send_buffer_bytes, receive_bytes: self.receive_buffer_bytes },
        )?;
        bind_shared(&socket, self.address)?;
        let address = rustix::net::getsockname(&socket).and_then(SocketAddr::try_from);
        Ok((socket, address.map_err(error("read the address of a socket"))?))
    }
}

/// The kernel's `struct io_uring_recvmsg_out`, before the sender's address.
const HEADER_BYTES: usize = 16;
/// Bytes in a buffer before the datagram's own.
const PAYLOAD_START: usize = HEADER_BYTES + IP_ADDRESS_MAX_BYTES;

/// The datagram sockets of one plane.
pub(super) struct DatagramSockets {
    all: Vec<DatagramSocket>,
    /// Says what the kernel is to leave room for. Boxed, because it reads it where it is.
    layout: Box<libc::msghdr>,
}

#[derive(Clone, Copy)]
struct DatagramSocket {
    /// `None` once it was closed.
    socket: Option<SocketId>,
    is_ipv6: bool,
}

/// A datagram in a buffer.
struct ReceivedDatagram {
    from: SocketAddr,
    bytes: u32,
    completeness: Completeness,
}

impl Default for DatagramSockets {
    fn default() -> Self {
        let mut layout = Box::new(empty_header());
        layout.msg_namelen = IP_ADDRESS_MAX_BYTES as u32;
        Self { all: Vec::new(), layout }
    }
}

impl DatagramSockets {
    /// Takes a socket that was bound to `address` and is in a ring's table.
    pub(super) fn add(&mut self, socket: SocketId, address: SocketAddr) -> DatagramSocketId {
        let id = u16::try_from(self.all.len()).expect("a process binds fewer sockets in its life");
        self.all.push(DatagramSocket { socket: Some(socket), is_ipv6: address.is_ipv6() });
        DatagramSocketId(id)
    }

    /// An open socket's place in the table.
    pub(super) fn socket(&self, id: DatagramSocketId) -> SocketId {
        self.all[usize::from(id.0)].socket.expect("nothing is asked of a socket that was closed")
    }

    /// `address` as a socket of this family is told it.
    pub(super) fn address_for(&self, id: DatagramSocketId, address: SocketAddr) -> SocketAddr {
        match address.ip() {
            IpAddr::V4(v4) if self.all[usize::from(id.0)].is_ipv6 => {
                SocketAddr::new(v4.to_ipv6_mapped().into(), address.port())
            }
            _ => address,
        }
    }

    /// Receives until it ends.
    pub(super) fn receive(&self, rings: &mut Rings, id: DatagramSocketId) {
        let socket = self.socket(id);
        let entry = opcode::RecvMsgMulti::new(Fixed(socket.slot()), &raw const *self.layout, BufferPool::GROUP)
            .build()
            .user_data(Op::ReceiveDatagrams.with(id.0.into()));
        // SAFETY: the layout is boxed and outlives the rings; the memory for datagrams comes from the buffer ring, which
        // outlives the ring's operations (`Ring::drop`).
        unsafe { rings.push(socket.ring(), &entry) };
    }

    /// Ends what `receive` began.
    pub(super) fn stop_receiving(&self, rings: &mut Rings, id: DatagramSocketId) {
        let receive = CancelBuilder::user_data(Op::ReceiveDatagrams.with(id.0.into()));
        rings.cancel(self.socket(id).ring(), receive);
    }

    pub(super) fn close(&mut self, rings: &mut Rings, id: DatagramSocketId) {
        self.stop_receiving(rings, id);
        let socket = self.all[usize::from(id.0)].socket.take().expect("a socket is closed once");
        rings.free_slot(socket);
    }

    /// A datagram has come, or no more will.
    pub(super) fn on_received(&self, rings: &mut Rings, completion: Completion) -> Option<SocketEvent> {
        let socket = DatagramSocketId(payload_of(completion.user_data) as u16);
        let more = cqueue::more(completion.flags);
        let Some(mut buffer) = rings.take_buffer(completion) else {
            let cause = EndCause::of(completion.result);
            rings.counters.out_of_buffers += u64::from(cause == EndCause::OutOfBuffers);
            return Some(SocketEvent::DatagramsEnded { socket, cause });
        };
        let pool = &rings.all[usize::from(buffer.ring)].buffers;
        if let Some(ReceivedDatagram { from, bytes, completeness }) = read(pool.bytes(&buffer), &self.layout) {
            (buffer.start, buffer.bytes) = (PAYLOAD_START as u8, bytes);
            return Some(SocketEvent::Datagram { socket, from, buffer, completeness, more });
        }
        // Not as the kernel lays them out, or from an address of no family of ours: nobody can be told of it.
        rings.give_back(buffer);
        (!more).then_some(SocketEvent::DatagramsEnded { socket, cause: EndCause::Error(libc::EBADMSG) })
    }

    /// A send was refused.
    pub(super) fn on_not_sent(rings: &mut Rings, completion: Completion) -> SocketEvent {
        rings.counters.datagrams_not_sent += 1;
        let socket = DatagramSocketId(payload_of(completion.user_data) as u16);
        SocketEvent::DatagramNotSent { socket, errno: -completion.result }
    }
}

/// Reads what the kernel wrote into a buffer; `None` where it is too short or the sender's address is none of ours.
fn read(buffer: &[u8], layout: &libc::msghdr) -> Option<ReceivedDatagram> {
    let parts = RecvMsgOut::parse(buffer, layout).ok()?;
    let truncated = parts.is_payload_truncated() || parts.incoming_payload_len() as usize > parts.payload_data().len();
    Some(ReceivedDatagram {
        from: read_ip_address(parts.name_data())?,
        bytes: parts.payload_data().len() as u32,
        completeness: if truncated { Completeness::Truncated } else { Completeness::Whole },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the kernel writes it: lengths of name, control and payload, flags; 28 bytes for the name; the payload.
    fn buffer(name_bytes: u32, payload_bytes: u32, flags: u32, payload: &[u8]) -> Vec<u8> {
        let header = [name_bytes, 0, payload_bytes, flags].map(u32::to_ne_bytes).concat();
        let mut name = [0; IP_ADDRESS_MAX_BYTES];
        name[..8].copy_from_slice(&[2, 0, 0x07, 0x5b, 10, 1, 2, 3]);
        [&header[..], &name, payload].concat()
    }

    fn read(bytes: &[u8]) -> Option<(String, u32, Completeness)> {
        let found = super::read(bytes, &DatagramSockets::default().layout)?;
        Some((found.from.to_string(), found.bytes, found.completeness))
    }

    #[test]
    fn datagrams_are_read_as_the_kernel_lays_them_out() {
        let from = || "10.1.2.3:1883".to_owned();
        assert_eq!(read(&buffer(16, 3, 0, b"abc")), Some((from(), 3, Completeness::Whole)));
        assert_eq!(read(&buffer(16, 0, 0, b"")), Some((from(), 0, Completeness::Whole)));
        let truncated = libc::MSG_TRUNC as u32;
        assert_eq!(read(&buffer(16, 3, truncated, b"abc")), Some((from(), 3, Completeness::Truncated)));
    }

    #[test]
    fn what_is_shorter_than_it_says_is_never_read_beyond_its_end() {
        assert_eq!(read(&buffer(16, 4000, 0, b"abc")), Some(("10.1.2.3:1883".into(), 3, Completeness::Truncated)));
        assert_eq!(read(&buffer(u32::MAX, 3, 0, b"abc")).map(|found| found.1), Some(3));
        assert_eq!(read(&buffer(8, 3, 0, b"abc")), None, "half an address");
        assert_eq!(read(&buffer(0, 3, 0, b"abc")), None, "no address");
        let whole = buffer(16, 0, 0, b"");
        for len in 0..whole.len() {
            assert_eq!(read(&whole[..len]), None, "{len} bytes");
        }
    }

    #[test]
    fn the_payload_starts_behind_header_and_address() {
        let bytes = buffer(16, 3, 0, b"abc");
        assert_eq!(&bytes[PAYLOAD_START..], b"abc");
        assert!(u8::try_from(PAYLOAD_START).is_ok());
    }
}
