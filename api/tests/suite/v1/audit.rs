//! The audit log: what is written down, and how it is read.

use domain::Role;
use http::Method;
use serde_json::{Value, json};

use super::{PASSWORD, Person, open};
use crate::support::{TestApp, read};

async fn actions(app: &TestApp, person: &Person, query: &str) -> Vec<String> {
    let list = person.get(app, &format!("/v1/audit?take=100&order=ASC{query}")).await.expect(200);
    let entries = list["data"].as_array().unwrap().iter();
    entries.map(|entry| entry["action"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn every_change_says_who_what_and_from_where_without_secrets() {
    for app in TestApp::on_each_database("audit").await {
        let (ana, eva) = (Person::register(&app, "ana").await, Person::register(&app, "eva").await);
        ana.admit(&app, &eva, Role::Agent).await;
        let workspace = format!("/v1/workspaces/{}", ana.workspace);
        let member = format!("{workspace}/members/{}", eva.id);
        ana.ask(&app, Method::PATCH, &workspace, &json!({"name": "Sol"})).await.expect(200);
        ana.ask(&app, Method::PATCH, &member, &json!({"role": "viewer"})).await.expect(200);
        let invite = json!({"email": "leo@ejemplo.com", "role": "agent"});
        let invited = ana.post(&app, &format!("{workspace}/members/invite"), &invite).await;
        let invited = invited.expect(201)["id"].as_str().unwrap().to_owned();
        let invitation = format!("{workspace}/invitations/{invited}");
        ana.post(&app, &format!("{invitation}/resend"), &Value::Null).await.expect(200);
        ana.ask(&app, Method::DELETE, &invitation, &Value::Null).await.expect(204);
        ana.ask(&app, Method::DELETE, &member, &Value::Null).await.expect(204);
        let made = ana.post(&app, "/v1/api-keys", &json!({"name": "web"})).await.expect(201);
        let (key, id) = (made["key"].as_str().unwrap(), made["id"].as_str().unwrap());
        let change = json!({"currentPassword": PASSWORD, "newPassword": "cuatro gatos"});
        ana.post(&app, "/v1/auth/change-password", &change).await.expect(204);
        let path = format!("/v1/api-keys/{id}");
        ana.ask(&app, Method::DELETE, &path, &Value::Null).await.expect(204);

        assert_eq!(
            actions(&app, &ana, "").await,
            [
                "session.begun",
                "workspace.updated",
                "member.updated",
                "invitation.created",
                "invitation.resent",
                "invitation.revoked",
                "member.removed",
                "api-key.created",
                "password.changed",
                "api-key.revoked",
            ]
        );
        let list = ana.get(&app, "/v1/audit?take=100").await.expect(200);
        let text = list.to_string();
        for secret in [PASSWORD, "cuatro gatos", key, &ana.token, &ana.refresh] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
        let updated = ana.get(&app, "/v1/audit?action=member.updated").await.expect(200);
        let entry = &updated["data"][0];
        assert_eq!(
            (&entry["before"], &entry["after"]),
            (&json!({"role": "agent"}), &json!({"role": "viewer"}))
        );
        assert_eq!(entry["subject"], eva.id.as_str());
        assert_eq!(entry["actor"], json!({"kind": "user", "id": ana.id, "name": "ana"}));
        assert_eq!(entry["address"], "127.0.0.1");
    }
}

#[tokio::test]
async fn the_log_is_filtered_paged_and_taken_away() {
    for app in TestApp::on_each_database("audit lists").await {
        let ana = Person::register(&app, "ana").await;
        let workspace = format!("/v1/workspaces/{}", ana.workspace);
        for name in ["Uno", "=Dos, \"tres\""] {
            ana.ask(&app, Method::PATCH, &workspace, &json!({"name": name})).await.expect(200);
        }
        let page = ana.get(&app, "/v1/audit?take=1&page=2").await.expect(200);
        assert_eq!(page["data"][0]["after"]["name"], "Uno", "newest first");
        assert_eq!(
            (&page["meta"]["itemCount"], &page["meta"]["pageCount"]),
            (&json!(3), &json!(3))
        );
        assert_eq!(actions(&app, &ana, "&action=workspace").await.len(), 2);
        assert_eq!(actions(&app, &ana, &format!("&actor={}", ana.id)).await.len(), 3);
        assert_eq!(actions(&app, &ana, "&actor=user_0").await.len(), 0);
        assert_eq!(actions(&app, &ana, &format!("&subject={}", ana.workspace)).await.len(), 2);
        assert_eq!(actions(&app, &ana, "&from=2099-01-01T00:00:00Z").await.len(), 0);
        assert_eq!(actions(&app, &ana, "&to=2099-01-01T00:00:00Z").await.len(), 3);
        for (query, field) in [
            ("from=yesterday", "from"),
            ("to=1", "to"),
            ("page=0", "page"),
            ("take=101", "take"),
            ("order=up", "order"),
            ("action=%00", "action"),
        ] {
            ana.get(&app, &format!("/v1/audit?{query}")).await.expect_field(field);
        }

        let export = ana.get(&app, "/v1/audit/export?action=workspace").await;
        assert_eq!(export.header("content-type"), "text/csv; charset=utf-8");
        assert!(export.header("content-disposition").contains("attachment"));
        let lines: Vec<&str> = export.text.trim_end().split('\n').collect();
        assert_eq!(lines.len(), 3, "{}", export.text);
        assert!(lines[0].starts_with("at,actorKind,actorId,"), "{}", lines[0]);
        assert!(lines[2].contains(r#""{""name"":""=Dos, \""tres\""""}""#), "{}", lines[2]);

        let eva = Person::register(&app, "eva").await;
        assert_eq!(actions(&app, &eva, "").await, ["session.begun"], "another workspace's");
        let (viewer, admin) =
            (Person::register(&app, "leo").await, Person::register(&app, "mia").await);
        ana.admit(&app, &viewer, Role::Agent).await;
        ana.admit(&app, &admin, Role::Admin).await;
        for (person, status) in [(&viewer, 403), (&admin, 200)] {
            let request = app.request_as(&person.token, Method::GET, "/v1/audit");
            read(request.header("x-workspace-id", &ana.workspace)).await.expect(status);
        }
        let login = json!({"email": ana.email, "password": PASSWORD});
        let again = Person::of(&open(&app, "/v1/auth/login", &login).await.expect(200));
        again.post(&app, "/v1/auth/logout", &Value::Null).await.expect(204);
        assert_eq!(
            actions(&app, &ana, "&action=session").await,
            ["session.begun", "session.begun", "session.ended"]
        );
    }
}
