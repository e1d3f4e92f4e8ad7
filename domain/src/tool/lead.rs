//! What a lead is made of.

use std::collections::HashSet;

use serde::Deserialize;

use crate::{DomainError, text};

/// Most fields of a lead.
const MAX_FIELDS: usize = 20;

/// Settings of `lead-capture`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct LeadSettings {
    /// What is asked for, in the order of asking.
    pub fields: Vec<LeadField>,
    /// What the customer is told when the details are noted by rule; `None` means the catalogue's words.
    pub message: Option<String>,
    /// The country that phone numbers without `+` are read in (ISO 3166); `None` means the installation's.
    pub country: Option<String>,
}

/// A field of a lead.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct LeadField {
    /// Its key: lower-case letters, digits and `_`.
    pub name: String,
    /// What it holds; by its name when absent.
    #[serde(rename = "type")]
    pub kind: Option<LeadFieldKind>,
    /// Whether a lead without it is incomplete.
    #[serde(default)]
    pub required: bool,
    /// What it is, for the model that asks for it.
    #[serde(default)]
    pub description: Option<String>,
}

/// What a field of a lead holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LeadFieldKind {
    /// A person's name; goes to the contact.
    Name,
    /// An e-mail address; goes to the contact.
    Email,
    /// A phone number, kept in E.164; goes to the contact.
    Phone,
    /// Anything else, up to 500 characters.
    Text,
}

impl LeadField {
    fn plain(name: &str, kind: LeadFieldKind) -> Self {
        Self { name: name.to_owned(), kind: Some(kind), required: false, description: None }
    }

    /// What it holds.
    pub fn kind(&self) -> LeadFieldKind {
        self.kind.unwrap_or(match self.name.as_str() {
            "name" | "nombre" | "nome" => LeadFieldKind::Name,
            "email" | "correo" | "e_mail" => LeadFieldKind::Email,
            "phone" | "telefono" | "telefone" => LeadFieldKind::Phone,
            _ => LeadFieldKind::Text,
        })
    }
}

impl Default for LeadSettings {
    /// Name, e-mail address and phone number, none of them required.
    fn default() -> Self {
        let fields = vec![
            LeadField::plain("name", LeadFieldKind::Name),
            LeadField::plain("email", LeadFieldKind::Email),
            LeadField::plain("phone", LeadFieldKind::Phone),
        ];
        Self { fields, message: None, country: None }
    }
}

impl LeadSettings {
    pub(super) fn check(mut self, field: &str) -> Result<Self, DomainError> {
        self.message = super::words(&format!("{field}.message"), self.message)?;
        if let Some(country) = &self.country {
            text::country(&format!("{field}.country"), country)?;
        }
        let fields = format!("{field}.fields");
        if !(1..=MAX_FIELDS).contains(&self.fields.len()) {
            let message = format!("`{fields}` must have 1 to {MAX_FIELDS} entries");
            return Err(DomainError::invalid(fields, message));
        }
        let mut seen = HashSet::new();
        for (at, field) in self.fields.iter_mut().enumerate() {
            let path = format!("{fields}[{at}]");
            check_name(&format!("{path}.name"), &field.name)?;
            if !seen.insert(field.name.clone()) {
                let path = format!("{path}.name");
                let message = format!(
                    "`{path}`: {} is there already; give each field its own name",
                    field.name
                );
                return Err(DomainError::invalid(path, message));
            }
            field.description =
                super::words(&format!("{path}.description"), field.description.take())?;
        }
        Ok(self)
    }
}

/// Names become keys of JSON and columns of CSV.
fn check_name(field: &str, name: &str) -> Result<(), DomainError> {
    let fits = (1..=40).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if fits {
        return Ok(());
    }
    let message = format!(
        "`{field}` must be 1 to 40 lower-case letters, digits or `_`, such as order_number"
    );
    Err(DomainError::invalid(field, message))
}
