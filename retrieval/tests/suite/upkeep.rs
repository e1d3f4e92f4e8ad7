use std::sync::atomic::{AtomicU64, Ordering};

use retrieval::IndexTarget;

use crate::world::{SHOP, World, arms, point};

#[tokio::test]
async fn a_rebuild_brings_everything_back_and_says_how_far_it_is() {
    for arm in arms("rebuild") {
        let world = World::new(&arm).await;
        for (name, text) in SHOP {
            world.add(name, text).await;
        }
        let before = world.search("cuanto cuesta el envío a regiones").await;
        world.retrieval.remove(world.workspace, IndexTarget::Workspace).await.unwrap();
        assert!(world.found("envío a regiones").await.is_empty());
        let last = AtomicU64::new(0);
        let progress = |done: u64, all: u64| {
            assert!(done <= all);
            last.store(done, Ordering::Relaxed);
        };
        world.retrieval.rebuild(&progress).await.unwrap();
        assert_eq!(last.load(Ordering::Relaxed), SHOP.len() as u64);
        let after = world.search("cuanto cuesta el envío a regiones").await;
        assert_eq!(after.hits.len(), before.hits.len());
        assert!((after.evidence - before.evidence).abs() < 1e-6);
    }
}

#[tokio::test]
async fn a_sweep_removes_orphans_and_puts_back_what_is_missing() {
    for arm in arms("sweep") {
        let world = World::new(&arm).await;
        let kept = world.add("Envíos", "El envío a regiones cuesta 5.490 pesos.").await;
        let row = world.source(kept).await;
        // A point of a version that never was, and one of a source that is gone.
        let stray = crate::world::chunk(&row, 7, 0, "El envío a regiones es gratis.");
        world.retrieval.upsert(vec![point(&row, &stray)]).await.unwrap();
        let gone = world.add("Borrado", "El envío a regiones tarda.").await;
        let mut tx = world.db.write().await.unwrap();
        assert!(storage::sources::delete(&mut tx, world.workspace, gone).await.unwrap());
        tx.commit().await.unwrap();
        let half = world
            .add_to(
                &world.datastore,
                "Medio",
                &["El retiro es gratis.", "El retiro es rápido."],
                serde_json::Map::new(),
            )
            .await;
        world.retrieval.sweep().await.unwrap();
        assert_eq!(world.found("envío a regiones").await, ["Envíos"]);
        // Both passages of a source are there after one of its points was lost with its version's points.
        world.retrieval.remove(world.workspace, IndexTarget::Source(half)).await.unwrap();
        let half_row = world.source(half).await;
        let first = crate::world::chunk(&half_row, 1, 0, "El retiro es gratis.");
        world.retrieval.upsert(vec![point(&half_row, &first)]).await.unwrap();
        assert_eq!(world.found("retiro").await.len(), 1);
        world.retrieval.sweep().await.unwrap();
        assert_eq!(world.found("retiro").await.len(), 2, "{arm:?}");
    }
}

#[tokio::test]
async fn an_index_is_filled_once_and_never_when_there_is_nothing_to_fill_it_with() {
    for arm in arms("filled once") {
        let world = World::new(&arm).await;
        assert!(world.retrieval.is_unfilled().await.unwrap(), "it is new");
        world.retrieval.maintain().await.unwrap();
        assert!(!world.retrieval.is_unfilled().await.unwrap(), "there was nothing to put in");

        // Were it filled again, the passage would be back.
        world.add("Envíos", "El envío a regiones cuesta 5.490 pesos.").await;
        world.retrieval.remove(world.workspace, IndexTarget::Workspace).await.unwrap();
        world.retrieval.maintain().await.unwrap();
        assert!(world.found("envío a regiones").await.is_empty(), "{arm:?}");
    }
}
