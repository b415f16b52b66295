//! Which engines are taken, and what is said of the others.

use std::time::{Duration, Instant};

use dunlin::services::cluster::{Engine, EngineFault};

use super::servers::{EngineServers, Flaw};
use super::{LIMIT, block_on};

/// What the engine is refused with in the end, whatever it is before its servers have found each other.
fn refused(engine: &EngineServers, user: &str, system: &str) -> EngineFault {
    block_on(Engine::reach(&engine.config(user, system), |_| ())).expect_err("it is refused")
}

#[test]
fn three_servers_hold_three_replicas_and_a_single_one_holds_one() {
    for count in [3, 1] {
        let engine = EngineServers::started(count, &[]);
        let reached = block_on(Engine::reach(&engine.config("fleet", "sys"), |_| ())).expect("it is as it has to be");
        assert_eq!(reached.replicas(), count);
    }
}

#[test]
fn a_server_of_2_14_is_named() {
    let engine = EngineServers::started(1, &[(0, Flaw::Old)]);
    let told = refused(&engine, "fleet", "sys").to_string();
    assert_eq!(told, "the engine's server n0 is nats-server 2.14.6: a cluster rests on 2.15 or newer");
}

#[test]
fn a_server_without_sync_is_named_though_the_others_have_it() {
    let engine = EngineServers::started(3, &[(2, Flaw::NoSync)]);
    let told = refused(&engine, "fleet", "sys").to_string();
    assert!(
        told.starts_with("the engine's server n2 does not sync what it acknowledges: write sync_interval: always"),
        "{told}"
    );
}

#[test]
fn each_login_that_is_not_what_it_has_to_be_is_told_from_the_others() {
    let engine = EngineServers::started(1, &[]);
    assert_eq!(refused(&engine, "other", "sys"), EngineFault::NoJetStream);
    assert_eq!(refused(&engine, "fleet", "fleet"), EngineFault::NotOfSystem);
    let told = refused(&engine, "wrong", "sys").to_string();
    assert!(
        told.starts_with("the engine refuses the login of the cluster: give it --cluster-engine-user and"),
        "{told}"
    );
    let told = refused(&engine, "fleet", "wrong").to_string();
    assert!(
        told.starts_with("the engine refuses the login of its system account: give it --cluster-engine-system-user"),
        "{told}"
    );
    let told = refused(&engine, "fleet", "nobody").to_string();
    assert!(told.contains("/nobody: No such file"), "{told}");
}

#[test]
fn an_engine_that_comes_later_is_waited_for() {
    let mut engine = EngineServers::new(1, &[]);
    let config = engine.config("fleet", "sys");
    let place = config.server.servers.join(", ");
    let mut told = Vec::new();
    let reached = block_on(Engine::reach(&config, |fault| {
        told.push(fault.to_string());
        if told.len() == 1 {
            engine.start(0);
        }
    }));
    assert_eq!(reached.expect("it has come").replicas(), 1);
    assert!(told[0].starts_with(&format!("none of the engine's servers can be connected to ({place}): ")), "{told:?}");
}

#[test]
fn servers_that_hold_replicas_all_have_to_answer() {
    let mut engine = EngineServers::started(3, &[]);
    let config = engine.config("fleet", "sys");
    block_on(Engine::reach(&config, |_| ())).expect("three answer");
    engine.kill(1);
    let fault = block_on(async {
        loop {
            // The others need a moment to see that it has gone.
            match Engine::open(&config).await {
                Err(fault @ EngineFault::TooFew { .. }) => return fault,
                Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    });
    assert_eq!(fault, EngineFault::TooFew { answered: 2, wanted: 3 });
    assert!(fault.may_pass() && fault.to_string() == "2 of the engine's servers with JetStream answer, and 3 have to");
    let mut told = Vec::new();
    let reached = block_on(Engine::reach(&config, |fault| {
        told.push(fault.clone());
        if told.len() == 1 {
            engine.start(1);
        }
    }));
    assert_eq!((reached.expect("it has come back").replicas(), &told[0]), (3, &fault));
}

#[test]
fn a_server_that_stands_still_is_given_up_for_another() {
    let engine = EngineServers::started(3, &[]);
    block_on(async {
        let reached = Engine::reach(&engine.config("fleet", "sys"), |_| ()).await.expect("it is as it has to be");
        let name = || reached.client().server_info().server_name;
        let first = name();
        let index: usize = first.trim_start_matches('n').parse().expect("n0 to n2");
        engine.stop(index);
        let stopped = Instant::now();
        while name() == first {
            assert!(stopped.elapsed() < LIMIT, "{first} is still connected to");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(stopped.elapsed() >= Duration::from_millis(1_400), "two pings at least were missed");
    });
}
