//! The import table of `src/lib.rs`: who may import whom, read from the module doc that people read.
//!
//! A row is `modules <- modules (remark)`. `everything` allows all, `nothing of ours` allows none. Rows above the line
//! that starts with `----` are the pure core.

use std::collections::{BTreeMap, BTreeSet};

use crate::Finding;
use crate::rust::{lines_of, root_paths, tokens};

/// The table, parsed.
#[derive(Debug, Default)]
pub(crate) struct ImportTable {
    rows: BTreeMap<String, Row>,
}

#[derive(Debug)]
struct Row {
    /// `None`: everything.
    allowed: Option<BTreeSet<String>>,
    pure: bool,
}

impl ImportTable {
    /// Reads the table out of the text of `src/lib.rs`; `None` if there is none in it.
    pub(crate) fn parse(lib: &str) -> Option<Self> {
        let mut table = Self::default();
        let mut pure = true;
        for line in table_lines(lib) {
            if line.starts_with("----") {
                pure = false;
            } else if let Some((modules, allowed)) = line.split_once("<-") {
                let allowed =
                    allowed.split('(').next().unwrap_or_default().split(';').next().unwrap_or_default().trim();
                let allowed = match allowed {
                    "everything" => None,
                    "nothing of ours" => Some(BTreeSet::new()),
                    names => Some(names.split_whitespace().map(str::to_owned).collect()),
                };
                for module in modules.split_whitespace() {
                    table.rows.insert(module.to_owned(), Row { allowed: allowed.clone(), pure });
                }
            }
        }
        (!table.rows.is_empty()).then_some(table)
    }
}

/// The lines between the fences of the block that holds the table, without the comment marks.
fn table_lines(text: &str) -> Vec<&str> {
    let lines: Vec<&str> = text.lines().map(|line| line.strip_prefix("//!").unwrap_or(line).trim()).collect();
    let mut blocks = lines.split(|line| line.starts_with("```"));
    blocks.find(|block| block.iter().any(|line| line.contains("<-"))).unwrap_or_default().to_vec()
}

/// The first module of a path below `src/` and how deep the file lies in the module tree.
fn module_of(path: &str) -> Option<(&str, usize)> {
    let below = path.strip_prefix("src/")?.strip_suffix(".rs")?;
    let parts: Vec<&str> = below.split('/').filter(|part| *part != "mod").collect();
    let top = *parts.first()?;
    (!matches!(top, "lib" | "main" | "bin")).then_some((top, parts.len()))
}

/// Rule: a module imports what its row names and nothing else. Tests in the module are held to it too.
pub(crate) fn foreign_imports(table: &ImportTable, path: &str, text: &str) -> Vec<Finding> {
    let Some((module, depth)) = module_of(path) else { return Vec::new() };
    let Some(Row { allowed: Some(allowed), .. }) = table.rows.get(module) else { return Vec::new() };
    root_paths(&tokens(text), depth)
        .into_iter()
        .filter(|used| table.rows.contains_key(&used.module))
        .filter(|used| used.module != module && !allowed.contains(&used.module))
        .map(|used| {
            let remedy = format!(
                "`{module}` may not import `{}`: pass the value in, or move the code to a module whose row in src/lib.rs \
                 allows it",
                used.module
            );
            Finding::new(path, used.line, remedy)
        })
        .collect()
}

/// Rule: the modules that `src/lib.rs` declares and the rows of its table are the same.
pub(crate) fn rows_and_modules_differ(table: &ImportTable, lib: &str) -> Vec<Finding> {
    let tokens = tokens(lib);
    let mut findings = Vec::new();
    let declared: BTreeSet<&str> = tokens
        .windows(3)
        .filter(|window| window[0].text == "mod" && window[2].text == ";")
        .map(|window| window[1].text.as_str())
        .collect();
    for module in &declared {
        if !table.rows.contains_key(*module) {
            let line = lines_of(&tokens, &["mod", module]).first().copied().unwrap_or(1);
            findings.push(Finding::new(
                "src/lib.rs",
                line,
                format!("give `{module}` a row in the import table: what may it know?"),
            ));
        }
    }
    let used = |row: &Row| row.allowed.clone().unwrap_or_default();
    for name in table.rows.keys().cloned().chain(table.rows.values().flat_map(used)).collect::<BTreeSet<_>>() {
        if !declared.contains(name.as_str()) {
            findings.push(Finding::new(
                "src/lib.rs",
                1,
                format!("the import table names `{name}`, which is no module: take it out or declare it"),
            ));
        }
    }
    findings
}

/// Rule: a document that shows the table shows this one.
pub(crate) fn copy_differs(lib: &str, path: &str, document: &str) -> Vec<Finding> {
    let (wanted, shown) = (table_lines(lib), table_lines(document));
    let line = document.lines().position(|line| line.contains("<-")).map_or(1, |at| at + 1);
    match wanted.iter().zip(&shown).position(|(wanted, shown)| wanted != shown) {
        Some(at) => {
            let remedy = format!("the import table differs from src/lib.rs: write `{}`", wanted[at]);
            vec![Finding::new(path, line + at, remedy)]
        }
        None if wanted.len() != shown.len() => {
            vec![Finding::new(path, line, "the import table differs from src/lib.rs in length: copy it anew")]
        }
        None => Vec::new(),
    }
}

/// Rule: time, threads, sockets, files and the environment reach the core as arguments, never by asking. Simulation
/// rests on it. `telemetry` keeps the log writer behind the feature and is left to its reviewers.
pub(crate) fn impure_names(table: &ImportTable, path: &str, text: &str) -> Vec<Finding> {
    const BANNED: [(&[&str], &str); 7] = [
        (&["Instant"], "pass `Now` in: the core never asks the time"),
        (&["SystemTime"], "pass `Now` in: the core never asks the time"),
        (&["std", ":", ":", "thread"], "the core knows no threads: a shard is one value"),
        (&["std", ":", ":", "net"], "the core knows no sockets: bytes come in as `Input`"),
        (&["std", ":", ":", "fs"], "the core knows no files: disk operations leave as effects"),
        (&["std", ":", ":", "env"], "the core knows no environment: settings are passed in"),
        (&["std", ":", ":", "sync", ":", ":", "Mutex"], "the core shares nothing between threads and needs no lock"),
    ];
    let Some((module, _)) = module_of(path) else { return Vec::new() };
    // A test may take its seed from the environment and print where it failed.
    let is_test = path.ends_with("tests.rs") || path.contains("/tests/");
    if is_test || module == "telemetry" || !table.rows.get(module).is_some_and(|row| row.pure) {
        return Vec::new();
    }
    let tokens = tokens(text);
    BANNED
        .iter()
        .flat_map(|(name, remedy)| lines_of(&tokens, name).into_iter().map(|line| Finding::new(path, line, *remedy)))
        .collect()
}
