//! Judgements: each cause with its status and its line.

use super::*;
use crate::{
    outcome::{Deliveries, LossReason},
    preset::{self, Tuning},
};

fn plan() -> Plan {
    preset::build("quick", &Tuning::default()).unwrap()
}

fn connected() -> Outcome {
    let mut outcome = Outcome { target: "127.0.0.1:1883".to_owned(), ..Outcome::default() };
    (outcome.connections.attempted, outcome.connections.established) = (10, 10);
    outcome
}

#[test]
fn a_run_that_kept_everything_is_ok() {
    let judgement = judge(&plan(), &connected(), &[Threshold::parse("loss>0").unwrap()], &[]);
    assert_eq!((judgement.exit, judgement.complaints.len(), judgement.thresholds[0].broken), (Exit::Ok, 0, false));
}

#[test]
fn each_cause_has_its_status_and_its_line() {
    let mut outcome = connected();
    outcome.verdict.deliveries[1] = Deliveries { expected: 9, received: 8, ..Deliveries::default() };
    let thresholds = [Threshold::parse("loss>0").unwrap(), Threshold::parse("p99>1s").unwrap()];
    let judgement = judge(&plan(), &outcome, &thresholds, &[]);
    assert_eq!(judgement.exit, Exit::Broken);
    assert_eq!(
        judgement.complaints,
        ["1 lost at QoS 1", "loss 1 (fails above 0)", "p99 was not measured (fails above 1 s)"]
    );

    outcome.verdict.messages[1].unsent = 25_000;
    outcome.verdict.messages[1].unconfirmed = 3;
    let complaints = judge(&plan(), &outcome, &[], &[]).complaints;
    assert!(complaints[0].starts_with("25,000 messages of the schedule were not sent in time"), "{complaints:?}");
    assert!(complaints[1].starts_with("3 messages were not acknowledged"), "{complaints:?}");

    outcome.connections.lost.insert(LossReason::Reset, 1_200);
    let judgement = judge(&plan(), &outcome, &[], &[]);
    assert_eq!(judgement.complaints[0], "1,200 connections were lost: 1,200 reset");
    let slow = preset::build("slow-consumer", &Tuning::default()).unwrap();
    assert_eq!(judge(&slow, &outcome, &[], &[]).complaints, ["1 lost at QoS 1"]);

    outcome.ending = Ending::BrokerLost { at_s: 3.25 };
    let judgement = judge(&plan(), &outcome, &[], &[]);
    assert_eq!(judgement.exit, Exit::BrokerLost);
    assert!(judgement.complaints[0].starts_with("the broker was lost 3.2 s after"), "{:?}", judgement.complaints);

    let judgement = judge(&plan(), &connected(), &[], &["agent 10.0.0.2:9000 was lost".to_owned()]);
    assert_eq!((judgement.exit, judgement.complaints.len()), (Exit::AgentLost, 1));
}

#[test]
fn what_was_refused_fails_a_run_however_it_ended() {
    for ending in [Ending::Finished, Ending::Interrupted] {
        let mut outcome = Outcome { ending, ..connected() };
        outcome.verdict.messages[1].refused = 30;
        outcome.refused.insert("PUBACK not authorized".to_owned(), 30);
        let judgement = judge(&plan(), &outcome, &[Threshold::parse("refused>0").unwrap()], &[]);
        assert_eq!(judgement.exit, Exit::Broken);
        assert_eq!(
            judgement.complaints,
            ["the broker refused 30 messages (30 PUBACK not authorized)", "refused 30 (fails above 0)"]
        );
        outcome.connections.lost.insert(LossReason::Closed, 2);
        let judgement = judge(&plan(), &outcome, &[], &[]);
        assert_eq!(judgement.complaints[0], "2 connections were lost: 2 closed");
    }
}

#[test]
fn a_run_in_which_nobody_was_connected_says_so() {
    let mut outcome = connected();
    (outcome.connections.attempted, outcome.connections.established) = (0, 0);
    outcome.verdict.messages[1].unsent = 500;
    outcome.verdict.messages[1].unconnected = 500;
    let judgement = judge(&plan(), &outcome, &[], &[]);
    assert_eq!(judgement.exit, Exit::Broken);
    assert_eq!(judgement.complaints, ["no client was connected: no stage of the run connects any (do = \"ramp\")"]);
    (outcome.connections.attempted, outcome.connections.established) = (10, 10);
    let complaints = judge(&plan(), &outcome, &[], &[]).complaints;
    assert_eq!(complaints, ["500 messages of the schedule were not sent: their clients were not connected"]);
}

#[test]
fn who_is_generator_bound_learns_by_what() {
    let mut outcome = Outcome { bottleneck: Bottleneck::Generator, ..connected() };
    outcome.generator.busiest_worker_share = 0.97;
    outcome.generator.worker_share_measured = 0.95;
    assert!(generator_bound(&outcome).unwrap().contains("busy 97 % of a second"));
    outcome.generator.worker_share_measured = 0.2;
    outcome.timings.own_delay.record(66_000_000);
    outcome.timings.latency_intended.record(157_000_000);
    let told = generator_bound(&outcome).unwrap();
    assert!(told.contains("loadtest sent late by itself, 66.03 ms at p99, of 157 ms to the subscriber"), "{told}");
    outcome.bottleneck = Bottleneck::None;
    assert_eq!(generator_bound(&outcome), None);
}

#[test]
fn who_cannot_connect_learns_why() {
    for (reason, exit, part) in [
        (FailureReason::Refused, Exit::Unreachable, "5 refused"),
        (FailureReason::Unreachable, Exit::Unreachable, "5 unreachable"),
        (FailureReason::NotAuthorized, Exit::Refused, "5 not authorized (bad password)"),
        (FailureReason::NoPort, Exit::Machine, "5 no port"),
    ] {
        let mut outcome = Outcome { target: "broker:1883".to_owned(), ..Outcome::default() };
        outcome.connections.failed.insert(reason, 5);
        outcome.connections.first_failure = Some("bad password".to_owned());
        let judgement = judge(&plan(), &outcome, &[], &[]);
        assert_eq!(judgement.exit, exit);
        assert!(judgement.complaints[0].starts_with("broker:1883: 5 connections failed"));
        assert!(judgement.complaints[0].contains(part), "{:?}", judgement.complaints);
    }
    let mut outcome = connected();
    outcome.connections.failed.insert(FailureReason::Busy, 2);
    assert_eq!(judge(&plan(), &outcome, &[], &[]).exit, Exit::Broken);
}

#[test]
fn statuses_are_numbers_and_stand_in_the_help() {
    for status in 0..=8 {
        assert_eq!(Exit::from_status(status).status(), status);
        assert!(STATUSES.contains(&format!("\n  {status}  ")), "{status}");
    }
}
