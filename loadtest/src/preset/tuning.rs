//! The flags that resize a workload, and which of them a workload has a use for.

use std::path::PathBuf;
use std::time::Duration;

/// What a flag resizes. `None` everywhere is the workload as its name says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tuning {
    /// `--clients`: connections of a workload whose clients all do the same.
    pub clients: Option<u32>,
    /// `--publishers`: how many clients send, where senders and receivers are different ones.
    pub publishers: Option<u32>,
    /// `--subscribers`: how many receive, of all topics together.
    pub subscribers: Option<u32>,
    /// `--rate`: messages a second of all publishers together, open loop.
    pub rate: Option<f64>,
    /// `--window`: messages under way per publisher, closed loop.
    pub window: Option<u32>,
    /// `--messages` of each publisher, where a workload counts them.
    pub messages: Option<u64>,
    /// `--qos`: 0 to 2, of messages and of subscriptions.
    pub qos: Option<u8>,
    /// `--payload`: bytes of each message, topic and header not included.
    pub payload_bytes: Option<u32>,
    /// `--duration` of what is measured.
    pub duration: Option<Duration>,
    /// `--connect-rate`: connections begun in a second, of all groups together.
    pub connect_rate: Option<f64>,
    /// `--pipeline`: SUBSCRIBE goes out together with CONNECT.
    pub pipeline: bool,
    /// `--start-script`: what becomes the broker.
    pub start_script: Option<PathBuf>,
    /// `--kills`: how often the broker is killed.
    pub kills: Option<u32>,
    /// `--kill-every`: from one kill to the next, on average.
    pub kill_every: Option<Duration>,
}

/// One of the flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knob {
    /// Resizes [`Tuning::clients`].
    Clients,
    /// Resizes [`Tuning::publishers`].
    Publishers,
    /// Resizes [`Tuning::subscribers`].
    Subscribers,
    /// Sets [`Tuning::rate`]: the loop becomes open.
    Rate,
    /// Sets [`Tuning::window`]: the loop becomes closed.
    Window,
    /// Sets [`Tuning::messages`]: the run ends when all are sent.
    Messages,
    /// Sets [`Tuning::qos`], 0 to 2.
    Qos,
    /// Sets [`Tuning::payload_bytes`].
    Payload,
    /// Sets [`Tuning::duration`] of the measured stage.
    Duration,
    /// Sets [`Tuning::connect_rate`], in connections a second.
    ConnectRate,
    /// Turns [`Tuning::pipeline`] on; every workload has a use for it.
    Pipeline,
    /// Sets [`Tuning::start_script`].
    StartScript,
    /// Sets [`Tuning::kills`].
    Kills,
    /// Sets [`Tuning::kill_every`].
    KillEvery,
}

impl Knob {
    const ALL: [Self; 14] = [
        Self::Clients,
        Self::Publishers,
        Self::Subscribers,
        Self::Rate,
        Self::Window,
        Self::Messages,
        Self::Qos,
        Self::Payload,
        Self::Duration,
        Self::ConnectRate,
        Self::Pipeline,
        Self::StartScript,
        Self::Kills,
        Self::KillEvery,
    ];

    /// The flag as it is written.
    pub const fn flag(self) -> &'static str {
        match self {
            Self::Clients => "--clients",
            Self::Publishers => "--publishers",
            Self::Subscribers => "--subscribers",
            Self::Rate => "--rate",
            Self::Window => "--window",
            Self::Messages => "--messages",
            Self::Qos => "--qos",
            Self::Payload => "--payload",
            Self::Duration => "--duration",
            Self::ConnectRate => "--connect-rate",
            Self::Pipeline => "--pipeline",
            Self::StartScript => "--start-script",
            Self::Kills => "--kills",
            Self::KillEvery => "--kill-every",
        }
    }

    const fn is_set(self, tuning: &Tuning) -> bool {
        match self {
            Self::Clients => tuning.clients.is_some(),
            Self::Publishers => tuning.publishers.is_some(),
            Self::Subscribers => tuning.subscribers.is_some(),
            Self::Rate => tuning.rate.is_some(),
            Self::Window => tuning.window.is_some(),
            Self::Messages => tuning.messages.is_some(),
            Self::Qos => tuning.qos.is_some(),
            Self::Payload => tuning.payload_bytes.is_some(),
            Self::Duration => tuning.duration.is_some(),
            Self::ConnectRate => tuning.connect_rate.is_some(),
            Self::Pipeline => tuning.pipeline,
            Self::StartScript => tuning.start_script.is_some(),
            Self::Kills => tuning.kills.is_some(),
            Self::KillEvery => tuning.kill_every.is_some(),
        }
    }

    /// Sets it to what no workload has by itself.
    #[cfg(test)]
    pub(super) fn set_for_test(self, tuning: &mut Tuning) {
        match self {
            Self::Clients => tuning.clients = Some(123),
            Self::Publishers => tuning.publishers = Some(3),
            Self::Subscribers => tuning.subscribers = Some(7),
            Self::Rate => tuning.rate = Some(77.0),
            Self::Window => tuning.window = Some(77),
            Self::Messages => tuning.messages = Some(77),
            Self::Qos => tuning.qos = Some(2),
            Self::Payload => tuning.payload_bytes = Some(77),
            Self::Duration => tuning.duration = Some(Duration::from_secs(77)),
            Self::ConnectRate => tuning.connect_rate = Some(77.0),
            Self::Pipeline => tuning.pipeline = true,
            Self::StartScript => tuning.start_script = Some(PathBuf::from("start")),
            Self::Kills => tuning.kills = Some(77),
            Self::KillEvery => tuning.kill_every = Some(Duration::from_secs(77)),
        }
    }
}

impl Tuning {
    /// Refuses a flag that the workload `name` has no use for.
    pub fn refuse_others(&self, name: &str, useful: &[Knob]) -> Result<(), String> {
        let stray = Knob::ALL.into_iter().find(|knob| knob.is_set(self) && !useful.contains(knob));
        let Some(stray) = stray else { return Ok(()) };
        let takes: Vec<&str> = useful.iter().map(|knob| knob.flag()).collect();
        Err(format!("{name} has no use for {}; it takes {}", stray.flag(), takes.join(", ")))
    }

    /// QoS 1 unless told otherwise: the one that fleets use and brokers are compared by.
    pub fn qos(&self) -> u8 {
        self.qos.unwrap_or(1)
    }

    /// 16 bytes unless told otherwise, as in the open benchmark suite.
    pub fn payload_bytes(&self) -> u32 {
        self.payload_bytes.unwrap_or(16)
    }

    /// How long to measure, in seconds.
    pub fn seconds(&self, usual: f64) -> f64 {
        self.duration.map_or(usual, |duration| duration.as_secs_f64())
    }
}
