//! The streams of a cluster: made where they are not there, and never changed where they are.

use async_nats::jetstream::{self, stream};
use dunlin::cluster::RangeCount;
use dunlin::services::cluster::{Engine, EngineFault};

use super::block_on;
use super::servers::{EngineServers, Flaw};

async fn reach(servers: &EngineServers) -> Engine {
    Engine::reach(&servers.config("fleet", "sys"), |_| ()).await.expect("it is as it has to be")
}

fn ranges(count: u16) -> RangeCount {
    RangeCount::new(count).expect("there may be so many")
}

#[test]
fn what_a_cluster_keeps_is_made_with_three_replicas_and_found_again() {
    let servers = EngineServers::started(3, &[]);
    block_on(async {
        let engine = reach(&servers).await;
        for _ in 0..2 {
            engine.open_control_store().await.expect("a bucket");
            engine.make_logs(ranges(2)).await.expect("logs");
        }
        let context = jetstream::new(engine.client().clone());
        for (name, subject, deny_delete, has_ttl) in [
            ("KV_dunlin_ctl", "$KV.dunlin_ctl.>", true, false),
            ("dunlin_log_0", "dunlin.log.0", true, false),
            ("dunlin_log_1", "dunlin.log.1", true, false),
            ("dunlin_ret", "dunlin.ret.*", false, true),
        ] {
            let stream = context.get_stream(name).await.expect(name);
            let config = &stream.cached_info().config;
            assert_eq!((config.subjects.as_slice(), config.num_replicas), (&[subject.to_owned()][..], 3), "{name}");
            assert_eq!((config.deny_delete, config.allow_message_ttl), (deny_delete, has_ttl), "{name}");
            assert_eq!(config.discard, stream::DiscardPolicy::New, "{name}");
        }
        let names = context.get_stream("dunlin_log_2").await;
        assert!(names.is_err(), "no log of a range that there is not");
    });
}

#[test]
fn a_stream_that_is_otherwise_is_named_and_not_touched() {
    let servers = EngineServers::started(1, &[]);
    block_on(async {
        let engine = reach(&servers).await;
        let context = jetstream::new(engine.client().clone());
        let subjects = vec!["dunlin.log.0".to_owned()];
        let config = stream::Config { name: "dunlin_log_0".to_owned(), subjects, ..stream::Config::default() };
        context.create_stream(config).await.expect("a stream of somebody's");
        let fault = engine.make_logs(ranges(1)).await.expect_err("it is otherwise");
        let (field, found, wanted) = ("discard", "\"old\"".to_owned(), "\"new\"".to_owned());
        assert_eq!(fault, EngineFault::Differs { stream: "dunlin_log_0".to_owned(), field, found, wanted });
        assert!(!fault.may_pass());
        let stream = context.get_stream("dunlin_log_0").await.expect("it is there");
        assert_eq!(stream.cached_info().config.discard, stream::DiscardPolicy::Old);
        context.get_stream("dunlin_ret").await.expect_err("nothing is made behind it");
    });
}

#[test]
fn a_limit_of_the_account_is_told_in_the_engines_words() {
    let servers = EngineServers::started(1, &[(0, Flaw::OneStream)]);
    block_on(async {
        let engine = reach(&servers).await;
        engine.open_control_store().await.expect("the first");
        let fault = engine.make_logs(ranges(1)).await.expect_err("the second");
        let told = fault.to_string();
        assert!(told.starts_with("the engine does not make the stream dunlin_log_0: "), "{told}");
        assert!(told.contains("maximum number of streams reached") && !fault.may_pass(), "{told}");
    });
}
