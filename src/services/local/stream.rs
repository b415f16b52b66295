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
    Ack, Connect, DecodeError, Disconnect, PINGREQ, PacketType, ReasonCode, Side, SubscribeFilter, Version, decode,
    encode_subscribe, encode_unsubscribe, frame,
};
use crate::ids::{PacketId, Qos, SubscriptionId};

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
        let packet = match decode(framed, self.version, Side::Client) {
            Ok(packet) => packet,
            // One message: those behind it are read all the same.
            Err(error) => return unreadable(framed, error).map(Some),
        };
        let owned = OwnedPacket::of(&packet, &whole);
        owned.map(Some).ok_or(DecodeError::Protocol("a packet that was not asked for"))
    }
}

/// What can be known of a PUBLISH that is refused, so that it is refused alone; the sender would send it again for ever.
fn unreadable(framed: frame::Frame<'_>, error: DecodeError) -> Result<OwnedPacket, DecodeError> {
    if framed.packet_type() != PacketType::Publish {
        return Err(error);
    }
    let qos = Qos::from_bits(framed.flags() >> 1 & 3).ok_or(error)?;
    let why = error.text().into();
    if qos == Qos::AtMostOnce {
        return Ok(OwnedPacket::Unreadable { qos, packet_id: None, why });
    }
    // It stands behind the topic, whatever that is.
    let (length, rest) = framed.body.split_first_chunk::<2>().ok_or(error)?;
    let rest = rest.get(usize::from(u16::from_be_bytes(*length))..).ok_or(error)?;
    let id = rest.first_chunk::<2>().copied().map(u16::from_be_bytes).and_then(PacketId::new).ok_or(error)?;
    Ok(OwnedPacket::Unreadable { qos, packet_id: Some(id), why })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Property;
    use crate::limits::USER_PROPERTIES_MAX;

    /// What comes of these bytes, sent by the other end, which closes then.
    fn read(bytes: &[u8]) -> Vec<Result<OwnedPacket, String>> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (ours, mut theirs) = tokio::io::duplex(bytes.len() + 1);
            tokio::io::AsyncWriteExt::write_all(&mut theirs, bytes).await.unwrap();
            drop(theirs);
            let mut stream = MqttStream::new(ours, Version::V5, 1 << 20);
            let mut packets = Vec::new();
            loop {
                let packet = stream.next().await.map_err(|error| error.to_string());
                let is_last = packet.is_err();
                packets.push(packet);
                if is_last {
                    return packets;
                }
            }
        })
    }

    #[test]
    fn a_message_that_cannot_be_read_is_told_with_its_packet_identifier_and_the_next_is_read() {
        let mut properties = Vec::new();
        for _ in 0..=USER_PROPERTIES_MAX {
            Property::UserProperty("k", "v").write_to(&mut properties);
        }
        let mut publish = OwnedPublish::new("t", "x");
        (publish.qos, publish.packet_id) = (Qos::ExactlyOnce, PacketId::new(7));
        publish.properties = properties.into();
        let mut bytes = Vec::new();
        publish.out(Version::V5).encode(&mut bytes);
        let next = OwnedPublish::new("t/2", "y");
        next.out(Version::V5).encode(&mut bytes);
        // One whose topic has a wildcard, and one whose packet identifier is 0: that cannot be answered.
        bytes.extend_from_slice(&[0x32, 6, 0, 1, b'#', 0, 9, 0]);
        bytes.extend_from_slice(&[0x32, 6, 0, 1, b'a', 0, 0, 0]);
        let packets = read(&bytes);
        assert_eq!(packets.len(), 4, "{packets:?}");
        let told = |packet: &Result<OwnedPacket, String>| match packet {
            Ok(OwnedPacket::Unreadable { qos, packet_id, why }) => {
                Some((*qos, packet_id.map(PacketId::get), why.clone()))
            }
            _ => None,
        };
        assert!(
            told(&packets[0])
                .is_some_and(|(qos, id, why)| { qos == Qos::ExactlyOnce && id == Some(7) && !why.is_empty() })
        );
        assert_eq!(packets[1], Ok(OwnedPacket::Publish(next)));
        assert!(told(&packets[2]).is_some_and(|(qos, id, _)| qos == Qos::AtLeastOnce && id == Some(9)));
        assert!(packets[3].is_err());
    }
}
