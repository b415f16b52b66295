//! The rules of the house that a machine can keep. Each failure names file and line and says what to do instead.
//!
//! A remark that was made twice in a review belongs here. A rule is a function from a path and a text to findings
//! (`tidy/rules.rs`, `tidy/imports.rs`), so that it is tested on samples (`tidy/samples.rs`) as well as run over the
//! tree. The import table has one source, the charter of `src/lib.rs`: `docs/ARCHITECTURE.md` repeats it word for word.

#[path = "tidy/imports.rs"]
mod imports;
#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/rust.rs"]
mod rust;
#[cfg(test)]
#[path = "tidy/samples.rs"]
mod samples;

use std::fmt;
use std::path::Path;

use imports::ImportTable;

/// A place that breaks a rule, and what to do about it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Path from the root of the repository.
    pub(crate) path: String,
    /// Line, from 1.
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
fn files_and_functions_stay_short() {
    check(&["rs", "py", "js", "sh"], rules::long_file);
    check(&["rs"], rules::long_functions);
}

#[test]
fn every_module_opens_with_its_charter() {
    check(&["rs"], rules::missing_charter);
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
