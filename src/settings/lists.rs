//! Lists that a setting may be: networks, origins, versions of MQTT. And what the accounts of the machine are called.
//!
//! Always holds: what a check lets through, the type reads.

use core::net::IpAddr;
use std::borrow::Cow;
use std::collections::HashMap;

use super::Network;
use super::value::{FromValue, Value};
use crate::limits::LISTENER_TEXT_MAX_BYTES;

/// Networks, or a word for all or none of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Networks {
    /// Every address.
    All,
    /// These; there may be none.
    Some(Box<[Network]>),
}

impl Networks {
    /// Whether an address lies in one of them.
    pub fn contain(&self, address: IpAddr) -> bool {
        match self {
            Self::All => true,
            Self::Some(networks) => networks.iter().any(|network| network.contains(address)),
        }
    }

    /// Whether no address does.
    pub fn are_none(&self) -> bool {
        matches!(self, Self::Some(networks) if networks.is_empty())
    }
}

impl FromValue for Networks {
    fn from_value(value: Value) -> Self {
        let texts = Vec::<String>::from_value(value);
        if texts.iter().any(|text| text == "all") {
            return Self::All;
        }
        let networks = texts.iter().filter(|text| *text != "none");
        Self::Some(networks.map(|text| text.parse().expect("the row has checked it")).collect())
    }
}

/// Reads a network, or the words all and none.
pub(super) fn check_network(text: &str) -> Result<String, String> {
    match text.trim() {
        word @ ("all" | "none") => Ok(word.to_owned()),
        text => text.parse::<Network>().map(|network| network.to_string()),
    }
}

/// Origins of pages; `None` is any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origins(pub Option<Box<[String]>>);

impl FromValue for Origins {
    fn from_value(value: Value) -> Self {
        let texts = Vec::<String>::from_value(value);
        Self((!texts.iter().any(|text| text == "any")).then(|| texts.into()))
    }
}

/// Reads an origin as browsers name it (RFC 6454, 6.2), or the word any.
pub(super) fn check_origin(text: &str) -> Result<String, String> {
    let text = text.trim();
    let is_origin = |text: &str| {
        let (scheme, host) = text.split_once("://")?;
        let is_plain =
            |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b'?' | b'#' | b'@' | b'*' | b'"' | b'\\');
        let holds =
            !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        (holds && !host.is_empty() && host.bytes().all(is_plain)).then_some(())
    };
    if text.len() <= LISTENER_TEXT_MAX_BYTES && (text == "any" || text == "null" || is_origin(text).is_some()) {
        return Ok(text.to_ascii_lowercase());
    }
    Err(format!(
        "{text:?} is no origin: write any, or a scheme, a host and perhaps a port, as in https://console.example"
    ))
}

/// Reads a path of HTTP.
pub(super) fn check_http_path(text: &str) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#' | b'"' | b'<' | b'>' | b'\\');
    if text.starts_with('/') && text.len() <= LISTENER_TEXT_MAX_BYTES && text.bytes().all(is_plain) {
        return Ok(text.to_owned());
    }
    Err(format!("{text:?} is no path: it begins with / and has neither blanks nor ? nor #, as in /mqtt"))
}

/// Which versions of MQTT a listener lets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MqttVersions {
    /// 3.1.
    pub v31: bool,
    /// 3.1.1.
    pub v311: bool,
    /// 5.0.
    pub v5: bool,
}

impl FromValue for MqttVersions {
    fn from_value(value: Value) -> Self {
        let texts = Vec::<String>::from_value(value);
        let has = |version: &str| texts.iter().any(|text| text == version);
        Self { v31: has("3.1"), v311: has("3.1.1"), v5: has("5.0") }
    }
}

/// Reads a version of MQTT.
pub(super) fn check_version(text: &str) -> Result<String, String> {
    match text.trim() {
        version @ ("3.1" | "3.1.1" | "5.0") => Ok(version.to_owned()),
        "5" => Ok("5.0".to_owned()),
        text => Err(format!("{text:?} is none of 3.1, 3.1.1, 5.0")),
    }
}

/// Names of accounts by their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserNames(HashMap<u32, Box<str>>);

impl UserNames {
    /// From the text of `/etc/passwd`. Where a number stands twice, its first name counts, as for the system.
    pub fn of_passwd(text: &str) -> Self {
        let mut names = HashMap::new();
        for line in text.lines() {
            let mut fields = line.split(':');
            if let (Some(name), Some(_), Some(Ok(id))) = (fields.next(), fields.next(), fields.next().map(str::parse)) {
                names.entry(id).or_insert_with(|| name.into());
            }
        }
        Self(names)
    }

    /// What an account is called: its name, or its number where it has none.
    pub fn name_of(&self, user_id: u32) -> Cow<'_, str> {
        self.0.get(&user_id).map_or_else(|| user_id.to_string().into(), |name| (&**name).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(list: &[&str]) -> Value {
        Value::Texts(list.iter().map(|&text| text.to_owned()).collect())
    }

    #[test]
    fn networks_are_words_or_a_list() {
        let address = "192.0.2.1".parse().unwrap();
        for (list, contains, are_none) in [
            (&["all"][..], true, false),
            (&["none"], false, true),
            (&["198.51.100.0/24", "192.0.2.1/32"], true, false),
            (&["198.51.100.0/24"], false, false),
        ] {
            let networks = Networks::from_value(texts(list));
            assert_eq!((networks.contain(address), networks.are_none()), (contains, are_none), "{list:?}");
        }
        assert_eq!(check_network(" 192.0.2.1 ").as_deref(), Ok("192.0.2.1/32"));
        assert!(check_network("localhost").is_err());
    }

    #[test]
    fn origins_are_as_browsers_name_them() {
        for (text, read) in [
            ("any", "any"),
            ("null", "null"),
            ("HTTPS://Console.Example", "https://console.example"),
            ("http://[::1]:3000", "http://[::1]:3000"),
            ("chrome-extension://abc", "chrome-extension://abc"),
        ] {
            assert_eq!(check_origin(text).as_deref(), Ok(read));
        }
        for bad in ["", "*", "https://*.example", "console.example", "https://", "https://a/", "https://u@a", "://a"] {
            assert!(check_origin(bad).is_err(), "{bad}");
        }
        assert_eq!(Origins::from_value(texts(&["any"])), Origins(None));
        let one = "https://a".to_owned();
        assert_eq!(Origins::from_value(texts(&["https://a"])), Origins(Some([one].into())));
    }

    #[test]
    fn paths_and_versions_are_checked() {
        for good in ["/", "/mqtt", "/a/b.c", "/%20"] {
            assert_eq!(check_http_path(good).as_deref(), Ok(good));
        }
        for bad in ["", "mqtt", "/a b", "/a?b", "/#", "/\n", "/\u{e4}", &"/".repeat(300)] {
            assert!(check_http_path(bad).is_err(), "{bad}");
        }
        let versions: Result<Vec<_>, _> = ["3.1", " 3.1.1", "5"].into_iter().map(check_version).collect();
        assert_eq!(versions, Ok(vec!["3.1".to_owned(), "3.1.1".to_owned(), "5.0".to_owned()]));
        assert!(check_version("4").is_err());
        assert_eq!(MqttVersions::from_value(texts(&["3.1.1"])), MqttVersions { v31: false, v311: true, v5: false });
    }

    #[test]
    fn accounts_are_called_by_their_first_name_or_by_their_number() {
        let names =
            UserNames::of_passwd("root:x:0:0:root:/root:/bin/sh\ntoor:x:0:0::/:/\nbroken\nmqtt:x:999:999::/:/\n");
        let called: Vec<_> = [0, 999, 1000].into_iter().map(|id| names.name_of(id)).collect();
        assert_eq!(called, ["root", "mqtt", "1000"]);
        assert_eq!(UserNames::default().name_of(7), "7");
    }
}
