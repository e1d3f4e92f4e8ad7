//! The accept loop: a limit on connections, a time limit on request heads, and an orderly end for each
//! connection.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::ServiceExt;
use tower_http::timeout::TimeoutBody;

use crate::app::Signals;
use crate::write_timeout::WriteTimeout;

/// How long a client may take to make room for what is sent to it.
const WRITE_TIMEOUT: Duration = Duration::from_mins(1);
/// A wait after a failed `accept`, when the process is out of file descriptors for example.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How connections are treated.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections served at once; more wait in the backlog.
    pub max_connections: usize,
    /// How long a client may take for its request head, and between two pieces of its body.
    pub header_timeout: Duration,
}

/// Serves until the server begins to stop. Connections go on: each ends after the answer under way, or when
/// the grace is over.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, signals: Signals) {
    let permits = Arc::new(Semaphore::new(limits.max_connections));
    loop {
        let next = next_connection(&listener, &permits);
        let (stream, peer, permit) = tokio::select! {
            biased;
            () = signals.stopping.cancelled() => return,
            connection = next => connection,
        };
        let connection = Connection { router: router.clone(), peer, limits: limits.clone() };
        let signals_of_connection = signals.clone();
        signals.tracker.spawn(async move {
            connection.run(stream, signals_of_connection).await;
            drop(permit);
        });
    }
}

async fn next_connection(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> (TcpStream, SocketAddr, Option<OwnedSemaphorePermit>) {
    // The semaphore is never closed, so there always is a permit in the end.
    let permit = permits.clone().acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return (stream, peer, permit),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

struct Connection {
    router: Router,
    peer: SocketAddr,
    limits: Limits,
}

impl Connection {
    async fn run(self, stream: TcpStream, signals: Signals) {
        // Without it each token of a stream may wait 40 ms for the client's acknowledgement.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot switch Nagle's algorithm off");
        }
        let body_timeout = self.limits.header_timeout;
        let service = service_fn(|request| answer(&self.router, self.peer, body_timeout, request));
        let io = TokioIo::new(WriteTimeout::new(stream, WRITE_TIMEOUT));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.header_timeout)
            .serve_connection(io, service)
            .with_upgrades();
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = signals.stopping.cancelled() => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = connection.as_mut() => ended,
                    () = cut(&signals) => return,
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended early");
        }
    }
}

/// Comes a little after the end of the grace, so that streams can still say how they ended.
async fn cut(signals: &Signals) {
    signals.ending.cancelled().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
}

async fn answer(
    router: &Router,
    peer: SocketAddr,
    body_timeout: Duration,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let mut request = request.map(|body| Body::new(TimeoutBody::new(body_timeout, body)));
    request.extensions_mut().insert(ConnectInfo(peer));
    router.clone().oneshot(request).await
}
