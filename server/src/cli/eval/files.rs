//! Commands that read and write files and ask nobody.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use evals::agreement::{agreement as compare_with_people, read_labels};
use evals::compare::{CompareOptions, Verdict, compare as compare_reports, comparison_table};
use evals::dataset::{read_beir, read_csv, read_folder, read_trec};
use evals::report::{self, Report};
use evals::stats::Interval;
use evals::{Dataset, ReadOptions};
use serde_json::json;

use super::options::{Language, write};
use super::{REGRESSED, UNSOUND, metric_value, misuse};
use crate::cli::{Run, print, print_json, table};

#[derive(Debug, Args)]
pub struct CompareArgs {
    /// The report before the change, or a baseline
    base: PathBuf,
    /// The report after it
    new: PathBuf,
    /// A loss that is none, in place of the metric's own, as in ndcg@10=0.02; may be repeated
    #[arg(long, value_name = "METRIC=LOSS", value_parser = metric_value)]
    tolerance: Vec<(String, f64)>,
}

/// Compares two reports.
pub fn compare(arguments: &CompareArgs, as_json: bool) -> anyhow::Result<ExitCode> {
    let (base, new) = (Report::read(&arguments.base)?, Report::read(&arguments.new)?);
    let options = CompareOptions { tolerances: arguments.tolerance.iter().cloned().collect() };
    let comparison = compare_reports(&base, &new, &options);
    if comparison.pairs == 0 {
        return Err(misuse("the two reports have no case in common"));
    }
    if as_json {
        print_json(&comparison)?;
    } else {
        print(comparison_table(&comparison).trim_end());
    }
    Ok(if !new.is_sound() || !base.is_sound() {
        ExitCode::from(UNSOUND)
    } else if comparison.verdict == Verdict::Regressed {
        ExitCode::from(REGRESSED)
    } else {
        ExitCode::SUCCESS
    })
}

#[derive(Debug, Args)]
pub struct AgreementArgs {
    /// A report with verdicts of a judge
    report: PathBuf,
    /// People's verdicts, one a line: {"id", "metric", "value"}
    #[arg(value_name = "LABELS.jsonl")]
    labels: PathBuf,
}

/// Holds a judge against people.
pub fn agreement(arguments: &AgreementArgs, as_json: bool) -> anyhow::Result<ExitCode> {
    let report = Report::read(&arguments.report)?;
    let found = compare_with_people(&report, &read_labels(&arguments.labels)?);
    if found.is_empty() {
        return Err(misuse("no label is of a case and a metric that the report has"));
    }
    if as_json {
        print_json(&found)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = table(["metric", "pairs", "agreement", "95 % interval", "kappa", "bias"]);
    for one in &found {
        let Interval { value, low, high, .. } = one.agreement;
        table.add_row([
            one.metric.clone(),
            one.count.to_string(),
            format!("{value:.3}"),
            format!("{low:.3} – {high:.3}"),
            one.kappa.map_or_else(|| "–".to_owned(), |kappa| format!("{kappa:.3}")),
            format!("{:+.3}", one.bias),
        ]);
    }
    print(&table.to_string());
    Ok(ExitCode::SUCCESS)
}

#[derive(Debug, Args)]
pub struct NewArgs {
    /// The file to make
    #[arg(value_name = "FILE.jsonl", default_value = "cases.jsonl")]
    file: PathBuf,
    /// The language of the examples
    #[arg(long, value_enum, default_value_t = Language::Es)]
    lang: Language,
}

/// Makes a file of example cases.
pub fn new(arguments: &NewArgs, as_json: bool) -> anyhow::Result<ExitCode> {
    let file = &arguments.file;
    if file.exists() {
        return Err(misuse(format!("{} is there already; name another file", file.display())));
    }
    let text = match arguments.lang {
        Language::Es => include_str!("cases.es.jsonl"),
        Language::En => include_str!("cases.en.jsonl"),
        Language::Pt => include_str!("cases.pt.jsonl"),
    };
    write(file, text)?;
    if as_json {
        print_json(&json!({ "file": file }))?;
    } else {
        let name = file.display();
        print(&format!(
            "wrote {name}; replace the examples, then: vocero eval run {name} --agent <id>"
        ));
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Debug, Args)]
pub struct ImportArgs {
    /// What is read
    #[arg(long, value_enum)]
    from: Format,
    /// The folder (beir, folder), the table (csv) or the judgements (trec)
    #[arg(value_name = "SOURCE")]
    source: PathBuf,
    /// The folder to write
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    /// The questions of TREC judgements: id, a tab, the question
    #[arg(long, value_name = "FILE")]
    queries: Option<PathBuf>,
    /// The style of the questions, as in queries.STYLE.jsonl
    #[arg(long)]
    style: Option<String>,
    /// The judgements of a BEIR folder, as in qrels/SPLIT.tsv [default: test]
    #[arg(long)]
    split: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Format {
    /// A BEIR folder
    Beir,
    /// corpus.jsonl, queries.jsonl, qrels.tsv, unanswerable.jsonl
    Folder,
    /// TREC judgements
    Trec,
    /// A table with the columns question and answer
    Csv,
}

/// Turns what others wrote into a dataset.
pub fn import(arguments: &ImportArgs, as_json: bool) -> anyhow::Result<ExitCode> {
    let options = ReadOptions { style: arguments.style.clone(), split: arguments.split.clone() };
    let source = &arguments.source;
    let dataset = match arguments.from {
        Format::Beir => read_beir(source, &options)?,
        Format::Folder => read_folder(source, &options)?,
        Format::Csv => read_csv(source)?,
        Format::Trec => {
            let queries = arguments.queries.as_ref();
            let queries =
                queries.ok_or_else(|| misuse("--from trec needs --queries, the questions"))?;
            read_trec(source, queries)?
        }
    };
    let folder = &arguments.folder;
    dataset.write(folder)?;
    // Read again: what is written must be what `run` takes.
    let dataset = Dataset::read(folder, &ReadOptions::default())?;
    let (cases, passages, version) = (dataset.cases.len(), dataset.corpus.len(), dataset.version());
    if as_json {
        let shown =
            json!({ "folder": folder, "cases": cases, "passages": passages, "version": version });
        print_json(&shown)?;
    } else {
        let folder = folder.display();
        print(&format!("{cases} cases and {passages} passages in {folder}, version {version}"));
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The report
    report: PathBuf,
    /// The form
    #[arg(long, value_enum, default_value_t = Form::Text)]
    form: Form,
    /// The language of the page
    #[arg(long, value_enum, default_value_t = Language::Es)]
    lang: Language,
    /// Where it is written [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// A table
    Text,
    /// For a pull request
    Markdown,
    /// One page for a browser
    Html,
    /// JUnit XML
    Junit,
    /// A TREC run file
    Trec,
    /// TREC judgements
    Qrels,
    /// What a comparison needs, without what was said
    Baseline,
}

/// Shows a report in another form.
pub fn report(arguments: &ReportArgs, run: &Run) -> anyhow::Result<ExitCode> {
    let report = Report::read(&arguments.report)?;
    let text = match arguments.form {
        Form::Text if run.json => serde_json::to_string_pretty(&report)?,
        Form::Text => report::table(&report),
        Form::Markdown => report::markdown(&report),
        Form::Html => report::page(&report, arguments.lang.lang())?,
        Form::Junit => report::junit(&report),
        Form::Trec => report::run_file(&report),
        Form::Qrels => report::qrels(&report),
        Form::Baseline => serde_json::to_string(&report.as_baseline())?,
    };
    match &arguments.out {
        Some(path) => write(path, &text)?,
        None => print(text.trim_end()),
    }
    Ok(ExitCode::SUCCESS)
}
