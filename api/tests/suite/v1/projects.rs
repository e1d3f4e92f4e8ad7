//! Projects and the settings of their widgets.

use http::Method;
use serde_json::{Value, json};

use super::{PASSWORD, Person};
use crate::support::{TestApp, read};

/// The text's own body.
fn funpark() -> Value {
    json!({"name": "Funpark.cl", "domain": "https://funpark.cl"})
}

#[tokio::test]
async fn projects_are_made_listed_changed_and_removed() {
    for app in TestApp::on_each_database("projects").await {
        let ana = Person::register(&app, "ana").await;
        let made = ana.post(&app, "/v1/projects", &funpark()).await.expect(201);
        assert_eq!(
            (&made["name"], &made["domain"], &made["allowedOrigins"]),
            (&json!("Funpark.cl"), &json!("https://funpark.cl"), &json!(["https://funpark.cl"]))
        );
        assert!(made["siteKey"].as_str().unwrap().starts_with("site_"), "{made}");
        assert_eq!((&made["isDefault"], &made["warnings"]), (&json!(false), &json!([])));
        let path = format!("/v1/projects/{}", made["id"].as_str().unwrap());
        assert_eq!(ana.get(&app, &path).await.expect(200), made);

        let list = ana.get(&app, "/v1/projects").await.expect(200);
        assert_eq!(list["meta"]["itemCount"], 2);
        let born = &list["data"][0];
        assert_eq!((&born["isDefault"], &list["data"][1]), (&json!(true), &made));
        assert_eq!(born["warnings"][0]["field"], "allowedOrigins");
        let found = ana.get(&app, "/v1/projects?criteria=FUNPARK").await.expect(200);
        assert_eq!(found["data"], json!([made]));

        let change = json!({"domain": "https://www.funpark.cl"});
        let changed = ana.patch(&app, &path, &change).await.expect(200);
        assert_eq!(changed["allowedOrigins"], json!(["https://www.funpark.cl"]));
        assert_eq!(changed["siteKey"], made["siteKey"]);
        let origins = json!(["http://localhost:5173", "https://FUNPARK.cl:443/"]);
        let change = json!({"name": "Funpark", "allowedOrigins": origins});
        let changed = ana.patch(&app, &path, &change).await.expect(200);
        assert_eq!(
            (&changed["name"], &changed["domain"], &changed["allowedOrigins"]),
            (
                &json!("Funpark"),
                &json!("https://www.funpark.cl"),
                &json!(["http://localhost:5173", "https://funpark.cl"])
            )
        );

        ana.ask(&app, Method::DELETE, &path, &Value::Null).await.expect(204);
        ana.get(&app, &path).await.expect_error(404, "NOT_FOUND");
        let born = format!("/v1/projects/{}", born["id"].as_str().unwrap());
        let refused = ana.ask(&app, Method::DELETE, &born, &Value::Null).await;
        refused.expect_error(409, "DEFAULT_PROJECT");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_project_is_named() {
    let app = TestApp::start().await;
    let (ana, eva) = (Person::register(&app, "ana").await, Person::register(&app, "eva").await);
    for (body, field) in [
        (json!({}), "name"),
        (json!({"name": " "}), "name"),
        (json!({"name": "x".repeat(101)}), "name"),
        (json!({"name": "x", "domain": "funpark.cl"}), "domain"),
        (json!({"name": "x", "domain": "https://funpark.cl/contacto"}), "domain"),
        (json!({"name": "x", "domain": "javascript:alert(1)"}), "domain"),
        (json!({"name": "x", "allowedOrigins": ["https://a.cl", "*"]}), "allowedOrigins[1]"),
        (json!({"name": "x", "allowedOrigins": vec!["https://a.cl"; 51]}), "allowedOrigins"),
    ] {
        ana.post(&app, "/v1/projects", &body).await.expect_field(field);
    }
    let made = ana.post(&app, "/v1/projects", &funpark()).await.expect(201);
    let path = format!("/v1/projects/{}", made["id"].as_str().unwrap());
    for (method, path, body) in [
        (Method::GET, path.clone(), Value::Null),
        (Method::PATCH, path.clone(), json!({"name": "mío"})),
        (Method::DELETE, path.clone(), Value::Null),
        (Method::GET, format!("{path}/widget"), Value::Null),
        (Method::PATCH, format!("{path}/widget"), json!({"theme": "dark"})),
        (Method::POST, format!("{path}/site-key/rotate"), json!({})),
        (Method::POST, format!("{path}/widget/identity-secret"), Value::Null),
    ] {
        eva.ask(&app, method, &path, &body).await.expect_error(404, "NOT_FOUND");
    }
    assert_eq!(ana.get(&app, &path).await.expect(200), made);
}

#[tokio::test]
async fn of_two_who_change_a_project_at_once_one_is_told() {
    for app in TestApp::on_each_database("stale projects").await {
        let ana = Person::register(&app, "ana").await;
        let made = ana.post(&app, "/v1/projects", &funpark()).await.expect(201);
        let path = format!("/v1/projects/{}", made["id"].as_str().unwrap());
        for (path, one, other) in [
            (path.clone(), json!({"name": "Uno"}), json!({"name": "Dos"})),
            (format!("{path}/widget"), json!({"theme": "dark"}), json!({"theme": "light"})),
        ] {
            let tag = ana.get(&app, &path).await.header("etag").to_owned();
            let send = |body: &Value| {
                let request = app.request_as(&ana.token, Method::PATCH, &path);
                read(request.header("if-match", &tag).json(body))
            };
            let (one, other) = tokio::join!(send(&one), send(&other));
            let (won, lost) = if one.status == 200 { (one, other) } else { (other, one) };
            lost.expect_error(412, "STALE");
            assert_ne!(won.header("etag"), tag);
            let now = ana.get(&app, &path).await;
            assert_eq!(now.header("etag"), won.header("etag"));
            assert_eq!(now.expect(200), won.expect(200));
        }
    }
}

#[tokio::test]
async fn a_widget_is_set_as_in_the_text_and_merged() {
    for app in TestApp::on_each_database("widget settings").await {
        let ana = Person::register(&app, "ana").await;
        let made = ana.post(&app, "/v1/projects", &funpark()).await.expect(201);
        let path = format!("/v1/projects/{}/widget", made["id"].as_str().unwrap());
        let born = ana.get(&app, &path).await.expect(200);
        assert_eq!((&born["theme"], &born["warnings"]), (&json!("auto"), &json!([])));
        assert_eq!(born["texts"]["en"]["welcomeMessage"], "Hello! How can we help?");

        let body = json!({
            "theme": "dark",
            "primaryColor": "#00AEEF",
            "position": "bottom-right",
            "welcomeMessage": "¡Hola! ¿En qué te ayudamos?"
        });
        let set = ana.patch(&app, &path, &body).await.expect(200);
        for (name, value) in body.as_object().unwrap() {
            assert_eq!(&set[name], value, "{name}");
        }
        assert_eq!(set["texts"]["es"]["welcomeMessage"], body["welcomeMessage"]);
        let warning = &set["warnings"][0];
        assert_eq!(warning["field"], "primaryColor");
        assert!(warning["message"].as_str().unwrap().contains("4.5:1"), "{warning}");

        let agent = agent_of(&app, &ana).await;
        let hours = json!({"timeZone": "America/Santiago", "days": {"mon": ["09:00-18:00"]}});
        let form = json!({"when": "before-chat", "fields": [{"name": "phone", "required": true}]});
        let body = json!({
            "primaryColor": "#005a80",
            "defaultLanguage": "pt",
            "texts": {"pt": {"title": "Funpark", "placeholder": "Fale connosco"}},
            "agentId": agent,
            "leadForm": form,
            "hours": hours,
            "poweredBy": false,
            "attachments": false,
        });
        let set = ana.patch(&app, &path, &body).await.expect(200);
        assert_eq!((&set["theme"], &set["primaryColor"]), (&json!("dark"), &json!("#005A80")));
        assert_eq!((&set["hours"], &set["leadForm"]), (&hours, &form));
        assert_eq!((&set["agentId"], &set["warnings"]), (&json!(agent), &json!([])));
        assert_eq!(set["texts"]["pt"]["title"], "Funpark");
        assert_eq!(set["welcomeMessage"], "Olá! Como podemos ajudar?", "of the language of now");
        let null = json!({"agentId": null, "hours": null, "texts": {"pt": {"title": null}}});
        let set = ana.patch(&app, &path, &null).await.expect(200);
        assert_eq!((&set["agentId"], &set["hours"]), (&Value::Null, &Value::Null));
        assert_eq!(set["texts"]["pt"]["title"], "Vamos conversar");
        assert_eq!(set["texts"]["pt"]["placeholder"], "Fale connosco");
        assert_eq!(ana.get(&app, &path).await.expect(200), set);
    }
}

async fn agent_of(app: &TestApp, person: &Person) -> String {
    let mut conn = app.db.read().await.unwrap();
    let workspace = person.workspace.parse().unwrap();
    let agent = storage::agents::default(&mut conn, workspace).await.unwrap();
    agent.unwrap().id.to_string()
}

#[tokio::test]
async fn what_is_wrong_with_a_widget_is_named() {
    let app = TestApp::start().await;
    let (ana, eva) = (Person::register(&app, "ana").await, Person::register(&app, "eva").await);
    let made = ana.post(&app, "/v1/projects", &funpark()).await.expect(201);
    let path = format!("/v1/projects/{}/widget", made["id"].as_str().unwrap());
    let field = |name: &str| json!({"name": name});
    for (body, named) in [
        (json!({"theme": "pink"}), "theme"),
        (json!({"primaryColor": "blue"}), "primaryColor"),
        (json!({"position": "middle"}), "position"),
        (json!({"defaultLanguage": "fr"}), "defaultLanguage"),
        (json!({"welcomeMessage": "x".repeat(501)}), "welcomeMessage"),
        (json!({"texts": {"en": {"title": "x".repeat(61)}}}), "texts.en.title"),
        (json!({"texts": {"en": {"placeholder": 5}}}), "texts.en.placeholder"),
        (json!({"leadForm": {"when": "offline", "fields": []}}), "leadForm.fields"),
        (
            json!({"leadForm": {"fields": [field("name"), field("name")]}}),
            "leadForm.fields[1].name",
        ),
        (json!({"leadForm": {"fields": [field("age")]}}), "leadForm.fields[0].name"),
        (json!({"hours": {"timeZone": "Chile", "days": {}}}), "hours.timeZone"),
        (
            json!({"hours": {"timeZone": "America/Santiago", "days": {"mon": ["9-18"]}}}),
            "hours.days.mon[0]",
        ),
        (json!({"identity": {"required": true}}), "identity.required"),
    ] {
        ana.patch(&app, &path, &body).await.expect_field(named);
    }
    let unknown = ana.patch(&app, &path, &json!({"texts": {"fr": {}}})).await;
    assert!(unknown.expect_error(400, "INVALID_PARAMETER").contains("`fr`"));
    let foreign = agent_of(&app, &eva).await;
    for agent in [foreign.as_str(), "agent_00000000000000000000000000000000", "x"] {
        let refused = ana.patch(&app, &path, &json!({"agentId": agent})).await;
        refused.expect_error(404, "NOT_FOUND");
    }
    let now = ana.get(&app, &path).await.expect(200);
    assert_eq!((&now["theme"], &now["agentId"]), (&json!("auto"), &Value::Null));
}

#[tokio::test]
async fn every_change_of_a_project_is_written_down_without_secrets() {
    for app in TestApp::on_each_database("project audit").await {
        let ana = Person::register(&app, "ana").await;
        let made = ana.post(&app, "/v1/projects", &funpark()).await.expect(201);
        let path = format!("/v1/projects/{}", made["id"].as_str().unwrap());
        ana.patch(&app, &path, &json!({"name": "Otro"})).await.expect(200);
        ana.patch(&app, &format!("{path}/widget"), &json!({"theme": "dark"})).await.expect(200);
        let secret = format!("{path}/widget/identity-secret");
        let secret = ana.post(&app, &secret, &Value::Null).await.expect(201);
        let secret = secret["secret"].as_str().unwrap();
        assert!(secret.starts_with("wis_") && secret.len() == 68, "{secret}");
        let required = json!({"identity": {"required": true}});
        let set = ana.patch(&app, &format!("{path}/widget"), &required).await;
        assert!(!set.text.contains(secret), "{}", set.text);
        assert_eq!(set.expect(200)["identity"], json!({"required": true, "configured": true}));
        ana.post(&app, &format!("{path}/site-key/rotate"), &Value::Null).await.expect(200);
        ana.ask(&app, Method::DELETE, &path, &Value::Null).await.expect(204);

        let log = format!("/v1/audit?take=100&order=ASC&subject={}", made["id"].as_str().unwrap());
        let log = ana.get(&app, &log).await;
        // The one secret of a project, and what the caller came with.
        let export = ana.get(&app, "/v1/audit/export").await;
        for secret in [secret, &secret[4..], &ana.token, &ana.refresh, PASSWORD] {
            assert!(!log.text.contains(secret) && !export.text.contains(secret), "{}", log.text);
        }
        let log = log.expect(200);
        let entries = log["data"].as_array().unwrap();
        let actions: Vec<&str> = entries.iter().map(|e| e["action"].as_str().unwrap()).collect();
        let expected = [
            "project.created",
            "project.updated",
            "project.widget-updated",
            "project.identity-secret-renewed",
            "project.widget-updated",
            "project.site-key-rotated",
            "project.deleted",
        ];
        assert_eq!(actions, expected);
        for (entry, before, after) in [
            (0, None, Some("Funpark.cl")),
            (1, Some("Funpark.cl"), Some("Otro")),
            (6, Some("Otro"), None),
        ] {
            let entry = &entries[entry];
            assert_eq!(entry["before"]["name"].as_str(), before, "{entry}");
            assert_eq!(entry["after"]["name"].as_str(), after, "{entry}");
        }
        let themes = (&entries[2]["before"]["theme"], &entries[2]["after"]["theme"]);
        assert_eq!(themes, (&json!("auto"), &json!("dark")));
        for entry in entries {
            assert_eq!(entry["actor"]["id"], ana.id.as_str(), "{entry}");
        }
    }
}
