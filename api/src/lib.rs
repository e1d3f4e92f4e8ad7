#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

mod api_keys;
mod attachment_links;
mod auth;
mod csv;
mod describe;
mod download;
mod edge;
mod error;
mod extract;
mod live;
mod mcp;
mod messages;
mod openai;
mod pages;
mod paging;
mod patch;
mod rate_limit;
mod routes;
mod state;
mod system;
mod v1;
mod v2;
mod visitors;
mod words;

pub use routes::{Callers, RouteInfo, Surface};
pub use state::{AppParts, AppState};

use axum::Router;
use axum::middleware;
use tower_http::catch_panic::CatchPanicLayer;

/// The whole HTTP service. The accept loop puts `axum::extract::ConnectInfo<SocketAddr>` (the peer's
/// address) into each request's extensions; without it callers share one limit on wrong credentials.
pub fn router(state: AppState) -> Router {
    let cors = state.cors_layer();
    let router = Router::new()
        .merge(v1::routes().into_router(&state))
        .merge(v1::help::routes().into_router(&state).layer(state::any_origin()))
        .merge(v2::routes().into_router(&state))
        .merge(openai::routes().into_router(&state))
        .route(mcp::PATH, routes::for_any_key(mcp::service(&state), &state))
        .merge(pages::router(&state))
        .merge(system::router())
        .fallback(edge::not_found)
        .method_not_allowed_fallback(edge::method_not_allowed)
        .with_state(state.clone())
        .layer(CatchPanicLayer::custom(edge::panicked));
    let router = match cors {
        Some(cors) => router.layer(cors),
        None => router,
    };
    router
        .layer(middleware::from_fn_with_state(state.clone(), visitors::answer_browsers))
        .layer(middleware::from_fn_with_state(state, edge::edge))
}

/// The description of `/v1`, the panel (OpenAPI 3.1), as committed in `openapi/v1.json`.
pub fn openapi_v1() -> utoipa::openapi::OpenApi {
    v1::openapi()
}

/// Every route of `/v1` with the action that it needs, in the order of declaration.
pub fn routes_v1() -> Vec<RouteInfo> {
    [v1::routes().table(), v1::help::routes().table()].concat()
}

/// The addresses of the pages that links of mails lead to, with `{parameters}`. People read them; no description lists them.
pub fn routes_of_pages() -> Vec<&'static str> {
    pages::routes().into_iter().map(|(path, _)| path).collect()
}

/// The description of `/api/v2` (OpenAPI 3.1), as committed in `openapi/v2.json`.
pub fn openapi_v2() -> utoipa::openapi::OpenApi {
    v2::openapi()
}

/// Every route of `/openai/v1` with the action that it needs, in the order of declaration.
pub fn routes_openai() -> Vec<RouteInfo> {
    openai::routes().table()
}

/// Every route of `/api/v2` with the action that it needs, in the order of declaration.
pub fn routes_v2() -> Vec<RouteInfo> {
    v2::routes().table()
}
