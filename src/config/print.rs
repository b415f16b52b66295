//! The configuration in effect, as a file and in words.

use std::fmt::Write as _;

use super::{
    Config, Resolved, SETTINGS,
    setting::{Kind, Section, Setting},
    value::Value,
};

/// As a file. What is written here reads back as the same values, whatever the machine.
pub(super) fn to_toml(config: &Config) -> String {
    let mut text = format!("# dunlin {}: the settings in effect\n", env!("CARGO_PKG_VERSION"));
    for section in Section::ALL {
        let rows = SETTINGS.iter().zip(&config.resolved).filter(|(setting, _)| setting.section == section);
        let lines: Vec<(String, &Resolved)> = rows
            .map(|(setting, resolved)| (format!("{} = {}", setting.key(), toml(setting, &resolved.value)), resolved))
            .collect();
        let width = lines.iter().map(|(line, _)| line.chars().count()).max().unwrap_or(0);
        let _ = write!(text, "\n[{}]\n", section.name());
        for (line, resolved) in lines {
            // A path may hold anything, a line break too, which would end the comment.
            let source: String = resolved.source.to_string().chars().flat_map(printable).collect();
            let _ = writeln!(text, "{line:width$}  # {source}");
        }
    }
    text
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
            let who = if listener.anonymous { "anonymous clients admitted" } else { "anonymous clients refused" };
            format!("{} ({who})", listener.addr)
        })
        .collect();
    format!(
        "the configuration is usable: {file}, {} shard{}, listening on {}\n",
        config.values.shards,
        if config.values.shards == 1 { "" } else { "s" },
        listeners.join(", ")
    )
}

fn toml(setting: &Setting, value: &Value) -> String {
    match value {
        Value::Number(number) => {
            let shown = setting.kind.show_number(*number);
            if shown.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_') { shown } else { quoted(&shown) }
        }
        Value::Switch(on) => on.to_string(),
        Value::Text(text) => match (setting.kind, text.as_str()) {
            (Kind::Choice { .. }, "true" | "false") => text.clone(),
            _ => quoted(text),
        },
        Value::Addresses(addresses) => {
            let addresses: Vec<String> = addresses.iter().map(|address| quoted(&address.to_string())).collect();
            format!("[{}]", addresses.join(", "))
        }
    }
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn printable(c: char) -> impl Iterator<Item = char> {
    let escaped = c.is_control();
    let plain = (!escaped).then_some(c);
    plain.into_iter().chain(escaped.then(|| c.escape_default()).into_iter().flatten())
}
