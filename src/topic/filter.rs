//! Topic filters and shared subscriptions: what a SUBSCRIBE asks for (MQTT 5.0, 4.7 and 4.8), and the plain reference
//! implementation of matching that the index is tested against.

use super::name::{TopicError, TopicName, check_string};

/// What a shared subscription begins with (MQTT 5.0, 4.8.2).
pub(super) const SHARE_PREFIX: &str = "$share/";

/// A valid topic filter: a topic name that may have `+` for a whole level and `#` for the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TopicFilter<'a>(&'a str);

impl<'a> TopicFilter<'a> {
    /// Checks `text`; `levels_max` is the operator's bound on the number of levels.
    pub fn parse(text: &'a str, levels_max: u16) -> Result<Self, TopicError> {
        if !check_string(text, levels_max)? {
            return Ok(Self(text));
        }
        let mut levels = text.split('/').peekable();
        while let Some(level) = levels.next() {
            let is_last = levels.peek().is_none();
            match level {
                "+" => {}
                "#" if is_last => {}
                // [MQTT-4.7.1-1], [MQTT-4.7.1-2]
                _ if level.bytes().any(|byte| byte == b'+' || byte == b'#') => {
                    return Err(TopicError::MisplacedWildcard);
                }
                _ => {}
            }
        }
        Ok(Self(text))
    }

    /// The filter as it was sent.
    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// Whether it can match more than the one topic of the same spelling.
    pub fn has_wildcard(self) -> bool {
        self.0.bytes().any(|byte| byte == b'+' || byte == b'#')
    }
}

/// A filter as it stands in SUBSCRIBE: for the session alone, or for the share name's group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SubscribedFilter<'a> {
    /// The group among whose members each message is divided; `None` for a subscription of the session's own.
    pub share: Option<&'a str>,
    /// Which topics; what access rules are checked against, with or without a share name.
    pub filter: TopicFilter<'a>,
}

impl<'a> SubscribedFilter<'a> {
    /// Takes `$share/name/filter` apart; everything else is a plain filter. `levels_max` bounds the inner filter.
    pub fn parse(text: &'a str, levels_max: u16) -> Result<Self, TopicError> {
        let Some(shared) = text.strip_prefix(SHARE_PREFIX) else {
            return Ok(Self { share: None, filter: TopicFilter::parse(text, levels_max)? });
        };
        // The whole string came with a two-byte length; strings from elsewhere are held to it too.
        if text.len() > super::name::TOPIC_BYTES_MAX {
            return Err(TopicError::TooLong);
        }
        // [MQTT-4.8.2-2]: the name is followed by a slash and a filter.
        let (share, filter) = shared.split_once('/').ok_or(TopicError::MalformedShare)?;
        // [MQTT-4.8.2-1]: the name has at least one character, [MQTT-4.8.2-2]: and none of these.
        if share.is_empty() || share.bytes().any(|byte| matches!(byte, b'+' | b'#')) || filter.is_empty() {
            return Err(TopicError::MalformedShare);
        }
        if share.contains('\0') {
            return Err(TopicError::Nul);
        }
        Ok(Self { share: Some(share), filter: TopicFilter::parse(filter, levels_max)? })
    }

    /// The text as it stands in SUBSCRIBE, appended to `out`.
    pub fn write_to(&self, out: &mut String) {
        if let Some(share) = self.share {
            out.push_str(SHARE_PREFIX);
            out.push_str(share);
            out.push('/');
        }
        out.push_str(self.filter.as_str());
    }
}

/// Whether `filter` matches `topic`: level by level, straight from MQTT 5.0, 4.7. The reference for the index, and good
/// enough where there is one filter to try (access rules).
pub fn matches(filter: TopicFilter<'_>, topic: TopicName<'_>) -> bool {
    let starts_with_wildcard = filter.as_str().starts_with(['+', '#']);
    if starts_with_wildcard && topic.is_dollar() {
        return false; // [MQTT-4.7.2-1]
    }
    let mut topic_levels = topic.as_str().split('/');
    for filter_level in filter.as_str().split('/') {
        if filter_level == "#" {
            return true; // Also the parent: every topic level may be used up already.
        }
        match topic_levels.next() {
            Some(level) if filter_level == "+" || filter_level == level => {}
            _ => return false,
        }
    }
    topic_levels.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_checked() {
        let table: &[(&str, Result<bool, TopicError>)] = &[
            ("a/b", Ok(false)),
            ("/", Ok(false)),
            ("+", Ok(true)),
            ("#", Ok(true)),
            ("/#", Ok(true)),
            ("+/+/#", Ok(true)),
            ("a//+/", Ok(true)),
            ("$SYS/#", Ok(true)),
            ("$share", Ok(false)),
            ("", Err(TopicError::Empty)),
            ("a/\0", Err(TopicError::Nul)),
            ("#/", Err(TopicError::MisplacedWildcard)),
            ("a/#/b", Err(TopicError::MisplacedWildcard)),
            ("a#", Err(TopicError::MisplacedWildcard)),
            ("a/b#", Err(TopicError::MisplacedWildcard)),
            ("##", Err(TopicError::MisplacedWildcard)),
            ("++", Err(TopicError::MisplacedWildcard)),
            ("+a/b", Err(TopicError::MisplacedWildcard)),
            ("a/b+/c", Err(TopicError::MisplacedWildcard)),
            ("1/2/3/4/#", Err(TopicError::TooManyLevels)),
        ];
        for (text, expected) in table {
            assert_eq!(TopicFilter::parse(text, 4).map(TopicFilter::has_wildcard), *expected, "{text}");
        }
    }

    #[test]
    fn shares_are_taken_apart() {
        type Split = (Option<&'static str>, &'static str);
        let table: &[(&str, Result<Split, TopicError>)] = &[
            ("a/b", Ok((None, "a/b"))),
            ("$SYS/#", Ok((None, "$SYS/#"))),
            ("$shared/g/x", Ok((None, "$shared/g/x"))),
            ("$share", Ok((None, "$share"))),
            ("$share/g/a/+", Ok((Some("g"), "a/+"))),
            ("$share/g/#", Ok((Some("g"), "#"))),
            ("$share/g//", Ok((Some("g"), "/"))),
            ("$share/g/$SYS/x", Ok((Some("g"), "$SYS/x"))),
            ("$share/g/1/2/3/4", Ok((Some("g"), "1/2/3/4"))),
            ("$share/", Err(TopicError::MalformedShare)),
            ("$share/g", Err(TopicError::MalformedShare)),
            ("$share/g/", Err(TopicError::MalformedShare)),
            ("$share//x", Err(TopicError::MalformedShare)),
            ("$share/+/x", Err(TopicError::MalformedShare)),
            ("$share/#", Err(TopicError::MalformedShare)),
            ("$share/g#/x", Err(TopicError::MalformedShare)),
            ("$share/g\0/x", Err(TopicError::Nul)),
            ("$share/g/a#", Err(TopicError::MisplacedWildcard)),
            ("$share/g/1/2/3/4/5", Err(TopicError::TooManyLevels)),
        ];
        for (text, expected) in table {
            let parsed = SubscribedFilter::parse(text, 4);
            assert_eq!(parsed.map(|parsed| (parsed.share, parsed.filter.as_str())), *expected, "{text}");
            if let Ok(parsed) = parsed {
                let mut written = String::new();
                parsed.write_to(&mut written);
                assert_eq!(written, *text);
            }
        }
    }

    #[test]
    fn matching_follows_the_clauses() {
        let table = [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/ranking", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
            ("sport/tennis/player1/#", "sport/tennis/player10", false),
            ("sport/#", "sport", true),
            ("sport/tennis/+", "sport/tennis/player1", true),
            ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("+/#", "a", true),
            ("a/+/#", "a", false),
            ("a//b", "a//b", true),
            ("a/b", "a//b", false),
            ("a/+/b", "a//b", true),
            ("A", "a", false),
            ("#", "a/b", true),
            ("#", "$SYS/x", false),
            ("+/x", "$SYS/x", false),
            ("+/monitor/#", "$SYS/monitor/x", false),
            ("$SYS/#", "$SYS", true),
            ("$SYS/#", "$SYS/x", true),
            ("$SYS/+", "$SYS/x", true),
            ("a/#", "a/$SYS", true),
            ("/#", "$SYS", false),
            ("/#", "/", true),
        ];
        for (filter, topic, expected) in table {
            let topic = TopicName::parse(topic, 128).unwrap();
            assert_eq!(matches(TopicFilter::parse(filter, 128).unwrap(), topic), expected, "{filter} {topic:?}");
        }
    }
}
