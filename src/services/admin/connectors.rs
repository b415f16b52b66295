//! What bridges, sinks and sources have in common in the API: the calls that list, show, stop and start them.
//!
//! Always holds: a kind is a row of [`CALLS`], and a view of its own that is made of [`ConnectorFigures`].
//! Leaves to others: the fields of each view (`bridges`, `sinks`, `sources`), what a test of a sink shows (`sinks`).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{MethodRouter, get, post};
use serde::Serialize;
use utoipa::PartialSchema as _;
use utoipa::openapi::path::{HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn, PathItem, Paths};
use utoipa::openapi::schema::ArrayBuilder;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Required, Response, ResponseBuilder, ResponsesBuilder, Schema};
use utoipa_axum::router::UtoipaMethodRouter;

use super::access::{Operator, Viewer};
use super::asked::NameInPath;
use super::bridges::BridgeView;
use super::connector_figures::{ConnectorFigures, ConnectorQueue, none};
use super::problem::{ChangeProblems, HttpProblem, ReadProblems};
use super::sinks::SinkView;
use super::sources::SourceView;
use super::state::AdminState;
use crate::services::connectors::{ConnectorKind, ConnectorState};
use crate::shard::{Command, Reply};

/// All of a kind, in the order of their names.
pub(super) fn all(state: &AdminState, kind: ConnectorKind) -> Vec<Arc<ConnectorState>> {
    let mut known = state.connectors.registry().all();
    known.retain(|known| known.kind == kind);
    known
}

/// What is known of one, and what waits in its session, as its shard says; nothing where there is no session yet. None waits for a source.
async fn ask(state: &AdminState, connector: &ConnectorState) -> Result<ConnectorFigures, HttpProblem> {
    let mut figures = ConnectorFigures::of(connector);
    if connector.kind == ConnectorKind::Source {
        return Ok(figures);
    }
    let command = Command::DescribeClient { client_id: figures.client_id.as_str().into() };
    match state.shards.ask_owner(&command).await? {
        Reply::Client(client) => {
            figures.queue = ConnectorQueue {
                messages: u64::from(client.queued) + u64::from(client.in_flight),
                bytes: client.queued_bytes,
                oldest_ms: client.oldest_queued_ms,
                lost: client.lost,
            };
        }
        Reply::NotFound => {}
        other => return Err(HttpProblem::of_reply(&other)),
    }
    Ok(figures)
}

/// What is known of all of a kind, in the order of their names.
pub(super) async fn ask_all(state: &AdminState, kind: ConnectorKind) -> Result<Vec<ConnectorFigures>, HttpProblem> {
    let mut figures = Vec::new();
    for connector in all(state, kind) {
        figures.push(ask(state, &connector).await?);
    }
    Ok(figures)
}

/// As the API shows one.
#[derive(Serialize)]
#[serde(untagged)]
enum ConnectorView {
    Bridge(BridgeView),
    Sink(SinkView),
    Source(SourceView),
}

impl From<ConnectorFigures> for ConnectorView {
    fn from(figures: ConnectorFigures) -> Self {
        match figures.kind {
            ConnectorKind::Bridge => Self::Bridge(figures.into()),
            ConnectorKind::Sink => Self::Sink(figures.into()),
            ConnectorKind::Source => Self::Source(figures.into()),
        }
    }
}

/// The calls of a kind.
struct ConnectorCalls {
    kind: ConnectorKind,
    /// Behind `/api/v1/`.
    path: &'static str,
    tag: &'static str,
    /// The name of its view in the description.
    view: &'static str,
    /// What the list is.
    list: &'static str,
    /// What one is.
    one: &'static str,
    stop: TurnCall,
    start: TurnCall,
}

/// A call that stops or starts one.
struct TurnCall {
    /// Behind its name.
    path: &'static str,
    /// In the description, and in the log of what operators do.
    id: &'static str,
    text: &'static str,
    is_to_run: bool,
}

const fn stop(path: &'static str, id: &'static str, text: &'static str) -> TurnCall {
    TurnCall { path, id, text, is_to_run: false }
}

const fn start(path: &'static str, id: &'static str, text: &'static str) -> TurnCall {
    TurnCall { path, id, text, is_to_run: true }
}

const CALLS: &[ConnectorCalls] = &[
    ConnectorCalls {
        kind: ConnectorKind::Bridge,
        path: "bridges",
        tag: "operation",
        view: "BridgeView",
        list: "The bridges, in the order of their names.",
        one: "One bridge.",
        stop: stop(
            "stop",
            "stop_bridge",
            "Stop a bridge: both its connections end, and what is for it waits in its session.",
        ),
        start: start("start", "start_bridge", "Start a bridge that was stopped, or that was to connect once."),
    },
    ConnectorCalls {
        kind: ConnectorKind::Sink,
        path: "sinks",
        tag: "sinks",
        view: "SinkView",
        list: "The sinks, in the order of their names.",
        one: "One sink.",
        stop: stop(
            "pause",
            "pause_sink",
            "Stop a sink until it is resumed or the broker starts again. Messages wait in its session, for as long as that lives without it.",
        ),
        start: start("resume", "resume_sink", "Start a sink that was paused."),
    },
    ConnectorCalls {
        kind: ConnectorKind::Source,
        path: "sources",
        tag: "sources",
        view: "SourceView",
        list: "The sources, in the order of their names.",
        one: "One source.",
        stop: stop(
            "pause",
            "pause_source",
            "Stop a source until it is resumed or the broker starts again. Messages wait where it reads, for as long as they are kept there.",
        ),
        start: start("resume", "resume_source", "Start a source that was paused."),
    },
];

/// A call with its description.
type DescribedCall = UtoipaMethodRouter<Arc<AdminState>>;

/// The calls of all kinds.
pub(super) fn calls() -> impl Iterator<Item = DescribedCall> {
    CALLS.iter().flat_map(|of| [of.list_call(), of.one_call(), of.turn_call(&of.stop), of.turn_call(&of.start)])
}

impl ConnectorCalls {
    async fn list(&self, state: &AdminState) -> Result<Json<Vec<ConnectorView>>, HttpProblem> {
        let figures = ask_all(state, self.kind).await?;
        Ok(Json(figures.into_iter().map(ConnectorView::from).collect()))
    }

    async fn one(&self, state: &AdminState, name: &str) -> Result<Json<ConnectorView>, HttpProblem> {
        let connector = state.connectors.registry().get(self.kind, name).ok_or_else(|| none(self.kind))?;
        ask(state, &connector).await.map(|figures| Json(figures.into()))
    }

    fn turn(
        &self,
        state: &AdminState,
        operator: &Operator,
        name: &str,
        call: &TurnCall,
    ) -> Result<StatusCode, HttpProblem> {
        if !state.connectors.run(self.kind, name, call.is_to_run) {
            return Err(none(self.kind));
        }
        operator.note(call.id, name);
        Ok(StatusCode::NO_CONTENT)
    }

    fn list_call(&'static self) -> DescribedCall {
        let handler =
            get(move |State(state): State<Arc<AdminState>>, _: Viewer| async move { self.list(&state).await });
        let views = ArrayBuilder::new().items(Ref::from_schema_name(self.view)).build();
        let operation = OperationBuilder::new().operation_id(Some(format!("list_{}", self.path)));
        let operation = operation.summary(Some(self.list)).responses(
            ResponsesBuilder::new()
                .response("200", done(views))
                .responses_from_into_responses::<ReadProblems>()
                .build(),
        );
        self.described((HttpMethod::Get, String::new()), operation, handler)
    }

    fn one_call(&'static self) -> DescribedCall {
        let handler =
            get(move |State(state): State<Arc<AdminState>>, _: Viewer, NameInPath(name): NameInPath| async move {
                self.one(&state, &name).await
            });
        let operation = OperationBuilder::new().operation_id(Some(self.kind.word())).summary(Some(self.one));
        let operation = operation.parameter(its_name()).responses(
            ResponsesBuilder::new()
                .response("200", done(Ref::from_schema_name(self.view)))
                .response("404", there_is_none())
                .responses_from_into_responses::<ReadProblems>()
                .build(),
        );
        self.described((HttpMethod::Get, "/{name}".to_owned()), operation, handler)
    }

    fn turn_call(&'static self, call: &'static TurnCall) -> DescribedCall {
        let handler = post(
            move |State(state): State<Arc<AdminState>>, operator: Operator, NameInPath(name): NameInPath| async move {
                self.turn(&state, &operator, &name, call)
            },
        );
        let what_comes = if call.is_to_run { "it starts" } else { "it stops" };
        let operation = OperationBuilder::new().operation_id(Some(call.id)).summary(Some(call.text));
        let operation = operation.parameter(its_name()).responses(
            ResponsesBuilder::new()
                .response("204", Response::new(what_comes))
                .response("404", there_is_none())
                .responses_from_into_responses::<ChangeProblems>()
                .build(),
        );
        self.described((HttpMethod::Post, format!("/{{name}}/{}", call.path)), operation, handler)
    }

    fn described(
        &self,
        (method, path): (HttpMethod, String),
        operation: OperationBuilder,
        handler: MethodRouter<Arc<AdminState>>,
    ) -> DescribedCall {
        let mut paths = Paths::new();
        let item = PathItem::new(method, operation.tag(self.tag));
        paths.paths.insert(format!("/api/v1/{}{path}", self.path), item);
        (Vec::new(), paths, handler)
    }
}

fn its_name() -> ParameterBuilder {
    let name = ParameterBuilder::new().name("name").parameter_in(ParameterIn::Path).required(Required::True);
    name.description(Some("its name, percent-encoded")).schema(Some(String::schema()))
}

fn done(schema: impl Into<RefOr<Schema>>) -> Response {
    let content = ContentBuilder::new().schema(Some(schema)).build();
    ResponseBuilder::new().description("done").content("application/json", content).build()
}

fn there_is_none() -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("HttpProblem"))).build();
    ResponseBuilder::new().description("there is none").content("application/problem+json", content).build()
}
