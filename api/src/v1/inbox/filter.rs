//! Which conversations: the filters of the list, of the bulk actions.

use domain::conversation::ConversationStatus as Status;
use domain::{AgentId, ContactId, ProjectId, UserId};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use storage::inbox::{Assigned, Filter, Snoozed, sought};
use utoipa::ToSchema;

use super::words::{Channel, ConversationStatus, Handler, Priority, SnoozedFilter};
use crate::auth::Caller;
use crate::error::{ApiError, ApiResult};

/// Longest text that is searched for, in characters.
const MAX_CRITERIA: usize = 200;

/// Which conversations; all of it must hold.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ConversationFilter {
    pub status: Option<ConversationStatus>,
    pub channel: Option<Channel>,
    pub handler: Option<Handler>,
    /// `me`, `unassigned`, or the id of a member.
    pub assigned_to: Option<String>,
    #[schema(value_type = Option<String>, pattern = "^agent_[0-9a-f]{32}$")]
    pub agent_id: Option<AgentId>,
    #[schema(value_type = Option<String>, pattern = "^proj_[0-9a-f]{32}$")]
    pub project_id: Option<ProjectId>,
    #[schema(value_type = Option<String>, pattern = "^contact_[0-9a-f]{32}$")]
    pub contact_id: Option<ContactId>,
    /// The name of a tag.
    pub tag: Option<String>,
    pub priority: Option<Priority>,
    /// Only with messages that the caller has not read.
    pub unread: Option<bool>,
    /// What is put off is left out, unless it is asked for, or something is searched for.
    pub snoozed: Option<SnoozedFilter>,
    /// Words of titles and messages, of names, addresses and numbers of customers.
    #[schema(max_length = 200)]
    pub criteria: Option<String>,
}

impl ConversationFilter {
    /// The filter as the caller means it.
    pub fn checked(self, caller: &Caller) -> ApiResult<Filter> {
        let criteria = self.criteria.as_deref().map(str::trim).filter(|text| !text.is_empty());
        let words = match criteria {
            Some(text) => words_of(text)?,
            None => Vec::new(),
        };
        let everywhere = criteria.is_some() || self.contact_id.is_some();
        let unless_asked = if everywhere { Snoozed::Shown } else { Snoozed::Hidden };
        let unread = self.unread.unwrap_or_default();
        if unread {
            person("unread", caller)?;
        }
        let assigned = self.assigned_to.as_deref().map(|text| assigned(text, caller));
        Ok(Filter {
            status: self.status.map(Status::from),
            channel: self.channel.map(Into::into),
            handler: self.handler.map(Into::into),
            assigned: assigned.transpose()?,
            agent: self.agent_id,
            project: self.project_id,
            contact: self.contact_id,
            tag: self.tag.map(|tag| tag.trim().to_owned()),
            priority: self.priority.map(Into::into),
            unread,
            snoozed: self.snoozed.map_or(unless_asked, Into::into),
            words,
        })
    }
}

fn words_of(criteria: &str) -> ApiResult<Vec<storage::inbox::SoughtWord>> {
    if criteria.chars().count() > MAX_CRITERIA {
        let message = format!("`criteria` may have at most {MAX_CRITERIA} characters");
        return Err(ApiError::invalid("criteria", message));
    }
    let words = sought(criteria);
    if words.is_empty() {
        let message = "`criteria` has no word to search for; write one of two letters or more";
        return Err(ApiError::invalid("criteria", message));
    }
    Ok(words)
}

fn assigned(text: &str, caller: &Caller) -> ApiResult<Assigned> {
    match text {
        "me" => Ok(Assigned::To(person("assignedTo", caller)?)),
        "unassigned" => Ok(Assigned::Nobody),
        id => id.parse().map(Assigned::To).map_err(|_| {
            let message = "`assignedTo` must be me, unassigned, or the id of a member";
            ApiError::invalid("assignedTo", message)
        }),
    }
}

/// Who asks, where a filter needs somebody.
fn person(field: &str, caller: &Caller) -> ApiResult<UserId> {
    caller.person().map(|person| person.user).map_err(|_| {
        let message = format!("`{field}` needs somebody who is signed in; an API key is nobody");
        ApiError::invalid(field, message)
    })
}

/// Reads a word of a closed set from a query.
pub(super) fn word<W: DeserializeOwned>(
    field: &str,
    text: Option<&str>,
    known: &str,
) -> ApiResult<Option<W>> {
    let Some(text) = text else { return Ok(None) };
    let word = serde_json::from_value(serde_json::Value::from(text));
    let word = word.map_err(|_| ApiError::invalid(field, format!("`{field}` must be {known}")));
    word.map(Some)
}

/// Reads an id from a query.
pub(super) fn id<I: std::str::FromStr<Err = domain::ids::InvalidId>>(
    field: &str,
    text: Option<&str>,
) -> ApiResult<Option<I>> {
    let id = text.map(str::parse::<I>).transpose();
    id.map_err(|error| ApiError::invalid(field, format!("`{field}`: {error}")))
}
