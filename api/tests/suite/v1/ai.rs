//! AI help for operators.

use domain::conversation::Transition;
use serde_json::{Value, json};
use testkit::db::databases;
use testkit::model_server::{ModelServer, Reply as ModelReply};

use super::Person;
use crate::support::TestApp;

const PARK: &str = "Horario del parque. El domingo el parque abre de 11:00 a 20:30 hrs. La entrada cuesta 9.500 pesos.";
const QUESTION: &str = "¿Cuál es el horario del parque el domingo?";

async fn with_model(database: testkit::db::TestDb, server: &ModelServer) -> TestApp {
    let base_url = server.base_url().parse().unwrap();
    let app = TestApp::with(database, |settings| {
        settings.models.openai_base_url = Some(base_url);
        settings.models.chat_model = Some("gpt-test".to_owned());
    })
    .await;
    app.learn("Parque", PARK).await;
    app
}

/// A conversation in which a customer has asked `text`.
async fn asked(app: &TestApp, text: &str) -> String {
    let answer = app.post(&app.chat_path(), &json!({"query": text})).await.expect(200);
    answer["conversationId"].as_str().unwrap().to_owned()
}

async fn messages(app: &TestApp, talk: &str) -> usize {
    let path = format!("/api/v2/conversations/{talk}/messages");
    app.get(&path).await.expect(200)["data"].as_array().unwrap().len()
}

async fn transition(app: &TestApp, talk: &str, transition: Transition) {
    let mut tx = app.db.write().await.unwrap();
    let (workspace, now) = (app.tenant.workspace, app.ambient.now());
    let id = talk.parse().unwrap();
    let done = storage::conversations::transition(&mut tx, workspace, id, transition, now).await;
    done.unwrap().unwrap();
    tx.commit().await.unwrap();
}

async fn suggest(app: &TestApp, body: &Value) -> Value {
    app.post("/v1/ai/suggest-reply", body).await.expect(200)
}

#[tokio::test]
async fn a_reply_is_suggested_out_of_the_knowledge_and_nothing_is_stored() {
    for app in TestApp::on_each_database("suggested replies").await {
        app.learn("Parque", PARK).await;
        let talk = asked(&app, "hola").await;
        let before = messages(&app, &talk).await;
        let body = json!({"conversationId": talk, "lastMessage": QUESTION});
        for state in [None, Some(Transition::TakeOver), Some(Transition::Close)] {
            if let Some(state) = state {
                transition(&app, &talk, state).await;
            }
            let found = suggest(&app, &body).await;
            let reply = found["suggestedReply"].as_str().unwrap();
            assert!(reply.contains("11:00") && !reply.contains('['), "{found}");
            assert_eq!(found["sources"][0]["source"], "Parque", "{found}");
            let confidence = found["confidence"].as_f64().unwrap();
            assert!(confidence > 0.0 && confidence <= 1.0, "{found}");
            assert_eq!((&found["reason"], &found["unsupported"]), (&Value::Null, &json!([])));
            assert_eq!(found["model"], "builtin-extractive");
        }
        let unknown = json!({"conversationId": talk, "lastMessage": "¿Quién ganó el mundial de ajedrez en 1972?"});
        let found = suggest(&app, &unknown).await;
        assert_eq!((&found["suggestedReply"], &found["sources"]), (&Value::Null, &json!([])));
        assert_eq!(found["reason"], "NO_EVIDENCE", "{found}");
        assert_eq!(messages(&app, &talk).await, before, "nothing is stored");

        let other = asked(&app, QUESTION).await;
        let found = suggest(&app, &json!({"conversationId": other})).await;
        assert!(found["suggestedReply"].as_str().unwrap().contains("11:00"), "the newest: {found}");
        let stranger = Person::register(&app, "stranger").await;
        let foreign = stranger.post(&app, "/v1/ai/suggest-reply", &body).await;
        foreign.expect_error(404, "NOT_FOUND");
        let empty = json!({"conversationId": talk, "lastMessage": " "});
        app.post("/v1/ai/suggest-reply", &empty).await.expect_field("lastMessage");
        let bad = json!({"conversationId": "x"});
        app.post("/v1/ai/suggest-reply", &bad).await.expect_field("conversationId");
    }
}

#[tokio::test]
async fn a_models_reply_is_checked_counted_and_held_to_the_budgets() {
    for database in databases("suggested replies by a model").await {
        let server = ModelServer::start().await.unwrap();
        let app = with_model(database, &server).await;
        server.enqueue(ModelReply::text("¡Hola! ¿En qué le ayudo?"));
        let talk = asked(&app, "hola").await;
        let asked_before = server.requests().len();
        let body = json!({"conversationId": talk, "lastMessage": QUESTION});
        server.enqueue(
            ModelReply::text("¡Hola! El domingo abrimos de 11:00 a 20:30 hrs. [1]").usage(100, 20),
        );
        let found = suggest(&app, &body).await;
        assert_eq!(found["suggestedReply"], "¡Hola! El domingo abrimos de 11:00 a 20:30 hrs.");
        assert_eq!((&found["unsupported"], &found["model"]), (&json!([]), &json!("gpt-test")));
        assert!(found["sources"][0]["quote"].as_str().unwrap().contains("11:00"), "{found}");
        let sure = found["confidence"].as_f64().unwrap();

        server.enqueue(
            ModelReply::text("El domingo abrimos hasta las 23:15 hrs. [1]").usage(100, 20),
        );
        let found = suggest(&app, &body).await;
        assert!(found["unsupported"].to_string().contains("23:15"), "{found}");
        assert!(found["confidence"].as_f64().unwrap() < sure, "{found}");
        server.enqueue(ModelReply::text("[NO_ANSWER]").usage(100, 2));
        let found = suggest(&app, &body).await;
        assert_eq!(
            (&found["suggestedReply"], &found["reason"]),
            (&Value::Null, &json!("NOT_ANSWERED"))
        );
        assert_eq!(server.requests().len(), asked_before + 3);

        let usage = app.get("/api/v2/usage?groupBy=purpose").await.expect(200);
        let lines = usage["data"].as_array().unwrap();
        let assist = lines.iter().find(|line| line["key"] == "assist").expect("a line of its own");
        assert_eq!(
            (&assist["calls"], &assist["promptTokens"]),
            (&json!(3), &json!(300)),
            "{usage}"
        );
        let cap = json!({"scope": "workspace", "unit": "tokens", "period": "day", "limit": 1});
        app.post("/api/v2/budgets", &cap).await.expect(201);
        server.enqueue(ModelReply::text("Abrimos de 11:00 a 20:30 hrs. [1]").usage(100, 20));
        suggest(&app, &body).await;
        let asked_so_far = server.requests().len();
        app.post("/v1/ai/suggest-reply", &body).await.expect_error(402, "USAGE_LIMIT");
        assert_eq!(server.requests().len(), asked_so_far, "nobody was asked");
    }
}

#[tokio::test]
async fn conversations_are_summed_up_and_texts_written_anew() {
    for database in databases("summaries and rewriting").await {
        let server = ModelServer::start().await.unwrap();
        let app = with_model(database, &server).await;
        server.enqueue(ModelReply::text("¡Hola! ¿En qué le ayudo?"));
        let talk = asked(&app, "hola").await;
        server.enqueue(ModelReply::text("El cliente saludó."));
        let body = json!({"conversationId": talk});
        let found = app.post("/v1/ai/summarize", &body).await.expect(200);
        let expected = json!({"summary": "El cliente saludó.", "extractive": false, "model": "gpt-test", "messagesCount": 2});
        assert_eq!(found, expected);

        server.enqueue(ModelReply::text("Abrimos a las 9 y a las 10."));
        let body = json!({"text": "Estimado: abrimos a las 9.", "style": "shorter"});
        let found = app.post("/v1/ai/rewrite", &body).await.expect(200);
        assert_eq!(
            (&found["text"], &found["model"]),
            (&json!("Abrimos a las 9 y a las 10."), &json!("gpt-test"))
        );
        assert_eq!(found["unsupported"].as_array().unwrap().len(), 1, "{found}");
        let sent = server.requests().last().unwrap().body.to_string();
        assert!(sent.contains("Estimado: abrimos a las 9."), "{sent}");
        for (body, field) in [
            (json!({"text": "", "style": "fix"}), "text"),
            (json!({"text": "x", "style": "louder"}), "style"),
            (json!({"text": "x", "style": "translate"}), "language"),
            (json!({"text": "x", "style": "translate", "language": "fr"}), "language"),
        ] {
            app.post("/v1/ai/rewrite", &body).await.expect_field(field);
        }
    }
}

#[tokio::test]
async fn without_a_model_a_summary_says_that_it_is_an_extract_and_nothing_is_written_anew() {
    let app = TestApp::start().await;
    app.learn("Parque", PARK).await;
    let talk = asked(&app, QUESTION).await;
    let body = json!({"conversationId": talk});
    let found = app.post("/v1/ai/summarize", &body).await.expect(200);
    assert_eq!(
        (&found["extractive"], &found["model"]),
        (&json!(true), &json!("builtin-extractive"))
    );
    assert!(found["summary"].as_str().unwrap().contains(QUESTION), "{found}");
    let body = json!({"text": "hola", "style": "formal"});
    let told = app.post("/v1/ai/rewrite", &body).await.expect_error(409, "NOT_CONFIGURED");
    assert!(told.contains("OPENAI_API_KEY"), "{told}");
}

#[tokio::test]
async fn a_text_is_written_anew_in_each_style() {
    for database in databases("styles of rewriting").await {
        let server = ModelServer::start().await.unwrap();
        let app = with_model(database, &server).await;
        let given = "Hola abrimos a las 9.";
        let mut told = std::collections::BTreeSet::new();
        for (body, written, words) in [
            (json!({"style": "shorter"}), "Abrimos a las 9.", "shorter"),
            (json!({"style": "friendlier"}), "¡Hola! Te esperamos desde las 9.", "friendlier"),
            (json!({"style": "formal"}), "Estimado cliente: abrimos a las 9.", "formal"),
            (json!({"style": "fix"}), "Hola, abrimos a las 9.", "spelling"),
            (json!({"style": "translate", "language": "en"}), "Hi, we open at 9.", "English"),
            (json!({"style": "translate", "language": "pt"}), "Olá, abrimos às 9.", "Portuguese"),
            (json!({"style": "translate", "language": "es"}), "Hola, abrimos a las 9.", "Spanish"),
        ] {
            let mut body = body;
            body["text"] = json!(given);
            server.enqueue(ModelReply::text(written).usage(50, 10));
            let found = app.post("/v1/ai/rewrite", &body).await.expect(200);
            let expected = json!({"text": written, "model": "gpt-test", "unsupported": []});
            assert_eq!(found, expected, "{body}");
            let sent = server.requests().last().unwrap().body["messages"].clone();
            assert!(sent[1]["content"].as_str().unwrap().contains(given), "{body}: {sent}");
            let instructions = sent[0]["content"].as_str().unwrap().to_owned();
            assert!(instructions.contains(words), "{body}: {instructions}");
            told.insert(instructions);
        }
        assert_eq!(told.len(), 7, "each is asked for in words of its own");
        let usage = app.get("/api/v2/usage?groupBy=purpose").await.expect(200);
        let lines = usage["data"].as_array().unwrap();
        let assist = lines.iter().find(|line| line["key"] == "assist").unwrap();
        assert_eq!(
            (&assist["calls"], &assist["promptTokens"]),
            (&json!(7), &json!(350)),
            "{usage}"
        );
    }
}
