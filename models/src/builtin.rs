//! The extractive answerer: sentences of the passages, verbatim, each with its citation. Needs no key and
//! no service, and says what it is.

use domain::Lang;

/// The name under which the built-in answerer signs its answers.
pub const MODEL_NAME: &str = "builtin-extractive";

/// A passage that an answer may be taken from.
#[derive(Debug, Clone)]
pub struct Passage<'a> {
    /// Its text.
    pub text: &'a str,
    /// Heading path and title.
    pub heading: &'a str,
    /// The language it is in.
    pub lang: Lang,
}

/// A sentence taken from a passage.
#[derive(Debug, Clone, PartialEq)]
pub struct Extract {
    /// Which passage, from 0.
    pub passage: usize,
    /// Verbatim.
    pub sentence: String,
    /// Its score, for the trace.
    pub score: f64,
}

/// How much each analysed term of the question weighs: its inverse document frequency in the datastores asked.
pub trait TermWeights {
    /// Of a stemmed word (hash of `lexical`).
    fn word(&self, term: u32) -> f64;
    /// Of a character 4-gram (hash of `lexical`).
    fn gram(&self, term: u32) -> f64;
}

/// At most two sentences of the first three passages that answer `question`, best first; empty when no
/// sentence shares anything with it. Formula and constants: `docs/QUALITY.md`.
pub fn extract(
    question: &str,
    lang: Lang,
    passages: &[Passage<'_>],
    weights: &dyn TermWeights,
) -> Vec<Extract> {
    let _ = (question, lang, passages, weights);
    todo!()
}

/// What a message is besides a question about the knowledge, told by rule in es, en and pt.
#[derive(Debug, Clone, PartialEq)]
pub enum Intent {
    /// Ask the knowledge.
    Question,
    /// A greeting and nothing else.
    Greeting,
    /// Thanks and nothing else.
    Thanks,
    /// A good-bye and nothing else.
    Goodbye,
    /// Wants a person.
    Human,
    /// Offers contact details and asks nothing.
    ContactDetails {
        /// An e-mail address in it.
        email: Option<String>,
        /// A phone number in it, as written.
        phone: Option<String>,
    },
}

/// The intent of a message.
pub fn intent(message: &str, lang: Lang) -> Intent {
    let _ = (message, lang);
    todo!()
}
