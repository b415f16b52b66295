//! Dependencies that nobody names: each one that a manifest declares is used by its package, or it goes.

use crate::Finding;
use crate::rust::{Token, tokens};
use crate::words::Named;

/// A package's sources, cut into tokens, and for each whether the package is built from it; else it is a test, a
/// benchmark or an example.
#[derive(Debug, Default)]
pub(crate) struct Sources(Vec<(bool, Vec<Token>)>);

impl Sources {
    /// The sources of the package of `manifest`, of all files with their texts. `manifests` are those of all packages: what
    /// lies below another one belongs to that.
    pub(crate) fn of(manifest: &str, manifests: &[&str], texts: &[(String, String)]) -> Self {
        let root = manifest.strip_suffix("Cargo.toml").unwrap_or(manifest);
        let others: Vec<&str> = manifests
            .iter()
            .filter_map(|other| other.strip_suffix("Cargo.toml"))
            .filter(|other| other.len() > root.len() && other.starts_with(root))
            .collect();
        let mut sources = Self::default();
        for (path, text) in texts {
            let Some(below) = path.strip_prefix(root) else { continue };
            if others.iter().any(|other| path.starts_with(other)) {
                continue;
            }
            let is_built = below.starts_with("src/") || below.starts_with("fuzz_targets/");
            sources.0.push((is_built, tokens(text)));
        }
        sources
    }
}

/// Rule: a dependency is named in the source of its package, one for development in the package's source or tests.
pub(crate) fn unused_dependencies(path: &str, text: &str, sources: &Sources) -> Vec<Named> {
    let mut found = Vec::new();
    let mut section = "";
    for (at, line) in text.lines().enumerate() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.split(']').next().unwrap_or_default();
            continue;
        }
        let only_built = match section {
            "dependencies" => true,
            "dev-dependencies" | "build-dependencies" => false,
            _ => continue,
        };
        let Some((name, _)) = line.split_once('=').filter(|_| !line.starts_with([' ', '#', '"'])) else { continue };
        let name = name.trim();
        let word = name.replace('-', "_");
        let mut searched = sources.0.iter().filter(|(is_built, _)| *is_built || !only_built);
        if !searched.any(|(_, tokens)| is_named(tokens, &word)) {
            let remedy = format!("nothing in this package's source names `{word}`: take the dependency out");
            found.push((format!("{path} {name}"), Finding::new(path, at + 1, remedy)));
        }
    }
    found
}

/// Whether a path begins with `word`, or `use` brings it in. A variable of that name is no use of the crate.
fn is_named(tokens: &[Token], word: &str) -> bool {
    tokens.iter().enumerate().any(|(at, token)| {
        let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
        let before = |back: usize| at.checked_sub(back).map_or("", |at| text(at));
        let begins_a_path = text(at + 1) == ":" && text(at + 2) == ":" && !(before(1) == ":" && before(2) == ":");
        token.text == word && (begins_a_path || matches!(before(1), "use" | "crate"))
    })
}
