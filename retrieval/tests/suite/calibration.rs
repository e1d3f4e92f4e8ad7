//! The evidence threshold that a datastore finds for itself.

use retrieval::ThresholdOrigin;

use crate::world::{World, arms};

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
