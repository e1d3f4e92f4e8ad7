//! The words that conversations are found by, kept in the transactions that write the texts.

use domain::inbox::search_words;
use domain::{ConversationId, WorkspaceId};

use crate::sql::{Id, with_rows};
use crate::{Conn, Result, Tx};

/// Most words of one text that are kept: those after them find nothing.
const MOST: usize = 400;

/// A word that is searched for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SoughtWord {
    /// As `domain::inbox::search_words` gives it.
    pub word: String,
    /// Whether the beginning of a word is enough.
    pub is_prefix: bool,
}

/// Letters that the beginning of a word needs at least: fewer are in too many words.
const SHORTEST_PREFIX: usize = 3;

/// Most words of a search.
const MOST_SOUGHT: usize = 6;

/// What a search asks for: each of its first six words, and of each that is long enough its beginning only.
pub fn sought(criteria: &str) -> Vec<SoughtWord> {
    let words = search_words(criteria).into_iter().take(MOST_SOUGHT);
    let sought = |word: String| {
        let is_prefix = word.chars().count() >= SHORTEST_PREFIX;
        SoughtWord { word, is_prefix }
    };
    words.map(sought).collect()
}

impl SoughtWord {
    /// The first word in order that does not begin with it.
    pub(crate) fn end(&self) -> String {
        format!("{}\u{10FFFF}", self.word)
    }
}

/// Adds the words of a text to those of a conversation.
pub async fn add_words(
    tx: &mut Tx,
    workspace: WorkspaceId,
    conversation: ConversationId,
    text: &str,
) -> Result<()> {
    let rows = rows_of([text]);
    if rows.is_empty() {
        return Ok(());
    }
    tx.statement(with_rows!(
        "INSERT INTO conversation_words (
            workspace_id,
            word,
            conversation_id
        )
        SELECT
            $1,
            value->>0,
            $2
        FROM ",
        "$3",
        " WHERE TRUE
        ON CONFLICT (workspace_id, word, conversation_id) DO NOTHING"
    ))
    .bind(Id(workspace))
    .bind(Id(conversation))
    .json(&rows)
    .later()
    .await
}

fn rows_of<'t>(texts: impl IntoIterator<Item = &'t str>) -> Vec<[String; 1]> {
    let words = texts.into_iter().flat_map(|text| search_words(text).into_iter().take(MOST));
    words.map(|word| [word]).collect()
}

/// Conversations of a workspace after one, in order, with their titles.
pub async fn titles_after(
    conn: &mut Conn,
    workspace: WorkspaceId,
    after: Option<ConversationId>,
    limit: i64,
) -> Result<Vec<(ConversationId, String)>> {
    let rows: Vec<(Id<ConversationId>, String)> = conn
        .statement(
            "SELECT
                id,
                title
            FROM conversations
            WHERE workspace_id = $1
                AND id > COALESCE($2, '')
            ORDER BY id
            LIMIT $3",
        )
        .bind(Id(workspace))
        .bind(after.map(Id))
        .bind(limit)
        .all()
        .await?;
    Ok(rows.into_iter().map(|(Id(id), title)| (id, title)).collect())
}
