//! Erasing customers: on their own wish, and when what they said has been kept for as long as a workspace wants.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use domain::job::{Job, NewJob};
use domain::{BlobId, ContactId, ConversationId, DomainError, Timestamp, WorkspaceId};
use jobs::{Handler, JobContext, JobError, Outcome};
use retrieval::text_hash;
use serde_json::json;
use storage::embeddings::{self, TextHash};
use storage::retention::Retention;
use storage::{
    StorageError, Tx, attachments, erasure, events, jobs as queue, retention, visits, workspaces,
};

use crate::meaning::hash_of;
use crate::turn::{Agents, Inner};

const DAY: Duration = Duration::from_hours(24);
/// Conversations or contacts that one transaction removes.
const BATCH: i64 = 100;
/// Files that one job removes.
const FILES: usize = 500;
/// The priority of work that nobody waits for.
const LATER: i64 = 10;

impl Agents {
    /// Erases a contact with all that they said and all that quotes it, in the caller's transaction. `false` when absent.
    ///
    /// Errors: 409 while an answer to them is being written.
    pub async fn erase_contact(
        &self,
        tx: &mut Tx,
        workspace: WorkspaceId,
        id: ContactId,
    ) -> Result<bool, DomainError> {
        let inner = &self.inner;
        let conversations = erasure::conversations_of(tx, workspace, id).await?;
        if erasure::is_busy(tx, workspace, &conversations, inner.ambient.now()).await? {
            return Err(DomainError::conflict(
                "CONFLICT",
                "an answer to them is being written; try again when it is complete",
            ));
        }
        erase_conversations(inner, tx, workspace, &conversations).await?;
        Ok(erase_person(inner, tx, workspace, id).await?)
    }

    /// Wants the nightly look at what has been kept long enough, the first one now. Called once at every start of a worker.
    pub async fn schedule_retention(&self) -> Result<(), DomainError> {
        let mut conn = self.inner.db.read().await?;
        // Jobs belong to a workspace; the one for all of them to the oldest one.
        let Some(oldest) = workspaces::first(&mut conn).await? else { return Ok(()) };
        drop(conn);
        let Inner { db, ambient, .. } = &*self.inner;
        let mut tx = db.write().await?;
        retention::want(&mut tx, ambient, oldest.id, ambient.now()).await?;
        Ok(tx.commit().await?)
    }
}

async fn erase_conversations(
    inner: &Inner,
    tx: &mut Tx,
    workspace: WorkspaceId,
    conversations: &[ConversationId],
) -> Result<i64, StorageError> {
    let questions = erasure::questions(tx, workspace, conversations).await?;
    // As a question, and as a passage of the same words.
    let hashes: Vec<TextHash> =
        questions.iter().flat_map(|question| [hash_of(question), text_hash(question)]).collect();
    embeddings::delete_many(tx, workspace, &hashes).await?;
    let blobs = attachments::blobs_of(tx, workspace, conversations).await?;
    remove_files(inner, tx, workspace, &blobs).await?;
    erasure::conversations(tx, workspace, conversations).await
}

/// A contact whose conversations are gone, with what its visitors have uploaded and not sent.
async fn erase_person(
    inner: &Inner,
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: ContactId,
) -> Result<bool, StorageError> {
    let uploads = erasure::uploads_of(tx, workspace, id).await?;
    remove_files(inner, tx, workspace, &uploads).await?;
    erasure::contact(tx, workspace, id).await
}

/// Wants files removed in the transaction that removes what names them: a process that dies in between leaves the job, and
/// what no job removes is found by the daily sweep.
async fn remove_files(
    inner: &Inner,
    tx: &mut Tx,
    workspace: WorkspaceId,
    blobs: &[BlobId],
) -> Result<(), StorageError> {
    for some in blobs.chunks(FILES) {
        let (payload, now) = (json!({"blobs": some}), inner.ambient.now());
        let job = NewJob { priority: LATER, ..NewJob::now(erasure::PURGE, payload, now) };
        queue::enqueue(tx, &inner.ambient, workspace, &job).await?;
    }
    Ok(())
}

/// Removes what has been kept long enough.
pub(crate) struct Keeping(pub(crate) Arc<Inner>);

#[async_trait]
impl Handler for Keeping {
    fn kind(&self) -> &'static str {
        retention::KIND
    }

    fn concurrency(&self) -> usize {
        1
    }

    async fn run(&self, context: &JobContext, jobs: &[Job]) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(jobs.len());
        for job in jobs {
            outcomes.push(self.look(context, job).await);
        }
        outcomes
    }
}

impl Keeping {
    async fn look(&self, context: &JobContext, job: &Job) -> Outcome {
        let inner = &self.0;
        let retry = |error: StorageError| JobError::retry(error.to_string());
        let now = inner.ambient.now();
        let mut tx = inner.db.write().await.map_err(retry)?;
        let next = retention::next_night(now);
        retention::want(&mut tx, &inner.ambient, job.workspace_id, next).await.map_err(retry)?;
        tx.commit().await.map_err(retry)?;
        let mut conn = inner.db.read().await.map_err(retry)?;
        let all = retention::all(&mut conn).await.map_err(retry)?;
        drop(conn);
        for (workspace, kept) in all {
            loop {
                if let Some(interruption) = context.interruption(job.id) {
                    return Err(interruption);
                }
                if self.remove_some(workspace, kept, now).await.map_err(retry)? == 0 {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Removes some of what a workspace has kept long enough; how much.
    async fn remove_some(
        &self,
        workspace: WorkspaceId,
        kept: Retention,
        now: Timestamp,
    ) -> Result<i64, StorageError> {
        let inner = &self.0;
        let mut tx = inner.db.write().await?;
        let mut removed = 0;
        if let Some(before) = kept.conversation_days.map(|days| days_before(now, days)) {
            let old = erasure::old_conversations(&mut tx, workspace, before, BATCH).await?;
            removed += erase_conversations(inner, &mut tx, workspace, &old).await?;
            removed += visits::forget(&mut tx, workspace, before, BATCH).await?;
        }
        if let Some(before) = kept.contact_days.map(|days| days_before(now, days)) {
            for contact in erasure::old_contacts(&mut tx, workspace, before, BATCH).await? {
                removed += i64::from(erase_person(inner, &mut tx, workspace, contact).await?);
            }
        }
        if removed > 0 {
            let payload = json!({"removed": removed});
            let subject = workspace.to_string();
            events::insert(&mut tx, workspace, "retention.applied", &subject, &payload, now)
                .await?;
        }
        tx.commit().await?;
        Ok(removed)
    }
}

fn days_before(now: Timestamp, days: i64) -> Timestamp {
    now.minus(DAY * u32::try_from(days).unwrap_or(u32::MAX))
}
