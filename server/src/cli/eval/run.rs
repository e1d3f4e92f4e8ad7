//! `vocero eval run`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use domain::{Ambient, Lang};
use evals::compare::{CompareOptions, Comparison, Verdict, compare, comparison_table};
use evals::judge::{self, JudgeOptions, KeptVerdicts};
use evals::report::{self, Report};
use evals::suite::{Floor, floors};
use evals::{Dataset, Ended, Progress, RunOptions, Target};
use indicatif::{ProgressBar, ProgressStyle};
use models::Catalogue;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::options::{DatasetArgs, Language, make_folder, write};
use super::targets::{self, TargetArgs};
use super::{REGRESSED, UNSOUND, metric_value, misuse};
use crate::cli::{Run, print, print_json};
use crate::providers;

#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    dataset: DatasetArgs,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    limits: LimitArgs,
    /// Folder for rows and reports; a run that was broken off there goes on [default: eval/DATASET]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Ask the cases of the last run in that folder again that failed
    #[arg(long)]
    retry_errors: bool,
    /// Have the answers judged by this model of the configured provider, too
    #[arg(long, value_name = "MODEL")]
    judge: Option<String>,
    /// Where verdicts of judges are kept, so that nothing is judged twice
    #[arg(long, value_name = "FILE", default_value = "eval/verdicts.jsonl")]
    judge_cache: PathBuf,
    /// Print what the run would take, and ask nothing
    #[arg(long)]
    dry_run: bool,
    /// The language of the page
    #[arg(long, value_enum, default_value_t = Language::Es)]
    lang: Language,
    /// Compare with this report
    #[arg(long, value_name = "REPORT")]
    compare: Option<PathBuf>,
    /// The least that a metric must reach, as in ndcg@10=0.9; may be repeated
    #[arg(long, value_name = "METRIC=VALUE", value_parser = metric_value)]
    floor: Vec<(String, f64)>,
}

/// How much at once, how fast, how dear.
#[derive(Debug, Clone, Args)]
pub struct LimitArgs {
    /// Cases under way at once
    #[arg(long, value_name = "COUNT", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub concurrency: u16,
    /// Cases begun a minute, at most
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    pub per_minute: Option<u32>,
    /// Dollars after which no case is begun
    #[arg(long, value_name = "DOLLARS")]
    pub max_cost: Option<f64>,
    /// Seconds that a case may take
    #[arg(long, value_name = "SECONDS", default_value_t = 180, value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout: u64,
}

impl LimitArgs {
    /// As the runner wants them.
    pub fn options(&self) -> RunOptions {
        #[expect(clippy::cast_possible_truncation, reason = "saturates far above any budget")]
        let micro = |dollars: f64| (dollars * 1e6).round() as i64;
        RunOptions {
            concurrency: usize::from(self.concurrency),
            per_minute: self.per_minute,
            max_cost: self.max_cost.map(micro),
            timeout: Duration::from_secs(self.timeout),
            ..RunOptions::default()
        }
    }
}

pub async fn run(arguments: &RunArgs, run: &Run) -> anyhow::Result<ExitCode> {
    let dataset = arguments.dataset.read()?;
    // What cannot be compared is told before anything is asked.
    let base = arguments.compare.as_deref().map(Report::read).transpose()?;
    let folder = arguments.folder(&dataset);
    let opened = targets::open(&arguments.target, &dataset, run).await?;
    let mut options = arguments.limits.options();
    options.rows = Some(folder.join("rows.jsonl"));
    options.retry_errors = arguments.retry_errors;
    let done = if arguments.dry_run {
        dry_run(arguments, &dataset, &*opened.target, &options, run)
    } else {
        whole(arguments, &dataset, &*opened.target, &options, base.as_ref(), run).await
    };
    opened.close().await;
    done
}

impl RunArgs {
    fn folder(&self, dataset: &Dataset) -> PathBuf {
        self.folder_of(&dataset.name)
    }

    fn folder_of(&self, dataset: &str) -> PathBuf {
        self.out.clone().unwrap_or_else(|| Path::new("eval").join(file_name(dataset)))
    }
}

/// Runs, has it judged, writes everything and concludes.
async fn whole(
    arguments: &RunArgs,
    dataset: &Dataset,
    target: &dyn Target,
    options: &RunOptions,
    base: Option<&Report>,
    run: &Run,
) -> anyhow::Result<ExitCode> {
    let folder = arguments.folder(dataset);
    let began = Instant::now();
    let Evaluated { mut report, asking } =
        evaluate(dataset, target, options, &folder, run.json).await?;
    let mut left = 0;
    if report.ended == Ended::Complete
        && let Some(name) = &arguments.judge
    {
        left = judge_answers(arguments, name, &mut report, run).await?;
    }
    // Without a report the next start goes on here.
    if report.ended == Ended::Complete && left == 0 {
        write_all(&report, &folder, arguments.lang.lang())?;
    }
    // With a judge its time is in here, too.
    let reporting = began.elapsed().saturating_sub(asking);
    conclude(arguments, &report, base, [asking, reporting], run.json)
}

/// A report, and how long the target was asked for it.
pub struct Evaluated {
    /// What came out.
    pub report: Report,
    /// From the first case to the last.
    pub asking: Duration,
}

/// Has the answers judged by a model of the configured provider, with what is left of the limit; how many were not.
async fn judge_answers(
    arguments: &RunArgs,
    name: &str,
    report: &mut Report,
    run: &Run,
) -> anyhow::Result<usize> {
    let settings = &run.loaded.settings.models;
    let model = providers::chat_model(settings, &Ambient::system())?;
    let model =
        model.ok_or_else(|| misuse("--judge needs a provider: set OPENAI_BASE_URL or a key"))?;
    let limits = arguments.limits.options();
    let cache = arguments.judge_cache.clone();
    if let Some(folder) = cache.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        make_folder(folder)?;
    }
    let options = JudgeOptions {
        model,
        name: name.to_owned(),
        catalogue: Catalogue::new(&settings.catalogue),
        max_cost: limits.max_cost.map(|most| (most - report.cost).max(0)),
        verdicts: Arc::new(KeptVerdicts::open(Some(&cache))?),
        concurrency: limits.concurrency,
    };
    let bar = bar(run.json);
    let progress = |progress: Progress| show(&bar, progress);
    let cancel = CancellationToken::new();
    let judging = judge::judge(report, &options, &progress, &cancel).await?;
    bar.finish_and_clear();
    if !run.json {
        print(&format!(
            "judged {} answers by {name}: {} calls, {} verdicts known already, {} errors ({} declined), {} left, ${:.4}",
            judging.cases,
            judging.calls,
            judging.cached,
            judging.errors,
            judging.refusals,
            judging.left,
            judging.cost as f64 / 1e6,
        ));
    }
    Ok(judging.left)
}

/// Runs, with its rows in the folder.
pub async fn evaluate(
    dataset: &Dataset,
    target: &dyn Target,
    options: &RunOptions,
    folder: &Path,
    quiet: bool,
) -> anyhow::Result<Evaluated> {
    make_folder(folder)?;
    let began = Instant::now();
    begin(folder, options)?;
    let bar = bar(quiet);
    let progress = |progress: Progress| show(&bar, progress);
    let cancel = CancellationToken::new();
    let outcome = {
        let running = evals::run(dataset, target, options, &progress, &cancel);
        tokio::pin!(running);
        tokio::select! {
            outcome = &mut running => outcome,
            _ = tokio::signal::ctrl_c() => {
                cancel.cancel();
                running.await
            }
        }
    };
    bar.finish_and_clear();
    let (outcome, asking) = (outcome?, began.elapsed());
    let report = Report::of(dataset, &outcome, Ambient::system().now().to_rfc3339());
    Ok(Evaluated { report, asking })
}

/// Begins anew where the last run in the folder came to its end; else it goes on.
fn begin(folder: &Path, options: &RunOptions) -> anyhow::Result<()> {
    let report = folder.join("report.json");
    if !report.exists() {
        return Ok(());
    }
    std::fs::remove_file(&report)?;
    if let Some(rows) = options.rows.as_ref().filter(|rows| rows.exists() && !options.retry_errors)
    {
        std::fs::remove_file(rows)?;
    }
    Ok(())
}

fn show(bar: &ProgressBar, progress: Progress) {
    bar.set_length(progress.all as u64);
    bar.set_position(progress.done as u64);
    let mut message = String::new();
    if progress.errors > 0 {
        message.push_str(&format!("{} failed ", progress.errors));
    }
    if progress.cost > 0 {
        message.push_str(&format!("${:.4}", progress.cost as f64 / 1e6));
    }
    bar.set_message(message);
}

fn bar(quiet: bool) -> ProgressBar {
    if quiet {
        return ProgressBar::hidden();
    }
    let style = "{bar:30} {pos}/{len} {per_sec} ETA {eta} {msg}";
    let style =
        ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style)
}

/// Every form of a report.
pub fn write_all(report: &Report, folder: &Path, lang: Lang) -> anyhow::Result<()> {
    write(&folder.join("report.md"), &report::markdown(report))?;
    write(&folder.join("report.html"), &report::page(report, lang)?)?;
    write(&folder.join("junit.xml"), &report::junit(report))?;
    let run_file = report::run_file(report);
    if !run_file.is_empty() {
        write(&folder.join("run.trec"), &run_file)?;
        write(&folder.join("qrels.trec"), &report::qrels(report))?;
    }
    // Last: a folder with a report holds a run that came to its end.
    Ok(report.write(&folder.join("report.json"))?)
}

fn dry_run(
    arguments: &RunArgs,
    dataset: &Dataset,
    target: &dyn Target,
    options: &RunOptions,
    run: &Run,
) -> anyhow::Result<ExitCode> {
    let as_json = run.json;
    let (cases, mut estimate) = evals::estimate(dataset, target, options)?;
    if let Some(name) = &arguments.judge {
        let catalogue = Catalogue::new(&run.loaded.settings.models.catalogue);
        estimate = estimate.plus(judge::estimate(dataset, name, &catalogue));
    }
    let dollars = estimate.cost.map(|cost| cost as f64 / 1e6);
    if as_json {
        print_json(&json!({
            "cases": cases,
            "promptTokens": estimate.prompt_tokens,
            "completionTokens": estimate.completion_tokens,
            "costUsd": dollars,
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let cost = dollars.map_or_else(
        || "the model has no price here".to_owned(),
        |dollars| format!("about ${dollars:.4}"),
    );
    print(&format!(
        "{cases} cases, about {} tokens of prompts and {} of answers; {cost}",
        estimate.prompt_tokens, estimate.completion_tokens
    ));
    Ok(ExitCode::SUCCESS)
}

fn conclude(
    arguments: &RunArgs,
    report: &Report,
    base: Option<&Report>,
    [asking, reporting]: [Duration; 2],
    as_json: bool,
) -> anyhow::Result<ExitCode> {
    let folder = arguments.folder_of(&report.dataset.name);
    let comparison = base.map(|base| compare(base, report, &CompareOptions::default()));
    let floors = floors(report, &arguments.floor.iter().cloned().collect());
    if as_json {
        print_json(&json!({
            "dataset": report.dataset,
            "target": report.target,
            "configHash": report.config_hash,
            "ended": report.ended,
            "cases": report.cases.len(),
            "errors": report.errors,
            "metrics": report.metrics,
            "floors": floors,
            "comparison": comparison,
            "folder": folder,
            "seconds": { "asking": asking.as_secs_f64(), "reporting": reporting.as_secs_f64() },
        }))?;
    } else {
        print(report::table(report).trim_end());
        for floor in floors.iter().filter(|floor| !floor.reached) {
            print(&missed(floor));
        }
        if let Some(comparison) = &comparison {
            print(comparison_table(comparison).trim_end());
        }
        print(&format!("written to {}", folder.display()));
    }
    Ok(exit_code(report, &floors, comparison.as_ref()))
}

/// A floor in words.
pub fn missed(floor: &Floor) -> String {
    let value = floor.value.map_or_else(|| "no value".to_owned(), |value| format!("{value:.4}"));
    format!("  FLOOR MISSED: {} {value}, floor {}", floor.metric, floor.floor)
}

/// What the run comes to.
pub fn exit_code(report: &Report, floors: &[Floor], comparison: Option<&Comparison>) -> ExitCode {
    let regressed = comparison.is_some_and(|found| found.verdict == Verdict::Regressed);
    if !report.is_sound() {
        ExitCode::from(UNSOUND)
    } else if regressed || floors.iter().any(|floor| !floor.reached) {
        ExitCode::from(REGRESSED)
    } else {
        ExitCode::SUCCESS
    }
}

/// A name that a file can have.
pub fn file_name(name: &str) -> String {
    let allowed =
        |c: char| if c.is_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' };
    name.chars().map(allowed).collect()
}
