//! `vocero eval calibrate`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use domain::Lang;
use evals::Dataset;
use evals::calibrate::{Aim, Calibration, Effect, MIN_CASES, calibrate};
use evals::metrics::RiskPoint;
use evals::report::Report;
use serde::Serialize;
use serde_json::json;

use super::options::DatasetArgs;
use super::run::{LimitArgs, evaluate, write_all};
use super::targets::{self, Kind, TargetArgs};
use super::{UNSOUND, misuse};
use crate::cli::datastores::Mode;
use crate::cli::{Run, print, print_json, table};

/// Parts of dense vectors that are compared.
const WEIGHTS: [f64; 6] = [0.0, 0.1, 0.2, 0.3, 0.5, 0.7];
/// Rows of the curve that are printed.
const ROWS: usize = 12;

#[derive(Debug, Args)]
pub struct CalibrateArgs {
    #[command(flatten)]
    dataset: DatasetArgs,
    #[command(flatten)]
    limits: LimitArgs,
    /// An agent of this installation whose knowledge is asked; else a throw-away workspace over the passages of the dataset
    #[arg(long, value_name = "ID")]
    agent: Option<String>,
    /// The share of the answerable questions that shall be answered, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.9, conflicts_with = "max_risk")]
    answered: f64,
    /// The share of the answers that may be wrong, 0 to 1, in place of --answered
    #[arg(long, value_name = "SHARE")]
    max_risk: Option<f64>,
    /// Compare parts of the vectors of a model of this folder; in a throw-away workspace
    #[arg(long, value_name = "local:FOLDER")]
    embedding: Option<String>,
    /// Set the threshold, and the part of the vectors where it was compared, for the datastores that the agent searches
    #[arg(long, requires = "agent")]
    apply: bool,
    /// Folder for rows and the report, whose page has the curve
    #[arg(long, value_name = "FOLDER", default_value = "eval/calibration")]
    out: PathBuf,
}

/// What a part of the vectors in the fusion comes to.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Weighed {
    dense_weight: f64,
    ndcg10: f64,
}

pub async fn run(arguments: &CalibrateArgs, run: &Run) -> anyhow::Result<ExitCode> {
    let shares = [Some(arguments.answered), arguments.max_risk];
    if shares.into_iter().flatten().any(|share| !(0.0..=1.0).contains(&share)) {
        return Err(misuse("--answered and --max-risk are 0 to 1"));
    }
    let dataset = arguments.dataset.read()?;
    let weighed = weigh(arguments, &dataset, run).await?;
    let best = best_of(&weighed);
    let mut asked = target(arguments, best.unwrap_or(0.2));
    asked.weigh = best.filter(|_| arguments.agent.is_some());
    let opened = targets::open(&asked, &dataset, run).await?;
    let mut options = arguments.limits.options();
    options.rows = Some(arguments.out.join("rows.jsonl"));
    let report = evaluate(&dataset, &*opened.target, &options, &arguments.out, run.json).await;
    let done = match report {
        Ok(found) => conclude(arguments, &found.report, &weighed, &opened, run).await,
        Err(error) => Err(error),
    };
    opened.close().await;
    done
}

fn target(arguments: &CalibrateArgs, dense_weight: f64) -> TargetArgs {
    TargetArgs {
        target: Kind::Search,
        agent: arguments.agent.clone(),
        builtin: true,
        model: None,
        prompt: None,
        min_evidence: None,
        mode: Mode::Hybrid,
        embedding: arguments.embedding.clone(),
        dense_weight,
        weigh: None,
        no_stemming: false,
        depth: 20,
    }
}

/// nDCG@10 by the part of the vectors; nothing without an embedder.
async fn weigh(
    arguments: &CalibrateArgs,
    dataset: &Dataset,
    run: &Run,
) -> anyhow::Result<Vec<Weighed>> {
    let mut weighed = Vec::new();
    if arguments.embedding.is_none() && arguments.agent.is_none() {
        return Ok(weighed);
    }
    if arguments.embedding.is_some() && arguments.agent.is_some() {
        let message =
            "--embedding is for a throw-away workspace; an installation has its own model";
        return Err(misuse(message));
    }
    // Only a case that names its passages tells rankings apart.
    let ranked = dataset.cases.iter().any(|case| !case.relevant.is_empty());
    if arguments.agent.is_some() && !ranked {
        return Ok(weighed);
    }
    for dense_weight in WEIGHTS {
        let mut asked = target(arguments, dense_weight);
        asked.weigh = arguments.agent.is_some().then_some(dense_weight);
        let opened = targets::open(&asked, dataset, run).await?;
        if arguments.agent.is_some() && !opened.embeds() {
            opened.close().await;
            return Ok(weighed);
        }
        let folder = arguments.out.join(format!("weight-{dense_weight}"));
        let options = arguments.limits.options();
        let report = evaluate(dataset, &*opened.target, &options, &folder, run.json).await;
        opened.close().await;
        let ndcg10 = report?.report.metric("ndcg@10").map_or(0.0, |interval| interval.value);
        weighed.push(Weighed { dense_weight, ndcg10 });
    }
    Ok(weighed)
}

/// The part that ranks best, the lowest of several.
fn best_of(weighed: &[Weighed]) -> Option<f64> {
    let best = weighed.iter().rev().max_by(|a, b| a.ndcg10.total_cmp(&b.ndcg10));
    best.map(|best| best.dense_weight)
}

async fn conclude(
    arguments: &CalibrateArgs,
    report: &Report,
    weighed: &[Weighed],
    opened: &targets::Opened,
    run: &Run,
) -> anyhow::Result<ExitCode> {
    if !report.is_sound() {
        print(&format!("{} of {} cases failed; nothing is set", report.errors, report.cases.len()));
        return Ok(ExitCode::from(UNSOUND));
    }
    write_all(report, &arguments.out, Lang::Es)?;
    let aim = arguments.max_risk.map_or(Aim::Answered(arguments.answered), Aim::Risk);
    let Some(found) = calibrate(report, aim) else {
        return Err(misuse(format!(
            "no threshold can be told: there must be {MIN_CASES} answerable cases, and one that keeps the risk so low"
        )));
    };
    if arguments.apply {
        opened.tune(found.threshold, best_of(weighed)).await?;
    }
    if run.json {
        print_json(&json!({
            "calibration": found,
            "denseWeights": weighed,
            "applied": arguments.apply,
            "page": arguments.out.join("report.html"),
        }))?;
    } else {
        tell(arguments, &found, weighed);
    }
    Ok(ExitCode::SUCCESS)
}

fn tell(arguments: &CalibrateArgs, found: &Calibration, weighed: &[Weighed]) {
    let mut curve = table(["threshold", "answered of all", "wrong of these"]);
    let step = found.curve.len().div_ceil(ROWS).max(1);
    for RiskPoint { threshold, coverage, risk } in found.curve.iter().step_by(step) {
        let cells = [*threshold, *coverage, *risk].map(|value| format!("{value:.3}"));
        curve.add_row(cells);
    }
    print(&curve.to_string());
    let (answerable, unanswerable) = found.cases;
    print(&format!("{answerable} answerable and {unanswerable} unanswerable cases"));
    if let (Some(threshold), Some(before)) = (found.in_force, found.before) {
        print(&format!("in force: {}", effect(threshold, before)));
    }
    print(&format!("found:    {}", effect(found.threshold, found.after)));
    for Weighed { dense_weight, ndcg10 } in weighed {
        print(&format!("vectors weigh {dense_weight}: nDCG@10 {ndcg10:.4}"));
    }
    if let Some(weight) = best_of(weighed).filter(|_| !arguments.apply) {
        print(&format!(
            "best: `denseWeight` {weight} with PUT /api/v2/datastores/{{id}}/tuning, or models.dense_weight for all"
        ));
    }
    print(&match &arguments.agent {
        Some(_) if arguments.apply => "set for the datastores of the agent".to_owned(),
        Some(_) => "nothing was changed; --apply sets it for the agent's datastores".to_owned(),
        None => "set it with PUT /api/v2/datastores/{id}/tuning".to_owned(),
    });
    print(&format!("the curve is in {}", arguments.out.join("report.html").display()));
}

fn effect(threshold: f64, effect: Effect) -> String {
    let risk = effect.risk.map_or_else(|| "–".to_owned(), |risk| format!("{risk:.3}"));
    format!(
        "threshold {threshold:.3} answers {:.3} of the answerable, abstains on {:.3} of the others, {risk} of the answers are wrong",
        effect.answered, effect.abstained
    )
}
