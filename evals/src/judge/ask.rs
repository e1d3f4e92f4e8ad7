//! Asking a judge.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, Ordering};

use domain::Lang;
use futures::StreamExt;
use models::builtin::sentences;
use models::lexical::detect;
use models::{AnswerFormat, ChatEvent, ChatMessage, ChatRequest, FinishReason, ModelError};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::verdict::{Kind, Values, finds_fault, majority, read};
use super::{JudgeOptions, PROMPT_VERSION};
use crate::EvalError;
use crate::observation::{Found, Observation};
use crate::refusal;
use crate::report::{CaseReport, Details};

/// Verdicts where the first finds a fault.
const VOTES: u8 = 3;
/// Passages that a judge sees beside the cited ones: as many as agents answer from.
const PASSAGES: usize = 5;
/// Tokens of a verdict, at most.
const MOST_TOKENS: u32 = 2_000;

static PROMPTS: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("prompts.json")).expect("the prompts are part of the program")
});

/// What is asked about a case.
#[derive(Debug)]
pub(super) struct Question {
    kind: Kind,
    system: String,
    user: String,
}

impl Question {
    pub(super) fn of(kind: Kind, case: &CaseReport, details: &Details, seen: &Observation) -> Self {
        let told = case.lang.as_deref().and_then(|lang| lang.parse().ok());
        let lang: Lang = told.or_else(|| detect(&case.input)).unwrap_or_default();
        let prompts = match lang {
            Lang::En => &PROMPTS["en"],
            Lang::Pt => &PROMPTS["pt"],
            Lang::Es | Lang::Other => &PROMPTS["es"],
        };
        let text = |name: &str| prompts[name].as_str().unwrap_or_default();
        let sources = [
            ("{question}", case.input.clone()),
            ("{answer}", seen.answer.clone()),
            ("{reference}", details.answers.join("\n")),
            ("{passages}", passages(seen)),
            ("{sentences}", numbered(&seen.answer)),
        ];
        Self { kind, system: text("system").to_owned(), user: filled(text(kind.name()), &sources) }
    }

    fn request(&self, name: &str, vote: u8) -> ChatRequest {
        ChatRequest {
            model: name.to_owned(),
            messages: vec![
                ChatMessage::system(self.system.as_str()),
                ChatMessage::user(self.user.as_str()),
            ],
            temperature: Some(0.0),
            max_tokens: Some(MOST_TOKENS),
            // Where a provider heeds it the second and third verdict are not the first once more.
            seed: Some(i64::from(vote)),
            format: Some(AnswerFormat::JsonObject),
            ..ChatRequest::default()
        }
    }

    /// Everything that could change a verdict.
    fn key(&self, name: &str, vote: u8) -> String {
        let mut hash = Sha256::new();
        let version = PROMPT_VERSION.to_string();
        for part in [self.kind.name(), &version, name, &self.system, &self.user] {
            hash.update(part.as_bytes());
            hash.update(b"\0");
        }
        hash.update([vote]);
        hex::encode(hash.finalize())
    }
}

/// Puts texts into a prompt. What is put in is not looked at again, and cannot end the fence around it.
fn filled(prompt: &str, sources: &[(&str, String)]) -> String {
    let mut filled = String::with_capacity(prompt.len());
    let mut rest = prompt;
    loop {
        let next = sources.iter().filter_map(|(name, text)| Some((rest.find(name)?, name, text)));
        let Some((at, name, text)) = next.min_by_key(|(at, _, _)| *at) else { break };
        filled.push_str(&rest[..at]);
        filled.push_str(&text.replace("<<<", "‹‹‹").replace(">>>", "›››"));
        rest = &rest[at + name.len()..];
    }
    filled.push_str(rest);
    filled
}

/// The passages under the numbers that the answer cites them by; others without a number.
fn passages(seen: &Observation) -> String {
    let cited = seen.citations.as_deref().unwrap_or_default();
    let marker = |found: &Found| cited.iter().find(|one| one.id == found.id).map(|one| one.marker);
    let mut text = String::new();
    let retrieved = seen.retrieved.as_deref().unwrap_or_default();
    for (rank, found) in retrieved.iter().enumerate() {
        let number = marker(found);
        if number.is_none() && rank >= PASSAGES {
            continue;
        }
        let number = number.map_or_else(|| "[–]".to_owned(), |number| format!("[{number}]"));
        text.push_str(&format!("{number} {}\n{}\n\n", found.title, found.text));
    }
    text.truncate(text.trim_end().len());
    text
}

fn numbered(answer: &str) -> String {
    let numbered = sentences(answer).into_iter().enumerate();
    numbered.map(|(at, one)| format!("{}. {}", at + 1, one.text)).collect::<Vec<_>>().join("\n")
}

/// What became of a case.
#[derive(Debug, Default)]
pub(super) struct JudgedCase {
    pub(super) at: usize,
    pub(super) scores: Values,
    pub(super) failed: bool,
    pub(super) refused: bool,
    pub(super) calls: usize,
    pub(super) cached: usize,
}

/// Why there is no verdict.
enum NoVerdict {
    Refused,
    Failed,
}

pub(super) struct Asker<'a> {
    pub(super) options: &'a JudgeOptions,
    pub(super) spent: &'a AtomicI64,
}

impl Asker<'_> {
    pub(super) async fn case(
        &self,
        at: usize,
        questions: &[Question],
    ) -> Result<JudgedCase, EvalError> {
        let mut case = JudgedCase { at, ..JudgedCase::default() };
        for question in questions {
            let mut verdicts = Vec::new();
            for vote in 0..VOTES {
                match self.vote(question, vote, &mut case).await? {
                    Ok(values) => verdicts.push(values),
                    Err(why) => {
                        case.failed = true;
                        case.refused |= matches!(why, NoVerdict::Refused);
                    }
                }
                // Without a first verdict there is nothing to make sure of.
                if verdicts.first().is_none_or(|first| !finds_fault(first)) {
                    break;
                }
            }
            if !verdicts.is_empty() {
                case.scores.extend(majority(&verdicts));
            }
        }
        Ok(case)
    }

    async fn vote(
        &self,
        question: &Question,
        vote: u8,
        case: &mut JudgedCase,
    ) -> Result<Result<Values, NoVerdict>, EvalError> {
        let key = question.key(&self.options.name, vote);
        let known = self.options.verdicts.get(&key).await?;
        if let Some(values) = known.and_then(|reply| read(question.kind, &reply)) {
            case.cached += 1;
            return Ok(Ok(values));
        }
        case.calls += 1;
        let reply = match self.reply(question, vote).await {
            Ok(Some(reply)) => reply,
            Ok(None) => return Ok(Err(NoVerdict::Refused)),
            Err(error) => {
                tracing::warn!(%error, "a judge gave no verdict");
                return Ok(Err(NoVerdict::Failed));
            }
        };
        match read(question.kind, &reply) {
            Some(values) => {
                self.options.verdicts.keep(&key, &reply).await?;
                Ok(Ok(values))
            }
            None if refusal::declines(&reply) => Ok(Err(NoVerdict::Refused)),
            None => Ok(Err(NoVerdict::Failed)),
        }
    }

    /// The judge's text; `None` when its provider withheld it.
    async fn reply(&self, question: &Question, vote: u8) -> Result<Option<String>, ModelError> {
        let request = question.request(&self.options.name, vote);
        let mut stream = self.options.model.chat(request).await?;
        let (mut text, mut withheld) = (String::new(), false);
        while let Some(event) = stream.next().await {
            match event? {
                ChatEvent::Token(piece) => text.push_str(&piece),
                ChatEvent::ToolCall { .. } => {}
                ChatEvent::Finished { reason, usage } => {
                    withheld = reason == FinishReason::ContentFilter;
                    let cost = usage
                        .and_then(|usage| self.options.catalogue.cost(&self.options.name, usage));
                    self.spent.fetch_add(cost.unwrap_or_default(), Ordering::SeqCst);
                }
            }
        }
        Ok((!withheld).then_some(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_judged_stays_within_its_fence() {
        let sources =
            [("{answer}", "x>>> {question} <<<y".to_owned()), ("{question}", "q".to_owned())];
        let text = filled("A <<<{answer}>>> Q <<<{question}>>>", &sources);
        assert_eq!(text, "A <<<x››› {question} ‹‹‹y>>> Q <<<q>>>");
    }

    #[test]
    fn every_prompt_is_there_in_three_languages() {
        for lang in ["es", "en", "pt"] {
            for name in ["system", "claims", "recall", "citations", "grade"] {
                assert!(PROMPTS[lang][name].as_str().is_some_and(|text| text.contains("JSON")));
            }
        }
    }
}
