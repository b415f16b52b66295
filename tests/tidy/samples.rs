//! Each rule against small texts that break it and small texts that look as if they did.

use crate::Finding;
use crate::commands;
use crate::imports::{ImportTable, copy_differs, foreign_imports, impure_names, rows_and_modules_differ};
use crate::rules;
use crate::rust::{functions, root_paths, tokens};
use crate::shard_entry;

const LIB: &str = "\
//! A module doc.
//!
//! ```text
//! limits ids          <- nothing of ours
//! codec               <- limits ids
//! session             <- codec limits ids   (one client)
//! ---- the edge ----
//! runtime             <- everything; names glommio
//! ```
pub mod limits; pub mod ids; pub mod codec; pub mod session;
pub mod runtime;
";

fn table() -> ImportTable {
    ImportTable::parse(LIB).expect("the sample holds a table")
}

fn lines(findings: &[Finding]) -> Vec<usize> {
    findings.iter().map(|finding| finding.line).collect()
}

#[track_caller]
fn check_lines(rule: impl Fn(&str, &str) -> Vec<Finding>, samples: &[(&str, &str, &[usize])]) {
    for (path, text, expected) in samples {
        let findings = rule(path, text);
        assert_eq!(lines(&findings), *expected, "{path}:\n{text}\n{findings:?}");
    }
}

#[test]
fn tokens_leave_out_comments_strings_and_lifetimes() {
    let samples: [(&str, &[&str]); 12] = [
        ("a // b\nc", &["a", "c"]),
        ("a /* b /* c */ d */ e", &["a", "e"]),
        (r#"f("unsafe \" x") y"#, &["f", "(", "\"", ")", "y"]),
        ("r\"\\\" z", &["\"", "z"]),
        ("r#\"a \" b\"# z", &["\"", "z"]),
        ("br##\"a \"# b\"## z", &["\"", "z"]),
        ("b\"x\" c\"y\" z", &["\"", "\"", "z"]),
        ("'a' '\\'' '\\u{41}' b'x' z", &["\"", "\"", "\"", "\"", "z"]),
        ("&'a str", &["&", "'a", "str"]),
        ("'{' }", &["\"", "}"]),
        ("r#type 1_000u32 0..9", &["r", "#", "type", "1_000u32", "0", ".", ".", "9"]),
        ("\"never closed", &["\""]),
    ];
    for (source, expected) in samples {
        let found: Vec<String> = tokens(source).into_iter().map(|token| token.text).collect();
        assert_eq!(found, expected, "{source}");
    }
}

#[test]
fn tokens_know_their_line_after_strings_and_comments_of_many_lines() {
    let found: Vec<usize> = tokens("/* \n */ a \"\n\n\" b r\"\n\" c").into_iter().map(|token| token.line).collect();
    assert_eq!(found, [2, 2, 4, 4, 5]);
}

#[test]
fn functions_are_measured_from_fn_to_closing_brace() {
    let samples: [(&str, &[(&str, usize)]); 6] = [
        ("fn a() {}", &[("a", 1)]),
        ("fn a(\n x: [u8; { 1 }],\n) -> u8 {\n if x { 1 } else { 2 }\n}\nfn b() {\n}", &[("a", 5), ("b", 2)]),
        ("trait T { fn a(); fn b() {\n} }", &[("b", 2)]),
        ("fn a() {\n fn b() {\n }\n}", &[("a", 4), ("b", 2)]),
        ("let f: fn(u8) -> u8 = g; fn h() { \"}\"; '}'; }", &[("h", 1)]),
        ("fn open() {", &[]),
    ];
    for (source, expected) in samples {
        let found = functions(&tokens(source));
        let found: Vec<(&str, usize)> = found.iter().map(|function| (function.name.as_str(), function.lines)).collect();
        assert_eq!(found, expected, "{source}");
    }
}

#[test]
fn root_paths_are_found_through_crate_groups_and_super() {
    let samples: [(&str, usize, &[&str]); 11] = [
        ("use crate::codec::Publish;", 1, &["codec"]),
        ("use crate::{codec::{self, a::b}, limits::X, ids};", 1, &["codec", "limits", "ids"]),
        ("fn f() -> crate::ids::Qos { crate::limits::A }", 2, &["ids", "limits"]),
        ("pub(crate) struct A; pub(super) fn f() {}", 1, &[]),
        ("use super::trie;", 2, &[]),
        ("use super::codec;", 1, &["codec"]),
        ("use super::super::codec::X;", 2, &["codec"]),
        ("use super::{codec, limits::X};", 1, &["codec", "limits"]),
        ("mod tests { use super::*; use super::super::codec; }", 1, &["codec"]),
        ("mod tests { fn f() { super::g(); if a { super::h() } } } use super::ids;", 1, &["ids"]),
        ("// use crate::codec;\nlet a = \"crate::codec\";", 1, &[]),
    ];
    for (source, depth, expected) in samples {
        let found = root_paths(&tokens(source), depth);
        let found: Vec<&str> = found.iter().map(|path| path.module.as_str()).collect();
        assert_eq!(found, expected, "{source}");
    }
}

#[test]
fn imports_are_held_to_the_row_of_their_module() {
    let table = table();
    check_lines(
        |path, text| foreign_imports(&table, path, text),
        &[
            ("src/codec/mod.rs", "use crate::limits::A;\nuse crate::codec::publish;", &[]),
            ("src/codec/publish.rs", "use crate::limits::A;\n\nuse crate::session::B;", &[3]),
            ("src/limits.rs", "use crate::ids::Qos;", &[1]),
            ("src/session/outbound.rs", "use crate::{\n    codec::A,\n    runtime::B,\n};", &[3]),
            ("src/runtime/pump.rs", "use crate::session::A;", &[]),
            ("src/main.rs", "use dunlin::runtime;", &[]),
            ("tests/a.rs", "use crate::runtime;", &[]),
        ],
    );
    let finding = &foreign_imports(&table, "src/ids.rs", "use crate::codec::A;")[0];
    assert!(finding.to_string().starts_with("src/ids.rs:1: `ids` may not import `codec`"), "{finding}");
}

#[test]
fn table_and_declared_modules_must_be_the_same() {
    assert_eq!(rows_and_modules_differ(&table(), LIB), []);
    let more = format!("{LIB}pub mod store;\n");
    assert_eq!(lines(&rows_and_modules_differ(&table(), &more)), [12]);
    let fewer = LIB.replace("pub mod ids;", "");
    assert_eq!(rows_and_modules_differ(&table(), &fewer).len(), 1);
    assert!(ImportTable::parse("//! No table.").is_none());
}

#[test]
fn a_copy_of_the_table_must_be_exact() {
    let copy: Vec<&str> = LIB.lines().filter_map(|line| line.strip_prefix("//!")).map(str::trim).collect();
    let copy = copy.join(
        "
",
    ) + "
";
    assert_eq!(copy_differs(LIB, "docs/A.md", &copy), []);
    assert_eq!(lines(&copy_differs(LIB, "docs/A.md", &copy.replace("codec limits ids", "codec ids"))), [6]);
    let shorter = copy.replace("runtime             <- everything; names glommio\n", "");
    assert_eq!(copy_differs(LIB, "docs/A.md", &shorter).len(), 1);
}

#[test]
fn the_core_names_nothing_of_the_machine() {
    let table = table();
    check_lines(
        |path, text| impure_names(&table, path, text),
        &[
            ("src/codec/a.rs", "use std::time::Duration;\nlet now = Instant::now();", &[2]),
            ("src/session/mod.rs", "std::thread::spawn(f);\nuse std::net::IpAddr;", &[1, 2]),
            ("src/session/mod.rs", "// Instant\nlet thread = 1;", &[]),
            ("src/runtime/a.rs", "Instant::now(); std::fs::read(p);", &[]),
        ],
    );
}

#[test]
fn words_stay_in_their_homes() {
    check_lines(
        rules::words_out_of_place,
        &[
            ("src/codec/a.rs", "// unsafe is not needed here\nlet a = \"unsafe\";", &[]),
            ("src/codec/a.rs", "\nlet a = unsafe { f() };", &[2]),
            ("src/ring/a.rs", "unsafe { f() }; use io_uring::IoUring;", &[]),
            ("src/runtime/a.rs", "use glommio::Task; unsafe { f() }", &[]),
            ("src/net/a.rs", "use glommio::Task;\nuse io_uring::IoUring;", &[1, 2]),
            ("benches/relay.rs", "unsafe { f() }", &[]),
        ],
    );
}

#[test]
fn a_connect_that_is_decoded_again_is_found() {
    let text = "use codec::ConnectPacket;\nlet a = ConnectPacket::decode(frame);\nlet b = Connect::decode(frame);\n\
                #[cfg(test)]\nmod tests { fn a() { Connect::decode(frame); } }";
    check_lines(
        rules::connect_decoded_again,
        &[
            ("src/conn/handover.rs", text, &[2, 3]),
            ("src/conn/connecting.rs", text, &[]),
            ("src/codec/connect.rs", text, &[]),
            ("src/conn/tests.rs", text, &[]),
            ("benches/worst.rs", text, &[]),
        ],
    );
}

#[test]
fn length_is_measured_at_the_limit() {
    let lines_of = |count: usize| "a\n".repeat(count);
    assert_eq!(rules::long_file("a.rs", &lines_of(rules::FILE_LINES_MAX)), []);
    assert_eq!(rules::long_file("a.rs", &lines_of(rules::FILE_LINES_MAX + 1)).len(), 1);
    let function = |lines: usize| format!("fn f() {{\n{}}}\n", "a;\n".repeat(lines - 2));
    assert_eq!(rules::long_functions("a.rs", &function(rules::FUNCTION_LINES_MAX)), []);
    assert_eq!(lines(&rules::long_functions("a.rs", &function(rules::FUNCTION_LINES_MAX + 1))), [1]);
}

#[test]
fn a_module_doc_is_the_first_thing_in_a_file() {
    check_lines(
        rules::missing_module_doc,
        &[
            ("src/a.rs", "//! Owns a.\n", &[]),
            ("fuzz/a.rs", "#![no_main]\n\n//! Owns a.\n", &[]),
            ("src/a.rs", "use b;\n//! Late.\n", &[1]),
            ("src/a.rs", "//!\n", &[1]),
            ("src/a.rs", "", &[1]),
        ],
    );
}

#[test]
fn unfinished_work_is_found_and_talk_of_it_is_not() {
    let unfinished =
        concat!("to", "do!()\nunimpl", "emented!(\"x\");\ndb", "g!(a);\n#[ig", "nore]\n#[ig", "nore = \"slow\"]");
    check_lines(
        rules::unfinished,
        &[("src/a.rs", unfinished, &[1, 2, 3, 4, 5]), ("src/a.rs", "// todo!\nlet todo = ignore(\"dbg!\");", &[])],
    );
}

#[test]
fn a_dependency_has_its_reason_on_its_line() {
    check_lines(
        rules::unexplained_dependencies,
        &[
            (
                "Cargo.toml",
                "[dependencies]\n# Core.\na = \"1\" # counts what comes in\nb = \"1\"\nc = \"1\" # why\n",
                &[4, 5],
            ),
            ("fuzz/Cargo.toml", "[package]\nname = \"x\"\n[dev-dependencies]\na = { version = \"1\" }\n", &[4]),
            ("Cargo.toml", "[dependencies.a]\nversion = \"1\" # written over two lines\n", &[1]),
            ("Cargo.toml", "[features]\na = [\"b\"]\n", &[]),
            ("deny.toml", "[dependencies]\na = \"1\"\n", &[]),
        ],
    );
}

#[test]
fn a_document_names_only_what_is_there() {
    let exists = |name: &str| ["src/a.rs", "docs/b.md", "tests/c"].contains(&name);
    check_lines(
        |path, text| rules::missing_paths(path, text, &exists),
        &[
            ("docs/x.md", "See `src/a.rs`, `tests/c` and [b](b.md), [b](docs/b.md#top).", &[]),
            ("docs/x.md", "See `src/gone.rs`\nand `gone.rs`\nand [it](gone.md).", &[1, 2, 3]),
            (
                "docs/x.md",
                "`a/b/#`, `$SYS/x`, `1/2`, `dunlin.toml`, `Shard::handle`, [site](https://example.org/a.md)",
                &[],
            ),
            ("docs/x.md", "```\n`src/gone.rs`\n```\n`src/gone.rs`", &[4]),
            ("docs/decisions/2026-01-01-x.md", "`src/gone.rs`", &[]),
        ],
    );
}

#[test]
fn a_decision_carries_its_day() {
    let dated = |name: &str| rules::undated_decision(&format!("docs/decisions/{name}")).is_empty();
    assert!(dated("2026-11-22-retained-copies.md"));
    for name in
        ["retained.md", "2026-13-01-x.md", "2026-00-01-x.md", "26-11-22-x.md", "2026-11-22.md", "2026-11-22-.md"]
    {
        assert!(!dated(name), "{name}");
    }
    assert_eq!(rules::undated_decision("docs/ARCHITECTURE.md"), []);
}

#[test]
fn blanks_at_the_end_are_found() {
    check_lines(
        rules::trailing_blanks,
        &[("a", "a\n b\n", &[]), ("a", "a \nb\t\nc\r\n", &[1, 2, 3]), ("a", "a\nb", &[2]), ("a", "", &[])],
    );
}

#[test]
fn other_ways_into_a_shard_are_found() {
    let door = "impl Shard {\n    pub fn new(id: u8) -> Self {}\n    pub fn handle(&mut self, a: A) { b(); }\n\
                    pub const fn counters(&self) -> &C {}\n    pub(super) fn tick(&mut self) {}\n    fn own(&mut self) {}\n}\n\
                impl Other { pub fn change(&mut self) {} }\npub struct Shard { clients: Clients }";
    let others = "impl Shard {\n    pub fn restore(&mut self) {}\n    pub fn look(&self) {}\n    pub(super) fn a(&self) {}\n}\n\
                  impl Shard {\n    pub fn has_work(&mut self) {}\n    pub fn gauges(self) -> G {}\n}\n\
                  pub struct Shard {\n    clients: Clients,\n    pub(crate) router: Router,\n}";
    let hidden = "impl Shard {\n    pub(crate) fn put(&mut self) {}\n    pub(in crate::net) fn a(&self) {}\n}\n\
                  pub fn change(shard: &mut Shard) {}\npub(super) fn own(shard: &mut Shard) {}\n\
                  pub fn look(shard: &Shard) {}\nimpl Turns for Shard {\n}\npub(crate) fn all(shards: &mut [Shard]) {}";
    let caller = "fn a(shard: &Shard) {\n    shard.has_work();\n    shard.gauges();\n    edge.counters();\n}";
    check_lines(
        shard_entry::other_ways_in,
        &[
            ("src/shard/mod.rs", door, &[]),
            ("src/shard/a.rs", door, &[2, 3, 4]),
            ("src/shard/mod.rs", others, &[2, 3, 7, 8, 12]),
            ("src/shard/mod.rs", hidden, &[2, 3, 5, 10, 8]),
            ("src/conn/a.rs", others, &[]),
            ("src/conn/a.rs", caller, &[3]),
            ("src/conn/tests.rs", caller, &[]),
        ],
    );
}

#[test]
fn a_command_without_a_case_is_found() {
    let declared = "pub enum Reply { Done }\npub enum Command {\n    /// A doc.\n    Counts,\n    #[allow(dead_code)]\n    List { after: Option<(u8, u8)>, limit: u16 },\n\
                    \n    Drain(Option<Plan>),\n    SetListener { index: u8 },\n}\npub enum Other { A }";
    let bench = |text: &str| vec![("benches/worst.rs".to_owned(), text.to_owned())];
    for (benches, expected) in [
        (bench("w.command(Command::Counts); // Command::Drain(None)"), &["List", "Drain"][..]),
        (bench("Command::Drain(None) Command::List { after } Command::Counts"), &[]),
    ] {
        let found: Vec<String> = commands::unmeasured(declared, &benches).into_iter().map(|(name, _)| name).collect();
        assert_eq!(found, expected);
    }
}
