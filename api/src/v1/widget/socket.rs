//! The live connection of a visitor.

use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::response::Response;
use domain::{ConversationId, Lang};
use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use utoipa::IntoParams;
use utoipa_axum::routes;

use super::answering::{Answering, Piece, Said as NewMessage, failure, told_politely};
use super::details::Details;
use super::live::{Follower, Place, Told};
use super::{acts, views};
use crate::edge::preferred_language;
use crate::error::{ApiError, ApiResult};
use crate::extract::Query;
use crate::live::{End, Frame, Line, UNAUTHORIZED};
use crate::routes::Routes;
use crate::state::AppState;
use crate::visitors::{Guest, MaybeGuest, Seat, Site, too_many_sockets};

/// Bytes of a frame from a client.
const MAX_FRAME: usize = 64 << 10;
/// Pieces of answers that wait for a slow client; then they wait, too.
const WAITING_PIECES: usize = 64;

pub(super) fn routes() -> Routes {
    Routes::new().site(routes!(connect))
}

/// Where the connection is taken up, and by whom.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct ConnectQuery {
    /// The cursor that was told last; or the `seq` of the newest message that the page has of `conversationId`.
    #[param(value_type = String, required = false)]
    after: Option<String>,
    /// Where a message goes that names no conversation, and what a number as `after` counts in.
    #[param(value_type = String, pattern = "^conv_[0-9a-f]{32}$", required = false)]
    conversation_id: Option<String>,
    /// The site key: a browser cannot set headers on a WebSocket.
    #[serde(rename = "siteKey")]
    #[param(value_type = String, required = false)]
    _site_key: Option<String>,
    /// The visitor token; better sent in the first frame, which no log has.
    #[serde(rename = "visitorToken")]
    #[param(value_type = String, required = false)]
    _visitor_token: Option<String>,
}

/// What a client says.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
enum Said {
    /// Who it is; the first frame, unless the address said so.
    #[serde(rename_all = "camelCase")]
    Auth {
        visitor_token: String,
        after: Option<After>,
        conversation_id: Option<String>,
    },
    /// A message, in the conversation of the connection unless it names another one.
    #[serde(rename_all = "camelCase")]
    Message {
        content: Option<String>,
        attachment_ids: Option<Vec<String>>,
        contact: Option<Details>,
        client_message_id: Option<String>,
        conversation_id: Option<String>,
    },
    /// It types, or stopped.
    #[serde(rename_all = "camelCase")]
    Typing {
        typing: Option<bool>,
        conversation_id: Option<String>,
    },
    /// It has read up to a message.
    #[serde(rename_all = "camelCase")]
    Read {
        seq: i64,
        conversation_id: Option<String>,
    },
    Ping,
}

/// A cursor, or a number.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum After {
    Seq(i64),
    Cursor(String),
}

/// Connect a visitor
///
/// A WebSocket. Unless the address has a `visitorToken`, the first frame is `{"type": "auth", "visitorToken", "after"?,
/// "conversationId"?}`. The server answers `{"type": "ready", "visitorId", "conversationId", "conversations", "cursor"}` and tells, as
/// it happens, `message` (`{message, cursor}`, whoever wrote it), `conversation` (`{conversation}`: status or who answers is another),
/// `typing` (`{conversationId, typing, author}`) and, while the agent answers a message of this connection, `source`, `tool` and `token`
/// (`{conversationId, messageId, text}`); the `message` with that id is the whole answer. The client sends `{"type": "message",
/// "content"?, "attachmentIds"?, "contact"?, "clientMessageId"?, "conversationId"?}`, which is answered by `ack` (`{clientMessageId, message}`) or `error`
/// (`{code, message, clientMessageId}`); `typing` (`{typing}`), `read` (`{seq}`) and `ping`. After a cut it connects with the last
/// `cursor` as `after`, and sends again what was not acknowledged: nothing is lost, nothing doubled. An answer is
/// written to its end although its connection is cut. Closed with 4401 when the token does not hold, or no longer, with 4403
/// when the conversation is not the visitor's or the page may not come here any more, with 1008 when a frame or a cursor is not
/// understood, with 1009 when a frame is over 64 KiB, with 1001 when the server stops, with 1013 when there are too many
/// connections.
#[utoipa::path(
    get,
    path = "/v1/widget/ws",
    tag = "Widget",
    operation_id = "connectVisitor",
    params(ConnectQuery),
    responses(
        (status = 101, description = "The protocol changes to WebSocket."),
        (status = 400, description = "No WebSocket was asked for.", body = crate::error::ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v1.widget.connect", skip_all)]
async fn connect(
    State(state): State<AppState>,
    site: Site,
    MaybeGuest(guest): MaybeGuest,
    headers: HeaderMap,
    Query(query): Query<ConnectQuery>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> ApiResult<Response> {
    let language = preferred_language(&headers);
    let place = Place { after: query.after, conversation: query.conversation_id };
    let live = state.live.clone();
    live.open_line(upgrade, MAX_FRAME, move |line| {
        Connection { state, site, line, language }.run(guest, place)
    })
}

struct Connection {
    state: AppState,
    site: Site,
    line: Line,
    language: Option<Lang>,
}

/// A visitor who is connected.
struct Visiting {
    guest: Guest,
    follower: Follower,
    /// Where a message goes that names no conversation.
    conversation: Option<ConversationId>,
    /// Pieces of answers to messages of this connection.
    pieces: (mpsc::Sender<Value>, mpsc::Receiver<Value>),
    _seat: Seat,
}

impl Connection {
    async fn run(mut self, guest: Option<Guest>, place: Place) {
        let stopping = self.state.live.stopping().clone();
        let end = End::of(&stopping, Box::pin(self.serve(guest, place))).await;
        self.line.close(end).await;
    }

    async fn serve(&mut self, guest: Option<Guest>, place: Place) -> Result<(), End> {
        let (guest, place) = match guest {
            Some(guest) => (guest, place),
            None => self.first_words().await?,
        };
        let visiting = self.greet(guest, place).await?;
        self.follow(visiting).await
    }

    async fn first_words(&mut self) -> Result<(Guest, Place), End> {
        let silent = || End::new(UNAUTHORIZED, "the first frame must be `auth`");
        let said = self.line.first_words(silent()).await?;
        let Said::Auth { visitor_token, after, conversation_id } = said else {
            return Err(silent());
        };
        let guest = Guest::of_token(&self.state, &self.site, &visitor_token);
        let guest = guest.ok_or_else(|| End::new(UNAUTHORIZED, "UNAUTHORIZED"))?;
        let after = after.map(|after| match after {
            After::Seq(seq) => seq.to_string(),
            After::Cursor(cursor) => cursor,
        });
        Ok((guest, Place { after, conversation: conversation_id }))
    }

    async fn greet(&mut self, guest: Guest, place: Place) -> Result<Visiting, End> {
        let seat = self.state.visitors.seat(&guest).ok_or_else(too_many_sockets)?;
        let follower = Follower::start(&self.state, &guest, &place).await?;
        let conversations = follower.conversations().await?;
        let named = place.conversation.and_then(|id| id.parse().ok());
        let named = named.filter(|id| follower.follows(*id));
        let active = conversations.iter().find(|conversation| !conversation.is_closed());
        let conversation =
            named.or_else(|| active.and_then(|conversation| conversation.id.parse().ok()));
        let ready = json!({
            "type": "ready",
            "visitorId": guest.visitor.as_str(),
            "conversationId": conversation,
            "conversations": conversations,
            "cursor": follower.cursor(),
        });
        self.line.tell(&ready).await?;
        let pieces = mpsc::channel(WAITING_PIECES);
        Ok(Visiting { guest, follower, conversation, pieces, _seat: seat })
    }

    async fn follow(&mut self, mut visiting: Visiting) -> Result<(), End> {
        loop {
            tokio::select! {
                told = visiting.follower.next() => {
                    let told = told?;
                    if matches!(told, Told::Closed) {
                        return Err(End::stopping());
                    }
                    self.line.tell(&told.frame(&visiting.follower.cursor())).await?;
                }
                Some(piece) = visiting.pieces.1.recv() => self.line.tell(&piece).await?,
                frame = self.line.next() => match frame? {
                    Frame::Said(said) => self.answer(&mut visiting, said).await?,
                    Frame::Quiet => {
                        if !visiting.follower.is_let_in().await? {
                            return Err(End::new(UNAUTHORIZED, "UNAUTHORIZED"));
                        }
                        self.line.ping().await?;
                    }
                },
            }
        }
    }

    async fn answer(&mut self, visiting: &mut Visiting, said: Said) -> Result<(), End> {
        if let Err(error) = self.state.limits.count_request(visiting.guest.key()).1 {
            return self.refuse(&error, None).await;
        }
        match said {
            Said::Ping => self.line.tell(&json!({"type": "pong"})).await,
            Said::Auth { .. } => {
                let message = "`auth` is the first frame; connect again to be somebody else";
                self.refuse(&ApiError::invalid("type", message), None).await
            }
            Said::Message {
                content,
                attachment_ids,
                contact,
                client_message_id,
                conversation_id,
            } => {
                let conversation =
                    conversation_id.or_else(|| visiting.conversation.map(|id| id.to_string()));
                let client_id = client_message_id.clone();
                let content = content.unwrap_or_default();
                let files = attachment_ids.unwrap_or_default();
                let said = NewMessage { content, files, details: contact, conversation, client_id };
                self.take(visiting, said, client_message_id).await
            }
            Said::Typing { typing, conversation_id } => {
                let signal = json!({"kind": "typing", "typing": typing.unwrap_or(true)});
                self.pass_on(visiting, conversation_id, signal).await
            }
            Said::Read { seq, conversation_id } => {
                let signal = json!({"kind": "read", "seq": seq});
                self.pass_on(visiting, conversation_id, signal).await
            }
        }
    }

    /// Stores a message, says so, and follows its answer beside everything else.
    async fn take(
        &mut self,
        visiting: &mut Visiting,
        said: NewMessage,
        client_id: Option<String>,
    ) -> Result<(), End> {
        if !visiting.follower.is_let_in().await? {
            return Err(End::new(UNAUTHORIZED, "UNAUTHORIZED"));
        }
        let begun = Answering::begin(&self.state, &visiting.guest, said).await;
        let answering = match begun {
            Ok(answering) => answering,
            Err(error) => return self.refuse(&error, client_id).await,
        };
        let question = answering.question.clone();
        visiting.conversation = Some(answering.conversation);
        visiting.follower.acknowledge(answering.conversation, question.id, question.seq);
        let mut conn = self.state.db.read().await.map_err(ApiError::from)?;
        let views =
            views::of_messages(&self.state, &mut conn, &visiting.guest, vec![question]).await;
        drop(conn);
        let message = views.map_err(ApiError::from)?.pop();
        let ack = json!({"type": "ack", "clientMessageId": client_id, "message": message});
        self.line.tell(&ack).await?;
        let told = Telling {
            answering,
            to: visiting.pieces.0.clone(),
            language: self.language,
            client_id,
        };
        self.state.live.tracker().spawn(told.run());
        Ok(())
    }

    async fn pass_on(
        &mut self,
        visiting: &Visiting,
        conversation: Option<String>,
        signal: Value,
    ) -> Result<(), End> {
        let conversation = conversation.or_else(|| visiting.conversation.map(|id| id.to_string()));
        let Some(conversation) = conversation else { return Ok(()) };
        let told = acts::tell_people(&self.state, &visiting.guest, &conversation, signal).await;
        match told {
            Ok(()) => Ok(()),
            Err(error) => self.refuse(&error, None).await,
        }
    }

    async fn refuse(&mut self, error: &ApiError, client_id: Option<String>) -> Result<(), End> {
        self.line.tell(&refusal(error, self.language, client_id.as_deref())).await
    }
}

/// Tells how an answer is written, for as long as its connection is there. The answer does not depend on it.
struct Telling {
    answering: Answering,
    to: mpsc::Sender<Value>,
    language: Option<Lang>,
    client_id: Option<String>,
}

impl Telling {
    async fn run(mut self) {
        loop {
            let pieces = tokio::select! {
                pieces = self.answering.next() => pieces,
                () = self.to.closed() => return,
            };
            for piece in pieces.into_iter().flatten() {
                let is_last = piece.kind == "done" || piece.kind == "error";
                let frame = self.frame(&piece);
                if let Some(frame) = frame
                    && self.to.send(frame).await.is_err()
                {
                    return;
                }
                if is_last {
                    return;
                }
            }
            if self.answering.is_over() {
                return;
            }
        }
    }

    fn frame(&self, piece: &Piece) -> Option<Value> {
        if let Some(error) = failure(piece) {
            return Some(refusal(&error, self.language, self.client_id.as_deref()));
        }
        let kind = piece.kind.as_ref();
        if kind == "done" || kind == "error" {
            // The message itself follows, or people have the conversation.
            return None;
        }
        let data: Value = serde_json::from_str(&piece.data).unwrap_or_default();
        let mut frame = if kind == "token" { data } else { json!({kind: data}) };
        frame["type"] = json!(kind);
        frame["conversationId"] = json!(self.answering.conversation);
        frame["messageId"] = json!(self.answering.answer());
        Some(frame)
    }
}

fn refusal(error: &ApiError, language: Option<Lang>, client_id: Option<&str>) -> Value {
    let mut frame = told_politely(error, language);
    frame["type"] = json!("error");
    if let Some(client_id) = client_id {
        frame["clientMessageId"] = json!(client_id);
    }
    frame
}
