//! Commands that change how the broker serves: listeners, bridges, bans, emptying it; and traces.

#![allow(clippy::doc_markdown, reason = "what explains an option is shown on terminals, as it stands")]

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::api::{self, Api, ApiError};
use super::{show, table};

#[derive(Debug, Subcommand)]
pub(super) enum OperateCommand {
    /// Lists the broker's listeners
    Listeners,
    /// Stops accepting by a listener; who came by it stays connected
    StopListener {
        /// As the list of listeners has it
        name: String,
    },
    /// Accepts by a listener again
    StartListener {
        /// As the list of listeners has it
        name: String,
    },
    /// Lists bridges to other brokers
    Bridges,
    /// What one bridge does
    Bridge {
        /// As the list of bridges has it
        name: String,
    },
    /// Stops a bridge; what is for it waits
    StopBridge {
        /// As the list of bridges has it
        name: String,
    },
    /// Starts a bridge again
    StartBridge {
        /// As the list of bridges has it
        name: String,
    },
    /// Lists bans
    Bans,
    /// Bans a client id or a network
    Ban(BanArguments),
    /// Takes a ban out
    Unban(WhoArguments),
    /// Empties the broker: it is not ready, nobody comes in, and clients are asked to go
    Drain(DrainArguments),
    /// Tells how emptying the broker goes on
    DrainStatus,
    /// Lets clients in again
    Undrain,
    /// Shows what happens with a client, a topic or an address, as it happens
    Trace(TraceArguments),
    /// Lists sinks, with what waits for each
    Sinks,
    /// What one sink does
    Sink {
        /// As the configuration has it
        name: String,
    },
    /// Stops a sink; messages wait in its session
    PauseSink {
        /// As the configuration has it
        name: String,
    },
    /// Starts a sink that was paused
    ResumeSink {
        /// As the configuration has it
        name: String,
    },
    /// Sends one message through a sink's target; exits with 0 if the target has taken it
    TestSink(TestSinkArguments),
    /// Lists sources, with what has come by each
    Sources,
    /// What one source does
    Source {
        /// As the configuration has it
        name: String,
    },
    /// Stops a source; messages wait where it reads
    PauseSource {
        /// As the configuration has it
        name: String,
    },
    /// Starts a source that was paused
    ResumeSource {
        /// As the configuration has it
        name: String,
    },
    /// Lists the traces that go on
    Traces,
    /// Ends one of them before its time
    EndTrace {
        /// As the list has it
        id: u64,
    },
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct WhoArguments {
    /// Whoever says this client id
    #[arg(long)]
    client_id: Option<String>,
    /// Whoever comes from this address or network
    #[arg(long)]
    network: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct BanArguments {
    #[command(flatten)]
    who: WhoArguments,
    /// How long; without it until it is taken out, or, with --storage memory, as long as the broker runs
    #[arg(long)]
    seconds: Option<u32>,
    /// Why, for whoever reads the list
    #[arg(long, default_value = "")]
    reason: String,
    /// Leave those alone who are connected
    #[arg(long)]
    stay: bool,
}

#[derive(Debug, Args)]
pub(super) struct DrainArguments {
    /// Clients that are asked to go, a second
    #[arg(long, default_value = "1000")]
    rate: u32,
    /// What MQTT 5.0 clients are told to use instead
    #[arg(long, value_name = "HOST:PORT")]
    server: Option<String>,
    /// Time between saying that it is not ready and the rest, in seconds
    #[arg(long, default_value = "0")]
    wait: u32,
}

#[derive(Debug, Args)]
pub(super) struct TraceArguments {
    #[command(flatten)]
    of: TracedArguments,
    /// connections, packets (with subscriptions and refusals) or messages (with each PUBLISH, without payloads)
    #[arg(long, default_value = "messages", value_parser = ["connections", "packets", "messages"])]
    detail: String,
    /// How long
    #[arg(long, default_value = "60")]
    pub(super) seconds: u32,
    /// Tell the broker's log instead, and come back at once
    #[arg(long)]
    pub(super) log: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct TracedArguments {
    /// Of this client alone
    #[arg(long)]
    client_id: Option<String>,
    /// On topics that this filter matches
    #[arg(long)]
    topic: Option<String>,
    /// Of whoever comes from this address or network
    #[arg(long)]
    address: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct TestSinkArguments {
    /// As the configuration has it
    name: String,
    /// The topic of the message
    #[arg(long, default_value = "dunlin/sink-test")]
    topic: String,
    /// What it holds, as text
    #[arg(long, default_value = r#"{"test":true}"#)]
    payload: String,
}

impl WhoArguments {
    fn pairs(&self) -> Vec<(&'static str, &str)> {
        let id = self.client_id.as_deref().map(|id| ("client_id", id));
        id.into_iter().chain(self.network.as_deref().map(|network| ("network", network))).collect()
    }
}

impl TraceArguments {
    fn pairs(&self) -> Vec<(&'static str, &str)> {
        let TracedArguments { client_id, topic, address } = &self.of;
        let given = [("client_id", client_id), ("topic", topic), ("address", address)];
        let given = given.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
        given.chain([("detail", self.detail.as_str())]).collect()
    }
}

/// How an answer is shown to people.
type Table = fn(&Value) -> String;

/// What the API answers, and as what people see it.
pub(super) fn answer(api: &Api, command: &OperateCommand) -> Result<(Value, Table), ApiError> {
    // What is listed by name, and can be stopped and started.
    let one = |kind: &str, name: &str| api.get(&api::path(&[kind, name]), &[]);
    let set = |kind: &str, name: &str, verb: &str| api.post(&api::path(&[kind, name, verb]), &json!({}));
    Ok(match command {
        OperateCommand::Bridges => (api.get("/api/v1/bridges", &[])?, table::bridges),
        OperateCommand::Bridge { name } => (one("bridges", name)?, table::fields),
        OperateCommand::StopBridge { name } => (set("bridges", name, "stop")?, table::done),
        OperateCommand::StartBridge { name } => (set("bridges", name, "start")?, table::done),
        OperateCommand::Listeners => (api.get("/api/v1/listeners", &[])?, table::listeners),
        OperateCommand::StopListener { name } => (set("listeners", name, "stop")?, table::done),
        OperateCommand::StartListener { name } => (set("listeners", name, "start")?, table::done),
        OperateCommand::Bans => (api.get("/api/v1/bans", &[])?, table::bans),
        OperateCommand::Ban(ban) => {
            let mut body: Map<String, Value> =
                ban.who.pairs().into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
            body.extend(ban.seconds.map(|seconds| ("seconds".to_owned(), json!(seconds))));
            body.insert("reason".to_owned(), json!(ban.reason));
            body.insert("disconnect".to_owned(), json!(!ban.stay));
            (api.post("/api/v1/bans", &Value::Object(body))?, table::fields)
        }
        OperateCommand::Unban(who) => (api.delete("/api/v1/bans", &who.pairs())?, table::done),
        OperateCommand::Drain(DrainArguments { rate, server, wait }) => {
            let body = json!({"clients_per_s": rate, "server_reference": server, "wait_s": wait});
            (api.post("/api/v1/drain", &body)?, table::fields)
        }
        OperateCommand::DrainStatus => (api.get("/api/v1/drain", &[])?, table::fields),
        OperateCommand::Undrain => (api.delete("/api/v1/drain", &[])?, table::fields),
        OperateCommand::Trace(trace) => {
            let pairs = trace.pairs().into_iter().map(|(name, value)| (name.to_owned(), json!(value)));
            let body = pairs.chain([("seconds".to_owned(), json!(trace.seconds))]).collect();
            (api.post("/api/v1/traces", &Value::Object(body))?, table::fields)
        }
        OperateCommand::Sinks => (api.get("/api/v1/sinks", &[])?, table::sinks),
        OperateCommand::Sink { name } => (one("sinks", name)?, table::fields),
        OperateCommand::PauseSink { name } => (set("sinks", name, "pause")?, table::done),
        OperateCommand::ResumeSink { name } => (set("sinks", name, "resume")?, table::done),
        OperateCommand::Sources => (api.get("/api/v1/sources", &[])?, table::sources),
        OperateCommand::Source { name } => (one("sources", name)?, table::fields),
        OperateCommand::PauseSource { name } => (set("sources", name, "pause")?, table::done),
        OperateCommand::ResumeSource { name } => (set("sources", name, "resume")?, table::done),
        OperateCommand::TestSink(test) => (test_sink(api, test)?, table::fields),
        OperateCommand::Traces => (api.get("/api/v1/traces", &[])?, table::traces),
        OperateCommand::EndTrace { id } => (api.delete(&api::path(&["traces", &id.to_string()]), &[])?, table::done),
    })
}

/// What happened is an answer where the target has taken the message, and an error where it has not.
fn test_sink(api: &Api, test: &TestSinkArguments) -> Result<Value, ApiError> {
    let TestSinkArguments { name, topic, payload } = test;
    let body = json!({"topic": topic, "payload": payload});
    let answer = api.post(&api::path(&["sinks", name, "test"]), &body)?;
    if answer["outcome"] == "delivered" {
        return Ok(answer);
    }
    let outcome = answer["outcome"].as_str().unwrap_or("unknown").replace('_', " ");
    let reason =
        answer["reason"].as_str().map_or_else(String::new, |reason| format!(": {}", table::visible_text(reason)));
    Err(ApiError::NotDelivered(format!("{outcome}{reason}")))
}

/// Prints what a trace tells, line by line, until its time is over.
pub(super) fn live(api: &Api, trace: &TraceArguments, is_json: bool) -> Result<(), ApiError> {
    let seconds = trace.seconds.to_string();
    let mut query = trace.pairs();
    query.push(("seconds", &seconds));
    api.events("/api/v1/traces/live", &query, |event| {
        show(&if is_json { format!("{event}\n") } else { table::traced(event) })
    })
}
