//! The cases of an evaluation dataset, as its file has them.

use std::path::Path;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use domain::{Action, EvalDatasetId};
use evals::dataset::{Case, Dataset, Relevant, Said};
use evals::{EvalError, InputError};
use http::{HeaderMap, HeaderValue, header};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use crate::auth::Caller;
use crate::error::{ApiError, ApiResult};
use crate::extract::{Id, Json, Query};
use crate::paging::{Cursor, Page, Paging};
use crate::routes::Routes;
use crate::state::AppState;
use crate::v2::words::{EvalExpect, EvalForm, EvalRole};

pub(super) fn routes() -> Routes {
    Routes::new().route(Action::ReadEvals, routes!(list))
}

/// A question and what is expected of the answer, as a line of a dataset's file has it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EvalCase {
    /// Unique in the dataset.
    #[schema(min_length = 1, max_length = 200, example = "horario")]
    id: String,
    /// What the customer says.
    #[schema(min_length = 1, max_length = 8000, example = "¿A qué hora abren?")]
    input: String,
    /// What was said before, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false, max_items = 500)]
    history: Vec<EvalMessage>,
    /// The customer's language, ISO 639-1: the reply is expected in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 200, example = "es")]
    lang: Option<String>,
    /// What should happen; absent means `answer`.
    #[serde(default = "answer")]
    #[schema(required = false)]
    expect: EvalExpect,
    /// Accepted answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false, max_items = 500, example = json!(["9:00"]))]
    answers: Vec<String>,
    /// Whether `answers` are looked for in the reply, or compared word by word; absent means `short`.
    #[serde(default = "short")]
    #[schema(required = false)]
    form: EvalForm,
    /// What holds the answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false, max_items = 500)]
    relevant: Vec<EvalRelevant>,
    /// Texts that the reply must not contain.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false, max_items = 500)]
    must_not: Vec<String>,
    /// Slices of the report that the case belongs to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false, max_items = 500, example = json!(["horarios"]))]
    tags: Vec<String>,
    /// Why a case with `expect` other than `answer` cannot be answered: `absent_topic`, `near_miss`, `adversarial`,
    /// `not_in_kb` or a word of one's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 200)]
    kind: Option<String>,
}

/// An earlier message.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
struct EvalMessage {
    role: EvalRole,
    /// What was said.
    #[schema(min_length = 1, max_length = 8000)]
    text: String,
}

/// What holds an answer: a passage, a chunk or a source by its id, with a grade or without; or whatever passage has a text.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(
    untagged,
    expecting = "an id, an object with `id` and `grade`, or an object with `must_contain`"
)]
enum EvalRelevant {
    /// An id.
    #[schema(title = "EvalRelevantId")]
    Id(String),
    /// An id with a grade.
    #[schema(title = "EvalRelevantGraded")]
    Graded {
        /// The id.
        id: String,
        /// How relevant; 1 is the usual.
        #[schema(minimum = 1)]
        grade: u32,
    },
    /// A text.
    #[schema(title = "EvalRelevantText")]
    Text {
        /// The text, accents and case aside.
        must_contain: String,
    },
}

/// Which cases.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct CaseQuery {
    /// An older version of the dataset; absent means the one in use.
    #[param(value_type = String, required = false)]
    version: Option<String>,
    /// `jsonl` for the whole file.
    #[param(value_type = String, required = false)]
    format: Option<String>,
    /// Entries of the page.
    #[param(value_type = i64, minimum = 1, maximum = 100, default = 20, required = false)]
    limit: Option<String>,
    /// The `nextCursor` of the page before.
    #[param(value_type = String, required = false)]
    cursor: Option<String>,
}

/// How many cases were told.
#[derive(Debug, Clone, Copy)]
struct Place(usize);

impl Cursor for Place {
    fn write(&self) -> String {
        format!("case:{}", self.0)
    }

    fn read(text: &str) -> Option<Self> {
        text.strip_prefix("case:")?.parse().ok().map(Self)
    }
}

const JSON_LINES: &str = "application/x-ndjson";

/// List cases
///
/// In the dataset's order. With `format=jsonl`, or `Accept: application/x-ndjson`, all of them as the file that
/// `vocero eval run` reads.
#[utoipa::path(
    get,
    path = "/api/v2/evals/datasets/{evalDatasetId}/cases",
    tag = "Evaluations",
    operation_id = "listEvalCases",
    params(("evalDatasetId" = String, Path), CaseQuery),
    responses((status = 200, description = "A page of cases, or the file.", content((Page<EvalCase> = "application/json"), (String = "application/x-ndjson")))),
)]
#[tracing::instrument(name = "handler.v2.evals.cases", skip_all)]
async fn list(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<EvalDatasetId>,
    headers: HeaderMap,
    Query(query): Query<CaseQuery>,
) -> ApiResult<Response> {
    let paging = Paging::<Place>::parse(query.limit.as_deref(), query.cursor.as_deref())?;
    let as_file = match query.format.as_deref() {
        None => accepts(&headers, JSON_LINES),
        Some("jsonl") => true,
        Some("json") => false,
        Some(_) => return Err(ApiError::invalid("format", "`format` must be json or jsonl")),
    };
    let version = query.version.as_deref();
    let (_, dataset) = state.evals.dataset(caller.workspace(), id, version).await?;
    if as_file {
        let lines = dataset.to_lines().map_err(|error| refused(error, "cases"))?;
        return Ok(
            ([(header::CONTENT_TYPE, HeaderValue::from_static(JSON_LINES))], lines).into_response()
        );
    }
    let from = paging.after.map_or(0, |place| place.0);
    let limit = usize::try_from(paging.one_more()).unwrap_or(usize::MAX);
    let cases: Vec<(usize, Case)> =
        dataset.cases.into_iter().enumerate().skip(from).take(limit).collect();
    let page = paging.page(cases, |(at, _)| Place(at + 1), |(_, case)| EvalCase::from(case));
    Ok(Json(page).into_response())
}

/// Whether `Accept` names a type.
pub(super) fn accepts(headers: &HeaderMap, media_type: &str) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|entry| {
        entry.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(media_type)
    })
}

/// A dataset out of cases of a body.
pub(super) fn given(name: &str, cases: Vec<EvalCase>) -> ApiResult<Dataset> {
    let cases = cases.into_iter().map(Case::from).collect();
    Dataset::given(name, cases).map_err(|error| refused(error, "cases"))
}

/// A dataset out of an upload.
pub(super) fn uploaded(file_name: &str, bytes: &[u8]) -> ApiResult<Dataset> {
    Dataset::upload(Path::new(file_name), bytes).map_err(|error| refused(error, "file"))
}

/// Says what is wrong with cases: of a file its line, of a body its entry.
fn refused(error: EvalError, place: &str) -> ApiError {
    let EvalError::Input(wrong) = error else {
        tracing::error!(%error, "cases were not read");
        return ApiError::internal();
    };
    if place == "file" {
        return ApiError::invalid("file", format!("`file` {wrong}"));
    }
    let InputError { line, field, problem, remedy, .. } = wrong;
    let mut path = place.to_owned();
    if let Some(line) = line {
        path.push_str(&format!("[{}]", line - 1));
    }
    if let Some(field) = field {
        path.push_str(&format!(".{field}"));
    }
    let message = format!("`{path}` {problem}; {remedy}");
    ApiError::invalid(path, message)
}

fn answer() -> EvalExpect {
    EvalExpect::Answer
}

fn short() -> EvalForm {
    EvalForm::Short
}

impl From<EvalCase> for Case {
    fn from(case: EvalCase) -> Self {
        let said = |said: EvalMessage| Said { role: said.role.into(), text: said.text };
        let relevant = |relevant: EvalRelevant| match relevant {
            EvalRelevant::Id(id) => Relevant::Id(id),
            EvalRelevant::Graded { id, grade } => Relevant::Graded { id, grade },
            EvalRelevant::Text { must_contain } => Relevant::Text { must_contain },
        };
        Self {
            id: case.id,
            input: case.input,
            history: case.history.into_iter().map(said).collect(),
            lang: case.lang,
            expect: case.expect.into(),
            answers: case.answers,
            form: case.form.into(),
            relevant: case.relevant.into_iter().map(relevant).collect(),
            must_not: case.must_not,
            tags: case.tags,
            kind: case.kind,
        }
    }
}

impl From<Case> for EvalCase {
    fn from(case: Case) -> Self {
        let said = |said: Said| EvalMessage { role: said.role.into(), text: said.text };
        let relevant = |relevant: Relevant| match relevant {
            Relevant::Id(id) => EvalRelevant::Id(id),
            Relevant::Graded { id, grade } => EvalRelevant::Graded { id, grade },
            Relevant::Text { must_contain } => EvalRelevant::Text { must_contain },
        };
        Self {
            id: case.id,
            input: case.input,
            history: case.history.into_iter().map(said).collect(),
            lang: case.lang,
            expect: case.expect.into(),
            answers: case.answers,
            form: case.form.into(),
            relevant: case.relevant.into_iter().map(relevant).collect(),
            must_not: case.must_not,
            tags: case.tags,
            kind: case.kind,
        }
    }
}
