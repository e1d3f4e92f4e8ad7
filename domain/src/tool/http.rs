//! Tools that an operator declares: one HTTP request each, filled in by the model within what is declared.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::{Map, Value};
use serde_json_path::JsonPath;
use url::Url;

use crate::{DomainError, text};

/// Most parameters of a tool.
const MAX_PARAMETERS: usize = 30;

/// Most headers of a tool.
const MAX_HEADERS: usize = 30;

/// Longest URL template, in bytes.
const MAX_URL: usize = 2_000;

/// Largest body template, in bytes of JSON.
const MAX_BODY: usize = 20_000;

/// Names that the model knows tools of the product by.
const TAKEN: [&str; 4] = ["search_knowledge", "capture_lead", "request_human", "mark_as_resolved"];

/// Settings of `http`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct HttpSettings {
    /// What the model calls it: letters, digits and `_`.
    pub name: String,
    /// What it does and when to use it, for the model.
    pub description: String,
    /// How it is sent.
    #[serde(default)]
    pub method: HttpMethod,
    /// Where to: an address in which `{name}` stands for a parameter, in its path and query only.
    pub url: String,
    /// Headers that are sent along.
    #[serde(default)]
    pub headers: Vec<HttpHeader>,
    /// What the request is filled with.
    #[serde(default)]
    pub parameters: Vec<HttpParameter>,
    /// The body, as JSON in which a text `"{name}"` stands for the value of a parameter and `{name}` within a
    /// text for its text. Without one, POST, PUT and PATCH send the parameters that the URL does not use.
    #[serde(default)]
    pub body: Option<Value>,
    /// What of the answer the model is told.
    #[serde(default)]
    pub result: HttpResult,
    /// Seconds that it may take, 1 to 60.
    #[serde(default = "fifteen")]
    pub timeout: u64,
    /// Whether a person must allow each call.
    #[serde(default)]
    pub approval: bool,
    /// What the customer is told while a person is asked; `None` means the catalogue's words.
    #[serde(default)]
    pub approval_message: Option<String>,
    /// Hours in which a person can allow it, 1 to 720.
    #[serde(default = "super::one_day")]
    pub approval_hours: u64,
}

/// How a request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum HttpMethod {
    /// `GET`.
    #[default]
    Get,
    /// `POST`.
    Post,
    /// `PUT`.
    Put,
    /// `PATCH`.
    Patch,
    /// `DELETE`.
    Delete,
}

impl HttpMethod {
    /// As sent.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    /// Whether it may be sent twice without harm (RFC 9110, section 9.2.2).
    pub const fn is_idempotent(self) -> bool {
        matches!(self, Self::Get | Self::Put | Self::Delete)
    }

    /// Whether it carries a body.
    pub const fn has_body(self) -> bool {
        matches!(self, Self::Post | Self::Put | Self::Patch)
    }
}

/// A header that a tool sends.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpHeader {
    /// Its name.
    pub name: String,
    /// Its value; absent for a secret that is stored already.
    #[serde(default)]
    pub value: Option<String>,
    /// Whether the value is a secret: encrypted at rest, never shown again.
    #[serde(default)]
    pub secret: bool,
    /// The encrypted value of a stored secret.
    #[serde(default)]
    pub sealed: Option<String>,
}

/// What a request is filled with.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpParameter {
    /// Its name: letters, digits and `_`.
    pub name: String,
    /// What the model may give for it.
    #[serde(default, rename = "type")]
    pub kind: ParameterKind,
    /// What it is, for the model.
    #[serde(default)]
    pub description: Option<String>,
    /// Whether a call without it is refused.
    #[serde(default)]
    pub required: bool,
    /// The values that are allowed; none listed allows all.
    #[serde(default, rename = "enum")]
    pub allowed: Vec<Value>,
    /// A fixed value, which the model neither sees nor changes.
    #[serde(default)]
    pub value: Option<Value>,
}

/// The type of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ParameterKind {
    /// A text.
    #[default]
    String,
    /// A number.
    Number,
    /// A whole number.
    Integer,
    /// True or false.
    Boolean,
}

impl ParameterKind {
    /// As in JSON Schema.
    pub const fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Number => "number",
            Self::Integer => "integer",
            Self::Boolean => "boolean",
        }
    }

    /// Whether `value` is of this type.
    pub fn fits(self, value: &Value) -> bool {
        match self {
            Self::String => value.is_string(),
            Self::Number => value.is_number(),
            Self::Integer => value.is_i64() || value.is_u64(),
            Self::Boolean => value.is_boolean(),
        }
    }
}

/// What of an answer the model is told.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct HttpResult {
    /// A `JSONPath` (RFC 9535) that selects from a JSON answer; `None` takes it whole.
    pub path: Option<String>,
    /// Largest answer that is read, in bytes; a larger one is a failure. 1 to 1,000,000.
    pub max_bytes: usize,
}

impl Default for HttpResult {
    fn default() -> Self {
        Self { path: None, max_bytes: 50_000 }
    }
}

const fn fifteen() -> u64 {
    15
}

impl HttpSettings {
    pub(super) fn check(mut self, field: &str) -> Result<Self, DomainError> {
        let at = |name: &str| format!("{field}.{name}");
        check_name(&at("name"), &self.name)?;
        if TAKEN.contains(&self.name.as_str()) {
            return Err(invalid(at("name"), "is a tool of the product; choose another name"));
        }
        self.description = text::required(&at("description"), &self.description, 1_000)?;
        if !(1..=60).contains(&self.timeout) {
            return Err(invalid(at("timeout"), "must be 1 to 60 seconds"));
        }
        if !(1..=1_000_000).contains(&self.result.max_bytes) {
            return Err(invalid(at("result.maxBytes"), "must be 1 to 1000000"));
        }
        if let Some(path) = &self.result.path
            && let Err(error) = JsonPath::parse(path)
        {
            let message = format!("is no JSONPath such as $.items[0].name: {error}");
            return Err(invalid(at("result.path"), &message));
        }
        let words = self.approval_message.take();
        self.approval_message = super::check_approval(field, words, self.approval_hours)?;
        self.check_parameters(&at("parameters"))?;
        self.check_url(&at("url"))?;
        check_headers(&at("headers"), &self.headers)?;
        self.check_body(&at("body"))?;
        Ok(self)
    }

    /// The parameter of that name.
    pub fn parameter(&self, name: &str) -> Option<&HttpParameter> {
        self.parameters.iter().find(|parameter| parameter.name == name)
    }

    fn check_parameters(&self, field: &str) -> Result<(), DomainError> {
        if self.parameters.len() > MAX_PARAMETERS {
            return Err(invalid(field, &format!("has more than {MAX_PARAMETERS} entries")));
        }
        let mut seen = HashSet::new();
        for (at, parameter) in self.parameters.iter().enumerate() {
            let path = format!("{field}[{at}]");
            check_name(&format!("{path}.name"), &parameter.name)?;
            if !seen.insert(parameter.name.as_str()) {
                return Err(invalid(format!("{path}.name"), "is there already"));
            }
            for (place, value) in parameter.allowed.iter().enumerate() {
                check_type(&format!("{path}.enum[{place}]"), parameter.kind, value)?;
            }
            if let Some(value) = &parameter.value {
                check_type(&format!("{path}.value"), parameter.kind, value)?;
            }
        }
        Ok(())
    }

    /// Placeholders stand in path and query only: where a request goes to is never the model's choice.
    fn check_url(&self, field: &str) -> Result<(), DomainError> {
        if self.url.len() > MAX_URL {
            return Err(invalid(field, &format!("is longer than {MAX_URL} bytes")));
        }
        for name in placeholders(&self.url) {
            if self.parameter(name).is_none() {
                return Err(invalid(field, &format!("names {{{name}}}, which is no parameter")));
            }
        }
        let origin_end = self.url.find("://").map(|at| at + 3).map(|start| {
            self.url[start..].find(['/', '?', '#']).map_or(self.url.len(), |end| start + end)
        });
        let Some(origin_end) = origin_end else {
            return Err(invalid(field, "must begin with https:// or http://"));
        };
        if self.url[..origin_end].contains(['{', '}']) {
            return Err(invalid(field, "may have parameters after the host only"));
        }
        let plain = self.url.replace(['{', '}'], "");
        check_address(field, &plain)
    }

    fn check_body(&self, field: &str) -> Result<(), DomainError> {
        let Some(body) = &self.body else { return Ok(()) };
        if !self.method.has_body() {
            return Err(invalid(field, "is for POST, PUT and PATCH; leave it out"));
        }
        if body.to_string().len() > MAX_BODY {
            return Err(invalid(field, &format!("is larger than {MAX_BODY} bytes")));
        }
        let mut unknown = None;
        each_text(body, &mut |text| {
            for name in placeholders(text) {
                if self.parameter(name).is_none() {
                    unknown.get_or_insert_with(|| name.to_owned());
                }
            }
        });
        match unknown {
            Some(name) => Err(invalid(field, &format!("names {{{name}}}, which is no parameter"))),
            None => Ok(()),
        }
    }
}

/// An address without a password in it.
pub(super) fn check_address(field: &str, text: &str) -> Result<(), DomainError> {
    if text.len() > MAX_URL {
        return Err(invalid(field, &format!("is longer than {MAX_URL} bytes")));
    }
    let url =
        Url::parse(text).map_err(|error| invalid(field, &format!("is no address: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(invalid(field, "must begin with https:// or http://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid(field, "must not hold a password; use a secret header"));
    }
    Ok(())
}

pub(super) fn check_headers(field: &str, headers: &[HttpHeader]) -> Result<(), DomainError> {
    if headers.len() > MAX_HEADERS {
        return Err(invalid(field, &format!("has more than {MAX_HEADERS} entries")));
    }
    for (at, header) in headers.iter().enumerate() {
        let path = format!("{field}[{at}]");
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if header.name.is_empty() || !header.name.bytes().all(token) {
            return Err(invalid(format!("{path}.name"), "is no header name"));
        }
        let value = header.value.as_deref().unwrap_or_default();
        if value.len() > 4_000 || value.chars().any(char::is_control) {
            let message = "must have at most 4000 characters and no line breaks";
            return Err(invalid(format!("{path}.value"), message));
        }
        if header.value.is_none() && header.sealed.is_none() {
            return Err(invalid(format!("{path}.value"), "is missing"));
        }
    }
    Ok(())
}

/// The names between braces of a template, in order.
pub fn placeholders(template: &str) -> impl Iterator<Item = &str> {
    template.split('{').skip(1).filter_map(|rest| {
        let (name, _) = rest.split_once('}')?;
        is_name(name).then_some(name)
    })
}

/// Every text in a value, keys left out.
fn each_text(value: &Value, visit: &mut dyn FnMut(&str)) {
    match value {
        Value::String(text) => visit(text),
        Value::Array(items) => items.iter().for_each(|item| each_text(item, visit)),
        Value::Object(fields) => each_field(fields, visit),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn each_field(fields: &Map<String, Value>, visit: &mut dyn FnMut(&str)) {
    for value in fields.values() {
        each_text(value, visit);
    }
}

fn check_type(field: &str, kind: ParameterKind, value: &Value) -> Result<(), DomainError> {
    if kind.fits(value) {
        return Ok(());
    }
    Err(invalid(field, &format!("must be of the type {}", kind.name())))
}

pub(super) fn check_name(field: &str, name: &str) -> Result<(), DomainError> {
    if is_name(name) {
        return Ok(());
    }
    Err(invalid(field, "must be 1 to 64 letters, digits or `_`, such as find_order"))
}

fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

pub(super) fn invalid(field: impl Into<String>, what: &str) -> DomainError {
    let field = field.into();
    let message = format!("`{field}` {what}");
    DomainError::invalid(field, message)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings(change: &Value) -> Result<HttpSettings, DomainError> {
        let mut whole = json!({
            "name": "find_order",
            "description": "Finds an order.",
            "url": "https://api.example.com/orders/{order}?full={full}",
            "parameters": [
                {"name": "order", "required": true},
                {"name": "full", "type": "boolean", "value": true},
            ],
        });
        let fields = whole.as_object_mut().unwrap();
        fields.extend(change.as_object().unwrap().clone());
        super::super::read::<HttpSettings>("tools[0]", fields)?.check("tools[0]")
    }

    #[test]
    fn a_declared_tool_reads() {
        let read = settings(&json!({"result": {"path": "$.items[*].name"}})).unwrap();
        assert_eq!((read.method, read.timeout), (HttpMethod::Get, 15));
        assert_eq!(placeholders(&read.url).collect::<Vec<_>>(), ["order", "full"]);
    }

    #[test]
    fn what_is_wrong_with_a_declaration_is_named() {
        for (change, field) in [
            (json!({"name": "no spaces"}), "name"),
            (json!({"name": "capture_lead"}), "name"),
            (json!({"description": ""}), "description"),
            (json!({"url": "ftp://x.example/a"}), "url"),
            (json!({"url": "https://{order}.example.com/"}), "url"),
            (json!({"url": "https://user:pass@example.com/"}), "url"),
            (json!({"url": "https://example.com/{nothing}"}), "url"),
            (json!({"method": "BREW"}), "method"),
            (json!({"body": {"a": 1}}), "body"),
            (json!({"method": "POST", "body": {"a": ["{nothing}"]}}), "body"),
            (json!({"timeout": 0}), "timeout"),
            (json!({"result": {"maxBytes": 0}}), "result.maxBytes"),
            (json!({"result": {"path": "items"}}), "result.path"),
            (json!({"headers": [{"name": "a b", "value": "x"}]}), "headers[0].name"),
            (json!({"headers": [{"name": "a", "value": "x\r\ny: z"}]}), "headers[0].value"),
            (json!({"headers": [{"name": "a", "secret": true}]}), "headers[0].value"),
            (json!({"parameters": [{"name": "order", "enum": [1]}]}), "parameters[0].enum[0]"),
            (json!({"parameters": [{"name": "order"}, {"name": "order"}]}), "parameters[1].name"),
        ] {
            let error = settings(&change).unwrap_err();
            assert_eq!(error.field, Some(format!("tools[0].{field}")), "{change}: {error:?}");
        }
    }
}
