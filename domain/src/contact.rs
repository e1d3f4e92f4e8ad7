//! Customers.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::inbox::folded;
use crate::{ContactId, DomainError, ErrorKind, Lang, Timestamp};

/// A customer, known by e-mail or phone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// Its id.
    pub id: ContactId,
    /// Given name.
    pub first_name: Option<String>,
    /// Family name.
    pub last_name: Option<String>,
    /// In lower case.
    pub email: Option<String>,
    /// In E.164.
    pub phone: Option<String>,
    /// Set when e-mail and phone named two different contacts; a person decides, nothing is merged silently.
    pub conflict: bool,
    /// When it was made.
    pub created_at: Timestamp,
}

impl Contact {
    /// Given and family name in one; `None` without either.
    pub fn name(&self) -> Option<String> {
        let names: Vec<&str> =
            [&self.first_name, &self.last_name].into_iter().flatten().map(String::as_str).collect();
        (!names.is_empty()).then(|| names.join(" "))
    }
}

/// Given and family name out of one: the first word, and the rest. Put together again they are the name.
pub fn split_name(name: &str) -> (Option<String>, Option<String>) {
    let mut words = name.split_whitespace();
    let first = words.next().map(str::to_owned);
    let rest = words.collect::<Vec<_>>().join(" ");
    (first, (!rest.is_empty()).then_some(rest))
}

/// All that people note of a customer.
#[derive(Debug, Clone, PartialEq)]
pub struct ContactProfile {
    /// Who it is.
    pub contact: Contact,
    /// Texts, numbers and booleans by names that people chose.
    pub attributes: Map<String, Value>,
    /// For people only; never in a prompt.
    pub notes: Option<String>,
    /// The language to write in.
    pub language: Option<Lang>,
    /// IANA name: `America/Santiago`.
    pub time_zone: Option<String>,
    /// Since when nobody answers.
    pub blocked_at: Option<Timestamp>,
    /// When something of this last changed.
    pub updated_at: Timestamp,
    /// In order.
    pub tags: Vec<String>,
    /// Of contacts that were merged into it, in order.
    pub other_emails: Vec<String>,
    /// Of contacts that were merged into it, in order.
    pub other_phones: Vec<String>,
}

/// What a caller says about a customer; checked and normalised already (see `text::email`, `text::phone`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ContactDetails {
    /// Given name.
    pub first_name: Option<String>,
    /// Family name.
    pub last_name: Option<String>,
    /// In lower case.
    pub email: Option<String>,
    /// In E.164.
    pub phone: Option<String>,
}

impl ContactDetails {
    /// Whether nothing was said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Fewest digits of a phone number's end that it is found by.
const PHONE_END: usize = 4;

/// Most words of a search that are looked at.
const MAX_WORDS: usize = 6;

/// The words that a contact is found by: of its names, its addresses whole and in their parts, its phone numbers by their
/// ends too. Folded.
pub fn words_of(names: &[&str], emails: &[&str], phones: &[&str]) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    for name in names {
        words.extend(parts(&fold(name)));
    }
    for email in emails {
        let email = fold(email);
        words.extend(parts(&email));
        words.insert(email);
    }
    for phone in phones {
        let digits: String = phone.chars().filter(char::is_ascii_digit).collect();
        let ends = 0..=digits.len().saturating_sub(PHONE_END);
        words.extend(ends.map(|start| digits[start..].to_owned()));
    }
    words
}

/// The beginnings of words that a search asks for, all of which a contact must have.
pub fn words_sought(search: &str) -> Vec<String> {
    let mut sought: Vec<String> = Vec::new();
    for typed in fold(search).split_whitespace() {
        let is_number = typed.chars().all(|c| c.is_ascii_digit() || "+-().".contains(c));
        if is_number {
            sought.push(typed.chars().filter(char::is_ascii_digit).collect());
        } else if typed.contains('@') && !typed.starts_with('@') {
            sought.push(typed.to_owned());
        } else {
            sought.extend(parts(typed));
        }
    }
    sought.retain(|word| !word.is_empty());
    sought.truncate(MAX_WORDS);
    sought
}

fn parts(folded: &str) -> impl Iterator<Item = String> {
    let words = folded.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_owned).collect::<Vec<_>>().into_iter()
}

/// In lower case and without the accents of the Latin letters of Europe's west.
pub fn fold(text: &str) -> String {
    let lower = text.chars().flat_map(char::to_lowercase);
    lower.filter(|c| !('\u{0300}'..='\u{036F}').contains(c)).flat_map(folded).collect()
}

/// What a customer is told who was blocked.
pub fn blocked() -> DomainError {
    let message = "we cannot take messages in this chat; please contact us in another way";
    DomainError::new(ErrorKind::Forbidden, "BLOCKED", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(search: &str) -> bool {
        let words = words_of(&["Andrea Muñoz-Pérez"], &["a.munoz@ejemplo.com"], &["+56912345678"]);
        let has = |sought: &String| words.iter().any(|word| word.starts_with(sought.as_str()));
        words_sought(search).iter().all(has)
    }

    #[test]
    fn a_contact_is_found_by_the_beginning_of_any_of_its_words() {
        for search in [
            "andrea",
            "PEREZ And",
            "muñoz",
            "a.munoz@ej",
            "@ejemplo",
            "ejemplo.com",
            "+56 9 1234 5678",
            "12345678",
            "5678",
            "",
        ] {
            assert!(found(search), "{search}");
        }
        for search in ["drea", "andrea soto", "b.munoz@ejemplo.com", "9999"] {
            assert!(!found(search), "{search}");
        }
    }

    #[test]
    fn a_name_in_one_comes_back_as_it_was() {
        let (first, last) = split_name("  Andrea María  Pérez ");
        assert_eq!((first.as_deref(), last.as_deref()), (Some("Andrea"), Some("María Pérez")));
        assert_eq!(split_name("Andrea"), (Some("Andrea".to_owned()), None));
        assert_eq!(split_name(" "), (None, None));
    }
}
