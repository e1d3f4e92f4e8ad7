//! `vocero eval`: whether the answers are good, and whether a change made them worse.
//!
//! Exit codes: 0 fine, 1 a regression or a floor that is missed, 2 bad input, 3 a run that says nothing: more than 2 % of
//! the calls failed, or it did not end.

mod calibrate;
mod files;
mod options;
mod run;
mod suite;
mod targets;

use std::process::ExitCode;

use clap::Subcommand;
use evals::EvalError;

use crate::cli::Run;

/// A regression or a floor that is missed.
const REGRESSED: u8 = 1;
/// Bad input.
const BAD_INPUT: u8 = 2;
/// The run says nothing.
const UNSOUND: u8 = 3;

#[derive(Debug, Subcommand)]
pub enum EvalCommand {
    /// Put the cases of a dataset to a target and report on it
    Run(Box<run::RunArgs>),
    /// Compare two reports; exit code 1 when the second is worse
    Compare(files::CompareArgs),
    /// Begin a dataset: a file of cases to fill in
    New(files::NewArgs),
    /// Turn a BEIR folder, TREC judgements, a CSV table or a folder of judged questions into a dataset
    Import(files::ImportArgs),
    /// Print a report, or write it as Markdown, JUnit XML or a TREC run
    Report(files::ReportArgs),
    /// Tell how far a judge's verdicts agree with people's
    JudgeAgreement(files::AgreementArgs),
    /// Find the evidence threshold that a dataset speaks for, and show the curve that justifies it
    Calibrate(Box<calibrate::CalibrateArgs>),
    /// Run every set of a file, hold each against its floors and its baseline
    Suite(suite::SuiteArgs),
}

pub async fn run(command: EvalCommand, run: &Run) -> anyhow::Result<ExitCode> {
    let done = match command {
        EvalCommand::Run(arguments) => run::run(&arguments, run).await,
        EvalCommand::Compare(arguments) => files::compare(&arguments, run.json),
        EvalCommand::New(arguments) => files::new(&arguments, run.json),
        EvalCommand::Import(arguments) => files::import(&arguments, run.json),
        EvalCommand::Report(arguments) => files::report(&arguments, run),
        EvalCommand::JudgeAgreement(arguments) => files::agreement(&arguments, run.json),
        EvalCommand::Calibrate(arguments) => calibrate::run(&arguments, run).await,
        EvalCommand::Suite(arguments) => suite::run(&arguments, run).await,
    };
    done.or_else(|error| {
        crate::cli::report(&error, run.json);
        let is_input = error.chain().any(|cause| {
            cause.is::<Misuse>()
                || cause.downcast_ref::<EvalError>().is_some_and(EvalError::is_input)
        });
        Ok(ExitCode::from(if is_input { BAD_INPUT } else { UNSOUND }))
    })
}

/// Arguments that do not go together.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Misuse(pub String);

/// An error for arguments that do not go together.
fn misuse(message: impl Into<String>) -> anyhow::Error {
    Misuse(message.into()).into()
}

/// Reads `metric=value`.
fn metric_value(text: &str) -> Result<(String, f64), String> {
    let wrong = || "write METRIC=VALUE, as in ndcg@10=0.9".to_owned();
    let (name, value) = text.split_once('=').ok_or_else(wrong)?;
    let value = value.parse().map_err(|_| wrong())?;
    match evals::metrics::find(name) {
        Some(_) => Ok((name.to_owned(), value)),
        None => Err(format!("there is no metric {name}; docs/EVALS.md lists them")),
    }
}
