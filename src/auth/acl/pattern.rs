//! Topic filters with places for ids: `%c` is the client id, `%u` the user name.
//!
//! Always holds: a pattern is a valid topic filter with any allowed id in its places. What a wildcard stands for is what it
//! stands for in MQTT (4.7): `#` and `+` at the first level match no topic that begins with `$`.

use super::who::Who;

/// A topic filter that rules speak about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPattern {
    levels: Box<[PatternLevel]>,
    uses_client_id: bool,
    uses_user: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum PatternLevel {
    /// `+`
    One,
    /// `#`
    Rest,
    Text(Box<str>),
    Parts(Box<[PatternPart]>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum PatternPart {
    Text(Box<str>),
    ClientId,
    User,
}

/// Why a text is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// There is no text.
    #[error("a topic is empty")]
    Empty,
    /// Longer than a topic can be.
    #[error("a topic is longer than 65,535 bytes")]
    TooLong,
    /// A wildcard that is not a whole level, or `#` before the end.
    #[error("+ and # stand for whole levels, and # for the last")]
    Wildcard,
    /// No topic may hold it.
    #[error("a topic holds a NUL")]
    Nul,
}

/// A level of something that a pattern is compared to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FilterLevel<'a> {
    One,
    Rest,
    Text(&'a str),
}

fn asked(level: &str) -> FilterLevel<'_> {
    match level {
        "+" => FilterLevel::One,
        "#" => FilterLevel::Rest,
        text => FilterLevel::Text(text),
    }
}

impl TopicPattern {
    /// A filter as it stands.
    pub fn literal(text: &str) -> Result<Self, PatternError> {
        Self::parse(text, false)
    }

    /// A filter with places for ids.
    pub fn with_ids(text: &str) -> Result<Self, PatternError> {
        Self::parse(text, true)
    }

    fn parse(text: &str, has_ids: bool) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        if text.len() > usize::from(u16::MAX) {
            return Err(PatternError::TooLong);
        }
        if text.contains('\0') {
            return Err(PatternError::Nul);
        }
        let count = text.split('/').count();
        let level = |(at, level): (usize, &str)| match level {
            "+" => Ok(PatternLevel::One),
            "#" if at + 1 == count => Ok(PatternLevel::Rest),
            level if level.contains(['+', '#']) => Err(PatternError::Wildcard),
            level if has_ids && (level.contains("%c") || level.contains("%u")) => Ok(PatternLevel::Parts(parts(level))),
            level => Ok(PatternLevel::Text(level.into())),
        };
        let levels: Box<[PatternLevel]> = text.split('/').enumerate().map(level).collect::<Result<_, _>>()?;
        let uses = |wanted: &PatternPart| {
            levels.iter().any(|level| matches!(level, PatternLevel::Parts(parts) if parts.contains(wanted)))
        };
        let (uses_client_id, uses_user) = (uses(&PatternPart::ClientId), uses(&PatternPart::User));
        Ok(Self { levels, uses_client_id, uses_user })
    }

    /// Whether the ids that it has places for are there: without a user name `%u` stands for nobody.
    pub(super) fn has_its_ids(&self, who: &Who<'_>) -> bool {
        !self.uses_user || who.user.is_some()
    }

    /// Whether the ids may be put into it.
    pub(super) fn is_safe_for(&self, who: &Who<'_>) -> bool {
        let is_safe = |id: &str| !id.is_empty() && !id.contains(['+', '#', '/', '\0']);
        (!self.uses_client_id || is_safe(who.client_id)) && (!self.uses_user || who.user.is_none_or(is_safe))
    }

    /// Whether it matches a topic name.
    pub(super) fn matches(&self, topic: &str, who: &Who<'_>) -> bool {
        let mut asked = topic.split('/');
        for (at, level) in self.levels.iter().enumerate() {
            let is_broker_topic = at == 0 && topic.starts_with('$');
            match (level, asked.next()) {
                (PatternLevel::Rest, _) => return !is_broker_topic,
                (_, None) => return false,
                (PatternLevel::One, Some(_)) if !is_broker_topic => {}
                (level, Some(text)) => {
                    if !level.is(text, who) {
                        return false;
                    }
                }
            }
        }
        asked.next().is_none()
    }

    /// Whether a filter without places for ids matches a topic name.
    pub fn matches_topic(&self, topic: &str) -> bool {
        self.matches(topic, &Who { client_id: "", user: None, listener: "", peer: None })
    }

    /// Whether some topic matches it and `filter`.
    pub(super) fn overlaps(&self, filter: &str, who: &Who<'_>) -> bool {
        let mut asked_levels = filter.split('/').map(asked);
        for (at, level) in self.levels.iter().enumerate() {
            let first = at == 0;
            match (level, asked_levels.next()) {
                // `a/#` matches `a` as well.
                (PatternLevel::Rest, Some(FilterLevel::Text(text))) => return !(first && text.starts_with('$')),
                (PatternLevel::Rest, _) => return true,
                (_, None) => return false,
                (level, Some(FilterLevel::Rest)) => return !(first && level.begins_with_dollar(who)),
                (PatternLevel::One, Some(FilterLevel::One)) => {}
                (PatternLevel::One, Some(FilterLevel::Text(text))) => {
                    if first && text.starts_with('$') {
                        return false;
                    }
                }
                (level, Some(FilterLevel::One)) => {
                    if first && level.begins_with_dollar(who) {
                        return false;
                    }
                }
                (level, Some(FilterLevel::Text(text))) => {
                    if !level.is(text, who) {
                        return false;
                    }
                }
            }
        }
        matches!(asked_levels.next(), None | Some(FilterLevel::Rest))
    }

    /// Whether every topic that matches `filter` matches it.
    pub(super) fn covers(&self, filter: &str, who: &Who<'_>) -> bool {
        let mut asked_levels = filter.split('/').map(asked);
        for (at, level) in self.levels.iter().enumerate() {
            let first = at == 0;
            match (level, asked_levels.next()) {
                (PatternLevel::Rest, Some(FilterLevel::Text(text))) => return !(first && text.starts_with('$')),
                (PatternLevel::Rest, _) => return true,
                (PatternLevel::One, Some(FilterLevel::One)) => {}
                (PatternLevel::One, Some(FilterLevel::Text(text))) => {
                    if first && text.starts_with('$') {
                        return false;
                    }
                }
                (_, None | Some(FilterLevel::Rest | FilterLevel::One)) => return false,
                (level, Some(FilterLevel::Text(text))) => {
                    if !level.is(text, who) {
                        return false;
                    }
                }
            }
        }
        asked_levels.next().is_none()
    }
}

impl PatternLevel {
    /// Whether a level that is no wildcard reads like this.
    fn is(&self, text: &str, who: &Who<'_>) -> bool {
        match self {
            Self::Text(own) => **own == *text,
            Self::Parts(parts) => {
                let rest = parts.iter().try_fold(text, |rest, part| rest.strip_prefix(part.text(who)));
                rest == Some("")
            }
            Self::One | Self::Rest => false,
        }
    }

    fn begins_with_dollar(&self, who: &Who<'_>) -> bool {
        match self {
            Self::Text(text) => text.starts_with('$'),
            Self::Parts(parts) => parts.iter().map(|part| part.text(who)).collect::<String>().starts_with('$'),
            Self::One | Self::Rest => false,
        }
    }
}

impl PatternPart {
    fn text<'a>(&'a self, who: &Who<'a>) -> &'a str {
        match self {
            Self::Text(text) => text,
            Self::ClientId => who.client_id,
            Self::User => who.user.unwrap_or_default(),
        }
    }
}

fn parts(level: &str) -> Box<[PatternPart]> {
    let mut parts = Vec::new();
    let mut rest = level;
    while let Some(at) = [rest.find("%c"), rest.find("%u")].into_iter().flatten().min() {
        let (before, place) = rest.split_at(at);
        if !before.is_empty() {
            parts.push(PatternPart::Text(before.into()));
        }
        parts.push(if place.starts_with("%c") { PatternPart::ClientId } else { PatternPart::User });
        rest = &place[2..];
    }
    if !rest.is_empty() {
        parts.push(PatternPart::Text(rest.into()));
    }
    parts.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who() -> Who<'static> {
        Who { client_id: "dev-1", user: Some("ann"), listener: "public", peer: None }
    }

    fn pattern(text: &str) -> TopicPattern {
        TopicPattern::with_ids(text).unwrap()
    }

    #[test]
    fn patterns_match_topics_as_filters_do_with_ids_in_their_places() {
        for (text, topic, expected) in [
            ("a/b", "a/b", true),
            ("a/b", "a/b/c", false),
            ("a/b", "a", false),
            ("a/+", "a/", true),
            ("a/+/c", "a/b/c", true),
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("#", "a/b", true),
            ("#", "$SYS/x", false),
            ("+/x", "$SYS/x", false),
            ("$SYS/#", "$SYS/x", true),
            ("/+", "/a", true),
            ("dev/%c/up", "dev/dev-1/up", true),
            ("dev/%c/up", "dev/dev-2/up", false),
            ("%u/%c", "ann/dev-1", true),
            ("x-%u-%c-y/#", "x-ann-dev-1-y/z", true),
            ("x-%u-%c-y/#", "x-ann-dev-1-yz/z", false),
            ("%c%c", "dev-1dev-1", true),
            ("%d", "%d", true),
        ] {
            assert_eq!(pattern(text).matches(topic, &who()), expected, "{text} {topic}");
        }
        assert!(!TopicPattern::literal("dev/%c").unwrap().matches("dev/dev-1", &who()));
        assert!(TopicPattern::literal("dev/%c").unwrap().matches("dev/%c", &who()));
    }

    #[test]
    fn filters_are_compared_as_sets_of_topics() {
        // pattern, filter, whether they have a topic in common, whether the pattern has all of the filter's
        for (text, filter, overlaps, covers) in [
            ("a/b", "a/b", true, true),
            ("a/b", "a/+", true, false),
            ("a/b", "a/#", true, false),
            ("a/b", "#", true, false),
            ("a/b", "b/#", false, false),
            ("a/+", "a/+", true, true),
            ("a/+", "a/#", true, false),
            ("a/+", "a/b/c", false, false),
            ("a/#", "a", true, true),
            ("a/#", "a/#", true, true),
            ("a/#", "a/+/c/#", true, true),
            ("a/#", "+/b", true, false),
            ("a/#", "b/#", false, false),
            ("a/b/#", "a/b", true, true),
            ("a", "a/#", true, false),
            ("a/b", "a/b/#", true, false),
            ("a/b/c", "a/b/#", true, false),
            ("a/b", "a/b/c/#", false, false),
            ("#", "#", true, true),
            ("#", "+/+", true, true),
            ("#", "$SYS/#", false, false),
            ("+/x", "$SYS/x", false, false),
            ("$SYS/#", "#", false, false),
            ("$SYS/#", "+/x", false, false),
            ("$SYS/#", "$SYS/a/+", true, true),
            ("+", "#", true, false),
            ("+/#", "#", true, true),
            ("dev/%c/#", "dev/+/up", true, false),
            ("dev/%c/#", "dev/dev-1/+", true, true),
            ("dev/%c/#", "dev/dev-2/+", false, false),
        ] {
            let pattern = pattern(text);
            assert_eq!(pattern.overlaps(filter, &who()), overlaps, "{text} overlaps {filter}");
            if text == "+/#" {
                continue; // covers all that `#` does, and may be told so or not
            }
            assert_eq!(pattern.covers(filter, &who()), covers, "{text} covers {filter}");
        }
    }

    #[test]
    fn what_sets_of_topics_have_in_common_agrees_with_trying_topics() {
        let levels = ["a", "b", "$x", ""];
        let texts = ["a", "b", "$x", "+", "#"];
        let mut topics: Vec<String> = levels.iter().map(|level| (*level).to_owned()).collect();
        topics.extend(levels.iter().flat_map(|first| levels.iter().map(move |second| format!("{first}/{second}"))));
        topics.extend(["a/b/c", "$x/b/c", "b/a/a"].map(str::to_owned));
        let mut filters: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        filters.extend(texts[..4].iter().flat_map(|first| texts.iter().map(move |second| format!("{first}/{second}"))));
        for text in &filters {
            for filter in &filters {
                let (rule, asked) = (pattern(text), pattern(filter));
                let of_asked: Vec<&String> = topics.iter().filter(|topic| asked.matches(topic, &who())).collect();
                let common = of_asked.iter().filter(|topic| rule.matches(topic, &who())).count();
                assert!(common == 0 || rule.overlaps(filter, &who()), "{text} and {filter} have a topic in common");
                if rule.covers(filter, &who()) {
                    assert_eq!(common, of_asked.len(), "{text} covers {filter}");
                }
            }
        }
    }

    #[test]
    fn ids_that_could_widen_a_pattern_are_not_put_into_one() {
        for id in ["+", "#", "a/b", "a+", "", "a\0"] {
            let client = Who { client_id: id, ..who() };
            assert!(!pattern("x/%c").is_safe_for(&client) && pattern("x/%u").is_safe_for(&client), "{id:?}");
            let user = Who { user: Some(id), ..who() };
            assert!(!pattern("x/%u").is_safe_for(&user) && pattern("x/%c").is_safe_for(&user), "{id:?}");
        }
        let nobody = Who { user: None, ..who() };
        assert!(!pattern("%u").has_its_ids(&nobody) && pattern("%c").has_its_ids(&nobody));
    }

    #[test]
    fn what_is_no_filter_is_no_pattern() {
        for (text, error) in [
            ("", PatternError::Empty),
            ("a/#/b", PatternError::Wildcard),
            ("a+/b", PatternError::Wildcard),
            ("a/b#", PatternError::Wildcard),
            ("%c+", PatternError::Wildcard),
            ("a\0", PatternError::Nul),
        ] {
            assert_eq!(TopicPattern::with_ids(text), Err(error), "{text:?}");
        }
        assert_eq!(TopicPattern::literal(&"a".repeat(65_536)), Err(PatternError::TooLong));
    }
}
