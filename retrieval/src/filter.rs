//! Filters on the metadata of sources.

use domain::DomainError;
use serde_json::Value;

use crate::index::metadata_token;

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

/// Most conditions of a filter.
const MAX_CONDITIONS: usize = 20;
/// Most values of a condition.
const MAX_VALUES: usize = 100;

impl Filter {
    /// Reads `{"field": value}` or `{"field": [values]}`; anything else is an error that names the field.
    pub fn parse(value: &Value) -> Result<Self, DomainError> {
        let Value::Object(conditions) = value else {
            return Err(DomainError::invalid(
                "filter",
                "`filter` must be an object of metadata names and values",
            ));
        };
        if conditions.len() > MAX_CONDITIONS {
            return Err(DomainError::invalid(
                "filter",
                format!(
                    "`filter` has {} conditions; at most {MAX_CONDITIONS} are accepted",
                    conditions.len()
                ),
            ));
        }
        let mut must = Vec::with_capacity(conditions.len());
        for (name, value) in conditions {
            must.push((name.clone(), parse_values(name, value)?));
        }
        Ok(Self { must })
    }

    /// As tokens of the index: of each list one must be there.
    pub(crate) fn tokens(&self) -> Vec<Vec<String>> {
        let token = |name: &str, value: &FilterValue| {
            let value = match value {
                FilterValue::Text(text) => Value::from(text.as_str()),
                FilterValue::Integer(number) => Value::from(*number),
                FilterValue::Boolean(truth) => Value::from(*truth),
            };
            metadata_token(name, &value)
        };
        self.must
            .iter()
            .map(|(name, values)| values.iter().filter_map(|value| token(name, value)).collect())
            .collect()
    }
}

fn parse_values(name: &str, value: &Value) -> Result<Vec<FilterValue>, DomainError> {
    let field = format!("filter.{name}");
    let Value::Array(values) = value else {
        return Ok(vec![parse_value(&field, value)?]);
    };
    if values.is_empty() || values.len() > MAX_VALUES {
        let message = format!("`{field}` must list 1 to {MAX_VALUES} values");
        return Err(DomainError::invalid(&field, message));
    }
    values.iter().map(|value| parse_value(&field, value)).collect()
}

fn parse_value(field: &str, value: &Value) -> Result<FilterValue, DomainError> {
    let refused = || {
        let message =
            format!("`{field}` must be a text, a whole number, true or false, or a list of those");
        DomainError::invalid(field, message)
    };
    match value {
        Value::String(text) => Ok(FilterValue::Text(text.clone())),
        Value::Bool(truth) => Ok(FilterValue::Boolean(*truth)),
        Value::Number(number) => number.as_i64().map(FilterValue::Integer).ok_or_else(refused),
        Value::Null | Value::Array(_) | Value::Object(_) => Err(refused()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_and_lists_of_values_are_read() {
        let filter =
            Filter::parse(&json!({"tema": "envíos", "año": [2024, 2025], "vigente": true}))
                .unwrap();
        assert_eq!(
            filter.must,
            [
                ("tema".to_owned(), vec![FilterValue::Text("envíos".to_owned())]),
                ("año".to_owned(), vec![FilterValue::Integer(2024), FilterValue::Integer(2025)]),
                ("vigente".to_owned(), vec![FilterValue::Boolean(true)]),
            ]
        );
        assert_eq!(Filter::parse(&json!({})).unwrap(), Filter::default());
    }

    #[test]
    fn anything_else_names_the_field() {
        for (value, field) in [
            (json!([]), "filter"),
            (json!("a"), "filter"),
            (json!({"a": null}), "filter.a"),
            (json!({"a": {"gt": 1}}), "filter.a"),
            (json!({"a": 1.5}), "filter.a"),
            (json!({"a": []}), "filter.a"),
            (json!({"a": [[1]]}), "filter.a"),
        ] {
            assert_eq!(Filter::parse(&value).unwrap_err().field.as_deref(), Some(field), "{value}");
        }
    }
}
