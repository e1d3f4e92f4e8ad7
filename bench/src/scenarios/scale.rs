//! From 10,000 to 100,000 chunks: how queries, ingest, disk and memory grow.

use std::path::Path;
use std::time::Instant;

use crate::measure::{Figure, disk_bytes, resident_bytes};
use crate::server::Installation;

const SMALL: usize = 10_000;
const LARGE: usize = 100_000;

pub async fn measure(binary: &Path) -> anyhow::Result<Vec<Figure>> {
    let installation = Installation::create(binary, &[]).await?;
    let server = installation.start().await?;
    let (api, datastore, pid) = (&server.api, &installation.ids.datastore_id, server.pid()?);
    let empty = resident_bytes(pid)?;

    let started = Instant::now();
    let questions = super::fill(api, datastore, 0..SMALL).await?;
    let small_rate = SMALL as f64 / started.elapsed().as_secs_f64();
    super::settle(&server).await?;
    let mut small = super::query::one_after_another(api, datastore, &questions, 1_000).await?;

    let mut last_rate = 0.0;
    for start in (SMALL..LARGE).step_by(SMALL) {
        let started = Instant::now();
        super::fill(api, datastore, start..start + SMALL).await?;
        last_rate = SMALL as f64 / started.elapsed().as_secs_f64();
    }
    super::settle(&server).await?;
    let mut large = super::query::one_after_another(api, datastore, &questions, 1_000).await?;
    let resident = resident_bytes(pid)?.saturating_sub(empty) as f64 / LARGE as f64 / 1_000.0;
    server.stop().await?;
    let disk = disk_bytes(&installation.data())? as f64 / LARGE as f64 / 1_000.0;

    let (small, large) = (small.percentile(50.0), large.percentile(50.0));
    Ok(vec![
        Figure::new("query p50, 10,000 chunks", small, "ms"),
        Figure::new("query p50, 100,000 chunks", large, "ms"),
        Figure::new("query ratio", large / small, "×"),
        Figure::new("ingest, first 10,000", small_rate, "/s"),
        Figure::new("ingest, last 10,000", last_rate, "/s"),
        Figure::new("ingest ratio", last_rate / small_rate, "×"),
        Figure::new("disk per chunk", disk, "kB"),
        Figure::new("resident per chunk", resident, "kB"),
    ])
}
