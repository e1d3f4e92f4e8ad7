//! Wake-ups: within the process by broadcast, across processes by `LISTEN` and `NOTIFY`.

use std::sync::Arc;
use std::time::Duration;

use domain::WorkspaceId;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgListener, PgNotification, PgPoolOptions};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use super::Conn;
use crate::Result;

/// What woke readers up; they then read by sequence or claim, so a lost wake-up loses nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wakeup {
    /// Events were added to the outbox.
    Events,
    /// Jobs were added.
    Jobs,
    /// Somebody asked for the end of a turn.
    Stops,
    /// Events of a turn that can be rejoined were stored.
    Streams,
    /// An evaluation went on.
    Evals,
}

/// What happened in a workspace, in whichever process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// Events were added to the outbox; readers read by sequence, so hearing it twice costs a look.
    Events(WorkspaceId),
    /// Something passing, which is stored nowhere and lost on who is not there: that somebody types.
    Signal(WorkspaceId, Arc<str>),
    /// News may have been missed: there may be events in every workspace.
    Missed,
}

/// The most bytes of a signal: what `NOTIFY` takes, with room for the rest.
pub(super) const MAX_SIGNAL: usize = 7_500;

/// The channel of `NOTIFY`. Channels belong to one database of a cluster.
const CHANNEL: &str = "vocero_wakeups";
/// How payloads of news begin.
const EVENTS: &str = "events-of";
const SIGNAL: &str = "signal-of";
/// How long to wait before trying again to reach a database that is away.
const PAUSE: Duration = Duration::from_secs(1);

impl Wakeup {
    const ALL: [Self; 5] = [Self::Events, Self::Jobs, Self::Stops, Self::Streams, Self::Evals];

    const fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Jobs => "jobs",
            Self::Stops => "stops",
            Self::Streams => "streams",
            Self::Evals => "evals",
        }
    }

    /// Tells other processes, once the transaction is committed.
    pub(super) async fn notify(self, conn: &mut Conn) -> Result<()> {
        notify(conn, self.name()).await
    }
}

impl News {
    /// Tells every process, this one too, once the transaction is committed.
    pub(super) async fn notify(&self, conn: &mut Conn) -> Result<()> {
        match self {
            Self::Events(workspace) => notify(conn, &format!("{EVENTS} {workspace}")).await,
            Self::Signal(workspace, text) => {
                notify(conn, &format!("{SIGNAL} {workspace} {text}")).await
            }
            Self::Missed => Ok(()),
        }
    }

    fn parse(payload: &str) -> Option<Self> {
        let (kind, rest) = payload.split_once(' ')?;
        match kind {
            EVENTS => rest.parse().ok().map(Self::Events),
            SIGNAL => {
                let (workspace, text) = rest.split_once(' ')?;
                Some(Self::Signal(workspace.parse().ok()?, text.into()))
            }
            _ => None,
        }
    }
}

async fn notify(conn: &mut Conn, payload: &str) -> Result<()> {
    let notify = conn.statement("SELECT pg_notify($1, $2)");
    notify.bind(CHANNEL).bind(payload).execute().await?;
    Ok(())
}

/// Hears the wake-ups of other processes.
pub(super) struct Listener {
    options: PgConnectOptions,
    heard: PgListener,
}

impl Listener {
    /// Listens from now on, over a connection of its own.
    pub(super) async fn connect(pool: &PgPool) -> Result<Self> {
        let options = pool.connect_options().as_ref().clone();
        let heard = listen(&options).await?;
        Ok(Self { options, heard })
    }

    /// Passes on what is heard until `stop`. What was said while the connection was lost is made up for by
    /// waking everyone once it is back.
    pub(super) async fn run(self, to: Ears, stop: CancellationToken) {
        stop.run_until_cancelled_owned(Box::pin(self.pass_on(to))).await;
    }

    async fn pass_on(mut self, to: Ears) {
        loop {
            match self.heard.try_recv().await {
                Ok(Some(notification)) => to.tell(&notification),
                Ok(None) => to.tell_all(),
                Err(error) => {
                    tracing::warn!(%error, "cannot hear the changes of other processes");
                    self.heard = self.listen_again().await;
                    to.tell_all();
                }
            }
        }
    }

    async fn listen_again(&self) -> PgListener {
        loop {
            match listen(&self.options).await {
                Ok(heard) => return heard,
                Err(error) => tracing::debug!(%error, "still cannot listen for changes"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn listen(options: &PgConnectOptions) -> sqlx::Result<PgListener> {
    // A pool of one: the listener needs it to connect again.
    let own = PgPoolOptions::new()
        .max_connections(1)
        .max_lifetime(None)
        .idle_timeout(None)
        .connect_with(options.clone())
        .await?;
    let mut listener = PgListener::connect_with(&own).await?;
    listener.ignore_pool_close_event(true);
    listener.listen(CHANNEL).await?;
    Ok(listener)
}

/// Who in this process is told.
#[derive(Debug, Clone)]
pub(super) struct Ears {
    pub(super) wakeups: broadcast::Sender<Wakeup>,
    pub(super) news: broadcast::Sender<News>,
}

impl Ears {
    fn tell(&self, notification: &PgNotification) {
        let payload = notification.payload();
        // Nobody may be listening.
        if let Some(news) = News::parse(payload) {
            if matches!(news, News::Events(_)) {
                let _ = self.wakeups.send(Wakeup::Events);
            }
            let _ = self.news.send(news);
        } else if let Some(wakeup) = Wakeup::ALL.into_iter().find(|w| w.name() == payload) {
            let _ = self.wakeups.send(wakeup);
        }
    }

    fn tell_all(&self) {
        for wakeup in Wakeup::ALL {
            let _ = self.wakeups.send(wakeup);
        }
        let _ = self.news.send(News::Missed);
    }
}
