//! Cipher suites as OpenSSL and as IANA call them.

/// Suites before TLS 1.3 that there are here.
const OLD: [(&str, &str); 6] = [
    ("ECDHE-ECDSA-AES256-GCM-SHA384", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"),
    ("ECDHE-ECDSA-AES128-GCM-SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
    ("ECDHE-ECDSA-CHACHA20-POLY1305", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"),
    ("ECDHE-RSA-AES256-GCM-SHA384", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"),
    ("ECDHE-RSA-AES128-GCM-SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
    ("ECDHE-RSA-CHACHA20-POLY1305", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"),
];

/// Those of TLS 1.3.
const NEW: [(&str, &str); 3] = [
    ("TLS_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384"),
    ("TLS_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256"),
    ("TLS_CHACHA20_POLY1305_SHA256", "TLS_CHACHA20_POLY1305_SHA256"),
];

/// What a list of OpenSSL's comes to.
#[derive(Debug, Default)]
pub(super) struct CipherNames {
    pub(super) known: Vec<&'static str>,
    pub(super) unknown: Vec<String>,
    /// There is a list, and nothing of it is known.
    pub(super) has_none: bool,
}

/// The names of a list, or of all suites of these versions where there is none.
pub(super) fn iana_names(list: Option<&str>, is_new: bool) -> CipherNames {
    let table: &[(&str, &'static str)] = if is_new { &NEW } else { &OLD };
    let Some(list) = list else {
        return CipherNames { known: table.iter().map(|(_, name)| *name).collect(), ..CipherNames::default() };
    };
    let mut names = CipherNames::default();
    for word in list.split([':', ',', ' ']).filter(|word| !word.is_empty()) {
        match table.iter().find(|(openssl, iana)| word == *openssl || word == *iana) {
            Some((_, iana)) if !names.known.contains(iana) => names.known.push(iana),
            Some(_) => {}
            None => names.unknown.push(word.to_owned()),
        }
    }
    names.has_none = names.known.is_empty();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_keep_what_is_known_and_say_what_is_not() {
        let names = iana_names(Some("ECDHE-RSA-AES128-GCM-SHA256:AES128-SHA:ECDHE-RSA-AES128-GCM-SHA256"), false);
        assert_eq!(names.known, ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]);
        assert_eq!((names.unknown, names.has_none), (vec!["AES128-SHA".to_owned()], false));
        assert!(iana_names(Some("HIGH:!aNULL"), false).has_none);
        assert_eq!(iana_names(None, true).known.len(), 3);
    }
}
