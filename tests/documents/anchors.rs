//! Links that lead into a document: to a heading by its anchor, or by the heading's words behind the link. Anchors are made as
//! GitHub makes them, which other readers of Markdown follow.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Lines of a document with whether they stand in a fenced block, which has neither links nor headings.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        fenced ^= is_fence;
        !fenced && !is_fence
    })
}

/// The words of a heading, without the marks and links in it.
fn headings(text: &str) -> Vec<String> {
    let lines = prose(text).filter(|line| line.starts_with('#'));
    let lines = lines.filter_map(|line| line.trim_start_matches('#').strip_prefix(' '));
    lines.map(|line| plain(line).trim().to_owned()).collect()
}

/// A line without the targets of its links, and without what marks code.
fn plain(line: &str) -> String {
    let mut parts = line.split("](");
    let mut words = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        words.push_str(part.split_once(')').map_or("", |(_, rest)| rest));
    }
    words.replace(['`', '['], "")
}

/// The anchors of a document. A heading that comes again has a number behind it.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for heading in headings(text) {
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        let anchor: String = kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect();
        let numbered = (1..).map(|number| format!("{anchor}-{number}"));
        let free = std::iter::once(anchor.clone()).chain(numbered).find(|name| !anchors.contains(name));
        anchors.extend(free);
    }
    anchors
}

/// A document, empty for the one that has the link, and a place in it.
type Reference = (String, String);

/// Where the links in `text` lead within documents: by anchors, and by headings as in `[x](FILE), "heading"`.
fn places(text: &str) -> (Vec<Reference>, Vec<Reference>) {
    let (mut by_anchor, mut by_words) = (Vec::new(), Vec::new());
    let text: Vec<&str> = prose(text).collect();
    for rest in text.join("\n").split("](").skip(1) {
        let Some((target, behind)) = rest.split_once(')') else { continue };
        if target.contains("://") {
            continue;
        }
        if let Some((file, anchor)) = target.split_once('#') {
            by_anchor.push((file.to_owned(), anchor.to_owned()));
        }
        let behind = behind.strip_prefix(',').map(str::trim_start).and_then(|behind| behind.strip_prefix('"'));
        if let Some((heading, _)) = behind.and_then(|behind| behind.split_once('"')) {
            by_words.push((target.to_owned(), heading.to_owned()));
        }
    }
    (by_anchor, by_words)
}

/// The document that a link in `from` leads to; the same one where it names no file.
fn target(from: &Path, file: &str) -> PathBuf {
    if file.is_empty() { from.to_owned() } else { from.parent().unwrap_or(Path::new("")).join(file) }
}

#[test]
fn every_link_into_a_document_leads_to_a_heading_of_it() {
    let (mut anchored, mut worded) = (0, 0);
    for folder in ["", "docs", "docs/decisions", "docs/measurements"] {
        for path in super::documents(folder) {
            let (by_anchor, by_words) = places(&super::read(&path));
            for (file, anchor) in by_anchor {
                anchored += 1;
                let there = anchors(&super::read(target(&path, &file)));
                assert!(there.contains(&anchor), "{}: {file} has no heading for #{anchor}: {there:?}", path.display());
            }
            for (file, heading) in by_words {
                worded += 1;
                let there = headings(&super::read(target(&path, &file)));
                assert!(there.contains(&heading), "{}: {file} has no \"{heading}\": {there:?}", path.display());
            }
        }
    }
    assert!(anchored >= 5 && worded >= 5, "{anchored} anchors and {worded} headings: they are written differently now");
}

#[test]
fn an_anchor_is_made_as_readers_of_markdown_make_it() {
    let text = "# 1. `dunlin ctl`, [what](A.md) it is\n## Bans\n```sh\n# a comment\n```\n### Bans\n";
    let expected = ["1-dunlin-ctl-what-it-is", "bans", "bans-1"];
    assert_eq!(anchors(text), expected.map(str::to_owned).into());
    let (by_anchor, by_words) =
        places("[a](B.md#c), [d](#e) and ([F](F.md),\n\"A heading\"), [x](https://y#z)\n```\n[n](o#p)\n```");
    let pair = |one: &str, two: &str| (one.to_owned(), two.to_owned());
    assert_eq!(by_anchor, [pair("B.md", "c"), pair("", "e")]);
    assert_eq!(by_words, [pair("F.md", "A heading")]);
}
