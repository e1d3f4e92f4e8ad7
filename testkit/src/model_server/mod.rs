//! A scripted OpenAI-compatible server over real HTTP, on a port of its own.
//!
//! Replies are queued ([`ModelServer::enqueue`]) or decided by a closure ([`ModelServer::respond_with`]);
//! with neither, the server gives a useful answer of its own: it quotes the first passage of the prompt and
//! cites it as `[1]`. Requests are recorded, and so is a client that leaves during a reply, so that tests
//! wait for facts rather than for time.

mod answer;
mod embedding;
mod reply;
mod routes;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use axum::serve::ListenerExt;
use http::HeaderMap;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use answer::{answer_to, tokens_of};
pub use embedding::{EmbeddingBehaviour, hash_embedding};
pub use reply::{Reply, Step};

/// The longest that a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the server can be asked. Each kind has a queue of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `…/chat/completions`.
    Chat,
    /// `…/embeddings`.
    Embeddings,
    /// `…/models`.
    Models,
    /// `/v1/rerank`.
    Rerank,
}

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// What was asked.
    pub endpoint: Endpoint,
    /// Path and query string.
    pub target: String,
    /// Its headers, keys included.
    pub headers: HeaderMap,
    /// Its JSON body; null when it had none.
    pub body: Value,
    /// The client's end of the connection; the same for two requests on one connection.
    pub peer: SocketAddr,
    /// When it arrived.
    pub at: Instant,
}

impl Recorded {
    /// The model that is asked for.
    pub fn model(&self) -> &str {
        self.body["model"].as_str().unwrap_or_default()
    }

    /// A header as text, empty when absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Whether a stream is asked for.
    pub fn streams(&self) -> bool {
        self.body["stream"].as_bool().unwrap_or(false)
    }
}

/// How the server behaves when nothing is scripted.
#[derive(Debug, Clone)]
pub struct Behaviour {
    /// Tokens of an answer; `None` means as many as the answer has.
    pub tokens: Option<usize>,
    /// Time from one token to the next; zero sends all at once.
    pub pace: Duration,
    /// The names that `/models` lists; `None` means that there is no such endpoint (404).
    pub models: Option<Vec<String>>,
    /// How texts are embedded.
    pub embeddings: EmbeddingBehaviour,
    /// Whether requests are kept; off for load, where they would fill the memory.
    pub record: bool,
}

impl Default for Behaviour {
    fn default() -> Self {
        let models = ["gpt-test", "gpt-test-mini", "embed-test"];
        Self {
            tokens: None,
            pace: Duration::ZERO,
            models: Some(models.map(str::to_owned).to_vec()),
            embeddings: EmbeddingBehaviour::default(),
            record: true,
        }
    }
}

type Responder = Arc<dyn Fn(&Recorded) -> Option<Reply> + Send + Sync>;

struct State {
    behaviour: Mutex<Behaviour>,
    queues: Mutex<HashMap<Endpoint, VecDeque<Reply>>>,
    responder: Mutex<Option<Responder>>,
    recorded: Mutex<Vec<Recorded>>,
    requests: watch::Sender<usize>,
    departures: watch::Sender<usize>,
}

impl State {
    /// The scripted reply to a request: the queue first, then the closure.
    fn scripted(&self, request: &Recorded) -> Option<Reply> {
        let queued = self.queues.lock().get_mut(&request.endpoint).and_then(VecDeque::pop_front);
        if queued.is_some() {
            return queued;
        }
        let responder = self.responder.lock().clone();
        responder.and_then(|responder| responder(request))
    }

    fn record(&self, request: &Recorded) {
        if self.behaviour.lock().record {
            self.recorded.lock().push(request.clone());
        }
        self.requests.send_modify(|count| *count += 1);
    }
}

/// The server. Dropping it stops it and ends its connections.
pub struct ModelServer {
    address: SocketAddr,
    state: Arc<State>,
    stop: CancellationToken,
}

impl ModelServer {
    /// Starts on a free port of the loopback interface.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(0, Behaviour::default()).await
    }

    /// Starts on a port (0: any free one) with a behaviour.
    pub async fn start_with(port: u16, behaviour: Behaviour) -> anyhow::Result<Self> {
        let listener =
            TcpListener::bind(("127.0.0.1", port)).await.context("cannot bind the loopback")?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            behaviour: Mutex::new(behaviour),
            queues: Mutex::default(),
            responder: Mutex::default(),
            recorded: Mutex::default(),
            requests: watch::Sender::new(0),
            departures: watch::Sender::new(0),
        });
        // Without it, Nagle's algorithm and delayed acknowledgements hold tokens back for 40 ms.
        let listener = listener.tap_io(|socket| {
            socket.set_nodelay(true).ok();
        });
        let service =
            routes::router(state.clone()).into_make_service_with_connect_info::<SocketAddr>();
        let stop = CancellationToken::new();
        let serving = stop.clone().cancelled_owned();
        TaskTracker::new().spawn(async move {
            // Not the graceful kind: a test that ends has no use for replies that hang on purpose.
            tokio::select! {
                result = axum::serve(listener, service).into_future() => result,
                () = serving => Ok(()),
            }
        });
        Ok(Self { address, state, stop })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base URL for OpenAI-style requests: `http://127.0.0.1:<port>/v1`.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// The base URL for Azure-style requests: `http://127.0.0.1:<port>`.
    pub fn azure_base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Queues the reply to the next chat request that has none yet.
    pub fn enqueue(&self, reply: Reply) {
        self.enqueue_for(Endpoint::Chat, reply);
    }

    /// Queues a reply for an endpoint.
    pub fn enqueue_for(&self, endpoint: Endpoint, reply: Reply) {
        self.state.queues.lock().entry(endpoint).or_default().push_back(reply);
    }

    /// Decides replies from the request, when the queue is empty; `None` leaves it to the default behaviour.
    pub fn respond_with(
        &self,
        responder: impl Fn(&Recorded) -> Option<Reply> + Send + Sync + 'static,
    ) {
        *self.state.responder.lock() = Some(Arc::new(responder));
    }

    /// Changes the behaviour for requests to come.
    pub fn behave(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.state.behaviour.lock());
    }

    /// Every request so far, in order of arrival.
    pub fn requests(&self) -> Vec<Recorded> {
        self.state.recorded.lock().clone()
    }

    /// The requests so far to one endpoint.
    pub fn requests_to(&self, endpoint: Endpoint) -> Vec<Recorded> {
        let recorded = self.state.recorded.lock();
        recorded.iter().filter(|request| request.endpoint == endpoint).cloned().collect()
    }

    /// Waits until at least `count` requests have arrived.
    ///
    /// # Panics
    /// When they do not arrive within 30 seconds.
    pub async fn wait_for_requests(&self, count: usize) {
        wait_for(self.state.requests.subscribe(), count, "requests").await;
    }

    /// How many clients left before their reply was complete.
    pub fn departures(&self) -> usize {
        *self.state.departures.borrow()
    }

    /// Waits until at least `count` clients have left before their reply was complete.
    ///
    /// # Panics
    /// When they do not leave within 30 seconds.
    pub async fn wait_for_departures(&self, count: usize) {
        wait_for(self.state.departures.subscribe(), count, "departures").await;
    }
}

async fn wait_for(mut counter: watch::Receiver<usize>, count: usize, what: &str) {
    let reached = tokio::time::timeout(PATIENCE, counter.wait_for(|seen| *seen >= count)).await;
    assert!(matches!(reached, Ok(Ok(_))), "expected {count} {what} at the model server");
}

impl Drop for ModelServer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl fmt::Debug for ModelServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ModelServer({})", self.address)
    }
}
