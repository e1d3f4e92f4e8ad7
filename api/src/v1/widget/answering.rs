//! A visitor's message on its way: stored at once, answered by a turn that goes on without a reader.

use std::borrow::Cow;
use std::collections::BTreeMap;

use ::agents::{Follow, Rendered, Resumable, ToolPhase, Turn, TurnEvent, TurnRequest};
use domain::agent_version::Edition;
use domain::contact::ContactDetails;
use domain::conversation::{Channel, Conversation, Handler};
use domain::message::Message;
use domain::widget::LeadFormWhen;
use domain::{AgentId, ConversationId, DomainError, ErrorKind, Lang, MessageId, text};
use serde::Serialize;
use serde_json::json;
use storage::{Conn, agents, conversations, messages};
use utoipa::ToSchema;

use super::details::Details;
use super::views::{self, CitationView, ConversationView, MessageView};
use super::{attachments, own_conversation, read_conversation};
use crate::error::{ApiError, ApiResult, source_chain};
use crate::state::AppState;
use crate::visitors::{Guest, Site, polite};

/// Longest text of a message, in characters.
const MAX_CONTENT: usize = 8_000;
/// Longest id that a page gives a message.
const MAX_CLIENT_ID: usize = 100;

/// What a visitor says.
#[derive(Debug, Clone, Default)]
pub(super) struct Said {
    pub content: String,
    /// Uploads that go with it.
    pub files: Vec<String>,
    /// Who they say that they are.
    pub details: Option<Details>,
    /// `None` begins one.
    pub conversation: Option<String>,
    /// The page's own id of the message, so that it is one however often it is sent.
    pub client_id: Option<String>,
}

/// A message that is stored, and what comes of it.
pub(super) struct Answering {
    pub conversation: ConversationId,
    /// As it is stored.
    pub question: Message,
    answer: Option<MessageId>,
    source: Source,
    is_over: bool,
}

enum Source {
    /// It is being answered, whether it is followed or not.
    Follow(Follow),
    /// What comes is known.
    Turn(Turn),
    /// Nobody answers.
    Nobody,
}

/// Something that happens on the way to the answer.
#[derive(Debug)]
pub(super) struct Piece {
    /// `source`, `tool`, `token`, `done` or `error`.
    pub kind: Cow<'static, str>,
    /// JSON.
    pub data: String,
}

/// What became of a message.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = VisitorMessageSent)]
pub(super) struct Sent {
    #[schema(pattern = "^conv_[0-9a-f]{32}$")]
    pub conversation_id: String,
    /// As it is stored.
    pub message: MessageView,
    /// What the agent says; null while people have the conversation, and where the agent does not answer.
    pub reply: Option<MessageView>,
    /// As it stands now.
    pub conversation: ConversationView,
}

impl Answering {
    /// Stores a message and has it answered. 404 for a conversation that is not the visitor's own; nothing is made then.
    pub async fn begin(state: &AppState, guest: &Guest, said: Said) -> ApiResult<Self> {
        let request = check(state, guest, said).await?;
        let client_id = request.client_id.clone().unwrap_or_default();
        let workspace = request.workspace;
        let begun = match state.agents.start_resumable(request.clone(), render).await {
            Err(error) if error.code == "AGENT_PAUSED" => {
                let left = state.agents.keep(request).await?;
                return Ok(Self {
                    conversation: left.conversation.id,
                    question: left.message,
                    answer: None,
                    source: Source::Nobody,
                    is_over: false,
                });
            }
            begun => begun?,
        };
        let (conversation, answer, source) = match begun {
            Resumable::Following(follow) => {
                (follow.conversation, follow.message, Source::Follow(follow))
            }
            Resumable::Told(turn) => (turn.conversation, turn.message, Source::Turn(turn)),
        };
        let mut conn = state.db.read().await?;
        let question =
            messages::of_client_in(&mut conn, workspace, conversation, &client_id).await?;
        let question = question.ok_or_else(ApiError::internal)?;
        Ok(Self { conversation, question, answer: Some(answer), source, is_over: false })
    }

    /// The id that the answer has, or will have.
    pub fn answer(&self) -> Option<MessageId> {
        self.answer
    }

    /// What happens next; none after `done` or `error`, and when nobody answers. May be dropped: nothing ends by it.
    pub async fn next(&mut self) -> Option<Vec<Piece>> {
        let next = self.next_of_source().await;
        self.is_over = next.is_none();
        next
    }

    async fn next_of_source(&mut self) -> Option<Vec<Piece>> {
        match &mut self.source {
            Source::Follow(follow) => {
                let events = follow.next().await?;
                let piece = |kind: &str, data: &str| Piece {
                    kind: Cow::Owned(kind.to_owned()),
                    data: data.to_owned(),
                };
                Some(events.iter().map(|event| piece(&event.kind, &event.data)).collect())
            }
            Source::Turn(turn) => {
                let Rendered { kind, data } = render(turn.events.recv().await?);
                Some(vec![Piece { kind: Cow::Borrowed(kind), data }])
            }
            Source::Nobody => None,
        }
    }

    /// Whether nothing follows because nobody answers.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// Waits for the end; whether it was answered, or stored for people. The answer itself is read from where it is
    /// stored.
    pub async fn end(&mut self) -> ApiResult<()> {
        while let Some(pieces) = self.next().await {
            for piece in pieces {
                if let Some(error) = failure(&piece) {
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// What became of it, as it is stored.
    pub async fn sent(&self, state: &AppState, guest: &Guest) -> ApiResult<Sent> {
        let workspace = guest.site.workspace;
        let mut conn = state.db.read().await?;
        let conversation = own_conversation(&mut conn, guest, self.conversation).await?;
        let reply = messages::reply(&mut conn, workspace, self.question.id).await?;
        let both = [Some(self.question.clone()), reply].into_iter().flatten().collect();
        let mut both = views::of_messages(state, &mut conn, guest, both).await?.into_iter();
        let message = both.next().ok_or_else(ApiError::internal)?;
        Ok(Sent {
            conversation_id: self.conversation.to_string(),
            message,
            reply: both.next(),
            conversation: conversation.into(),
        })
    }
}

/// The error that a piece tells; none for one that says that a person took the conversation over, who answers instead.
pub(super) fn failure(piece: &Piece) -> Option<ApiError> {
    if piece.kind != "error" {
        return None;
    }
    let told: serde_json::Value = serde_json::from_str(&piece.data).unwrap_or_default();
    if told["code"] == "TAKEN_OVER" {
        return None;
    }
    let message =
        "the answer could not be written; send the message again with the same `clientMessageId`";
    let wait = std::time::Duration::from_secs(5);
    Some(DomainError::unavailable("ANSWER_FAILED", message, wait).into())
}

/// What a customer is told of an error.
pub(super) fn told_politely(error: &ApiError, language: Option<Lang>) -> serde_json::Value {
    let told = error.domain();
    let message = polite(told.code, told.kind, language);
    let message = message.map_or_else(|| error.message(language), str::to_owned);
    json!({"code": told.code, "message": message})
}

async fn check(state: &AppState, guest: &Guest, said: Said) -> ApiResult<TurnRequest> {
    let content = if said.files.is_empty() {
        text::required("content", &said.content, MAX_CONTENT)?
    } else {
        text::optional("content", &said.content, MAX_CONTENT)?
    };
    let client_id = match said.client_id {
        Some(id) => views::stored_client_id(&guest.visitor, &read_client_id(id)?),
        None => views::own_client_id(&guest.visitor, state.ambient.new_uuid()),
    };
    let mut conn = state.db.read().await?;
    let conversation = match &said.conversation {
        Some(id) => Some(own_conversation(&mut conn, guest, read_conversation(id)?).await?),
        None => None,
    };
    let country = state.settings.agents.default_country.as_deref();
    let known = said.details.unwrap_or_default().read("contact.", country)?;
    if conversation.is_none() && is_asked_first(&mut conn, guest).await? {
        known.check_form("contact.", &guest.site.project.widget.lead_form)?;
    }
    let agent = agent_of(&mut conn, guest, conversation.as_ref()).await?;
    let files = attachments::named(&mut conn, guest, &said.files).await?;
    drop(conn);
    state.visitors.count_message(guest)?;
    let is_answered = conversation.as_ref().is_none_or(|found| found.handler == Handler::Bot);
    let files = attachments::sent(state, guest, &files, is_answered).await?;
    let conversation = conversation.map(|found| found.id);
    let request = request(guest, agent, content, conversation, Some(client_id));
    Ok(TurnRequest { files, contact: known.contact, lead: known.fields, ..request })
}

/// Whether the widget's form comes before the first message, which this is.
async fn is_asked_first(conn: &mut Conn, guest: &Guest) -> ApiResult<bool> {
    let Site { workspace, project, .. } = &guest.site;
    if project.widget.lead_form.when != LeadFormWhen::BeforeChat {
        return Ok(false);
    }
    let before = conversations::of_visitor(conn, *workspace, project.id, &guest.visitor, 1).await?;
    Ok(before.is_empty())
}

/// A visitor's message for an agent.
pub(super) fn request(
    guest: &Guest,
    agent: AgentId,
    query: String,
    conversation: Option<ConversationId>,
    client_id: Option<String>,
) -> TurnRequest {
    TurnRequest {
        workspace: guest.site.workspace,
        agent,
        edition: Edition::default(),
        query,
        files: Vec::new(),
        lead: BTreeMap::new(),
        images: Vec::new(),
        conversation,
        history: Vec::new(),
        visitor: Some(guest.visitor.clone()),
        contact: ContactDetails::default(),
        channel: Channel::Web,
        project: Some(guest.site.project.id),
        client_id,
        api_key: None,
    }
}

/// Who answers: in a conversation that goes on who did before, else the widget's own agent, else the workspace's.
pub(super) async fn agent_of(
    conn: &mut Conn,
    guest: &Guest,
    conversation: Option<&Conversation>,
) -> ApiResult<AgentId> {
    if let Some(conversation) = conversation {
        return Ok(conversation.agent_id);
    }
    let workspace = guest.site.workspace;
    if let Some(id) = guest.site.project.widget.agent_id
        && agents::get(conn, workspace, id).await?.is_some()
    {
        return Ok(id);
    }
    let default = agents::default(conn, workspace).await?;
    let none = || DomainError::conflict("NO_AGENT", "the workspace has no agent; create one");
    Ok(default.ok_or_else(none)?.id)
}

pub(super) fn read_client_id(id: String) -> ApiResult<String> {
    let fits = (1..=MAX_CLIENT_ID).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.:".contains(&b));
    if fits {
        return Ok(id);
    }
    let message = format!(
        "`clientMessageId` must have 1 to {MAX_CLIENT_ID} letters, digits, `_`, `-`, `.` or `:`"
    );
    Err(ApiError::invalid("clientMessageId", message))
}

/// An event as the widget tells it: what operators named or a tool was told stays inside.
fn render(event: TurnEvent) -> Rendered {
    match event {
        TurnEvent::Tool(step) => {
            let status = match step.phase {
                ToolPhase::Running => "running",
                ToolPhase::Done => "done",
                ToolPhase::Failed => "failed",
                ToolPhase::Waiting => "waiting",
            };
            rendered("tool", &json!({"type": step.kind.name(), "status": status}))
        }
        TurnEvent::Token(text) => rendered("token", &json!({"text": text})),
        TurnEvent::Source(source) => rendered("source", &CitationView::from(source.citation)),
        // What is stored is read and told in its place.
        TurnEvent::Done(_) => rendered("done", &json!({})),
        TurnEvent::Error(error) => {
            if error.kind == ErrorKind::Internal {
                tracing::error!(error = source_chain(&error), "a visitor was not answered");
            }
            rendered("error", &json!({"code": error.code}))
        }
    }
}

fn rendered(kind: &'static str, data: &impl Serialize) -> Rendered {
    let data = serde_json::to_string(data).unwrap_or_else(|error| {
        tracing::error!(%error, "an event was not written");
        "null".to_owned()
    });
    Rendered { kind, data }
}
