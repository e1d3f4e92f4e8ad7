//! Export, erasure and retention.

use std::sync::Arc;
use std::time::Duration;

use domain::job::NewJob;
use domain::{Ambient, ManualClock, SeededEntropy, Timestamp};
use http::Method;
use serde_json::{Value, json};
use storage::evals::EvalContent;
use testkit::db::databases;

use super::Person;
use crate::support::{PATIENCE, TestApp, read, woken};

/// Stands nowhere else.
const WORD: &str = "ornitorrinco7731";
const OTHER: &str = "zarigueya4482";

async fn patch(app: &TestApp, path: &str, body: &Value) -> Value {
    read(app.request(Method::PATCH, path).json(body)).await.expect(200)
}

/// Somebody who leaves a word wherever a customer can leave one; the end-user's id, and the answer that they rated.
async fn leaves_traces(app: &TestApp, word: &str) -> (String, String) {
    let contact = json!({"firstName": word, "email": format!("{word}@ejemplo.com")});
    let body = json!({
        "query": format!("¿Dónde vive el {word}?"),
        "visitorId": format!("v-{word}"),
        "contact": contact,
    });
    let answer = app.post(&app.chat_path(), &body).await.expect(200);
    let talk = answer["conversationId"].as_str().unwrap();
    let message = answer["messageId"].as_str().unwrap().to_owned();
    let body = json!({"query": format!("mi correo es {word}@otra.com"), "conversationId": talk});
    app.post(&app.chat_path(), &body).await.expect(200);
    let comment = json!({"rating": "down", "comment": format!("no sabe de {word}")});
    app.put(&format!("/api/v2/messages/{message}/feedback"), &comment).await.expect(204);
    let rating = json!({"rating": 2, "comment": word});
    app.put(&format!("/api/v2/conversations/{talk}/rating"), &rating).await.expect(204);
    let found = app.get(&format!("/v1/end-users?search={word}@ejemplo.com")).await.expect(200);
    let id = found["data"][0]["id"].as_str().unwrap().to_owned();
    let other = json!({"name": word, "email": format!("{word}@tercera.com")});
    let other = app.post("/v1/end-users", &other).await.expect(201);
    app.post(&format!("/v1/end-users/{id}/merge"), &json!({"otherId": other["id"]}))
        .await
        .expect(200);
    let noted = json!({"tags": [word], "customAttributes": {"animal": word}, "notes": word});
    patch(app, &format!("/v1/end-users/{id}"), &noted).await;
    (id, message)
}

/// A dataset with a case made from each of the answers.
async fn evaluated(app: &TestApp, cases: &[(&str, &str)]) -> domain::EvalDatasetId {
    let (workspace, now) = (app.tenant.workspace, app.ambient.now());
    let lines = cases.iter().map(|(id, word)| json!({"id": id, "input": word}).to_string() + "\n");
    let text: String = lines.collect();
    let count = i64::try_from(cases.len()).unwrap();
    let content = EvalContent { version: "v1", cases: count, content: text.as_bytes() };
    let id = app.ambient.new_id();
    let mut tx = app.db.write().await.unwrap();
    storage::evals::insert(&mut tx, workspace, id, "calificadas", content, now).await.unwrap();
    tx.commit().await.unwrap();
    id
}

#[tokio::test]
async fn nothing_of_an_erased_person_is_found_anywhere() {
    for app in TestApp::on_each_database("erasing end-users").await {
        app.learn("Horarios", "Abrimos de 9 a 18 horas.").await;
        let (id, message) = leaves_traces(&app, WORD).await;
        let (kept, of_kept) = leaves_traces(&app, OTHER).await;
        let dataset = evaluated(&app, &[(&message, WORD), (&of_kept, OTHER)]).await;
        let before = app.dump().await;
        assert!(before.matches(WORD).count() > 10, "{}", before.matches(WORD).count());

        let path = format!("/v1/end-users/{id}");
        app.delete(&path).await.expect(204);
        let after = app.dump().await;
        let left: Vec<&str> = after.lines().filter(|line| line.contains(WORD)).collect();
        assert!(left.is_empty(), "{left:?}");
        assert!(after.matches(OTHER).count() > 10, "others keep theirs");
        app.get(&path).await.expect_error(404, "NOT_FOUND");
        app.delete(&path).await.expect_error(404, "NOT_FOUND");
        app.get(&format!("/v1/end-users/{kept}")).await.expect(200);
        let mut conn = app.db.read().await.unwrap();
        let workspace = app.tenant.workspace;
        let content = storage::evals::content(&mut conn, workspace, dataset, "v1").await.unwrap();
        let content = String::from_utf8(content.unwrap()).unwrap();
        assert!(!content.contains(WORD) && content.contains(OTHER), "{content}");
    }
}

#[tokio::test]
async fn a_person_gets_all_that_is_stored_about_them() {
    for app in TestApp::on_each_database("exporting end-users").await {
        let (id, _) = leaves_traces(&app, WORD).await;
        leaves_traces(&app, OTHER).await;
        let reply = app.get(&format!("/v1/end-users/{id}/export")).await;
        assert!(reply.header("content-disposition").contains(&id), "{:?}", reply.headers);
        let export = reply.expect(200);
        assert_eq!(export["visitors"], json!([format!("v-{WORD}")]));
        let talk = &export["conversations"][0];
        let said = talk["messages"].as_array().unwrap();
        assert_eq!(said.len(), 4, "{talk}");
        assert_eq!(said[1]["feedback"]["comment"], format!("no sabe de {WORD}"));
        assert_eq!(talk["rating"]["comment"], WORD);
        let merge =
            export["timeline"].as_array().unwrap().iter().find(|one| one["type"] == "merge");
        assert_eq!(merge.unwrap()["data"]["email"], format!("{WORD}@tercera.com"));
        assert!(!export.to_string().contains(OTHER), "of nobody else");
        let stranger = Person::register(&app, "stranger").await;
        let foreign = stranger.get(&app, &format!("/v1/end-users/{id}/export")).await;
        foreign.expect_error(404, "NOT_FOUND");
        let erased =
            stranger.ask(&app, Method::DELETE, &format!("/v1/end-users/{id}"), &Value::Null).await;
        erased.expect_error(404, "NOT_FOUND");
    }
}

#[tokio::test]
async fn what_was_kept_long_enough_goes_by_night() {
    for database in databases("retention").await {
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(1_700_000_000_000_000)));
        let ambient = Ambient::new(clock.clone(), Arc::new(SeededEntropy::new(7)));
        let app = TestApp::with_ambient(database, ambient, |_| {}).await;
        let path = format!("/v1/workspaces/{}/retention", app.tenant.workspace);
        let never = app.get(&path).await.expect(200);
        assert_eq!(never, json!({"conversationDays": null, "contactDays": null}));
        let set = patch(&app, &path, &json!({"conversationDays": 30, "contactDays": 5})).await;
        assert_eq!(set, json!({"conversationDays": 30, "contactDays": 5}));
        for (body, field) in [
            (json!({"conversationDays": 0}), "conversationDays"),
            (json!({"contactDays": 4_000}), "contactDays"),
            (json!({"contactDays": "5"}), "contactDays"),
        ] {
            read(app.request(Method::PATCH, &path).json(&body)).await.expect_field(field);
        }
        let body = |word: &str| json!({"query": "hola", "contact": {"email": format!("{word}@ejemplo.com")}});
        let old = app.post(&app.chat_path(), &body(WORD)).await.expect(200);
        clock.advance(Duration::from_hours(24 * 31));
        let new = app.post(&app.chat_path(), &body(OTHER)).await.expect(200);
        let talk = |answer: &Value| {
            format!("/api/v2/conversations/{}", answer["conversationId"].as_str().unwrap())
        };
        let mut wakeups = app.db.wakeups();
        let job = NewJob::now("agents.retention", json!({}), app.ambient.now());
        let mut tx = app.db.write().await.unwrap();
        storage::jobs::enqueue(&mut tx, &app.ambient, app.tenant.workspace, &job).await.unwrap();
        tx.commit().await.unwrap();
        let waiting = async {
            loop {
                let contacts = app.get("/v1/end-users").await.expect(200);
                if contacts["meta"]["itemCount"] == 1 {
                    return contacts;
                }
                woken(&mut wakeups).await;
            }
        };
        let left = tokio::time::timeout(PATIENCE, waiting).await.expect("the night comes");
        assert_eq!(left["data"][0]["email"], format!("{OTHER}@ejemplo.com"));
        app.get(&talk(&old)).await.expect_error(404, "NOT_FOUND");
        app.get(&talk(&new)).await.expect(200);
    }
}
