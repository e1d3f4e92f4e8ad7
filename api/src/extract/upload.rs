//! Uploaded files, streamed to disk.

use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::extract::multipart::{Field, Multipart, MultipartError};
use axum::extract::{FromRequest, Request};
use bytes::BytesMut;
use domain::{DomainError, text};
use http::{StatusCode, header};
use serde_json::{Map, Value};
use tempfile::TempPath;
use tokio::io::AsyncWriteExt;

use crate::error::{ApiError, ApiResult};
use crate::state::AppState;

/// Largest part that is not the file, in bytes.
const MOST_OF_A_PART: usize = 64 * 1024;
/// Parts that a form may have.
const MOST_PARTS: usize = 32;

/// A form with exactly one file, and what may stand beside it.
pub(crate) struct Upload {
    /// The file, on disk until this is dropped.
    pub file: TempPath,
    /// The name that it was sent with, without folders.
    pub file_name: String,
    /// Its size.
    pub bytes: u64,
    /// The part `name`.
    pub name: Option<String>,
    /// The part `metadata`.
    pub metadata: Option<Map<String, Value>>,
}

#[derive(Default)]
struct Parts {
    file: Option<(TempPath, String, u64)>,
    name: Option<String>,
    metadata: Option<Map<String, Value>>,
}

impl FromRequest<AppState> for Upload {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        let content_type = request.headers().get(header::CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
        if !content_type.trim_start().to_ascii_lowercase().starts_with("multipart/form-data") {
            return Err(ApiError::unsupported_type("multipart/form-data"));
        }
        let multipart = Multipart::from_request(request, state).await;
        let mut multipart = multipart.map_err(|rejection| {
            ApiError::invalid("file", format!("the form cannot be read: {}", rejection.body_text()))
        })?;
        let mut parts = Parts::default();
        let mut count = 0;
        while let Some(field) = multipart.next_field().await.map_err(|error| unreadable(&error))? {
            count += 1;
            if count > MOST_PARTS {
                return Err(ApiError::invalid(
                    "file",
                    format!("the form has more than {MOST_PARTS} parts"),
                ));
            }
            parts.take(field, state).await?;
        }
        let Some((file, file_name, bytes)) = parts.file else {
            let message =
                "the form has no part `file`; send one, as curl -F file=@document.pdf does";
            return Err(ApiError::invalid("file", message));
        };
        if bytes == 0 {
            return Err(ApiError::invalid("file", "`file` is empty; send a file with content"));
        }
        Ok(Self { file, file_name, bytes, name: parts.name, metadata: parts.metadata })
    }
}

impl Parts {
    async fn take(&mut self, field: Field<'_>, state: &AppState) -> ApiResult<()> {
        match field.name().unwrap_or_default() {
            "file" if self.file.is_some() => Err(ApiError::invalid(
                "file",
                "the form has more than one part `file`; send one file a request",
            )),
            "file" => {
                let name = field.file_name().map(base_name).unwrap_or_default();
                if name.is_empty() {
                    let message = "the part `file` has no filename; its extension tells the type";
                    return Err(ApiError::invalid("file", message));
                }
                let (path, bytes) = to_disk(field, state).await?;
                self.file = Some((path, name, bytes));
                Ok(())
            }
            "name" => {
                let name = read_text("name", field).await?;
                self.name = Some(text::required("name", &name, 200)?);
                Ok(())
            }
            "metadata" => {
                let json = read_text("metadata", field).await?;
                let metadata = crate::extract::body::parse::<Map<String, Value>>(json.as_bytes());
                self.metadata = Some(metadata.map_err(|error| {
                    let message =
                        format!("`metadata` must be a JSON object: {}", error.domain().message);
                    ApiError::invalid("metadata", message)
                })?);
                Ok(())
            }
            _ => read_text("an unknown part of the form", field).await.map(drop),
        }
    }
}

/// Streams the file to disk; 413 past the limit.
async fn to_disk(mut field: Field<'_>, state: &AppState) -> ApiResult<(TempPath, u64)> {
    let most = state.settings.ingest.max_upload_bytes;
    let (path, mut file) = new_file(&state.settings.storage.data_dir).await.map_err(no_space)?;
    let mut written: usize = 0;
    while let Some(bytes) = field.chunk().await.map_err(|error| unreadable(&error))? {
        written = written.saturating_add(bytes.len());
        if written > most {
            read_on(field, most).await;
            let message = format!("`file` is larger than the {most} bytes that are accepted");
            return Err(ApiError::too_large(message));
        }
        file.write_all(&bytes).await.map_err(no_space)?;
    }
    file.flush().await.map_err(no_space)?;
    Ok((path, written as u64))
}

/// Reads on for a while, so that a client that is still sending gets to see the answer.
async fn read_on(mut field: Field<'_>, most: usize) {
    let reading = async {
        let mut left = most.saturating_mul(4);
        while let Ok(Some(bytes)) = field.chunk().await {
            let Some(rest) = left.checked_sub(bytes.len()) else { return };
            left = rest;
        }
    };
    // Whether it got to the end does not matter: the answer is the same.
    let _ = tokio::time::timeout(Duration::from_secs(5), reading).await;
}

/// Uploads wait in the data folder: the system's temporary folder may be small, or memory.
async fn new_file(data_dir: &Path) -> std::io::Result<(TempPath, tokio::fs::File)> {
    let folder: PathBuf = data_dir.join("uploads");
    tokio::fs::create_dir_all(&folder).await?;
    let file = tokio::task::spawn_blocking(move || tempfile::NamedTempFile::new_in(folder));
    let (file, path) = file.await.map_err(std::io::Error::other)??.into_parts();
    Ok((path, tokio::fs::File::from_std(file)))
}

#[expect(clippy::needless_pass_by_value, reason = "an adapter for map_err")]
fn no_space(error: std::io::Error) -> ApiError {
    tracing::error!(%error, "an upload was not written to disk");
    let message = "the upload cannot be stored just now; try again shortly";
    DomainError::unavailable("STORAGE_UNAVAILABLE", message, Duration::from_secs(30)).into()
}

async fn read_text(name: &str, mut field: Field<'_>) -> ApiResult<String> {
    let mut whole = BytesMut::new();
    while let Some(bytes) = field.chunk().await.map_err(|error| unreadable(&error))? {
        if whole.len() + bytes.len() > MOST_OF_A_PART {
            let message =
                format!("`{name}` is larger than the {MOST_OF_A_PART} bytes that are accepted");
            return Err(ApiError::too_large(message));
        }
        whole.extend_from_slice(&bytes);
    }
    let text = String::from_utf8(whole.to_vec());
    text.map_err(|_| ApiError::invalid(name, format!("`{name}` is not UTF-8; send UTF-8")))
}

fn unreadable(error: &MultipartError) -> ApiError {
    if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
        return ApiError::too_large("the form is too large");
    }
    ApiError::invalid("file", format!("the form cannot be read: {}", error.body_text()))
}

/// The name without folders (of either kind), control characters and surrounding blanks; at most 200
/// characters, of which the extension stays. Empty when nothing is left.
fn base_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let clean: String = text::sanitize(last).replace(['\n', '\r', '\t'], " ");
    let clean = clean.trim();
    if matches!(clean, "." | "..") {
        return String::new();
    }
    let count = clean.chars().count();
    if count <= 200 {
        return clean.to_owned();
    }
    let extension = clean.rsplit_once('.').map(|(_, extension)| extension).unwrap_or_default();
    let extension: String = extension.chars().take(10).collect();
    let stem: String = clean.chars().take(189).collect();
    format!("{stem}.{extension}")
}

#[cfg(test)]
mod tests {
    use super::base_name;

    #[test]
    fn a_file_name_loses_its_folders_and_keeps_its_extension() {
        assert_eq!(base_name("../../etc/passwd"), "passwd");
        assert_eq!(base_name(r"C:\Documentos\Políticas.pdf"), "Políticas.pdf");
        assert_eq!(base_name("a\0b\u{202E}.txt"), "ab.txt");
        assert_eq!(base_name(".."), "");
        assert_eq!(base_name("folder/"), "");
        let long = base_name(&format!("{}.pdf", "ñ".repeat(300)));
        assert_eq!((long.chars().count(), &long[long.len() - 4..]), (193, ".pdf"));
    }
}
