//! The control store: who wins a put, and that everybody sees all that was stored, in one order, whatever becomes of the watch.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_nats::jetstream;
use dunlin::cluster::{ControlKey, ControlPut, NodeId};
use dunlin::services::cluster::{ControlAnswer, ControlEvent, ControlStore, Engine};
use futures_util::future::join_all;

use super::block_on;
use super::servers::EngineServers;

async fn open(servers: &EngineServers) -> (Engine, ControlStore) {
    let engine = Engine::reach(&servers.config("fleet", "sys"), |_| ()).await.expect("it is as it has to be");
    let store = engine.open_control_store().await.expect("a bucket");
    (engine, store)
}

fn node(number: u16) -> ControlKey {
    ControlKey::Node(NodeId::new(number).expect("there may be such a node"))
}

/// Puts once, under a name that nothing else has.
async fn put(engine: &Engine, put: &ControlPut) -> ControlAnswer {
    static PUTS: AtomicU64 = AtomicU64::new(0);
    let name = format!("put-{}", PUTS.fetch_add(1, Ordering::Relaxed));
    engine.put(put, &name).await
}

fn document(key: ControlKey, expected: u64, text: &str) -> ControlPut {
    ControlPut { key, expected, bytes: text.as_bytes().to_vec() }
}

/// The next document that the store shows, with its revision.
async fn shown(store: &mut ControlStore) -> (ControlKey, u64, String) {
    loop {
        if let ControlEvent::Entry { key, revision, bytes } = store.next().await {
            return (key, revision, String::from_utf8(bytes.to_vec()).expect("text"));
        }
    }
}

#[test]
fn a_put_that_expects_another_revision_is_refused_and_the_watch_shows_what_is_stored() {
    let servers = EngineServers::started(1, &[]);
    block_on(async {
        let (engine, mut store) = open(&servers).await;
        assert_eq!(store.next().await, ControlEvent::CaughtUp, "there is nothing yet");
        assert_eq!(put(&engine, &document(ControlKey::Map, 0, "one")).await, ControlAnswer::Stored(1));
        assert_eq!(put(&engine, &document(ControlKey::Map, 0, "two")).await, ControlAnswer::Refused);
        assert_eq!(put(&engine, &document(ControlKey::Map, 7, "two")).await, ControlAnswer::Refused);
        assert_eq!(put(&engine, &document(node(1), 0, "beat")).await, ControlAnswer::Stored(2));
        assert_eq!(put(&engine, &document(ControlKey::Map, 1, "two")).await, ControlAnswer::Stored(3));
        for expected in [(ControlKey::Map, 1, "one"), (node(1), 2, "beat"), (ControlKey::Map, 3, "two")] {
            let (key, revision, text) = shown(&mut store).await;
            assert_eq!((key, revision, text.as_str()), expected);
        }
        // Who comes later sees what each key has, and nothing of a key that is none of ours.
        engine.client().publish("$KV.dunlin_ctl.else", "x".into()).await.expect("somebody's");
        let mut late = engine.open_control_store().await.expect("a bucket");
        assert_eq!(shown(&mut late).await, (node(1), 2, "beat".to_owned()));
        assert_eq!(shown(&mut late).await, (ControlKey::Map, 3, "two".to_owned()));
        assert_eq!(late.next().await, ControlEvent::CaughtUp);
    });
}

#[test]
fn of_many_who_put_at_once_one_wins_and_the_others_are_refused() {
    let servers = EngineServers::started(3, &[]);
    block_on(async {
        let (engine, _store) = open(&servers).await;
        let mut expected = 0;
        for round in 0..20 {
            let puts: Vec<ControlPut> =
                (0..8).map(|who| document(ControlKey::Map, expected, &format!("{round} {who}"))).collect();
            let answers = join_all(puts.iter().map(|document| put(&engine, document))).await;
            let won: Vec<u64> = answers
                .iter()
                .filter_map(|answer| if let ControlAnswer::Stored(revision) = answer { Some(*revision) } else { None })
                .collect();
            let refused = answers.iter().filter(|answer| **answer == ControlAnswer::Refused).count();
            assert_eq!((won.len(), refused), (1, 7), "round {round}: {answers:?}");
            expected = won[0];
        }
    });
}

#[test]
fn what_the_watch_does_not_bring_is_read_from_the_leader() {
    let servers = EngineServers::started(1, &[]);
    block_on(async {
        let (engine, mut store) = open(&servers).await;
        assert_eq!(put(&engine, &document(node(1), 0, "first")).await, ControlAnswer::Stored(1));
        assert_eq!(shown(&mut store).await.1, 1);
        // The consumer of the watch goes, and it does not notice for ten seconds.
        let context = jetstream::new(engine.client().clone());
        let stream = context.get_stream("KV_dunlin_ctl").await.expect("it is there");
        let names: Vec<String> = futures_util::StreamExt::collect::<Vec<_>>(stream.consumer_names())
            .await
            .into_iter()
            .map(|name| name.expect("a name"))
            .collect();
        assert_eq!(names.len(), 1, "the watch has one");
        stream.delete_consumer(&names[0]).await.expect("it goes");
        let begun = Instant::now();
        for revision in 2..=4 {
            let answer = put(&engine, &document(node(1), revision - 1, "next")).await;
            assert_eq!(answer, ControlAnswer::Stored(revision));
            store.acknowledge(revision);
            assert_eq!(shown(&mut store).await.1, revision);
        }
        // What is behind that comes as well: a beat of another node would be replaced before the next look.
        assert_eq!(put(&engine, &document(node(1), 4, "next")).await, ControlAnswer::Stored(5));
        assert_eq!(put(&engine, &document(node(2), 0, "another's")).await, ControlAnswer::Stored(6));
        store.acknowledge(5);
        assert_eq!((shown(&mut store).await.1, shown(&mut store).await.1), (5, 6));
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(9), "the watch has come back by itself: {took:?}");
    });
}

#[test]
fn nothing_is_lost_or_turned_round_when_the_leader_of_the_store_is_killed() {
    let mut servers = EngineServers::started(3, &[]);
    block_on(async {
        let (engine, mut store) = open(&servers).await;
        let context = jetstream::new(engine.client().clone());
        let mut stream = context.get_stream("KV_dunlin_ctl").await.expect("it is there");
        let mut stored = vec![put_in_the_end(&engine, 0).await];
        let leader = stream.info().await.expect("its state").cluster.clone().and_then(|cluster| cluster.leader);
        let leader: usize = leader.expect("it has one").trim_start_matches('n').parse().expect("n0 to n2");
        servers.kill(leader);
        for _ in 0..20 {
            let last = stored[stored.len() - 1];
            let revision = put_in_the_end(&engine, last).await;
            store.acknowledge(revision);
            stored.push(revision);
        }
        let mut seen = Vec::new();
        while seen.last() != stored.last() {
            let (_, revision, _) = shown(&mut store).await;
            assert!(seen.last().is_none_or(|last| *last < revision), "{seen:?}, then {revision}");
            seen.push(revision);
        }
    });
}

/// Puts until the engine has said that it is stored. A put whose answer was lost may be stored as well: then the next one is refused, and finds its revision.
async fn put_in_the_end(engine: &Engine, mut expected: u64) -> u64 {
    loop {
        match put(engine, &document(node(1), expected, "beat")).await {
            ControlAnswer::Stored(revision) => return revision,
            ControlAnswer::Refused => expected += 1,
            ControlAnswer::Failed(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}
