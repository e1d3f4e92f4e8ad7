//! Somebody who left something in every place is erased, or kept long enough: nothing of theirs is in any table or file.

use std::sync::Arc;
use std::time::Duration;

use domain::job::{JobState, NewJob};
use domain::settings::ProcessRole;
use domain::{Ambient, ManualClock, Role, SystemEntropy};
use http::Method;
use serde_json::{Value, json};
use testkit::db::databases;
use testkit::model_server::{Endpoint, ModelServer, Reply as ModelReply};

use super::Person;
use super::threads::{member, upload};
use super::widget::{Site, Visitor};
use crate::support::{PATIENCE, TestApp, read, woken};

/// Stand nowhere else.
const WORD: &str = "quirquincho9173";
const OTHER: &str = "huemul2846";

/// Somebody who was there.
struct Known {
    visitor: Visitor,
    /// As an end-user.
    id: String,
}

/// Leaves a word wherever a visitor and those who work with them can leave one.
async fn leaves_a_word_everywhere(app: &TestApp, site: &Site, ana: &Person, word: &str) -> Known {
    let page = json!({"pageUrl": format!("https://cliente.cl/{word}"), "userAgent": format!("Firefox {word}")});
    let visitor = site.visitor_of(&site.open(app, &page).await.expect(200));
    let file = |kind: &str| format!("archivo {kind} de {word}").into_bytes();
    let put = async |kind: &str| {
        let stored = visitor.upload(app, &format!("{kind} {word}.txt"), file(kind)).await;
        stored.expect(201)["id"].clone()
    };
    let sent = put("enviado").await;
    let asks = json!({"content": format!("¿Dónde vive el {word}?"), "attachmentIds": [sent]});
    let begun = visitor.post(app, "/messages", &asks).await.expect(200);
    let conversation = begun["conversationId"].as_str().unwrap().to_owned();
    let streamed =
        json!({"content": format!("¿Y qué come el {word}?"), "conversationId": conversation});
    let request = visitor.request(app, Method::POST, "/messages").json(&streamed);
    assert_eq!(read(request.header("accept", "text/event-stream")).await.status, 200);
    // A text that fills pages of its own.
    let long = json!({"content": format!("{word} ").repeat(400), "conversationId": conversation});
    visitor.post(app, "/messages", &long).await.expect(200);
    put("olvidado").await;
    let left = json!({
        "name": format!("{word} Pérez"),
        "email": format!("{word}@ejemplo.com"),
        "company": word,
        "message": format!("Soy {word}, llámenme"),
    });
    visitor.post(app, "/offline", &left).await.expect(201);
    let rating = json!({"conversationId": conversation, "rating": 1, "comment": format!("no sabe de {word}")});
    visitor.post(app, "/rating", &rating).await.expect(204);
    let answer = begun["reply"]["id"].as_str().unwrap();
    let dislikes = json!({"rating": "down", "comment": format!("mal, {word}")});
    app.put(&format!("/api/v2/messages/{answer}/feedback"), &dislikes).await.expect(204);

    let path = format!("/v1/conversations/{conversation}");
    let note = json!({"content": format!("@[{}] mira a {word}", ana.id)});
    ana.post(app, &format!("{path}/notes"), &note).await.expect(201);
    let theirs =
        upload(app, ana, &conversation, &format!("para {word}.txt"), file("respuesta")).await;
    let answers = json!({
        "content": format!("Hola, {word}"),
        "attachmentIds": [theirs.expect(201)["id"]],
    });
    ana.post(app, &format!("{path}/messages"), &answers).await.expect(201);
    ana.patch(app, &path, &json!({"title": format!("Caso {word}")})).await;
    upload(app, ana, &conversation, &format!("borrador {word}.txt"), file("borrador")).await;
    let found = ana.get(app, &format!("/v1/end-users?search={word}@ejemplo.com")).await;
    let id = found.expect(200)["data"][0]["id"].as_str().unwrap().to_owned();
    let noted = json!({"tags": [word], "customAttributes": {"animal": word}, "notes": word});
    ana.patch(app, &format!("/v1/end-users/{id}"), &noted).await.expect(200);
    // Back on another page.
    visitor.post(app, "/init", &page).await.expect(200);
    Known { visitor, id }
}

/// Where one of the texts stands in the database, with what stands around it.
async fn found(app: &TestApp, texts: &[&str]) -> Vec<String> {
    let dump = app.dump().await.to_lowercase();
    let mut found = Vec::new();
    for text in texts {
        for (at, _) in dump.match_indices(text) {
            let before: Vec<char> = dump[..at].chars().rev().take(150).collect();
            let after = dump[at..].chars().take(150);
            let around = before.into_iter().rev().chain(after);
            found.push(around.filter(|c| !c.is_control()).collect());
        }
    }
    found
}

#[tokio::test]
async fn an_erased_person_is_in_no_table_and_no_file() {
    for app in TestApp::on_each_database("erasing everywhere").await {
        let site = Site::of_tenant(&app).await;
        let ana = member(&app, "ana", Role::Admin).await;
        let gone = leaves_a_word_everywhere(&app, &site, &ana, WORD).await;
        let kept = leaves_a_word_everywhere(&app, &site, &ana, OTHER).await;
        assert!(found(&app, &[WORD]).await.len() > 10);
        assert!(app.is_among_files(WORD));

        ana.ask(&app, Method::DELETE, &format!("/v1/end-users/{}", gone.id), &Value::Null)
            .await
            .expect(204);
        let left = found(&app, &[WORD, &gone.visitor.id]).await;
        assert!(left.is_empty(), "{left:#?}");
        app.without_file(WORD).await;
        assert!(found(&app, &[OTHER]).await.len() > 10, "others keep theirs");
        for kind in ["enviado", "olvidado", "respuesta", "borrador"] {
            assert!(app.is_among_files(&format!("archivo {kind} de {OTHER}")), "{kind}");
        }
        // The visitor's token still says who it was: somebody new.
        let list = gone.visitor.get(&app, "/conversations").await.expect(200);
        assert_eq!(list, json!({"data": []}));
        let list = kept.visitor.get(&app, "/conversations").await.expect(200);
        assert_eq!(list["data"].as_array().unwrap().len(), 2);

        let raw = app.raw_database().await.to_lowercase();
        assert_eq!(raw.matches(WORD).count(), 0, "what is deleted is overwritten");
        assert!(app.db.is_postgres() || raw.contains(OTHER));
    }
}

#[tokio::test]
async fn files_go_although_the_process_dies_behind_the_rows() {
    for database in databases("erasing, cut off").await {
        // It runs no jobs: as if it died as soon as the rows were gone.
        let app = TestApp::with(database, |settings| {
            settings.server.roles = vec![ProcessRole::Api];
        })
        .await;
        let site = Site::of_tenant(&app).await;
        let ana = member(&app, "ana", Role::Admin).await;
        let gone = leaves_a_word_everywhere(&app, &site, &ana, WORD).await;
        app.delete(&format!("/v1/end-users/{}", gone.id)).await.expect(204);
        let left = found(&app, &[WORD]).await;
        assert!(left.is_empty(), "{left:#?}");
        assert!(app.is_among_files(WORD), "the files are still there");
        let next =
            app.beside_with(|settings| settings.server.roles.push(ProcessRole::Worker)).await;
        next.without_file(WORD).await;
    }
}

#[tokio::test]
async fn what_was_kept_long_enough_goes_with_its_files_and_visits() {
    for database in databases("retention everywhere").await {
        let clock = Arc::new(ManualClock::new(Ambient::system().now()));
        let ambient = Ambient::new(clock.clone(), Arc::new(SystemEntropy));
        let app = TestApp::with_ambient(database, ambient, |_| {}).await;
        let site = Site::of_tenant(&app).await;
        let ana = member(&app, "ana", Role::Admin).await;
        let path = format!("/v1/workspaces/{}/retention", app.tenant.workspace);
        let days = json!({"conversationDays": 30, "contactDays": 30});
        ana.patch(&app, &path, &days).await.expect(200);
        let old = leaves_a_word_everywhere(&app, &site, &ana, WORD).await;
        let nobody = site.visitor(&app).await;
        nobody.say(&app, &format!("¿Dónde vive el {WORD}?")).await;
        let of_then = [WORD, &old.visitor.id, &nobody.id];
        clock.advance(Duration::from_hours(24 * 31));
        let visitor = site.visitor(&app).await;
        let stored = visitor.upload(&app, "nuevo.txt", OTHER.into()).await.expect(201);
        visitor
            .post(&app, "/messages", &json!({"attachmentIds": [stored["id"]]}))
            .await
            .expect(200);

        let mut wakeups = app.db.wakeups();
        let job = NewJob::now("agents.retention", json!({}), app.ambient.now());
        let workspace = app.tenant.workspace;
        let mut tx = app.db.write().await.unwrap();
        storage::jobs::enqueue(&mut tx, &app.ambient, workspace, &job).await.unwrap();
        tx.commit().await.unwrap();
        let night = async {
            while !found(&app, &of_then).await.is_empty() {
                woken(&mut wakeups).await;
            }
        };
        if tokio::time::timeout(PATIENCE, night).await.is_err() {
            let mut conn = app.db.read().await.unwrap();
            let dead = storage::jobs::list(&mut conn, workspace, JobState::Dead, 9).await.unwrap();
            let left = found(&app, &of_then).await;
            panic!("{left:#?} is left; {dead:?}");
        }
        app.without_file(WORD).await;
        assert!(app.is_among_files(OTHER), "what is new stays");
        let list = visitor.get(&app, "/conversations").await.expect(200);
        assert_eq!(list["data"].as_array().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn notes_are_in_an_export_only_when_a_person_asks() {
    for app in TestApp::on_each_database("exporting notes").await {
        let site = Site::of_tenant(&app).await;
        let ana = member(&app, "ana", Role::Admin).await;
        let known = leaves_a_word_everywhere(&app, &site, &ana, WORD).await;
        let path = format!("/v1/end-users/{}/export", known.id);
        let said = |export: &Value| {
            let talks = export["conversations"].as_array().unwrap().clone();
            talks.into_iter().find(|talk| talk["internalNotes"] == 1).unwrap()
        };
        let export = ana.get(&app, &path).await.expect(200);
        assert!(!export.to_string().contains("mira a"), "{export}");
        let talk = said(&export);
        assert!(talk.get("notes").is_none(), "{talk}");
        assert_eq!(talk["pageUrl"], format!("https://cliente.cl/{WORD}"));
        let names = &talk["messages"][0]["attachments"][0]["name"];
        assert_eq!(names, &json!(format!("enviado {WORD}.txt")));
        let export = ana.get(&app, &format!("{path}?notes=true")).await.expect(200);
        let note = said(&export)["notes"][0].clone();
        assert_eq!(note["author"], "ana");
        assert!(note["content"].as_str().unwrap().ends_with(&format!("mira a {WORD}")), "{note}");
        ana.get(&app, &format!("{path}?notes=1")).await.expect_field("notes");
        app.get(&format!("{path}?notes=true")).await.expect_error(403, "FORBIDDEN");
        app.get(&format!("{path}?notes=false")).await.expect(200);
    }
}

#[tokio::test]
async fn vectors_of_their_questions_go_and_those_of_others_stay() {
    for database in databases("erasing vectors").await {
        let server = ModelServer::start().await.unwrap();
        server.respond_with(|request| {
            let is_chat = request.endpoint == Endpoint::Chat;
            is_chat.then(|| ModelReply::text("[NO_ANSWER]"))
        });
        let base_url = server.base_url().parse().unwrap();
        let app = TestApp::with(database, |settings| {
            settings.models.openai_base_url = Some(base_url);
            settings.models.chat_model = Some("gpt-test".to_owned());
            settings.models.embedding_model = Some("embed-test".to_owned());
        })
        .await;
        app.learn("FAQ", "Abrimos de 9 a 18 horas.").await;
        let question = |word: &str| format!("¿Dónde vive el {word}?");
        for word in [WORD, OTHER] {
            let contact = json!({"email": format!("{word}@ejemplo.com")});
            let body = json!({"query": question(word), "contact": contact});
            app.post(&app.chat_path(), &body).await.expect(200);
        }
        let space = app.retrieval.embedder().unwrap().space().to_string();
        let is_kept = async |word: &str| {
            let hash = retrieval::text_hash(&format!("question\n{}", question(word)));
            let mut conn = app.db.read().await.unwrap();
            let workspace = app.tenant.workspace;
            let kept = storage::embeddings::get_many(&mut conn, workspace, &space, &[hash]).await;
            kept.unwrap().contains_key(&hash)
        };
        assert!(is_kept(WORD).await && is_kept(OTHER).await, "gaps are told apart by vectors");
        let found = app.get(&format!("/v1/end-users?search={WORD}")).await.expect(200);
        let id = found["data"][0]["id"].as_str().unwrap();
        app.delete(&format!("/v1/end-users/{id}")).await.expect(204);
        assert!(!is_kept(WORD).await && is_kept(OTHER).await);
    }
}
