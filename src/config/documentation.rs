//! Keeps `docs/CONFIGURATION.md` true: its generated parts are what the table says now.
//!
//! `DUNLIN_BLESS=1 cargo test --lib config::documentation` writes them anew.

use std::fmt::Write as _;

use super::{
    SETTINGS,
    error::Exit,
    setting::{Section, Setting},
};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/CONFIGURATION.md");

/// `text` with the part between the markers of `name` replaced.
fn replaced(text: &str, name: &str, part: &str) -> String {
    let (begin, end) = (format!("<!-- generated: {name} -->\n"), format!("<!-- end: {name} -->"));
    let (before, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("{PATH} has no {begin}"));
    let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("{PATH} has no {end}"));
    format!("{before}{begin}{part}{end}{after}")
}

fn settings() -> String {
    let mut text = String::new();
    for section in Section::ALL {
        let heading = section.heading().split(" [").next().unwrap_or_default();
        let _ = write!(text, "\n### `[{}]` {heading}\n\n", section.name());
        text.push_str("| key | flag | default | allowed |\n|---|---|---|---|\n");
        let rows: Vec<&Setting> = SETTINGS.iter().filter(|setting| setting.section == section).collect();
        for setting in &rows {
            let short = setting.short.map(|letter| format!(", `-{letter}`")).unwrap_or_default();
            let _ = writeln!(
                text,
                "| `{}` | `--{}`{short} | {} | {} |",
                setting.key(),
                setting.flag,
                setting.default_text(),
                setting.range_text()
            );
        }
        text.push('\n');
        for setting in &rows {
            let mut paragraph = format!("- `{}`: {}.", setting.key(), setting.summary());
            for details in setting.details() {
                let _ = write!(paragraph, " {details}");
            }
            let _ = writeln!(text, "{paragraph} Variable `{}`.", setting.variable());
        }
    }
    text.push('\n');
    text
}

fn exit_statuses() -> String {
    let mut text = "\n| status | meaning |\n|---|---|\n".to_owned();
    for (exit, meaning) in Exit::ALL {
        let _ = writeln!(text, "| {} | {meaning} |", exit as u8);
    }
    text.push('\n');
    text
}

#[test]
fn the_documentation_says_what_the_table_says() {
    let written = std::fs::read_to_string(PATH).expect("docs/CONFIGURATION.md");
    let fresh = replaced(&written, "settings", &settings());
    let fresh = replaced(&fresh, "exit statuses", &exit_statuses());
    if std::env::var_os("DUNLIN_BLESS").is_some() {
        // Whole or not at all: the other test may be reading it.
        let new = format!("{PATH}.new");
        std::fs::write(&new, &fresh).expect("docs/ can be written");
        std::fs::rename(&new, PATH).expect("docs/CONFIGURATION.md can be replaced");
        return;
    }
    let changed = fresh.lines().zip(written.lines()).find(|(fresh, written)| fresh != written);
    assert_eq!(
        changed, None,
        "docs/CONFIGURATION.md has drifted: DUNLIN_BLESS=1 cargo test --lib config::documentation"
    );
    assert_eq!(fresh.len(), written.len(), "docs/CONFIGURATION.md has drifted at its end");
}

#[test]
fn every_example_in_the_documentation_is_a_usable_file() {
    let text = std::fs::read_to_string(PATH).expect("docs/CONFIGURATION.md");
    let examples: Vec<&str> = text.split("```toml\n").skip(1).filter_map(|part| part.split("```").next()).collect();
    assert!(examples.len() >= 2, "the documentation shows files");
    for example in examples {
        let read = |_: &std::path::Path| Ok(example.to_owned());
        let system = super::System { cores: 8, host_name: "host".to_owned(), read_file: &read };
        let arguments = ["dunlin", "-c", "dunlin.toml", "--print-config"].map(Into::into);
        match super::load_on(&system, arguments, []) {
            Ok(super::Command::PrintConfig { warnings, .. }) => assert_eq!(warnings, [""; 0], "{example}"),
            other => panic!("{other:?} of {example}"),
        }
    }
}
