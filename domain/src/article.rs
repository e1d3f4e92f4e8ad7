//! The knowledge base: articles that people write, customers read and agents answer from.

use std::collections::BTreeMap;

use crate::contact::fold;
use crate::{ArticleId, CategoryId, Lang, Timestamp, UserId, WorkspaceId};

/// Most characters of a slug.
pub const MAX_SLUG: usize = 100;

/// An article.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Article {
    /// Its id.
    pub id: ArticleId,
    /// The workspace that owns it.
    pub workspace_id: WorkspaceId,
    /// The language it is written in, one of the known ones.
    pub language: Lang,
    /// Its name in addresses, unique among the articles of its language.
    pub slug: String,
    /// Shown to people and cited.
    pub title: String,
    /// Markdown.
    pub content: String,
    /// Whether customers see it.
    pub status: ArticleStatus,
    /// Where it is found.
    pub category_id: Option<CategoryId>,
    /// Who wrote it, while they are a user.
    pub author_id: Option<UserId>,
    /// In order.
    pub tags: Vec<String>,
    /// Rises with every change, from 1.
    pub version: i64,
    /// How many readers found it helpful.
    pub helpful: i64,
    /// How many did not.
    pub unhelpful: i64,
    /// When it was first published since it last was a draft.
    pub published_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// Whether customers see an article.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ArticleStatus {
    /// Only members do.
    Draft,
    /// Everybody does, and agents answer from it.
    Published,
}

impl ArticleStatus {
    /// Every status.
    pub const ALL: [Self; 2] = [Self::Draft, Self::Published];

    /// As stored and shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Published => "published",
        }
    }
}

/// A category of articles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArticleCategory {
    /// Its id.
    pub id: CategoryId,
    /// Its name in addresses, unique in the workspace.
    pub slug: String,
    /// What it is called, by the code of a language; at least one.
    pub names: BTreeMap<String, String>,
    /// Where it stands among the others, the lowest first.
    pub place: i64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl ArticleCategory {
    /// Its name in a language, else in the first that it has one in.
    pub fn name_in(&self, language: Lang) -> &str {
        let own = self.names.get(language.code());
        own.or_else(|| self.names.values().next()).map_or("", String::as_str)
    }
}

/// A name for addresses out of a title: letters and digits without accents, joined by hyphens; empty when there are none.
pub fn slug_of(title: &str) -> String {
    let folded = fold(title);
    let words = folded.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let mut slug = String::new();
    for word in words {
        if slug.len() + word.len() + 1 > MAX_SLUG {
            break;
        }
        if !slug.is_empty() {
            slug.push('-');
        }
        slug.push_str(word);
    }
    slug
}

/// Whether a text is a slug: 1 to 100 of `a-z`, `0-9` and single hyphens between them.
pub fn is_slug(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.len() <= MAX_SLUG
        && !text.is_empty()
        && text.split('-').all(|word| !word.is_empty() && word.chars().all(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_becomes_a_name_for_addresses() {
        assert_eq!(
            slug_of("Política de cambios y devoluciones"),
            "politica-de-cambios-y-devoluciones"
        );
        assert_eq!(slug_of("¿Qué? — ¡100 %!"), "que-100");
        assert_eq!(slug_of("商店"), "");
        assert!(is_slug(&slug_of(&"palabra ".repeat(40))));
        for bad in ["", "-a", "a-", "a--b", "A", "á", "a b", "a/b"] {
            assert!(!is_slug(bad), "{bad}");
        }
    }
}
