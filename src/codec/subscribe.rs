//! SUBSCRIBE (MQTT 5.0, 3.8).
//!
//! What always holds: a decoded packet was read to its end, so walking over its filters cannot fail. The syntax of a
//! filter (places of wildcards, share names) is checked by `topic`, filter by filter, because each has its own code in
//! the SUBACK.

use super::error::DecodeError;
use super::frame::Frame;
use super::properties::{Allowed, Properties, Property, put_some};
use super::wire::{Reader, put_packet, put_string, put_u8, put_u16, put_with_length};
use super::{Version, expect_first_of_request};
use crate::ids::{PacketId, Qos, SubscriptionId};
use crate::limits::FILTERS_PER_PACKET_MAX;

/// Whether retained messages are sent when a subscription is made (MQTT 5.0, 3.8.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum RetainHandling {
    /// At every SUBSCRIBE; the only way before 5.0.
    #[default]
    SendAlways = 0,
    /// If the subscription did not exist.
    SendIfNew = 1,
    /// The subscription begins with what is published from now on.
    Never = 2,
}

/// How one filter is subscribed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct SubscriptionOptions {
    /// Highest quality of service to deliver with.
    pub qos: Qos,
    /// Not to the connection that published.
    pub no_local: bool,
    /// Keep the retain flag as the publisher set it.
    pub retain_as_published: bool,
    /// Retained messages at SUBSCRIBE.
    pub retain_handling: RetainHandling,
}

impl SubscriptionOptions {
    /// As the byte that MQTT 5.0 has for them.
    pub const fn to_bits(self) -> u8 {
        self.qos as u8
            | (self.no_local as u8) << 2
            | (self.retain_as_published as u8) << 3
            | (self.retain_handling as u8) << 4
    }

    /// From that byte; `None` where it is not one that [`SubscriptionOptions::to_bits`] makes.
    pub const fn from_bits(bits: u8) -> Option<Self> {
        let Some(qos) = Qos::from_bits(bits & 0b11) else { return None };
        let retain_handling = match bits >> 4 {
            0 => RetainHandling::SendAlways,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::Never,
            _ => return None,
        };
        Some(Self { qos, no_local: bits & 0b100 != 0, retain_as_published: bits & 0b1000 != 0, retain_handling })
    }

    fn decode(bits: u8, version: Version) -> Result<Self, DecodeError> {
        let reserved = if version.is_v5() { 0b1100_0000 } else { 0b1111_1100 };
        if bits & reserved != 0 {
            return Err(DecodeError::Malformed("reserved subscription options")); // [MQTT-3.8.3-5], [3.1.1 3.8.3-4]
        }
        if !version.is_v5() && bits == 3 {
            return Err(DecodeError::Malformed("QoS 3 in a subscription")); // [MQTT-3.8.3-4 of 3.1.1]
        }
        Self::from_bits(bits).ok_or(DecodeError::Protocol("QoS 3 or retain handling 3 in a subscription"))
    }
}

/// One of the filters that a SUBSCRIBE holds, and how to subscribe it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscribeFilter<'a> {
    /// UTF-8 without U+0000; otherwise unchecked.
    pub filter: &'a str,
    /// How to subscribe it.
    pub options: SubscriptionOptions,
}

/// A request for subscriptions: one filter, or up to [`FILTERS_PER_PACKET_MAX`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// To be repeated in the SUBACK.
    pub packet_id: PacketId,
    /// To be sent with every message that one of these filters matches.
    pub subscription_id: Option<SubscriptionId>,
    payload: &'a [u8],
    count: u32,
    version: Version,
}

impl<'a> Subscribe<'a> {
    /// Decodes what a client sent.
    pub fn decode(frame: Frame<'a>, version: Version) -> Result<Self, DecodeError> {
        expect_first_of_request(frame, 0x82, version)?; // [MQTT-3.8.1-1]
        let mut reader = Reader::new(frame.body);
        let packet_id = reader.packet_id()?;
        let mut subscription_id = None;
        if version.is_v5() {
            let mut properties = Properties::take_from(&mut reader, Allowed::SUBSCRIBE)?;
            while let Some(property) = properties.next()? {
                if let Property::SubscriptionIdentifier(id) = property {
                    subscription_id = Some(id);
                }
            }
        }
        let payload = reader.rest();
        let mut count = 0;
        while !reader.is_empty() {
            let filter = read_filter(&mut reader, version)?;
            if filter.options.no_local && filter.filter.starts_with("$share/") {
                return Err(DecodeError::Protocol("no local on a shared subscription")); // [MQTT-3.8.3-4]
            }
            count += 1;
            if count > FILTERS_PER_PACKET_MAX {
                return Err(DecodeError::LimitExceeded("more than 32,768 filters in one SUBSCRIBE"));
            }
        }
        if count == 0 {
            return Err(DecodeError::Protocol("SUBSCRIBE without a topic filter")); // [MQTT-3.8.3-2]
        }
        Ok(Self { packet_id, subscription_id, payload, count, version })
    }

    /// The filters in their order.
    pub fn filters(&self) -> impl Iterator<Item = SubscribeFilter<'a>> + Clone + use<'a> {
        subscribe_filters(self.payload, self.version)
    }

    /// The bytes of the filters, for [`subscribe_filters`].
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// How many filters there are: at least one.
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    pub const fn len(&self) -> usize {
        self.count as usize
    }

    /// Appends the packet as `version` has it.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        encode_subscribe(version, self.packet_id, self.subscription_id, self.filters(), out);
    }
}

impl std::fmt::Debug for Subscribe<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Subscribe")
            .field("packet_id", &self.packet_id)
            .field("subscription_id", &self.subscription_id)
            .field("filters", &self.filters().collect::<Vec<_>>())
            .finish()
    }
}

/// The filters of a decoded SUBSCRIBE, from the beginning of one of them on.
pub fn subscribe_filters(payload: &[u8], version: Version) -> impl Iterator<Item = SubscribeFilter<'_>> + Clone {
    let mut reader = Reader::new(payload);
    std::iter::from_fn(move || if reader.is_empty() { None } else { read_filter(&mut reader, version).ok() })
}

impl SubscribeFilter<'_> {
    /// Bytes that it takes in its packet.
    pub const fn len_bytes(&self) -> usize {
        2 + self.filter.len() + 1
    }
}

fn read_filter<'a>(reader: &mut Reader<'a>, version: Version) -> Result<SubscribeFilter<'a>, DecodeError> {
    let filter = reader.string()?; // [MQTT-3.8.3-1]
    Ok(SubscribeFilter { filter, options: SubscriptionOptions::decode(reader.u8()?, version)? })
}

/// Appends a SUBSCRIBE. Before 5.0 there is no identifier and of the options only the QoS goes out.
pub fn encode_subscribe<'a>(
    version: Version,
    packet_id: PacketId,
    subscription_id: Option<SubscriptionId>,
    filters: impl IntoIterator<Item = SubscribeFilter<'a>>,
    out: &mut Vec<u8>,
) {
    put_packet(out, 0x82, |out| {
        put_u16(out, packet_id.get());
        if version.is_v5() {
            put_with_length(out, |out| put_some(out, subscription_id, Property::SubscriptionIdentifier));
        }
        for SubscribeFilter { filter, options } in filters {
            put_string(out, filter);
            put_u8(out, if version.is_v5() { options.to_bits() } else { options.qos as u8 });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::super::Packet;
    use super::super::Side::Server;
    use super::super::tests::{bytes, refused};
    use super::*;
    use Version::{V5, V31, V311};

    fn read(sample: &[u8], version: Version) -> Result<Subscribe<'_>, DecodeError> {
        let (frame, _) = super::super::frame::next(sample, u32::MAX)?.expect("a whole packet");
        Subscribe::decode(frame, version)
    }

    fn plain(filter: &str, qos: Qos) -> SubscribeFilter<'_> {
        SubscribeFilter { filter, options: SubscriptionOptions { qos, ..SubscriptionOptions::default() } }
    }

    #[test]
    fn samples_of_all_versions() {
        let all = SubscriptionOptions {
            qos: Qos::ExactlyOnce,
            no_local: true,
            retain_as_published: true,
            retain_handling: RetainHandling::Never,
        };
        let cases = [
            (V31, "82 06 00 0a 00 01 'a' 01", None, vec![plain("a", Qos::AtLeastOnce)]),
            (
                V311,
                "82 0c 00 0a 00 01 '#' 00 00 03 'a/+' 02",
                None,
                vec![plain("#", Qos::AtMostOnce), plain("a/+", Qos::ExactlyOnce)],
            ),
            (V5, "82 07 00 0a 00 00 01 'a' 01", None, vec![plain("a", Qos::AtLeastOnce)]),
            (
                V5,
                "82 0a 00 0a 03 0b ac 02 00 01 'a' 2e",
                SubscriptionId::new(300),
                vec![SubscribeFilter { filter: "a", options: all }],
            ),
            // The syntax of filters is not judged here.
            (
                V311,
                "82 0a 00 0a 00 02 'a#' 00 00 00 00",
                None,
                vec![plain("a#", Qos::AtMostOnce), plain("", Qos::AtMostOnce)],
            ),
        ];
        for (version, sample, id, filters) in cases {
            let bytes = bytes(sample);
            let subscribe = read(&bytes, version).unwrap();
            assert_eq!((subscribe.packet_id.get(), subscribe.subscription_id), (10, id));
            assert_eq!(subscribe.len(), filters.len());
            assert!(subscribe.filters().eq(filters), "{subscribe:?}");
            super::super::tests::both_ways(version, Server, sample, &Packet::Subscribe(subscribe));
        }
    }

    #[test]
    fn before_5_0_only_the_qos_goes_out() {
        let options = SubscriptionOptions { no_local: true, ..plain("a", Qos::AtLeastOnce).options };
        for version in [V31, V311] {
            let mut out = Vec::new();
            let filters = [SubscribeFilter { filter: "a", options }];
            encode_subscribe(version, PacketId::MIN, SubscriptionId::new(9), filters, &mut out);
            assert_eq!(out, [0x82, 6, 0, 1, 0, 1, b'a', 1]);
        }
    }

    #[test]
    fn a_request_of_3_1_may_be_marked_as_sent_again() {
        let bytes = bytes("8a 06 00 0a 00 01 'a' 01");
        assert!(read(&bytes, V31).is_ok());
        for version in [V311, V5] {
            assert_eq!(read(&bytes, version), Err(DecodeError::Malformed("reserved flags in the fixed header")));
        }
    }

    #[test]
    fn options_are_one_byte_both_ways() {
        let mut valid = 0;
        for bits in 0..=255 {
            let Some(options) = SubscriptionOptions::from_bits(bits) else { continue };
            assert_eq!(options.to_bits(), bits, "{options:?}");
            valid += 1;
        }
        assert_eq!(valid, 3 * 2 * 2 * 3);
    }

    #[test]
    fn what_a_subscribe_may_not_be() {
        let cases = [
            (V311, "82 02 00 0a", DecodeError::Protocol("SUBSCRIBE without a topic filter")),
            (V5, "82 03 00 0a 00", DecodeError::Protocol("SUBSCRIBE without a topic filter")),
            (V311, "82 06 00 00 00 01 'a' 01", DecodeError::Protocol("packet identifier 0")),
            (V311, "82 06 00 0a 00 01 'a' 03", DecodeError::Malformed("QoS 3 in a subscription")),
            (V311, "82 06 00 0a 00 01 'a' 04", DecodeError::Malformed("reserved subscription options")),
            (V31, "82 06 00 0a 00 01 'a' 80", DecodeError::Malformed("reserved subscription options")),
            (V5, "82 07 00 0a 00 00 01 'a' 40", DecodeError::Malformed("reserved subscription options")),
            (V5, "82 07 00 0a 00 00 01 'a' 81", DecodeError::Malformed("reserved subscription options")),
            (V5, "82 07 00 0a 00 00 01 'a' 03", DecodeError::Protocol("QoS 3 or retain handling 3 in a subscription")),
            (V5, "82 07 00 0a 00 00 01 'a' 30", DecodeError::Protocol("QoS 3 or retain handling 3 in a subscription")),
            (V5, "82 10 00 0a 00 00 0a '$share/g/a' 04", DecodeError::Protocol("no local on a shared subscription")),
            (V311, "82 05 00 0a 00 01 'a'", DecodeError::Malformed("packet ends inside a field")),
            (V311, "82 06 00 0a 00 01 00 01", DecodeError::Malformed("U+0000 in a string")),
            (V5, "82 09 00 0a 02 0b 00 00 01 'a' 00", DecodeError::Protocol("subscription identifier 0")),
        ];
        for (version, sample, error) in cases {
            refused(version, Server, sample, error);
        }
    }

    #[test]
    fn a_packet_has_as_many_filters_as_one_may_have_and_not_one_more() {
        let most = FILTERS_PER_PACKET_MAX as usize;
        let packet = |count: usize| {
            let mut out = Vec::new();
            encode_subscribe(V5, PacketId::MIN, None, vec![plain("a", Qos::AtMostOnce); count], &mut out);
            out
        };
        let out = packet(most);
        let subscribe = read(&out, V5).unwrap();
        assert_eq!((subscribe.len(), subscribe.filters().count()), (most, most));
        let first = subscribe.filters().next().unwrap();
        assert_eq!(subscribe_filters(&subscribe.payload()[first.len_bytes()..], V5).count(), most - 1);
        assert!(matches!(read(&packet(most + 1), V5), Err(DecodeError::LimitExceeded(_))));
    }
}
