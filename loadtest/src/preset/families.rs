//! Workloads of the open MQTT benchmark suite: their names are a grammar, so any sizes work.
//!
//! `p2p-50K-50K-50K-50K` is 50,000 publishers, 50,000 subscribers, 50,000 messages a second in and as many out. The suite
//! holds each for thirty minutes; here it is half a minute unless `--duration` says more.

use super::blocks::{measure, plan, publishers, publishing, ramp, subscribers, warm_up};
use super::tuning::{Knob, Tuning};
use crate::{
    plan::{Action, DropHow, Group, MqttVersion, Pace, Plan, Stage, TlsTarget},
    units::{count, counted, grouped, measured},
};

/// Workloads whose names carry their sizes.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// The grammar.
    pub pattern: &'static str,
    /// Names that people compare by.
    pub examples: &'static [&'static str],
    /// One sentence.
    pub what: &'static str,
    prefix: &'static str,
    sizes: usize,
    knobs: &'static [Knob],
    build: fn(&str, &[u64], &Tuning) -> Result<Plan, String>,
}

const KNOBS: &[Knob] = &[Knob::Qos, Knob::Payload, Knob::Duration, Knob::ConnectRate];
/// Where somebody subscribes.
const SUBSCRIBING: &[Knob] = &[Knob::Qos, Knob::Payload, Knob::Duration, Knob::ConnectRate, Knob::Pipeline];
/// Connections a second for the workloads whose name does not say.
const CONNECT_RATE: f64 = 5_000.0;

/// All of them.
pub(super) const FAMILIES: &[Family] = &[
    Family {
        pattern: "conn-tcp-CLIENTS-RATE",
        examples: &["conn-tcp-10K-100", "conn-tcp-1M-5K"],
        what: "CLIENTS connect over TCP, RATE of them a second, and stay",
        prefix: "conn-tcp-",
        sizes: 2,
        knobs: KNOBS,
        build: conn,
    },
    Family {
        pattern: "conn-tls-CLIENTS-RATE",
        examples: &["conn-tls-10K-100", "conn-tls-20K-2K"],
        what: "the same over TLS, each with a whole handshake",
        prefix: "conn-tls-",
        sizes: 2,
        knobs: KNOBS,
        build: conn_tls,
    },
    Family {
        pattern: "conn-tls-resumed-CLIENTS-RATE",
        examples: &["conn-tls-resumed-10K-100"],
        what: "they connect over TLS, go, and come back with the session that they had: the return is measured",
        prefix: "conn-tls-resumed-",
        sizes: 2,
        knobs: KNOBS,
        build: conn_tls_resumed,
    },
    Family {
        pattern: "conn-tls-cert-CLIENTS-RATE",
        examples: &["conn-tls-cert-10K-100"],
        what: "over TLS with client certificates: client-%i.pem and client-%i.key, or what --cert and --key say",
        prefix: "conn-tls-cert-",
        sizes: 2,
        knobs: KNOBS,
        build: conn_tls_cert,
    },
    Family {
        pattern: "p2p-PUBLISHERS-SUBSCRIBERS-RATE-RATE",
        examples: &["p2p-1K-1K-1K-1K", "p2p-50K-50K-50K-50K"],
        what: "each publisher has a topic and each topic one subscriber; RATE messages a second in, and as many out",
        prefix: "p2p-",
        sizes: 4,
        knobs: SUBSCRIBING,
        build: p2p,
    },
    Family {
        pattern: "fanout-PUBLISHERS-SUBSCRIBERS-TOPICS-RATE",
        examples: &["fanout-1-1K-1-1K", "fanout-5-1000-5-250K"],
        what: "each publisher has a topic and each subscriber all of them; RATE messages a second arrive",
        prefix: "fanout-",
        sizes: 4,
        knobs: SUBSCRIBING,
        build: fanout,
    },
    Family {
        pattern: "sharedsub-PUBLISHERS-SUBSCRIBERS-RATE-RATE",
        examples: &["sharedsub-1K-5-1K-1K", "sharedsub-50K-500-50K-50K"],
        what: "subscribers share one subscription to the topics of all publishers; RATE messages a second in, and out",
        prefix: "sharedsub-",
        sizes: 4,
        knobs: SUBSCRIBING,
        build: sharedsub,
    },
];

/// The plan of a name that begins as a family's do; `None` for any other name.
pub(super) fn build(name: &str, tuning: &Tuning) -> Option<Result<Plan, String>> {
    // The suite's pages spell it both ways.
    let spelled = name.strip_prefix("sharesub-").map(|sizes| format!("sharedsub-{sizes}"));
    let text = spelled.as_deref().unwrap_or(name);
    // The longest that fits; else one of that kind, to say how its names are read.
    let fits = FAMILIES.iter().filter(|family| text.starts_with(family.prefix));
    let family = fits.max_by_key(|family| family.prefix.len()).or_else(|| {
        FAMILIES.iter().find(|family| {
            let kind = family.prefix.split('-').next().unwrap_or_default();
            text.strip_prefix(kind).is_some_and(|rest| rest.starts_with('-'))
        })
    })?;
    Some(sized(family, name, text, tuning))
}

fn sized(family: &Family, name: &str, text: &str, tuning: &Tuning) -> Result<Plan, String> {
    let wrong = |problem: String| format!("{name}: {problem} (it is read as {})", family.pattern);
    let sizes = text.strip_prefix(family.prefix).ok_or_else(|| wrong("there is TCP and TLS".to_owned()))?;
    let sizes: Vec<u64> = sizes.split('-').map(count).collect::<Result<_, _>>().map_err(wrong)?;
    if sizes.len() != family.sizes {
        return Err(wrong(format!("{} sizes are needed", family.sizes)));
    }
    if sizes.contains(&0) {
        return Err(wrong("every size is at least one".to_owned()));
    }
    tuning.refuse_others(name, family.knobs)?;
    (family.build)(name, &sizes, tuning).map_err(wrong)
}

/// As the suite has it: 3.1.1 where the feature is not one of 5.0.
fn version(mut plan: Plan, version: MqttVersion) -> Plan {
    plan.target.version = version;
    plan
}

fn clients(size: u64) -> Result<u32, String> {
    u32::try_from(size).map_err(|_| format!("{} clients are more than one run can have", grouped(size)))
}

fn connect_rate(tuning: &Tuning) -> f64 {
    tuning.connect_rate.unwrap_or(CONNECT_RATE)
}

fn conn(name: &str, sizes: &[u64], tuning: &Tuning) -> Result<Plan, String> {
    let group = Group::new("clients", clients(sizes[0])?, "loadtest-%i");
    let rate = tuning.connect_rate.unwrap_or(sizes[1] as f64);
    let what = format!("{} clients connect, {} a second, and stay", grouped(sizes[0]), measured(rate));
    let stages = vec![ramp(&["clients"], rate).measured(), measure(tuning.seconds(30.0), &[])];
    Ok(version(plan(name, what, vec![group], stages), MqttVersion::V311))
}

/// Broker and clients as in `conn`, over TLS. Whom to trust is for flags.
fn conn_tls(name: &str, sizes: &[u64], tuning: &Tuning) -> Result<Plan, String> {
    let mut plan = conn(name, sizes, tuning)?;
    plan.description = plan.description.replacen("connect", "connect over TLS", 1);
    plan.target.tls = Some(TlsTarget::default());
    plan.target.port = plan.target.usual_port();
    Ok(plan)
}

fn conn_tls_resumed(name: &str, sizes: &[u64], tuning: &Tuning) -> Result<Plan, String> {
    let mut plan = conn_tls(name, sizes, tuning)?;
    let rate = tuning.connect_rate.unwrap_or(sizes[1] as f64);
    let groups = || vec!["clients".to_owned()];
    plan.description = format!(
        "{} clients connect over TLS, go, and come back, {} a second, with the sessions that they had",
        grouped(sizes[0]),
        measured(rate)
    );
    plan.stages = vec![
        ramp(&["clients"], rate),
        Stage::new("go", Action::Drop { groups: groups(), percent: 100.0, how: DropHow::Disconnect }),
        Stage::new("return", Action::Resume { groups: groups(), percent: 100.0, rate_per_s: rate }).measured(),
        measure(tuning.seconds(30.0), &[]),
    ];
    plan.target.tls.get_or_insert_default().resume_percent = 100.0;
    Ok(plan)
}

fn conn_tls_cert(name: &str, sizes: &[u64], tuning: &Tuning) -> Result<Plan, String> {
    let mut plan = conn_tls(name, sizes, tuning)?;
    plan.description.push_str(", each with a certificate");
    let tls = plan.target.tls.get_or_insert_default();
    tls.certificate = Some("client-%i.pem".into());
    tls.key = Some("client-%i.key".into());
    Ok(plan)
}

fn p2p(name: &str, sizes: &[u64], tuning: &Tuning) -> Result<Plan, String> {
    let &[publishers_wanted, subscribers_wanted, rate_in, rate_out] = sizes else { return Err("four sizes".into()) };
    if publishers_wanted != subscribers_wanted {
        return Err("there must be as many subscribers as publishers".to_owned());
    }
    if rate_in != rate_out {
        return Err("as many messages arrive as are sent".to_owned());
    }
    let pairs = clients(publishers_wanted)?;
    let pace = Pace::Open { per_client_per_s: rate_in as f64 / f64::from(pairs) };
    let groups = vec![
        subscribers("sub", pairs, &["loadtest/p2p/%i"], tuning.qos()),
        publishers("pub", pairs, publishing("loadtest/p2p/%i", tuning, pace)),
    ];
    let what = format!(
        "{} publishers, each with one subscriber of its own, {} messages a second in all",
        grouped(publishers_wanted),
        grouped(rate_in)
    );
    Ok(version(plan(name, what, groups, steady(tuning)), MqttVersion::V311))
}

fn fanout(name: &str, sizes: &[u64], tuning: &Tuning) -> Result<Plan, String> {
    let &[publishers_wanted, subscribers_wanted, topics, rate_out] = sizes else { return Err("four sizes".into()) };
    if topics != publishers_wanted {
        return Err("each publisher has a topic of its own, so the first and the third size are equal".to_owned());
    }
    let rate_in = rate_out as f64 / subscribers_wanted as f64;
    let pace = Pace::Open { per_client_per_s: rate_in / publishers_wanted as f64 };
    // The suite's subscribers name each topic; beyond what one SUBSCRIBE should carry, a wildcard says the same.
    let filters: Vec<String> = match topics {
        1..=20 => (0..topics).map(|topic| format!("loadtest/fanout/{topic}")).collect(),
        _ => vec!["loadtest/fanout/+".to_owned()],
    };
    let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
    let groups = vec![
        subscribers("sub", clients(subscribers_wanted)?, &filters, tuning.qos()),
        publishers("pub", clients(publishers_wanted)?, publishing("loadtest/fanout/%i", tuning, pace)),
    ];
    let what = format!(
        "{} to {}, everything to everybody, {} messages a second in and {} out",
        counted(publishers_wanted, "publisher"),
        counted(subscribers_wanted, "subscriber"),
        measured(rate_in),
        grouped(rate_out)
    );
    Ok(version(plan(name, what, groups, steady(tuning)), MqttVersion::V311))
}

fn sharedsub(name: &str, sizes: &[u64], tuning: &Tuning) -> Result<Plan, String> {
    let &[publishers_wanted, subscribers_wanted, rate_in, rate_out] = sizes else { return Err("four sizes".into()) };
    if rate_in != rate_out {
        return Err("as many messages arrive as are sent".to_owned());
    }
    let pace = Pace::Open { per_client_per_s: rate_in as f64 / publishers_wanted as f64 };
    let shared = "$share/loadtest/loadtest/shared/#";
    let groups = vec![
        subscribers("sub", clients(subscribers_wanted)?, &[shared], tuning.qos()),
        publishers("pub", clients(publishers_wanted)?, publishing("loadtest/shared/%i", tuning, pace)),
    ];
    let what = format!(
        "{} publishers to {} subscribers that share one subscription, {} messages a second",
        grouped(publishers_wanted),
        grouped(subscribers_wanted),
        grouped(rate_in)
    );
    Ok(version(plan(name, what, groups, steady(tuning)), MqttVersion::V5))
}

fn steady(tuning: &Tuning) -> Vec<crate::plan::Stage> {
    let rate = connect_rate(tuning);
    vec![ramp(&["sub", "pub"], rate), warm_up(&["pub"]), measure(tuning.seconds(30.0), &["pub"])]
}
