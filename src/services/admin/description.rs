//! The routes, and their description as `OpenAPI`, made of the same functions.

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router, middleware};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt as _};
use utoipa_axum::routes;

use super::bridges::BridgeView;
use super::problem::HttpProblem;
use super::sinks::SinkView;
use super::sources::SourceView;
use super::state::AdminState;
use super::{
    access, bans, broker, certificates, client_by_query, clients, connectors, dashboard, draining, health, history,
    hosts, listeners, log_lines, messages, metrics, sinks, subscriptions, tail, traces, traffic,
};
use crate::limits::{ADMIN_BATCH_MAX_BYTES, ADMIN_BODY_MAX_BYTES, ADMIN_LOGIN_MAX_BYTES};

/// What the description says beside the routes.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "dunlin admin API",
        description = "Clients, messages, settings and health of one broker. Programs show an API key (`Authorization: Bearer KEY`), \
                       people log in and send the cookie, with the header X-CSRF-Token where something is changed. Problems are \
                       application/problem+json (RFC 9457).",
    ),
    components(schemas(HttpProblem, BridgeView, SinkView, SourceView)),
    modifiers(&Schemes),
    security(("key" = []), ("cookie" = [])),
    tags(
        (name = "access", description = "Logging in and out"),
        (name = "broker", description = "The broker as a whole"),
        (name = "clients", description = "Clients and their sessions"),
        (name = "subscriptions", description = "Who is subscribed to what"),
        (name = "operation", description = "Listeners, bridges, bans, traces, and emptying the broker"),
        (name = "traffic", description = "What is counted while somebody looks"),
        (name = "messages", description = "Publishing, and retained messages"),
        (name = "sinks", description = "Other systems that messages go to"),
        (name = "sources", description = "Other systems that messages come from"),
        (name = "health", description = "For orchestrators and monitoring"),
    )
)]
struct Description;

/// How whoever asks says who it is.
struct Schemes;

impl Modify for Schemes {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        let key = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        components.add_security_scheme("key", SecurityScheme::Http(key));
        let cookie = ApiKey::Cookie(ApiKeyValue::with_description(
            "dunlin_admin_18083",
            "with the port of the request's Host; without one the name is dunlin_admin",
        ));
        components.add_security_scheme("cookie", SecurityScheme::ApiKey(cookie));
    }
}

/// All routes.
pub(super) fn router(state: Arc<AdminState>) -> Router {
    let (router, _) = described().split_for_parts();
    dashboard::routes(router)
        // Made whenever somebody wants it: it is large, and hardly ever wanted.
        .route("/api/v1/openapi.json", get(|| async { Json(described().into_openapi()) }))
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(DefaultBodyLimit::max(ADMIN_BODY_MAX_BYTES))
        .layer(middleware::from_fn_with_state(Arc::clone(&state), hosts::check))
        .layer(middleware::map_response(with_headers))
        .with_state(state)
}

/// The description alone.
#[cfg(test)]
pub(super) fn openapi() -> utoipa::openapi::OpenApi {
    described().into_openapi()
}

fn described() -> OpenApiRouter<Arc<AdminState>> {
    let router = OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(access::log_in, access::show_login).layer(DefaultBodyLimit::max(ADMIN_LOGIN_MAX_BYTES)))
        .routes(routes!(access::log_out))
        .routes(routes!(access::make_password))
        .routes(routes!(broker::overview))
        .routes(routes!(history::show))
        .routes(routes!(broker::settings))
        .routes(routes!(broker::reload))
        .routes(routes!(clients::list))
        .routes(routes!(clients::describe, clients::disconnect))
        .routes(routes!(clients::subscriptions))
        .routes(routes!(client_by_query::describe_by_query, client_by_query::close_by_query))
        .routes(routes!(client_by_query::filters_by_query))
        .routes(routes!(subscriptions::list))
        .routes(routes!(subscriptions::groups))
        .routes(routes!(traffic::top))
        .routes(routes!(traffic::topics))
        .routes(routes!(listeners::list))
        .routes(routes!(certificates::list))
        .routes(routes!(log_lines::list))
        .routes(routes!(listeners::stop))
        .routes(routes!(listeners::start))
        .routes(routes!(bans::list, bans::add, bans::remove))
        .routes(routes!(draining::begin, draining::show, draining::end))
        .routes(routes!(traces::list, traces::to_log))
        .routes(routes!(traces::live))
        .routes(routes!(traces::remove))
        .routes(routes!(messages::publish))
        .routes(routes!(messages::publish_batch).layer(DefaultBodyLimit::max(ADMIN_BATCH_MAX_BYTES)))
        .routes(routes!(sinks::try_one))
        .routes(routes!(tail::live))
        .routes(routes!(messages::list_retained, messages::delete_retained))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(metrics::metrics));
    connectors::calls().fold(router, OpenApiRouter::routes)
}

async fn no_route(uri: Uri) -> HttpProblem {
    HttpProblem::not_found(&format!("there is no {}; /api/v1/openapi.json describes what there is", uri.path()))
}

async fn no_method(method: Method, uri: Uri) -> HttpProblem {
    HttpProblem::new(StatusCode::METHOD_NOT_ALLOWED, format!("{} is not asked by {method}", uri.path()))
}

/// What every answer says to browsers: keep nothing, guess nothing, show it in no frame. The dashboard's files say otherwise for themselves.
async fn with_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_says_who_may_ask_and_what_goes_wrong() {
        let (_, description) = described().split_for_parts();
        let description = serde_json::to_value(&description).unwrap();
        let paths = description["paths"].as_object().unwrap();
        assert!(paths.len() >= 11, "{:?}", paths.keys());
        let mut names = std::collections::BTreeSet::new();
        for (path, operations) in paths {
            for (method, operation) in operations.as_object().unwrap() {
                let responses = operation["responses"].as_object().unwrap();
                let is_open = operation["security"].as_array().is_some_and(|all| all.contains(&serde_json::json!({})));
                assert!(is_open || responses.contains_key("401"), "{method} {path}");
                let name = operation["operationId"].as_str().unwrap().to_owned();
                assert!(names.insert(name), "{method} {path}: another call is called {}", operation["operationId"]);
                let described = |response: &serde_json::Value| {
                    response["description"].as_str().is_some_and(|text| !text.is_empty())
                };
                assert!(responses.values().all(described), "{method} {path}: {responses:?}");
                let changes = method != "get" && !path.contains("/log");
                assert_eq!(changes, responses.contains_key("403"), "{method} {path} is for operators");
                assert!(!operation["summary"].as_str().unwrap_or_default().is_empty(), "{method} {path}");
            }
        }
    }
}
