//! End-users.

use domain::Role;
use http::Method;
use serde_json::{Value, json};

use super::Person;
use crate::support::{Reply, TestApp, read};

async fn patch(app: &TestApp, who: &Person, id: &str, body: &Value) -> Reply {
    who.ask(app, Method::PATCH, &format!("/v1/end-users/{id}"), body).await
}

async fn create(app: &TestApp, who: &Person, body: &Value) -> Value {
    who.post(app, "/v1/end-users", body).await.expect(201)
}

fn id_of(end_user: &Value) -> String {
    end_user["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_texts_own_change_of_an_end_user() {
    for app in TestApp::on_each_database("end-users").await {
        let owner = Person::register(&app, "owner").await;
        let made = create(&app, &owner, &json!({"name": "Andreita"})).await;
        let body = json!({
            "name": "Andrea",
            "email": "andrea@ejemplo.com",
            "phone": "+5491123456789",
            "tags": ["cliente_frecuente"],
        });
        let changed = patch(&app, &owner, &id_of(&made), &body).await.expect(200);
        for field in ["name", "email", "phone", "tags"] {
            assert_eq!(changed[field], body[field], "{changed}");
        }
        let path = format!("/v1/end-users/{}", id_of(&made));
        assert_eq!(owner.get(&app, &path).await.expect(200), changed);
        for query in
            ["search=andrea", "tag=cliente_frecuente", "search=9%201123", "criteria=ANDREA@EJ"]
        {
            let list = owner.get(&app, &format!("/v1/end-users?{query}")).await.expect(200);
            assert_eq!(list["data"], json!([changed]), "{query}");
            assert_eq!(list["meta"]["itemCount"], 1);
        }
        for query in ["search=andreita", "tag=otra", "blocked=true"] {
            let list = owner.get(&app, &format!("/v1/end-users?{query}")).await.expect(200);
            assert_eq!(list["data"], json!([]), "{query}");
        }
        let tags = owner.get(&app, "/v1/end-users/tags").await.expect(200);
        assert_eq!(tags["data"], json!([{"tag": "cliente_frecuente", "count": 1}]));
    }
}

#[tokio::test]
async fn attributes_are_flat_and_null_takes_away() {
    for app in TestApp::on_each_database("end-user attributes").await {
        let owner = Person::register(&app, "owner").await;
        let made = create(&app, &owner, &json!({"name": "Ana María Soto", "customAttributes": {"plan": "oro", "hijos": 2, "vip": true}})).await;
        let id = id_of(&made);
        assert_eq!((&made["firstName"], &made["lastName"]), (&json!("Ana"), &json!("María Soto")));
        let body = json!({"customAttributes": {"plan": null, "talla": "M"}, "language": "pt", "timezone": "America/Santiago", "notes": "amable"});
        let changed = patch(&app, &owner, &id, &body).await.expect(200);
        assert_eq!(changed["customAttributes"], json!({"hijos": 2, "vip": true, "talla": "M"}));
        assert_eq!(changed["name"], "Ana María Soto");
        let emptied = patch(
            &app,
            &owner,
            &id,
            &json!({"name": null, "notes": null, "email": "ana@ejemplo.com"}),
        )
        .await
        .expect(200);
        assert_eq!((&emptied["name"], &emptied["notes"]), (&Value::Null, &Value::Null));
        let long = "x".repeat(1_001);
        let many: serde_json::Map<String, Value> =
            (0..60).map(|n| (format!("k{n}"), json!(n))).collect();
        for (body, field) in [
            (json!({"customAttributes": {"a b": 1}}), "customAttributes"),
            (json!({"customAttributes": {"x": [1]}}), "customAttributes.x"),
            (json!({"customAttributes": {"x": {"y": 1}}}), "customAttributes.x"),
            (json!({"customAttributes": {"x": long}}), "customAttributes.x"),
            (json!({"customAttributes": many}), "customAttributes"),
            (json!({"email": "nadie"}), "email"),
            (json!({"phone": "123"}), "phone"),
            (json!({"language": "fr"}), "language"),
            (json!({"timezone": "Marte/Olimpo"}), "timezone"),
            (json!({"tags": ["x".repeat(51)]}), "tags[0]"),
            (json!({"tags": [""]}), "tags[0]"),
            (json!({"name": "x".repeat(201)}), "name"),
            (json!({"tags": "vip"}), "tags"),
        ] {
            patch(&app, &owner, &id, &body).await.expect_field(field);
        }
        owner.post(&app, "/v1/end-users", &json!({"tags": ["x"]})).await.expect_field("name");
        for (query, field) in [
            ("page=0", "page"),
            ("take=101", "take"),
            ("orderBy=age", "orderBy"),
            ("order=up", "order"),
            ("blocked=si", "blocked"),
        ] {
            owner.get(&app, &format!("/v1/end-users?{query}")).await.expect_field(field);
        }
        owner.get(&app, "/v1/end-users/contact_nada").await.expect_error(404, "NOT_FOUND");
        let stranger = Person::register(&app, "stranger").await;
        let foreign = stranger.get(&app, &format!("/v1/end-users/{id}")).await;
        foreign.expect_error(404, "NOT_FOUND");
        patch(&app, &stranger, &id, &json!({"name": "x"})).await.expect_error(404, "NOT_FOUND");
    }
}

#[tokio::test]
async fn of_two_who_change_an_end_user_at_once_one_is_told() {
    for app in TestApp::on_each_database("stale end-users").await {
        let owner = Person::register(&app, "owner").await;
        let made = create(&app, &owner, &json!({"name": "Ana"})).await;
        let path = format!("/v1/end-users/{}", id_of(&made));
        let tag = owner.get(&app, &path).await.header("etag").to_owned();
        let change = async |name: &str| {
            let request = app.request_as(&owner.token, Method::PATCH, &path);
            read(request.header("if-match", &tag).json(&json!({"name": name}))).await
        };
        let (one, other) = tokio::join!(change("Uno"), change("Dos"));
        let mut statuses = [one.status.as_u16(), other.status.as_u16()];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 412], "{} {}", one.text, other.text);
    }
}

#[tokio::test]
async fn an_address_of_another_is_named_and_merging_is_explicit() {
    for app in TestApp::on_each_database("merging end-users").await {
        let owner = Person::register(&app, "owner").await;
        let ana = create(&app, &owner, &json!({"name": "Ana", "email": "ana@ejemplo.com"})).await;
        let body = json!({"name": "Anita", "phone": "+5491123456789", "tags": ["vip"], "customAttributes": {"plan": "oro"}});
        let anita = create(&app, &owner, &body).await;
        let (a, b) = (id_of(&ana), id_of(&anita));
        let refused = patch(&app, &owner, &b, &json!({"email": "ANA@ejemplo.com"})).await;
        assert!(refused.expect_error(409, "CONFLICT").contains(&a));
        let refused = owner.post(&app, "/v1/end-users", &json!({"phone": "+5491123456789"})).await;
        assert!(refused.expect_error(409, "CONFLICT").contains(&b));

        let path = format!("/v1/end-users/{a}/merge");
        owner.post(&app, &path, &json!({"otherId": a})).await.expect_field("otherId");
        let stranger = Person::register(&app, "stranger").await;
        let foreign = create(&app, &stranger, &json!({"name": "Otra"})).await;
        let body = json!({"otherId": foreign["id"]});
        owner.post(&app, &path, &body).await.expect_error(404, "NOT_FOUND");
        let merged = owner.post(&app, &path, &json!({"otherId": b})).await.expect(200);
        assert_eq!(
            (&merged["phone"], &merged["tags"]),
            (&json!("+5491123456789"), &json!(["vip"]))
        );
        assert_eq!(merged["customAttributes"], json!({"plan": "oro"}));
        owner.get(&app, &format!("/v1/end-users/{b}")).await.expect_error(404, "NOT_FOUND");
        owner.post(&app, &path, &json!({"otherId": b})).await.expect_error(404, "NOT_FOUND");
        let timeline = owner.get(&app, &format!("/v1/end-users/{a}/timeline")).await.expect(200);
        assert_eq!(timeline["data"][0]["type"], "merge", "{timeline}");
        assert_eq!(timeline["data"][0]["data"]["id"], json!(b));
        assert_eq!(timeline["meta"]["itemCount"], 2);
    }
}

#[tokio::test]
async fn nobody_answers_who_is_blocked() {
    for app in TestApp::on_each_database("blocked end-users").await {
        let workspace = app.tenant.workspace.to_string();
        let contact = json!({"firstName": "Ana", "email": "ana@ejemplo.com"});
        let ask = async |body: Value| app.post(&app.chat_path(), &body).await;
        let hello =
            ask(json!({"query": "hola", "visitorId": "v-1", "contact": contact})).await.expect(200);
        let talk = hello["conversationId"].clone();
        let list = app.get("/v1/end-users?search=ana@ejemplo.com").await.expect(200);
        let id = id_of(&list["data"][0]);
        let blocked = app.post(&format!("/v1/end-users/{id}/block"), &json!({})).await.expect(200);
        assert_eq!(blocked["blocked"], true, "{workspace}");
        for body in [
            json!({"query": "hola", "conversationId": talk}),
            json!({"query": "hola", "visitorId": "v-1"}),
            json!({"query": "hola", "contact": contact}),
            json!({"query": "hola", "visitorId": "v-2", "contact": contact}),
        ] {
            let request = app.request(Method::POST, &app.chat_path()).json(&body);
            let refused = read(request.header("accept-language", "es")).await;
            let told = refused.expect_error(403, "BLOCKED");
            assert!(told.starts_with("No podemos recibir mensajes"), "{told}");
        }
        let talks = app.get(&format!("/v1/end-users/{id}/conversations")).await.expect(200);
        assert_eq!(talks["meta"]["itemCount"], 1, "nothing was stored: {talks}");
        assert_eq!(talks["data"][0]["id"], talk);
        ask(json!({"query": "hola", "visitorId": "v-3"})).await.expect(200);
        app.post("/v1/visitors/v-3/block", &json!({})).await.expect(204);
        ask(json!({"query": "hola", "visitorId": "v-3"})).await.expect_error(403, "BLOCKED");
        app.post("/v1/visitors/v-3/unblock", &json!({})).await.expect(204);
        ask(json!({"query": "hola", "visitorId": "v-3"})).await.expect(200);
        app.post(&format!("/v1/end-users/{id}/unblock"), &json!({})).await.expect(200);
        ask(json!({"query": "hola", "conversationId": talk})).await.expect(200);
    }
}

#[tokio::test]
async fn what_happened_with_an_end_user_is_told_in_order() {
    for app in TestApp::on_each_database("end-user timeline").await {
        let contact = json!({"firstName": "Ana", "email": "ana@ejemplo.com"});
        let body = json!({"query": "hola", "contact": contact});
        let first = app.post(&app.chat_path(), &body).await.expect(200);
        let talk = first["conversationId"].as_str().unwrap();
        let rate = format!("/api/v2/conversations/{talk}/rating");
        app.put(&rate, &json!({"rating": 5, "comment": "muy bien"})).await.expect(204);
        app.post(&app.chat_path(), &body).await.expect(200);
        let list = app.get("/v1/end-users").await.expect(200);
        let path = format!("/v1/end-users/{}/timeline", id_of(&list["data"][0]));
        let told = app.get(&format!("{path}?order=ASC&take=3")).await.expect(200);
        let kinds: Vec<&str> =
            told["data"].as_array().unwrap().iter().map(|e| e["type"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["conversation", "created", "rating"]);
        assert_eq!(told["data"][2]["text"], "muy bien");
        assert_eq!(told["data"][2]["conversationId"], json!(talk));
        let rest = app.get(&format!("{path}?order=ASC&take=3&page=2")).await.expect(200);
        assert_eq!(rest["data"][0]["type"], "conversation");
        assert_eq!(rest["meta"]["hasNextPage"], false);
    }
}

#[tokio::test]
async fn viewers_read_end_users_and_agents_change_them() {
    let app = TestApp::start().await;
    let owner = Person::register(&app, "owner").await;
    let made = create(&app, &owner, &json!({"name": "Ana"})).await;
    let path = format!("/v1/end-users/{}", id_of(&made));
    for (role, status) in [(Role::Viewer, 403), (Role::Agent, 200)] {
        let member = Person::register(&app, role.name()).await;
        owner.admit(&app, &member, role).await;
        let as_member = async |method: Method, body: Option<Value>| {
            let request = app.request_as(&member.token, method, &path);
            let request = request.header("x-workspace-id", &owner.workspace);
            read(match body {
                Some(body) => request.json(&body),
                None => request,
            })
            .await
        };
        as_member(Method::GET, None).await.expect(200);
        let changed = as_member(Method::PATCH, Some(json!({"name": role.name()}))).await;
        assert_eq!(changed.status.as_u16(), status, "{}", changed.text);
    }
}
