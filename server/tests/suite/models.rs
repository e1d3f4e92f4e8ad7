//! Models that run in the process, and rerankers, through the whole binary.

use serde_json::{Value, json};
use testkit::model_folder::{Kind, ModelFolder};
use testkit::model_server::{Endpoint, ModelServer, Reply};

use crate::vocero::{Installation, http};

fn contents(found: &Value) -> Vec<&str> {
    let results = found["results"].as_array().expect("results");
    results.iter().map(|result| result["content"].as_str().expect("a text")).collect()
}

fn local(folder: &ModelFolder) -> String {
    format!("local:{}", folder.path().display())
}

#[tokio::test]
async fn a_model_of_a_folder_embeds_what_comes_and_what_is_asked() {
    let (folder, reranker) =
        (ModelFolder::new(Kind::XlmRoberta), ModelFolder::new(Kind::BertReranker));
    let installation = Installation::new()
        .with("VOCERO_EMBEDDING_MODEL", &local(&folder))
        .with("VOCERO_RERANK_MODEL", &local(&reranker))
        .with("VOCERO_MODELS__RERANK_TIMEOUT", "60");
    for (name, text) in
        [("Envíos", "El envío tarda tres días."), ("Horarios", "Abrimos a las nueve.")]
    {
        installation.text(&["datastore", "add", "--text", text, "--name", name]);
    }
    let dense = ["datastore", "search", "Envíos\nEl envío tarda tres días.", "--mode", "dense"];
    let found = installation.json(&dense);
    assert_eq!(contents(&found)[0], "El envío tarda tres días.", "the very text: {found}");
    assert!(found["results"][0]["scores"]["dense"].as_f64().expect("a cosine") > 0.999, "{found}");

    let server = installation.serve();
    let found = installation.json(&["datastore", "search", "¿Cuánto tarda el envío?"]);
    assert_eq!(found["reranked"], true, "{found}");
    assert!(found["results"][0]["scores"]["rerank"].is_f64(), "{found}");
    server.stop();

    let report = installation.json(&["doctor"]);
    let detail = |what: &str| {
        let findings = report["findings"].as_array().expect("findings");
        let found = findings.iter().find(|finding| finding["what"] == what);
        found.unwrap_or_else(|| panic!("{what} in {report}"))["detail"].to_string()
    };
    assert!(detail("embeddings").contains("local:"), "{report}");
    assert!(detail("reranker").contains("local:"), "{report}");
    assert!(!report.to_string().contains("without OPENAI_API_KEY"), "{report}");
}

#[test]
fn a_folder_that_is_no_model_is_told_with_the_file_that_is_missing() {
    let folder = ModelFolder::new(Kind::Bert);
    std::fs::remove_file(folder.path().join("tokenizer.json")).expect("the file");
    let installation = Installation::new().with("VOCERO_EMBEDDING_MODEL", &local(&folder));
    let message = installation.failure(&["datastore", "search", "x"]);
    assert!(message.contains("VOCERO_EMBEDDING_MODEL"), "{message}");
    assert!(message.contains("has no tokenizer.json"), "{message}");
    let message = Installation::new()
        .with("VOCERO_EMBEDDING_MODEL", "local:/nowhere")
        .failure(&["config", "check"]);
    assert!(message.contains("no such folder"), "{message}");
}

#[tokio::test]
async fn a_reranker_behind_an_address_orders_results_and_may_fail() {
    let models = ModelServer::start().await.expect("a server");
    let installation = Installation::new()
        .with("VOCERO_RERANK_MODEL", "rerank-test")
        .with("VOCERO_RERANK_URL", &models.base_url())
        .with("VOCERO_RERANK_API_KEY", "rr-planted")
        .with("VOCERO_MODELS__MAX_ATTEMPTS", "1")
        .with("VOCERO_MODELS__RERANK_TIMEOUT", "60");
    let server = installation.serve();
    let setup = installation.json(&["init"]);
    for text in ["El envío a regiones tarda tres días.", "El envío tarda un día en la capital."]
    {
        installation.text(&["datastore", "add", "--text", text, "--name", "Envíos"]);
    }
    let datastore = setup["datastoreId"].as_str().expect("an id");
    let url = format!("{}/api/v2/datastores/{datastore}/query", server.url);
    let ask = async || {
        let key = setup["apiKey"].as_str().expect("a key");
        let body = json!({"query": "envío a regiones"});
        let asked = http().post(&url).bearer_auth(key).json(&body).send().await;
        asked.expect("an answer").json::<Value>().await.expect("JSON")
    };
    let ranked = ask().await;
    assert_eq!(ranked["reranked"], true, "{ranked}");
    assert_eq!(contents(&ranked)[0], "El envío tarda un día en la capital.");
    let request = models.requests_to(Endpoint::Rerank).remove(0);
    assert_eq!(request.header("authorization"), "Bearer rr-planted");
    assert_eq!(request.body["documents"][0], "Envíos\nEl envío a regiones tarda tres días.");

    models.enqueue_for(Endpoint::Rerank, Reply::error(500, "planted"));
    let fused = ask().await;
    assert_eq!(fused["reranked"], false, "{fused}");
    assert_eq!(contents(&fused)[0], "El envío a regiones tarda tres días.");
    assert!(fused["results"][0]["scores"].get("rerank").is_none(), "{fused}");
    let scores = |found: &Value| {
        found["results"]
            .as_array()
            .map(|all| all.iter().map(|one| one["score"].clone()).collect::<Vec<_>>())
    };
    assert_eq!(scores(&ranked), scores(&fused), "the scores keep their places");
    server.stop();
}
