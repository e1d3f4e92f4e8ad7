//! A datastore: search, the evidence, and what the built-in answerer would take from the passages.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use agents::Agents;
use async_trait::async_trait;
use domain::{ApiKeyId, ChunkId, DatastoreId, WorkspaceId};
use models::builtin::{Passage, extract};
use retrieval::{Hit, Retrieval, SearchMode, SearchQuery, SearchResults, passage_heading};
use serde_json::json;

use super::world::World;
use super::{Estimate, Target, TargetInfo, ms};
use crate::dataset::Case;
use crate::observation::{Failure, Found, Observation, Outcome};

/// Passages that the built-in answerer takes sentences from, as in a turn.
const BUILTIN_PASSAGES: usize = 3;

/// Searches datastores; asks no agent.
#[derive(Debug, Clone)]
pub struct SearchTarget {
    pub(super) retrieval: Retrieval,
    pub(super) workspace: WorkspaceId,
    pub(super) datastores: Vec<DatastoreId>,
    pub(super) names: Arc<HashMap<ChunkId, String>>,
    mode: SearchMode,
    depth: usize,
    threshold: Option<f64>,
    dense_weight: Option<f64>,
    name: String,
    payer: Option<(Agents, Option<ApiKeyId>)>,
}

impl SearchTarget {
    /// Over datastores of a workspace; `depth` passages are asked for, 1 to 100.
    pub fn new(
        retrieval: Retrieval,
        workspace: WorkspaceId,
        datastores: Vec<DatastoreId>,
        depth: usize,
    ) -> Self {
        let name = "search".to_owned();
        let (names, mode) = (Arc::default(), SearchMode::Hybrid);
        Self {
            retrieval,
            workspace,
            datastores,
            names,
            mode,
            depth: depth.clamp(1, 100),
            threshold: None,
            dense_weight: None,
            name,
            payer: None,
        }
    }

    /// Over a throw-away workspace, with the dataset's own ids.
    pub fn of(world: &World, depth: usize) -> Self {
        let datastores = vec![world.born.datastore.id];
        let workspace = world.born.workspace.id;
        let names = world.names.clone();
        Self { names, ..Self::new(world.retrieval.clone(), workspace, datastores, depth) }
    }

    /// Which vectors are searched.
    #[must_use]
    pub fn in_mode(self, mode: SearchMode) -> Self {
        Self { mode, ..self }
    }

    /// The evidence below which a case counts as not answered, in place of the datastore's own.
    #[must_use]
    pub fn with_threshold(self, threshold: Option<f64>) -> Self {
        Self { threshold, ..self }
    }

    /// With this part of dense vectors in the fusion, 0 to 1; `None` for what the datastores go by.
    #[must_use]
    pub fn with_dense_weight(self, dense_weight: Option<f64>) -> Self {
        Self { dense_weight, ..self }
    }

    /// What is told in reports.
    #[must_use]
    pub fn named(self, name: String) -> Self {
        Self { name, ..self }
    }

    /// Has what its searches ask of models that cost something counted to the workspace and to the key.
    #[must_use]
    pub fn paid_by(self, agents: Agents, api_key: Option<ApiKeyId>) -> Self {
        Self { payer: Some((agents, api_key)), ..self }
    }

    pub(super) async fn search(&self, text: &str) -> Result<SearchResults, Failure> {
        let query = SearchQuery {
            datastores: self.datastores.clone(),
            text: text.to_owned(),
            top_k: self.depth,
            mode: self.mode,
            min_score: None,
            filter: None,
            dense_weight: self.dense_weight,
        };
        if let Some((agents, api_key)) = &self.payer {
            let found = agents.search(self.workspace, &query, *api_key).await;
            return found.map_err(|error| Failure::new(error.code, error.message));
        }
        let found = self.retrieval.search(self.workspace, &query).await;
        found.map_err(|error| Failure::new("SEARCH", error.to_string()))
    }

    pub(super) fn name_of(&self, chunk: ChunkId) -> String {
        self.names.get(&chunk).cloned().unwrap_or_else(|| chunk.to_string())
    }

    /// The passages, best first; equal scores by falling id, as `trec_eval` orders them.
    pub(super) fn found(&self, results: &SearchResults) -> Vec<Found> {
        let found = |hit: &Hit| Found {
            id: self.name_of(hit.live.chunk.id),
            document: Some(hit.live.chunk.source_id.to_string())
                .filter(|_| !self.names.contains_key(&hit.live.chunk.id)),
            title: passage_heading(&hit.live.source_name, &hit.live.chunk.heading),
            text: hit.live.chunk.text.clone(),
            score: hit.score,
        };
        let mut found: Vec<Found> = results.hits.iter().map(found).collect();
        if found.is_sorted_by(|one, next| one.score >= next.score) {
            found.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| b.id.cmp(&a.id)));
        }
        found
    }
}

/// What the built-in answerer takes from what was found.
pub(super) fn extracted(results: &SearchResults) -> String {
    let hits = &results.hits[..results.hits.len().min(BUILTIN_PASSAGES)];
    let heading = |hit: &Hit| passage_heading(&hit.live.source_name, &hit.live.chunk.heading);
    let headings: Vec<String> = hits.iter().map(heading).collect();
    let passages: Vec<Passage<'_>> = hits
        .iter()
        .zip(&headings)
        .map(|(hit, heading)| Passage {
            text: &hit.live.chunk.text,
            heading,
            lang: hit.live.chunk.lang,
            score: hit.score,
        })
        .collect();
    let sentences = extract(&results.question.asked, &passages);
    sentences.into_iter().map(|extract| extract.sentence).collect::<Vec<_>>().join(" ")
}

#[async_trait]
impl Target for SearchTarget {
    fn info(&self) -> TargetInfo {
        let config = json!({
            "mode": format!("{:?}", self.mode).to_lowercase(),
            "depth": self.depth,
            "threshold": self.threshold,
            "embedder": self.retrieval.embedder().map(|embedder| embedder.space().to_string()),
        });
        TargetInfo { kind: "search".to_owned(), name: self.name.clone(), config }
    }

    async fn ask(&self, case: &Case) -> Result<Observation, Failure> {
        let started = Instant::now();
        let results = self.search(&case.input).await?;
        let total_ms = ms(started.elapsed());
        let threshold = self.threshold.unwrap_or(results.threshold);
        let answers = !results.hits.is_empty() && results.evidence >= threshold;
        Ok(Observation {
            outcome: if answers { Outcome::Answered } else { Outcome::Abstained },
            extract: Some(extracted(&results)),
            retrieved: Some(self.found(&results)),
            evidence: Some(results.evidence),
            threshold: Some(threshold),
            total_ms: Some(total_ms),
            ..Observation::default()
        })
    }

    fn estimate(&self, _case: &Case) -> Estimate {
        Estimate::FREE
    }
}
