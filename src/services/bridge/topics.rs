//! Which messages pass a bridge, what they are called on the other side, and how many bridges they have passed.
//!
//! Always holds: of several topics that are about a message, the first in the table decides.

use std::fmt::Write as _;

use crate::codec::{Forwarded, Property};
use crate::config::BridgeTopic;
use crate::limits::USER_PROPERTIES_MAX;
use crate::topic::{TopicFilter, TopicName, matches};

/// The user property that counts.
const HOPS: &str = "dunlin-hops";

/// The name there of a message that is published here under this one.
pub(super) fn remote_name(topics: &[BridgeTopic], local: &str) -> Option<String> {
    let outgoing = topics.iter().filter(|topic| topic.direction.goes_out());
    renamed(outgoing.map(|topic| (topic, &*topic.local_prefix, &*topic.remote_prefix)), local)
}

/// The name here of a message that is published there under this one.
pub(super) fn local_name(topics: &[BridgeTopic], remote: &str) -> Option<String> {
    let incoming = topics.iter().filter(|topic| topic.direction.comes_in());
    renamed(incoming.map(|topic| (topic, &*topic.remote_prefix, &*topic.local_prefix)), remote)
}

fn renamed<'a>(topics: impl Iterator<Item = (&'a BridgeTopic, &'a str, &'a str)>, name: &str) -> Option<String> {
    for (topic, from, to) in topics {
        let filter = format!("{from}{}", topic.pattern);
        let (Ok(filter), Ok(known)) = (TopicFilter::parse(&filter, u16::MAX), TopicName::parse(name, u16::MAX)) else {
            continue;
        };
        if matches(filter, known)
            && let Some(rest) = name.strip_prefix(from)
        {
            let renamed = format!("{to}{rest}");
            return TopicName::parse(&renamed, u16::MAX).is_ok().then_some(renamed);
        }
    }
    None
}

/// How many bridges a message has passed, as far as it says so.
pub(super) fn hops(properties: Forwarded<'_>) -> u32 {
    properties
        .iter()
        .find_map(|property| match property {
            Property::UserProperty(HOPS, count) => Some(count.parse().unwrap_or(u32::MAX)),
            _ => None,
        })
        .unwrap_or(0)
}

/// Whether a message may say that it has passed one bridge more: dunlin takes so many user properties, and other brokers no more.
pub(super) fn has_room_for_hop(properties: Forwarded<'_>) -> bool {
    let others =
        properties.iter().filter(|property| matches!(property, Property::UserProperty(name, _) if *name != HOPS));
    others.count() < USER_PROPERTIES_MAX
}

/// The properties of a message that has passed one bridge more.
pub(super) fn with_hop(properties: Forwarded<'_>, hops: u32) -> Box<[u8]> {
    let mut out = Vec::with_capacity(properties.len_bytes() + 32);
    for property in properties.iter().filter(|property| !matches!(property, Property::UserProperty(HOPS, _))) {
        property.write_to(&mut out);
    }
    let mut count = String::new();
    let _ = write!(count, "{}", hops.saturating_add(1));
    Property::UserProperty(HOPS, &count).write_to(&mut out);
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics(texts: &[&str]) -> Vec<BridgeTopic> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn names_change_their_prefix_and_keep_the_rest() {
        let topics = topics(&["# out 1 site/ dc/s1/", "cmd/+ in 2 \"\" dc/s1/", "\"\" both 0 lamp remote/lamp"]);
        for (local, remote) in
            [("site/a/b", Some("dc/s1/a/b")), ("lamp", Some("remote/lamp")), ("cmd/x", None), ("other", None)]
        {
            assert_eq!(remote_name(&topics, local).as_deref(), remote, "{local}");
        }
        for (remote, local) in
            [("dc/s1/cmd/x", Some("cmd/x")), ("dc/s1/cmd/x/y", None), ("remote/lamp", Some("lamp")), ("dc/s1/a", None)]
        {
            assert_eq!(local_name(&topics, remote).as_deref(), local, "{remote}");
        }
    }

    #[test]
    fn each_bridge_counts_one_hop_and_keeps_what_else_a_message_says() {
        let mut block = Vec::new();
        Property::ContentType("text/plain").write_to(&mut block);
        Property::UserProperty("k", "v").write_to(&mut block);
        assert_eq!(hops(Forwarded::from_clean_block(&block)), 0);
        let once = with_hop(Forwarded::from_clean_block(&block), 0);
        let twice = with_hop(Forwarded::from_clean_block(&once), 1);
        let passed = Forwarded::from_clean_block(&twice);
        assert_eq!((hops(passed), passed.iter().count()), (2, 3));
        assert!(passed.iter().any(|property| property == Property::ContentType("text/plain")));
        let mut wrong = Vec::new();
        Property::UserProperty(HOPS, "many").write_to(&mut wrong);
        assert_eq!(hops(Forwarded::from_clean_block(&wrong)), u32::MAX, "what cannot be read passes no bridge");
    }
}
