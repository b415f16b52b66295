//! HTTP on a thread of its own: connections, their bounds, and their end.

use std::convert::Infallible;
use std::os::fd::AsFd as _;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use std::{io, thread};

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use super::origin::{AdminPeer, RequestOrigin};
use super::places::{AdminPlace, AdminPlaces, CountedBody};
use super::stalled::PatientStream;
use super::state::AdminState;
use super::{AdminSockets, AdminTls, description, history};
use crate::limits::{ADMIN_CONNECTIONS_LOCAL_MAX, ADMIN_CONNECTIONS_MAX, ADMIN_HEAD_MAX_BYTES, ADMIN_REQUEST_MAX_S};
use crate::telemetry::log;

/// How long a request may take to come, and an answer to be taken.
const PATIENCE: Duration = Duration::from_secs(ADMIN_REQUEST_MAX_S);
/// How much the thread gives way to shards.
const NICE: i32 = 10;
/// How long it waits when the system gives no descriptor for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The routes, made when the first connection comes: with their description they are large, and many brokers are never asked.
struct Routes {
    state: Arc<AdminState>,
    made: OnceLock<Router>,
}

impl Routes {
    fn get(&self) -> Router {
        self.made.get_or_init(|| description::router(Arc::clone(&self.state))).clone()
    }
}

/// Serves until the process ends.
pub(super) fn start(sockets: AdminSockets<'_>, state: Arc<AdminState>) -> io::Result<()> {
    let routes = Arc::new(Routes { state, made: OnceLock::new() });
    let AdminSockets { network, tls, local, .. } = sockets;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(2)
        .thread_name("admin-files")
        .build()?;
    let (network, local) = {
        let _entered = runtime.enter();
        let network = network.map(|listener| {
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        });
        let local = local.map(|listener| {
            // Of its own: the file stays as long as whoever made it.
            let listener = std::os::unix::net::UnixListener::from(listener.as_fd().try_clone_to_owned()?);
            listener.set_nonblocking(true)?;
            UnixListener::from_std(listener)
        });
        (network.transpose()?, local.transpose()?)
    };
    let serve = move || {
        // Whoever may not be nicer serves all the same.
        let _ = rustix::process::nice(NICE);
        runtime.block_on(async {
            tokio::spawn(history::keep(Arc::clone(&routes.state)));
            let by_path = local.map(|listener| tokio::spawn(accept_local(listener, Arc::clone(&routes))));
            if let Some(listener) = network {
                accept(listener, tls, routes).await;
            }
            if let Some(by_path) = by_path {
                let _ = by_path.await;
            }
        });
    };
    thread::Builder::new().name("admin".into()).spawn(serve)?;
    Ok(())
}

async fn accept(listener: TcpListener, tls: Option<AdminTls>, routes: Arc<Routes>) {
    let places = AdminPlaces::new(ADMIN_CONNECTIONS_MAX);
    let is_loopback = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Some(place) = places.take(AdminPeer::Network(peer)).map(Arc::new) else {
            // Requests are under way on all of them.
            log::event::admin_full(&peer);
            continue;
        };
        let (router, tls) = (routes.get(), tls.as_ref().map(|tls| TlsAcceptor::from(tls.load_full())));
        let is_secret = tls.is_some();
        let is_plain_loopback = is_loopback && !is_secret;
        let origin = RequestOrigin { peer: AdminPeer::Network(peer), is_secret, is_plain_loopback };
        let held = Arc::clone(&place);
        hold(place, async move {
            match tls {
                None => serve(stream, origin, router, held).await,
                Some(tls) => {
                    // What goes wrong with a handshake is the peer's affair.
                    if let Ok(Ok(stream)) = tokio::time::timeout(PATIENCE, tls.accept(stream)).await {
                        serve(stream, origin, router, held).await;
                    }
                }
            }
        });
    }
}

/// Connections of this machine's processes. They have places of their own: whoever uses up those of the network locks no operator out.
async fn accept_local(listener: UnixListener, routes: Arc<Routes>) {
    let places = AdminPlaces::new(ADMIN_CONNECTIONS_LOCAL_MAX);
    let own = rustix::process::geteuid().as_raw();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Ok(user) = stream.peer_cred() else { continue };
        let peer = AdminPeer::Local { user_id: user.uid(), is_trusted: user.uid() == 0 || user.uid() == own };
        let Some(place) = places.take(peer).map(Arc::new) else {
            log::event::admin_full(&peer);
            continue;
        };
        let origin = RequestOrigin { peer, is_secret: true, is_plain_loopback: false };
        let router = routes.get();
        hold(Arc::clone(&place), serve(stream, origin, router, place));
    }
}

/// Carries a connection until it ends, or somebody else needs its place.
fn hold(place: Arc<AdminPlace>, carried: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(async move {
        tokio::select! {
            () = carried => {}
            () = place.must_make_way() => {}
        }
    });
}

/// One connection. What goes wrong on it is the peer's affair.
async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    origin: RequestOrigin,
    router: Router,
    place: Arc<AdminPlace>,
) {
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let counted = place.request();
        let mut request = request.map(|body| Body::new(CountedBody::asked(body, Arc::clone(&counted))));
        request.extensions_mut().insert(origin.clone());
        let answer = router.clone().oneshot(request);
        async move {
            let answer = tokio::time::timeout(PATIENCE, answer).await;
            let response = match answer {
                Ok(Ok(response)) => response,
                Err(_) => super::problem::HttpProblem::late().into_response_now(),
            };
            Ok::<_, Infallible>(response.map(|body| CountedBody::answered(body, counted)))
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_buf_size(ADMIN_HEAD_MAX_BYTES).half_close(true);
    let connection = http.serve_connection(TokioIo::new(PatientStream::new(stream, PATIENCE)), service).with_upgrades();
    let _ = connection.await;
}
