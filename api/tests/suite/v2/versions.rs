//! Versions of agents: history, drafts, publishing, differences, putting old ones back.

use domain::Scope;
use http::Method;
use serde_json::{Value, json};

use crate::support::{TestApp, read};

const UNKNOWN: &str = "¿Venden submarinos nucleares?";

impl TestApp {
    /// A path below the first workspace's agent.
    fn of_agent(&self, rest: &str) -> String {
        format!("/api/v2/agents/{}{rest}", self.tenant.agent)
    }

    /// What the agent answers to what it does not know.
    async fn unknown(&self, version: Value) -> Value {
        let mut body = json!({"query": UNKNOWN});
        if !version.is_null() {
            body["version"] = version;
        }
        self.post(&self.chat_path(), &body).await.expect(200)
    }

    async fn numbers(&self) -> Vec<i64> {
        let page = self.get(&self.of_agent("/versions")).await.expect(200);
        let data = page["data"].as_array().unwrap();
        data.iter().map(|version| version["number"].as_i64().unwrap()).collect()
    }
}

fn fields(diff: &Value) -> Vec<(&str, &Value, &Value)> {
    let changes = diff["changes"].as_array().unwrap();
    changes
        .iter()
        .map(|change| (change["field"].as_str().unwrap(), &change["before"], &change["after"]))
        .collect()
}

#[tokio::test]
async fn every_change_is_a_version_that_tells_who_and_why() {
    for app in TestApp::on_each_database("every_change_is_a_version").await {
        let path = app.of_agent("");
        assert_eq!(app.get(&path).await.expect(200)["version"], 1);
        let change = json!({"systemPrompt": "Sé breve.", "note": "más corto"});
        assert_eq!(app.put(&path, &change).await.expect(200)["version"], 2);
        let keys = app.get("/api/v2/api-keys").await.expect(200);
        let key = &keys["data"][0]["id"];
        // Neither what is the same nor a pause is a version.
        for same in [json!({"systemPrompt": "Sé breve."}), json!({}), json!({"status": "paused"})]
        {
            assert_eq!(app.put(&path, &same).await.expect(200)["version"], 2, "{same}");
        }
        app.put(&path, &json!({"status": "active", "settings": {"topK": 7}})).await.expect(200);
        assert_eq!(app.numbers().await, [3, 2, 1]);
        let page = app.get(&app.of_agent("/versions?limit=2")).await.expect(200);
        let second = &page["data"][1];
        assert_eq!((&second["note"], &second["publishedBy"]), (&json!("más corto"), key));
        assert_eq!(
            (&second["published"], &page["data"][0]["published"]),
            (&json!(false), &json!(true))
        );
        let cursor = page["nextCursor"].as_str().unwrap();
        let rest = app.get(&app.of_agent(&format!("/versions?limit=2&cursor={cursor}"))).await;
        let rest = rest.expect(200);
        assert_eq!((&rest["data"][0]["number"], &rest["nextCursor"]), (&json!(1), &Value::Null));
        assert_eq!(rest["data"][0]["publishedBy"], Value::Null, "the workspace was born with it");

        let old = app.get(&app.of_agent("/versions/1")).await.expect(200);
        assert_eq!(
            (&old["config"]["systemPrompt"], &old["config"]["settings"]["topK"]),
            (&json!(""), &json!(5))
        );
        assert_eq!(old["config"]["modelName"], Value::Null);
        for absent in ["0", "4", "x", "-1", "99999999999999999999"] {
            let path = app.of_agent(&format!("/versions/{absent}"));
            app.get(&path).await.expect_error(404, "NOT_FOUND");
        }
        let long = json!({"tone": "x", "note": "x".repeat(1_001)});
        app.put(&path, &long).await.expect_field("note");
        assert_eq!(app.numbers().await, [3, 2, 1], "nothing was published");
    }
}

#[tokio::test]
async fn changes_at_once_are_all_published() {
    for app in TestApp::on_each_database("changes_at_once_are_all_published").await {
        let path = app.of_agent("");
        let (tone, purpose, voice) =
            (json!({"tone": "a"}), json!({"purpose": "b"}), json!({"voice": "c"}));
        let all =
            tokio::join!(app.put(&path, &tone), app.put(&path, &purpose), app.put(&path, &voice));
        for reply in [all.0, all.1, all.2] {
            reply.expect(200);
        }
        let agent = app.get(&path).await.expect(200);
        assert_eq!(
            (&agent["tone"], &agent["purpose"], &agent["voice"]),
            (&json!("a"), &json!("b"), &json!("c"))
        );
        assert_eq!(app.numbers().await, [4, 3, 2, 1]);
    }
}

#[tokio::test]
async fn a_draft_answers_who_asks_for_it_and_the_others_once_it_is_published() {
    for app in TestApp::on_each_database("a_draft_answers_who_asks_for_it").await {
        app.learn("FAQ", "Abrimos de 9 a 18.").await;
        let before = app.unknown(Value::Null).await;
        let path = app.of_agent("/draft");
        app.get(&path).await.expect_error(404, "NOT_FOUND");
        app.post(&app.of_agent("/publish"), &json!({})).await.expect_error(404, "NOT_FOUND");
        app.post(&app.chat_path(), &json!({"query": "x", "version": "draft"}))
            .await
            .expect_error(404, "NOT_FOUND");
        let change = json!({"settings": {"unknownAnswer": "Eso no lo sé."}});
        let draft = app.put(&path, &change).await.expect(200);
        assert_eq!((&draft["baseVersion"], &draft["stale"]), (&json!(1), &json!(false)));
        assert_eq!(draft["config"]["settings"]["unknownAnswer"], "Eso no lo sé.");
        assert_eq!(app.get(&path).await.expect(200), draft);
        let agent = app.get(&app.of_agent("")).await.expect(200);
        assert_eq!(agent["settings"]["unknownAnswer"], Value::Null, "nothing is published");
        assert_eq!(app.unknown(Value::Null).await["answer"], before["answer"]);

        let gaps = app.get("/api/v2/gaps").await.expect(200)["data"][0]["count"].clone();
        let tried = app.unknown(json!("draft")).await;
        assert_eq!(tried["answer"], "Eso no lo sé.");
        let path_of = |answer: &Value| {
            format!("/api/v2/conversations/{}/messages", answer["conversationId"].as_str().unwrap())
        };
        let messages = app.get(&path_of(&tried)).await.expect(200);
        let (question, answer) = (&messages["data"][0], &messages["data"][1]);
        assert_eq!(
            (&answer["agentVersion"], &answer["agentDraft"]),
            (&json!(1), &draft["revision"])
        );
        assert_eq!(question["agentVersion"], Value::Null);
        let trace = format!("/api/v2/messages/{}/trace", tried["messageId"].as_str().unwrap());
        let trace = app.get(&trace).await.expect(200);
        assert_eq!((&trace["agentVersion"], &trace["agentDraft"]), (&json!(1), &draft["revision"]));
        let after = app.get("/api/v2/gaps").await.expect(200);
        assert_eq!(after["data"][0]["count"], gaps, "a trial leaves no gap");

        let chat_only = app.key(&[Scope::Chat], None).await;
        let request = app.request_as(&chat_only, Method::POST, &app.chat_path());
        let refused = read(request.json(&json!({"query": UNKNOWN, "version": "draft"}))).await;
        refused.expect_error(403, "FORBIDDEN");
        for wrong in [json!("x"), json!(true), json!(1.5)] {
            let body = json!({"query": UNKNOWN, "version": wrong});
            app.post(&app.chat_path(), &body).await.expect_field("version");
        }

        let note = json!({"note": "nuevo", "revision": draft["revision"]});
        let published = app.post(&app.of_agent("/publish"), &note).await.expect(200);
        assert_eq!((&published["number"], &published["note"]), (&json!(2), &json!("nuevo")));
        app.get(&path).await.expect_error(404, "NOT_FOUND");
        let now = app.unknown(Value::Null).await;
        assert_eq!(now["answer"], "Eso no lo sé.");
        let messages = app.get(&path_of(&now)).await.expect(200);
        assert_eq!(messages["data"][1]["agentVersion"], 2);
        assert_eq!(messages["data"][1]["agentDraft"], Value::Null);
        assert_eq!(app.unknown(json!(1)).await["answer"], before["answer"], "an old one is tried");
        let absent = json!({"query": UNKNOWN, "version": 3});
        app.post(&app.chat_path(), &absent).await.expect_error(404, "NOT_FOUND");

        app.put(&path, &json!({"tone": "x"})).await.expect(200);
        app.delete(&path).await.expect(204);
        app.delete(&path).await.expect_error(404, "NOT_FOUND");
        assert_eq!(app.numbers().await, [2, 1]);
    }
}

#[tokio::test]
async fn a_stale_draft_is_neither_overwritten_nor_published() {
    for app in TestApp::on_each_database("a_stale_draft").await {
        let (path, publish) = (app.of_agent("/draft"), app.of_agent("/publish"));
        let first = app.put(&path, &json!({"tone": "seco"})).await.expect(200);
        let revision = first["revision"].as_i64().unwrap();
        let second = app.put(&format!("{path}?revision={revision}"), &json!({"voice": "v"})).await;
        let second = second.expect(200);
        assert_eq!(
            (&second["config"]["tone"], &second["config"]["voice"]),
            (&json!("seco"), &json!("v"))
        );
        for read in [revision, 0] {
            let stale = app.put(&format!("{path}?revision={read}"), &json!({"tone": "x"})).await;
            stale.expect_error(409, "STALE_DRAFT");
        }
        app.post(&publish, &json!({"revision": revision})).await.expect_error(409, "STALE_DRAFT");

        // Somebody publishes without the draft.
        app.put(&app.of_agent(""), &json!({"purpose": "Vender"})).await.expect(200);
        assert_eq!(app.get(&path).await.expect(200)["stale"], true);
        let message = app.post(&publish, &json!({})).await.expect_error(409, "STALE_DRAFT");
        assert!(message.contains("version 1") && message.contains("baseVersion=2"), "{message}");
        assert_eq!(app.numbers().await, [2, 1]);
        app.put(&format!("{path}?baseVersion=3"), &json!({})).await.expect_field("baseVersion");
        for (query, field) in [("revision=x", "revision"), ("baseVersion=0", "baseVersion")] {
            app.put(&format!("{path}?{query}"), &json!({})).await.expect_field(field);
        }
        for (body, field) in
            [(json!({"status": "paused"}), "status"), (json!({"note": "x"}), "note")]
        {
            app.put(&path, &body).await.expect_field(field);
        }
        let seen = json!({"purpose": "Vender"});
        let seen = app.put(&format!("{path}?baseVersion=2"), &seen).await.expect(200);
        assert_eq!(seen["stale"], false);
        let published = app.post(&publish, &json!({})).await.expect(200);
        assert_eq!(
            (&published["number"], &published["config"]["tone"]),
            (&json!(3), &json!("seco"))
        );
        assert_eq!(published["config"]["purpose"], "Vender");
    }
}

#[tokio::test]
async fn differences_are_told_field_by_field_and_of_secrets_only_that_they_are_others() {
    for app in TestApp::on_each_database("differences_are_told").await {
        let tool = |secret: &str, url: &str| {
            json!({
                "type": "http",
                "name": "reservar",
                "description": "Reserva.",
                "url": url,
                "headers": [{"name": "x-key", "value": secret, "secret": true}],
            })
        };
        let url = "https://api.ejemplo.com/a";
        let path = app.of_agent("");
        app.put(&path, &json!({"tools": ["datastore", tool("planted-one", url)]}))
            .await
            .expect(200);
        let change = json!({
            "tone": "seco",
            "settings": {"topK": 9},
            "tools": ["request-human", "datastore", tool("planted-two", "https://api.ejemplo.com/b")],
        });
        app.put(&app.of_agent("/draft"), &change).await.expect(200);
        let diff = app.get(&app.of_agent("/diff")).await.expect(200);
        assert_eq!(diff["from"], json!({"version": 2, "draft": null}));
        assert_eq!((&diff["to"]["version"], &diff["to"]["draft"]), (&json!(2), &json!(1)));
        assert_eq!(
            fields(&diff),
            [
                ("settings.topK", &json!(5), &json!(9)),
                ("tone", &json!(""), &json!("seco")),
                (
                    "tools.http:reservar.headers.x-key.value",
                    &json!("[secret]"),
                    &json!("[another secret]")
                ),
                ("tools.http:reservar.url", &json!(url), &json!("https://api.ejemplo.com/b")),
                ("tools.request-human", &Value::Null, &json!({})),
            ]
        );
        let born = app.get(&app.of_agent("/diff?from=1&to=published")).await.expect(200);
        let added = fields(&born).into_iter().find(|(field, ..)| *field == "tools.http:reservar");
        let (_, before, after) = added.unwrap();
        assert_eq!(
            (before, &after["headers"]["x-key"]["value"]),
            (&Value::Null, &json!("[secret]"))
        );
        assert!(!born.to_string().contains("planted") && !diff.to_string().contains("planted"));
        let version = app.get(&app.of_agent("/versions/2")).await.expect(200);
        assert!(
            !version.to_string().contains("planted") && !version.to_string().contains("sealed")
        );

        // The same secret given again is none; another order is one.
        let same = json!({"tools": [tool("planted-one", url), "datastore"], "tone": "", "settings": {"topK": 5}});
        app.put(&app.of_agent("/draft"), &same).await.expect(200);
        let diff = app.get(&app.of_agent("/diff?to=draft")).await.expect(200);
        let order = [json!(["datastore", "http:reservar"]), json!(["http:reservar", "datastore"])];
        assert_eq!(fields(&diff), [("tools", &order[0], &order[1])]);
        let itself = app.get(&app.of_agent("/diff?from=2&to=2")).await.expect(200);
        assert_eq!(itself["changes"], json!([]));
        app.get(&app.of_agent("/diff?from=x")).await.expect_field("from");
        app.get(&app.of_agent("/diff?to=")).await.expect_field("to");
        app.get(&app.of_agent("/diff?from=7")).await.expect_error(404, "NOT_FOUND");
        app.delete(&app.of_agent("/draft")).await.expect(204);
        app.get(&app.of_agent("/diff?to=draft")).await.expect_error(404, "NOT_FOUND");
        let last = app.get(&app.of_agent("/diff")).await.expect(200);
        assert_eq!((&last["from"]["version"], &last["to"]["version"]), (&json!(1), &json!(2)));
    }
}

#[tokio::test]
async fn an_old_version_is_put_back_and_what_is_missing_is_named() {
    for app in TestApp::on_each_database("an_old_version_is_put_back").await {
        let made = app.post("/api/v2/datastores", &json!({"name": "Catálogo"})).await.expect(201);
        let datastore = made["id"].as_str().unwrap().to_owned();
        let tools = json!(["request-human", {"type": "datastore", "id": datastore}]);
        let path = app.of_agent("");
        app.put(&path, &json!({"tools": tools, "tone": "seco"})).await.expect(200);
        app.put(&path, &json!({"tools": ["datastore"], "tone": "amable"})).await.expect(200);
        let back = app.of_agent("/versions/2/restore");
        let restored = app.post(&back, &json!({"note": "mejor así"})).await.expect(200);
        assert_eq!((&restored["draft"], &restored["missing"]), (&Value::Null, &json!([])));
        let version = &restored["version"];
        assert_eq!((&version["number"], &version["restoredFrom"]), (&json!(4), &json!(2)));
        assert_eq!(version["config"]["tools"], tools);
        assert_eq!(app.get(&path).await.expect(200)["tone"], "seco");

        app.put(&path, &json!({"tools": ["datastore"]})).await.expect(200);
        app.delete(&format!("/api/v2/datastores/{datastore}")).await.expect(204);
        for into in ["published", "draft"] {
            let body = json!({"into": into});
            let message = app.post(&back, &body).await.expect_error(409, "MISSING_PARTS");
            assert!(message.contains(&datastore) && message.contains("Catálogo"), "{message}");
            assert!(message.contains("skipMissing"), "{message}");
        }
        assert_eq!(app.numbers().await, [5, 4, 3, 2, 1]);
        let body = json!({"into": "draft", "skipMissing": true});
        let restored = app.post(&back, &body).await.expect(200);
        let missing = &restored["missing"][0];
        assert_eq!((&missing["type"], &missing["name"]), (&json!("datastore"), &json!("Catálogo")));
        assert_eq!((&missing["id"], &missing["field"]), (&json!(datastore), &json!("tools[1].id")));
        let draft = &restored["draft"];
        assert_eq!(
            (&draft["config"]["tools"], &draft["baseVersion"]),
            (&json!(["request-human"]), &json!(5))
        );
        // A draft in the way is not lost in silence.
        let message = app.post(&back, &body).await.expect_error(409, "STALE_DRAFT");
        assert!(message.contains("revision"), "{message}");
        let body = json!({"into": "draft", "skipMissing": true, "revision": draft["revision"]});
        app.post(&back, &body).await.expect(200);
        app.post(&back, &json!({"into": "nowhere"})).await.expect_field("into");
        let body = json!({"skipMissing": true});
        let restored = app.post(&back, &body).await.expect(200);
        assert_eq!(restored["version"]["number"], 6);
        let absent = app.of_agent("/versions/9/restore");
        app.post(&absent, &json!({})).await.expect_error(404, "NOT_FOUND");
    }
}

#[tokio::test]
async fn a_draft_that_names_what_is_gone_is_not_published() {
    for app in TestApp::on_each_database("a_draft_that_names_what_is_gone").await {
        let made = app.post("/api/v2/datastores", &json!({"name": "Catálogo"})).await.expect(201);
        let datastore = made["id"].as_str().unwrap().to_owned();
        let tools = json!({"tools": [{"type": "datastore", "id": datastore}]});
        app.put(&app.of_agent("/draft"), &tools).await.expect(200);
        app.delete(&format!("/api/v2/datastores/{datastore}")).await.expect(204);
        let refused = app.post(&app.of_agent("/publish"), &json!({})).await;
        let message = refused.expect_error(409, "MISSING_PARTS");
        assert!(message.contains(&datastore), "{message}");
        assert_eq!(app.numbers().await, [1]);
        // What is not there cannot be put into a draft either.
        let refused = app.put(&app.of_agent("/draft"), &tools).await;
        refused.expect_error(404, "NOT_FOUND");
    }
}
