//! Datastore queries with what is built in, over 9,000 chunks.

use std::path::Path;
use std::time::Instant;

use crate::http::{Api, concurrently};
use crate::measure::{Figure, Latencies};
use crate::server::Installation;

const CHUNKS: usize = 9_000;

pub async fn measure(binary: &Path) -> anyhow::Result<Vec<Figure>> {
    let installation = Installation::create(binary, &[]).await?;
    let server = installation.start().await?;
    let datastore = &installation.ids.datastore_id;
    let questions = super::fill(&server.api, datastore, 0..CHUNKS).await?;
    super::settle(&server).await?;

    let mut alone = one_after_another(&server.api, datastore, &questions, 1_000).await?;
    let started = Instant::now();
    let mut together = at_once(&server.api, datastore, &questions, 8, 20_000).await?;
    let rate = together.len() as f64 / started.elapsed().as_secs_f64();
    server.stop().await?;
    Ok(vec![
        Figure::new("query p50, one at a time", alone.percentile(50.0), "ms"),
        Figure::new("query p99, one at a time", alone.percentile(99.0), "ms"),
        Figure::new("queries, 8 at once", rate, "/s"),
        Figure::new("query p50, 8 at once", together.percentile(50.0), "ms"),
        Figure::new("query p99, 8 at once", together.percentile(99.0), "ms"),
    ])
}

/// `count` queries, one after another, after 50 to warm up.
pub async fn one_after_another(
    api: &Api,
    datastore: &str,
    questions: &[String],
    count: usize,
) -> anyhow::Result<Latencies> {
    at_once(api, datastore, questions, 1, 50).await?;
    at_once(api, datastore, questions, 1, count).await
}

/// `count` queries, `callers` at a time.
pub async fn at_once(
    api: &Api,
    datastore: &str,
    questions: &[String],
    callers: usize,
    count: usize,
) -> anyhow::Result<Latencies> {
    let times = concurrently(callers, count, |index| async move {
        let question = &questions[index % questions.len()];
        Ok(api.query(datastore, question).await?.1)
    })
    .await?;
    Ok(times.into_iter().collect())
}
