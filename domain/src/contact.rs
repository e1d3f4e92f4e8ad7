//! Customers.

use crate::{ContactId, Timestamp};

/// A customer, known by e-mail or phone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// Its id.
    pub id: ContactId,
    /// Given name.
    pub first_name: Option<String>,
    /// Family name.
    pub last_name: Option<String>,
    /// In lower case.
    pub email: Option<String>,
    /// In E.164.
    pub phone: Option<String>,
    /// Set when e-mail and phone named two different contacts; a person decides, nothing is merged silently.
    pub conflict: bool,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What a caller says about a customer; checked and normalised already (see `text::email`, `text::phone`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ContactDetails {
    /// Given name.
    pub first_name: Option<String>,
    /// Family name.
    pub last_name: Option<String>,
    /// In lower case.
    pub email: Option<String>,
    /// In E.164.
    pub phone: Option<String>,
}

impl ContactDetails {
    /// Whether nothing was said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
