//! What was acknowledged is found again, whatever ended the process.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use domain::Ambient;
use retrieval::{Retrieval, StatsChange};
use storage::{Db, DbOptions};

use crate::calibration::Sighted;
use crate::world::{Arm, SHOP, World, arms, new_workspace, options, point, source};

#[tokio::test]
async fn a_closed_index_opens_again_with_everything() {
    for arm in arms("closing and opening") {
        let mut world = World::new(&arm).await;
        for (name, text) in SHOP {
            world.add(name, text).await;
        }
        let before = world.search("cuanto cuesta el envío").await;
        world.retrieval.maintain().await.unwrap();
        world.retrieval.seal().await.unwrap();
        world.reopen().await;
        let after = world.search("cuanto cuesta el envío").await;
        assert_eq!(after.hits.len(), before.hits.len());
        assert!((after.hits[0].score - before.hits[0].score).abs() < 1e-6);
        // What is written after opening again is found too: operation numbers go on where they were.
        world.add("Nuevo", "El reciclaje de pilas está en el segundo piso.").await;
        world.reopen().await;
        assert_eq!(world.found("reciclaje de pilas").await[0], "Nuevo");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn points_that_come_and_go_while_segments_are_sealed_are_all_accounted_for() {
    const SOURCES: i64 = 6;
    const POINTS: i64 = 600;
    let mut world = World::new(&Arm::Edge).await;
    let name = |number| format!("Ficha {number}");
    let sources: Vec<_> = (0..SOURCES)
        .map(|number| {
            source(&world.datastore, &name(number), serde_json::Map::new(), &world.ambient)
        })
        .collect();
    let mut writers = tokio::task::JoinSet::new();
    for row in sources.clone() {
        let retrieval = world.retrieval.clone();
        writers.spawn(async move {
            for start in (0..POINTS).step_by(50) {
                let points = (start..start + 50).map(|ordinal| {
                    let text = format!("La pieza {ordinal} cuesta {} pesos.", 7 * ordinal);
                    point(&row, &crate::world::chunk(&row, 1, ordinal, &text))
                });
                retrieval.upsert(points.collect()).await.unwrap();
            }
            if row.name == "Ficha 0" {
                let target = retrieval::IndexTarget::Source(row.id);
                retrieval.remove(row.workspace_id, target).await.unwrap();
            }
        });
    }
    while let Some(written) = writers.join_next().await {
        written.unwrap();
    }
    world.retrieval.seal().await.unwrap();
    for opened_again in [false, true] {
        if opened_again {
            world.reopen().await;
        }
        for row in &sources {
            let counts = world.retrieval.count_points(row.workspace_id, row.id).await.unwrap();
            let expected = if row.name == "Ficha 0" { None } else { Some(&POINTS) };
            assert_eq!(counts.get(&1), expected, "{} {opened_again}", row.name);
        }
    }
}

/// A way for an index to be lost.
type Loss = (&'static str, fn(&Path));

const LOST: [Loss; 6] = [
    ("removed", |collection| std::fs::remove_dir_all(collection).unwrap()),
    ("words and grams removed", |collection| {
        std::fs::remove_dir_all(collection.join("lexical")).unwrap();
    }),
    ("vectors removed", |collection| {
        std::fs::remove_dir_all(collection.join("dense")).unwrap();
    }),
    ("no list of segments", |collection| {
        std::fs::write(collection.join("lexical/meta.json"), "not json").unwrap();
    }),
    ("cut segments", |collection| {
        for file in std::fs::read_dir(collection.join("lexical")).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_some_and(|extension| extension != "json") {
                std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(3).unwrap();
            }
        }
    }),
    ("broken vectors", |collection| {
        for segment in std::fs::read_dir(collection.join("dense/segments")).unwrap() {
            std::fs::write(segment.unwrap().path().join("segment.json"), "broken").unwrap();
        }
    }),
];

#[tokio::test]
async fn a_lost_or_broken_folder_is_filled_again_from_the_rows() {
    for (how, lose) in LOST {
        let embedder = Sighted::embedder("sighted", true);
        let mut world = World::with_embedder(&Arm::Edge, Some(Arc::clone(&embedder))).await;
        for (name, text) in SHOP {
            world.add(name, text).await;
        }
        world.retrieval.maintain().await.unwrap();
        assert!(!world.retrieval.is_unfilled().await.unwrap());
        world.retrieval.close().await;
        let collection =
            std::fs::read_dir(world.folder.path()).unwrap().next().unwrap().unwrap().path();
        lose(&collection);
        world.reopen_embedding(Some(embedder)).await;
        assert!(world.retrieval.is_unfilled().await.unwrap(), "{how}");
        world.retrieval.maintain().await.unwrap();
        assert!(!world.retrieval.is_unfilled().await.unwrap(), "{how}");
        assert_eq!(world.found("cuanto cuesta el envío a regiones").await[0], "Envíos", "{how}");
    }
}

#[tokio::test]
async fn a_folder_in_use_is_refused_rather_than_begun_anew() {
    let world = World::new(&Arm::Edge).await;
    world.add("Envíos", "El envío a regiones cuesta 5.490 pesos.").await;
    let prefix =
        std::fs::read_dir(world.folder.path()).unwrap().next().unwrap().unwrap().file_name();
    let prefix = prefix.to_str().unwrap().split("-lexical").next().unwrap().to_owned();
    let second =
        Retrieval::open(world.db.clone(), None, options(&Arm::Edge, &world.folder, &prefix)).await;
    assert!(second.unwrap_err().to_string().contains("in use"));
    assert_eq!(world.found("envío a regiones").await, ["Envíos"]);
}

/// Where the child finds its folder; set by the test below only.
const CHILD_FOLDER: &str = "VOCERO_TEST_CRASH_FOLDER";

#[tokio::test]
async fn acknowledged_passages_survive_a_killed_process() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "durability::child_that_is_killed_after_its_upserts", "--nocapture"])
        .env(CHILD_FOLDER, folder.path())
        .output()
        .unwrap();
    assert!(!output.status.success(), "the child ends by abort: {output:?}");
    let db = connect(folder.path()).await;
    let retrieval =
        Retrieval::open(db.clone(), None, options(&Arm::Edge, &folder, "crash")).await.unwrap();
    let mut conn = db.read().await.unwrap();
    let workspace = storage::workspaces::first(&mut conn).await.unwrap().unwrap();
    let datastores = storage::datastores::defaults(&mut conn, workspace.id).await.unwrap();
    drop(conn);
    for n in 0..5 {
        let query = retrieval::SearchQuery {
            datastores: vec![datastores[0].id],
            text: format!("número{n}"),
            top_k: 10,
            mode: retrieval::SearchMode::Words,
            min_score: None,
            filter: None,
            dense_weight: None,
        };
        let found = retrieval.search(workspace.id, &query).await.unwrap();
        assert_eq!(found.hits.len(), 5, "passages of the acknowledged batch {n}");
    }
    retrieval.close().await;
}

async fn connect(folder: &Path) -> Db {
    let url = format!("sqlite:{}", folder.join("test.db").display());
    let db = Db::connect(&url, &DbOptions { max_connections: 2 }).await.unwrap();
    db.migrate().await.unwrap();
    db
}

/// Not a test by itself: the process that the test above starts, which writes and then dies at once.
#[tokio::test]
async fn child_that_is_killed_after_its_upserts() {
    let Ok(folder) = std::env::var(CHILD_FOLDER) else { return };
    let folder = std::path::PathBuf::from(folder);
    let db = connect(&folder).await;
    let ambient = Ambient::system();
    let (workspace, datastore) = new_workspace(&db, &ambient).await;
    let place = retrieval::RetrievalOptions {
        folder,
        ..options(&Arm::Edge, &tempfile::tempdir().unwrap(), "crash")
    };
    let retrieval = Retrieval::open(db.clone(), None, place).await.unwrap();
    for n in 0..5 {
        let row = source(&datastore, &format!("S{n}"), serde_json::Map::new(), &ambient);
        let texts: Vec<String> =
            (0..5).map(|i| format!("El producto número{n} pieza {i}.")).collect();
        let chunks: Vec<_> =
            (0..).zip(&texts).map(|(i, text)| crate::world::chunk(&row, 1, i, text)).collect();
        let added: Vec<_> = chunks.iter().map(|chunk| (row.name.as_str(), chunk)).collect();
        let change = StatsChange::count(&added, &[]);
        let mut tx = db.write().await.unwrap();
        storage::sources::insert(&mut tx, row.workspace_id, std::slice::from_ref(&row))
            .await
            .unwrap();
        storage::chunks::insert_many(&mut tx, &chunks).await.unwrap();
        let live = storage::sources::GoLive {
            source: row.id,
            version: 1,
            content_hash: "h",
            chunks: 5,
            language: None,
            warning: None,
        };
        storage::sources::go_live(&mut tx, workspace, &[live], ambient.now()).await.unwrap();
        retrieval.note_counted(&mut tx, workspace, datastore.id, &change).await.unwrap();
        tx.commit().await.unwrap();
        retrieval.upsert(chunks.iter().map(|chunk| point(&row, chunk)).collect()).await.unwrap();
    }
    std::process::abort();
}
