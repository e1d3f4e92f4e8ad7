//! Glossaries of workspaces.

use http::Method;
use serde_json::{Value, json};

use crate::support::{TestApp, read};

const PATH: &str = "/api/v2/glossary";

/// What the best passage for a question is called, and its evidence.
async fn best(app: &TestApp, question: &str) -> (Value, f64) {
    let found =
        app.post(&app.in_datastore("/query"), &json!({"query": question})).await.expect(200);
    let best = &found["results"][0];
    (best["source"]["name"].clone(), best["score"].as_f64().unwrap_or_default())
}

#[tokio::test]
async fn a_workspaces_own_names_for_things_are_found_by_it_alone_and_at_once() {
    for app in TestApp::on_each_database("a_workspaces_own_names_for_things").await {
        app.learn("Cierre", "El local cierra a las ocho los días de semana.").await;
        app.learn("Quiltro", "El Modelo Siete tiene dos motores y pesa nueve kilos.").await;
        let question = "¿cuánto pesa el zumbón?";
        let (_, before) = best(&app, question).await;

        let glossary = json!({"text": "# Apodos\nes: zumbón, Modelo Siete"});
        let other = app.other_tenant().await;
        read(app.request_as(&other.key, Method::PUT, PATH).json(&glossary)).await.expect(200);
        let (_, unchanged) = best(&app, question).await;
        assert!((unchanged - before).abs() < 1e-9, "{before} {unchanged}");
        assert_eq!(app.get(PATH).await.expect(200)["entryCount"], 0);

        let stored = app.put(PATH, &glossary).await.expect(200);
        assert_eq!((&stored["entryCount"], &stored["text"]), (&json!(1), &glossary["text"]));
        assert_eq!(app.get(PATH).await.expect(200), stored);
        let (name, after) = best(&app, question).await;
        assert_eq!(name, "Quiltro");
        assert!(after > before + 0.1, "{before} {after}");

        let entries = json!({"entries": [
            {"terms": {"es": ["zumbón"], "en": ["buzzer", "model seven"]}},
            {"terms": {"es": ["Modelo Siete", "zumbón"]}},
        ]});
        let stored = app.put(PATH, &entries).await.expect(200);
        assert_eq!(stored["entryCount"], 2);
        assert_eq!(
            stored["text"],
            "es: zumbón | en: buzzer, model seven\nes: Modelo Siete, zumbón\n"
        );
        assert!(best(&app, question).await.1 > before + 0.1);

        app.delete(PATH).await.expect(204);
        app.delete(PATH).await.expect(204);
        let (_, gone) = best(&app, question).await;
        assert!((gone - before).abs() < 1e-9, "{before} {gone}");
        assert_eq!(app.get(PATH).await.expect(200)["text"], "");
        let kept = read(app.request_as(&other.key, Method::GET, PATH)).await.expect(200);
        assert_eq!(kept["entryCount"], 1);
    }
}

#[tokio::test]
async fn what_is_no_glossary_is_refused_by_line_and_remedy() {
    let app = TestApp::start().await;
    for (body, field, says) in [
        (json!({"text": "es: a, b\ncelular"}), "text", "line 2: `celular` names no language"),
        (json!({"text": "fr: a, b"}), "text", "use es, en or pt"),
        (json!({"text": "es: uno"}), "text", "add a synonym or a translation"),
        (json!({"text": "x".repeat(500_001)}), "text", "500000 bytes"),
        (json!({"text": "es: a, b\n".repeat(5_001)}), "text", "5000 entries"),
        (json!({}), "text", "`text` or `entries`"),
        (json!({"text": "", "entries": []}), "text", "one of them"),
        (
            json!({"entries": [{"terms": {"es": ["a", "b"]}}, {"terms": {"en": ["a"]}}]}),
            "entries[1]",
            "add a",
        ),
        (
            json!({"entries": [{"terms": {"es": ["a,b", "c"]}}]}),
            "entries[0].terms.es[0]",
            "without commas",
        ),
        (
            json!({"entries": [{"terms": {"es": ["a\nb", "c"]}}]}),
            "entries[0].terms.es[0]",
            "line breaks",
        ),
        (json!({"entries": [{"terms": {}}]}), "entries[0].terms", "two or more"),
    ] {
        let refused = app.put(PATH, &body).await;
        let error = refused.json();
        assert_eq!(error["error"]["details"][0]["field"], field, "{error}");
        let message = error["error"]["message"].as_str().unwrap();
        assert!(message.contains(says), "{message}");
        refused.expect_error(400, "INVALID_PARAMETER");
    }
    app.put(PATH, &json!({"text": "", "entries": null})).await.expect(200);
}
