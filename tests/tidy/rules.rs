//! Rules about single files. Each is a function of path and text, and knows nothing of the disk.

use crate::Finding;
use crate::rust::{functions, lines_of, tokens, without_tests};
use crate::words::is_test;

/// The hard end of a file; 150 to 350 is the usual size.
pub(crate) const FILE_LINES_MAX: usize = 800;
/// The hard end of a function, from its `fn` to its closing brace.
pub(crate) const FUNCTION_LINES_MAX: usize = 70;

/// Rule: a file that one can read in a sitting.
pub(crate) fn long_file(path: &str, text: &str) -> Vec<Finding> {
    let lines = text.lines().count();
    if lines <= FILE_LINES_MAX {
        return Vec::new();
    }
    let remedy = format!("{lines} lines, {FILE_LINES_MAX} are the end: split the file by what its parts own");
    vec![Finding::new(path, FILE_LINES_MAX + 1, remedy)]
}

/// Rule: a function that fits a screen.
pub(crate) fn long_functions(path: &str, text: &str) -> Vec<Finding> {
    functions(&tokens(text))
        .into_iter()
        .filter(|function| function.lines > FUNCTION_LINES_MAX)
        .map(|function| {
            let remedy = format!(
                "`{}` has {} lines, {FUNCTION_LINES_MAX} are the end: name its steps and move them below",
                function.name, function.lines
            );
            Finding::new(path, function.line, remedy)
        })
        .collect()
}

/// Rule: `unsafe` stays in `src/ring` and `src/runtime`, glommio in `src/runtime`, io-uring in `src/ring`.
pub(crate) fn words_out_of_place(path: &str, text: &str) -> Vec<Finding> {
    const HOMES: [(&str, &[&str], &str); 3] = [
        ("unsafe", &["src/ring/", "src/runtime/"], "give `ring` or `runtime` a safe function that does it"),
        ("glommio", &["src/runtime/"], "only `runtime` names glommio: pass what is needed in as a closure or value"),
        ("io_uring", &["src/ring/"], "only `ring` names io_uring: give `ring` a function that does it"),
    ];
    if !path.starts_with("src/") {
        return Vec::new();
    }
    let tokens = tokens(text);
    HOMES
        .iter()
        .filter(|(_, homes, _)| !homes.iter().any(|home| path.starts_with(home)))
        .flat_map(|(word, _, remedy)| {
            let lines = lines_of(&tokens, &[*word]);
            lines.into_iter().map(move |line| Finding::new(path, line, format!("`{word}` is out of place: {remedy}")))
        })
        .collect()
}

/// Rule: a CONNECT is decoded where its bytes have arrived, once; whoever has it afterwards is handed what came of it.
pub(crate) fn connect_decoded_again(path: &str, text: &str) -> Vec<Finding> {
    const HOMES: [&str; 2] = ["src/codec/", "src/conn/connecting.rs"];
    if !path.starts_with("src/") || is_test(path) || HOMES.iter().any(|home| path.starts_with(home)) {
        return Vec::new();
    }
    let tokens = without_tests(&tokens(text));
    let calls = ["ConnectPacket", "Connect"].map(|name| lines_of(&tokens, &[name, ":", ":", "decode"]));
    let remedy = "decodes a CONNECT again: take the packet that `conn::connecting` has made";
    calls.into_iter().flatten().map(|line| Finding::new(path, line, remedy)).collect()
}

/// Rule: a module opens with what it owns, what always holds and what it leaves to others.
pub(crate) fn missing_module_doc(path: &str, text: &str) -> Vec<Finding> {
    // Crate attributes, as a fuzz target needs, may stand before the module doc.
    let first = text.lines().find(|line| !line.starts_with("#![") && !line.trim().is_empty()).unwrap_or_default();
    if first.starts_with("//! ") {
        return Vec::new();
    }
    vec![Finding::new(
        path,
        1,
        "open with a `//!` module doc: what the module owns, its invariants, what it leaves to others",
    )]
}

/// Rule: what is on main is finished, and every test runs.
pub(crate) fn unfinished(path: &str, text: &str) -> Vec<Finding> {
    const BANNED: [(&[&str], &str); 4] = [
        (&["todo", "!"], "finish it or leave it out: main holds no `todo!`"),
        (&["unimplemented", "!"], "finish it or leave it out: main holds no `unimplemented!`"),
        (&["dbg", "!"], "take `dbg!` out, or log what is worth knowing"),
        (&["#", "[", "ignore"], "a test that does not run proves nothing: mend it, speed it up or delete it"),
    ];
    let tokens = tokens(text);
    BANNED
        .iter()
        .flat_map(|(name, remedy)| lines_of(&tokens, name).into_iter().map(|line| Finding::new(path, line, *remedy)))
        .collect()
}

/// Rule: each direct dependency has its reason behind it, on its line.
pub(crate) fn unexplained_dependencies(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !path.ends_with("Cargo.toml") {
        return findings;
    }
    let mut in_dependencies = false;
    for (at, line) in text.lines().enumerate() {
        if let Some(section) = line.strip_prefix('[') {
            let section = section.split(']').next().unwrap_or_default();
            in_dependencies = section.ends_with("dependencies");
            if section.contains("dependencies.") {
                findings.push(Finding::new(
                    path,
                    at + 1,
                    "write the dependency on one line, with its reason behind it",
                ));
            }
        } else if in_dependencies && line.contains('=') && !line.starts_with('#') {
            // A `#` inside a string would be a very odd version.
            let reason = line.split_once('#').map_or("", |(_, reason)| reason.trim());
            if reason.len() < 10 {
                findings.push(Finding::new(path, at + 1, "say behind the dependency, after a `#`, why it is there"));
            }
        }
    }
    findings
}

/// Rule: what a document calls a file is one. Looked at is whatever stands in backquotes or is the target of a link, and
/// is written like a path of this repository.
pub(crate) fn missing_paths(path: &str, text: &str, exists: &dyn Fn(&str) -> bool) -> Vec<Finding> {
    // Decisions tell of the day they were made, and a file may have moved since.
    if path.starts_with("docs/decisions/") || path == "CHANGELOG.md" {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let mut fenced = false;
    for (at, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        let quoted = line.split('`').skip(1).step_by(2);
        let linked = line.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
        for (name, is_link) in quoted.map(|name| (name, false)).chain(linked.map(|name| (name, true))) {
            let from_here = path.rsplit_once('/').map_or(name.to_owned(), |(dir, _)| format!("{dir}/{name}"));
            let there = exists(name) || (is_link && exists(&from_here));
            if is_own_path(name, is_link) && !there {
                let remedy = format!("`{name}` is not in the repository: name where it is now");
                findings.push(Finding::new(path, at + 1, remedy));
            }
        }
    }
    findings
}

fn is_own_path(name: &str, is_link: bool) -> bool {
    const ROOMS: [&str; 11] = [
        "src",
        "tests",
        "docs",
        "scripts",
        "benches",
        "fuzz",
        "loadtest",
        "bench-harness",
        "packaging",
        "dashboards",
        ".ci",
    ];
    // A bare `dunlin.toml` may well be the reader's own file; a bare `.rs` is ours, written without its folder.
    const ENDINGS: [&str; 2] = [".rs", ".md"];
    let written_like_a_path = name.chars().all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c));
    let below_a_room = name.split_once('/').is_some_and(|(room, _)| ROOMS.contains(&room));
    written_like_a_path
        && !name.is_empty()
        && (is_link || below_a_room || (!name.contains('/') && ENDINGS.iter().any(|ending| name.ends_with(ending))))
}

/// Rule: a decision file sorts by the day it was made.
pub(crate) fn undated_decision(path: &str) -> Vec<Finding> {
    let Some(name) = path.strip_prefix("docs/decisions/").filter(|name| *name != "README.md") else {
        return Vec::new();
    };
    let mut parts = name.splitn(4, '-');
    let mut number = |digits: usize, most: u32| {
        parts
            .next()
            .filter(|part| part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|part| part.parse::<u32>().ok())
            .is_some_and(|value| (1..=most).contains(&value))
    };
    let dated = number(4, 9999) && number(2, 12) && number(2, 31);
    if dated && parts.next().is_some_and(|title| title.len() > ".md".len()) {
        return Vec::new();
    }
    vec![Finding::new(path, 1, "name it YYYY-MM-DD-what-was-decided.md, by the day it was decided")]
}

/// Rule: blanks that nobody sees make diffs that everybody sees.
pub(crate) fn trailing_blanks(path: &str, text: &str) -> Vec<Finding> {
    let mut findings: Vec<Finding> = text
        .split('\n')
        .enumerate()
        .filter(|(_, line)| line.ends_with([' ', '\t', '\r']))
        .map(|(at, _)| Finding::new(path, at + 1, "take the blanks at the end of the line out"))
        .collect();
    if !text.is_empty() && !text.ends_with('\n') {
        findings.push(Finding::new(path, text.lines().count(), "end the file with a newline"));
    }
    findings
}
