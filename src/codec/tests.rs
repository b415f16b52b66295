//! Tests of the codec as a whole, and what the tables beside the packets check their samples with: every sample is
//! decoded, encoded again, cut at every place and lengthened.

use super::*;
use crate::limits;

const NO_LIMIT: u32 = u32::MAX;

/// Bytes from hexadecimal pairs and 'text', separated by blanks.
pub(super) fn bytes(notation: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for (at, part) in notation.split('\'').enumerate() {
        if at % 2 == 1 {
            out.extend_from_slice(part.as_bytes());
        } else {
            out.extend(part.split_whitespace().map(|pair| u8::from_str_radix(pair, 16).unwrap()));
        }
    }
    out
}

fn frame_of(bytes: &[u8]) -> Frame<'_> {
    let (frame, len) = frame::next(bytes, NO_LIMIT).unwrap().expect("a whole packet");
    assert_eq!(len, bytes.len(), "remaining length of {bytes:02x?}");
    frame
}

/// The sample is this packet, and this packet is written as the sample.
pub(super) fn both_ways(version: Version, side: Side, sample: &str, packet: &Packet<'_>) {
    decodes(version, side, sample, packet);
    let mut out = vec![0x55];
    packet.encode(version, &mut out);
    assert_eq!(out[1..], bytes(sample), "encoding {packet:?}");
}

/// The sample is this packet, although the packet is written in another way.
pub(super) fn decodes(version: Version, side: Side, sample: &str, packet: &Packet<'_>) {
    let bytes = bytes(sample);
    assert_eq!(decode(frame_of(&bytes), version, side).as_ref(), Ok(packet), "decoding {sample}");
    survives_cuts(version, side, &bytes);
}

/// The sample is refused with this error, and does no harm however it is cut.
pub(super) fn refused(version: Version, side: Side, sample: &str, error: DecodeError) {
    let bytes = bytes(sample);
    assert_eq!(decode(frame_of(&bytes), version, side), Err(error), "{sample}");
    survives_cuts(version, side, &bytes);
}

/// A cut packet is no packet yet, and a body that is shorter or longer than it was either fails or is a packet of its
/// own right, which then survives being written and read again.
fn survives_cuts(version: Version, side: Side, bytes: &[u8]) {
    for cut in 0..bytes.len() {
        assert_eq!(frame::next(&bytes[..cut], NO_LIMIT), Ok(None), "{bytes:02x?} cut at {cut}");
        let total = frame::total_len(&bytes[..cut], NO_LIMIT).unwrap();
        assert!(total.is_none_or(|total| total == bytes.len()));
    }
    let frame = frame_of(bytes);
    for cut in 0..frame.body.len() {
        repeats(Frame { body: &frame.body[..cut], ..frame }, version, side);
    }
    let mut longer = frame.body.to_vec();
    for extra in 0..=255 {
        longer.truncate(frame.body.len());
        longer.push(extra);
        repeats(Frame { body: &longer, ..frame }, version, side);
    }
}

/// Whatever decodes is decoded again from its own encoding. Returns whether it decoded.
fn repeats(frame: Frame<'_>, version: Version, side: Side) -> bool {
    let Ok(packet) = decode(frame, version, side) else { return false };
    let version = if let Packet::Connect(connect) = packet { connect.version } else { version };
    let mut out = Vec::new();
    packet.encode(version, &mut out);
    assert_eq!(decode(frame_of(&out), version, side), Ok(packet), "{frame:02x?} written as {out:02x?}");
    true
}

#[test]
fn every_type_has_its_direction() {
    use PacketType as P;
    let to_server = [P::Connect, P::Subscribe, P::Unsubscribe, P::PingReq];
    let to_client = [P::ConnAck, P::SubAck, P::UnsubAck, P::PingResp];
    for version in [Version::V31, Version::V311, Version::V5] {
        for packet in P::ALL {
            let flags = if matches!(packet, P::PubRel | P::Subscribe | P::Unsubscribe) { 2 } else { 0 };
            let frame = Frame { first: (packet as u8) << 4 | flags, body: &[] };
            for (side, wrong) in [(Side::Server, &to_client), (Side::Client, &to_server)] {
                let result = decode(frame, version, side);
                let wrong_disconnect = packet == P::Disconnect && side == Side::Client && !version.is_v5();
                if wrong.contains(&packet) || wrong_disconnect {
                    assert_eq!(result, Err(DecodeError::WrongDirection(packet)), "{version:?} {side:?}");
                } else {
                    assert!(!matches!(result, Err(DecodeError::WrongDirection(_))), "{version:?} {side:?} {packet}");
                }
            }
        }
    }
}

#[test]
fn reserved_types_and_flags_are_malformed_in_every_version_and_direction() {
    use PacketType as P;
    for version in [Version::V31, Version::V311, Version::V5] {
        for side in [Side::Server, Side::Client] {
            for first in 0..=255_u8 {
                let result = decode(Frame { first, body: &[] }, version, side);
                let (kind, flags) = (P::from_first(first), first & 0x0f);
                let allowed: &[u8] = match kind {
                    P::Reserved | P::Auth if kind == P::Reserved || !version.is_v5() => &[],
                    P::Publish => &[0, 1, 2, 3, 4, 5, 10, 11, 12, 13],
                    P::PubRel | P::Subscribe | P::Unsubscribe if version == Version::V31 => &[2, 10],
                    P::PubRel | P::Subscribe | P::Unsubscribe => &[2],
                    _ => &[0],
                };
                if allowed.contains(&flags) {
                    continue;
                }
                let expected = match (kind, flags) {
                    (P::Reserved, _) => "reserved packet type 0",
                    (P::Auth, _) if !version.is_v5() => "reserved packet type 15",
                    (P::Publish, 8 | 9) => "DUP in a QoS 0 message",
                    (P::Publish, _) => "QoS 3",
                    _ => "reserved flags in the fixed header",
                };
                if !matches!(result, Err(DecodeError::WrongDirection(_))) {
                    assert_eq!(result, Err(DecodeError::Malformed(expected)), "{version:?} {side:?} {first:#04x}");
                }
            }
        }
    }
}

#[test]
fn pings_have_no_body() {
    for version in [Version::V31, Version::V311, Version::V5] {
        both_ways(version, Side::Server, "c0 00", &Packet::PingReq);
        both_ways(version, Side::Client, "d0 00", &Packet::PingResp);
        let body = DecodeError::Malformed("body in a packet that has none");
        refused(version, Side::Server, "c0 01 00", body);
        refused(version, Side::Client, "d0 01 00", body);
    }
    assert_eq!(bytes("c0 00"), PINGREQ);
    assert_eq!(bytes("d0 00"), PINGRESP);
}

#[test]
fn type_15_is_reserved_before_5_0() {
    for version in [Version::V31, Version::V311] {
        refused(version, Side::Server, "f0 00", DecodeError::Malformed("reserved packet type 15"));
        refused(version, Side::Client, "f0 00", DecodeError::Malformed("reserved packet type 15"));
    }
}

mod generated {
    //! Packets from a seed. A failure prints its seed; `CODEC_SEED` takes it back.

    use super::*;
    use crate::ids::{PacketId, Qos, SubscriptionId, TopicAlias};

    /// xorshift64* (Vigna, 2016).
    struct Rng(u64);

    impl Rng {
        fn next(&mut self) -> u64 {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
        }
        fn below(&mut self, end: usize) -> usize {
            ((u128::from(self.next()) * end as u128) >> 64) as usize
        }
        fn flip(&mut self) -> bool {
            self.next() >> 63 == 1
        }
        fn pick<T: Copy>(&mut self, from: &[T]) -> T {
            from[self.below(from.len())]
        }
        fn maybe<T>(&mut self, value: impl FnOnce(&mut Self) -> T) -> Option<T> {
            if self.flip() { Some(value(self)) } else { None }
        }
        /// Small and huge numbers as often as those between.
        fn number(&mut self) -> u32 {
            let bits = self.below(33) as u32;
            (self.next() as u32).checked_shr(32 - bits).unwrap_or(0)
        }
        fn packet_id(&mut self) -> PacketId {
            PacketId::new(self.number() as u16).unwrap_or(PacketId::MAX)
        }
        fn subscription_id(&mut self) -> SubscriptionId {
            SubscriptionId::new(self.number() & limits::REMAINING_LENGTH_MAX_BYTES).unwrap_or(SubscriptionId::MIN)
        }
        fn reason(&mut self, packet: PacketType) -> ReasonCode {
            loop {
                if let Some(reason) = ReasonCode::from_u8_in(self.next() as u8, packet) {
                    return reason;
                }
            }
        }
    }

    /// What generated packets borrow.
    struct Words {
        names: Vec<String>,
        filters: Vec<String>,
        binaries: Vec<Vec<u8>>,
    }

    impl Words {
        fn new() -> Self {
            let names = ["a", "sensors/room-12/t", "/", "\u{feff}", "caf\u{e9}/\u{20ac}/\u{1f600}", "\u{1}\u{7f}"];
            let long = [7, 8, 9, 126, 127, 128, 16_384, 65_535].map(|len| "n".repeat(len));
            let names: Vec<String> = names.into_iter().map(str::to_owned).chain(long).collect();
            let filters = ["#", "+/+", "$share/group/a/#", "a"].into_iter().map(str::to_owned);
            let filters = filters.chain(names.iter().take(9).cloned()).collect();
            let binaries = [0, 1, 2, 100, 127, 128, 300, 65_535].map(|len| vec![0xfe; len]);
            Self { names, filters, binaries: binaries.into() }
        }
        fn name(&self, rng: &mut Rng) -> &str {
            &self.names[rng.below(self.names.len())]
        }
        fn text(&self, rng: &mut Rng) -> &str {
            if rng.below(4) == 0 { "" } else { self.name(rng) }
        }
        fn binary(&self, rng: &mut Rng) -> &[u8] {
            &self.binaries[rng.below(self.binaries.len())]
        }
        fn forwarded(&self, rng: &mut Rng) -> Vec<u8> {
            let mut out = Vec::new();
            let properties = [
                rng.maybe(|rng| Property::PayloadFormatIndicator(rng.flip())),
                rng.maybe(|rng| Property::ResponseTopic(self.name(rng))),
                rng.maybe(|rng| Property::UserProperty(self.text(rng), self.text(rng))),
                rng.maybe(|rng| Property::CorrelationData(self.binary(rng))),
                rng.maybe(|rng| Property::ContentType(self.text(rng))),
                rng.maybe(|rng| Property::UserProperty(self.text(rng), self.text(rng))),
            ];
            for property in properties.into_iter().flatten() {
                property.write_to(&mut out);
            }
            out
        }
    }

    const QOS: [Qos; 3] = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce];
    const KINDS: usize = 11;

    /// Appends a packet of the given kind, checks that it reads back as it was meant, and says who reads it.
    fn generate(kind: usize, version: Version, rng: &mut Rng, words: &Words, out: &mut Vec<u8>) -> Side {
        match kind {
            0 => connect(version, rng, words, out),
            1 => connack(version, rng, words, out),
            2 => publish(version, Side::Server, rng, words, out),
            3 => publish(version, Side::Client, rng, words, out),
            4 => ack(version, rng, words, out),
            5 => subscribe(version, rng, words, out),
            6 => suback(version, rng, words, out),
            7 => unsubscribe(version, rng, words, out),
            8 => unsuback(version, rng, words, out),
            9 => disconnect(version, rng, words, out),
            10 if version.is_v5() => auth(rng, words, out),
            _ => {
                out.extend_from_slice(&PINGREQ);
                Side::Server
            }
        }
    }

    fn meant(out: &[u8], version: Version, side: Side, packet: &Packet<'_>) -> Side {
        assert_eq!(decode(frame_of(out), version, side).as_ref(), Ok(packet));
        side
    }

    fn connect(version: Version, rng: &mut Rng, words: &Words, out: &mut Vec<u8>) -> Side {
        let forwarded = words.forwarded(rng);
        let mut connect = Connect::new(version, words.name(rng), rng.flip());
        connect.keep_alive_s = rng.number() as u16;
        connect.username = rng.maybe(|rng| words.text(rng));
        if version.is_v5() || connect.username.is_some() {
            connect.password = rng.maybe(|rng| words.binary(rng));
        }
        connect.will = rng.maybe(|rng| ConnectWill {
            topic: words.name(rng),
            payload: words.binary(rng),
            qos: rng.pick(&QOS),
            retain: rng.flip(),
            delay_s: 0,
            message_expiry_s: None,
            properties: Forwarded::EMPTY,
        });
        if version.is_v5() {
            connect.session_expiry_s = rng.number();
            connect.receive_maximum = (rng.number() as u16).max(1);
            connect.maximum_packet_size_bytes = rng.number().max(1);
            connect.topic_alias_maximum = rng.number() as u16;
            connect.request_response_information = rng.flip();
            connect.request_problem_information = rng.flip();
            connect.authentication_method = rng.maybe(|rng| words.text(rng));
            if connect.authentication_method.is_some() {
                connect.authentication_data = rng.maybe(|rng| words.binary(rng));
            }
            if let Some(will) = &mut connect.will {
                will.delay_s = rng.number();
                will.message_expiry_s = rng.maybe(Rng::number);
                will.properties = Forwarded::from_clean_block(&forwarded);
            }
        }
        connect.encode(out);
        meant(out, version, Side::Server, &Packet::Connect(connect))
    }

    fn connack(version: Version, rng: &mut Rng, words: &Words, out: &mut Vec<u8>) -> Side {
        let mut connack = ConnAck::default();
        if version.is_v5() {
            connack = ConnAck {
                session_present: false,
                reason: rng.reason(PacketType::ConnAck),
                session_expiry_s: rng.maybe(Rng::number),
                receive_maximum: rng.maybe(|rng| (rng.number() as u16).max(1)),
                maximum_qos: rng.maybe(|rng| rng.pick(&QOS[..2])),
                retain_available: rng.maybe(Rng::flip),
                maximum_packet_size_bytes: rng.maybe(|rng| rng.number().max(1)),
                assigned_client_id: rng.maybe(|rng| words.text(rng)),
                topic_alias_maximum: rng.maybe(|rng| rng.number() as u16),
                reason_string: rng.maybe(|rng| words.text(rng)),
                wildcard_subscription_available: rng.maybe(Rng::flip),
                subscription_ids_available: rng.maybe(Rng::flip),
                shared_subscription_available: rng.maybe(Rng::flip),
                server_keep_alive_s: rng.maybe(|rng| rng.number() as u16),
                response_information: rng.maybe(|rng| words.text(rng)),
                server_reference: rng.maybe(|rng| words.text(rng)),
                authentication_method: rng.maybe(|rng| words.text(rng)),
                authentication_data: rng.maybe(|rng| words.binary(rng)),
            };
        } else {
            connack.reason = ReasonCode::from_v3_return_code(rng.below(6) as u8).unwrap();
        }
        connack.session_present = version != Version::V31 && !connack.reason.is_error() && rng.flip();
        assert!(connack.encode(version, out));
        meant(out, version, Side::Client, &Packet::ConnAck(connack))
    }

    fn publish(version: Version, side: Side, rng: &mut Rng, words: &Words, out: &mut Vec<u8>) -> Side {
        let qos = rng.pick(&QOS);
        let forwarded = words.forwarded(rng);
        let ids: Vec<SubscriptionId> = (0..rng.below(4)).map(|_| rng.subscription_id()).collect();
        let v5 = version.is_v5();
        let topic_alias = rng.maybe(|rng| TopicAlias::new(rng.number() as u16)).flatten().filter(|_| v5);
        let message = PublishOut {
            version,
            topic: if topic_alias.is_some() { words.text(rng) } else { words.name(rng) },
            topic_alias,
            qos,
            dup: qos != Qos::AtMostOnce && rng.flip(),
            retain: rng.flip(),
            packet_id: (qos != Qos::AtMostOnce).then(|| rng.packet_id()),
            message_expiry_s: rng.maybe(Rng::number).filter(|_| v5),
            subscription_ids: if side == Side::Client && v5 { &ids } else { &[] },
            forwarded: if v5 { Forwarded::from_clean_block(&forwarded) } else { Forwarded::EMPTY },
            payload: words.binary(rng),
        };
        let head = message.encode(out);
        assert_eq!(out.len(), message.encoded_len());
        assert_eq!(out[head.len..], *message.payload);
        let mut head_only = vec![7; 3];
        assert_eq!(message.encode_head(&mut head_only), head);
        assert_eq!(head_only[3..], out[..head.len]);

        let Ok(Packet::Publish(read)) = decode(frame_of(out), version, side) else { panic!("{message:?}") };
        let read_ids: Vec<SubscriptionId> = read.subscription_ids.iter().collect();
        assert_eq!((read.topic, read.payload), (message.topic, message.payload));
        assert_eq!((read.dup, read.qos, read.retain), (message.dup, message.qos, message.retain));
        assert_eq!((read.packet_id, read.topic_alias), (message.packet_id, message.topic_alias));
        assert_eq!(read.message_expiry_s, message.message_expiry_s);
        assert_eq!((&read_ids[..], read.properties), (message.subscription_ids, message.forwarded));
        assert_eq!(read.subscription_ids.is_empty(), read_ids.is_empty());
        assert_eq!(read.properties.len_bytes(), message.forwarded.len_bytes());
        side
    }

    fn ack(version: Version, rng: &mut Rng, words: &Words, out: &mut Vec<u8>) -> Side {
        let kind = rng.pick(&[AckKind::PubAck, AckKind::PubRec, AckKind::PubRel, AckKind::PubComp]);
        let mut ack = Ack::new(kind, rng.packet_id(), ReasonCode::Success);
        if version.is_v5() {
            ack.reason = rng.reason(kind.packet_type());
            ack.reason_string = rng.maybe(|rng| words.text(rng));
        }
        ack.encode(version, out);
        meant(out, version, rng.pick(&[Side::Server, Side::Client]), &Packet::Ack(ack))
    }

    fn subscribe(version: Version, rng: &mut Rng, words: &Words, out: &mut Vec<u8>) -> Side {
        let filters: Vec<SubscribeFilter<'_>> = (0..=rng.below(5))
            .map(|_| {
                let filter = words.filters[rng.below(words.filters.len())].as_str();
                let mut options = SubscriptionOptions { qos: rng.pick(&QOS), ..SubscriptionOptions::default() };
                if version.is_v5() {
                    options.no_local = rng.flip() && !filter.starts_with("$share");
                    options.retain_as_published = rng.flip();
                    let handlings = [RetainHandling::SendAlways, RetainHandling::SendIfNew, RetainHandling::Never];
                    options.retain_handling = rng.pick(&handlings);
                }
                SubscribeFilter { filter, options }
            })
            .collect();
        let packet_id = rng.packet_id();
        let id = rng.maybe(Rng::subscription_id).filter(|_| version.is_v5());
        encode_subscribe(version, packet_id, id, filters.iter().copied(), out);
        let Ok(Packet::Subscribe(read)) = decode(frame_of(out), version, Side::Server) else { panic!("{filters:?}") };
        assert_eq!((read.packet_id, read.subscription_id, read.len()), (packet_id, id, filters.len()));
        assert!(read.filters().eq(filters));
        Side::Server
    }

    fn suback(version: Version, rng: &mut Rng, words: &Words, out: &mut Vec<u8>) -> Side {
        let v3 = [ReasonCode::GRANTED_QOS_0, ReasonCode::GrantedQos1, ReasonCode::UnspecifiedError];
        let codes: Vec<ReasonCode> = (0..=rng.below(200))
            .map(|_| if version.is_v5() { rng.reason(PacketType::SubAck) } else { rng.pick(&v3) })
            .collect();
        let packet_id = rng.packet_id();
        let reason_string = rng.maybe(|rng| words.text(rng)).filter(|_| version.is_v5());
        encode_suback(version, packet_id, &codes, reason_string, out);
        let Ok(Packet::SubAck(read)) = decode(frame_of(out), version, Side::Client) else { panic!("{codes:?}") };
        assert_eq!((read.packet_id, read.reason_string), (packet_id, reason_string));
        assert!(read.codes().eq(codes));
        Side::Client
    }

    fn unsubscribe(version: Version, rng: &mut Rng, words: &Words, out: &mut Vec<u8>) -> Side {
        let filters: Vec<&str> = (0..=rng.below(5)).map(|_| words.filters[rng.below(9)].as_str()).collect();
        let packet_id = rng.packet_id();
        encode_unsubscribe(version, packet_id, filters.iter().copied(), out);
        let Ok(Packet::Unsubscribe(read)) = decode(frame_of(out), version, Side::Server) else { panic!("{filters:?}") };
        assert_eq!((read.packet_id, read.len()), (packet_id, filters.len()));
        assert!(read.filters().eq(filters));
        Side::Server
    }

    fn unsuback(version: Version, rng: &mut Rng, words: &Words, out: &mut Vec<u8>) -> Side {
        let codes: Vec<ReasonCode> = (0..=rng.below(5)).map(|_| rng.reason(PacketType::UnsubAck)).collect();
        let packet_id = rng.packet_id();
        let reason_string = rng.maybe(|rng| words.text(rng)).filter(|_| version.is_v5());
        encode_unsuback(version, packet_id, &codes, reason_string, out);
        let Ok(Packet::UnsubAck(read)) = decode(frame_of(out), version, Side::Client) else { panic!("{codes:?}") };
        assert_eq!((read.packet_id, read.reason_string), (packet_id, reason_string));
        assert!(read.codes().eq(codes.into_iter().filter(|_| version.is_v5())));
        Side::Client
    }

    fn disconnect(version: Version, rng: &mut Rng, words: &Words, out: &mut Vec<u8>) -> Side {
        let mut disconnect = Disconnect::default();
        if version.is_v5() {
            disconnect.reason = rng.reason(PacketType::Disconnect);
            disconnect.session_expiry_s = rng.maybe(Rng::number);
            disconnect.reason_string = rng.maybe(|rng| words.text(rng));
            disconnect.server_reference = rng.maybe(|rng| words.text(rng));
        }
        disconnect.encode(version, out);
        meant(out, version, Side::Server, &Packet::Disconnect(disconnect))
    }

    fn auth(rng: &mut Rng, words: &Words, out: &mut Vec<u8>) -> Side {
        let auth = Auth {
            reason: ReasonCode::ContinueAuthentication,
            method: Some(words.text(rng)),
            data: rng.maybe(|rng| words.binary(rng)),
            reason_string: rng.maybe(|rng| words.text(rng)),
        };
        auth.encode(out);
        meant(out, Version::V5, rng.pick(&[Side::Server, Side::Client]), &Packet::Auth(auth))
    }

    fn seeds(count: u64) -> Vec<u64> {
        match std::env::var("CODEC_SEED") {
            Ok(seed) => vec![seed.parse().expect("CODEC_SEED is a number")],
            Err(_) => (1..=count).collect(),
        }
    }

    /// Prints the seed if the test fails under it.
    struct Seed(u64);

    impl Drop for Seed {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("failed with CODEC_SEED={}", self.0);
            }
        }
    }

    #[test]
    fn what_is_written_reads_back_and_is_written_the_same_again() {
        let words = Words::new();
        let mut out = Vec::new();
        for seed in seeds(400) {
            let _print = Seed(seed);
            let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            for version in [Version::V31, Version::V311, Version::V5] {
                for kind in 0..KINDS {
                    out.clear();
                    let side = generate(kind, version, &mut rng, &words, &mut out);
                    let packet = decode(frame_of(&out), version, side).unwrap();
                    let mut again = Vec::new();
                    packet.encode(version, &mut again);
                    assert_eq!(out, again, "{packet:?}");
                }
            }
        }
    }

    #[test]
    fn damaged_packets_are_refused_or_are_packets() {
        let words = Words::new();
        let (mut out, mut decoded, mut tried) = (Vec::new(), 0_u32, 0_u32);
        for seed in seeds(300) {
            let _print = Seed(seed);
            let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            for version in [Version::V31, Version::V311, Version::V5] {
                for kind in 0..KINDS {
                    out.clear();
                    let side = generate(kind, version, &mut rng, &words, &mut out);
                    for _ in 0..4 {
                        // Damage near the front meets the fields; a long payload would swallow it.
                        let at = rng.below(out.len().min(64));
                        let before = std::mem::replace(&mut out[at], rng.next() as u8);
                        if let Ok(Some((frame, _))) = frame::next(&out, NO_LIMIT) {
                            tried += 1;
                            decoded += u32::from(repeats(frame, version, side));
                            repeats(frame, Version::V311, Side::Server);
                            repeats(frame, Version::V5, Side::Client);
                        }
                        out[at] = before;
                    }
                }
            }
        }
        assert!(decoded > 0 && decoded < tried, "{decoded} of {tried}");
    }

    #[test]
    fn a_stream_gives_the_same_packets_however_it_is_split() {
        let words = Words::new();
        for seed in seeds(40) {
            let _print = Seed(seed);
            let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let (mut stream, mut packets) = (Vec::new(), Vec::new());
            for kind in 0..KINDS {
                let mut out = Vec::new();
                generate(kind, Version::V5, &mut rng, &words, &mut out);
                stream.extend_from_slice(&out);
                packets.push(out);
            }
            let (mut buffer, mut cut) = (Vec::new(), Vec::new());
            let mut rest = &stream[..];
            while !rest.is_empty() {
                let (now, later) = rest.split_at(1 + rng.below(rest.len().min(3_000)));
                buffer.extend_from_slice(now);
                rest = later;
                while let Some((frame, len)) = frame::next(&buffer, NO_LIMIT).unwrap() {
                    assert_eq!(frame.first, buffer[0]);
                    assert_eq!(frame::total_len(&buffer, NO_LIMIT), Ok(Some(len)));
                    cut.push(buffer.drain(..len).collect::<Vec<u8>>());
                }
            }
            assert!(buffer.is_empty() && cut == packets);
        }
    }
}
