//! What the audit log says of what is done to sources and datastores.

use std::sync::Arc;

use domain::datastore::{Source, SourceOrigin};
use serde_json::{Value, json};
use storage::Tx;
use storage::audit::{Author, Change};

use super::Ingest;

impl Ingest {
    /// The same, whose changes of sources and datastores are written into the audit log as somebody's.
    #[must_use]
    pub fn signed(&self, author: Author) -> Self {
        Self { author: Some(Arc::new(author)), ..self.clone() }
    }

    /// Writes a change into the audit log, where it is somebody's.
    pub(super) async fn note(&self, tx: &mut Tx, change: Change) -> storage::Result<()> {
        match &self.author {
            Some(author) => author.note(tx, &self.core.ambient, change).await,
            None => Ok(()),
        }
    }
}

/// What the audit log says of a source that was added.
pub(super) fn added(source: &Source) -> Change {
    Change::new("source.created", source.id).to(told(source))
}

/// What the audit log says of a source. The query of an address may hold a secret.
pub(super) fn told(source: &Source) -> Value {
    let (kind, url) = match &source.origin {
        SourceOrigin::File { .. } => ("file", None),
        SourceOrigin::Url { url } => ("url", Some(url.as_str())),
        SourceOrigin::Text => ("text", None),
    };
    let bare = |text: &str| text.split(['?', '#']).next().unwrap_or_default().to_owned();
    let name = match url {
        Some(url) if url == source.name => bare(url),
        _ => source.name.clone(),
    };
    json!({
        "datastoreId": source.datastore_id,
        "name": name,
        "type": kind,
        "url": url.map(bare),
    })
}

/// What the audit log says of how far a source is.
pub(super) fn told_state(source: &Source) -> Value {
    json!({
        "datastoreId": source.datastore_id,
        "status": source.status.name(),
        "version": source.version,
    })
}
