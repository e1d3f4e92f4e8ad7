//! 1,000 small workspaces of 20 chunks each.

use std::path::Path;

use domain::Ambient;
use domain::api_key::{ApiKey, ApiKeySecret};
use domain::principal::Scopes;
use storage::{Db, DbOptions};

use crate::corpus::Corpus;
use crate::http::concurrently;
use crate::measure::{Figure, Latencies, disk_bytes, resident_bytes};
use crate::server::Installation;

const WORKSPACES: usize = 1_000;
const CHUNKS: usize = 20;

struct Tenant {
    key: String,
    datastore: String,
}

pub async fn measure(binary: &Path) -> anyhow::Result<Vec<Figure>> {
    let installation = Installation::create(binary, &[]).await?;
    let tenants = make_tenants(&installation.data()).await?;
    let server = installation.start().await?;
    let (api, tenants) = (&server.api, &tenants);
    let pid = server.pid()?;

    fill(api, &tenants[..1]).await?;
    let mut alone = queries(api, &tenants[..1]).await?;
    let before = resident_bytes(pid)? as f64;
    let disk_before = disk_bytes(&installation.data())? as f64;
    fill(api, &tenants[1..]).await?;
    super::settle(&server).await?;
    let mut many = queries(api, tenants).await?;
    let resident = (resident_bytes(pid)? as f64 - before) / WORKSPACES as f64 / 1_000.0;
    server.stop().await?;
    let disk =
        (disk_bytes(&installation.data())? as f64 - disk_before) / WORKSPACES as f64 / 1_000.0;

    let (alone, many) = (alone.percentile(50.0), many.percentile(50.0));
    Ok(vec![
        Figure::new("disk per workspace", disk, "kB"),
        Figure::new("resident per workspace", resident, "kB"),
        Figure::new("query p50, one workspace", alone, "ms"),
        Figure::new("query p50, over 1,000 workspaces", many, "ms"),
        Figure::new("query ratio", many / alone, "×"),
    ])
}

/// Made in the database while no server runs: there is no surface yet that makes workspaces in bulk.
async fn make_tenants(data: &Path) -> anyhow::Result<Vec<Tenant>> {
    let url = format!("sqlite:{}", data.join("vocero.db").display());
    let db = Db::connect(&url, &DbOptions { max_connections: 1 }).await?;
    let ambient = Ambient::system();
    let mut tenants = Vec::with_capacity(WORKSPACES);
    for number in 0..WORKSPACES {
        let mut tx = db.write().await?;
        let born =
            storage::workspaces::create(&mut tx, &ambient, &format!("Negocio {number}")).await?;
        let secret = ApiKeySecret::generate(&ambient);
        let key = ApiKey {
            id: ambient.new_id(),
            workspace_id: born.workspace.id,
            name: "bench".to_owned(),
            prefix: secret.prefix().to_owned(),
            scopes: Scopes::all(),
            created_by: None,
            created_at: ambient.now(),
            expires_at: None,
            last_used_at: None,
            revoked_at: None,
        };
        storage::api_keys::insert(&mut tx, &key, &secret.hash()).await?;
        tx.commit().await?;
        tenants.push(Tenant {
            key: secret.expose().to_owned(),
            datastore: born.datastore.id.to_string(),
        });
    }
    db.close().await;
    Ok(tenants)
}

async fn fill(api: &crate::http::Api, tenants: &[Tenant]) -> anyhow::Result<()> {
    concurrently(8, tenants.len(), |index| async move {
        let tenant = &tenants[index];
        let api = api.with_key(&tenant.key);
        let mut corpus = Corpus::new(index as u64);
        for number in 0..CHUNKS {
            let text = corpus.text(number, super::TEXT_BYTES);
            api.add_text(&tenant.datastore, &format!("Ficha {number}"), &text).await?;
        }
        super::wait_until_searchable(&api, &tenant.datastore).await
    })
    .await?;
    Ok(())
}

async fn queries(api: &crate::http::Api, tenants: &[Tenant]) -> anyhow::Result<Latencies> {
    let times = concurrently(1, 2_000, |index| async move {
        let tenant = &tenants[index % tenants.len()];
        let query = format!("ficha {}", crate::corpus::code(index % CHUNKS));
        Ok(api.with_key(&tenant.key).query(&tenant.datastore, &query).await?.1)
    })
    .await?;
    Ok(times.into_iter().collect())
}
