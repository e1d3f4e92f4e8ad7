//! A reranker in a search: its order when it answers, the fused one when it does not.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use models::{ModelError, Reranker};
use retrieval::{Reranking, SearchResults};

use crate::world::{World, arms};

const TEXTS: [&str; 4] = [
    "El envío a regiones tarda tres días y cuesta 5.490 pesos.",
    "El envío a la capital tarda un día.",
    "El envío internacional no está disponible.",
    "La tienda abre a las nueve.",
];
const QUESTION: &str = "¿Cuánto cuesta el envío a regiones?";

/// What the reranker does.
#[derive(Debug, Clone, Copy)]
enum Does {
    /// Finds the passage about abroad best, all others alike.
    Prefers,
    Fails,
    Hangs,
    /// Scores one passage too few.
    Miscounts,
}

#[async_trait]
impl Reranker for Does {
    fn model(&self) -> &'static str {
        "scripted"
    }

    async fn rerank(&self, question: &str, passages: &[String]) -> Result<Vec<f64>, ModelError> {
        assert_eq!(question, QUESTION);
        assert!(passages.iter().all(|passage| passage.starts_with("Preguntas\n")), "{passages:?}");
        match self {
            Self::Prefers => Ok(passages
                .iter()
                .map(|passage| if passage.contains("internacional") { 0.9 } else { 0.2 })
                .collect()),
            Self::Fails => Err(ModelError::Unavailable("planted".to_owned())),
            Self::Hangs => std::future::pending().await,
            Self::Miscounts => Ok(vec![0.5; passages.len() - 1]),
        }
    }
}

fn reranking(does: Does, top: usize) -> Reranking {
    let timeout = match does {
        Does::Hangs => Duration::from_millis(20),
        _ => Duration::from_secs(30),
    };
    Reranking { reranker: Arc::new(does), top, timeout }
}

fn shown(results: &SearchResults) -> Vec<(&str, f64)> {
    results.hits.iter().map(|hit| (hit.live.chunk.text.as_str(), hit.score)).collect()
}

#[tokio::test]
async fn a_reranker_orders_and_the_scores_keep_their_places() {
    for arm in arms("reranking") {
        let mut world = World::new(&arm).await;
        world.add_to(&world.datastore, "Preguntas", &TEXTS, serde_json::Map::new()).await;
        let plain = world.search(QUESTION).await;
        assert_eq!(plain.reranked, None);
        assert_eq!(plain.hits[0].live.chunk.text, TEXTS[0]);
        assert!(plain.hits.iter().all(|hit| hit.scores.rerank.is_none()));

        world.reopen_with(Some(reranking(Does::Prefers, 20))).await;
        let found = world.search(QUESTION).await;
        assert_eq!(found.reranked, Some(true));
        assert_eq!(found.hits[0].live.chunk.text, TEXTS[2]);
        assert_eq!(found.hits[0].scores.rerank, Some(0.9));
        assert_eq!(found.hits[1].live.chunk.text, TEXTS[0], "alike: as without it");
        let scores =
            |results: &SearchResults| results.hits.iter().map(|hit| hit.score).collect::<Vec<_>>();
        assert_eq!(scores(&found), scores(&plain));
        assert!((found.evidence - plain.evidence).abs() < 1e-9);
        let least = plain.hits[1].score;
        let kept = world.search_from(QUESTION, least).await;
        assert_eq!(shown(&kept), shown(&found)[..2], "the score shown is the one filtered on");

        // The passage that it would prefer is not the first.
        let place = plain.hits.iter().position(|hit| hit.live.chunk.text == TEXTS[2]).unwrap();
        assert!(place >= 1, "{:?}", shown(&plain));
        world.reopen_with(Some(reranking(Does::Prefers, 1))).await;
        let found = world.search(QUESTION).await;
        assert_eq!((found.reranked, shown(&found)), (Some(true), shown(&plain)));
    }
}

#[tokio::test]
async fn without_an_answer_of_the_reranker_the_fused_order_stands() {
    for arm in arms("reranking that fails") {
        let mut world = World::new(&arm).await;
        world.add_to(&world.datastore, "Preguntas", &TEXTS, serde_json::Map::new()).await;
        let plain = world.search(QUESTION).await;
        for does in [Does::Fails, Does::Hangs, Does::Miscounts] {
            world.reopen_with(Some(reranking(does, 20))).await;
            let found = world.search(QUESTION).await;
            assert_eq!(found.reranked, Some(false), "{does:?}");
            assert_eq!(shown(&found), shown(&plain), "{does:?}");
            assert!(found.hits.iter().all(|hit| hit.scores.rerank.is_none()));
        }
    }
}
