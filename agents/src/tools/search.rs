//! `datastore`: the model searches again, in its own words, over the agent's datastores only.

use std::fmt::Write;

use domain::DatastoreId;
use domain::agent::{Agent, ToolKind};
use domain::tool::ToolSettings;
use retrieval::{Filter, Hit};
use serde_json::{Map, Value, json};

use super::Called;
use crate::prepare;
use crate::prompt;
use crate::run::Work;
use crate::turn::KnownDatastore;

pub(super) const NAME: &str = "search_knowledge";

/// Longest query, in characters.
const MAX_QUERY: usize = 1_000;

/// Most passages that an answer can draw on, over all searches of a turn.
const MAX_PASSAGES: usize = 40;

/// Where a model may search.
#[derive(Debug)]
pub(super) struct Search {
    datastores: Vec<(KnownDatastore, Option<String>)>,
}

impl Search {
    pub(super) fn new(agent: &Agent, datastores: &[KnownDatastore]) -> Self {
        let described = |datastore: &KnownDatastore| {
            let tools = agent.tools.iter().filter(|tool| tool.kind == ToolKind::Datastore);
            let id = datastore.id.to_string();
            let mut own = tools.filter(|tool| tool.id.as_deref() == Some(&id));
            match ToolSettings::read("tools", own.next()?) {
                Ok(ToolSettings::Datastore(settings)) => settings.description,
                _ => None,
            }
        };
        let with = |datastore: &KnownDatastore| (datastore.clone(), described(datastore));
        Self { datastores: datastores.iter().map(with).collect() }
    }

    pub(super) fn spec(&self) -> (String, Value) {
        let mut description = "Searches the knowledge of the business. Call it when the passages that you have do \
            not hold the answer, with other words than the customer's, or once for each part of a question. \
            What it finds can be cited by its number."
            .to_owned();
        let mut properties = Map::new();
        properties.insert(
            "query".to_owned(),
            json!({"type": "string", "description": "what to look for"}),
        );
        properties.insert(
            "filter".to_owned(),
            json!({
                "type": "object",
                "description": "metadata that sources must have, such as {\"product\": \"x\"}; leave it out unless the customer's question names such a thing",
            }),
        );
        if self.datastores.len() > 1 {
            let names: Vec<&str> =
                self.datastores.iter().map(|(known, _)| known.name.as_str()).collect();
            properties.insert(
                "datastore".to_owned(),
                json!({"type": "string", "enum": names, "description": "where to look; everywhere when left out"}),
            );
            description.push_str(" It has these parts:");
            for (known, about) in &self.datastores {
                let about = about.as_deref().unwrap_or("no description");
                let _ = write!(description, " {:?}: {about}.", known.name);
            }
        }
        let parameters = json!({
            "type": "object",
            "properties": properties,
            "required": ["query"],
            "additionalProperties": false,
        });
        (description, parameters)
    }

    pub(super) async fn run(
        &self,
        work: &Work,
        arguments: &Map<String, Value>,
        passages: &mut Vec<Hit>,
    ) -> Called {
        let query = arguments.get("query").and_then(Value::as_str).unwrap_or_default().trim();
        if query.is_empty() || query.chars().count() > MAX_QUERY {
            return Called::Failed(format!(
                "`query` must be a text of 1 to {MAX_QUERY} characters"
            ));
        }
        let datastores = match self.chosen(arguments.get("datastore")) {
            Ok(datastores) => datastores,
            Err(reason) => return Called::Failed(reason),
        };
        let filter = match arguments.get("filter") {
            None | Some(Value::Null) => None,
            Some(filter) => match Filter::parse(filter) {
                Ok(filter) => Some(filter).filter(|filter| !filter.must.is_empty()),
                Err(error) => return Called::Failed(error.message),
            },
        };
        let mut search = prepare::search_query(&work.agent, &datastores, query);
        search.filter = filter;
        let searching = Box::pin(work.inner.retrieval.search(work.workspace(), &search));
        match work.spending.meter.tally().over(searching).await {
            Ok(results) => {
                let (threshold, _) = prepare::threshold(work, &results);
                if results.hits.is_empty() || results.evidence < threshold {
                    return Called::Told("Nothing was found.".to_owned());
                }
                Called::Told(add(work, results.hits, passages))
            }
            Err(error) => {
                tracing::warn!(%error, "a model's search failed");
                Called::Failed("the search is not available now".to_owned())
            }
        }
    }

    fn chosen(&self, datastore: Option<&Value>) -> Result<Vec<DatastoreId>, String> {
        let all = || self.datastores.iter().map(|(known, _)| known.id).collect();
        match datastore {
            None | Some(Value::Null) => Ok(all()),
            Some(Value::String(name)) => {
                let known = self.datastores.iter().find(|(known, _)| known.name == *name);
                known.map(|(known, _)| vec![known.id]).ok_or_else(|| {
                    format!(
                        "there is no datastore {name:?}; leave `datastore` out to search everywhere"
                    )
                })
            }
            Some(_) => Err("`datastore` must be a name".to_owned()),
        }
    }
}

/// Numbers what was found after the passages that are known, and says what the model is told.
fn add(work: &Work, hits: Vec<Hit>, passages: &mut Vec<Hit>) -> String {
    let mut text = String::new();
    let key = prompt::fence_key(&work.inner.ambient);
    for hit in hits {
        let known = passages.iter().position(|known| known.live.chunk.id == hit.live.chunk.id);
        if let Some(at) = known {
            let _ = writeln!(text, "Passage [{}], which you have.", at + 1);
            continue;
        }
        if passages.len() >= MAX_PASSAGES {
            text.push_str("There is more, but no room for it.\n");
            break;
        }
        prompt::write_passage(&mut text, key, passages.len() + 1, &hit);
        passages.push(hit);
    }
    text
}
