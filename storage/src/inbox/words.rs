//! The words that conversations are found by, kept in the transactions that write the texts.

use std::collections::BTreeSet;

use domain::inbox::search_words;
use domain::{ConversationId, WorkspaceId};

use crate::sql::{Id, with_rows};
use crate::{Conn, Result, Tx, messages};

/// Most words of one text that are kept: those after them find nothing.
const MOST: usize = 400;
/// Messages that are read at once.
const MESSAGES: i64 = 200;

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
    add_all_words(tx, workspace, conversation, &[text]).await
}

/// As [`add_words`], of several texts.
pub(crate) async fn add_all_words(
    tx: &mut Tx,
    workspace: WorkspaceId,
    conversation: ConversationId,
    texts: &[&str],
) -> Result<()> {
    let words: BTreeSet<String> = texts.iter().flat_map(|text| kept_of(text)).collect();
    let rows: Vec<[String; 1]> = words.into_iter().map(|word| [word]).collect();
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

/// Puts the words of the title `after` in the place of those of `before`, but for those that a message has as well. The
/// transaction holds the conversation.
pub(super) async fn replace_title(
    tx: &mut Tx,
    workspace: WorkspaceId,
    conversation: ConversationId,
    (before, after): (&str, &str),
) -> Result<()> {
    add_words(tx, workspace, conversation, after).await?;
    let mut gone: BTreeSet<String> = kept_of(before).collect();
    for word in kept_of(after) {
        gone.remove(&word);
    }
    let mut seq = 0;
    while !gone.is_empty() {
        let said = messages::list(tx, workspace, conversation, seq, MESSAGES).await?;
        let Some(last) = said.last() else { break };
        seq = last.seq;
        for word in said.iter().flat_map(|message| kept_of(&message.content)) {
            gone.remove(&word);
        }
    }
    if gone.is_empty() {
        return Ok(());
    }
    let gone: Vec<[String; 1]> = gone.into_iter().map(|word| [word]).collect();
    tx.statement(with_rows!(
        "DELETE FROM conversation_words
        WHERE workspace_id = $1
            AND conversation_id = $2
            AND word IN (
                SELECT value->>0
                FROM ",
        "$3",
        ")"
    ))
    .bind(Id(workspace))
    .bind(Id(conversation))
    .json(&gone)
    .later()
    .await
}

/// The words of a text that are kept.
fn kept_of(text: &str) -> impl Iterator<Item = String> {
    search_words(text).into_iter().take(MOST)
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
