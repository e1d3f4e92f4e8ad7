//! Wake-ups: within the process by broadcast, across processes by `LISTEN` and `NOTIFY`.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use domain::WorkspaceId;
use sqlx::postgres::{PgConnectOptions, PgListener, PgNotification, PgPoolOptions};
use sqlx::{Executor as _, PgPool};
use tokio::sync::broadcast;
use tokio::time::timeout;
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
/// Listens to what is listened to already: a question that the database answers if it is still there.
const STILL_THERE: &str = "LISTEN vocero_wakeups";
/// How long to wait before trying again to reach a database that is away.
const PAUSE: Duration = Duration::from_secs(1);

/// How long the listener waits.
#[derive(Debug, Clone, Copy)]
struct Patience {
    /// Hearing nothing, before it asks whether the database is still there.
    silence: Duration,
    /// For an answer.
    answer: Duration,
}

const PATIENCE: Patience =
    Patience { silence: Duration::from_secs(30), answer: Duration::from_secs(30) };

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
    patience: Patience,
}

impl Listener {
    /// Listens from now on, over a connection of its own.
    pub(super) async fn connect(pool: &PgPool) -> Result<Self> {
        let options = pool.connect_options().as_ref().clone();
        let heard = listen(&options).await?;
        Ok(Self { options, heard, patience: PATIENCE })
    }

    /// Passes on what is heard until `stop`. What was said while the connection was lost is made up for by
    /// waking everyone once it is back.
    pub(super) async fn run(self, to: Ears, stop: CancellationToken) {
        stop.run_until_cancelled_owned(Box::pin(self.pass_on(to))).await;
    }

    async fn pass_on(mut self, to: Ears) {
        loop {
            match self.hear().await {
                Ok(notification) => to.tell(&notification),
                Err(error) => {
                    tracing::warn!(%error, "cannot hear the changes of other processes");
                    self.heard = self.listen_again().await;
                    to.tell_all();
                }
            }
        }
    }

    /// What is said next; an error when the connection is lost. One whose other end vanished without a word (a machine that lost
    /// its power, a router that forgot) would be silent for ever, so that silence is asked about.
    async fn hear(&mut self) -> sqlx::Result<PgNotification> {
        loop {
            if let Ok(heard) = timeout(self.patience.silence, self.heard.try_recv()).await {
                return heard?.ok_or_else(|| lost(io::ErrorKind::ConnectionAborted));
            }
            let asked = timeout(self.patience.answer, self.heard.execute(STILL_THERE)).await;
            asked.map_err(|_| lost(io::ErrorKind::TimedOut))??;
        }
    }

    async fn listen_again(&self) -> PgListener {
        loop {
            match timeout(self.patience.answer, listen(&self.options)).await {
                Ok(Ok(heard)) => return heard,
                Ok(Err(error)) => tracing::debug!(%error, "still cannot listen for changes"),
                Err(_) => tracing::debug!("the database does not answer who wants to listen"),
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
    // Waiting is given up in between, and a connection must not be replaced unnoticed by that.
    listener.eager_reconnect(false);
    listener.listen(CHANNEL).await?;
    Ok(listener)
}

fn lost(kind: io::ErrorKind) -> sqlx::Error {
    sqlx::Error::Io(kind.into())
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

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use sqlx::{ConnectOptions as _, PgConnection, Postgres};
    use tokio::io::copy_bidirectional;
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::Notify;
    use tokio_util::task::TaskTracker;

    use super::*;

    const SHORT: Patience =
        Patience { silence: Duration::from_millis(20), answer: Duration::from_secs(1) };

    /// A way to the database. Told to, it lets nothing more through on the connections that are there, and ends none.
    async fn road(to: String, closing: Arc<Notify>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tasks = TaskTracker::new();
        tasks.clone().spawn(async move {
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                let mut far = TcpStream::connect(to.as_str()).await.unwrap();
                let closing = closing.clone();
                tasks.spawn(async move {
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        () = closing.notified() => std::future::pending::<()>().await,
                    }
                });
            }
        });
        address
    }

    /// Says that a workspace has events, and waits until it was heard or may have been missed.
    async fn say(
        speaker: &mut PgConnection,
        news: &mut broadcast::Receiver<News>,
        workspace: WorkspaceId,
    ) {
        sqlx::query::<Postgres>("SELECT pg_notify($1, $2)")
            .bind(CHANNEL)
            .bind(format!("{EVENTS} {workspace}"))
            .execute(speaker)
            .await
            .unwrap();
        let told =
            timeout(Duration::from_mins(1), news.recv()).await.expect("it is heard").unwrap();
        assert!([News::Missed, News::Events(workspace)].contains(&told), "{told:?}");
    }

    #[tokio::test]
    async fn a_connection_that_died_without_a_word_is_replaced() {
        let test = "a listener whose connection died without a word";
        let Some(guard) = testkit::db::empty_postgres(test).await else { return };
        let direct: PgConnectOptions = guard.url().parse().unwrap();
        let closing = Arc::new(Notify::new());
        let to = format!("{}:{}", direct.get_host(), direct.get_port());
        let road = road(to, closing.clone()).await;
        let options = direct.clone().host("127.0.0.1").port(road.port());
        let heard = listen(&options).await.unwrap();
        let ears = Ears { wakeups: broadcast::Sender::new(64), news: broadcast::Sender::new(64) };
        let mut news = ears.news.subscribe();
        let stop = CancellationToken::new();
        let listener = Listener { options, heard, patience: SHORT };
        let listening = TaskTracker::new().spawn(listener.run(ears, stop.clone()));

        let workspace: WorkspaceId = domain::Ambient::system().new_id();
        let mut speaker = direct.connect().await.unwrap();
        say(&mut speaker, &mut news, workspace).await;
        closing.notify_waiters();
        say(&mut speaker, &mut news, workspace).await;
        say(&mut speaker, &mut news, workspace).await;
        stop.cancel();
        listening.await.unwrap();
    }
}
