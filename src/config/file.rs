//! The configuration file: TOML, a section per table, a setting per key.
//!
//! Always holds: nothing in the file is skipped. A key or section that is not known, a value of the wrong shape and a
//! file without a single setting are problems with their line; a file that was cut short never means "defaults".

use std::{ops::Range, path::Path};

use toml::de::{DeTable, DeValue};

use super::{
    Given, Layer,
    error::{Problem, Source},
    setting::Section,
    suggest,
    table::SETTINGS,
};

/// Reads the file's text; `path` is how messages name it. What could be read comes back beside what could not.
pub(super) fn read(path: &Path, text: &str) -> (Layer, Vec<Problem>) {
    let mut reader = Reader { path, text, layer: Layer::empty(), problems: Vec::new() };
    match DeTable::parse(text) {
        Ok(document) if document.get_ref().is_empty() => {
            let text = "holds no setting: was it cut short? Leave out --config to run with defaults";
            reader.problem(&(0..0), text.to_owned());
        }
        Ok(document) => {
            for (key, value) in document.get_ref() {
                reader.section(key.get_ref(), &key.span(), value.get_ref());
            }
        }
        // The parser's words may span lines; a problem is one line.
        Err(error) => {
            let words = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
            reader.problem(&error.span().unwrap_or_default(), format!("this is not TOML: {words}"));
        }
    }
    let Reader { layer, mut problems, .. } = reader;
    problems.sort_by_key(|problem| match problem.source {
        Source::File { line, .. } => line,
        _ => 0,
    });
    (layer, problems)
}

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    layer: Layer,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn source(&self, span: &Range<usize>) -> Source {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        Source::File { path: self.path.to_owned(), line: before.matches('\n').count() + 1 }
    }

    fn problem(&mut self, span: &Range<usize>, text: String) {
        let source = self.source(span);
        self.problems.push(Problem { source, text });
    }

    fn section(&mut self, name: &str, span: &Range<usize>, value: &DeValue<'_>) {
        let section = Section::ALL.into_iter().find(|section| section.name() == name);
        match (section, value) {
            (Some(section), DeValue::Table(table)) => {
                for (key, value) in table {
                    self.setting(section, key.get_ref(), &key.span(), value.get_ref());
                }
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
        let known = SETTINGS.iter().position(|setting| setting.section == section && setting.key() == key);
        let Some(index) = known else {
            let hint = suggest::for_key(Some(section), key);
            return self.problem(span, format!("unknown key {key:?} in [{}]; {hint}", section.name()));
        };
        match texts(value) {
            Ok(texts) => self.layer.set(index, Given { texts, source: self.source(span) }),
            Err(found) => {
                let path = SETTINGS[index].path();
                self.problem(span, format!("{path}: {found} stands where {} is expected", SETTINGS[index].shape()));
            }
        }
    }
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

    fn lines(text: &str) -> Vec<String> {
        let (_, problems) = read(Path::new("d.toml"), text);
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn values_come_with_their_line() {
        let (layer, problems) = read(
            Path::new("d.toml"),
            "[listener]\nport = 1_884\nbind = [\n  \"::1\",\n  \"127.0.0.1\",\n]\nauth.x = 1\n\
             [auth]\nallow_anonymous = false\n",
        );
        assert_eq!(problems.len(), 1, "{problems:?}");
        let get = |flag: &str| {
            let index = SETTINGS.iter().position(|setting| setting.flag == flag).unwrap();
            let given = layer.get(index).unwrap();
            format!("{} {}", given.texts.join(" "), given.source)
        };
        assert_eq!(get("port"), "1884 d.toml:2");
        assert_eq!(get("bind"), "::1 127.0.0.1 d.toml:3");
        assert_eq!(get("allow-anonymous"), "false d.toml:9");
    }

    #[test]
    fn whatever_is_wrong_is_named_with_line_key_and_remedy() {
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
                    "d.toml:4: [node] name: a table stands where a name is expected",
                ],
            ),
            ("", &["d.toml:1: holds no setting: was it cut short? Leave out --config to run with defaults"]),
            (
                "# only a comment\n",
                &["d.toml:1: holds no setting: was it cut short? Leave out --config to run with defaults"],
            ),
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
}
