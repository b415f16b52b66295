//! Whom a request believes to ask, and which page has sent it.
//!
//! Always holds: a page of another site that has its own name lead here (DNS rebinding) is not answered, and changes nothing where its browser
//! says which page asks. In TLS the certificate's names see to the first; where others than this machine reach the server in plain HTTP
//! its names are known to whoever runs it alone, and none is refused.
//! Leaves to others: who asks (`access`).

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::origin::RequestOrigin;
use super::problem::HttpProblem;
use super::state::AdminState;

/// What a browser says of the page that asks, where it says it.
const FETCH_SITE: &str = "sec-fetch-site";

/// Goes on with requests that mean this server.
pub(super) async fn check(State(state): State<Arc<AdminState>>, request: Request, next: Next) -> Response {
    match refusal(&request, &state) {
        Some(problem) => problem.into_response(),
        None => next.run(request).await,
    }
}

fn refusal(request: &Request, state: &AdminState) -> Option<HttpProblem> {
    let host = match host(request) {
        Ok(host) => host,
        Err(text) => return Some(HttpProblem::bad_request(text)),
    };
    let origin: &RequestOrigin = request.extensions().get().expect("the server tells it of each request");
    if let Some(host) = host.as_ref().filter(|_| origin.is_plain_loopback) {
        let own = rustix::system::uname();
        let own = [own.nodename().to_str().unwrap_or_default(), &state.known.load().node];
        if !is_local(host.host(), &own) {
            let text = format!(
                "this server is not called {}: ask it by its address or as localhost, and have a proxy send such a Host",
                host.host()
            );
            return Some(HttpProblem::new(StatusCode::MISDIRECTED_REQUEST, text));
        }
    }
    let is_foreign = !request.method().is_safe() && is_foreign(request.headers(), host.as_ref());
    is_foreign.then(|| HttpProblem::forbidden("a page of another site asks for this"))
}

/// The one whom a request asks; none where HTTP/1.0 leaves it out.
fn host(request: &Request) -> Result<Option<Authority>, &'static str> {
    let mut lines = request.headers().get_all(header::HOST).iter();
    let line = lines.next();
    if lines.next().is_some() {
        return Err("there is more than one Host");
    }
    if line.is_none() && request.version() >= Version::HTTP_11 {
        return Err("there is no Host");
    }
    let parse = |value: &header::HeaderValue| value.to_str().ok().and_then(|text| text.parse::<Authority>().ok());
    let host = line.map(|value| parse(value).filter(|host| !host.as_str().contains('@')).ok_or("Host is none"));
    let host = host.transpose()?;
    match (request.uri().authority(), &host) {
        (Some(asked), Some(host)) if asked != host => Err("Host is not that of the URL"),
        (asked, None) => Ok(asked.cloned()),
        _ => Ok(host),
    }
}

/// Whether no other site can have its name lead here by this one: an address, or a name of this machine.
fn is_local(host: &str, own: &[&str]) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if bare.parse::<std::net::IpAddr>().is_ok() {
        return true;
    }
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let is_own = own.iter().any(|own| !own.is_empty() && own.eq_ignore_ascii_case(&name));
    name == "localhost" || name.ends_with(".localhost") || is_own
}

/// Whether a browser says that a page of another site asks. `Sec-Fetch-Site` knows better than `Origin`, which a proxy's own `Host` does not fit.
fn is_foreign(headers: &HeaderMap, host: Option<&Authority>) -> bool {
    if let Some(site) = headers.get(FETCH_SITE) {
        return site != "same-origin" && site != "none";
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return false };
    let Some((scheme, of_page)) = origin.to_str().ok().and_then(|text| text.split_once("://")) else { return true };
    let port = if scheme == "https" { 443 } else { 80 };
    let place = |of: &Authority| (of.host().to_ascii_lowercase(), of.port_u16().unwrap_or(port));
    of_page.parse::<Authority>().ok().map(|of_page| place(&of_page)) != host.map(place)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn request(pairs: &[(&str, &str)]) -> Request {
        let mut request = Request::builder().uri("/");
        for (name, value) in pairs {
            request = request.header(*name, *value);
        }
        request.body(Body::empty()).unwrap()
    }

    #[test]
    fn addresses_and_names_of_this_machine_are_taken() {
        let own = ["truck-depot", "node.example"];
        for host in
            ["127.0.0.1", "192.0.2.7", "[::1]", "localhost", "LOCALHOST.", "a.localhost", "Truck-Depot", "node.example"]
        {
            assert!(is_local(host, &own), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example", "notlocalhost", "127.0.0.1.evil.example", "", "."] {
            assert!(!is_local(host, &["", "x"]), "{host}");
        }
    }

    #[test]
    fn a_request_has_one_host() {
        let found = |pairs: &[(&str, &str)]| host(&request(pairs)).map(|host| host.map(|host| host.to_string()));
        assert_eq!(found(&[("host", "localhost:1")]), Ok(Some("localhost:1".to_owned())));
        for wrong in
            [&[][..], &[("host", "a"), ("host", "a")], &[("host", "a b")], &[("host", "x@localhost")], &[("host", "")]]
        {
            assert!(found(wrong).is_err(), "{wrong:?}");
        }
        let mut old = request(&[]);
        *old.version_mut() = Version::HTTP_10;
        assert_eq!(host(&old), Ok(None));
        let mut absolute = request(&[("host", "localhost")]);
        *absolute.uri_mut() = "http://evil.example/".parse().unwrap();
        assert!(host(&absolute).is_err());
    }

    #[test]
    fn pages_of_others_are_known_by_what_browsers_say() {
        let foreign =
            |host: &str, pairs: &[(&str, &str)]| is_foreign(request(pairs).headers(), host.parse().ok().as_ref());
        for (host, origin, is) in [
            ("localhost:18083", "http://localhost:18083", false),
            ("broker.example", "https://Broker.example", false),
            ("broker.example:443", "https://broker.example", false),
            ("localhost:18083", "http://localhost:3000", true),
            ("localhost:18083", "http://evil.example", true),
            ("localhost:18083", "null", true),
        ] {
            assert_eq!(foreign(host, &[("origin", origin)]), is, "{host} {origin}");
        }
        assert!(!foreign("localhost", &[]), "programs do not say it");
        assert!(!foreign("127.0.0.1:18083", &[("origin", "https://a.example"), (FETCH_SITE, "same-origin")]));
        assert!(foreign("localhost:18083", &[("origin", "http://localhost:18083"), (FETCH_SITE, "cross-site")]));
    }
}
