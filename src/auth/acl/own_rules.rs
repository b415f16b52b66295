//! Rules of one client as bytes: what is written down with a session that outlives the process.
//!
//! A rule is flags (bit 0 allows, 1 publish, 2 subscribe, 3 RETAIN counts, 4 RETAIN, 5 QoS counts), a mask of QoS where it counts, the length of its topic
//! (u32, little-endian) and the topic as it was given.
//! Always holds: what was encoded reads back as equal rules; bytes that cannot be read are no rules, never fewer of them.

use super::pattern::{PatternError, TopicPattern};
use super::rules::{Actions, Permission, Rule, RuleSet};
use crate::limits::ACL_RULES_OF_CLIENT_MAX;

const ALLOWS: u8 = 1;
const PUBLISH: u8 = 1 << 1;
const SUBSCRIBE: u8 = 1 << 2;
const RETAIN_COUNTS: u8 = 1 << 3;
const RETAIN: u8 = 1 << 4;
const QOS_COUNTS: u8 = 1 << 5;

impl Permission {
    /// Of a topic as tokens and back ends write it: `%c`, `%u`, `${clientid}` and `${username}` stand for the ids; one that begins with `eq ` has no wildcards.
    pub fn of_text(allows: bool, actions: Actions, topic: &str) -> Result<Self, PatternError> {
        let pattern = match topic.strip_prefix("eq ") {
            Some(exact) if exact.contains(['+', '#']) => return Err(PatternError::Wildcard),
            Some(exact) => TopicPattern::literal(exact)?,
            None => TopicPattern::with_ids(&topic.replace("${clientid}", "%c").replace("${username}", "%u"))?,
        };
        Ok(Self { allows, actions, pattern, text: topic.into(), qos: None, retain: None })
    }
}

impl RuleSet {
    /// The rules of a set that was made by [`Self::of_one_client`].
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for rule in self.rules() {
            put(rule, &mut out);
        }
        out
    }

    /// What [`Self::to_bytes`] has written; `None` for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (mut rest, mut permissions) = (bytes, Vec::new());
        while !rest.is_empty() {
            permissions.push(take(&mut rest)?);
        }
        (permissions.len() <= ACL_RULES_OF_CLIENT_MAX).then(|| Self::of_one_client(permissions))
    }

    /// The same rules as JSON, in the form that back ends answer with.
    #[cfg(feature = "runtime")]
    pub fn to_json(&self) -> serde_json::Value {
        let of = |rule: &Rule| {
            let mut object = serde_json::json!({
                "permission": if rule.allows { "allow" } else { "deny" },
                "action": match rule.actions {
                    Actions::Publish => "publish",
                    Actions::Subscribe => "subscribe",
                    Actions::All => "all",
                },
                "topic": &*rule.text,
            });
            let conditions = rule.conditions.as_deref();
            if let Some(mask) = conditions.and_then(|found| found.qos) {
                object["qos"] = (0..3).filter(|level| mask >> level & 1 == 1).collect();
            }
            if let Some(retain) = conditions.and_then(|found| found.retain) {
                object["retain"] = retain.into();
            }
            object
        };
        self.rules().iter().map(of).collect()
    }
}

fn put(rule: &Rule, out: &mut Vec<u8>) {
    let conditions = rule.conditions.as_deref();
    let (qos, retain) = (conditions.and_then(|found| found.qos), conditions.and_then(|found| found.retain));
    let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
    out.push(
        flag(rule.allows, ALLOWS)
            | flag(rule.actions != Actions::Subscribe, PUBLISH)
            | flag(rule.actions != Actions::Publish, SUBSCRIBE)
            | flag(retain.is_some(), RETAIN_COUNTS)
            | flag(retain == Some(true), RETAIN)
            | flag(qos.is_some(), QOS_COUNTS),
    );
    out.extend(qos);
    out.extend_from_slice(&(rule.text.len() as u32).to_le_bytes());
    out.extend_from_slice(rule.text.as_bytes());
}

fn take(rest: &mut &[u8]) -> Option<Permission> {
    let (&flags, behind) = rest.split_first()?;
    let has = |flag| flags & flag != 0;
    let actions = match (has(PUBLISH), has(SUBSCRIBE)) {
        (true, true) => Actions::All,
        (true, false) => Actions::Publish,
        (false, true) => Actions::Subscribe,
        (false, false) => return None,
    };
    let (qos, behind) = if has(QOS_COUNTS) {
        let (&mask, behind) = behind.split_first()?;
        (Some(mask), behind)
    } else {
        (None, behind)
    };
    let (len, behind) = behind.split_first_chunk()?;
    let (topic, behind) = behind.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    *rest = behind;
    let permission = Permission::of_text(has(ALLOWS), actions, std::str::from_utf8(topic).ok()?).ok()?;
    Some(Permission { qos, retain: has(RETAIN_COUNTS).then(|| has(RETAIN)), ..permission })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_of_one_client_read_back_and_what_is_cut_short_is_none() {
        let rules = [
            (true, Actions::Publish, "dev/%c/up", None, None),
            (false, Actions::All, "alarms/#", Some(0b110), Some(true)),
            (true, Actions::Subscribe, "eq a/%c", None, Some(false)),
            (true, Actions::All, "chat/${username}/+", Some(1), None),
        ];
        let permissions = rules.map(|(allows, actions, topic, qos, retain)| Permission {
            qos,
            retain,
            ..Permission::of_text(allows, actions, topic).unwrap()
        });
        let set = RuleSet::of_one_client(permissions.into());
        let bytes = set.to_bytes();
        assert_eq!(RuleSet::from_bytes(&bytes), Some(set));
        let nothing = RuleSet::of_one_client(Vec::new());
        assert_eq!(RuleSet::from_bytes(&nothing.to_bytes()), Some(nothing), "rules that allow nothing are rules");
        let read: Vec<usize> =
            (0..bytes.len()).filter_map(|end| RuleSet::from_bytes(&bytes[..end]).map(|read| read.len())).collect();
        assert_eq!(read, [0, 1, 2, 3], "only whole rules are read");
        assert_eq!(RuleSet::from_bytes(&[ALLOWS, 1, 0, 0, 0, b'a']), None, "about nothing");
        assert_eq!(RuleSet::from_bytes(&[ALLOWS | PUBLISH, 2, 0, 0, 0, b'a', b'#']), None, "no topic");
        let many = [ALLOWS | PUBLISH, 1, 0, 0, 0, b'a'].repeat(ACL_RULES_OF_CLIENT_MAX + 1);
        assert_eq!(RuleSet::from_bytes(&many), None, "more than a client may have");
    }
}
