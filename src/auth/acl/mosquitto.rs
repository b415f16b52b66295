//! Mosquitto's form of an access file.
//!
//! ```text
//! topic read news/#              clients without a user name
//! user ann
//! topic readwrite ann/#          ann; without a word it is readwrite
//! topic deny ann/secret
//! pattern write dev/%c/up        everybody, with client id and user name in their places
//! ```
//! The order is Mosquitto's: of a client's `topic` lines the denials, then the rest; then of the `pattern` lines the denials, then the
//! rest; the first that matches decides.

use super::pattern::TopicPattern;
use super::rules::{AclError, Actions, Rule, RuleSet, Subject};

/// Reads a file.
pub fn parse_mosquitto(text: &str) -> Result<RuleSet, AclError> {
    let mut scope = Subject::Anonymous;
    let (mut denied, mut allowed) = (Vec::new(), Vec::new());
    let (mut patterns_denied, mut patterns_allowed) = (Vec::new(), Vec::new());
    for (line, full) in (1..).zip(text.lines()) {
        let text = full.trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let error = |text: &str| Err(AclError::Line(line, text.into()));
        let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let rest = rest.trim();
        let is_pattern = word == "pattern";
        match word {
            "user" if rest.is_empty() => return error("user names nobody"),
            "user" => scope = Subject::Users(vec![rest.into()]),
            "topic" | "pattern" if rest.is_empty() => return error("a topic is missing"),
            "topic" | "pattern" => {
                let Some((allows, actions, topic)) = access(rest) else {
                    return error("the word before the topic is none of read, write, readwrite and deny");
                };
                let read = if is_pattern { TopicPattern::with_ids } else { TopicPattern::literal };
                let pattern = read(topic).map_err(|error| AclError::Pattern(line, error))?;
                let scope = if is_pattern { Subject::Everybody } else { scope.clone() };
                let of_user = match (&scope, is_pattern) {
                    (Subject::Users(users), false) => format!("user {}: ", users[0]),
                    (_, false) => "clients without a user name: ".to_owned(),
                    _ => String::new(),
                };
                let text = format!("{of_user}{text}").into();
                let rule = Rule { line, text, allows, actions, scope, pattern, conditions: None };
                let list = match (is_pattern, allows) {
                    (false, false) => &mut denied,
                    (false, true) => &mut allowed,
                    (true, false) => &mut patterns_denied,
                    (true, true) => &mut patterns_allowed,
                };
                list.push(rule);
            }
            _ => return error("this begins with none of user, topic and pattern"),
        }
    }
    denied.append(&mut allowed);
    denied.append(&mut patterns_denied);
    denied.append(&mut patterns_allowed);
    RuleSet::new(denied)
}

/// Whether it allows, what, and the topic. `None` if there is a word before the topic that means nothing: a topic with a blank
/// in it takes its access before it.
fn access(rest: &str) -> Option<(bool, Actions, &str)> {
    let Some((word, topic)) = rest.split_once(char::is_whitespace) else { return Some((true, Actions::All, rest)) };
    let (allows, actions) = match word {
        "read" => (true, Actions::Subscribe),
        "write" => (true, Actions::Publish),
        "readwrite" => (true, Actions::All),
        "deny" => (false, Actions::All),
        _ => return None,
    };
    Some((allows, actions, topic.trim()))
}

#[cfg(test)]
mod tests {
    use super::super::{Publication, SubscribeRight, Who};
    use super::*;
    use crate::ids::Qos;

    const FILE: &str = "\
# for clients without a user name
topic read news/#

user ann
topic ann/+
topic readwrite ann/deep/#
topic deny ann/deep/secret
topic read $SYS/broker/uptime

user bob smith
topic write in the/blue

pattern write dev/%c/up
pattern deny dev/%c/up/never
pattern read users/%u/#
";

    fn who<'a>(client_id: &'a str, user: Option<&'a str>) -> Who<'a> {
        Who { client_id, user, listener: "public", peer: None }
    }

    fn publishes(rules: &RuleSet, who: Who<'_>, topic: &str) -> bool {
        rules.may_publish(&who, Publication { topic, qos: Qos::AtMostOnce, retain: false }).allowed
    }

    #[test]
    fn a_file_of_mosquitto_means_here_what_it_means_there() {
        let rules = parse_mosquitto(FILE).unwrap();
        let (ann, bob, nobody) = (who("c1", Some("ann")), who("c2", Some("bob smith")), who("c3", None));
        for (who, topic, publish, receive) in [
            (nobody, "news/x", false, true),
            (nobody, "ann/x", false, false),
            (ann, "news/x", false, false),
            (ann, "ann/x", true, true),
            (ann, "ann/x/y", false, false),
            (ann, "ann/deep/a/b", true, true),
            (ann, "ann/deep/secret", false, false),
            (ann, "$SYS/broker/uptime", false, true),
            (ann, "dev/c1/up", true, false),
            (ann, "dev/c2/up", false, false),
            (ann, "users/ann/x", false, true),
            (ann, "users/bob/x", false, false),
            (bob, "in the/blue", true, false),
            (nobody, "dev/c3/up", true, false),
            (nobody, "users//x", false, false),
        ] {
            assert_eq!(publishes(&rules, who, topic), publish, "{who:?} publishes {topic}");
            assert_eq!(rules.may_receive(&who, topic).allowed, receive, "{who:?} receives {topic}");
        }
    }

    #[test]
    fn a_subscription_is_refused_where_nothing_of_it_may_be_received() {
        let rules = parse_mosquitto("user ann\ntopic read a/#\ntopic deny a/secret/#\ntopic read b/c\n").unwrap();
        let right = |filter: &str| rules.may_subscribe(&who("c", Some("ann")), filter, Qos::AtMostOnce).0;
        for (filter, expected) in [
            ("a/b", SubscribeRight::Wholly),
            ("a/b/#", SubscribeRight::Wholly),
            ("a/#", SubscribeRight::Partly),
            ("a/secret", SubscribeRight::Refused),
            ("a/secret/x", SubscribeRight::Refused),
            ("#", SubscribeRight::Partly),
            ("b/+", SubscribeRight::Partly),
            ("b/c", SubscribeRight::Wholly),
            ("c/#", SubscribeRight::Refused),
            ("$SYS/#", SubscribeRight::Refused),
        ] {
            assert_eq!(right(filter), expected, "{filter}");
        }
    }

    /// Mosquitto CVE-2017-7650: a client called `#` wrote everywhere.
    #[test]
    fn an_id_with_a_wildcard_opens_nothing() {
        let rules =
            parse_mosquitto("pattern readwrite dev/%c/#\npattern readwrite u/%u\npattern read open/#\n").unwrap();
        for id in ["+", "#", "a/b", "+/+"] {
            for topic in ["dev/x/y", "dev/a/b", "dev/+/x", "u/x", "u/#"] {
                assert!(!publishes(&rules, who(id, Some(id)), topic), "{id} {topic}");
                assert!(!rules.may_receive(&who(id, Some(id)), topic).allowed, "{id} {topic}");
            }
            assert!(rules.may_receive(&who(id, Some(id)), "open/x").allowed);
        }
        let denying = parse_mosquitto("pattern deny mine/%u\npattern read #\n").unwrap();
        assert!(denying.may_receive(&who("c", Some("ann")), "x").allowed);
        assert!(!denying.may_receive(&who("c", Some("+")), "x").allowed, "what denies cannot be escaped by a name");
    }

    #[test]
    fn a_file_with_anything_wrong_is_no_file() {
        for (text, expected) in [
            ("", "it holds no rule"),
            ("# nothing\nuser ann\n", "it holds no rule"),
            ("topic read a/#\nuser\n", "line 2: user names nobody"),
            ("topic\n", "line 1: a topic is missing"),
            ("\ntopic read a/#/b\n", "line 2: + and # stand for whole levels"),
            ("topic rite a\n", "line 1: the word before the topic is none of"),
            ("topic in the/blue\n", "line 1: the word before the topic is none of"),
            ("pattern read x+%c\n", "line 1: + and #"),
            ("allow ann\n", "line 1: this begins with none of"),
            ("topics read a\n", "line 1: this begins with none of"),
        ] {
            let error = parse_mosquitto(text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{text:?}: {error}");
        }
    }

    #[test]
    fn the_rule_that_decided_is_told_with_its_line() {
        let rules = parse_mosquitto("user ann\ntopic deny a\ntopic read #\n").unwrap();
        let (client, topic) = (who("c", Some("ann")), "a");
        let decision = rules.may_receive(&client, topic);
        assert_eq!(decision.rule.map(ToString::to_string).as_deref(), Some("line 2: user ann: topic deny a"));
        let publication = Publication { topic, qos: Qos::AtMostOnce, retain: false };
        assert_eq!(rules.may_publish(&who("c", Some("eve")), publication).rule, None);
    }

    #[test]
    fn no_rule_applies_to_a_superuser() {
        let rules = parse_mosquitto("user ann\ntopic deny #\n").unwrap().with_superusers(["ann", "eve"].into_iter());
        for user in ["ann", "eve"] {
            let client = who("c", Some(user));
            assert!(publishes(&rules, client, "a/b") && rules.may_receive(&client, "$SYS/x").allowed);
            assert_eq!(rules.may_subscribe(&client, "#", Qos::AtMostOnce).0, SubscribeRight::Wholly);
        }
        for user in [Some("bob"), None] {
            let client = who("ann", user);
            assert!(!publishes(&rules, client, "a/b") && !rules.may_receive(&client, "a").allowed);
            assert_eq!(rules.may_subscribe(&client, "a", Qos::AtMostOnce).0, SubscribeRight::Refused);
        }
    }

    #[test]
    fn rules_about_one_client_are_bounded() {
        let text = |count: usize| {
            let lines: Vec<String> = (0..count).map(|n| format!("topic a/{n}\n")).collect();
            format!("user ann\n{}pattern read x/%c\n", lines.concat())
        };
        let most = crate::limits::ACL_RULES_OF_CLIENT_MAX;
        assert!(parse_mosquitto(&text(most - 1)).is_ok());
        let error = parse_mosquitto(&text(most)).unwrap_err().to_string();
        assert!(error.starts_with("1 rules are about everybody and") && error.contains("ann"), "{error}");
    }
}
