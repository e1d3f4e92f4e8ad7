//! The evidence threshold that a datastore finds for itself.

use std::sync::Arc;

use async_trait::async_trait;
use models::{EmbedPurpose, Embedder, EmbeddingSpace, ModelError};
use retrieval::ThresholdOrigin;
use storage::datastores::Tuning;
use testkit::model_server::hash_embedding;

use crate::world::{World, arms, chunk, point};

/// A word that no other number gives.
fn word(mut n: usize) -> String {
    const SYLLABLES: [&str; 8] = ["ra", "lo", "mi", "tu", "be", "so", "gui", "fa"];
    let mut word = String::from("ca");
    for _ in 0..4 {
        word.push_str(SYLLABLES[n % 8]);
        n /= 8;
    }
    word
}

/// A passage that shares nothing but its stop words with the others.
fn unlike(n: usize) -> String {
    let words: Vec<String> = (0..8).map(|at| word(8 * n + at)).collect();
    format!("El {} de la {}.", words[..4].join(" con "), words[4..].join(" para "))
}

/// A passage like all the others.
fn alike(n: usize) -> String {
    format!(
        "La garantía del producto {} cubre fallas de fábrica durante seis meses desde la compra con boleta.",
        word(n)
    )
}

async fn world_of(name: &str, passages: usize, text: impl Fn(usize) -> String) -> World {
    let world = World::new(&arms(name)[0]).await;
    add(&world, 0..passages, text).await;
    world
}

async fn add(world: &World, numbers: std::ops::Range<usize>, text: impl Fn(usize) -> String) {
    for n in numbers {
        world.add(&format!("Fuente {n}"), &text(n)).await;
    }
}

async fn revision(world: &World) -> i64 {
    let mut conn = world.db.read().await.unwrap();
    let row = storage::datastores::get(&mut conn, world.workspace, world.datastore.id).await;
    row.unwrap().unwrap().revision
}

#[tokio::test]
async fn a_datastore_calibrates_its_threshold_once_and_keeps_it() {
    let mut world = world_of("calibration", 120, alike).await;
    let before = world.search("¿Qué cubre la garantía?").await;
    assert_eq!(before.threshold_from, ThresholdOrigin::Size);
    world.retrieval.maintain().await.unwrap();
    let after = world.search("¿Qué cubre la garantía?").await;
    assert_eq!(after.threshold_from, ThresholdOrigin::Calibration);
    assert!((0.15..=0.65).contains(&after.threshold), "{}", after.threshold);
    assert_eq!(revision(&world).await, 121);
    world.retrieval.maintain().await.unwrap();
    world.reopen().await;
    let anew = world.search("¿Qué cubre la garantía?").await;
    assert!((anew.threshold - after.threshold).abs() < 1e-9);
    assert_eq!(anew.threshold_from, ThresholdOrigin::Calibration);
    assert_eq!(revision(&world).await, 121);
}

#[tokio::test]
async fn what_was_set_for_a_datastore_holds_in_the_place_of_what_it_found() {
    let world = world_of("a threshold that was set", 60, alike).await;
    world.retrieval.maintain().await.unwrap();
    let tune = async |tuning: Tuning| {
        let mut tx = world.db.write().await.unwrap();
        let (workspace, id) = (world.workspace, world.datastore.id);
        assert!(storage::datastores::tune(&mut tx, workspace, id, tuning).await.unwrap());
        tx.commit().await.unwrap();
    };
    let found = world.search("¿Qué cubre la garantía?").await;
    tune(Tuning { threshold: Some(0.625), dense_weight: None }).await;
    // At once, although everything else is in memory.
    let set = world.search("¿Qué cubre la garantía?").await;
    assert_eq!((set.threshold, set.threshold_from), (0.625, ThresholdOrigin::Set));
    assert_eq!(set.hits.len(), found.hits.len());
    let health =
        world.retrieval.health(world.workspace, world.datastore.id).await.unwrap().unwrap();
    assert_eq!((health.threshold, health.threshold_from), (0.625, ThresholdOrigin::Set));
    assert_eq!(health.tuning.threshold, Some(0.625));
    tune(Tuning::default()).await;
    let plain = world.search("¿Qué cubre la garantía?").await;
    assert_eq!((plain.threshold, plain.threshold_from), (found.threshold, found.threshold_from));
}

#[tokio::test]
async fn passages_that_are_alike_ask_for_more_evidence() {
    let mut thresholds = Vec::new();
    for texts in [alike as fn(usize) -> String, unlike] {
        let world = world_of("calibration of alike passages", 110, texts).await;
        world.retrieval.maintain().await.unwrap();
        let results = world.search("¿Qué cubre la garantía?").await;
        assert_eq!(results.threshold_from, ThresholdOrigin::Calibration);
        thresholds.push(results.threshold);
    }
    assert!(thresholds[0] > thresholds[1] + 0.05, "{thresholds:?}");
}

#[tokio::test]
async fn a_datastore_calibrates_again_when_it_has_doubled() {
    let world = world_of("calibration again", 60, alike).await;
    world.retrieval.maintain().await.unwrap();
    assert_eq!(revision(&world).await, 61);
    add(&world, 60..100, alike).await;
    world.retrieval.maintain().await.unwrap();
    assert_eq!(revision(&world).await, 101);
    add(&world, 100..120, alike).await;
    // While passages come it waits; once none came between two looks it is done.
    assert!(world.retrieval.maintain().await.unwrap());
    assert_eq!(revision(&world).await, 121);
    add(&world, 120..121, alike).await;
    assert!(world.retrieval.maintain().await.unwrap());
    assert_eq!(revision(&world).await, 122);
    assert!(!world.retrieval.maintain().await.unwrap());
    assert_eq!(revision(&world).await, 123);
}

#[tokio::test]
async fn a_small_datastore_goes_by_its_size() {
    let world = world_of("calibration of a small datastore", 20, alike).await;
    world.retrieval.maintain().await.unwrap();
    let results = world.search("¿Qué cubre la garantía?").await;
    assert_eq!(results.threshold_from, ThresholdOrigin::Size);
    assert_eq!(revision(&world).await, 20);
}

/// Sees words, or only that there is a text.
#[derive(Debug)]
pub struct Sighted(EmbeddingSpace, bool);

impl Sighted {
    pub fn embedder(model: &str, sees: bool) -> Arc<dyn Embedder> {
        let space = EmbeddingSpace { model: model.to_owned(), dimension: 256 };
        Arc::new(Self(space, sees))
    }
}

#[async_trait]
impl Embedder for Sighted {
    fn space(&self) -> &EmbeddingSpace {
        &self.0
    }

    async fn embed(&self, texts: &[String], _: EmbedPurpose) -> Result<Vec<Vec<f32>>, ModelError> {
        let seen = |text: &String| hash_embedding(if self.1 { text } else { "texto" }, 256);
        Ok(texts.iter().map(seen).collect())
    }
}

/// Sixty passages with the vectors of an embedder.
async fn embedded_world(name: &str, embedder: &Arc<dyn Embedder>) -> World {
    let world = World::with_embedder(&arms(name)[0], Some(Arc::clone(embedder))).await;
    // An index that nobody has seen yet is filled from the rows, which these vectors are not stored with.
    world.retrieval.maintain().await.unwrap();
    for n in 0..60 {
        let text = unlike(n);
        let id = world.add(&format!("Fuente {n}"), &text).await;
        let row = world.source(id).await;
        let mut point = point(&row, &chunk(&row, 1, 0, &text));
        // As words are searched: folded, since questions are made of folded words.
        let folded = text.to_lowercase();
        point.dense = embedder.embed(&[folded], EmbedPurpose::Passage).await.unwrap().pop();
        world.retrieval.upsert(vec![point]).await.unwrap();
    }
    world
}

#[tokio::test]
async fn vectors_get_more_weight_only_where_they_find_what_words_find() {
    for (sees, weight) in [(true, 0.5), (false, 0.2)] {
        let embedder = Sighted::embedder("sighted", sees);
        let world = embedded_world("dense self-test", &embedder).await;
        let health = world.retrieval.health(world.workspace, world.datastore.id).await.unwrap();
        let dense = health.unwrap().dense.unwrap();
        assert_eq!((dense.ratio, dense.weight), (None, 0.2), "before it is tested");
        world.retrieval.maintain().await.unwrap();
        let health = world.retrieval.health(world.workspace, world.datastore.id).await.unwrap();
        let health = health.unwrap();
        let dense = health.dense.unwrap();
        assert_eq!((health.passages, health.threshold_from), (60, ThresholdOrigin::Calibration));
        assert_eq!(dense.ratio.unwrap() >= 0.6, sees, "{dense:?}");
        assert!((dense.weight - weight).abs() < 1e-9, "{dense:?}");
        // It is tested once.
        let before = revision(&world).await;
        world.retrieval.maintain().await.unwrap();
        assert_eq!(revision(&world).await, before);
    }
}

#[tokio::test]
async fn a_test_of_one_embedder_says_nothing_of_another() {
    let first = Sighted::embedder("first", true);
    let mut world = embedded_world("dense self-test again", &first).await;
    world.retrieval.maintain().await.unwrap();
    let weight = async |world: &World| {
        let health = world.retrieval.health(world.workspace, world.datastore.id).await.unwrap();
        health.unwrap().dense.map(|dense| (dense.ratio.is_some(), dense.weight))
    };
    assert_eq!(weight(&world).await, Some((true, 0.5)));
    world.reopen_embedding(Some(Sighted::embedder("second", true))).await;
    assert_eq!(weight(&world).await, Some((false, 0.2)));
    world.reopen().await;
    assert_eq!(weight(&world).await, None, "without an embedder");
    let stranger = world.ambient.new_id();
    assert!(world.retrieval.health(stranger, world.datastore.id).await.unwrap().is_none());
}
