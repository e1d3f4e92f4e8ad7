//! Files that visitors send.

use std::sync::Arc;
use std::time::Duration;

use domain::job::NewJob;
use domain::{Ambient, ManualClock, Role, SystemEntropy};
use http::Method;
use serde_json::{Value, json};
use testkit::db::databases;
use testkit::model_server::{Endpoint, ModelServer, Reply as ModelReply};

use super::live::Socket;
use super::{Site, Visitor};
use crate::support::{Reply, TestApp, read};
use crate::v1::threads::{member, png};
use crate::v1::{Person, threads};

/// Stands nowhere else.
const WORD: &str = "ornitorrinco5518";
const PDF: &[u8] = b"%PDF-1.7\n";

/// Uploads a file; its id.
async fn uploaded(app: &TestApp, visitor: &Visitor, name: &str, content: &[u8]) -> Value {
    let stored = visitor.upload(app, name, content.to_vec()).await.expect(201);
    assert!(stored.get("url").is_none(), "what is not sent is not handed out: {stored}");
    stored["id"].clone()
}

/// What a download must be like.
fn expect_saved(saved: &Reply, name: &str) {
    assert_eq!(saved.status, 200, "{}", saved.text);
    let disposition = saved.header("content-disposition");
    assert!(disposition.starts_with(&format!("attachment; filename=\"{name}\"")), "{disposition}");
    assert_eq!(saved.header("x-content-type-options"), "nosniff");
    assert_eq!(saved.header("content-security-policy"), "sandbox; default-src 'none'");
}

#[tokio::test]
async fn a_file_alone_is_a_message_that_only_its_conversation_has() {
    for app in TestApp::on_each_database("widget files").await {
        let site = Site::of_tenant(&app).await;
        let neighbour = Site::owned_by(&app, site.owner.clone()).await;
        let visitor = site.visitor(&app).await;
        let id = uploaded(&app, &visitor, "piñata azul.png", &png()).await;
        let path = format!("/attachments/{}", id.as_str().unwrap());
        visitor.get(&app, &path).await.expect_error(404, "NOT_FOUND");

        let body = json!({"attachmentIds": [id], "clientMessageId": "m-1"});
        let sent = visitor.post(&app, "/messages", &body).await.expect(200);
        let message = &sent["message"];
        assert_eq!((&message["content"], &message["seq"]), (&json!(""), &json!(1)));
        assert_eq!(message["attachments"][0]["id"], id);
        assert_eq!(message["attachments"][0]["mediaType"], "image/png");
        assert_eq!(sent["conversation"]["title"], "piñata azul.png");
        let told = sent["reply"]["content"].as_str().unwrap();
        assert!(told.contains("no puedo abrir archivos"), "{told}");
        let again = visitor.post(&app, "/messages", &body).await.expect(200);
        assert_eq!(again["message"]["id"], message["id"], "sent again it is one message");
        assert_eq!(again["message"]["attachments"][0]["id"], id);

        // Who is in the conversation sees and saves it, by the token or by the link.
        let list = visitor.get(&app, "/messages").await.expect(200);
        assert_eq!(list["data"].as_array().unwrap().len(), 2);
        let link = list["data"][0]["attachments"][0]["url"].as_str().unwrap();
        let saved = read(app.client.get(format!("{}{link}", app.base))).await;
        expect_saved(&saved, "pi_ata azul.png");
        expect_saved(&visitor.get(&app, &path).await, "pi_ata azul.png");
        let conversation = sent["conversationId"].as_str().unwrap();
        let shown = app.get(&format!("/v1/conversations/{conversation}/timeline")).await;
        let entry = shown.expect(200)["data"][0]["message"].clone();
        assert_eq!((&entry["type"], &entry["attachments"][0]["id"]), (&json!("image"), &id));
        let url = entry["attachments"][0]["url"].as_str().unwrap();
        expect_saved(&app.get(url).await, "pi_ata azul.png");
        let found = app.get("/v1/conversations?criteria=pinata").await.expect(200);
        assert_eq!(found["data"][0]["id"], conversation, "a file is found by its name");

        // Nobody else does, and nothing is made of what they try.
        for stranger in [site.visitor(&app).await, neighbour.visitor(&app).await] {
            stranger.get(&app, &path).await.expect_error(404, "NOT_FOUND");
            for id in [&id, &json!("att_00000000000000000000000000000000"), &json!("att")] {
                let body = json!({"content": "Hola", "attachmentIds": [id]});
                let refused = stranger.post(&app, "/messages", &body).await;
                assert_eq!(refused.expect_error(404, "NOT_FOUND"), "attachment not found");
            }
            let list = stranger.get(&app, "/conversations").await.expect(200);
            assert_eq!(list, json!({"data": []}));
        }
        let body =
            json!({"content": "Otra vez", "attachmentIds": [id], "conversationId": conversation});
        let used = visitor.post(&app, "/messages", &body).await;
        let told = used.expect_error(409, "ATTACHMENT_USED");
        assert!(told.contains("attachmentIds[0]"), "{told}");
        let list = visitor.get(&app, "/messages").await.expect(200);
        assert_eq!(list["data"].as_array().unwrap().len(), 2, "what is refused is not stored");
    }
}

#[tokio::test]
async fn a_file_goes_with_a_text_by_stream_and_by_socket_and_to_people() {
    for app in TestApp::on_each_database("widget files live").await {
        let site = Site::of_tenant(&app).await;
        let visitor = site.visitor(&app).await;
        let one = uploaded(&app, &visitor, "boleta.pdf", PDF).await;
        let body = json!({"content": "¿Está bien esta boleta?", "attachmentIds": [one]});
        let request = visitor.request(&app, Method::POST, "/messages").json(&body);
        let told = read(request.header("accept", "text/event-stream")).await;
        let done = told.text.split("event: done\ndata: ").nth(1).unwrap().trim();
        let done: Value = serde_json::from_str(done).unwrap();
        assert_eq!(done["message"]["attachments"][0]["name"], "boleta.pdf");
        assert_eq!(done["reply"]["author"], "agent");

        let (mut socket, _) = Socket::open(&app, &visitor, &Value::Null).await;
        let (mut tablet, _) = Socket::open(&app, &visitor, &Value::Null).await;
        let two = uploaded(&app, &visitor, "foto.png", &png()).await;
        let frame = json!({"type": "message", "attachmentIds": [two], "clientMessageId": "m-2"});
        for _ in 0..2 {
            socket.send(&frame).await;
            let ack = socket.next_of("ack").await;
            assert_eq!(ack["message"]["attachments"][0]["id"], two);
            assert_eq!(ack["message"]["seq"], 3, "{ack}");
        }
        let told = tablet.next_of("message").await;
        assert_eq!(told["message"]["attachments"][0]["id"], two, "{told}");
        let bad = json!({"type": "message", "attachmentIds": [two], "clientMessageId": "m-3"});
        socket.send(&bad).await;
        let refused = loop {
            let frame = socket.next().await;
            if frame["type"] == "error" {
                break frame;
            }
        };
        assert_eq!(
            (&refused["code"], &refused["clientMessageId"]),
            (&json!("ATTACHMENT_USED"), &json!("m-3"))
        );

        // A person answers with a file of theirs, and is answered with one.
        let ana = member(&app, "ana", Role::Agent).await;
        let conversation = done["conversationId"].as_str().unwrap();
        let theirs = threads::upload(&app, &ana, conversation, "plano.pdf", PDF.to_vec()).await;
        let theirs = theirs.expect(201);
        let path = format!("/v1/conversations/{conversation}/messages");
        let said = json!({"type": "file", "attachmentIds": [theirs["id"]]});
        ana.post(&app, &path, &said).await.expect(201);
        let told = tablet.next_of("message").await;
        let told = if told["message"]["author"] == "agent" {
            tablet.next_of("message").await
        } else {
            told
        };
        assert_eq!(told["message"]["attachments"][0]["name"], "plano.pdf");
        let file = format!("/attachments/{}", theirs["id"].as_str().unwrap());
        expect_saved(&visitor.get(&app, &file).await, "plano.pdf");
        let three = uploaded(&app, &visitor, "firmado.pdf", PDF).await;
        let body = json!({"attachmentIds": [three], "conversationId": conversation});
        let kept = visitor.post(&app, "/messages", &body).await.expect(202);
        assert_eq!(kept["reply"], Value::Null);
        let list = app.get("/v1/conversations").await.expect(200);
        assert_eq!(list["data"][0]["lastMessage"]["text"], "firmado.pdf", "{list}");
        // What an operator has uploaded is not the visitor's to send.
        let theirs = threads::upload(&app, &ana, conversation, "otro.pdf", PDF.to_vec()).await;
        let body = json!({"attachmentIds": [theirs.expect(201)["id"]]});
        visitor.post(&app, "/messages", &body).await.expect_error(404, "NOT_FOUND");
        let agent = format!("/api/v2/agents/{}", app.tenant.agent);
        app.put(&agent, &json!({"status": "paused"})).await.expect(200);
        let four = uploaded(&app, &visitor, "nota.txt", b"hola").await;
        let left = visitor.post(&app, "/messages", &json!({"attachmentIds": [four]})).await;
        assert_eq!(left.expect(202)["message"]["attachments"][0]["name"], "nota.txt");
    }
}

#[tokio::test]
async fn what_a_visitor_may_not_send_is_refused_with_the_reason() {
    let app =
        TestApp::start_with(|settings| settings.ingest.max_visitor_attachment_bytes = 5_000).await;
    let site = Site::of_tenant(&app).await;
    let visitor = site.visitor(&app).await;
    let page = b"<html><script>alert(1)</script>".to_vec();
    for name in ["pagina.html", "foto.png", "notas.txt", "a.svg"] {
        let refused = visitor.upload(&app, name, page.clone()).await;
        let told = refused.expect_error(415, "UNSUPPORTED_MEDIA_TYPE");
        assert!(told.contains("accepted types are png"), "{told}");
    }
    visitor.upload(&app, "vacio.txt", Vec::new()).await.expect_field("file");
    for name in ["", "..", "\0", "folder/"] {
        visitor.upload(&app, name, b"a".to_vec()).await.expect_field("file");
    }
    let large = visitor.upload(&app, "largo.txt", vec![b'a'; 5_001]).await;
    large.expect_error(413, "PAYLOAD_TOO_LARGE");
    let plain = visitor.request(&app, Method::POST, "/attachments").json(&json!({}));
    read(plain).await.expect_error(415, "UNSUPPORTED_MEDIA_TYPE");

    let (sender, id) = (site.visitor(&app).await, "att_00000000000000000000000000000000");
    let one = uploaded(&app, &sender, "a.txt", b"a").await;
    for (body, field) in [
        (json!({}), "content"),
        (json!({"attachmentIds": []}), "content"),
        (json!({"content": " ", "attachmentIds": []}), "content"),
        (json!({"attachmentIds": [one, one]}), "attachmentIds[1]"),
        (json!({"attachmentIds": vec![id; 11]}), "attachmentIds"),
        (json!({"attachmentIds": id}), "attachmentIds"),
        (json!({"content": "a".repeat(8_001), "attachmentIds": [one]}), "content"),
    ] {
        sender.post(&app, "/messages", &body).await.expect_field(field);
    }

    site.change_widget(&app, &json!({"attachments": false})).await;
    let off = sender.upload(&app, "a.txt", b"a".to_vec()).await;
    off.expect_error(403, "ATTACHMENTS_OFF");
    site.change_widget(&app, &json!({"attachments": true})).await;
    let block = format!("/v1/visitors/{}/block", sender.id);
    app.post(&block, &Value::Null).await;
    let blocked = sender.upload(&app, "a.txt", b"a".to_vec()).await;
    blocked.expect_error(403, "BLOCKED");
    let many = site.visitor(&app).await;
    let all = (0..30).map(|_| many.upload(&app, "a.txt", b"a".to_vec()));
    let all = futures::future::join_all(all).await;
    let (taken, refused): (Vec<_>, Vec<_>) = all.into_iter().partition(|reply| reply.status == 201);
    assert!((1..=25).contains(&taken.len()), "{}", taken.len());
    for reply in refused {
        assert!(reply.header("retry-after").parse::<u64>().unwrap() > 0, "{reply:?}");
        reply.expect_error(429, "RATE_LIMITED");
    }
    assert!(!app.is_among_files("<script>"), "what is refused leaves nothing");
}

async fn taught(database: testkit::db::TestDb, server: &ModelServer, model: &str) -> TestApp {
    let (base_url, model) = (server.base_url().parse().unwrap(), model.to_owned());
    let app = TestApp::with(database, |settings| {
        settings.models.openai_base_url = Some(base_url);
        settings.models.chat_model = Some(model);
    })
    .await;
    app.learn("FAQ", "El taladro Makita HP1640 cuesta 89.990 pesos.").await;
    app
}

/// The last message that a model was told: its text and its images.
fn told_last(server: &ModelServer) -> (String, Vec<String>) {
    let request = server.requests_to(Endpoint::Chat).pop().unwrap();
    let last = request.body["messages"].as_array().unwrap().last().unwrap()["content"].clone();
    let Some(parts) = last.as_array() else { return (last.as_str().unwrap().to_owned(), vec![]) };
    let all = |name: &'static str| -> Vec<String> {
        let found = parts.iter().filter_map(|part| part.pointer(name)?.as_str());
        found.map(str::to_owned).collect()
    };
    (all("/text").join("\n"), all("/image_url/url"))
}

#[tokio::test]
async fn a_model_is_told_the_names_and_shown_the_images_if_it_sees() {
    for database in databases("widget files models").await {
        let server = ModelServer::start().await.unwrap();
        let app = taught(database, &server, "gpt-4o-mini").await;
        let site = Site::of_tenant(&app).await;
        let visitor = site.visitor(&app).await;
        let photo = uploaded(&app, &visitor, "taladro.png", &png()).await;
        let bill = uploaded(&app, &visitor, "boleta 77.pdf", PDF).await;
        server.enqueue(ModelReply::text("¿Cuánto cuesta el taladro Makita HP1640?"));
        server.enqueue(ModelReply::text("Cuesta 89.990 pesos [1]."));
        let body = json!({"attachmentIds": [photo, bill]});
        let sent = visitor.post(&app, "/messages", &body).await.expect(200);
        assert_eq!(sent["reply"]["content"], "Cuesta 89.990 pesos [1].");
        let (text, images) = told_last(&server);
        assert!(text.contains("taladro.png") && text.contains("boleta 77.pdf"), "{text}");
        assert!(text.contains("Of those that you do not see"), "{text}");
        assert_eq!(images.len(), 1);
        assert!(images[0].starts_with("data:image/png;base64,iVBOR"), "{}", images[0]);

        // Later on the names are known, the images are not shown again.
        server.enqueue(ModelReply::text("Sí [1]."));
        let body = json!({"content": "¿Ese taladro Makita HP1640 es el de la foto?", "conversationId": sent["conversationId"]});
        visitor.post(&app, "/messages", &body).await.expect(200);
        let request = server.requests_to(Endpoint::Chat).pop().unwrap().body.to_string();
        assert!(request.contains("boleta 77.pdf") && !request.contains("iVBOR"), "{request}");
    }
}

#[tokio::test]
async fn a_model_that_does_not_see_is_told_the_names_alone() {
    let server = ModelServer::start().await.unwrap();
    let app = taught(testkit::db::sqlite().await, &server, "gpt-3.5-turbo").await;
    let site = Site::of_tenant(&app).await;
    let visitor = site.visitor(&app).await;
    let photo = uploaded(&app, &visitor, "taladro.png", &png()).await;
    server.enqueue(ModelReply::text("¿Qué necesitas saber de la foto?"));
    let sent = visitor.post(&app, "/messages", &json!({"attachmentIds": [photo]})).await;
    assert_eq!(sent.expect(200)["reply"]["content"], "¿Qué necesitas saber de la foto?");
    let (text, images) = told_last(&server);
    assert!(text.contains("taladro.png") && text.contains("cannot open them"), "{text}");
    assert!(images.is_empty());
    let gaps = app.get("/api/v2/gaps").await.expect(200);
    assert_eq!(gaps["data"], json!([]), "files alone ask nothing");
}

#[tokio::test]
async fn what_no_message_names_goes_with_its_file() {
    for database in databases("widget files unused").await {
        let clock = Arc::new(ManualClock::new(Ambient::system().now()));
        let ambient = Ambient::new(clock.clone(), Arc::new(SystemEntropy));
        let app = TestApp::with_ambient(database, ambient, |_| {}).await;
        let site = Site::of_tenant(&app).await;
        let visitor = site.visitor(&app).await;
        let unused = format!("{WORD} sin usar");
        uploaded(&app, &visitor, "a.txt", unused.as_bytes()).await;
        let used = uploaded(&app, &visitor, "b.txt", format!("{WORD} usado").as_bytes()).await;
        visitor.post(&app, "/messages", &json!({"attachmentIds": [used]})).await.expect(200);
        assert!(app.is_among_files(&unused));
        clock.advance(Duration::from_hours(49));
        let mut tx = app.db.write().await.unwrap();
        let before = app.ambient.now().minus(Duration::from_hours(24));
        let removed = storage::attachments::delete_unused(&mut tx, before, 500).await.unwrap();
        assert_eq!(removed, 1);
        let sweep = NewJob::now("ingest.sweep", json!({"extent": "day"}), app.ambient.now());
        let workspace = app.tenant.workspace;
        storage::jobs::enqueue(&mut tx, &app.ambient, workspace, &sweep).await.unwrap();
        tx.commit().await.unwrap();
        app.without_file(&unused).await;
        assert!(app.is_among_files("usado"), "what a message shows stays");
    }
}

#[tokio::test]
async fn an_erased_or_deleted_file_opens_by_no_link() {
    let app = TestApp::start().await;
    let site = Site::of_tenant(&app).await;
    let visitor = site.visitor(&app).await;
    let file = uploaded(&app, &visitor, "a.txt", WORD.as_bytes()).await;
    let left = json!({"email": "andrea@ejemplo.com", "message": "Hola"});
    visitor.post(&app, "/offline", &left).await.expect(201);
    let sent = visitor.post(&app, "/messages", &json!({"attachmentIds": [file]})).await.expect(200);
    let link = sent["message"]["attachments"][0]["url"].as_str().unwrap().to_owned();
    let open = async || read(app.client.get(format!("{}{link}", app.base))).await;
    expect_saved(&open().await, "a.txt");
    let owner: &Person = &site.owner;
    let found = owner.get(&app, "/v1/end-users?search=andrea").await.expect(200);
    let path = format!("/v1/end-users/{}", found["data"][0]["id"].as_str().unwrap());
    app.delete(&path).await.expect(204);
    open().await.expect_error(404, "NOT_FOUND");
    app.without_file(WORD).await;
}
