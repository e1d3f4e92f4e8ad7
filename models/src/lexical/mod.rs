//! The analyser that the index, the search and the built-in answerer share. It turns text into two bags of
//! terms: **words**, folded, without stop words and stemmed by the text's language (Snowball), and
//! **character 4-grams** of the folded words, which survive typing errors, other endings and other
//! languages of the same family. Terms are hashed to 32 bits, as sparse vectors want them.

mod detect;
mod fold;
mod near;
mod stem;
mod tokens;

use domain::Lang;

pub use detect::detect;
pub use fold::fold;
pub use near::Misspelt;
pub use tokens::each_word;

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

/// Analyses a question in `lang` that is put to passages in `passages`. Its words are stemmed the way the
/// passages' words were, once for each of their languages; what chats say without meaning it (`hola`,
/// `xfa`) is left out.
pub fn analyse_question(text: &str, lang: Lang, passages: &[Lang]) -> Terms {
    let mut bag = Bag::default();
    // Short words help grams tell phrases apart, so they stay there.
    each_word(text, |word| bag.add_grams(word));
    for word in content_words(text, lang) {
        let first = bag.words.len();
        for &language in passages {
            let term = term_of(&word, language);
            if !bag.words[first..].contains(&term) {
                bag.words.push(term);
            }
        }
    }
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

/// Calls `each` with each folded word of a passage in `lang` and its term, in order: `None` for a stop word and
/// for a word that is not `wanted`, since stemming is most of the work.
pub fn each_term(
    text: &str,
    lang: Lang,
    wanted: impl Fn(&str) -> bool,
    mut each: impl FnMut(&str, Option<u32>),
) {
    stem::with_stemmer(lang, |stemmer| {
        each_word(text, |word| {
            let term = if wanted(word) { stemmer.term(word) } else { None };
            each(word, term);
        });
    });
}

/// Cuts words into grams one at a time, for who wants no bag of them.
#[derive(Debug, Default)]
pub struct Grams(Bag);

impl Grams {
    /// The 4-grams of a folded word.
    pub fn of(&mut self, word: &str) -> &[u32] {
        self.0.grams.clear();
        self.0.add_grams(word);
        &self.0.grams
    }
}

/// Terms under way, repeated as often as they occur.
#[derive(Debug, Default)]
struct Bag {
    words: Vec<u32>,
    grams: Vec<u32>,
    padded: Vec<u8>,
}

impl Bag {
    fn add(&mut self, word: &str, term: Option<u32>) {
        self.words.extend(term);
        self.add_grams(word);
    }

    /// Adds the 4-grams of a folded word with a mark before and after it; a word of one or two letters is
    /// its own gram.
    fn add_grams(&mut self, word: &str) {
        self.padded.clear();
        self.padded.push(b'_');
        self.padded.extend_from_slice(word.as_bytes());
        self.padded.push(b'_');
        if word.is_ascii() {
            if self.padded.len() < GRAM {
                self.grams.push(hash(&self.padded));
            }
            self.grams.extend(self.padded.windows(GRAM).map(hash));
            return;
        }
        let ends =
            word.char_indices().map(|(at, _)| at + 1).chain([word.len() + 1, word.len() + 2]);
        let starts: Vec<usize> = std::iter::once(0).chain(ends).collect();
        if starts.len() <= GRAM + 1 {
            self.grams.push(hash(&self.padded));
            return;
        }
        let spans = starts.windows(GRAM + 1).map(|span| hash(&self.padded[span[0]..span[GRAM]]));
        self.grams.extend(spans);
    }

    fn count(self) -> Terms {
        Terms { words: counted(self.words), grams: counted(self.grams) }
    }
}

/// Characters of a gram.
const GRAM: usize = 4;

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
fn hash(bytes: &[u8]) -> u32 {
    let wide = hash_wide(bytes);
    #[expect(clippy::cast_possible_truncation, reason = "folding 64 bits into 32 is the point")]
    let folded = (wide ^ (wide >> 32)) as u32;
    folded
}

/// FNV-1a (Fowler, Noll, Vo), 64 bits.
fn hash_wide(bytes: &[u8]) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for &byte in bytes {
        hash ^= u64::from(byte);
        hash = hash.wrapping_mul(0x0100_0000_01b3);
    }
    hash
}
