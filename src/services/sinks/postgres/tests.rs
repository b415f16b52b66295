//! Against a real server: what its tables hold afterwards.

use super::*;
use crate::config::secrets::SecretPlace;
use crate::config::targets::TlsClientSettings;
use crate::services::sinks::samples::row;
use crate::services::test_servers::foreign::ForeignServer;
use crate::template::Formula;

const TABLE: &str = "CREATE TABLE readings (device text NOT NULL, at timestamptz NOT NULL, t float8 CHECK (t < 1000), raw bytea, \
    all_of jsonb, PRIMARY KEY (device, at))";

fn settings(server: &ForeignServer, key: &[&str]) -> PostgresSettings {
    let columns = [
        ("device", "client_id"),
        ("at", "payload.at"),
        ("t", "payload.t"),
        ("raw", "payload.raw"),
        ("all_of", "payload"),
    ];
    PostgresSettings {
        hosts: vec![server.folder.display().to_string()],
        port: server.port.address().port(),
        database: "dunlin".to_owned(),
        user: "dunlin".to_owned(),
        password: None,
        tls: None,
        table: "public.readings".to_owned(),
        columns: columns.map(|(name, formula)| (name.to_owned(), Formula::parse(formula).unwrap())).into(),
        key: key.iter().map(|&name| name.to_owned()).collect(),
        keeps_old: false,
        timeout: std::time::Duration::from_secs(20),
    }
}

fn reading(id: u128, minute: u32, t: &str) -> Row {
    row(id, "kiln", &format!(r#"{{"at":"2026-11-30T12:{minute:02}:00Z","t":{t}}}"#))
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn rows_get_in_as_they_are_and_those_that_never_will_are_named() {
    let server = ForeignServer::postgres(&[]);
    server.psql("dunlin", TABLE);
    let mut target = PostgresTarget::new(settings(&server, &[]));
    let mut odd = reading(6, 5, "7");
    odd.original = bytes::Bytes::from_static(b"\xff\0");
    let batch = [
        reading(1, 0, "21.5"),
        reading(2, 1, "\"warm\""),
        reading(3, 2, "null"),
        reading(4, 0, "22.5"),
        reading(5, 3, "5000"),
        odd,
        row(7, "kiln", r#"{"at":"2026-11-30T12:09:00Z","t":1,"raw":"a\\tb"}"#),
    ];
    let delivered = block_on(async { target.deliver(&batch).await });
    let Ok(Delivered::Some { rejected }) = delivered else { panic!("{delivered:?}") };
    let names: Vec<usize> = rejected.iter().map(|(at, _)| *at).collect();
    assert_eq!(names, [1, 3, 4, 5], "{rejected:?}");
    assert!(rejected[0].1.contains("22P02") && rejected[1].1.contains("23505"), "{rejected:?}");
    assert!(rejected[2].1.contains("23514"), "{rejected:?}");
    let rows = server.psql("dunlin", "SELECT t, encode(raw, 'escape'), all_of->>'t' FROM readings ORDER BY at");
    assert_eq!(rows, "21.5||21.5\n||\n1|a\\\\tb|1");
}

#[test]
fn many_rows_that_the_server_refuses_have_time_for_each() {
    let server = ForeignServer::postgres(&[]);
    server.psql("dunlin", TABLE);
    // Each row takes the server a while.
    server.psql(
        "dunlin",
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.03); RETURN NEW; END'; \
         CREATE TRIGGER slow BEFORE INSERT ON readings FOR EACH ROW EXECUTE FUNCTION slow()",
    );
    let mut target =
        PostgresTarget::new(PostgresSettings { timeout: std::time::Duration::from_secs(1), ..settings(&server, &[]) });
    let mut batch: Vec<Row> = (0..50).map(|id| reading(id, id as u32, "5000")).collect();
    batch.push(reading(50, 59, "1"));
    let began = std::time::Instant::now();
    let delivered = block_on(target.deliver(&batch));
    assert!(matches!(&delivered, Ok(Delivered::Some { rejected }) if rejected.len() == 50), "{delivered:?}");
    assert!(began.elapsed() > std::time::Duration::from_secs(1), "it was to take longer than one answer may");
    assert_eq!(server.psql("dunlin", "SELECT t FROM readings"), "1");
}

#[test]
fn what_is_sent_again_goes_over_what_is_there() {
    let server = ForeignServer::postgres(&[]);
    server.psql("dunlin", TABLE);
    let mut target = PostgresTarget::new(settings(&server, &["device", "at"]));
    let batch = [reading(1, 0, "1"), reading(2, 1, "2"), reading(3, 0, "3"), reading(4, 2, "5000")];
    block_on(async {
        for _ in 0..2 {
            let delivered = target.deliver(&batch).await;
            assert!(matches!(&delivered, Ok(Delivered::Some { rejected }) if rejected.len() == 1), "{delivered:?}");
        }
        assert_eq!(target.deliver(&[reading(5, 1, "9")]).await, Ok(Delivered::All));
    });
    assert_eq!(server.psql("dunlin", "SELECT t FROM readings ORDER BY at"), "3\n9");

    let mut first = settings(&server, &["device", "at"]);
    first.keeps_old = true;
    let mut target = PostgresTarget::new(first);
    assert_eq!(
        block_on(target.deliver(&[reading(6, 1, "10"), reading(7, 5, "1"), reading(8, 5, "2")])),
        Ok(Delivered::All)
    );
    assert_eq!(server.psql("dunlin", "SELECT t FROM readings ORDER BY at"), "3\n9\n1");
}

#[test]
fn a_server_that_is_gone_is_tried_again_and_nothing_stands_twice() {
    let mut server = ForeignServer::postgres(&[]);
    let mut target = PostgresTarget::new(settings(&server, &[]));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // A table that is not there is the operator's to make, and no row's fault.
    let missing = runtime.block_on(target.deliver(&[reading(1, 0, "1")]));
    assert!(matches!(&missing, Err(DeliverError::Retry { why, .. }) if why.contains("42P01")), "{missing:?}");
    server.psql("dunlin", TABLE);
    assert_eq!(runtime.block_on(target.deliver(&[reading(1, 0, "1")])), Ok(Delivered::All));
    server.kill();
    let down = runtime.block_on(target.deliver(&[reading(2, 1, "2")]));
    assert!(matches!(down, Err(DeliverError::Retry { .. })), "{down:?}");
    server.kill_and_start_postgres();
    assert_eq!(runtime.block_on(target.deliver(&[reading(2, 1, "2")])), Ok(Delivered::All));
    assert_eq!(server.psql("dunlin", "SELECT count(*) FROM readings"), "2");
}

#[test]
fn an_attempt_that_was_given_up_leaves_nothing() {
    let server = ForeignServer::postgres(&[]);
    server.psql("dunlin", TABLE);
    let mut target = PostgresTarget::new(settings(&server, &[]));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        assert_eq!(target.deliver(&[reading(1, 0, "1")]).await, Ok(Delivered::All));
        // The lock keeps the batch from its end.
        let mut lock = server_session(&server, "BEGIN; LOCK readings; SELECT pg_sleep(3); COMMIT");
        tokio::time::sleep(std::time::Duration::from_millis(700)).await;
        let batch = [reading(2, 1, "2")];
        let given_up = timeout(std::time::Duration::from_millis(300), target.deliver(&batch)).await;
        assert!(given_up.is_err(), "the lock held nobody up: {given_up:?}");
        let _ = lock.wait();
        assert_eq!(target.deliver(&batch).await, Ok(Delivered::All));
    });
    assert_eq!(server.psql("dunlin", "SELECT count(*) FROM readings"), "2");
}

fn server_session(server: &ForeignServer, sql: &str) -> std::process::Child {
    server.psql_command("dunlin", sql).stdout(std::process::Stdio::null()).spawn().unwrap()
}

#[test]
fn over_tls_the_server_must_be_the_one_that_is_meant() {
    let server = ForeignServer::postgres_with_tls();
    server.psql("dunlin", TABLE);
    let mut good = settings(&server, &[]);
    good.hosts = vec!["localhost".to_owned()];
    good.password = Some(SecretPlace::File(server.folder.join("log")));
    good.tls = Some(TlsClientSettings { ca: Some(server.folder.join("ca.pem")), identity: None });
    let mut target = PostgresTarget::new(good.clone());
    assert_eq!(block_on(target.deliver(&[reading(1, 0, "1")])), Ok(Delivered::All));
    let encrypted = server.psql("dunlin", "SELECT count(*) FROM readings");
    assert_eq!(encrypted, "1");

    let mut other = good.clone();
    other.hosts = vec!["127.0.0.1".to_owned()];
    let refused = block_on(PostgresTarget::new(other).deliver(&[reading(2, 1, "1")]));
    assert!(matches!(&refused, Err(DeliverError::Retry { why, .. }) if why.contains("certificate")), "{refused:?}");
    let mut plain = good;
    plain.tls = None;
    let refused = block_on(PostgresTarget::new(plain).deliver(&[reading(2, 1, "1")]));
    assert!(matches!(&refused, Err(DeliverError::Retry { why, .. }) if why.contains("no encryption")), "{refused:?}");
}
