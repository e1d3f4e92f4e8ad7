//! A turn as `OpenAI` streams it: chunks as data, then `[DONE]`.

use std::convert::Infallible;
use std::time::Duration;

use agents::{Answer, Turn, TurnEvent};
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::{BufMut, Bytes, BytesMut};
use domain::WorkspaceId;
use futures::Stream;
use http::{HeaderName, HeaderValue, header};
use serde::Serialize;
use serde::ser::Serializer;

use super::answer::{Annotation, Extension, Head, Usage, annotations};
use super::error::ErrorBody;
use crate::error::ApiError;
use crate::state::AppState;

/// A comment line goes out after this long without a chunk, so that nothing in between takes the
/// connection for dead. The official clients skip comments.
const SILENCE: Duration = Duration::from_secs(15);
/// Chunks that are ready together leave together, up to about this many bytes.
const FRAME_BYTES: usize = 16 * 1_024;

/// What a stream is made of.
pub(super) struct Streaming {
    pub(super) state: AppState,
    pub(super) workspace: WorkspaceId,
    pub(super) head: Head,
    pub(super) question: String,
    pub(super) include_usage: bool,
    pub(super) turn: Turn,
}

#[derive(Debug, Serialize)]
struct Chunk<'a> {
    id: &'a str,
    object: &'static str,
    created: i64,
    model: &'a str,
    service_tier: Option<&'static str>,
    system_fingerprint: Option<&'static str>,
    choices: &'a [ChunkChoice<'a>],
    #[serde(skip_serializing_if = "Asked::is_no")]
    usage: Asked,
    #[serde(skip_serializing_if = "Option::is_none")]
    vocero: Option<Extension>,
}

/// The field `usage`: absent when nobody asked for it, null on all chunks but the last.
#[derive(Debug, Clone, Copy)]
enum Asked {
    No,
    Later,
    Now(Usage),
}

#[derive(Debug, Serialize)]
struct ChunkChoice<'a> {
    index: u8,
    delta: Delta<'a>,
    logprobs: Option<()>,
    finish_reason: Option<&'static str>,
}

#[derive(Debug, Default, Serialize)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    annotations: Vec<Annotation>,
}

impl Asked {
    fn is_no(&self) -> bool {
        matches!(self, Self::No)
    }
}

impl Serialize for Asked {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Now(usage) => usage.serialize(serializer),
            Self::No | Self::Later => serializer.serialize_none(),
        }
    }
}

/// The response that streams a turn. Dropping its body drops the turn, which ends the model call.
pub(super) fn response(streaming: Streaming) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform")),
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (headers, Body::from_stream(frames(streaming, SILENCE))).into_response()
}

fn frames(
    mut streaming: Streaming,
    silence: Duration,
) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
    async_stream::stream! {
        let mut writer = Writer::new(streaming.head.clone(), streaming.include_usage);
        writer.begin();
        yield Ok(writer.frame());
        loop {
            let Ok(event) = tokio::time::timeout(silence, streaming.turn.events.recv()).await else {
                yield Ok(Bytes::from_static(b": \n\n"));
                continue;
            };
            let mut last = streaming.write(&mut writer, event).await;
            while !last
                && writer.buffer.len() < FRAME_BYTES
                && let Ok(event) = streaming.turn.events.try_recv()
            {
                last = streaming.write(&mut writer, Some(event)).await;
            }
            if !writer.buffer.is_empty() {
                yield Ok(writer.frame());
            }
            if last {
                break;
            }
        }
    }
}

impl Streaming {
    /// Writes an event; whether it was the last one.
    async fn write(&self, writer: &mut Writer, event: Option<TurnEvent>) -> bool {
        match event {
            Some(TurnEvent::Token(text)) => {
                writer.text(&text);
                return false;
            }
            Some(TurnEvent::Done(answer)) => self.end(writer, *answer).await,
            Some(TurnEvent::Error(error)) => writer.fail(&error.into()),
            None => {
                tracing::error!(message = %self.turn.message, "a turn ended without an answer");
                writer.fail(&ApiError::internal());
            }
            Some(_) => return false,
        }
        true
    }

    async fn end(&self, writer: &mut Writer, answer: Answer) {
        let usage = if self.include_usage {
            match Usage::of(&self.state, self.workspace, &self.question, &answer).await {
                Ok(usage) => Some(usage),
                Err(error) => return writer.fail(&error),
            }
        } else {
            None
        };
        writer.end(answer, usage);
    }
}

/// Writes chunks into one reused buffer.
struct Writer {
    head: Head,
    asked: Asked,
    buffer: BytesMut,
}

impl Writer {
    fn new(head: Head, include_usage: bool) -> Self {
        let asked = if include_usage { Asked::Later } else { Asked::No };
        Self { head, asked, buffer: BytesMut::with_capacity(1_024) }
    }

    fn begin(&mut self) {
        let role = Delta { role: Some("assistant"), content: Some(""), annotations: Vec::new() };
        self.delta(role, None, None);
    }

    fn text(&mut self, text: &str) {
        self.delta(Delta { content: Some(text), ..Delta::default() }, None, None);
    }

    fn end(&mut self, answer: Answer, usage: Option<Usage>) {
        let annotations = annotations(&answer.text, &answer.citations);
        let delta = Delta { annotations, ..Delta::default() };
        self.delta(delta, Some("stop"), Some(answer.into()));
        if let Some(usage) = usage {
            self.asked = Asked::Now(usage);
            self.chunk(&[], None);
        }
        self.buffer.put_slice(b"data: [DONE]\n\n");
    }

    fn fail(&mut self, error: &ApiError) {
        self.data(&ErrorBody::of(error, None));
    }

    fn delta(
        &mut self,
        delta: Delta<'_>,
        finish_reason: Option<&'static str>,
        vocero: Option<Extension>,
    ) {
        self.chunk(&[ChunkChoice { index: 0, delta, logprobs: None, finish_reason }], vocero);
    }

    fn chunk(&mut self, choices: &[ChunkChoice<'_>], vocero: Option<Extension>) {
        let head = self.head.clone();
        self.data(&Chunk {
            id: &head.id,
            object: "chat.completion.chunk",
            created: head.created,
            model: &head.model,
            service_tier: None,
            system_fingerprint: None,
            choices,
            usage: self.asked,
            vocero,
        });
    }

    fn data(&mut self, data: &impl Serialize) {
        self.buffer.put_slice(b"data: ");
        // JSON has no line breaks outside of strings, and escapes them inside: one data line.
        if let Err(error) = serde_json::to_writer((&mut self.buffer).writer(), data) {
            tracing::error!(%error, "a chunk was not written");
        }
        self.buffer.put_slice(b"\n\n");
    }

    fn frame(&mut self) -> Bytes {
        self.buffer.split().freeze()
    }
}
