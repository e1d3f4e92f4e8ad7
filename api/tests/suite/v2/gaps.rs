//! Gaps: grouped, listed, exported, asked again.

use http::Method;
use serde_json::{Value, json};
use testkit::db::databases;
use testkit::model_server::{Endpoint, ModelServer, Reply as ModelReply};

use crate::support::{PATIENCE, TestApp, read};

const HOURS: &str = "Nuestros horarios son de 9 a 18 hs, de lunes a viernes.";

async fn ask(app: &TestApp, question: &str) -> Value {
    let answer = app.post(&app.chat_path(), &json!({"query": question})).await.expect(200);
    assert_eq!(answer["outcome"], "abstained", "{answer}");
    answer
}

async fn gaps(app: &TestApp, query: &str) -> Vec<Value> {
    let listed = app.get(&format!("/api/v2/gaps{query}")).await.expect(200);
    listed["data"].as_array().unwrap().clone()
}

#[tokio::test]
async fn questions_that_ask_the_same_are_one_gap_that_is_counted_exported_and_dismissed() {
    for app in TestApp::on_each_database("questions that ask the same are one gap").await {
        app.learn("FAQ", HOURS).await;
        let first = ask(&app, "¿Hacen envíos a la Antártida?").await;
        ask(&app, "=¿Aceptan criptomonedas?").await;
        let last = ask(&app, "¿Envían a la Antártida?").await;
        let listed = gaps(&app, "").await;
        assert_eq!(listed.len(), 2, "{listed:?}");
        let gap = &listed[1];
        assert_eq!((&gap["count"], &gap["status"]), (&json!(2), &json!("open")));
        assert_eq!(gap["question"], "¿Hacen envíos a la Antártida?");
        assert_eq!(gap["messageId"], last["messageId"], "the last time that it was asked");
        assert!(gap["languages"].as_array().unwrap().contains(&json!("es")), "{gap}");
        let examples = gap["examples"].as_array().unwrap();
        assert_eq!(examples.len(), 2);
        assert_eq!(
            (&examples[0]["question"], &examples[1]["messageId"], &examples[1]["reason"]),
            (&json!("¿Envían a la Antártida?"), &first["messageId"], &json!("abstained"))
        );
        let path = format!("/api/v2/gaps/{}", gap["id"].as_str().unwrap());
        assert_eq!(&app.get(&path).await.expect(200), gap);

        let table = app.get("/api/v2/gaps?format=csv").await;
        assert_eq!(table.header("content-type"), "text/csv; charset=utf-8");
        let lines: Vec<&str> = table.text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[0].starts_with("id,question,status,count,"), "{}", lines[0]);
        assert!(lines[1].contains(",'=¿Aceptan criptomonedas?,open,1,"), "{}", lines[1]);

        let dismissed = app.put(&path, &json!({"status": "dismissed"})).await.expect(200);
        assert!(dismissed["closedAt"].is_string(), "{dismissed}");
        ask(&app, "hacen envios a la antartida?").await;
        assert_eq!(gaps(&app, "?status=open").await.len(), 1, "it opens no new one");
        assert_eq!(gaps(&app, "?status=dismissed").await[0]["count"], 3);
        let open = app.put(&path, &json!({"status": "open"})).await.expect(200);
        assert_eq!((&open["status"], &open["closedAt"]), (&json!("open"), &Value::Null));
        app.put(&path, &json!({"status": "closed"})).await.expect_field("status");
        app.get("/api/v2/gaps?status=new").await.expect_field("status");
        app.get("/api/v2/gaps?format=pdf").await.expect_field("format");
        let other = app.other_tenant().await;
        read(app.request_as(&other.key, Method::GET, &path)).await.expect_error(404, "NOT_FOUND");
    }
}

#[tokio::test]
async fn a_thumbs_down_is_a_gap_once_until_it_is_taken_back() {
    for app in TestApp::on_each_database("a thumbs-down is a gap").await {
        app.learn("FAQ", HOURS).await;
        let body = json!({"query": "¿Cuáles son los horarios?"});
        let answer = app.post(&app.chat_path(), &body).await.expect(200);
        assert_eq!(answer["outcome"], "answered");
        let message = answer["messageId"].as_str().unwrap();
        let path = format!("/api/v2/messages/{message}/feedback");
        for _ in 0..2 {
            app.put(&path, &json!({"rating": "down", "comment": "No dice los sábados"}))
                .await
                .expect(204);
            let listed = gaps(&app, "").await;
            assert_eq!(listed.len(), 1);
            assert_eq!(
                (&listed[0]["question"], &listed[0]["count"], &listed[0]["examples"][0]["reason"]),
                (&body["query"], &json!(1), &json!("disliked"))
            );
        }
        let conversation = answer["conversationId"].as_str().unwrap();
        let listed = app.get(&format!("/api/v2/conversations/{conversation}/messages")).await;
        let feedback = json!({"rating": "down", "comment": "No dice los sábados"});
        let listed = listed.expect(200);
        assert_eq!(listed["data"][1]["feedback"], feedback);
        assert_eq!(listed["data"][0].get("feedback"), None);
        app.put(&path, &json!({"rating": null})).await.expect(204);
        assert!(gaps(&app, "").await.is_empty());

        // What is a gap already is none twice, and stays one.
        let unknown = ask(&app, "¿Envían a la Antártida?").await;
        let path = format!("/api/v2/messages/{}/feedback", unknown["messageId"].as_str().unwrap());
        app.put(&path, &json!({"rating": "down"})).await.expect(204);
        assert_eq!(gaps(&app, "").await[0]["count"], 1);
        app.put(&path, &json!({"rating": "up"})).await.expect(204);
        assert_eq!(gaps(&app, "").await.len(), 1);
    }
}

#[tokio::test]
async fn a_gap_is_closed_when_asking_again_finds_an_answer() {
    for app in TestApp::on_each_database("a gap is closed when it is answered").await {
        app.learn("FAQ", HOURS).await;
        ask(&app, "¿Cuánto cuesta el envío a la Antártida?").await;
        let gap = gaps(&app, "").await[0]["id"].as_str().unwrap().to_owned();
        let path = format!("/api/v2/gaps/{gap}/recheck");
        let again = app.post(&path, &json!({})).await.expect(200);
        assert_eq!((&again["answered"], &again["gap"]["status"]), (&json!(false), &json!("open")));
        assert!(again["gap"]["rechecked_at"].is_null() && again["gap"]["recheckedAt"].is_string());
        app.learn("Envíos", "El envío a la Antártida cuesta 99.000 pesos.").await;
        let again = app.post(&path, &json!({})).await.expect(200);
        assert_eq!((&again["answered"], &again["gap"]["status"]), (&json!(true), &json!("closed")));
        assert!(again["answer"].as_str().unwrap().contains("99.000"), "{again}");
        assert_eq!(again["gap"]["answer"], again["answer"]);
    }
}

#[tokio::test]
async fn new_knowledge_closes_the_gaps_that_it_answers_by_itself() {
    for database in databases("new knowledge closes gaps").await {
        let app = TestApp::with(database, |_| {}).await;
        app.learn("FAQ", HOURS).await;
        ask(&app, "¿Aceptan criptomonedas?").await;
        ask(&app, "¿Cuánto cuesta el envío a la Antártida?").await;
        let mut wakeups = app.db.wakeups();
        app.learn("Envíos", "El envío a la Antártida cuesta 99.000 pesos.").await;
        let closing = async {
            while gaps(&app, "?status=closed").await.is_empty() {
                crate::support::woken(&mut wakeups).await;
            }
        };
        tokio::time::timeout(PATIENCE, closing).await.expect("the gap is closed");
        let closed = &gaps(&app, "?status=closed").await[0];
        assert!(closed["answer"].as_str().unwrap().contains("99.000"), "{closed}");
        assert_eq!(gaps(&app, "?status=open").await[0]["question"], "¿Aceptan criptomonedas?");
    }
}

/// The direction of what a question is about, as an embedder would find it.
fn meaning_of(text: &str) -> Vec<f32> {
    let about = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let axis = if about(&["iguana", "reptil"]) {
        1
    } else if about(&["criptomoneda"]) {
        2
    } else if about(&["mudanza"]) {
        3
    } else {
        4
    };
    (0..64).map(|place| if place == axis { 1.0 } else { 0.05 }).collect()
}

#[tokio::test]
async fn questions_that_mean_the_same_to_the_embedder_are_one_gap() {
    const ASKED: [&str; 4] = [
        "¿Atienden iguanas con fiebre?",
        "¿Aceptan criptomonedas?",
        "¿Revisan un reptil decaído el domingo?",
        "¿Organizan la mudanza de oficinas?",
    ];
    for (with_vectors, expected) in [(true, vec![1, 1, 2]), (false, vec![1, 1, 1, 1])] {
        for database in databases("gaps by meaning").await {
            let server = ModelServer::start().await.unwrap();
            server.respond_with(|request| {
                if request.endpoint == Endpoint::Chat {
                    return Some(ModelReply::text("[NO_ANSWER]"));
                }
                let texts = request.body["input"].as_array()?.clone();
                let vector = |text: &Value| meaning_of(text.as_str().unwrap_or_default());
                let data = texts.iter().enumerate().map(|(index, text)| {
                    json!({"object": "embedding", "index": index, "embedding": vector(text)})
                });
                let data: Vec<Value> = data.collect();
                let usage = json!({"prompt_tokens": 5, "total_tokens": 5});
                Some(ModelReply::json(&json!({"object": "list", "data": data, "usage": usage})))
            });
            let base_url = server.base_url().parse().unwrap();
            let app = TestApp::with(database, |settings| {
                settings.models.openai_base_url = Some(base_url);
                settings.models.chat_model = Some("gpt-test".to_owned());
                settings.models.embedding_model = with_vectors.then(|| "embed-test".to_owned());
            })
            .await;
            app.learn("FAQ", HOURS).await;
            for question in ASKED {
                ask(&app, question).await;
            }
            let listed = gaps(&app, "").await;
            let mut counts: Vec<i64> =
                listed.iter().map(|gap| gap["count"].as_i64().unwrap()).collect();
            counts.sort_unstable();
            assert_eq!(counts, expected, "{listed:?}");
            if with_vectors {
                let both = listed.iter().find(|gap| gap["count"] == 2).unwrap();
                assert_eq!(both["question"], ASKED[0]);
            }
            // A thumbs-down is put to the same group.
            server.enqueue(ModelReply::text("De 9 a 18 hs [1]."));
            let body = json!({"query": "¿Cuáles son los horarios?"});
            let answer = app.post(&app.chat_path(), &body).await.expect(200);
            let path =
                format!("/api/v2/messages/{}/feedback", answer["messageId"].as_str().unwrap());
            app.put(&path, &json!({"rating": "down"})).await.expect(204);
            assert_eq!(gaps(&app, "").await.len(), expected.len() + 1);
            let usage = app.get("/api/v2/usage").await.expect(200);
            let calls = usage["total"]["calls"].as_u64().unwrap();
            let embedded = server.requests_to(Endpoint::Embeddings).len();
            // The passage, and each question once: by its search.
            assert_eq!(embedded, if with_vectors { 1 + ASKED.len() + 1 } else { 0 });
            let asked = embedded + server.requests_to(Endpoint::Chat).len();
            assert_eq!(calls, asked as u64, "each call is in the ledger: {usage}");
        }
    }
}
