//! Points at which tests break the pipeline. In ordinary builds they are nothing.
//!
//! With the feature `failpoints`, the variable `FAILPOINTS` sets actions (`ingest::chunk=return(abort)`):
//! `return(abort)` ends the process at once, `return` or `return(retry)` fails the stage, and
//! `return(retry:<name>)` fails it for the source of that name only. Each stage has two points: its name, before
//! its commit, and its name with `::committed`, after it.

use super::halt::Halt;

#[cfg(feature = "failpoints")]
pub fn hit(point: &str, source: &str) -> Result<(), Halt> {
    set_from_environment();
    fail::fail_point!(point, |action| act(action.as_deref(), source));
    Ok(())
}

#[cfg(not(feature = "failpoints"))]
#[expect(clippy::unnecessary_wraps, reason = "with the feature it fails")]
pub fn hit(_point: &str, _source: &str) -> Result<(), Halt> {
    Ok(())
}

#[cfg(feature = "failpoints")]
fn act(action: Option<&str>, source: &str) -> Result<(), Halt> {
    let action = action.unwrap_or("retry");
    match action.split_once(':').unwrap_or((action, source)) {
        ("abort", name) if name == source => std::process::abort(),
        (_, name) if name == source => {
            Err(Halt::retry("FAILPOINT", "a test broke the pipeline here"))
        }
        _ => Ok(()),
    }
}

/// Reads `FAILPOINTS` (`point=action;point=action`) once.
#[cfg(feature = "failpoints")]
fn set_from_environment() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let settings = std::env::var("FAILPOINTS").unwrap_or_default();
        for setting in settings.split(';').filter(|setting| !setting.trim().is_empty()) {
            let set =
                setting.split_once('=').map(|(point, action)| fail::cfg(point.trim(), action));
            if !matches!(set, Some(Ok(()))) {
                tracing::error!(setting, "FAILPOINTS has a setting that cannot be read");
            }
        }
    });
}
