//! The extractive answerer: sentences of the passages, verbatim, each with its citation. Needs no key and
//! no service, and says what it is.

mod answer_type;
mod asked;
mod expand;
mod extract;
mod intent;
mod passage;
mod sentences;
mod view;

use domain::Lang;

pub use asked::{Asked, Closeness, Vectors};
pub use extract::extract;
pub use intent::intent;
pub use passage::AnalysedPassage;
pub use sentences::{Sentence, SentenceKind, sentences};

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
    /// How well it was found, 0 to 1; only its proportion to the others' matters.
    pub score: f64,
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
    /// Whether any passage holds this stemmed word.
    fn has_word(&self, term: u32) -> bool;
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
