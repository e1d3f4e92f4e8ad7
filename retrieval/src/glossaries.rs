//! The glossaries of workspaces, kept in memory by their revision.

use std::sync::{Arc, LazyLock};

use domain::WorkspaceId;
use models::lexical::Lexicon;
use moka::sync::Cache;
use storage::Conn;

use crate::RetrievalError;

/// Memory that they may take.
const BYTES: u64 = 8 << 20;

/// A workspace's glossary at some revision.
#[derive(Debug, Default)]
pub(crate) struct Glossary {
    revision: i64,
    /// Empty when the workspace has none.
    pub(crate) lexicon: Lexicon,
}

impl Glossary {
    /// Of the row that it was read from; 0 for none.
    pub(crate) const fn revision(&self) -> i64 {
        self.revision
    }
}

/// What most workspaces have.
static NONE: LazyLock<Arc<Glossary>> = LazyLock::new(Arc::default);

/// Glossaries looked at lately, least recently used ones dropped above a bound.
#[derive(Debug)]
pub(crate) struct Glossaries(Cache<WorkspaceId, Arc<Glossary>>);

impl Glossaries {
    pub(crate) fn new() -> Self {
        let bytes = |_: &WorkspaceId, glossary: &Arc<Glossary>| {
            u32::try_from(glossary.lexicon.bytes() + 100).unwrap_or(u32::MAX)
        };
        Self(Cache::builder().max_capacity(BYTES).weigher(bytes).build())
    }

    /// What is held of a workspace.
    pub(crate) fn held(&self, workspace: WorkspaceId) -> Option<Arc<Glossary>> {
        self.0.get(&workspace)
    }

    /// The workspace's glossary, at least as new as `revision`.
    pub(crate) async fn current(
        &self,
        conn: &mut Conn,
        workspace: WorkspaceId,
        revision: i64,
    ) -> Result<Arc<Glossary>, RetrievalError> {
        if let Some(held) = self.0.get(&workspace).filter(|held| held.revision == revision) {
            return Ok(held);
        }
        let stored =
            if revision == 0 { None } else { storage::glossaries::get(conn, workspace).await? };
        let current = match stored {
            // Lines were checked when they were stored; those that another version does not take are left out.
            Some(row) => {
                Arc::new(Glossary { revision: row.revision, lexicon: Lexicon::read(&row.content) })
            }
            None => Arc::clone(&NONE),
        };
        self.0.insert(workspace, Arc::clone(&current));
        Ok(current)
    }
}
