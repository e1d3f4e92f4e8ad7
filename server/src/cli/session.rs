//! The server that a command talks to.
//!
//! Commands that read or fill datastores and ask agents are clients of the HTTP API, so that they do what
//! every other client can do and nothing else. Which server:
//! 1. the one that `VOCERO_URL` names, with the key in `VOCERO_API_KEY`;
//! 2. else the one that works on the data folder just now, with the key kept in that folder;
//! 3. else one that the command starts for itself on a loopback port and stops when it is done.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use domain::settings::{ProcessRole, Settings};
use url::Url;

use crate::app::App;
use crate::cli::Run;
use crate::client::Client;
use crate::home::{Home, Lock, Notice};
use crate::lifecycle::Server;
use crate::setup;

/// How long a server that is just starting may take to say where it is.
const STARTING: Duration = Duration::from_secs(20);

/// A server to talk to; its own one is stopped by `close`.
pub struct Session {
    /// Speaks to it.
    pub client: Client,
    own: Option<(Server, Lock)>,
}

impl Session {
    /// Finds or starts the server.
    pub async fn open(run: &Run) -> anyhow::Result<Self> {
        if let Some(url) = run.environment.get("VOCERO_URL") {
            let url = Url::parse(url).context("VOCERO_URL is not an address")?;
            let key = run.environment.get("VOCERO_API_KEY");
            let key =
                key.context("set VOCERO_API_KEY to a key of the server that VOCERO_URL names")?;
            return Ok(Self { client: Client::new(&url, key)?, own: None });
        }
        let settings = &run.loaded.settings;
        let home = Home::open(&settings.storage.data_dir)?;
        if let Some(lock) = home.try_lock()? {
            return Self::start(settings, &home, lock).await;
        }
        let notice = running_server(&home).await?;
        let key = home.read_key()?;
        let key =
            key.with_context(|| format!("there is no key in {}", home.key_file().display()))?;
        Ok(Self { client: Client::new(&notice.url, key.expose())?, own: None })
    }

    async fn start(settings: &Settings, home: &Home, lock: Lock) -> anyhow::Result<Self> {
        let mut settings = settings.clone();
        settings.server.rate_limit = 0;
        settings.server.roles = vec![ProcessRole::Api, ProcessRole::Worker];
        let mut app = App::open(Arc::new(settings), home).await?;
        let setup = setup::ensure(&app.db, &app.ambient, home).await?;
        app.take_over(home).await?;
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server = Server::start(app, listen).await?;
        let client = Client::new(&server.local_url()?, &setup.api_key)?;
        Ok(Self { client, own: Some((server, lock)) })
    }

    /// Stops the server when it is the command's own.
    pub async fn close(self) {
        if let Some((server, lock)) = self.own {
            // Its idle connections would be waited for.
            drop(self.client);
            server.stop().await;
            drop(lock);
        }
    }
}

async fn running_server(home: &Home) -> anyhow::Result<Notice> {
    let found = tokio::time::timeout(STARTING, async {
        loop {
            if let Some(notice) = home.notice() {
                return notice;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let Ok(notice) = found.await else {
        bail!(
            "another process works on the data folder {} and is no server; wait for it or stop it",
            home.folder().display()
        );
    };
    Ok(notice)
}
