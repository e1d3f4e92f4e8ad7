//! Stop words and stems.

use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::LazyLock;

use domain::Lang;
use rust_stemmers::{Algorithm, Stemmer};

use super::{hash, hash_wide};

/// A sorted list of hashes of folded words.
struct WordList(Vec<u64>);

impl WordList {
    fn parse(texts: &[&str]) -> Self {
        let lines = texts.iter().flat_map(|text| text.lines());
        let words = lines.filter(|line| !line.starts_with('#')).flat_map(str::split_whitespace);
        let mut hashes: Vec<u64> = words.map(|word| hash_wide(word.as_bytes())).collect();
        hashes.sort_unstable();
        hashes.dedup();
        Self(hashes)
    }

    fn has(&self, hash: u64) -> bool {
        self.0.binary_search(&hash).is_ok()
    }
}

static SPANISH: LazyLock<WordList> =
    LazyLock::new(|| WordList::parse(&[include_str!("stopwords/es.txt")]));
static ENGLISH: LazyLock<WordList> =
    LazyLock::new(|| WordList::parse(&[include_str!("stopwords/en.txt")]));
static PORTUGUESE: LazyLock<WordList> =
    LazyLock::new(|| WordList::parse(&[include_str!("stopwords/pt.txt")]));
static SPANISH_CHAT: LazyLock<WordList> =
    LazyLock::new(|| WordList::parse(&[include_str!("stopwords/es-chat.txt")]));
static ENGLISH_CHAT: LazyLock<WordList> =
    LazyLock::new(|| WordList::parse(&[include_str!("stopwords/en-chat.txt")]));
static PORTUGUESE_CHAT: LazyLock<WordList> =
    LazyLock::new(|| WordList::parse(&[include_str!("stopwords/pt-chat.txt")]));

fn stop_words(lang: Lang) -> Option<&'static WordList> {
    match lang {
        Lang::Es => Some(&SPANISH),
        Lang::En => Some(&ENGLISH),
        Lang::Pt => Some(&PORTUGUESE),
        Lang::Other => None,
    }
}

fn chat_fillers(lang: Lang) -> Option<&'static WordList> {
    match lang {
        Lang::Es => Some(&SPANISH_CHAT),
        Lang::En => Some(&ENGLISH_CHAT),
        Lang::Pt => Some(&PORTUGUESE_CHAT),
        Lang::Other => None,
    }
}

/// Whether a folded word is a stop word of `lang`.
pub(super) fn is_stop_word(word: &str, lang: Lang) -> bool {
    stop_words(lang).is_some_and(|list| list.has(hash_wide(word.as_bytes())))
}

/// Whether a folded word is only said in chats: abbreviations of stop words, politeness.
pub(super) fn is_chat_filler(word: &str, lang: Lang) -> bool {
    chat_fillers(lang).is_some_and(|list| list.has(hash_wide(word.as_bytes())))
}

/// Stems the words of one language. Stemming costs about a microsecond a word and texts repeat their
/// words, so each thread remembers the stems of the words it met last.
pub(super) struct WordStemmer<'a> {
    lang: Lang,
    snowball: Option<&'a Stemmer>,
    stops: Option<&'static WordList>,
    seen: &'a mut [Seen],
}

/// A word met before (hash of word and language) and its term; `None` for a stop word.
#[derive(Clone, Copy, Default)]
struct Seen {
    word: u64,
    term: Option<u32>,
}

/// A power of two; 16 bytes each.
const REMEMBERED: usize = 4096;

impl WordStemmer<'_> {
    /// The term of a folded word; `None` for a stop word.
    pub(super) fn term(&mut self, word: &str) -> Option<u32> {
        let wide = hash_wide(word.as_bytes());
        let key = wide ^ (self.lang as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let slot = usize::try_from(key % REMEMBERED as u64).unwrap_or_default();
        if self.seen[slot].word == key {
            return self.seen[slot].term;
        }
        let stop = self.stops.is_some_and(|list| list.has(wide));
        let term = (!stop).then(|| self.stem(word));
        self.seen[slot] = Seen { word: key, term };
        term
    }

    /// The term of a folded word, stop word or not.
    pub(super) fn stem(&self, word: &str) -> u32 {
        let Some(snowball) = self.snowball else { return hash(word.as_bytes()) };
        let accented = restore_accent(word, self.lang);
        let stem = snowball.stem(&accented);
        if stem.is_ascii() {
            return hash(stem.as_bytes());
        }
        hash(super::fold(&stem).as_bytes())
    }
}

/// Gives back the accent of the endings that the stemmers only know with it and that never stand without
/// it: `publicacion` and `publicaciones` get one stem this way.
fn restore_accent(word: &str, lang: Lang) -> Cow<'_, str> {
    let endings: &[(&str, &str)] = match lang {
        Lang::Es => &[("cion", "ción"), ("sion", "sión")],
        Lang::Pt => &[("cao", "ção"), ("coes", "ções")],
        Lang::En | Lang::Other => &[],
    };
    for (folded, accented) in endings {
        if let Some(start) = word.strip_suffix(folded) {
            return Cow::Owned(format!("{start}{accented}"));
        }
    }
    Cow::Borrowed(word)
}

static STEMMERS: LazyLock<[Stemmer; 3]> = LazyLock::new(|| {
    [Algorithm::Spanish, Algorithm::English, Algorithm::Portuguese].map(Stemmer::create)
});

thread_local! {
    static SEEN: RefCell<Vec<Seen>> = const { RefCell::new(Vec::new()) };
}

/// Runs `work` with the stemmer of `lang` and this thread's memory of stems.
pub(super) fn with_stemmer<T>(lang: Lang, work: impl FnOnce(&mut WordStemmer<'_>) -> T) -> T {
    let snowball = match lang {
        Lang::Es => Some(&STEMMERS[0]),
        Lang::En => Some(&STEMMERS[1]),
        Lang::Pt => Some(&STEMMERS[2]),
        Lang::Other => None,
    };
    SEEN.with_borrow_mut(|seen| {
        seen.resize(REMEMBERED, Seen::default());
        work(&mut WordStemmer { lang, snowball, stops: stop_words(lang), seen })
    })
}
