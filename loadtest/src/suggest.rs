//! "Did you mean": the known word that a misspelled one is nearest to.
//!
//! Owns: what is too far to be a slip. Leaves to the caller: the sentence around it.

use strsim::levenshtein as distance;

/// The word of `known` that `word` was probably meant to be; hyphens, underscores and case do not matter.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = plain(word);
    let tolerance = (wanted.chars().count() / 3).max(2);
    known
        .into_iter()
        .map(|candidate| (distance(&plain(candidate), &wanted), candidate))
        .min_by_key(|pair| pair.0)
        .filter(|(distance, _)| *distance <= tolerance)
        .map(|(_, candidate)| candidate)
}

/// The end of an error about an unknown `word`: the nearest known one, or all of them.
pub fn hint(word: &str, known: &[&str]) -> String {
    match nearest(word, known.iter().copied()) {
        Some(candidate) => format!("did you mean {candidate:?}? Known: {}", known.join(", ")),
        None => format!("known: {}", known.join(", ")),
    }
}

fn plain(word: &str) -> String {
    word.replace('-', "_").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_word_and_another_word_finds_none() {
        let known = ["subscribe", "publish", "payload", "keep_alive_s"];
        for (word, found) in [
            ("subscibe", Some("subscribe")),
            ("Publish", Some("publish")),
            ("keep-alive-s", Some("keep_alive_s")),
            ("paylaod", Some("payload")),
            ("bicycle", None),
        ] {
            assert_eq!(nearest(word, known), found, "{word}");
        }
        assert!(hint("paylod", &known).starts_with("did you mean \"payload\"?"));
        assert_eq!(hint("bicycle", &["a", "b"]), "known: a, b");
    }
}
