//! `vocero eval suite`: what `make eval` runs.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use domain::Lang;
use evals::compare::{CompareOptions, Comparison, Verdict, compare, comparison_table};
use evals::report::Report;
use evals::suite::{Floor, Suite, SuiteSet, floors};
use evals::{Ended, RunOptions};
use serde_json::json;

use super::options::make_folder;
use super::run::{evaluate, file_name, missed, write_all};
use super::targets::{self, Kind, TargetArgs};
use super::{REGRESSED, UNSOUND, misuse};
use crate::cli::datastores::Mode;
use crate::cli::{Run, print, print_json};

#[derive(Debug, Args)]
pub struct SuiteArgs {
    /// The list of sets with their floors
    #[arg(default_value = "evals/suite.toml")]
    file: PathBuf,
    /// Folder of the sets that are not part of the repository
    #[arg(long, value_name = "FOLDER", env = "VOCERO_EVAL_DATA")]
    external: Option<PathBuf>,
    /// Folder for rows and reports
    #[arg(long, value_name = "FOLDER", default_value = "target/eval")]
    out: PathBuf,
    /// Folder of the baselines, `<set>.json`
    #[arg(long, value_name = "FOLDER", default_value = "evals/baselines")]
    baselines: PathBuf,
    /// Run only these sets
    #[arg(long, value_name = "SET")]
    only: Vec<String>,
    /// Replace the baselines by what comes out
    #[arg(long)]
    write_baselines: bool,
}

/// What became of a set.
struct Held {
    report: Report,
    floors: Vec<Floor>,
    comparison: Option<Comparison>,
}

pub async fn run(arguments: &SuiteArgs, run: &Run) -> anyhow::Result<ExitCode> {
    let suite = Suite::read(&arguments.file)?;
    let wanted = |set: &&SuiteSet| arguments.only.is_empty() || arguments.only.contains(&set.name);
    let sets: Vec<&SuiteSet> = suite.sets.iter().filter(wanted).collect();
    if sets.is_empty() {
        return Err(misuse("there is no such set; see the names in the file"));
    }
    let mut held = Vec::new();
    for set in sets {
        match hold(arguments, &suite, set, run).await? {
            Some(result) => held.push(result),
            None if !run.json => {
                print(&format!(
                    "{}: NOT RUN, set VOCERO_EVAL_DATA to the folder that holds it",
                    set.name
                ));
            }
            None => {}
        }
    }
    if run.json {
        let shown = |held: &Held| {
            json!({
                "set": held.report.dataset,
                "metrics": held.report.metrics,
                "floors": held.floors,
                "comparison": held.comparison,
            })
        };
        print_json(&held.iter().map(shown).collect::<Vec<_>>())?;
    } else {
        let table = quality_table(&held);
        print(&table);
        super::options::write(&arguments.out.join("table.md"), &format!("{table}\n"))?;
    }
    Ok(exit_code(&held))
}

async fn hold(
    arguments: &SuiteArgs,
    suite: &Suite,
    set: &SuiteSet,
    run: &Run,
) -> anyhow::Result<Option<Held>> {
    let Some(dataset) = suite.dataset(set, arguments.external.as_deref())? else {
        return Ok(None);
    };
    let folder = arguments.out.join(file_name(&set.name));
    let target = TargetArgs {
        target: Kind::Agent,
        agent: None,
        builtin: true,
        model: None,
        prompt: None,
        min_evidence: None,
        mode: Mode::Hybrid,
        embedding: None,
        dense_weight: 0.2,
        weigh: None,
        no_stemming: false,
        depth: 20,
    };
    let opened = targets::open(&target, &dataset, run).await?;
    let options = RunOptions { rows: Some(folder.join("rows.jsonl")), ..RunOptions::default() };
    let report = evaluate(&dataset, &*opened.target, &options, &folder, run.json).await;
    opened.close().await;
    let report = report?.report;
    if report.ended == Ended::Complete {
        write_all(&report, &folder, Lang::Es)?;
    }
    let path = arguments.baselines.join(format!("{}.json", file_name(&set.name)));
    let comparison = if arguments.write_baselines {
        make_folder(&arguments.baselines)?;
        report.as_baseline().write(&path)?;
        None
    } else if path.exists() {
        let base = Report::read(&path)?;
        Some(compare(&base, &report, &CompareOptions::default()))
    } else {
        None
    };
    let held = Held { floors: floors(&report, &set.floors), report, comparison };
    if !run.json {
        tell(&set.name, &held, &path);
    }
    Ok(Some(held))
}

fn tell(name: &str, held: &Held, baseline: &Path) {
    let verdict = match &held.comparison {
        Some(comparison) => comparison.verdict.words(),
        None => "no baseline",
    };
    let reached = held.floors.iter().filter(|floor| floor.reached).count();
    let (floors, cases) = (held.floors.len(), held.report.cases.len());
    print(&format!("{name}: {cases} cases, {reached} of {floors} floors reached, {verdict}"));
    for floor in held.floors.iter().filter(|floor| !floor.reached) {
        print(&missed(floor));
    }
    if let Some(comparison) =
        held.comparison.as_ref().filter(|found| found.verdict == Verdict::Regressed)
    {
        print(&format!("  against {}:", baseline.display()));
        print(comparison_table(comparison).trim_end());
    }
}

fn exit_code(held: &[Held]) -> ExitCode {
    let regressed = |held: &Held| {
        held.floors.iter().any(|floor| !floor.reached)
            || held.comparison.as_ref().is_some_and(|found| found.verdict == Verdict::Regressed)
    };
    if held.iter().any(|held| !held.report.is_sound()) {
        ExitCode::from(UNSOUND)
    } else if held.iter().any(regressed) {
        ExitCode::from(REGRESSED)
    } else {
        ExitCode::SUCCESS
    }
}

/// The columns of the table of docs/QUALITY.md.
const COLUMNS: [&str; 9] = [
    "ndcg@10",
    "recall@5",
    "mrr@10",
    "extract_containment",
    "answered",
    "containment",
    "false_answer",
    "abstained@88",
    "auroc",
];

/// The table of docs/QUALITY.md: value, half the width of the interval, floor.
fn quality_table(held: &[Held]) -> String {
    let mut text =
        format!("| set | cases | {} |\n|---|---:|{}", COLUMNS.join(" | "), "---|".repeat(9));
    for held in held {
        let cells = COLUMNS.map(|name| {
            let Some(interval) = held.report.metric(name) else { return "–".to_owned() };
            let digits = |value: f64| format!("{value:.3}").trim_start_matches('0').to_owned();
            let mut cell = digits(interval.value);
            cell.push_str(&format!(" ({}–{})", digits(interval.low), digits(interval.high)));
            let floor = held.floors.iter().find(|floor| floor.metric == name);
            if let Some(floor) = floor {
                let sign = if floor.reached { "≥" } else { "**under**" };
                cell.push_str(&format!(" {sign} {}", digits(floor.floor)));
            }
            cell
        });
        let (name, count) = (&held.report.dataset.name, held.report.cases.len());
        text.push_str(&format!("\n| {name} | {count} | {} |", cells.join(" | ")));
    }
    text
}
