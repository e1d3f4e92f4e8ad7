//! Hybrid search: words, grams and dense, fused, filtered, and read back from storage.

use std::path::PathBuf;
use std::sync::Arc;

use domain::datastore::{Chunk, LiveChunk};
use domain::settings::IndexSettings;
use domain::{DatastoreId, Lang, WorkspaceId};
use models::Embedder;
use models::builtin::TermWeights;
use storage::{Db, Tx};

use crate::{Filter, IndexPoint, IndexTarget, RetrievalError};

/// How to open the index.
#[derive(Debug, Clone)]
pub struct RetrievalOptions {
    /// Folder of the in-process index.
    pub folder: PathBuf,
    /// In process or a server.
    pub index: IndexSettings,
    /// Weight of the dense vectors in the fusion, 0 to 1.
    pub dense_weight: f64,
}

/// Search over the knowledge. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Retrieval {}

/// How chunks that come and go change a datastore's statistics: counted before the transaction is opened,
/// because counting takes time that the database's writer must not wait for.
#[derive(Debug, Clone)]
pub struct StatsChange {}

/// What is searched for.
#[derive(Debug, Clone)]
pub struct SearchQuery {
    /// Where: datastores of the caller's workspace, checked by the caller.
    pub datastores: Vec<DatastoreId>,
    /// The question, standing alone.
    pub text: String,
    /// Most hits, 1 to 100.
    pub top_k: usize,
    /// How.
    pub mode: SearchMode,
    /// Only hits whose score is at least this, 0 to 1.
    pub min_score: Option<f64>,
    /// Only passages of sources with this metadata.
    pub filter: Option<Filter>,
}

/// Which vectors are searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SearchMode {
    /// All there are, fused.
    #[default]
    Hybrid,
    /// Stemmed words.
    Words,
    /// Character 4-grams.
    Grams,
    /// Dense vectors; an error without an embedder.
    Dense,
}

/// What was found.
#[derive(Debug, Clone)]
pub struct SearchResults {
    /// Best first.
    pub hits: Vec<Hit>,
    /// How well the best hits cover the question, 0 to 1: mean over words and grams of best BM25 score ÷
    /// the question's total weight. What the evidence gate looks at.
    pub evidence: f64,
    /// The question as analysed, for the built-in answerer.
    pub question: Question,
}

/// One result.
#[derive(Debug, Clone)]
pub struct Hit {
    /// The passage.
    pub live: LiveChunk,
    /// 0 to 1, higher is better: the number that `min_score` filters on.
    pub score: f64,
    /// What it is made of.
    pub scores: ComponentScores,
}

/// The scores that a hit's score is made of; `None` where that search did not find it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ComponentScores {
    /// BM25 over words.
    pub words: Option<f64>,
    /// BM25 over 4-grams.
    pub grams: Option<f64>,
    /// Cosine.
    pub dense: Option<f64>,
}

/// The question as analysed.
#[derive(Clone)]
pub struct Question {
    /// The language it was found to be in.
    pub lang: Lang,
    /// What its terms weigh in the datastores asked.
    pub weights: Arc<dyn TermWeights + Send + Sync>,
}

impl std::fmt::Debug for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Question").field("lang", &self.lang).finish_non_exhaustive()
    }
}

impl Retrieval {
    /// Opens the index, making its collection when absent.
    pub async fn open(
        db: Db,
        embedder: Option<Arc<dyn Embedder>>,
        options: RetrievalOptions,
    ) -> Result<Self, RetrievalError> {
        let _ = (db, embedder, options);
        todo!()
    }

    /// The embedder that passages are embedded with, when one is configured.
    pub fn embedder(&self) -> Option<&Arc<dyn Embedder>> {
        todo!()
    }

    /// Searches. Only live chunks of `query.datastores` in `workspace` come back.
    pub async fn search(
        &self,
        workspace: WorkspaceId,
        query: &SearchQuery,
    ) -> Result<SearchResults, RetrievalError> {
        let _ = (workspace, query);
        todo!()
    }

    /// Puts passages into the index, durably when it returns. Repeating it changes nothing. Calls of
    /// concurrent jobs are written together.
    pub async fn upsert(&self, points: Vec<IndexPoint>) -> Result<(), RetrievalError> {
        let _ = points;
        todo!()
    }

    /// Removes passages from the index.
    pub async fn remove(
        &self,
        workspace: WorkspaceId,
        target: IndexTarget,
    ) -> Result<(), RetrievalError> {
        let _ = (workspace, target);
        todo!()
    }

    /// Counts how a datastore's statistics change when `added` come and `removed` go; each with the heading
    /// given to `upsert` ([`crate::passage_heading`]). Takes processor time and touches nothing.
    pub fn count_change(
        &self,
        added: &[(&str, &Chunk)],
        removed: &[(&str, &Chunk)],
    ) -> StatsChange {
        let _ = (added, removed);
        todo!()
    }

    /// Notes a counted change in the transaction that makes chunks live or removes them; the new revision,
    /// `None` when the datastore is gone.
    pub async fn note_counted(
        &self,
        tx: &mut Tx,
        workspace: WorkspaceId,
        datastore: DatastoreId,
        change: &StatsChange,
    ) -> Result<Option<i64>, RetrievalError> {
        let _ = (tx, workspace, datastore, change);
        todo!()
    }

    /// Notes, in the transaction that makes chunks live or removes them, how the datastore's statistics
    /// change. `added` and `removed` are the chunks; the new revision, `None` when the datastore is gone.
    /// The `heading` that statistics see is the one given to `upsert` (source name + heading path).
    pub async fn note_change(
        &self,
        tx: &mut Tx,
        workspace: WorkspaceId,
        datastore: DatastoreId,
        added: &[(&str, &Chunk)],
        removed: &[(&str, &Chunk)],
    ) -> Result<Option<i64>, RetrievalError> {
        let _ = (tx, workspace, datastore, added, removed);
        todo!()
    }

    /// Optimises segments and folds statistics deltas where it is due. Off the request path: the ingest
    /// jobs and a schedule call it.
    pub async fn maintain(&self) -> Result<(), RetrievalError> {
        todo!()
    }

    /// Empties the index and fills it again from the rows and the stored dense vectors; `progress` gets
    /// chunks done and chunks in all.
    pub async fn rebuild(
        &self,
        progress: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Result<(), RetrievalError> {
        let _ = progress;
        todo!()
    }

    /// Whether the index answers.
    pub async fn ping(&self) -> Result<(), RetrievalError> {
        todo!()
    }

    /// Writes everything to disk and closes.
    pub async fn close(&self) {
        todo!()
    }
}
