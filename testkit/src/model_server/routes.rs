//! The endpoints.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body as HttpBody;
use axum::extract::{ConnectInfo, Request, State as Shared};
use axum::response::Response;
use axum::routing::{get, post};
use bytes::Bytes;
use futures::Stream;
use http::{StatusCode, header};
use serde_json::{Value, json};

use super::reply::Body;
use super::{Endpoint, Recorded, Reply, State, Step, answer, embedding};

/// Largest body taken, in bytes.
const MAX_BODY: usize = 64 << 20;

pub(super) fn router(state: Arc<State>) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(chat))
        .route("/v1/embeddings", post(embeddings))
        .route("/v1/models", get(models))
        .route("/v1/rerank", post(rerank))
        .route("/openai/deployments/{deployment}/chat/completions", post(chat))
        .route("/openai/deployments/{deployment}/embeddings", post(embeddings))
        .with_state(state)
}

async fn chat(
    Shared(state): Shared<Arc<State>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let request = receive(&state, Endpoint::Chat, peer, request).await;
    let reply = state.scripted(&request).unwrap_or_else(|| {
        let (tokens, pace) = {
            let behaviour = state.behaviour.lock();
            (behaviour.tokens, behaviour.pace)
        };
        let tokens = answer::tokens_for(&request.body, tokens);
        let completion = i64::try_from(tokens.len()).unwrap_or(i64::MAX);
        Reply::tokens(&tokens).pace(pace).usage(words_of(&request.body), completion)
    });
    respond(state, reply, &request).await
}

async fn embeddings(
    Shared(state): Shared<Arc<State>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let request = receive(&state, Endpoint::Embeddings, peer, request).await;
    let reply = state.scripted(&request).unwrap_or_else(|| {
        let behaviour = state.behaviour.lock().embeddings.clone();
        Reply::json(&embedding::respond(&request.body, &behaviour))
    });
    respond(state, reply, &request).await
}

async fn models(
    Shared(state): Shared<Arc<State>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let request = receive(&state, Endpoint::Models, peer, request).await;
    let reply = state.scripted(&request).unwrap_or_else(|| {
        let names = state.behaviour.lock().models.clone();
        match names {
            Some(names) => Reply::json(&model_list(&names)),
            None => Reply::error(404, "no such endpoint"),
        }
    });
    respond(state, reply, &request).await
}

async fn rerank(
    Shared(state): Shared<Arc<State>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let request = receive(&state, Endpoint::Rerank, peer, request).await;
    let reply = state.scripted(&request).unwrap_or_else(|| Reply::json(&ranking(&request.body)));
    respond(state, reply, &request).await
}

/// The documents best first, by the share of the query's words that they lack: the opposite of what a lexical search
/// finds.
fn ranking(request: &Value) -> Value {
    let documents = request["documents"].as_array().map(Vec::as_slice).unwrap_or_default();
    let words: Vec<&str> = request["query"].as_str().unwrap_or_default().split(' ').collect();
    let score = |document: &Value| {
        let text = document.as_str().unwrap_or_default();
        let held = words.iter().filter(|word| text.contains(**word)).count();
        1.0 - held as f64 / words.len() as f64
    };
    let mut results: Vec<(usize, f64)> = documents.iter().map(score).enumerate().collect();
    results.sort_by(|a, b| b.1.total_cmp(&a.1));
    let item = |(index, score): &(usize, f64)| json!({"index": index, "relevance_score": score});
    json!({"id": "rerank-1", "results": results.iter().map(item).collect::<Vec<_>>()})
}

fn model_list(names: &[String]) -> Value {
    let entry = |name: &String| json!({"id": name, "object": "model", "created": 1_700_000_000, "owned_by": "testkit"});
    json!({"object": "list", "data": names.iter().map(entry).collect::<Vec<_>>()})
}

fn words_of(request: &Value) -> i64 {
    let messages = request["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let texts = messages.iter().filter_map(|message| message["content"].as_str());
    let words: usize = texts.map(|text| text.split_whitespace().count()).sum();
    i64::try_from(words).unwrap_or(i64::MAX)
}

async fn receive(
    state: &State,
    endpoint: Endpoint,
    peer: SocketAddr,
    request: Request,
) -> Recorded {
    let at = Instant::now();
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, MAX_BODY).await.unwrap_or_default();
    let recorded = Recorded {
        endpoint,
        target: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        headers: head.headers,
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
        peer,
        at,
    };
    state.record(&recorded);
    recorded
}

/// Counts a client that leaves before its reply is complete.
struct Watch {
    state: Arc<State>,
    complete: bool,
}

impl Watch {
    fn reply_is_complete(&mut self) {
        self.complete = true;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.complete {
            self.state.departures.send_modify(|count| *count += 1);
        }
    }
}

async fn respond(state: Arc<State>, reply: Reply, request: &Recorded) -> Response {
    let watch = Watch { state, complete: false };
    let (content_type, steps) = match reply.body {
        Body::Chat(chat) => {
            let (content_type, steps) = chat.render(request);
            (Some(content_type), steps)
        }
        Body::Steps(steps) => (None, steps),
        Body::Silence => {
            let _watch = watch;
            std::future::pending::<Infallible>().await;
            unreachable!("a pending future never ends");
        }
    };
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = Response::builder().status(status);
    if let Some(content_type) = content_type {
        response = response.header(header::CONTENT_TYPE, content_type);
    }
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    response.body(HttpBody::from_stream(perform(watch, steps))).unwrap_or_else(|error| {
        panic!("a scripted header is not valid: {error}");
    })
}

fn perform(
    mut watch: Watch,
    steps: Vec<Step>,
) -> impl Stream<Item = Result<Bytes, std::io::Error>> {
    async_stream::stream! {
        // Against a fixed schedule, so that the time spent sending does not slow the pace.
        let mut due = tokio::time::Instant::now();
        for step in steps {
            match step {
                Step::Send(bytes) => yield Ok(bytes),
                Step::Wait(time) => {
                    due += time;
                    tokio::time::sleep_until(due).await;
                }
                Step::WaitFor(until) => until.notified().await,
                Step::Hang => std::future::pending::<()>().await,
                Step::Cut => {
                    // What was said so far is written out before the connection goes.
                    tokio::task::yield_now().await;
                    watch.reply_is_complete();
                    yield Err(std::io::Error::other("cut by the script"));
                }
            }
        }
        watch.reply_is_complete();
    }
}
