//! Versions of an agent: what of one is not there any more, publishing, drafts.

use domain::agent::{Agent, ToolKind};
use domain::agent_version::{AgentConfig, AgentDraft, NamedDatastore, Publication};
use domain::vault::SecretPlace;
use domain::{DatastoreId, DomainError, Timestamp};
use serde_json::{Value, json};
use storage::agents::Written;
use storage::audit::Change;
use storage::{Conn, StorageError, Tx, agents, datastores, versions};

use crate::turn::{Agents, Inner};

/// What a configuration would be published as.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The agent with that configuration; `version` is the published one that it replaces.
    pub agent: Agent,
    /// Whose it is, and what they say about it.
    pub publication: Publication,
    /// The revision of the draft that it is, which goes with it.
    pub draft: Option<i64>,
}

/// Something that a configuration names and that is not there (any more).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Where the configuration names it: `tools[1].id`, `modelName`.
    pub field: String,
    /// What it is.
    pub kind: MissingKind,
    /// Its id or name.
    pub id: String,
    /// What it was called, where that is known.
    pub name: Option<String>,
}

/// What is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingKind {
    /// A datastore that was deleted.
    Datastore,
    /// A model that no provider knows.
    Model,
    /// A secret that no key of the vault opens.
    Secret,
}

impl Missing {
    /// For people: `datastore ds_… (Catálogo)`.
    pub fn words(&self) -> String {
        let kind = match self.kind {
            MissingKind::Datastore => "datastore",
            MissingKind::Model => "model",
            MissingKind::Secret => "secret",
        };
        match &self.name {
            Some(name) => format!("{kind} {} ({name})", self.id),
            None => format!("{kind} {}", self.id),
        }
    }
}

impl Agents {
    /// What the agent's configuration names and is not there. `names` are what its datastores were called.
    ///
    /// Models of a provider that cannot be asked now count as there.
    pub async fn missing(
        &self,
        agent: &Agent,
        names: &[NamedDatastore],
    ) -> Result<Vec<Missing>, DomainError> {
        let inner = &*self.inner;
        let mut conn = inner.db.read().await?;
        let mut missing = missing_datastores(&mut conn, agent, names).await?;
        drop(conn);
        let models = agent.model_name.iter().map(|name| ("modelName".to_owned(), name));
        let fallbacks = agent.settings.fallback_models.iter().enumerate();
        let fallbacks =
            fallbacks.map(|(at, name)| (format!("settings.fallbackModels[{at}]"), name));
        for (field, model) in models.chain(fallbacks) {
            match inner.check_model(agent.workspace_id, model).await {
                Ok(()) => {}
                Err(error) if error.field.is_some() => missing.push(Missing {
                    field,
                    kind: MissingKind::Model,
                    id: model.clone(),
                    name: None,
                }),
                // It was known when it was saved, and a provider that is down keeps nobody from going back.
                Err(error) => tracing::warn!(%error, model, "a model could not be asked for"),
            }
        }
        missing.extend(lost_secrets(inner, agent));
        Ok(missing)
    }

    /// Publishes a configuration, at once; the number of the published version afterwards, which is the same as before when
    /// nothing is different.
    ///
    /// Errors: 404 when the agent is gone; 409 `STALE_VERSION` when another version was published meanwhile, `STALE_DRAFT` when
    /// the draft was changed.
    pub async fn publish(&self, candidate: &Candidate) -> Result<i64, DomainError> {
        let Inner { db, ambient, .. } = &*self.inner;
        let mut tx = db.write().await?;
        let (number, change) = publish_in(&mut tx, candidate, ambient.now()).await?;
        if let Some(change) = change {
            self.note(&mut tx, change).await?;
        }
        tx.commit().await?;
        Ok(number)
    }

    /// Stores a draft in the place of the one with its `revision` (0 for none), with the new revision.
    ///
    /// Errors: 409 `STALE_DRAFT` when another one stands there.
    pub async fn save_draft(
        &self,
        agent: &Agent,
        draft: AgentDraft,
    ) -> Result<AgentDraft, DomainError> {
        let mut tx = self.inner.db.write().await?;
        let saved = versions::put_draft(&mut tx, agent.workspace_id, &draft).await?;
        let revision = saved.ok_or_else(stale_draft)?;
        let told = |revision: i64| json!({"revision": revision});
        let change = Change::new("draft.updated", agent.id).to(told(revision));
        let change = if draft.revision == 0 { change } else { change.from(told(draft.revision)) };
        self.note(&mut tx, change).await?;
        tx.commit().await?;
        Ok(AgentDraft { revision, ..draft })
    }
}

/// As [`Agents::publish`], in a transaction of the caller's, which is of no use after an error; with what is to be written
/// into the audit log, if anything is different.
pub async fn publish_in(
    tx: &mut Tx,
    candidate: &Candidate,
    now: Timestamp,
) -> Result<(i64, Option<Change>), DomainError> {
    let Candidate { agent, publication, draft } = candidate;
    let agent = Agent { updated_at: now, ..agent.clone() };
    let before = agents::get(tx, agent.workspace_id, agent.id).await?;
    let before = before.ok_or_else(|| DomainError::not_found("agent"))?;
    let number = match agents::publish(tx, &agent, publication).await? {
        Written::Version(number) => number,
        Written::Stale => return Err(stale_version(agent.version)),
        Written::Absent => return Err(DomainError::not_found("agent")),
    };
    if let Some(revision) = draft
        && !versions::delete_draft(tx, agent.workspace_id, agent.id, Some(*revision)).await?
    {
        return Err(stale_draft());
    }
    let (before, after) = (told(&before), told(&Agent { version: number, ..agent.clone() }));
    let change =
        (before != after).then(|| Change::new("agent.updated", agent.id).from(before).to(after));
    Ok((number, change))
}

/// What the audit log says of an agent; its versions have the rest.
fn told(agent: &Agent) -> Value {
    json!({"name": agent.name, "status": agent.status.name(), "version": agent.version})
}

/// The agent's tools and models without what is missing; what is left out stands in `missing`. Secrets stay: their tool says
/// that they must be given again.
pub fn without_missing(config: &mut AgentConfig, missing: &[Missing]) {
    let is_missing = |kind: MissingKind, id: &str| {
        missing.iter().any(|missing| missing.kind == kind && missing.id == id)
    };
    config.tools.retain(|tool| {
        let id = tool.id.as_deref().filter(|_| tool.kind == ToolKind::Datastore);
        !id.is_some_and(|id| is_missing(MissingKind::Datastore, id))
    });
    config.model_name.take_if(|model| is_missing(MissingKind::Model, model));
    config.settings.fallback_models.retain(|model| !is_missing(MissingKind::Model, model));
}

/// Another version than the one that was read is published.
pub fn stale_version(read: i64) -> DomainError {
    DomainError::conflict(
        "STALE_VERSION",
        format!(
            "another version than {read} is published meanwhile; look at what it changed (GET …/diff) and try again"
        ),
    )
}

/// The draft was changed or removed meanwhile.
pub fn stale_draft() -> DomainError {
    DomainError::conflict(
        "STALE_DRAFT",
        "the draft was changed or removed meanwhile; read it again (GET …/draft) and put your changes on it",
    )
}

async fn missing_datastores(
    conn: &mut Conn,
    agent: &Agent,
    names: &[NamedDatastore],
) -> Result<Vec<Missing>, StorageError> {
    let ids = agent.config().datastores();
    let found = if ids.is_empty() {
        Vec::new()
    } else {
        datastores::get_many(conn, agent.workspace_id, &ids).await?
    };
    let is_there = |id: &str| {
        let id = id.parse::<DatastoreId>().ok();
        id.is_some_and(|id| found.iter().any(|datastore| datastore.id == id))
    };
    let mut missing = Vec::new();
    for (position, tool) in agent.tools.iter().enumerate() {
        let Some(id) = tool.id.as_deref().filter(|_| tool.kind == ToolKind::Datastore) else {
            continue;
        };
        if is_there(id) {
            continue;
        }
        let called = names.iter().find(|named| named.id.to_string() == id);
        missing.push(Missing {
            field: format!("tools[{position}].id"),
            kind: MissingKind::Datastore,
            id: id.to_owned(),
            name: called.map(|named| named.name.clone()),
        });
    }
    Ok(missing)
}

fn lost_secrets(inner: &Inner, agent: &Agent) -> Vec<Missing> {
    let row = agent.id.to_string();
    let place =
        SecretPlace { workspace: agent.workspace_id, table: "agents", column: "tools", row: &row };
    let mut lost = Vec::new();
    for (position, tool) in agent.tools.iter().enumerate() {
        let headers = tool.settings.get("headers").and_then(Value::as_array);
        for (at, header) in headers.into_iter().flatten().enumerate() {
            let Some(sealed) = header["sealed"].as_str() else { continue };
            if inner.options.vault.open(place, sealed).is_err() {
                let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
                lost.push(Missing {
                    field: format!("tools[{position}].headers[{at}].value"),
                    kind: MissingKind::Secret,
                    id: text(&header["name"]).unwrap_or_default(),
                    name: tool.settings.get("name").and_then(text),
                });
            }
        }
    }
    lost
}
