//! Cases made from rated answers, gaps and documents.

use serde_json::{Value, json};
use testkit::model_server::{ModelServer, Reply as ModelReply};

use super::dataset;
use crate::support::TestApp;

const HOURS: &str = "# Horarios\n\nAtendemos de lunes a viernes de 9 a 18 hs en el local de Palermo.\n\n\
                     # Envíos\n\nLos envíos a domicilio en la ciudad cuestan 5.490 pesos y demoran dos días hábiles.";

async fn all_cases(app: &TestApp, path: &str) -> Vec<Value> {
    let page = app.get(&format!("{path}/cases?limit=100")).await.expect(200);
    page["data"].as_array().unwrap().clone()
}

async fn ask(app: &TestApp, query: &str) -> Value {
    app.post(&app.chat_path(), &json!({"query": query})).await.expect(200)
}

async fn rate(app: &TestApp, answer: &Value, rating: &str) {
    let path = format!("/api/v2/messages/{}/feedback", answer["messageId"].as_str().unwrap());
    app.put(&path, &json!({"rating": rating})).await.expect(204);
}

#[tokio::test]
async fn rated_answers_become_what_is_expected_and_what_is_to_be_answered() {
    for app in TestApp::on_each_database("rated answers become cases").await {
        app.learn("Local", HOURS).await;
        let liked = ask(&app, "¿Cuánto cuestan los envíos a domicilio?").await;
        rate(&app, &liked, "up").await;
        let unknown = ask(&app, "¿Venden submarinos nucleares?").await;
        rate(&app, &unknown, "up").await;
        let talk = json!({"query": "¿Y en el local de Palermo?", "conversationId": liked["conversationId"]});
        let disliked = app.post(&app.chat_path(), &talk).await.expect(200);
        rate(&app, &disliked, "down").await;

        let path = dataset(&app, json!([])).await;
        let collect = format!("{path}/collect");
        let wanted = json!({"from": "ratings"});
        let collected = app.post(&collect, &wanted).await.expect(200);
        assert_eq!(
            (&collected["added"], &collected["known"], &collected["leftOut"]),
            (&json!(3), &json!(0), &json!(0))
        );
        let cases = all_cases(&app, &path).await;
        let case = |answer: &Value| {
            cases.iter().find(|case| case["id"] == answer["messageId"]).unwrap().clone()
        };
        let expected = case(&liked);
        assert_eq!(
            (&expected["expect"], &expected["form"], &expected["lang"]),
            (&json!("answer"), &json!("long"), &json!("es"))
        );
        let answer = expected["answers"][0].as_str().unwrap();
        assert!(answer.contains("5.490") && !answer.contains("[1]"), "{answer}");
        let words = expected["relevant"][0]["must_contain"].as_str().unwrap();
        assert!(HOURS.contains(words), "{words}");
        assert_eq!(case(&unknown)["expect"], "abstain");
        let open = case(&disliked);
        assert_eq!((&open["expect"], &open.get("answers")), (&json!("answer"), &None));
        assert_eq!(open["history"][0]["text"], "¿Cuánto cuestan los envíos a domicilio?");
        assert_eq!(open["history"][1]["role"], "assistant");
        assert_eq!(open["tags"], json!(["rated", "rated:down"]));

        // What a person wrote stays, and nothing is there twice.
        let mut edited = cases.clone();
        for one in edited.iter_mut().filter(|one| one["id"] == open["id"]) {
            one["answers"] = json!(["Sí, también."]);
        }
        app.put(&path, &json!({"cases": edited})).await.expect(200);
        rate(&app, &ask(&app, "¿A qué hora atienden?").await, "up").await;
        let again = app.post(&collect, &wanted).await.expect(200);
        assert_eq!((&again["added"], &again["known"]), (&json!(1), &json!(3)));
        assert_eq!(again["dataset"]["caseCount"], 4);
        let kept = all_cases(&app, &path).await;
        assert!(kept.iter().any(|one| one["answers"] == json!(["Sí, también."])));
        let only = json!({"from": "ratings", "rating": "down", "count": 1});
        assert_eq!(app.post(&collect, &only).await.expect(200)["known"], 1);
        let of_nobody = json!({"from": "ratings", "agentId": format!("agent_{}", "0".repeat(32))});
        assert_eq!(app.post(&collect, &of_nobody).await.expect(200)["known"], 0);
    }
}

#[tokio::test]
async fn gaps_become_cases_by_where_they_stand() {
    for app in TestApp::on_each_database("gaps become cases").await {
        app.learn("Local", HOURS).await;
        for query in [
            "¿Venden submarinos nucleares?",
            "¿Aceptan criptomonedas?",
            "¿Cuánto sale la garantía extendida?",
        ] {
            ask(&app, query).await;
        }
        let gaps = app.get("/api/v2/gaps").await.expect(200)["data"].as_array().unwrap().clone();
        let of = |words: &str| {
            let found = gaps.iter().find(|gap| gap["question"].as_str().unwrap().contains(words));
            format!("/api/v2/gaps/{}", found.unwrap()["id"].as_str().unwrap())
        };
        app.put(&of("submarinos"), &json!({"status": "dismissed"})).await.expect(200);
        app.learn("Garantía", "La garantía extendida sale 12.000 pesos por año.").await;
        let closed = app.post(&format!("{}/recheck", of("garantía")), &json!({})).await.expect(200);
        assert_eq!(closed["answered"], true, "{closed}");

        let path = dataset(&app, json!([])).await;
        let collected = app.post(&format!("{path}/collect"), &json!({"from": "gaps"})).await;
        assert_eq!(collected.expect(200)["added"], 3);
        let cases = all_cases(&app, &path).await;
        let case = |words: &str| {
            cases.iter().find(|case| case["input"].as_str().unwrap().contains(words)).unwrap()
        };
        assert_eq!(
            (&case("submarinos")["expect"], &case("submarinos")["kind"]),
            (&json!("abstain"), &json!("not_in_kb"))
        );
        assert_eq!(
            (&case("criptomonedas")["expect"], &case("criptomonedas")["tags"]),
            (&json!("answer"), &json!(["gap", "gap:open"]))
        );
        assert!(case("garantía")["answers"][0].as_str().unwrap().contains("12.000"));
        let open = json!({"from": "gaps", "status": "open"});
        assert_eq!(app.post(&format!("{path}/collect"), &open).await.expect(200)["known"], 1);
    }
}

#[tokio::test]
async fn documents_become_questions_by_rule_without_a_model() {
    for app in TestApp::on_each_database("documents become questions").await {
        app.learn("Local", HOURS).await;
        app.learn("FAQ", "¿Hacen factura A?\n\nSí, la pedís con tu CUIT al pagar.").await;
        let path = dataset(&app, json!([])).await;
        let collect = format!("{path}/collect");
        let wanted = json!({"from": "documents", "datastoreId": app.tenant.datastore});
        let collected = app.post(&collect, &wanted).await.expect(200);
        let added = collected["added"].as_u64().unwrap();
        assert!(added >= 2, "{collected}");
        let cases = all_cases(&app, &path).await;
        let asked = cases.iter().find(|case| case["input"] == "¿Hacen factura A?").unwrap();
        assert!(asked["answers"][0].as_str().unwrap().contains("CUIT"), "{asked}");
        for case in &cases {
            assert_eq!(
                (&case["expect"], &case["tags"]),
                (&json!("answer"), &json!(["generated", "by:rule"]))
            );
            let words = case["relevant"][0]["must_contain"].as_str().unwrap();
            assert!(HOURS.contains(words) || words.contains("CUIT"), "{words}");
        }
        let again = app.post(&collect, &wanted).await.expect(200);
        assert_eq!((&again["added"], &again["known"]), (&json!(0), &json!(added)));
        let model =
            json!({"from": "documents", "datastoreId": app.tenant.datastore, "making": "model"});
        app.post(&collect, &model).await.expect_field("making");
        let absent = json!({"from": "documents", "datastoreId": format!("ds_{}", "0".repeat(32))});
        app.post(&collect, &absent).await.expect_error(404, "NOT_FOUND");
        app.post(&collect, &json!({"from": "documents"})).await.expect_field("datastoreId");
        app.post(&collect, &json!({"from": "documents", "datastoreId": "x"}))
            .await
            .expect_field("datastoreId");
        app.post(&collect, &json!({"from": "gaps", "agentId": "x"})).await.expect_field("agentId");
        app.post(&collect, &json!({"from": "moon"})).await.expect_field("from");
        app.post(&collect, &json!({})).await.expect_field("from");
        for (from, count) in [("documents", 101), ("gaps", 0), ("gaps", 1_001)] {
            let body = json!({"from": from, "count": count, "datastoreId": app.tenant.datastore});
            app.post(&collect, &body).await.expect_field("count");
        }
    }
}

#[tokio::test]
async fn a_model_makes_questions_that_its_passages_answer_and_is_paid_for_it() {
    for database in testkit::db::databases("a model makes questions").await {
        let server = ModelServer::start().await.unwrap();
        let base_url = server.base_url().parse().unwrap();
        let app = TestApp::with(database, |settings| {
            settings.models.openai_base_url = Some(base_url);
            settings.models.chat_model = Some("gpt-test".to_owned());
        })
        .await;
        app.learn("Envíos", "Los envíos a domicilio en la ciudad cuestan 5.490 pesos.").await;
        app.learn("Pagos", "Aceptamos tarjetas de crédito en tres cuotas sin interés.").await;
        server.respond_with(|asked| {
            let shown = asked.body["messages"][1]["content"].as_str().unwrap();
            let reply = if shown.contains("5.490") {
                "```json\n{\"question\": \"¿Cuánto sale que me lo traigan?\", \"answer\": \"5.490 pesos\"}\n```"
            } else {
                "{\"question\": \"¿Hay descuento?\", \"answer\": \"20 por ciento\"}"
            };
            Some(ModelReply::text(reply).usage(100, 20))
        });
        let path = dataset(&app, json!([])).await;
        let collect = format!("{path}/collect");
        let wanted = json!({"from": "documents", "datastoreId": app.tenant.datastore});
        let collected = app.post(&collect, &wanted).await.expect(200);
        assert_eq!(
            (&collected["added"], &collected["leftOut"]),
            (&json!(1), &json!(1)),
            "what no passage says is no answer"
        );
        let case = &all_cases(&app, &path).await[0];
        assert_eq!(
            (&case["input"], &case["answers"]),
            (&json!("¿Cuánto sale que me lo traigan?"), &json!(["5.490 pesos"]))
        );
        assert_eq!(case["tags"], json!(["generated", "by:model"]));
        assert!(case["relevant"][0]["must_contain"].as_str().unwrap().contains("cuestan 5.490"));
        let usage = app.get("/api/v2/usage?groupBy=purpose").await.expect(200);
        let line = usage["data"].as_array().unwrap().iter().find(|line| line["key"] == "eval");
        assert_eq!(
            (&line.unwrap()["calls"], &line.unwrap()["promptTokens"]),
            (&json!(2), &json!(200))
        );

        let asked = server.requests().len();
        let rule =
            json!({"from": "documents", "datastoreId": app.tenant.datastore, "making": "rule"});
        app.post(&collect, &rule).await.expect(200);
        assert_eq!(server.requests().len(), asked, "a rule asks nobody");
        let budget = json!({"scope": "workspace", "unit": "tokens", "period": "month", "limit": 1});
        app.post("/api/v2/budgets", &budget).await.expect(201);
        let other = dataset(&app, json!([])).await;
        app.post(&format!("{other}/collect"), &wanted).await.expect_error(402, "USAGE_LIMIT");
    }
}
