//! UNSUBSCRIBE (MQTT 5.0, 3.10). As with SUBSCRIBE, walking over the filters of a decoded packet cannot fail.

use super::error::DecodeError;
use super::frame::Frame;
use super::properties::{Allowed, Properties};
use super::wire::{Reader, put_packet, put_string, put_u8, put_u16};
use super::{Version, expect_first_of_request};
use crate::ids::PacketId;
use crate::limits::FILTERS_PER_PACKET_MAX;

/// A request to end subscriptions: one filter, or up to [`FILTERS_PER_PACKET_MAX`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    /// To be repeated in the UNSUBACK.
    pub packet_id: PacketId,
    payload: &'a [u8],
    count: u32,
}

impl<'a> Unsubscribe<'a> {
    /// Decodes what a client sent.
    pub fn decode(frame: Frame<'a>, version: Version) -> Result<Self, DecodeError> {
        expect_first_of_request(frame, 0xa2, version)?; // [MQTT-3.10.1-1]
        let mut reader = Reader::new(frame.body);
        let packet_id = reader.packet_id()?;
        if version.is_v5() {
            Properties::take_from(&mut reader, Allowed::UNSUBSCRIBE)?.check()?;
        }
        let payload = reader.rest();
        let mut count = 0;
        while !reader.is_empty() {
            reader.string()?; // [MQTT-3.10.3-1]
            count += 1;
            if count > FILTERS_PER_PACKET_MAX {
                return Err(DecodeError::LimitExceeded("more than 32,768 filters in one UNSUBSCRIBE"));
            }
        }
        if count == 0 {
            return Err(DecodeError::Protocol("UNSUBSCRIBE without a topic filter")); // [MQTT-3.10.3-2]
        }
        Ok(Self { packet_id, payload, count })
    }

    /// The filters in their order: UTF-8 without U+0000, otherwise unchecked.
    pub fn filters(&self) -> impl Iterator<Item = &'a str> + Clone + use<'a> {
        unsubscribe_filters(self.payload)
    }

    /// The bytes of the filters, for [`unsubscribe_filters`].
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
        encode_unsubscribe(version, self.packet_id, self.filters(), out);
    }
}

impl std::fmt::Debug for Unsubscribe<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Unsubscribe")
            .field("packet_id", &self.packet_id)
            .field("filters", &self.filters().collect::<Vec<_>>())
            .finish()
    }
}

/// The filters of a decoded UNSUBSCRIBE, from the beginning of one of them on. Each takes two bytes more than its text.
pub fn unsubscribe_filters(payload: &[u8]) -> impl Iterator<Item = &str> + Clone {
    let mut reader = Reader::new(payload);
    std::iter::from_fn(move || if reader.is_empty() { None } else { reader.string().ok() })
}

/// Appends an UNSUBSCRIBE of filters that are at hand one by one.
pub fn encode_unsubscribe<'a>(
    version: Version,
    packet_id: PacketId,
    filters: impl IntoIterator<Item = &'a str>,
    out: &mut Vec<u8>,
) {
    put_packet(out, 0xa2, |out| {
        put_u16(out, packet_id.get());
        if version.is_v5() {
            put_u8(out, 0); // [MQTT-2.2.2-1]
        }
        filters.into_iter().for_each(|filter| put_string(out, filter));
    });
}

#[cfg(test)]
mod tests {
    use super::super::Packet;
    use super::super::Side::Server;
    use super::super::tests::{both_ways, bytes, decodes, refused};
    use super::*;
    use Version::{V5, V31, V311};

    fn read(sample: &[u8], version: Version) -> Result<Unsubscribe<'_>, DecodeError> {
        let (frame, _) = super::super::frame::next(sample, u32::MAX)?.expect("a whole packet");
        Unsubscribe::decode(frame, version)
    }

    #[test]
    fn samples_of_all_versions() {
        let cases: [(Version, &str, &[&str]); 4] = [
            (V31, "a2 05 00 0a 00 01 'a'", &["a"]),
            (V311, "a2 0a 00 0a 00 03 'a/#' 00 01 '+'", &["a/#", "+"]),
            (V5, "a2 06 00 0a 00 00 01 'a'", &["a"]),
            (V311, "a2 04 00 0a 00 00", &[""]),
        ];
        for (version, sample, filters) in cases {
            let bytes = bytes(sample);
            let unsubscribe = read(&bytes, version).unwrap();
            assert_eq!((unsubscribe.packet_id.get(), unsubscribe.len()), (10, filters.len()));
            assert!(unsubscribe.filters().eq(filters.iter().copied()));
            both_ways(version, Server, sample, &Packet::Unsubscribe(unsubscribe));
        }
    }

    #[test]
    fn user_properties_are_checked_and_not_kept() {
        let plain = bytes("a2 06 00 0a 00 00 01 'a'");
        let expected = Packet::Unsubscribe(read(&plain, V5).unwrap());
        decodes(V5, Server, "a2 0d 00 0a 07 26 00 01 'k' 00 01 'v' 00 01 'a'", &expected);
    }

    #[test]
    fn what_an_unsubscribe_may_not_be() {
        let cases = [
            (V311, "a2 02 00 0a", DecodeError::Protocol("UNSUBSCRIBE without a topic filter")),
            (V5, "a2 03 00 0a 00", DecodeError::Protocol("UNSUBSCRIBE without a topic filter")),
            (V311, "a2 05 00 00 00 01 'a'", DecodeError::Protocol("packet identifier 0")),
            (V311, "aa 05 00 0a 00 01 'a'", DecodeError::Malformed("reserved flags in the fixed header")),
            (V311, "a2 06 00 0a 00 01 'a' 00", DecodeError::Malformed("packet ends inside a field")),
            (V311, "a2 05 00 0a 00 01 ff", DecodeError::Malformed("string is not UTF-8")),
            (V5, "a2 08 00 0a 02 0b 01 00 01 'a'", DecodeError::Malformed("property that this packet may not carry")),
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
            encode_unsubscribe(V311, PacketId::MIN, vec!["a"; count], &mut out);
            out
        };
        let out = packet(most);
        let unsubscribe = read(&out, V311).unwrap();
        assert_eq!((unsubscribe.len(), unsubscribe.filters().count()), (most, most));
        assert_eq!(unsubscribe_filters(&unsubscribe.payload()[3..]).count(), most - 1);
        assert!(matches!(read(&packet(most + 1), V311), Err(DecodeError::LimitExceeded(_))));
    }
}
