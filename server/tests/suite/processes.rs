//! Several processes on one PostgreSQL database: what one writes wakes the others.

use std::os::unix::process::ExitStatusExt;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::vocero::{Installation, Server, http, until};

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

    /// Adds a text and waits, as the server does, until it is ready.
    async fn add(&self, server: &Server, name: &str) -> Value {
        let url = format!("{}/api/v2/datastores/{}/sources/text", server.url, self.datastore);
        let content = format!("El reglamento {name} explica los plazos de cambio.");
        let request = http().post(url).bearer_auth(&self.key).header("prefer", "wait=20");
        let response = request.json(&json!({ "name": name, "content": content })).send().await;
        let response = response.expect("an answer");
        assert_eq!(response.status(), 202);
        response.json().await.expect("JSON")
    }

    async fn sources(&self, server: &Server) -> Vec<(Value, Value)> {
        let url = format!("{}/api/v2/datastores/{}/sources", server.url, self.datastore);
        let response = http().get(url).bearer_auth(&self.key).send().await.expect("an answer");
        let listed: Value = response.json().await.expect("JSON");
        let listed = listed["data"].as_array().expect("sources").iter();
        listed.map(|source| (source["name"].clone(), source["status"].clone())).collect()
    }
}

/// The one process takes texts, the other ingests them: the job wakes the worker, its end wakes whoever waits.
/// Each has an index of its own here, so only the state of the sources is looked at.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_one_process_wants_is_done_by_another_and_its_end_is_heard() {
    let Some(api) = Installation::on_postgres("two processes on one database") else { return };
    let caller = Caller::of(&api);
    let worker = api.beside();
    let api = api.with("VOCERO_ROLES", "api");
    let (serving, working) = (api.serve(), worker.serve_as_worker());
    for number in 0..3 {
        let added = caller.add(&serving, &format!("{number}")).await;
        assert_eq!(added["status"], "ready", "{added}");
    }
    for (path, status) in [("healthz", 200), ("api/v2/agents", 404)] {
        let request = http().get(format!("{}/{path}", working.url)).bearer_auth(&caller.key);
        assert_eq!(request.send().await.expect("an answer").status(), status, "{path} of a worker");
    }
    working.stop();

    // Without a worker the text waits; one that starts later finds it.
    let url = format!("{}/api/v2/datastores/{}/sources/text", serving.url, caller.datastore);
    let request = http().post(url).bearer_auth(&caller.key);
    let request = request.json(&json!({ "name": "later", "content": "Un texto que espera." }));
    assert_eq!(request.send().await.expect("an answer").status(), 202);
    assert_eq!(caller.sources(&serving).await[0], (json!("later"), json!("pending")));
    let working = worker.serve_as_worker();
    let added = caller.add(&serving, "last").await;
    assert_eq!(added["status"], "ready", "{added}");
    let is_ready = async || caller.sources(&serving).await[1].1 == "ready";
    until("the text that waited is ready", is_ready).await;
    working.stop();
    serving.stop();
}

/// A worker that is killed leaves its jobs claimed. The next start on the same data folder frees those, and
/// only those: the other worker goes on with its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_frees_the_jobs_of_its_own_data_folder_only() {
    let Some(first) = Installation::on_postgres("leases of another process") else { return };
    let caller = Caller::of(&first);
    let second = first.beside();
    let doomed = first.serve_with(&[("FAILPOINTS", "ingest::chunk=return(abort)")]);
    let url = format!("{}/api/v2/datastores/{}/sources/text", doomed.url, caller.datastore);
    let request = http().post(url).bearer_auth(&caller.key);
    let request = request.json(&json!({ "name": "uno", "content": "Un texto que se interrumpe." }));
    // The process may die before it has answered.
    let _ = request.send().await;
    let (status, log) = tokio::task::spawn_blocking(move || doomed.wait()).await.expect("it ends");
    assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()), "{log}");

    let other = second.serve();
    assert_ne!(caller.sources(&other).await, [(json!("uno"), json!("ready"))], "the claim holds");
    let again = first.serve();
    let added = caller.add(&again, "dos").await;
    assert_eq!(added["status"], "ready", "{added}");
    let are_ready =
        async || caller.sources(&again).await.iter().all(|(_, status)| status == "ready");
    until("both texts are ready", are_ready).await;
    again.stop();
    other.stop();
}
