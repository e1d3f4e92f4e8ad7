//! The tools of a remote MCP server that an agent may use.

use std::collections::HashSet;

use serde::Deserialize;

use super::http::{HttpHeader, check_address, check_headers, check_name, invalid};
use crate::DomainError;

/// Most tools of a server that an agent may use.
const MAX_ALLOWED: usize = 50;

/// Longest name of a server, so that the names of its tools still have room.
const MAX_NAME: usize = 32;

/// Headers that belong to the protocol.
const OF_PROTOCOL: [&str; 5] =
    ["accept", "content-type", "last-event-id", "mcp-protocol-version", "mcp-session-id"];

/// Settings of `mcp`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct McpSettings {
    /// What the names of its tools begin with for the model: letters, digits and `_`.
    pub name: String,
    /// Its address: streamable HTTP.
    pub url: String,
    /// Headers that are sent along.
    #[serde(default)]
    pub headers: Vec<HttpHeader>,
    /// The tools that the model is offered, by the server's names; no others are.
    pub allow: Vec<String>,
    /// Seconds that listing or a call may take, 1 to 60.
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

const fn fifteen() -> u64 {
    15
}

impl McpSettings {
    pub(super) fn check(mut self, field: &str) -> Result<Self, DomainError> {
        let at = |name: &str| format!("{field}.{name}");
        check_name(&at("name"), &self.name)?;
        if self.name.len() > MAX_NAME {
            return Err(invalid(at("name"), &format!("is longer than {MAX_NAME} characters")));
        }
        check_address(&at("url"), &self.url)?;
        check_headers(&at("headers"), &self.headers)?;
        for (place, header) in self.headers.iter().enumerate() {
            if OF_PROTOCOL.contains(&header.name.to_ascii_lowercase().as_str()) {
                let field = format!("{}[{place}].name", at("headers"));
                return Err(invalid(field, "is set by the protocol; leave it out"));
            }
        }
        if !(1..=60).contains(&self.timeout) {
            return Err(invalid(at("timeout"), "must be 1 to 60 seconds"));
        }
        let words = self.approval_message.take();
        self.approval_message = super::check_approval(field, words, self.approval_hours)?;
        self.check_allowed(&at("allow"))?;
        Ok(self)
    }

    fn check_allowed(&self, field: &str) -> Result<(), DomainError> {
        if !(1..=MAX_ALLOWED).contains(&self.allow.len()) {
            let message = format!("must name 1 to {MAX_ALLOWED} tools of the server");
            return Err(invalid(field, &message));
        }
        let mut seen = HashSet::new();
        for (place, tool) in self.allow.iter().enumerate() {
            let field = format!("{field}[{place}]");
            let fits = (1..=128).contains(&tool.chars().count());
            if !fits || tool.chars().any(char::is_control) || tool.trim() != tool {
                return Err(invalid(field, "must be the name of a tool, 1 to 128 characters"));
            }
            if !seen.insert(tool.as_str()) {
                return Err(invalid(field, "is there already"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn settings(change: &Value) -> Result<McpSettings, DomainError> {
        let mut whole = json!({
            "name": "crm",
            "url": "https://mcp.example.com/mcp",
            "allow": ["find_customer"],
        });
        let fields = whole.as_object_mut().unwrap();
        fields.extend(change.as_object().unwrap().clone());
        super::super::read::<McpSettings>("tools[0]", fields)?.check("tools[0]")
    }

    #[test]
    fn a_server_reads() {
        let read = settings(&json!({})).unwrap();
        assert_eq!((read.name.as_str(), read.timeout), ("crm", 15));
    }

    #[test]
    fn what_is_wrong_with_a_server_is_named() {
        for (change, field) in [
            (json!({"name": "no spaces"}), "name"),
            (json!({"name": "x".repeat(33)}), "name"),
            (json!({"url": "ftp://x.example/a"}), "url"),
            (json!({"url": "https://user:pass@example.com/"}), "url"),
            (json!({"allow": []}), "allow"),
            (json!({"allow": vec!["a"; 51]}), "allow"),
            (json!({"allow": ["a", "a"]}), "allow[1]"),
            (json!({"allow": [" "]}), "allow[0]"),
            (json!({"allow": "all"}), "allow"),
            (json!({"timeout": 61}), "timeout"),
            (json!({"headers": [{"name": "a", "secret": true}]}), "headers[0].value"),
            (json!({"headers": [{"name": "Accept", "value": "x"}]}), "headers[0].name"),
            (json!({"command": "sh"}), "command"),
            (json!({"approvalHours": 0}), "approvalHours"),
            (json!({"approvalMessage": "x".repeat(2_001)}), "approvalMessage"),
        ] {
            let error = settings(&change).unwrap_err();
            assert_eq!(error.field, Some(format!("tools[0].{field}")), "{change}: {error:?}");
        }
    }
}
