//! Properties of a message as operators are shown them.
//!
//! Always holds: so many bytes at most; what is left out is counted.

use crate::codec::{Forwarded, Property};

/// What MQTT 5.0 says about a payload, and what its publisher adds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShownProperties {
    /// What the payload is.
    pub content_type: Option<Box<str>>,
    /// Where an answer is expected.
    pub response_topic: Option<Box<str>>,
    /// Name and value of user properties, in their order.
    pub user: Vec<(Box<str>, Box<str>)>,
    /// How many of all these there was no room for.
    pub left_out: u32,
}

impl ShownProperties {
    /// Those of a message that fit into so many bytes.
    pub(super) fn of(properties: Forwarded<'_>, bytes_max: usize) -> Self {
        let mut shown = Self::default();
        let mut room = bytes_max;
        for property in properties.iter() {
            let bytes = match property {
                Property::ContentType(text) | Property::ResponseTopic(text) => text.len(),
                Property::UserProperty(name, value) => name.len() + value.len(),
                _ => continue,
            };
            let Some(left) = room.checked_sub(bytes) else {
                shown.left_out += 1;
                continue;
            };
            room = left;
            match property {
                Property::ContentType(text) => shown.content_type = Some(text.into()),
                Property::ResponseTopic(text) => shown.response_topic = Some(text.into()),
                Property::UserProperty(name, value) => shown.user.push((name.into(), value.into())),
                _ => {}
            }
        }
        shown
    }

    /// Bytes of all that is shown.
    pub(super) fn len_bytes(&self) -> usize {
        let texts = [&self.content_type, &self.response_topic];
        let of_user: usize = self.user.iter().map(|(name, value)| name.len() + value.len()).sum();
        texts.into_iter().flatten().map(|text| text.len()).sum::<usize>() + of_user
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_shown_and_what_does_not_is_counted() {
        let mut block = Vec::new();
        for property in [
            Property::PayloadFormatIndicator(true),
            Property::ContentType("text/plain"),
            Property::UserProperty("a", "1"),
            Property::UserProperty("long", "more than there is room for"),
            Property::UserProperty("a", "2"),
            Property::ResponseTopic("an/answer"),
        ] {
            property.write_to(&mut block);
        }
        let of = |bytes_max| ShownProperties::of(Forwarded::from_clean_block(&block), bytes_max);
        let shown = of(16);
        assert_eq!((shown.content_type.as_deref(), shown.response_topic.as_deref()), (Some("text/plain"), None));
        assert_eq!(shown.user, [("a".into(), "1".into()), ("a".into(), "2".into())]);
        assert_eq!((shown.left_out, shown.len_bytes()), (2, 14));
        let all = of(1_000);
        assert_eq!((all.left_out, all.user.len(), all.response_topic.as_deref()), (0, 3, Some("an/answer")));
        assert_eq!(ShownProperties::of(Forwarded::EMPTY, 1_000), ShownProperties::default());
    }
}
