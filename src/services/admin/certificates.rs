//! The certificates that listeners show, and how long they are good for.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::access::Viewer;
use super::operated::AdminCertificate;
use super::problem::ReadProblems;
use super::state::AdminState;

/// A certificate in use.
#[derive(Serialize, ToSchema)]
pub(super) struct CertificateView {
    /// The listener that shows it; `[admin]` is the admin server.
    listener: String,
    /// Where it stands.
    #[schema(example = "/etc/dunlin/server.pem")]
    file: String,
    /// When it ends, in seconds since 1970.
    until_s: i64,
    /// Whole days until then; less than 0 once it has ended.
    days_left: i64,
}

impl CertificateView {
    fn new(certificate: &AdminCertificate, now_s: i64) -> Self {
        let AdminCertificate { listener, file, end_s } = certificate;
        let days_left = (end_s - now_s).div_euclid(24 * 3_600);
        Self { listener: listener.clone(), file: file.clone(), until_s: *end_s, days_left }
    }
}

/// The certificates of listeners and of the admin server, as of the last time that their files were read.
#[utoipa::path(
    get, path = "/api/v1/certificates", operation_id = "list_certificates", tag = "operation",
    responses(
        (status = 200, description = "done", body = Vec<CertificateView>),
        ReadProblems,
    )
)]
pub(super) async fn list(State(state): State<Arc<AdminState>>, _: Viewer) -> Json<Vec<CertificateView>> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now_s = since.as_secs().cast_signed();
    Json(state.certificates.load().iter().map(|certificate| CertificateView::new(certificate, now_s)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_whole_and_go_below_zero() {
        let certificate = AdminCertificate { listener: "tls".into(), file: "a.pem".into(), end_s: 10 * 86_400 };
        for (now_s, days_left) in [(0, 10), (1, 9), (10 * 86_400, 0), (10 * 86_400 + 1, -1)] {
            assert_eq!(CertificateView::new(&certificate, now_s).days_left, days_left, "at {now_s}");
        }
    }
}
