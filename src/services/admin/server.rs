//! HTTP on a thread of its own: connections, their bounds, and their end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use std::{io, thread};

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tower::ServiceExt as _;

use super::stalled::PatientStream;
use crate::limits::{ADMIN_CONNECTIONS_MAX, ADMIN_HEAD_MAX_BYTES, ADMIN_REQUEST_MAX_S};
use crate::telemetry::log;

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestPeer(pub(super) SocketAddr);

/// How long a request may take to come, and an answer to be taken.
const PATIENCE: Duration = Duration::from_secs(ADMIN_REQUEST_MAX_S);
/// How much the thread gives way to shards.
const NICE: i32 = 10;
/// How long it waits when the system gives no descriptor for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until the process ends.
pub(super) fn start(listener: std::net::TcpListener, router: Router) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(2).build()?;
    let listener = {
        let _entered = runtime.enter();
        TcpListener::from_std(listener)?
    };
    let serve = move || {
        // Whoever may not be nicer serves all the same.
        let _ = rustix::process::nice(NICE);
        runtime.block_on(accept(listener, router));
    };
    thread::Builder::new().name("admin".into()).spawn(serve)?;
    Ok(())
}

async fn accept(listener: TcpListener, router: Router) {
    let places = Arc::new(Semaphore::new(ADMIN_CONNECTIONS_MAX));
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            // One more than there may be is closed at once.
            log::event::admin_full(&peer);
            continue;
        };
        let router = router.clone();
        tokio::spawn(async move {
            serve(stream, peer, router).await;
            drop(place);
        });
    }
}

/// One connection. What goes wrong on it is the peer's affair.
async fn serve(stream: TcpStream, peer: SocketAddr, router: Router) {
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(RequestPeer(peer));
        let answer = router.clone().oneshot(request);
        async move {
            let limit = Duration::from_secs(ADMIN_REQUEST_MAX_S);
            let answer = tokio::time::timeout(limit, answer).await;
            Ok::<_, Infallible>(match answer {
                Ok(Ok(response)) => response,
                Err(_) => super::problem::HttpProblem::late().into_response_now(),
            })
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(ADMIN_REQUEST_MAX_S))
        .max_buf_size(ADMIN_HEAD_MAX_BYTES)
        .half_close(true);
    let connection = http.serve_connection(TokioIo::new(PatientStream::new(stream, PATIENCE)), service).with_upgrades();
    let _ = connection.await;
}
