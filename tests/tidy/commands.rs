//! The rule that no question to a shard takes long: each is a case of `benches/worst`, which fails when one does.

use crate::Finding;
use crate::rust::{Token, tokens};
use crate::words::Named;

/// Where they are declared.
pub(crate) const DECLARED: &str = "src/shard/command.rs";

/// Where they are measured.
pub(crate) const MEASURED: &str = "benches/worst";

/// What the edge has done before a shard hears of it: the shard says so and does nothing.
const DONE_BY_THE_EDGE: [&str; 2] = ["SetListener", "ChangeListeners"];

/// Rule: each command is given to a shard by a case of `benches/worst`.
pub(crate) fn unmeasured(declared: &str, benches: &[(String, String)]) -> Vec<Named> {
    let measured: Vec<Vec<Token>> = benches.iter().map(|(_, text)| tokens(text)).collect();
    let is_measured = |name: &str| {
        let mut places = measured.iter().flat_map(|tokens| tokens.windows(4));
        places.any(|window| window[0].text == "Command" && window[1].text == ":" && window[3].text == name)
    };
    let commands = variants(&tokens(declared), "Command").into_iter();
    let unmeasured = commands.filter(|(name, _)| !DONE_BY_THE_EDGE.contains(&name.as_str()) && !is_measured(name));
    let finding = |(name, line): (String, usize)| {
        let remedy = format!("`Command::{name}` is in no case of {MEASURED}: show that it holds no shard up for 1 ms");
        (name, Finding::new(DECLARED, line, remedy))
    };
    unmeasured.map(finding).collect()
}

/// The variants of an enum, with their lines.
fn variants(tokens: &[Token], name: &str) -> Vec<(String, usize)> {
    let Some(at) = tokens
        .windows(3)
        .position(|window| window[0].text == "enum" && window[1].text == name && window[2].text == "{")
    else {
        return Vec::new();
    };
    let (mut depth, mut found, mut begins) = (0_usize, Vec::new(), true);
    for token in &tokens[at + 3..] {
        match token.text.as_str() {
            "}" if depth == 0 => break,
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth -= 1,
            "," if depth == 0 => begins = true,
            text if depth == 0 && begins && text != "#" => {
                found.push((text.to_owned(), token.line));
                begins = false;
            }
            _ => {}
        }
    }
    found
}
