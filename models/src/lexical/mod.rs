//! The analyser that the index, the search and the built-in answerer share. It turns text into two bags of
//! terms: **words**, folded, without stop words and stemmed by the text's language (Snowball), and
//! **character 4-grams** of the folded words, which survive typing errors, other endings and other
//! languages of the same family. Terms are hashed to 32 bits, as sparse vectors want them.

mod detect;
mod fold;
mod lexicon;
mod near;
mod stem;
mod tokens;
mod words;

use domain::Lang;

pub use detect::detect;
pub use fold::fold;
pub use lexicon::{Lexicon, LexiconError};
pub(crate) use lexicon::{Match, Spoken, TermRef};
pub use near::Misspelt;
pub use tokens::each_word;
pub(crate) use words::{Word, Words};

/// A text as search sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terms {
    /// Hashes of stemmed words and how often each stands there, by rising hash.
    pub words: Vec<(u32, u32)>,
    /// Hashes of character 4-grams and how often each stands there, by rising hash.
    pub grams: Vec<(u32, u32)>,
}

impl Terms {
    /// Words counted with repetition, stop words left out.
    pub fn word_count(&self) -> u32 {
        self.words.iter().map(|(_, count)| count).sum()
    }

    /// Grams counted with repetition.
    pub fn gram_count(&self) -> u32 {
        self.grams.iter().map(|(_, count)| count).sum()
    }
}

/// Analyses a passage given in parts (title, heading path, text), all in `lang`.
pub fn analyse_passage(parts: &[&str], lang: Lang) -> Terms {
    let mut bag = Bag::default();
    stem::with_stemmer(lang, |stemmer| {
        for part in parts {
            each_word(part, |word| bag.add(word, stemmer.term(word)));
        }
    });
    bag.count()
}

/// The folded words of a question that say what it is about, in order; all words where there is none.
pub fn content_words(text: &str, lang: Lang) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut stopped: Vec<String> = Vec::new();
    each_word(text, |word| {
        let skipped = stem::is_stop_word(word, lang) || stem::is_chat_filler(word, lang);
        if skipped { &mut stopped } else { &mut words }.push(word.to_owned());
    });
    // A question of stop words only still asks for something.
    if words.is_empty() { stopped } else { words }
}

/// The term of a folded word in `lang`, stop word or not.
pub fn term_of(word: &str, lang: Lang) -> u32 {
    stem::with_stemmer(lang, |stemmer| stemmer.stem(word))
}

/// Calls `each` with each folded word of a passage in `lang` and its term, in order: `None` for a stop word.
pub fn each_term(text: &str, lang: Lang, mut each: impl FnMut(&str, Option<u32>)) {
    stem::with_stemmer(lang, |stemmer| {
        each_word(text, |word| each(word, stemmer.term(word)));
    });
}

/// Calls `each` with the 4-grams of a folded word.
pub(crate) fn each_gram_of(word: &str, each: impl FnMut(u32)) {
    let mut marked = String::with_capacity(word.len() + 2);
    marked.push(MARK);
    marked.push_str(word);
    marked.push(MARK);
    each_gram(&marked, each);
}

/// Terms under way, repeated as often as they occur.
#[derive(Debug, Default)]
struct Bag {
    words: Vec<u32>,
    grams: Vec<u32>,
    padded: String,
}

impl Bag {
    fn add(&mut self, word: &str, term: Option<u32>) {
        self.words.extend(term);
        self.add_grams(word);
    }

    fn add_grams(&mut self, word: &str) {
        self.padded.clear();
        self.padded.push(MARK);
        self.padded.push_str(word);
        self.padded.push(MARK);
        each_gram(&self.padded, |gram| self.grams.push(gram));
    }

    fn count(self) -> Terms {
        Terms { words: counted(self.words), grams: counted(self.grams) }
    }
}

/// Characters of a gram.
const GRAM: usize = 4;
/// Stands before and after a word whose grams are taken.
const MARK: char = '_';

/// Calls `each` with the 4-grams of a folded word between two marks; a word of one or two letters is its own
/// gram.
fn each_gram(marked: &str, mut each: impl FnMut(u32)) {
    let bytes = marked.as_bytes();
    if marked.is_ascii() {
        if bytes.len() < GRAM {
            each(hash(bytes));
        }
        // Of a known length the hash takes no loop: most of the time of comparing passages goes here.
        for gram in bytes.array_windows::<GRAM>() {
            each(hash(gram));
        }
        return;
    }
    let starts: Vec<usize> =
        marked.char_indices().map(|(at, _)| at).chain([marked.len()]).collect();
    if starts.len() <= GRAM + 1 {
        each(hash(bytes));
        return;
    }
    starts.windows(GRAM + 1).for_each(|span| each(hash(&bytes[span[0]..span[GRAM]])));
}

fn counted(mut terms: Vec<u32>) -> Vec<(u32, u32)> {
    terms.sort_unstable();
    let mut counts: Vec<(u32, u32)> = Vec::with_capacity(terms.len());
    for term in terms {
        match counts.last_mut() {
            Some((last, count)) if *last == term => *count += 1,
            _ => counts.push((term, 1)),
        }
    }
    counts
}

/// 32 bits of a term: FNV-1a over 64 bits, folded. Stored in indexes: changing it needs a re-index.
#[inline]
fn hash(bytes: &[u8]) -> u32 {
    let wide = hash_wide(bytes);
    #[expect(clippy::cast_possible_truncation, reason = "folding 64 bits into 32 is the point")]
    let folded = (wide ^ (wide >> 32)) as u32;
    folded
}

/// FNV-1a (Fowler, Noll, Vo), 64 bits.
#[inline]
fn hash_wide(bytes: &[u8]) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for &byte in bytes {
        hash ^= u64::from(byte);
        hash = hash.wrapping_mul(0x0100_0000_01b3);
    }
    hash
}
