//! Making and revoking API keys, which are the same on all surfaces.

use domain::api_key::{ApiKey, ApiKeySecret};
use domain::ids::PrefixedId;
use domain::principal::Scopes;
use domain::{ApiKeyId, DomainError, Timestamp, UserId, text};
use serde_json::{Value, json};
use storage::{Tx, api_keys};

use crate::auth::{Caller, Changed};
use crate::error::{ApiError, ApiResult};
use crate::state::AppState;

/// What a key is wanted with, as it was sent.
pub(crate) struct WantedKey {
    pub name: String,
    /// Absent means everything.
    pub scopes: Option<Vec<domain::Scope>>,
    /// RFC 3339, in the future; absent means never.
    pub expires_at: Option<String>,
}

/// Makes a key; its secret is shown once.
pub(crate) async fn create(
    state: &AppState,
    caller: &Caller,
    wanted: WantedKey,
) -> ApiResult<(ApiKey, ApiKeySecret)> {
    let now = state.ambient.now();
    let secret = ApiKeySecret::generate(&state.ambient);
    let mut key = ApiKey {
        id: state.ambient.new_id(),
        workspace_id: caller.workspace(),
        name: text::required("name", &wanted.name, 100)?,
        prefix: secret.prefix().to_owned(),
        scopes: read_scopes(wanted.scopes)?,
        created_by: None,
        created_at: now,
        expires_at: wanted.expires_at.map(|text| read_expiry(&text, now)).transpose()?,
        last_used_at: None,
        revoked_at: None,
    };
    let mut tx = state.db.write().await?;
    key.created_by = maker(&mut tx, caller).await?;
    api_keys::insert(&mut tx, &key, &secret.hash()).await?;
    let made = Changed::to(told(&key));
    caller.audit(&mut tx, &state.ambient, "api-key.created", key.id, made).await?;
    tx.commit().await?;
    Ok((key, secret))
}

/// Revokes a key: it stops working at once.
pub(crate) async fn revoke(state: &AppState, caller: &Caller, id: ApiKeyId) -> ApiResult<()> {
    let (workspace, now) = (caller.workspace(), state.ambient.now());
    let mut tx = state.db.write().await?;
    let found = api_keys::get(&mut tx, workspace, id).await?.ok_or_else(absent)?;
    if !api_keys::revoke(&mut tx, workspace, id, now).await? {
        return Err(absent().into());
    }
    let gone = Changed::from(told(&found));
    caller.audit(&mut tx, &state.ambient, "api-key.revoked", id, gone).await?;
    tx.commit().await?;
    state.authenticator.forget(id);
    Ok(())
}

pub(crate) fn absent() -> DomainError {
    DomainError::not_found(ApiKeyId::KIND)
}

/// Who makes a key: the person, or whoever made the key that makes it. It may do no more than they may.
async fn maker(tx: &mut Tx, caller: &Caller) -> ApiResult<Option<UserId>> {
    match caller.api_key() {
        None => Ok(Some(caller.person()?.user)),
        Some(key) => {
            let key = api_keys::get(tx, caller.workspace(), key).await?;
            Ok(key.ok_or_else(ApiError::unauthorized)?.created_by)
        }
    }
}

/// What the audit log says of a key.
fn told(key: &ApiKey) -> Value {
    let scopes: Vec<_> = key.scopes.iter().map(domain::Scope::name).collect();
    json!({
        "name": key.name,
        "prefix": key.prefix,
        "scopes": scopes,
        "expiresAt": key.expires_at.map(Timestamp::to_rfc3339),
    })
}

fn read_scopes(scopes: Option<Vec<domain::Scope>>) -> ApiResult<Scopes> {
    match scopes {
        None => Ok(Scopes::all()),
        Some(scopes) if scopes.is_empty() => Err(ApiError::invalid(
            "scopes",
            "`scopes` must name read, chat or manage, or be left out",
        )),
        Some(scopes) => Ok(scopes.into_iter().collect()),
    }
}

fn read_expiry(text: &str, now: Timestamp) -> ApiResult<Timestamp> {
    let expiry = Timestamp::parse_rfc3339(text).filter(|expiry| *expiry > now);
    expiry.ok_or_else(|| {
        let message = "`expiresAt` must be a time in the future, like 2030-01-01T00:00:00Z";
        ApiError::invalid("expiresAt", message)
    })
}
