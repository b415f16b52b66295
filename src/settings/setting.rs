//! What a setting is: its names, its kind, its bounds, and how a text becomes its value.
//!
//! Always holds: a flag, a variable and a key of the file go through the same [`Setting::parse`], so what one of them
//! accepts the others accept too.

use super::{units::Unit, value::Value};
use crate::limits;

/// One row of the declarations.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The section of the file.
    pub section: Section,
    /// The long flag without its dashes. What has no flag is named by this in the program alone.
    pub flag: &'static str,
    /// The flag's one-letter form.
    pub short: Option<char>,
    /// Another name of the flag.
    pub(crate) also_flag: Option<&'static str>,
    /// Other words for some of a choice's: what is written, and what it stands for.
    pub(crate) also_words: &'static [(&'static str, &'static str)],
    /// The key in the file where it is not the flag with underscores.
    pub(crate) key_in_file: Option<&'static str>,
    /// Whether it may stand in a `[[listener]]` table.
    pub place: Scope,
    /// A second section that it may stand in.
    pub also_in: Option<Section>,
    /// What it takes.
    pub kind: Kind,
    /// What it is when nobody says.
    pub fallback: Fallback,
    /// When a new value takes effect.
    pub change: Change,
    /// Whether it is left out of everything that tells users what there is to set. It is read and checked all the same.
    pub is_hidden: bool,
    /// The explanation: a sentence, an empty line, more sentences.
    pub doc: &'static [&'static str],
}

/// Where a setting may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Once: by flag, by variable, or in its section of the file.
    Broker,
    /// Likewise, for every listener that does not say otherwise in its own `[[listener]]` table.
    EachListener,
    /// In a `[[listener]]` table alone.
    TableOnly,
}

/// When a new value takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// At SIGHUP.
    Reload,
    /// When the broker starts.
    Start,
}

/// Sections of the file, which are also the headings of `--help`, in the order of the documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    /// Sockets and connections.
    Listener,
    /// Who may connect.
    Auth,
    /// The protocol's own limits.
    Mqtt,
    /// What one client may hold.
    Session,
    /// What survives a restart, and where.
    Store,
    /// Brokers that act as one.
    Cluster,
    /// Operators' way in.
    Admin,
    /// Who is told of sampled messages.
    Otlp,
    /// The process.
    Node,
    /// What is written about all of it, and where.
    Log,
}

impl Section {
    /// Every section in the order of the documentation.
    pub const ALL: [Self; 10] = [
        Self::Listener,
        Self::Auth,
        Self::Mqtt,
        Self::Session,
        Self::Store,
        Self::Cluster,
        Self::Admin,
        Self::Otlp,
        Self::Node,
        Self::Log,
    ];

    /// Its name in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Listener => "listener",
            Self::Auth => "auth",
            Self::Mqtt => "mqtt",
            Self::Session => "session",
            Self::Store => "store",
            Self::Cluster => "cluster",
            Self::Admin => "admin",
            Self::Otlp => "otlp",
            Self::Node => "node",
            Self::Log => "log",
        }
    }

    /// What it is about.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Listener => "Listeners",
            Self::Auth => "Who may connect",
            Self::Mqtt => "Packets and topics",
            Self::Session => "What one client may hold",
            Self::Store => "What survives a restart",
            Self::Cluster => "Brokers that act as one",
            Self::Admin => "Metrics and the admin API",
            Self::Otlp => "OpenTelemetry",
            Self::Node => "The whole broker",
            Self::Log => "The log",
        }
    }
}

/// Reads a text as it must be for one setting: its normal form, or what is wrong with it in words.
pub(super) type Check = fn(&str) -> Result<String, String>;

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
        /// A word that stands for a number, such as `off` for 0.
        word: Option<(&'static str, u64)>,
    },
    /// On or off.
    Switch {
        /// The flag that switches it off.
        off_flag: &'static str,
    },
    /// One of these words.
    Choice {
        /// In the order of the documentation, spelled as they are shown.
        words: &'static [&'static str],
        /// Words that will be taken one day, as the documentation of other brokers lets expect.
        planned: &'static [&'static str],
        /// What the flag means when no word follows it.
        bare: Option<&'static str>,
    },
    /// A text that passes a check.
    Text {
        /// Reads it.
        check: Check,
        /// What it is, in a word for `--help`.
        noun: &'static str,
        /// What is allowed, in words.
        allowed: &'static str,
    },
    /// One or more texts that each pass a check.
    Texts {
        /// Reads one.
        check: Check,
        /// What one is, in a word for `--help`.
        noun: &'static str,
        /// How many there may be.
        most: usize,
    },
}

/// What a setting is when nobody says.
#[derive(Clone, Copy, Debug)]
pub enum Fallback {
    /// In the unit of its kind.
    Number(u64),
    /// On or off.
    Switch(bool),
    /// Read as a flag would be.
    Text(&'static str),
    /// One less than the cores this process may use, at least one.
    CoresButOne,
    /// The machine's host name.
    HostName,
    /// Where this user's programs keep what outlives them.
    StateDirectory,
    /// The listener's address.
    Address,
}

/// What some defaults follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Cores this process may use.
    pub cores: usize,
    /// The machine's name.
    pub host_name: String,
    /// Where this user's programs keep what outlives them; empty where there is no such place.
    pub state_directory: String,
    /// Memory that this process may take, where that is known.
    pub memory_max_bytes: Option<u64>,
}

/// One core and no name: what tests and simulations run on.
impl Default for Machine {
    fn default() -> Self {
        Self {
            cores: 1,
            host_name: NODE_NAME_DEFAULT.to_owned(),
            state_directory: "/var/lib/dunlin".to_owned(),
            memory_max_bytes: None,
        }
    }
}

/// A machine may be called what no topic level may be; its broker is then called this.
const NODE_NAME_DEFAULT: &str = "dunlin";

/// Words of a switch, wherever they stand: the first of each pair is how it is written.
const ON_OFF: [(&str, &str); 4] = [("true", "false"), ("on", "off"), ("yes", "no"), ("1", "0")];

/// What a word of [`ON_OFF`] says.
fn on_or_off(text: &str) -> Option<bool> {
    let text = text.trim();
    ON_OFF.iter().find_map(|(on, off)| match text {
        _ if on.eq_ignore_ascii_case(text) => Some(true),
        _ if off.eq_ignore_ascii_case(text) => Some(false),
        _ => None,
    })
}

impl Setting {
    /// A number of `unit` within `min..=max`.
    pub(crate) const fn number(flag: &'static str, unit: Unit, min: u64, max: u64, default: u64) -> Self {
        Self::new(flag, Kind::Number { unit, min, max, word: None }, Fallback::Number(default))
    }

    /// Any setting; the macro fills in section, change and doc.
    pub(crate) const fn new(flag: &'static str, kind: Kind, fallback: Fallback) -> Self {
        Self {
            section: Section::Node,
            flag,
            short: None,
            also_flag: None,
            also_words: &[],
            key_in_file: None,
            place: Scope::Broker,
            also_in: None,
            kind,
            fallback,
            change: Change::Start,
            is_hidden: false,
            doc: &[],
        }
    }

    /// Names the key in the file where it is not the flag with underscores.
    pub(crate) const fn key_in_file(mut self, key: &'static str) -> Self {
        self.key_in_file = Some(key);
        self
    }

    /// Gives the flag a one-letter form.
    #[cfg(feature = "runtime")]
    pub(crate) const fn short(mut self, letter: char) -> Self {
        self.short = Some(letter);
        self
    }

    /// Gives the flag another name, and the words of a choice others.
    pub(crate) const fn also(mut self, flag: &'static str, words: &'static [(&'static str, &'static str)]) -> Self {
        self.also_flag = Some(flag);
        self.also_words = words;
        self
    }

    /// Gives one number a word.
    pub(crate) const fn word(mut self, name: &'static str, number: u64) -> Self {
        if let Kind::Number { word, .. } = &mut self.kind {
            *word = Some((name, number));
        }
        self
    }

    /// Takes the default from the machine.
    pub(crate) const fn default_from(mut self, fallback: Fallback) -> Self {
        self.fallback = fallback;
        self
    }

    /// Lets a `[[listener]]` table have its own.
    pub(crate) const fn for_each_listener(mut self) -> Self {
        self.place = Scope::EachListener;
        self
    }

    /// Lets it stand in `[[listener]]` tables alone.
    pub(crate) const fn in_tables_only(mut self) -> Self {
        self.place = Scope::TableOnly;
        self
    }

    /// Lets it stand in a second section, where it was before.
    pub(crate) const fn also_in(mut self, section: Section) -> Self {
        self.also_in = Some(section);
        self
    }

    /// Leaves it out of everything that tells users what there is to set.
    #[cfg(feature = "runtime")]
    pub(crate) const fn hidden(mut self) -> Self {
        self.is_hidden = true;
        self
    }

    /// The key in the file.
    pub fn key(&self) -> String {
        self.key_in_file.map_or_else(|| self.flag.replace('-', "_"), str::to_owned)
    }

    /// As the file has it: `[section] key`.
    pub fn path(&self) -> String {
        match self.place {
            Scope::TableOnly => format!("[[{}]] {}", self.section.name(), self.key()),
            _ => format!("[{}] {}", self.section.name(), self.key()),
        }
    }

    /// The environment variable; none for what stands in tables alone.
    pub fn variable(&self) -> Option<String> {
        (self.place != Scope::TableOnly).then(|| self.variable_in(self.section))
    }

    /// The variable, were its section this one.
    pub(crate) fn variable_in(&self, section: Section) -> String {
        format!("DUNLIN_{}__{}", section.name(), self.key()).to_uppercase()
    }

    /// Whether it has a flag and a variable.
    pub fn has_flag(&self) -> bool {
        self.place != Scope::TableOnly
    }

    /// Whether it may stand in a `[[listener]]` table.
    pub fn is_of_listener(&self) -> bool {
        self.place != Scope::Broker
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

    /// What stands for a value in `--help`.
    pub fn value_name(&self) -> String {
        match self.kind {
            Kind::Number { unit, .. } => unit.value_name().to_owned(),
            Kind::Switch { .. } => "true|false".to_owned(),
            // The columns of `-h` are as wide as the longest of these.
            Kind::Choice { words, .. } if words.len() > 2 => "WORD".to_owned(),
            Kind::Choice { words, .. } => words.join("|"),
            Kind::Text { noun, .. } | Kind::Texts { noun, .. } => noun.to_uppercase(),
        }
    }

    /// What it is on `machine` when nobody says.
    pub fn default_value(&self, machine: &Machine) -> Value {
        let read = |text: &str| self.parse(&[text.to_owned()]);
        match self.fallback {
            Fallback::Number(number) => Value::Number(number),
            Fallback::Switch(on) => Value::Switch(on),
            Fallback::Text(text) => read(text).expect("the rows' defaults are valid"),
            Fallback::CoresButOne => Value::Number(machine.cores.saturating_sub(1).clamp(1, limits::SHARDS_MAX) as u64),
            Fallback::HostName => {
                read(&machine.host_name).unwrap_or_else(|_| Value::Text(NODE_NAME_DEFAULT.to_owned()))
            }
            Fallback::StateDirectory => Value::Text(machine.state_directory.clone()),
            // The listener fills it in once it knows.
            Fallback::Address => Value::Text(String::new()),
        }
    }

    /// The default in words, for the documentation.
    pub fn default_text(&self) -> String {
        match self.fallback {
            Fallback::Number(number) => self.kind.show_number(number),
            Fallback::Switch(on) => on.to_string(),
            Fallback::Text(text) => text.to_owned(),
            Fallback::CoresButOne => "one per core but one".to_owned(),
            Fallback::HostName => "the host name".to_owned(),
            Fallback::StateDirectory => {
                "`$STATE_DIRECTORY`, else `$XDG_STATE_HOME/dunlin`, else `~/.local/state/dunlin`".to_owned()
            }
            Fallback::Address => "its address".to_owned(),
        }
    }

    /// What is allowed, in words.
    pub fn range_text(&self) -> String {
        match self.kind {
            Kind::Number { unit, min, max, word } => {
                let range = |min, max| format!("{} to {}", unit.show(min), unit.show(max));
                match word {
                    // A word stands for the least or the greatest number, and is the better way to write it.
                    Some((word, 0)) if min == 0 => format!("{}, or {word} (0)", range(1, max)),
                    Some((word, number)) if number == min => format!("{}, or {word}", range(min + 1, max)),
                    Some((word, _)) => format!("{}, or {word}", range(min, max - 1)),
                    None => range(min, max),
                }
            }
            Kind::Switch { .. } => "true or false".to_owned(),
            Kind::Choice { words, .. } => words.join(", "),
            Kind::Text { allowed, .. } => allowed.to_owned(),
            Kind::Texts { noun, most, .. } => format!("{noun}, up to {most}"),
        }
    }

    /// What the file is expected to hold, as the end of a sentence.
    #[cfg(feature = "runtime")]
    pub(crate) fn shape(&self) -> String {
        match self.kind {
            Kind::Number { unit: Unit::Count, .. } => "a number".to_owned(),
            Kind::Number { unit: Unit::Bytes, .. } => "a size such as 65536 or \"64KiB\"".to_owned(),
            Kind::Number { unit: Unit::Seconds, .. } => "a duration such as 30 or \"30s\"".to_owned(),
            Kind::Switch { .. } => "true or false".to_owned(),
            Kind::Choice { words, .. } => format!("one of {}", words.join(", ")),
            Kind::Text { noun, .. } => format!("text ({noun})"),
            Kind::Texts { noun, .. } => format!("text or a list of texts ({noun})"),
        }
    }

    /// Reads `texts`: one text, or several where the setting is a list. The error says what is wrong with the text and
    /// what is allowed; the caller says where it came from.
    pub fn parse(&self, texts: &[String]) -> Result<Value, String> {
        match (self.kind, texts) {
            (Kind::Texts { check, most, .. }, texts) => list(check, most, texts),
            (_, [text]) => self.parse_one(text),
            (_, texts) => Err(format!("takes one value, not {}", texts.len())),
        }
    }

    fn parse_one(&self, text: &str) -> Result<Value, String> {
        match self.kind {
            Kind::Number { unit, min, max, word } => {
                let number = match word {
                    Some((word, number)) if word.eq_ignore_ascii_case(text.trim()) => number,
                    // Whoever writes a word can have meant only this one.
                    Some((word, _)) if text.trim().starts_with(char::is_alphabetic) => {
                        return Err(format!("{}; did you mean {word:?}?", unit.parse(text).expect_err("it is a word")));
                    }
                    _ => unit.parse(text)?,
                };
                let error = || {
                    let (range, default) = (self.range_text(), self.default_text());
                    format!("{} is out of range: allowed is {range} (default {default})", text.trim())
                };
                (min..=max).contains(&number).then_some(Value::Number(number)).ok_or_else(error)
            }
            Kind::Switch { .. } => {
                on_or_off(text).map(Value::Switch).ok_or_else(|| format!("{text:?} is neither true nor false"))
            }
            Kind::Choice { words, planned, .. } => {
                let also = self.also_words.iter().find(|(also, _)| also.eq_ignore_ascii_case(text.trim()));
                choice(words, planned, also.map_or(text, |(_, word)| *word))
            }
            Kind::Text { check, .. } => check(text).map(Value::Text),
            Kind::Texts { check, most, .. } => list(check, most, &[text.to_owned()]),
        }
    }

    /// A value of this setting as a flag would have it.
    pub fn show(&self, value: &Value) -> String {
        match value {
            Value::Number(number) => self.kind.show_number(*number),
            Value::Switch(on) => on.to_string(),
            Value::Text(text) => text.clone(),
            Value::Texts(texts) => texts.join(","),
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

fn choice(words: &[&str], planned: &[&str], text: &str) -> Result<Value, String> {
    let of = |words: &[&str], text: &str| {
        words.iter().find(|word| word.eq_ignore_ascii_case(text.trim())).map(|word| (*word).to_owned())
    };
    // Where true is among the words, whatever else says true is too.
    let spelled = || of(words, if on_or_off(text)? { "true" } else { "false" });
    match of(words, text).or_else(spelled) {
        Some(word) => Ok(Value::Text(word)),
        None if of(planned, text).is_some() => {
            Err(format!("{text:?} is not built yet: this version has {}", words.join(", ")))
        }
        None => Err(format!("{text:?} is none of {}", words.join(", "))),
    }
}

/// Words that say all there is to say of a list.
const WORDS_ALONE: [&str; 3] = ["all", "any", "none"];

fn list(check: Check, most: usize, texts: &[String]) -> Result<Value, String> {
    // "a,b" is one flag or one variable with two of them.
    let checked = texts.iter().flat_map(|text| text.split(',')).map(check).collect::<Result<Vec<String>, String>>()?;
    if checked.is_empty() || checked.len() > most {
        return Err(format!("{} are given: allowed is 1 to {most}", checked.len()));
    }
    if let (Some(word), 2..) = (checked.iter().find(|text| WORDS_ALONE.contains(&text.as_str())), checked.len()) {
        return Err(format!("{word:?} stands alone or not at all"));
    }
    Ok(Value::Texts(checked))
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
        assert_eq!(error, "2h is out of range: allowed is 1s to 1h, or off (0) (default 10s)");
        let error = setting.parse(&texts(&["none"])).unwrap_err();
        assert!(
            error.starts_with("\"none\" is not a duration") && error.ends_with("; did you mean \"off\"?"),
            "{error}"
        );
    }

    #[test]
    fn names_are_derived_from_the_flag_unless_the_key_differs() {
        let setting = Setting::number("log-rate", Unit::Count, 0, 1, 0).key_in_file("rate");
        assert_eq!((setting.key(), setting.variable()), ("rate".to_owned(), Some("DUNLIN_NODE__RATE".to_owned())));
        let setting = Setting::number("max-packet-size", Unit::Bytes, 0, 1, 0);
        assert_eq!(setting.path(), "[node] max_packet_size");
        let setting = setting.in_tables_only();
        assert_eq!((setting.path().as_str(), setting.variable()), ("[[node]] max_packet_size", None));
    }

    #[test]
    fn a_list_is_repeated_or_separated_by_commas() {
        let check = |text: &str| match text.trim() {
            "" => Err("empty".to_owned()),
            text => Ok(text.to_lowercase()),
        };
        let setting = Setting::new("x", Kind::Texts { check, noun: "letters", most: 3 }, Fallback::Text("a"));
        assert_eq!(setting.parse(&texts(&["A, b", "c"])), Ok(Value::Texts(texts(&["a", "b", "c"]))));
        for (wrong, error) in [
            (texts(&[]), "0 are given: allowed is 1 to 3"),
            (texts(&["a,"]), "empty"),
            (texts(&["a,b,c,d"]), "4 are given: allowed is 1 to 3"),
            (texts(&["any,b"]), "\"any\" stands alone or not at all"),
        ] {
            assert_eq!(setting.parse(&wrong).unwrap_err(), error);
        }
    }

    #[test]
    fn switches_and_choices_share_their_words_for_yes_and_no() {
        let switch = Setting::new("pin", Kind::Switch { off_flag: "no-pin" }, Fallback::Switch(true));
        let kind = Kind::Choice { words: &["some", "true", "false"], planned: &["most"], bare: None };
        let choice = Setting::new("let-in", kind, Fallback::Text("some"));
        for (on, word) in [(true, "true"), (false, "false")] {
            for (yes, no) in [("true", "false"), ("On", "off"), ("YES", "No"), ("1", "0")] {
                let text = texts(&[if on { yes } else { no }]);
                assert_eq!(switch.parse(&text), Ok(Value::Switch(on)), "{text:?}");
                assert_eq!(choice.parse(&text), Ok(Value::Text(word.to_owned())), "{text:?}");
            }
        }
        assert_eq!(switch.parse(&texts(&["some"])).unwrap_err(), "\"some\" is neither true nor false");
        assert_eq!(choice.parse(&texts(&["Some"])), Ok(Value::Text("some".to_owned())));
        assert_eq!(choice.parse(&texts(&["all"])).unwrap_err(), "\"all\" is none of some, true, false");
        let error = choice.parse(&texts(&["most"])).unwrap_err();
        assert_eq!(error, "\"most\" is not built yet: this version has some, true, false");
        let kind = Kind::Choice { words: &["text", "json"], planned: &[], bare: None };
        let choice = Setting::new("log-format", kind, Fallback::Text("text"));
        assert_eq!(choice.parse(&texts(&["yes"])).unwrap_err(), "\"yes\" is none of text, json");
        let choice = choice.also("format", &[("lines", "json")]);
        assert_eq!(choice.parse(&texts(&["Lines"])), Ok(Value::Text("json".to_owned())));
        assert_eq!(choice.parse(&texts(&["line"])).unwrap_err(), "\"line\" is none of text, json");
    }
}
