//! The configuration in effect, as a file and in words.

use std::fmt::Write as _;

use super::{
    Config, bridge_text,
    layers::{ROWS, Resolved, shown_sections},
    listeners,
    toml_string::quoted,
};
use crate::settings::{Change, Kind, Scope, Section, Setting, Value};

/// As a file. What is written here reads back as the same values, whatever the machine.
pub(super) fn to_toml(config: &Config) -> String {
    let mut text = format!("# dunlin {}: the settings in effect\n", env!("CARGO_PKG_VERSION"));
    for section in shown_sections() {
        match &config.tables {
            Some(tables) if section == Section::Listener => {
                for table in tables {
                    let _ = write!(text, "\n[[{}]]\n", section.name());
                    write_rows(&mut text, &table.resolved, Setting::is_of_listener);
                }
            }
            tables => {
                // What each table has its own of would have no effect here.
                let belongs = |row: &Setting| match tables {
                    Some(_) => row.section == section && !row.is_of_listener(),
                    None => row.section == section && row.place != Scope::TableOnly,
                };
                if ROWS.iter().any(belongs) {
                    let _ = write!(text, "\n[{}]\n", section.name());
                    write_rows(&mut text, &config.resolved, belongs);
                }
            }
        }
    }
    for bridge in &config.bridges {
        let _ = write!(text, "\n{}", bridge_text::table(bridge, ""));
    }
    for table in &config.own_tables {
        let _ = write!(text, "\n{}\n", table.trim_end());
    }
    text
}

/// A setting, and where its value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingInEffect {
    /// As the file has it; of a listener's table with the listener's name.
    pub name: String,
    /// As a flag would have it.
    pub value: String,
    /// `default`, a flag, a variable, or a line of the file.
    pub source: String,
    /// Whether a reload can change it; otherwise a start.
    pub reloadable: bool,
}

/// What holds, in the order of the documentation.
pub(super) fn settings_in_effect(config: &Config) -> Vec<SettingInEffect> {
    let tables = config.tables.as_deref().unwrap_or_default();
    let shown = |row: &Setting, resolved: &Resolved, name: String| SettingInEffect {
        name,
        value: without_credentials(&row.show(&resolved.value)),
        source: resolved.source.to_string(),
        reloadable: row.change == Change::Reload,
    };
    let of_broker = ROWS.iter().zip(&config.resolved);
    let of_broker =
        of_broker.filter(|(row, _)| !row.is_hidden && row.has_flag() && (tables.is_empty() || !row.is_of_listener()));
    let mut settings: Vec<SettingInEffect> =
        of_broker.map(|(row, resolved)| shown(row, resolved, row.path())).collect();
    for table in tables {
        let name = &table.listener.settings.name;
        let rows = ROWS.iter().zip(&table.resolved).filter(|(row, _)| row.is_of_listener());
        settings.extend(rows.map(|(row, resolved)| shown(row, resolved, format!("[[listener]] {name} {}", row.key()))));
    }
    settings
}

/// A value without what a URL in it may hold that is nobody's business: user, password, query.
pub fn without_credentials(value: &str) -> String {
    let Some((scheme, rest)) = value.split_once("://") else { return value.to_owned() };
    let (rest, query) = rest.split_once('?').map_or((rest, ""), |(rest, _)| (rest, "?***"));
    let (authority, path) = rest.split_once('/').map_or((rest, String::new()), |(at, path)| (at, format!("/{path}")));
    let authority = authority.rsplit_once('@').map_or(authority.to_owned(), |(_, host)| format!("***@{host}"));
    format!("{scheme}://{authority}{path}{query}")
}

fn write_rows(text: &mut String, resolved: &[Resolved], belongs: impl Fn(&Setting) -> bool) {
    let rows = ROWS.iter().zip(resolved).filter(|(row, _)| !row.is_hidden && belongs(row));
    // A listener's name that is empty is its address, wherever that is.
    let rows = rows.filter(|(_, resolved)| resolved.value != Value::Text(String::new()));
    // Where every address names its port, that of all has no effect.
    let rows = rows.filter(|(row, _)| row.flag != "port" || !listeners::name_ports(resolved));
    let lines: Vec<(String, &Resolved)> =
        rows.map(|(row, resolved)| (format!("{} = {}", row.key(), toml(row, &resolved.value)), resolved)).collect();
    let width = lines.iter().map(|(line, _)| line.chars().count()).max().unwrap_or(0);
    for (line, resolved) in lines {
        // A path may hold anything, a line break too, which would end the comment.
        let source: String = resolved.source.to_string().chars().flat_map(printable).collect();
        let _ = writeln!(text, "{line:width$}  # {source}");
    }
}

/// What `--test-config` says when all is well.
pub(super) fn summary(config: &Config) -> String {
    let file = match &config.file {
        Some(path) => path.display().to_string(),
        None => "no file".to_owned(),
    };
    let listeners: Vec<String> = config
        .listeners
        .iter()
        .map(|listener| {
            let anonymous = listener.settings.admits_anonymous();
            let who = if anonymous { "anonymous clients admitted" } else { "anonymous clients refused" };
            format!("{} ({who})", listener.address)
        })
        .collect();
    format!(
        "the configuration is usable: {file}, {} shard{}, listening on {}\n",
        config.settings.shards,
        if config.settings.shards == 1 { "" } else { "s" },
        listeners.join(", ")
    )
}

/// A value as the file has it.
pub(super) fn toml(row: &Setting, value: &Value) -> String {
    match (row.kind, value) {
        (_, Value::Number(number)) => {
            let shown = row.kind.show_number(*number);
            if shown.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_') { shown } else { quoted(&shown) }
        }
        (_, Value::Switch(on)) => on.to_string(),
        (Kind::Choice { .. }, Value::Text(text)) if text == "true" || text == "false" => text.clone(),
        (_, Value::Text(text)) => quoted(text),
        (_, Value::Texts(texts)) => match texts.as_slice() {
            [text] => quoted(text),
            texts => format!("[{}]", texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", ")),
        },
    }
}

fn printable(c: char) -> impl Iterator<Item = char> {
    let escaped = c.is_control();
    let plain = (!escaped).then_some(c);
    plain.into_iter().chain(escaped.then(|| c.escape_default()).into_iter().flatten())
}

#[cfg(test)]
mod tests {
    use super::without_credentials;

    #[test]
    fn what_a_url_holds_of_secrets_is_not_shown() {
        for (value, shown) in [
            ("http://user:s3cret@host:8000/a/b?token=abc", "http://***@host:8000/a/b?***"),
            ("https://host/a@b", "https://host/a@b"),
            ("http://host", "http://host"),
            ("/etc/dunlin/users?", "/etc/dunlin/users?"),
        ] {
            assert_eq!(without_credentials(value), shown);
        }
    }
}
