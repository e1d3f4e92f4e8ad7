//! Metrics with a judge: a model that reads the answer with its passages and the accepted answer, in the case's language.
//!
//! A judge is asked at temperature 0. What it finds nothing wrong with is believed; where it finds a fault it is asked twice
//! more, and the middle of the three verdicts counts. Every verdict is kept under the hash of what was judged, the version
//! of the prompts and the judge's name, so that nothing is paid for twice. A judge that declines, fails, or answers in no
//! form that can be read gives no verdict: the case is counted as an error of the judge and never as a bad answer.

mod ask;
mod cache;
mod verdict;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use futures::StreamExt;
use models::tokens::estimate as tokens;
use models::{Catalogue, ChatModel, Usage};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::EvalError;
use crate::dataset::{Dataset, Expect};
use crate::observation::Outcome;
use crate::report::{CaseReport, Report};
use crate::run::Progress;
use crate::target::Estimate;

use ask::{Asker, Question};
use verdict::Kind;

pub use cache::{KeptVerdicts, Verdicts};

/// The version of the prompts; another one judges everything anew.
pub const PROMPT_VERSION: u32 = 1;

/// Who judges, and how much of it.
#[derive(Debug, Clone)]
pub struct JudgeOptions {
    /// The model.
    pub model: Arc<dyn ChatModel>,
    /// Its name.
    pub name: String,
    /// What it costs.
    pub catalogue: Catalogue,
    /// Micro-dollars after which no case is begun; `None` for no limit.
    pub max_cost: Option<i64>,
    /// Where verdicts are kept.
    pub verdicts: Arc<dyn Verdicts>,
    /// Cases under way at once.
    pub concurrency: usize,
}

/// What judging came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Judging {
    /// Cases with something to judge.
    pub cases: usize,
    /// Calls of the model.
    pub calls: usize,
    /// Verdicts that were known already.
    pub cached: usize,
    /// Cases without a whole judgement because the judge failed.
    pub errors: usize,
    /// Those of them that the judge declined.
    pub refusals: usize,
    /// Cases that were not judged because the limit of what it may cost was reached.
    pub left: usize,
    /// Micro-dollars.
    pub cost: i64,
}

/// Judges the answers of a report, adds the values to its cases and makes its metrics anew. Errors: a cache that cannot be
/// read or written. What the judge does wrong is counted.
pub async fn judge(
    report: &mut Report,
    options: &JudgeOptions,
    progress: &(dyn Fn(Progress) + Send + Sync),
    cancel: &CancellationToken,
) -> Result<Judging, EvalError> {
    let spent = AtomicI64::new(0);
    let asker = Asker { options, spent: &spent };
    let open: Vec<(usize, Vec<Question>)> = report
        .cases
        .iter()
        .enumerate()
        .map(|(at, case)| (at, questions(case)))
        .filter(|(_, questions)| !questions.is_empty())
        .collect();
    let mut judging = Judging { cases: open.len(), ..Judging::default() };
    let mut judged = Vec::with_capacity(open.len());
    {
        let asking = futures::stream::iter(0..open.len())
            .take_while(|_| {
                let dear =
                    options.max_cost.is_some_and(|most| spent.load(Ordering::SeqCst) >= most);
                std::future::ready(!dear && !cancel.is_cancelled())
            })
            .map(|place| asker.case(open[place].0, &open[place].1))
            .buffer_unordered(options.concurrency.max(1));
        tokio::pin!(asking);
        while let Some(case) = asking.next().await {
            let case = case?;
            judging.errors += usize::from(case.failed);
            judging.refusals += usize::from(case.refused);
            judging.calls += case.calls;
            judging.cached += case.cached;
            judged.push(case);
            let cost = spent.load(Ordering::SeqCst);
            let (done, all, errors) = (judged.len(), open.len(), judging.errors);
            progress(Progress { done, all, errors, cost });
        }
    }
    judging.left = open.len() - judged.len();
    judging.cost = spent.load(Ordering::SeqCst);
    for case in judged {
        let scores = &mut report.cases[case.at].scores;
        scores.extend(case.scores.into_iter().map(|(name, value)| (name.to_owned(), value)));
    }
    // An answer that was withheld needs no judge: CRAG calls it missing.
    for case in &mut report.cases {
        let missing = case.outcome.is_some_and(|outcome| outcome != Outcome::Answered);
        if case.expect == Expect::Answer && has_reference(case) && missing {
            case.scores.insert("crag".to_owned(), 0.0);
        }
    }
    report.judge_errors = judging.errors + judging.left;
    report.cost = report.cost.saturating_add(judging.cost);
    report.summarise();
    Ok(judging)
}

fn has_reference(case: &CaseReport) -> bool {
    case.details.as_ref().is_some_and(|details| !details.answers.is_empty())
}

/// What is asked about a case.
fn questions(case: &CaseReport) -> Vec<Question> {
    let answered = case.outcome == Some(Outcome::Answered);
    let Some(details) = case.details.as_deref().filter(|_| answered) else { return Vec::new() };
    let Some(seen) = details.observation.as_ref().filter(|seen| !seen.answer.is_empty()) else {
        return Vec::new();
    };
    let mut kinds = Vec::new();
    let retrieved = seen.retrieved.as_deref().unwrap_or_default();
    if retrieved.iter().any(|found| !found.text.is_empty()) {
        kinds.push(Kind::Claims);
        if seen.citations.as_ref().is_some_and(|cited| !cited.is_empty()) {
            kinds.push(Kind::Citations);
        }
    }
    if !details.answers.is_empty() && case.expect == Expect::Answer {
        kinds.push(Kind::Recall);
        kinds.push(Kind::Grade);
    }
    kinds.into_iter().map(|kind| Question::of(kind, case, details, seen)).collect()
}

/// Tokens of the passages that an estimate assumes, and of a verdict.
const PASSAGES_TOKENS: i64 = 1_250;
const VERDICT_TOKENS: i64 = 200;
/// Tokens of a prompt's own words.
const PROMPT_TOKENS: i64 = 350;

/// What judging a dataset will take, nearly, if everything is answered and nothing is at fault.
pub fn estimate(dataset: &Dataset, name: &str, catalogue: &Catalogue) -> Estimate {
    let mut sum = Estimate::FREE;
    for case in &dataset.cases {
        if case.expect != Expect::Answer {
            continue;
        }
        let own = i64::try_from(tokens(&case.input)).unwrap_or(i64::MAX) + VERDICT_TOKENS;
        let with_passages = [PASSAGES_TOKENS, PASSAGES_TOKENS];
        let with_reference = if case.answers.is_empty() { &[][..] } else { &[0, 0] };
        for passages in with_passages.iter().chain(with_reference) {
            let usage = Usage {
                prompt_tokens: PROMPT_TOKENS + passages + own,
                completion_tokens: VERDICT_TOKENS,
                cached_tokens: 0,
            };
            sum = sum.plus(Estimate {
                prompt_tokens: usage.prompt_tokens,
                completion_tokens: usage.completion_tokens,
                cost: catalogue.cost(name, usage),
            });
        }
    }
    sum
}
