//! The stages of ingestion as jobs.
//!
//! | kind | does |
//! |---|---|
//! | `ingest.text` | small texts, many at once, from content to live in one go |
//! | `ingest.source` | one version of a source, stage by stage, each resumable from what is stored |
//! | `ingest.cleanup` | removes the points of a version that nobody answers from any more |
//! | `ingest.purge` | removes points and files of what was deleted |
//! | `ingest.maintain` | lets the index tidy up after it grew |
//! | `ingest.close` | removes what is left of a workspace, and its row last |
//! | `ingest.sweep` | once a day: sources without a job, files without a source, the index against the rows |

mod close;
mod content;
mod embed;
mod failpoint;
mod halt;
mod live;
mod points;
mod staged;
mod sweep;
mod texts;
mod tidy;
mod work;

use std::sync::Arc;

use domain::job::NewJob;
use domain::settings::IngestSettings;
use domain::{Ambient, BlobId, DatastoreId, SourceId, Timestamp, WorkspaceId};
use jobs::{Handler, JobError};
use retrieval::Retrieval;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use storage::{Blobs, Db, Tx};
use tokio_util::task::TaskTracker;

pub use self::close::{want_closing, want_closings};
pub use self::live::live_chunks;
pub use self::sweep::schedule;

use crate::pages::Fetcher;
use crate::worker::ParserPool;

/// What every handler works with.
#[derive(Debug)]
pub struct Core {
    pub db: Db,
    pub blobs: Blobs,
    pub retrieval: Retrieval,
    pub ambient: Ambient,
    pub settings: IngestSettings,
    pub parsers: ParserPool,
    pub fetcher: Fetcher,
    pub catalogue: models::Catalogue,
    /// What is written down of calls that nobody waits for any more.
    pub settling: TaskTracker,
}

/// Kinds of jobs.
pub mod kinds {
    pub const TEXT: &str = "ingest.text";
    pub const SOURCE: &str = "ingest.source";
    pub const CLEANUP: &str = "ingest.cleanup";
    pub const PURGE: &str = "ingest.purge";
    pub const MAINTAIN: &str = "ingest.maintain";
    pub const CLOSE: &str = "ingest.close";
    pub const SWEEP: &str = "ingest.sweep";
}

/// Largest text, in bytes, that takes the short way together with others.
pub const SMALL_TEXT_BYTES: i64 = 64 * 1024;

/// One version of a source: what `ingest.text`, `ingest.source` and `ingest.cleanup` are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionJob {
    pub source: SourceId,
    pub version: i64,
}

impl VersionJob {
    /// At most one ingestion of a version waits or runs.
    pub fn dedupe_key(self) -> String {
        format!("{}:{}", self.source, self.version)
    }

    /// The job that ingests the version.
    pub fn ingest(self, kind: &'static str, now: Timestamp) -> NewJob {
        NewJob { dedupe_key: Some(self.dedupe_key()), ..NewJob::now(kind, json(&self), now) }
    }

    /// The job that removes the version's points.
    pub fn cleanup(self, now: Timestamp) -> NewJob {
        NewJob {
            dedupe_key: Some(self.dedupe_key()),
            priority: LATER,
            ..NewJob::now(kinds::CLEANUP, json(&self), now)
        }
    }
}

/// What is left of something deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgeJob {
    #[serde(default)]
    pub source: Option<SourceId>,
    #[serde(default)]
    pub datastore: Option<DatastoreId>,
    #[serde(default)]
    pub blobs: Vec<BlobId>,
}

impl PurgeJob {
    pub fn job(&self, now: Timestamp) -> NewJob {
        NewJob { priority: LATER, ..NewJob::now(kinds::PURGE, json(self), now) }
    }
}

/// The priority of work that nobody waits for.
const LATER: i64 = 10;

/// Which job ingests a source of this origin and size.
pub fn ingest_kind(origin: &domain::datastore::SourceOrigin, bytes: i64) -> &'static str {
    match origin {
        domain::datastore::SourceOrigin::Text if bytes <= SMALL_TEXT_BYTES => kinds::TEXT,
        _ => kinds::SOURCE,
    }
}

/// Every handler of ingestion.
pub fn handlers(core: &Arc<Core>) -> Vec<Arc<dyn Handler>> {
    vec![
        Arc::new(texts::Texts(core.clone())),
        Arc::new(staged::Staged(core.clone())),
        Arc::new(tidy::Cleanup(core.clone())),
        Arc::new(tidy::Purge(core.clone())),
        Arc::new(tidy::Maintain(core.clone())),
        Arc::new(close::Close(core.clone())),
        Arc::new(sweep::Sweep(core.clone())),
    ]
}

/// Wants `retrieval.maintain()` soon, once for all that happens until then.
pub async fn want_maintenance(
    tx: &mut Tx,
    ambient: &Ambient,
    workspace: WorkspaceId,
) -> storage::Result<()> {
    maintain_soon(tx, ambient, workspace, Round::First).await
}

/// Which of two kinds of maintenance a job is. A job keeps others with its key out while it runs, so one that
/// finds that it will be needed again wants the other kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Round {
    /// Something changed.
    First,
    /// An earlier one left something for when it is quiet.
    Again,
}

impl Round {
    /// The one that may be wanted while this one runs.
    pub const fn other(self) -> Self {
        match self {
            Self::First => Self::Again,
            Self::Again => Self::First,
        }
    }
}

/// Wants maintenance of one kind.
pub async fn maintain_soon(
    tx: &mut Tx,
    ambient: &Ambient,
    workspace: WorkspaceId,
    round: Round,
) -> storage::Result<()> {
    let key = match round {
        Round::First => "index",
        Round::Again => "index again",
    };
    let job = NewJob {
        dedupe_key: Some(key.to_owned()),
        priority: LATER,
        run_at: ambient.now().plus(MAINTENANCE_DELAY),
        ..NewJob::now(kinds::MAINTAIN, json(&round), ambient.now())
    };
    storage::jobs::enqueue(tx, ambient, workspace, &job).await?;
    Ok(())
}

/// Between a change and the maintenance for it, so that many changes share one.
const MAINTENANCE_DELAY: std::time::Duration = std::time::Duration::from_secs(2);

fn json<T: Serialize>(payload: &T) -> serde_json::Value {
    // Ids and numbers always become JSON.
    serde_json::to_value(payload).unwrap_or_default()
}

fn payload<T: DeserializeOwned>(job: &domain::job::Job) -> Result<T, JobError> {
    serde_json::from_value(job.payload.clone())
        .map_err(|error| JobError::Permanent(format!("the payload is not readable: {error}")))
}
