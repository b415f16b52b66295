//! Properties that outlive the packet they came in: those that a server passes on unchanged and in their order
//! [MQTT-3.3.2-4, -15, -16, -17, -18, -20], and user properties that are kept as borrowed bytes.
//!
//! What always holds: a block was validated by the walk of `properties` before it gets here, or is by [`Forwarded::checked`], so iterating cannot fail.

use super::properties::{Allowed, Properties, Property, id};
use super::wire::Reader;

/// The properties of a PUBLISH or a will that go on to subscribers: payload format, content type, response topic,
/// correlation data and user properties. Those that end at this hop (topic alias, message expiry, subscription
/// identifiers, will delay) may lie between them in the block as it was received; what is written leaves them out.
#[derive(Clone, Copy, Default)]
pub struct Forwarded<'a> {
    block: &'a [u8],
    /// Bytes of `block` that end at this hop. 0 makes passing it on one copy.
    hop_bytes: usize,
}

impl<'a> Forwarded<'a> {
    /// Of a message that has no properties, and of any message before 5.0.
    pub const EMPTY: Self = Self { block: &[], hop_bytes: 0 };

    /// A block that an earlier [`Forwarded::write_to`] or [`Property::write_to`] produced: validated, and without
    /// properties that end at a hop.
    pub const fn from_clean_block(block: &'a [u8]) -> Self {
        Self { block, hop_bytes: 0 }
    }

    /// A block that somebody else says is one, as another node of a cluster does: walked through before it counts. `None` if anything in it is not
    /// valid, stands there twice, or is for one hop alone.
    pub fn checked(block: &'a [u8]) -> Option<Self> {
        Properties::of_block(block, Allowed::FORWARDED).check().ok()?;
        Some(Self::from_clean_block(block))
    }

    /// A block as received, of which `hop_bytes` bytes end here.
    pub(super) const fn from_received(block: &'a [u8], hop_bytes: usize) -> Self {
        debug_assert!(hop_bytes <= block.len());
        Self { block, hop_bytes }
    }

    /// Whether there is nothing to pass on.
    pub const fn is_empty(&self) -> bool {
        self.len_bytes() == 0
    }

    /// How many bytes [`Forwarded::write_to`] appends.
    pub const fn len_bytes(&self) -> usize {
        self.block.len() - self.hop_bytes
    }

    /// The properties without a length in front, where they lie together as they go on.
    pub const fn as_block(&self) -> Option<&'a [u8]> {
        if self.hop_bytes == 0 { Some(self.block) } else { None }
    }

    /// Appends the properties without a length in front.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        if self.hop_bytes > 0 {
            out.reserve(self.len_bytes());
        }
        self.for_each_piece(|piece| out.extend_from_slice(piece));
    }

    /// Hands over the properties in pieces, without a length in front.
    pub fn for_each_piece(&self, mut each: impl FnMut(&[u8])) {
        if self.hop_bytes == 0 {
            each(self.block);
            return;
        }
        let mut rest = self.block;
        while let Some((property, behind)) = split_first(rest) {
            if !ends_here(&property) {
                each(&rest[..rest.len() - behind.len()]);
            }
            rest = behind;
        }
    }

    /// The properties in their order.
    pub fn iter(&self) -> impl Iterator<Item = Property<'a>> + Clone + use<'a> {
        properties(self.block).filter(|property| !ends_here(property))
    }
}

/// Equal if the same properties go on in the same order, whatever lay between them.
impl PartialEq for Forwarded<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.len_bytes() == other.len_bytes() && self.iter().eq(other.iter())
    }
}

impl Eq for Forwarded<'_> {}

impl std::fmt::Debug for Forwarded<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_list().entries(self.iter()).finish()
    }
}

/// The user properties of a packet, still in its property block.
#[derive(Clone, Copy, Default)]
pub struct UserProperties<'a> {
    block: &'a [u8],
}

impl<'a> UserProperties<'a> {
    /// Of a packet that has none, and of any packet before 5.0.
    pub const EMPTY: Self = Self { block: &[] };

    /// Those of a validated block.
    pub(super) const fn of(block: &'a [u8]) -> Self {
        Self { block }
    }

    /// Name and value of each, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> + Clone + use<'a> {
        properties(self.block).filter_map(|property| match property {
            Property::UserProperty(name, value) => Some((name, value)),
            _ => None,
        })
    }
}

impl PartialEq for UserProperties<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for UserProperties<'_> {}

impl std::fmt::Debug for UserProperties<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_map().entries(self.iter()).finish()
    }
}

/// All properties of a validated block.
pub(super) fn properties(block: &[u8]) -> impl Iterator<Item = Property<'_>> + Clone {
    let mut rest = block;
    std::iter::from_fn(move || {
        let (property, behind) = split_first(rest)?;
        rest = behind;
        Some(property)
    })
}

/// The first property of a validated block and what is behind it; `None` at the end.
fn split_first(block: &[u8]) -> Option<(Property<'_>, &[u8])> {
    let (&id, value) = block.split_first()?;
    let mut reader = Reader::new(value);
    let property = Property::read_value(id, &mut reader);
    debug_assert!(property.is_ok(), "a block that was not validated: {block:02x?}");
    Some((property.ok()?, reader.rest()))
}

/// Whether the property concerns only the two ends of this connection.
const fn ends_here(property: &Property<'_>) -> bool {
    matches!(
        property.id(),
        id::TOPIC_ALIAS | id::MESSAGE_EXPIRY_INTERVAL | id::SUBSCRIPTION_IDENTIFIER | id::WILL_DELAY_INTERVAL
    )
}

#[cfg(test)]
mod tests {
    use super::super::properties::tests::samples;
    use super::*;
    use crate::ids::{SubscriptionId, TopicAlias};

    fn block(properties: &[Property<'_>]) -> Vec<u8> {
        let mut out = Vec::new();
        for property in properties {
            property.write_to(&mut out);
        }
        out
    }

    #[test]
    fn what_ends_at_this_hop_is_left_out_and_the_rest_keeps_its_order() {
        let first = Property::UserProperty("b", "1");
        let second = Property::ContentType("text/plain");
        let third = Property::UserProperty("a", "2");
        let received = block(&[
            Property::TopicAlias(TopicAlias::MIN),
            first,
            Property::MessageExpiryInterval(9),
            Property::SubscriptionIdentifier(SubscriptionId::new(300).unwrap()),
            second,
            third,
            Property::SubscriptionIdentifier(SubscriptionId::MIN),
        ]);
        let forwarded = Forwarded::from_received(&received, 3 + 5 + 3 + 2);
        let mut written = vec![0x55];
        forwarded.write_to(&mut written);
        assert_eq!(written[1..], block(&[first, second, third]));
        assert_eq!(forwarded.len_bytes(), written.len() - 1);
        assert_eq!(forwarded, Forwarded::from_clean_block(&written[1..]));
        assert_eq!(forwarded.iter().collect::<Vec<_>>(), [first, second, third]);
    }

    #[test]
    fn a_block_of_hop_properties_alone_is_empty() {
        let received = block(&[Property::WillDelayInterval(5), Property::MessageExpiryInterval(9)]);
        let forwarded = Forwarded::from_received(&received, received.len());
        let mut written = Vec::new();
        forwarded.write_to(&mut written);
        assert!(forwarded.is_empty() && written.is_empty() && forwarded == Forwarded::EMPTY);
    }

    #[test]
    fn what_another_node_sends_is_walked_through_before_it_counts() {
        let goes_on = |property: &Property<'_>| {
            matches!(
                property,
                Property::PayloadFormatIndicator(_)
                    | Property::ContentType(_)
                    | Property::ResponseTopic(_)
                    | Property::CorrelationData(_)
                    | Property::UserProperty(..)
            )
        };
        let mut whole = Vec::new();
        let mut ends = vec![0];
        for property in samples() {
            let bytes = block(&[property]);
            assert_eq!(Forwarded::checked(&bytes).is_some(), goes_on(&property), "{property:?}");
            for len in 1..bytes.len() {
                assert_eq!(Forwarded::checked(&bytes[..len]), None, "{property:?} cut after {len}");
            }
            if goes_on(&property) {
                whole.extend_from_slice(&bytes);
                ends.push(whole.len());
                let twice = block(&[property, property]);
                let may_come_again = matches!(property, Property::UserProperty(..));
                assert_eq!(Forwarded::checked(&twice).is_some(), may_come_again, "{property:?}");
            }
        }
        assert_eq!(Forwarded::checked(&whole).unwrap().iter().count(), 5);
        for len in 0..whole.len() {
            assert_eq!(Forwarded::checked(&whole[..len]).is_some(), ends.contains(&len), "{len}");
        }
        assert_eq!(Forwarded::checked(&[0x08, 0, 1, b'#']), None, "a response topic with a wildcard");
        assert_eq!(Forwarded::checked(&[0x03, 0, 1, 0xff]), None, "a text that is none");
        let many = block(&vec![Property::UserProperty("", ""); crate::limits::USER_PROPERTIES_MAX + 1]);
        assert_eq!(Forwarded::checked(&many), None);
        assert!(Forwarded::checked(&many[5..]).is_some());
    }

    #[test]
    fn order_of_user_properties_is_part_of_equality() {
        let (a, b) = (Property::UserProperty("a", "1"), Property::UserProperty("b", "2"));
        let (ab, ba) = (block(&[a, b]), block(&[b, a]));
        assert_ne!(Forwarded::from_clean_block(&ab), Forwarded::from_clean_block(&ba));
        assert_ne!(UserProperties::of(&ab), UserProperties::of(&ba));
        let with_reason = block(&[a, Property::ReasonString("why"), b]);
        assert_eq!(UserProperties::of(&ab), UserProperties::of(&with_reason));
    }
}
