//! Who asks: by API key, or by the cookie of a login.
//!
//! Always holds: a handler that takes [`Viewer`] or [`Operator`] does not run for anybody else; a change that is asked for with
//! a cookie must show the login's token too, which a page of another site cannot know.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{FromRequestParts, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, header, request::Parts};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use cookie::{Cookie, SameSite};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::asked::JsonBody;
use super::first_password::FIRST_USER;
use super::origin::{AdminPeer, RequestOrigin};
use super::problem::{ChangeProblems, HttpProblem};
use super::state::AdminState;
use crate::auth::admin_users::{AdminIdentity, Role};
use crate::auth::password::HashMemory;
use crate::limits::ADMIN_FIRST_PASSWORD_S;
use crate::telemetry::log;

/// Somebody who may look.
pub(super) struct Viewer;

/// Somebody who may change what the broker does.
pub(super) struct Operator {
    identity: AdminIdentity,
    peer: AdminPeer,
}

impl Operator {
    /// Notes in the log what is asked for. To be said before it is done: whoever hangs up is not waited for.
    pub(super) fn note(&self, action: &str, about: &str) {
        self.note_with_reason(action, about, None);
    }

    /// The same, with what the operator says about it.
    pub(super) fn note_with_reason(&self, action: &str, about: &str, reason: Option<&str>) {
        log::event::admin_action(&self.identity.name, &self.peer, (action, about), reason);
    }
}

/// The cookie of a login is called so, with the port that is asked: browsers do not tell one port of a host from another.
const COOKIE: &str = "dunlin_admin";
/// The header that shows the login's other token.
const CSRF_HEADER: &str = "x-csrf-token";

impl FromRequestParts<Arc<AdminState>> for Viewer {
    type Rejection = HttpProblem;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<AdminState>) -> Result<Self, HttpProblem> {
        identify(parts, state).map(|_| Self)
    }
}

impl FromRequestParts<Arc<AdminState>> for Operator {
    type Rejection = HttpProblem;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<AdminState>) -> Result<Self, HttpProblem> {
        let identity = identify(parts, state)?;
        if identity.role < Role::Operator {
            return Err(HttpProblem::forbidden("this needs the role operator"));
        }
        Ok(Self { identity, peer: origin(parts).peer })
    }
}

/// Where a request comes from.
pub(super) fn origin(parts: &Parts) -> &RequestOrigin {
    parts.extensions.get().expect("the server tells it of each request")
}

/// Whose request it is.
pub(super) fn identify(parts: &Parts, state: &AdminState) -> Result<AdminIdentity, HttpProblem> {
    let Parts { method, headers, .. } = parts;
    let trusted = origin(parts).peer.identity();
    let users = state.users().ok_or_else(|| HttpProblem::unauthorized("nobody may use the API"));
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let scheme =
            |value: &str| value.split_once(' ').is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let key = value.to_str().ok().filter(|value| scheme(value)).map(|value| &value["bearer ".len()..]);
        let key = key.ok_or_else(|| HttpProblem::unauthorized("only API keys are taken: Authorization: Bearer KEY"))?;
        return users?.find_key(key.trim()).ok_or_else(|| HttpProblem::unauthorized("nobody has this API key"));
    }
    if let Some(identity) = trusted {
        return Ok(identity);
    }
    let users = users?;
    let token = token(headers).ok_or_else(|| HttpProblem::unauthorized("log in, or show an API key"))?;
    let login = state.with_logins(|logins| logins.find(Instant::now(), &token));
    let login = login.ok_or_else(|| HttpProblem::unauthorized("the login has ended: log in again"))?;
    if !method.is_safe() && !shows(headers, &login.csrf_token) {
        return Err(HttpProblem::forbidden("a change needs the header X-CSRF-Token with the token of the login"));
    }
    let role = users.role_of(&login.name, &login.password);
    let role = role.ok_or_else(|| HttpProblem::unauthorized("the user is no longer known by this password"))?;
    Ok(AdminIdentity { name: login.name, role })
}

fn shows(headers: &HeaderMap, csrf_token: &str) -> bool {
    let shown = headers.get(CSRF_HEADER).map_or(&[][..], |value| value.as_bytes());
    aws_lc_rs::constant_time::verify_slices_are_equal(shown, csrf_token.as_bytes()).is_ok()
}

fn cookie_name(headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).and_then(|host| host.parse().ok());
    match host.as_ref().and_then(Authority::port_u16) {
        Some(port) => format!("{COOKIE}_{port}"),
        None => COOKIE.to_owned(),
    }
}

/// The cookie's value.
fn token(headers: &HeaderMap) -> Option<String> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut cookies = lines.flat_map(|line| Cookie::split_parse(line.to_owned())).filter_map(Result::ok);
    let name = cookie_name(headers);
    cookies.find(|cookie| cookie.name() == name).map(|cookie| cookie.value().to_owned())
}

/// What a person shows to log in.
#[derive(Deserialize, ToSchema)]
pub(super) struct Credentials {
    /// As in the file of admin users.
    user: String,
    /// In plain.
    password: String,
}

/// What a person is told who has logged in.
#[derive(Serialize, ToSchema)]
pub(super) struct LoggedIn {
    /// As in the file of admin users.
    user: String,
    /// `viewer` or `operator`.
    role: &'static str,
    /// Goes into the header `X-CSRF-Token` of each request that changes something; empty for whoever shows a key instead.
    csrf_token: String,
}

/// Log in with a name and a password. The answer sets a cookie for the requests that follow.
#[utoipa::path(
    post, path = "/api/v1/login", tag = "access", security(()), request_body = Credentials,
    responses(
        (status = 200, description = "done", body = LoggedIn),
        (status = 400, description = "no name and password in JSON", body = HttpProblem, content_type = "application/problem+json"),
        (status = 401, description = "wrong name or password", body = HttpProblem, content_type = "application/problem+json"),
        (status = 413, description = "its body is too long", body = HttpProblem, content_type = "application/problem+json"),
        (status = 429, description = "too many wrong passwords", body = HttpProblem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn log_in(
    State(state): State<Arc<AdminState>>,
    Extension(RequestOrigin { peer, is_secret, .. }): Extension<RequestOrigin>,
    headers: HeaderMap,
    JsonBody(Credentials { user, password }): JsonBody<Credentials>,
) -> Result<Response, HttpProblem> {
    if let Some(seconds) = state.with_logins(|logins| logins.wait_s(Instant::now(), peer.ip())) {
        return Err(HttpProblem::too_many(seconds));
    }
    // It counts as wrong until it is known to be right: many at once are many tries.
    state.with_logins(|logins| logins.tried(Instant::now(), peer.ip(), false));
    let check = state.users().as_ref().and_then(|users| users.check(&user));
    let is_first = !state.has_users_file();
    if is_first && !state.first_password.is_good(Instant::now()) {
        state.count_refused_login();
        log::event::admin_login_failed(&user, &peer);
        return Err(HttpProblem::unauthorized(
            "the password in the log was good for one login and for an hour: `dunlin ctl password` makes another",
        ));
    }
    let proven = match check {
        Some(check) => {
            let hashed = move || check.run(password.as_bytes(), &mut HashMemory::default());
            tokio::task::spawn_blocking(hashed).await.ok().flatten()
        }
        None => None,
    };
    let is_late = is_first && proven.is_some() && !state.first_password.spend(Instant::now());
    let Some(proven) = proven.filter(|_| !is_late) else {
        state.count_refused_login();
        log::event::admin_login_failed(&user, &peer);
        return Err(HttpProblem::unauthorized("wrong name or password"));
    };
    let mut random = [[0; 32]; 2];
    for bytes in &mut random {
        let no_random = |_| HttpProblem::new(StatusCode::SERVICE_UNAVAILABLE, "the system gives no random numbers");
        aws_lc_rs::rand::fill(bytes).map_err(no_random)?;
    }
    let now = Instant::now();
    let login = state.with_logins(|logins| {
        logins.tried(now, peer.ip(), true);
        logins.begin(now, &proven, &random)
    });
    let identity = proven.identity;
    log::event::admin_action(&identity.name, &peer, ("login", ""), None);
    let body = LoggedIn { user: identity.name.into(), role: identity.role.name(), csrf_token: login.csrf_token.into() };
    Ok(([(header::SET_COOKIE, cookie(&headers, login.token, is_secret).to_string())], Json(body)).into_response())
}

/// Say who asks. For a page that is loaded again, and has lost the login's token.
#[utoipa::path(
    get, path = "/api/v1/login", tag = "access", security(()),
    responses(
        (status = 200, description = "done", body = LoggedIn),
        (status = 204, description = "nobody known"),
    )
)]
pub(super) async fn show_login(State(state): State<Arc<AdminState>>, parts: Parts) -> Response {
    let Ok(identity) = identify(&parts, &state) else { return StatusCode::NO_CONTENT.into_response() };
    let token = token(&parts.headers);
    let login = token.and_then(|token| state.with_logins(|logins| logins.find(Instant::now(), &token)));
    let csrf_token = login.map(|login| login.csrf_token.into()).unwrap_or_default();
    Json(LoggedIn { user: identity.name.into(), role: identity.role.name(), csrf_token }).into_response()
}

/// End the login.
#[utoipa::path(
    post, path = "/api/v1/logout", tag = "access",
    responses(
        (status = 204, description = "the login has ended"),
        (status = 401, description = "nobody known", body = HttpProblem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn log_out(
    State(state): State<Arc<AdminState>>,
    Extension(RequestOrigin { is_secret, .. }): Extension<RequestOrigin>,
    _: Viewer,
    headers: HeaderMap,
) -> impl IntoResponse {
    if let Some(token) = token(&headers) {
        state.with_logins(|logins| logins.end(&token));
    }
    let mut ended = cookie(&headers, String::new(), is_secret);
    ended.make_removal();
    (StatusCode::NO_CONTENT, [(header::SET_COOKIE, ended.to_string())])
}

/// No script reads it, no other site sends it, and where it came in TLS no browser sends it in plain.
fn cookie(headers: &HeaderMap, token: String, is_secret: bool) -> Cookie<'static> {
    Cookie::build((cookie_name(headers), token))
        .http_only(true)
        .same_site(SameSite::Strict)
        .secure(is_secret)
        .path("/")
        .build()
}

/// A password that was made.
#[derive(Serialize, ToSchema)]
pub(super) struct NewPassword {
    /// Whom it is for.
    user: &'static str,
    /// In plain: it is shown this once.
    password: String,
    /// How long it may be shown, in seconds.
    valid_s: u64,
}

/// Make a password for one login of the user `admin`, where no file says who may use the API. The one before is void, and its login ends.
#[utoipa::path(
    post, path = "/api/v1/password", tag = "access",
    responses(
        (status = 200, description = "done", body = NewPassword),
        (status = 409, description = "a file says who may", body = HttpProblem, content_type = "application/problem+json"),
        ChangeProblems,
    )
)]
pub(super) async fn make_password(
    State(state): State<Arc<AdminState>>,
    operator: Operator,
) -> Result<Json<NewPassword>, HttpProblem> {
    if state.has_users_file() {
        let text = "a file says who may use the API: `dunlin passwd --admin` changes it";
        return Err(HttpProblem::new(StatusCode::CONFLICT, text));
    }
    operator.note("password", FIRST_USER);
    let mut random = [0; 16];
    let no_random = |_| HttpProblem::new(StatusCode::SERVICE_UNAVAILABLE, "the system gives no random numbers");
    aws_lc_rs::rand::fill(&mut random).map_err(no_random)?;
    let password = state.first_password.make(Instant::now(), random);
    Ok(Json(NewPassword { user: FIRST_USER, password, valid_s: ADMIN_FIRST_PASSWORD_S }))
}
