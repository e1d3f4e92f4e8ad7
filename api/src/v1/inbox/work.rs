//! What can be done with a conversation, one way for single and bulk changes.

use std::time::Duration;

use agents::wake_up;
use domain::conversation::Transition;
use domain::inbox::Priority;
use domain::{ConversationId, DomainError, Timestamp, UserId, text};
use storage::inbox::{Assign, Entry, Snooze, Take};
use storage::{Tx, conversations, inbox, jobs, members};

use super::views::Editable;
use crate::auth::{Caller, Changed};
use crate::error::{ApiError, ApiResult};
use crate::state::AppState;

/// Most tags of a conversation.
const MOST_TAGS: usize = 20;
/// Longest name of a tag, in characters.
pub(super) const MAX_TAG: usize = 50;
/// How long a conversation can be put off.
const LONGEST_SNOOZE: Duration = Duration::from_hours(366 * 24);

/// Something that is done with a conversation.
#[derive(Debug, Clone)]
pub(super) enum Work {
    /// It goes to another status.
    Move(Transition),
    /// The caller takes it.
    TakeOver,
    /// It is given to a member.
    Assign(UserId),
    /// It is nobody's.
    Unassign,
    /// It has these tags.
    SetTags(Vec<String>),
    /// It has these tags, too.
    AddTags(Vec<String>),
    /// It has none of these tags.
    RemoveTags(Vec<String>),
    /// It has this priority.
    SetPriority(Priority),
    /// It is put off.
    Snooze(Timestamp),
    /// It is put off no more.
    Unsnooze,
    /// It has this title.
    Rename(String),
}

/// Does `works` with a conversation, in order, in the transaction that holds it, and writes the change into the audit log;
/// the conversation afterwards. `check` sees what it was before.
pub(super) async fn perform(
    (state, caller): (&AppState, &Caller),
    tx: &mut Tx,
    id: ConversationId,
    works: &[Work],
    check: impl FnOnce(&Editable) -> ApiResult<()>,
) -> ApiResult<Entry> {
    let workspace = caller.workspace();
    let reader = caller.person().ok().map(|person| person.user);
    let absent = || DomainError::not_found("conversation");
    if !inbox::lock(tx, workspace, id).await? {
        return Err(absent().into());
    }
    let before = inbox::entry(tx, workspace, reader, id).await?.ok_or_else(absent)?;
    let before = Editable::from(&before);
    check(&before)?;
    for work in works {
        one(work, (state, caller), tx, id).await?;
    }
    let entry = inbox::entry(tx, workspace, reader, id).await?.ok_or_else(absent)?;
    let after = Editable::from(&entry);
    let changed = Changed { before: json_of(&before), after: json_of(&after) };
    if changed.before != changed.after {
        let ambient = &state.ambient;
        caller.audit(tx, ambient, "conversation.updated", id, changed).await?;
    }
    Ok(entry)
}

fn json_of(editable: &Editable) -> Option<serde_json::Value> {
    serde_json::to_value(editable).ok()
}

async fn one(
    work: &Work,
    (state, caller): (&AppState, &Caller),
    tx: &mut Tx,
    id: ConversationId,
) -> ApiResult<()> {
    let (workspace, by, now) = (caller.workspace(), caller.by(), state.ambient.now());
    match work {
        Work::Move(transition) => {
            let transition = (*transition, by);
            conversations::transition_by(tx, workspace, id, transition, now).await?;
        }
        Work::TakeOver => {
            let user = caller.person()?.user;
            let taken = inbox::take_over(tx, workspace, id, user, now).await?;
            if let Take::Held(other) = taken {
                return Err(held_by(tx, caller, other).await?);
            }
        }
        Work::Assign(to) => {
            let outcome = inbox::assign(tx, workspace, id, (*to, by), now).await?;
            checked_assignment(outcome)?;
        }
        Work::Unassign => {
            inbox::unassign(tx, workspace, id, by, now).await?;
        }
        Work::SetTags(names) => set_tags((state, caller), tx, id, names).await?,
        Work::AddTags(names) => {
            let mut all = tags_of(caller, tx, id).await?;
            all.extend_from_slice(names);
            set_tags((state, caller), tx, id, &all).await?;
        }
        Work::RemoveTags(names) => {
            let gone: Vec<String> = names.iter().map(|name| name.to_lowercase()).collect();
            let mut all = tags_of(caller, tx, id).await?;
            all.retain(|name| !gone.contains(&name.to_lowercase()));
            set_tags((state, caller), tx, id, &all).await?;
        }
        Work::SetPriority(priority) => {
            inbox::set_priority(tx, workspace, id, (*priority, by), now).await?;
        }
        Work::Snooze(until) => snooze((state, caller), tx, id, *until).await?,
        Work::Unsnooze => {
            inbox::unsnooze(tx, workspace, id, by, now).await?;
        }
        Work::Rename(title) => {
            inbox::set_title(tx, workspace, id, (title, by), now).await?;
        }
    }
    Ok(())
}

/// 409: another was first, and who.
async fn held_by(tx: &mut Tx, caller: &Caller, other: UserId) -> ApiResult<ApiError> {
    let member = members::get(tx, caller.workspace(), other).await?;
    let name = member.map_or_else(|| "another member".to_owned(), |member| member.user.name);
    let message = format!("{name} ({other}) has this conversation; assign it to take it from them");
    Ok(DomainError::conflict("CONVERSATION_TAKEN", message).into())
}

fn checked_assignment(outcome: Assign) -> ApiResult<()> {
    const FIELD: &str = "assignedToUserId";
    match outcome {
        Assign::Done => Ok(()),
        Assign::Absent => Err(DomainError::not_found("conversation").into()),
        Assign::NotMember => Err(DomainError::not_found("member").at(FIELD).into()),
        Assign::Viewer => {
            let message = "`assignedToUserId` names a viewer, who only reads; name a member who \
                works conversations";
            Err(ApiError::invalid(FIELD, message))
        }
    }
}

async fn tags_of(caller: &Caller, tx: &mut Tx, id: ConversationId) -> ApiResult<Vec<String>> {
    let tags = inbox::tags_of(tx, caller.workspace(), &[id]).await?;
    Ok(tags.into_iter().map(|(_, name)| name).collect())
}

async fn set_tags(
    (state, caller): (&AppState, &Caller),
    tx: &mut Tx,
    id: ConversationId,
    names: &[String],
) -> ApiResult<()> {
    let mut folded: Vec<String> = names.iter().map(|name| name.to_lowercase()).collect();
    folded.sort_unstable();
    folded.dedup();
    if folded.len() > MOST_TAGS {
        let message = format!("`tags`: a conversation may have at most {MOST_TAGS}");
        return Err(ApiError::invalid("tags", message));
    }
    let (workspace, ambient) = (caller.workspace(), &state.ambient);
    Ok(inbox::set_tags(tx, ambient, workspace, id, (names, caller.by())).await?)
}

async fn snooze(
    (state, caller): (&AppState, &Caller),
    tx: &mut Tx,
    id: ConversationId,
    until: Timestamp,
) -> ApiResult<()> {
    let (workspace, ambient) = (caller.workspace(), &state.ambient);
    let put_off = (until, caller.by());
    let outcome = inbox::snooze(tx, workspace, id, put_off, ambient.now()).await?;
    match outcome {
        Snooze::Absent => Err(DomainError::not_found("conversation").into()),
        Snooze::Closed => {
            let message = "a closed conversation cannot be put off; reopen it first";
            Err(DomainError::conflict("CONVERSATION_CLOSED", message).into())
        }
        Snooze::Done => {
            jobs::enqueue(tx, ambient, workspace, &wake_up(id, until)).await?;
            Ok(())
        }
    }
}

/// Names of tags as they are stored.
pub(super) fn tag_names(names: &[String]) -> ApiResult<Vec<String>> {
    let mut checked = Vec::with_capacity(names.len().min(MOST_TAGS));
    if names.len() > MOST_TAGS {
        let message = format!("`tags` may have at most {MOST_TAGS} names");
        return Err(ApiError::invalid("tags", message));
    }
    for (at, name) in names.iter().enumerate() {
        checked.push(text::required(&format!("tags[{at}]"), name, MAX_TAG)?);
    }
    Ok(checked)
}

/// When a conversation that is put off comes back: within a year.
pub(super) fn snooze_time(state: &AppState, text: &str) -> ApiResult<Timestamp> {
    const FIELD: &str = "snoozedUntil";
    let invalid = |message: &str| ApiError::invalid(FIELD, message);
    let until = Timestamp::parse_rfc3339(text).ok_or_else(|| {
        invalid("`snoozedUntil` must be a time (RFC 3339), such as 2030-01-21T10:00:00Z")
    })?;
    let now = state.ambient.now();
    if until <= now || until > now.plus(LONGEST_SNOOZE) {
        return Err(invalid("`snoozedUntil` must be in the future, and within a year"));
    }
    Ok(until)
}
