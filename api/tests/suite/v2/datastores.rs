//! Datastores and searching them.

use http::Method;
use serde_json::{Value, json};

use crate::support::{TestApp, read};

#[tokio::test]
async fn a_datastore_is_made_changed_and_deleted() {
    for app in TestApp::on_each_database("a_datastore_is_made_changed_and_deleted").await {
        let body = json!({"name": "Ayuda", "description": "Todo", "language": "es"});
        let made = app.post("/api/v2/datastores", &body).await.expect(201);
        assert_eq!((&made["isDefault"], &made["sourcesCount"]), (&json!(false), &json!(0)));
        let path = format!("/api/v2/datastores/{}", made["id"].as_str().unwrap());
        assert_eq!(app.get(&path).await.expect(200), made);
        let changed = app.put(&path, &json!({"name": "Centro de ayuda", "language": null})).await;
        let changed = changed.expect(200);
        assert_eq!(
            (&changed["name"], &changed["description"]),
            (&json!("Centro de ayuda"), &json!("Todo"))
        );
        assert_eq!(changed["language"], Value::Null);
        let text = json!({"name": "x", "content": "Abrimos a las nueve."});
        let added = app.post(&format!("{path}/sources/text"), &text).await.expect(202);
        for shown in [app.get(&path).await, app.put(&path, &json!({})).await] {
            assert_eq!(shown.expect(200)["sourcesCount"], 1);
        }
        let listed = app.get("/api/v2/datastores").await.expect(200);
        let counts: Vec<&Value> =
            listed["data"].as_array().unwrap().iter().map(|d| &d["sourcesCount"]).collect();
        assert_eq!(counts, [&json!(1), &json!(0)]);
        app.delete(&format!("{path}/sources/{}", added["id"].as_str().unwrap())).await.expect(204);
        assert_eq!(app.get(&path).await.expect(200)["sourcesCount"], 0);
        let listed = app.get("/api/v2/datastores").await.expect(200);
        let names: Vec<&Value> =
            listed["data"].as_array().unwrap().iter().map(|d| &d["id"]).collect();
        assert_eq!(names, [&made["id"], &json!(app.tenant.datastore)]);
        app.delete(&path).await.expect(204);
        app.get(&path).await.expect_error(404, "NOT_FOUND");
        app.delete(&path).await.expect_error(404, "NOT_FOUND");
        app.post(&format!("{path}/query"), &json!({"query": "hola"}))
            .await
            .expect_error(404, "NOT_FOUND");
    }
}

#[tokio::test]
async fn a_query_finds_passages_with_their_scores_and_source() {
    for app in
        TestApp::on_each_database("a_query_finds_passages_with_their_scores_and_source").await
    {
        let faq = app
            .learn("FAQ General", "Nuestros horarios son de 9 a 18 hs, de lunes a viernes.")
            .await;
        app.learn("Envíos", "Los envíos demoran tres días hábiles a todo el país.").await;
        let path = app.in_datastore("/query");
        let found =
            app.post(&path, &json!({"query": "¿Cuáles son los horarios?", "topK": 5})).await;
        let found = found.expect(200);
        let best = &found["results"][0];
        assert_eq!(best["source"]["name"], "FAQ General");
        assert_eq!(best["source"]["id"], faq.as_str());
        assert!(best["content"].as_str().unwrap().contains("9 a 18"));
        let score = best["score"].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&score) && score > 0.0, "{found}");
        assert!(best["scores"]["words"].as_f64().unwrap() > 0.0);
        assert_eq!(best["scores"]["dense"], Value::Null);
        assert!((0.0..=1.0).contains(&found["evidence"].as_f64().unwrap()));

        // The score shown is the score filtered on.
        let all = found["results"].as_array().unwrap().len();
        let body = json!({"query": "¿Cuáles son los horarios?", "minScore": score});
        let kept = app.post(&path, &body).await.expect(200);
        let kept = kept["results"].as_array().unwrap().clone();
        assert!(!kept.is_empty() && kept.len() <= all);
        assert!(kept.iter().all(|result| result["score"].as_f64().unwrap() >= score));

        for mode in ["words", "grams", "hybrid"] {
            let body = json!({"query": "horarios", "mode": mode, "topK": 1});
            let found = app.post(&path, &body).await.expect(200);
            assert_eq!(found["results"].as_array().unwrap().len(), 1, "{mode}");
        }

        // A citation opens the chunk that it names.
        let chunk = best["chunkId"].as_str().unwrap();
        let chunk = app.get(&format!("/api/v2/chunks/{chunk}")).await.expect(200);
        assert_eq!(
            (&chunk["content"], &chunk["sourceName"]),
            (&best["content"], &json!("FAQ General"))
        );
        assert_eq!(chunk["live"], true);
    }
}

#[tokio::test]
async fn metadata_narrows_a_query() {
    for app in TestApp::on_each_database("metadata_narrows_a_query").await {
        for (name, area) in [("Ventas", "ventas"), ("Soporte", "soporte")] {
            let body = json!({"name": name, "content": "El horario de atención es de 9 a 18.",
                "metadata": {"area": area, "año": 2024, "público": true}});
            let accepted = app.post(&app.in_datastore("/sources/text"), &body).await.expect(202);
            app.ingested(accepted["id"].as_str().unwrap()).await;
        }
        let found = async |filter: Value| {
            let body = json!({"query": "horario de atención", "filter": filter});
            let found = app.post(&app.in_datastore("/query"), &body).await.expect(200);
            let results = found["results"].as_array().unwrap().clone();
            let mut names: Vec<String> =
                results.iter().map(|r| r["source"]["name"].as_str().unwrap().to_owned()).collect();
            names.sort();
            names.join(",")
        };
        assert_eq!(found(json!({"area": "ventas"})).await, "Ventas");
        assert_eq!(
            found(json!({"area": ["ventas", "soporte"], "año": 2024})).await,
            "Soporte,Ventas"
        );
        assert_eq!(found(json!({"area": "ventas", "público": false})).await, "");
        let body = json!({"query": "x", "filter": {"area": {"deep": 1}}});
        let refused = app.post(&app.in_datastore("/query"), &body).await;
        let message = refused.expect_error(400, "INVALID_PARAMETER");
        assert!(message.contains("area"), "{message}");
    }
}

#[tokio::test]
async fn what_a_query_cannot_be_is_refused_by_name() {
    let app = TestApp::start().await;
    for (field, body) in [
        ("query", json!({})),
        ("query", json!({"query": "  "})),
        ("query", json!({"query": "a".repeat(8_001)})),
        ("query", json!({"query": 5})),
        ("topK", json!({"query": "a", "topK": 0})),
        ("topK", json!({"query": "a", "topK": 101})),
        ("topK", json!({"query": "a", "topK": "5"})),
        ("minScore", json!({"query": "a", "minScore": 1.5})),
        ("minScore", json!({"query": "a", "minScore": -0.1})),
        ("mode", json!({"query": "a", "mode": "psychic"})),
        ("filter", json!({"query": "a", "filter": []})),
    ] {
        let reply = app.post(&app.in_datastore("/query"), &body).await;
        reply.expect_field(field);
    }
    let dense =
        app.post(&app.in_datastore("/query"), &json!({"query": "a", "mode": "dense"})).await;
    dense.expect_error(400, "INVALID_PARAMETER");
    let big = json!({"query": "a", "topK": 100});
    let empty = app.post(&app.in_datastore("/query"), &big).await.expect(200);
    assert_eq!(empty["results"], json!([]));
}

#[tokio::test]
async fn head_is_answered_like_get_without_a_body() {
    let app = TestApp::start().await;
    let reply = read(app.request(Method::HEAD, "/api/v2/datastores")).await;
    assert_eq!((reply.status.as_u16(), reply.text.as_str()), (200, ""));
}

#[tokio::test]
async fn the_health_of_a_datastore_says_what_searches_go_by() {
    let app = TestApp::start().await;
    app.learn("FAQ", "Abrimos de 9 a 18.").await;
    let path = app.in_datastore("/health");
    let health = app.get(&path).await.expect(200);
    assert_eq!((&health["passages"], &health["thresholdFrom"]), (&json!(1), &json!("size")));
    assert_eq!((health["threshold"].is_f64(), &health["dense"]), (true, &Value::Null));
    let stranger = app.other_tenant().await;
    let foreign = read(app.request_as(&stranger.key, Method::GET, &path)).await;
    foreign.expect_error(404, "NOT_FOUND");
}

#[tokio::test]
async fn what_is_set_for_a_datastore_decides_what_is_answered() {
    for app in TestApp::on_each_database("tuning").await {
        app.learn("FAQ", "Abrimos de lunes a viernes de 9 a 18 horas.").await;
        let ask = json!({"query": "¿A qué hora abren los lunes?"});
        let answered = app.post(&app.chat_path(), &ask).await.expect(200);
        assert_eq!(answered["sources"].as_array().unwrap().len(), 1);
        let path = app.in_datastore("/tuning");
        let tuned = json!({"threshold": 1.0, "denseWeight": null});
        let health = app.put(&path, &tuned).await.expect(200);
        assert_eq!((&health["tuning"], &health["thresholdFrom"]), (&tuned, &json!("set")));
        assert_eq!(app.get(&app.in_datastore("/health")).await.expect(200), health);
        let refused = app.post(&app.chat_path(), &ask).await.expect(200);
        assert_eq!(refused["sources"], json!([]));
        // What the agent sets itself wins.
        let agent = format!("/api/v2/agents/{}", app.tenant.agent);
        app.put(&agent, &json!({"settings": {"minEvidence": 0.1}})).await.expect(200);
        let answered = app.post(&app.chat_path(), &ask).await.expect(200);
        assert_eq!(answered["sources"].as_array().unwrap().len(), 1);

        let plain = json!({"threshold": null, "denseWeight": null});
        let health = app.put(&path, &plain).await.expect(200);
        assert_eq!((&health["tuning"], &health["thresholdFrom"]), (&plain, &json!("size")));
        for (field, value) in
            [("threshold", json!(1.1)), ("threshold", json!("alto")), ("denseWeight", json!(-0.1))]
        {
            let mut body = plain.clone();
            body[field] = value;
            app.put(&path, &body).await.expect_field(field);
            body.as_object_mut().unwrap().remove(field);
            app.put(&path, &body).await.expect_field(field);
        }
    }
}
