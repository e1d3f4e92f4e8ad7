//! Changes by who knows what was there before, and by who knows it no more.

use http::Method;
use serde_json::{Value, json};

use super::Person;
use crate::support::{Reply, TestApp, read};

async fn ask(
    app: &TestApp,
    person: &Person,
    (method, path, tag): (Method, &str, &str),
    body: &Value,
) -> Reply {
    let request = app.request_as(&person.token, method.clone(), path).header("if-match", tag);
    read(if method == Method::DELETE { request } else { request.json(body) }).await
}

async fn made(app: &TestApp, person: &Person, path: &str, body: &Value) -> String {
    let made = person.post(app, path, body).await.expect(201);
    format!("{path}/{}", made["id"].as_str().unwrap())
}

#[tokio::test]
async fn a_change_of_what_has_changed_meanwhile_is_refused() {
    for app in TestApp::on_each_database("stale changes").await {
        let ana = Person::register(&app, "ana").await;
        let workspace = format!("/v1/workspaces/{}", ana.workspace);
        let article = json!({"title": "Cambios", "content": "Hasta 24 horas antes."});
        let article = made(&app, &ana, "/v1/kb/articles", &article).await;
        let category = json!({"names": {"es": "Entradas"}});
        let category = made(&app, &ana, "/v1/kb/categories", &category).await;
        let project = made(&app, &ana, "/v1/projects", &json!({"name": "Funpark.cl"})).await;
        let end_user = made(&app, &ana, "/v1/end-users", &json!({"name": "Andrea"})).await;
        for (path, field, values) in [
            (format!("{workspace}/inbox-settings"), "mostOpen", [json!(3), json!(4), json!(5)]),
            (
                format!("{workspace}/retention"),
                "conversationDays",
                [json!(30), json!(40), json!(50)],
            ),
            (workspace.clone(), "name", [json!("Uno"), json!("Dos"), json!("Tres")]),
            (article, "title", [json!("Uno"), json!("Dos"), json!("Tres")]),
            (category, "order", [json!(1), json!(2), json!(3)]),
            (project, "name", [json!("Uno"), json!("Dos"), json!("Tres")]),
            (end_user, "name", [json!("Uno"), json!("Dos"), json!("Tres")]),
        ] {
            let [one, two, three] = values.map(|value| json!({field: value}));
            let patch = async |tag: &str, body: &Value| {
                ask(&app, &ana, (Method::PATCH, &path, tag), body).await
            };
            let first = patch("*", &one).await;
            let before = first.header("etag").to_owned();
            assert!(before.starts_with('"') && before.len() > 2, "{path}: {before}");
            assert_eq!(first.expect(200)[field], one[field], "{path}");
            let second = patch(&before, &two).await;
            let now = second.header("etag").to_owned();
            assert_ne!(now, before, "{path}");
            assert_eq!(second.expect(200)[field], two[field], "{path}");
            patch(&before, &three).await.expect_error(412, "STALE");
            patch("plain", &three).await.expect_field("If-Match");
            let either = format!("{before}, {now}");
            let same = patch(&either, &json!({})).await;
            let now = same.header("etag").to_owned();
            assert_eq!(same.expect(200)[field], two[field], "{path}: a refused change was made");
            let (a, b) = tokio::join!(patch(&now, &one), patch(&now, &three));
            let mut statuses = [a.status.as_u16(), b.status.as_u16()];
            statuses.sort_unstable();
            assert_eq!(statuses, [200, 412], "{path}: {} {}", a.text, b.text);
        }
    }
}

#[tokio::test]
async fn a_project_that_has_changed_meanwhile_keeps_its_key_and_stays() {
    for app in TestApp::on_each_database("stale project").await {
        let ana = Person::register(&app, "ana").await;
        let path = made(&app, &ana, "/v1/projects", &json!({"name": "Funpark.cl"})).await;
        let rotate = format!("{path}/site-key/rotate");
        let read_once = ana.get(&app, &path).await;
        let old = read_once.header("etag").to_owned();
        let key = read_once.expect(200)["siteKey"].clone();
        ana.patch(&app, &path, &json!({"name": "Otro"})).await.expect(200);
        let refused = ask(&app, &ana, (Method::POST, &rotate, &old), &json!({})).await;
        refused.expect_error(412, "STALE");
        let refused = ask(&app, &ana, (Method::DELETE, &path, &old), &Value::Null).await;
        refused.expect_error(412, "STALE");
        let current = ana.get(&app, &path).await;
        let tag = current.header("etag").to_owned();
        assert_eq!(current.expect(200)["siteKey"], key);
        let rotated = ask(&app, &ana, (Method::POST, &rotate, &tag), &json!({})).await;
        assert_ne!(rotated.expect(200)["siteKey"], key);
        let refused = ask(&app, &ana, (Method::DELETE, &path, &tag), &Value::Null).await;
        refused.expect_error(412, "STALE");
        let tag = ana.get(&app, &path).await.header("etag").to_owned();
        ask(&app, &ana, (Method::DELETE, &path, &tag), &Value::Null).await.expect(204);
        ana.get(&app, &path).await.expect_error(404, "NOT_FOUND");
    }
}
