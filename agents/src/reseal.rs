//! Sealing secrets anew after the vault's key was changed: each by itself, so that whoever is interrupted goes on
//! where it was.

use std::sync::Arc;

use async_trait::async_trait;
use domain::agent::AgentTool;
use domain::agent_version::AgentConfig;
use domain::job::{Job, NewJob};
use domain::vault::{SecretPlace, Vault, VaultError};
use domain::workspace::SiteIdentity;
use domain::{AgentId, Ambient, ProjectId, WorkspaceId};
use jobs::{Handler, JobContext, JobError, Outcome};
use serde_json::{Value, json};
use storage::{Conn, Db, StorageError, projects, second_factors, secrets, workspaces};

use crate::turn::{Agents, Inner};

/// The kind of the job.
const KIND: &str = "secrets.reseal";

/// How the secrets of an installation are sealed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SealedSecrets {
    /// With the key that seals now.
    pub current: u64,
    /// With another one of the ring.
    pub older: u64,
    /// They do not open: their key is not on the ring, or they were changed.
    pub lost: u64,
}

impl SealedSecrets {
    /// All of them.
    pub fn all(self) -> u64 {
        self.current + self.older + self.lost
    }

    fn plus(self, other: Self) -> Self {
        Self {
            current: self.current + other.current,
            older: self.older + other.older,
            lost: self.lost + other.lost,
        }
    }

    fn add(&mut self, vault: &Vault, place: SecretPlace<'_>, sealed: &str) {
        match vault.open(place, sealed) {
            Err(_) => self.lost += 1,
            Ok(_) if vault.is_current(sealed) => self.current += 1,
            Ok(_) => self.older += 1,
        }
    }
}

/// How the secrets of every workspace are sealed.
pub async fn count_secrets(db: &Db, vault: &Vault) -> Result<SealedSecrets, StorageError> {
    let mut all = SealedSecrets::default();
    for workspace in workspace_ids(db).await? {
        all = all.plus(count(db, vault, workspace).await?);
    }
    Ok(all.plus(count_of_people(db, vault).await?))
}

/// Seals what an older key of the ring sealed with the one that seals now, in every workspace. What is changed
/// meanwhile is sealed with the new key anyway. Gives how they are sealed afterwards.
pub async fn reseal_secrets(
    db: &Db,
    ambient: &Ambient,
    vault: &Vault,
) -> Result<SealedSecrets, StorageError> {
    let mut all = SealedSecrets::default();
    for workspace in workspace_ids(db).await? {
        reseal(db, ambient, vault, workspace).await?;
        all = all.plus(count(db, vault, workspace).await?);
    }
    reseal_people(db, ambient, vault).await?;
    Ok(all.plus(count_of_people(db, vault).await?))
}

/// How the secrets of second factors are sealed, which belong to people and to no workspace.
async fn count_of_people(db: &Db, vault: &Vault) -> Result<SealedSecrets, StorageError> {
    let mut found = SealedSecrets::default();
    for (user, sealed) in second_factors::all(&mut db.read().await?).await? {
        found.add(vault, of_second_factor(&user.to_string()), &sealed);
    }
    Ok(found)
}

/// Seals those anew that an older key sealed.
async fn reseal_people(db: &Db, ambient: &Ambient, vault: &Vault) -> Result<(), StorageError> {
    for (user, before) in second_factors::all(&mut db.read().await?).await? {
        let row = user.to_string();
        let anew = sealed_anew(ambient, vault, of_second_factor(&row), &before);
        let Ok(Some(after)) = anew else { continue };
        let mut tx = db.write().await?;
        second_factors::replace(&mut tx, user, &before, &after).await?;
        tx.commit().await?;
    }
    Ok(())
}

fn of_second_factor(row: &str) -> SecretPlace<'_> {
    SecretPlace::of_person("users", "second_factor", row)
}

impl Agents {
    /// Wants the secrets sealed anew that an older key sealed, by a job of each workspace that has some; how many
    /// workspaces. For the start of a process: a key is changed before it.
    pub async fn want_resealing(&self) -> Result<usize, StorageError> {
        let Inner { db, ambient, options, .. } = &*self.inner;
        reseal_people(db, ambient, &options.vault).await?;
        let mut wanted = 0;
        for workspace in workspace_ids(db).await? {
            let SealedSecrets { older, lost, .. } = count(db, &options.vault, workspace).await?;
            if lost > 0 {
                tracing::error!(%workspace, secrets = lost, "no key of the ring opens these; add their key back or set them again");
            }
            if older == 0 {
                continue;
            }
            let mut job = NewJob::now(KIND, json!({}), ambient.now());
            job.dedupe_key = Some("all".to_owned());
            let mut tx = db.write().await?;
            storage::jobs::enqueue(&mut tx, ambient, workspace, &job).await?;
            tx.commit().await?;
            wanted += 1;
        }
        Ok(wanted)
    }
}

/// Seals the secrets of a workspace anew.
pub(crate) struct Reseal(pub(crate) Arc<Inner>);

#[async_trait]
impl Handler for Reseal {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn concurrency(&self) -> usize {
        1
    }

    async fn run(&self, context: &JobContext, jobs: &[Job]) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(jobs.len());
        for job in jobs {
            outcomes.push(match context.interruption(job.id) {
                Some(interruption) => Err(interruption),
                None => self.one(job.workspace_id).await,
            });
        }
        outcomes
    }
}

impl Reseal {
    async fn one(&self, workspace: WorkspaceId) -> Outcome {
        let Inner { db, ambient, options, .. } = &*self.0;
        let retry = |error: StorageError| JobError::retry(error.to_string());
        let vault = &options.vault;
        reseal(db, ambient, vault, workspace).await.map_err(retry)?;
        let SealedSecrets { current, older, .. } =
            count(db, vault, workspace).await.map_err(retry)?;
        if older > 0 {
            return Err(JobError::retry(format!("{older} secrets were changed meanwhile")));
        }
        tracing::info!(%workspace, secrets = current, "the secrets are sealed with the new key");
        Ok(())
    }
}

async fn workspace_ids(db: &Db) -> Result<Vec<WorkspaceId>, StorageError> {
    let mut conn = db.read().await?;
    let all = workspaces::list(&mut conn).await?;
    Ok(all.into_iter().map(|workspace| workspace.id).collect())
}

async fn count(
    db: &Db,
    vault: &Vault,
    workspace: WorkspaceId,
) -> Result<SealedSecrets, StorageError> {
    let mut conn = db.read().await?;
    let keys = secrets::provider_keys(&mut conn, workspace).await?;
    let tools = secrets::agent_tools(&mut conn, workspace).await?;
    let configs = secrets::agent_configs(&mut conn, workspace).await?;
    let identities = identity_secrets(&mut conn, workspace).await?;
    drop(conn);
    let mut found = SealedSecrets::default();
    for (id, sealed) in keys {
        found.add(vault, of_provider(workspace, &id.to_string()), &sealed);
    }
    for (id, tools) in tools {
        let row = id.to_string();
        for mut tool in read_tools(&tools) {
            for sealed in sealed_in(&mut tool) {
                let sealed = sealed.as_str().unwrap_or_default();
                found.add(vault, of_tools(workspace, &row), sealed);
            }
        }
    }
    for (id, _, config) in configs {
        let row = id.to_string();
        for sealed in read_config(&config).tools.iter_mut().flat_map(sealed_in) {
            let sealed = sealed.as_str().unwrap_or_default();
            found.add(vault, of_tools(workspace, &row), sealed);
        }
    }
    for (id, sealed) in identities {
        found.add(vault, SiteIdentity::place(workspace, &id.to_string()), &sealed);
    }
    Ok(found)
}

/// The secrets that the workspace's sites vouch with.
async fn identity_secrets(
    conn: &mut Conn,
    workspace: WorkspaceId,
) -> Result<Vec<(ProjectId, String)>, StorageError> {
    let all = projects::list(conn, workspace).await?.into_iter();
    Ok(all.filter_map(|project| Some((project.id, project.identity?.secret))).collect())
}

async fn reseal(
    db: &Db,
    ambient: &Ambient,
    vault: &Vault,
    workspace: WorkspaceId,
) -> Result<(), StorageError> {
    let mut conn = db.read().await?;
    let keys = secrets::provider_keys(&mut conn, workspace).await?;
    let tools = secrets::agent_tools(&mut conn, workspace).await?;
    let configs = secrets::agent_configs(&mut conn, workspace).await?;
    let identities = identity_secrets(&mut conn, workspace).await?;
    drop(conn);
    for (id, before) in identities {
        let row = id.to_string();
        let place = SiteIdentity::place(workspace, &row);
        let Ok(Some(after)) = sealed_anew(ambient, vault, place, &before) else { continue };
        let mut tx = db.write().await?;
        secrets::replace_identity_secret(&mut tx, workspace, id, &before, &after).await?;
        tx.commit().await?;
    }
    for (id, before) in keys {
        let row = id.to_string();
        let place = of_provider(workspace, &row);
        let Ok(Some(after)) = sealed_anew(ambient, vault, place, &before) else { continue };
        let mut tx = db.write().await?;
        secrets::replace_provider_key(&mut tx, workspace, id, &before, &after).await?;
        tx.commit().await?;
    }
    for (id, before) in tools {
        let mut after = read_tools(&before);
        if !tools_anew(ambient, vault, (workspace, id), &mut after) {
            continue;
        }
        let mut tx = db.write().await?;
        secrets::replace_agent_tools(&mut tx, workspace, id, &before, &after).await?;
        tx.commit().await?;
    }
    for (id, number, before) in configs {
        let mut after = read_config(&before);
        if !tools_anew(ambient, vault, (workspace, id), &mut after.tools) {
            continue;
        }
        let mut tx = db.write().await?;
        let place = (id, number);
        secrets::replace_agent_config(&mut tx, workspace, place, &before, &after).await?;
        tx.commit().await?;
    }
    Ok(())
}

/// Seals the secrets of an agent's tools anew; whether one was.
fn tools_anew(
    ambient: &Ambient,
    vault: &Vault,
    (workspace, agent): (WorkspaceId, AgentId),
    tools: &mut [AgentTool],
) -> bool {
    let row = agent.to_string();
    let mut changed = false;
    for sealed in tools.iter_mut().flat_map(sealed_in) {
        let old = sealed.as_str().unwrap_or_default();
        let anew = sealed_anew(ambient, vault, of_tools(workspace, &row), old);
        if let Ok(Some(anew)) = anew {
            *sealed = Value::String(anew);
            changed = true;
        }
    }
    changed
}

/// The secret sealed with the key that seals now; `None` when it is already.
fn sealed_anew(
    ambient: &Ambient,
    vault: &Vault,
    place: SecretPlace<'_>,
    sealed: &str,
) -> Result<Option<String>, VaultError> {
    if vault.is_current(sealed) {
        return Ok(None);
    }
    let secret = vault.open(place, sealed)?;
    vault.seal(ambient, place, &secret).map(Some)
}

fn of_provider(workspace: WorkspaceId, row: &str) -> SecretPlace<'_> {
    SecretPlace { workspace, table: "providers", column: "api_key", row }
}

fn of_tools(workspace: WorkspaceId, row: &str) -> SecretPlace<'_> {
    SecretPlace { workspace, table: "agents", column: "tools", row }
}

/// What does not read holds nothing that could be sealed.
fn read_tools(text: &str) -> Vec<AgentTool> {
    serde_json::from_str(text).unwrap_or_default()
}

/// As [`read_tools`], of a version or a draft.
fn read_config(text: &str) -> AgentConfig {
    serde_json::from_str(text).unwrap_or_default()
}

/// The sealed values of a tool's headers.
fn sealed_in(tool: &mut AgentTool) -> impl Iterator<Item = &mut Value> {
    let headers = tool.settings.get_mut("headers").and_then(Value::as_array_mut);
    let sealed = headers.into_iter().flatten().filter_map(|header| header.get_mut("sealed"));
    sealed.filter(|sealed| sealed.is_string())
}
