//! Filters on the metadata of sources.

use domain::DomainError;
use serde_json::Value;

/// Conditions that all must hold.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Filter {
    /// Field name and the values of which one must be there.
    pub must: Vec<(String, Vec<FilterValue>)>,
}

/// A value to compare with; equal type and equal value.
#[derive(Debug, Clone, PartialEq)]
pub enum FilterValue {
    /// A text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// True or false.
    Boolean(bool),
}

impl Filter {
    /// Reads `{"field": value}` or `{"field": [values]}`; anything else is an error that names the field.
    pub fn parse(value: &Value) -> Result<Self, DomainError> {
        let _ = value;
        todo!()
    }
}
