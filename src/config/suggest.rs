//! "Did you mean": the known key that a misspelled one is closest to.

use strsim::levenshtein as distance;

use super::{
    setting::{Section, Setting},
    table::SETTINGS,
};

/// A hint for an unknown `key` of `section` (none at the top of the file), in words that end the error's sentence.
pub(super) fn for_key(section: Option<Section>, key: &str) -> String {
    let wanted = plain(key);
    let here = |setting: &&Setting| section.is_none_or(|section| setting.section == section);
    // Under another section, spelled with hyphens, or spelled as the flag is.
    let exact = |setting: &&Setting| plain(&setting.key()) == wanted || plain(setting.flag) == wanted;
    if let Some(setting) =
        SETTINGS.iter().filter(here).find(exact).or_else(|| SETTINGS.iter().find(|setting| exact(setting)))
    {
        return format!("did you mean {}?", setting.path());
    }
    let nearest = |settings: &mut dyn Iterator<Item = &'static Setting>| {
        let distance =
            |setting: &Setting| distance(&plain(&setting.key()), &wanted).min(distance(&plain(setting.flag), &wanted));
        let (distance, setting) = settings.map(|setting| (distance(setting), setting)).min_by_key(|pair| pair.0)?;
        (distance <= tolerance(&wanted)).then_some(setting)
    };
    match nearest(&mut SETTINGS.iter().filter(here)).or_else(|| nearest(&mut SETTINGS.iter())) {
        Some(setting) => format!("did you mean {}?", setting.path()),
        None => match section {
            Some(section) => format!("[{}] takes {}", section.name(), keys(section)),
            None => format!("settings stand in a section, one of {}", sections()),
        },
    }
}

/// A hint for an unknown section.
pub(super) fn for_section(name: &str) -> String {
    let wanted = plain(name);
    let nearest = Section::ALL.into_iter().min_by_key(|section| distance(section.name(), &wanted));
    match nearest.filter(|section| distance(section.name(), &wanted) <= tolerance(&wanted)) {
        Some(section) => format!("did you mean [{}]?", section.name()),
        None => format!("sections are {}", sections()),
    }
}

/// A hint for an unknown variable.
pub(super) fn for_variable(name: &str) -> String {
    let nearest = SETTINGS.iter().map(Setting::variable).min_by_key(|variable| distance(variable, name));
    match nearest.filter(|variable| distance(variable, name) <= tolerance(name)) {
        Some(variable) => format!("did you mean {variable}?"),
        None => "the names are in `dunlin --help`".to_owned(),
    }
}

/// As a key compares: hyphens, case and spelling of words apart do not matter.
fn plain(key: &str) -> String {
    key.replace('-', "_").to_ascii_lowercase()
}

fn keys(section: Section) -> String {
    let keys: Vec<String> = SETTINGS.iter().filter(|row| row.section == section).map(Setting::key).collect();
    keys.join(", ")
}

fn sections() -> String {
    Section::ALL.map(|section| format!("[{}]", section.name())).join(", ")
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
            (None, "port", "did you mean [listener] port?"),
            (None, "colour_of_bikeshed", "settings stand in a section, one of [listener], "),
            (Some(Section::Log), "colour_of_bikeshed", "[log] takes format, level, file, rate"),
        ];
        for (section, key, hint) in table {
            assert!(for_key(*section, key).starts_with(hint), "{key}: {}", for_key(*section, key));
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
