//! The process is killed at each stage of ingestion, ten times on SQLite and four times on PostgreSQL; what was
//! accepted is ready afterwards, with no chunk missing or doubled. Pages from the web go through every stage one
//! by one; texts take the short way, many in one transaction.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::time::Instant;

use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use rustix::process::Signal;
use serde_json::{Value, json};
use testkit::model_server::ModelServer;
use tokio::task::JoinSet;

use crate::vocero::{Installation, PATIENCE, Server, http};

/// How often the process is killed. The queue that brings the work back is the same text of SQL on both.
fn rounds(installation: &Installation) -> usize {
    if installation.database == "sqlite" { 10 } else { 4 }
}

/// What is needed to call the API of an installation's server.
struct Caller {
    key: String,
    datastore: String,
}

impl Caller {
    fn of(installation: &Installation) -> Self {
        let setup = installation.json(&["init"]);
        let text = |key: &str| setup[key].as_str().expect("a text").to_owned();
        Self { key: text("apiKey"), datastore: text("datastoreId") }
    }

    async fn add(&self, server: &Server, kind: &str, body: Value) -> Option<String> {
        let request = http()
            .post(format!("{}/api/v2/datastores/{}/sources/{kind}", server.url, self.datastore))
            .bearer_auth(&self.key)
            .json(&body);
        // The process may die before it has answered; then nothing was promised.
        let response = request.send().await.ok()?;
        assert_eq!(response.status(), 202);
        let body: Value = response.json().await.ok()?;
        Some(body["id"].as_str().expect("an id").to_owned())
    }

    async fn add_text(&self, server: &Server, name: &str, content: &str) -> Option<String> {
        self.add(server, "text", json!({ "name": name, "content": content })).await
    }

    async fn get(&self, server: &Server, path: &str) -> Value {
        let url = format!("{}/api/v2/datastores/{}/{path}", server.url, self.datastore);
        let response = http().get(url).bearer_auth(&self.key).send().await.expect("an answer");
        assert_eq!(response.status(), 200, "{path}");
        response.json().await.expect("JSON")
    }

    /// All objects of a list.
    async fn all(&self, server: &Server, path: &str) -> Vec<Value> {
        let mut objects = Vec::new();
        let mut cursor = String::new();
        loop {
            let separator = if path.contains('?') { '&' } else { '?' };
            let page = self.get(server, &format!("{path}{separator}limit=100{cursor}")).await;
            objects.extend(page["data"].as_array().expect("a list").iter().cloned());
            match page["nextCursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return objects,
            }
        }
    }

    /// Waits until no source is under way.
    async fn settled(&self, server: &Server) -> Vec<Value> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let sources = self.all(server, "sources").await;
            let under_way =
                |source: &&Value| matches!(source["status"].as_str(), Some("pending" | "running"));
            match sources.iter().find(under_way) {
                None => return sources,
                Some(source) => assert!(Instant::now() < deadline, "it never ends: {source}"),
            }
        }
    }

    /// No chunk of the source is missing or doubled, in storage or in the index.
    async fn check_chunks(&self, server: &Server, source: &Value, content: &str) {
        let id = source["id"].as_str().expect("an id");
        let chunks = self.all(server, &format!("chunks?source={id}")).await;
        let ordinals: Vec<i64> =
            chunks.iter().map(|chunk| chunk["ordinal"].as_i64().expect("a place")).collect();
        let expected: Vec<i64> = (0..source["chunks"].as_i64().expect("a number")).collect();
        assert_eq!(ordinals, expected, "{source}");
        assert!(!expected.is_empty(), "{source}");
        for paragraph in content.split("\n\n") {
            let holds = |chunk: &&Value| {
                chunk["content"].as_str().is_some_and(|text| text.contains(paragraph))
            };
            assert!(chunks.iter().any(|chunk| holds(&chunk)), "missing: {paragraph}");
        }
        let url = format!("{}/api/v2/datastores/{}/query", server.url, self.datastore);
        let body = json!({ "query": content.split("\n\n").next(), "topK": 100 });
        let response = http().post(url).bearer_auth(&self.key).json(&body).send().await;
        let found: Value = response.expect("an answer").json().await.expect("JSON");
        let hits = found["results"].as_array().expect("results").iter();
        let hits: Vec<&str> = hits.map(|hit| hit["chunkId"].as_str().expect("an id")).collect();
        let once: BTreeSet<&str> = hits.iter().copied().collect();
        assert_eq!(once.len(), hits.len(), "a chunk is found twice");
        assert!(hits.iter().any(|hit| chunks.iter().any(|chunk| chunk["id"] == *hit)), "{found}");
    }
}

/// A text of several chunks, unlike every other.
fn text(number: usize) -> String {
    let sentence = |article: usize| {
        format!(
            "El artículo {article} del reglamento {number} explica cómo se cambia un producto en la tienda y \
             qué plazo tiene cada cliente para pedirlo, con el recibo y la caja original."
        )
    };
    (0..40).map(sentence).collect::<Vec<_>>().join("\n\n")
}

/// Serves `text(number)` as a page.
async fn web() -> (String, JoinSet<()>) {
    let page = get(async |Path(number): Path<usize>| text(number));
    let routes = Router::new().route("/page/{number}", page);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, routes).await.expect("serving goes on") });
    (format!("http://{address}"), tasks)
}

async fn dies_at(doomed: Server, point: &str) {
    let (status, log) =
        tokio::task::spawn_blocking(move || doomed.wait()).await.expect("the wait ends");
    assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()), "{point}: {status}\n{log}");
}

async fn is_whole(
    installation: &Installation,
    caller: &Caller,
    name: &str,
    number: usize,
    point: &str,
) {
    let server = installation.serve();
    let sources = caller.settled(&server).await;
    let source = sources.iter().find(|source| source["name"] == name);
    let source = source.unwrap_or_else(|| panic!("{point}: it was lost"));
    assert_eq!(source["status"], "ready", "{point}: {source}");
    caller.check_chunks(&server, source, &text(number)).await;
    server.kill();
}

/// Again and again: a page is added, the process aborts at the stage (now before, now after it is committed), starts
/// again, and the page is ready and whole.
async fn survives(stage: &str) {
    let (web, _web) = web().await;
    let model = ModelServer::start().await.expect("the scripted model");
    for installation in Installation::on_each_database(&format!("a crash at the stage {stage}")) {
        let installation = installation
            .with("VOCERO_FETCH_ALLOW", "127.0.0.1/32")
            .with("OPENAI_BASE_URL", &model.base_url())
            .with("VOCERO_EMBEDDING_MODEL", "scripted-embedding");
        let caller = Caller::of(&installation);
        for round in 0..rounds(&installation) {
            let committed = if round % 2 == 0 { "" } else { "::committed" };
            let point = format!("ingest::{stage}{committed}");
            let failpoints = format!("{point}=return(abort)");
            let doomed = installation.serve_with(&[("FAILPOINTS", &failpoints)]);
            let name = format!("round {round}");
            let page = json!({ "url": format!("{web}/page/{round}"), "name": name });
            caller.add(&doomed, "url", page).await;
            dies_at(doomed, &point).await;
            is_whole(&installation, &caller, &name, round, &point).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_while_fetching_loses_and_doubles_nothing() {
    survives("fetch").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_while_extracting_loses_and_doubles_nothing() {
    survives("extract").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_while_chunking_loses_and_doubles_nothing() {
    survives("chunk").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_while_embedding_loses_and_doubles_nothing() {
    survives("embed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_while_indexing_loses_and_doubles_nothing() {
    survives("index").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_while_going_live_loses_and_doubles_nothing() {
    survives("live").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_on_the_short_way_of_texts_loses_and_doubles_nothing() {
    const POINTS: [&str; 6] = ["extract", "chunk", "embed", "index", "live", "live::committed"];
    for installation in Installation::on_each_database("a crash on the short way of texts") {
        let caller = Caller::of(&installation);
        let times = if installation.database == "sqlite" { 2 } else { 1 };
        for (round, point) in POINTS.iter().cycle().take(times * POINTS.len()).enumerate() {
            let point = format!("ingest::{point}");
            let failpoints = format!("{point}=return(abort)");
            let doomed = installation.serve_with(&[("FAILPOINTS", &failpoints)]);
            let name = format!("round {round}");
            caller.add_text(&doomed, &name, &text(round)).await;
            dies_at(doomed, &point).await;
            is_whole(&installation, &caller, &name, round, &point).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_wherever_it_happens_to_be_everything_accepted_is_ready_afterwards() {
    for installation in Installation::on_each_database("killed wherever it happens to be") {
        let caller = Caller::of(&installation);
        let mut accepted = BTreeSet::new();
        for round in 0..rounds(&installation) {
            let server = installation.serve();
            // One more in each round: the kill meets the work elsewhere each time.
            for number in 0..=round {
                let name = format!("{round}/{number}");
                let added = caller.add_text(&server, &name, &text(round * 100 + number)).await;
                accepted.insert(added.expect("the server is up"));
            }
            server.kill();
            let server = installation.serve();
            caller.settled(&server).await;
            server.kill();
        }
        let server = installation.serve();
        let sources = caller.settled(&server).await;
        let there: BTreeSet<String> =
            sources.iter().map(|source| source["id"].as_str().expect("an id").to_owned()).collect();
        assert_eq!(there, accepted, "{}", installation.database);
        for source in &sources {
            assert_eq!(source["status"], "ready", "{}: {source}", installation.database);
            let name = source["name"].as_str().expect("a name");
            let (round, number) = name.split_once('/').expect("its number");
            let round: usize = round.parse().expect("a number");
            let number: usize = number.parse().expect("a number");
            caller.check_chunks(&server, source, &text(round * 100 + number)).await;
        }
        server.stop();
    }
}
