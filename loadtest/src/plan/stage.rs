//! One step of a run.

use serde::{Deserialize, Serialize};

/// One step of a run. The next begins when it is over, for all parts together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// For the report.
    pub name: String,
    /// What happens.
    #[serde(flatten)]
    pub action: Action,
    /// Whether its latencies count in the outcome's. What is lost counts always.
    #[serde(default)]
    pub measured: bool,
    /// When its action is over, the stage goes on until nothing is owed any more, at most for so many seconds. When that
    /// was is in the stage's outcome.
    #[serde(default)]
    pub await_deliveries_s: Option<u32>,
}

impl Stage {
    /// One that is not measured.
    pub fn new(name: &str, action: Action) -> Self {
        Self { name: name.to_owned(), action, measured: false, await_deliveries_s: None }
    }

    /// The same, measured.
    #[must_use]
    pub fn measured(self) -> Self {
        Self { measured: true, ..self }
    }

    /// The same, lasting until nothing is owed any more.
    #[must_use]
    pub fn until_delivered(self, at_most_s: u32) -> Self {
        Self { await_deliveries_s: Some(at_most_s), ..self }
    }
}

/// What happens in a stage. Groups are given by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Action {
    /// Connects and subscribes all clients of the groups. Over when each has its SUBACK (CONNACK if it subscribes to
    /// nothing) or has failed.
    Ramp {
        /// Which.
        groups: Vec<String>,
        /// Connections a second, all groups of the stage and all parts together; 0: as fast as it goes, with 1,000
        /// under way at a time.
        rate_per_s: f64,
    },
    /// Passes time; whoever was connected stays so and pings.
    Hold {
        /// How long.
        seconds: f64,
        /// Groups that publish meanwhile.
        #[serde(default)]
        publish: Vec<String>,
    },
    /// Publishes a number of messages as fast as window and broker let it, whatever the groups' pace. Over when the last
    /// was acknowledged (QoS 0: sent).
    Burst {
        /// Which.
        groups: Vec<String>,
        /// How many each client of the groups sends before the stage is over.
        messages_per_client: u64,
    },
    /// Ends connections. Over when all are closed.
    Drop {
        /// Which.
        groups: Vec<String>,
        /// Of each group's connected clients.
        percent: f64,
        /// In which way.
        how: DropHow,
    },
    /// Connects clients that are not, as `Ramp`: those that were dropped, were lost or failed.
    Resume {
        /// Which.
        groups: Vec<String>,
        /// Of each group's clients that are not connected.
        percent: f64,
        /// As in `Ramp`.
        rate_per_s: f64,
    },
    /// Lets clients go (DISCONNECT) and come back, one after the other, all the time.
    Churn {
        /// Which.
        groups: Vec<String>,
        /// How long.
        seconds: f64,
        /// Clients a second that go and come back, all parts together.
        rate_per_s: f64,
        /// Groups that publish meanwhile.
        #[serde(default)]
        publish: Vec<String>,
    },
}

impl Action {
    /// The groups that it is about, publishing ones first.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        let (publish, groups): (&[String], &[String]) = match self {
            Self::Hold { publish, .. } => (publish, &[]),
            Self::Churn { groups, publish, .. } => (publish, groups),
            Self::Ramp { groups, .. }
            | Self::Burst { groups, .. }
            | Self::Drop { groups, .. }
            | Self::Resume { groups, .. } => (&[], groups),
        };
        publish.iter().chain(groups).map(String::as_str)
    }

    /// The groups that publish in it.
    pub fn publishers(&self) -> &[String] {
        match self {
            Self::Hold { publish, .. } | Self::Churn { publish, .. } => publish,
            Self::Burst { groups, .. } => groups,
            Self::Ramp { .. } | Self::Drop { .. } | Self::Resume { .. } => &[],
        }
    }
}

/// How a connection is ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DropHow {
    /// DISCONNECT, then FIN.
    #[default]
    Disconnect,
    /// FIN without a word.
    Close,
    /// RST.
    Reset,
}
