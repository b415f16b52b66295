//! Writes `docs/CONFORMANCE.md` from the conformance suite's source, and fails when the list has a hole.
//!
//! The suite's tests name statements in `// covers: [MQTT-x.y.z-n] ... (version)` lines directly above their `#[test]`.
//! This test reads them, the statements (`normative.tsv`), those that nobody can see from outside (`unobservable.tsv`)
//! and the tables that name tests (`named.tsv`). It fails when a statement that binds a server has neither a test nor a
//! reason, when a name leads nowhere, when a file of the suite is not compiled, and when the document is out of date:
//! `UPDATE_CONFORMANCE=1 cargo test --test conformance_matrix` writes it anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// A statement: version and identifier.
type Key = (String, String);

struct Statement {
    key: Key,
    who: String,
    server: String,
    paraphrase: String,
}

/// A row of `named.tsv`: the section it belongs to, its text in two columns, and the tests it names.
struct Named {
    section: String,
    what: String,
    text: String,
    tests: Vec<String>,
}

#[derive(Default)]
struct Suite {
    /// Every test, as `file::name`.
    tests: BTreeSet<String>,
    /// Statement to the tests that cover it, in the order of the source.
    covered: BTreeMap<Key, Vec<String>>,
    /// Tests that do not run in every setting, by the function of `world.rs` that runs them.
    fewer: BTreeMap<&'static str, Vec<String>>,
    problems: Vec<String>,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The rows of a table without comments and without its heading.
fn table(name: &str, columns: usize) -> Vec<Vec<String>> {
    let text = read(&root().join("tests/conformance").join(name));
    let rows = text.lines().filter(|l| !l.is_empty() && !l.starts_with('#')).skip(1);
    rows.map(|line| {
        let row: Vec<String> = line.split('\t').map(str::to_owned).collect();
        assert_eq!(row.len(), columns, "{name}: {line:?} has {} columns, not {columns}", row.len());
        assert!(row.iter().all(|cell| !cell.trim().is_empty()), "{name}: an empty cell in {line:?}");
        row
    })
    .collect()
}

fn statements() -> Vec<Statement> {
    let rows = table("normative.tsv", 5).into_iter().map(|mut row| {
        let paraphrase = row.pop().expect("five columns");
        let server = row.pop().expect("five columns");
        let who = row.pop().expect("five columns");
        assert!(["must", "reject", "no"].contains(&server.as_str()), "{row:?}: server column {server:?}");
        Statement { key: (row[0].clone(), row[1].clone()), who, server, paraphrase }
    });
    rows.collect()
}

/// Reads every source file of the suite.
fn suite() -> Suite {
    let directory = root().join("tests/conformance");
    let main = read(&directory.join("main.rs"));
    let mut files: Vec<PathBuf> =
        fs::read_dir(&directory).expect("the suite is there").map(|e| e.expect("an entry").path()).collect();
    files.sort();
    let mut suite = Suite::default();
    for path in files.iter().filter(|p| p.extension().is_some_and(|e| e == "rs")) {
        let module = path.file_stem().and_then(|s| s.to_str()).expect("file names are plain").to_owned();
        if module != "main" && !main.contains(&format!("\nmod {module};\n")) {
            suite.problems.push(format!("{module}.rs is not a module of main.rs, so nothing runs it"));
        }
        read_source(&mut suite, &module, &read(path));
    }
    suite
}

/// Takes the tests of one file and what they cover.
fn read_source(suite: &mut Suite, module: &str, source: &str) {
    let mut pending: Vec<Key> = Vec::new();
    let mut in_test = false;
    let mut test = String::new();
    for (number, line) in source.lines().map(str::trim).enumerate() {
        let place = format!("{module}.rs:{}", number + 1);
        if let Some(rest) = line.strip_prefix("// covers:") {
            match parse_covers(rest) {
                Some(keys) => pending.extend(keys),
                None => suite.problems.push(format!("{place}: not `[STATEMENT] ... (version)`: {line}")),
            }
        } else if line == "#[test]" {
            in_test = true;
        } else if line.starts_with("#[ignore") {
            suite.problems.push(format!("{place}: an ignored test proves nothing"));
        } else if in_test && line.starts_with("fn ") {
            let name = line[3..].split('(').next().expect("split gives one piece at least");
            test = format!("{module}::{name}");
            for key in pending.drain(..) {
                let tests = suite.covered.entry(key).or_default();
                if !tests.contains(&test) {
                    tests.push(test.clone());
                }
            }
            suite.tests.insert(test.clone());
            in_test = false;
        } else if let Some((runner, _)) = FEWER.iter().find(|(runner, _)| line.starts_with(&format!("{runner}("))) {
            suite.fewer.entry(runner).or_default().push(test.clone());
        } else if !pending.is_empty() && !line.starts_with("//") && !line.starts_with("#[") {
            suite.problems.push(format!("{place}: `covers` lines above something that is no test"));
            pending.clear();
        }
    }
}

/// Functions of `world.rs` that leave settings out, and what the document says about them.
const FEWER: [(&str, &str); 2] = [
    (
        "in_whole_packets",
        "run with 1, 2 and 5 shards in both placements, but not over single bytes: tens of thousands of packets would take \
         minutes, and the same packets come byte by byte in others",
    ),
    (
        "measured",
        "measure memory and CPU time, on a broker of their own with two shards: several at once would measure each other",
    ),
];

/// Whether the suite has a test of this name; one of another suite is named by its file.
fn exists(suite: &Suite, test: &str) -> bool {
    match test.split_once(".rs::") {
        Some((file, name)) => {
            let source = fs::read_to_string(root().join(format!("{file}.rs"))).unwrap_or_default();
            // In a module beside the code they are indented.
            source.replace("\n    ", "\n").contains(&format!("#[test]\nfn {name}()"))
        }
        None => suite.tests.contains(test),
    }
}

/// `[A] [B] (5.0)` gives A and B of 5.0.
fn parse_covers(text: &str) -> Option<Vec<Key>> {
    let (ids, version) = text.trim().strip_suffix(')')?.rsplit_once('(')?;
    let ids: Option<Vec<Key>> = ids
        .split_whitespace()
        .map(|id| Some((version.to_owned(), id.strip_prefix('[')?.strip_suffix(']')?.to_owned())))
        .collect();
    ids.filter(|ids| !ids.is_empty())
}

fn named() -> Vec<Named> {
    let rows = table("named.tsv", 4).into_iter().map(|row| Named {
        section: row[0].clone(),
        what: row[1].clone(),
        text: row[2].clone(),
        tests: row[3].split(' ').filter(|test| *test != "-").map(str::to_owned).collect(),
    });
    rows.collect()
}

#[test]
fn every_statement_that_binds_the_server_has_a_test_or_a_reason() {
    let statements = statements();
    let mut suite = suite();
    let reasons: BTreeMap<Key, String> =
        table("unobservable.tsv", 3).into_iter().map(|r| ((r[0].clone(), r[1].clone()), r[2].clone())).collect();
    let named = named();
    let known: BTreeSet<&Key> = statements.iter().map(|s| &s.key).collect();
    let mut problems = std::mem::take(&mut suite.problems);
    assert_eq!(known.len(), statements.len(), "normative.tsv lists a statement twice");

    for key in suite.covered.keys().chain(reasons.keys()).filter(|k| !known.contains(k)) {
        problems.push(format!("{} ({}) is no statement of normative.tsv", key.1, key.0));
    }
    for statement in statements.iter().filter(|s| s.server != "no") {
        let (version, id) = &statement.key;
        match (suite.covered.contains_key(&statement.key), reasons.contains_key(&statement.key)) {
            (false, false) => problems.push(format!("{id} ({version}) has no test: {}", statement.paraphrase)),
            (true, true) => problems.push(format!("{id} ({version}) has a test and a reason why it cannot have one")),
            _ => {}
        }
    }
    for row in &named {
        for test in row.tests.iter().filter(|test| !exists(&suite, test)) {
            problems.push(format!("named.tsv, {:?}: there is no test {test}", row.what));
        }
        if !SECTIONS.iter().any(|(section, ..)| *section == row.section) {
            problems.push(format!("named.tsv: no section {:?}", row.section));
        }
        if row.tests.is_empty() {
            problems.push(format!("named.tsv, {:?} names no test", row.what));
        }
    }
    assert!(problems.is_empty(), "{} problem(s):\n{}", problems.len(), problems.join("\n"));
    compare(&document(&statements, &suite, &reasons, &named));
}

/// Fails when the document in the repository is not this one, or writes it.
fn compare(document: &str) {
    let path = root().join("docs/CONFORMANCE.md");
    if std::env::var_os("UPDATE_CONFORMANCE").is_some() {
        fs::create_dir_all(root().join("docs")).expect("docs can be made");
        fs::write(&path, document).expect("docs is writable");
        return;
    }
    let current = fs::read_to_string(&path).unwrap_or_default();
    let first = document.lines().zip(current.lines()).position(|(new, old)| new != old);
    assert!(
        current == document,
        "docs/CONFORMANCE.md is out of date (first difference in line {}); \
         write it with UPDATE_CONFORMANCE=1 cargo test --test conformance_matrix",
        first.map_or_else(|| document.lines().count().min(current.lines().count()) + 1, |i| i + 1)
    );
}

/// Sections of the document that come from `named.tsv`: name there, heading, introduction.
const SECTIONS: [(&str, &str, &str); 4] = [
    (
        "choice",
        "Where the specification leaves a choice",
        "What the texts allow, recommend or leave open, and what dunlin does.",
    ),
    (
        "pitfall",
        "What other brokers get wrong",
        "Cases with a history of bugs in other brokers; each has a test of its own.",
    ),
    (
        "hostile",
        "Hostile input",
        "What broke other brokers, as classes of attack, and the tests that a breach of them fails.",
    ),
    (
        "elsewhere",
        "Hostile input that is tested elsewhere",
        "Rows about TLS, WebSocket, access control and files: most of their tests know more than what goes over the wire.",
    ),
];

fn document(statements: &[Statement], suite: &Suite, reasons: &BTreeMap<Key, String>, named: &[Named]) -> String {
    let mut text = String::from(
        "# Conformance\n\n\
         Generated by `tests/conformance_matrix.rs` from the source of `tests/conformance`; do not edit. Write it anew with\n\
         `UPDATE_CONFORMANCE=1 cargo test --test conformance_matrix`. Every test speaks raw bytes to the built binary and runs\n\
         with 1, 2 and 5 shards, each with its clients on one shard, on different ones, and over a transport of single bytes;\n\
         those that do not are listed under the table.\n\n\
         | version | statements | bind the server | tested | not observable | nothing for a server |\n|---|---|---|---|---|---|\n",
    );
    for version in ["5.0", "3.1.1", "3.1"] {
        let all: Vec<&Statement> = statements.iter().filter(|s| s.key.0 == version).collect();
        let binding = all.iter().filter(|s| s.server != "no").count();
        let tested = all.iter().filter(|s| s.server != "no" && suite.covered.contains_key(&s.key)).count();
        let unseen = all.iter().filter(|s| reasons.contains_key(&s.key)).count();
        let free = all.iter().filter(|s| s.server == "no").count();
        let _ = writeln!(text, "| {version} | {} | {binding} | {tested} | {unseen} | {free} |", all.len());
    }
    let _ = writeln!(text, "\nTests in the suite: {}. Not in every setting:\n", suite.tests.len());
    for (runner, what) in FEWER {
        let tests: Vec<String> = suite.fewer.get(runner).into_iter().flatten().map(|t| format!("`{t}`")).collect();
        let _ = writeln!(text, "- {what}: {}.", tests.join(", "));
    }
    for (section, heading, introduction) in SECTIONS {
        let _ = writeln!(text, "\n## {heading}\n\n{introduction}\n\n| what | dunlin | tests |\n|---|---|---|");
        for row in named.iter().filter(|r| r.section == section) {
            let tests: Vec<String> = row.tests.iter().map(|t| format!("`{t}`")).collect();
            let _ = writeln!(text, "| {} | {} | {} |", cell(&row.what), cell(&row.text), tests.join("<br>"));
        }
    }
    for (version, heading) in [("5.0", "MQTT 5.0"), ("3.1.1", "MQTT 3.1.1"), ("3.1", "MQTT 3.1")] {
        let _ = writeln!(text, "\n## {heading}\n\n| statement | binds | in short | tests |\n|---|---|---|---|");
        for statement in statements.iter().filter(|s| s.key.0 == version) {
            let id = &statement.key.1;
            let proof = match (suite.covered.get(&statement.key), reasons.get(&statement.key)) {
                (Some(tests), _) => tests.iter().map(|t| format!("`{t}`")).collect::<Vec<_>>().join("<br>"),
                (None, Some(reason)) => format!("not observable: {}", cell(reason)),
                (None, None) => "nothing for a server to do".to_owned(),
            };
            let _ = writeln!(text, "| {id} | {} | {} | {proof} |", statement.who, cell(&statement.paraphrase));
        }
    }
    text
}

/// Text that may stand in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}
