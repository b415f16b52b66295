//! Files of access rules and of bans: any text is rules or a refusal, and what rules say of a filter is what they say of its messages.

#![no_main]

use core::net::IpAddr;

use dunlin::auth::BanList;
use dunlin::auth::acl::{Publication, RuleSet, SubscribeRight, Who, parse_mosquitto};
use dunlin::ids::Qos;
use libfuzzer_sys::fuzz_target;

const TOPICS: [&str; 8] = ["a", "a/b", "a/b/c", "$SYS/x", "dev/c1/t", "c1", "ann/x", "/"];

/// A filter without wildcards has one topic: what may come of it is what may be received there.
fn agree(rules: &RuleSet, who: &Who<'_>) {
    for topic in TOPICS {
        let receives = rules.may_receive(who, topic);
        for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
            let (right, _) = rules.may_subscribe(who, topic, qos);
            if right == SubscribeRight::Wholly {
                assert!(receives.allowed, "{topic} of {who:?}");
            }
            let published = rules.may_publish(who, Publication { topic, qos, retain: false });
            assert!(published.rule.is_some() || !published.allowed, "nobody says yes by himself");
        }
        assert_eq!(receives, rules.may_receive(who, topic));
    }
}

fuzz_target!(|input: &[u8]| {
    let Ok(text) = core::str::from_utf8(input) else { return };
    if let Ok(rules) = parse_mosquitto(text) {
        assert!(rules.len() > 0, "a file without rules is none");
        for user in [None, Some("ann"), Some("c1"), Some("a/+")] {
            for client_id in ["c1", "a", "#"] {
                agree(&rules, &Who { client_id, user, listener: "public", peer: None });
            }
        }
    }
    if let Ok(list) = BanList::parse(text) {
        // What a cut file comes to is a part of it, or nothing.
        let half = text.char_indices().nth(text.chars().count() / 2).map_or("", |(at, _)| &text[..at]);
        let part = BanList::parse(half).unwrap_or_default();
        for peer in ["192.0.2.7", "10.0.0.1", "2001:db8::1", "::ffff:192.0.2.7", "0.0.0.0", "::"] {
            let peer: IpAddr = peer.parse().expect("an address");
            assert!(list.has_address(peer) || !part.has_address(peer), "{peer}");
            assert_eq!(list.has_address(peer), list.has_address(peer.to_canonical()));
        }
    }
});
