//! Cases from gaps.

use domain::gap::GapStatus;
use domain::{AgentId, DomainError, WorkspaceId};
use storage::gaps::{self, GapFilter, GapGroup};

use super::{Made, bare};
use crate::dataset::{Case, Expect, Form};
use crate::stored::Inner;
use crate::text::without_markers;

pub(super) async fn cases(
    inner: &Inner,
    workspace: WorkspaceId,
    agent: Option<AgentId>,
    status: Option<GapStatus>,
    count: usize,
) -> Result<Made, DomainError> {
    let limit = i64::try_from(count).unwrap_or(i64::MAX);
    let mut conn = inner.db.read().await?;
    let found =
        gaps::groups(&mut conn, workspace, GapFilter { status, agent }, None, limit).await?;
    Ok(Made { cases: found.iter().map(case_of).collect(), left_out: 0 })
}

fn case_of(gap: &GapGroup) -> Case {
    let tag = format!("gap:{}", gap.status.name());
    let case = bare(gap.id.to_string(), &gap.question, &["gap", &tag]);
    match gap.status {
        GapStatus::Open => case,
        GapStatus::Dismissed => {
            Case { expect: Expect::Abstain, kind: Some("not_in_kb".to_owned()), ..case }
        }
        GapStatus::Closed => {
            let answer = gap.answer.as_deref().map(without_markers);
            let answer = answer.map(|answer| answer.trim().to_owned());
            let answers = answer.into_iter().filter(|answer| !answer.is_empty()).collect();
            Case { answers, form: Form::Long, ..case }
        }
    }
}
