//! Against a real server: what its streams hold afterwards.

use std::time::Duration;

use async_nats::jetstream::{self, stream};
use futures_util::StreamExt as _;

use super::*;
use crate::config::targets::{NatsLogin, NatsServerSettings};
use crate::services::sinks::samples::row;
use crate::services::test_servers::foreign::ForeignServer;
use crate::template::Template;

fn settings(server: &ForeignServer, jetstream: bool) -> NatsSinkSettings {
    NatsSinkSettings {
        server: NatsServerSettings {
            servers: vec![server.port.address().to_string()],
            login: NatsLogin::None,
            tls: None,
            timeout: Duration::from_secs(5),
        },
        subject: Template::parse("mqtt.{{ topic | nats_subject }}").unwrap(),
        jetstream,
    }
}

async fn stream(server: &ForeignServer, config: stream::Config) -> stream::Stream {
    let client = async_nats::connect(server.port.address().to_string()).await.unwrap();
    jetstream::new(client).get_or_create_stream(config).await.unwrap()
}

fn plant() -> stream::Config {
    stream::Config {
        name: "plant".to_owned(),
        subjects: vec!["mqtt.plant.>".to_owned()],
        max_message_size: 1_000,
        ..stream::Config::default()
    }
}

#[tokio::test]
async fn a_stream_has_each_row_once_with_its_headers_and_what_it_never_takes_is_named() {
    let server = ForeignServer::nats();
    let mut stream = stream(&server, plant()).await;
    let mut target = NatsTarget::new(settings(&server, true));
    let mut first = row(1, "plant/7", "21.5");
    first.user_properties = vec![("unit".into(), "C".into()), ("Nats-Rollup".into(), "all".into())];
    let long = "x".repeat(2_000);
    let batch = [
        row(0, "plant/6", "before"),
        first,
        row(2, "other/7", "no stream has it"),
        row(3, "plant/8", &long),
        row(4, "plant/9", &"x".repeat(2 * 1024 * 1024)),
        row(5, "plant/8", "last"),
    ];
    for _ in 0..2 {
        let delivered = target.deliver(&batch).await;
        let Ok(Delivered::Some { rejected }) = delivered else { panic!("{delivered:?}") };
        assert_eq!(rejected.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [2, 3, 4], "{rejected:?}");
    }
    let messages = stream.info().await.unwrap().state.messages;
    assert_eq!(messages, 3, "what was sent again was taken for another, or a publisher's property was obeyed");
    let stored = stream.get_raw_message(2).await.unwrap();
    assert_eq!((stored.subject.as_str(), &*stored.payload), ("mqtt.plant.7", &b"21.5"[..]));
    let header = |name: &str| stored.headers.get(name).map(|value| value.as_str().to_owned());
    assert_eq!(header("mqtt-topic").as_deref(), Some("plant/7"));
    assert_eq!(header("unit").as_deref(), Some("C"));
    assert_eq!(header("Nats-Msg-Id").as_deref(), Some("00000000000000000000000000000001"));
    assert_eq!(header("Nats-Rollup"), None);
}

#[tokio::test]
async fn a_long_batch_keeps_its_order() {
    let server = ForeignServer::nats();
    let mut stream = stream(&server, plant()).await;
    let mut target = NatsTarget::new(settings(&server, true));
    let batch: Vec<_> = (0..2_000).map(|id| row(id, "plant/1", &id.to_string())).collect();
    assert_eq!(target.deliver(&batch).await, Ok(Delivered::All));
    assert_eq!(stream.info().await.unwrap().state.messages, 2_000);
    for sequence in [1, 1_000, 2_000] {
        let stored = stream.get_raw_message(sequence).await.unwrap();
        assert_eq!(&*stored.payload, (sequence - 1).to_string().as_bytes());
    }
}

#[tokio::test]
async fn a_server_that_is_gone_is_tried_again() {
    let mut server = ForeignServer::nats();
    let mut all = plant();
    all.subjects = vec!["mqtt.>".to_owned()];
    stream(&server, all.clone()).await;
    let mut short = settings(&server, true);
    short.server.timeout = Duration::from_secs(1);
    let mut target = NatsTarget::new(short);
    assert_eq!(target.deliver(&[row(1, "plant/1", "a")]).await, Ok(Delivered::All));
    server.kill();
    for _ in 0..2 {
        let down = target.deliver(&[row(2, "plant/1", "b")]).await;
        assert!(matches!(down, Err(DeliverError::Retry { .. })), "{down:?}");
    }
    server.kill_and_start_nats();
    let mut delivered = target.deliver(&[row(2, "plant/1", "b")]).await;
    for _ in 0..20 {
        // The stream is there a little after the port is.
        if delivered.is_ok() {
            break;
        }
        delivered = target.deliver(&[row(2, "plant/1", "b")]).await;
    }
    assert_eq!(delivered, Ok(Delivered::All));
    assert_eq!(stream(&server, all).await.info().await.unwrap().state.messages, 2);
}

#[tokio::test]
async fn without_a_stream_whoever_listens_gets_it_and_a_stream_that_is_missing_is_no_rows_fault() {
    let server = ForeignServer::nats();
    let client = async_nats::connect(server.port.address().to_string()).await.unwrap();
    let mut heard = client.subscribe("mqtt.>").await.unwrap();
    client.flush().await.unwrap();
    let mut target = NatsTarget::new(settings(&server, false));
    assert_eq!(target.deliver(&[row(1, "a/b", "x")]).await, Ok(Delivered::All));
    assert_eq!(&*heard.next().await.unwrap().payload, b"x");

    let mut fixed = settings(&server, true);
    fixed.subject = Template::parse("elsewhere.all").unwrap();
    let delivered = NatsTarget::new(fixed).deliver(&[row(1, "a/b", "x")]).await;
    assert!(matches!(&delivered, Err(DeliverError::Retry { why, .. }) if why.contains("stream")), "{delivered:?}");
}
