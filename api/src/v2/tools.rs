//! The tools that answers use, as clients see them.

use std::time::Duration;

use agents::{ToolPhase, ToolStep};
use domain::message::ToolUse;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::words::{ToolName, ToolStatus};

/// A tool that an answer used.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct UsedTool {
    /// The name that the operator gave it; its type where operators name none.
    #[schema(example = "lead-capture")]
    name: String,
    r#type: ToolName,
    status: ToolStatus,
    /// What it was called with, without secrets.
    arguments: Value,
    /// Milliseconds that it took.
    ms: f64,
}

/// The data of a `tool` event.
#[derive(Debug, Serialize)]
pub(super) struct ToolEvent {
    name: String,
    r#type: ToolName,
    status: &'static str,
}

impl From<ToolUse> for UsedTool {
    fn from(used: ToolUse) -> Self {
        Self {
            name: used.name,
            r#type: used.kind.into(),
            status: used.status.into(),
            arguments: used.arguments,
            ms: millis(used.took),
        }
    }
}

impl From<ToolStep> for ToolEvent {
    fn from(step: ToolStep) -> Self {
        let status = match step.phase {
            ToolPhase::Running => "running",
            ToolPhase::Done => "done",
            ToolPhase::Failed => "failed",
            ToolPhase::Waiting => "waiting",
        };
        Self { name: step.name, r#type: step.kind.into(), status }
    }
}

/// Milliseconds with three decimals.
fn millis(time: Duration) -> f64 {
    f64::from(u32::try_from(time.as_micros()).unwrap_or(u32::MAX)) / 1_000.0
}
