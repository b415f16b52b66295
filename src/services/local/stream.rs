//! The client's side of MQTT over a stream of bytes: whole packets in, whole packets out.
//!
//! Always holds: what was put in leaves in its order; a packet larger than it may be is refused at its header; nothing is lost when
//! a future of this is dropped before it is done, since what is half read or half written stays here.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::packets::{OwnedAck, OwnedPacket, OwnedPublish};
use crate::codec::{
    Ack, Connect, DecodeError, Disconnect, PINGREQ, ReasonCode, Side, SubscribeFilter, Version, decode,
    encode_subscribe, encode_unsubscribe, frame,
};
use crate::ids::{PacketId, SubscriptionId};

/// Bytes that are read at a time.
const READ_BYTES: usize = 16 * 1024;

/// Why a stream has come to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StreamError {
    /// The other end has closed it.
    #[error("the connection was closed")]
    Closed,
    /// The system says so.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// What came is no packet that may come.
    #[error("{}", .0.text())]
    Decode(DecodeError),
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct MqttStream<S> {
    io: S,
    version: Version,
    packet_size_max_bytes: u32,
    received: BytesMut,
    out: BytesMut,
    /// Written, and perhaps still held by a layer of the stream.
    needs_flush: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> MqttStream<S> {
    /// Over a stream that has just connected. Packets larger than this are not taken.
    pub(crate) fn new(io: S, version: Version, packet_size_max_bytes: u32) -> Self {
        Self { io, version, packet_size_max_bytes, received: BytesMut::new(), out: BytesMut::new(), needs_flush: false }
    }

    /// Bytes that were put in and have not left.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.out.len()
    }

    // --- putting packets in: they leave while something is awaited --------------------------------------------------

    fn put(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = Vec::new();
        encode(&mut bytes);
        self.out.extend_from_slice(&bytes);
    }

    pub(crate) fn put_connect(&mut self, connect: &Connect<'_>) {
        self.put(|out| connect.encode(out));
    }

    /// One that the other end takes, which the caller has seen to.
    pub(crate) fn put_publish(&mut self, publish: &OwnedPublish) {
        let version = self.version;
        self.put(|out| {
            publish.out(version).encode(out);
        });
    }

    pub(crate) fn put_ack(&mut self, ack: OwnedAck) {
        let version = self.version;
        self.put(|out| Ack::new(ack.kind, ack.packet_id, ack.reason).encode(version, out));
    }

    pub(crate) fn put_subscribe<'a>(
        &mut self,
        packet_id: PacketId,
        subscription_id: Option<SubscriptionId>,
        filters: impl IntoIterator<Item = SubscribeFilter<'a>>,
    ) {
        let version = self.version;
        self.put(|out| encode_subscribe(version, packet_id, subscription_id, filters, out));
    }

    pub(crate) fn put_unsubscribe<'a>(&mut self, packet_id: PacketId, filters: impl IntoIterator<Item = &'a str>) {
        let version = self.version;
        self.put(|out| encode_unsubscribe(version, packet_id, filters, out));
    }

    pub(crate) fn put_ping(&mut self) {
        self.put(|out| out.extend_from_slice(&PINGREQ));
    }

    pub(crate) fn put_disconnect(&mut self, reason: ReasonCode) {
        let version = self.version;
        self.put(|out| Disconnect::new(reason).encode(version, out));
    }

    // --- awaiting ----------------------------------------------------------------------------------------------------

    /// The next packet that comes; meanwhile what was put in leaves.
    pub(crate) async fn next(&mut self) -> Result<OwnedPacket, StreamError> {
        std::future::poll_fn(|context| {
            // Whether all has left or not: a packet may come all the same.
            if let Poll::Ready(Err(error)) = self.poll_flush(context) {
                return Poll::Ready(Err(error.into()));
            }
            self.poll_packet(context)
        })
        .await
    }

    /// Until what was put in has left.
    pub(crate) async fn flush(&mut self) -> Result<(), StreamError> {
        std::future::poll_fn(|context| self.poll_flush(context)).await.map_err(StreamError::from)
    }

    /// As [`Self::flush`], for whoever awaits several things at once.
    pub(crate) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            let written = ready!(Pin::new(&mut self.io).poll_write(context, &self.out))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.out.advance(written);
            self.needs_flush = true;
        }
        if self.needs_flush {
            ready!(Pin::new(&mut self.io).poll_flush(context))?;
            self.needs_flush = false;
        }
        Poll::Ready(Ok(()))
    }

    /// As [`Self::next`], without sending anything meanwhile.
    pub(crate) fn poll_packet(&mut self, context: &mut Context<'_>) -> Poll<Result<OwnedPacket, StreamError>> {
        loop {
            if let Some(packet) = self.take_packet().map_err(StreamError::Decode)? {
                return Poll::Ready(Ok(packet));
            }
            let mut bytes = [0; READ_BYTES];
            let mut buffer = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut self.io).poll_read(context, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Err(StreamError::Closed));
            }
            self.received.extend_from_slice(buffer.filled());
        }
    }

    /// The packet at the beginning of what was received, if it is whole.
    fn take_packet(&mut self) -> Result<Option<OwnedPacket>, DecodeError> {
        let Some(total) = frame::total_len(&self.received, self.packet_size_max_bytes)? else { return Ok(None) };
        if self.received.len() < total {
            return Ok(None);
        }
        let whole = self.received.split_to(total).freeze();
        let Some((framed, _)) = frame::next(&whole, self.packet_size_max_bytes)? else { return Ok(None) };
        let packet = decode(framed, self.version, Side::Client)?;
        let owned = OwnedPacket::of(&packet, &whole);
        owned.map(Some).ok_or(DecodeError::Protocol("a packet that was not asked for"))
    }
}
