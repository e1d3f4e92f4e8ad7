//! The first workspace, and this machine's own API key.

use anyhow::Context;
use domain::api_key::{ApiKey, ApiKeySecret};
use domain::principal::Scopes;
use domain::{Actor, Ambient, ApiKeyId, Scope, Timestamp, WorkspaceId};
use serde::Serialize;
use serde_json::{Value, json};
use storage::Db;
use storage::audit::{Author, Change};

use crate::home::Home;

/// The name of the key that is kept in the data folder.
const LOCAL_KEY: &str = "local";

/// What a newcomer needs to know.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Setup {
    /// The first workspace.
    pub workspace_id: String,
    /// Its default agent.
    pub agent_id: String,
    /// Its default datastore.
    pub datastore_id: String,
    /// Its default project.
    pub project_id: String,
    /// The project's public key.
    pub site_key: String,
    /// This machine's own key, also in `<data>/keys/api-key`.
    pub api_key: String,
    /// Whether the workspace was made just now.
    #[serde(skip)]
    pub is_new: bool,
}

/// A key and its secret, which is shown this once.
#[derive(Debug)]
pub struct NewKey {
    /// What is stored.
    pub key: ApiKey,
    /// The key itself.
    pub secret: ApiKeySecret,
}

/// Makes the first workspace when there is none and this machine's key when it is missing or no longer
/// opens anything.
pub async fn ensure(db: &Db, ambient: &Ambient, home: &Home) -> anyhow::Result<Setup> {
    let waiting = home.clone();
    let _one_at_a_time = tokio::task::spawn_blocking(move || waiting.setup_lock()).await??;
    let (workspace, is_new) = ensure_workspace(db, ambient).await?;
    let secret = ensure_local_key(db, ambient, home, workspace).await?;
    let mut conn = db.read().await?;
    let missing = |what: &str| format!("the workspace {workspace} has no {what}");
    let agent = storage::agents::default(&mut conn, workspace).await?;
    let project = storage::projects::default(&mut conn, workspace).await?;
    let datastores = storage::datastores::defaults(&mut conn, workspace).await?;
    let agent = agent.with_context(|| missing("agent"))?;
    let project = project.with_context(|| missing("project"))?;
    let datastore = datastores.first().with_context(|| missing("default datastore"))?;
    Ok(Setup {
        workspace_id: workspace.to_string(),
        agent_id: agent.id.to_string(),
        datastore_id: datastore.id.to_string(),
        project_id: project.id.to_string(),
        site_key: project.site_key,
        api_key: secret.expose().to_owned(),
        is_new,
    })
}

/// The first workspace's id; an error that names the remedy when there is none.
pub async fn first_workspace(db: &Db) -> anyhow::Result<WorkspaceId> {
    let mut conn = db.read().await?;
    let first = storage::workspaces::first(&mut conn).await?;
    Ok(first.context("there is no workspace yet; run `vocero init` first")?.id)
}

/// Makes a key.
pub async fn create_key(
    db: &Db,
    ambient: &Ambient,
    workspace: WorkspaceId,
    name: &str,
    scopes: Scopes,
    expires_at: Option<Timestamp>,
) -> anyhow::Result<NewKey> {
    let secret = ApiKeySecret::generate(ambient);
    let key = ApiKey {
        id: ambient.new_id::<ApiKeyId>(),
        workspace_id: workspace,
        name: name.to_owned(),
        prefix: secret.prefix().to_owned(),
        scopes,
        created_by: None,
        created_at: ambient.now(),
        expires_at,
        last_used_at: None,
        revoked_at: None,
    };
    let mut tx = db.write().await?;
    storage::api_keys::insert(&mut tx, &key, &secret.hash()).await?;
    let change = Change::new("api-key.created", key.id).to(told(&key));
    operator(workspace).note(&mut tx, ambient, change).await?;
    tx.commit().await?;
    Ok(NewKey { key, secret })
}

/// Revokes a key; `false` when it is none that works.
pub async fn revoke_key(
    db: &Db,
    ambient: &Ambient,
    workspace: WorkspaceId,
    id: ApiKeyId,
) -> anyhow::Result<bool> {
    let mut tx = db.write().await?;
    let found = storage::api_keys::get(&mut tx, workspace, id).await?;
    let revoked = storage::api_keys::revoke(&mut tx, workspace, id, ambient.now()).await?;
    if let Some(found) = found.filter(|_| revoked) {
        let change = Change::new("api-key.revoked", id).from(told(&found));
        operator(workspace).note(&mut tx, ambient, change).await?;
    }
    tx.commit().await?;
    Ok(revoked)
}

/// Whoever has a shell on the server, as the audit log names them.
fn operator(workspace: WorkspaceId) -> Author {
    let user_agent = "vocero (command line)".to_owned();
    Author { workspace, actor: Actor::System, address: None, user_agent }
}

/// What the audit log says of a key.
fn told(key: &ApiKey) -> Value {
    let scopes: Vec<&str> = key.scopes.iter().map(Scope::name).collect();
    json!({"name": key.name, "prefix": key.prefix, "scopes": scopes})
}

async fn ensure_workspace(db: &Db, ambient: &Ambient) -> anyhow::Result<(WorkspaceId, bool)> {
    let mut tx = db.write().await?;
    if let Some(workspace) = storage::workspaces::first(&mut tx).await? {
        return Ok((workspace.id, false));
    }
    let born = storage::workspaces::create(&mut tx, ambient, "Vocero").await?;
    tx.commit().await?;
    Ok((born.workspace.id, true))
}

async fn ensure_local_key(
    db: &Db,
    ambient: &Ambient,
    home: &Home,
    workspace: WorkspaceId,
) -> anyhow::Result<ApiKeySecret> {
    if let Some(secret) = home.read_key()? {
        let mut conn = db.read().await?;
        let found = storage::api_keys::find_by_hash(&mut conn, &secret.hash()).await?;
        let opens = found.is_some_and(|found| {
            found.key.workspace_id == workspace && found.role(ambient.now()).is_some()
        });
        if opens {
            return Ok(secret);
        }
    }
    let new = create_key(db, ambient, workspace, LOCAL_KEY, Scopes::all(), None).await?;
    home.write_key(&new.secret)?;
    Ok(new.secret)
}
