use domain::Lang;
use models::lexical::analyse_passage;

use retrieval::StatsChange;

use crate::world::{World, arms};

/// The weight of `text`.
async fn weight(world: &World, text: &str) -> f64 {
    let results = world.search(text).await;
    results.question.asked.vectors().words_total
}

#[tokio::test]
async fn a_word_weighs_less_the_more_passages_have_it_and_removal_gives_the_weight_back() {
    let world = World::new(&arms("weights")[0]).await;
    for n in 0..10 {
        world.add(&format!("F{n}"), &format!("La carpa número {n} resiste la lluvia.")).await;
    }
    let rare = world.add("Rara", "El toldo resiste el viento.").await;
    let common = weight(&world, "carpa").await;
    let rare_weight = weight(&world, "toldo").await;
    assert!(rare_weight > common, "{rare_weight} {common}");
    let row = world.source(rare).await;
    let old = vec![crate::world::chunk(&row, 1, 0, "El toldo resiste el viento.")];
    let mut tx = world.db.write().await.unwrap();
    storage::sources::begin_version(&mut tx, world.workspace, rare, world.ambient.now())
        .await
        .unwrap();
    tx.commit().await.unwrap();
    world.publish(&row, 2, &["La carpa resiste el viento."], &old).await;
    let gone = weight(&world, "toldo").await;
    let never = weight(&world, "paraguas").await;
    assert!((gone - never).abs() < 1e-9, "nothing is left of the old version: {gone} {never}");
}

#[tokio::test]
async fn folded_statistics_weigh_the_same() {
    let world = World::new(&arms("folding")[0]).await;
    for n in 0..70 {
        world
            .add(&format!("F{n}"), &format!("Producto {n} con garantía de {} meses.", n % 5))
            .await;
    }
    let before = world.search("garantía de producto").await;
    let count = |world: &World| {
        let (db, workspace, datastore) = (world.db.clone(), world.workspace, world.datastore.id);
        async move {
            let mut conn = db.read().await.unwrap();
            storage::stats::load(&mut conn, workspace, datastore, -1).await.unwrap()
        }
    };
    assert_eq!(count(&world).await.deltas.len(), 70);
    world.retrieval.maintain().await.unwrap();
    let stored = count(&world).await;
    assert!(stored.deltas.is_empty() && stored.base.is_some());
    let after = world.search("garantía de producto").await;
    assert!((before.evidence - after.evidence).abs() < 1e-9);
    // A reader that comes with nothing reads the base.
    let mut world = world;
    world.reopen().await;
    let anew = world.search("garantía de producto").await;
    assert!((before.evidence - anew.evidence).abs() < 1e-9);
}

#[tokio::test]
async fn a_change_that_is_rolled_back_is_never_seen() {
    let world = World::new(&arms("roll-back")[0]).await;
    world.add("Uno", "La carpa resiste la lluvia.").await;
    let before = weight(&world, "carpa").await;
    let row = world.source(world.add("Dos", "El saco abriga.").await).await;
    let after_second = weight(&world, "carpa").await;
    assert!(after_second > before);
    let chunk = crate::world::chunk(&row, 2, 0, "La carpa y la carpa.");
    let mut tx = world.db.write().await.unwrap();
    let change = StatsChange::count(&[("Dos", &chunk)], &[]);
    world
        .retrieval
        .note_counted(&mut tx, world.workspace, world.datastore.id, &change)
        .await
        .unwrap();
    drop(tx);
    assert!((weight(&world, "carpa").await - after_second).abs() < 1e-9);
}

#[test]
fn an_analysed_passage_counts_every_term_once_with_its_frequency() {
    let terms = analyse_passage(&["La carpa y la carpa"], Lang::Es);
    assert_eq!(terms.words.len(), 1);
    assert_eq!(terms.word_count(), 2);
    assert!(terms.grams.is_sorted_by(|a, b| a.0 < b.0));
}
