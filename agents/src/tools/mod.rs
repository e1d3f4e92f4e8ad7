//! The tools that a model may call in a turn. What a model writes is data: it chooses among what the agent's row
//! offers, and every value that it gives is checked as if a stranger had sent it.

mod headers;
mod http;
mod human;
mod lead;
pub(crate) mod mcp;
mod search;

use std::time::Instant;

use domain::agent::{Agent, ToolKind};
use domain::message::{ToolStatus, ToolUse};
use domain::tool::{HttpSettings, LeadSettings, ToolSettings};
use models::{ToolCall, ToolSpec};
use retrieval::Hit;
use serde_json::{Map, Value, json};

pub(crate) use human::{handoff_text, human_settings};
pub(crate) use lead::{Note, fields_of, lead_settings, note_lead};

use crate::prepare::Effect;
use crate::run::Work;
use headers::Secrets;
use mcp::{McpOffer, Server};
use search::Search;

/// Longest result that is stored with the message, and longest arguments, in characters.
const MAX_STORED_RESULT: usize = 2_000;

/// A tool as it is offered to the model.
#[derive(Debug)]
enum Offer {
    Search(Search),
    Lead(LeadSettings),
    Human,
    Resolve,
    Http(Box<HttpSettings>),
    Mcp(McpOffer),
}

impl Offer {
    fn kind(&self) -> ToolKind {
        match self {
            Self::Search(_) => ToolKind::Datastore,
            Self::Lead(_) => ToolKind::LeadCapture,
            Self::Human => ToolKind::RequestHuman,
            Self::Resolve => ToolKind::MarkAsResolved,
            Self::Http(_) => ToolKind::Http,
            Self::Mcp(_) => ToolKind::Mcp,
        }
    }

    /// What the model calls it.
    fn name(&self) -> &str {
        match self {
            Self::Search(_) => search::NAME,
            Self::Lead(_) => lead::NAME,
            Self::Human => human::NAME,
            Self::Resolve => "mark_as_resolved",
            Self::Http(settings) => &settings.name,
            Self::Mcp(offer) => &offer.name,
        }
    }

    /// What clients and people call it.
    fn shown_name(&self) -> &str {
        match self {
            Self::Http(_) | Self::Mcp(_) => self.name(),
            _ => self.kind().name(),
        }
    }

    fn spec(&self) -> ToolSpec {
        let (description, parameters) = match self {
            Self::Search(search) => search.spec(),
            Self::Lead(settings) => lead::spec(settings),
            Self::Human => human::spec(),
            Self::Http(settings) => http::spec(settings),
            Self::Mcp(offer) => return offer.spec(),
            Self::Resolve => (
                "Closes the conversation. Call it when the customer says that nothing is left to do."
                    .to_owned(),
                json!({"type": "object", "properties": {}, "additionalProperties": false}),
            ),
        };
        ToolSpec { name: self.name().to_owned(), description, parameters }
    }
}

/// What came of a call.
#[derive(Debug)]
pub(crate) enum Called {
    /// What the model is told.
    Told(String),
    /// Why it failed, which the model is told.
    Failed(String),
    /// A person is called: the agent's turn ends.
    HandOff,
    /// A person must allow it: the agent's turn ends for now.
    Waiting(Box<Pending>),
}

/// A call that a person must allow.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pending {
    pub(crate) kind: ToolKind,
    /// What the model calls the tool.
    pub(crate) tool: String,
    /// Where the call goes, without its arguments.
    pub(crate) target: String,
    pub(crate) arguments: Map<String, Value>,
    /// What the customer is told; `None` means the catalogue's words.
    pub(crate) words: Option<String>,
    /// Hours in which a person can allow it.
    pub(crate) hours: u64,
}

/// A call as it may be kept and shown: bounded, without secrets.
#[derive(Debug)]
pub(crate) struct ShownCall {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) arguments: Value,
    pub(crate) status: ToolStatus,
    pub(crate) result: String,
}

/// The tools of a turn and what came of them.
pub(crate) struct Toolbox<'a> {
    work: &'a Work,
    offers: Vec<Offer>,
    /// The MCP servers whose tools are among the offers.
    servers: Vec<Server>,
    /// What the customer has said in this conversation, for values that must come from there.
    said: Vec<String>,
    /// The uses so far, in the order of the calls.
    pub(crate) uses: Vec<ToolUse>,
    /// What is to be written together with the answer.
    pub(crate) effects: Vec<Effect>,
    /// Something was noted of the customer.
    pub(crate) lead: bool,
}

impl<'a> Toolbox<'a> {
    pub(crate) fn new(work: &'a Work, said: Vec<String>, servers: Vec<Server>) -> Self {
        let offers = offers(work, &servers);
        Self { work, offers, servers, said, uses: Vec::new(), effects: Vec::new(), lead: false }
    }

    pub(crate) fn specs(&self) -> Vec<ToolSpec> {
        self.offers.iter().map(Offer::spec).collect()
    }

    /// The kind and the shown name of what a call names; `None` when the agent has no such tool.
    pub(crate) fn find(&self, call: &ToolCall) -> Option<(ToolKind, String)> {
        let offer = self.offers.iter().find(|offer| offer.name() == call.name)?;
        Some((offer.kind(), offer.shown_name().to_owned()))
    }

    /// Does what a call asks for. `passages` are those that the answer may cite so far; a search adds to them.
    /// Dropping the future gives the call up.
    pub(crate) async fn call(&mut self, call: &ToolCall, passages: &mut Vec<Hit>) -> Called {
        let Some(place) = self.offers.iter().position(|offer| offer.name() == call.name) else {
            let known: Vec<&str> = self.offers.iter().map(Offer::name).collect();
            return Called::Failed(format!(
                "there is no tool {:?}; there are {known:?}",
                call.name
            ));
        };
        let arguments = match arguments(&call.arguments) {
            Ok(arguments) => arguments,
            Err(reason) => return Called::Failed(reason),
        };
        match self.pending(place, &arguments) {
            Ok(None) => self.carry_out(place, arguments, passages).await,
            Ok(Some(pending)) => Called::Waiting(Box::new(pending)),
            Err(reason) => Called::Failed(reason),
        }
    }

    /// What a person is to be asked before a call, if so: only one that could be made. The error says why it could not.
    fn pending(
        &self,
        place: usize,
        arguments: &Map<String, Value>,
    ) -> Result<Option<Pending>, String> {
        let offer = &self.offers[place];
        let (words, hours) = match offer {
            Offer::Http(settings) if settings.approval => {
                http::check(settings, arguments)?;
                (settings.approval_message.clone(), settings.approval_hours)
            }
            Offer::Mcp(offer) => match mcp::approval(&self.servers, offer) {
                Some(asked) => asked,
                None => return Ok(None),
            },
            _ => return Ok(None),
        };
        let (kind, tool, target) =
            (offer.kind(), offer.name().to_owned(), self.target(offer).unwrap_or_default());
        Ok(Some(Pending { kind, tool, target, arguments: arguments.clone(), words, hours }))
    }

    /// Where the calls of a tool go.
    fn target(&self, offer: &Offer) -> Option<String> {
        match offer {
            Offer::Http(settings) => Some(format!("{} {}", settings.method.name(), settings.url)),
            Offer::Mcp(offer) => mcp::target(&self.servers, offer),
            _ => None,
        }
    }

    /// Makes a call that a person allowed, if the tool still is what it was then.
    pub(crate) async fn allowed(
        &mut self,
        tool: &str,
        target: &str,
        arguments: Map<String, Value>,
        passages: &mut Vec<Hit>,
    ) -> Called {
        let place = self.offers.iter().position(|offer| offer.name() == tool);
        match place {
            Some(place) if self.target(&self.offers[place]).as_deref() == Some(target) => {
                self.carry_out(place, arguments, passages).await
            }
            _ => Called::Failed(
                "the tool was changed or removed meanwhile; the call was not made".to_owned(),
            ),
        }
    }

    /// Whether a call may be made twice without harm.
    pub(crate) fn may_repeat(&self, tool: &str) -> bool {
        self.offers.iter().any(|offer| match offer {
            Offer::Http(settings) => settings.name == tool && settings.method.is_idempotent(),
            _ => false,
        })
    }

    /// What tools told so far.
    pub(crate) fn told(&self) -> Vec<String> {
        self.uses.iter().map(|used| used.result.clone()).collect()
    }

    /// What the customer has said.
    pub(crate) fn said(&self) -> &[String] {
        &self.said
    }

    async fn carry_out(
        &mut self,
        place: usize,
        arguments: Map<String, Value>,
        passages: &mut Vec<Hit>,
    ) -> Called {
        match &self.offers[place] {
            Offer::Search(search) => search.run(self.work, &arguments, passages).await,
            Offer::Lead(settings) => {
                let called = lead::run(self.work, settings, &arguments, &self.said).await;
                self.lead |= matches!(called, Called::Told(_));
                called
            }
            Offer::Http(settings) => http::run(self.work, settings, &arguments).await,
            Offer::Mcp(offer) => mcp::run(self.work, &mut self.servers, offer, arguments).await,
            Offer::Human => {
                self.effects.push(Effect::Handoff);
                Called::HandOff
            }
            Offer::Resolve => {
                if !self.effects.contains(&Effect::Resolve) {
                    self.effects.push(Effect::Resolve);
                }
                Called::Told(
                    "The conversation is closed with your answer. Say good-bye.".to_owned(),
                )
            }
        }
    }

    /// Keeps what came of a call for the stored message.
    pub(crate) fn note(&mut self, call: &ToolCall, called: &Called, began: Instant) {
        let Some((kind, name)) = self.find(call) else { return };
        let took = began.elapsed();
        let ShownCall { arguments, status, result, .. } = self.shown(call, called);
        self.uses.push(ToolUse { kind, name, status, arguments, result, took });
    }

    /// A call as it may be kept.
    pub(crate) fn shown(&self, call: &ToolCall, called: &Called) -> ShownCall {
        let (status, result) = match called {
            Called::Told(text) => (ToolStatus::Done, text.as_str()),
            Called::Failed(reason) => (ToolStatus::Failed, reason.as_str()),
            Called::HandOff => (ToolStatus::Done, ""),
            Called::Waiting(_) => (ToolStatus::Waiting, ""),
        };
        let secrets = self.secrets();
        let arguments = cut(&secrets.hide(call.arguments.clone()));
        let arguments =
            serde_json::from_str(&arguments).unwrap_or_else(|_| Value::String(arguments));
        let (id, name) = (call.id.clone(), call.name.clone());
        ShownCall { id, name, arguments, status, result: cut(&secrets.hide(result.to_owned())) }
    }

    /// What must stand in nothing that is kept of a call: what the agent's tools send to prove who they are.
    fn secrets(&self) -> Secrets {
        let mut declared = Vec::new();
        for tool in &self.work.agent.tools {
            match ToolSettings::read("tools", tool) {
                Ok(ToolSettings::Http(settings)) => declared.extend(settings.headers),
                Ok(ToolSettings::Mcp(settings)) => declared.extend(settings.headers),
                _ => {}
            }
        }
        headers::secrets(self.work, &declared)
    }
}

/// Whether an agent has a tool that can be of use where its knowledge is not.
pub(crate) fn can_act(agent: &Agent) -> bool {
    agent.tools.iter().any(|tool| match tool.kind {
        ToolKind::LeadCapture | ToolKind::MarkAsResolved | ToolKind::Http | ToolKind::Mcp => true,
        ToolKind::Datastore | ToolKind::RequestHuman => false,
    })
}

fn offers(work: &Work, servers: &[Server]) -> Vec<Offer> {
    let mut offers = Vec::new();
    if let Some(datastores) = work.datastores.as_deref().filter(|known| !known.is_empty()) {
        offers.push(Offer::Search(Search::new(&work.agent, datastores)));
    }
    for tool in &work.agent.tools {
        let offer = match tool.kind {
            ToolKind::LeadCapture => Offer::Lead(lead_settings(&work.agent).unwrap_or_default()),
            ToolKind::RequestHuman => Offer::Human,
            ToolKind::MarkAsResolved => Offer::Resolve,
            ToolKind::Http => match ToolSettings::read("tools", tool) {
                Ok(ToolSettings::Http(settings)) => Offer::Http(settings),
                // A row that no longer reads offers nothing.
                _ => continue,
            },
            ToolKind::Datastore | ToolKind::Mcp => continue,
        };
        if !offers.iter().any(|known: &Offer| known.name() == offer.name()) {
            offers.push(offer);
        }
    }
    // A server's tools take the names that are left.
    let taken: Vec<&str> = offers.iter().map(Offer::name).collect();
    let of_servers = mcp::offers(servers, &taken);
    offers.extend(of_servers.into_iter().map(Offer::Mcp));
    offers
}

/// The arguments of a call; models send nothing for no arguments.
fn arguments(text: &str) -> Result<Map<String, Value>, String> {
    if text.trim().is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_str(text) {
        Ok(Value::Object(arguments)) => Ok(arguments),
        Ok(_) => Err("the arguments must be a JSON object".to_owned()),
        Err(error) => Err(format!("the arguments are no JSON: {error}")),
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_STORED_RESULT) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}
