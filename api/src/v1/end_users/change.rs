//! Creating and changing end-users.

use axum::extract::State;
use domain::contact::{Contact, ContactProfile, split_name};
use domain::{ContactId, DomainError, Lang, WorkspaceId, text};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use storage::{Tx, contacts};
use utoipa::ToSchema;

use super::list::absent;
use super::view::EndUserView;
use crate::auth::{Caller, Changed};
use crate::error::{ApiError, ApiResult};
use crate::extract::{Id, Json};
use crate::patch::Patch;
use crate::state::AppState;
use crate::v1::etag::{IfMatch, Tagged};

const MAX_NAME: usize = 200;
const MAX_NOTES: usize = 10_000;
const MAX_TAGS: usize = 50;
const MAX_TAG: usize = 50;
const MAX_ATTRIBUTES: usize = 50;
const MAX_KEY: usize = 64;
const MAX_VALUE: usize = 1_000;

/// What is noted of an end-user. What is absent stays; null removes.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::v1) struct EndUserChange {
    /// The first word becomes `firstName`, the rest `lastName`.
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 200, example = "Andrea")]
    name: Patch<String>,
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 200)]
    first_name: Patch<String>,
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 200)]
    last_name: Patch<String>,
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "andrea@ejemplo.com")]
    email: Patch<String>,
    /// With its country's number: `+5491123456789`; without, it is read in the installation's country.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "+5491123456789")]
    phone: Patch<String>,
    /// All of them, at most 50 of 1 to 50 characters.
    #[schema(max_items = 50, example = json!(["cliente_frecuente"]))]
    tags: Option<Vec<String>>,
    /// Those that are named: texts of at most 1,000 characters, numbers and booleans; null removes one. At most 50 in all, their
    /// names of 1 to 64 of `a-z`, `A-Z`, `0-9`, `_`, `.` and `-`.
    custom_attributes: Option<Map<String, Value>>,
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 10_000)]
    notes: Patch<String>,
    /// `es`, `en` or `pt`.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "es")]
    language: Patch<String>,
    /// IANA name.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "America/Santiago")]
    timezone: Patch<String>,
}

/// Create an end-user
///
/// With at least a name, an e-mail address or a phone number.
#[utoipa::path(
    post,
    path = "/v1/end-users",
    tag = "End-users",
    operation_id = "createEndUser",
    request_body = EndUserChange,
    responses(
        (status = 201, description = "The end-user.", body = EndUserView),
        (status = 409, description = "The address or number is another end-user's.", body = crate::error::ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v1.end_users.create", skip_all)]
pub(super) async fn create(
    State(state): State<AppState>,
    caller: Caller,
    Json(change): Json<EndUserChange>,
) -> ApiResult<(StatusCode, Tagged<EndUserView>)> {
    let (workspace, now) = (caller.workspace(), state.ambient.now());
    let blank = ContactProfile {
        contact: Contact {
            id: state.ambient.new_id(),
            first_name: None,
            last_name: None,
            email: None,
            phone: None,
            conflict: false,
            created_at: now,
        },
        attributes: Map::new(),
        notes: None,
        language: None,
        time_zone: None,
        blocked_at: None,
        updated_at: now,
        tags: Vec::new(),
        other_emails: Vec::new(),
        other_phones: Vec::new(),
    };
    let profile = change.applied(blank, &state)?;
    let contact = &profile.contact;
    if contact.name().is_none() && contact.email.is_none() && contact.phone.is_none() {
        return Err(ApiError::invalid("name", "`name`, `email` or `phone` must be given"));
    }
    let mut tx = state.db.write().await?;
    contacts::one_at_a_time(&mut tx, workspace).await?;
    refuse_addresses_of_others(&mut tx, workspace, contact).await?;
    contacts::create(&mut tx, workspace, &profile).await?;
    let changed = Changed { after: Some(noted(&profile)), ..Changed::default() };
    caller.audit(&mut tx, &state.ambient, "end-user.created", contact.id, changed).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Tagged::of(profile.into())?))
}

/// Change an end-user
///
/// An e-mail address or phone number of another end-user is refused: merging is a request of its own.
#[utoipa::path(
    patch,
    path = "/v1/end-users/{endUserId}",
    tag = "End-users",
    operation_id = "updateEndUser",
    params(("endUserId" = String, Path), IfMatch),
    request_body = EndUserChange,
    responses(
        (status = 200, description = "The end-user.", body = EndUserView),
        (status = 409, description = "The address or number is another end-user's.", body = crate::error::ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v1.end_users.update", skip_all)]
pub(super) async fn update(
    State(state): State<AppState>,
    caller: Caller,
    if_match: IfMatch,
    Id(id): Id<ContactId>,
    Json(change): Json<EndUserChange>,
) -> ApiResult<Tagged<EndUserView>> {
    let workspace = caller.workspace();
    let mut tx = state.db.write().await?;
    // Contacts change one after the other, so that what is compared is what is there.
    contacts::one_at_a_time(&mut tx, workspace).await?;
    let before = contacts::profile(&mut tx, workspace, id).await?.ok_or_else(absent)?;
    if_match.check(&EndUserView::from(before.clone()))?;
    let after = change.applied(before.clone(), &state)?;
    if after == before {
        return Tagged::of(before.into());
    }
    let after = ContactProfile { updated_at: state.ambient.now(), ..after };
    refuse_addresses_of_others(&mut tx, workspace, &after.contact).await?;
    contacts::update(&mut tx, workspace, &after).await?;
    let changed = Changed { before: Some(noted(&before)), after: Some(noted(&after)) };
    caller.audit(&mut tx, &state.ambient, "end-user.updated", id, changed).await?;
    let stored = contacts::profile(&mut tx, workspace, id).await?.ok_or_else(absent)?;
    tx.commit().await?;
    Tagged::of(stored.into())
}

/// What of an end-user enters the audit log.
pub(super) fn noted(profile: &ContactProfile) -> Value {
    let contact = &profile.contact;
    json!({
        "name": contact.name(),
        "email": contact.email,
        "phone": contact.phone,
        "tags": profile.tags,
        "customAttributes": profile.attributes,
        "notes": profile.notes,
        "language": profile.language.map(Lang::code),
        "timezone": profile.time_zone,
    })
}

/// 409 when the e-mail address or the phone number is another contact's, which it names.
async fn refuse_addresses_of_others(
    tx: &mut Tx,
    workspace: WorkspaceId,
    contact: &Contact,
) -> ApiResult<()> {
    let (email, phone) = (contact.email.as_deref(), contact.phone.as_deref());
    for (field, email, phone) in [("email", email, None), ("phone", None, phone)] {
        let owner = contacts::owner_of(tx, workspace, email, phone).await?;
        let Some(owner) = owner.filter(|owner| *owner != contact.id) else { continue };
        let message = format!(
            "`{field}` is that of the end-user {owner}; change it there, or merge the two with POST /v1/end-users/{owner}/merge"
        );
        return Err(DomainError::conflict("CONFLICT", message).at(field).into());
    }
    Ok(())
}

impl EndUserChange {
    /// What `profile` is with the change.
    fn applied(self, profile: ContactProfile, state: &AppState) -> ApiResult<ContactProfile> {
        let mut profile = profile;
        let contact = &mut profile.contact;
        let mut name = contact.name();
        let before = name.clone();
        self.name.apply(&mut name, |name| Ok(text::optional("name", &name, MAX_NAME)?))?;
        if name != before {
            (contact.first_name, contact.last_name) = split_name(&name.unwrap_or_default());
        }
        set_text("firstName", self.first_name, MAX_NAME, &mut contact.first_name)?;
        set_text("lastName", self.last_name, MAX_NAME, &mut contact.last_name)?;
        self.email.apply(&mut contact.email, |email| Ok(text::email("email", &email)?))?;
        let country = state.settings.agents.default_country.as_deref();
        let checked_phone = |phone: String| Ok(text::phone("phone", &phone, country)?);
        self.phone.apply(&mut contact.phone, checked_phone)?;
        if let Some(tags) = self.tags {
            profile.tags = checked_tags("tags", &tags)?;
        }
        if let Some(attributes) = self.custom_attributes {
            change_attributes(&mut profile.attributes, attributes)?;
        }
        set_text("notes", self.notes, MAX_NOTES, &mut profile.notes)?;
        let checked_language = |code: String| known_language("language", &code);
        self.language.apply(&mut profile.language, checked_language)?;
        let checked_zone = |zone: String| Ok(text::time_zone("timezone", &zone)?);
        self.timezone.apply(&mut profile.time_zone, checked_zone)?;
        Ok(profile)
    }
}

/// Sets a text; an empty one is none.
fn set_text(
    field: &str,
    wanted: Patch<String>,
    most: usize,
    target: &mut Option<String>,
) -> ApiResult<()> {
    wanted.apply(target, |text| Ok(text::optional(field, &text, most)?))?;
    if target.as_deref() == Some("") {
        *target = None;
    }
    Ok(())
}

/// One of the three languages of the product.
pub(in crate::v1) fn known_language(field: &str, code: &str) -> ApiResult<Lang> {
    let known = Lang::KNOWN.into_iter().find(|language| language.code() == code);
    known.ok_or_else(|| ApiError::invalid(field, format!("`{field}` must be es, en or pt")))
}

/// Tags in order, each once.
pub(in crate::v1) fn checked_tags(field: &str, tags: &[String]) -> ApiResult<Vec<String>> {
    if tags.len() > MAX_TAGS {
        let message =
            format!("`{field}` has {} entries; at most {MAX_TAGS} are accepted", tags.len());
        return Err(ApiError::invalid(field, message));
    }
    let mut checked = Vec::with_capacity(tags.len());
    for (place, tag) in tags.iter().enumerate() {
        checked.push(text::required(&format!("{field}[{place}]"), tag, MAX_TAG)?);
    }
    checked.sort();
    checked.dedup();
    Ok(checked)
}

fn change_attributes(known: &mut Map<String, Value>, change: Map<String, Value>) -> ApiResult<()> {
    for (key, value) in change {
        let field = format!("customAttributes.{key}");
        let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        if key.is_empty() || key.len() > MAX_KEY || !key.chars().all(plain) {
            let message = format!(
                "the names in `customAttributes` have 1 to {MAX_KEY} of a-z, A-Z, 0-9, _, . and -"
            );
            return Err(ApiError::invalid("customAttributes", message));
        }
        match value {
            Value::Null => {
                known.remove(&key);
                continue;
            }
            Value::String(text) if text.chars().count() <= MAX_VALUE => {
                known.insert(key, Value::String(text));
            }
            Value::Number(_) | Value::Bool(_) => {
                known.insert(key, value);
            }
            Value::String(_) | Value::Array(_) | Value::Object(_) => {
                let message = format!(
                    "`{field}` must be a text of at most {MAX_VALUE} characters, a number, a boolean, or null to remove it"
                );
                return Err(ApiError::invalid(field, message));
            }
        }
        if known.len() > MAX_ATTRIBUTES {
            let message = format!(
                "`customAttributes` has more than {MAX_ATTRIBUTES} entries; remove some with null"
            );
            return Err(ApiError::invalid("customAttributes", message));
        }
    }
    Ok(())
}
