//! What visitors say.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use domain::Lang;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::answering::{Answering, Piece, Said, Sent, failure, told_politely};
use super::check_visitor;
use super::details::Details;
use crate::edge::preferred_language;
use crate::error::{ApiResult, ErrorEnvelope};
use crate::extract::{Json, id_headers};
use crate::routes::Routes;
use crate::state::AppState;
use crate::visitors::Guest;

/// A comment line goes out after this long without an event.
const SILENCE: Duration = Duration::from_secs(15);

pub(super) fn routes() -> Routes {
    Routes::new().visitor(routes!(send))
}

/// A message of a visitor.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = VisitorNewMessage)]
struct NewMessage {
    /// The token's visitor; may be left out.
    #[schema(example = "abc123")]
    visitor_id: Option<String>,
    /// One of the visitor's own; absent begins one.
    #[schema(example = "convo123")]
    conversation_id: Option<String>,
    /// What they say; may be left out where files say it.
    #[schema(max_length = 8000, example = "Hola tengo una duda")]
    content: Option<String>,
    /// Files that the visitor has uploaded and not sent yet.
    #[schema(max_items = 10, example = json!(["att_0199f0c4a5b07cc09f5a3f1d2b4c6e8a"]))]
    attachment_ids: Option<Vec<String>>,
    /// Who they are. With the first message of a visitor what the widget's form requires, where it is shown before the chat.
    contact: Option<Details>,
    /// The page's own id: a message that is sent again, for want of an answer, is one message.
    #[schema(pattern = "^[A-Za-z0-9_.:-]{1,100}$", example = "m-1")]
    client_message_id: Option<String>,
}

/// Send a message
///
/// Stored at once. Where the agent answers, the answer comes with it, whole; with `Accept: text/event-stream` as events:
/// `source`, `tool` (`{type, status}`), `token` (`{text}`), then `error` (`{code, message}`) or `done`, whose data is the body
/// of a call without streaming. While people have the conversation, and where the agent is paused, 202: nobody answers
/// here. Who goes away meanwhile finds the answer among the messages.
#[utoipa::path(
    post,
    path = "/v1/widget/messages",
    tag = "Widget",
    operation_id = "sendVisitorMessage",
    request_body = NewMessage,
    responses(
        (status = 200, description = "The message and its answer.", content((Sent = "application/json"), (String = "text/event-stream"))),
        (status = 202, description = "The message; people will answer.", body = Sent),
        (status = 402, description = "A budget is used up.", body = ErrorEnvelope),
        (status = 404, description = "The conversation, or a file, is not the visitor's own.", body = ErrorEnvelope),
        (status = 409, description = "A file was sent with a message already, or the workspace has no agent.", body = ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v1.widget.send", skip_all)]
async fn send(
    State(state): State<AppState>,
    guest: Guest,
    headers: HeaderMap,
    Json(new): Json<NewMessage>,
) -> ApiResult<Response> {
    check_visitor(&guest, new.visitor_id.as_deref())?;
    let said = Said {
        content: new.content.unwrap_or_default(),
        files: new.attachment_ids.unwrap_or_default(),
        details: new.contact,
        conversation: new.conversation_id,
        client_id: new.client_message_id,
    };
    let mut answering = Answering::begin(&state, &guest, said).await?;
    let ids = id_headers(answering.conversation, answering.question.id);
    if wants_events(&headers) {
        let language = preferred_language(&headers);
        let telling = Telling { state, guest, answering, language, ended: false };
        return Ok((ids, telling.response()).into_response());
    }
    answering.end().await?;
    let sent = answering.sent(&state, &guest).await?;
    let status = if sent.reply.is_some() { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, ids, Json(sent)).into_response())
}

/// Whether `Accept` asks for events.
fn wants_events(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|entry| {
        let essence = entry.split(';').next().unwrap_or_default().trim();
        essence.eq_ignore_ascii_case("text/event-stream")
    })
}

/// A message and its answer, as events.
struct Telling {
    state: AppState,
    guest: Guest,
    answering: Answering,
    language: Option<Lang>,
    ended: bool,
}

impl Telling {
    fn response(self) -> Response {
        let numbered = (self, 0_u64);
        let frames = futures::stream::unfold(numbered, |(mut telling, mut last)| async move {
            let frame = telling.frame(&mut last).await?;
            Some((Ok::<_, Infallible>(frame), (telling, last)))
        });
        event_stream(Body::from_stream(frames))
    }

    async fn frame(&mut self, last: &mut u64) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        let pieces = match tokio::time::timeout(SILENCE, self.answering.next()).await {
            Err(_) => return Some(Bytes::from_static(b": \n\n")),
            Ok(Some(pieces)) => pieces,
            Ok(None) => vec![Piece { kind: "done".into(), data: String::new() }],
        };
        let mut frame = String::new();
        for piece in pieces {
            let (kind, data) = self.put_into_words(piece).await;
            *last += 1;
            frame.push_str(&format!("id: {last}\nevent: {kind}\ndata: {data}\n\n"));
        }
        Some(frame.into())
    }

    /// The last event tells what is stored.
    async fn put_into_words(&mut self, piece: Piece) -> (String, String) {
        if piece.kind != "done" && piece.kind != "error" {
            return (piece.kind.into_owned(), piece.data);
        }
        self.ended = true;
        let sent = match failure(&piece) {
            Some(error) => Err(error),
            None => self.answering.sent(&self.state, &self.guest).await,
        };
        let told = sent.map(|sent| serde_json::to_string(&sent).unwrap_or_default());
        match told {
            Ok(data) => ("done".to_owned(), data),
            Err(error) => ("error".to_owned(), told_politely(&error, self.language).to_string()),
        }
    }
}

/// A response of events.
pub(super) fn event_stream(body: Body) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform")),
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (headers, body).into_response()
}
