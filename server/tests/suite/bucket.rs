//! Uploaded files in a bucket rather than in the data folder.

use std::fs;

use reqwest::multipart::{Form, Part};

use crate::vocero::{Installation, http};

#[test]
fn files_go_into_the_bucket_and_are_ingested_from_there() {
    let Some(url) = testkit::s3_url("files go into the bucket") else { return };
    let mut installation = Installation::new();
    let place = installation.folder().file_name().expect("a name").to_string_lossy().into_owned();
    // Everything is logged: the end of the server looks for the secret key in it.
    for (name, value) in
        [("VOCERO_STORAGE__BLOB_URL", format!("{url}/{place}")), ("VOCERO_LOG", "trace".to_owned())]
    {
        installation = installation.with(name, &value);
    }
    for (name, value) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
        installation = installation.with(&name, &value);
    }
    fs::write(installation.folder().join("faq.md"), "# Horarios\n\nLa atención es de 9 a 18 hs.\n")
        .expect("a file");
    let server = installation.serve();
    let added = installation.json(&["datastore", "add", "faq.md"]);
    assert_eq!(added["data"][0]["status"], "ready", "{added}");
    let found = installation.json(&["datastore", "search", "horarios de atención", "--top-k", "1"]);
    assert_eq!(found["results"][0]["source"]["name"], "faq.md");
    assert!(!installation.data().join("blobs").exists(), "nothing is kept in the folder");

    let shown = installation.text(&["backup", "copy.tar.zst"]);
    assert!(shown.contains("in the bucket") && shown.contains("not in the archive"), "{shown}");
    let report = installation.json(&["backup", "again.tar.zst"]);
    assert_eq!(report["backup"]["hasFiles"], false);
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_does_not_answer_is_503_and_nothing_half_done_stays() {
    let installation = Installation::new()
        .with("VOCERO_STORAGE__BLOB_URL", "s3://vocero/tests")
        .with("AWS_ENDPOINT", "http://127.0.0.1:1")
        .with("AWS_ALLOW_HTTP", "true")
        .with("AWS_DEFAULT_REGION", "us-east-1")
        .with("AWS_ACCESS_KEY_ID", "vocero")
        .with("AWS_SECRET_ACCESS_KEY", "planted-aws-secret-91c5");
    let server = installation.serve();
    let setup = installation.json(&["init"]);
    let text = |name: &str| setup[name].as_str().expect("a text").to_owned();
    let sources = format!("{}/api/v2/datastores/{}/sources", server.url, text("datastoreId"));
    let part = Part::bytes(b"Abrimos a las nueve.".to_vec()).file_name("faq.md");
    let request = http().post(format!("{sources}/file")).bearer_auth(text("apiKey"));
    let form = Form::new().part("file", part);
    let answer = request.multipart(form).send().await.expect("an answer");
    assert_eq!(answer.status(), 503);
    assert!(answer.headers().contains_key("retry-after"));
    let told = answer.text().await.expect("a body");
    assert!(told.contains("STORAGE_UNAVAILABLE"), "{told}");
    installation.secrets().assert_absent("what is told", &told);
    let listed = http().get(&sources).bearer_auth(text("apiKey")).send().await.expect("an answer");
    let listed: serde_json::Value = listed.json().await.expect("JSON");
    assert_eq!(listed["data"], serde_json::json!([]));
    server.stop();
}
