//! `ingest.article`: the system datastore holds what published articles say, and nothing of others.

use std::sync::Arc;

use async_trait::async_trait;
use domain::article::{Article, ArticleStatus};
use domain::datastore::{Datastore, Source, SourceOrigin};
use domain::job::Job;
use domain::{ArticleId, DomainError, ErrorKind, WorkspaceId};
use jobs::{Handler, JobContext, JobError, Outcome};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use storage::articles::{self, Mirror};
use storage::sources::VersionText;
use storage::{Tx, datastores};

use super::Ingest;
use crate::extract::Format;
use crate::pipeline::{VersionJob, ingest_kind};

/// What the datastore is called.
const NAME: &str = "Base de conocimiento";

/// Tries to get hold of what changes meanwhile.
const TRIES: usize = 5;

/// Mirrors articles.
pub struct Articles(pub Ingest);

#[derive(Debug, Deserialize)]
struct ArticleJob {
    article: ArticleId,
    link: Option<String>,
}

#[async_trait]
impl Handler for Articles {
    fn kind(&self) -> &'static str {
        articles::MIRROR
    }

    /// One after the other, so that no older state of an article follows a newer one.
    fn concurrency(&self) -> usize {
        1
    }

    async fn run(&self, _context: &JobContext, jobs: &[Job]) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(jobs.len());
        for job in jobs {
            outcomes.push(self.mirror(job).await);
        }
        outcomes
    }
}

impl Articles {
    async fn mirror(&self, job: &Job) -> Outcome {
        let wanted: ArticleJob = serde_json::from_value(job.payload.clone()).map_err(|error| {
            JobError::Permanent(format!("the payload is not readable: {error}"))
        })?;
        let mirroring = self.0.mirror_article(job.workspace_id, wanted.article, wanted.link);
        mirroring.await.map_err(|error| JobError::retry(error.to_string()))
    }
}

impl Ingest {
    pub(super) fn article_handler(&self) -> Arc<dyn Handler> {
        Arc::new(Articles(self.clone()))
    }

    /// Makes the system datastore hold what an article says now. Doing it again changes nothing; what breaks off is done by
    /// the next attempt, since what is held is noted in the transaction that makes it so.
    async fn mirror_article(
        &self,
        workspace: WorkspaceId,
        id: ArticleId,
        link: Option<String>,
    ) -> Result<(), DomainError> {
        for _ in 0..TRIES {
            let mut conn = self.core.db.read().await?;
            let article = articles::get(&mut conn, workspace, id).await?;
            let mirror = articles::mirror(&mut conn, workspace, id).await?;
            let source = match mirror {
                Some(mirror) => {
                    storage::sources::get_any(&mut conn, workspace, mirror.source).await?
                }
                None => None,
            };
            drop(conn);
            let published = article.filter(|article| article.status == ArticleStatus::Published);
            match (published, source) {
                (None, None) => return Ok(()),
                (None, Some(source)) => self.remove_mirror(&source).await?,
                // Passages are counted under the name of their source, so that another name makes another source.
                (Some(article), Some(source)) if source.name != article.title => {
                    self.remove_mirror(&source).await?;
                }
                (Some(article), source) => {
                    let known = source.zip(mirror);
                    if self.hold_article(&article, known, link.as_deref()).await? {
                        return Ok(());
                    }
                }
            }
        }
        Err(DomainError::conflict("CONFLICT", "the article changes while it is being mirrored"))
    }

    async fn remove_mirror(&self, source: &Source) -> Result<(), DomainError> {
        let removed = self.delete_source(source.workspace_id, source.datastore_id, source.id).await;
        match removed {
            // Another process was faster.
            Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// The transaction; `false` when the article or its mirror is another by now.
    async fn hold_article(
        &self,
        read: &Article,
        known: Option<(Source, Mirror)>,
        link: Option<&str>,
    ) -> Result<bool, DomainError> {
        let (workspace, core) = (read.workspace_id, &self.core);
        let mut tx = core.db.write().await?;
        let article = articles::lock(&mut tx, workspace, read.id).await?;
        let mirror = articles::mirror(&mut tx, workspace, read.id).await?;
        let Some(article) = article.filter(|article| article.version == read.version) else {
            return Ok(false);
        };
        if mirror != known.as_ref().map(|(_, mirror)| *mirror) {
            return Ok(false);
        }
        let source = match known {
            Some((_, mirror)) if mirror.version >= article.version => return Ok(true),
            Some((source, _)) => self.renew(&mut tx, &article, source).await?,
            None => Some(self.begin_mirror(&mut tx, &article).await?),
        };
        let Some(source) = source else { return Ok(false) };
        let now = core.ambient.now();
        storage::sources::set_metadata(&mut tx, workspace, source.id, &metadata(&article), now)
            .await?;
        storage::sources::set_link(&mut tx, workspace, source.id, link).await?;
        let content = [VersionText {
            source: source.id,
            version: source.version,
            text: article.content.as_bytes(),
        }];
        storage::sources::put_contents(&mut tx, workspace, &content).await?;
        let bytes = i64::try_from(article.content.len()).unwrap_or(i64::MAX);
        let kind = ingest_kind(&SourceOrigin::Text, bytes);
        let job = VersionJob { source: source.id, version: source.version }.ingest(kind, now);
        storage::jobs::enqueue(&mut tx, &core.ambient, workspace, &job).await?;
        let held = Mirror { source: source.id, version: article.version };
        articles::set_mirror(&mut tx, workspace, article.id, held).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// The next version of a source; `None` when it is gone.
    async fn renew(
        &self,
        tx: &mut Tx,
        article: &Article,
        source: Source,
    ) -> Result<Option<Source>, DomainError> {
        let now = self.core.ambient.now();
        let version =
            storage::sources::begin_version(tx, article.workspace_id, source.id, now).await?;
        Ok(version.map(|version| Source { version, ..source }))
    }

    async fn begin_mirror(&self, tx: &mut Tx, article: &Article) -> Result<Source, DomainError> {
        let datastore = self.system_datastore(tx, article.workspace_id).await?;
        let name = article.title.clone();
        let source = Source {
            mime: Some(Format::Text.mime().to_owned()),
            bytes: i64::try_from(article.content.len()).unwrap_or(i64::MAX),
            metadata: metadata(article),
            ..self.new_source(article.workspace_id, datastore.id, name, SourceOrigin::Text)
        };
        let sources = std::slice::from_ref(&source);
        storage::sources::insert(tx, article.workspace_id, sources).await?;
        Ok(source)
    }

    /// The workspace's system datastore, made with its first article.
    async fn system_datastore(
        &self,
        tx: &mut Tx,
        workspace: WorkspaceId,
    ) -> Result<Datastore, DomainError> {
        if let Some(known) = datastores::system(tx, workspace).await? {
            return Ok(known);
        }
        let now = self.core.ambient.now();
        let datastore = Datastore {
            id: self.core.ambient.new_id(),
            workspace_id: workspace,
            name: NAME.to_owned(),
            description: String::new(),
            language: None,
            is_default: false,
            is_system: true,
            revision: 0,
            created_at: now,
            updated_at: now,
        };
        datastores::insert(tx, &datastore).await?;
        Ok(datastore)
    }
}

/// What searches can be narrowed to.
fn metadata(article: &Article) -> Map<String, Value> {
    let mut metadata = Map::new();
    metadata.insert("articleId".to_owned(), json!(article.id));
    metadata.insert("slug".to_owned(), json!(article.slug));
    metadata.insert("language".to_owned(), json!(article.language.code()));
    metadata.insert("tags".to_owned(), json!(article.tags));
    metadata
}
