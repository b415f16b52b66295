//! `dunlin ctl`: the admin API from the command line.
//!
//! Owns: its arguments, and which request each command is.
//! Always holds: what a client could choose (ids, topics, payloads) is shown as text, control characters escaped; `--json` is what
//! the API answered, unchanged but for pages, which are put together.
//! Leaves to others: requests (`api`, and `way` beside this module), how answers look (`table`), what changes how the broker serves (`operate`).

#![allow(clippy::doc_markdown, reason = "what explains an option is shown on terminals, as it stands")]

mod api;
mod operate;
mod table;

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use serde_json::{Value, json};

use super::way::is_closed_to_us;
use crate::config::Exit;
use api::{Api, ApiError, ServerPlace};
use operate::OperateCommand;

/// Asks a running broker, by its admin server
#[derive(Debug, Parser)]
#[command(name = "dunlin ctl", bin_name = "dunlin ctl", max_term_width = 100)]
pub(super) struct CtlArguments {
    /// Where the admin server is, if not at http://127.0.0.1:18083
    #[arg(long, env = "DUNLIN_CTL_URL", global = true)]
    url: Option<String>,

    /// The path at which it listens, where root and the broker's user need no key; /run/dunlin/admin.sock where that is there and no URL is given, and whoever has a key need not be one of them
    #[arg(long, value_name = "PATH", env = "DUNLIN_CTL_SOCKET", global = true)]
    socket: Option<PathBuf>,

    /// A file that holds an API key, as `dunlin passwd --admin --api-key` prints it; the variable DUNLIN_CTL_KEY is the key itself
    #[arg(long, value_name = "FILE", env = "DUNLIN_CTL_KEY_FILE", global = true)]
    key_file: Option<PathBuf>,

    /// Authorities whose certificates an https URL may have, in PEM; without it those that the system trusts
    #[arg(long, value_name = "FILE", env = "DUNLIN_CTL_CAFILE", global = true)]
    cafile: Option<PathBuf>,

    /// Print JSON, as the API answers it
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    command: CtlCommand,
}

#[derive(Debug, Subcommand)]
enum CtlCommand {
    /// What the broker holds, in a few numbers
    Status,
    /// Lists clients
    Clients(ClientsArguments),
    /// What one client holds, and what it is subscribed to
    Client {
        /// As it said it in CONNECT, or was given
        client_id: String,
    },
    /// Closes a client's connection
    Kick {
        /// As it said it in CONNECT, or was given
        client_id: String,
        /// End its session, too: subscriptions and queue go, its will is published
        #[arg(long)]
        end_session: bool,
        /// Why: it is told to a client of MQTT 5.0, and to the log
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Lists subscriptions, all or some
    Subscriptions(SubscriptionsArguments),
    /// Lists shared subscriptions, or the members of one
    Groups {
        /// As in $share/name/filter: its members, with what each was picked for while that is counted
        group: Option<String>,
    },
    /// The first clients in some order
    Top {
        /// What they are put in the order of; messages, bytes and drops are counted from the first question on
        #[arg(value_parser = TOP_ORDERS)]
        by: String,
        /// How many
        #[arg(long, default_value = "10")]
        limit: u16,
    },
    /// Topics that clients publish on, counted from the first question on
    Topics {
        /// What they are put in the order of
        #[arg(default_value = "messages", value_parser = ["messages", "bytes", "last"])]
        by: String,
        /// How many
        #[arg(long, default_value = "10")]
        limit: u16,
    },
    /// Publishes a message
    Publish(PublishArguments),
    /// Lists retained messages
    Retained {
        /// A topic filter
        #[arg(default_value = "#")]
        filter: String,
    },
    /// Deletes retained messages
    DeleteRetained {
        /// A topic filter
        filter: String,
    },
    /// Makes a password for one login of the user admin, where no file names users
    Password,
    /// The settings in effect
    Settings {
        /// Only those whose name holds this text
        #[arg(default_value = "")]
        text: String,
    },
    /// Reads the configuration again, as at SIGHUP
    Reload,
    /// What changes how the broker serves
    #[command(flatten)]
    Operate(OperateCommand),
}

/// What the API calls them, with - in place of _.
const TOP_ORDERS: [&str; 10] = [
    "messages-received",
    "messages-sent",
    "bytes-received",
    "bytes-sent",
    "dropped",
    "queued",
    "queued-bytes",
    "queue-age",
    "in-flight",
    "ack-age",
];

#[derive(Debug, Args)]
struct SubscriptionsArguments {
    /// Only those to this filter
    #[arg(long, conflicts_with = "topic")]
    filter: Option<String>,
    /// Only those that match this topic
    #[arg(long)]
    topic: Option<String>,
    /// Most of them; 0 is all
    #[arg(long, default_value = "100")]
    limit: usize,
}

#[derive(Debug, Args)]
struct ClientsArguments {
    /// What their client ids begin with
    #[arg(long, default_value = "")]
    prefix: String,
    /// What stands in their client ids
    #[arg(long)]
    contains: Option<String>,
    /// The user that somebody has verified
    #[arg(long)]
    user: Option<String>,
    /// An address or a network that they come from
    #[arg(long)]
    address: Option<String>,
    /// Only those that are connected
    #[arg(long, conflicts_with = "disconnected")]
    connected: bool,
    /// Only those that are not
    #[arg(long)]
    disconnected: bool,
    /// Most of them; 0 is all
    #[arg(long, default_value = "100")]
    limit: usize,
}

#[derive(Debug, Args)]
struct PublishArguments {
    /// Its topic name
    topic: String,
    /// Its payload; - is read from standard input
    #[arg(default_value = "")]
    payload: String,
    /// Its QoS
    #[arg(short, long, default_value = "0", value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: u8,
    /// Make it its topic's retained message
    #[arg(short, long)]
    retain: bool,
}

/// Runs it; the first argument is `ctl` itself.
pub(super) fn run(arguments: &[OsString]) -> Exit {
    let arguments = match CtlArguments::command().try_get_matches_from(arguments).and_then(|matches| parse(&matches)) {
        Ok(arguments) => arguments,
        Err(error) => return super::usage(&error),
    };
    match key(&arguments).and_then(|key| run_with(&arguments, key)) {
        Ok(()) => Exit::Ok,
        Err(error) => {
            drop(writeln!(io::stderr(), "dunlin ctl: {error}"));
            Exit::TestFailed
        }
    }
}

/// `dunlin sink test NAME` is `dunlin ctl test-sink NAME`; the first argument is `sink` itself.
pub(super) fn run_sink(arguments: &[OsString]) -> Exit {
    let is_test = arguments.get(1).is_some_and(|verb| verb == "test");
    let rest = arguments.get(2..).unwrap_or_default().iter().cloned();
    let words = if is_test { ["ctl", "test-sink"] } else { ["ctl", "help"] };
    let words = words.into_iter().map(OsString::from);
    if is_test {
        run(&words.chain(rest).collect::<Vec<_>>())
    } else {
        run(&words.chain(["test-sink".into()]).collect::<Vec<_>>())
    }
}

/// There is one place of the admin server: a flag counts for more than a variable, and two of a kind are a mistake.
fn parse(matches: &ArgMatches) -> Result<CtlArguments, clap::Error> {
    let mut arguments = CtlArguments::from_arg_matches(matches)?;
    let is_flag = |name: &str| matches.value_source(name) == Some(ValueSource::CommandLine);
    match (arguments.url.is_some() && arguments.socket.is_some(), is_flag("url"), is_flag("socket")) {
        (false, ..) => {}
        (true, true, false) => arguments.socket = None,
        (true, false, true) => arguments.url = None,
        (true, true, true) => return Err(both("--url and --socket")),
        (true, false, false) => return Err(both("DUNLIN_CTL_URL and DUNLIN_CTL_SOCKET")),
    }
    Ok(arguments)
}

fn both(names: &str) -> clap::Error {
    let text = format!("{names} cannot be used together: each says where the admin server is");
    CtlArguments::command().error(ErrorKind::ArgumentConflict, text)
}

/// Where systemd has the broker's directory for such things, and where the container image has its volume.
const USUAL_SOCKETS: [&str; 2] = ["/run/dunlin/admin.sock", "/var/lib/dunlin/admin.sock"];
const USUAL_URL: &str = "http://127.0.0.1:18083";

fn run_with(arguments: &CtlArguments, key: Option<String>) -> Result<(), ApiError> {
    let usual = USUAL_SOCKETS.iter().map(Path::new).find(|path| path.exists());
    // Who has a key need not be root. Without one the path says what is missing.
    let usual = usual.filter(|path| key.is_none() || !is_closed_to_us(path));
    let place = match (&arguments.url, arguments.socket.as_deref().or(usual)) {
        (Some(url), _) => ServerPlace::Url(url, arguments.cafile.as_deref()),
        (None, Some(path)) => ServerPlace::Path(path),
        (None, None) => ServerPlace::Url(USUAL_URL, arguments.cafile.as_deref()),
    };
    if let CtlCommand::Operate(OperateCommand::Trace(trace)) = &arguments.command
        && !trace.log
    {
        let api = Api::new(&place, key, Duration::from_secs(trace.seconds.into()))?;
        return operate::live(&api, trace, arguments.json);
    }
    let api = Api::new(&place, key, Duration::ZERO)?;
    show(&answer(arguments, &api)?)
}

fn show(text: &str) -> Result<(), ApiError> {
    match io::stdout().write_all(text.as_bytes()) {
        // A pager that was closed early is no failure.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(ApiError::Output(error)),
        _ => Ok(()),
    }
}

fn key(arguments: &CtlArguments) -> Result<Option<String>, ApiError> {
    if let Some(path) = &arguments.key_file {
        let text = fs::read_to_string(path).map_err(|error| ApiError::KeyFile { path: path.clone(), error })?;
        return Ok(Some(text.trim().to_owned()));
    }
    Ok(std::env::var("DUNLIN_CTL_KEY").ok())
}

/// What is printed.
fn answer(arguments: &CtlArguments, api: &Api) -> Result<String, ApiError> {
    let shown = |value: &Value, table: fn(&Value) -> String| match arguments.json {
        // Where there is nothing to say, programs look at the status.
        true if value.is_null() => String::new(),
        true => format!("{value:#}\n"),
        false => table(value),
    };
    Ok(match &arguments.command {
        CtlCommand::Status => shown(&api.get("/api/v1/overview", &[])?, table::fields),
        CtlCommand::Clients(wanted) => shown(&clients(api, wanted)?, table::clients),
        CtlCommand::Client { client_id } => {
            let mut client = api.get("/api/v1/client", &[("client_id", client_id)])?;
            let filters =
                api.pages("/api/v1/client/subscriptions", &[("client_id", client_id)], ("filters", "skip"), 0)?;
            client["filters"] = filters;
            shown(&client, table::fields)
        }
        CtlCommand::Kick { client_id, end_session, reason } => {
            let end_session = end_session.to_string();
            let mut query = vec![("client_id", client_id.as_str()), ("end_session", &end_session)];
            query.extend(reason.as_deref().map(|reason| ("reason", reason)));
            shown(&api.delete("/api/v1/client", &query)?, table::done)
        }
        CtlCommand::Subscriptions(wanted) => shown(&subscriptions(api, wanted)?, table::subscriptions),
        CtlCommand::Groups { group: None } => {
            shown(&api.pages("/api/v1/groups", &[], ("groups", "cursor"), 0)?, table::groups)
        }
        CtlCommand::Groups { group: Some(group) } => {
            let members = api.pages("/api/v1/subscriptions", &[("filter", group)], ("subscriptions", "cursor"), 0)?;
            shown(&members, table::members)
        }
        CtlCommand::Top { by, limit } => {
            let query = [("by", &*by.replace('-', "_")), ("limit", &*limit.to_string())];
            let is_counted = by.starts_with("messages") || by.starts_with("bytes") || by == "dropped";
            shown(&api.get("/api/v1/top", &query)?, if is_counted { table::top_counted } else { table::top })
        }
        CtlCommand::Topics { by, limit } => {
            shown(&api.get("/api/v1/topics", &[("by", by), ("limit", &limit.to_string())])?, table::topics)
        }
        CtlCommand::Password => shown(&api.post("/api/v1/password", &json!({}))?, table::fields),
        CtlCommand::Publish(message) => shown(&publish(api, message)?, table::published),
        CtlCommand::Retained { filter } => {
            let list = api.pages("/api/v1/retained", &[("filter", filter)], ("messages", "cursor"), 0)?;
            shown(&list, table::retained)
        }
        CtlCommand::DeleteRetained { filter } => {
            shown(&api.delete("/api/v1/retained", &[("filter", filter)])?, table::fields)
        }
        CtlCommand::Settings { text } => {
            let all = api.get("/api/v1/settings", &[])?;
            let has = |setting: &&Value| setting["name"].as_str().is_some_and(|name| name.contains(text.as_str()));
            let some: Vec<Value> = all.as_array().into_iter().flatten().filter(has).cloned().collect();
            shown(&Value::Array(some), table::settings)
        }
        CtlCommand::Operate(command) => {
            let (value, table) = operate::answer(api, command)?;
            shown(&value, table)
        }
        CtlCommand::Reload => shown(&api.post("/api/v1/reload", &json!({}))?, table::reloaded),
    })
}

fn subscriptions(api: &Api, wanted: &SubscriptionsArguments) -> Result<Value, ApiError> {
    let filter = wanted.filter.as_deref().map(|filter| ("filter", filter));
    let topic = wanted.topic.as_deref().map(|topic| ("topic", topic));
    let query: Vec<_> = filter.into_iter().chain(topic).collect();
    api.pages("/api/v1/subscriptions", &query, ("subscriptions", "cursor"), wanted.limit)
}

fn clients(api: &Api, wanted: &ClientsArguments) -> Result<Value, ApiError> {
    let mut query = vec![("prefix", wanted.prefix.as_str())];
    query.extend(wanted.contains.as_deref().map(|part| ("contains", part)));
    query.extend(wanted.user.as_deref().map(|user| ("user", user)));
    query.extend(wanted.address.as_deref().map(|address| ("address", address)));
    if wanted.connected || wanted.disconnected {
        query.push(("connected", if wanted.connected { "true" } else { "false" }));
    }
    api.pages("/api/v1/clients", &query, ("clients", "cursor"), wanted.limit)
}

fn publish(api: &Api, message: &PublishArguments) -> Result<Value, ApiError> {
    let PublishArguments { topic, payload, qos, retain } = message;
    let mut bytes = payload.clone().into_bytes();
    if payload == "-" {
        bytes.clear();
        io::stdin().lock().read_to_end(&mut bytes).map_err(ApiError::Input)?;
    }
    let body = json!({"topic": topic, "payload_base64": STANDARD.encode(&bytes), "qos": qos, "retain": retain});
    api.post("/api/v1/publish", &body)
}
