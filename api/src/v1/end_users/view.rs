//! What the panel shows of an end-user.

use domain::contact::ContactProfile;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// A customer.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = EndUser)]
pub(in crate::v1) struct EndUserView {
    #[schema(pattern = "^contact_[0-9a-f]{32}$")]
    pub id: String,
    /// `firstName` and `lastName` in one.
    #[schema(example = "Andrea Pérez")]
    pub name: Option<String>,
    pub first_name: Option<String>,
    pub last_name: Option<String>,
    /// In lower case.
    #[schema(example = "andrea@ejemplo.com")]
    pub email: Option<String>,
    /// E.164.
    #[schema(example = "+5491123456789")]
    pub phone: Option<String>,
    /// Further addresses, of contacts that were merged into this one.
    pub other_emails: Vec<String>,
    /// Further numbers, of contacts that were merged into this one.
    pub other_phones: Vec<String>,
    /// In order.
    #[schema(example = json!(["cliente_frecuente"]))]
    pub tags: Vec<String>,
    /// Texts, numbers and booleans by names of your own.
    #[schema(example = json!({"plan": "oro", "hijos": 2}))]
    pub custom_attributes: Map<String, Value>,
    /// For people only; agents are not told.
    pub notes: Option<String>,
    #[schema(pattern = "^(es|en|pt)$")]
    pub language: Option<&'static str>,
    /// IANA name.
    #[schema(example = "America/Santiago")]
    pub timezone: Option<String>,
    /// Nobody answers, and what they write is refused.
    pub blocked: bool,
    /// RFC 3339.
    #[schema(format = DateTime)]
    pub blocked_at: Option<String>,
    /// E-mail address and phone number named two contacts once; merge them, or change one.
    pub conflict: bool,
    /// RFC 3339.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// RFC 3339.
    #[schema(format = DateTime)]
    pub updated_at: String,
}

impl From<ContactProfile> for EndUserView {
    fn from(profile: ContactProfile) -> Self {
        let name = profile.contact.name();
        let contact = profile.contact;
        Self {
            id: contact.id.to_string(),
            name,
            first_name: contact.first_name,
            last_name: contact.last_name,
            email: contact.email,
            phone: contact.phone,
            other_emails: profile.other_emails,
            other_phones: profile.other_phones,
            tags: profile.tags,
            custom_attributes: profile.attributes,
            notes: profile.notes,
            language: profile.language.map(domain::Lang::code),
            timezone: profile.time_zone,
            blocked: profile.blocked_at.is_some(),
            blocked_at: profile.blocked_at.map(domain::Timestamp::to_rfc3339),
            conflict: contact.conflict,
            created_at: contact.created_at.to_rfc3339(),
            updated_at: profile.updated_at.to_rfc3339(),
        }
    }
}
