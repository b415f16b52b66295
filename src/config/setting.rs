//! What a setting is: its names, its kind, its bounds, and how a text becomes its value.
//!
//! Always holds: a flag, a variable and a key of the file go through the same [`Setting::parse`], so what one of them
//! accepts the others accept too.

use super::{
    units::Unit,
    value::{BindAddress, Value},
};
use crate::limits;

/// One row of the table of settings.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The section of the file.
    pub section: Section,
    /// The long flag without its dashes.
    pub flag: &'static str,
    /// The flag's one-letter form.
    pub short: Option<char>,
    /// The key in the file where it is not the flag with underscores.
    pub(super) key_in_file: Option<&'static str>,
    /// What it takes.
    pub kind: Kind,
    /// What it is when nobody says.
    pub default: Default,
    /// The explanation: a sentence, an empty line, more sentences.
    pub doc: &'static [&'static str],
}

/// Sections of the file, which are also the headings of `--help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// Sockets and connections.
    Listener,
    /// Who may connect.
    Auth,
    /// The protocol's own limits.
    Mqtt,
    /// What one session may hold.
    Session,
    /// The process.
    Node,
    /// The log.
    Log,
}

impl Section {
    /// Every section in the order of the documentation.
    pub const ALL: [Self; 6] = [Self::Listener, Self::Auth, Self::Mqtt, Self::Session, Self::Node, Self::Log];

    /// Its name in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Listener => "listener",
            Self::Auth => "auth",
            Self::Mqtt => "mqtt",
            Self::Session => "session",
            Self::Node => "node",
            Self::Log => "log",
        }
    }

    /// Its heading in `--help`.
    pub const fn heading(self) -> &'static str {
        match self {
            Self::Listener => "Connections [listener]",
            Self::Auth => "Who may connect [auth]",
            Self::Mqtt => "Packets and topics [mqtt]",
            Self::Session => "What one session may hold [session]",
            Self::Node => "The process [node]",
            Self::Log => "The log [log]",
        }
    }
}

/// What a setting takes.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A number between two bounds; some numbers have a word as well.
    Number {
        /// What is counted.
        unit: Unit,
        /// Least.
        min: u64,
        /// Most.
        max: u64,
        /// Words that stand for a number, such as `off` for 0.
        word: Option<(&'static str, u64)>,
    },
    /// On or off.
    Switch {
        /// The flag that switches it off.
        off_flag: &'static str,
    },
    /// One of these words.
    Choice {
        /// The words.
        words: &'static [&'static str],
        /// What stands for a word in `--help`.
        value_name: &'static str,
        /// What the flag means when no word follows it.
        bare: Option<&'static str>,
    },
    /// One or more addresses.
    Addresses,
    /// A name that fits into one topic level.
    Name,
    /// A path of the file system, or a word that stands for a stream.
    Path,
}

/// What a setting is when nobody says.
#[derive(Clone, Copy, Debug)]
pub enum Default {
    /// This number.
    Number(u64),
    /// On or off.
    Switch(bool),
    /// This text.
    Text(&'static str),
    /// As many as the cores this process may use.
    Cores,
    /// The machine's host name.
    HostName,
}

impl Setting {
    /// A number of `unit` within `min..=max`.
    pub(super) const fn number(flag: &'static str, unit: Unit, min: u64, max: u64, default: u64) -> Self {
        Self::new(flag, Kind::Number { unit, min, max, word: None }, Default::Number(default))
    }

    /// Any setting; the table's macro fills in section and doc.
    pub(super) const fn new(flag: &'static str, kind: Kind, default: Default) -> Self {
        Self { section: Section::Node, flag, short: None, key_in_file: None, kind, default, doc: &[] }
    }

    /// Names the key in the file where it is not the flag with underscores.
    pub(super) const fn key_in_file(mut self, key: &'static str) -> Self {
        self.key_in_file = Some(key);
        self
    }

    /// Gives the flag a one-letter form.
    pub(super) const fn short(mut self, letter: char) -> Self {
        self.short = Some(letter);
        self
    }

    /// Gives one number a word.
    pub(super) const fn word(mut self, name: &'static str, number: u64) -> Self {
        if let Kind::Number { word, .. } = &mut self.kind {
            *word = Some((name, number));
        }
        self
    }

    /// Takes the default from the machine.
    pub(super) const fn default_from(mut self, default: Default) -> Self {
        self.default = default;
        self
    }

    /// The key in the file.
    pub fn key(&self) -> String {
        self.key_in_file.map_or_else(|| self.flag.replace('-', "_"), str::to_owned)
    }

    /// As the file has it: `[section] key`.
    pub fn path(&self) -> String {
        format!("[{}] {}", self.section.name(), self.key())
    }

    /// The environment variable.
    pub fn variable(&self) -> String {
        format!("DUNLIN_{}__{}", self.section.name(), self.key()).to_uppercase()
    }

    /// The first paragraph of the explanation, without its final stop.
    pub fn summary(&self) -> String {
        let lines = self.doc.iter().map(|line| line.trim());
        let paragraph = lines.take_while(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
        paragraph.trim_end_matches('.').to_owned()
    }

    /// The paragraphs after the first.
    pub fn details(&self) -> Vec<String> {
        let text: Vec<&str> = self.doc.iter().map(|line| line.trim()).collect();
        text.split(|line| line.is_empty()).skip(1).map(|lines| lines.join(" ")).collect()
    }

    /// The default in words, for the documentation.
    pub fn default_text(&self) -> String {
        match self.default {
            Default::Number(number) => self.kind.show_number(number),
            Default::Switch(on) => on.to_string(),
            Default::Text(text) => text.to_owned(),
            Default::Cores => "one per core".to_owned(),
            Default::HostName => "the host name".to_owned(),
        }
    }

    /// What is allowed, in words.
    pub fn range_text(&self) -> String {
        match self.kind {
            Kind::Number { unit, min, max, word } => {
                let range = |min, max| format!("{} to {}", unit.show(min), unit.show(max));
                match word {
                    // A word stands for the least or the greatest number, and is the better way to write it.
                    Some((word, number)) if number == min => format!("{}, or {word}", range(min + 1, max)),
                    Some((word, _)) => format!("{}, or {word}", range(min, max - 1)),
                    None => range(min, max),
                }
            }
            Kind::Switch { .. } => "true or false".to_owned(),
            Kind::Choice { words, .. } => words.join(", "),
            Kind::Addresses => format!("1 to {} addresses", limits::LISTENERS_MAX),
            Kind::Name => {
                format!("1 to {} letters, digits, dots, hyphens and underscores", limits::NODE_NAME_MAX_BYTES)
            }
            Kind::Path => "stderr or a path".to_owned(),
        }
    }

    /// What the file is expected to hold, as the end of a sentence.
    pub(super) fn shape(&self) -> String {
        match self.kind {
            Kind::Number { unit: Unit::Count, .. } => "a number".to_owned(),
            Kind::Number { unit: Unit::Bytes, .. } => "a size such as 65536 or \"64KiB\"".to_owned(),
            Kind::Number { unit: Unit::Seconds, .. } => "a duration such as 30 or \"30s\"".to_owned(),
            Kind::Switch { .. } => "true or false".to_owned(),
            Kind::Choice { words, .. } => format!("one of {}", words.join(", ")),
            Kind::Addresses => "an address or a list of them".to_owned(),
            Kind::Name => "a name".to_owned(),
            Kind::Path => "a path".to_owned(),
        }
    }

    /// Reads `texts`: one text, or several where the setting is a list. The error says what is wrong with the text and
    /// what is allowed; the caller says where it came from.
    pub fn parse(&self, texts: &[String]) -> Result<Value, String> {
        match (self.kind, texts) {
            (Kind::Addresses, texts) => addresses(texts),
            (_, [text]) => self.parse_one(text),
            (_, texts) => Err(format!("takes one value, not {}", texts.len())),
        }
    }

    fn parse_one(&self, text: &str) -> Result<Value, String> {
        match self.kind {
            Kind::Number { unit, min, max, word } => {
                let number = match word {
                    Some((word, number)) if word.eq_ignore_ascii_case(text.trim()) => number,
                    _ => unit.parse(text)?,
                };
                let error = || {
                    let (range, default) = (self.range_text(), self.default_text());
                    format!("{} is out of range: allowed is {range} (default {default})", text.trim())
                };
                (min..=max).contains(&number).then_some(Value::Number(number)).ok_or_else(error)
            }
            Kind::Switch { .. } => match text.to_ascii_lowercase().as_str() {
                "true" | "on" | "yes" => Ok(Value::Switch(true)),
                "false" | "off" | "no" => Ok(Value::Switch(false)),
                _ => Err(format!("{text:?} is neither true nor false")),
            },
            Kind::Choice { words, .. } => match words.iter().find(|word| word.eq_ignore_ascii_case(text)) {
                Some(word) => Ok(Value::Text((*word).to_owned())),
                None => Err(format!("{text:?} is none of {}", words.join(", "))),
            },
            Kind::Name => name(text),
            Kind::Path if text.is_empty() || text.contains('\0') => Err("the path is empty or holds a NUL".to_owned()),
            Kind::Path => Ok(Value::Text(text.to_owned())),
            Kind::Addresses => addresses(&[text.to_owned()]),
        }
    }
}

impl Kind {
    /// A number of this kind as it is written in the file.
    pub fn show_number(&self, number: u64) -> String {
        match self {
            Self::Number { word: Some((word, stands_for)), .. } if *stands_for == number => (*word).to_owned(),
            Self::Number { unit, .. } => unit.show(number),
            _ => number.to_string(),
        }
    }
}

fn addresses(texts: &[String]) -> Result<Value, String> {
    // "a,b" is one flag or one variable with two addresses.
    let parts = texts.iter().flat_map(|text| text.split(','));
    let addresses = parts.map(str::parse).collect::<Result<Vec<BindAddress>, String>>()?;
    if addresses.is_empty() || addresses.len() > limits::LISTENERS_MAX {
        return Err(format!("{} addresses are given: allowed is 1 to {}", addresses.len(), limits::LISTENERS_MAX));
    }
    Ok(Value::Addresses(addresses))
}

/// Node names become a level of `$SYS` topics and a label of metrics, so nothing that either would have to escape.
fn name(text: &str) -> Result<Value, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if (1..=limits::NODE_NAME_MAX_BYTES).contains(&text.len()) && text.bytes().all(allowed) {
        return Ok(Value::Text(text.to_owned()));
    }
    Err(format!(
        "{text:?} is no name: allowed is 1 to {} letters, digits, dots, hyphens and underscores",
        limits::NODE_NAME_MAX_BYTES
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn a_word_stands_for_its_number_both_ways() {
        let setting = Setting::number("sys-interval", Unit::Seconds, 0, 3_600, 10).word("off", 0);
        assert_eq!(setting.parse(&texts(&["OFF"])), Ok(Value::Number(0)));
        assert_eq!(setting.parse(&texts(&["0"])), Ok(Value::Number(0)));
        assert_eq!(setting.kind.show_number(0), "off");
        assert_eq!(setting.kind.show_number(60), "1m");
        let error = setting.parse(&texts(&["2h"])).unwrap_err();
        assert_eq!(error, "2h is out of range: allowed is 1s to 1h, or off (default 10s)");
    }

    #[test]
    fn names_are_derived_from_the_flag_unless_the_key_differs() {
        let setting = Setting::number("log-rate", Unit::Count, 0, 1, 0).key_in_file("rate");
        assert_eq!((setting.key().as_str(), setting.variable().as_str()), ("rate", "DUNLIN_NODE__RATE"));
        let setting = Setting::number("max-packet-size", Unit::Bytes, 0, 1, 0);
        assert_eq!(setting.path(), "[node] max_packet_size");
    }

    #[test]
    fn a_list_is_repeated_or_separated_by_commas() {
        let setting = Setting::new("bind", Kind::Addresses, Default::Text("127.0.0.1"));
        let Ok(Value::Addresses(addresses)) = setting.parse(&texts(&["127.0.0.1, ::1", "10.0.0.1:1884"])) else {
            panic!("three addresses");
        };
        assert_eq!(
            addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["127.0.0.1", "::1", "10.0.0.1:1884"]
        );
        assert!(setting.parse(&[]).is_err());
        assert!(setting.parse(&texts(&["127.0.0.1,"])).unwrap_err().contains("is not an IP address"));
        assert!(setting.parse(&vec!["::1".to_owned(); 17]).unwrap_err().contains("1 to 16"));
    }

    #[test]
    fn node_names_fit_a_topic_level_and_a_label() {
        let setting = Setting::new("node-name", Kind::Name, Default::HostName);
        for good in ["a", "edge-7.example.com", "NODE_1"] {
            assert_eq!(setting.parse(&texts(&[good])), Ok(Value::Text(good.to_owned())));
        }
        let long = "x".repeat(65);
        for bad in ["", "a/b", "a+b", "#", "a b", "a\nb", "ä", long.as_str()] {
            assert!(setting.parse(&texts(&[bad])).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn switches_and_choices_take_their_words_only() {
        let switch = Setting::new("pin", Kind::Switch { off_flag: "no-pin" }, Default::Switch(true));
        assert_eq!(switch.parse(&texts(&["off"])), Ok(Value::Switch(false)));
        assert_eq!(switch.parse(&texts(&["True"])), Ok(Value::Switch(true)));
        assert!(switch.parse(&texts(&["1"])).is_err());
        let kind = Kind::Choice { words: &["text", "json"], value_name: "text|json", bare: None };
        let choice = Setting::new("log-format", kind, Default::Text("text"));
        assert_eq!(choice.parse(&texts(&["JSON"])), Ok(Value::Text("json".to_owned())));
        assert_eq!(choice.parse(&texts(&["xml"])).unwrap_err(), "\"xml\" is none of text, json");
    }
}
