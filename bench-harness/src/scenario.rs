//! What the load generator is told to do, as the TOML that `loadtest run FILE` reads.
//!
//! Owns the few shapes of load that the cells need (fleets that come back are in `storms`). Every scenario goes through named
//! stages; the names are what `measure` looks for in the report.

mod storms;

pub(crate) use storms::{AFTER_LEAVING_S, COME_AGAIN, COME_FIRST, LEAVE, password_lines};

use crate::transport::{Certificates, Transport};
use serde::Serialize;

/// The stage whose figures count.
pub(crate) const MEASURED: &str = "measured";
/// The pause before the measured stage of a lump of work.
pub(crate) const REST: &str = "rest";
/// The pause before which nobody but a few warm-up clients was there, and after which the idle ones come.
pub(crate) const BEFORE_IDLE: &str = "before idle";
/// The idle clients come.
pub(crate) const IDLE_COME: &str = "idle come";
/// The idle clients are silent.
pub(crate) const IDLE: &str = "idle";
/// Clients without a subscription come, which is what accepting costs.
pub(crate) const ACCEPT: &str = "accept";
/// The last of the sweeps that others are watched beside; the first is measured.
pub(crate) const LAST_SWEEP: &str = "last sweep";

/// A whole scenario file.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Scenario {
    /// For the report.
    pub name: String,
    /// How long the end waits for what is owed.
    drain: String,
    /// How clients greet the broker.
    broker: Greeting,
    group: Vec<Group>,
    stage: Vec<Stage>,
}

#[derive(Clone, Debug, Default, Serialize)]
struct Greeting {
    version: &'static str,
    keep_alive: &'static str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    tls: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    cafile: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cert: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_version: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_groups: Option<[&'static str; 1]>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    ws: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<&'static str>,
    /// How often a client tries again that was told that the broker is busy.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry: Option<u32>,
}

#[derive(Clone, Debug, Default, Serialize)]
struct Group {
    name: String,
    clients: u32,
    client_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    clean_start: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    receive_maximum: Option<u32>,
    qos: u8,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subscribe: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    publish: Option<Publish>,
}

#[derive(Clone, Debug, Default, Serialize)]
struct Publish {
    topic: String,
    payload: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retain: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    targets: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_order: Option<&'static str>,
}

#[derive(Clone, Debug, Default, Serialize)]
struct Stage {
    name: &'static str,
    #[serde(rename = "do")]
    doing: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    groups: Vec<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    publish: Vec<&'static str>,
    #[serde(rename = "for", skip_serializing_if = "Option::is_none")]
    seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    how: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    await_deliveries: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    measure: Option<bool>,
}

/// How publishers are paced.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// So many messages of each publisher under way.
    Window(u32),
    /// So many messages a second, of all publishers together, whatever the broker does.
    PerSecond(f64),
}

/// Who publishes to sessions that are away.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeptLoad {
    /// How many, and as many sessions.
    pub publishers: u32,
    /// Of each, until they are acknowledged.
    pub window: u32,
    /// Bytes.
    pub payload: u32,
}

/// Bytes of a payload, where nothing else is said.
const PAYLOAD_BYTES: u32 = 64;
/// The longest that anything may take to be delivered at the end.
const DELIVERY_LIMIT_S: u32 = 60;

impl Scenario {
    /// `pairs` publishers, each with a subscriber of its own.
    pub(crate) fn pairs(pairs: u32, qos: u8, pace: Pace, seconds: f64) -> Self {
        let groups = vec![
            subscribers("sub", pairs, qos, &["p2p/%i"]),
            publishers("pub", pairs, qos, Publish::paced("p2p/%i", pace)),
        ];
        Self::steady(groups, seconds)
    }

    /// Every subscriber wants everything.
    pub(crate) fn star(publishers_count: u32, subscribers_count: u32, qos: u8, pace: Pace, seconds: f64) -> Self {
        let groups = vec![
            subscribers("sub", subscribers_count, qos, &["star/+"]),
            publishers("pub", publishers_count, qos, Publish::paced("star/%i", pace)),
        ];
        Self::steady(groups, seconds)
    }

    /// Some 100 filters with wildcards for each of `sites` subscribers. A message to one of `sites` times 90 topics finds
    /// three of them, and up to two more in the lower halves of both numbers.
    pub(crate) fn wildcards(sites: u32, window: u32, seconds: f64) -> Self {
        const ROOMS: u32 = 90;
        let hit: Vec<String> = (0..ROOMS).map(|room| format!("w/%i/r{room}/+")).collect();
        let near: Vec<String> = (0..9).map(|kind| format!("w/%i/+/x{kind}")).collect();
        let own = |name: &str, clients: u32, filters: Vec<String>| Group {
            subscribe: filters,
            ..subscribers(name, clients, 0, &[])
        };
        let pace = Publish::paced("w/%r/r%i/t", Pace::Window(window));
        let publishing = Publish { targets: Some(sites), target_order: Some("random"), ..pace };
        let groups = vec![
            own("sub", sites, [hit, near].concat()),
            // Of another client: one whose own filters overlap may get a message once for each of them, or once.
            own("sites", sites, vec!["w/%i/#".to_owned()]),
            own("rooms", ROOMS, vec!["w/+/r%i/t".to_owned()]),
            own("rooms2", ROOMS / 2, vec!["w/+/r%i/+".to_owned()]),
            own("sites2", sites / 2, vec!["w/%i/+/t".to_owned()]),
            publishers("pub", ROOMS.min(sites), 0, publishing),
        ];
        Self::steady_of(groups, &["sub", "sites", "rooms", "rooms2", "sites2", "pub"], seconds)
    }

    /// `messages` retained ones, then a subscriber that wants them all, again and again: unmeasured, while the generator
    /// makes its books, then measured, then until it is `sweeps`, while others are watched.
    pub(crate) fn retained_sweep(messages: u32, sweeps: usize) -> Self {
        const WRITERS: u32 = 10;
        const LIMIT_S: u32 = 15;
        let pace = Publish::paced("kept/%r", Pace::Window(20));
        let publishing = Publish { retain: Some(true), targets: Some(messages), target_order: Some("in_turn"), ..pace };
        let groups = vec![publishers("pub", WRITERS, 1, publishing), subscribers("sub", 1, 1, &["kept/#"])];
        let each = u64::from(messages.div_ceil(WRITERS));
        let of = |stage: Stage| Stage { groups: vec!["sub"], ..stage };
        let mut stages = vec![
            Stage { groups: vec!["pub"], ..Stage::new("connect", "ramp") },
            Stage { groups: vec!["pub"], messages: Some(each), ..Stage::new("write", "burst") },
            // Two whole seconds of it, to compare others' latency with.
            Stage { seconds: Some(3.0), ..Stage::new(REST, "hold") },
            Stage { await_deliveries: Some(LIMIT_S), ..of(Stage::new("warm up", "ramp")) },
        ];
        let again = std::iter::repeat_n("sweep again", sweeps - 2);
        for name in std::iter::once(MEASURED).chain(again).chain([LAST_SWEEP]) {
            stages.push(of(Stage::new("leave", "drop")));
            stages.push(of(Stage::new(name, "resume")).awaited(LIMIT_S));
        }
        // The generator deletes what it has retained before it ends: not in a second that counts as the sweep's.
        stages.push(Stage { seconds: Some(1.1), ..Stage::new("rest again", "hold") });
        Self::new(groups, stages)
    }

    /// `sessions` are away while `messages` arrive for each, then they return.
    pub(crate) fn offline_backlog(sessions: u32, messages: u64) -> Self {
        const WRITERS: u32 = 10;
        let pace = Publish::paced("away/%r", Pace::Window(20));
        let publishing = Publish { targets: Some(sessions), target_order: Some("in_turn"), ..pace };
        let away = Group { clean_start: Some(false), ..subscribers("sub", sessions, 1, &["away/%i"]) };
        let groups = vec![away, publishers("pub", WRITERS, 1, publishing)];
        let each = messages * u64::from(sessions.div_ceil(WRITERS));
        let stages = vec![
            Stage { groups: vec!["sub", "pub"], ..Stage::new("connect", "ramp") },
            Stage { groups: vec!["sub"], ..Stage::new("leave", "drop") },
            Stage { groups: vec!["pub"], messages: Some(each), ..Stage::new("fill", "burst") },
            Stage { seconds: Some(0.5), ..Stage::new(REST, "hold") },
            Stage { groups: vec!["sub"], ..Stage::new(MEASURED, "resume") }.awaited(DELIVERY_LIMIT_S),
        ];
        Self::new(groups, stages)
    }

    /// Publishers to a session each that is away, so many messages each, after `quiet_s` in which nothing happens. The sessions
    /// return at the end: what was acknowledged has to be there.
    pub(crate) fn kept(load: KeptLoad, quiet_s: f64, messages: u64) -> Self {
        let KeptLoad { publishers: count, window, payload } = load;
        let publishing = Publish { payload, ..Publish::paced("away/%i", Pace::Window(window)) };
        let away = Group { clean_start: Some(false), ..subscribers("sub", count, 1, &["away/%i"]) };
        // The window, too, would wait until messages have arrived, but not in a burst.
        let publishing = Group { receive_maximum: Some(window), ..publishers("pub", count, 1, publishing) };
        let groups = vec![away, publishing];
        let mut stages = vec![
            Stage { groups: vec!["sub", "pub"], ..Stage::new("connect", "ramp") },
            Stage { groups: vec!["sub"], ..Stage::new("leave", "drop") },
        ];
        if quiet_s > 0.0 {
            stages.push(Stage { seconds: Some(quiet_s), ..Stage::new(REST, "hold") });
        }
        let publish = Stage { groups: vec!["pub"], messages: Some(messages), ..Stage::new(MEASURED, "burst") };
        let back = Stage { groups: vec!["sub"], ..Stage::new("return", "resume") };
        stages.push(Stage { measure: Some(true), ..publish });
        stages.push(Stage { await_deliveries: Some(DELIVERY_LIMIT_S), ..back });
        Self::new(groups, stages)
    }

    /// A few clients come and go, then `clients` come with a subscription each and stay silent, then leave, and as many
    /// come without a subscription.
    pub(crate) fn idle(clients: u32) -> Self {
        let groups = vec![
            subscribers("warm", 500.min(clients), 1, &["warm/up/of/the/heap/%i"]),
            subscribers("idle", clients, 1, &["fleet/devices/%i"]),
            Group { subscribe: Vec::new(), ..subscribers("bare", clients, 1, &[]) },
        ];
        let of = |groups: &[&'static str], stage: Stage| Stage { groups: groups.to_vec(), ..stage };
        let stages = vec![
            of(&["warm"], Stage::new("warm up", "ramp")),
            of(&["warm"], Stage::new("warm down", "drop")),
            Stage { seconds: Some(1.0), ..Stage::new(BEFORE_IDLE, "hold") },
            of(&["idle"], Stage::new(IDLE_COME, "ramp")),
            Stage { seconds: Some(2.0), measure: Some(true), ..Stage::new(IDLE, "hold") },
            of(&["idle"], Stage::new("idle leave", "drop")),
            Stage { seconds: Some(0.5), ..Stage::new(REST, "hold") },
            of(&["bare"], Stage::new(ACCEPT, "ramp")),
        ];
        Self::new(groups, stages)
    }

    /// A few clients come and go, then `clients` come without a subscription.
    pub(crate) fn accept(clients: u32) -> Self {
        let groups = vec![
            Group { subscribe: Vec::new(), ..subscribers("warm", 500.min(clients), 1, &[]) },
            Group { subscribe: Vec::new(), ..subscribers("bare", clients, 1, &[]) },
        ];
        let of = |groups: &[&'static str], stage: Stage| Stage { groups: groups.to_vec(), ..stage };
        let stages = vec![
            of(&["warm"], Stage::new("warm up", "ramp")),
            of(&["warm"], Stage::new("warm down", "drop")),
            Stage { seconds: Some(1.0), measure: Some(true), ..Stage::new(REST, "hold") },
            of(&["bare"], Stage::new(ACCEPT, "ramp")),
        ];
        Self::new(groups, stages)
    }

    /// The same for clients that come by something else than TCP. Key exchange and version are those that every broker has.
    #[must_use]
    pub(crate) fn over(mut self, transport: Transport, certificates: Option<&Certificates>) -> Self {
        let broker = &mut self.broker;
        broker.ws = transport.has_websocket();
        if let Some(certificates) = certificates.filter(|_| transport.has_tls()) {
            broker.tls = true;
            broker.cafile = Some(certificates.file("ca.pem"));
            (broker.tls_version, broker.tls_groups) = (Some("1.3"), Some(["x25519"]));
            if transport == Transport::TlsMutual {
                broker.cert = Some(certificates.file("client.pem"));
                broker.key = Some(certificates.file("client.key"));
            }
        }
        self
    }

    /// `clients` with a subscription each that stay silent for so long.
    pub(crate) fn silence(clients: u32, seconds: f64) -> Self {
        let groups = vec![subscribers("idle", clients, 1, &["fleet/devices/%i"])];
        let stages = vec![
            Stage { groups: vec!["idle"], ..Stage::new("connect", "ramp") },
            // What a broker does about clients that have just come, such as looking whether they are still there, is no silence.
            Stage { seconds: Some(seconds / 2.0), ..Stage::new(REST, "hold") },
            Stage { seconds: Some(seconds), measure: Some(true), ..Stage::new(MEASURED, "hold") },
        ];
        Self::new(groups, stages)
    }

    /// `pairs` that carry a load all the time: what others notice of something that goes on beside them.
    pub(crate) fn observer(pairs: u32, per_second: f64, seconds: f64) -> Self {
        let pace = Pace::PerSecond(per_second);
        let groups = vec![
            subscribers("osub", pairs, 0, &["others/%i"]),
            publishers("opub", pairs, 0, Publish::paced("others/%i", pace)),
        ];
        Self::steady_of(groups, &["osub", "opub"], seconds)
    }

    fn steady(groups: Vec<Group>, seconds: f64) -> Self {
        Self::steady_of(groups, &["sub", "pub"], seconds)
    }

    /// All connect, the last group publishes: shortly unmeasured, then measured.
    fn steady_of(groups: Vec<Group>, names: &[&'static str], seconds: f64) -> Self {
        let publish = || names.last().copied().into_iter().collect();
        let stages = vec![
            Stage { groups: names.to_vec(), ..Stage::new("connect", "ramp") },
            Stage { publish: publish(), seconds: Some(0.5), ..Stage::new("warm up", "hold") },
            Stage { publish: publish(), seconds: Some(seconds), measure: Some(true), ..Stage::new(MEASURED, "hold") },
        ];
        Self::new(groups, stages)
    }

    fn new(group: Vec<Group>, stage: Vec<Stage>) -> Self {
        let drain = format!("{}s", DELIVERY_LIMIT_S / 6);
        // The version that every broker speaks. A keep alive, which rumqttd insists on, too long for a ping in any cell.
        let broker = Greeting { version: "3.1.1", keep_alive: "10m", ..Greeting::default() };
        Self { name: "bench".to_owned(), drain, broker, group, stage }
    }

    /// The most clients that are connected at a time.
    pub(crate) fn clients_at_once(&self) -> u32 {
        let mut there: Vec<&str> = Vec::new();
        let mut most = 0;
        for stage in &self.stage {
            match stage.doing {
                "ramp" | "resume" => there.extend(&stage.groups),
                "drop" => there.retain(|name| !stage.groups.contains(name)),
                _ => {}
            }
            let groups = self.group.iter().filter(|group| there.contains(&group.name.as_str()));
            most = most.max(groups.map(|group| group.clients).sum());
        }
        most
    }

    /// How long the measured stage lasts that has an end of its own.
    pub(crate) fn measured_s(&self) -> f64 {
        self.measured_in(MEASURED)
    }

    /// How long the stages of a name last that have an end of their own.
    fn measured_in(&self, name: &str) -> f64 {
        self.stage.iter().filter(|stage| stage.name == name).filter_map(|stage| stage.seconds).sum()
    }

    /// As `loadtest run` reads it.
    pub(crate) fn to_toml(&self) -> String {
        toml::to_string(self).expect("a scenario is plain data")
    }
}

impl Stage {
    fn new(name: &'static str, doing: &'static str) -> Self {
        Self { name, doing, ..Self::default() }
    }

    /// Measured, and lasting until all that is owed has come, or so many seconds.
    fn awaited(self, limit_s: u32) -> Self {
        Self { measure: Some(true), await_deliveries: Some(limit_s), ..self }
    }
}

impl Publish {
    fn paced(topic: &str, pace: Pace) -> Self {
        let (window, rate) = match pace {
            Pace::Window(window) => (Some(window), None),
            Pace::PerSecond(rate) => (None, Some(rate)),
        };
        Self { topic: topic.to_owned(), payload: PAYLOAD_BYTES, window, rate, ..Self::default() }
    }
}

fn subscribers(name: &str, clients: u32, qos: u8, filters: &[&str]) -> Group {
    let subscribe = filters.iter().map(|filter| (*filter).to_owned()).collect();
    Group { name: name.to_owned(), clients, client_id: format!("{name}-%i"), qos, subscribe, ..Group::default() }
}

fn publishers(name: &str, clients: u32, qos: u8, publish: Publish) -> Group {
    Group { publish: Some(publish), ..subscribers(name, clients, qos, &[]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_is_valid_toml_whose_stages_name_groups_that_exist() {
        let scenarios = [
            Scenario::pairs(500, 0, Pace::Window(16), 2.0),
            Scenario::star(1, 1_000, 0, Pace::Window(8), 2.0),
            Scenario::wildcards(1_000, 1, 2.0),
            Scenario::retained_sweep(100_000, 13),
            Scenario::offline_backlog(1_000, 100),
            Scenario::kept(KeptLoad { publishers: 16, window: 4, payload: 100 }, 2.0, 1_000),
            Scenario::idle(15_000),
            Scenario::accept(5_000),
            Scenario::silence(1_000, 20.0).over(Transport::Ws, None),
            Scenario::observer(50, 2_000.0, 3.0),
            Scenario::storm(20_000, 6.0),
            Scenario::comings(10_000, 1_000, 6.0).with_names(),
            Scenario::watched(50, 2_000.0, 3.0),
        ];
        for scenario in scenarios {
            let text = scenario.to_toml();
            let table: toml::Table = text.parse().expect("valid TOML");
            let groups: Vec<&str> =
                table["group"].as_array().expect("groups").iter().filter_map(|group| group["name"].as_str()).collect();
            for stage in table["stage"].as_array().expect("stages") {
                for key in ["groups", "publish"] {
                    let named = stage.get(key).and_then(toml::Value::as_array).into_iter().flatten();
                    for name in named.filter_map(toml::Value::as_str) {
                        assert!(groups.contains(&name), "{name} is no group of\n{text}");
                    }
                }
            }
        }
    }

    #[test]
    fn those_who_left_do_not_count_as_connected() {
        let at_once = |scenario: Scenario| scenario.clients_at_once();
        assert_eq!(at_once(Scenario::idle(15_000)), 15_000);
        assert_eq!(at_once(Scenario::offline_backlog(1_000, 100)), 1_010);
        assert_eq!(at_once(Scenario::storm(20_000, 6.0)), 20_000);
        assert_eq!(at_once(Scenario::comings(10_000, 1_000, 6.0)), 10_000);
        assert_eq!(at_once(Scenario::pairs(500, 0, Pace::Window(1), 1.0)), 1_000);
    }

    #[test]
    fn the_wildcard_cell_has_a_hundred_thousand_filters() {
        let scenario = Scenario::wildcards(1_000, 1, 1.0);
        let filters: usize = scenario.group.iter().map(|group| group.clients as usize * group.subscribe.len()).sum();
        assert!((100_000..102_000).contains(&filters), "{filters}");
    }
}
