//! Durable ingest of texts until they can be found.

use std::path::Path;
use std::time::Instant;

use crate::measure::{Figure, Latencies};
use crate::server::Installation;

const DOCUMENTS: usize = 10_000;

pub async fn measure(binary: &Path) -> anyhow::Result<Vec<Figure>> {
    let installation = Installation::create(binary, &[]).await?;
    let server = installation.start().await?;
    let datastore = &installation.ids.datastore_id;
    let started = Instant::now();
    super::fill(&server.api, datastore, 0..DOCUMENTS).await?;
    let elapsed = started.elapsed();
    let last = crate::corpus::code(DOCUMENTS - 1);
    let (found, _) = server.api.query(datastore, &last).await?;
    anyhow::ensure!(
        found["results"][0]["content"].as_str().is_some_and(|content| content.contains(&last)),
        "the last text cannot be found: {found}"
    );
    server.stop().await?;
    let rate = DOCUMENTS as f64 / elapsed.as_secs_f64();
    Ok(vec![Figure::new("texts of 1.4 kB until searchable", rate, "/s")])
}

/// Query latency while 10,000 documents are ingested, beside the settled one.
pub async fn measure_queries_meanwhile(binary: &Path) -> anyhow::Result<Vec<Figure>> {
    let installation = Installation::create(binary, &[]).await?;
    let server = installation.start().await?;
    let (api, datastore) = (&server.api, &installation.ids.datastore_id);
    let questions = super::fill(api, datastore, 0..DOCUMENTS).await?;
    super::settle(&server).await?;
    let mut settled = super::query::one_after_another(api, datastore, &questions, 2_000).await?;

    let mut meanwhile = Latencies::default();
    {
        let ingest = super::fill(api, datastore, DOCUMENTS..2 * DOCUMENTS);
        tokio::pin!(ingest);
        loop {
            let query = super::query::at_once(api, datastore, &questions, 1, 20);
            tokio::pin!(query);
            tokio::select! {
                biased;
                result = &mut ingest => { result?; break; }
                latencies = &mut query => meanwhile.extend(latencies?),
            }
        }
    }
    server.stop().await?;
    let (settled, during) = (settled.percentile(99.0), meanwhile.percentile(99.0));
    Ok(vec![
        Figure::new("query p99, settled", settled, "ms"),
        Figure::new("query p99, while 10,000 documents are ingested", during, "ms"),
        Figure::new("ratio", during / settled, "×"),
    ])
}
