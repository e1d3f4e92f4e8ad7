//! The agent's own words in the customer's language, and the small words that tell a follow-up.

use std::collections::HashSet;
use std::sync::LazyLock;

use domain::Lang;
use models::lexical;
use serde::Deserialize;

/// What an agent says by itself in one language, from `words.json`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Words {
    /// The knowledge does not hold the answer.
    pub(crate) unknown: String,
    /// Offers a person; follows `unknown` when the agent can call one.
    pub(crate) offer_person: String,
    /// A person was called.
    pub(crate) handoff: String,
    /// A person was called while nobody is there.
    pub(crate) handoff_away: String,
    /// A person is wanted and the agent cannot call one.
    pub(crate) no_person: String,
    /// Contact details were noted.
    pub(crate) lead: String,
    /// Contact details were offered and the agent may not note them.
    pub(crate) no_lead: String,
    /// A person is asked to allow what the agent is about to do.
    pub(crate) approval: String,
    /// Answers files that came without a word.
    pub(crate) files: String,
    /// Answers a greeting.
    pub(crate) greeting: String,
    /// Answers thanks.
    pub(crate) thanks: String,
    /// Answers a good-bye.
    pub(crate) goodbye: String,
    /// The language's name in English, for prompts.
    pub(crate) language: String,
    /// Folded words that a follow-up begins with.
    pub(crate) follow_up_openings: Vec<String>,
    /// Folded words that stand for something said before.
    pub(crate) pointing_back: HashSet<String>,
    /// Folded messages that accept what was offered.
    pub(crate) yes: HashSet<String>,
    /// Folded words that carry no topic.
    pub(crate) functional: HashSet<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Catalogue {
    es: Words,
    en: Words,
    pt: Words,
}

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../words.json"))
        .expect("the catalogue is part of the program")
});

impl Words {
    /// Whether a message accepts what was offered.
    pub(crate) fn says_yes(&self, message: &str) -> bool {
        self.yes.contains(&Self::folded(message))
    }

    /// The words of a message without case, accents and punctuation.
    pub(crate) fn folded(message: &str) -> String {
        let mut folded = String::with_capacity(message.len());
        lexical::each_word(message, |word| {
            if !folded.is_empty() {
                folded.push(' ');
            }
            folded.push_str(word);
        });
        folded
    }

    /// The words in `lang`; Spanish, the first language of the product, for any other.
    pub(crate) fn of(lang: Lang) -> &'static Self {
        match lang {
            Lang::Es | Lang::Other => &CATALOGUE.es,
            Lang::En => &CATALOGUE.en,
            Lang::Pt => &CATALOGUE.pt,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_reads_and_no_word_of_it_is_empty() {
        for lang in [Lang::Es, Lang::En, Lang::Pt, Lang::Other] {
            let words = Words::of(lang);
            for text in [
                &words.unknown,
                &words.offer_person,
                &words.handoff,
                &words.handoff_away,
                &words.no_person,
                &words.lead,
                &words.no_lead,
                &words.approval,
                &words.files,
                &words.greeting,
                &words.thanks,
                &words.goodbye,
                &words.language,
            ] {
                assert!(!text.trim().is_empty());
            }
            assert!(words.follow_up_openings.iter().all(|opening| !opening.is_empty()));
        }
    }
}
