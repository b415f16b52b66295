//! Marked places of a document: what stands between `<!-- bench:NAME -->` and `<!-- /bench:NAME -->` is replaced, and
//! nothing else is touched.

const OPEN: &str = "<!-- bench:";
const END: &str = " -->";

/// The document with its marked places filled from `places` (name and text).
pub(super) fn fill(document: &str, places: &[(String, String)]) -> Result<String, String> {
    let mut filled = String::with_capacity(document.len());
    let mut rest = document;
    while let Some(at) = rest.find(OPEN) {
        let after = &rest[at + OPEN.len()..];
        let name = after.split(END).next().unwrap_or_default();
        let (start, close) = (at + OPEN.len() + name.len() + END.len(), format!("<!-- /bench:{name}{END}"));
        let inside = rest.get(start..).unwrap_or_default();
        let length = inside.find(&close).ok_or_else(|| format!("`bench:{name}` is opened and not closed"))?;
        if inside[..length].contains(OPEN) {
            return Err(format!("`bench:{name}` is opened and not closed before the next"));
        }
        let (_, text) = places.iter().find(|(known, _)| known == name).ok_or_else(|| {
            let known: Vec<&str> = places.iter().map(|(name, _)| name.as_str()).collect();
            format!("`bench:{name}` is not known; there are {}", known.join(", "))
        })?;
        filled.push_str(&rest[..start]);
        filled.push('\n');
        filled.push_str(text.trim_end());
        filled.push('\n');
        rest = &inside[length..];
        filled.push_str(&close);
        rest = &rest[close.len()..];
    }
    filled.push_str(rest);
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> Vec<(String, String)> {
        vec![("a".to_owned(), "new a\n\n".to_owned()), ("b".to_owned(), "new b".to_owned())]
    }

    #[test]
    fn only_what_stands_between_markers_changes() {
        let document =
            "# Top\n<!-- bench:a -->\nold\n<!-- /bench:a -->\nmiddle\n<!-- bench:b --><!-- /bench:b -->\nend\n";
        let filled = fill(document, &places()).expect("filled");
        let expected = "# Top\n<!-- bench:a -->\nnew a\n<!-- /bench:a -->\nmiddle\n<!-- bench:b -->\nnew b\n\
                        <!-- /bench:b -->\nend\n";
        assert_eq!(filled, expected);
        assert_eq!(fill(&filled, &places()).expect("again"), filled, "twice is once");
        assert_eq!(fill("no marker\n", &places()).expect("nothing to do"), "no marker\n");
    }

    #[test]
    fn a_broken_marker_changes_nothing() {
        for (document, problem) in [
            ("<!-- bench:a -->", "opened and not closed"),
            ("<!-- bench:a --> <!-- bench:b --><!-- /bench:b --><!-- /bench:a -->", "before the next"),
            ("<!-- bench:c --><!-- /bench:c -->", "not known; there are a, b"),
        ] {
            assert!(fill(document, &places()).expect_err(document).contains(problem), "{document}");
        }
    }
}
