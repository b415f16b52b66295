//! The rules of the house that a machine can keep. Each failure names file and line and says what to do instead.
//!
//! A remark that was made twice in a review belongs here. A rule is a function from a path and a text to findings
//! (`tidy/rules.rs`, `tidy/imports.rs` and others beside them), so that it is tested on samples (`tidy/samples.rs`) as
//! well as run over the tree. What breaks a rule that is younger than itself stands in `tidy/known.txt`, which may only
//! shrink. The import table has one source, the module doc of `src/lib.rs`: `docs/ARCHITECTURE.md` repeats it word for word.

#[path = "tidy/circles.rs"]
mod circles;
#[path = "tidy/commands.rs"]
mod commands;
#[path = "tidy/commits.rs"]
mod commits;
#[path = "tidy/imports.rs"]
mod imports;
#[path = "tidy/known.rs"]
mod known;
#[path = "tidy/manifest.rs"]
mod manifest;
#[path = "tidy/only_tests.rs"]
mod only_tests;
#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/rust.rs"]
mod rust;
#[cfg(test)]
#[path = "tidy/samples.rs"]
mod samples;
#[cfg(test)]
#[path = "tidy/samples_names.rs"]
mod samples_names;
#[path = "tidy/shard_entry.rs"]
mod shard_entry;
#[path = "tidy/words.rs"]
mod words;

use std::fmt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use imports::ImportTable;
use known::{Known, Measured};
use words::Named;

/// A place that breaks a rule, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Path from the root of the repository.
    pub(crate) path: String,
    /// Counted from 1.
    pub(crate) line: usize,
    /// What is wrong and how to mend it.
    pub(crate) remedy: String,
}

impl Finding {
    /// A finding at a line.
    pub(crate) fn new(path: &str, line: usize, remedy: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, remedy: remedy.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.remedy)
    }
}

#[test]
fn modules_import_only_what_the_table_allows() {
    let table = ImportTable::parse(&read("src/lib.rs")).expect("src/lib.rs holds the import table");
    check(&["rs"], |path, text| imports::foreign_imports(&table, path, text));
}

#[test]
fn every_module_has_a_row_in_the_import_table() {
    let table = ImportTable::parse(&read("src/lib.rs")).expect("src/lib.rs holds the import table");
    report(&imports::rows_and_modules_differ(&table, &read("src/lib.rs")));
}

#[test]
fn architecture_repeats_the_import_table_word_for_word() {
    report(&imports::copy_differs(&read("src/lib.rs"), "docs/ARCHITECTURE.md", &read("docs/ARCHITECTURE.md")));
}

#[test]
fn the_pure_core_names_no_clock_thread_socket_or_file() {
    let table = ImportTable::parse(&read("src/lib.rs")).expect("src/lib.rs holds the import table");
    check(&["rs"], |path, text| imports::impure_names(&table, path, text));
}

#[test]
fn only_runtime_names_glommio_and_only_the_edge_is_unsafe() {
    check(&["rs"], rules::words_out_of_place);
}

#[test]
fn a_connect_is_decoded_at_one_place() {
    check(&["rs"], rules::connect_decoded_again);
}

#[test]
fn a_shard_has_one_way_in() {
    check(&["rs"], shard_entry::other_ways_in);
    report(&shard_entry::listed_for_nothing(&texts_below(&["src/"], &["rs"]), &read(shard_entry::DOCUMENT)));
}

#[test]
fn each_command_is_measured() {
    let unmeasured = commands::unmeasured(&read(commands::DECLARED), &texts_below(&[commands::MEASURED], &["rs"]));
    report_measured(known().except("commands", unmeasured));
}

#[test]
fn files_and_functions_stay_short() {
    check(&["rs", "py", "js", "sh"], rules::long_file);
    check(&["rs"], rules::long_functions);
}

#[test]
fn every_module_opens_with_its_module_doc() {
    check(&["rs"], rules::missing_module_doc);
}

#[test]
fn nothing_is_left_unfinished_or_ignored() {
    check(&["rs"], rules::unfinished);
}

#[test]
fn every_dependency_says_why_it_is_there() {
    check(&["toml"], rules::unexplained_dependencies);
}

#[test]
fn documents_name_files_that_exist() {
    check(&["md"], |path, text| rules::missing_paths(path, text, &|name| root().join(name).exists()));
}

#[test]
fn decisions_are_dated() {
    check(&["md"], |path, _| rules::undated_decision(path));
}

#[test]
fn no_line_ends_in_blanks() {
    check(&["rs", "md", "toml", "py", "js", "json", "sh", "yml", ""], rules::trailing_blanks);
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let roots = ["src/", "loadtest/src/", "bench-harness/src/"];
    let circles = roots.iter().flat_map(|root| circles::circles(root, &texts_below(&[root], &["rs"])));
    report_measured(known().except("circles", circles.collect()));
}

#[test]
fn functions_take_few_parameters_and_no_two_bools_side_by_side() {
    let texts = texts_below(&OUR_SOURCES, &["rs"]);
    report_measured(known().except("parameters", each(&texts, words::many_parameters)));
    report_measured(known().except("bools", each(&texts, words::adjacent_bools)));
}

#[test]
fn what_only_unit_tests_call_is_compiled_for_them_alone() {
    let folders = ["src/", "loadtest/", "bench-harness/", "benches/", "tests/", "fuzz/"];
    report(&only_tests::used_by_unit_tests_alone(&texts_below(&folders, &["rs"])));
}

#[test]
fn what_changes_itself_has_few_fields() {
    report_measured(known().except("fields", words::many_fields(&texts_below(&OUR_SOURCES, &["rs"]))));
}

#[test]
fn type_names_stand_once_and_shadow_nothing_of_std() {
    let texts = texts_below(&["src/"], &["rs"]);
    report_measured(known().except("types", words::repeated_types(&texts)));
    report_measured(known().except("shadows", each(&texts, words::shadowed_types)));
}

#[test]
fn words_that_the_lexicon_gave_up_are_not_used() {
    let texts = texts_below(&["src/", "loadtest/", "bench-harness/", "benches/", "tests/", "fuzz/"], &["rs"]);
    report_measured(known().except_counted("words", each(&texts, words::given_up_words)));
}

#[test]
fn docs_say_more_than_the_name() {
    let texts = texts_below(&["src/", "loadtest/", "bench-harness/", "benches/", "tests/", "fuzz/"], &["rs"]);
    report_measured(known().except_counted("docs", each(&texts, words::docs_that_repeat)));
}

#[test]
fn every_dependency_is_named_in_the_source() {
    let sources = texts_below(&[""], &["rs"]);
    let mut manifests = texts_below(&[""], &["toml"]);
    manifests.retain(|(path, _)| path.ends_with("Cargo.toml"));
    let paths: Vec<&str> = manifests.iter().map(|(path, _)| path.as_str()).collect();
    let unused = manifests.iter().flat_map(|(path, text)| {
        manifest::unused_dependencies(path, text, &manifest::Sources::of(path, &paths, &sources))
    });
    report_measured(known().except("dependencies", unused.collect()));
}

#[test]
fn commit_subjects_fit_a_line() {
    let range = format!("{}..HEAD", commits::SINCE);
    let git = std::process::Command::new("git")
        .args(["-C", env!("CARGO_MANIFEST_DIR"), "log", "--no-merges", "--format=%h %s", &range])
        .output();
    match git {
        Ok(log) if log.status.success() => {
            report_measured(known().except("commits", commits::long_subjects(&String::from_utf8_lossy(&log.stdout))));
        }
        // A source archive or a shallow clone: there is nothing to look at.
        _ => println!("SKIPPED: no git history back to {} here, commit subjects were not looked at", commits::SINCE),
    }
}

#[test]
fn known_offenders_are_listed_under_rules_that_exist() {
    let rules = [
        "commands",
        "fields",
        "circles",
        "parameters",
        "bools",
        "types",
        "shadows",
        "words",
        "docs",
        "dependencies",
        "commits",
    ];
    let known = known();
    let unknown: Vec<&str> = known.rules().filter(|rule| !rules.contains(rule)).collect();
    assert!(unknown.is_empty(), "{}: no rule is called {unknown:?}", known::PATH);
}

/// The packages whose functions are held to the rules about names.
const OUR_SOURCES: [&str; 3] = ["src/", "loadtest/src/", "bench-harness/src/"];

/// Reports what is not listed, and what is listed and not true any more; with `TIDY_SHRINK` set, takes that off the lists.
fn report_measured(measured: Measured) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let Measured { mut findings, stale } = measured;
    if std::env::var_os("TIDY_SHRINK").is_none() {
        findings.extend(stale.iter().map(known::Stale::finding));
    } else if !stale.is_empty() {
        let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let shrunk = known::shrunk(&read(known::PATH), &stale);
        std::fs::write(root().join(known::PATH), shrunk).expect("the lists can be written");
    }
    report(&findings);
}

fn known() -> Known {
    Known::parse(&read(known::PATH))
}

/// A rule about single files over all of them.
fn each(texts: &[(String, String)], rule: impl Fn(&str, &str) -> Vec<Named>) -> Vec<Named> {
    texts.iter().flat_map(|(path, text)| rule(path, text)).collect()
}

/// Paths and texts of the files below one of the folders, with one of the extensions.
fn texts_below(folders: &[&str], extensions: &[&str]) -> Vec<(String, String)> {
    let mut paths = Vec::new();
    collect(root(), &mut paths);
    paths.retain(|path| folders.iter().any(|folder| path.starts_with(folder)));
    paths.retain(|path| {
        let extension = Path::new(path).extension().and_then(|extension| extension.to_str());
        extension.is_some_and(|extension| extensions.contains(&extension))
    });
    assert!(!paths.is_empty(), "no file below {folders:?} with an extension in {extensions:?}");
    paths
        .into_iter()
        .filter_map(|path| Some((path.clone(), std::fs::read_to_string(root().join(&path)).ok()?)))
        .collect()
}

/// Runs a rule over every file of the repository with one of the extensions (`""`: files that have none).
fn check(extensions: &[&str], rule: impl Fn(&str, &str) -> Vec<Finding>) {
    let mut paths = Vec::new();
    collect(root(), &mut paths);
    let mut findings = Vec::new();
    let mut files = 0;
    for path in paths {
        let extension = Path::new(&path).extension().and_then(|extension| extension.to_str()).unwrap_or("");
        // What is no UTF-8 is no text: a corpus entry, a picture.
        if extensions.contains(&extension)
            && let Ok(text) = std::fs::read_to_string(root().join(&path))
        {
            files += 1;
            findings.extend(rule(&path, &text));
        }
    }
    assert!(files > 0, "no file with an extension in {extensions:?}: the rule looked at nothing");
    report(&findings);
}

fn report(findings: &[Finding]) {
    let text: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(findings.is_empty(), "{} to mend:\n  {}\n", findings.len(), text.join("\n  "));
}

/// The repository's files, without what `.gitignore` names and git's own.
fn collect(dir: &Path, paths: &mut Vec<String>) {
    const SKIPPED: [&str; 8] =
        [".git", "target", ".venv", "node_modules", "__pycache__", "corpus", "artifacts", "LICENSE"];
    let mut entries: Vec<_> = std::fs::read_dir(dir)
        .unwrap_or_else(|error| panic!("{}: {error}", dir.display()))
        .map(|entry| entry.expect("a directory entry").path())
        .filter(|path| path.file_name().is_some_and(|name| SKIPPED.iter().all(|skipped| name != *skipped)))
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            collect(&path, paths);
        } else if let Some(name) = path.strip_prefix(root()).ok().and_then(Path::to_str) {
            paths.push(name.to_owned());
        }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}
