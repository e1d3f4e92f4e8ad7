//! Routes without a caller: health, and the description of the API.

use std::sync::LazyLock;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router, middleware};
use domain::DomainError;
use http::{HeaderValue, header};
use serde_json::json;
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::error::{ApiError, ApiResult};
use crate::state::AppState;

/// How long a dependency may take to say that it is there.
const PATIENCE: Duration = Duration::from_secs(2);

pub(crate) fn router() -> Router<AppState> {
    let documents = ["/openapi/v2.json", "/openapi/v1.json"];
    let docs: Router<AppState> = SwaggerUi::new("/docs").config(Config::new(documents)).into();
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/openapi/v1.json", get(description_of_panel))
        .route("/openapi/v2.json", get(description))
        .merge(docs.layer(middleware::map_response(page_policy)))
}

/// The process runs.
async fn healthz() -> Json<serde_json::Value> {
    Json(json!({ "status": "ok" }))
}

/// The server can do its work: database and index answer, and it is not stopping.
#[tracing::instrument(name = "handler.system.readyz", skip_all)]
async fn readyz(State(state): State<AppState>) -> ApiResult<Json<serde_json::Value>> {
    if state.stopping.is_cancelled() {
        let message = "the server is stopping";
        let wait = Duration::from_secs(5);
        return Err(DomainError::unavailable("SERVER_UNAVAILABLE", message, wait).into());
    }
    within("STORAGE_UNAVAILABLE", async { Ok(state.db.ping().await?) }).await?;
    within("INDEX_UNAVAILABLE", async { Ok(state.retrieval.ping().await?) }).await?;
    Ok(Json(json!({ "status": "ready" })))
}

async fn within(code: &'static str, answer: impl Future<Output = ApiResult<()>>) -> ApiResult<()> {
    let late = |_| {
        let message = format!("no answer within {} seconds", PATIENCE.as_secs());
        ApiError::from(DomainError::unavailable(code, message, PATIENCE))
    };
    tokio::time::timeout(PATIENCE, answer).await.map_err(late)?
}

async fn description() -> Response {
    static TEXT: LazyLock<String> =
        LazyLock::new(|| crate::openapi_v2().to_json().unwrap_or_default());
    ([(header::CONTENT_TYPE, "application/json")], TEXT.as_str()).into_response()
}

async fn description_of_panel() -> Response {
    static TEXT: LazyLock<String> =
        LazyLock::new(|| crate::openapi_v1().to_json().unwrap_or_default());
    ([(header::CONTENT_TYPE, "application/json")], TEXT.as_str()).into_response()
}

/// The page runs its own scripts and styles, and nothing else.
async fn page_policy(mut response: Response) -> Response {
    let policy = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                  frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    response
}
