//! A passage prepared to be compared with many questions.

use std::ops::Range;

use domain::Lang;

use super::sentences::{SentenceKind, sentences};
use crate::lexical::{Word, Words};

/// A passage's heading and sentences, cut into words. Making one costs several times what comparing it with a
/// question does.
#[derive(Debug, Clone)]
pub struct AnalysedPassage {
    lang: Lang,
    words: Words,
    heading: Range<u32>,
    sentences: Box<[AnalysedSentence]>,
}

/// A sentence of an analysed passage.
#[derive(Debug, Clone)]
pub(super) struct AnalysedSentence {
    words: Range<u32>,
    bytes: Range<u32>,
    /// What it is.
    pub(super) kind: SentenceKind,
}

impl AnalysedPassage {
    /// Analyses a passage in `lang` that stands under `heading`.
    pub fn new(heading: &str, text: &str, lang: Lang) -> Self {
        let mut words = Words::default();
        let heading = words.add(heading, lang);
        let sentences = sentences(text).into_iter().map(|sentence| AnalysedSentence {
            words: words.add(sentence.text, lang),
            bytes: position(sentence.at)..position(sentence.at + sentence.text.len()),
            kind: sentence.kind,
        });
        let sentences = sentences.collect();
        words.shrink();
        Self { lang, words, heading, sentences }
    }

    /// The language its words are stemmed by.
    pub(super) const fn lang(&self) -> Lang {
        self.lang
    }

    pub(super) fn heading(&self) -> impl Iterator<Item = Word<'_>> {
        self.words.of(self.heading.clone())
    }

    pub(super) fn sentences(&self) -> &[AnalysedSentence] {
        &self.sentences
    }

    pub(super) fn words(&self, sentence: &AnalysedSentence) -> impl Iterator<Item = Word<'_>> {
        self.words.of(sentence.words.clone())
    }
}

impl AnalysedSentence {
    /// Its text, given the passage's.
    pub(super) fn text<'a>(&self, passage: &'a str) -> &'a str {
        passage.get(self.bytes.start as usize..self.bytes.end as usize).unwrap_or_default()
    }
}

/// Passages are far shorter than 4 GB.
fn position(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
