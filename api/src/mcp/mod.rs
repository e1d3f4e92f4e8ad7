//! `/mcp`: Vocero as a server of the Model Context Protocol (streamable HTTP), for programs that bring their own
//! model. Stateless: each request stands alone and is answered with JSON, so any process can answer it.

mod answers;
mod handler;
mod tools;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::{MethodRouter, any};
use domain::settings::ServerSettings;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use url::Url;

use self::handler::Handler;
use crate::state::AppState;

/// Where the server is.
pub(crate) const PATH: &str = "/mcp";

/// The service behind the path. Its callers must have been let in: each tool asks what its caller may do.
pub(crate) fn service(state: &AppState) -> MethodRouter<AppState> {
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_max_request_body_bytes(state.settings.server.max_json_bytes)
        // A page that a browser shows says where it comes from: only known origins get through, whatever name
        // the server was reached by. Programs say nothing, and come by names that only their operators know.
        .disable_allowed_hosts()
        .with_allowed_origins(origins(&state.settings.server))
        .enforce_origin_validation();
    let handler = Handler::new(state.clone());
    let sessions = Arc::new(NeverSessionManager::default());
    let service = StreamableHttpService::new(move || Ok(handler.clone()), sessions, config);
    any(move |request: Request| {
        let service = service.clone();
        async move {
            let response: Response = service.handle(request).await.map(Body::new);
            response
        }
    })
}

/// Where pages that may call come from: the installation itself, and what the operator allows.
fn origins(settings: &ServerSettings) -> Vec<String> {
    let allowed = settings.cors_origins.iter().filter_map(|text| Url::parse(text).ok());
    let origins = allowed.chain(settings.public_url.clone());
    origins.filter_map(|url| with_port(&url)).collect()
}

/// The origin with its port in any case: without one every port would do.
fn with_port(url: &Url) -> Option<String> {
    Some(format!("{}://{}:{}", url.scheme(), url.host_str()?, url.port_or_known_default()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_carries_its_port() {
        let port = |text: &str| with_port(&Url::parse(text).unwrap()).unwrap();
        assert_eq!(port("https://vocero.example.com/app"), "https://vocero.example.com:443");
        assert_eq!(port("http://localhost:5173"), "http://localhost:5173");
    }
}
