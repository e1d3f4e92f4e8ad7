//! Fetch and extract: from where a source's bytes are to its text.

use bytes::Bytes;
use domain::datastore::{IngestStage, SourceOrigin};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use storage::sources::{Validators, VersionText};
use url::Url;

use super::halt::Halt;
use super::work::{Work, to_i64};
use crate::extract::{self, Document, Format};
use crate::pages::FetchOutcome;

/// Bytes of one version of a source, and what they are.
pub struct Content {
    pub bytes: Bytes,
    pub format: Format,
    pub charset: Option<String>,
    /// What a later conditional request needs, when the bytes come from the web just now.
    pub validators: Option<Validators>,
}

/// The text of one version as stored between stages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Extracted {
    /// SHA-256 (hexadecimal) of the bytes it was extracted from.
    pub content_hash: String,
    pub document: Document,
}

impl Extracted {
    /// The text that an earlier attempt stored.
    pub async fn stored(work: &Work<'_>) -> Result<Option<Self>, Halt> {
        let mut conn = work.core.db.read().await?;
        let (workspace, source) = (work.workspace(), work.source.id);
        let stored = storage::sources::document(&mut conn, workspace, source, work.version).await?;
        // A document that an older release wrote otherwise is extracted anew.
        Ok(stored.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    pub fn to_json(&self) -> Vec<u8> {
        // Texts and numbers always become JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// SHA-256 in hexadecimal.
pub fn hash(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Reads the bytes of the version. `Unchanged` when they are those of the live version.
pub async fn fetch(work: &mut Work<'_>) -> Result<Content, Halt> {
    let mut tx = work.core.db.write().await?;
    work.advance(&mut tx, IngestStage::Fetch, 0).await?;
    tx.commit().await?;
    let content = match work.source.origin.clone() {
        SourceOrigin::File { blob } => from_file(work, blob).await?,
        SourceOrigin::Text => from_text(work).await?,
        SourceOrigin::Url { url } => from_web(work, &url).await?,
    };
    let is_live = work.source.live_version > 0;
    if is_live && work.source.content_hash.as_deref() == Some(&*hash(&content.bytes)) {
        return Err(Halt::Unchanged);
    }
    Ok(content)
}

async fn from_file(work: &Work<'_>, blob: domain::BlobId) -> Result<Content, Halt> {
    let read = work.core.blobs.get(work.workspace(), blob);
    let bytes = work.interruptible(read).await??.ok_or_else(|| {
        Halt::failed(
            "FILE_MISSING",
            "the stored file is gone; delete the source and upload it again",
        )
    })?;
    // Found when it was uploaded, by its file name too, which the source's name need not be.
    let known = work
        .source
        .mime
        .as_deref()
        .and_then(|mime| Format::ALL.into_iter().find(|format| format.mime() == mime));
    let format = match known {
        Some(format) => format,
        None => extract::detect(&work.source.name, &bytes)?,
    };
    Ok(Content { bytes, format, charset: None, validators: None })
}

async fn from_text(work: &Work<'_>) -> Result<Content, Halt> {
    let bytes = stored_content(work).await?.ok_or_else(|| {
        Halt::failed("TEXT_MISSING", "the stored text is gone; delete the source and add it again")
    })?;
    Ok(Content { bytes, format: Format::Text, charset: None, validators: None })
}

async fn from_web(work: &mut Work<'_>, address: &str) -> Result<Content, Halt> {
    if let Some(bytes) = stored_content(work).await? {
        let content_type = work.source.mime.clone();
        let charset = content_type.as_deref().and_then(charset_of);
        let format = web_format(content_type.as_deref(), address, &bytes)?;
        return Ok(Content { bytes, format, charset, validators: None });
    }
    let url = Url::parse(address)
        .map_err(|_| Halt::failed("FETCH_REFUSED", "the address is not valid; add it again"))?;
    let validators = last_validators(work).await?;
    let fetching = work.core.fetcher.fetch(&url, &validators);
    let fetched = match work.interruptible(fetching).await?? {
        FetchOutcome::NotModified => return Err(Halt::Unchanged),
        FetchOutcome::Fetched(fetched) => *fetched,
    };
    let format = web_format(fetched.content_type.as_deref(), fetched.url.path(), &fetched.body)?;
    work.failpoint("ingest::fetch")?;
    let mime = match &fetched.charset {
        Some(charset) => format!("{}; charset={charset}", format.mime()),
        None => format.mime().to_owned(),
    };
    let (workspace, source) = (work.workspace(), work.source.id);
    let mut tx = work.core.db.write().await?;
    work.advance(&mut tx, IngestStage::Extract, 10).await?;
    let content = VersionText { source, version: work.version, text: &fetched.body };
    storage::sources::put_contents(&mut tx, workspace, &[content]).await?;
    let bytes = to_i64(fetched.body.len());
    storage::sources::describe(&mut tx, workspace, source, &mime, bytes, None).await?;
    tx.commit().await?;
    work.failpoint("ingest::fetch::committed")?;
    let validators = Validators { etag: fetched.etag, last_modified: fetched.last_modified };
    Ok(Content {
        bytes: fetched.body,
        format,
        charset: fetched.charset,
        validators: Some(validators),
    })
}

async fn stored_content(work: &Work<'_>) -> Result<Option<Bytes>, Halt> {
    let mut conn = work.core.db.read().await?;
    let (workspace, source) = (work.workspace(), work.source.id);
    let versions = [(source, work.version)];
    let content = storage::sources::contents(&mut conn, workspace, &versions).await?.pop();
    Ok(content.map(|(_, text)| Bytes::from(text)))
}

/// Only a version that answers can be found unchanged.
async fn last_validators(work: &Work<'_>) -> Result<Validators, Halt> {
    if work.source.live_version == 0 {
        return Ok(Validators::default());
    }
    let mut conn = work.core.db.read().await?;
    Ok(storage::sources::validators(&mut conn, work.workspace(), work.source.id).await?)
}

fn web_format(content_type: Option<&str>, path: &str, bytes: &[u8]) -> Result<Format, Halt> {
    if let Some(format) = content_type.and_then(extract::from_content_type) {
        return Ok(format);
    }
    let file = path.rsplit('/').next().unwrap_or_default();
    // The path of a page says little (`/precios.php`): what it is not known by is judged by content alone.
    match extract::detect(file, bytes) {
        Ok(format) => Ok(format),
        Err(_) => Ok(extract::detect("", bytes)?),
    }
}

fn charset_of(content_type: &str) -> Option<String> {
    content_type.split_once("charset=").map(|(_, charset)| charset.trim().to_owned())
}

/// Turns the bytes into text and stores it. A page from the web gives its title as the source's name where
/// the owner gave none.
pub async fn extract(work: &mut Work<'_>, content: &Content) -> Result<Extracted, Halt> {
    work.report(IngestStage::Extract, 10).await?;
    let parsing = work.core.parsers.extract_with_charset(
        content.format,
        &work.source.name,
        content.charset.as_deref(),
        content.bytes.clone(),
    );
    let document = work.interruptible(parsing).await??;
    let title = better_name(work, &document);
    let extracted = Extracted { content_hash: hash(&content.bytes), document };

    work.failpoint("ingest::extract")?;
    let (workspace, source) = (work.workspace(), work.source.id);
    let json = extracted.to_json();
    let mut tx = work.core.db.write().await?;
    work.advance(&mut tx, IngestStage::Chunk, 30).await?;
    let document = VersionText { source, version: work.version, text: &json };
    storage::sources::put_documents(&mut tx, workspace, &[document]).await?;
    let (mime, bytes) = (content.format.mime(), to_i64(content.bytes.len()));
    storage::sources::describe(&mut tx, workspace, source, mime, bytes, title.as_deref()).await?;
    tx.commit().await?;
    if let Some(title) = title {
        work.source.name = title;
    }
    work.failpoint("ingest::extract::committed")?;
    Ok(extracted)
}

/// The page's title, for a source that is named by its address. Not once it answers: its passages are
/// counted under the name that they came with.
fn better_name(work: &Work<'_>, document: &Document) -> Option<String> {
    let SourceOrigin::Url { url } = &work.source.origin else { return None };
    if work.source.name != *url || work.source.live_version > 0 {
        return None;
    }
    let title = domain::text::sanitize(document.title.as_deref()?);
    let title: Vec<&str> = title.split_whitespace().collect();
    let title: String = title.join(" ").chars().take(crate::service::MAX_NAME_CHARS).collect();
    (!title.is_empty()).then_some(title)
}
