//! Datasets that are kept for a workspace, and what is made with them.

mod collect;
mod evaluate;
mod gate;
mod limits;
mod runs;
mod work;

use std::path::Path;
use std::sync::Arc;

use domain::{Ambient, DomainError, EvalDatasetId, WorkspaceId};
use serde_json::{Value, json};
use storage::Tx;
use storage::audit::{Author, Change};
use storage::evals::{self, EvalContent, EvalDataset};

use crate::dataset::{Case, Dataset};
use crate::error::EvalError;
use crate::target::Ground;

pub use collect::{Collected, Making, Origin};
pub use gate::Publishing;
pub use limits::{MOST_BYTES, MOST_CASES};
pub use runs::{ComparedRuns, StoredOptions, WantedRun, WantedTarget};

/// Tries to add cases to a dataset that others change meanwhile.
const TRIES: usize = 5;

/// Datasets of workspaces and runs over them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Evals {
    inner: Arc<Inner>,
    /// Whom the audit log names; the server's own doings are not in it.
    author: Option<Arc<Author>>,
}

#[derive(Debug)]
struct Inner {
    ground: Ground,
    ambient: Ambient,
}

impl std::ops::Deref for Inner {
    type Target = Ground;

    fn deref(&self) -> &Ground {
        &self.ground
    }
}

impl Dataset {
    /// Reads what an upload of that name holds, within what is kept for a workspace. Bad input is told with file, line,
    /// field and remedy.
    pub fn upload(file: &Path, bytes: &[u8]) -> Result<Self, EvalError> {
        let dataset = Self::parse(file, bytes)?;
        limits::check(&dataset, file)?;
        Ok(dataset)
    }

    /// Takes cases, none or within what is kept for a workspace. Bad input is told with the number of the case, from 1, as
    /// its line.
    pub fn given(name: &str, cases: Vec<Case>) -> Result<Self, EvalError> {
        let dataset = Self::of_cases(name, cases)?;
        limits::check(&dataset, Path::new("cases"))?;
        Ok(dataset)
    }
}

impl Evals {
    /// Over the parts of an installation.
    pub fn new(ground: Ground, ambient: Ambient) -> Self {
        Self { inner: Arc::new(Inner { ground, ambient }), author: None }
    }

    /// The same, whose changes are written into the audit log as somebody's.
    #[must_use]
    pub fn signed(&self, author: Author) -> Self {
        Self { author: Some(Arc::new(author)), inner: self.inner.clone() }
    }

    /// Writes a change into the audit log, where it is somebody's.
    async fn note(&self, tx: &mut Tx, change: Change) -> storage::Result<()> {
        match &self.author {
            Some(author) => author.note(tx, &self.inner.ambient, change).await,
            None => Ok(()),
        }
    }

    /// The parts that it stands on.
    pub fn ground(&self) -> &Ground {
        &self.inner.ground
    }

    /// Keeps a dataset under its name.
    pub async fn create(
        &self,
        workspace: WorkspaceId,
        dataset: &Dataset,
    ) -> Result<EvalDataset, DomainError> {
        let (db, ambient) = (&self.inner.db, &self.inner.ambient);
        let packed = Packed::of(dataset)?;
        let (id, now) = (ambient.new_id(), ambient.now());
        let mut tx = db.write().await?;
        evals::insert(&mut tx, workspace, id, &dataset.name, packed.content(), now).await?;
        let stored = evals::get(&mut tx, workspace, id).await?.ok_or_else(absent)?;
        self.note(&mut tx, Change::new("eval-dataset.created", id).to(told(&stored))).await?;
        tx.commit().await?;
        Ok(stored)
    }

    /// Renames a dataset, and puts other cases in the place of those it has: the same cases are the same version. `None`
    /// leaves what is there.
    ///
    /// Errors: 404.
    pub async fn replace(
        &self,
        workspace: WorkspaceId,
        id: EvalDatasetId,
        name: Option<&str>,
        dataset: Option<&Dataset>,
    ) -> Result<EvalDataset, DomainError> {
        let (db, ambient) = (&self.inner.db, &self.inner.ambient);
        let packed = dataset.map(Packed::of).transpose()?;
        let now = ambient.now();
        let mut tx = db.write().await?;
        let before = evals::get(&mut tx, workspace, id).await?.ok_or_else(absent)?;
        if let Some(name) = name {
            evals::rename(&mut tx, workspace, id, name, now).await?;
        }
        if let Some(packed) = packed.as_ref().filter(|packed| packed.version != before.version) {
            let content = packed.content();
            if !evals::replace(&mut tx, workspace, id, &before.version, content, now).await? {
                return Err(changed());
            }
        }
        let stored = evals::get(&mut tx, workspace, id).await?.ok_or_else(absent)?;
        self.note_update(&mut tx, &before, &stored).await?;
        tx.commit().await?;
        Ok(stored)
    }

    async fn note_update(
        &self,
        tx: &mut Tx,
        before: &EvalDataset,
        after: &EvalDataset,
    ) -> storage::Result<()> {
        let change = Change::new("eval-dataset.updated", after.id);
        self.note(tx, change.from(told(before)).to(told(after))).await
    }

    /// A version of a dataset with its cases; `None` means the one in use. The name is the dataset's.
    ///
    /// Errors: 404.
    pub async fn dataset(
        &self,
        workspace: WorkspaceId,
        id: EvalDatasetId,
        version: Option<&str>,
    ) -> Result<(EvalDataset, Dataset), DomainError> {
        let mut conn = self.inner.db.read().await?;
        let stored = evals::get(&mut conn, workspace, id).await?.ok_or_else(absent)?;
        let version = version.unwrap_or(&stored.version);
        let content = evals::content(&mut conn, workspace, id, version).await?;
        drop(conn);
        let content = content.ok_or_else(|| DomainError::not_found("version"))?;
        let cases = crate::dataset::parse_lines(Path::new("cases.jsonl"), &content);
        let cases = cases.map_err(|error| internal(&error))?;
        let dataset = Dataset { name: stored.name.clone(), cases, corpus: Vec::new() };
        Ok((stored, dataset))
    }

    /// Adds cases to the dataset whose ids it does not have; how many that were.
    async fn add(
        &self,
        workspace: WorkspaceId,
        id: EvalDatasetId,
        cases: &[Case],
    ) -> Result<(EvalDataset, usize), DomainError> {
        for _ in 0..TRIES {
            let (stored, mut dataset) = self.dataset(workspace, id, None).await?;
            let known = dataset.cases.len();
            for case in cases {
                if dataset.cases.iter().all(|other| other.id != case.id) {
                    dataset.cases.push(case.clone());
                }
            }
            let added = dataset.cases.len() - known;
            if added == 0 {
                return Ok((stored, 0));
            }
            let file = Path::new("cases");
            limits::check(&dataset, file).map_err(|error| refusal(&error))?;
            let packed = Packed::of(&dataset)?;
            let now = self.inner.ambient.now();
            let mut tx = self.inner.db.write().await?;
            let content = packed.content();
            if evals::replace(&mut tx, workspace, id, &stored.version, content, now).await? {
                let before = stored;
                let stored = evals::get(&mut tx, workspace, id).await?.ok_or_else(absent)?;
                self.note_update(&mut tx, &before, &stored).await?;
                tx.commit().await?;
                return Ok((stored, added));
            }
        }
        Err(changed())
    }
}

/// A dataset as it is stored.
struct Packed {
    version: String,
    cases: i64,
    lines: String,
}

impl Packed {
    fn of(dataset: &Dataset) -> Result<Self, DomainError> {
        Ok(Self {
            version: dataset.version(),
            cases: i64::try_from(dataset.cases.len()).unwrap_or(i64::MAX),
            lines: dataset.to_lines().map_err(|error| internal(&error))?,
        })
    }

    fn content(&self) -> EvalContent<'_> {
        let Self { version, cases, lines } = self;
        EvalContent { version, cases: *cases, content: lines.as_bytes() }
    }
}

/// What the audit log says of a dataset.
fn told(dataset: &EvalDataset) -> Value {
    json!({"name": dataset.name, "cases": dataset.cases, "version": dataset.version})
}

fn absent() -> DomainError {
    DomainError::not_found("evaluation dataset")
}

fn changed() -> DomainError {
    let message = "the dataset was changed meanwhile; read it again, then repeat the change";
    DomainError::conflict("CONFLICT", message)
}

fn refusal(error: &EvalError) -> DomainError {
    DomainError::invalid("cases", error.to_string())
}

fn internal(error: &EvalError) -> DomainError {
    failed(&error.to_string())
}

fn failed(why: &str) -> DomainError {
    DomainError::new(domain::ErrorKind::Internal, "INTERNAL", why)
}
