//! Sources: files, URLs and texts.

use http::Method;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use crate::support::{Reply, TestApp, read};

async fn upload(app: &TestApp, form: Form) -> Reply {
    read(app.request(Method::POST, &app.in_datastore("/sources/file")).multipart(form)).await
}

fn file(name: &str, content: impl Into<Vec<u8>>) -> Part {
    Part::bytes(content.into()).file_name(name.to_owned())
}

#[tokio::test]
async fn a_text_is_accepted_ingested_listed_and_deleted() {
    for app in TestApp::on_each_database("a_text_is_accepted_ingested_listed_and_deleted").await {
        let body = json!({"content": "Información a indexar...", "name": "Políticas de envío"});
        let accepted = app.post(&app.in_datastore("/sources/text"), &body).await.expect(202);
        let id = accepted["id"].as_str().unwrap().to_owned();
        let expected =
            json!({"id": id, "name": "Políticas de envío", "type": "text", "status": "pending"});
        assert_eq!(accepted, expected);
        let source = app.ingested(&id).await;
        assert_eq!(source["status"], "ready", "{source}");
        assert_eq!((&source["chunks"], &source["version"]), (&json!(1), &json!(1)));
        assert!(source.get("error").is_none() && source.get("stage").is_none(), "{source}");
        let listed = app.get(&app.in_datastore("/sources")).await.expect(200);
        assert_eq!(listed, json!({"data": [source], "nextCursor": null}));

        let chunks = app.get(&app.in_datastore(&format!("/chunks?source={id}"))).await.expect(200);
        assert_eq!(chunks["data"][0]["content"], "Información a indexar...");
        assert_eq!(chunks["data"][0]["sourceId"], id.as_str());
        let chunk = chunks["data"][0]["id"].as_str().unwrap().to_owned();

        let path = app.in_datastore(&format!("/sources/{id}"));
        app.post(&format!("{path}/retry"), &json!({})).await.expect_error(409, "CONFLICT");
        app.post(&format!("{path}/cancel"), &json!({})).await.expect_error(409, "CONFLICT");
        app.delete(&path).await.expect(204);
        app.get(&path).await.expect_error(404, "NOT_FOUND");
        app.get(&format!("/api/v2/chunks/{chunk}")).await.expect_error(404, "NOT_FOUND");
        let found = app.post(&app.in_datastore("/query"), &json!({"query": "Información"})).await;
        assert_eq!(found.expect(200)["results"], json!([]));
        for action in ["retry", "cancel", "sync"] {
            app.post(&format!("{path}/{action}"), &json!({})).await.expect_error(404, "NOT_FOUND");
        }
    }
}

#[tokio::test]
async fn chunks_come_in_document_order_and_know_their_neighbours() {
    for app in
        TestApp::on_each_database("chunks_come_in_document_order_and_know_their_neighbours").await
    {
        let sections: Vec<String> = (1..=6)
            .map(|n| {
                format!(
                    "# Sección {n}\n\n{}",
                    format!("El artículo {n} trata de plazos. ").repeat(60)
                )
            })
            .collect();
        let id = app.learn("Reglamento", &sections.join("\n\n")).await;
        let mut chunks = Vec::new();
        let mut path = app.in_datastore(&format!("/chunks?source={id}&limit=2"));
        loop {
            let page = app.get(&path).await.expect(200);
            chunks.extend(page["data"].as_array().unwrap().clone());
            let Some(cursor) = page["nextCursor"].as_str() else { break };
            path = app.in_datastore(&format!("/chunks?source={id}&limit=2&cursor={cursor}"));
        }
        assert!(chunks.len() >= 3, "{}", chunks.len());
        for (place, chunk) in chunks.iter().enumerate() {
            assert_eq!(chunk["ordinal"], place);
            let id = chunk["id"].as_str().unwrap();
            let opened = app.get(&format!("/api/v2/chunks/{id}")).await.expect(200);
            let before = place.checked_sub(1).map_or(&Value::Null, |before| &chunks[before]["id"]);
            assert_eq!(&opened["previous"]["id"], before);
            let after = chunks.get(place + 1).map_or(&Value::Null, |after| &after["id"]);
            assert_eq!(&opened["next"]["id"], after);
        }
        app.get(&app.in_datastore("/chunks?source=garbage")).await.expect_field("source");
        app.get(&app.in_datastore("/chunks?cursor=garbage")).await.expect_field("cursor");
    }
}

#[tokio::test]
async fn a_file_is_streamed_stored_and_ingested() {
    for app in TestApp::on_each_database("a_file_is_streamed_stored_and_ingested").await {
        let form = Form::new()
            .part(
                "file",
                file("../../etc/Preguntas frecuentes.md", "# Horarios\n\nAbrimos de 9 a 18."),
            )
            .text("name", "FAQ")
            .text("metadata", r#"{"area": "ventas"}"#)
            .text("unknown", "ignored");
        let accepted = upload(&app, form).await.expect(202);
        assert_eq!((&accepted["type"], &accepted["name"]), (&json!("file"), &json!("FAQ")));
        let source = app.ingested(accepted["id"].as_str().unwrap()).await;
        assert_eq!(source["status"], "ready", "{source}");
        assert_eq!(source["metadata"], json!({"area": "ventas"}));
        let form =
            Form::new().part("file", file("../../etc/Precios.txt", "El martillo cuesta 10 pesos."));
        let accepted = upload(&app, form).await.expect(202);
        assert_eq!(accepted["name"], "Precios.txt", "folders are no part of a name");
        assert_eq!(app.ingested(accepted["id"].as_str().unwrap()).await["status"], "ready");
    }
}

#[tokio::test]
async fn what_an_upload_cannot_be_is_refused() {
    let app = TestApp::start_with(|settings| settings.ingest.max_upload_bytes = 100_000).await;
    let text = || file("a.txt", "hola");
    for form in [
        Form::new().text("name", "x"),
        Form::new().part("file", Part::bytes(b"hola".to_vec())),
        Form::new().part("file", file("a.txt", "")),
        Form::new().part("file", file("..", "hola")),
        Form::new().part("file", text()).part("file", text()),
    ] {
        upload(&app, form).await.expect_field("file");
    }
    for metadata in ["nope", "[]", "{", "7"] {
        let form = Form::new().part("file", text()).text("metadata", metadata);
        upload(&app, form).await.expect_field("metadata");
    }
    let form = Form::new().part("file", text()).text("metadata", r#"{"a": {"b": 1}}"#);
    upload(&app, form).await.expect_field("metadata.a");
    let form = Form::new().part("file", text()).text("name", "");
    upload(&app, form).await.expect_field("name");
    let form = Form::new().part("file", file("big.txt", "a".repeat(100_001)));
    upload(&app, form).await.expect_error(413, "PAYLOAD_TOO_LARGE");
    let form = Form::new().part("file", file("huge.txt", "a".repeat(900_000)));
    upload(&app, form).await.expect_error(413, "PAYLOAD_TOO_LARGE");
    let form = Form::new().part("file", text()).text("name", "a".repeat(70_000));
    upload(&app, form).await.expect_error(413, "PAYLOAD_TOO_LARGE");
    let form = Form::new().part("file", file("a.exe", b"MZ\x90\0\x03\0\0\0".to_vec()));
    upload(&app, form).await.expect_error(415, "UNSUPPORTED_MEDIA_TYPE");
    let path = app.in_datastore("/sources/file");
    app.post(&path, &json!({})).await.expect_error(415, "UNSUPPORTED_MEDIA_TYPE");
    let broken = app.request(Method::POST, &path).header("content-type", "multipart/form-data");
    read(broken.body("x")).await.expect_field("file");
    let broken = app.request(Method::POST, &path);
    let broken = broken.header("content-type", "multipart/form-data; boundary=b");
    read(broken.body("--b\r\nnot a part")).await.expect_field("file");
    let listed = app.get(&app.in_datastore("/sources")).await.expect(200);
    assert_eq!(listed["data"], json!([]), "nothing half-done stays visible");
}

#[tokio::test]
async fn texts_and_addresses_that_cannot_be_are_refused_by_name() {
    let app = TestApp::start().await;
    let path = app.in_datastore("/sources/text");
    for (field, body) in [
        ("content", json!({"name": "x"})),
        ("name", json!({"content": "x"})),
        ("content", json!({"name": "x", "content": " \n "})),
        ("name", json!({"name": "", "content": "x"})),
        ("name", json!({"name": "x".repeat(201), "content": "x"})),
        ("content", json!({"name": "x", "content": "a\u{0}b"})),
        ("metadata", json!({"name": "x", "content": "x", "metadata": []})),
        ("metadata.a", json!({"name": "x", "content": "x", "metadata": {"a": null}})),
        ("metadata.a", json!({"name": "x", "content": "x", "metadata": {"a": [1]}})),
    ] {
        app.post(&path, &body).await.expect_field(field);
    }
    // As much as is promised is taken.
    let most: serde_json::Map<_, _> =
        (0..50).map(|n| (format!("k{n}"), json!(vec!["x"; 50]))).collect();
    app.post(&path, &json!({"name": "x", "content": "x", "metadata": most})).await.expect(202);
    let path = app.in_datastore("/sources/url");
    for url in [
        "",
        "nonsense",
        "ftp://ejemplo.com/",
        "file:///etc/passwd",
        "http://127.0.0.1/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://127.1/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::1]/",
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.1/",
        "http://localhost/",
        "https://user:secret@ejemplo.com/",
        "https://ejemplo.com:8443/",
    ] {
        app.post(&path, &json!({"url": url})).await.expect_field("url");
    }
    let absent = "/api/v2/datastores/ds_00000000000000000000000000000000/sources/text";
    app.post(absent, &json!({"name": "x", "content": "x"})).await.expect_error(404, "NOT_FOUND");
}
