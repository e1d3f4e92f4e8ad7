//! What is left of a workspace that was deleted: nothing that opens or shows anything.

use domain::Role;
use http::Method;
use serde_json::{Value, json};

use super::threads::{png, upload};
use super::widget::{Site, Visitor};
use super::{PASSWORD, Person, open};
use crate::support::{Reply, TestApp, read};

async fn public(app: &TestApp, method: Method, path: &str) -> Reply {
    let request = app.client.request(method.clone(), format!("{}{path}", app.base));
    read(if method == Method::POST { request.json(&json!({"helpful": true})) } else { request })
        .await
}

/// The link to a file in a conversation, as customers get it.
async fn link_of_a_file(app: &TestApp, site: &Site, key: &str, conversation: &str) -> String {
    let file = upload(app, &site.owner, conversation, "a.png", png()).await.expect(201);
    let said = json!({"type": "image", "attachmentIds": [file["id"]]});
    let path = format!("/v1/conversations/{conversation}/messages");
    site.owner.post(app, &path, &said).await.expect(201);
    let path = format!("/api/v2/conversations/{conversation}/messages");
    let shown = read(app.request_as(key, Method::GET, &path)).await.expect(200);
    let messages = shown["data"].as_array().unwrap();
    messages.last().unwrap()["attachments"][0]["url"].as_str().unwrap().to_owned()
}

/// What somebody without a credential is shown of a workspace, and what answers them.
async fn shown_to_all(app: &TestApp, site: &Site, key: &str) -> Vec<(Method, String, u16)> {
    let said = site.visitor(app).await.say(app, "Hola").await;
    let file = link_of_a_file(app, site, key, said["conversationId"].as_str().unwrap()).await;
    let workspace = format!("/v1/workspaces/{}", site.owner.workspace);
    let place = site.owner.get(app, &workspace).await.expect(200);
    let help = format!("/v1/help/{}", place["code"].as_str().unwrap());
    let article =
        json!({"title": "Cambios", "content": "Hasta 24 horas antes.", "slug": "cambios"});
    site.owner.post(app, "/v1/kb/articles", &article).await.expect(201);
    let guest = json!({"email": "nuevo@ejemplo.com", "role": "agent"});
    let invite = format!("{workspace}/members/invite");
    let invited = site.owner.post(app, &invite, &guest).await.expect(201);
    let token = invited["link"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    let shown = vec![
        (Method::GET, help.clone(), 200),
        (Method::GET, format!("/v1/help/{}", site.key), 200),
        (Method::GET, format!("{help}/articles"), 200),
        (Method::GET, format!("{help}/articles/cambios"), 200),
        (Method::POST, format!("{help}/articles/cambios/feedback"), 204),
        (Method::GET, format!("/v1/invitations/{token}"), 200),
        (Method::GET, file, 200),
    ];
    for (method, path, status) in &shown {
        public(app, method.clone(), path).await.expect(*status);
    }
    shown
}

async fn key_of(app: &TestApp, site: &Site) -> String {
    let made = site.owner.post(app, "/v1/api-keys", &json!({"name": "web"})).await.expect(201);
    made["key"].as_str().unwrap().to_owned()
}

/// Whoever comes from outside finds nothing.
async fn is_absent(app: &TestApp, site: &Site, visitor: &Visitor, shown: &[(Method, String, u16)]) {
    for (method, path, _) in shown {
        let reply = public(app, method.clone(), path).await;
        assert_eq!(reply.status, 404, "{method} {path}: {}", reply.text);
        reply.expect_error(404, "NOT_FOUND");
    }
    let (_, invitation, _) = &shown[5];
    let joins = json!({"name": "Nuevo", "password": PASSWORD});
    let late = open(app, &format!("{invitation}/accept"), &joins).await;
    late.expect_error(404, "NOT_FOUND");
    site.open(app, &json!({})).await.expect_error(401, "UNAUTHORIZED");
    for path in ["/messages", "/conversations", "/stream"] {
        visitor.get(app, path).await.expect_error(401, "UNAUTHORIZED");
    }
    let hello = json!({"content": "¿Hay alguien?"});
    visitor.post(app, "/messages", &hello).await.expect_error(401, "UNAUTHORIZED");
}

#[tokio::test]
async fn a_deleted_workspace_is_absent_to_visitors_readers_guests_members_and_programs() {
    for app in TestApp::on_each_database("deleted workspaces").await {
        let site = Site::new(&app).await;
        let eva = Person::register(&app, "eva").await;
        site.owner.admit(&app, &eva, Role::Admin).await;
        let visitor = site.visitor(&app).await;
        let key = key_of(&app, &site).await;
        let shown = shown_to_all(&app, &site, &key).await;
        let workspace = format!("/v1/workspaces/{}", site.owner.workspace);
        let confirm = json!({"confirm": "ana"});
        site.owner.ask(&app, Method::DELETE, &workspace, &confirm).await.expect(204);

        is_absent(&app, &site, &visitor, &shown).await;
        for path in ["/v1/projects", "/api/v2/agents"] {
            let by_key = read(app.request_as(&key, Method::GET, path)).await;
            by_key.expect_error(401, "UNAUTHORIZED");
        }
        for member in [&site.owner, &eva] {
            member.get(&app, &workspace).await.expect_error(404, "NOT_FOUND");
            let there = app.request_as(&member.token, Method::GET, "/v1/conversations");
            let there = there.header("x-workspace-id", &site.owner.workspace);
            read(there).await.expect_error(404, "NOT_FOUND");
            let switch = member.post(&app, &format!("{workspace}/switch"), &Value::Null).await;
            switch.expect_error(404, "NOT_FOUND");
        }
        let own = eva.get(&app, "/v1/workspaces").await.expect(200);
        assert_eq!(own["meta"]["itemCount"], 1, "{own}");
    }
}

#[tokio::test]
async fn it_is_absent_as_long_as_what_is_left_of_it_waits_to_be_removed() {
    for app in TestApp::on_each_database("workspaces that are being deleted").await {
        let site = Site::new(&app).await;
        let visitor = site.visitor(&app).await;
        let key = key_of(&app, &site).await;
        let shown = shown_to_all(&app, &site, &key).await;
        // As a process leaves it that dies between the two halves, whose job was lost, too.
        let (workspace, now) = (site.owner.workspace.parse().unwrap(), app.ambient.now());
        let mut tx = app.db.write().await.unwrap();
        assert!(storage::workspaces::close(&mut tx, workspace, now).await.unwrap());
        tx.commit().await.unwrap();
        is_absent(&app, &site, &visitor, &shown).await;
    }
}
