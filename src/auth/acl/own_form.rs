//! dunlin's own form of an access file: TOML with groups and conditions.
//!
//! ```toml
//! [groups]
//! readers = ["ann", "bob"]
//!
//! [[rule]]
//! deny = "publish"                 # publish, subscribe or all
//! topics = ["alarms/#"]
//! retain = true                    # only what is to be retained
//!
//! [[rule]]
//! allow = "subscribe"
//! topics = ["news/#", "dev/%c/#"]  # %c is the client id, %u the user name
//! groups = ["readers"]             # nobody named is everybody
//! listeners = ["public"]
//! networks = ["10.0.0.0/8"]
//! qos = [0, 1]
//! ```
//! Rules are looked at in the order of the file, whomever they are about; the first that speaks decides.

use toml::Spanned;
use toml::de::DeValue;

use super::super::toml_text::{Groups, LineError, TomlText};
use super::pattern::TopicPattern;
use super::rules::{AclError, Actions, Conditions, Rule, RuleSet, Subject};

/// Reads a file.
pub fn parse_own_form(text: &str) -> Result<RuleSet, AclError> {
    let reader = TomlText::new(text);
    let document = reader.document()?;
    let sections = document.get_ref();
    let groups = reader.groups(sections)?;
    let mut rules = Vec::new();
    for (key, value) in sections {
        match (&**key.get_ref(), value.get_ref()) {
            ("groups", _) => {}
            ("rule", DeValue::Array(tables)) => {
                for table in tables {
                    OwnForm(reader).rule(table, &groups, &mut rules)?;
                }
            }
            ("rule", _) => {
                return Err(reader.error(&key.span(), "rule is a table: write [[rule]] on a line of its own").into());
            }
            (other, _) => {
                return Err(reader.error(&key.span(), format!("{other:?} is neither groups nor rule")).into());
            }
        }
    }
    RuleSet::new(rules)
}

struct OwnForm<'a>(TomlText<'a>);

impl From<LineError> for AclError {
    fn from(LineError { line, text }: LineError) -> Self {
        Self::Line(line, text)
    }
}

impl OwnForm<'_> {
    /// One table: a rule for each of its topics.
    fn rule(&self, table: &Spanned<DeValue<'_>>, groups: &Groups, rules: &mut Vec<Rule>) -> Result<(), AclError> {
        let span = table.span();
        let DeValue::Table(keys) = table.get_ref() else {
            return Err(self.0.error(&span, "rule holds tables: write [[rule]] on a line of its own").into());
        };
        let (mut verb, mut topics, mut users) = (None, Vec::new(), None::<Vec<Box<str>>>);
        let mut conditions = Conditions::default();
        for (key, value) in keys {
            let name = &**key.get_ref();
            match name {
                "allow" | "deny" => {
                    if verb.is_some() {
                        return Err(self.0.error(&key.span(), "a rule allows or denies, not both").into());
                    }
                    verb = Some((name == "allow", self.actions(value)?));
                }
                "topics" => topics = self.0.texts(value, "topics")?,
                "users" => users.get_or_insert_default().extend(self.0.texts(value, "user names")?),
                "groups" => users.get_or_insert_default().extend(self.0.members(value, groups)?),
                "clients" => conditions.clients = self.0.texts(value, "client ids")?,
                "listeners" => conditions.listeners = self.0.texts(value, "names of listeners")?,
                "networks" => conditions.networks = self.0.networks(value)?,
                "qos" => conditions.qos = Some(self.qos(value)?),
                "retain" => match value.get_ref() {
                    DeValue::Boolean(retain) => conditions.retain = Some(*retain),
                    _ => return Err(self.0.error(&value.span(), "retain is true or false").into()),
                },
                other => return Err(self.0.error(&key.span(), format!("unknown key {other:?} in [[rule]]")).into()),
            }
        }
        let Some((allows, actions)) = verb else {
            return Err(self.0.error(&span, "a rule says allow or deny").into());
        };
        if topics.is_empty() {
            return Err(self.0.error(&span, "a rule names topics; \"#\" is all but those that begin with $").into());
        }
        let line = self.0.line(&span);
        let subject = users.map_or(Subject::Everybody, Subject::Users);
        let conditions = (conditions != Conditions::default()).then(|| Box::new(conditions));
        for topic in topics {
            let pattern = TopicPattern::with_ids(&topic).map_err(|error| AclError::Pattern(line, error))?;
            let text = format!("{} {} {topic}", if allows { "allow" } else { "deny" }, word(actions)).into();
            let (scope, conditions) = (subject.clone(), conditions.clone());
            rules.push(Rule { line, text, allows, actions, scope, pattern, conditions });
        }
        Ok(())
    }

    fn actions(&self, value: &Spanned<DeValue<'_>>) -> Result<Actions, LineError> {
        let known = [Actions::Publish, Actions::Subscribe, Actions::All];
        let given = value.get_ref().as_str().and_then(|text| known.into_iter().find(|action| word(*action) == text));
        given.ok_or_else(|| self.0.error(&value.span(), "allow and deny take \"publish\", \"subscribe\" or \"all\""))
    }

    fn qos(&self, value: &Spanned<DeValue<'_>>) -> Result<u8, LineError> {
        let level = |value: &DeValue<'_>| match value {
            DeValue::Integer(number) => number.as_str().parse::<u8>().ok().filter(|qos| *qos <= 2),
            _ => None,
        };
        let levels: Option<Vec<u8>> = match value.get_ref() {
            DeValue::Array(values) => values.iter().map(|value| level(value.get_ref())).collect(),
            value => level(value).map(|level| vec![level]),
        };
        let levels = levels.filter(|levels| !levels.is_empty());
        let levels = levels.ok_or_else(|| self.0.error(&value.span(), "qos is 0, 1, 2 or a list of them"))?;
        Ok(levels.into_iter().fold(0, |mask, level| mask | 1 << level))
    }
}

const fn word(actions: Actions) -> &'static str {
    match actions {
        Actions::Publish => "publish",
        Actions::Subscribe => "subscribe",
        Actions::All => "all",
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Publication, SubscribeRight, Who, parse};
    use crate::ids::Qos;

    const FILE: &str = r##"
[groups]
readers = ["ann", "bob"]

[[rule]]
deny = "publish"
topics = ["alarms/#"]
retain = true

[[rule]]
allow = "publish"
topics = "alarms/%c"
qos = [1, 2]

[[rule]]
allow = "subscribe"
topics = ["news/#", "own/%u"]
groups = ["readers"]
users = "eve"

[[rule]]
allow = "all"
topics = ["#", "$SYS/#"]
listeners = ["inner"]
networks = ["10.0.0.0/8", "2001:db8::/32", "192.0.2.7"]
"##;

    fn who<'a>(user: &'a str, listener: &'a str, peer: &str) -> Who<'a> {
        Who { client_id: "c1", user: Some(user), listener, peer: peer.parse().ok() }
    }

    fn publication(topic: &str, qos: Qos, retain: bool) -> Publication<'_> {
        Publication { topic, qos, retain }
    }

    #[test]
    fn groups_and_conditions_decide_in_the_order_of_the_file() {
        let rules = parse(FILE).unwrap();
        let joe = who("joe", "public", "198.51.100.1");
        let publishes =
            |who: Who<'_>, topic, qos, retain| rules.may_publish(&who, publication(topic, qos, retain)).allowed;
        assert!(publishes(joe, "alarms/c1", Qos::AtLeastOnce, false));
        assert!(!publishes(joe, "alarms/c1", Qos::AtMostOnce, false), "QoS 0 is not in the list");
        assert!(!publishes(joe, "alarms/c1", Qos::AtLeastOnce, true), "the denial before it");
        assert!(!publishes(joe, "alarms/c2", Qos::AtLeastOnce, false));
        for (user, receives) in [("ann", true), ("bob", true), ("eve", true), ("joe", false)] {
            let who = who(user, "public", "198.51.100.1");
            assert_eq!(rules.may_receive(&who, "news/x").allowed, receives, "{user}");
            assert_eq!(rules.may_receive(&who, &format!("own/{user}")).allowed, receives, "{user}");
            assert!(!rules.may_receive(&who, "own/other").allowed);
        }
        for (listener, peer, receives) in [
            ("inner", "10.255.0.1", true),
            ("inner", "::ffff:10.0.0.1", true),
            ("inner", "11.0.0.1", false),
            ("inner", "2001:db8:1::1", true),
            ("inner", "2001:db9::1", false),
            ("inner", "192.0.2.7", true),
            ("inner", "192.0.2.8", false),
            ("inner", "no address", false),
            ("public", "10.0.0.1", false),
        ] {
            let who = who("joe", listener, peer);
            assert_eq!(rules.may_receive(&who, "x").allowed, receives, "{listener} {peer}");
            assert_eq!(rules.may_receive(&who, "$SYS/x").allowed, receives, "{listener} {peer}");
        }
        let (right, rule) = rules.may_subscribe(&who("ann", "public", "::1"), "news/+", Qos::AtMostOnce);
        assert_eq!(right, SubscribeRight::Wholly);
        assert_eq!(rule.map(ToString::to_string).as_deref(), Some("line 15: allow subscribe news/#"));
    }

    #[test]
    fn a_file_with_anything_wrong_is_no_file() {
        let rule = "[[rule]]\nallow = \"all\"\ntopics = \"#\"\n";
        for (text, expected) in [
            ("[groups]\n", "it holds no rule"),
            ("[[rule]]\n", "line 1: a rule says allow or deny"),
            ("[[rule]]\nallow = \"all\"\n", "line 1: a rule names topics"),
            ("[[rule]]\nallow = \"all\"\ntopics = []\n", "line 3: here stand topics"),
            ("[[rule]]\nallow = \"all\"\ndeny = \"all\"\ntopics = \"#\"\n", "line 3: a rule allows or denies"),
            ("[[rule]]\nallow = \"read\"\ntopics = \"#\"\n", "line 2: allow and deny take"),
            ("[[rule]]\nallow = \"all\"\ntopics = \"a/#/b\"\n", "line 1: + and #"),
            (&format!("{rule}user = \"ann\"\n"), "line 4: unknown key \"user\" in [[rule]]"),
            (&format!("{rule}users = []\n"), "line 4: here stand user names"),
            (&format!("{rule}groups = \"none\"\n"), "line 4: no group is called \"none\""),
            (&format!("{rule}networks = \"10.0.0.0/33\"\n"), "line 4: \"10.0.0.0/33\" is no network"),
            (&format!("{rule}networks = \"10.0.0/8\"\n"), "line 4: \"10.0.0/8\" is no network"),
            (&format!("{rule}qos = 3\n"), "line 4: qos is 0, 1, 2"),
            (&format!("{rule}qos = []\n"), "line 4: qos is 0, 1, 2"),
            (&format!("{rule}retain = 1\n"), "line 4: retain is true or false"),
            ("[rule]\nallow = \"all\"\n", "line 1: rule is a table"),
            ("[rules]\n", "line 1: \"rules\" is neither groups nor rule"),
            ("[[rule]\n", "line 1: this is not TOML"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{text:?}: {error}");
        }
    }
}
