//! Files that people and customers send in conversations: judged by content, stored, handed out, removed. Nothing of
//! them is parsed.

mod kind;

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use domain::attachment::{Attachment, Uploader};
use domain::{
    AttachmentId, BlobId, ConversationId, DomainError, ErrorKind, VisitorId, WorkspaceId,
};
use storage::{StorageError, Tx, attachments};

pub use self::kind::ACCEPTED;
use crate::Ingest;
use crate::pipeline::PurgeJob;
use crate::service::{file_name, too_large};

/// What a visitor may upload within [`VISITOR_WINDOW`].
const VISITOR_FILES: i64 = 20;
const VISITOR_WINDOW: Duration = Duration::from_hours(1);
/// Files that one job removes.
const BLOBS: usize = 500;

/// An uploaded file, on disk already.
#[derive(Debug, Clone)]
pub struct NewAttachment {
    /// The name as uploaded: data only.
    pub name: String,
    /// Where it was streamed to. The caller removes it after `add_attachment`.
    pub path: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    /// The conversation that it is for; `None` for one that a visitor has yet to begin.
    pub conversation: Option<ConversationId>,
    /// Who uploads it.
    pub uploader: Uploader,
}

impl Ingest {
    /// Takes a file for a message that is yet to be sent; it is removed after a day if none is.
    ///
    /// Errors: 404 `conversation not found`; 400 naming `file`; 413 over the limit of whoever uploads it; 415 naming the
    /// types that are taken; 429 for a visitor who uploads too much.
    pub async fn add_attachment(
        &self,
        workspace: WorkspaceId,
        new: NewAttachment,
    ) -> Result<Attachment, DomainError> {
        let name = file_name(&new.name)?;
        let settings = &self.core().settings;
        let most = match &new.uploader {
            Uploader::Operator(_) => settings.max_attachment_bytes,
            Uploader::Visitor(_) => settings.max_visitor_attachment_bytes,
        };
        if new.bytes > most as u64 {
            return Err(too_large("file", new.bytes, most));
        }
        if let Uploader::Visitor(visitor) = &new.uploader {
            self.check_visitor(workspace, visitor).await?;
        }
        let content = tokio::fs::read(&new.path).await.map_err(|error| {
            tracing::error!(%error, "an uploaded file cannot be read back");
            internal()
        })?;
        let media_type = kind::judge(&name, &content)?;
        let attachment = Attachment {
            id: self.core().ambient.new_id(),
            conversation_id: new.conversation,
            message_id: None,
            blob: self.core().ambient.new_id(),
            name,
            media_type: media_type.to_owned(),
            bytes: i64::try_from(new.bytes).unwrap_or(i64::MAX),
            uploader: new.uploader,
            created_at: self.core().ambient.now(),
        };
        self.core().blobs.put(workspace, attachment.blob, content.into()).await?;
        if let Err(error) = self.store_attachment(workspace, &attachment).await {
            // Nothing names the file any more.
            if let Err(error) = self.core().blobs.delete(workspace, attachment.blob).await {
                tracing::warn!(%error, blob = %attachment.blob, "a file that nothing names stays behind");
            }
            return Err(match error {
                StorageError::Conflict(_) => DomainError::not_found("conversation"),
                other => other.into(),
            });
        }
        Ok(attachment)
    }

    /// An attachment with its content; `None` when absent.
    pub async fn attachment(
        &self,
        workspace: WorkspaceId,
        id: AttachmentId,
    ) -> Result<Option<(Attachment, Bytes)>, DomainError> {
        let mut conn = self.core().db.read().await?;
        let found = attachments::get(&mut conn, workspace, id).await?;
        drop(conn);
        let Some(attachment) = found else { return Ok(None) };
        let content = self.core().blobs.get(workspace, attachment.blob).await?;
        Ok(content.map(|content| (attachment, content)))
    }

    /// Wants stored files removed, in the transaction that removes what names them.
    pub async fn remove_files(
        &self,
        tx: &mut Tx,
        workspace: WorkspaceId,
        blobs: &[BlobId],
    ) -> storage::Result<()> {
        for some in blobs.chunks(BLOBS) {
            let purge = PurgeJob { source: None, datastore: None, blobs: some.to_vec() };
            let job = purge.job(self.core().ambient.now());
            storage::jobs::enqueue(tx, &self.core().ambient, workspace, &job).await?;
        }
        Ok(())
    }

    async fn store_attachment(
        &self,
        workspace: WorkspaceId,
        attachment: &Attachment,
    ) -> storage::Result<()> {
        let mut tx = self.core().db.write().await?;
        attachments::insert(&mut tx, workspace, attachment).await?;
        tx.commit().await
    }

    async fn check_visitor(
        &self,
        workspace: WorkspaceId,
        visitor: &VisitorId,
    ) -> Result<(), DomainError> {
        let since = self.core().ambient.now().minus(VISITOR_WINDOW);
        let mut conn = self.core().db.read().await?;
        let used = attachments::used_by_visitor(&mut conn, workspace, visitor, since).await?;
        drop(conn);
        let most = self.core().settings.max_visitor_attachment_bytes.saturating_mul(4);
        let (files, bytes) = used;
        if files < VISITOR_FILES && bytes < i64::try_from(most).unwrap_or(i64::MAX) {
            return Ok(());
        }
        let message = "too many files within an hour; wait as long as Retry-After says";
        let error = DomainError::new(ErrorKind::RateLimited, "RATE_LIMITED", message);
        Err(DomainError { retry_after: Some(VISITOR_WINDOW), ..error })
    }
}

fn internal() -> DomainError {
    DomainError::new(ErrorKind::Internal, "INTERNAL", "something went wrong on our side")
}
