//! The server's side.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::process::{Pid, Signal};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;

use super::{ARGUMENT, Header};
use crate::extract::{self, Document, ExtractError, Format, Input, MAX_TEXT_BYTES};

/// Most that is read of a child's answer: a document whose text is all escapes, and its page list.
const MAX_OUTPUT_BYTES: u64 = 3 * MAX_TEXT_BYTES as u64;
/// Most that is kept of what a child says on stderr.
const MAX_STDERR_BYTES: u64 = 4 * 1024;
/// Larger texts are parsed off the request threads.
const INLINE_BYTES: usize = 64 * 1024;

/// Starts parser processes, at most one a core at once. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ParserPool {
    program: Arc<Path>,
    /// `None` when poppler is not installed.
    pdftotext: Option<Arc<Path>>,
    timeout: Duration,
    slots: Arc<Semaphore>,
}

impl ParserPool {
    /// `program` is this very binary; it is run with `parse-worker` as its argument. `timeout` is the wall
    /// clock for one source, fallback included, waiting for a free core not included.
    pub fn new(program: PathBuf, timeout: Duration) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            program: program.into(),
            pdftotext: find_in_path("pdftotext").map(Arc::from),
            timeout,
            slots: Arc::new(Semaphore::new(cores)),
        }
    }

    /// The same without poppler's `pdftotext`, whether it is installed or not.
    #[must_use]
    pub fn without_pdftotext(mut self) -> Self {
        self.pdftotext = None;
        self
    }

    /// Whether `pdftotext` was found: without it, PDFs with unusual fonts fail more often.
    pub fn has_pdftotext(&self) -> bool {
        self.pdftotext.is_some()
    }

    /// Extracts, in a child process where the format asks for one. Dropping the future kills the child.
    ///
    /// Errors: see [`ExtractError::code`]; only `PARSER_UNAVAILABLE` is worth a retry.
    pub async fn extract(
        &self,
        format: Format,
        name: &str,
        bytes: Bytes,
    ) -> Result<Document, ExtractError> {
        self.extract_with_charset(format, name, None, bytes).await
    }

    /// As [`Self::extract`], with the charset that the sender named.
    pub async fn extract_with_charset(
        &self,
        format: Format,
        name: &str,
        charset: Option<&str>,
        bytes: Bytes,
    ) -> Result<Document, ExtractError> {
        if bytes.is_empty() {
            return Err(ExtractError::empty());
        }
        if extract::in_process(format, bytes.len()) {
            return parse_here(format, charset, bytes).await;
        }
        let slot = self.slots.acquire().await;
        let _slot = slot.map_err(|_| ExtractError::unavailable("the parsers were shut down"))?;
        let deadline = Instant::now() + self.timeout;
        let header = Header { format, charset: charset.map(str::to_owned), pdftotext: None };
        let result = self.run(&header, &bytes, deadline).await.and_then(Answer::document);
        let error = match result {
            Ok(document) => return Ok(document),
            Err(error) => error,
        };
        tracing::debug!(name, code = error.code, "parser gave no document");
        match &self.pdftotext {
            Some(program) if format == Format::Pdf && may_be_readable(&error) => {
                let header = Header { pdftotext: Some(program.to_path_buf()), ..header };
                let second = self.run(&header, &bytes, deadline).await;
                second.and_then(Answer::poppler_document).map_err(|second| {
                    // A password is news; everything else the first parser told better.
                    if second.code == "ENCRYPTED" { second } else { error }
                })
            }
            _ => Err(error),
        }
    }

    /// One child, from start to end.
    async fn run(
        &self,
        header: &Header,
        bytes: &[u8],
        deadline: Instant,
    ) -> Result<Answer, ExtractError> {
        let mut group = Group::start(&self.program)?;
        let talk = group.talk(header, bytes);
        let Ok(answer) = tokio::time::timeout_at(deadline.into(), talk).await else {
            return Err(ExtractError::parser_limit("reading the file took too long"));
        };
        answer.map_err(|error| {
            tracing::warn!(%error, "cannot talk to a parser process");
            ExtractError::unavailable("the parser process could not be reached")
        })
    }
}

/// What the first parser could not read may still be readable to the second.
fn may_be_readable(error: &ExtractError) -> bool {
    matches!(error.code.as_str(), "NEEDS_OCR" | "UNREADABLE" | "EMPTY" | "PARSER_LIMIT")
}

async fn parse_here(
    format: Format,
    charset: Option<&str>,
    bytes: Bytes,
) -> Result<Document, ExtractError> {
    if bytes.len() <= INLINE_BYTES {
        return extract::extract(Input { format, charset, bytes: &bytes });
    }
    let charset = charset.map(str::to_owned);
    let parsed = tokio::task::spawn_blocking(move || {
        extract::extract(Input { format, charset: charset.as_deref(), bytes: &bytes })
    });
    parsed.await.unwrap_or_else(|_| Err(ExtractError::unreadable("the file cannot be read")))
}

/// How a child ended and what it said.
struct Answer {
    status: ExitStatus,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Answer {
    fn document(self) -> Result<Document, ExtractError> {
        if !self.status.success() {
            tracing::debug!(status = %self.status, "parser process died");
            return Err(ExtractError::parser_limit(
                "the file needs more memory or time to read than is allowed",
            ));
        }
        serde_json::from_slice(&self.stdout).unwrap_or_else(|_| {
            Err(ExtractError::too_large("the file holds more text than is allowed"))
        })
    }

    fn poppler_document(self) -> Result<Document, ExtractError> {
        if !self.status.success() {
            let says = String::from_utf8_lossy(&self.stderr);
            if says.contains("Incorrect password") {
                return Err(ExtractError::encrypted());
            }
            return Err(ExtractError::unreadable("the pdf is damaged and cannot be read"));
        }
        extract::pdf_from_poppler(&self.stdout)
    }
}

/// A child in a process group of its own, killed as a whole when dropped.
struct Group {
    child: Child,
    /// `None` once the child was waited for: its number may belong to another process by then.
    leader: Option<Pid>,
}

impl Group {
    fn start(program: &Path) -> Result<Self, ExtractError> {
        let started = Command::new(program)
            .arg(ARGUMENT)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .current_dir("/")
            .process_group(0)
            .kill_on_drop(true)
            .spawn();
        let child = started.map_err(|error| {
            tracing::warn!(%error, "cannot start a parser process");
            ExtractError::unavailable("the parser process could not be started")
        })?;
        let leader = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Ok(Self { child, leader })
    }

    /// Writes the question while reading the answer, then waits for the end.
    async fn talk(&mut self, header: &Header, bytes: &[u8]) -> std::io::Result<Answer> {
        let (stdin, stdout, stderr) =
            (self.child.stdin.take(), self.child.stdout.take(), self.child.stderr.take());
        let mut line = serde_json::to_vec(header)?;
        line.push(b'\n');
        let ask = async {
            let Some(mut stdin) = stdin else { return };
            // A child that dies closes the pipe; how it ended says more than the failed write.
            if stdin.write_all(&line).await.is_ok() {
                let _ = stdin.write_all(bytes).await;
            }
            let _ = stdin.shutdown().await;
        };
        let ((), stdout, stderr) =
            tokio::join!(ask, read(stdout, MAX_OUTPUT_BYTES), read(stderr, MAX_STDERR_BYTES));
        let status = self.child.wait().await?;
        self.leader = None;
        Ok(Answer { status, stdout: stdout?, stderr: stderr? })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.leader {
            let _ = rustix::process::kill_process_group(leader, Signal::KILL);
        }
    }
}

/// Keeps the first `limit` bytes and drains the rest, so that the writer never blocks.
async fn read(pipe: Option<impl AsyncRead + Unpin>, limit: u64) -> std::io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    let Some(mut pipe) = pipe else { return Ok(kept) };
    (&mut pipe).take(limit).read_to_end(&mut kept).await?;
    tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await?;
    Ok(kept)
}

fn find_in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}
