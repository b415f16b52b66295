//! One node's way to the engine, opened when the engine was found to be one that a cluster can rest on.
//!
//! Always holds: of servers only those are connected to that the operator has named; one that is silent for three pings is given up.
//! Leaves to others: how servers are judged (`engine_servers`), what is stored there.

use std::time::Duration;

use async_nats::jetstream::context::{AccountErrorKind, ContextBuilder};
use async_nats::jetstream::{Context, ErrorCode};
use async_nats::{Client, ConnectErrorKind};
use futures_util::StreamExt as _;
use tokio::time::{Instant, sleep, timeout_at};

use super::control_store::{self, ControlAnswer};
use super::engine_fault::EngineFault;
use super::engine_servers::EngineServers;
use crate::cluster::ControlPut;
use crate::config::cluster::EngineConfig;
use crate::config::targets::NatsLogin;
use crate::limits::{ENGINE_PING_MS, ENGINE_RETRY_MS, ENGINE_TIMEOUT_MS};
use crate::services::nats::{connect_options, words_of};

/// What a user of the system account asks all servers.
const SERVERS_QUESTION: &str = "$SYS.REQ.SERVER.PING.JSZ";
/// What a user of the cluster's account asks.
const ACCOUNT_QUESTION: &str = "$JS.API.INFO";

/// An engine that a cluster can rest on, and a connection to one of its servers.
#[derive(Clone, Debug)]
pub struct Engine {
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

    /// Connects by both logins, and asks each server what it is. The connection of the system account is closed then.
    pub async fn open(config: &EngineConfig) -> Result<Self, EngineFault> {
        let client = connect(config, None).await?;
        let system = connect(config, Some(&config.system)).await?;
        let servers = ask_servers(&system).await?;
        let replicas = servers.judge()?;
        let timeout = Duration::from_millis(ENGINE_TIMEOUT_MS);
        let context = ContextBuilder::new().timeout(timeout).ack_timeout(timeout).build(client.clone());
        check_account(&context).await?;
        Ok(Self { client, context, replicas })
    }

    /// Replicas that each of its streams has: three, or one where it is a single server.
    pub const fn replicas(&self) -> usize {
        self.replicas
    }

    /// The connection, by the login of the cluster's account.
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// The same, to `JetStream`.
    pub(super) const fn context(&self) -> &Context {
        &self.context
    }

    /// Stores a document of the control store, if its key has the revision that is expected.
    pub async fn put(&self, put: &ControlPut) -> ControlAnswer {
        control_store::put(&self.context, put).await
    }
}

/// Connects to one of the servers, by the login of the system account or by the cluster's own.
async fn connect(config: &EngineConfig, system: Option<&NatsLogin>) -> Result<Client, EngineFault> {
    let server = &config.server;
    let options = connect_options(server, system.unwrap_or(&server.login)).await.map_err(EngineFault::Files)?;
    let options = options.ping_interval(Duration::from_millis(ENGINE_PING_MS)).ignore_discovered_servers();
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
