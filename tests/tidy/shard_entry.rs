//! The rule that a shard has one way in: `Shard::handle` changes it, and what else others may call only looks.

use crate::Finding;
use crate::rust::{Token, tokens};

/// What the edge calls of a shard: how it begins, its one way in, and what is read of it between two inputs. The list may only shrink, and
/// `docs/ARCHITECTURE.md` says what each is for.
const FOR_THE_EDGE: [&str; 10] = [
    "new",
    "handle",
    "has_work",
    "delivers_to_many",
    "is_overloaded",
    "is_full_for",
    "has_room_for",
    "has_more_for",
    "next_deadline",
    "is_restored",
];

/// What tests, the simulator and benches look at beside that.
const FOR_TESTS: [&str; 5] = ["counters", "gauges", "holdings", "assert_invariants", "assert_invariants_of_all"];

/// Where a function of a shard may be seen from outside.
const HOMES: [&str; 2] = ["src/shard/mod.rs", "src/shard/holdings.rs"];

/// Where the document is that says what each is for.
pub(crate) const DOCUMENT: &str = "docs/ARCHITECTURE.md";

/// Rule: whoever is outside `shard` gives a shard inputs, and reads what is listed above.
pub(crate) fn other_ways_in(path: &str, text: &str) -> Vec<Finding> {
    let tokens = tokens(text);
    if !path.starts_with("src/shard/") {
        return only_for_tests(path, &tokens);
    }
    let mut found: Vec<Finding> = bodies(&tokens, &["impl", "Shard", "{"])
        .into_iter()
        .flat_map(public_functions)
        .filter_map(|function| {
            let remedy = function.remedy(path)?;
            Some(Finding::new(path, function.line, format!("`Shard::{}` {remedy}", function.name)))
        })
        .collect();
    for fields in bodies(&tokens, &["struct", "Shard", "{"]) {
        let public = fields.iter().filter(|token| token.text == "pub");
        found.extend(
            public.map(|token| Finding::new(path, token.line, "a field of a shard is nobody else's: an input")),
        );
    }
    found.extend(
        functions_on_a_shard(&tokens)
            .into_iter()
            .map(|line| Finding::new(path, line, "changes a shard from outside: make it an input, or `pub(super)`")),
    );
    let behind_traits = tokens.windows(3).filter(|window| texts(window) == ["for", "Shard", "{"]);
    found.extend(behind_traits.map(|window| {
        Finding::new(path, window[0].line, "a trait is another way into a shard: implement it for what holds the shard")
    }));
    found
}

/// Rule: what the lists have is called, and the document says what for.
pub(crate) fn listed_for_nothing(sources: &[(String, String)], document: &str) -> Vec<Finding> {
    const LISTS: &str = "tests/tidy/shard_entry.rs";
    let outside = sources.iter().filter(|(path, _)| path.starts_with("src/") && !path.starts_with("src/shard/"));
    let called: Vec<String> = outside.flat_map(|(_, text)| calls(&tokens(text))).map(|(name, _)| name).collect();
    let mut found = Vec::new();
    for name in FOR_THE_EDGE {
        if !called.iter().any(|called| called == name) {
            found.push(Finding::new(LISTS, 1, format!("nobody calls `Shard::{name}`: take it off the list")));
        }
        if !document.contains(&format!("`{name}`")) {
            found.push(Finding::new(DOCUMENT, 1, format!("say what `{name}` of a shard is for")));
        }
    }
    found
}

/// Calls of what is there for tests alone.
fn only_for_tests(path: &str, tokens: &[Token]) -> Vec<Finding> {
    let is_test = path.contains("/tests/") || path.ends_with("tests.rs");
    if is_test || !path.starts_with("src/") {
        return Vec::new();
    }
    let calls = calls(tokens).into_iter().filter(|(name, _)| FOR_TESTS.contains(&name.as_str()));
    calls
        .map(|(name, line)| Finding::new(path, line, format!("`Shard::{name}` is there for tests: ask with a command")))
        .collect()
}

/// What is called of something named `shard`, or of the type, with the line.
fn calls(tokens: &[Token]) -> Vec<(String, usize)> {
    let of_values =
        tokens.windows(4).filter(|window| window[0].text == "shard" && window[1].text == "." && window[3].text == "(");
    let of_the_type = tokens.windows(4).filter(|window| texts(&window[..3]) == ["Shard", ":", ":"]);
    of_values
        .map(|window| &window[2])
        .chain(of_the_type.map(|window| &window[3]))
        .map(|token| (token.text.clone(), token.line))
        .collect()
}

/// Lines of functions that are seen outside of `shard`, stand by themselves, and are given a shard to change.
fn functions_on_a_shard(tokens: &[Token]) -> Vec<usize> {
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        if !is_seen_outside(tokens, at) {
            continue;
        }
        let behind = tokens[at + 1..].iter().take_while(|token| token.text != "{" && token.text != ";");
        let head: Vec<&str> = behind.map(|token| token.text.as_str()).collect();
        let is_given = head.windows(3).any(|window| matches!(window, ["mut", "Shard", _] | ["mut", "[", "Shard"]));
        if head.contains(&"fn") && is_given {
            found.push(token.line);
        }
    }
    found
}

/// Whether these tokens begin a word of visibility that reaches beyond `shard`.
fn is_seen_outside(tokens: &[Token], at: usize) -> bool {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    text(at) == "pub" && (text(at + 1) != "(" || matches!(text(at + 2), "crate" | "in"))
}

fn texts(tokens: &[Token]) -> Vec<&str> {
    tokens.iter().map(|token| token.text.as_str()).collect()
}

/// What is between the braces behind each place where these tokens stand.
fn bodies<'a>(tokens: &'a [Token], begin: &[&str]) -> Vec<&'a [Token]> {
    let starts = tokens
        .windows(begin.len())
        .enumerate()
        .filter(|(_, window)| window.iter().zip(begin).all(|(token, text)| token.text == *text));
    let body = |(at, _): (usize, &[Token])| {
        let inside = &tokens[at + begin.len()..];
        let mut depth = 1_usize;
        let end = inside.iter().position(|token| {
            match token.text.as_str() {
                "{" => depth += 1,
                "}" => depth -= 1,
                _ => {}
            }
            depth == 0
        });
        &inside[..end.unwrap_or(inside.len())]
    };
    starts.map(body).collect()
}

/// A function that whoever sees the type may call.
struct Public<'a> {
    name: &'a str,
    line: usize,
    changes: bool,
}

impl Public<'_> {
    fn remedy(&self, path: &str) -> Option<&'static str> {
        if !FOR_THE_EDGE.contains(&self.name) && !FOR_TESTS.contains(&self.name) {
            return Some(
                "is another way in: make it an input or a command, or `pub(super)` (tests/tidy/shard_entry.rs)",
            );
        }
        if !HOMES.contains(&path) {
            return Some("is read from outside: it belongs into src/shard/mod.rs, beside the others");
        }
        (self.changes && self.name != "handle").then_some("changes a shard beside `handle`: make it an input")
    }
}

fn public_functions(body: &[Token]) -> Vec<Public<'_>> {
    let mut found = Vec::new();
    for at in 0..body.len() {
        let behind = &body[at + 1..];
        if !is_seen_outside(body, at) {
            continue;
        }
        let Some(behind) = behind.iter().position(|token| token.text == "fn").map(|at| &behind[at + 1..]) else {
            continue;
        };
        let Some(name) = behind.first() else { continue };
        let parameters = behind.iter().skip_while(|token| token.text != "(").take_while(|token| token.text != ")");
        let receiver: Vec<&str> = parameters.map(|token| token.text.as_str()).take_while(|text| *text != ",").collect();
        let takes_self = receiver.contains(&"self");
        let only_looks = receiver.contains(&"&") && !receiver.contains(&"mut");
        found.push(Public { name: &name.text, line: name.line, changes: takes_self && !only_looks });
    }
    found
}
