//! Wake-ups: within the process by broadcast, across processes by `LISTEN` and `NOTIFY`.

use std::time::Duration;

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

/// The channel of `NOTIFY`. Channels belong to one database of a cluster.
const CHANNEL: &str = "vocero_wakeups";
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
        let notify = conn.statement("SELECT pg_notify($1, $2)");
        notify.bind(CHANNEL).bind(self.name()).execute().await?;
        Ok(())
    }
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
    pub(super) async fn run(self, to: broadcast::Sender<Wakeup>, stop: CancellationToken) {
        stop.run_until_cancelled_owned(Box::pin(self.pass_on(to))).await;
    }

    async fn pass_on(mut self, to: broadcast::Sender<Wakeup>) {
        loop {
            match self.heard.try_recv().await {
                Ok(Some(notification)) => tell(&to, named(&notification)),
                Ok(None) => tell(&to, Wakeup::ALL),
                Err(error) => {
                    tracing::warn!(%error, "cannot hear the changes of other processes");
                    self.heard = self.listen_again().await;
                    tell(&to, Wakeup::ALL);
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

fn named(notification: &PgNotification) -> Option<Wakeup> {
    Wakeup::ALL.into_iter().find(|wakeup| wakeup.name() == notification.payload())
}

fn tell(to: &broadcast::Sender<Wakeup>, wakeups: impl IntoIterator<Item = Wakeup>) {
    for wakeup in wakeups {
        // Nobody may be listening.
        let _ = to.send(wakeup);
    }
}
