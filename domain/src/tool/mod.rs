//! What the operator sets for each tool of an agent. Stored as the JSON that the caller sent, once it has been
//! read into these types: so what is stored always reads.

mod hours;
mod http;
mod lead;
mod mcp;

pub use hours::{BusinessHours, Opening};
pub use http::{
    HttpHeader, HttpMethod, HttpParameter, HttpResult, HttpSettings, ParameterKind, placeholders,
};
pub use lead::{LeadField, LeadFieldKind, LeadSettings};
pub use mcp::McpSettings;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::agent::{AgentTool, ToolKind};
use crate::{DomainError, text};

/// Longest words that an operator gives a tool, in characters.
const MAX_WORDS: usize = 2_000;

/// Most phrases that call a person.
const MAX_PHRASES: usize = 50;

/// Settings of `datastore`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DatastoreSettings {
    /// What the datastore holds, for a model that has several to choose from.
    pub description: Option<String>,
}

/// Settings of `request-human`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct HumanSettings {
    /// What the customer is told while people are there; `None` means the catalogue's words.
    pub message: Option<String>,
    /// What the customer is told while nobody is there; `None` means the catalogue's words, which ask for
    /// an e-mail address.
    pub away_message: Option<String>,
    /// What a customer may say to be handed to a person, beside what the agent understands by itself.
    /// Compared without accents, case and punctuation, as a whole message.
    pub words: Vec<String>,
    /// When people are there; `None` means always.
    pub hours: Option<BusinessHours>,
}

/// Settings of `mark-as-resolved`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ResolveSettings {}

/// The settings of a tool.
#[derive(Debug, Clone, PartialEq)]
pub enum ToolSettings {
    /// Of `datastore`.
    Datastore(DatastoreSettings),
    /// Of `lead-capture`.
    Lead(LeadSettings),
    /// Of `request-human`.
    Human(HumanSettings),
    /// Of `mark-as-resolved`.
    Resolve(ResolveSettings),
    /// Of `http`.
    Http(Box<HttpSettings>),
    /// Of `mcp`.
    Mcp(Box<McpSettings>),
}

impl ToolSettings {
    /// Reads and checks the settings of `tool`; `field` is the path of the tool, for errors: `tools[0]`.
    pub fn read(field: &str, tool: &AgentTool) -> Result<Self, DomainError> {
        let settings = &tool.settings;
        if tool.id.is_some() && tool.kind != ToolKind::Datastore {
            let message = format!("`{field}.id` is for datastores; leave it out of {}", tool.kind);
            return Err(DomainError::invalid(format!("{field}.id"), message));
        }
        match tool.kind {
            ToolKind::Datastore => {
                Ok(Self::Datastore(read::<DatastoreSettings>(field, settings)?.check(field)?))
            }
            ToolKind::LeadCapture => {
                Ok(Self::Lead(read::<LeadSettings>(field, settings)?.check(field)?))
            }
            ToolKind::RequestHuman => {
                Ok(Self::Human(read::<HumanSettings>(field, settings)?.check(field)?))
            }
            ToolKind::MarkAsResolved => Ok(Self::Resolve(read(field, settings)?)),
            ToolKind::Http => {
                Ok(Self::Http(Box::new(read::<HttpSettings>(field, settings)?.check(field)?)))
            }
            ToolKind::Mcp => {
                Ok(Self::Mcp(Box::new(read::<McpSettings>(field, settings)?.check(field)?)))
            }
        }
    }
}

impl DatastoreSettings {
    fn check(mut self, field: &str) -> Result<Self, DomainError> {
        self.description = words(&format!("{field}.description"), self.description)?;
        Ok(self)
    }
}

impl HumanSettings {
    fn check(mut self, field: &str) -> Result<Self, DomainError> {
        self.message = words(&format!("{field}.message"), self.message)?;
        self.away_message = words(&format!("{field}.awayMessage"), self.away_message)?;
        if self.words.len() > MAX_PHRASES {
            let field = format!("{field}.words");
            let message = format!("`{field}` has more than {MAX_PHRASES} entries");
            return Err(DomainError::invalid(field, message));
        }
        for (at, phrase) in self.words.iter_mut().enumerate() {
            *phrase = text::required(&format!("{field}.words[{at}]"), phrase, 100)?;
        }
        if let Some(hours) = &self.hours {
            hours.check(&format!("{field}.hours"))?;
        }
        Ok(self)
    }
}

const fn one_day() -> u64 {
    24
}

/// Checks what tools that a person must allow have in common; the words for the customer.
fn check_approval(
    field: &str,
    message: Option<String>,
    hours: u64,
) -> Result<Option<String>, DomainError> {
    if !(1..=720).contains(&hours) {
        let field = format!("{field}.approvalHours");
        let message = format!("`{field}` must be 1 to 720 hours");
        return Err(DomainError::invalid(field, message));
    }
    words(&format!("{field}.approvalMessage"), message)
}

/// Words of the operator; blank ones are none.
fn words(field: &str, words: Option<String>) -> Result<Option<String>, DomainError> {
    let Some(words) = words else { return Ok(None) };
    let words = text::optional(field, &words, MAX_WORDS)?;
    Ok((!words.is_empty()).then_some(words))
}

/// Reads settings by their type; an error names the field.
fn read<T: DeserializeOwned>(field: &str, settings: &Map<String, Value>) -> Result<T, DomainError> {
    let value = Value::Object(settings.clone());
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        let field = if path == "." { field.to_owned() } else { format!("{field}.{path}") };
        let message = format!("`{field}`: {inner}");
        DomainError::invalid(field, message)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tool(kind: ToolKind, settings: Value) -> AgentTool {
        let Value::Object(settings) = settings else { panic!("settings are an object") };
        AgentTool { kind, id: None, settings }
    }

    fn blamed(kind: ToolKind, settings: Value) -> String {
        let error = ToolSettings::read("tools[0]", &tool(kind, settings)).unwrap_err();
        assert!(error.message.contains(error.field.as_deref().unwrap()), "{error:?}");
        error.field.unwrap()
    }

    #[test]
    fn a_tool_without_settings_has_the_defaults() {
        for kind in [ToolKind::Datastore, ToolKind::LeadCapture, ToolKind::RequestHuman] {
            assert!(ToolSettings::read("tools[0]", &AgentTool::plain(kind)).is_ok(), "{kind}");
        }
    }

    #[test]
    fn what_is_wrong_with_settings_is_named() {
        let human = ToolKind::RequestHuman;
        assert_eq!(blamed(human, json!({"message": 7})), "tools[0].message");
        assert_eq!(blamed(human, json!({"mesage": "x"})), "tools[0].mesage");
        assert_eq!(blamed(human, json!({"words": [" "]})), "tools[0].words[0]");
        let hours = json!({"hours": {"timeZone": "Mars/Olympus", "days": {}}});
        assert_eq!(blamed(human, hours), "tools[0].hours.timeZone");
        let lead = ToolKind::LeadCapture;
        assert_eq!(blamed(lead, json!({"fields": []})), "tools[0].fields");
        let twice = json!({"fields": [{"name": "x"}, {"name": "x"}]});
        assert_eq!(blamed(lead, twice), "tools[0].fields[1].name");
        let id = AgentTool { id: Some("ds_1".to_owned()), ..AgentTool::plain(human) };
        let error = ToolSettings::read("tools[3]", &id).unwrap_err();
        assert_eq!(error.field.as_deref(), Some("tools[3].id"));
    }
}
