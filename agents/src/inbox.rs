//! What the inbox has done later: what was put off comes back, and what was said before words were kept is found.

use std::sync::Arc;

use async_trait::async_trait;
use domain::job::{Job, NewJob};
use domain::{ConversationId, Timestamp, WorkspaceId};
use jobs::{Handler, JobContext, JobError, Outcome};
use serde::{Deserialize, Serialize};
use storage::{StorageError, inbox, messages};

use crate::turn::Inner;

const WAKE: &str = "inbox.wake";
const WORDS: &str = "inbox.words";

/// Conversations or contacts of one transaction.
const BATCH: i64 = 50;
/// Messages that are read at once.
const MESSAGES: i64 = 200;

/// Which conversation comes back.
#[derive(Debug, Serialize, Deserialize)]
struct Payload {
    conversation: ConversationId,
}

/// The job that ends the putting off of a conversation. One that comes too early, since it was put off further, or too
/// late, since somebody was quicker, does nothing.
pub fn wake_up(conversation: ConversationId, at: Timestamp) -> NewJob {
    let payload = serde_json::json!({"conversation": conversation});
    NewJob::now(WAKE, payload, at)
}

/// Ends what was put off.
pub(crate) struct Wake(pub(crate) Arc<Inner>);

#[async_trait]
impl Handler for Wake {
    fn kind(&self) -> &'static str {
        WAKE
    }

    async fn run(&self, _: &JobContext, jobs: &[Job]) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(jobs.len());
        for job in jobs {
            outcomes.push(wake(&self.0, job).await);
        }
        outcomes
    }
}

async fn wake(inner: &Inner, job: &Job) -> Outcome {
    let payload: Payload = serde_json::from_value(job.payload.clone())
        .map_err(|error| JobError::retry(format!("the payload does not read: {error}")))?;
    let woken = async {
        let mut tx = inner.db.write().await?;
        let now = inner.ambient.now();
        inbox::wake(&mut tx, job.workspace_id, payload.conversation, now).await?;
        tx.commit().await
    };
    woken.await.map_err(retry)
}

/// Keeps the words of what was written before words were kept.
pub(crate) struct Words(pub(crate) Arc<Inner>);

#[async_trait]
impl Handler for Words {
    fn kind(&self) -> &'static str {
        WORDS
    }

    async fn run(&self, context: &JobContext, jobs: &[Job]) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(jobs.len());
        for job in jobs {
            let cancel = context.cancel_of(job.id);
            let outcome = tokio::select! {
                biased;
                () = cancel.cancelled() => Err(context.interruption(job.id).unwrap_or(JobError::Released)),
                outcome = keep_words(&self.0, job.workspace_id) => outcome,
            };
            outcomes.push(outcome);
        }
        outcomes
    }
}

async fn keep_words(inner: &Inner, workspace: WorkspaceId) -> Outcome {
    let mut after = None;
    loop {
        let mut conn = inner.db.read().await.map_err(retry)?;
        let titles =
            inbox::titles_after(&mut conn, workspace, after, BATCH).await.map_err(retry)?;
        drop(conn);
        let Some((last, _)) = titles.last() else { return Ok(()) };
        after = Some(*last);
        for (id, title) in titles {
            words_of_conversation(inner, workspace, id, &title).await.map_err(retry)?;
        }
    }
}

async fn words_of_conversation(
    inner: &Inner,
    workspace: WorkspaceId,
    id: ConversationId,
    title: &str,
) -> Result<(), StorageError> {
    let mut seq = 0;
    loop {
        let mut conn = inner.db.read().await?;
        let said = messages::list(&mut conn, workspace, id, seq, MESSAGES).await?;
        drop(conn);
        let mut tx = inner.db.write().await?;
        // It may be gone by now, and its words must not stay.
        if !inbox::lock(&mut tx, workspace, id).await? {
            return Ok(());
        }
        if seq == 0 {
            inbox::add_words(&mut tx, workspace, id, title).await?;
        }
        for message in &said {
            inbox::add_words(&mut tx, workspace, id, &message.content).await?;
        }
        tx.commit().await?;
        let Some(last) = said.last() else { return Ok(()) };
        seq = last.seq;
    }
}

#[expect(clippy::needless_pass_by_value, reason = "an adapter for map_err")]
fn retry(error: StorageError) -> JobError {
    JobError::retry(error.to_string())
}
