//! Texts that operators answer with again and again.

use std::collections::BTreeMap;

use crate::{CannedReplyId, Timestamp, UserId};

/// The key of a content that goes for every language.
pub const ANY_LANGUAGE: &str = "any";

/// A text that operators answer with again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CannedReply {
    /// Its id.
    pub id: CannedReplyId,
    /// What it is called by; unique in the workspace, in lower case.
    pub shortcut: String,
    /// For people.
    pub title: String,
    /// The text by language (`es`, `en`, `pt`), or one under [`ANY_LANGUAGE`].
    pub contents: BTreeMap<String, String>,
    /// Whose own it is; `None` for one that everybody of the workspace has.
    pub owner: Option<UserId>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl CannedReply {
    /// The text for a language: its own, the one for every language, else the first there is.
    pub fn text(&self, language: &str) -> &str {
        let found = self.contents.get(language).or_else(|| self.contents.get(ANY_LANGUAGE));
        found.or_else(|| self.contents.values().next()).map_or("", String::as_str)
    }
}

/// Puts values in the place of `{{name}}`, in one pass: what a value holds is never looked at again, and a placeholder
/// that is not known stays as it is.
pub fn fill(text: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("{{") {
        let Some(length) = rest[start + 2..].find("}}") else { break };
        let name = rest[start + 2..start + 2 + length].trim();
        let end = start + 2 + length + 2;
        if let Some((_, value)) = values.iter().find(|(known, _)| *known == name) {
            filled.push_str(&rest[..start]);
            filled.push_str(value);
            rest = &rest[end..];
        } else {
            // A placeholder may begin within what looked like one.
            filled.push_str(&rest[..start + 2]);
            rest = &rest[start + 2..];
        }
    }
    filled.push_str(rest);
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_put_in_once_and_unknown_names_stay() {
        let values = [("contact.name", "{{agent.name}}"), ("agent.name", "Ana")];
        let filled = |text: &str| fill(text, &values);
        assert_eq!(
            filled("Hola {{contact.name}}, soy {{ agent.name }}."),
            "Hola {{agent.name}}, soy Ana."
        );
        assert_eq!(filled("{{nada}} {{agent.name"), "{{nada}} {{agent.name");
        assert_eq!(filled("{{{{agent.name}}}}"), "{{Ana}}");
        assert_eq!(filled("sin nada"), "sin nada");
    }

    #[test]
    fn a_language_without_a_text_gets_the_one_for_all_or_the_first() {
        let reply = |contents: &[(&str, &str)]| CannedReply {
            id: crate::ids::PrefixedId::from_uuid(uuid::Uuid::nil()),
            shortcut: "hola".to_owned(),
            title: "Saludo".to_owned(),
            contents: contents.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            owner: None,
            created_at: Timestamp::from_micros(0),
            updated_at: Timestamp::from_micros(0),
        };
        assert_eq!(reply(&[("es", "hola"), ("en", "hi")]).text("en"), "hi");
        assert_eq!(reply(&[("any", "hola")]).text("en"), "hola");
        assert_eq!(reply(&[("es", "hola"), ("en", "hi")]).text("pt"), "hi");
    }
}
