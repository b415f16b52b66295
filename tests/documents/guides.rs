//! What the guides in `docs` lean on: the index names every document, and settings that stand for those of other brokers are
//! there. What they tell people to type is typed by `tests/packages`.

use std::collections::BTreeSet;

#[test]
fn the_index_names_every_document() {
    let text = super::read("docs/README.md");
    let linked: BTreeSet<&str> = super::links(&text).into_iter().collect();
    for path in super::documents("docs") {
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        assert!(name == "README.md" || linked.contains(name), "docs/README.md does not say what docs/{name} answers");
    }
}

/// Settings as guides write them: "`[mqtt] max_packet_size`".
fn named(text: &str) -> BTreeSet<(String, String)> {
    let quoted = text.split('`').skip(1).step_by(2);
    let settings = quoted.filter_map(|name| name.strip_prefix('[')?.split_once("] "));
    let is_key =
        |key: &str| !key.is_empty() && key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    let settings = settings.filter(|(section, key)| is_key(section) && is_key(key));
    settings.map(|(section, key)| (section.to_owned(), key.to_owned())).collect()
}

/// All settings, as the tables of the reference have them.
fn known() -> BTreeSet<(String, String)> {
    let (text, mut section) = (super::read("docs/CONFIGURATION.md"), String::new());
    let mut settings = BTreeSet::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("### `[") {
            rest.split(']').next().unwrap_or_default().clone_into(&mut section);
        } else if let Some(key) = line.strip_prefix("| `").filter(|_| !section.is_empty()) {
            settings.insert((section.clone(), key.split('`').next().unwrap_or_default().to_owned()));
        }
    }
    settings
}

#[test]
fn settings_that_guides_name_are_there() {
    let known = known();
    for (document, least) in [("docs/MOVING-FROM-EMQX.md", 40), ("docs/OPERATIONS.md", 1)] {
        let named = named(&super::read(document));
        assert!(named.len() >= least, "{document} names {} settings: they are written differently now", named.len());
        let unknown: Vec<_> = named.difference(&known).collect();
        assert!(unknown.is_empty(), "{document} names settings that are not there: {unknown:?}");
    }
}

#[test]
fn a_setting_is_told_from_what_merely_looks_like_one() {
    let text = "`[mqtt] max_qos` and `[listener] port`, a `[[listener]]` table, `[auth] x = 1`, [node] name";
    let pair = |section: &str, key: &str| (section.to_owned(), key.to_owned());
    assert_eq!(named(text), BTreeSet::from([pair("listener", "port"), pair("mqtt", "max_qos")]));
}
