//! A turn that waits for a person's word, as it is stored: everything that it needs to go on, whichever process does it
//! and however late.

use std::sync::Arc;

use domain::datastore::{Chunk, LiveChunk};
use domain::message::Outcome;
use domain::{ApiKeyId, ChunkId, DatastoreId, Lang, MessageId, SourceId, WorkspaceId};
use models::{ChatMessage, ChatRole, Image, ToolCall};
use retrieval::{Around, ComponentScores, Hit};
use serde::{Deserialize, Serialize};
use serde_json::Map;

use crate::prepare::Answering;

/// The turn so far.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PausedTurn {
    pub(crate) messages: Vec<StoredMessage>,
    /// The id of the call that waits, which the next message answers.
    pub(crate) call: String,
    /// What the answer may cite, number 1 first.
    pub(crate) passages: Vec<StoredHit>,
    /// Rounds in which tools were called.
    pub(crate) rounds: u32,
    /// What tools told so far: an answer may rest on it.
    pub(crate) told: Vec<String>,
    /// What the customer has said.
    pub(crate) said: Vec<String>,
    pub(crate) question: String,
    pub(crate) evidence: f64,
    pub(crate) gated: bool,
    pub(crate) outcome: String,
    pub(crate) lang: String,
    /// Who asked, for the ledger and the budgets.
    pub(crate) api_key: Option<ApiKeyId>,
    pub(crate) visitor: Option<String>,
    /// The message that the customer sent, which the answer replies to.
    pub(crate) asked: MessageId,
}

impl PausedTurn {
    pub(crate) fn answering(&self) -> Answering {
        let outcome = Outcome::ALL.into_iter().find(|outcome| outcome.name() == self.outcome);
        Answering {
            question: self.question.clone(),
            evidence: self.evidence,
            gated: self.gated,
            outcome: outcome.unwrap_or(Outcome::Answered),
        }
    }

    pub(crate) fn lang(&self) -> Lang {
        lang_of(&self.lang)
    }
}

fn lang_of(code: &str) -> Lang {
    Lang::KNOWN.into_iter().find(|lang| lang.code() == code).unwrap_or(Lang::Other)
}

/// A message of the request.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StoredMessage {
    role: String,
    content: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    images: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    calls: Vec<StoredCall>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    answers: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredCall {
    id: String,
    name: String,
    arguments: String,
}

const ROLES: [(&str, ChatRole); 4] = [
    ("system", ChatRole::System),
    ("user", ChatRole::User),
    ("assistant", ChatRole::Assistant),
    ("tool", ChatRole::Tool),
];

impl From<&ChatMessage> for StoredMessage {
    fn from(message: &ChatMessage) -> Self {
        let role = ROLES.iter().find(|(_, role)| *role == message.role);
        let call = |call: &ToolCall| StoredCall {
            id: call.id.clone(),
            name: call.name.clone(),
            arguments: call.arguments.clone(),
        };
        Self {
            role: role.map_or("user", |(name, _)| name).to_owned(),
            content: message.content.as_ref().to_owned(),
            images: message.images.iter().map(|image| image.address().to_owned()).collect(),
            calls: message.tool_calls.iter().map(call).collect(),
            answers: message.answers.clone(),
        }
    }
}

impl From<StoredMessage> for ChatMessage {
    fn from(stored: StoredMessage) -> Self {
        let role = ROLES.iter().find(|(name, _)| *name == stored.role);
        let call =
            |call: StoredCall| ToolCall { id: call.id, name: call.name, arguments: call.arguments };
        Self {
            role: role.map_or(ChatRole::User, |(_, role)| *role),
            content: stored.content.into(),
            images: stored.images.into_iter().map(Image::new).collect(),
            tool_calls: stored.calls.into_iter().map(call).collect(),
            answers: stored.answers,
        }
    }
}

/// A passage as it was shown to the model: its source may be another one by the time that the turn goes on.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StoredHit {
    id: ChunkId,
    datastore: DatastoreId,
    source: SourceId,
    version: i64,
    ordinal: i64,
    text: String,
    heading: String,
    page: Option<i64>,
    start: i64,
    end: i64,
    tokens: i64,
    lang: String,
    source_name: String,
    url: Option<String>,
    score: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<StoredPart>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<StoredPart>,
}

/// What is joined to a passage: of the same version of the same source.
#[derive(Debug, Serialize, Deserialize)]
struct StoredPart {
    id: ChunkId,
    ordinal: i64,
    text: String,
    heading: String,
    page: Option<i64>,
    start: i64,
    end: i64,
    tokens: i64,
    lang: String,
}

impl From<&Chunk> for StoredPart {
    fn from(chunk: &Chunk) -> Self {
        Self {
            id: chunk.id,
            ordinal: chunk.ordinal,
            text: chunk.text.clone(),
            heading: chunk.heading.clone(),
            page: chunk.page,
            start: chunk.start,
            end: chunk.end,
            tokens: chunk.tokens,
            lang: chunk.lang.code().to_owned(),
        }
    }
}

impl StoredPart {
    /// As a chunk of the source of `hit`.
    fn beside(self, hit: &Chunk) -> Arc<Chunk> {
        Arc::new(Chunk {
            id: self.id,
            ordinal: self.ordinal,
            text: self.text,
            heading: self.heading,
            page: self.page,
            start: self.start,
            end: self.end,
            tokens: self.tokens,
            lang: lang_of(&self.lang),
            ..hit.clone()
        })
    }
}

impl From<&Hit> for StoredHit {
    fn from(hit: &Hit) -> Self {
        let LiveChunk { chunk, source_name, url, .. } = &*hit.live;
        Self {
            id: chunk.id,
            datastore: chunk.datastore_id,
            source: chunk.source_id,
            version: chunk.version,
            ordinal: chunk.ordinal,
            text: chunk.text.clone(),
            heading: chunk.heading.clone(),
            page: chunk.page,
            start: chunk.start,
            end: chunk.end,
            tokens: chunk.tokens,
            lang: chunk.lang.code().to_owned(),
            source_name: source_name.clone(),
            url: url.clone(),
            score: hit.score,
            before: hit.around.before.as_deref().map(StoredPart::from),
            after: hit.around.after.as_deref().map(StoredPart::from),
        }
    }
}

impl StoredHit {
    pub(crate) fn into_hit(self, workspace: WorkspaceId) -> Hit {
        let chunk = Chunk {
            id: self.id,
            workspace_id: workspace,
            datastore_id: self.datastore,
            source_id: self.source,
            version: self.version,
            ordinal: self.ordinal,
            text: self.text,
            heading: self.heading,
            page: self.page,
            start: self.start,
            end: self.end,
            tokens: self.tokens,
            lang: lang_of(&self.lang),
        };
        let around = Around {
            before: self.before.map(|part| part.beside(&chunk)),
            after: self.after.map(|part| part.beside(&chunk)),
        };
        let live =
            LiveChunk { chunk, source_name: self.source_name, url: self.url, metadata: Map::new() };
        let scores = ComponentScores::default();
        Hit { live: Arc::new(live), score: self.score, scores, around }
    }
}
