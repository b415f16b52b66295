//! Requests as a server sees them, and what becomes of its answers.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::super::samples::row;
use super::*;
use crate::config::secrets::SecretPlace;
use crate::config::sink_targets::HttpUrl;

/// What the server was sent, whole.
type Requests = Arc<Mutex<Vec<String>>>;

fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
}

/// A server that answers each request by what `answer` makes of its body.
async fn server(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> (HttpUrl, Requests) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = HttpUrl::parse(&format!("http://{}/in?x=1", listener.local_addr().unwrap())).unwrap();
    let requests = Requests::default();
    let (seen, answer) = (Arc::clone(&requests), Arc::new(answer));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
            tokio::spawn(async move {
                let mut bytes = Vec::new();
                let mut buffer = [0; 4_096];
                loop {
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    if let Some((head, body)) = text.split_once("\r\n\r\n") {
                        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                        if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                            seen.lock().unwrap().push(text.clone());
                            stream.write_all(answer(body).as_bytes()).await.unwrap();
                            bytes.clear();
                            continue;
                        }
                    }
                    match stream.read(&mut buffer).await {
                        Ok(read) if read > 0 => bytes.extend_from_slice(&buffer[..read]),
                        _ => return,
                    }
                }
            });
        }
    });
    (url, requests)
}

fn answer(status: &str, more: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n{more}\r\n")
}

fn settings(url: HttpUrl) -> HttpSinkSettings {
    HttpSinkSettings {
        url,
        method: SinkRequestMethod::Post,
        headers: vec![("X-Site".to_owned(), "north".to_owned())],
        login: HttpLogin::None,
        signature: None,
        body: HttpBody::Single,
        content_type: None,
        answer: HttpAnswerKind::Status,
        ca: None,
        timeout_ms: 2_000,
    }
}

fn joined(begin: &str, between: &str, end: &str) -> HttpBody {
    let (begin, between, end) = (begin.to_owned(), between.to_owned(), end.to_owned());
    HttpBody::Joined { begin, between, end, content_type: "application/x-ndjson", one_line: false }
}

fn bodies(requests: &Requests) -> Vec<String> {
    let body = |request: &String| request.split_once("\r\n\r\n").unwrap().1.to_owned();
    requests.lock().unwrap().iter().map(body).collect()
}

#[test]
fn each_row_is_a_request_over_one_connection_with_its_headers() {
    run(async {
        let (url, requests) = server(|_| answer("204 No Content", "")).await;
        let secret = std::env::temp_dir().join(format!("dunlin-http-sink-{}", std::process::id()));
        std::fs::write(&secret, "token-7\n").unwrap();
        let mut settings = settings(url.clone());
        settings.login = HttpLogin::Bearer(SecretPlace::File(secret.clone()));
        settings.signature = Some(("X-Signature".to_owned(), SecretPlace::File(secret.clone())));
        let mut target = HttpTarget::new(settings.into());
        let mut first = row(0xab, "t", "one");
        first.content_type = Some("text/plain".to_owned());
        assert_eq!(target.deliver(&[first, row(2, "t", "two")]).await, Ok(Delivered::All));
        std::fs::remove_file(&secret).unwrap();
        assert_eq!(bodies(&requests), ["one", "two"]);
        let request = requests.lock().unwrap()[0].clone();
        for line in [
            "POST /in?x=1 HTTP/1.1",
            &format!("host: {}", url.authority()),
            "x-site: north",
            "content-type: text/plain",
            "authorization: Bearer token-7",
            "idempotency-key: 000000000000000000000000000000ab",
        ] {
            assert!(request.lines().any(|known| known == line), "{line:?} in {request}");
        }
        let signature = request.lines().find_map(|line| line.strip_prefix("x-signature: t=")).unwrap();
        let time = signature.split(',').next().unwrap().parse().unwrap();
        assert_eq!(format!("t={signature}"), signature::of("token-7", time, b"one"));
        // The file is gone: nobody else's token is used.
        assert!(target.deliver(&[row(3, "t", "three")]).await.is_err());
    });
}

#[test]
fn a_batch_is_one_body_and_rows_that_the_server_refuses_are_found_one_by_one() {
    run(async {
        let bad = |body: &str| body.contains("bad");
        let (url, requests) =
            server(move |body| answer(if bad(body) { "422 Unprocessable" } else { "200 OK" }, "")).await;
        let mut settings = settings(url);
        settings.body = joined("", "\n", "\n");
        let mut target = HttpTarget::new(settings.into());
        let rows = ["1", "bad 2", "{\"n\":\n3}", "4", "bad 5"].map(|text| row(1, "t", text));
        let delivered = target.deliver(&rows).await.unwrap();
        let Delivered::Some { rejected } = delivered else { panic!("{delivered:?}") };
        assert_eq!(rejected.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [1, 4]);
        assert!(rejected[0].1.contains("422"), "{rejected:?}");
        let taken: Vec<String> = bodies(&requests).into_iter().filter(|body| !bad(body)).collect();
        assert_eq!(taken, ["1\n", "{\"n\": 3}\n", "4\n"]);
        assert_eq!(target.deliver(&rows[2..4]).await, Ok(Delivered::All));
        assert_eq!(bodies(&requests).last().unwrap(), "{\"n\": 3}\n4\n");
    });
}

/// 400 where a row is bad, 503 where the server is too sick for one.
fn moody(body: &str) -> String {
    answer(
        if body.contains("bad") {
            "400 Bad Request"
        } else if body.contains("sick") {
            "503 Unavailable"
        } else {
            "200 OK"
        },
        "",
    )
}

#[test]
fn what_is_done_of_a_batch_is_not_sent_again_when_the_rest_is() {
    for body in [joined("", "\n", "\n"), HttpBody::Single] {
        run(async {
            let (url, requests) = server(moody).await;
            let mut settings = settings(url);
            settings.body = body;
            let mut target = HttpTarget::new(settings.into());
            let mut at = 0;
            let mut batch = |texts: &[&str]| -> Vec<Row> {
                at += 100;
                texts.iter().zip(at..).map(|(text, id)| row(id, "t", text)).collect()
            };
            let rows = batch(&["a", "b", "c", "d", "bad", "e", "sick", "f"]);
            for _ in 0..5 {
                assert!(target.deliver(&rows).await.is_err());
            }
            let taken = |requests: &Requests, text: &str| {
                let requests = bodies(requests);
                let good = requests.iter().filter(|body| moody(body).contains("200"));
                good.filter(|body| body.lines().any(|line| line == text)).count()
            };
            assert_eq!(["a", "b", "c", "d", "e", "f"].map(|text| taken(&requests, text)), [1, 1, 1, 1, 1, 0]);
            let refused = bodies(&requests).iter().filter(|body| moody(body).contains("400")).count();
            assert!(refused <= 4, "{refused}");
            // The server is well again: the same batch goes on where it was. Here it is another server at the same place.
            let (url, later) = server(|_| answer("200 OK", "")).await;
            target.connection = HttpConnection::new(url, None, Duration::from_secs(2));
            let delivered = target.deliver(&rows).await.unwrap();
            assert!(
                matches!(&delivered, Delivered::Some { rejected } if rejected.len() == 1 && rejected[0].0 == 4),
                "{delivered:?}"
            );
            assert_eq!(bodies(&later).concat().replace('\n', ""), "sickf");
            // Another batch has nothing of this one.
            assert_eq!(target.deliver(&batch(&["g", "h"])).await, Ok(Delivered::All));
            assert_eq!(bodies(&later).concat().replace('\n', ""), "sickfgh");
        });
    }
}

#[test]
fn a_row_that_is_to_be_a_line_and_has_a_line_break_is_rejected_unsent() {
    run(async {
        let (url, requests) = server(|_| answer("200 OK", "")).await;
        let mut settings = settings(url);
        let (between, end) = ("\n".to_owned(), "\n".to_owned());
        settings.body =
            HttpBody::Joined { begin: String::new(), between, end, content_type: "text/plain", one_line: true };
        let mut target = HttpTarget::new(settings.into());
        let rows = [row(1, "t", "t v=1"), row(2, "t", "t v=2\nforged v=3"), row(3, "t", "{\n}"), row(4, "t", "t v=4")];
        let delivered = target.deliver(&rows).await.unwrap();
        let Delivered::Some { rejected } = delivered else { panic!("{delivered:?}") };
        assert!(rejected.len() == 1 && rejected[0].0 == 1 && rejected[0].1.contains("line break"), "{rejected:?}");
        assert_eq!(bodies(&requests), ["t v=1\n{ }\nt v=4\n"]);
        // A batch of such rows alone is no request.
        assert!(matches!(target.deliver(&rows[1..2]).await, Ok(Delivered::Some { .. })));
        assert_eq!(bodies(&requests).len(), 1);
    });
}

#[test]
fn the_status_decides_where_a_body_cannot_be_read() {
    run(async {
        let (url, requests) = server(|body| match body {
            "too long" => "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\nx".to_owned(),
            "no chunks" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n".to_owned(),
            "refused" => "HTTP/1.1 400 Bad\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n".to_owned(),
            _ => answer("200 OK", ""),
        })
        .await;
        let mut settings = settings(url);
        settings.timeout_ms = 300;
        let mut target = HttpTarget::new(settings.clone().into());
        for payload in ["too long", "no chunks", "fine"] {
            assert_eq!(target.deliver(&[row(1, "t", payload)]).await, Ok(Delivered::All), "{payload}");
        }
        let refused = target.deliver(&[row(1, "t", "refused")]).await;
        assert!(matches!(&refused, Ok(Delivered::Some { rejected }) if rejected[0].1.contains("400")), "{refused:?}");
        assert_eq!(bodies(&requests), ["too long", "no chunks", "fine", "refused"]);
        // What is said of each row stands in the body alone.
        settings.answer = HttpAnswerKind::Elasticsearch;
        let mut target = HttpTarget::new(settings.into());
        assert!(target.deliver(&[row(1, "t", "no chunks")]).await.is_err());
    });
}

#[test]
fn what_is_not_a_rows_fault_is_tried_again_when_the_server_says() {
    run(async {
        let (url, _) = server(|body| match body {
            "busy" => answer("429 Too Many Requests", "Retry-After: 7\r\n"),
            "moved" => answer("301 Moved Permanently", "Location: /elsewhere\r\n"),
            "who" => answer("401 Unauthorized", ""),
            "silent" => String::new(),
            _ => answer("503 Unavailable", ""),
        })
        .await;
        let mut settings = settings(url);
        settings.timeout_ms = 300;
        let mut target = HttpTarget::new(settings.into());
        for (payload, expected, seconds) in [
            ("busy", "429", Some(7)),
            ("moved", "301", None),
            ("who", "401", None),
            ("silent", "300 ms", None),
            ("down", "503", None),
        ] {
            let error = target.deliver(&[row(1, "t", payload)]).await.unwrap_err();
            let DeliverError::Retry { why, after } = error;
            assert!(why.contains(expected), "{payload}: {why}");
            assert_eq!(after, seconds.map(Duration::from_secs), "{payload}");
        }
        let nobody = HttpUrl::parse("http://127.0.0.1:1/").unwrap();
        let mut target = HttpTarget::new(self::settings(nobody).into());
        assert!(target.deliver(&[row(1, "t", "x")]).await.is_err());
    });
}

#[test]
fn a_kept_connection_that_the_server_has_closed_is_replaced_at_once() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = HttpUrl::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut buffer = [0; 4_096];
                if stream.read(&mut buffer).await.is_ok() {
                    let _ = stream.write_all(answer("200 OK", "").as_bytes()).await;
                }
            }
        });
        let mut target = HttpTarget::new(settings(url).into());
        for number in 0..5 {
            assert_eq!(target.deliver(&[row(number, "t", "x")]).await, Ok(Delivered::All), "{number}");
        }
    });
}

#[test]
fn over_tls_the_certificate_comes_from_the_authority_that_was_named() {
    run(async {
        let key = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let folder = std::env::temp_dir().join(format!("dunlin-http-tls-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("ca.pem"), key.cert.pem()).unwrap();
        let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth();
        let secret = rustls::pki_types::PrivateKeyDer::try_from(key.signing_key.serialize_der()).unwrap();
        let config = config.with_single_cert(vec![key.cert.der().clone()], secret).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let mut buffer = [0; 4_096];
                let _ = stream.read(&mut buffer).await;
                let _ = stream.write_all(answer("200 OK", "").as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        });
        let mut known = settings(HttpUrl::parse(&format!("https://localhost:{port}/")).unwrap());
        known.ca = Some(folder.join("ca.pem"));
        let delivered = HttpTarget::new(known.clone().into()).deliver(&[row(1, "t", "x")]).await;
        // The same certificate, and an authority that is another.
        let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(folder.join("ca.pem"), other.cert.pem()).unwrap();
        let refused = HttpTarget::new(known.into()).deliver(&[row(1, "t", "x")]).await;
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(delivered, Ok(Delivered::All));
        assert!(refused.unwrap_err().to_string().contains("certificate"));
    });
}
