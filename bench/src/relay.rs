//! The floor: an axum server that forwards a chat stream event by event and does nothing else.

use std::net::SocketAddr;

use anyhow::Context;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::serve::ListenerExt;

#[derive(Clone)]
struct Relay {
    client: reqwest::Client,
    upstream: String,
}

/// Serves `POST /v1/chat/completions` until the process ends.
pub async fn serve(upstream: String, listen: SocketAddr) -> anyhow::Result<()> {
    let relay = Relay { client: crate::http::client()?, upstream };
    let router = Router::new().route("/v1/chat/completions", post(forward)).with_state(relay);
    let listener = tokio::net::TcpListener::bind(listen).await.context("bind the relay")?;
    let listener = listener.tap_io(|socket| {
        socket.set_nodelay(true).ok();
    });
    axum::serve(listener, router).await?;
    Ok(())
}

async fn forward(State(relay): State<Relay>, body: bytes::Bytes) -> Response {
    let url = format!("{}/chat/completions", relay.upstream);
    let request =
        relay.client.post(url).header(header::CONTENT_TYPE, "application/json").body(body);
    match request.send().await {
        Ok(response) => {
            let headers = [(header::CONTENT_TYPE, "text/event-stream")];
            (headers, Body::from_stream(response.bytes_stream())).into_response()
        }
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}
