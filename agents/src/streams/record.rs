//! Keeps what the readers of a turn are told: in memory at once, in the database shortly after.

use std::sync::Arc;
use std::time::Duration;

use domain::{DomainError, ErrorKind};
use storage::StorageError;
use storage::streams::{self, StreamBatch, StreamEvent};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::Instrument;

use super::follow::Follow;
use super::log::Log;
use super::{Render, Rendered};
use crate::running::{LEASE, Recording, TurnKey};
use crate::turn::{Inner, TurnEvent};

/// How long events wait for others to be stored with.
const GATHER: Duration = Duration::from_millis(250);
/// Events that wait for no others.
const ENOUGH: i64 = 128;
/// Between two tries to store events when the database is busy.
const PAUSE: Duration = Duration::from_millis(500);

/// Keeps the events of a turn that begins, so that it goes on without a reader; the first reader.
pub(crate) fn record(
    inner: &Arc<Inner>,
    key: TurnKey,
    events: mpsc::Receiver<TurnEvent>,
    render: Render,
) -> Follow {
    let log = Arc::new(Log::default());
    let recording = inner.running.keep_log(key, &log, inner);
    let first = Follow::here(key.conversation, key.answer, log.clone(), 0);
    inner.tracker.spawn(gather(events, log.clone(), render).in_current_span());
    let writing = write_down(inner.clone(), key, log, recording);
    inner.tracker.spawn(writing.in_current_span());
    first
}

/// Takes the events from the turn, which waits for nobody thereby.
async fn gather(mut events: mpsc::Receiver<TurnEvent>, log: Arc<Log>, render: Render) {
    while let Some(event) = events.recv().await {
        let last = matches!(event, TurnEvent::Done(_) | TurnEvent::Error(_));
        log.push(render(event), last);
        if last {
            return;
        }
    }
    tracing::error!("a turn ended without an answer");
    let error =
        DomainError::new(ErrorKind::Internal, "INTERNAL", "something went wrong on our side");
    let event: Rendered = render(TurnEvent::Error(error));
    log.push(event, true);
}

/// Stores the events in batches until the last one is stored, or another process has declared the turn lost.
async fn write_down(inner: Arc<Inner>, key: TurnKey, log: Arc<Log>, recording: Recording) {
    let mut progress = log.watch();
    let mut written = 0;
    let mut stored_at = Instant::now();
    loop {
        // The sender lives as long as the log, which is held here.
        let _ = progress.wait_for(|now| now.last > written || now.over).await;
        let enough = progress.wait_for(|now| now.over || now.last - written >= ENOUGH);
        let _ = tokio::time::timeout(GATHER, enough).await;
        match store(&inner, key, &log, written).await {
            Ok(Some((last, over))) => {
                (written, stored_at) = (last, Instant::now());
                if over {
                    break;
                }
            }
            Ok(None) => {
                tracing::warn!(message = %key.answer, "the turn was declared lost meanwhile");
                break;
            }
            Err(StorageError::Unavailable(error)) if stored_at.elapsed() < LEASE => {
                tracing::warn!(%error, "events of a turn could not be stored; trying again");
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => {
                tracing::error!(%error, message = %key.answer, "events of a turn are not stored");
                break;
            }
        }
    }
    drop(recording);
}

/// Stores some of the events after `written`: the last one and whether it was the turn's; `None` when they are not
/// wanted any more.
async fn store(
    inner: &Inner,
    key: TurnKey,
    log: &Log,
    written: i64,
) -> Result<Option<(i64, bool)>, StorageError> {
    // Looked at first: what comes meanwhile is for the next batch.
    let progress = log.progress();
    let events: Vec<StreamEvent> =
        log.after(written).iter().map(|event| StreamEvent::clone(event)).collect();
    let last = events.last().map_or(written, |event| event.id);
    let ended = progress.over && last == progress.last;
    let batch = StreamBatch { message: key.answer, events: &events, ended };
    let now = inner.ambient.now();
    // What has ended is dated; what goes on lives for another while.
    let live_until = if ended { now } else { now.plus(LEASE) };
    let mut tx = inner.db.write().await?;
    let owner = &inner.running.owner;
    let wanted = streams::append(&mut tx, key.workspace, &batch, owner, live_until).await?;
    tx.commit().await?;
    Ok(wanted.then_some((last, ended)))
}
