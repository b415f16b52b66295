//! Two connections to two servers: what one does not answer is said to the other.

use std::time::{Duration, Instant};

use async_nats::jetstream::{self, Context};
use dunlin::cluster::{ControlKey, ControlPut};
use dunlin::limits::{ENGINE_ANSWER_MS, ENGINE_SAY_AGAIN_MS};
use dunlin::services::cluster::{ControlAnswer, Engine};

use super::servers::EngineServers;
use super::{LIMIT, block_on};

const SAY_AGAIN: Duration = Duration::from_millis(ENGINE_SAY_AGAIN_MS);

async fn reach(servers: &EngineServers) -> Engine {
    let engine = Engine::reach(&servers.config("fleet", "sys"), |_| ()).await.expect("it is as it has to be");
    engine.open_control_store().await.expect("a bucket");
    engine
}

/// Puts, and tells how long it took.
async fn put(engine: &Engine, expected: u64) -> (ControlAnswer, Duration) {
    let begun = Instant::now();
    let document = ControlPut { key: ControlKey::Map, expected, bytes: b"a map".to_vec() };
    let answer = engine.put(&document, &format!("put-{expected}")).await;
    (answer, begun.elapsed())
}

fn index_of(name: &str) -> usize {
    name.trim_start_matches('n').parse().expect("n0 to n2")
}

/// Has another server than this one lead the control store.
async fn lead_elsewhere(context: &Context, server: usize) {
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < LIMIT, "no other server leads");
        let stream = context.get_stream("KV_dunlin_ctl").await;
        let leader = stream.ok().and_then(|stream| stream.cached_info().cluster.clone()?.leader);
        match leader {
            Some(leader) if index_of(&leader) != server => return,
            _ => {
                let client = context.client();
                let _ = client.request("$JS.API.STREAM.LEADER.STEPDOWN.KV_dunlin_ctl", "".into()).await;
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

#[test]
fn what_a_server_that_stands_still_does_not_answer_is_said_to_the_other() {
    let servers = EngineServers::started(3, &[]);
    block_on(async {
        let engine = reach(&servers).await;
        let first = index_of(&engine.client().server_info().server_name);
        lead_elsewhere(&jetstream::new(engine.client().clone()), first).await;
        assert_eq!(put(&engine, 0).await.0, ControlAnswer::Stored(1));
        servers.stop(first);
        let (answer, took) = put(&engine, 1).await;
        assert!(answer == ControlAnswer::Stored(2) && took >= SAY_AGAIN, "{answer:?} after {took:?}");
        // From then on the other one is asked first.
        let (answer, took) = put(&engine, 2).await;
        assert!(answer == ControlAnswer::Stored(3) && took < SAY_AGAIN, "{answer:?} after {took:?}");
    });
}

#[test]
fn the_same_under_one_name_is_stored_once() {
    let servers = EngineServers::started(3, &[]);
    block_on(async {
        let engine = reach(&servers).await;
        for _ in 0..2 {
            assert_eq!(put(&engine, 0).await.0, ControlAnswer::Stored(1));
        }
        assert_eq!(put(&engine, 1).await.0, ControlAnswer::Stored(2));
    });
}

#[test]
fn what_nobody_answers_has_failed_when_the_next_beat_is_due() {
    let servers = EngineServers::started(1, &[]);
    block_on(async {
        let engine = reach(&servers).await;
        servers.stop(0);
        let (answer, took) = put(&engine, 0).await;
        let within = Duration::from_millis(ENGINE_ANSWER_MS);
        assert!(matches!(answer, ControlAnswer::Failed(_)), "{answer:?}");
        assert!(took >= within && took < 2 * within, "{took:?}");
        servers.go_on(0);
        // What was said meanwhile may be stored by now: then a single server refuses it.
        while matches!(put(&engine, 0).await.0, ControlAnswer::Failed(_)) {}
    });
}
