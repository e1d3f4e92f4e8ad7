//! The metrics of one case.

use std::collections::BTreeMap;

use domain::Lang;
use models::lexical::detect;

use super::{
    best_token_f1, citation_precision, citation_recall, contains_answer, contains_forbidden,
    context_precision, gains, hit, is_in_language, ndcg, quotes_verbatim, recall, reciprocal_rank,
    sentence_support, unsupported, valid_citations,
};
use crate::dataset::{Case, Expect, Form, Relevant};
use crate::observation::{Cited, Found, Observation, Outcome};

/// Passages that metrics of a ranking look at, at most.
const DEPTH: usize = 20;
/// Passages that context precision looks at.
const CONTEXT: usize = 10;
/// Micro-dollars of a dollar.
const MICRO: f64 = 1e6;

/// What a case scored.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Scored {
    /// Values by metric; a metric that does not apply is absent.
    pub values: BTreeMap<String, f64>,
    /// Whether what was said, or would have been said whatever the evidence, is right; `None` where that cannot be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub right: Option<bool>,
    /// The numbers and codes of the answer that stand in nothing it cites.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unsupported: Vec<String>,
}

impl Scored {
    fn set(&mut self, name: &str, value: impl Into<Option<f64>>) {
        if let Some(value) = value.into() {
            self.values.insert(name.to_owned(), value);
        }
    }

    fn set_flag(&mut self, name: &str, flag: impl Into<Option<bool>>) {
        self.set(name, flag.into().map(|flag| f64::from(u8::from(flag))));
    }
}

/// Scores what a target did with a case. Metrics of an answer's content have no value where there is no answer;
/// whether there should have been one is `answered` and `containment`.
pub fn score(case: &Case, observation: &Observation) -> Scored {
    let mut scored = Scored::default();
    ranked(case, observation, &mut scored);
    expected(case, observation, &mut scored);
    said(case, observation, &mut scored);
    scored.set("first_token_ms", observation.first_token_ms);
    scored.set("total_ms", observation.total_ms);
    scored.set("prompt_tokens", observation.prompt_tokens.map(|tokens| tokens as f64));
    scored.set("completion_tokens", observation.completion_tokens.map(|tokens| tokens as f64));
    scored.set("cost_usd", observation.cost.map(|cost| cost as f64 / MICRO));
    scored
}

/// Scores a case that the target failed on: as the worst in everything that is expected of it, so that a failure never
/// makes a mean better.
pub fn score_failure(case: &Case) -> Scored {
    let mut scored = Scored::default();
    match case.expect {
        Expect::Answer => {
            scored.set("answered", 0.0);
            if !case.answers.is_empty() {
                scored.set("token_f1", 0.0);
                if case.form == Form::Short {
                    scored.set("containment", 0.0);
                }
            }
        }
        Expect::Abstain => false_answer(case, true, &mut scored),
        Expect::Clarify => scored.set("clarified", 0.0),
        Expect::Handoff => scored.set("handed_off", 0.0),
    }
    if !case.relevant.is_empty() {
        set_ranking(&[], &case.relevant, &mut scored);
    }
    scored
}

fn ranked(case: &Case, observation: &Observation, scored: &mut Scored) {
    if let Some(retrieved) = &observation.retrieved
        && !case.relevant.is_empty()
    {
        set_ranking(retrieved, &case.relevant, scored);
    }
}

fn set_ranking(retrieved: &[Found], relevant: &[Relevant], scored: &mut Scored) {
    let gains = gains(retrieved, relevant, DEPTH);
    scored.set("ndcg@10", ndcg(&gains, 10));
    for k in [1, 5, 10, 20] {
        scored.set(&format!("recall@{k}"), recall(&gains, k));
    }
    scored.set("mrr@10", reciprocal_rank(&gains, 10));
    for k in [1, 5, 10] {
        scored.set(&format!("hit@{k}"), hit(&gains, k));
    }
    scored.set("context_precision", context_precision(&gains, CONTEXT));
}

/// Whether what happened is what should have.
fn expected(case: &Case, observation: &Observation, scored: &mut Scored) {
    let outcome = observation.outcome;
    scored.set_flag("refused", outcome == Outcome::Refused);
    match case.expect {
        Expect::Answer => {
            let answered = outcome == Outcome::Answered;
            scored.set_flag("answered", answered);
            let short = case.form == Form::Short && !case.answers.is_empty();
            if short {
                if let Some(extract) = &observation.extract {
                    let contained = contains_answer(extract, &case.answers);
                    scored.set_flag("extract_containment", contained);
                    scored.right = Some(contained);
                }
                let contained = answered && contains_answer(&observation.answer, &case.answers);
                // What only searches says nothing.
                if !says_nothing(observation) {
                    scored.set_flag("containment", contained);
                }
                if answered && observation.extract.is_none() {
                    scored.right = Some(contained);
                }
            }
            if !case.answers.is_empty() && !says_nothing(observation) {
                let said = if answered { observation.answer.as_str() } else { "" };
                scored.set("token_f1", best_token_f1(said, &case.answers));
            }
        }
        Expect::Abstain => {
            false_answer(case, outcome == Outcome::Answered, scored);
            scored.right = Some(false);
        }
        Expect::Clarify => scored.set_flag("clarified", outcome == Outcome::Clarified),
        Expect::Handoff => scored.set_flag("handed_off", outcome == Outcome::HandedOff),
    }
}

/// Whether the target is one that has nothing to say: it searches, and judges the evidence.
fn says_nothing(observation: &Observation) -> bool {
    observation.answer.is_empty()
        && matches!(observation.outcome, Outcome::Answered | Outcome::Abstained)
}

fn false_answer(case: &Case, answered: bool, scored: &mut Scored) {
    scored.set_flag("false_answer", answered);
    if let Some(kind) = &case.kind {
        scored.set_flag(&format!("false_answer/{kind}"), answered);
    }
}

/// What is said, whatever should have been.
fn said(case: &Case, observation: &Observation, scored: &mut Scored) {
    let answer = observation.answer.as_str();
    if answer.trim().is_empty() {
        return;
    }
    if let Some(lang) = &case.lang {
        scored.set_flag("language", is_in_language(answer, lang));
    }
    if !case.must_not.is_empty() {
        scored.set_flag("forbidden", contains_forbidden(answer, &case.must_not));
    }
    if observation.outcome != Outcome::Answered {
        return;
    }
    if let Some(cited) = &observation.citations {
        cites(case, observation, cited, scored);
    }
}

fn cites(case: &Case, observation: &Observation, cited: &[Cited], scored: &mut Scored) {
    let answer = observation.answer.as_str();
    scored.set_flag("cites", !cited.is_empty());
    let retrieved = observation.retrieved.as_deref().unwrap_or_default();
    let removed = observation.removed_markers.len();
    scored.set("citations_valid", valid_citations(answer, cited, retrieved, removed));
    if !case.relevant.is_empty() {
        scored.set("citation_precision", citation_precision(cited, retrieved, &case.relevant));
        scored.set("citation_recall", citation_recall(cited, retrieved, &case.relevant));
    }
    scored.set("quotes_verbatim", quotes_verbatim(cited, retrieved));
    let texts: Vec<&str> = cited
        .iter()
        .filter_map(|one| retrieved.iter().find(|found| found.id == one.id))
        .map(|found| if found.text.is_empty() { "" } else { found.text.as_str() })
        .collect();
    if texts.iter().any(|text| text.is_empty()) {
        // Nothing can be said about what is not shown.
        return;
    }
    let mut titled = texts.clone();
    titled.extend(
        retrieved
            .iter()
            .filter(|found| cited.iter().any(|one| one.id == found.id))
            .map(|found| found.title.as_str()),
    );
    let mut customer: Vec<&str> = case.history.iter().map(|said| said.text.as_str()).collect();
    customer.push(&case.input);
    scored.unsupported = unsupported(answer, &titled, &customer);
    scored.set_flag("unsupported", !scored.unsupported.is_empty());
    let lang = case.lang.as_deref().and_then(|lang| lang.parse().ok());
    let lang: Lang = lang.or_else(|| detect(answer)).unwrap_or_default();
    scored.set("sentence_support", sentence_support(answer, &titled, lang));
}
