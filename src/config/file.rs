//! The configuration file: TOML, a section per table, a setting per key, and a `[[listener]]` table per listener.
//!
//! Always holds: nothing in the file is skipped. A key or section that is not known, a value of the wrong shape and a
//! file without a single setting are problems with their line; a file that was cut short never means "defaults".

use std::{ops::Range, path::Path, sync::Arc};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{
    bridges::{self, BridgeSettings},
    error::{Problem, Source},
    foreign,
    layers::{Given, Layer, ListenerTable, ROWS},
    sinks::{self, SinkSettings},
    sources::{self, SourceSettings},
    suggest,
    tables::TableReader,
};
use crate::limits::{SINKS_MAX, SOURCES_MAX};
use crate::settings::{Kind, Scope, Section, Setting};

/// Reads the file's text; `path` is how messages name it. What could be read comes back beside what could not.
pub(super) fn read(path: &Path, text: &str) -> FileSettings {
    let mut reader = FileReader { path, text, read: FileSettings::empty(), problems: Vec::new() };
    reader.read();
    let FileReader { read, mut problems, .. } = reader;
    problems.sort_by_key(|problem| match problem.source {
        Source::File { line, .. } => line,
        _ => 0,
    });
    FileSettings { problems, ..read }
}

/// What a file says.
#[derive(Debug)]
pub(super) struct FileSettings {
    /// Of the whole broker.
    pub(super) layer: Layer,
    /// One for each `[[listener]]`, in their order.
    pub(super) tables: Vec<ListenerTable>,
    /// Its `[[bridge]]` tables.
    pub(super) bridges: Vec<Arc<BridgeSettings>>,
    /// Its `[[source]]` tables.
    pub(super) sources: Vec<Arc<SourceSettings>>,
    /// Its `[[sink]]` tables.
    pub(super) sinks: Vec<Arc<SinkSettings>>,
    /// Tables of sinks and sources as they stand in the file.
    pub(super) own_tables: Vec<String>,
    /// What is wrong with it.
    pub(super) problems: Vec<Problem>,
}

impl FileSettings {
    /// Of no file.
    pub(super) fn empty() -> Self {
        Self {
            layer: Layer::empty(),
            tables: Vec::new(),
            bridges: Vec::new(),
            sinks: Vec::new(),
            own_tables: Vec::new(),
            sources: Vec::new(),
            problems: Vec::new(),
        }
    }
}

struct FileReader<'a> {
    path: &'a Path,
    text: &'a str,
    read: FileSettings,
    problems: Vec<Problem>,
}

impl<'a> FileReader<'a> {
    fn read(&mut self) {
        let (document, errors) = DeTable::parse_recoverable(self.text);
        if !errors.is_empty() {
            // What follows from a broken line would be guesses, so keys are not looked at.
            return self.not_toml(&errors);
        }
        if document.get_ref().is_empty() {
            let text = "holds no setting: was it cut short? Leave out --config to run with defaults";
            self.problem(&(0..0), text.to_owned());
        }
        for (key, value) in document.get_ref() {
            self.section(key.get_ref(), &key.span(), value.get_ref());
        }
    }

    fn line(&self, span: &Range<usize>) -> usize {
        self.text.get(..span.start).unwrap_or(self.text).matches('\n').count() + 1
    }

    fn source_at(&self, line: usize) -> Source {
        Source::File { path: self.path.to_owned(), line }
    }

    fn source(&self, span: &Range<usize>) -> Source {
        self.source_at(self.line(span))
    }

    fn problem(&mut self, span: &Range<usize>, text: String) {
        let source = self.source(span);
        self.problems.push(Problem { source, text });
    }

    fn not_toml(&mut self, errors: &[toml::de::Error]) {
        if let Some(lines) = foreign::mosquitto_conf(self.text) {
            let head = (1, foreign::mosquitto_conf_head(&self.path.display().to_string()));
            for (line, text) in std::iter::once(head).chain(lines) {
                let source = self.source_at(line);
                self.problems.push(Problem { source, text });
            }
            return;
        }
        for error in errors {
            // The parser's words may span lines; a problem is one line, and a line has one problem.
            let words = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
            let span = error.span().unwrap_or_default();
            let line = self.line(&span);
            let source = self.source_at(line);
            if self.problems.iter().any(|problem| problem.source == source) {
                continue;
            }
            let broken = self.text.lines().nth(line - 1).unwrap_or_default();
            let text = match unquoted(broken) {
                Some(quoted) => format!("this is not TOML; put the value in quotes: {quoted}"),
                None if self.has_both_listeners() && names_listener(broken) => BOTH_LISTENERS.to_owned(),
                None => format!("this is not TOML: {words}"),
            };
            self.problems.push(Problem { source, text });
        }
    }

    /// Whether `[listener]` stands beside `[[listener]]`, which to the parser is a key that stands twice.
    fn has_both_listeners(&self) -> bool {
        let is_table = |line: &str| line.trim_start().starts_with("[[");
        let mut opening = self.text.lines().filter(|line| names_listener(line)).map(is_table);
        opening.next().is_some_and(|first| opening.any(|other| other != first))
    }

    /// As [`Self::bridge`], `[[source]]`.
    fn source_tables(&mut self, span: &Range<usize>, value: &DeValue<'a>) {
        let tables = match value {
            DeValue::Array(tables) if tables.iter().all(|table| table.get_ref().is_table()) => tables,
            _ => return self.problem(span, "source holds tables: write [[source]] on a line of its own".to_owned()),
        };
        for table in tables {
            let DeValue::Table(keys) = table.get_ref() else { continue };
            let mut reader = TableReader::new("[[source]]", keys, table.span());
            let source = sources::read(&mut reader);
            if source.as_ref().is_some_and(|new| self.read.sources.iter().any(|known| known.name == new.name)) {
                reader.problem(&table.span(), "another [[source]] has this name");
            }
            if self.read.sources.len() == SOURCES_MAX {
                reader.problem(&table.span(), format!("there may be {SOURCES_MAX} sources, and this is one more"));
            }
            reader.finish().into_iter().for_each(|(span, text)| self.problem(&span, text));
            self.read.sources.extend(source.map(Arc::new));
            self.keep_text(table);
        }
    }

    /// A table of its own kind, `[[bridge]]`: its keys are no settings of the broker.
    fn bridge(&mut self, span: &Range<usize>, value: &DeValue<'a>) {
        let DeValue::Array(tables) = value else {
            return self
                .problem(span, "bridge is a table of its own: write [[bridge]] on a line of its own".to_owned());
        };
        for table in tables {
            let DeValue::Table(keys) = table.get_ref() else {
                let text = "bridge holds tables: write [[bridge]] on a line of its own";
                self.problem(&table.span(), text.to_owned());
                continue;
            };
            let mut reader = TableReader::new("[[bridge]]", keys, table.span());
            let bridge = bridges::read(&mut reader);
            let is_twice =
                bridge.as_ref().is_some_and(|new| self.read.bridges.iter().any(|known| known.name == new.name));
            if is_twice {
                reader.problem(&table.span(), "another [[bridge]] has this name");
            }
            reader.finish().into_iter().for_each(|(span, text)| self.problem(&span, text));
            self.read.bridges.extend(bridge.map(Arc::new));
        }
    }

    /// Tables of other systems that messages go to, `[[sink]]`.
    fn sink(&mut self, span: &Range<usize>, value: &DeValue<'a>) {
        let DeValue::Array(tables) = value else {
            return self.problem(span, "sink is a table of its own: write [[sink]] on a line of its own".to_owned());
        };
        if tables.len() > SINKS_MAX {
            self.problem(span, format!("there may be {SINKS_MAX} sinks, and these are {}", tables.len()));
        }
        for table in tables {
            let DeValue::Table(keys) = table.get_ref() else {
                let text = "sink holds tables: write [[sink]] on a line of its own";
                self.problem(&table.span(), text.to_owned());
                continue;
            };
            let mut reader = TableReader::new("[[sink]]", keys, table.span());
            let sink = sinks::read(&mut reader);
            if sink.as_ref().is_some_and(|new| self.read.sinks.iter().any(|known| known.name == new.name)) {
                reader.problem(&table.span(), "another [[sink]] has this name");
            }
            if let Some(known) = sink.as_ref().and_then(|new| sinks::shares_files(new, &self.read.sinks)) {
                let text = format!("[[sink]] {} writes files of this folder and prefix already", known.name);
                reader.problem(&table.span(), text);
            }
            reader.finish().into_iter().for_each(|(span, text)| self.problem(&span, text));
            self.read.sinks.extend(sink.map(Arc::new));
            self.keep_text(table);
        }
    }

    /// A table is printed as it stands.
    fn keep_text(&mut self, table: &Spanned<DeValue<'_>>) {
        let end = end_of(table).max(table.span().end);
        self.read.own_tables.extend(self.text.get(table.span().start..end).map(str::to_owned));
    }

    fn section(&mut self, name: &str, span: &Range<usize>, value: &DeValue<'a>) {
        if name == "bridge" {
            return self.bridge(span, value);
        }
        if name == "source" {
            return self.source_tables(span, value);
        }
        if name == "sink" {
            return self.sink(span, value);
        }
        let section = Section::ALL.into_iter().find(|section| section.name() == name);
        match (section, value) {
            (Some(section), DeValue::Table(table)) => {
                for (key, value) in table {
                    self.setting(section, key.get_ref(), &key.span(), value.get_ref());
                }
            }
            (Some(Section::Listener), DeValue::Array(array)) if !array.is_empty() => {
                for table in array {
                    self.listener(&table.span(), table.get_ref());
                }
            }
            (Some(Section::Listener), DeValue::Array(_)) => {
                let text = "listener holds nothing: write [listener] on a line of its own, or [[listener]] for each";
                self.problem(span, text.to_owned());
            }
            (Some(_), _) => self.problem(span, format!("{name} is a section: write [{name}] on a line of its own")),
            (None, DeValue::Table(_)) => {
                self.problem(
                    span,
                    format!("unknown section [{}]; {}", name.escape_debug(), suggest::for_section(name)),
                );
            }
            (None, _) => self.problem(span, format!("unknown key {name:?}; {}", suggest::for_key(None, name))),
        }
    }

    fn setting(&mut self, section: Section, key: &str, span: &Range<usize>, value: &DeValue<'_>) {
        let is_meant = |row: &Setting| {
            row.place != Scope::TableOnly
                && (row.section == section || row.also_in == Some(section))
                && row.key() == key
        };
        let Some(index) = ROWS.iter().position(is_meant) else {
            let hint = suggest::for_key(Some(section), key);
            return self.problem(span, format!("unknown key {key:?} in [{}]; {hint}", section.name()));
        };
        if let Some(given) = self.given(&ROWS[index].path(), index, span, value)
            && let Err(problem) = self.read.layer.set(index, given)
        {
            self.problems.push(problem);
        }
    }

    fn listener(&mut self, span: &Range<usize>, value: &DeValue<'a>) {
        let DeValue::Table(table) = value else {
            return self.problem(span, "listener holds tables: write [[listener]] on a line of its own".to_owned());
        };
        let mut layer = Layer::empty();
        for (key, value) in table {
            let is_meant = |row: &Setting| row.is_of_listener() && row.key() == *key.get_ref();
            let Some(index) = ROWS.iter().position(is_meant) else {
                let hint = suggest::for_listener_key(key.get_ref());
                self.problem(&key.span(), format!("unknown key {:?} in [[listener]]; {hint}", key.get_ref()));
                continue;
            };
            let path = format!("[[listener]] {}", key.get_ref());
            if let Some(given) = self.given(&path, index, &key.span(), value.get_ref())
                && let Err(problem) = layer.set(index, given)
            {
                self.problems.push(problem);
            }
        }
        self.read.tables.push(ListenerTable { source: self.source(span), layer });
    }

    fn given(&mut self, path: &str, index: usize, span: &Range<usize>, value: &DeValue<'_>) -> Option<Given> {
        let takes_fractions = matches!(ROWS[index].kind, Kind::Text { noun: "ratio", .. });
        let read = match value {
            DeValue::Float(number) if takes_fractions => Ok(vec![number.as_str().to_owned()]),
            value => texts(value),
        };
        match read {
            Ok(texts) => Some(Given { texts, source: self.source(span) }),
            Err(found) => {
                self.problem(span, format!("{path}: {found} stands where {} is expected", ROWS[index].shape()));
                None
            }
        }
    }
}

/// Where the last value ends that is in this one.
fn end_of(value: &Spanned<DeValue<'_>>) -> usize {
    let inner = match value.get_ref() {
        DeValue::Table(table) => table.iter().map(|(_, value)| end_of(value)).max(),
        DeValue::Array(values) => values.iter().map(end_of).max(),
        _ => None,
    };
    inner.unwrap_or(0).max(value.span().end)
}

/// What the parser calls a duplicate key.
const BOTH_LISTENERS: &str = "a file has [listener] or [[listener]], not both: what holds for one listener stands in its \
    [[listener]] table";

/// Whether the line opens `[listener]` or `[[listener]]`.
fn names_listener(line: &str) -> bool {
    let line = line.split('#').next().unwrap_or_default();
    let bare: String = line.chars().filter(|c| !c.is_whitespace()).collect();
    bare == "[listener]" || bare == "[[listener]]"
}

/// The line with its value in quotes, or each value of its list, if that is all it lacks.
fn unquoted(line: &str) -> Option<String> {
    let (key, value) = line.split_once('=')?;
    let (key, value) = (key.trim(), value.split('#').next().unwrap_or_default().trim());
    let list = value.strip_prefix('[').and_then(|value| value.strip_suffix(']'));
    let bare = |value: &str| value.trim().trim_matches(['"', '\'']).to_owned();
    let values: Vec<String> = match list {
        Some(list) => list.split(',').map(bare).filter(|value| !value.is_empty()).collect(),
        None if value.starts_with(['"', '\'', '[', '{']) => return None,
        None => vec![value.to_owned()],
    };
    let takes = |row: &Setting| row.key() == key && row.parse(&values).is_ok();
    let quoted = values.iter().map(|value| format!("\"{value}\"")).collect::<Vec<_>>().join(", ");
    let quoted = if list.is_some() { format!("[{quoted}]") } else { quoted };
    ROWS.iter().any(takes).then(|| format!("{key} = {quoted}"))
}

/// The text of a value as a flag would have it, or the name of its type where no setting takes that type.
fn texts(value: &DeValue<'_>) -> Result<Vec<String>, &'static str> {
    match value {
        DeValue::Array(array) => array.iter().map(|value| scalar(value.get_ref())).collect(),
        value => Ok(vec![scalar(value)?]),
    }
}

fn scalar(value: &DeValue<'_>) -> Result<String, &'static str> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Boolean(on) => Ok(on.to_string()),
        DeValue::Integer(number) => {
            let parsed = i128::from_str_radix(number.as_str(), number.radix());
            parsed.map(|number| number.to_string()).map_err(|_| "a number beyond all bounds")
        }
        DeValue::Float(_) => Err("a number with a fraction"),
        DeValue::Datetime(_) => Err("a date"),
        DeValue::Array(_) => Err("an array in an array"),
        DeValue::Table(_) => Err("a table"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::layers::index;

    fn lines(text: &str) -> Vec<String> {
        let problems = read(Path::new("d.toml"), text).problems;
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn sources_have_names_of_their_own_and_there_may_be_so_many() {
        let source = |name: usize| {
            format!("[[source]]\nname = \"s{name}\"\ntopic = \"t\"\n[source.nats]\nservers = \"a\"\nstream = \"s\"\n")
        };
        let two = read(Path::new("d.toml"), &[source(1), source(2)].concat());
        assert_eq!((two.sources.len(), two.problems.len()), (2, 0));
        let twice = lines(&[source(1), source(1)].concat());
        assert!(twice.iter().any(|line| line.contains("another [[source]] has this name")), "{twice:?}");
        let many: String = (0..=SOURCES_MAX).map(source).collect();
        assert!(lines(&many).iter().any(|line| line.contains("there may be 256 sources")));
        assert!(lines("[source]\nname = \"x\"\n")[0].contains("[[source]]"));
    }

    #[test]
    fn values_come_with_their_line() {
        let FileSettings { layer, tables, problems, .. } = read(
            Path::new("d.toml"),
            "[listener]\nport = 1_884\nbind = [\n  \"::1\",\n  \"127.0.0.1\",\n]\nauth.x = 1\n\
             [auth]\nallow_anonymous = false\n",
        );
        assert_eq!((problems.len(), tables.len()), (1, 0), "{problems:?}");
        let get = |flag: &str| {
            let given = layer.get(index(flag)).unwrap();
            format!("{} {}", given.texts.join(" "), given.source)
        };
        assert_eq!(get("port"), "1884 d.toml:2");
        assert_eq!(get("bind"), "::1 127.0.0.1 d.toml:3");
        assert_eq!(get("allow-anonymous"), "false d.toml:9");
    }

    #[test]
    fn each_listener_has_a_table_of_its_own() {
        let text = "[[listener]]\nname = \"a\"\nport = 1\n\n[[listener]]\nallow_anonymous = true\n";
        let FileSettings { tables, problems, .. } = read(Path::new("d.toml"), text);
        assert_eq!(problems, []);
        let get = |table: usize, flag: &str| {
            let given = tables[table].layer.get(index(flag));
            given.map(|given| format!("{} {}", given.texts.join(" "), given.source))
        };
        assert_eq!(tables[1].source.to_string(), "d.toml:5");
        assert_eq!(get(0, "listener-name").as_deref(), Some("a d.toml:2"));
        assert_eq!(get(0, "port").as_deref(), Some("1 d.toml:3"));
        assert_eq!(get(1, "port"), None);
        assert_eq!(get(1, "allow-anonymous").as_deref(), Some("true d.toml:6"));
    }

    #[test]
    fn whatever_is_wrong_is_named_with_line_key_and_remedy() {
        let nothing = "d.toml:1: holds no setting: was it cut short? Leave out --config to run with defaults";
        let table: &[(&str, &[&str])] = &[
            (
                "[mqtt]\n\nmax_packet_sise = \"1MB\"\n",
                &["d.toml:3: unknown key \"max_packet_sise\" in [mqtt]; did you mean [mqtt] max_packet_size?"],
            ),
            ("[mqqt]\nmax_inflight = 1\n", &["d.toml:1: unknown section [mqqt]; did you mean [mqtt]?"]),
            ("port = 1\n", &["d.toml:1: unknown key \"port\"; did you mean [listener] port?"]),
            ("log = 1\n", &["d.toml:1: log is a section: write [log] on a line of its own"]),
            ("[[log]]\nlevel = 1\n", &["d.toml:1: log is a section: write [log] on a line of its own"]),
            (
                "[listener]\nport = 1.5\n[node]\nname = { a = 1 }\n",
                &[
                    "d.toml:2: [listener] port: a number with a fraction stands where a number is expected",
                    "d.toml:4: [node] name: a table stands where text (name) is expected",
                ],
            ),
            (
                "[[listener]]\nprot = 1\noutbox_max_bytes = 1\n[[listener]]\nport = 1.5\n",
                &[
                    "d.toml:2: unknown key \"prot\" in [[listener]]; did you mean [[listener]] port?",
                    "d.toml:3: unknown key \"outbox_max_bytes\" in [[listener]]; did you mean [session] \
                     outbox_max_bytes?",
                    "d.toml:5: [[listener]] port: a number with a fraction stands where a number is expected",
                ],
            ),
            (
                "listener = []\n",
                &["d.toml:1: listener holds nothing: write [listener] on a line of its own, or [[listener]] for each"],
            ),
            ("listener = [1]\n", &["d.toml:1: listener holds tables: write [[listener]] on a line of its own"]),
            (
                "[listener]\nname = \"x\"\n",
                &[
                    "d.toml:2: unknown key \"name\" in [listener]; name stands in a [[listener]] table: write [[listener]] \
                   in place of [listener]",
                ],
            ),
            (
                "[listener]\nmax_connections = 1\n[node]\nmax_connections = 2\n",
                &["d.toml:4: is the same as d.toml:2, which is given too"],
            ),
            ("", &[nothing]),
            ("# only a comment\n", &[nothing]),
        ];
        for (text, expected) in table {
            assert_eq!(lines(text), *expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_toml_is_told_in_one_line_with_its_number() {
        for text in
            ["[log]\nlevel = \n", "[log\n", "[log]\nlevel = \"info\"\nlevel = \"warn\"\n", "[log]\nlevel = \"in\n"]
        {
            let told = lines(text);
            assert_eq!(told.len(), 1, "{told:?}");
            assert!(told[0].starts_with("d.toml:") && told[0].contains("this is not TOML: "), "{told:?}");
            assert!(!told[0].contains('\n'), "{told:?}");
        }
        assert!(lines("[log]\nlevel = \"info\"\nlevel = \"warn\"\n")[0].starts_with("d.toml:3: "));
    }

    #[test]
    fn a_section_beside_tables_of_listeners_is_told_the_rule() {
        for (text, line) in [
            ("[listener]\nport = 1\n[[listener]]\nport = 2\n[[listener]]\n", 3),
            ("[[listener]]\nport = 2\n[[listener]]\nport = 3\n\n[ listener ] # all\nport = 1\n", 6),
        ] {
            let told = lines(text);
            let expected = format!("d.toml:{line}: a file has [listener] or [[listener]], not both");
            assert!(told[0].starts_with(&expected), "{told:?}");
            assert!(told.iter().all(|told| !told.contains("TOML")), "{told:?}");
        }
        assert!(lines("[listener]\nport = 1\n[listener]\nport = 2\n")[0].contains("this is not TOML: "));
    }

    #[test]
    fn every_value_that_only_lacks_its_quotes_is_told_so() {
        let told = lines("[listener]\nbind = [0.0.0.0, \"::1\"] # all\n");
        assert_eq!(told, ["d.toml:2: this is not TOML; put the value in quotes: bind = [\"0.0.0.0\", \"::1\"]"]);
        let text = "[listener]\nbind = 0.0.0.0 # all\n[mqtt]\nmax_packet_size = 1MB\n[log]\nlevel = warn\n";
        assert_eq!(
            lines(text),
            [
                "d.toml:2: this is not TOML; put the value in quotes: bind = \"0.0.0.0\"",
                "d.toml:4: this is not TOML; put the value in quotes: max_packet_size = \"1MB\"",
                "d.toml:6: this is not TOML; put the value in quotes: level = \"warn\"",
            ]
        );
    }
}
