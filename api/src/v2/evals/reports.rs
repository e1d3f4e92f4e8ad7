//! What runs came to: reports and comparisons.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use domain::{Action, EvalRunId, Lang};
use evals::Report;
use evals::compare::{Change, Comparison, Flip};
use evals::metrics;
use evals::report;
use evals::stored::ComparedRuns;
use http::{HeaderMap, HeaderValue, header};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::cases::accepts;
use crate::auth::Caller;
use crate::error::{ApiError, ApiResult, ErrorEnvelope};
use crate::extract::{Id, Json, Query};
use crate::routes::Routes;
use crate::state::AppState;
use crate::v2::words::EvalVerdict;

pub(super) fn routes() -> Routes {
    Routes::new().route(Action::ReadEvals, routes!(read)).route(Action::ReadEvals, routes!(compare))
}

/// In which form.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ReportQuery {
    /// `json`, `html`, `markdown`, `junit`, `trec` (the ranking) or `qrels` (what is relevant); absent means what `Accept`
    /// names, else `json`.
    #[param(value_type = String, required = false, default = "json")]
    format: Option<String>,
    /// The language of the page: `es`, `en` or `pt`.
    #[param(value_type = String, required = false, default = "es")]
    lang: Option<String>,
}

/// The forms of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Html,
    Markdown,
    Junit,
    Trec,
    Qrels,
}

/// Each form: its name, its media type, and as what it is saved.
const FORMS: [(Form, &str, &str, &str); 6] = [
    (Form::Json, "json", "application/json", "report.json"),
    (Form::Html, "html", "text/html", "report.html"),
    (Form::Markdown, "markdown", "text/markdown", "report.md"),
    (Form::Junit, "junit", "application/xml", "junit.xml"),
    (Form::Trec, "trec", "text/plain", "run.trec"),
    (Form::Qrels, "qrels", "text/plain", "qrels.trec"),
];

/// The page holds styles and pictures of its own, and nothing that runs or loads.
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'",
);

/// Get the report of a run
///
/// The files that `vocero eval run` writes (docs/EVALS.md): the JSON from which everything else is made, a page for people,
/// Markdown for a pull request, JUnit XML for a build server, and the files that `trec_eval` reads. Of a run that was stopped
/// it is about what was asked until then.
#[utoipa::path(
    get,
    path = "/api/v2/evals/runs/{evalRunId}/report",
    tag = "Evaluations",
    operation_id = "getEvalReport",
    params(("evalRunId" = String, Path), ReportQuery),
    responses(
        (status = 200, description = "The report.", content(
            (serde_json::Value = "application/json"),
            (String = "text/html"),
            (String = "text/markdown"),
            (String = "application/xml"),
            (String = "text/plain"),
        )),
        (status = 409, description = "The run is not over, or nothing was asked.", body = ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v2.evals.report", skip_all)]
async fn read(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<EvalRunId>,
    headers: HeaderMap,
    Query(query): Query<ReportQuery>,
) -> ApiResult<Response> {
    let (form, media_type, file) = query.form(&headers)?;
    let lang = query.lang()?;
    let report = state.evals.report(caller.workspace(), id).await?;
    let written = tokio::task::spawn_blocking(move || write(&report, form, lang)).await;
    let text = written.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
    let media_type = format!("{media_type}; charset=utf-8");
    let disposition = format!("inline; filename=\"{file}\"");
    let header = |text: &str| HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""));
    let named = [
        (header::CONTENT_TYPE, header(&media_type)),
        (header::CONTENT_DISPOSITION, header(&disposition)),
    ];
    if form == Form::Html {
        let policy = [(header::CONTENT_SECURITY_POLICY, PAGE_POLICY)];
        return Ok((named, policy, text).into_response());
    }
    Ok((named, text).into_response())
}

impl ReportQuery {
    fn form(&self, headers: &HeaderMap) -> ApiResult<(Form, &'static str, &'static str)> {
        let found = match &self.format {
            Some(name) => FORMS.iter().find(|(_, known, _, _)| known == name),
            None => FORMS
                .iter()
                .find(|(_, _, media_type, _)| accepts(headers, media_type))
                .or(FORMS.first()),
        };
        let (form, _, media_type, file) = found.ok_or_else(|| {
            let message = "`format` must be json, html, markdown, junit, trec or qrels";
            ApiError::invalid("format", message)
        })?;
        Ok((*form, media_type, file))
    }

    fn lang(&self) -> ApiResult<Lang> {
        match self.lang.as_deref() {
            None | Some("es") => Ok(Lang::Es),
            Some("en") => Ok(Lang::En),
            Some("pt") => Ok(Lang::Pt),
            Some(_) => Err(ApiError::invalid("lang", "`lang` must be es, en or pt")),
        }
    }
}

fn write(report: &Report, form: Form, lang: Lang) -> Result<String, evals::EvalError> {
    Ok(match form {
        Form::Json => report.to_json()?,
        Form::Html => report::page(report, lang)?,
        Form::Markdown => report::markdown(report),
        Form::Junit => report::junit(report),
        Form::Trec => report::run_file(report),
        Form::Qrels => report::qrels(report),
    })
}

fn failed(error: &dyn std::fmt::Display) -> ApiError {
    tracing::error!(%error, "a report was not written");
    ApiError::internal()
}

/// With what a run is compared.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct CompareQuery {
    /// The run before the change.
    #[param(example = "evalrun_0199f0c4a5b07cc09f5a3f1d2b4c6e8a")]
    base: String,
    /// Losses that are none, in place of the metrics' own: `ndcg@10=0.02,answered=0.05`.
    #[param(value_type = String, required = false)]
    tolerances: Option<String>,
}

/// Two runs, compared by the cases that both have.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct EvalComparison {
    /// The worst of the metrics'.
    verdict: EvalVerdict,
    /// Whether both runs came to their ends with hardly any failure; else the verdict says nothing.
    sound: bool,
    /// Cases that both have.
    pairs: usize,
    /// Cases of the first that the second lacks.
    missing: usize,
    /// Whether both were asked the same.
    same_dataset: bool,
    /// Metric by metric.
    metrics: Vec<EvalChange>,
    /// Cases that came out differently.
    flipped: Vec<EvalFlip>,
}

/// A metric of both.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct EvalChange {
    #[schema(example = "ndcg@10")]
    name: String,
    /// Of the first run, over the cases that both have.
    base: f64,
    /// Of the second.
    new: f64,
    /// Above 0 is better, whichever way the metric points.
    gain: f64,
    /// Where the gain's 95 % interval begins.
    low: f64,
    /// Where it ends.
    high: f64,
    /// Cases that have the metric in both.
    count: usize,
    /// The loss that is none; null for what is never a regression.
    tolerance: Option<f64>,
    verdict: EvalVerdict,
}

/// A case that came out differently.
#[derive(Debug, Serialize, ToSchema)]
struct EvalFlip {
    /// The case.
    id: String,
    /// What is asked.
    input: String,
    /// What came before.
    base: String,
    /// What comes now.
    new: String,
    /// Whether it is right now, and was not.
    better: bool,
}

/// Compare two runs
///
/// The run with the one before the change, by 2,000 paired resamples. A metric regressed when its whole interval lies below 0
/// and the loss is beyond its tolerance.
#[utoipa::path(
    get,
    path = "/api/v2/evals/runs/{evalRunId}/compare",
    tag = "Evaluations",
    operation_id = "compareEvalRuns",
    params(("evalRunId" = String, Path), CompareQuery),
    responses(
        (status = 200, description = "What became of the metrics.", body = EvalComparison),
        (status = 409, description = "One of the runs is not over.", body = ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v2.evals.compare", skip_all)]
async fn compare(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<EvalRunId>,
    Query(query): Query<CompareQuery>,
) -> ApiResult<Json<EvalComparison>> {
    let base: EvalRunId = query.base.parse().map_err(|error: domain::ids::InvalidId| {
        ApiError::invalid("base", format!("`base`: {error}"))
    })?;
    let tolerances = tolerances(query.tolerances.as_deref().unwrap_or_default())?;
    let compared = state.evals.compare(caller.workspace(), base, id, tolerances).await?;
    Ok(Json(compared.into()))
}

fn tolerances(text: &str) -> ApiResult<BTreeMap<String, f64>> {
    let mut tolerances = BTreeMap::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let read = part.split_once('=').and_then(|(name, loss)| {
            let loss: f64 = loss.trim().parse().ok().filter(|loss: &f64| *loss >= 0.0)?;
            Some((metrics::find(name.trim())?.name.to_owned(), loss))
        });
        let (name, loss) = read.ok_or_else(|| {
            let message = "`tolerances` must be metrics of docs/EVALS.md with losses of 0 or more, as in ndcg@10=0.02,answered=0.05";
            ApiError::invalid("tolerances", message)
        })?;
        tolerances.insert(name, loss);
    }
    Ok(tolerances)
}

impl From<ComparedRuns> for EvalComparison {
    fn from(compared: ComparedRuns) -> Self {
        let Comparison { verdict, pairs, missing, same_dataset, metrics, flipped } =
            compared.comparison;
        Self {
            verdict: verdict.into(),
            sound: compared.sound,
            pairs,
            missing,
            same_dataset,
            metrics: metrics.into_iter().map(EvalChange::from).collect(),
            flipped: flipped.into_iter().map(EvalFlip::from).collect(),
        }
    }
}

impl From<Change> for EvalChange {
    fn from(change: Change) -> Self {
        Self {
            name: change.name,
            base: change.base,
            new: change.new,
            gain: change.gain.value,
            low: change.gain.low,
            high: change.gain.high,
            count: change.gain.count,
            tolerance: change.tolerance,
            verdict: change.verdict.into(),
        }
    }
}

impl From<Flip> for EvalFlip {
    fn from(flip: Flip) -> Self {
        let Flip { id, input, base, new, better } = flip;
        Self { id, input, base, new, better }
    }
}
