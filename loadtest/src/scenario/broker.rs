//! The broker of a scenario. Its keys are the flags of a command line, with underscores.

use std::path::Path;

use super::fields::Fields;
use super::{VERSIONS, version_words};
use crate::plan::{Target, Template, TlsTarget, TlsVersion, TokenTarget, WebSocketTarget};

/// Versions of TLS by name.
pub(super) const TLS_VERSIONS: &[(&str, TlsVersion)] = &[("1.2", TlsVersion::V12), ("1.3", TlsVersion::V13)];

/// Files that it names are looked for in `folder`.
pub(super) fn broker(fields: Fields, folder: &Path) -> Target {
    let usual = Target::default();
    let mut target = Target {
        host: fields.text("host").unwrap_or(usual.host),
        port: 0,
        unix: fields.text("unix").map(|path| folder.join(path)),
        tls: tls(&fields, folder),
        websocket: websocket(&fields),
        version: fields.word("version", VERSIONS).unwrap_or(usual.version),
        username: fields.text("username").map(Template::new),
        password: fields.text("password").map(Template::new),
        token: token(&fields, folder),
        keep_alive_s: fields.whole_seconds("keep_alive").unwrap_or(usual.keep_alive_s),
        connect_timeout_s: fields.whole_seconds("connect_timeout").unwrap_or(usual.connect_timeout_s),
        retries: fields.count("retry").unwrap_or(usual.retries),
        retry_after_ms: fields.span("retry_after").map_or(usual.retry_after_ms, |span| span.as_millis() as u32),
        restarts: None,
    };
    target.port = fields.count("port").unwrap_or(target.usual_port());
    if target.unix.is_some() {
        for key in ["host", "port"].into_iter().filter(|key| fields.has(key)) {
            fields.error_at(key, &format!("{key} has no use with unix"));
        }
    }
    fields.finish();
    target
}

fn tls(fields: &Fields, folder: &Path) -> Option<TlsTarget> {
    let path = |key| fields.text(key).map(|path| folder.join(path));
    let template = |key| fields.text(key).map(|path| Template::new(folder.join(path).to_string_lossy()));
    let read = TlsTarget {
        ca_file: path("cafile"),
        ca_path: path("capath"),
        certificate: template("cert"),
        key: template("key"),
        insecure: fields.flag("insecure").unwrap_or(false),
        server_name: fields.text("tls_name"),
        version: fields.word("tls_version", TLS_VERSIONS),
        groups: fields.names("tls_groups"),
        resume_percent: fields.number("tls_resume").unwrap_or(0.0),
    };
    if fields.flag("tls").unwrap_or(false) {
        return Some(read);
    }
    let all = ["cafile", "capath", "cert", "key", "insecure", "tls_name", "tls_version", "tls_groups", "tls_resume"];
    needs(fields, &all, "tls = true");
    None
}

fn websocket(fields: &Fields) -> Option<WebSocketTarget> {
    let usual = WebSocketTarget::default();
    let read = WebSocketTarget {
        path: fields.text("ws_path").unwrap_or(usual.path),
        subprotocol: fields.text("ws_subprotocol").unwrap_or(usual.subprotocol),
    };
    if fields.flag("ws").unwrap_or(false) {
        return Some(read);
    }
    needs(fields, &["ws_path", "ws_subprotocol"], "ws = true");
    None
}

fn token(fields: &Fields, folder: &Path) -> Option<TokenTarget> {
    let key = fields.text("jwt_key").map(|path| folder.join(path));
    let usual = TokenTarget::new(key.clone().unwrap_or_default());
    let read = TokenTarget {
        algorithm: fields.text("jwt_algorithm"),
        expiry_s: fields.whole_seconds("jwt_expiry").unwrap_or(usual.expiry_s),
        claims: fields.names("jwt_claim"),
        ..usual
    };
    if key.is_none() {
        needs(fields, &["jwt_algorithm", "jwt_expiry", "jwt_claim"], "jwt_key");
    }
    key.map(|_| read)
}

/// Tells of each key that is there without the other one.
fn needs(fields: &Fields, keys: &[&'static str], other: &str) {
    for key in keys.iter().filter(|key| fields.has(key)) {
        fields.error_at(key, &format!("{key} has no use without {other}"));
    }
}

/// The version of TLS that a text names.
pub fn tls_version(text: &str) -> Result<TlsVersion, String> {
    version_words(text, TLS_VERSIONS).ok_or_else(|| format!("{text:?} is no version of TLS that is spoken: 1.2 or 1.3"))
}
