//! The rule that a shard has one way in: `Shard::handle` changes it, and what else others may call only looks.

use crate::Finding;
use crate::rust::{Token, tokens};

/// What others may call of a shard: how it begins, its one way in, and what is read of it without an input.
const PUBLIC: [&str; 15] = [
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
    "counters",
    "gauges",
    "holdings",
    "assert_invariants",
    "assert_invariants_of_all",
];

/// Rule: whoever is outside `shard` gives a shard inputs, and reads what is listed above.
pub(crate) fn other_ways_in(path: &str, text: &str) -> Vec<Finding> {
    if !path.starts_with("src/shard/") {
        return Vec::new();
    }
    let tokens = tokens(text);
    let mut found: Vec<Finding> = bodies(&tokens, &["impl", "Shard", "{"])
        .into_iter()
        .flat_map(public_functions)
        .filter_map(|function| {
            let remedy = function.remedy()?;
            Some(Finding::new(path, function.line, format!("`Shard::{}` {remedy}", function.name)))
        })
        .collect();
    for fields in bodies(&tokens, &["struct", "Shard", "{"]) {
        let public = fields.iter().filter(|token| token.text == "pub");
        found.extend(
            public.map(|token| Finding::new(path, token.line, "a field of a shard is nobody else's: an input")),
        );
    }
    found
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
    fn remedy(&self) -> Option<&'static str> {
        if !PUBLIC.contains(&self.name) {
            return Some(
                "is another way in: make it an input or a command, or `pub(super)` (tests/tidy/shard_entry.rs)",
            );
        }
        (self.changes && self.name != "handle").then_some("changes a shard beside `handle`: make it an input")
    }
}

fn public_functions(body: &[Token]) -> Vec<Public<'_>> {
    let mut found = Vec::new();
    for (at, token) in body.iter().enumerate() {
        let behind = &body[at + 1..];
        if token.text != "pub" || behind.first().is_some_and(|next| next.text == "(") {
            continue;
        }
        let Some(name) = behind.iter().position(|token| token.text == "fn").and_then(|at| behind.get(at + 1)) else {
            continue;
        };
        let parameters = behind.iter().skip_while(|token| token.text != "(").take_while(|token| token.text != ")");
        let receiver: Vec<&str> = parameters.map(|token| token.text.as_str()).take_while(|text| *text != ",").collect();
        let takes_self = receiver.contains(&"self");
        let only_looks = receiver.contains(&"&") && !receiver.contains(&"mut");
        found.push(Public { name: &name.text, line: name.line, changes: takes_self && !only_looks });
    }
    found
}
