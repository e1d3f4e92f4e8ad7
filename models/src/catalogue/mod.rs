//! What is known of models: sizes, prices, whether they see, how their tokens are counted.

use std::sync::{Arc, LazyLock};

use domain::settings::{ModelFacts, TokenizerName};
use serde::Deserialize;

use crate::Usage;
use crate::tokens::{self, Tokenizer};

/// Tokens that a model of which nothing is known is taken to hold.
pub const DEFAULT_CONTEXT: u32 = 8_192;

/// Prices are per this many tokens.
const PRICED_BY: i128 = 1_000_000;

/// What is known of models: the installation's own entries first, then those that ship with the program.
/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct Catalogue {
    own: Arc<[ModelFacts]>,
}

/// The file that ships with the program.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Shipped {
    as_of: String,
    models: Vec<ModelFacts>,
}

static SHIPPED: LazyLock<Shipped> = LazyLock::new(|| {
    toml::from_str(include_str!("models.toml")).expect("the catalogue is part of the program")
});

impl Catalogue {
    /// With an installation's own entries, which go before those that ship with the program.
    pub fn new(own: &[ModelFacts]) -> Self {
        Self { own: own.into() }
    }

    /// The day that the shipped prices were written down, `YYYY-MM-DD`.
    pub fn as_of() -> &'static str {
        &SHIPPED.as_of
    }

    /// What is known of a model; `None` for one that nobody has described. Vendors before the name
    /// (`openai/gpt-4o`, `models/gemini-2.5-pro`) and dates and tags after it do not matter.
    pub fn facts(&self, model: &str) -> Option<&ModelFacts> {
        let find = |entries: &'_ [ModelFacts], name: &str| {
            entries.iter().position(|entry| is_called(&entry.name, name))
        };
        let bare = model.rsplit('/').next().unwrap_or(model);
        for name in [model, bare] {
            if let Some(found) = find(&self.own, name) {
                return self.own.get(found);
            }
        }
        find(&SHIPPED.models, bare).and_then(|found| SHIPPED.models.get(found))
    }

    /// Tokens of prompt and answer that a model holds.
    pub fn context(&self, model: &str) -> u32 {
        self.facts(model).map_or(DEFAULT_CONTEXT, |facts| facts.context)
    }

    /// Whether a model takes images. One that nobody has described does not.
    pub fn sees(&self, model: &str) -> bool {
        self.facts(model).is_some_and(|facts| facts.sees)
    }

    /// What a call costs in micro-dollars, rounded up; `None` when the model has no price here.
    pub fn cost(&self, model: &str, usage: Usage) -> Option<i64> {
        let facts = self.facts(model)?;
        let (input, output) = (facts.input?, facts.output?);
        let cached = usage.cached_tokens.clamp(0, usage.prompt_tokens.max(0));
        let fresh = usage.prompt_tokens.max(0) - cached;
        let parts = [
            (fresh, input),
            (cached, facts.cached_input.unwrap_or(input)),
            (usage.completion_tokens.max(0), output),
        ];
        let total: i128 =
            parts.iter().map(|(tokens, price)| i128::from(*tokens) * i128::from(*price)).sum();
        Some(i64::try_from(total.div_euclid(PRICED_BY)).map_or(i64::MAX, |whole| {
            whole.saturating_add(i64::from(total.rem_euclid(PRICED_BY) > 0))
        }))
    }

    /// How a model's tokens are counted; nearly, where its own tokenizer is not at hand.
    pub fn tokenizer(&self, model: &str) -> Tokenizer {
        match self.facts(model).and_then(|facts| facts.tokenizer) {
            Some(TokenizerName::Cl100k) => Tokenizer::Cl100k,
            Some(TokenizerName::O200k) | None => Tokenizer::O200k,
        }
    }

    /// Tokens of a text for a model. The first call loads a table (see [`tokens`]).
    pub fn count(&self, model: &str, text: &str) -> usize {
        tokens::count_by(self.tokenizer(model), text)
    }
}

impl Default for Catalogue {
    fn default() -> Self {
        Self::new(&[])
    }
}

/// Whether `model` is the entry `name`, or a dated or tagged form of it.
fn is_called(name: &str, model: &str) -> bool {
    let Some(rest) = model.strip_prefix(name) else { return false };
    match rest.split_at_checked(1) {
        Some((":", _)) => true,
        Some(("-" | "@", version)) => version == "latest" || is_date(version),
        Some(_) | None => rest.is_empty(),
    }
}

/// `0125`, `20250514` or `2024-08-06`.
fn is_date(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let bare = digits == text.len() && matches!(digits, 4 | 6 | 8);
    let parts: Vec<usize> = text.split('-').map(str::len).collect();
    bare || (digits == 8 && parts == [4, 2, 2])
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn usage(prompt_tokens: i64, completion_tokens: i64, cached_tokens: i64) -> Usage {
        Usage { prompt_tokens, completion_tokens, cached_tokens }
    }

    #[test]
    fn the_shipped_entries_make_sense() {
        assert!(is_date(Catalogue::as_of()), "{}", Catalogue::as_of());
        let mut names = HashSet::new();
        for entry in &SHIPPED.models {
            assert!(names.insert(&entry.name), "{} stands there twice", entry.name);
            assert!(entry.context >= 4_096, "{}", entry.name);
            assert!(entry.max_output.is_none_or(|most| most <= entry.context), "{}", entry.name);
            assert_eq!(entry.input.is_some(), entry.output.is_some(), "{}", entry.name);
            let (input, output) = (entry.input.unwrap_or(1), entry.output.unwrap_or(1));
            assert!(0 < input && input <= output, "{}", entry.name);
            assert!(entry.cached_input.is_none_or(|cached| cached < input), "{}", entry.name);
            let found = Catalogue::default();
            assert_eq!(found.facts(&entry.name), Some(entry), "found by its own name");
        }
        assert!(names.len() >= 40);
    }

    #[test]
    fn a_name_is_found_with_vendor_date_and_tag_and_is_no_other_model() {
        let catalogue = Catalogue::default();
        let called = |name: &str| catalogue.facts(name).map(|facts| facts.name.as_str());
        for (name, entry) in [
            ("gpt-4o", "gpt-4o"),
            ("gpt-4o-2024-08-06", "gpt-4o"),
            ("openai/gpt-4o-mini", "gpt-4o-mini"),
            ("gpt-3.5-turbo-0125", "gpt-3.5-turbo"),
            ("claude-opus-4-20250514", "claude-opus-4"),
            ("claude-opus-4-1-20250805", "claude-opus-4-1"),
            ("models/gemini-2.5-pro", "gemini-2.5-pro"),
            ("mistral-large-latest", "mistral-large"),
            ("llama3.1:8b-instruct-q4_0", "llama3.1"),
        ] {
            assert_eq!(called(name), Some(entry), "{name}");
        }
        for other in ["gpt-4o-audio-preview", "gpt-4oo", "claude-opus-4-5", "my-model", ""] {
            assert_eq!(called(other), None, "{other}");
        }
    }

    #[test]
    fn cost_is_exact_and_rounded_up_once() {
        let catalogue = Catalogue::default();
        // 1,000 × $2.50 + 200 × $10.00 a million.
        assert_eq!(catalogue.cost("gpt-4o", usage(1_000, 200, 0)), Some(4_500));
        assert_eq!(catalogue.cost("gpt-4o", usage(1_000, 200, 1_000)), Some(3_250));
        assert_eq!(catalogue.cost("gpt-4o-mini", usage(1, 0, 0)), Some(1), "0.15 rounded up");
        assert_eq!(catalogue.cost("gpt-4o-mini", usage(7, 3, 0)), Some(3), "2.85 rounded up");
        assert_eq!(catalogue.cost("gpt-4o", Usage::default()), Some(0));
        assert_eq!(catalogue.cost("llama3.1", usage(1_000, 200, 0)), None);
        assert_eq!(catalogue.cost("my-model", usage(1_000, 200, 0)), None);
        // What a provider counts wrongly does not become a credit.
        assert_eq!(catalogue.cost("gpt-4o", usage(10, 0, 1_000)), Some(13));
        assert_eq!(catalogue.cost("gpt-4o", usage(-10, -10, -10)), Some(0));
        assert_eq!(catalogue.cost("gpt-4o", usage(i64::MAX, i64::MAX, 0)), Some(i64::MAX));
    }

    #[test]
    fn an_installations_own_entries_go_first() {
        let own = ModelFacts {
            name: "gpt-4o".to_owned(),
            context: 64_000,
            max_output: None,
            input: Some(1_000_000),
            cached_input: None,
            output: Some(1_000_000),
            sees: false,
            tokenizer: Some(TokenizerName::Cl100k),
        };
        let own = [own.clone(), ModelFacts { name: "casa/propio".to_owned(), ..own }];
        let catalogue = Catalogue::new(&own);
        assert_eq!(catalogue.context("gpt-4o-2024-08-06"), 64_000);
        assert_eq!(catalogue.cost("gpt-4o", usage(2, 3, 1)), Some(5));
        assert!(!catalogue.sees("gpt-4o") && catalogue.sees("gpt-4o-mini"));
        assert_eq!(catalogue.context("casa/propio"), 64_000);
        assert_eq!(catalogue.context("my-model"), DEFAULT_CONTEXT);
        assert_eq!(catalogue.tokenizer("gpt-4o"), Tokenizer::Cl100k);
        assert_eq!(catalogue.tokenizer("my-model"), Tokenizer::O200k);
        assert!(!catalogue.sees("my-model"));
    }

    #[test]
    fn tokens_are_counted_by_the_models_own_tokenizer() {
        let catalogue = Catalogue::default();
        let text = "¿Cuáles son los horarios de atención de la ferretería?";
        let (old, new) = (catalogue.count("gpt-4", text), catalogue.count("gpt-4o", text));
        assert!(new < old, "{new} by o200k, {old} by cl100k");
        assert_eq!(new, tokens::count(text));
    }
}
