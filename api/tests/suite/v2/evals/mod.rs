mod collect;
mod datasets;
mod runs;

use serde_json::{Value, json};

use crate::support::TestApp;

/// A dataset of those cases; its path.
async fn dataset(app: &TestApp, cases: Value) -> String {
    let body = json!({"name": "Tienda", "cases": cases});
    let made = app.post("/api/v2/evals/datasets", &body).await.expect(201);
    format!("/api/v2/evals/datasets/{}", made["id"].as_str().unwrap())
}
