//! The line to a client: a WebSocket whose frames are JSON, that is pinged when quiet, and whose end is told.

use std::time::Duration;

use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use domain::{DomainError, ErrorKind};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::{Instant, Interval, MissedTickBehavior, timeout};
use tokio_util::sync::CancellationToken;

use super::Live;
use crate::error::{ApiError, ApiResult};

/// A client whose credential does not hold, or no longer.
pub(crate) const UNAUTHORIZED: u16 = 4401;
/// A client that may not do this.
pub(crate) const FORBIDDEN: u16 = 4403;
/// Pings that may stay unanswered, before the line is taken for dead.
const UNANSWERED: u8 = 2;

/// Bytes of the reason that a closing frame takes.
const MAX_REASON: usize = 123;

/// How long a client is waited for.
#[derive(Debug, Clone, Copy)]
struct Patience {
    /// Until it says who it is.
    first_words: Duration,
    /// Between two pings.
    ping: Duration,
    /// Until it takes a frame.
    send: Duration,
}

const PATIENCE: Patience = Patience {
    first_words: Duration::from_secs(10),
    ping: Duration::from_secs(25),
    send: Duration::from_secs(10),
};

/// A connection to a client.
pub(crate) struct Line {
    socket: WebSocket,
    patience: Patience,
    pings: Interval,
    unanswered: u8,
}

/// What comes over a line.
#[derive(Debug)]
pub(crate) enum Frame<S> {
    /// What the client said.
    Said(S),
    /// Nothing, for a while: time to look whether the client is still let in, and to `ping`.
    Quiet,
}

/// Why a line ends.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct End {
    code: u16,
    reason: String,
}

impl End {
    pub fn new(code: u16, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into() }
    }

    /// The client went away: nobody is left to be told.
    pub fn gone() -> Self {
        Self::new(close_code::NORMAL, "")
    }

    /// The server goes away.
    pub fn stopping() -> Self {
        Self::new(close_code::AWAY, "the server stops")
    }

    /// How `served` ends, or the server before it.
    pub async fn of(
        stopping: &CancellationToken,
        served: impl Future<Output = Result<(), Self>>,
    ) -> Self {
        match stopping.run_until_cancelled(served).await {
            Some(Ok(())) => Self::gone(),
            Some(Err(end)) => end,
            None => Self::stopping(),
        }
    }
}

impl From<ApiError> for End {
    fn from(error: ApiError) -> Self {
        let code = match error.domain().kind {
            ErrorKind::Unauthenticated => UNAUTHORIZED,
            ErrorKind::Forbidden | ErrorKind::NotFound => FORBIDDEN,
            ErrorKind::Invalid => close_code::POLICY,
            ErrorKind::RateLimited | ErrorKind::Unavailable => close_code::AGAIN,
            _ => close_code::ERROR,
        };
        Self::new(code, error.domain().code)
    }
}

impl Live {
    /// Answers a request for a WebSocket, and serves it while there is a place for it: 400 for a request of anything else,
    /// 503 when all places are taken. Frames of more than `max_frame` bytes end the line.
    pub fn open_line<F: Future<Output = ()> + Send + 'static>(
        &self,
        upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
        max_frame: usize,
        serve: impl FnOnce(Line) -> F + Send + 'static,
    ) -> ApiResult<Response> {
        let upgrade = upgrade.map_err(|_| {
            let message = "`Upgrade` must ask for a WebSocket here; use a WebSocket client";
            ApiError::invalid("Upgrade", message)
        })?;
        let seat = self.seat().ok_or_else(full)?;
        let tracker = self.tracker().clone();
        let upgrade = upgrade.max_message_size(max_frame).max_frame_size(max_frame);
        Ok(upgrade.on_upgrade(move |socket| {
            tracker.track_future(async move {
                serve(Line::new(socket, PATIENCE)).await;
                drop(seat);
            })
        }))
    }
}

/// There are as many live connections as this server takes.
pub(crate) fn full() -> ApiError {
    let message = "there are as many live connections as this server takes; try again in a while";
    let wait = Duration::from_secs(30);
    DomainError::unavailable("SERVER_UNAVAILABLE", message, wait).into()
}

impl Line {
    fn new(socket: WebSocket, patience: Patience) -> Self {
        let mut pings = tokio::time::interval_at(Instant::now() + patience.ping, patience.ping);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { socket, patience, pings, unanswered: 0 }
    }

    /// The first thing that the client says; `otherwise` when it says nothing for too long.
    pub async fn first_words<S: DeserializeOwned>(&mut self, otherwise: End) -> Result<S, End> {
        let patience = self.patience.first_words;
        let said = async {
            loop {
                if let Some(said) = self.hear().await? {
                    return Ok(said);
                }
            }
        };
        timeout(patience, said).await.unwrap_or(Err(otherwise))
    }

    /// What comes next. May be dropped before it ends: nothing is lost.
    pub async fn next<S: DeserializeOwned>(&mut self) -> Result<Frame<S>, End> {
        loop {
            tokio::select! {
                message = self.socket.recv() => {
                    self.unanswered = 0;
                    if let Some(said) = understand(message)? {
                        return Ok(Frame::Said(said));
                    }
                }
                _ = self.pings.tick() => {
                    if self.unanswered >= UNANSWERED {
                        return Err(End::new(close_code::AWAY, "nothing came for a while"));
                    }
                    return Ok(Frame::Quiet);
                }
            }
        }
    }

    /// Asks whether the client is still there: any frame of it says so.
    pub async fn ping(&mut self) -> Result<(), End> {
        self.unanswered += 1;
        self.send(Message::Ping(Vec::new().into())).await
    }

    pub async fn tell(&mut self, frame: &Value) -> Result<(), End> {
        self.send(Message::Text(frame.to_string().into())).await
    }

    /// Ends the line, and says why.
    pub async fn close(mut self, mut end: End) {
        end.reason.truncate(end.reason.floor_char_boundary(MAX_REASON));
        let frame = CloseFrame { code: end.code, reason: end.reason.into() };
        // Whoever went away is not told.
        let _ = self.send(Message::Close(Some(frame))).await;
    }

    async fn hear<S: DeserializeOwned>(&mut self) -> Result<Option<S>, End> {
        understand(self.socket.recv().await)
    }

    /// A client that takes nothing any more is let go: it comes back and reads what it missed.
    async fn send(&mut self, message: Message) -> Result<(), End> {
        match timeout(self.patience.send, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(End::gone()),
        }
    }
}

/// What a frame says; `None` for those that say nothing.
fn understand<S: DeserializeOwned>(
    message: Option<Result<Message, axum::Error>>,
) -> Result<Option<S>, End> {
    let text = match message {
        None | Some(Ok(Message::Close(_))) => return Err(End::gone()),
        // Whoever went away is not told; who is still there sent what is no frame, or one that is too long.
        Some(Err(_)) => return Err(End::new(close_code::SIZE, "no such frame")),
        Some(Ok(Message::Text(text))) => text,
        Some(Ok(_)) => return Ok(None),
    };
    let parsed = if text.contains("\\u0000") {
        Err("it has a NUL character".to_owned())
    } else {
        serde_json::from_str(text.as_str()).map_err(|error| error.to_string())
    };
    parsed
        .map(Some)
        .map_err(|error| End::new(close_code::POLICY, format!("not understood: {error}")))
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::extract::State;
    use axum::routing::get;
    use futures::{SinkExt, StreamExt};
    use serde_json::json;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::mpsc;
    use tokio_tungstenite::tungstenite::Message as Sent;
    use tokio_tungstenite::{WebSocketStream, client_async};
    use tokio_util::task::TaskTracker;

    use super::*;

    const LONG: Duration = Duration::from_mins(1);
    const SHORT: Duration = Duration::from_millis(20);
    const WAITING: Patience = Patience { first_words: LONG, ping: LONG, send: LONG };

    #[derive(Clone)]
    struct Served {
        patience: Patience,
        serve: fn(Line) -> futures::future::BoxFuture<'static, (Line, End)>,
        ended: mpsc::Sender<(u16, String)>,
    }

    /// A server with one line and that patience; gives a client of it, and how the line ended.
    async fn line(
        patience: Patience,
        serve: fn(Line) -> futures::future::BoxFuture<'static, (Line, End)>,
    ) -> (WebSocketStream<TcpStream>, mpsc::Receiver<(u16, String)>) {
        let (ended, end) = mpsc::channel(1);
        let router = Router::new()
            .route(
                "/",
                get(async |State(served): State<Served>, upgrade: WebSocketUpgrade| {
                    upgrade.on_upgrade(async move |socket| {
                        let line = Line::new(socket, served.patience);
                        let (line, end) = (served.serve)(line).await;
                        served.ended.send((end.code, end.reason.clone())).await.unwrap();
                        line.close(end).await;
                    })
                }),
            )
            .with_state(Served { patience, serve, ended });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        TaskTracker::new().spawn(async move { axum::serve(listener, router).await });
        let socket = TcpStream::connect(address).await.unwrap();
        let (client, _) = client_async(format!("ws://{address}/"), socket).await.unwrap();
        (client, end)
    }

    /// Says what it hears, and pings when it hears nothing.
    fn echo(mut line: Line) -> futures::future::BoxFuture<'static, (Line, End)> {
        Box::pin(async move {
            loop {
                let done = match line.next::<Value>().await {
                    Ok(Frame::Said(said)) => line.tell(&said).await,
                    Ok(Frame::Quiet) => line.ping().await,
                    Err(end) => Err(end),
                };
                if let Err(end) = done {
                    return (line, end);
                }
            }
        })
    }

    /// Tells more and more.
    fn talk(mut line: Line) -> futures::future::BoxFuture<'static, (Line, End)> {
        Box::pin(async move {
            let much = json!({"text": "x".repeat(60_000)});
            loop {
                if let Err(end) = line.tell(&much).await {
                    return (line, end);
                }
            }
        })
    }

    /// Waits for the first words.
    fn wait(mut line: Line) -> futures::future::BoxFuture<'static, (Line, End)> {
        Box::pin(async move {
            let silent = End::new(UNAUTHORIZED, "silent");
            let heard = line.first_words::<Value>(silent).await;
            (line, heard.err().unwrap_or_else(End::gone))
        })
    }

    #[tokio::test]
    async fn a_client_that_answers_no_ping_is_dead() {
        let (client, mut end) = line(Patience { ping: SHORT, ..WAITING }, echo).await;
        // Below the protocol nobody answers pings for us.
        let mut socket = client.into_inner();
        let mut heard = Vec::new();
        let (code, reason) = end.recv().await.unwrap();
        assert_eq!((code, reason.as_str()), (close_code::AWAY, "nothing came for a while"));
        socket.shutdown().await.unwrap();
        socket.read_to_end(&mut heard).await.unwrap();
        // Two pings without a word, then the closing frame with its code.
        assert_eq!(heard[..5], [0x89, 0, 0x89, 0, 0x88], "{heard:?}");
        assert_eq!(heard[6..8], 1001_u16.to_be_bytes(), "{heard:?}");
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_let_go() {
        let (_client, mut end) = line(Patience { send: SHORT, ..WAITING }, talk).await;
        assert_eq!(end.recv().await.unwrap(), (close_code::NORMAL, String::new()));
    }

    #[tokio::test]
    async fn a_client_that_says_nothing_is_not_waited_for() {
        let (mut client, mut end) = line(Patience { first_words: SHORT, ..WAITING }, wait).await;
        assert_eq!(end.recv().await.unwrap(), (UNAUTHORIZED, "silent".to_owned()));
        let Some(Ok(Sent::Close(Some(frame)))) = client.next().await else { panic!("no end") };
        assert_eq!(u16::from(frame.code), UNAUTHORIZED);
    }

    #[tokio::test]
    async fn what_is_not_understood_is_told_within_a_closing_frame() {
        let words = format!("{{\"{}\": ", "ñ".repeat(200));
        for (sent, reason) in [
            ("{", "not understood: EOF"),
            (words.as_str(), "not understood: "),
            ("{\"text\": \"a\\u0000b\"}", "not understood: it has a NUL character"),
        ] {
            let (mut client, _end) = line(WAITING, echo).await;
            client.send(Sent::text("{\"a\": 1}")).await.unwrap();
            assert_eq!(client.next().await.unwrap().unwrap(), Sent::text("{\"a\":1}"));
            client.send(Sent::text(sent)).await.unwrap();
            let Some(Ok(Sent::Close(Some(frame)))) = client.next().await else { panic!("no end") };
            assert_eq!(u16::from(frame.code), close_code::POLICY);
            assert!(frame.reason.starts_with(reason), "{}", frame.reason);
        }
    }

    #[test]
    fn a_reason_is_cut_between_letters() {
        let mut reason = format!("a{}", "ñ".repeat(100));
        reason.truncate(reason.floor_char_boundary(MAX_REASON));
        assert_eq!(reason.len(), 123);
    }
}
