//! `Prefer: wait=<seconds>` (RFC 7240): the answer to an addition waits until the source is ready or failed.

use std::time::Duration;

use domain::datastore::{Source, SourceStatus};
use http::{HeaderMap, HeaderName};
use tokio::time::{Instant, timeout_at};

use crate::error::ApiResult;
use crate::state::AppState;

const PREFER: HeaderName = HeaderName::from_static("prefer");
/// The longest wait; what is asked beyond is not granted.
const LONGEST: Duration = Duration::from_secs(30);
/// A look without a wake-up, which another process may have been given.
const LOOK: Duration = Duration::from_secs(1);

/// The source once its ingestion has ended, or as it stands when the caller's patience does.
pub(super) async fn settled(
    state: &AppState,
    headers: &HeaderMap,
    source: Source,
) -> ApiResult<Source> {
    let Some(patience) = patience(headers) else {
        return Ok(source);
    };
    let deadline = Instant::now() + patience;
    let mut wakeups = state.db.wakeups();
    let mut latest = source;
    loop {
        let found = look(state, &latest).await?;
        match found {
            Some(found) => latest = found,
            // Deleted meanwhile: nothing more will come of it.
            None => return Ok(latest),
        }
        let under_way = matches!(latest.status, SourceStatus::Pending | SourceStatus::Running);
        if !under_way || Instant::now() >= deadline || state.stopping.is_cancelled() {
            return Ok(latest);
        }
        // Woken, late or lagging behind: in each case it is time to look again.
        let _ = timeout_at(deadline.min(Instant::now() + LOOK), wakeups.recv()).await;
    }
}

/// The source as it stands. The connection goes back before anything is waited for.
async fn look(state: &AppState, source: &Source) -> ApiResult<Option<Source>> {
    let mut conn = state.db.read().await?;
    let (workspace, datastore) = (source.workspace_id, source.datastore_id);
    Ok(storage::sources::get(&mut conn, workspace, datastore, source.id).await?)
}

/// What the caller is ready to wait, at most [`LONGEST`].
pub(super) fn patience(headers: &HeaderMap) -> Option<Duration> {
    let preferences = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
    let seconds = preferences.flat_map(|value| value.split(',')).find_map(|preference| {
        let (name, value) = preference.split_once('=')?;
        let seconds = value.trim().trim_matches('"').parse::<u64>().ok()?;
        name.trim().eq_ignore_ascii_case("wait").then_some(seconds)
    });
    seconds.map(|seconds| Duration::from_secs(seconds).min(LONGEST))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_wait_is_read_among_other_preferences_and_bounded() {
        for (value, seconds) in [
            ("wait=10", Some(10)),
            ("respond-async, Wait=\"5\"", Some(5)),
            ("wait=900", Some(30)),
            ("wait", None),
            ("wait=-1", None),
            ("return=minimal", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(PREFER, HeaderValue::from_static(value));
            assert_eq!(patience(&headers), seconds.map(Duration::from_secs), "{value}");
        }
    }
}
