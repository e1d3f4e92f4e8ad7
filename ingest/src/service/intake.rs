//! Group commit: texts that arrive at the same time are stored in one transaction. Each caller is answered
//! after the commit that holds its text.

use std::collections::HashMap;
use std::sync::Arc;

use domain::datastore::Source;
use domain::job::NewJob;
use domain::{Ambient, DomainError, WorkspaceId};
use parking_lot::Mutex;
use storage::audit::Author;
use storage::sources::VersionText;
use storage::{Db, StorageError};
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

/// Most texts in one transaction.
const GROUP: usize = 128;

/// A source with its content and the job that ingests it.
pub struct NewText {
    pub source: Source,
    pub content: Vec<u8>,
    pub job: NewJob,
    /// Whom the audit log names.
    pub author: Option<Arc<Author>>,
}

impl NewText {
    fn as_content(&self) -> VersionText<'_> {
        let Source { id, version, .. } = self.source;
        VersionText { source: id, version, text: &self.content }
    }
}

/// Stores texts. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Intake {
    shared: Arc<Shared>,
    tasks: TaskTracker,
}

#[derive(Debug)]
struct Shared {
    db: Db,
    ambient: Ambient,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<Waiting>,
    /// Whether a task is at work that will see what is added.
    at_work: bool,
}

struct Waiting {
    text: NewText,
    answer: oneshot::Sender<Result<(), DomainError>>,
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting").field("source", &self.text.source.id).finish_non_exhaustive()
    }
}

impl Intake {
    pub fn new(db: Db, ambient: Ambient) -> Self {
        let shared = Arc::new(Shared { db, ambient, queue: Mutex::default() });
        Self { shared, tasks: TaskTracker::new() }
    }

    /// Stores a text and wants its ingestion; durable when it returns. A caller that goes away before its
    /// text is taken up leaves nothing behind; later ones may find it stored.
    pub async fn add(&self, text: NewText) -> Result<(), DomainError> {
        let (answer, answered) = oneshot::channel();
        let start = {
            let mut queue = self.shared.queue.lock();
            queue.waiting.push(Waiting { text, answer });
            !std::mem::replace(&mut queue.at_work, true)
        };
        if start {
            self.tasks.spawn(work(self.shared.clone()));
        }
        // The task answers everything it takes up; if it broke off, whether it was stored is not known.
        answered.await.unwrap_or_else(|_| Err(broken_off()))
    }

    /// Waits for the texts that are being stored.
    pub async fn close(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Stores group after group until nothing waits.
async fn work(shared: Arc<Shared>) {
    let _at_work = AtWork(&shared);
    loop {
        let group = {
            let mut queue = shared.queue.lock();
            if queue.waiting.is_empty() {
                queue.at_work = false;
                return;
            }
            let size = queue.waiting.len().min(GROUP);
            queue.waiting.drain(..size).collect::<Vec<_>>()
        };
        let group: Vec<Waiting> =
            group.into_iter().filter(|waiting| !waiting.answer.is_closed()).collect();
        let result = store(&shared, group.iter().map(|waiting| &waiting.text)).await;
        if group.len() > 1 && matches!(result, Err(StorageError::Conflict(_))) {
            // One of them has no datastore, so none was stored: the others must not suffer for it.
            for waiting in group {
                let alone = store(&shared, std::iter::once(&waiting.text)).await;
                let _ = waiting.answer.send(alone.map_err(explained));
            }
            continue;
        }
        let result = result.map_err(explained);
        for waiting in group {
            // A caller that went away meanwhile does not want the answer.
            let _ = waiting.answer.send(result.clone());
        }
    }
}

/// Lets the next text start another task if this one panics.
struct AtWork<'a>(&'a Shared);

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.queue.lock().at_work = false;
        }
    }
}

async fn store<'a>(
    shared: &Shared,
    texts: impl Iterator<Item = &'a NewText> + Send,
) -> storage::Result<()> {
    let mut by_workspace: HashMap<WorkspaceId, Vec<&NewText>> = HashMap::new();
    for text in texts {
        by_workspace.entry(text.source.workspace_id).or_default().push(text);
    }
    let mut tx = shared.db.write().await?;
    for (workspace, texts) in by_workspace {
        let sources: Vec<Source> = texts.iter().map(|text| text.source.clone()).collect();
        let contents: Vec<VersionText<'_>> = texts.iter().map(|text| text.as_content()).collect();
        let jobs: Vec<&NewJob> = texts.iter().map(|text| &text.job).collect();
        storage::sources::insert(&mut tx, workspace, &sources).await?;
        storage::sources::put_contents(&mut tx, workspace, &contents).await?;
        storage::jobs::enqueue_many(&mut tx, &shared.ambient, workspace, &jobs).await?;
        for text in texts {
            if let Some(author) = &text.author {
                author.note(&mut tx, &shared.ambient, super::audit::added(&text.source)).await?;
            }
        }
    }
    tx.commit().await
}

/// The only row that a new source can clash with is a datastore that is not there.
pub fn explained(error: StorageError) -> DomainError {
    match error {
        StorageError::Conflict(_) => DomainError::not_found("datastore"),
        other => other.into(),
    }
}

fn broken_off() -> DomainError {
    DomainError::unavailable(
        "STORAGE_UNAVAILABLE",
        "storing the text was broken off; look whether it is there before sending it again",
        std::time::Duration::from_secs(2),
    )
}
