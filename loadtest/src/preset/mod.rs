//! Workloads by name: the ones that brokers are compared by, and our own.
//!
//! Owns: what each name means as a [`Plan`], which flags resize it, and the list that `loadtest list` prints. Always holds:
//! a flag that a workload has no use for is refused, never ignored; a name that follows the grammar of a family works
//! with any sizes. Leaves to `cli`: the broker's address and how clients greet it.

mod blocks;
mod families;
mod ours;
mod shapes;
mod tuning;

pub use blocks::{CANONICAL, Listed};
pub use families::Family;
pub(crate) use ours::KILLING;
pub use tuning::{Knob, Tuning};

use crate::{plan::Plan, suggest};

/// Names that stand for one workload each.
pub fn fixed() -> impl Iterator<Item = &'static Listed> {
    ours::LIST.iter().chain(shapes::LIST)
}

/// Families whose names carry their sizes: pattern, examples, meaning.
pub fn families() -> &'static [families::Family] {
    families::FAMILIES
}

/// The plan that a name stands for, resized by flags.
pub fn build(name: &str, tuning: &Tuning) -> Result<Plan, String> {
    let mut plan = sized(name, tuning)?;
    if tuning.pipeline {
        plan.pipeline_subscribers();
    }
    Ok(plan)
}

fn sized(name: &str, tuning: &Tuning) -> Result<Plan, String> {
    if let Some(listed) = fixed().find(|listed| listed.name == name) {
        tuning.refuse_others(name, listed.knobs)?;
        return (listed.build)(tuning);
    }
    if let Some(plan) = families::build(name, tuning) {
        return plan;
    }
    let known: Vec<&str> = fixed()
        .map(|listed| listed.name)
        .chain(families::FAMILIES.iter().flat_map(|family| family.examples.iter().copied()))
        .collect();
    let meant = suggest::nearest(name, known.iter().copied());
    let meant = meant.map(|name| format!("did you mean {name}? ")).unwrap_or_default();
    Err(format!("{name:?} is no workload: {meant}`loadtest list` shows all of them"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Action, MqttVersion, Pace, Pipeline};

    #[test]
    fn every_listed_workload_is_a_valid_plan() {
        let names = fixed().map(|listed| listed.name);
        let examples = families().iter().flat_map(|family| family.examples.iter().copied());
        for name in names.chain(examples) {
            let plan = build(name, &Tuning::default()).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(plan.check(), Ok(()), "{name}");
            assert_eq!(plan.name, name);
            assert!(plan.stages.iter().any(|stage| stage.measured), "{name} measures nothing");
            assert!(!plan.description.is_empty());
        }
    }

    #[test]
    fn every_knob_that_a_workload_lists_changes_it() {
        for listed in fixed() {
            for knob in listed.knobs {
                let mut tuning = Tuning::default();
                knob.set_for_test(&mut tuning);
                let changed = build(listed.name, &tuning).unwrap_or_else(|error| panic!("{}: {error}", listed.name));
                let plain = build(listed.name, &Tuning::default()).unwrap();
                assert_ne!(changed, plain, "{} {}", listed.name, knob.flag());
                assert_eq!(changed.check(), Ok(()), "{} {}", listed.name, knob.flag());
            }
        }
    }

    #[test]
    fn a_flag_without_a_use_is_refused() {
        let tuning = Tuning { window: Some(8), ..Tuning::default() };
        let error = build("p2p-1K-1K-1K-1K", &tuning).unwrap_err();
        assert_eq!(
            error,
            "p2p-1K-1K-1K-1K has no use for --window; it takes --qos, --payload, --duration, --connect-rate, \
             --pipeline"
        );
    }

    #[test]
    fn pipelining_is_off_and_is_refused_where_nobody_subscribes() {
        let piped = Tuning { pipeline: true, ..Tuning::default() };
        for listed in fixed() {
            assert_eq!(build(listed.name, &Tuning::default()).unwrap().pipeline(), Pipeline::Off, "{}", listed.name);
            assert_eq!(build(listed.name, &piped).unwrap().pipeline(), Pipeline::On, "{}", listed.name);
        }
        let error = build("conn-tcp-10-10", &piped).unwrap_err();
        assert!(error.starts_with("conn-tcp-10-10 has no use for --pipeline; "), "{error}");
    }

    #[test]
    fn a_slip_finds_its_workload() {
        let error = build("recconect-storm", &Tuning::default()).unwrap_err();
        assert!(error.contains("did you mean reconnect-storm?"), "{error}");
        assert!(build("x", &Tuning::default()).unwrap_err().ends_with("`loadtest list` shows all of them"));
    }

    #[test]
    fn families_are_what_the_suite_says() {
        let plan = build("p2p-50K-50K-50K-50K", &Tuning::default()).unwrap();
        assert_eq!((plan.clients(), plan.target.version, plan.target.keep_alive_s), (100_000, MqttVersion::V311, 300));
        let publishing = plan.groups[1].publishing.as_ref().unwrap();
        assert_eq!((publishing.qos, publishing.payload_bytes), (1, 16));
        assert_eq!(publishing.pace, Pace::Open { per_client_per_s: 1.0 });

        let plan = build("fanout-5-1000-5-250K", &Tuning::default()).unwrap();
        let publishing = plan.groups[1].publishing.as_ref().unwrap();
        assert_eq!(publishing.pace, Pace::Open { per_client_per_s: 50.0 });
        assert_eq!((plan.groups[0].clients, plan.groups[1].clients), (1000, 5));

        let plan = build("sharedsub-50K-500-50K-50K", &Tuning::default()).unwrap();
        assert_eq!((plan.clients(), plan.target.version), (50_500, MqttVersion::V5));
        assert!(plan.groups[0].subscriptions[0].filter.0.starts_with("$share/"));

        let plan = build("conn-tls-resumed-7-3", &Tuning::default()).unwrap();
        assert_eq!((plan.clients(), plan.target.port), (7, 8883));
        assert!(matches!(plan.target.tls, Some(tls) if tls.resume_percent > 99.9 && tls.certificate.is_none()));
        assert!(build("conn-tls-7-3", &Tuning::default()).unwrap().target.tls.is_some());
        let tls = build("conn-tls-cert-7-3", &Tuning::default()).unwrap().target.tls.unwrap();
        assert_eq!(tls.certificate.unwrap().0, "client-%i.pem");

        let plan = build("conn-tcp-7-3", &Tuning::default()).unwrap();
        assert_eq!(plan.clients(), 7);
        assert!(matches!(plan.stages[0].action, Action::Ramp { rate_per_s: 3.0, .. }));
    }

    #[test]
    fn a_family_says_which_sizes_contradict_each_other() {
        for (name, part) in [
            ("p2p-1K-2K-1K-1K", "as many subscribers as publishers"),
            ("p2p-1K-1K-1K-2K", "as many messages arrive as are sent"),
            ("p2p-1K-1K-1K", "p2p-PUBLISHERS-SUBSCRIBERS-RATE-RATE"),
            ("p2p-1K-1K-1K-x", "\"x\" is not a count"),
            ("p2p-0-0-1K-1K", "at least one"),
            ("fanout-5-1000-4-250K", "a topic of its own"),
            ("conn-tcp-10K-0", "at least one"),
            ("conn-udp-10K-100", "conn-tcp-"),
            ("sharedsub-1K-5-1K-2K", "as many messages arrive as are sent"),
        ] {
            let error = build(name, &Tuning::default()).unwrap_err();
            assert!(error.contains(part), "{name}: {error}");
        }
    }
}
