//! Each route of the panel × {no credential, garbage, expired, ended, revoked}, from the router's own table.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use api::Surface;
use domain::{Ambient, ManualClock, Scope, SystemEntropy, Timestamp};
use http::Method;
use serde_json::{Value, json};

use super::matrix::{ask, body_of, fill, request, routes};
use super::{PASSWORD, Person, open};
use crate::support::{TestApp, read};

async fn sign_in(app: &TestApp, person: &Person) -> Person {
    let body = json!({"email": person.email, "password": PASSWORD});
    Person::of(&open(app, "/v1/auth/login", &body).await.expect(200))
}

#[tokio::test]
async fn no_route_answers_without_a_credential_that_holds() {
    for database in testkit::db::databases("panel credentials").await {
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(1_760_000_000_000_000)));
        let ambient = Ambient::new(clock.clone(), Arc::new(SystemEntropy));
        let app = TestApp::with_ambient(database, ambient, |_| {}).await;
        let owner = Person::register(&app, "owner").await;
        owner.get(&app, "/v1/auth/me").await.expect(200);
        let expired = owner.token.clone();
        clock.advance(Duration::from_mins(15));
        let owner = sign_in(&app, &owner).await;
        let ended = sign_in(&app, &owner).await;
        ended.post(&app, "/v1/auth/logout", &Value::Null).await.expect(204);
        let past = app.ambient.now().minus(Duration::from_secs(1));
        let expired_key = app.key(&Scope::ALL, Some(past)).await;
        let made = app.post("/v1/api-keys", &json!({"name": "x"})).await.expect(201);
        let revoked_key = made["key"].as_str().unwrap();
        let key = format!("/v1/api-keys/{}", made["id"].as_str().unwrap());
        app.delete(&key).await.expect(204);
        let (head, signature) = owner.token.rsplit_once('.').unwrap();
        let turned: String = signature.chars().rev().collect();
        let forged = format!("{head}.{turned}");
        let unknown = format!("vk_{}", "a".repeat(64));
        let tokens = [
            "",
            "garbage",
            "a.b.c",
            unknown.as_str(),
            owner.refresh.as_str(),
            expired.as_str(),
            ended.token.as_str(),
            forged.as_str(),
            expired_key.as_str(),
            revoked_key,
        ];
        let known = [("workspaceId", owner.workspace.clone())];
        let mut told = BTreeSet::new();
        for route in routes() {
            let (path, body) = (fill(&route.path, &known), body_of(&route.path, &owner));
            for token in tokens.into_iter().map(Some).chain([None]) {
                let reply = ask(&app, token, &route, &path, &body).await;
                told.insert(reply.expect_error(401, "UNAUTHORIZED"));
            }
            for header in ["Basic dXNlcjpwYXNz", "Bearer", "Bearer  ", &owner.token] {
                let request = request(&app, None, &route, &path, &body);
                let reply = read(request.header("authorization", header)).await;
                told.insert(reply.expect_error(401, "UNAUTHORIZED"));
            }
        }
        assert_eq!(told.len(), 1, "a refusal tells why: {told:?}");
        owner.get(&app, "/v1/auth/me").await.expect(200);
    }
}

#[tokio::test]
async fn who_was_removed_is_refused_on_every_route_at_once() {
    for app in TestApp::on_each_database("removed members on every route").await {
        let owner = Person::register(&app, "owner").await;
        let eva = Person::register(&app, "eva").await;
        owner.admit(&app, &eva, domain::Role::Admin).await;
        let workspace = format!("/v1/workspaces/{}", owner.workspace);
        let switch = eva.post(&app, &format!("{workspace}/switch"), &Value::Null).await;
        let eva = Person::of(&switch.expect(200));
        let made = eva.post(&app, "/v1/api-keys", &json!({"name": "x"})).await.expect(201);
        let key = made["key"].as_str().unwrap();
        let known = [("workspaceId", owner.workspace.clone())];
        let asked = async |token: &str| {
            let mut statuses = BTreeSet::new();
            for route in routes() {
                // What is one's own stays one's own.
                if route.path.starts_with("/v1/auth/") || route.path == "/v1/workspaces" {
                    continue;
                }
                let (path, body) = (fill(&route.path, &known), body_of(&route.path, &owner));
                let reply = ask(&app, Some(token), &route, &path, &body).await;
                statuses.insert(reply.status.as_u16());
            }
            statuses
        };
        let member = format!("{workspace}/members/{}", eva.id);
        owner.ask(&app, Method::DELETE, &member, &Value::Null).await.expect(204);
        let refused = BTreeSet::from([401, 404]);
        let told = asked(&eva.token).await;
        assert!(told.is_subset(&refused), "{told:?}");
        assert_eq!(asked(key).await, BTreeSet::from([401]), "the key of who is gone");
    }
}

#[tokio::test]
async fn what_needs_nobody_answers_anybody_and_opens_nothing_for_the_wrong_ones() {
    for app in TestApp::on_each_database("open routes of the panel").await {
        let owner = Person::register(&app, "owner").await;
        for route in api::routes_v1().iter().filter(|route| route.action.is_none()) {
            let (path, body) = (fill(&route.path, &[]), body_of(&route.path, &owner));
            let name = format!("{} {}", route.method, route.path);
            let reply = ask(&app, None, route, &path, &body).await;
            assert!(!reply.status.is_server_error(), "{name}: {}", reply.text);
            if matches!(route.surface, Surface::Sites | Surface::Visitors) {
                // What opens the panel opens no widget; `widget/doors` has the rest.
                reply.expect_error(401, "UNAUTHORIZED");
                for token in [&owner.token, &app.tenant.key] {
                    let reply = ask(&app, Some(token), route, &path, &body).await;
                    reply.expect_error(401, "UNAUTHORIZED");
                }
            }
        }
    }
}
