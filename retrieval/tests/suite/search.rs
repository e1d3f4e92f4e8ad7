use std::sync::Arc;

use async_trait::async_trait;
use models::{EmbedPurpose, Embedder, EmbeddingSpace, ModelError};
use retrieval::{Filter, IndexTarget, RetrievalError, SearchMode};
use serde_json::json;

use crate::world::{SHOP, World, arms, names, new_datastore, new_workspace, point};

async fn shop(world: &World) {
    for (name, text) in SHOP {
        world.add(name, text).await;
    }
}

#[tokio::test]
async fn a_question_finds_its_passage_whatever_its_spelling() {
    for arm in arms("a question finds its passage") {
        let world = World::new(&arm).await;
        shop(&world).await;
        for (question, expected) in [
            ("¿Cuáles son los horarios?", "Horarios"),
            ("a q hora abren los sabados", "Horarios"),
            ("cuanto cuesta el embio a rejiones", "Envíos"),
            ("puedo devolber un producto", "Devoluciones"),
            ("aceptan tarjeta de credito?", "Pagos"),
            ("an4471", "Carpa Nevado 3"),
            ("AN-4471", "Carpa Nevado 3"),
        ] {
            let found = world.found(question).await;
            assert_eq!(found.first().map(String::as_str), Some(expected), "{arm:?} {question}");
        }
    }
}

#[tokio::test]
async fn a_name_is_found_where_all_its_parts_stand_in_many_other_passages() {
    for arm in arms("a name among its like") {
        let world = World::new(&arm).await;
        let rest = "Se entrega con su caja, el cable, la guía y dos años de garantía. ".repeat(6);
        // Between them the two words have every gram of the name.
        for number in 0..60 {
            let name = format!("Modelo {number}");
            world.add(&name, &format!("{rest}Tamarindolazo y mandola.")).await;
        }
        world.add("El buscado", &format!("{rest}{rest}Tamarindola.")).await;
        let found = world.found("tamarindola").await;
        assert_eq!(found.first().map(String::as_str), Some("El buscado"), "{arm:?}");
    }
}

#[tokio::test]
async fn scores_are_within_bounds_ordered_and_what_min_score_filters_on() {
    for arm in arms("scores and min_score") {
        let world = World::new(&arm).await;
        shop(&world).await;
        let results = world.search("cuanto cuesta el envío a regiones").await;
        let scores: Vec<f64> = results.hits.iter().map(|hit| hit.score).collect();
        assert!(scores.len() > 1 && scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
        assert!(scores.iter().all(|score| (0.0..=1.0).contains(score)), "{scores:?}");
        assert!((0.0..=1.0).contains(&results.evidence) && results.evidence > results.threshold);
        let mut query = world.query("cuanto cuesta el envío a regiones");
        query.min_score = Some(scores[0]);
        let best = world.retrieval.search(world.workspace, &query).await.unwrap();
        assert_eq!(names(&best), ["Envíos"]);
        let none = world.search("zzzz qqqq").await;
        assert!(none.hits.is_empty() && none.evidence.abs() < 1e-9, "{none:?}");
    }
}

#[tokio::test]
async fn each_mode_says_what_its_score_is_made_of() {
    for arm in arms("modes") {
        let world = World::new(&arm).await;
        shop(&world).await;
        let mut query = world.query("envío a regiones");
        for (mode, words, grams) in [
            (SearchMode::Hybrid, true, true),
            (SearchMode::Words, true, false),
            (SearchMode::Grams, false, true),
        ] {
            query.mode = mode;
            let results = world.retrieval.search(world.workspace, &query).await.unwrap();
            let scores = results.hits[0].scores;
            assert_eq!(
                (scores.words.is_some(), scores.grams.is_some()),
                (words, grams),
                "{mode:?}"
            );
            assert_eq!(scores.dense, None);
        }
        query.mode = SearchMode::Dense;
        let refused = world.retrieval.search(world.workspace, &query).await.unwrap_err();
        assert!(
            matches!(refused, RetrievalError::Invalid(error) if error.field.as_deref() == Some("mode"))
        );
    }
}

#[tokio::test]
async fn another_workspace_or_datastore_is_never_found() {
    for arm in arms("isolation") {
        let world = World::new(&arm).await;
        shop(&world).await;
        let (stranger, theirs) = new_workspace(&world.db, &world.ambient).await;
        let other = new_datastore(&world, "otro").await;
        let source = crate::world::source(&theirs, "Ajeno", serde_json::Map::new(), &world.ambient);
        let mut tx = world.db.write().await.unwrap();
        storage::sources::insert(&mut tx, source.workspace_id, std::slice::from_ref(&source))
            .await
            .unwrap();
        tx.commit().await.unwrap();
        world.publish(&source, 1, &["El envío a regiones es secreto."], &[]).await;
        assert!(!world.found("envío a regiones").await.contains(&"Ajeno".to_owned()));
        // A stranger who names our datastore, and we who name theirs, get nothing.
        let query = world.query("envío a regiones");
        let results = world.retrieval.search(stranger, &query).await.unwrap();
        assert!(results.hits.is_empty());
        let mut query = world.query("envío a regiones");
        query.datastores = vec![theirs.id];
        assert!(world.retrieval.search(world.workspace, &query).await.unwrap().hits.is_empty());
        // An empty datastore beside a full one.
        query.datastores = vec![other.id];
        assert!(world.retrieval.search(world.workspace, &query).await.unwrap().hits.is_empty());
        query.datastores = vec![other.id, world.datastore.id];
        let both = world.retrieval.search(world.workspace, &query).await.unwrap();
        assert_eq!(names(&both)[0], "Envíos");
    }
}

#[tokio::test]
async fn metadata_filters_choose_among_sources() {
    for arm in arms("filters") {
        let world = World::new(&arm).await;
        let text = "El envío a regiones demora tres días.";
        for (name, metadata) in [
            (
                "Chile",
                json!({"país": "CL", "año": 2025, "vigente": true, "temas": ["envíos", "plazos"]}),
            ),
            ("Perú", json!({"país": "PE", "año": 2024, "vigente": false, "temas": ["envíos"]})),
            ("Sin datos", json!({})),
        ] {
            let metadata = metadata.as_object().unwrap().clone();
            world.add_to(&world.datastore, name, &[text], metadata).await;
        }
        for (filter, expected) in [
            (json!({"país": "CL"}), vec!["Chile"]),
            (json!({"país": ["CL", "PE"]}), vec!["Chile", "Perú"]),
            (json!({"año": 2024}), vec!["Perú"]),
            (json!({"año": "2024"}), vec![]),
            (json!({"vigente": true, "país": "CL"}), vec!["Chile"]),
            (json!({"vigente": true, "país": "PE"}), vec![]),
            (json!({"temas": "plazos"}), vec!["Chile"]),
            (json!({}), vec!["Chile", "Perú", "Sin datos"]),
        ] {
            let mut query = world.query("envío regiones");
            query.filter = Some(Filter::parse(&filter).unwrap());
            let results = world.retrieval.search(world.workspace, &query).await.unwrap();
            let mut found = names(&results);
            found.sort();
            assert_eq!(found, expected, "{arm:?} {filter}");
        }
    }
}

#[tokio::test]
async fn only_the_live_version_is_found_and_stale_points_do_not_shrink_the_answer() {
    for arm in arms("versions") {
        let world = World::new(&arm).await;
        let old: Vec<String> =
            (0..30).map(|n| format!("El envío a regiones cuesta {n} pesos.")).collect();
        let old: Vec<&str> = old.iter().map(String::as_str).collect();
        let id = world.add_to(&world.datastore, "Envíos", &old, serde_json::Map::new()).await;
        let source = world.source(id).await;
        let mut tx = world.db.write().await.unwrap();
        storage::sources::begin_version(&mut tx, world.workspace, id, world.ambient.now())
            .await
            .unwrap();
        tx.commit().await.unwrap();
        // Indexed but not live yet: not found.
        world.stage(&source, 2, &["El envío a regiones cuesta mil pesos."]).await;
        let found = world.search("envío a regiones mil pesos").await;
        assert!(found.hits.iter().all(|hit| hit.live.chunk.version == 1), "{arm:?}");
        assert_eq!(found.hits.len(), 5);
        // Live: the thirty old points are still in the index, and none of them is found.
        let old_chunks = {
            let mut conn = world.db.read().await.unwrap();
            storage::chunks::of_version(&mut conn, world.workspace, id, 1, -1, 100).await.unwrap()
        };
        world
            .publish(
                &source,
                2,
                &["El envío a regiones cuesta mil pesos.", "El envío a islas no existe."],
                &old_chunks,
            )
            .await;
        let found = world.search("envío a regiones").await;
        assert_eq!(found.hits.len(), 2, "{arm:?}");
        assert!(found.hits.iter().all(|hit| hit.live.chunk.version == 2));
    }
}

#[tokio::test]
async fn what_is_removed_is_not_found_by_the_index_either() {
    for arm in arms("removal") {
        let world = World::new(&arm).await;
        let source = world.add("Envíos", "El envío a regiones cuesta 5.490 pesos.").await;
        let row = world.source(source).await;
        world.stage(&row, 2, &["El envío a regiones cuesta 6.490 pesos."]).await;
        let stays = IndexTarget::Version { source, version: 2 };
        world.retrieval.remove(world.workspace, stays).await.unwrap();
        assert_eq!(world.found("envío a regiones").await, ["Envíos"]);
        let foreign = new_workspace(&world.db, &world.ambient).await.0;
        world.retrieval.remove(foreign, IndexTarget::Source(source)).await.unwrap();
        assert_eq!(world.found("envío a regiones").await, ["Envíos"], "not theirs to remove");
        world
            .retrieval
            .remove(world.workspace, IndexTarget::OtherVersions { source, keep: 1 })
            .await
            .unwrap();
        assert_eq!(world.found("envío a regiones").await, ["Envíos"]);
        world
            .retrieval
            .remove(world.workspace, IndexTarget::Datastore(world.datastore.id))
            .await
            .unwrap();
        assert!(world.found("envío a regiones").await.is_empty());
    }
}

#[tokio::test]
async fn repeating_an_upsert_changes_nothing() {
    for arm in arms("repeated upserts") {
        let world = World::new(&arm).await;
        let source = world.add("Envíos", "El envío a regiones cuesta 5.490 pesos.").await;
        let row = world.source(source).await;
        let chunk = crate::world::chunk(&row, 1, 0, "El envío a regiones cuesta 5.490 pesos.");
        for _ in 0..3 {
            world.retrieval.upsert(vec![point(&row, &chunk)]).await.unwrap();
        }
        assert_eq!(world.found("envío a regiones").await, ["Envíos"]);
    }
}

#[tokio::test]
async fn limits_are_refused_by_name() {
    let world = World::new(&arms("limits")[0]).await;
    let mut query = world.query("hola");
    for (top_k, min_score, field) in
        [(0, None, "topK"), (101, None, "topK"), (1, Some(1.5), "minScore")]
    {
        (query.top_k, query.min_score) = (top_k, min_score);
        match world.retrieval.search(world.workspace, &query).await {
            Err(RetrievalError::Invalid(error)) => assert_eq!(error.field.as_deref(), Some(field)),
            other => panic!("{other:?}"),
        }
    }
}

/// Knows one thing: whether a text is about money.
#[derive(Debug)]
struct MoneyEmbedder(EmbeddingSpace);

#[async_trait]
impl Embedder for MoneyEmbedder {
    fn space(&self) -> &EmbeddingSpace {
        &self.0
    }

    async fn embed(&self, texts: &[String], _: EmbedPurpose) -> Result<Vec<Vec<f32>>, ModelError> {
        let about_money =
            |text: &String| ["cuesta", "plata", "pesos"].iter().any(|word| text.contains(word));
        Ok(texts
            .iter()
            .map(|text| if about_money(text) { vec![1.0, 0.0] } else { vec![0.0, 1.0] })
            .collect())
    }
}

#[tokio::test]
async fn dense_vectors_find_what_shares_no_word() {
    for arm in arms("dense vectors") {
        let space = EmbeddingSpace { model: "money".to_owned(), dimension: 2 };
        let embedder: Arc<dyn Embedder> = Arc::new(MoneyEmbedder(space));
        let world = World::with_embedder(&arm, Some(Arc::clone(&embedder))).await;
        for (name, text) in
            [("Costos", "El despacho cuesta 5.490 pesos."), ("Horarios", "Abrimos a las diez.")]
        {
            let id = world.add(name, text).await;
            let row = world.source(id).await;
            let mut point = point(&row, &crate::world::chunk(&row, 1, 0, text));
            point.dense =
                embedder.embed(&[text.to_owned()], EmbedPurpose::Passage).await.unwrap().pop();
            world.retrieval.upsert(vec![point]).await.unwrap();
        }
        let mut query = world.query("mucha plata");
        query.mode = SearchMode::Dense;
        let dense = world.retrieval.search(world.workspace, &query).await.unwrap();
        assert_eq!(names(&dense)[0], "Costos", "{arm:?}");
        assert!(dense.hits[0].score > 0.99);
        query.mode = SearchMode::Hybrid;
        let hybrid = world.retrieval.search(world.workspace, &query).await.unwrap();
        assert_eq!(names(&hybrid)[0], "Costos", "{arm:?}");
        assert!(hybrid.hits[0].scores.dense.is_some());
        assert!(hybrid.hits[0].score < 0.5, "a low weight gives a low score: {:?}", hybrid.hits[0]);
    }
}

/// A vector of its own for each number.
#[derive(Debug)]
struct NumberEmbedder(EmbeddingSpace);

#[async_trait]
impl Embedder for NumberEmbedder {
    fn space(&self) -> &EmbeddingSpace {
        &self.0
    }

    async fn embed(&self, texts: &[String], _: EmbedPurpose) -> Result<Vec<Vec<f32>>, ModelError> {
        let one = |text: &String| {
            let number = text.rsplit(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0);
            let mut vector = vec![0.0; self.0.dimension];
            vector[number % self.0.dimension] = 1.0;
            vector
        };
        Ok(texts.iter().map(one).collect())
    }
}

#[tokio::test]
async fn dense_vectors_are_found_however_few_there_are_before_and_after_sealing() {
    for arm in arms("few dense vectors") {
        let space = EmbeddingSpace { model: "numbers".to_owned(), dimension: 384 };
        let embedder: Arc<dyn Embedder> = Arc::new(NumberEmbedder(space));
        let world = World::with_embedder(&arm, Some(Arc::clone(&embedder))).await;
        let mut points = Vec::new();
        for number in 0..40 {
            let text = format!("Artículo {number}");
            let id = world.add(&format!("a{number}"), &text).await;
            let row = world.source(id).await;
            let mut point = point(&row, &crate::world::chunk(&row, 1, 0, &text));
            point.dense = embedder.embed(&[text], EmbedPurpose::Passage).await.unwrap().pop();
            points.push(point);
        }
        world.retrieval.upsert(points).await.unwrap();
        let mut query = world.query("¿Qué es el 7");
        query.mode = SearchMode::Dense;
        for when in ["appended", "sealed"] {
            let found = world.retrieval.search(world.workspace, &query).await.unwrap();
            assert_eq!(names(&found)[..1], ["a7"], "{arm:?}, {when}");
            world.retrieval.seal().await.unwrap();
        }
    }
}
