//! The rule that what only unit tests use is compiled for them alone: nobody else has to read past it.

use std::collections::BTreeMap;

use crate::Finding;
use crate::rust::{Token, tokens, without_tests};
use crate::words::is_test;

/// Parts that nothing starts yet: what drives them is still to come (docs/TODO.md, "Cluster").
const NOT_STARTED_YET: [&str; 3] = ["src/cluster/", "src/conn/nodes/", "src/services/cluster/"];

/// Rule: a public function is named by more than its own declaration and unit tests. The compiler sees to private ones.
pub(crate) fn used_by_unit_tests_alone(texts: &[(String, String)]) -> Vec<Finding> {
    let mut names: BTreeMap<String, usize> = BTreeMap::new();
    let mut public = Vec::new();
    for (path, text) in texts.iter().filter(|(path, _)| !path.starts_with("src/") || !is_test(path)) {
        let kept = without_tests(&tokens(text));
        if path.starts_with("src/") && !NOT_STARTED_YET.iter().any(|part| path.starts_with(part)) {
            public.extend(public_functions(&kept).into_iter().map(|(name, line)| (path, name, line)));
        }
        for token in kept {
            *names.entry(token.text).or_default() += 1;
        }
    }
    let unused = public.into_iter().filter(|(_, name, _)| names.get(name) == Some(&1));
    unused
        .map(|(path, name, line)| {
            let remedy = format!("only unit tests call `{name}`: put `#[cfg(test)]` before it, or take it out");
            Finding::new(path, line, remedy)
        })
        .collect()
}

/// What the crate shows to others, but for what a test build has alone.
fn public_functions(tokens: &[Token]) -> Vec<(String, usize)> {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut found = Vec::new();
    for at in (0..tokens.len()).filter(|&at| tokens[at].text == "pub") {
        let before = &tokens[at.saturating_sub(MARK.len())..at];
        let is_for_tests = before.iter().map(|token| token.text.as_str()).eq(MARK);
        let head = tokens[at + 1..].iter().take(5).take_while(|token| token.text != "{" && token.text != "(");
        let head: Vec<&Token> = head.collect();
        if !is_for_tests
            && let Some(name) = head.iter().position(|token| token.text == "fn").and_then(|at| head.get(at + 1))
        {
            found.push((name.text.clone(), name.line));
        }
    }
    found
}
