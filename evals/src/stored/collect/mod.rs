//! Cases made from what a workspace has: rated answers, gaps, documents.

mod documents;
mod gaps;
mod rated;

use domain::gap::GapStatus;
use domain::message::Rating;
use domain::{AgentId, ApiKeyId, DatastoreId, DomainError, EvalDatasetId, WorkspaceId};
use storage::evals::EvalDataset;

use super::{Evals, absent};
use crate::dataset::Case;

/// What cases are made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Answers that were rated, the newest first: one that was liked says what is expected, one that was not is a case
    /// whose answer is for a person to write.
    Ratings {
        /// Only of this agent.
        agent: Option<AgentId>,
        /// Only rated so.
        rating: Option<Rating>,
    },
    /// Questions that could not be answered, the newest first: open ones should be, dismissed ones need not, and of closed
    /// ones the answer is known.
    Gaps {
        /// Only of this agent.
        agent: Option<AgentId>,
        /// Only in this status.
        status: Option<GapStatus>,
    },
    /// Passages of a datastore's documents, evenly over all of them.
    Documents {
        /// The datastore.
        datastore: DatastoreId,
        /// Who makes the questions.
        making: Making,
    },
}

/// Who makes questions from passages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Making {
    /// The workspace's model where there is one, else the rule.
    Auto,
    /// The workspace's model.
    Model,
    /// A rule: a question that the passage asks and answers itself, else words of a sentence of it.
    Rule,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collected {
    /// The dataset afterwards.
    pub dataset: EvalDataset,
    /// Cases that were added.
    pub added: usize,
    /// Those that it had already; they stay as they are.
    pub known: usize,
    /// What no case could be made from.
    pub left_out: usize,
}

/// Cases, and how many things no case could be made from.
#[derive(Debug, Default)]
struct Made {
    cases: Vec<Case>,
    left_out: usize,
}

impl Evals {
    /// Adds at most `count` cases to a dataset. A case has the id of what it was made from, so that nothing is added twice
    /// and what people changed stays.
    ///
    /// Errors: 404 for the dataset, the datastore; 400 `making` when there is no model to make questions; 402
    /// `USAGE_LIMIT`; those of the provider.
    pub async fn collect(
        &self,
        workspace: WorkspaceId,
        id: EvalDatasetId,
        origin: Origin,
        count: usize,
        api_key: Option<ApiKeyId>,
    ) -> Result<Collected, DomainError> {
        let mut conn = self.inner.db.read().await?;
        storage::evals::get(&mut conn, workspace, id).await?.ok_or_else(absent)?;
        drop(conn);
        let Made { cases, left_out } = match origin {
            Origin::Ratings { agent, rating } => {
                rated::cases(&self.inner, workspace, agent, rating, count).await?
            }
            Origin::Gaps { agent, status } => {
                gaps::cases(&self.inner, workspace, agent, status, count).await?
            }
            Origin::Documents { datastore, making } => {
                let wanted = documents::Wanted { datastore, making, count, api_key };
                documents::cases(&self.inner, workspace, wanted).await?
            }
        };
        let (dataset, added) = self.add(workspace, id, &cases).await?;
        Ok(Collected { dataset, added, known: cases.len() - added, left_out })
    }
}

/// A case that nothing is known of but its question.
fn bare(id: String, input: &str, tags: &[&str]) -> Case {
    let input = domain::text::sanitize(input.trim());
    Case {
        id,
        lang: models::lexical::detect(&input).map(|lang| lang.code().to_owned()),
        input,
        history: Vec::new(),
        expect: crate::dataset::Expect::Answer,
        answers: Vec::new(),
        form: crate::dataset::Form::Short,
        relevant: Vec::new(),
        must_not: Vec::new(),
        tags: tags.iter().map(|&tag| tag.to_owned()).collect(),
        kind: None,
    }
}
