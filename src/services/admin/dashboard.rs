//! The dashboard: the files of a page for people, which asks the API like any other program.
//!
//! Owns: its files as `scripts/build-dashboard` has made them, and what browsers are told about them.
//! Always holds: the files say nothing about this broker, so nobody needs to be known to get them; no script stands in the page itself,
//! and the page may reach this server alone.

use std::sync::{Arc, LazyLock};

use aws_lc_rs::digest;
use axum::Router;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::state::AdminState;

/// What is answered at one path.
struct PageFile {
    path: &'static str,
    kind: &'static str,
    plain: &'static [u8],
    gzip: &'static [u8],
}

/// A file of `dashboard/dist`, with the one beside it that is compressed.
macro_rules! page_file {
    ($path:literal, $kind:literal, $name:literal) => {
        PageFile {
            path: $path,
            kind: $kind,
            plain: include_bytes!(concat!("../../../dashboard/dist/", $name)),
            gzip: include_bytes!(concat!("../../../dashboard/dist/", $name, ".gz")),
        }
    };
}

/// How many there are.
const FILES_COUNT: usize = 4;

static FILES: [PageFile; FILES_COUNT] = [
    page_file!("/", "text/html; charset=utf-8", "index.html"),
    page_file!("/app.js", "text/javascript; charset=utf-8", "app.js"),
    page_file!("/app.css", "text/css; charset=utf-8", "app.css"),
    page_file!("/icon.svg", "image/svg+xml", "icon.svg"),
];

/// Their names for caches: what is in them.
static TAGS: LazyLock<[String; FILES_COUNT]> = LazyLock::new(|| FILES.each_ref().map(|file| tag(file.plain)));

/// What the page may do.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The routes of the API with those of the page.
pub(super) fn routes(router: Router<Arc<AdminState>>) -> Router<Arc<AdminState>> {
    FILES.iter().enumerate().fold(router, |router, (index, file)| {
        router.route(file.path, get(move |headers: HeaderMap| async move { answer(file, &TAGS[index], &headers) }))
    })
}

fn answer(file: &PageFile, tag: &str, asked: &HeaderMap) -> Response {
    let is_known = values(asked, header::IF_NONE_MATCH).any(|known| known.trim_start_matches("W/") == tag);
    let takes_gzip = values(asked, header::ACCEPT_ENCODING).any(is_gzip);
    let mut response = match (is_known, takes_gzip) {
        (true, _) => StatusCode::NOT_MODIFIED.into_response(),
        (false, true) => ([(header::CONTENT_ENCODING, "gzip")], file.gzip).into_response(),
        (false, false) => file.plain.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(file.kind));
    headers.insert(header::ETAG, HeaderValue::from_str(tag).expect("letters and digits in quotes"));
    // Kept, and asked for again each time: an upgraded broker has another page.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    response
}

/// The values of a header that is a list.
fn values(headers: &HeaderMap, name: header::HeaderName) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim)
}

/// Whether a value of Accept-Encoding takes gzip: `gzip;q=0` does not.
fn is_gzip(value: &str) -> bool {
    let mut parts = value.split(';').map(str::trim);
    parts.next() == Some("gzip") && !parts.any(|part| matches!(part, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
}

fn tag(bytes: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA256, bytes);
    format!("\"{}\"", URL_SAFE_NO_PAD.encode(&digest.as_ref()[..16]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(pairs: &[(header::HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn a_file_comes_compressed_to_whoever_takes_that_and_not_at_all_to_whoever_has_it() {
        let (file, tag) = (&FILES[1], TAGS[1].as_str());
        let encoding = |accepted: &str| {
            let response = answer(file, tag, &asked(&[(header::ACCEPT_ENCODING, accepted)]));
            assert_eq!(response.status(), StatusCode::OK);
            assert_eq!(response.headers()[header::ETAG], tag);
            response.headers().get(header::CONTENT_ENCODING).map(|value| value.to_str().unwrap().to_owned())
        };
        for (accepted, expected) in [
            ("gzip, deflate, br", Some("gzip")),
            ("br, gzip;q=0.5", Some("gzip")),
            ("gzip;q=0", None),
            ("identity", None),
            ("notgzip", None),
        ] {
            assert_eq!(encoding(accepted).as_deref(), expected, "{accepted}");
        }
        for known in [tag.to_owned(), format!("W/{tag}"), format!("\"x\", {tag}")] {
            let response = answer(file, tag, &asked(&[(header::IF_NONE_MATCH, &known)]));
            assert_eq!(response.status(), StatusCode::NOT_MODIFIED, "{known}");
        }
        assert_eq!(answer(file, tag, &asked(&[(header::IF_NONE_MATCH, "\"x\"")])).status(), StatusCode::OK);
    }

    #[test]
    fn the_page_is_small_and_has_no_script_or_style_of_its_own() {
        let bytes: usize = FILES.iter().map(|file| file.gzip.len()).sum();
        assert!(bytes < 150 * 1024, "{bytes} bytes");
        let page = std::str::from_utf8(FILES[0].plain).unwrap();
        assert!(page.contains("<script type=\"module\" src=\"app.js\">") && !page.contains("<style"), "{page}");
        assert!(!page.contains("style=") && !page.contains("//"), "{page}");
    }
}
