//! Files that import each other in a circle: none of them can be read, tested or moved without the others.
//!
//! A file with files below it (`mod.rs`, `lib.rs`, `log.rs` beside `log/`) is the face of its folder and no part of a
//! circle: it names its children, and they use what it defines. A name that it only passes on (`pub use`) is counted
//! where it comes from. What tests import does not count.

use std::collections::{BTreeMap, BTreeSet};

use crate::Finding;
use crate::rust::{Token, is_word, tokens, without_tests};

/// A module's path below its crate's root.
type ModulePath = Vec<String>;

/// The files of one crate by module path, and what each face passes on from elsewhere.
#[derive(Debug, Default)]
struct Crate {
    files: BTreeMap<ModulePath, String>,
    passed_on: BTreeMap<ModulePath, BTreeMap<String, ModulePath>>,
}

/// Rule: no circles between the files of a crate, given with their texts; `root` ends in a slash. A circle is named by
/// its files.
pub(crate) fn circles(root: &str, texts: &[(String, String)]) -> Vec<(String, Finding)> {
    let mut sources: BTreeMap<ModulePath, Vec<Token>> = BTreeMap::new();
    let mut found = Crate::default();
    for (path, text) in texts {
        if let Some(module) = module_path(root, path) {
            found.files.insert(module.clone(), path.clone());
            sources.insert(module, without_tests(&tokens(text)));
        }
    }
    for (module, source) in &sources {
        if found.is_face(module) {
            let uses = paths(source, module, true);
            let names = uses.into_iter().filter_map(|used| Some((used.path.last()?.clone(), used.path)));
            found.passed_on.insert(module.clone(), names.collect());
        }
    }
    let mut imports: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
    for (module, source) in sources.iter().filter(|(module, _)| !found.is_face(module)) {
        let from = &found.files[module];
        for used in paths(source, module, false) {
            if let Some(to) = found.file_of(&used.path, 0)
                && to != from
            {
                imports.entry(from.clone()).or_default().entry(to.clone()).or_insert(used.line);
            }
        }
    }
    named_circles(&imports)
}

fn named_circles(imports: &BTreeMap<String, BTreeMap<String, usize>>) -> Vec<(String, Finding)> {
    let reached: BTreeMap<&String, BTreeSet<&String>> =
        imports.keys().map(|file| (file, reachable(imports, file))).collect();
    let mut circles = BTreeMap::new();
    for (file, to) in &reached {
        let mut circle: Vec<&str> = to
            .iter()
            .filter(|other| reached.get(*other).is_some_and(|back| back.contains(file)))
            .map(|s| s.as_str())
            .collect();
        if to.contains(file) {
            circle.sort_unstable();
            let (next, line) =
                imports[*file].iter().find(|(next, _)| circle.contains(&next.as_str())).expect("a way back");
            let name = circle.join(" ");
            let remedy = format!(
                "imports {next}, which leads back here ({name}): move what both need to a third file, or pass it in"
            );
            circles.entry(name).or_insert_with(|| Finding::new(file, *line, remedy));
        }
    }
    circles.into_iter().collect()
}

fn reachable<'a>(imports: &'a BTreeMap<String, BTreeMap<String, usize>>, from: &String) -> BTreeSet<&'a String> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<&String> = imports.get(from).into_iter().flat_map(BTreeMap::keys).collect();
    while let Some(file) = open.pop() {
        if reached.insert(file) {
            open.extend(imports.get(file).into_iter().flat_map(BTreeMap::keys));
        }
    }
    reached
}

impl Crate {
    fn is_face(&self, module: &[String]) -> bool {
        self.files.range(module.to_vec()..).take_while(|(below, _)| below.starts_with(module)).count() > 1
    }

    /// The file that a path leads to, unless it is a face's own. `hops` bounds names that are passed on in a circle.
    fn file_of(&self, path: &[String], hops: usize) -> Option<&String> {
        let known = (0..=path.len()).rev().find(|len| self.files.contains_key(&path[..*len]))?;
        let (module, rest) = path.split_at(known);
        if !self.is_face(module) {
            return self.files.get(module);
        }
        let name = rest.first().filter(|_| hops < 5)?;
        let from = self.passed_on.get(module)?.get(name)?;
        if from.starts_with(path) { None } else { self.file_of(from, hops + 1) }
    }
}

/// The module path of a file below `root`; `None` for tests and other crates' files.
fn module_path(root: &str, path: &str) -> Option<ModulePath> {
    let below = path.strip_prefix(root)?.strip_suffix(".rs")?;
    if below == "tests" || below.ends_with("/tests") || below.ends_with("_tests") || path.contains("/tests/") {
        return None;
    }
    Some(below.split('/').filter(|part| !matches!(*part, "mod" | "lib" | "main")).map(str::to_owned).collect())
}

/// A path from the crate's root, and the line where it is used.
struct Used {
    path: ModulePath,
    line: usize,
}

/// Every path of the crate in the source of `module`: those that begin with `crate`, `super` or `self`, and in a face
/// those of `use` that begin with a child.
fn paths(source: &[Token], module: &[String], is_face: bool) -> Vec<Used> {
    let mut found = Vec::new();
    // For each open brace the inline module that it belongs to, if it does.
    let mut open: Vec<Option<String>> = Vec::new();
    let mut at = 0;
    while at < source.len() {
        let text = source[at].text.as_str();
        let is_first = at < 2 || source[at - 1].text != ":" || source[at - 2].text != ":";
        let is_followed = source.get(at + 1).is_some_and(|token| token.text == ":");
        let is_child = is_face && at > 0 && source[at - 1].text == "use" && is_word(text);
        match text {
            "{" => open.push((at >= 2 && source[at - 2].text == "mod").then(|| source[at - 1].text.clone())),
            "}" => {
                open.pop();
            }
            "crate" | "super" | "self" if is_first && is_followed => {
                let base = module.iter().cloned().chain(open.iter().flatten().cloned()).collect();
                expand(source, &mut at, base, &mut found);
                continue;
            }
            _ if is_child && is_followed => {
                expand(source, &mut at, module.to_vec(), &mut found);
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// Follows one path or tree of paths from `at`, which is left behind it.
fn expand(source: &[Token], at: &mut usize, mut path: ModulePath, found: &mut Vec<Used>) {
    while let Some(token) = source.get(*at) {
        match token.text.as_str() {
            "crate" => path.clear(),
            "super" => {
                path.pop();
            }
            "self" => {}
            "{" => {
                *at += 1;
                while source.get(*at).is_some_and(|token| token.text != "}") {
                    let before = *at;
                    expand(source, at, path.clone(), found);
                    // Whatever is no path (a comma, `as name`) is stepped over.
                    *at += usize::from(*at == before || source.get(*at).is_some_and(|token| token.text == ","));
                }
                *at += 1;
                return;
            }
            word if is_word(word) => path.push(word.to_owned()),
            _ => return,
        }
        *at += 1;
        let is_separated = source.get(*at).is_some_and(|token| token.text == ":")
            && source.get(*at + 1).is_some_and(|token| token.text == ":");
        if !is_separated {
            found.push(Used { path, line: token.line });
            return;
        }
        *at += 2;
    }
}
