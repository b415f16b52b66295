//! Topic names: what a PUBLISH is addressed to (MQTT 5.0, 4.7). A `TopicName` that exists is valid.

use thiserror::Error;

use super::scan::census;

/// Longest topic name or filter: the length field of a UTF-8 string has two bytes [MQTT-4.7.3-3].
pub(super) const TOPIC_BYTES_MAX: usize = u16::MAX as usize;

/// Why a string is no topic name, topic filter or shared subscription. Always the peer's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TopicError {
    /// At least one character is required [MQTT-4.7.3-1].
    #[error("the topic is empty")]
    Empty,
    /// More than 65,535 bytes [MQTT-4.7.3-3].
    #[error("the topic is longer than 65535 bytes")]
    TooLong,
    /// U+0000 is forbidden [MQTT-4.7.3-2].
    #[error("the topic contains U+0000")]
    Nul,
    /// More levels than `--topic-levels-max` admits.
    #[error("the topic has too many levels")]
    TooManyLevels,
    /// A topic name may not contain wildcards [MQTT-4.7.0-1].
    #[error("a topic name may not contain wildcards")]
    WildcardInName,
    /// `#` must be the last level and alone in it [MQTT-4.7.1-1], `+` alone in its level [MQTT-4.7.1-2].
    #[error("a wildcard must occupy a whole level, and # must be the last")]
    MisplacedWildcard,
    /// `$share/` must be followed by a non-empty name without `/`, `+`, `#`, and by a filter
    /// [MQTT-4.8.2-1] [MQTT-4.8.2-2].
    #[error("the shared subscription is malformed")]
    MalformedShare,
}

impl TopicError {
    /// Whether the string is what MQTT allows and only the operator's bound refuses it.
    pub const fn is_policy(self) -> bool {
        matches!(self, Self::TooManyLevels)
    }
}

/// A valid topic name: not empty, at most 65,535 bytes, no wildcard, no U+0000, a bounded number of levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TopicName<'a>(&'a str);

impl<'a> TopicName<'a> {
    /// Checks `text`; `levels_max` is the operator's bound on the number of levels.
    pub fn parse(text: &'a str, levels_max: u16) -> Result<Self, TopicError> {
        if check_string(text, levels_max)? {
            return Err(TopicError::WildcardInName);
        }
        Ok(Self(text))
    }

    /// Of text that a decoded PUBLISH had as its topic, behind a mount point perhaps: it has no wildcard and no U+0000, which is the caller's word. Its
    /// levels are counted only where it is long enough to have too many.
    #[inline]
    pub fn of_decoded(text: &'a str, levels_max: u16) -> Result<Self, TopicError> {
        if text.is_empty() || text.len() >= usize::from(levels_max) {
            return Self::parse(text, levels_max);
        }
        debug_assert!(Self::parse(text, levels_max).is_ok());
        Ok(Self(text))
    }

    /// Of text that `parse` has taken before, on another shard perhaps; that is the caller's word.
    pub fn checked_before(text: &'a str) -> Self {
        debug_assert!(Self::parse(text, u16::MAX).is_ok());
        Self(text)
    }

    /// The name as it was sent.
    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// Who may publish to it, as far as its name says.
    #[inline]
    pub fn owner(self) -> TopicOwner {
        TopicOwner::of(self.0)
    }

    /// Whether it begins with `$`: such topics are the server's own and no leading wildcard matches them
    /// [MQTT-4.7.2-1].
    pub fn is_dollar(self) -> bool {
        self.0.starts_with('$')
    }
}

/// Whose a topic is, by how it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicOwner {
    /// The clients': it does not begin with `$`.
    Clients,
    /// Some application's that sets its topics apart, such as `$aws/...`.
    Application,
    /// A bridge's, which tells there whether it is connected: `$SYS/broker/connection/NAME/state`. Mosquitto's bridges publish to
    /// it and have their will there.
    Bridge,
    /// The broker's: `$SYS` and all else below it. `$share`, which would be no topic to whoever subscribes to it, is here too.
    Broker,
}

impl TopicOwner {
    /// Of the topic with this name.
    #[inline]
    pub fn of(topic: &str) -> Self {
        if topic.starts_with('$') { Self::of_dollar(topic) } else { Self::Clients }
    }

    fn of_dollar(topic: &str) -> Self {
        match topic.split_once('/').map_or(topic, |(first, _)| first) {
            "$SYS" if is_bridge_state(topic) => Self::Bridge,
            "$SYS" | "$share" => Self::Broker,
            _ => Self::Application,
        }
    }
}

fn is_bridge_state(topic: &str) -> bool {
    let name = topic.strip_prefix("$SYS/broker/connection/").and_then(|rest| rest.strip_suffix("/state"));
    name.is_some_and(|name| !name.is_empty() && !name.contains('/'))
}

/// Whether a text has what MQTT advises against (5.0, 1.5.4): control characters, or code points that Unicode keeps from
/// interchange.
pub fn holds_control_characters(text: &str) -> bool {
    let is_non_character = |c: char| matches!(c, '\u{fdd0}'..='\u{fdef}') || c as u32 & 0xfffe == 0xfffe;
    text.chars().any(|c| c.is_control() || is_non_character(c))
}

/// Checks what holds for names and filters alike, and says whether there is a wildcard anywhere.
pub(super) fn check_string(text: &str, levels_max: u16) -> Result<bool, TopicError> {
    if text.is_empty() {
        return Err(TopicError::Empty);
    }
    if text.len() > TOPIC_BYTES_MAX {
        return Err(TopicError::TooLong);
    }
    let census = census(text.as_bytes());
    if census.has_nul {
        return Err(TopicError::Nul);
    }
    if census.slashes >= usize::from(levels_max) {
        return Err(TopicError::TooManyLevels);
    }
    Ok(census.has_wildcard)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        let long = "a".repeat(65_536);
        let table: &[(&str, Result<(), TopicError>)] = &[
            ("a", Ok(())),
            ("/", Ok(())),
            ("//", Ok(())),
            ("a/b/", Ok(())),
            ("$SYS/broker", Ok(())),
            ("ä/ö 1", Ok(())),
            (&long[1..], Ok(())),
            ("", Err(TopicError::Empty)),
            (&long, Err(TopicError::TooLong)),
            ("a\0b", Err(TopicError::Nul)),
            ("a/+", Err(TopicError::WildcardInName)),
            ("a+", Err(TopicError::WildcardInName)),
            ("#", Err(TopicError::WildcardInName)),
            ("1/2/3/4/5", Err(TopicError::TooManyLevels)),
            ("////", Err(TopicError::TooManyLevels)),
        ];
        for (text, expected) in table {
            let levels_max = 4;
            assert_eq!(TopicName::parse(text, levels_max).map(|_| ()), *expected, "{text:.20}");
        }
    }

    #[test]
    fn a_decoded_topic_is_bounded_like_any_other() {
        let long = "a/".repeat(40_000);
        for (text, levels_max) in
            [("", 4), ("a", 4), ("a/b", 4), ("1/2/3/4", 4), ("1/2/3/4/5", 4), ("////", 4), ("///", 4), (&long, 128)]
        {
            assert_eq!(TopicName::of_decoded(text, levels_max), TopicName::parse(text, levels_max), "{text:.20}");
        }
    }

    #[test]
    fn a_topic_is_somebodys_by_its_first_levels() {
        use TopicOwner::{Application, Bridge, Broker, Clients};
        let table = [
            ("a/$SYS", Clients),
            ("$aws/things", Application),
            ("$", Application),
            ("$SYSTEM/x", Application),
            ("$sharepoint", Application),
            ("$SYS", Broker),
            ("$SYS/broker/uptime", Broker),
            ("$SYS/broker/connection/state", Broker),
            ("$SYS/broker/connection//state", Broker),
            ("$SYS/broker/connection/a/b/state", Broker),
            ("$SYS/broker/connection/edge/state/x", Broker),
            ("$share", Broker),
            ("$share/g/t", Broker),
            ("$SYS/broker/connection/edge/state", Bridge),
            ("$SYS/broker/connection/host.edge/state", Bridge),
        ];
        for (text, owner) in table {
            assert_eq!(TopicName::parse(text, 9).unwrap().owner(), owner, "{text}");
        }
    }

    #[test]
    fn control_characters_and_non_characters_are_found() {
        for (text, expected) in [
            ("", false),
            ("ä/ö 1 \u{a0}\u{fffd}\u{feff}\u{fdf0}\u{10000}", false),
            ("a\u{1}", true),
            ("\u{1f}", true),
            ("\u{7f}", true),
            ("\u{80}", true),
            ("a/\u{9f}/b", true),
            ("\u{fdd0}", true),
            ("\u{fdef}", true),
            ("\u{fffe}", true),
            ("\u{ffff}", true),
            ("\u{1fffe}", true),
            ("\u{10ffff}", true),
        ] {
            assert_eq!(holds_control_characters(text), expected, "{text:?}");
        }
    }

    #[test]
    fn only_a_leading_dollar_makes_a_topic_the_servers_own() {
        for (text, expected) in [("$SYS/x", true), ("$", true), ("a/$SYS", false), ("/$SYS", false)] {
            assert_eq!(TopicName::parse(text, 9).unwrap().is_dollar(), expected, "{text}");
        }
    }
}
