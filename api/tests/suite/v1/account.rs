//! Registering, signing in and out, tokens, passwords.

use std::sync::Arc;
use std::time::Duration;

use domain::{Ambient, ManualClock, SystemEntropy, Timestamp};
use http::Method;
use serde_json::{Value, json};

use super::{PASSWORD, Person, open};
use crate::support::TestApp;

#[tokio::test]
async fn who_registers_has_a_workspace_in_which_the_first_question_can_be_asked() {
    for app in TestApp::on_each_database("who registers").await {
        let body = json!({"name": " Andrea ", "email": "Andrea@Ejemplo.com", "password": PASSWORD});
        let answer = open(&app, "/v1/auth/register", &body).await.expect(201);
        assert_eq!(answer["user"]["name"], "Andrea");
        assert_eq!(answer["user"]["email"], "andrea@ejemplo.com");
        assert_eq!(answer["workspace"]["name"], "Andrea");
        assert_eq!(answer["workspace"]["role"], "owner");
        assert_eq!(answer["expiresIn"], 900);
        assert!(!answer.to_string().contains(PASSWORD) && answer.get("password").is_none());
        let andrea = Person::of(&answer);
        let me = andrea.get(&app, "/v1/auth/me").await.expect(200);
        assert_eq!(me["user"], answer["user"]);
        assert_eq!(me["workspaceId"], answer["workspace"]["id"]);
        assert_eq!(me["workspaces"], json!([answer["workspace"]]));

        let workspace = andrea.workspace.parse().unwrap();
        let mut conn = app.db.read().await.unwrap();
        let agent = storage::agents::default(&mut conn, workspace).await.unwrap();
        assert!(agent.is_some_and(|agent| !agent.tools.is_empty()));
        drop(conn);

        let again = open(&app, "/v1/auth/register", &body).await;
        again.expect_error(409, "EMAIL_TAKEN");
        assert_eq!(again.json()["error"]["details"][0]["field"], "email");
        let named = json!({"name": "Eva", "email": "eva@ejemplo.com", "password": PASSWORD, "workspaceName": "Agencia"});
        let named = open(&app, "/v1/auth/register", &named).await.expect(201);
        assert_eq!(named["workspace"]["name"], "Agencia");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_registration_is_named() {
    let app = TestApp::start().await;
    let good = json!({"name": "Ana", "email": "ana@ejemplo.com", "password": PASSWORD});
    for (field, value) in [
        ("name", json!("")),
        ("name", json!("x".repeat(101))),
        ("name", json!("a\u{0}b")),
        ("name", json!(3)),
        ("email", json!("ana")),
        ("email", json!("ana@ejemplo")),
        ("email", json!("Ana <ana@ejemplo.com>")),
        ("password", json!("1234567")),
        ("password", json!("x".repeat(201))),
        ("password", json!("ana@ejemplo.com")),
        ("password", json!(null)),
        ("workspaceName", json!(" ")),
    ] {
        let mut body = good.clone();
        body[field] = value;
        open(&app, "/v1/auth/register", &body).await.expect_field(field);
    }
    for field in ["name", "email", "password"] {
        let mut body = good.clone();
        body.as_object_mut().unwrap().remove(field);
        open(&app, "/v1/auth/register", &body).await.expect_field(field);
    }
    open(&app, "/v1/auth/register", &good).await.expect(201);
}

#[tokio::test]
async fn an_unknown_address_and_a_wrong_password_get_the_same_answer() {
    for app in TestApp::on_each_database("wrong passwords").await {
        Person::register(&app, "ana").await;
        let login = async |email: &str, password: &str| {
            let body = json!({"email": email, "password": password});
            open(&app, "/v1/auth/login", &body).await
        };
        login(" ANA@ejemplo.com ", PASSWORD).await.expect(200);
        let wrong = login("ana@ejemplo.com", "tres tristes tigreS").await;
        let unknown = login("nadie@ejemplo.com", PASSWORD).await;
        let message = wrong.expect_error(401, "WRONG_CREDENTIALS");
        assert_eq!(unknown.expect_error(401, "WRONG_CREDENTIALS"), message);
        for _ in 0..9 {
            login("ana@ejemplo.com", "").await.expect_error(401, "WRONG_CREDENTIALS");
        }
        let closed = login("ana@ejemplo.com", PASSWORD).await;
        closed.expect_error(429, "RATE_LIMITED");
        assert_eq!(closed.header("retry-after"), "900");
        login("nadie@ejemplo.com", PASSWORD).await.expect_error(401, "WRONG_CREDENTIALS");
    }
}

#[tokio::test]
async fn a_refresh_token_works_once_and_twice_ends_the_session() {
    for app in TestApp::on_each_database("refresh").await {
        let ana = Person::register(&app, "ana").await;
        let elsewhere = json!({"email": ana.email, "password": PASSWORD});
        let elsewhere = Person::of(&open(&app, "/v1/auth/login", &elsewhere).await.expect(200));
        let refresh = async |token: &str| {
            open(&app, "/v1/auth/refresh", &json!({"refreshToken": token})).await
        };
        let next = Person::of(&refresh(&ana.refresh).await.expect(200));
        assert_eq!(next.workspace, ana.workspace);
        next.get(&app, "/v1/auth/me").await.expect(200);

        refresh(&ana.refresh).await.expect_error(401, "SESSION_ENDED");
        next.get(&app, "/v1/auth/me").await.expect_error(401, "UNAUTHORIZED");
        refresh(&next.refresh).await.expect_error(401, "SESSION_ENDED");
        elsewhere.get(&app, "/v1/auth/me").await.expect(200);
        for garbage in ["", "vr_", &ana.token, &format!("vr_{}", "0".repeat(64))] {
            refresh(garbage).await.expect_error(401, "SESSION_ENDED");
        }
    }
}

#[tokio::test]
async fn of_two_who_renew_at_once_one_gets_tokens_and_the_session_ends() {
    for app in TestApp::on_each_database("renew at once").await {
        let ana = Person::register(&app, "ana").await;
        let body = json!({"refreshToken": ana.refresh});
        let path = "/v1/auth/refresh";
        let (one, other) = tokio::join!(open(&app, path, &body), open(&app, path, &body));
        let mut statuses = [one.status.as_u16(), other.status.as_u16()];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 401]);
        let winner = if one.status == 200 { one } else { other };
        let winner = Person::of(&winner.json());
        winner.get(&app, "/v1/auth/me").await.expect_error(401, "UNAUTHORIZED");
    }
}

#[tokio::test]
async fn signing_out_ends_one_session_and_everywhere_all() {
    for app in TestApp::on_each_database("signing out").await {
        let ana = Person::register(&app, "ana").await;
        let login = async || {
            let body = json!({"email": ana.email, "password": PASSWORD});
            Person::of(&open(&app, "/v1/auth/login", &body).await.expect(200))
        };
        let (second, third, fourth) = (login().await, login().await, login().await);
        let sessions = second.get(&app, "/v1/auth/sessions").await.expect(200);
        assert_eq!(sessions["meta"]["itemCount"], 4);
        let current: Vec<&Value> = sessions["data"].as_array().unwrap().iter().collect();
        let current: Vec<bool> = current.iter().map(|one| one["current"] == true).collect();
        assert_eq!(current, [false, false, true, false], "newest first");

        second.post(&app, "/v1/auth/logout", &Value::Null).await.expect(204);
        second.get(&app, "/v1/auth/me").await.expect_error(401, "UNAUTHORIZED");
        let refresh = json!({"refreshToken": second.refresh});
        open(&app, "/v1/auth/refresh", &refresh).await.expect_error(401, "SESSION_ENDED");

        let of_third = third.get(&app, "/v1/auth/sessions?take=1&page=2").await.expect(200);
        let path = format!("/v1/auth/sessions/{}", of_third["data"][0]["id"].as_str().unwrap());
        let eva = Person::register(&app, "eva").await;
        eva.ask(&app, Method::DELETE, &path, &Value::Null).await.expect_error(404, "NOT_FOUND");
        fourth.ask(&app, Method::DELETE, &path, &Value::Null).await.expect(204);
        third.get(&app, "/v1/auth/me").await.expect_error(401, "UNAUTHORIZED");
        fourth.ask(&app, Method::DELETE, &path, &Value::Null).await.expect_error(404, "NOT_FOUND");

        fourth.post(&app, "/v1/auth/logout-all", &Value::Null).await.expect(204);
        for person in [&ana, &fourth] {
            person.get(&app, "/v1/auth/me").await.expect_error(401, "UNAUTHORIZED");
        }
        eva.get(&app, "/v1/auth/me").await.expect(200);
    }
}

#[tokio::test]
async fn another_password_ends_the_other_sessions() {
    for app in TestApp::on_each_database("another password").await {
        let ana = Person::register(&app, "ana").await;
        let body = json!({"email": ana.email, "password": PASSWORD});
        let here = Person::of(&open(&app, "/v1/auth/login", &body).await.expect(200));
        let change = async |current: &str, new: &str| {
            let body = json!({"currentPassword": current, "newPassword": new});
            here.post(&app, "/v1/auth/change-password", &body).await
        };
        change("otra cosa", "cuatro gatos").await.expect_field("currentPassword");
        change(PASSWORD, "corta").await.expect_field("newPassword");
        change(PASSWORD, "cuatro gatos").await.expect(204);
        here.get(&app, "/v1/auth/me").await.expect(200);
        ana.get(&app, "/v1/auth/me").await.expect_error(401, "UNAUTHORIZED");
        open(&app, "/v1/auth/login", &body).await.expect_error(401, "WRONG_CREDENTIALS");
        let body = json!({"email": ana.email, "password": "cuatro gatos"});
        open(&app, "/v1/auth/login", &body).await.expect(200);
    }
}

#[tokio::test]
async fn an_access_token_ends_by_itself_and_a_session_that_nobody_renews() {
    for database in testkit::db::databases("tokens end").await {
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(1_700_000_000_000_000)));
        let ambient = Ambient::new(clock.clone(), Arc::new(SystemEntropy));
        let app = TestApp::with_ambient(database, ambient, |_| {}).await;
        let ana = Person::register(&app, "ana").await;
        clock.advance(Duration::from_mins(14));
        ana.get(&app, "/v1/auth/me").await.expect(200);
        clock.advance(Duration::from_mins(1));
        ana.get(&app, "/v1/auth/me").await.expect_error(401, "UNAUTHORIZED");
        let refresh = json!({"refreshToken": ana.refresh});
        let next = Person::of(&open(&app, "/v1/auth/refresh", &refresh).await.expect(200));
        clock.advance(Duration::from_hours(30 * 24));
        let refresh = json!({"refreshToken": next.refresh});
        open(&app, "/v1/auth/refresh", &refresh).await.expect_error(401, "SESSION_ENDED");
    }
}

#[tokio::test]
async fn what_ends_in_one_process_is_over_in_the_other_soon() {
    for app in TestApp::on_each_database("two processes").await {
        let beside = app.beside().await;
        let ana = Person::register(&app, "ana").await;
        ana.get(&beside, "/v1/auth/me").await.expect(200);
        ana.post(&app, "/v1/auth/logout", &Value::Null).await.expect(204);
        // What is believed for some seconds there cannot be renewed.
        let refresh = json!({"refreshToken": ana.refresh});
        open(&beside, "/v1/auth/refresh", &refresh).await.expect_error(401, "SESSION_ENDED");
    }
}

#[tokio::test]
async fn no_kind_of_credential_passes_as_another() {
    let app = TestApp::start().await;
    let ana = Person::register(&app, "ana").await;
    let as_key = app.request_as(&ana.token, Method::GET, "/api/v2/agents");
    crate::support::read(as_key).await.expect_error(401, "UNAUTHORIZED");
    let as_key = app.request_as(&ana.refresh, Method::GET, "/api/v2/agents");
    crate::support::read(as_key).await.expect_error(401, "UNAUTHORIZED");
    let as_access = app.request_as(&ana.refresh, Method::GET, "/v1/auth/me");
    crate::support::read(as_access).await.expect_error(401, "UNAUTHORIZED");
    // A key is nobody's account.
    app.get("/v1/auth/me").await.expect_error(403, "FORBIDDEN");
    let members = format!("/v1/workspaces/{}/members", app.tenant.workspace);
    assert_eq!(app.get(&members).await.expect(200)["meta"]["itemCount"], 0);
}
