//! Who is owed what, held against the definition: every client's every filter matched with every topic, one by one.

use super::topics::LEVELS_MAX;
use super::*;
use crate::plan::{Group, Order, Pace, Part, Plan, Publishing, Sources, Stage, Subscription, Target, Targets};
use dunlin::topic::{SubscribedFilter, TopicName, matches};
use std::collections::BTreeMap;

fn publishing(topic: &str, qos: u8) -> Publishing {
    Publishing {
        topic: topic.into(),
        qos,
        retain: false,
        payload_bytes: 16,
        content: Vec::new(),
        pace: Pace::Closed { window: 1 },
        messages_per_client: None,
        targets: None,
    }
}

fn group(name: &str, clients: u32, filters: &[(&str, u8)], publishing: Option<Publishing>) -> Group {
    let mut group = Group::new(name, clients, &format!("{name}-%i"));
    group.subscriptions = filters.iter().map(|(filter, qos)| Subscription::new(filter, *qos)).collect();
    group.publishing = publishing;
    group
}

fn plan(groups: Vec<Group>) -> Plan {
    Plan {
        name: "interest".to_owned(),
        description: String::new(),
        target: Target::default(),
        groups,
        stages: Vec::<Stage>::new(),
        workers: 1,
        sources: Sources::Auto,
        run_id: 1,
        seed: 1,
        drain_s: 1,
        part: Part::default(),
        clocks: Vec::new(),
    }
}

/// Groups of every form that a claim can have.
fn many() -> Vec<Group> {
    let mut aimed = publishing("aim/%r/x", 1);
    aimed.targets = Some(Targets { first: 2, count: 9, order: Order::InTurn });
    let mut late = group("late", 3, &[("pair/%i", 2)], None);
    late.first = 2;
    let mut slow = group("slow", 2, &[("pair/#", 1), ("$share/g/pair/+", 1)], None);
    slow.reads = Reads::Stalled;
    vec![
        group("pairs", 4, &[("pair/%i", 2)], Some(publishing("pair/%i", 2))),
        late,
        group("aimed", 2, &[], Some(aimed)),
        group("same", 3, &[("one", 0)], Some(publishing("one", 1))),
        group("overlap", 3, &[("pair/#", 0), ("pair/%i", 1), ("+/+", 2), ("aim/%i/+", 1)], None),
        group("partly", 2, &[("pair/1", 1), ("aim/4/#", 2), ("one", 2)], None),
        group("twice", 2, &[("pair/+", 2), ("pair/+", 0)], None),
        group("share", 3, &[("$share/g/pair/+", 1), ("$share/h/#", 0)], None),
        group("both", 2, &[("pair/%i", 1), ("$share/g/pair/+", 1)], None),
        slow,
        group("reversed", 3, &[("pair/%i", 1), ("pair/+", 0), ("pair/3", 2)], None),
        group("sequenced", 2, &[("seq/%i/+", 1), ("seq/#", 0)], Some(publishing("seq/%i/%s", 1))),
        group("nothing", 2, &[("else/%i", 1), ("$share/n/else", 1)], None),
    ]
}

/// A client's filters as a broker has them: one of each text, the later options.
fn filters_of(cast: &Cast, role: usize, index: u32) -> BTreeMap<String, u8> {
    let filters = cast.roles[role].filters.iter().enumerate();
    filters.map(|(at, (_, subscription))| (filter_text(cast, role, index, at), subscription.qos)).collect()
}

fn is_matched(filter: &str, topic: &str) -> bool {
    let filter = SubscribedFilter::parse(filter, LEVELS_MAX).unwrap();
    matches(filter.filter, TopicName::parse(topic, LEVELS_MAX).unwrap())
}

#[test]
fn every_claim_is_what_filters_and_topics_say() {
    let cast = Cast::new(&plan(many()));
    let interest = Interest::new(&cast, Part::default()).unwrap();
    let (mut owed, mut overlapping, mut shared) = (0, 0, 0);
    for publisher in 0..cast.roles.len() {
        let Some(publishing) = &cast.roles[publisher].publishing else { continue };
        for stream in publishing.first_stream..publishing.first_stream + publishing.streams {
            let mut topic = String::new();
            cast.write_topic(publisher, stream, 0, &mut topic);
            let mut fan = [0; LANES];
            let mut shares = BTreeMap::new();
            for (role, index) in (0..cast.roles.len()).flat_map(|role| {
                let clients = cast.roles[role].group.clients;
                (0..clients).map(move |index| (role, index))
            }) {
                let filters = filters_of(&cast, role, index);
                let (of_all, own): (Vec<_>, Vec<_>) = filters
                    .iter()
                    .filter(|(filter, _)| is_matched(filter, &topic))
                    .partition(|(filter, _)| filter.starts_with("$share/"));
                let qos = own.iter().map(|(_, qos)| **qos).max().unwrap_or(0).min(publishing.what.qos);
                let is_slow = cast.roles[role].group.reads != Reads::AllTheTime;
                let lane = if own.is_empty() { 0 } else { lane(qos, is_slow) };
                let due = interest.due(role, index, publisher, stream);
                let expected = Due { lane, copies: own.len() as u32, is_shared: !of_all.is_empty() };
                assert_eq!(due, expected, "{} {index} of {topic}", cast.roles[role].group.name);
                assert_eq!(interest.shares(role, index, publisher, stream).count(), of_all.len());
                fan[usize::from(lane)] += u32::from(!own.is_empty());
                for (filter, qos) in of_all {
                    // A shared subscription is of its first member's group, and those that read come first here.
                    shares.insert(filter.clone(), (*qos).min(publishing.what.qos));
                }
                let mut visits = Vec::new();
                interest.for_each_stream(&cast, role, index, &mut |one, lane| {
                    if one == stream {
                        visits.push(lane);
                    }
                });
                assert_eq!(visits, if own.is_empty() { vec![] } else { vec![lane] }, "each stream once");
                owed += u32::from(!own.is_empty());
                overlapping += u32::from(own.len() > 1);
            }
            shared += shares.len();
            for lane in shares.values() {
                fan[usize::from(*lane)] += 1;
            }
            assert_eq!(interest.fan(publisher, stream), fan, "{topic}");
        }
    }
    assert!(owed > 40 && overlapping > 10 && shared > 10, "{owed} {overlapping} {shared}: the table is not empty");
}

#[test]
fn what_subscribers_of_all_processes_get_is_the_sum_of_what_each_knows() {
    let mut groups = many();
    groups.retain(|group| !group.subscriptions.iter().any(|one| one.filter.0.starts_with("$share/")));
    let cast = Cast::new(&plan(groups));
    let of = |index: u32| Interest::new(&cast, Part { index, of: 2 }).unwrap();
    let (all, here) = (Interest::new(&cast, Part::default()).unwrap(), [of(0), of(1)]);
    for (role, publishing) in
        cast.roles.iter().enumerate().filter_map(|(at, role)| Some((at, role.publishing.as_ref()?)))
    {
        for stream in publishing.first_stream..publishing.first_stream + publishing.streams {
            let mut sum = [0; LANES];
            for interest in &here {
                interest.fan_here(role, stream).iter().zip(&mut sum).for_each(|(count, sum)| *sum += count);
                assert_eq!(interest.fan(role, stream), all.fan(role, stream));
            }
            assert_eq!(sum, all.fan(role, stream), "stream {stream}");
            assert_eq!(all.fan_here(role, stream), all.fan(role, stream));
        }
        assert!(!all.leaves_process(&cast, role, Part::default()));
        assert!(here[0].leaves_process(&cast, role, Part { index: 0, of: 2 }));
    }
    let pairs = plan(vec![group("pub", 4, &[], Some(publishing("p/%i", 1))), group("sub", 4, &[("p/%i", 1)], None)]);
    let (cast, process) = (Cast::new(&pairs), Part { index: 1, of: 2 });
    let interest = Interest::new(&cast, process).unwrap();
    assert!(!interest.leaves_process(&cast, 0, process));
    let here: Vec<u32> = (0..4).map(|stream| interest.fan_here(0, stream).iter().sum()).collect();
    assert_eq!(here, [0, 1, 0, 1], "who has the same number shares a process");
}

#[test]
fn what_cannot_be_judged_is_refused_with_its_name() {
    let own_share =
        plan(vec![group("pub", 2, &[], Some(publishing("a/%i", 1))), group("sub", 2, &[("$share/g/a/%i", 1)], None)]);
    let error = Interest::new(&Cast::new(&own_share), Part::default()).err().unwrap();
    assert!(error.contains("$share/g/a/0: a shared subscription must be the same for all"), "{error}");
    let too_many = plan(vec![
        group("pub", 20_000, &[], Some(publishing("a/%i/b", 1))),
        group("sub", 20_000, &[("a/%i/+", 1)], None),
    ]);
    let error = Interest::new(&Cast::new(&too_many), Part::default()).err().unwrap();
    assert!(error.contains("20000 clients with a wildcard of their own against 20000 topics"), "{error}");
}

#[test]
fn a_filter_that_takes_some_messages_of_a_sequence_is_refused_and_one_that_takes_none_is_not() {
    let owed = |topic: &str, filter: &str| {
        let plan = plan(vec![group("pub", 2, &[], Some(publishing(topic, 1))), group("sub", 2, &[(filter, 1)], None)]);
        Interest::new(&Cast::new(&plan), Part::default()).map(|interest| interest.fan(0, 1).iter().sum::<u32>())
    };
    for (filter, subscribers) in [("a/%i/+", 1), ("a/1/m", 0), ("a/1/0", 0), ("a/+/+", 2), ("b/#", 0)] {
        assert_eq!(owed("a/%i/m%s", filter), Ok(subscribers), "{filter}");
    }
    for filter in ["a/1/m0", "a/+/m17", "a/%i/m4294967295", "a/1/m%i"] {
        assert!(owed("a/%i/m%s", filter).unwrap_err().contains("put + where %s is"), "{filter}");
    }
}
