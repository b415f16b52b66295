//! The rules about names, circles, dependencies and known offenders against small texts that break them.

use crate::circles::circles;
use crate::commits::{SUBJECT_CHARS_MAX, long_subjects};
use crate::known::{self, Known, Measured};
use crate::manifest::{Sources, unused_dependencies};
use crate::rust::{signatures, tokens, type_names, without_tests};
use crate::words::{self, Named};
use crate::{Finding, each};

fn files(texts: &[(&str, &str)]) -> Vec<(String, String)> {
    texts.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
}

fn names(found: &[Named]) -> Vec<(&str, usize)> {
    found.iter().map(|(name, finding)| (name.as_str(), finding.line)).collect()
}

#[track_caller]
fn check_names(rule: impl Fn(&str, &str) -> Vec<Named>, path: &str, text: &str, expected: &[(&str, usize)]) {
    let found = rule(path, text);
    assert_eq!(names(&found), expected, "{path}:\n{text}\n{found:?}");
}

#[test]
fn a_circle_is_named_by_its_files() {
    let two = [("src/a.rs", "use crate::b::B;"), ("src/b.rs", "\nuse super::a::A;"), ("src/c.rs", "use crate::a::A;")];
    let found = circles("src/", &files(&two));
    assert_eq!(names(&found), [("src/a.rs src/b.rs", 1)]);
    assert!(
        found[0].1.to_string().starts_with("src/a.rs:1: imports src/b.rs, which leads back here"),
        "{}",
        found[0].1
    );
    let three = [
        ("x/src/main.rs", "mod d; fn f() { d::a::g() }"),
        ("x/src/d/mod.rs", "pub mod a; mod b; mod c;"),
        ("x/src/d/a.rs", "fn g() { super::b::f() }"),
        ("x/src/d/b.rs", "use super::c::{self as other, C};"),
        ("x/src/d/c.rs", "use crate::{d::{a::A}, e};"),
    ];
    assert_eq!(names(&circles("x/src/", &files(&three))), [("x/src/d/a.rs x/src/d/b.rs x/src/d/c.rs", 1)]);
}

#[test]
fn a_name_that_is_passed_on_counts_where_it_comes_from() {
    let face = "mod a; mod b; pub use a::{A, Other}; pub struct Own; use b::B;";
    let texts = |a, b| files(&[("src/d/mod.rs", face), ("src/d/a.rs", a), ("src/d/b.rs", b), ("src/lib.rs", "mod d;")]);
    assert_eq!(
        names(&circles("src/", &texts("use super::b;", "use super::{A, Own};"))),
        [("src/d/a.rs src/d/b.rs", 1)]
    );
    assert_eq!(names(&circles("src/", &texts("use crate::d::B;", "use super::A;"))), [("src/d/a.rs src/d/b.rs", 1)]);
    assert_eq!(circles("src/", &texts("use super::b;", "use super::Own;")), []);
}

#[test]
fn faces_tests_and_one_way_imports_are_no_circles() {
    let texts = [
        ("src/d/mod.rs", "mod a; mod b; mod tests; use a::A; pub struct Own;"),
        ("src/d/a.rs", "use super::Own; #[cfg(test)] mod tests { use super::super::b; }"),
        ("src/d/b.rs", "use super::a; // use super::d;"),
        ("src/d/tests.rs", "use super::{a, b};"),
        ("src/e.rs", "mod below; pub struct E;"),
        ("src/e/below.rs", "use super::E;"),
    ];
    assert_eq!(circles("src/", &files(&texts)), []);
}

#[test]
fn parameters_are_counted_without_self_and_through_generics() {
    let samples: [(&str, &[&str]); 7] = [
        ("fn f() {}", &[]),
        ("fn f(&self, a: u8, b: &mut [u8; 2],) -> u8 {}", &["u8", "&mut[u8;2]"]),
        ("fn f(mut self: Box<Self>, a: bool) {}", &["bool"]),
        ("fn f<T: Fn(u8, u8) -> u8>(a: T, b: HashMap<u8, (u8, u8)>) {}", &["T", "HashMap<u8,(u8,u8)>"]),
        ("fn f(a: impl Fn(u8) -> Vec<u8>, b: bool);", &["implFn(u8)->Vec<u8>", "bool"]),
        ("fn f((a, b): (u8, u8), c: fn(u8, u8) -> u8) {}", &["(u8,u8)", "fn(u8,u8)->u8"]),
        ("let f: fn(u8, u8) = g;", &[]),
    ];
    for (source, expected) in samples {
        let found = signatures(&tokens(source));
        let types: Vec<&str> = found.iter().flat_map(|found| found.types.iter().map(String::as_str)).collect();
        assert_eq!(types, expected, "{source}");
    }
    let six = "\nfn six(a: A, b: A, c: A, d: A, e: A, f: A) {}\nfn five(&self, a: A, b: A, c: A, d: A, e: A) {}";
    check_names(words::many_parameters, "src/a.rs", six, &[("src/a.rs six", 2)]);
    let tuples = "fn a((a, b): (A, A), c: A, d: A, e: A, f: A) {}\nfn b((a, b): (A, A), c: &mut (A, A), d: B<(A, A)>) {}\n\
                  fn c(a: A, b: A, c: A, d: &(A, fn(A, A) -> (A, A), [A; 2]), e: ()) {}\nfn d(a: (), b: A, c: A, d: A, e: A) {}";
    check_names(words::many_parameters, "src/a.rs", tuples, &[("src/a.rs a", 1), ("src/a.rs c", 3)]);
    let bools = "fn a(x: bool, y: bool) {}\nfn b(x: bool, n: u8, y: bool) {}\nfn c(x: &bool, y: bool) {}\n\
                 fn d((x, y): (bool, bool)) {}\nfn e((n, x): (u8, bool), y: bool) {}";
    check_names(words::adjacent_bools, "src/a.rs", bools, &[("src/a.rs a", 1), ("src/a.rs d", 4), ("src/a.rs e", 5)]);
}

#[test]
fn types_are_those_that_a_file_defines() {
    let source = "struct A; pub enum B {} type C = u8; trait D { type E; } impl D for A { type E = u8; }\n\
                  fn f() -> impl D { struct G; } pub(super) unsafe trait H {} impl A { fn union() {} }";
    let found: Vec<String> = type_names(&tokens(source)).into_iter().map(|found| found.name).collect();
    assert_eq!(found, ["A", "B", "C", "D", "G", "H"]);
    let kept = without_tests(&tokens("a #[cfg(test)] mod t { mod u {} } b #[cfg(test)] mod v; c"));
    assert_eq!(kept.iter().map(|token| token.text.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
}

#[test]
fn a_type_name_stands_once() {
    let texts = [
        ("src/a.rs", "struct Event;"),
        ("src/b.rs", "\nenum Event {} struct Once2; #[cfg(test)] mod tests { struct Once2; }"),
        ("src/c/tests.rs", "struct Event;"),
    ];
    assert_eq!(names(&words::repeated_types(&files(&texts))), [("Event", 2)]);
    let shadows = "enum Default {}\nstruct Copies; #[cfg(test)] mod tests { struct Copy; }";
    check_names(words::shadowed_types, "src/a.rs", shadows, &[("Default", 1)]);
}

#[test]
fn given_up_words_are_found_in_identifiers_and_not_in_text() {
    let source = "fn settle_all() {}\nstruct Moved; let moved = unsettled;\nfn pump() {} // settle\nlet a = \"settle\"; ResettleIt;";
    check_names(
        words::given_up_words,
        "src/a.rs",
        source,
        &[("Moved src/a.rs", 2), ("settle src/a.rs", 1), ("fn pump src/a.rs", 3)],
    );
    let source = "fn settle_all() {}\nlet arrival = owed;";
    check_names(words::given_up_words, "loadtest/src/a.rs", source, &[("arrival loadtest", 2)]);
}

#[test]
fn docs_that_only_repeat_are_told_from_docs_that_say_something() {
    let samples: [(&str, usize); 12] = [
        ("/// The connection.\npub connection: ConnectionId,", 1),
        ("/// Its client id.\nclient_id: Box<str>,", 1),
        ("/// The [`Session`]s.\n#[derive(Debug)]\npub struct Sessions {", 1),
        ("/// Topic filter.\npub(super) fn filter(&self) -> TopicFilter<'_> {", 1),
        ("/// The settings\n/// of the shard.\nconst SHARD_SETTINGS: u8 = 1;", 1),
        ("    /// On connect.\n    Connect { a: u8 },", 1),
        ("/// The connection that it carried.\npub connection: ConnectionId,", 0),
        ("/// In seconds; 0 is none.\nkeep_alive_s: u16,", 0),
        ("/// See the module's text.\npub struct Window {", 0),
        ("/// How many values it holds.\npub fn len(&self) -> usize {", 0),
        ("///\nfn f() {}", 0),
        ("// The connection.\nconnection: u8,", 0),
    ];
    for (text, expected) in samples {
        assert_eq!(words::docs_that_repeat("src/a/b.rs", text).len(), expected, "{text}");
    }
    assert_eq!(
        ["src/a/b.rs", "src/a.rs", "tests/a.rs", "build.rs"].map(words::module_of),
        ["src/a", "src/a.rs", "tests", "build.rs"]
    );
}

#[test]
fn a_dependency_must_be_named_by_its_own_package() {
    let texts = files(&[
        ("src/a.rs", "use used::A; fn f(bytes: &[u8]) { bytes.len(); some_crate::f() }"),
        ("tests/t.rs", "helper::run();"),
        ("other/src/lib.rs", "extern crate bytes; a::elsewhere::f();"),
    ]);
    let main = "[dependencies]\nused = \"1\"\nbytes = \"1\"\nsome-crate = { version = \"1\" }\nhelper = \"1\"\n\
                [dev-dependencies]\nhelper = \"1\"\nelsewhere = \"1\"\n[features]\nbytes = []\n";
    let sources = Sources::of("Cargo.toml", &["Cargo.toml", "other/Cargo.toml"], &texts);
    let found = unused_dependencies("Cargo.toml", main, &sources);
    assert_eq!(names(&found), [("Cargo.toml bytes", 3), ("Cargo.toml helper", 5), ("Cargo.toml elsewhere", 8)]);
    let other = Sources::of("other/Cargo.toml", &["Cargo.toml", "other/Cargo.toml"], &texts);
    let found = unused_dependencies("other/Cargo.toml", "[dependencies]\nbytes = \"1\"\nelsewhere = \"1\"\n", &other);
    assert_eq!(names(&found), [("other/Cargo.toml elsewhere", 3)]);
}

#[test]
fn a_subject_is_measured_in_characters() {
    let subject = |chars: usize| format!("abc1234 {}\n", "ä".repeat(chars));
    assert_eq!(long_subjects(&subject(SUBJECT_CHARS_MAX)), []);
    let found = long_subjects(&format!("{}{}", subject(3), subject(SUBJECT_CHARS_MAX + 1)));
    assert_eq!(found.len(), 1);
    assert!(found[0].1.to_string().contains("commit abc1234 has a subject of 73 characters"), "{}", found[0].1);
}

fn offender(name: &str, line: usize) -> Named {
    (name.to_owned(), Finding::new("src/a.rs", line, "mend it"))
}

/// Where something is to be mended: the new offenders, and the lines that are not true any more.
fn places(measured: &Measured) -> (Vec<usize>, Vec<String>) {
    let new = measured.findings.iter().map(|finding| finding.line).collect();
    (new, measured.stale.iter().map(|stale| stale.finding().to_string()).collect())
}

#[test]
fn a_list_of_names_fails_for_a_new_offender_and_for_one_that_is_gone() {
    let known = Known::parse("# Remark\n[circles]\na b\nc d # why\n[types]\n");
    assert_eq!(known.rules().collect::<Vec<_>>(), ["circles", "types"]);
    assert_eq!(known.except("circles", vec![offender("a b", 1), offender("c d", 2)]), Measured::default());
    let (new, stale) = places(&known.except("circles", vec![offender("a b", 1), offender("e f", 9)]));
    assert_eq!(new, [9]);
    assert!(stale[0].starts_with("tests/tidy/known.txt:4: `c d` keeps the rule now: take the line out of [circles]"));
    assert_eq!(places(&known.except("bools", vec![offender("x", 5)])), (vec![5], vec![]));
}

#[test]
fn a_count_fails_when_it_grows_and_when_it_shrinks() {
    let known = Known::parse("[docs]\nsrc/a 2\n");
    let counted = |count: usize| known.except_counted("docs", vec![offender("src/a", 7); count]);
    assert_eq!(counted(2), Measured::default());
    assert_eq!(places(&counted(3)), (vec![7, 7, 7], vec![]));
    assert!(counted(3).findings[0].remedy.contains("lets `src/a` have 2 of these, here are 3"));
    assert_eq!(counted(1_000).findings.len(), 10, "enough to see what is meant");
    let one = &places(&counted(1)).1[0];
    assert!(one.starts_with("tests/tidy/known.txt:2: `src/a 2` is better now: write `src/a 1` in [docs]"), "{one}");
    assert!(places(&counted(0)).1[0].contains("take the line out of [docs]"));
    let other = known.except_counted("docs", vec![offender("src/c", 4), offender("src/a", 1), offender("src/a", 2)]);
    assert_eq!(places(&other), (vec![4], vec![]));
    let unreadable = Known::parse("[docs]\nsrc/b x\n").except_counted("docs", vec![]);
    assert_eq!(places(&unreadable), (vec![2], vec![]));
}

#[test]
fn shrinking_takes_off_what_is_not_true_and_adds_nothing() {
    let text = "# Remark\n[circles]\na b\nc d # why\n\n[docs]\na b\nsrc/a 2\n";
    let known = Known::parse(text);
    let mut stale = known.except("circles", vec![offender("c d", 1), offender("new", 1)]).stale;
    stale.extend(known.except_counted("docs", vec![offender("src/a", 1)]).stale);
    assert_eq!(known::shrunk(text, &stale), "# Remark\n[circles]\nc d # why\n\n[docs]\na b\nsrc/a 1\n");
    assert_eq!(known::shrunk(text, &[]), text);
}

#[test]
fn rules_run_over_each_file() {
    let texts = files(&[("src/a.rs", "struct Copy;"), ("src/b.rs", "struct Box;")]);
    assert_eq!(names(&each(&texts, words::shadowed_types)), [("Copy", 1), ("Box", 1)]);
}

#[test]
fn what_unit_tests_alone_call_is_found() {
    let source = "pub fn used() {}\npub fn shown() {}\nimpl A {\n    pub const fn looked_at(&self) {}\n    #[cfg(test)]\n    pub fn marked() {}\n\
                  \n    pub(super) fn own() {}\n}\nfn a() { used(); }\n#[cfg(test)]\nmod tests { fn b() { looked_at(); } }";
    let texts = [
        ("src/a.rs", source),
        ("src/a/tests.rs", "looked_at()"),
        ("src/cluster/a.rs", "pub fn comes_later() {}"),
        ("tests/sim/a.rs", "shown()"),
    ];
    let texts = texts.map(|(path, text)| (path.to_owned(), text.to_owned()));
    let found = crate::only_tests::used_by_unit_tests_alone(&texts);
    let found: Vec<(&str, usize)> = found.iter().map(|finding| (finding.path.as_str(), finding.line)).collect();
    assert_eq!(found, [("src/a.rs", 4)]);
}

#[test]
fn what_changes_itself_is_measured_by_its_fields() {
    let field = |n: usize| format!("pub a{n}: Vec<(u8, b::C)>, ");
    let body = |fields: usize| (0..fields).map(field).collect::<String>();
    let of = |fields: usize, method: &str| format!("struct A {{ {} }} impl A {{ fn a({method}) {{}} }}", body(fields));
    for (text, expected) in [
        (of(words::FIELDS_MAX, "&mut self"), 0),
        (of(words::FIELDS_MAX + 1, "&mut self"), 1),
        (of(words::FIELDS_MAX + 1, "&self"), 0),
        (of(words::FIELDS_MAX + 1, "self"), 0),
    ] {
        let texts = [("src/a.rs".to_owned(), text)];
        assert_eq!(words::many_fields(&texts).len(), expected, "{texts:?}");
    }
}
