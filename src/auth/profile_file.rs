//! A file of profiles: TOML with groups of users and a table for each kind of client.
//!
//! ```toml
//! [groups]
//! meters = ["m1", "m2"]
//!
//! [[profile]]
//! groups = ["meters"]              # nobody named is everybody
//! listeners = ["public"]
//! publish_rate = 10                # messages a second, of each client
//! user_publish_rate = 100          # the same of all clients of one user together
//! delivery_rate_bytes = "100KiB"
//! over_rate = "wait"               # or "disconnect"
//! max_queued_messages = 100
//! mount_point = "meters/%u/"
//! ```

use std::collections::BTreeSet;

use toml::Spanned;
use toml::de::DeValue;

use super::mount_point::MountPoint;
use super::profile::{ClientProfile, OverRate, Profile, Profiles};
use super::rate_kind::RateKind;
use super::toml_text::{Groups, LineError, TomlText};
use crate::limits::{self, PROFILE_NAMES_MAX, PROFILES_MAX};

/// Why a text is no file of profiles.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// A line, and what is wrong with it.
    #[error(transparent)]
    Line(#[from] LineError),
    /// No profile at all.
    #[error("it holds no profile: was it cut short?")]
    Empty,
    /// More than [`PROFILES_MAX`].
    #[error("it holds more than {PROFILES_MAX} profiles")]
    TooMany,
}

/// How numbers with units are read, such as `64KiB` or `1m`; the error says what is wrong.
pub type UnitReader<'a> = &'a dyn Fn(&str) -> Result<u64, String>;

/// Reads a file; `sizes` and `durations` read numbers with units.
pub fn parse_profiles(text: &str, sizes: UnitReader<'_>, durations: UnitReader<'_>) -> Result<Profiles, ProfileError> {
    let reader = ProfileReader { text: TomlText::new(text), sizes, durations };
    let document = reader.text.document()?;
    let sections = document.get_ref();
    let groups = reader.text.groups(sections)?;
    let mut profiles = Vec::new();
    for (key, value) in sections {
        match (&**key.get_ref(), value.get_ref()) {
            ("groups", _) => {}
            ("profile", DeValue::Array(tables)) => {
                for table in tables {
                    profiles.push(reader.profile(table, &groups)?);
                }
            }
            ("profile", _) => {
                let text = "profile is a table: write [[profile]] on a line of its own";
                return Err(reader.text.error(&key.span(), text).into());
            }
            (other, _) => {
                return Err(reader.text.error(&key.span(), format!("{other:?} is neither groups nor profile")).into());
            }
        }
    }
    match profiles.len() {
        0 => Err(ProfileError::Empty),
        1..=PROFILES_MAX => Ok(Profiles::new(profiles)),
        _ => Err(ProfileError::TooMany),
    }
}

struct ProfileReader<'a> {
    text: TomlText<'a>,
    sizes: UnitReader<'a>,
    durations: UnitReader<'a>,
}

impl ProfileReader<'_> {
    fn profile(&self, table: &Spanned<DeValue<'_>>, groups: &Groups) -> Result<Profile, LineError> {
        let span = table.span();
        let DeValue::Table(keys) = table.get_ref() else {
            return Err(self.text.error(&span, "profile holds tables: write [[profile]] on a line of its own"));
        };
        let mut profile = Profile::default();
        for (key, value) in keys {
            let Profile { scope, settings } = &mut profile;
            match &**key.get_ref() {
                "users" => scope.users.get_or_insert_default().extend(self.names(value, "user names")?),
                "groups" => scope.users.get_or_insert_default().extend(self.text.members(value, groups)?),
                "clients" => scope.clients = self.names(value, "client ids")?,
                "listeners" => scope.listeners = self.names(value, "names of listeners")?,
                "networks" => scope.networks = self.text.networks(value)?,
                name => self.setting(settings, name, (key, value))?,
            }
        }
        if profile.settings == ClientProfile::default() {
            return Err(self.text.error(&span, "a profile sets something"));
        }
        Ok(profile)
    }

    fn setting(
        &self,
        settings: &mut ClientProfile,
        name: &str,
        (key, value): (&Spanned<impl Sized>, &Spanned<DeValue<'_>>),
    ) -> Result<(), LineError> {
        let (of_user, rate) = name.strip_prefix("user_").map_or((false, name), |rate| (true, rate));
        if let Some(kind) = RateKind::ALL.into_iter().find(|kind| kind.key() == rate) {
            let rates = if of_user { &mut settings.user_rates } else { &mut settings.rates };
            rates[kind as usize] = Some(self.number(value, kind.is_bytes(), 1..=limits::PROFILE_RATE_MAX)?);
            return Ok(());
        }
        let number = |is_bytes, least: u64, most: u64| self.number(value, is_bytes, least..=most);
        match name {
            "over_rate" => settings.over_rate = Some(self.over_rate(value)?),
            "max_subscriptions" => {
                settings.subscriptions_max = Some(number(false, 1, limits::SUBSCRIPTIONS_MAX.into())? as u32);
            }
            "max_queued_messages" => {
                settings.queued_messages_max = Some(number(false, 1, limits::QUEUED_MESSAGES_MAX.into())? as u32);
            }
            "max_queued_bytes" => {
                settings.queued_bytes_max = Some(number(true, limits::QUEUED_MIN_BYTES, limits::QUEUED_MAX_BYTES)?);
            }
            "max_packet_size" => {
                let (least, most) = (limits::PACKET_SIZE_MIN_BYTES.into(), limits::PACKET_SIZE_MAX_BYTES.into());
                settings.packet_size_max_bytes = Some(number(true, least, most)? as u32);
            }
            "keep_alive_max" => {
                settings.keep_alive_max_s = Some(self.duration(value, 1..=u64::from(u16::MAX))? as u16);
            }
            "mount_point" => {
                let text = value.get_ref().as_str().unwrap_or_default();
                let read = MountPoint::parse(text).map_err(|wrong| self.text.error(&value.span(), wrong))?;
                settings.mount_point = Some(read);
            }
            other => return Err(self.text.error(&key.span(), format!("unknown key {other:?} in [[profile]]"))),
        }
        Ok(())
    }

    fn over_rate(&self, value: &Spanned<DeValue<'_>>) -> Result<OverRate, LineError> {
        match value.get_ref().as_str() {
            Some("wait") => Ok(OverRate::Wait),
            Some("disconnect") => Ok(OverRate::Disconnect),
            _ => Err(self.text.error(&value.span(), "over_rate is \"wait\" or \"disconnect\"")),
        }
    }

    fn names(&self, value: &Spanned<DeValue<'_>>, what: &str) -> Result<BTreeSet<Box<str>>, LineError> {
        let names = self.text.texts(value, what)?;
        if names.len() > PROFILE_NAMES_MAX {
            return Err(self.text.error(&value.span(), format!("more than {PROFILE_NAMES_MAX} names in one list")));
        }
        Ok(names.into_iter().collect())
    }

    fn number(
        &self,
        value: &Spanned<DeValue<'_>>,
        is_bytes: bool,
        allowed: std::ops::RangeInclusive<u64>,
    ) -> Result<u64, LineError> {
        let read = |text: &str| if is_bytes { (self.sizes)(text) } else { Err(format!("{text:?} is no whole number")) };
        self.in_range(value, read, allowed)
    }

    fn duration(&self, value: &Spanned<DeValue<'_>>, allowed: std::ops::RangeInclusive<u64>) -> Result<u64, LineError> {
        self.in_range(value, self.durations, allowed)
    }

    fn in_range(
        &self,
        value: &Spanned<DeValue<'_>>,
        read: impl Fn(&str) -> Result<u64, String>,
        allowed: std::ops::RangeInclusive<u64>,
    ) -> Result<u64, LineError> {
        let number = match value.get_ref() {
            DeValue::Integer(number) => {
                number.as_str().replace('_', "").parse().map_err(|_| "no whole number".to_owned())
            }
            DeValue::String(text) => read(text),
            _ => Err("here stands a number".to_owned()),
        };
        let number = number.map_err(|wrong| self.text.error(&value.span(), wrong))?;
        if allowed.contains(&number) {
            return Ok(number);
        }
        let (least, most) = (allowed.start(), allowed.end());
        Err(self.text.error(&value.span(), format!("{number} is out of range: {least} to {most} is allowed")))
    }
}

#[cfg(test)]
mod tests {
    use super::super::acl::Who;
    use super::*;

    const FILE: &str = r#"
[groups]
meters = ["m1", "m2"]

[[profile]]
groups = "meters"
users = "m3"
publish_rate = 1_000
user_delivery_rate_bytes = "10KiB"
over_rate = "disconnect"
mount_point = "meters/%u/"

[[profile]]
listeners = ["public"]
publish_rate = 5
max_subscriptions = 10
max_queued_messages = 20
max_queued_bytes = "1MiB"
max_packet_size = 2048
keep_alive_max = "1m"

[[profile]]
clients = "c9"
networks = "10.0.0.0/8"
delivery_rate = 7
"#;

    fn sizes(text: &str) -> Result<u64, String> {
        match text {
            "10KiB" => Ok(10_240),
            "1MiB" => Ok(1 << 20),
            _ => Err(format!("{text:?} is not a size")),
        }
    }

    fn durations(text: &str) -> Result<u64, String> {
        if text == "1m" { Ok(60) } else { Err(format!("{text:?} is not a duration")) }
    }

    fn parse(text: &str) -> Result<Profiles, ProfileError> {
        parse_profiles(text, &sizes, &durations)
    }

    #[test]
    fn of_each_setting_the_first_profile_that_is_about_the_client_decides() {
        let profiles = parse(FILE).unwrap();
        let of = |client_id, user, listener, peer: &str| {
            profiles.of(&Who { client_id, user, listener, peer: peer.parse().ok() })
        };
        let meter = of("c1", Some("m1"), "public", "192.0.2.1").unwrap();
        assert_eq!(
            (meter.rates, meter.user_rates),
            ([Some(1_000), None, None, None], [None, None, None, Some(10_240)])
        );
        assert_eq!((meter.over_rate, meter.subscriptions_max), (Some(OverRate::Disconnect), Some(10)));
        let (messages, bytes) = (meter.queued_messages_max, meter.queued_bytes_max);
        assert_eq!((messages, bytes, meter.packet_size_max_bytes), (Some(20), Some(1 << 20), Some(2048)));
        assert_eq!((meter.keep_alive_max_s, meter.mount_point.unwrap().to_string()), (Some(60), "meters/%u/".into()));
        let other = of("c1", Some("ann"), "public", "192.0.2.1").unwrap();
        assert_eq!((other.rates[0], other.over_rate, other.mount_point), (Some(5), None, None));
        assert_eq!(of("c1", Some("m3"), "inner", "::1").unwrap().subscriptions_max, None);
        assert_eq!(of("c1", None, "inner", "10.0.0.1"), None);
        assert_eq!(of("c9", None, "inner", "11.0.0.1"), None);
        assert_eq!(of("c9", None, "inner", "10.0.0.1").unwrap().rates[2], Some(7));
        assert!(profiles.user_rates().is_some() && profiles.len() == 3);
        assert_eq!(profiles.listeners().collect::<Vec<_>>(), ["public"]);
    }

    #[test]
    fn names_in_one_list_are_bounded() {
        let names = |count: usize| vec!["\"a\""; count].join(",");
        let file = |count| format!("[[profile]]\npublish_rate = 1\nclients = [{}]\n", names(count));
        assert!(parse(&file(PROFILE_NAMES_MAX)).is_ok());
        let error = parse(&file(PROFILE_NAMES_MAX + 1)).unwrap_err().to_string();
        assert_eq!(error, "line 3: more than 100000 names in one list");
    }

    #[test]
    fn a_file_with_anything_wrong_is_no_file() {
        for (text, expected) in [
            ("", "it holds no profile"),
            ("[groups]\n", "it holds no profile"),
            ("[[profile]]\n", "line 1: a profile sets something"),
            ("[[profile]]\nusers = \"ann\"\n", "line 1: a profile sets something"),
            ("[profile]\n", "line 1: profile is a table"),
            ("[profiles]\n", "line 1: \"profiles\" is neither"),
            ("[[profile]]\npublish_rate = 0\n", "line 2: 0 is out of range: 1 to"),
            ("[[profile]]\npublish_rate = -1\n", "line 2: no whole number"),
            ("[[profile]]\npublish_rate = \"10KiB\"\n", "line 2: \"10KiB\" is no whole number"),
            ("[[profile]]\npublish_rate_bytes = \"much\"\n", "line 2: \"much\" is not a size"),
            ("[[profile]]\nover_rate = \"close\"\n", "line 2: over_rate is"),
            ("[[profile]]\npublish_rate = 1_000_000_000_001\n", "line 2: 1000000000001 is out of range"),
            ("[[profile]]\nmax_packet_size = 1\n", "line 2: 1 is out of range"),
            ("[[profile]]\nmount_point = \"a\"\n", "line 2: \"a\" is no mount point"),
            ("[[profile]]\nrate = 1\n", "line 2: unknown key \"rate\""),
            ("[[profile]]\ngroups = \"none\"\n", "line 2: no group is called"),
            ("[[profile]]\npublish_rate = 1\nusers = []\n", "line 3: here stand user names"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{text:?}: {error}");
        }
        let many = "[[profile]]\npublish_rate = 1\n".repeat(PROFILES_MAX + 1);
        assert_eq!(parse(&many), Err(ProfileError::TooMany));
    }
}
