//! What an identity provider sends a browser back with.

use serde::Deserialize;
use utoipa::IntoParams;

/// What the provider sends a browser back with.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Arrival {
    /// The state that it left with.
    #[param(required = false)]
    pub state: Option<String>,
    /// What the provider's tokens are got with.
    #[param(required = false)]
    pub code: Option<String>,
    /// Why there is no code: `access_denied`.
    #[param(required = false)]
    pub error: Option<String>,
}
