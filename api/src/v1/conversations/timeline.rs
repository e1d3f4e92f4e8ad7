//! Everything that happened in a conversation in one list, and who took part.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};

use axum::extract::State;
use domain::inbox::{By, ConversationEvent, Happening};
use domain::lead::Lead;
use domain::message::Author;
use domain::{Action, ConversationId, MessageId, UserId, WorkspaceId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use storage::timeline::{self, TimelineEntry, TimelineKind, TimelineOrder};
use storage::{Conn, agents, contacts, conversations, inbox, leads, members, messages, notes};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::super::paging::{List, Meta};
use super::found;
use super::notes::NoteView;
use super::views::{FeedbackView, MessageView, whole};
use crate::auth::Caller;
use crate::error::{ApiError, ApiResult};
use crate::extract::{Id, Json, Query};
use crate::paging::whole_number;
use crate::routes::Routes;
use crate::state::AppState;

/// Events read at once.
const EVENTS: i64 = 1_000;
/// Messages read at once.
const MESSAGES: i64 = 500;

pub(super) fn routes() -> Routes {
    Routes::new()
        .panel(Action::ReadConversations, routes!(list))
        .panel(Action::ReadConversations, routes!(participants))
}

/// Which part of a timeline.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct TimelineQuery {
    /// Which page, from 1.
    #[param(value_type = i64, minimum = 1, default = 1, required = false)]
    page: Option<String>,
    /// Entries of a page.
    #[param(value_type = i64, minimum = 1, maximum = 100, default = 10, required = false)]
    take: Option<String>,
    /// `ASC` (oldest first) or `DESC`.
    #[param(value_type = String, pattern = "^(ASC|DESC)$", default = "ASC", required = false)]
    order: Option<String>,
}

/// An entry of a timeline: what `type` names is there, and nothing else of these.
#[derive(Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = TimelineEntry)]
struct EntryView {
    /// `message`, `event`, `note`, `lead`, `feedback` or `rating`.
    #[serde(rename = "type")]
    #[schema(pattern = "^(message|event|note|lead|feedback|rating)$")]
    kind: &'static str,
    /// RFC 3339.
    #[schema(format = DateTime)]
    at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    message: Option<MessageView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    event: Option<EventView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    note: Option<NoteView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    lead: Option<LeadView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    feedback: Option<AnswerFeedbackView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    rating: Option<RatingView>,
}

/// What somebody did to the conversation.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TimelineEvent)]
struct EventView {
    /// `handoff-requested`, `taken-over`, `assigned`, `unassigned`, `handed-back`, `marked-pending`, `closed`,
    /// `reopened`, `customer-returned`, `tagged`, `prioritised`, `snoozed`, `unsnoozed` or `renamed`.
    #[schema(example = "assigned")]
    kind: &'static str,
    /// The id of a person or an API key, or `agent`, `customer`, `system`.
    by: String,
    /// The person's name, where it is one whose account is there.
    #[serde(rename = "byName", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    by_name: Option<String>,
    /// Ids and small facts, by kind.
    #[schema(value_type = Object)]
    details: Value,
}

/// What the customer left to be called back.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TimelineLead)]
struct LeadView {
    #[schema(pattern = "^lead_[0-9a-f]{32}$")]
    id: String,
    /// By the names of the agent's fields.
    fields: BTreeMap<String, String>,
}

/// What the customer thinks of an answer.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = TimelineFeedback)]
struct AnswerFeedbackView {
    #[schema(pattern = "^msg_[0-9a-f]{32}$")]
    message_id: String,
    #[serde(flatten)]
    given: FeedbackView,
}

/// What the customer thinks of the conversation.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TimelineRating)]
struct RatingView {
    /// 5 is best.
    #[schema(minimum = 1, maximum = 5)]
    rating: i64,
    comment: Option<String>,
}

/// Who took part in a conversation.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ConversationParticipant)]
struct ParticipantView {
    /// `customer`, `agent` or `operator`.
    #[serde(rename = "type")]
    #[schema(pattern = "^(customer|agent|operator)$")]
    kind: &'static str,
    /// Of a customer who is known, the contact's; of an agent or an operator, theirs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    id: Option<String>,
    /// Where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "Andrea")]
    name: Option<String>,
    /// Messages that they wrote.
    #[schema(minimum = 0)]
    messages: i64,
    /// Of an operator: whether they were given the conversation, or took it.
    assigned: bool,
}

/// Get the timeline of a conversation
///
/// Messages, notes, what was done to it, leads and ratings, in one order.
#[utoipa::path(
    get,
    path = "/v1/conversations/{conversationId}/timeline",
    tag = "Conversation threads",
    operation_id = "getTimeline",
    params(("conversationId" = String, Path), TimelineQuery),
    responses((status = 200, description = "A page of entries.", body = List<EntryView>)),
)]
#[tracing::instrument(name = "handler.v1.conversations.timeline.list", skip_all)]
async fn list(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<ConversationId>,
    Query(query): Query<TimelineQuery>,
) -> ApiResult<Json<List<EntryView>>> {
    let number = |field, text: &Option<String>, default, most| match text {
        Some(text) => whole_number(field, text, 1, most),
        None => Ok(default),
    };
    let page = number("page", &query.page, 1, i64::from(u32::MAX))?;
    let take = number("take", &query.take, 10, 100)?;
    let order = match query.order.as_deref() {
        None | Some("ASC") => TimelineOrder::OldestFirst,
        Some("DESC") => TimelineOrder::NewestFirst,
        Some(_) => return Err(ApiError::invalid("order", "`order` must be ASC or DESC")),
    };
    let workspace = caller.workspace();
    let mut conn = state.db.read().await?;
    found(&mut conn, &caller, id).await?;
    let all = timeline::count(&mut conn, workspace, id).await?;
    let place = (take, (page - 1) * take);
    let entries = timeline::page(&mut conn, workspace, id, order, place).await?;
    let mut facts = Facts::of(&mut conn, workspace, id, &entries).await?;
    let data = entries.iter().map(|entry| facts.view(entry)).collect();
    let whole = |number: i64| usize::try_from(number).unwrap_or(0);
    Ok(Json(List { data, meta: Meta::of(whole(page), whole(take), whole(all)) }))
}

/// What the entries of a page are about.
#[derive(Default)]
struct Facts {
    messages: HashMap<String, MessageView>,
    notes: HashMap<String, NoteView>,
    events: HashMap<i64, ConversationEvent>,
    names: HashMap<UserId, String>,
    feedback: HashMap<String, FeedbackView>,
    lead: Option<Lead>,
    rating: Option<conversations::ConversationRating>,
}

impl Facts {
    async fn of(
        conn: &mut Conn,
        workspace: WorkspaceId,
        id: ConversationId,
        entries: &[TimelineEntry],
    ) -> ApiResult<Self> {
        let ids = |kind: TimelineKind| -> Vec<MessageId> {
            let of_kind = entries.iter().filter(|entry| entry.kind == kind);
            of_kind.filter_map(|entry| entry.id.parse().ok()).collect()
        };
        let has = |kind: TimelineKind| entries.iter().any(|entry| entry.kind == kind);
        let mut facts = Self::default();
        let places = entries.iter().filter(|entry| entry.kind == TimelineKind::Message);
        let places: Vec<i64> = places.map(|entry| entry.place).collect();
        if let (Some(first), Some(last)) = (places.iter().min(), places.iter().max()) {
            let found = messages::list(conn, workspace, id, first - 1, last - first + 1).await?;
            for view in whole(conn, workspace, found).await? {
                facts.messages.insert(view.id.clone(), view);
            }
        }
        if has(TimelineKind::Note) {
            for note in notes::list(conn, workspace, id).await? {
                let view = NoteView::from(note);
                facts.notes.insert(view.id.clone(), view);
            }
        }
        if has(TimelineKind::Event) {
            for event in events(conn, workspace, id).await? {
                facts.events.insert(event.number, event);
            }
            for member in members::list(conn, workspace).await? {
                facts.names.insert(member.user.id, member.user.name);
            }
        }
        let rated = ids(TimelineKind::Feedback);
        if !rated.is_empty() {
            for (message, rating, comment) in messages::feedbacks(conn, workspace, &rated).await? {
                let view = FeedbackView { rating: rating.into(), comment };
                facts.feedback.insert(message.to_string(), view);
            }
        }
        if has(TimelineKind::Lead) {
            facts.lead = leads::of_conversation(conn, workspace, id).await?;
        }
        if has(TimelineKind::Rating) {
            let ratings = conversations::ratings(conn, workspace, &[id]).await?;
            facts.rating = ratings.into_iter().next().map(|(_, rating)| rating);
        }
        Ok(facts)
    }

    fn view(&mut self, entry: &TimelineEntry) -> EntryView {
        let view = EntryView { at: entry.at.to_rfc3339(), ..EntryView::default() };
        match entry.kind {
            TimelineKind::Message => {
                EntryView { kind: "message", message: self.messages.remove(&entry.id), ..view }
            }
            TimelineKind::Note => {
                EntryView { kind: "note", note: self.notes.remove(&entry.id), ..view }
            }
            TimelineKind::Event => {
                let event = self.events.remove(&entry.place).map(|event| self.event(event));
                EntryView { kind: "event", event, ..view }
            }
            TimelineKind::Lead => {
                let lead = self.lead.take();
                let lead =
                    lead.map(|lead| LeadView { id: lead.id.to_string(), fields: lead.fields });
                EntryView { kind: "lead", lead, ..view }
            }
            TimelineKind::Feedback => {
                let given = self.feedback.remove(&entry.id);
                let feedback =
                    given.map(|given| AnswerFeedbackView { message_id: entry.id.clone(), given });
                EntryView { kind: "feedback", feedback, ..view }
            }
            TimelineKind::Rating => {
                let rating = self.rating.take();
                let rating =
                    rating.map(|given| RatingView { rating: given.rating, comment: given.comment });
                EntryView { kind: "rating", rating, ..view }
            }
        }
    }

    fn event(&self, event: ConversationEvent) -> EventView {
        let by_name = match event.by {
            By::User(user) => self.names.get(&user).cloned(),
            By::Key(_) | By::Agent | By::Customer | By::System => None,
        };
        EventView {
            kind: event.kind.name(),
            by: event.by.to_string(),
            by_name,
            details: event.details,
        }
    }
}

async fn events(
    conn: &mut Conn,
    workspace: WorkspaceId,
    id: ConversationId,
) -> ApiResult<Vec<ConversationEvent>> {
    let mut all: Vec<ConversationEvent> = Vec::new();
    loop {
        let after = all.last().map_or(0, |event| event.number);
        let page = inbox::history(conn, workspace, id, after, EVENTS).await?;
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page);
    }
}

/// Get who took part in a conversation
///
/// The customer, the agent, and the operators who wrote in it or had it.
#[utoipa::path(
    get,
    path = "/v1/conversations/{conversationId}/participants",
    tag = "Conversation threads",
    operation_id = "listParticipants",
    params(("conversationId" = String, Path)),
    responses((status = 200, description = "The customer, the agent, then the operators in the order of their ids.", body = List<ParticipantView>)),
)]
#[tracing::instrument(name = "handler.v1.conversations.timeline.participants", skip_all)]
async fn participants(
    State(state): State<AppState>,
    caller: Caller,
    Id(id): Id<ConversationId>,
) -> ApiResult<Json<List<ParticipantView>>> {
    let workspace = caller.workspace();
    let mut conn = state.db.read().await?;
    let conversation = found(&mut conn, &caller, id).await?;
    let mut said = Said::default();
    let mut after = 0;
    loop {
        let page = messages::list(&mut conn, workspace, id, after, MESSAGES).await?;
        let Some(last) = page.last() else { break };
        after = last.seq;
        said.count(&page);
    }
    let contact = match conversation.contact_id {
        Some(contact) => contacts::get(&mut conn, workspace, contact).await?,
        None => None,
    };
    let customer = ParticipantView {
        kind: "customer",
        id: contact.as_ref().map(|contact| contact.id.to_string()),
        name: contact.and_then(|contact| {
            let names: Vec<String> =
                [contact.first_name, contact.last_name].into_iter().flatten().collect();
            (!names.is_empty()).then(|| names.join(" "))
        }),
        messages: said.customer,
        assigned: false,
    };
    let agent = agents::get(&mut conn, workspace, conversation.agent_id).await?;
    let agent = ParticipantView {
        kind: "agent",
        id: Some(conversation.agent_id.to_string()),
        name: agent.map(|agent| agent.name),
        messages: said.agent,
        assigned: false,
    };
    let mut data = vec![customer, agent];
    data.extend(operators(&mut conn, workspace, id, said).await?);
    Ok(Json(List::whole(data)))
}

/// How many messages each wrote.
#[derive(Default)]
struct Said {
    customer: i64,
    agent: i64,
    operators: BTreeMap<UserId, (String, i64)>,
}

impl Said {
    fn count(&mut self, page: &[domain::message::Message]) {
        for message in page {
            match (message.author, &message.operator) {
                (Author::Customer, _) => self.customer += 1,
                (Author::Agent, _) => self.agent += 1,
                (Author::Operator, Some(operator)) => {
                    let of = self.operators.entry(operator.id);
                    of.or_insert_with(|| (operator.name.clone(), 0)).1 += 1;
                }
                // The account is gone, and with it who it was.
                (Author::Operator, None) => {}
            }
        }
    }
}

async fn operators(
    conn: &mut Conn,
    workspace: WorkspaceId,
    id: ConversationId,
    said: Said,
) -> ApiResult<Vec<ParticipantView>> {
    let mut all: BTreeMap<UserId, ParticipantView> = BTreeMap::new();
    for (user, (name, messages)) in said.operators {
        all.insert(user, operator(user, Some(name), messages));
    }
    for event in events(conn, workspace, id).await? {
        if !matches!(event.kind, Happening::Assigned | Happening::TakenOver) {
            continue;
        }
        let given = event.details["assigneeId"].as_str().and_then(|user| user.parse().ok());
        let Some(user) = given else { continue };
        let known = match all.entry(user) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let member = members::get(conn, workspace, user).await?;
                place.insert(operator(user, member.map(|member| member.user.name), 0))
            }
        };
        known.assigned = true;
    }
    Ok(all.into_values().collect())
}

fn operator(user: UserId, name: Option<String>, messages: i64) -> ParticipantView {
    ParticipantView {
        kind: "operator",
        id: Some(user.to_string()),
        name,
        messages,
        assigned: false,
    }
}
