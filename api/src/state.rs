//! What handlers share.

use std::sync::Arc;

use accounts::{Accounts, VisitorTokens};
use agents::Agents;
use domain::settings::Settings;
use domain::vault::Vault;
use domain::{Ambient, DomainError};
use evals::Evals;
use http::{HeaderName, HeaderValue, Method, header};
use ingest::Ingest;
use retrieval::Retrieval;
use storage::Db;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::auth::Authenticator;
use crate::live::Live;
use crate::rate_limit::RateLimits;
use crate::visitors::Visitors;

/// What the HTTP surfaces are built from.
pub struct AppParts {
    /// The database.
    pub db: Db,
    /// Clock, ids, randomness.
    pub ambient: Ambient,
    /// Search.
    pub retrieval: Retrieval,
    /// Ingestion.
    pub ingest: Ingest,
    /// Turns.
    pub agents: Agents,
    /// Evaluations.
    pub evals: Evals,
    /// People.
    pub accounts: Accounts,
    /// Limits and defaults.
    pub settings: Settings,
    /// Seals the secrets of tools and providers.
    pub vault: Vault,
    /// Tracks what is done off the request path.
    pub tracker: TaskTracker,
    /// Cancelled when the server begins to stop: `/readyz` then answers 503.
    pub stopping: CancellationToken,
}

/// What handlers share. Cheap to clone.
#[derive(Clone)]
pub struct AppState(Arc<Shared>);

/// What a state holds; other crates cannot name it.
pub struct Shared {
    pub(crate) db: Db,
    pub(crate) ambient: Ambient,
    pub(crate) retrieval: Retrieval,
    pub(crate) ingest: Ingest,
    pub(crate) agents: Agents,
    pub(crate) evals: Evals,
    pub(crate) accounts: Accounts,
    pub(crate) settings: Settings,
    pub(crate) vault: Vault,
    pub(crate) stopping: CancellationToken,
    pub(crate) authenticator: Authenticator,
    pub(crate) limits: RateLimits,
    pub(crate) live: Live,
    pub(crate) visitors: Visitors,
    pub(crate) visitor_tokens: VisitorTokens,
    origins: Vec<HeaderValue>,
}

impl std::ops::Deref for AppState {
    type Target = Shared;
    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl AppState {
    /// From its parts. An origin in `server.cors_origins` that is not one (`https://host[:port]`; a
    /// wildcard is none) is an error that names it.
    pub fn new(parts: AppParts) -> Result<Self, DomainError> {
        let origins = parts.settings.server.cors_origins.iter().map(|text| origin(text));
        let origins = origins.collect::<Result<Vec<_>, _>>()?;
        let live = Live::start(
            &parts.db,
            &parts.ambient,
            parts.settings.server.max_connections,
            &parts.tracker,
            &parts.stopping,
        );
        let authenticator =
            Authenticator::new(parts.db.clone(), parts.ambient.clone(), parts.tracker);
        Ok(Self(Arc::new(Shared {
            limits: RateLimits::per_minute(parts.settings.server.rate_limit),
            visitors: Visitors::new(parts.settings.server.visitor_rate_limit),
            visitor_tokens: VisitorTokens::new(&parts.vault),
            accounts: parts.accounts,
            authenticator,
            live,
            origins,
            db: parts.db,
            ambient: parts.ambient,
            retrieval: parts.retrieval,
            ingest: parts.ingest,
            agents: parts.agents,
            evals: parts.evals,
            settings: parts.settings,
            vault: parts.vault,
            stopping: parts.stopping,
        })))
    }

    /// Answers to browsers on the configured origins; `None` when there are none.
    pub(crate) fn cors_layer(&self) -> Option<CorsLayer> {
        if self.origins.is_empty() {
            return None;
        }
        let request_id = HeaderName::from_static("x-request-id");
        let allowed = [
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::ACCEPT_LANGUAGE,
            HeaderName::from_static("idempotency-key"),
            HeaderName::from_static("last-event-id"),
            HeaderName::from_static("x-workspace-id"),
            request_id.clone(),
        ];
        let exposed =
            ["x-conversation-id", "x-message-id"].into_iter().map(HeaderName::from_static);
        let limits = ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset", "retry-after"];
        let exposed = exposed.chain(limits.into_iter().map(HeaderName::from_static));
        let methods = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
        let cors = CorsLayer::new()
            .allow_origin(AllowOrigin::list(self.origins.clone()))
            .allow_methods(methods)
            .allow_headers(allowed)
            .expose_headers(exposed.chain([request_id]).collect::<Vec<_>>());
        Some(cors)
    }
}

/// Answers to browsers on any origin, who bring no credential: for what is everybody's anyway.
pub(crate) fn any_origin() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AllowOrigin::any())
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([header::CONTENT_TYPE, header::IF_NONE_MATCH, header::ACCEPT_LANGUAGE])
        .expose_headers([header::ETAG])
}

fn origin(text: &str) -> Result<HeaderValue, DomainError> {
    let invalid = || {
        let message = format!("`{text}` is not an origin; write it like https://shop.example.com");
        DomainError::invalid("server.cors_origins", message)
    };
    let parsed = url::Url::parse(text).map_err(|_| invalid())?;
    let is_origin = !text.contains('*')
        && matches!(parsed.scheme(), "http" | "https")
        && parsed.origin().ascii_serialization() == text.trim_end_matches('/');
    if !is_origin {
        return Err(invalid());
    }
    HeaderValue::from_str(text.trim_end_matches('/')).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_scheme_host_and_port_and_never_a_wildcard() {
        assert_eq!(origin("https://shop.example.com/").unwrap(), "https://shop.example.com");
        assert_eq!(origin("http://localhost:5173").unwrap(), "http://localhost:5173");
        for bad in
            ["*", "null", "https://*", "shop.example.com", "https://a.example/path", "file:///x"]
        {
            assert!(origin(bad).is_err(), "{bad}");
        }
    }
}
