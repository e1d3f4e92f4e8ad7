//! The command line, alone on the data folder and beside a running server.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};
use testkit::model_server::{Endpoint, ModelServer};

use crate::vocero::{Installation, http, rounded};

const FAQ: &str = "# Horarios\n\nNuestros horarios de atención son de lunes a viernes de 9 a 18 hs.\n\n# Envíos\n\nEl envío a \
                   Córdoba demora 3 días hábiles y cuesta $ 4.500.\n";

fn keys(object: &Value) -> BTreeSet<&str> {
    object.as_object().expect("an object").keys().map(String::as_str).collect()
}

fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object[key].as_str().unwrap_or_else(|| panic!("{key} in {object}"))
}

#[test]
fn init_makes_one_workspace_and_gives_the_same_answer_again() {
    for installation in Installation::on_each_database("init makes one workspace") {
        let first = installation.json(&["init"]);
        let expected = ["agentId", "apiKey", "datastoreId", "projectId", "siteKey", "workspaceId"];
        assert_eq!(keys(&first), BTreeSet::from(expected));
        assert!(text(&first, "apiKey").starts_with("vk_"));
        assert_eq!(installation.json(&["init"]), first);

        let server = installation.serve();
        assert_eq!(installation.json(&["init"]), first, "also while a server runs");
        server.stop();
    }
}

#[test]
fn init_replaces_a_local_key_that_opens_nothing_any_more() {
    for installation in Installation::on_each_database("init replaces a local key") {
        let first = installation.json(&["init"]);
        let keys = installation.json(&["key", "list"]);
        let id = text(&keys["data"][0], "id").to_owned();
        installation.text(&["key", "revoke", &id]);
        let second = installation.json(&["init"]);
        assert_ne!(first["apiKey"], second["apiKey"]);
        assert_eq!(first["workspaceId"], second["workspaceId"]);
    }
}

#[tokio::test]
async fn a_key_opens_what_its_scopes_say_until_it_is_revoked() {
    for installation in Installation::on_each_database("a key opens what its scopes say") {
        installation.text(&["init"]);
        let made = installation.json(&["key", "create", "--name", "tienda", "--scopes", "read"]);
        assert!(
            keys(&made).is_superset(&BTreeSet::from(["id", "name", "prefix", "scopes", "key"]))
        );
        assert_eq!((&made["name"], &made["scopes"]), (&json!("tienda"), &json!(["read"])));

        let server = installation.serve();
        let url = format!("{}/api/v2/agents", server.url);
        let key = text(&made, "key");
        let get = http().get(&url).bearer_auth(key).send().await.expect("an answer");
        assert_eq!(get.status(), 200);
        let body = json!({ "name": "x" });
        let post = http().post(&url).bearer_auth(key).json(&body).send().await.expect("an answer");
        assert_eq!(post.status(), 403);
        server.stop();

        installation.text(&["key", "revoke", text(&made, "id")]);
        let message = installation.failure(&["key", "revoke", text(&made, "id")]);
        assert!(message.contains("no active key"), "{message}");
        let server = installation.serve();
        let url = format!("{}/api/v2/agents", server.url);
        let get = http().get(&url).bearer_auth(key).send().await.expect("an answer");
        assert_eq!(get.status(), 401);
        let listed = installation.json(&["key", "list"]);
        let listed = listed["data"].as_array().expect("keys");
        let revoked =
            listed.iter().find(|listed| listed["id"] == made["id"]).expect("it is listed");
        assert!(revoked["revokedAt"].is_string() && revoked.get("key").is_none());
    }
}

#[test]
fn wrong_arguments_are_told() {
    let installation = Installation::new();
    let message = installation.failure(&["key", "list"]);
    assert!(message.contains("vocero init"), "{message}");
    installation.text(&["init"]);
    for (arguments, word) in [
        (&["key", "create", "--scopes", "cook"][..], "read, chat or manage"),
        (&["key", "create", "--expires-at", "tomorrow"], "2027-01-31T00:00:00Z"),
        (&["key", "create", "--expires-at", "2001-01-31T00:00:00Z"], "in the past"),
        (&["key", "revoke", "agent_1"], "key_"),
        (&["datastore", "add", "absent.pdf"], "absent.pdf"),
        (&["datastore", "add"], "FILE|FOLDER|URL"),
        (
            &["datastore", "search", "x", "--datastore", "ds_00000000000000000000000000000000"],
            "not found",
        ),
        (&["--config", "absent.toml", "init"], "absent.toml"),
    ] {
        let message = installation.failure(arguments);
        assert!(message.contains(word), "{arguments:?}: {message}");
    }
    let output = installation.run(&["--json", "datastore", "add", "absent.pdf"]);
    let error: Value = serde_json::from_slice(&output.stderr).expect("JSON");
    assert!(text(&error["error"], "message").contains("absent.pdf"));
}

/// Adds a folder, an address that is refused and a text; searches; asks. The same with and without a server.
fn add_search_and_ask(installation: &Installation) {
    let folder = installation.folder().join("documents");
    fs::create_dir_all(folder.join("inner")).expect("a folder");
    fs::write(folder.join("faq.md"), FAQ).expect("a file");
    fs::write(folder.join("inner/precios.csv"), "producto,precio\nmate,$ 12.000\n")
        .expect("a file");
    fs::write(folder.join("inner/photo.png"), "not a document").expect("a file");
    fs::write(folder.join(".hidden.md"), "hidden").expect("a file");

    let added = installation.json(&["datastore", "add", "documents"]);
    let sources = added["data"].as_array().expect("sources");
    let named: Vec<_> =
        sources.iter().map(|source| (text(source, "name"), text(source, "status"))).collect();
    assert_eq!(named, [("faq.md", "ready"), ("precios.csv", "ready")]);

    let more = installation.json(&[
        "datastore",
        "add",
        "--text",
        "Aceptamos transferencia.",
        "--name",
        "Pagos",
    ]);
    assert_eq!(more["data"][0]["status"], "ready", "{more}");

    let output = installation.run(&["datastore", "add", "http://127.0.0.1/", "--json"]);
    assert!(!output.status.success(), "a private address is refused");
    let refused: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(refused["data"][0]["status"], "failed", "{refused}");

    let found = installation.json(&[
        "datastore",
        "search",
        "¿Cuánto demora el envío a Córdoba?",
        "--top-k",
        "1",
    ]);
    let first = &found["results"][0];
    assert!(text(first, "content").contains("3 días hábiles"), "{found}");
    assert_eq!(first["source"]["name"], "faq.md");
    let shown = installation.text(&["datastore", "search", "precio del mate", "--mode", "words"]);
    assert!(shown.contains("precios.csv") && shown.contains("12.000"), "{shown}");

    let answer = installation.json(&["ask", "¿Cuáles son los horarios?"]);
    assert!(text(&answer, "answer").contains("9 a 18"), "{answer}");
    assert_eq!(answer["sources"][0]["source"], "faq.md");
    let shown = installation.text(&["ask", "¿Cuáles son los horarios?"]);
    assert!(shown.contains("9 a 18") && shown.contains("[1] faq.md"), "{shown}");
    assert!(shown.contains("conversation conv_"), "{shown}");
    let conversation = text(&answer, "conversationId");
    let more =
        installation.json(&["ask", "¿Y el envío a Córdoba?", "--conversation", conversation]);
    assert_eq!(more["conversationId"], conversation);
}

#[test]
fn without_a_server_the_command_line_works_on_the_data_folder() {
    for installation in Installation::on_each_database("without a server") {
        add_search_and_ask(&installation);
    }
}

#[test]
fn beside_a_server_the_command_line_is_its_client() {
    for installation in Installation::on_each_database("beside a server") {
        let server = installation.serve();
        add_search_and_ask(&installation);
        let listed = installation.json(&["datastore", "list"]);
        assert_eq!(listed["data"][0]["isDefault"], true);
        let message = installation.failure(&["reindex"]);
        assert!(message.contains("stop it first"), "{message}");
        server.stop();
    }
}

#[test]
fn another_server_is_reached_by_its_address_and_key() {
    let installation = Installation::new();
    let server = installation.serve();
    let key = text(&installation.json(&["init"]), "apiKey").to_owned();
    installation.text(&["datastore", "add", "--text", FAQ, "--name", "FAQ"]);

    let elsewhere = Installation::new().with("VOCERO_URL", &server.url);
    let message = elsewhere.failure(&["datastore", "list"]);
    assert!(message.contains("VOCERO_API_KEY"), "{message}");
    let elsewhere = elsewhere.with("VOCERO_API_KEY", &key);
    let found = elsewhere.json(&["datastore", "search", "horarios"]);
    assert_eq!(found["results"][0]["source"]["name"], "FAQ", "{found}");
    assert!(!elsewhere.data().exists(), "nothing is made here");
}

#[test]
fn reindex_builds_the_same_index_again() {
    for installation in Installation::on_each_database("reindex") {
        installation.text(&["datastore", "add", "--text", FAQ, "--name", "FAQ"]);
        let search = ["datastore", "search", "envío a Córdoba"];
        let before = installation.json(&search);
        assert!(!before["results"].as_array().expect("results").is_empty());
        fs::remove_dir_all(installation.data().join("index")).expect("the index was there");
        let report = installation.json(&["reindex"]);
        assert!(report["chunks"].as_u64().expect("a number") >= 1);
        assert_eq!(rounded(&installation.json(&search)), rounded(&before));
    }
}

#[test]
fn the_description_and_the_completions_are_printed_without_a_data_folder() {
    let installation = Installation::new();
    let description: Value = serde_json::from_str(&installation.text(&["openapi"])).expect("JSON");
    assert!(text(&description, "openapi").starts_with("3.1"));
    let panel: Value = serde_json::from_str(&installation.text(&["openapi", "v1"])).expect("JSON");
    assert!(panel["paths"]["/v1/auth/register"].is_object());
    for shell in ["bash", "zsh", "fish"] {
        assert!(installation.text(&["completions", shell]).contains("vocero"));
    }
    assert!(!installation.data().exists());
}

#[test]
fn gaps_are_listed_exported_asked_again_and_dismissed() {
    for installation in Installation::on_each_database("gaps on the command line") {
        let server = installation.serve();
        installation.text(&["datastore", "add", "--text", FAQ, "--name", "FAQ"]);
        assert_eq!(installation.text(&["gaps"]).trim(), "no gaps");
        for question in ["¿Aceptan criptomonedas?", "¿Venden submarinos nucleares?"] {
            installation.json(&["ask", question]);
        }
        let listed = installation.json(&["gaps", "--status", "open"]);
        let listed = listed["data"].as_array().expect("gaps");
        assert_eq!(listed.len(), 2);
        let (newest, oldest) = (text(&listed[0], "id"), text(&listed[1], "id"));
        let shown = installation.text(&["gaps"]);
        assert!(shown.contains(newest) && shown.contains("criptomonedas"), "{shown}");
        let table = installation.text(&["gaps", "--csv", "--status", "open"]);
        assert_eq!(table.lines().count(), 3, "{table}");
        assert!(table.starts_with("id,question,status,count,"), "{table}");

        let dismissed = installation.text(&["gaps", "dismiss", newest]);
        assert!(dismissed.contains("is dismissed"), "{dismissed}");
        assert_eq!(installation.json(&["gaps", "--status", "open"])["data"][0]["id"], oldest);
        installation.text(&["gaps", "reopen", newest]);
        let again = installation.text(&["gaps", "recheck", oldest]);
        assert!(again.contains("not answered yet"), "{again}");
        let more = "Aceptamos criptomonedas: bitcoin y ether, con 5 % de descuento.";
        installation.text(&["datastore", "add", "--text", more, "--name", "Pagos"]);
        let again = installation.json(&["gaps", "recheck", oldest]);
        assert_eq!((&again["answered"], &again["gap"]["status"]), (&json!(true), &json!("closed")));
        let message = installation.failure(&["gaps", "recheck", "gap_1"]);
        assert!(message.contains("not found"), "{message}");
        server.stop();
    }
}

/// A provider of the workspace with a key; whether its key still opens is seen by asking for its models.
async fn add_provider(url: &str, key: &str, base_url: &str) -> String {
    let body = json!({"name": "Propio", "baseUrl": base_url, "apiKey": "sk-planted", "models": ["gpt-test"]});
    let made = http().post(format!("{url}/api/v2/providers")).bearer_auth(key).json(&body);
    let made = made.send().await.expect("an answer");
    assert_eq!(made.status(), 201);
    text(&made.json().await.expect("JSON"), "id").to_owned()
}

#[tokio::test]
async fn the_key_of_the_vault_is_changed_and_what_it_sealed_is_sealed_anew() {
    for installation in Installation::on_each_database("the key of the vault is changed") {
        let model = ModelServer::start().await.expect("a server");
        let installation = installation.with("VOCERO_FETCH_ALLOW", "127.0.0.1/32");
        let setup = installation.json(&["init"]);
        let key = text(&setup, "apiKey");
        let server = installation.serve();
        let provider = add_provider(&server.url, key, &model.base_url()).await;
        let message = installation.failure(&["vault", "rotate"]);
        assert!(
            message.contains("stop it first"),
            "a server knows nothing of a new key: {message}"
        );
        server.stop();

        let ring = installation.data().join("keys/vault");
        let old = fs::read_to_string(&ring).expect("a ring");
        assert_eq!(
            installation.json(&["vault", "status"]),
            json!({"current": 1, "older": 0, "lost": 0})
        );
        let rotated = installation.json(&["vault", "rotate"]);
        assert_eq!(rotated, json!({"current": 1, "older": 0, "lost": 0}));
        let both = fs::read_to_string(&ring).expect("a ring");
        assert!(both.ends_with(&old) && both != old, "the old key stays");
        let new = both.strip_suffix(&old).expect("a new key").to_owned();
        // The old one is needed no more.
        fs::write(&ring, &new).expect("a ring");
        let server = installation.serve();
        let listed = async |url: &str| {
            let models = format!("{url}/api/v2/providers/{provider}/models");
            http().get(models).bearer_auth(key).send().await.expect("an answer").status()
        };
        assert_eq!(listed(&server.url).await, 200);
        let asked = model.requests_to(Endpoint::Models);
        assert_eq!(asked.last().expect("a request").header("authorization"), "Bearer sk-planted");
        server.stop();

        // Interrupted after the new key was written: a server goes on with it, and the doctor tells meanwhile.
        let third = "3".repeat(64);
        fs::write(&ring, format!("{third}\n{new}")).expect("a ring");
        let status = json!({"current": 0, "older": 1, "lost": 0});
        assert_eq!(installation.json(&["vault", "status"]), status);
        let finding = |report: &Value| -> (String, String) {
            let all = report["findings"].as_array().expect("findings");
            let found = all.iter().find(|finding| finding["what"] == "secrets").expect("secrets");
            (text(found, "verdict").to_owned(), text(found, "detail").to_owned())
        };
        let (verdict, detail) = finding(&installation.json(&["doctor"]));
        assert!(verdict == "note" && detail.contains("older key"), "{verdict}: {detail}");
        let server = installation.serve();
        let sealed = json!({"current": 1, "older": 0, "lost": 0});
        let begun = std::time::Instant::now();
        while installation.json(&["vault", "status"]) != sealed {
            assert!(begun.elapsed() < crate::vocero::PATIENCE, "the job seals it anew");
        }
        assert_eq!(listed(&server.url).await, 200);
        server.stop();
        assert_eq!(finding(&installation.json(&["doctor"])).0, "ok");

        // Without its key it is lost, and said so; a command goes on as a server does.
        fs::write(&ring, "4".repeat(64)).expect("a ring");
        let output = installation.run(&["--json", "doctor"]);
        assert!(!output.status.success());
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(finding(&report).0, "fail");
        fs::write(&ring, format!("{}\n{third}\n", "4".repeat(64))).expect("a ring");
        assert_eq!(installation.json(&["vault", "reseal"]), sealed);
        let own = installation.with("VOCERO_VAULT_KEY", &"5".repeat(64));
        let message = own.failure(&["vault", "rotate"]);
        assert!(
            message.contains("VOCERO_VAULT_KEY") && message.contains("vault reseal"),
            "{message}"
        );
    }
}

#[test]
fn versions_of_an_agent_are_listed_compared_drafted_published_and_put_back() {
    for installation in Installation::on_each_database("versions on the command line") {
        installation.text(&["init"]);
        let listed = installation.json(&["agent", "versions"]);
        assert_eq!(listed["data"][0]["number"], 1);
        let message = installation.failure(&["agent", "publish"]);
        assert!(message.contains("draft not found"), "{message}");
        let file = installation.folder().join("changes.json");
        fs::write(&file, r#"{"instructions": ["Sé breve.", "Tuteá."]}"#).expect("a file");
        let file = file.to_str().expect("text");
        let draft = installation.json(&["agent", "draft", file]);
        assert_eq!(draft["config"]["systemPrompt"], "Sé breve.\nTuteá.");
        assert_eq!(installation.json(&["agent", "draft"]), draft);
        let shown = installation.text(&["agent", "diff"]);
        for part in ["version 1 → draft", "systemPrompt", "+ Sé breve.", "+ Tuteá."] {
            assert!(shown.contains(part), "{shown}");
        }
        let published = installation.text(&["agent", "publish", "--note", "más corto"]);
        assert!(published.contains("version 2"), "{published}");
        let table = installation.text(&["agent", "versions"]);
        assert!(table.contains("más corto") && table.contains("2 ← answers"), "{table}");
        let restored = installation.text(&["agent", "restore", "1"]);
        assert!(restored.contains("version 3"), "{restored}");
        assert!(installation.text(&["agent", "diff", "1", "3"]).contains("nothing is different"));
        installation.text(&["agent", "restore", "2", "--draft"]);
        installation.text(&["agent", "restore", "2", "--draft"]);
        let answer = installation.json(&["ask", "--draft", "hola"]);
        assert_eq!(answer["outcome"], "smalltalk");
        installation.text(&["agent", "discard"]);
        let message = installation.failure(&["agent", "draft"]);
        assert!(message.contains("draft not found"), "{message}");
    }
}

#[tokio::test]
async fn a_gate_is_set_and_publishing_waits_for_it() {
    for installation in Installation::on_each_database("a gate on the command line") {
        installation.text(&["init"]);
        let server = installation.serve();
        installation.text(&["datastore", "add", "--text", FAQ, "--name", "FAQ"]);
        let cases: Vec<Value> = (0..10)
            .map(|number| json!({"id": number.to_string(), "input": "¿Cuáles son los horarios de atención?", "expect": "answer"}))
            .collect();
        let key = installation.json(&["init"]);
        let made = http()
            .post(format!("{}/api/v2/evals/datasets", server.url))
            .bearer_auth(text(&key, "apiKey"))
            .json(&json!({"name": "Preguntas", "cases": cases}));
        let made: Value = made.send().await.expect("an answer").json().await.expect("JSON");
        let gate = ["agent", "gate", "--dataset", text(&made, "id"), "--floor", "answered=0.9"];
        let gate = installation.json(&gate);
        assert_eq!((&gate["mode"], &gate["floors"]["answered"]), (&json!("refuse"), &json!(0.9)));
        let file = installation.folder().join("changes.json");
        fs::write(&file, r#"{"settings": {"minEvidence": 1}}"#).expect("a file");
        installation.json(&["agent", "draft", file.to_str().expect("text")]);
        let message = installation.failure(&["agent", "publish"]);
        assert!(message.contains("answered") && message.contains("refused"), "{message}");
        installation.json(&["agent", "gate", "--mode", "warn"]);
        let published = installation.text(&["agent", "publish"]);
        assert!(
            published.contains("warning: answered") && published.contains("version 2"),
            "{published}"
        );
        installation.text(&["agent", "gate", "--remove"]);
        let message = installation.failure(&["agent", "gate"]);
        assert!(message.contains("gate not found"), "{message}");
        server.stop();
    }
}
