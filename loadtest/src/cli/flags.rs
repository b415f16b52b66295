//! Flags that every load takes: the broker, where connections come from, what makes it fail, and reports.

// Doc comments here are what `--help` prints: backticks would be no markup there.
#![allow(clippy::doc_markdown)]

use std::{net::IpAddr, path::PathBuf, time::Duration};

use clap::{ArgMatches, Args, Command, parser::ValueSource};

use super::files::Files;
use super::numbers::{any_u16, any_u64, listen_address, rate, some_u16, some_u32};
use crate::{
    machine::{prometheus, sample},
    plan::{MqttVersion, Plan, Sources, Template},
    preset, scenario,
    threshold::Threshold,
    units,
};

/// The prefix of client ids and topics of workloads by name.
const PREFIX: &str = "loadtest";

/// Flags that every load takes.
#[derive(Debug, Args)]
pub struct Common {
    /// The broker's name or address [default: 127.0.0.1]
    #[arg(short = 'h', long, global = true, help_heading = "Broker")]
    host: Option<String>,
    /// The broker's port [default: 1883; 8883 with --tls, 8083 with --ws, 8084 with both]
    #[arg(short = 'p', long, global = true, help_heading = "Broker")]
    port: Option<u16>,
    /// Version of MQTT: 5, 3.1.1 (or 4), 3.1 (or 3)
    #[arg(short = 'V', long, global = true, value_parser = scenario::version, help_heading = "Broker")]
    mqtt_version: Option<MqttVersion>,
    /// User name; %i is the client's number, %c its id
    #[arg(short = 'u', long, global = true, help_heading = "Broker")]
    username: Option<String>,
    /// Password, with %i, %c and %u for the client's number, id and user name; reports do not repeat it
    #[arg(short = 'P', long, global = true, help_heading = "Broker")]
    password: Option<String>,
    /// Keep alive in seconds; 0 turns it off [default: 300]
    #[arg(short = 'k', long = "keep-alive", visible_alias = "keepalive", global = true, value_name = "SECONDS", value_parser = any_u16, help_heading = "Broker")]
    keep_alive: Option<u16>,
    /// How long to wait for CONNACK and SUBACK [default: 30s]
    #[arg(long, global = true, value_parser = units::seconds, value_name = "SPAN", help_heading = "Broker")]
    connect_timeout: Option<Duration>,

    /// How often a client that could not connect tries again before it has failed [default: 0]
    #[arg(long, global = true, value_parser = any_u16, value_name = "N", help_heading = "Broker")]
    retry: Option<u16>,
    /// How long it waits before each try [default: 1s]
    #[arg(long, global = true, value_parser = units::seconds, value_name = "SPAN", help_heading = "Broker")]
    retry_after: Option<Duration>,

    #[command(flatten)]
    transport: super::transport::Transport,

    /// Source addresses, with commas [default: 127.0.0.0/8 to a broker on loopback, else the system's choice]
    #[arg(long, global = true, value_delimiter = ',', value_name = "ADDR", help_heading = "Generator")]
    ifaddr: Vec<IpAddr>,
    /// Threads that carry clients [default: one, two for very many clients]
    #[arg(long, global = true, value_name = "N", value_parser = some_u16, help_heading = "Generator")]
    workers: Option<u16>,
    /// What client ids begin with, and the topics of workloads by name [default: loadtest]
    #[arg(long, global = true, help_heading = "Generator")]
    prefix: Option<String>,
    /// Where whatever is drawn by lot comes from
    #[arg(long, global = true, help_heading = "Generator")]
    seed: Option<u64>,
    /// How long to wait at the end for what is still owed [default: 10s]
    #[arg(long, global = true, value_parser = units::seconds, value_name = "SPAN", help_heading = "Generator")]
    drain: Option<Duration>,
    /// Agents that share the load (`loadtest agent`), with commas
    #[arg(long, global = true, value_delimiter = ',', value_name = "HOST:PORT", help_heading = "Generator")]
    agents: Vec<String>,
    /// Start even where ports, files, memory or conntrack seem to be short
    #[arg(long, global = true, help_heading = "Generator")]
    pub(super) no_preflight: bool,

    /// The broker's process on this machine: its CPU and memory are sampled
    #[arg(long, global = true, value_name = "PID", conflicts_with = "broker_metrics", help_heading = "Report")]
    broker_pid: Option<u32>,
    /// The broker's Prometheus page, the same by its own account: host:port or http://host:port/path
    #[arg(long, global = true, value_name = "URL", help_heading = "Report")]
    broker_metrics: Option<String>,
    /// Serve a Prometheus page of the run while it goes on, at http://ADDR:PORT/metrics; port 0 takes a free one and says which
    #[arg(long, global = true, value_name = "ADDR:PORT", value_parser = listen_address, help_heading = "Report")]
    pub(super) metrics_listen: Option<String>,
    /// Exit with 1 if this is so, as in 'p99>5ms', 'loss>0', 'connack_p99.9>=1s', 'rate<1000'; may be repeated
    #[arg(long, global = true, value_name = "CONDITION", help_heading = "Report")]
    fail_if: Vec<String>,
    /// Everything as JSON; `-` is standard output
    #[arg(short = 'o', long, global = true, value_name = "FILE", help_heading = "Report")]
    json: Option<PathBuf>,
    /// Second by second as CSV
    #[arg(long, global = true, value_name = "FILE", help_heading = "Report")]
    csv: Option<PathBuf>,
    /// Distributions as an HdrHistogram log, or as a percentile table if the name ends in .hgrm
    #[arg(long, global = true, value_name = "FILE", help_heading = "Report")]
    hdr: Option<PathBuf>,
    /// One self-contained page with plots
    #[arg(long, global = true, value_name = "FILE", help_heading = "Report")]
    html: Option<PathBuf>,
    /// No lines while it runs
    #[arg(long, global = true, help_heading = "Report")]
    pub(super) quiet: bool,
}

impl Common {
    /// The first of these flags that a command line has, for commands that have no use for any.
    pub(super) fn first_given(matches: &ArgMatches) -> Option<String> {
        let all = Self::augment_args(Command::new("all"));
        let given = all.get_arguments().find(|flag| {
            let id = flag.get_id().as_str();
            matches.try_contains_id(id).is_ok() && matches.value_source(id) == Some(ValueSource::CommandLine)
        });
        given.and_then(|flag| flag.get_long().map(|long| format!("--{long}")))
    }

    /// What client ids begin with.
    pub(super) fn prefix(&self) -> &str {
        self.prefix.as_deref().unwrap_or(PREFIX)
    }

    /// Puts `--prefix` into the names of a workload, so that two runs at one broker do not take each other's sessions.
    pub(super) fn rename(&self, plan: &mut Plan) {
        let Some(prefix) = &self.prefix else { return };
        let renamed = |template: &mut Template| {
            template.0 = template.0.replacen("loadtest-", &format!("{prefix}-"), 1);
            template.0 = template.0.replace("loadtest/", &format!("{prefix}/"));
        };
        for group in &mut plan.groups {
            renamed(&mut group.client_id);
            group.subscriptions.iter_mut().for_each(|subscription| renamed(&mut subscription.filter));
            if let Some(publishing) = &mut group.publishing {
                renamed(&mut publishing.topic);
            }
        }
    }

    /// Puts the broker and the generator's flags into a plan; what was not given stays as it is.
    pub(super) fn fill(&self, plan: &mut Plan) -> Result<(), String> {
        let target = &mut plan.target;
        if let Some(host) = &self.host {
            target.host.clone_from(host);
        }
        self.transport.fill(target, self.port)?;
        target.version = self.mqtt_version.unwrap_or(target.version);
        target.keep_alive_s = self.keep_alive.unwrap_or(target.keep_alive_s);
        if let Some(timeout) = self.connect_timeout {
            target.connect_timeout_s = whole_seconds("--connect-timeout", timeout)?;
        }
        target.retries = self.retry.unwrap_or(target.retries);
        if let Some(pause) = self.retry_after {
            let pause = u32::try_from(pause.as_millis());
            target.retry_after_ms = pause.map_err(|_| "--retry-after: at most 49 days".to_owned())?;
        }
        if let Some(username) = &self.username {
            target.username = Some(Template::new(username));
        }
        if let Some(password) = &self.password {
            target.password = Some(Template::new(password));
        }
        if !self.ifaddr.is_empty() {
            plan.sources = Sources::Addresses(self.ifaddr.clone());
        }
        plan.workers = self.workers.unwrap_or(plan.workers);
        plan.seed = self.seed.unwrap_or(plan.seed);
        if let Some(drain) = self.drain {
            plan.drain_s = whole_seconds("--drain", drain)?;
        }
        plan.run_id = random_run_id();
        Ok(())
    }

    pub(super) fn thresholds(&self) -> Result<Vec<Threshold>, String> {
        self.fail_if.iter().map(|text| Threshold::parse(text).map_err(|error| format!("--fail-if {error}"))).collect()
    }

    pub(super) fn broker(&self) -> Result<Option<sample::Broker>, String> {
        if let Some(pid) = self.broker_pid {
            let broker = sample::Broker::Pid(pid);
            return match broker.sample() {
                Some(_) => Ok(Some(broker)),
                None => Err(format!("--broker-pid {pid}: there is no such process on this machine")),
            };
        }
        let Some(text) = &self.broker_metrics else { return Ok(None) };
        let address = prometheus::Address::parse(text).map_err(|error| format!("--broker-metrics {error}"))?;
        address.fetch().map_err(|error| format!("--broker-metrics {text}: {error}"))?;
        Ok(Some(sample::Broker::Metrics(address)))
    }

    pub(super) fn files(&self) -> Files {
        Files { json: self.json.clone(), csv: self.csv.clone(), hdr: self.hdr.clone(), html: self.html.clone() }
    }

    pub(super) fn agents(&self) -> Vec<String> {
        self.agents.clone()
    }
}

fn whole_seconds<T: TryFrom<u64>>(flag: &str, span: Duration) -> Result<T, String> {
    let seconds = if span.subsec_nanos() == 0 { T::try_from(span.as_secs()).ok() } else { None };
    let most = u64::MAX >> (64 - 8 * size_of::<T>());
    seconds.ok_or_else(|| {
        format!(
            "{flag} = {}: it takes whole seconds, at most {}",
            units::show_span(span.as_nanos() as u64),
            units::grouped(most)
        )
    })
}

/// A size that a payload may have.
fn size(text: &str) -> Result<u32, String> {
    let bytes = units::size(text)?;
    u32::try_from(bytes).map_err(|_| format!("{} bytes are more than a message holds", units::grouped(bytes)))
}

/// Different for each run: the hasher's keys are random.
fn random_run_id() -> u32 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(std::process::id()) as u32
}

/// Flags that resize workloads by name.
#[derive(Debug, Args)]
pub(super) struct Tuning {
    /// Clients, or pairs of them
    #[arg(long, value_parser = some_u32, allow_negative_numbers = true, value_name = "N", help_heading = "Workload")]
    clients: Option<u32>,
    /// How many clients publish
    #[arg(long, value_parser = some_u32, allow_negative_numbers = true, value_name = "N", help_heading = "Workload")]
    publishers: Option<u32>,
    /// How many clients subscribe
    #[arg(long, value_parser = some_u32, allow_negative_numbers = true, value_name = "N", help_heading = "Workload")]
    subscribers: Option<u32>,
    /// Open loop: messages a second of all publishers together
    #[arg(long, value_parser = rate, value_name = "N", conflicts_with = "window", help_heading = "Workload")]
    rate: Option<f64>,
    /// Closed loop: messages under way per publisher
    #[arg(long, value_parser = some_u32, allow_negative_numbers = true, value_name = "N", help_heading = "Workload")]
    window: Option<u32>,
    /// Messages, where a workload counts them
    #[arg(long, value_parser = any_u64, allow_negative_numbers = true, value_name = "N", help_heading = "Workload")]
    messages: Option<u64>,
    /// QoS of messages and subscriptions
    #[arg(short = 'q', long, value_parser = clap::value_parser!(u8).range(0..=2), help_heading = "Workload")]
    qos: Option<u8>,
    /// Size of the payload, at least 16 bytes
    #[arg(short = 's', long, value_parser = size, allow_negative_numbers = true, value_name = "SIZE", help_heading = "Workload")]
    payload: Option<u32>,
    /// How long to measure
    #[arg(short = 'd', long, value_parser = units::seconds, value_name = "SPAN", help_heading = "Workload")]
    duration: Option<Duration>,
    /// Connections a second; 0: as fast as it goes
    #[arg(short = 'R', long, value_parser = rate, value_name = "N", help_heading = "Workload")]
    connect_rate: Option<f64>,
    /// Send SUBSCRIBE together with CONNECT, without waiting for CONNACK (section 3.1.4 of MQTT allows it)
    #[arg(long, help_heading = "Workload")]
    pipeline: bool,
    /// An executable that becomes the broker (exec) at --host and --port, each time with the same data; durable kills it with
    /// SIGKILL and starts it again
    #[arg(long, value_name = "FILE", help_heading = "Workload")]
    start_script: Option<PathBuf>,
    /// How often the broker is killed [default: 10]
    #[arg(long, value_parser = some_u32, allow_negative_numbers = true, value_name = "N", help_heading = "Workload")]
    kills: Option<u32>,
    /// Time from one kill to the next, on average [default: 2s]
    #[arg(long, value_parser = units::seconds, value_name = "SPAN", help_heading = "Workload")]
    kill_every: Option<Duration>,
}

impl Tuning {
    pub(super) fn read(&self) -> preset::Tuning {
        preset::Tuning {
            clients: self.clients,
            publishers: self.publishers,
            subscribers: self.subscribers,
            rate: self.rate,
            window: self.window,
            messages: self.messages,
            qos: self.qos,
            payload_bytes: self.payload,
            duration: self.duration,
            connect_rate: self.connect_rate,
            pipeline: self.pipeline,
            start_script: self.start_script.clone(),
            kills: self.kills,
            kill_every: self.kill_every,
        }
    }
}
