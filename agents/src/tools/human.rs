//! `request-human`: the agent's turn ends and a person is called.

use domain::agent::ToolKind;
use domain::tool::{HumanSettings, ToolSettings};
use serde_json::{Value, json};

use crate::run::Work;
use crate::words::Words;

pub(super) const NAME: &str = "request_human";

pub(super) fn spec() -> (String, Value) {
    let description = "Hands the conversation to a person of the business. Call it when the customer wants \
        to speak with a person, is upset, or needs what only a person can do. Your turn ends with it: the \
        customer is told by the system.";
    let parameters = json!({
        "type": "object",
        "properties": {
            "reason": {"type": "string", "description": "why, in a few words, for the person"},
        },
        "additionalProperties": false,
    });
    (description.to_owned(), parameters)
}

/// What a customer who is handed to a person is told, by the hour; `None` when the agent cannot call one.
pub(crate) fn handoff_text(work: &Work, words: &Words) -> Option<String> {
    let settings = human_settings(work)?;
    let open = settings.hours.as_ref().is_none_or(|hours| hours.open_at(work.inner.ambient.now()));
    let (own, general) = if open {
        (settings.message, &words.handoff)
    } else {
        (settings.away_message, &words.handoff_away)
    };
    Some(own.unwrap_or_else(|| general.clone()))
}

/// The settings of the agent's tool; the defaults for a row that no longer reads.
pub(crate) fn human_settings(work: &Work) -> Option<HumanSettings> {
    let tool = work.agent.tool(ToolKind::RequestHuman)?;
    match ToolSettings::read("tools", tool) {
        Ok(ToolSettings::Human(settings)) => Some(settings),
        _ => Some(HumanSettings::default()),
    }
}
