//! Files of conversations.

use domain::Role;
use http::Method;
use serde_json::json;

use super::{begin, member, png, upload};
use crate::support::{TestApp, read};

#[tokio::test]
async fn a_file_is_uploaded_shown_and_saved_never_opened() {
    for app in TestApp::on_each_database("attachments").await {
        let ana = member(&app, "ana", Role::Agent).await;
        let conversation = begin(&app, "hola").await;
        let stored = upload(&app, &ana, &conversation, "señal \"1\".png", png()).await.expect(201);
        assert_eq!((&stored["mediaType"], &stored["bytes"]), (&json!("image/png"), &json!(33)));
        let path = format!("/v1/conversations/{conversation}/messages");
        let body = json!({"type": "image", "attachmentIds": [stored["id"]]});
        let sent = ana.post(&app, &path, &body).await.expect(201);
        assert_eq!((&sent["type"], &sent["content"]), (&json!("image"), &json!("")));
        assert_eq!(sent["attachments"], json!([stored]));
        let list = ana.get(&app, &format!("{path}?after=2")).await.expect(200);
        assert_eq!(list["data"][0], sent);

        let url = stored["url"].as_str().unwrap();
        let saved = ana.get(&app, url).await;
        assert_eq!(saved.status, 200);
        assert_eq!(saved.header("content-type"), "image/png");
        let disposition = saved.header("content-disposition");
        assert!(disposition.starts_with("attachment; filename=\"se_al _1_.png\""), "{disposition}");
        assert!(disposition.contains("filename*=UTF-8''se%C3%B1al%20%221%22.png"), "{disposition}");
        assert_eq!(saved.header("x-content-type-options"), "nosniff");
        assert_eq!(saved.header("content-security-policy"), "sandbox; default-src 'none'");
        read(app.client.get(format!("{}{url}", app.base))).await.expect_error(401, "UNAUTHORIZED");

        // Customers get a link that opens it without a credential, and nothing else.
        let v2 = format!("/api/v2/conversations/{conversation}/messages");
        let shown = app.get(&v2).await.expect(200);
        let link = shown["data"][2]["attachments"][0]["url"].as_str().unwrap().to_owned();
        let saved = read(app.client.get(format!("{}{link}", app.base))).await;
        assert_eq!((saved.status.as_u16(), saved.header("content-type")), (200, "image/png"));
        assert!(saved.header("content-disposition").starts_with("attachment;"));
        let other = upload(&app, &ana, &conversation, "otra.png", png()).await.expect(201);
        let other = link.replace(stored["id"].as_str().unwrap(), other["id"].as_str().unwrap());
        for bad in [other, format!("{link}0"), link.replace("token=", "token=9")] {
            let refused = read(app.client.get(format!("{}{bad}", app.base))).await;
            refused.expect_error(404, "NOT_FOUND");
        }
        let (path, _) = link.split_once('?').unwrap();
        read(app.client.get(format!("{}{path}", app.base))).await.expect_field("token");

        // Sent once is sent.
        let path = format!("/v1/conversations/{conversation}/messages");
        ana.post(&app, &path, &body).await.expect_field("attachmentIds[0]");
        let stranger = super::Person::register(&app, "extraña").await;
        stranger.get(&app, url).await.expect_error(404, "NOT_FOUND");
    }
}

#[tokio::test]
async fn files_are_judged_by_content_and_name_and_belong_to_who_uploaded_them() {
    let app = TestApp::start_with(|settings| settings.ingest.max_attachment_bytes = 5_000).await;
    let ana = member(&app, "ana", Role::Agent).await;
    let eva = member(&app, "eva", Role::Agent).await;
    let conversation = begin(&app, "hola").await;
    let elsewhere = begin(&app, "hola").await;
    let refused: [(&str, &[u8]); 7] = [
        ("pagina.html", b"<html><script>alert(1)</script>"),
        ("dibujo.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
        ("codigo.js", b"alert(1)"),
        ("programa.exe", b"MZ\x90\0\x03\0\0\0"),
        ("foto.png", b"<html><script>alert(1)</script>"),
        ("notas.txt", b"<!doctype html><script>alert(1)</script>"),
        ("foto.png", b"%PDF-1.7\n"),
    ];
    for (name, content) in refused {
        let reply = upload(&app, &ana, &conversation, name, content.to_vec()).await;
        let message = reply.expect_error(415, "UNSUPPORTED_MEDIA_TYPE");
        assert!(message.contains("accepted types are png"), "{message}");
    }
    upload(&app, &ana, &conversation, "vacio.txt", Vec::new()).await.expect_field("file");
    let large = upload(&app, &ana, &conversation, "largo.txt", vec![b'a'; 5_001]).await;
    large.expect_error(413, "PAYLOAD_TOO_LARGE");
    let absent = "conv_00000000000000000000000000000000";
    upload(&app, &ana, absent, "a.txt", b"a".to_vec()).await.expect_error(404, "NOT_FOUND");
    let viewer = member(&app, "mira", Role::Viewer).await;
    let reply = upload(&app, &viewer, &conversation, "a.txt", b"a".to_vec()).await;
    reply.expect_error(403, "FORBIDDEN");
    let path = format!("/v1/conversations/{conversation}/attachments");
    let plain = read(app.request_as(&ana.token, Method::POST, &path).json(&json!({}))).await;
    plain.expect_error(415, "UNSUPPORTED_MEDIA_TYPE");

    let text = upload(&app, &ana, &conversation, "notas.txt", b"hola".to_vec()).await.expect(201);
    assert_eq!(text["mediaType"], "text/plain");
    let body = |kind: &str| json!({"type": kind, "attachmentIds": [text["id"]]});
    let here = format!("/v1/conversations/{conversation}/messages");
    let there = format!("/v1/conversations/{elsewhere}/messages");
    ana.post(&app, &here, &body("image")).await.expect_field("attachmentIds[0]");
    ana.post(&app, &there, &body("file")).await.expect_field("attachmentIds[0]");
    eva.post(&app, &here, &body("file")).await.expect_field("attachmentIds[0]");
    let sent = ana.post(&app, &here, &body("file")).await.expect(201);
    assert_eq!(sent["attachments"], json!([text]));
}
