//! `lead-capture`: what a customer leaves is checked, put on the contact that it names, and told by an event.

use std::collections::BTreeMap;

use domain::agent::{Agent, ToolKind};
use domain::contact::ContactDetails;
use domain::conversation::{Conversation, Handler};
use domain::lead::Lead;
use domain::tool::{LeadField, LeadFieldKind, LeadSettings, ToolSettings};
use domain::{AgentId, DomainError, MessageId, text};
use serde_json::{Map, Value, json};
use storage::{StorageError, Tx, contacts, conversations, events, leads};

use super::Called;
use crate::run::Work;
use crate::turn::Inner;

pub(super) const NAME: &str = "capture_lead";

/// Longest value of a field, in characters.
const MAX_VALUE: usize = 500;

/// Digits of a phone number that must have been written by the customer: the country's may be missing.
const OWN_DIGITS: usize = 7;

pub(super) fn spec(settings: &LeadSettings) -> (String, Value) {
    let mut properties = Map::new();
    for field in &settings.fields {
        let kind = match field.kind() {
            LeadFieldKind::Name => "the customer's name",
            LeadFieldKind::Email => "the customer's e-mail address",
            LeadFieldKind::Phone => "the customer's phone number",
            LeadFieldKind::Text => "what the customer said",
        };
        let description = field.description.as_deref().unwrap_or(kind);
        properties
            .insert(field.name.clone(), json!({"type": "string", "description": description}));
    }
    let required: Vec<&str> = settings
        .fields
        .iter()
        .filter(|field| field.required)
        .map(|field| field.name.as_str())
        .collect();
    let mut description = "Notes what the customer tells about themselves so that the business can get back to \
        them. Call it with what the customer has written, never with guesses, as soon as it is written; call \
        it again for what is added later."
        .to_owned();
    if !required.is_empty() {
        description.push_str(" Ask for what is still missing of: ");
        description.push_str(&required.join(", "));
        description.push('.');
    }
    let parameters =
        json!({"type": "object", "properties": properties, "additionalProperties": false});
    (description, parameters)
}

/// Checks and stores what the model gives. The turn must still be this process's, and the agent's.
pub(super) async fn run(
    work: &Work,
    settings: &LeadSettings,
    arguments: &Map<String, Value>,
    said: &[String],
) -> Called {
    let general = work.inner.options.defaults.default_country.as_deref();
    let country = settings.country.as_deref().or(general);
    let (mut fields, mut wrong) = (BTreeMap::new(), Vec::new());
    for field in &settings.fields {
        let Some(value) = given(arguments, &field.name) else { continue };
        match check(field, &value, country, said) {
            Ok(value) => {
                fields.insert(field.name.clone(), value);
            }
            Err(reason) => wrong.push(reason),
        }
    }
    if fields.is_empty() {
        wrong.push("nothing was noted".to_owned());
        return Called::Failed(wrong.join("; "));
    }
    let details = details_of(settings, &fields);
    match Box::pin(store(work, details, fields)).await {
        Ok(Some(lead)) => Called::Told(told(settings, &lead, &wrong)),
        Ok(None) => {
            Called::Failed("a person has taken the conversation over; nothing was noted".to_owned())
        }
        Err(error) => {
            tracing::warn!(%error, "a lead could not be stored");
            Called::Failed("it could not be stored now; nothing was noted".to_owned())
        }
    }
}

/// The settings of the agent's tool; the defaults for a row that no longer reads.
pub(crate) fn lead_settings(agent: &Agent) -> Option<LeadSettings> {
    let tool = agent.tool(ToolKind::LeadCapture)?;
    match ToolSettings::read("tools", tool) {
        Ok(ToolSettings::Lead(settings)) => Some(settings),
        _ => Some(LeadSettings::default()),
    }
}

/// What is noted by rule, by the names of the agent's fields.
pub(crate) fn fields_of(
    settings: &LeadSettings,
    details: &ContactDetails,
) -> BTreeMap<String, String> {
    let known = [
        (LeadFieldKind::Email, "email", &details.email),
        (LeadFieldKind::Phone, "phone", &details.phone),
    ];
    let mut fields = BTreeMap::new();
    for (kind, general, value) in known {
        let Some(value) = value else { continue };
        let own = settings.fields.iter().find(|field| field.kind() == kind);
        let name = own.map_or(general, |field| field.name.as_str());
        fields.insert(name.to_owned(), value.clone());
    }
    fields
}

/// What is noted of a customer, and where.
#[derive(Debug)]
pub(crate) struct Note<'a> {
    pub(crate) agent: AgentId,
    /// The message that told it.
    pub(crate) message: MessageId,
    pub(crate) details: &'a ContactDetails,
    pub(crate) fields: BTreeMap<String, String>,
}

/// Puts the details on the conversation's contact, or on the one that they name, and notes the lead.
pub(crate) async fn note_lead(
    inner: &Inner,
    tx: &mut Tx,
    conversation: &mut Conversation,
    note: Note<'_>,
) -> Result<Lead, StorageError> {
    let (workspace, now) = (conversation.workspace_id, inner.ambient.now());
    let mut details = note.details.clone();
    if !details.is_empty()
        && let Some(id) = conversation.contact_id
        && let Some(known) = contacts::get(tx, workspace, id).await?
    {
        // What is known already leads to the contact that the conversation has.
        details.email = details.email.or(known.email);
        details.phone = details.phone.or(known.phone);
    }
    let visitor = conversation.visitor_id.clone();
    let contact =
        contacts::resolve(tx, &inner.ambient, workspace, visitor.as_ref(), &details).await?;
    if let Some(contact) = &contact
        && conversation.contact_id != Some(contact.id)
    {
        conversations::set_contact(tx, workspace, conversation.id, contact.id).await?;
        conversation.contact_id = Some(contact.id);
    }
    let lead = Lead {
        id: inner.ambient.new_id(),
        agent_id: note.agent,
        conversation_id: conversation.id,
        contact_id: conversation.contact_id,
        fields: note.fields,
        created_at: now,
        updated_at: now,
    };
    let lead = leads::note(tx, workspace, &lead).await?;
    let payload = json!({
        "contactId": lead.contact_id,
        "conversationId": conversation.id,
        "agentId": note.agent,
        "messageId": note.message,
    });
    let subject = lead.id.to_string();
    events::insert(tx, workspace, "lead.captured", &subject, &payload, now).await?;
    Ok(lead)
}

async fn store(
    work: &Work,
    details: ContactDetails,
    fields: BTreeMap<String, String>,
) -> Result<Option<Lead>, StorageError> {
    let (workspace, id) = (work.workspace(), work.conversation.id);
    let now = work.inner.ambient.now();
    let mut tx = work.inner.db.write().await?;
    let turn = work.inner.running.lock(work.answer, now);
    if !conversations::lock_turn(&mut tx, workspace, id, &turn, now).await? {
        return Ok(None);
    }
    let conversation = conversations::get(&mut tx, workspace, id).await?;
    let Some(mut conversation) = conversation.filter(|found| found.handler == Handler::Bot) else {
        return Ok(None);
    };
    let note = Note { agent: work.agent.id, message: work.question.id, details: &details, fields };
    let lead = note_lead(&work.inner, &mut tx, &mut conversation, note).await?;
    tx.commit().await?;
    Ok(Some(lead))
}

/// A value of the model's; numbers are taken as their digits.
fn given(arguments: &Map<String, Value>, name: &str) -> Option<String> {
    let value = match arguments.get(name)? {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    (!value.is_empty()).then_some(value)
}

/// The value as it is stored, or what is wrong with it. Addresses and numbers must be the customer's own words:
/// models make them up.
fn check(
    field: &LeadField,
    value: &str,
    country: Option<&str>,
    said: &[String],
) -> Result<String, String> {
    let name = field.name.as_str();
    let wrong = |error: DomainError| error.message;
    match field.kind() {
        LeadFieldKind::Name => text::required(name, value, 200).map_err(wrong),
        LeadFieldKind::Text => text::required(name, value, MAX_VALUE).map_err(wrong),
        LeadFieldKind::Email => {
            let email = text::email(name, value).map_err(wrong)?;
            let written = said.iter().any(|text| text.to_lowercase().contains(&email));
            if written { Ok(email) } else { Err(not_written(name)) }
        }
        LeadFieldKind::Phone => {
            let phone = text::phone(name, value, country).map_err(wrong)?;
            let own = &phone[phone.len().saturating_sub(OWN_DIGITS)..];
            let written = said.iter().any(|text| digits(text).contains(own));
            if written { Ok(phone) } else { Err(not_written(name)) }
        }
    }
}

fn not_written(name: &str) -> String {
    format!("`{name}` is nothing that the customer has written; ask for it")
}

fn digits(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}

/// What of the fields is known of every contact.
fn details_of(settings: &LeadSettings, fields: &BTreeMap<String, String>) -> ContactDetails {
    let value = |kind| {
        let field = settings.fields.iter().find(|field| field.kind() == kind)?;
        fields.get(&field.name).cloned()
    };
    let name = value(LeadFieldKind::Name);
    let (first_name, last_name) = match name.as_deref().map(|name| name.split_once(' ')) {
        Some(Some((first, last))) => (Some(first.to_owned()), Some(last.trim().to_owned())),
        _ => (name, None),
    };
    ContactDetails {
        first_name,
        last_name,
        email: value(LeadFieldKind::Email),
        phone: value(LeadFieldKind::Phone),
    }
}

fn told(settings: &LeadSettings, lead: &Lead, wrong: &[String]) -> String {
    let noted: Vec<&String> = lead.fields.keys().collect();
    let missing: Vec<&str> = settings
        .fields
        .iter()
        .filter(|field| field.required && !lead.fields.contains_key(&field.name))
        .map(|field| field.name.as_str())
        .collect();
    json!({"noted": noted, "refused": wrong, "stillMissing": missing}).to_string()
}
