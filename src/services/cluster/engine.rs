//! One node's way to the engine, opened when the engine was found to be one that a cluster can rest on.
//!
//! Always holds: of servers only those are connected to that the operator has named; one that is silent for three pings is given up.
//! Leaves to others: how servers are judged (`engine_servers`), what is said by which connection (`ways`), what is stored there.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::jetstream::context::{AccountErrorKind, ContextBuilder};
use async_nats::jetstream::{Context, ErrorCode};
use async_nats::{Client, ConnectErrorKind, ConnectOptions};
use futures_util::StreamExt as _;
use tokio::time::{Instant, sleep, timeout_at};

use super::control_store::{self, ControlAnswer, ControlStore};
use super::engine_fault::EngineFault;
use super::engine_servers::EngineServers;
use super::ways::{EngineWays, WayPlaces, apart};
use crate::cluster::ControlPut;
use crate::config::cluster::EngineConfig;
use crate::config::targets::NatsLogin;
use crate::limits::{ENGINE_PING_MS, ENGINE_RETRY_MS, ENGINE_TIMEOUT_MS};
use crate::services::nats::{connect_options, words_of};

/// What a user of the system account asks all servers.
const SERVERS_QUESTION: &str = "$SYS.REQ.SERVER.PING.JSZ";
/// What a user of the cluster's account asks.
const ACCOUNT_QUESTION: &str = "$JS.API.INFO";

/// An engine that a cluster can rest on, and connections to two of its servers.
#[derive(Clone, Debug)]
pub struct Engine {
    ways: EngineWays,
    client: Client,
    context: Context,
    replicas: usize,
}

impl Engine {
    /// Opens it, again and again while waiting may help. `tell` is told each fault that is another than the one before.
    pub async fn reach(config: &EngineConfig, mut tell: impl FnMut(&EngineFault)) -> Result<Self, EngineFault> {
        let mut last = None;
        loop {
            match Self::open(config).await {
                Err(fault) if fault.may_pass() => {
                    if last.as_ref() != Some(&fault) {
                        tell(&fault);
                    }
                    last = Some(fault);
                }
                done => return done,
            }
            sleep(Duration::from_millis(ENGINE_RETRY_MS)).await;
        }
    }

    /// Connects by both logins, and asks each server what it is. The connection of the system account is closed then, and the second one of the cluster's is
    /// made.
    pub async fn open(config: &EngineConfig) -> Result<Self, EngineFault> {
        let places: Arc<Mutex<WayPlaces>> = Arc::default();
        let client = connect(config, None, apart(options(config, None).await?, &places, 0)).await?;
        let system = Some(&config.system);
        let system = connect(config, system, options(config, system).await?).await?;
        let servers = ask_servers(&system).await?;
        let replicas = servers.judge(config.server.servers.len())?;
        let timeout = Duration::from_millis(ENGINE_TIMEOUT_MS);
        let context = ContextBuilder::new().timeout(timeout).ack_timeout(timeout).build(client.clone());
        check_account(&context).await?;
        let second = apart(options(config, None).await?, &places, 1);
        let ways = EngineWays::new(client.clone(), second, &config.server.servers, &places).await;
        let ways = ways.map_err(|why| EngineFault::Unreachable { servers: config.server.servers.join(", "), why })?;
        Ok(Self { ways, client, context, replicas })
    }

    /// Replicas that each of its streams has: three, or one where it is a single server.
    pub const fn replicas(&self) -> usize {
        self.replicas
    }

    /// The first of its connections, by the login of the cluster's account.
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// The same, to `JetStream`.
    pub(super) const fn context(&self) -> &Context {
        &self.context
    }

    /// Both connections.
    pub(super) const fn ways(&self) -> &EngineWays {
        &self.ways
    }

    /// Stores a document of the control store, if its key has the revision that is expected. The engine takes each `name` once.
    pub async fn put(&self, put: &ControlPut, name: &str) -> ControlAnswer {
        control_store::put(&self.ways, put, name).await
    }

    /// Shows the control store, which is there, from the beginning.
    pub(super) fn show_control_store(&self) -> ControlStore {
        ControlStore::new(&self.ways)
    }
}

/// How each connection is made, by the login of the system account or by the cluster's own.
async fn options(config: &EngineConfig, system: Option<&NatsLogin>) -> Result<ConnectOptions, EngineFault> {
    let server = &config.server;
    let options = connect_options(server, system.unwrap_or(&server.login)).await.map_err(EngineFault::Files)?;
    Ok(options.ping_interval(Duration::from_millis(ENGINE_PING_MS)).ignore_discovered_servers())
}

/// Connects to one of the servers.
async fn connect(
    config: &EngineConfig,
    system: Option<&NatsLogin>,
    options: ConnectOptions,
) -> Result<Client, EngineFault> {
    let server = &config.server;
    options.connect(server.servers.as_slice()).await.map_err(|error| match (error.kind(), system) {
        (ConnectErrorKind::AuthorizationViolation, Some(_)) => EngineFault::LoginRefused {
            of: "its system account",
            settings: "--cluster-engine-system-user and --cluster-engine-system-password-file, or --cluster-engine-system-credentials",
        },
        (ConnectErrorKind::AuthorizationViolation, None) => EngineFault::LoginRefused {
            of: "the cluster",
            settings: "--cluster-engine-user and --cluster-engine-password-file, --cluster-engine-token-file or --cluster-engine-credentials",
        },
        _ => EngineFault::Unreachable { servers: server.servers.join(", "), why: words_of(&error) },
    })
}

/// Asks all servers what they are, until all have answered or time is up.
async fn ask_servers(system: &Client) -> Result<EngineServers, EngineFault> {
    let silent = |why: String| EngineFault::Silent { question: SERVERS_QUESTION, why };
    let deadline = Instant::now() + Duration::from_millis(ENGINE_TIMEOUT_MS);
    let inbox = system.new_inbox();
    let mut answers = system.subscribe(inbox.clone()).await.map_err(|error| silent(words_of(&error)))?;
    let asked = system.publish_with_reply(SERVERS_QUESTION, inbox, Vec::new().into()).await;
    asked.map_err(|error| silent(words_of(&error)))?;
    let mut servers = EngineServers::new(system.server_info().cluster.unwrap_or_default());
    while !servers.are_all() {
        let Ok(Some(answer)) = timeout_at(deadline, answers.next()).await else { break };
        if answer.status == Some(async_nats::StatusCode::NO_RESPONDERS) {
            return Err(EngineFault::NotOfSystem);
        }
        servers.take(&answer.payload);
    }
    Ok(servers)
}

/// Whether the cluster's account has `JetStream`.
async fn check_account(context: &Context) -> Result<(), EngineFault> {
    let question = ACCOUNT_QUESTION;
    let Err(error) = context.query_account().await else { return Ok(()) };
    Err(match error.kind() {
        AccountErrorKind::JetStream(error) => match error.error_code() {
            ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT => EngineFault::NoJetStream,
            ErrorCode::CLUSTER_NOT_AVAILABLE => EngineFault::Silent { question, why: error.to_string() },
            _ => EngineFault::Refused { question, why: error.to_string() },
        },
        AccountErrorKind::TimedOut | AccountErrorKind::JetStreamUnavailable | AccountErrorKind::Other => {
            EngineFault::Silent { question, why: words_of(&error) }
        }
    })
}
