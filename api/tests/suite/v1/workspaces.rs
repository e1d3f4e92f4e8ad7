//! Workspaces and their members.

use domain::Role;
use http::Method;
use serde_json::{Value, json};

use super::{Person, open};
use crate::support::{TestApp, read};

#[tokio::test]
async fn a_change_of_what_has_changed_meanwhile_is_refused() {
    for app in TestApp::on_each_database("stale workspaces").await {
        let ana = Person::register(&app, "ana").await;
        let path = format!("/v1/workspaces/{}", ana.workspace);
        let read_tag = ana.get(&app, &path).await;
        let tag = read_tag.header("etag").to_owned();
        let change = async |tag: &str, name: &str| {
            let request = app.request_as(&ana.token, Method::PATCH, &path);
            read(request.header("if-match", tag).json(&json!({"name": name}))).await
        };
        let changed = change(&tag, "Uno").await;
        assert_eq!(changed.status, 200, "{}", changed.text);
        change(&tag, "Dos").await.expect_error(412, "STALE");
        change(changed.header("etag"), "Dos").await.expect(200);
        change("*", "Tres").await.expect(200);
        change("W/nothing", "Cuatro").await.expect_field("If-Match");
        assert_eq!(ana.get(&app, &path).await.expect(200)["name"], "Tres");
    }
}

#[tokio::test]
async fn workspaces_are_made_listed_changed_and_switched() {
    for app in TestApp::on_each_database("workspaces").await {
        let ana = Person::register(&app, "ana").await;
        let body = json!({"name": "Agencia Latam"});
        let made = ana.post(&app, "/v1/workspaces", &body).await.expect(201);
        assert_eq!(
            (made["name"].as_str(), made["role"].as_str()),
            (Some("Agencia Latam"), Some("owner"))
        );
        assert_eq!(made["code"], "agencia-latam");
        let second = ana.post(&app, "/v1/workspaces", &body).await.expect(201);
        assert_ne!(second["code"], made["code"]);
        let path = format!("/v1/workspaces/{}", made["id"].as_str().unwrap());

        let list = ana.get(&app, "/v1/workspaces?take=2").await.expect(200);
        let meta = json!({"page": 1, "take": 2, "itemCount": 3, "pageCount": 2, "hasPreviousPage": false, "hasNextPage": true});
        assert_eq!(list["meta"], meta);
        assert_eq!(list["data"][1], made);
        let list = ana.get(&app, "/v1/workspaces?criteria=LATAM&order=DESC").await.expect(200);
        assert_eq!(list["data"], json!([second, made]));
        for (query, field) in [("page=0", "page"), ("take=101", "take"), ("order=up", "order")] {
            ana.get(&app, &format!("/v1/workspaces?{query}")).await.expect_field(field);
        }

        let change = json!({"name": "Latam"});
        let changed = ana.ask(&app, Method::PATCH, &path, &change).await.expect(200);
        assert_eq!(
            (changed["name"].as_str(), changed["code"].as_str()),
            (Some("Latam"), Some("agencia-latam"))
        );
        assert_eq!(ana.get(&app, &path).await.expect(200), changed);
        ana.ask(&app, Method::PATCH, &path, &json!({"name": ""})).await.expect_field("name");

        let there = ana.post(&app, &format!("{path}/switch"), &Value::Null).await.expect(200);
        assert_eq!(there["workspace"]["id"], made["id"]);
        let there = Person::of(&there);
        assert_eq!(there.get(&app, "/v1/auth/me").await.expect(200)["workspaceId"], made["id"]);
        let header = app.request_as(&there.token, Method::GET, "/v1/auth/me");
        let header = read(header.header("x-workspace-id", &ana.workspace)).await.expect(200);
        assert_eq!(header["workspaceId"], ana.workspace.as_str());
        let old = json!({"refreshToken": ana.refresh});
        let next = json!({"refreshToken": there.refresh});
        let next = open(&app, "/v1/auth/refresh", &next).await.expect(200);
        assert_eq!(next["workspace"]["id"], made["id"], "the session is there now");
        open(&app, "/v1/auth/refresh", &old).await.expect_error(401, "SESSION_ENDED");
    }
}

#[tokio::test]
async fn a_workspace_that_is_not_ones_own_is_absent() {
    for app in TestApp::on_each_database("absent workspaces").await {
        let (ana, eva) = (Person::register(&app, "ana").await, Person::register(&app, "eva").await);
        let path = format!("/v1/workspaces/{}", eva.workspace);
        let foreign = ana.get(&app, &path).await.expect_error(404, "NOT_FOUND");
        for id in ["ws_00000000000000000000000000000000", "x", "%00"] {
            let absent = ana.get(&app, &format!("/v1/workspaces/{id}")).await;
            assert_eq!(absent.expect_error(404, "NOT_FOUND"), foreign);
        }
        let rename = json!({"name": "mía"});
        ana.ask(&app, Method::PATCH, &path, &rename).await.expect_error(404, "NOT_FOUND");
        let switch = format!("{path}/switch");
        ana.post(&app, &switch, &Value::Null).await.expect_error(404, "NOT_FOUND");
        let request = app.request_as(&ana.token, Method::GET, "/v1/auth/me");
        let request = request.header("x-workspace-id", &eva.workspace);
        read(request).await.expect_error(404, "NOT_FOUND");
        let with_key = app.get(&path).await;
        with_key.expect_error(404, "NOT_FOUND");
    }
}

#[tokio::test]
async fn roles_decide_and_there_is_always_an_owner() {
    for app in TestApp::on_each_database("roles").await {
        let [ana, eva, leo, mia] = [
            Person::register(&app, "ana").await,
            Person::register(&app, "eva").await,
            Person::register(&app, "leo").await,
            Person::register(&app, "mia").await,
        ];
        ana.admit(&app, &eva, Role::Admin).await;
        ana.admit(&app, &leo, Role::Agent).await;
        ana.admit(&app, &mia, Role::Viewer).await;
        let workspace = format!("/v1/workspaces/{}", ana.workspace);
        let member = |person: &Person| format!("{workspace}/members/{}", person.id);
        let role = |role: &str| json!({"role": role});
        let patch = Method::PATCH;

        let list = mia.get(&app, &format!("{workspace}/members")).await.expect(200);
        let roles: Vec<_> =
            list["data"].as_array().unwrap().iter().map(|m| m["role"].clone()).collect();
        assert_eq!(roles, ["owner", "admin", "agent", "viewer"]);
        assert_eq!(list["data"][0]["email"], "ana@ejemplo.com");

        for weak in [&leo, &mia] {
            weak.ask(&app, patch.clone(), &workspace, &json!({"name": "x"}))
                .await
                .expect_error(403, "FORBIDDEN");
            weak.ask(&app, patch.clone(), &member(&mia), &role("admin"))
                .await
                .expect_error(403, "FORBIDDEN");
            let leave = format!("{workspace}/transfer");
            weak.post(&app, &leave, &json!({"userId": weak.id}))
                .await
                .expect_error(403, "FORBIDDEN");
        }
        eva.ask(&app, patch.clone(), &member(&mia), &role("agent")).await.expect(200);
        eva.ask(&app, patch.clone(), &member(&eva), &role("owner"))
            .await
            .expect_error(403, "FORBIDDEN");
        eva.ask(&app, patch.clone(), &member(&ana), &role("viewer"))
            .await
            .expect_error(403, "FORBIDDEN");
        eva.ask(&app, Method::DELETE, &member(&ana), &Value::Null)
            .await
            .expect_error(403, "FORBIDDEN");
        eva.ask(&app, patch.clone(), &member(&mia), &role("god")).await.expect_field("role");
        let stranger = format!("{workspace}/members/user_00000000000000000000000000000000");
        eva.ask(&app, patch.clone(), &stranger, &role("agent"))
            .await
            .expect_error(404, "NOT_FOUND");

        let alone = ana.ask(&app, patch.clone(), &member(&ana), &role("admin")).await;
        alone.expect_error(409, "LAST_OWNER");
        let leave = format!("{workspace}/leave");
        ana.post(&app, &leave, &Value::Null).await.expect_error(409, "LAST_OWNER");
        let transfer = format!("{workspace}/transfer");
        ana.post(&app, &transfer, &json!({"userId": ana.id})).await.expect_field("userId");
        ana.post(&app, &transfer, &json!({"userId": eva.id})).await.expect(204);
        let list = eva.get(&app, &format!("{workspace}/members?criteria=a@e")).await.expect(200);
        let roles: Vec<_> =
            list["data"].as_array().unwrap().iter().map(|m| m["role"].clone()).collect();
        assert_eq!(roles, ["admin", "owner", "agent"], "ana, eva, mia");

        mia.post(&app, &leave, &Value::Null).await.expect(204);
        mia.get(&app, &workspace).await.expect_error(404, "NOT_FOUND");
        eva.ask(&app, Method::DELETE, &member(&ana), &Value::Null).await.expect(204);
        ana.get(&app, &workspace).await.expect_error(404, "NOT_FOUND");
        // Who was removed where they were last signs in to a workspace of their own.
        let refresh = json!({"refreshToken": ana.refresh});
        let ana = open(&app, "/v1/auth/refresh", &refresh).await.expect(200);
        assert_ne!(
            format!("/v1/workspaces/{}", ana["workspace"]["id"].as_str().unwrap()),
            workspace
        );
        assert_eq!(ana["workspace"]["role"], "owner");
    }
}

#[tokio::test]
async fn of_two_owners_who_demote_each_other_one_stays() {
    for app in TestApp::on_each_database("two owners").await {
        let (ana, eva) = (Person::register(&app, "ana").await, Person::register(&app, "eva").await);
        ana.admit(&app, &eva, Role::Owner).await;
        let path =
            |person: &Person| format!("/v1/workspaces/{}/members/{}", ana.workspace, person.id);
        let (admin, of_ana, of_eva) = (json!({"role": "admin"}), path(&ana), path(&eva));
        let (one, other) = tokio::join!(
            ana.ask(&app, Method::PATCH, &of_eva, &admin),
            eva.ask(&app, Method::PATCH, &of_ana, &admin),
        );
        let statuses = [one.status.as_u16(), other.status.as_u16()];
        assert!(statuses.contains(&200), "{statuses:?}");
        let list =
            ana.get(&app, &format!("/v1/workspaces/{}/members", ana.workspace)).await.expect(200);
        let owners =
            list["data"].as_array().unwrap().iter().filter(|m| m["role"] == "owner").count();
        assert_eq!(owners, 1, "{list}");
    }
}
