//! Cases made from what the workspace has.

use axum::extract::State;
use domain::{Action, AgentId, DatastoreId, EvalDatasetId};
use evals::stored::{Collected, Origin};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::datasets::EvalDatasetView;
use crate::auth::Caller;
use crate::error::{ApiError, ApiResult, ErrorEnvelope};
use crate::extract::{Id, Json};
use crate::paging::whole_number_in;
use crate::routes::Routes;
use crate::state::AppState;
use crate::v2::words::{EvalMaking, GapStatus, Rating};

/// Cases that are made when nobody says how many, and at most; of documents each may take a call of a model.
const USUAL: i64 = 20;
const MOST: u32 = 1_000;
const MOST_OF_DOCUMENTS: u32 = 100;

pub(super) fn routes() -> Routes {
    Routes::new().route(Action::ManageEvals, routes!(collect))
}

/// Where cases come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum EvalOrigin {
    /// Rated answers, the newest first.
    Ratings,
    /// Gaps, the newest first.
    Gaps,
    /// Passages of a datastore's documents, evenly over all of them.
    Documents,
}

/// What cases are made from.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct EvalCollection {
    from: EvalOrigin,
    /// Of ratings and gaps: only of this agent.
    #[schema(example = "agent_0199f0c4a5b07cc09f5a3f1d2b4c6e8a")]
    agent_id: Option<String>,
    /// Of ratings: only such; absent means both.
    rating: Option<Rating>,
    /// Of gaps: only in this status; absent means all.
    status: Option<GapStatus>,
    /// Of documents: the datastore.
    #[schema(example = "ds_0199f0c4a5b07cc09f5a3f1d2b4c6e8a")]
    datastore_id: Option<String>,
    /// Of documents: who makes the questions; absent means `auto`.
    making: Option<EvalMaking>,
    /// How many at most; 100 of documents.
    #[serde(default = "usual")]
    #[schema(minimum = 1, maximum = 1_000, default = 20, required = false)]
    count: i64,
}

/// What came of it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct EvalCollected {
    /// The dataset afterwards.
    dataset: EvalDatasetView,
    /// Cases that were added.
    added: usize,
    /// Cases that it had already; they stay as they are.
    known: usize,
    /// What no case could be made from.
    left_out: usize,
}

/// Add cases from what there is
///
/// From rated answers: one that was liked says what is expected and by what words of which documents; one that was not is
/// a case whose answer is still to be written. From gaps: open ones should be answered, dismissed ones need not. From
/// documents: questions by the workspace's model where it has one (counted in the ledger), else by rule. Asked again it adds
/// what is new.
#[utoipa::path(
    post,
    path = "/api/v2/evals/datasets/{evalDatasetId}/collect",
    tag = "Evaluations",
    operation_id = "collectEvalCases",
    params(("evalDatasetId" = String, Path)),
    request_body = EvalCollection,
    responses(
        (status = 200, description = "What came of it.", body = EvalCollected),
        (status = 402, description = "A budget is used up.", body = ErrorEnvelope),
        (status = 409, description = "The dataset was changed meanwhile.", body = ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v2.evals.collect", skip_all)]
async fn collect(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<EvalDatasetId>,
    Json(wanted): Json<EvalCollection>,
) -> ApiResult<Json<EvalCollected>> {
    let most = if wanted.from == EvalOrigin::Documents { MOST_OF_DOCUMENTS } else { MOST };
    let count = whole_number_in("count", wanted.count, 1, most)?;
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let origin = wanted.origin()?;
    let (workspace, api_key) = (caller.workspace(), caller.api_key());
    let collected =
        state.evals.signed(caller.author()).collect(workspace, id, origin, count, api_key).await?;
    Ok(Json(collected.into()))
}

impl EvalCollection {
    fn origin(&self) -> ApiResult<Origin> {
        let agent = self.agent_id.as_deref().map(str::parse::<AgentId>).transpose();
        let agent =
            agent.map_err(|error| ApiError::invalid("agentId", format!("`agentId`: {error}")))?;
        match self.from {
            EvalOrigin::Ratings => {
                Ok(Origin::Ratings { agent, rating: self.rating.map(Into::into) })
            }
            EvalOrigin::Gaps => Ok(Origin::Gaps { agent, status: self.status.map(Into::into) }),
            EvalOrigin::Documents => {
                let Some(id) = &self.datastore_id else {
                    let message = "`datastoreId` is missing; name the datastore of the documents";
                    return Err(ApiError::invalid("datastoreId", message));
                };
                let datastore = id.parse::<DatastoreId>();
                let datastore = datastore.map_err(|error| {
                    ApiError::invalid("datastoreId", format!("`datastoreId`: {error}"))
                })?;
                let making = self.making.unwrap_or(EvalMaking::Auto).into();
                Ok(Origin::Documents { datastore, making })
            }
        }
    }
}

fn usual() -> i64 {
    USUAL
}

impl From<Collected> for EvalCollected {
    fn from(collected: Collected) -> Self {
        let Collected { dataset, added, known, left_out } = collected;
        Self { dataset: dataset.into(), added, known, left_out }
    }
}
