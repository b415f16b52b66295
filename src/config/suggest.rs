//! "Did you mean": the known key that a misspelled one is closest to, or what to do in place of another broker's.

use strsim::levenshtein as distance;

use super::{
    foreign,
    layers::{shown, shown_sections, with_flags},
};
use crate::settings::{Scope, Section, Setting};

/// A hint for an unknown `key` of `section` (none at the top of the file), in words that end the error's sentence.
pub(super) fn for_key(section: Option<Section>, key: &str) -> String {
    let here = |row: &&Setting| section.is_none_or(|section| row.section == section);
    let path = |row: &Setting| format!("did you mean {}?", row.path());
    // Spelled with hyphens or as the flag is, or under another section.
    if let Some(row) = with_flags().filter(here).find(|row| is_exact(row, key)) {
        return path(row);
    }
    let of_tables = |row: &Setting| row.place == Scope::TableOnly && is_exact(row, key);
    if section == Some(Section::Listener) && shown().any(of_tables) {
        return format!("{key} stands in a [[listener]] table: write [[listener]] in place of [listener]");
    }
    if let Some(row) = with_flags().find(|row| is_exact(row, key)) {
        return path(row);
    }
    if let Some(answer) = foreign::answer(key) {
        return answer.to_owned();
    }
    match nearest(with_flags().filter(here), key).or_else(|| nearest(with_flags(), key)) {
        Some(row) => path(row),
        None => match section {
            Some(section) => format!("[{}] takes {}", section.name(), keys(with_flags().filter(here))),
            None => format!("settings stand in a section, one of {}", sections()),
        },
    }
}

/// A hint for an unknown key of a `[[listener]]` table.
pub(super) fn for_listener_key(key: &str) -> String {
    let of_listener = || shown().filter(|row| row.is_of_listener());
    let in_table = |row: &Setting| format!("did you mean [[listener]] {}?", row.key());
    if let Some(row) = of_listener().find(|row| is_exact(row, key)) {
        return in_table(row);
    }
    if let Some(row) = with_flags().find(|row| is_exact(row, key)) {
        return format!("did you mean {}?", row.path());
    }
    match (foreign::answer(key), nearest(of_listener(), key)) {
        (Some(answer), _) => answer.to_owned(),
        (None, Some(row)) => in_table(row),
        (None, None) => format!("[[listener]] takes {}", keys(of_listener())),
    }
}

/// A hint for an unknown section.
pub(super) fn for_section(name: &str) -> String {
    let nearest = shown_sections().min_by_key(|section| distance(section.name(), &plain(name)));
    match nearest.filter(|section| distance(section.name(), &plain(name)) <= tolerance(name)) {
        Some(section) => format!("did you mean [{}]?", section.name()),
        None => format!("sections are {}", sections()),
    }
}

/// A hint for an unknown variable.
pub(super) fn for_variable(name: &str) -> String {
    let variables = with_flags().filter_map(Setting::variable);
    match variables
        .min_by_key(|variable| distance(variable, name))
        .filter(|near| distance(near, name) <= tolerance(name))
    {
        Some(variable) => format!("did you mean {variable}?"),
        None => "the names are in `dunlin --help`".to_owned(),
    }
}

/// Whether `flag`, which stands for another by the look of it, is near enough to have been meant.
pub(super) fn is_near(flag: &str, other: &str) -> bool {
    distance(flag, other) <= tolerance(flag)
}

fn is_exact(row: &Setting, key: &str) -> bool {
    plain(&row.key()) == plain(key) || plain(row.flag) == plain(key)
}

fn nearest<'a>(rows: impl Iterator<Item = &'a Setting>, key: &str) -> Option<&'a Setting> {
    let wanted = plain(key);
    let far = |row: &Setting| distance(&plain(&row.key()), &wanted).min(distance(&plain(row.flag), &wanted));
    let (distance, row) = rows.map(|row| (far(row), row)).min_by_key(|pair| pair.0)?;
    (distance <= tolerance(&wanted)).then_some(row)
}

/// As a key compares: hyphens, case and spelling of words apart do not matter.
fn plain(key: &str) -> String {
    key.replace('-', "_").to_ascii_lowercase()
}

fn keys<'a>(rows: impl Iterator<Item = &'a Setting>) -> String {
    rows.map(Setting::key).collect::<Vec<_>>().join(", ")
}

fn sections() -> String {
    shown_sections().map(|section| format!("[{}]", section.name())).collect::<Vec<_>>().join(", ")
}

/// A third of the letters may differ; more is another word.
fn tolerance(key: &str) -> usize {
    (key.chars().count() / 3).max(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelled_key_finds_the_one_that_was_meant() {
        let table: &[(Option<Section>, &str, &str)] = &[
            (Some(Section::Mqtt), "max_packet_sise", "did you mean [mqtt] max_packet_size?"),
            (Some(Section::Mqtt), "max-packet-size", "did you mean [mqtt] max_packet_size?"),
            (Some(Section::Mqtt), "MaxInflight", "did you mean [mqtt] max_inflight?"),
            (Some(Section::Listener), "prot", "did you mean [listener] port?"),
            (Some(Section::Listener), "max_inflight", "did you mean [mqtt] max_inflight?"),
            (Some(Section::Session), "session_expiry_max", "did you mean [session] expiry_max?"),
            (Some(Section::Log), "log_levl", "did you mean [log] level?"),
            (Some(Section::Auth), "psk_file", "use [auth] password_file, jwt_key"),
            (None, "port", "did you mean [listener] port?"),
            (None, "colour_of_bikeshed", "settings stand in a section, one of [listener], "),
            (Some(Section::Log), "colour_of_bikeshed", "[log] takes format, level, file, rate"),
        ];
        for (section, key, hint) in table {
            assert!(for_key(*section, key).starts_with(hint), "{key}: {}", for_key(*section, key));
        }
        let table = [
            ("max_conections", "did you mean [[listener]] max_connections?"),
            ("allow_anonymus", "did you mean [[listener]] allow_anonymous?"),
            ("outbox_max_bytes", "did you mean [session] outbox_max_bytes?"),
            ("certfile", "TLS is a matter of a listener"),
            ("colour_of_bikeshed", "[[listener]] takes bind, port, ws_port, tls_port, sn_port, wss_port, unix, "),
        ];
        for (key, hint) in table {
            assert!(for_listener_key(key).starts_with(hint), "{key}: {}", for_listener_key(key));
        }
    }

    #[test]
    fn a_misspelled_section_or_variable_finds_the_one_that_was_meant() {
        assert_eq!(for_section("mqqt"), "did you mean [mqtt]?");
        assert_eq!(for_section("Listener"), "did you mean [listener]?");
        assert!(for_section("kubernetes").starts_with("sections are [listener], [auth]"));
        assert_eq!(for_variable("DUNLIN_LISTENER__PROT"), "did you mean DUNLIN_LISTENER__PORT?");
        assert!(for_variable("DUNLIN_X__Y").contains("--help"));
    }
}
