//! Flags that documents name in backquotes are there: the binary's, of its commands, of loadtest and bench-harness, or of a script.

use std::collections::BTreeSet;

/// Flags of other programs: docker, cargo, journalctl; and the lexicon's example of a name.
const FOREIGN: [&str; 6] = ["env", "features", "ignore-certificate-errors-spki-list", "max-x", "tmpfs", "volume"];

/// Words that begin with two dashes, without these.
fn flags(text: &str) -> BTreeSet<String> {
    let is_inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices("--") {
        let before = text[..at].chars().next_back();
        let flag: String = text[at + 2..].chars().take_while(|c| is_inside(*c)).collect();
        let stands_alone = before.is_none_or(|c| !c.is_alphanumeric() && c != '-' && c != '_');
        if stands_alone && flag.starts_with(|c: char| c.is_ascii_lowercase()) {
            found.insert(flag.trim_end_matches('-').to_owned());
        }
    }
    found
}

/// What stands in backquotes, blocks of code aside.
fn quoted(text: &str) -> Vec<String> {
    let mut is_block = false;
    let mut prose = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_block = !is_block;
        } else if !is_block {
            prose.push_str(line);
            prose.push(' ');
        }
    }
    prose.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Flags that clap makes of fields, and what it is told to call them.
fn declared(source: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut of_a_flag = false;
    for line in source.lines().map(str::trim) {
        for name in [" alias = \"", "_alias = \"", "long = \""] {
            found.extend(line.split(name).skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned));
        }
        if line.starts_with("#[arg(") {
            of_a_flag = true;
        } else if let Some((field, _)) = line.split_once(": ").filter(|_| of_a_flag && line.ends_with(',')) {
            let name = field.rsplit(' ').next().unwrap_or_default();
            if name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                found.insert(name.replace('_', "-"));
                of_a_flag = false;
            }
        }
    }
    found
}

fn files(folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir(super::root().join(folder)).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let paths = entries.map(|entry| entry.expect("a directory entry").path()).filter(|path| path.is_file());
    paths.map(|path| std::fs::read_to_string(&path).expect("text")).collect()
}

/// All flags that there are here.
fn known() -> BTreeSet<String> {
    let completions = std::process::Command::new(env!("CARGO_BIN_EXE_dunlin")).args(["completions", "bash"]).output();
    let completions = String::from_utf8(completions.expect("the binary runs").stdout).expect("UTF-8");
    let mut known = flags(&completions);
    assert!(known.len() > 100, "dunlin completions tells {} flags", known.len());
    // An alias is not completed.
    let settings = super::read("src/settings/declared.rs");
    known.extend(settings.split(".also(\"").skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned));
    let sources = [files("loadtest/src/cli"), vec![super::read("bench-harness/src/cli.rs")]].concat();
    let loads: BTreeSet<String> = sources.iter().flat_map(|source| declared(source)).collect();
    assert!(loads.len() > 50, "clap's fields are written differently now: {loads:?}");
    known.extend(loads);
    let programs =
        [files("scripts"), files("benches"), files("benches/cells"), vec![super::read("tests/packages/all")]];
    known.extend(programs.concat().iter().flat_map(|program| flags(program)));
    known
}

#[test]
fn flags_that_documents_name_are_there() {
    let known = known();
    let (mut unknown, mut looked_at) = (Vec::new(), 0);
    let documents = super::documents("docs").into_iter().chain(["README.md".into()]);
    // What is to be done names flags that are to come.
    for path in documents.filter(|path| !path.ends_with("TODO.md")) {
        for flag in quoted(&super::read(&path)).iter().flat_map(|text| flags(text)) {
            looked_at += 1;
            if !known.contains(&flag) && !FOREIGN.contains(&flag.as_str()) {
                unknown.push(format!("{}: --{flag}", path.display()));
            }
        }
    }
    assert!(looked_at > 200, "documents name {looked_at} flags: they are written differently now");
    assert!(unknown.is_empty(), "nothing here has these flags: {unknown:#?}");
    let needless: Vec<&&str> = FOREIGN.iter().filter(|flag| known.contains(**flag)).collect();
    assert!(needless.is_empty(), "not foreign: {needless:?}");
}

#[test]
fn a_flag_is_told_from_what_merely_looks_like_one() {
    let text =
        "Use `--port 1`, `x --no-pin=true` or `a--b`.\n```sh\nx --block\n```\n--prose, `--` and `---rule`, `[--last]`";
    let found: Vec<String> = quoted(text).iter().flat_map(|text| flags(text)).collect();
    assert_eq!(found, ["port", "no-pin", "last"]);
    let source = "#[arg(long)]\n    pub(super) connect_rate: Option<f64>,\n    other: u8,\n#[arg(long = \"named\")]\n";
    assert_eq!(declared(source), BTreeSet::from(["connect-rate".to_owned(), "named".to_owned()]));
}
