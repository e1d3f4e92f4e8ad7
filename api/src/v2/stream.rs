//! A turn as a stream of events (`text/event-stream`).

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use agents::{Follow, Rendered, StreamEvent, Turn, TurnEvent};
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::{BufMut, Bytes, BytesMut};
use futures::Stream;
use http::{HeaderName, HeaderValue, header};
use serde::Serialize;
use tokio::time::{Instant, Sleep};

use super::chat::{ChatAnswer, CitedSource};
use super::tools::ToolEvent;
use crate::error::ApiError;

/// A comment line goes out after this long without an event, so that nothing in between takes the
/// connection for dead.
const SILENCE: Duration = Duration::from_secs(15);
/// Events that are ready together leave together, up to about this many bytes.
const FRAME_BYTES: usize = 16 * 1024;
/// How long the head of a response waits for the first event, to leave together with it. No longer: it has the ids that a
/// turn is stopped by.
const HEAD_WAITS: Duration = Duration::from_millis(20);

/// What breaks the silence.
const COMMENT: &[u8] = b": \n\n";

/// The response that streams `turn`. Dropping its body drops the turn, which ends the model call.
pub(super) async fn response(turn: Turn) -> Response {
    let mut events = Events::new(turn, SILENCE);
    events.wait(HEAD_WAITS).await;
    of_body(Body::from_stream(events))
}

/// The response that streams a turn that can be rejoined. Dropping its body ends nothing.
pub(super) fn following(follow: Follow) -> Response {
    let frames = futures::stream::unfold(follow, |mut follow| async move {
        let frame = match tokio::time::timeout(SILENCE, follow.next()).await {
            Ok(Some(events)) => frame_of(&events),
            Ok(None) => return None,
            Err(_) => Bytes::from_static(COMMENT),
        };
        Some((Ok::<_, Infallible>(frame), follow))
    });
    of_body(Body::from_stream(frames))
}

fn of_body(body: Body) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform")),
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (headers, body).into_response()
}

/// An event as this surface tells it, to be told so to whoever joins.
pub(super) fn render(event: TurnEvent) -> Rendered {
    match event {
        TurnEvent::Tool(step) => rendered("tool", &ToolEvent::from(step)),
        TurnEvent::Token(text) => rendered("token", &Token { text: &text }),
        TurnEvent::Source(source) => rendered("source", &CitedSource::from(source.citation)),
        TurnEvent::Done(answer) => rendered("done", &ChatAnswer::from(*answer)),
        TurnEvent::Error(error) => {
            let error = ApiError::from(error);
            let message = error.message(Some(domain::Lang::En));
            rendered("error", &Failure { code: error.domain().code, message: &message })
        }
    }
}

fn rendered(kind: &'static str, data: &impl Serialize) -> Rendered {
    let data = serde_json::to_string(data).unwrap_or_else(|error| {
        tracing::error!(%error, "an event was not written");
        "null".to_owned()
    });
    Rendered { kind, data }
}

fn frame_of(events: &[Arc<StreamEvent>]) -> Bytes {
    let mut buffer = BytesMut::with_capacity(1_024);
    for event in events {
        let id = u64::try_from(event.id).unwrap_or_default();
        put_head(&mut buffer, id, &event.kind);
        buffer.put_slice(event.data.as_bytes());
        buffer.put_slice(b"\n\n");
    }
    buffer.freeze()
}

/// An event up to its data.
fn put_head(buffer: &mut BytesMut, id: u64, name: &str) {
    buffer.put_slice(b"id: ");
    buffer.put_slice(itoa(id, &mut [0; 20]));
    buffer.put_slice(b"\nevent: ");
    buffer.put_slice(name.as_bytes());
    buffer.put_slice(b"\ndata: ");
}

/// The events of a turn as bytes. Writes into one reused buffer and sets no timer per event: many
/// streams at once cost little more than their writes.
struct Events {
    turn: Turn,
    buffer: BytesMut,
    last_id: u64,
    last_sent: Instant,
    most_silence: Duration,
    silence: Pin<Box<Sleep>>,
    ended: bool,
}

impl Events {
    fn new(turn: Turn, most_silence: Duration) -> Self {
        Self {
            turn,
            buffer: BytesMut::with_capacity(1_024),
            last_id: 0,
            last_sent: Instant::now(),
            most_silence,
            silence: Box::pin(tokio::time::sleep(most_silence)),
            ended: false,
        }
    }

    /// Waits for the next event, at most for that long.
    async fn wait(&mut self, patience: Duration) {
        if let Ok(Some(event)) = tokio::time::timeout(patience, self.turn.events.recv()).await {
            self.write(event);
        }
    }

    fn write(&mut self, event: TurnEvent) {
        match event {
            TurnEvent::Tool(step) => self.put("tool", &ToolEvent::from(step)),
            TurnEvent::Token(text) => self.put("token", &Token { text: &text }),
            TurnEvent::Source(source) => self.put("source", &CitedSource::from(source.citation)),
            TurnEvent::Done(answer) => {
                self.put("done", &ChatAnswer::from(*answer));
                self.ended = true;
            }
            TurnEvent::Error(error) => self.write_error(&error.into()),
        }
    }

    fn write_error(&mut self, error: &ApiError) {
        let message = error.message(Some(domain::Lang::En));
        self.put("error", &Failure { code: error.domain().code, message: &message });
        self.ended = true;
    }

    fn put(&mut self, name: &str, data: &impl Serialize) {
        self.last_id += 1;
        put_head(&mut self.buffer, self.last_id, name);
        // JSON has no line breaks outside of strings, and escapes them inside: one data line.
        if let Err(error) = serde_json::to_writer((&mut self.buffer).writer(), data) {
            tracing::error!(%error, "an event was not written");
        }
        self.buffer.put_slice(b"\n\n");
    }

    fn frame(&mut self) -> Bytes {
        self.last_sent = Instant::now();
        self.buffer.split().freeze()
    }
}

impl Stream for Events {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        while !this.ended && this.buffer.len() < FRAME_BYTES {
            match this.turn.events.poll_recv(cx) {
                Poll::Ready(Some(event)) => this.write(event),
                Poll::Ready(None) => {
                    tracing::error!(message = %this.turn.message, "a turn ended without an answer");
                    this.write_error(&ApiError::internal());
                }
                Poll::Pending => break,
            }
        }
        if !this.buffer.is_empty() {
            return Poll::Ready(Some(Ok(this.frame())));
        }
        if this.ended {
            return Poll::Ready(None);
        }
        this.poll_silence(cx)
    }
}

impl Events {
    /// Waits for the end of the silence, which began with the last frame.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        while self.silence.as_mut().poll(cx).is_ready() {
            let due = self.last_sent + self.most_silence;
            if Instant::now() >= due {
                self.last_sent = Instant::now();
                self.silence.as_mut().reset(self.last_sent + self.most_silence);
                return Poll::Ready(Some(Ok(Bytes::from_static(COMMENT))));
            }
            self.silence.as_mut().reset(due);
        }
        Poll::Pending
    }
}

/// The decimal digits of a number, without an allocation.
fn itoa(mut number: u64, digits: &mut [u8; 20]) -> &[u8] {
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
        if number == 0 {
            return &digits[start..];
        }
    }
}

#[derive(Serialize)]
struct Token<'a> {
    text: &'a str,
}

#[derive(Serialize)]
struct Failure<'a> {
    code: &'a str,
    message: &'a str,
}

#[cfg(test)]
mod tests {
    use domain::ids::PrefixedId;
    use domain::{ConversationId, MessageId};
    use futures::StreamExt;
    use tokio::sync::mpsc;
    use uuid::Uuid;

    use super::*;

    fn events(silence: Duration) -> (mpsc::Sender<TurnEvent>, Events) {
        let (sender, receiver) = mpsc::channel(8);
        let turn = Turn {
            conversation: ConversationId::from_uuid(Uuid::nil()),
            message: MessageId::from_uuid(Uuid::nil()),
            events: receiver,
        };
        (sender, Events::new(turn, silence))
    }

    async fn text(events: &mut Events) -> String {
        let frame = events.next().await.unwrap().unwrap();
        String::from_utf8(frame.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn tokens_that_are_ready_together_leave_in_one_frame_and_in_order() {
        let (sender, mut events) = events(SILENCE);
        for piece in ["Hola\n", "\"mundo\""] {
            sender.send(TurnEvent::Token(piece.to_owned())).await.unwrap();
        }
        assert_eq!(
            text(&mut events).await,
            "id: 1\nevent: token\ndata: {\"text\":\"Hola\\n\"}\n\n\
             id: 2\nevent: token\ndata: {\"text\":\"\\\"mundo\\\"\"}\n\n"
        );
    }

    #[tokio::test]
    async fn what_was_waited_for_leaves_with_what_came_after_it() {
        let (sender, mut events) = events(SILENCE);
        for piece in ["a", "b"] {
            sender.send(TurnEvent::Token(piece.to_owned())).await.unwrap();
        }
        events.wait(HEAD_WAITS).await;
        assert_eq!(
            text(&mut events).await,
            "id: 1\nevent: token\ndata: {\"text\":\"a\"}\n\n\
             id: 2\nevent: token\ndata: {\"text\":\"b\"}\n\n"
        );
        // Nobody waits for long.
        events.wait(Duration::from_millis(1)).await;
        sender.send(TurnEvent::Token("c".to_owned())).await.unwrap();
        assert!(text(&mut events).await.starts_with("id: 3\n"));
        drop(sender);
        events.wait(HEAD_WAITS).await;
        assert!(text(&mut events).await.contains("\"code\":\"INTERNAL\""));
    }

    #[tokio::test]
    async fn an_error_ends_the_stream() {
        let (sender, mut events) = events(SILENCE);
        let error = domain::DomainError::conflict("CONFLICT", "busy");
        sender.send(TurnEvent::Error(error)).await.unwrap();
        let last = "id: 1\nevent: error\ndata: {\"code\":\"CONFLICT\",\"message\":\"busy\"}\n\n";
        assert_eq!(text(&mut events).await, last);
        assert!(events.next().await.is_none());
    }

    #[tokio::test]
    async fn a_turn_that_vanishes_ends_as_an_error() {
        let (sender, mut events) = events(SILENCE);
        drop(sender);
        assert!(text(&mut events).await.contains("event: error\ndata: {\"code\":\"INTERNAL\""));
        assert!(events.next().await.is_none());
    }

    #[tokio::test]
    async fn silence_since_the_last_event_is_broken_by_a_comment() {
        let silence = Duration::from_millis(50);
        let (sender, mut events) = events(silence);
        let start = Instant::now();
        assert_eq!(text(&mut events).await, ": \n\n");
        assert!(start.elapsed() >= silence);
        sender.send(TurnEvent::Token("a".to_owned())).await.unwrap();
        let sent = Instant::now();
        assert!(text(&mut events).await.contains("token"));
        assert_eq!(text(&mut events).await, ": \n\n");
        assert!(sent.elapsed() >= silence);
    }

    #[test]
    fn numbers_print_as_digits() {
        for number in [0, 7, 10, 4_096, u64::MAX] {
            assert_eq!(itoa(number, &mut [0; 20]), number.to_string().as_bytes());
        }
    }
}
