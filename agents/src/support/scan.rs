//! Finds what can be checked in a text.

use std::ops::Range;
use std::sync::LazyLock;

use models::lexical;
use regex::{Captures, Regex};

use super::amounts::{self, Amount};
use super::number_words;

/// Something that stands in one text and must stand in another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Fact {
    /// A number, in millionths.
    Number(Amount),
    /// A percentage, in millionths.
    Percent(Amount),
    /// An hour of the day, in minutes since midnight.
    Time(u16),
    /// A day of the year.
    Date { day: u32, month: u32 },
    /// The digits of a telephone number.
    Digits(String),
    /// A code: its runs of letters and of digits, folded.
    Runs(Vec<String>),
    /// An e-mail or web address, folded.
    Address(String),
}

/// What a text is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// What it claims: markers and the numbers of lists claim nothing, and each thing is read once.
    Claims,
    /// What it holds: everything that any of its parts can mean.
    Ground,
}

/// A place of a text, and what can be read there: any one of `facts`.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) range: Range<usize>,
    pub(super) facts: Vec<Fact>,
}

/// In words, lesser numbers are seldom facts ("una de las tres opciones").
const LEAST_IN_WORDS: u64 = 13;

const MONTHS: &str = "enero|january|janeiro|febrero|february|fevereiro|marzo|march|março|abril|april|\
    mayo|may|maio|junio|june|junho|julio|july|julho|agosto|august|septiembre|setiembre|september|setembro|\
    octubre|october|outubro|noviembre|november|novembro|diciembre|december|dezembro|\
    ene|jan|feb|fev|mar|abr|apr|mai|jun|jul|ago|aug|sep|sept|set|oct|out|nov|dic|dec|dez";

/// The first letters of the months by number, folded; the first that fits counts.
const MONTH_STARTS: [&[&str]; 12] = [
    &["ene", "jan"],
    &["feb", "fev"],
    &["mar"],
    &["abr", "apr"],
    &["may", "mai"],
    &["jun"],
    &["jul"],
    &["ago", "aug"],
    &["sep", "set"],
    &["oct", "out"],
    &["nov"],
    &["dic", "dec", "dez"],
];

macro_rules! pattern {
    ($name:ident, $($text:expr),+) => {
        static $name: LazyLock<Option<Regex>> = LazyLock::new(|| {
            let text: String = [$($text),+].concat();
            Regex::new(&text).ok()
        });
    };
}

pattern!(MARKER, r"\[\d{1,3}\]");
pattern!(ORDINAL, r"(?m)^[\s>#*_|-]*\(?\d{1,2}[.)](?:\s|\*)");
pattern!(EMAIL, r"[\w.+%-]+@[\w-]+(?:\.[\w-]+)+");
pattern!(WEB, r#"(?i)(?:https?://|www\.)[^\s<>"'`*\]\[)}|»”]+"#);
pattern!(WORD, r"[\p{L}\d]+(?:[-_][\p{L}\d]+)*");
pattern!(PHONE, r"\+?\(?\d[\d \u{a0}().-]{5,20}\d");
pattern!(THOUSANDS, r"^\d{1,3}(?:[. \u{a0}]\d{3})+$");
pattern!(DECIMALS, r"^[.,]\d");
pattern!(YEARS, r"^(?:19|20)\d\d ?- ?(?:19|20)\d\d$");
pattern!(FULL_DATE, r"\b(\d{1,4})[/.-](\d{1,2})[/.-](\d{1,4})\b");
pattern!(SHORT_DATE, r"\b(\d{1,2})/(\d{1,2})\b");
pattern!(
    DAY_MONTH,
    r"(?i)\b(\d{1,2})(?:º|°|ro|er|st|nd|rd|th)?\s+(?:de\s+|of\s+)?(",
    MONTHS,
    r")\b"
);
pattern!(MONTH_DAY, r"(?i)\b(", MONTHS, r")\.?\s+(\d{1,2})(?:st|nd|rd|th)?\b");
pattern!(
    CLOCK_12,
    r"(?i)\b(\d{1,2})(?:[:.h](\d{2}))?(?:\s*(?:hs?|hrs?|horas)\b\.?)?\s*",
    r"(a\.?\s?m\b|p\.?\s?m\b|de la ma[ñn]ana|de la madrugada|da manh[ãa]|",
    r"de la tarde|de la noche|da tarde|da noite)"
);
pattern!(CLOCK_24, r"(?i)\b(\d{1,2})(?::|h)(\d{2})\b");
pattern!(HALF_PAST, r"(?i)\b(\d{1,2})\s+(?:y media|e meia)\b");
pattern!(VERSION, r"\b\d+(?:\.\d+){2,}\b");
pattern!(NUMBER, r"(?i)\d{1,3}(?:['’\u{a0}\u{202f}\u{2009}]\d{3})+(?:[.,]\d+)?|\d+(?:[.,]\d+)*");
pattern!(SPACED, r"\b\d{1,3}(?: \d{3})+\b");
pattern!(PERCENT, r"(?i)^\s*(?:%|por ciento|por cento|per ?cent)");
pattern!(THOUSAND, r"(?i)^(?:k\b|\s*(?:mil|thousand)\b)");
pattern!(MILLION, r"(?i)^\s*(?:mill[oó]n(?:es)?|millions?|milh(?:ão|ões|oes|ao)|mill|mm)\b");

/// What can be checked in `text`, in no order.
pub(super) fn scan(text: &str, reading: Reading) -> Vec<Found> {
    let mut scanner = Scanner { left: text.to_owned(), found: Vec::new(), reading };
    if reading == Reading::Claims {
        for pattern in [&MARKER, &ORDINAL] {
            for range in ranges(pattern, text) {
                scanner.blank(&range);
            }
        }
    }
    scanner.addresses();
    scanner.codes();
    scanner.phones();
    scanner.dates();
    scanner.times();
    scanner.numbers();
    scanner.in_words();
    scanner.found
}

struct Scanner {
    /// What was not read yet; the rest is blanked, so that places stay.
    left: String,
    found: Vec<Found>,
    reading: Reading,
}

impl Scanner {
    fn blank(&mut self, range: &Range<usize>) {
        self.left.replace_range(range.clone(), &"\u{1}".repeat(range.len()));
    }

    fn take(&mut self, range: Range<usize>, facts: Vec<Fact>) {
        self.blank(&range);
        self.found.push(Found { range, facts });
    }

    /// Each match of `pattern` that `read` makes something of.
    fn each(
        &mut self,
        pattern: &LazyLock<Option<Regex>>,
        read: impl Fn(&Captures<'_>) -> Vec<Fact>,
    ) {
        let Some(pattern) = &**pattern else { return };
        let mut taken = Vec::new();
        for captures in pattern.captures_iter(&self.left) {
            let facts = read(&captures);
            if let (Some(whole), false) = (captures.get(0), facts.is_empty()) {
                taken.push((whole.range(), facts));
            }
        }
        for (range, facts) in taken {
            self.take(range, facts);
        }
    }

    fn addresses(&mut self) {
        for pattern in [&EMAIL, &WEB] {
            for range in ranges(pattern, &self.left.clone()) {
                let text =
                    self.left[range.clone()].trim_end_matches(['.', ',', ';', ':', '!', '?']);
                let range = range.start..range.start + text.len();
                let folded = lexical::fold(text);
                let bare = folded.split_once("://").map_or(&*folded, |(_, rest)| rest);
                let bare = bare.strip_prefix("www.").unwrap_or(bare).trim_end_matches('/');
                let fact = Fact::Address(bare.to_owned());
                self.take(range, vec![fact]);
            }
        }
    }

    fn codes(&mut self) {
        if self.reading == Reading::Ground {
            return;
        }
        for range in ranges(&WORD, &self.left.clone()) {
            let word = &self.left[range.clone()];
            if is_code(word) {
                let fact = Fact::Runs(code_runs(word));
                self.take(range, vec![fact]);
            }
        }
    }

    fn phones(&mut self) {
        for range in ranges(&PHONE, &self.left.clone()) {
            let text = &self.left[range.clone()];
            let digits: String = text.chars().filter(char::is_ascii_digit).collect();
            if !(7..=15).contains(&digits.len()) {
                continue;
            }
            if self.reading == Reading::Ground {
                self.found.push(Found { range, facts: vec![Fact::Digits(digits)] });
                continue;
            }
            let marked = text.starts_with('+') || text.contains('(');
            let dotted = text.contains('.') || matches(&THOUSANDS, text);
            let plain = text.bytes().all(|b| b.is_ascii_digit());
            let decimal = matches(&DECIMALS, &self.left[range.end..]);
            if !marked && (dotted || decimal || matches(&YEARS, text) || matches(&FULL_DATE, text))
            {
                continue;
            }
            let mut facts = vec![Fact::Digits(digits)];
            if plain {
                facts.extend(amounts::readings(text).into_iter().map(Fact::Number));
            }
            self.take(range, facts);
        }
    }

    fn dates(&mut self) {
        let ground = self.reading == Reading::Ground;
        self.each(&FULL_DATE, |captures| full_date(captures, ground));
        self.each(&SHORT_DATE, short_date);
        self.each(&DAY_MONTH, |captures| word_date(&captures[1], &captures[2], ground));
        self.each(&MONTH_DAY, |captures| word_date(&captures[2], &captures[1], ground));
    }

    fn times(&mut self) {
        let ground = self.reading == Reading::Ground;
        self.each(&CLOCK_12, |captures| clock_12(captures, ground));
        self.each(&CLOCK_24, |captures| {
            time(&captures[1], &captures[2]).map(Fact::Time).into_iter().collect()
        });
        if ground {
            // Beside the hour itself.
            let Some(pattern) = &*HALF_PAST else { return };
            for captures in pattern.captures_iter(&self.left) {
                if let (Some(minutes), Some(at)) = (time(&captures[1], "30"), captures.get(0)) {
                    self.found.push(Found { range: at.range(), facts: vec![Fact::Time(minutes)] });
                }
            }
        }
    }

    fn numbers(&mut self) {
        self.each(&VERSION, |captures| {
            let text = &captures[0];
            if matches(&THOUSANDS, text) {
                return Vec::new();
            }
            match amounts::readings(text) {
                readings if readings.is_empty() => vec![Fact::Runs(code_runs(text))],
                readings => readings.into_iter().map(Fact::Number).collect(),
            }
        });
        if self.reading == Reading::Ground {
            for range in ranges(&SPACED, &self.left) {
                let readings = amounts::readings(&self.left[range.clone()]);
                let facts = readings.into_iter().map(Fact::Number).collect();
                self.found.push(Found { range, facts });
            }
        }
        for range in ranges(&NUMBER, &self.left.clone()) {
            let (facts, end) = number(&self.left, &range);
            if !facts.is_empty() {
                self.take(range.start..end, facts);
            }
        }
    }

    fn in_words(&mut self) {
        let Some(pattern) = &*WORD else { return };
        let (mut words, mut places): (Vec<Option<String>>, Vec<Range<usize>>) = Default::default();
        let mut last = 0;
        for word in pattern.find_iter(&self.left) {
            for (at, part) in parts(word.as_str()) {
                let range = word.start() + at..word.start() + at + part.len();
                let apart = !self.left[last..range.start].chars().all(|c| c == ' ' || c == '-');
                if apart {
                    words.push(None);
                    places.push(range.start..range.start);
                }
                last = range.end;
                words.push(Some(lexical::fold(part)));
                places.push(range);
            }
        }
        let folded: Vec<Option<&str>> = words.iter().map(Option::as_deref).collect();
        for number in number_words::numbers(&folded) {
            let first = folded[number.words.start];
            let round = number.words.len() == 1
                && matches!(
                    first,
                    Some("mil" | "cien" | "ciento" | "cem" | "cento" | "thousand" | "hundred")
                );
            let claims = number.value >= LEAST_IN_WORDS && !round;
            let range = places[number.words.start].start..places[number.words.end - 1].end;
            if self.reading == Reading::Ground || claims {
                let amount = amounts::whole(number.value);
                let fact = if follows(&PERCENT, &self.left[range.end..]).is_some() {
                    Fact::Percent(amount)
                } else {
                    Fact::Number(amount)
                };
                self.found.push(Found { range, facts: vec![fact] });
            }
        }
    }
}

fn ranges(pattern: &LazyLock<Option<Regex>>, text: &str) -> Vec<Range<usize>> {
    let Some(pattern) = &**pattern else { return Vec::new() };
    pattern.find_iter(text).map(|found| found.range()).collect()
}

fn matches(pattern: &LazyLock<Option<Regex>>, text: &str) -> bool {
    pattern.as_ref().is_some_and(|pattern| pattern.is_match(text))
}

/// The length of what `rest` begins with, if that is the pattern.
fn follows(pattern: &LazyLock<Option<Regex>>, rest: &str) -> Option<usize> {
    pattern.as_ref()?.find(rest).map(|found| found.end())
}

/// Letters and digits in one word, and not a number with its unit or currency (`10kg`, `9-18hs`, `US$5`).
fn is_code(word: &str) -> bool {
    let letters = word.chars().any(char::is_alphabetic);
    let digits = word.chars().any(|c| c.is_ascii_digit());
    letters && digits && !word.split(['-', '_']).all(is_measure)
}

fn is_measure(part: &str) -> bool {
    const CURRENCIES: [&str; 12] =
        ["usd", "eur", "clp", "ars", "mxn", "cop", "pen", "brl", "uyu", "gbp", "us", "r"];
    let folded = part.to_lowercase();
    let currency = CURRENCIES.iter().find_map(|name| folded.strip_prefix(name));
    let rest = currency.filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let number = rest.unwrap_or(&folded).trim_end_matches(char::is_alphabetic);
    let clock = number.split_once('h').is_some_and(|(hours, minutes)| {
        [hours, minutes].iter().all(|n| n.len() <= 2 && n.bytes().all(|b| b.is_ascii_digit()))
    });
    clock || (!number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

fn code_runs(word: &str) -> Vec<String> {
    let mut found = Vec::new();
    super::runs(word, &mut found);
    found.into_iter().map(|run| run.text).collect()
}

fn full_date(captures: &Captures<'_>, ground: bool) -> Vec<Fact> {
    let number = |index: usize| captures[index].parse::<u32>().unwrap_or(0);
    let (a, b, c) = (number(1), number(2), number(3));
    let dotted = captures[0].contains('.');
    let (days, year) = match (captures[1].len(), captures[3].len()) {
        (4, 1 | 2) => (vec![date(c, b)], a),
        (1 | 2, 4) => (vec![date(a, b), date(b, a)], c),
        (1 | 2, 2) if !dotted => (vec![date(a, b), date(b, a)], 2_000 + c),
        _ => return Vec::new(),
    };
    let mut facts: Vec<Fact> = days.into_iter().flatten().collect();
    if ground && !facts.is_empty() {
        for number in [a, b, c, year] {
            facts.push(Fact::Number(amounts::whole(u64::from(number))));
        }
    }
    facts
}

/// `24/12`, or what only looks like it: `24/7`, `1/2`.
fn short_date(captures: &Captures<'_>) -> Vec<Fact> {
    let number = |index: usize| captures[index].parse::<u32>().unwrap_or(0);
    let (a, b) = (number(1), number(2));
    let mut facts: Vec<Fact> = [date(a, b), date(b, a)].into_iter().flatten().collect();
    facts.push(Fact::Runs(code_runs(&captures[0])));
    facts
}

fn word_date(day: &str, month: &str, ground: bool) -> Vec<Fact> {
    let day = day.parse::<u32>().unwrap_or(0);
    let Some(fact) = month_number(month).and_then(|month| date(day, month)) else {
        return Vec::new();
    };
    // Short names are words of other meanings too ("10 mar", "10 may").
    if ground || month.chars().count() <= 4 {
        return vec![fact, Fact::Number(amounts::whole(u64::from(day)))];
    }
    vec![fact]
}

fn month_number(name: &str) -> Option<u32> {
    let folded = lexical::fold(name);
    let at = MONTH_STARTS.iter().position(|starts| starts.iter().any(|s| folded.starts_with(s)))?;
    u32::try_from(at + 1).ok()
}

fn date(day: u32, month: u32) -> Option<Fact> {
    let valid = (1..=31).contains(&day) && (1..=12).contains(&month);
    valid.then_some(Fact::Date { day, month })
}

/// An hour with the half of the day it is in; the hour as written counts too, for texts that leave that out.
fn clock_12(captures: &Captures<'_>, ground: bool) -> Vec<Fact> {
    let minutes = captures.get(2).map_or("00", |found| found.as_str());
    let Some(written) = time(&captures[1], minutes) else { return Vec::new() };
    let half = lexical::fold(&captures[3]);
    let later = half.starts_with('p')
        || half.ends_with("tarde")
        || half.ends_with("noche")
        || half.ends_with("noite");
    let hour = written / 60;
    let shifted = match hour {
        12 if !later => written - 720,
        1..=11 if later => written + 720,
        _ => written,
    };
    let mut facts = vec![Fact::Time(shifted)];
    if ground || hour <= 12 {
        facts.push(Fact::Time(written));
    }
    facts
}

fn time(hours: &str, minutes: &str) -> Option<u16> {
    let (hours, minutes) = (hours.parse::<u16>().ok()?, minutes.parse::<u16>().ok()?);
    (hours <= 24 && minutes < 60).then(|| hours * 60 + minutes)
}

/// What a number at `range` can mean together with what follows it, and where that ends.
fn number(text: &str, range: &Range<usize>) -> (Vec<Fact>, usize) {
    let written = &text[range.clone()];
    let readings = amounts::readings(written);
    let rest = &text[range.end..];
    if let Some(length) = follows(&PERCENT, rest) {
        let facts = readings.into_iter().map(Fact::Percent).collect();
        return (facts, range.end + length);
    }
    for (pattern, factor) in [(&THOUSAND, 1_000), (&MILLION, 1_000_000)] {
        if let Some(length) = follows(pattern, rest) {
            let scaled = readings.into_iter().map(|n| Fact::Number(amounts::times(n, factor)));
            return (scaled.collect(), range.end + length);
        }
    }
    let mut facts: Vec<Fact> = readings.into_iter().map(Fact::Number).collect();
    // `18.30` is an hour to many.
    if let Some((hours, minutes)) = written.split_once('.')
        && minutes.len() == 2
    {
        facts.extend(time(hours, minutes).map(Fact::Time));
    }
    if facts.is_empty() {
        facts.push(Fact::Digits(written.chars().filter(char::is_ascii_digit).collect()));
    }
    (facts, range.end)
}

/// The parts of a word between hyphens, each with where it starts.
fn parts(word: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    word.split(['-', '_']).map(move |part| {
        let start = at;
        at += part.len() + 1;
        (start, part)
    })
}
