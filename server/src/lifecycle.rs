//! Start and end of a server: sockets, roles, signals, the two phases of stopping.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::Request;
use axum::routing::get;
use domain::settings::{ProcessRole, Settings};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tower::ServiceExt;
use url::Url;

use crate::accept::{self, Limits};
use crate::app::{App, Signals};
use crate::housekeeping;

/// How often counters are tidied up when nobody reads them.
const METRICS_UPKEEP: Duration = Duration::from_secs(30);
/// How long tasks may take to end once they are cut.
const LAST_WAIT: Duration = Duration::from_secs(5);

/// A server at work.
pub struct Server {
    app: App,
    address: SocketAddr,
    /// The metrics go on until everything else has ended.
    metrics: Signals,
}

impl Server {
    /// Binds `listen` and begins to work in the roles of the settings.
    pub async fn start(app: App, listen: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(listen).await.with_context(|| {
            format!("cannot listen on {listen}; choose another address with VOCERO_LISTEN")
        })?;
        let address = listener.local_addr()?;
        let roles = &app.settings.server.roles;
        if roles.contains(&ProcessRole::Worker) {
            app.start_worker();
            housekeeping::start(&app);
        }
        let mut router = app.router()?;
        if !roles.contains(&ProcessRole::Api) {
            router = health_only(&router);
        }
        let signals = app.signals().clone();
        let serving = accept::serve(listener, router, limits(&app.settings), signals.clone());
        signals.tracker.spawn(serving);
        Ok(Self { app, address, metrics: Signals::default() })
    }

    /// Where the server is reached from this machine.
    pub fn local_url(&self) -> anyhow::Result<Url> {
        let mut address = self.address;
        match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
            _ => {}
        }
        Url::parse(&format!("http://{address}")).context("the address makes no URL")
    }

    /// Serves `/metrics`, and health beside it, on its own address until the server has stopped. There
    /// `/readyz` goes on answering, with 503, while streams come to their end.
    pub async fn serve_metrics(
        &self,
        listen: SocketAddr,
        handle: PrometheusHandle,
    ) -> anyhow::Result<()> {
        let listener = TcpListener::bind(listen)
            .await
            .with_context(|| format!("cannot listen on {listen} for the metrics"))?;
        let (app, rendering) = (self.app.clone(), handle.clone());
        let metrics = get(move || async move {
            housekeeping::count_jobs(&app).await;
            rendering.render()
        });
        let router = health_only(&self.app.router()?).route("/metrics", metrics);
        let signals = self.metrics.clone();
        let serving = accept::serve(listener, router, limits(&self.app.settings), signals.clone());
        self.metrics.tracker.spawn(serving);
        self.metrics.tracker.spawn(async move {
            while tokio::time::timeout(METRICS_UPKEEP, signals.stopping.cancelled()).await.is_err()
            {
                handle.run_upkeep();
            }
        });
        Ok(())
    }

    /// Stops in two phases: no new work, and what is under way gets the grace; then what is left is cut,
    /// the index is written out and the database closed.
    pub async fn stop(self) {
        let signals = self.app.signals();
        let grace = self.app.settings.server.shutdown_grace;
        signals.stopping.cancel();
        signals.tracker.close();
        if tokio::time::timeout(grace, signals.tracker.wait()).await.is_err() {
            tracing::warn!(tasks = signals.tracker.len(), "the grace is over; ending what is left");
        }
        signals.ending.cancel();
        if tokio::time::timeout(LAST_WAIT, signals.tracker.wait()).await.is_err() {
            tracing::error!(
                tasks = signals.tracker.len(),
                "some tasks do not end; going without them"
            );
        }
        self.metrics.stopping.cancel();
        self.metrics.ending.cancel();
        self.metrics.tracker.close();
        let _ = tokio::time::timeout(LAST_WAIT, self.metrics.tracker.wait()).await;
        self.app.close().await;
    }
}

/// The requests to stop that the operating system hands on.
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// Begins to listen for SIGTERM and SIGINT.
    pub fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        let terminate = listen(SignalKind::terminate())?;
        Ok(Self { terminate, interrupt: listen(SignalKind::interrupt())? })
    }

    /// Waits for one of them; its number.
    pub async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.terminate.recv() => SignalKind::terminate().as_raw_value(),
            _ = self.interrupt.recv() => SignalKind::interrupt().as_raw_value(),
        }
    }

    /// Does `work`, unless another signal comes: then the process ends at once.
    pub async fn guard<T>(&mut self, work: impl Future<Output = T>) -> T {
        tokio::select! {
            done = work => done,
            number = self.next() => {
                eprintln!("stopped at once by a second signal");
                std::process::exit(128 + number)
            }
        }
    }
}

fn limits(settings: &Settings) -> Limits {
    Limits {
        max_connections: settings.server.max_connections,
        header_timeout: settings.server.header_timeout,
    }
}

/// Only `/healthz` and `/readyz` of the service.
fn health_only(router: &Router) -> Router {
    let forward = |router: Router| get(move |request: Request| router.oneshot(request));
    Router::new()
        .route("/healthz", forward(router.clone()))
        .route("/readyz", forward(router.clone()))
}
