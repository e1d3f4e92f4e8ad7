//! Texts to measure with: repeatable, with a vocabulary and word frequencies like those of real prose.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const SYLLABLES: [&str; 40] = [
    "ca", "so", "me", "ta", "ri", "lo", "pe", "du", "na", "ci", "ve", "ro", "mi", "la", "te", "bu",
    "fo", "ga", "li", "no", "pa", "que", "re", "sa", "tu", "vi", "za", "ña", "che", "llo", "do",
    "bra", "cre", "fli", "gra", "ple", "tri", "cion", "mos", "dad",
];

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
    /// The same seed gives the same texts.
    pub fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let words = (0..20_000).map(|_| word(&mut rng)).collect();
        Self { words, rng }
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

    /// Two in five words are function words; the rest follow Zipf's law over the vocabulary.
    fn word(&mut self) -> String {
        if self.rng.random_bool(0.4) {
            return COMMON[self.rng.random_range(0..COMMON.len())].to_owned();
        }
        let uniform: f64 = self.rng.random();
        let size = self.words.len() as f64;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an index into the list"
        )]
        let rank = size.powf(uniform) as usize;
        self.words[rank.min(self.words.len()) - 1].clone()
    }
}

/// The code that text `number` begins with.
pub fn code(number: usize) -> String {
    format!("QX{number:06}ZK")
}

fn word(rng: &mut StdRng) -> String {
    let syllables = rng.random_range(2..5);
    (0..syllables).map(|_| SYLLABLES[rng.random_range(0..SYLLABLES.len())]).collect()
}
