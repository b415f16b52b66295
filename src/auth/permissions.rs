//! What a client may do as a token or a back end says it: JSON beside the rules of the file.
//!
//! ```json
//! {"pub": ["dev/%c/up"], "sub": ["dev/%c/down"], "all": ["chat/${username}/#"]}
//! [{"permission": "deny", "action": "publish", "topic": "alarms/#", "retain": true}]
//! ```
//! The first form is EMQX's of 4.x and dunlin's own (`publish` and `subscribe` are written out as well), the second one EMQX's of 5.x.
//! `%c`, `%u`, `${clientid}` and `${username}` stand for the ids; a topic that begins with `eq ` has no wildcards.
//! Always holds: what cannot be read gives no permission at all, instead of some of it.

use serde_json::Value;

use super::acl::{Actions, Permission, RuleSet};
use crate::limits::ACL_RULES_OF_CLIENT_MAX;

/// Why a value grants nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PermissionsError {
    /// Another shape.
    #[error("acl is neither an object of lists nor a list of rules")]
    Shape,
    /// A topic that is none.
    #[error("acl holds a topic that is none")]
    Topic,
    /// More than `ACL_RULES_OF_CLIENT_MAX`.
    #[error("acl holds more rules than a client may have")]
    TooMany,
}

/// Reads the rules of one client.
pub fn parse_permissions(value: &Value) -> Result<RuleSet, PermissionsError> {
    let mut permissions = Vec::new();
    match value {
        Value::Object(lists) => {
            for (word, topics) in lists {
                let actions = actions(word).ok_or(PermissionsError::Shape)?;
                for topic in topics.as_array().ok_or(PermissionsError::Shape)? {
                    let topic = topic.as_str().ok_or(PermissionsError::Shape)?;
                    permissions.push(permission(true, actions, topic)?);
                }
            }
        }
        Value::Array(rules) => {
            for rule in rules {
                read_rule(rule, &mut permissions)?;
            }
        }
        _ => return Err(PermissionsError::Shape),
    }
    if permissions.len() > ACL_RULES_OF_CLIENT_MAX {
        return Err(PermissionsError::TooMany);
    }
    Ok(RuleSet::of_one_client(permissions))
}

fn actions(word: &str) -> Option<Actions> {
    match word {
        "pub" | "publish" => Some(Actions::Publish),
        "sub" | "subscribe" => Some(Actions::Subscribe),
        "all" | "pubsub" => Some(Actions::All),
        _ => None,
    }
}

/// One rule of a list, for each of its topics.
fn read_rule(rule: &Value, permissions: &mut Vec<Permission>) -> Result<(), PermissionsError> {
    let text = |key: &str| rule.get(key).and_then(Value::as_str);
    let allows = match text("permission") {
        Some("allow") => true,
        Some("deny") => false,
        _ => return Err(PermissionsError::Shape),
    };
    let actions = match rule.get("action") {
        None => Actions::All,
        Some(word) => word.as_str().and_then(actions).ok_or(PermissionsError::Shape)?,
    };
    let topics: Vec<&str> = match (rule.get("topic"), rule.get("topics")) {
        (Some(Value::String(topic)), None) => vec![topic],
        (None, Some(Value::Array(topics))) => {
            topics.iter().map(Value::as_str).collect::<Option<_>>().ok_or(PermissionsError::Shape)?
        }
        _ => return Err(PermissionsError::Shape),
    };
    let (qos, retain) = (qos_of(rule.get("qos"))?, retain_of(rule.get("retain"))?);
    for topic in topics {
        permissions.push(Permission { qos, retain, ..permission(allows, actions, topic)? });
    }
    Ok(())
}

fn permission(allows: bool, actions: Actions, topic: &str) -> Result<Permission, PermissionsError> {
    Permission::of_text(allows, actions, topic).map_err(|_| PermissionsError::Topic)
}

/// A level or a list of levels as a mask.
fn qos_of(value: Option<&Value>) -> Result<Option<u8>, PermissionsError> {
    let level = |value: &Value| match value {
        Value::Number(number) => number.as_u64().filter(|level| *level <= 2),
        // EMQX takes both.
        Value::String(text) => text.parse().ok().filter(|level| *level <= 2),
        _ => None,
    };
    let mask = match value {
        None => return Ok(None),
        Some(Value::Array(levels)) => levels.iter().map(level).try_fold(0, |mask, level| Some(mask | 1 << level?)),
        Some(value) => level(value).map(|level| 1 << level),
    };
    mask.filter(|mask| *mask != 0).map(Some).ok_or(PermissionsError::Shape)
}

fn retain_of(value: Option<&Value>) -> Result<Option<bool>, PermissionsError> {
    match value {
        None => Ok(None),
        Some(Value::Bool(retain)) => Ok(Some(*retain)),
        Some(Value::Number(number)) => {
            number.as_u64().filter(|n| *n <= 1).map(|n| Some(n == 1)).ok_or(PermissionsError::Shape)
        }
        Some(Value::String(word)) if word == "all" => Ok(None),
        Some(_) => Err(PermissionsError::Shape),
    }
}

#[cfg(test)]
mod tests {
    use super::super::acl::{Publication, SubscribeRight, Who};
    use super::*;
    use crate::ids::Qos;
    use serde_json::json;

    fn who() -> Who<'static> {
        Who { client_id: "c1", user: Some("ann"), listener: "public", peer: None }
    }

    fn publishes(rules: &RuleSet, topic: &str, qos: Qos, retain: bool) -> Option<bool> {
        let decision = rules.may_publish(&who(), Publication { topic, qos, retain });
        decision.rule.map(|_| decision.allowed)
    }

    #[test]
    fn both_forms_say_what_a_client_may_do() {
        for value in [
            json!({"pub": ["up/%c"], "sub": ["down/${clientid}/#"], "all": ["chat/${username}"]}),
            json!({"publish": ["up/${clientid}"], "subscribe": ["down/%c/#"], "all": ["chat/%u"]}),
            json!([
                {"permission": "allow", "action": "publish", "topic": "up/${clientid}"},
                {"permission": "allow", "action": "subscribe", "topics": ["down/${clientid}/#"]},
                {"permission": "allow", "topic": "chat/${username}"},
            ]),
        ] {
            let rules = parse_permissions(&value).unwrap();
            let publishes = |topic| publishes(&rules, topic, Qos::AtMostOnce, false);
            assert_eq!(
                ["up/c1", "up/c2", "chat/ann", "down/c1/x"].map(publishes),
                [Some(true), None, Some(true), None]
            );
            let right = |filter| rules.may_subscribe(&who(), filter, Qos::AtMostOnce).0;
            assert_eq!(
                ["down/c1/#", "down/c2/#", "chat/+", "up/c1"].map(right),
                [SubscribeRight::Wholly, SubscribeRight::Refused, SubscribeRight::Partly, SubscribeRight::Refused]
            );
        }
    }

    #[test]
    fn what_is_shown_of_rules_is_what_they_were_read_from() {
        let value = json!([
            {"permission": "deny", "action": "publish", "topic": "a/#", "qos": [0, 2], "retain": true},
            {"permission": "allow", "action": "all", "topic": "eq b/%c"},
            {"permission": "allow", "action": "subscribe", "topic": "c/${username}"},
        ]);
        assert_eq!(parse_permissions(&value).unwrap().to_json(), value);
    }

    #[test]
    fn conditions_and_denials_are_kept_in_order() {
        let rules = parse_permissions(&json!([
            {"permission": "deny", "action": "publish", "topic": "a/#", "retain": true},
            {"permission": "allow", "action": "all", "topic": "a/#", "qos": [0, "1"]},
            {"permission": "allow", "action": "publish", "topic": "eq b/%c", "retain": "all"},
        ]));
        let rules = rules.unwrap();
        assert_eq!(publishes(&rules, "a/x", Qos::AtLeastOnce, true), Some(false));
        assert_eq!(publishes(&rules, "a/x", Qos::AtLeastOnce, false), Some(true));
        assert_eq!(publishes(&rules, "a/x", Qos::ExactlyOnce, false), None);
        assert_eq!(publishes(&rules, "b/%c", Qos::AtMostOnce, true), Some(true));
        assert_eq!(publishes(&rules, "b/c1", Qos::AtMostOnce, true), None);
    }

    #[test]
    fn what_cannot_be_read_gives_nothing() {
        let many: Vec<Value> = (0..=ACL_RULES_OF_CLIENT_MAX).map(|n| json!(format!("a/{n}"))).collect();
        for (value, error) in [
            (json!("all"), PermissionsError::Shape),
            (json!({"pub": "a"}), PermissionsError::Shape),
            (json!({"put": ["a"]}), PermissionsError::Shape),
            (json!({"pub": [1]}), PermissionsError::Shape),
            (json!({"pub": ["a/#/b"]}), PermissionsError::Topic),
            (json!({"pub": [""]}), PermissionsError::Topic),
            (json!({"pub": ["eq a/#"]}), PermissionsError::Topic),
            (json!({ "pub": many }), PermissionsError::TooMany),
            (json!([{"topic": "a"}]), PermissionsError::Shape),
            (json!([{"permission": "allow"}]), PermissionsError::Shape),
            (json!([{"permission": "allow", "topic": "a", "qos": 3}]), PermissionsError::Shape),
            (json!([{"permission": "allow", "topic": "a", "qos": []}]), PermissionsError::Shape),
            (json!([{"permission": "allow", "topic": "a", "retain": 2}]), PermissionsError::Shape),
            (json!([{"permission": "allow", "topic": "a", "action": "read"}]), PermissionsError::Shape),
        ] {
            assert_eq!(parse_permissions(&value).map(|_| ()), Err(error), "{value}");
        }
        let nothing = parse_permissions(&json!({})).unwrap();
        assert_eq!(publishes(&nothing, "a", Qos::AtMostOnce, false), None, "an empty list allows nothing");
    }
}
