//! Texts to measure with: repeatable, and for the index like Spanish prose. Of 842 texts of 820 bytes, a text
//! has 69 different words without stop words and 296 different 4-grams, all have 12,500 grams together, and the
//! grams of a question stand in 2.8 postings for each text; of as many encyclopaedia paragraphs these are 65,
//! 234, 14,900 and 2.8. Made of forty syllables only, texts would have a quarter of the grams and more than
//! twice the postings.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Beginnings of syllables; none at all about as often as any of them.
const ONSETS: [&str; 36] = [
    "c", "s", "m", "t", "r", "l", "p", "d", "n", "v", "b", "f", "g", "j", "z", "h", "qu", "ch",
    "ll", "ñ", "br", "cr", "fl", "gr", "pl", "tr", "pr", "cl", "bl", "dr", "fr", "gl", "", "", "",
    "",
];
const VOWELS: [&str; 17] =
    ["a", "e", "o", "i", "u", "a", "e", "o", "i", "e", "a", "ie", "ue", "io", "ia", "ei", "au"];
/// Ends of syllables; two in three have none.
const CODAS: [&str; 21] =
    ["n", "r", "s", "l", "d", "z", "m", "", "", "", "", "", "", "", "", "", "", "", "", "", ""];
const ENDINGS: [&str; 32] = [
    "o", "a", "os", "as", "e", "es", "o", "a", "os", "as", "e", "es", "ón", "al", "ales", "ar",
    "er", "ado", "ada", "ción", "mente", "dad", "ir", "ista", "ero", "era", "oso", "ante", "ivo",
    "or", "ía", "eza",
];
const STEMS: usize = 9_000;
const WORDS: usize = 20_000;

/// Function words, so that stop words and language detection have their usual work.
const COMMON: [&str; 24] = [
    "el", "la", "de", "que", "y", "en", "los", "se", "del", "las", "un", "por", "con", "para",
    "una", "su", "al", "es", "lo", "como", "más", "pero", "sus", "este",
];

/// Makes texts.
#[derive(Debug)]
pub struct Corpus {
    words: Vec<String>,
    rng: StdRng,
}

impl Corpus {
    /// The same seed gives the same texts; the vocabulary is the same for every seed.
    pub fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(0);
        let stems: Vec<String> = (0..STEMS).map(|_| stem(&mut rng)).collect();
        let words = (0..WORDS)
            .map(|_| format!("{}{}", pick(&stems, &mut rng), pick(&ENDINGS, &mut rng)))
            .collect();
        Self { words, rng: StdRng::seed_from_u64(seed) }
    }

    /// A text of about `bytes` bytes in sentences. It begins with a code that no other text has.
    pub fn text(&mut self, number: usize, bytes: usize) -> String {
        let mut text = format!("Ficha {}. ", code(number));
        while text.len() < bytes {
            text.push_str(&self.sentence());
        }
        text
    }

    /// A question of a few words out of a text, as a customer would pick them.
    pub fn question(&mut self, text: &str) -> String {
        let words: Vec<&str> = text.split_whitespace().filter(|word| word.len() > 5).collect();
        let start = self.rng.random_range(0..words.len().saturating_sub(4).max(1));
        format!(
            "¿Qué dice sobre {}?",
            words[start..].iter().take(4).copied().collect::<Vec<_>>().join(" ")
        )
    }

    fn sentence(&mut self) -> String {
        let length = self.rng.random_range(8..18);
        let mut sentence = String::new();
        for position in 0..length {
            let word = self.word();
            if position == 0 {
                let mut letters = word.chars();
                sentence.extend(letters.next().into_iter().flat_map(char::to_uppercase));
                sentence.push_str(letters.as_str());
            } else {
                sentence.push(' ');
                sentence.push_str(&word);
            }
        }
        sentence.push_str(". ");
        sentence
    }

    /// Nine in twenty words are function words; the rest follow the law of Zipf and Mandelbrot, p ∝ 1 ÷
    /// (rank + 60), over the vocabulary.
    fn word(&mut self) -> String {
        const OFFSET: f64 = 60.0;
        if self.rng.random_bool(0.45) {
            return pick(&COMMON, &mut self.rng).to_string();
        }
        let uniform: f64 = self.rng.random();
        let size = self.words.len() as f64;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an index into the list"
        )]
        let rank = (OFFSET * ((size + OFFSET) / OFFSET).powf(uniform) - OFFSET) as usize;
        self.words[rank.min(self.words.len() - 1)].clone()
    }
}

/// The code that text `number` begins with.
pub fn code(number: usize) -> String {
    format!("QX{number:06}ZK")
}

fn stem(rng: &mut StdRng) -> String {
    let syllables = if rng.random_bool(0.4) { 1 } else { 2 };
    let parts =
        (0..syllables).flat_map(|_| [*pick(&ONSETS, rng), *pick(&VOWELS, rng), *pick(&CODAS, rng)]);
    parts.collect()
}

fn pick<'a, T>(list: &'a [T], rng: &mut StdRng) -> &'a T {
    &list[rng.random_range(0..list.len())]
}
