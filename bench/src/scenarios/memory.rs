//! Start-up time and resident memory, empty and with 100,000 chunks.

use std::path::Path;
use std::time::Duration;

use crate::measure::{Figure, resident_bytes};
use crate::server::Installation;

const CHUNKS: usize = 100_000;

pub async fn measure(binary: &Path) -> anyhow::Result<Vec<Figure>> {
    let installation = Installation::create(binary, &[]).await?;
    let server = installation.start().await?;
    let empty_start = server.start;
    let empty_resident = idle_resident(server.pid()?).await?;

    super::fill(&server.api, &installation.ids.datastore_id, 0..CHUNKS).await?;
    server.stop().await?;
    let server = installation.start().await?;
    let full_start = server.start;
    let full_resident = idle_resident(server.pid()?).await?;
    server.stop().await?;
    Ok(vec![
        Figure::new("start, empty", empty_start.as_secs_f64() * 1_000.0, "ms"),
        Figure::new("resident, idle, empty", empty_resident / 1e6, "MB"),
        Figure::new("start, 100,000 chunks", full_start.as_secs_f64() * 1_000.0, "ms"),
        Figure::new("resident, idle, 100,000 chunks", full_resident / 1e6, "MB"),
    ])
}

/// After three quiet seconds.
async fn idle_resident(pid: u32) -> anyhow::Result<f64> {
    tokio::time::sleep(Duration::from_secs(3)).await;
    Ok(resident_bytes(pid)? as f64)
}
