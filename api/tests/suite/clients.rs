//! Client libraries of others, run against a real server.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;
use tokio::sync::OnceCell;

use crate::support::TestApp;

/// Where the libraries are; installed by the first test that asks.
async fn libraries() -> &'static Path {
    static FOLDER: OnceCell<PathBuf> = OnceCell::const_new();
    FOLDER
        .get_or_init(|| async {
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/test-clients.sh");
            let output = Command::new(script).stdin(Stdio::null()).output().await.unwrap();
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "the clients cannot be installed: {errors}");
            PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
        })
        .await
}

/// Runs a program of `tests/clients`, given with its interpreter; the JSON that it prints.
pub async fn run(
    app: &TestApp,
    [interpreter, program]: [&str; 2],
    base: &str,
    variables: &[(&str, &str)],
) -> Value {
    let libraries = libraries().await;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(program);
    let output = Command::new(interpreter)
        .arg(path)
        .env("CLIENTS", libraries)
        .env("PYTHONPATH", libraries.join("python"))
        .env("BASE_URL", format!("{}{base}", app.base))
        .env("API_KEY", &app.tenant.key)
        .env("AGENT", &app.tenant.agent)
        .env("DATASTORE", &app.tenant.datastore)
        .envs(variables.iter().copied())
        .env("NO_PROXY", "127.0.0.1")
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {errors}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{program}: {error}"))
}
