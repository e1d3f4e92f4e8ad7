//! The live connection of members: what happens in their workspace, who is there, who types.
//!
//! A browser cannot put a header on a WebSocket, and an address is logged: so the token comes in the first frame (or in
//! the header, from programs). It is checked again before anything is told, so a session that ends, or a member who is
//! removed, hears nothing more; a token that ran out is renewed by another `auth` frame on the same connection.

use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use domain::{Action, ConversationId, DomainError, ErrorKind, UserId, WorkspaceId};
use http::header;
use http::request::Parts;
use serde::Deserialize;
use serde_json::{Value, json};
use storage::conversations;
use storage::events::Event;
use utoipa_axum::routes;

use crate::auth::{Caller, admit_to_panel};
use crate::error::{ApiError, ApiResult};
use crate::live::{Attendance, Heard, Subscription};
use crate::routes::Routes;
use crate::state::AppState;

/// Bytes of a frame from a client.
const MAX_FRAME: usize = 16 << 10;
/// How long a client may take to say who it is.
const FIRST_WORDS: Duration = Duration::from_secs(10);
/// Between two pings; a connection over which nothing came for two of them is dead.
const PING: Duration = Duration::from_secs(25);
/// How long a client may take to take a frame.
const SEND: Duration = Duration::from_secs(10);
/// A client whose credential does not hold, or no longer.
const UNAUTHORIZED: u16 = 4401;
/// A client that may not do this.
const FORBIDDEN: u16 = 4403;

pub(super) fn routes() -> Routes {
    Routes::new().connection(routes!(connect))
}

/// What a client says.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
enum Said {
    /// Who it is; the first frame, and again before its token runs out.
    #[serde(rename_all = "camelCase")]
    Auth {
        token: String,
        workspace_id: Option<String>,
        /// The number of the last event that it knows.
        after: Option<i64>,
    },
    /// It types in a conversation, or stopped.
    #[serde(rename_all = "camelCase")]
    Typing {
        conversation_id: ConversationId,
        typing: Option<bool>,
    },
    /// It looks at a conversation, or at none.
    #[serde(rename_all = "camelCase")]
    Viewing {
        conversation_id: Option<ConversationId>,
    },
    Ping,
}

/// Follow a workspace live
///
/// A WebSocket. The first frame says who is there: `{"type": "auth", "token": "…", "workspaceId"?: "ws_…", "after"?: 41}`;
/// programs may send `Authorization` instead. The server answers `{"type": "ready", "seq", "workspaceId", "present":
/// ["user_…"]}` and then tells `{"type": "event", "seq", "id", "kind", "subject", "payload", "at"}` for everything that
/// happens, in order: after a cut, `after` with the last `seq` goes on without loss and without doubles.
/// `{"type": "reset", "seq"}` says that events before are gone, so that what is shown is to be read again. Passing:
/// `presence` (`userId`, `state`), `typing` (`conversationId`, `typing`, and `userId` of a member or `visitorId` of the
/// customer), `viewing` (`conversationId`, `userId`, `viewing`) and `read` (`conversationId`, `seq`, `visitorId`: how far the
/// customer has read). A client may send `typing` (`conversationId`, `typing`), `viewing` (`conversationId` or null), `ping`,
/// which is answered by `pong`, and `auth` again with a newer token, which is answered by `renewed`; what it may not do is
/// answered by `error` (`code`, `message`). Closed with 4401 when the credential does not hold, or no longer, with 4403 when
/// the workspace is not the caller's or the role does not allow it, with 1008 when a frame is not understood, with 1001 when the
/// server stops, with 1013 when it is full.
#[utoipa::path(
    get,
    path = "/v1/ws",
    tag = "Live",
    operation_id = "followWorkspace",
    responses(
        (status = 101, description = "The protocol changes to WebSocket."),
        (status = 400, description = "No WebSocket was asked for.", body = crate::error::ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v1.live.connect", skip_all)]
async fn connect(
    State(state): State<AppState>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    parts: Parts,
) -> ApiResult<Response> {
    let upgrade = upgrade.map_err(|_| {
        let message = "`Upgrade` must ask for a WebSocket here; use a WebSocket client";
        ApiError::invalid("Upgrade", message)
    })?;
    let seat = state.live.seat().ok_or_else(full)?;
    let tracker = state.live.tracker().clone();
    let upgrade = upgrade.max_message_size(MAX_FRAME).max_frame_size(MAX_FRAME);
    Ok(upgrade.on_upgrade(move |socket| {
        tracker.track_future(async move {
            Connection { door: Door { state, parts }, socket }.run().await;
            drop(seat);
        })
    }))
}

fn full() -> ApiError {
    let message = "there are as many live connections as this server takes; try again in a while";
    let wait = Duration::from_secs(30);
    DomainError::unavailable("SERVER_UNAVAILABLE", message, wait).into()
}

struct Connection {
    door: Door,
    socket: WebSocket,
}

/// Where a client knocked.
struct Door {
    state: AppState,
    parts: Parts,
}

/// A client that said who it is.
struct Listener {
    caller: Caller,
    token: String,
    workspace: WorkspaceId,
    /// The person, where it is one.
    user: Option<UserId>,
    subscription: Subscription,
    /// Held for as long as they are there.
    _attendance: Option<Attendance>,
    viewing: Option<ConversationId>,
}

/// Why a connection ends.
struct End {
    code: u16,
    reason: String,
}

impl End {
    fn new(code: u16, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into() }
    }

    /// The client went away: nobody is left to be told.
    fn gone() -> Self {
        Self::new(close_code::NORMAL, "")
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

impl Door {
    async fn admit(&self, token: &str, workspace: Option<&str>) -> Result<Caller, End> {
        let action = Action::ReadConversations;
        Ok(admit_to_panel(&self.state, &self.parts, token, workspace, action).await?)
    }

    /// Whether the credential still holds. A look at what is remembered for seconds, mostly.
    async fn still_admits(&self, listener: &Listener) -> Result<(), End> {
        let workspace = listener.workspace.to_string();
        self.admit(&listener.token, Some(&workspace)).await.map(|_| ())
    }
}

impl Connection {
    async fn run(mut self) {
        let stopping = self.door.state.live.stopping().clone();
        let ended = tokio::select! {
            ended = self.serve() => ended,
            () = stopping.cancelled() => End::new(close_code::AWAY, "the server stops"),
        };
        let frame = CloseFrame { code: ended.code, reason: ended.reason.into() };
        // Whoever went away is not told.
        let _ = tokio::time::timeout(SEND, self.socket.send(Message::Close(Some(frame)))).await;
    }

    async fn serve(&mut self) -> End {
        let greeted = match self.greet().await {
            Ok(greeted) => greeted,
            Err(end) => return end,
        };
        match self.follow(greeted).await {
            Ok(()) => End::gone(),
            Err(end) => end,
        }
    }

    /// Learns who is there.
    async fn greet(&mut self) -> Result<Listener, End> {
        let header = self.door.parts.headers.get(header::AUTHORIZATION);
        let header = header.and_then(|value| value.to_str().ok()).and_then(|v| v.split_once(' '));
        let workspace = self.door.parts.headers.get("x-workspace-id");
        let workspace = workspace.and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (token, workspace, after) = match header {
            Some((_, token)) => (token.trim().to_owned(), workspace, None),
            None => self.first_words().await?,
        };
        let caller = self.door.admit(&token, workspace.as_deref()).await?;
        let (id, user) = (caller.workspace(), caller.person().ok().map(|person| person.user));
        let subscription =
            self.door.state.live.subscribe(id, after).await.map_err(ApiError::from)?;
        let subscription = subscription.ok_or_else(|| End::new(FORBIDDEN, "NOT_FOUND"))?;
        let attendance = user.map(|user| self.door.state.live.attend(id, user));
        let ready = json!({
            "type": "ready",
            "workspaceId": id,
            "seq": subscription.last(),
            "present": self.door.state.live.present(id),
        });
        self.send(&ready).await?;
        Ok(Listener {
            caller,
            token,
            workspace: id,
            user,
            subscription,
            _attendance: attendance,
            viewing: None,
        })
    }

    async fn first_words(&mut self) -> Result<(String, Option<String>, Option<i64>), End> {
        let silent = || End::new(UNAUTHORIZED, "the first frame must be `auth`");
        let heard = tokio::time::timeout(FIRST_WORDS, self.said()).await.map_err(|_| silent())?;
        match heard? {
            Some(Said::Auth { token, workspace_id, after }) => Ok((token, workspace_id, after)),
            _ => Err(silent()),
        }
    }

    async fn follow(&mut self, mut listener: Listener) -> Result<(), End> {
        let mut pings = tokio::time::interval(PING);
        pings.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut unanswered = 0;
        loop {
            tokio::select! {
                heard = listener.subscription.next() => {
                    let heard = heard.map_err(ApiError::from)?;
                    self.door.still_admits(&listener).await?;
                    self.tell(&listener, heard).await?;
                }
                message = self.socket.recv() => {
                    unanswered = 0;
                    let Some(Ok(message)) = message else { return Ok(()) };
                    match parse(&message)? {
                        Some(said) => self.answer(&mut listener, said).await?,
                        None if matches!(message, Message::Close(_)) => return Ok(()),
                        None => {}
                    }
                }
                _ = pings.tick() => {
                    if unanswered >= 2 {
                        return Err(End::new(close_code::AWAY, "nothing came for a while"));
                    }
                    unanswered += 1;
                    self.door.still_admits(&listener).await?;
                    self.send_message(Message::Ping(Vec::new().into())).await?;
                }
            }
        }
    }

    async fn answer(&mut self, listener: &mut Listener, said: Said) -> Result<(), End> {
        match said {
            Said::Ping => self.send(&json!({"type": "pong"})).await,
            Said::Auth { token, .. } => {
                let workspace = listener.workspace.to_string();
                listener.caller = self.door.admit(&token, Some(&workspace)).await?;
                listener.token = token;
                self.send(&json!({"type": "renewed"})).await
            }
            Said::Typing { conversation_id, typing } => {
                let typing = typing.unwrap_or(true);
                let told = json!({"kind": "typing", "typing": typing});
                self.pass_on(listener, conversation_id, told).await
            }
            Said::Viewing { conversation_id } => {
                let before = std::mem::replace(&mut listener.viewing, conversation_id);
                if let Some(left) = before.filter(|before| Some(*before) != conversation_id) {
                    let told = json!({"kind": "viewing", "viewing": false});
                    self.pass_on(listener, left, told).await?;
                }
                let Some(entered) = conversation_id else { return Ok(()) };
                self.pass_on(listener, entered, json!({"kind": "viewing", "viewing": true})).await
            }
        }
    }

    /// Tells the others what a member does in a conversation of the workspace.
    async fn pass_on(
        &mut self,
        listener: &Listener,
        conversation: ConversationId,
        mut signal: Value,
    ) -> Result<(), End> {
        let Some(user) = listener.user else {
            return self.refuse("FORBIDDEN", "an API key does not type; sign in").await;
        };
        if !listener.caller.may(Action::WorkConversations) {
            return self.refuse("FORBIDDEN", "this needs the role agent in the workspace").await;
        }
        let mut conn = self.door.state.db.read().await.map_err(ApiError::from)?;
        let found = conversations::get(&mut conn, listener.workspace, conversation).await;
        drop(conn);
        if found.map_err(ApiError::from)?.is_none() {
            return self.refuse("NOT_FOUND", "conversation not found").await;
        }
        signal["conversationId"] = json!(conversation);
        signal["userId"] = json!(user);
        let told = self.door.state.live.signal(listener.workspace, &signal).await;
        Ok(told.map_err(ApiError::from)?)
    }

    async fn refuse(&mut self, code: &str, message: &str) -> Result<(), End> {
        self.send(&json!({"type": "error", "code": code, "message": message})).await
    }

    async fn tell(&mut self, listener: &Listener, heard: Heard) -> Result<(), End> {
        match heard {
            Heard::Event(event) => self.send(&view(&event)).await,
            Heard::Reset(seq) => self.send(&json!({"type": "reset", "seq": seq})).await,
            Heard::Closed => Err(End::new(close_code::AWAY, "the server stops")),
            Heard::Signal(signal) => {
                let mut told = (*signal).clone();
                let Some(fields) = told.as_object_mut() else { return Ok(()) };
                let Some(kind) = fields.remove("kind") else { return Ok(()) };
                let own = listener.user.map(|user| json!(user));
                if kind != "presence" && own.is_some() && fields.get("userId") == own.as_ref() {
                    return Ok(());
                }
                fields.insert("type".to_owned(), kind);
                self.send(&told).await
            }
        }
    }

    async fn said(&mut self) -> Result<Option<Said>, End> {
        loop {
            let Some(Ok(message)) = self.socket.recv().await else { return Err(End::gone()) };
            if matches!(message, Message::Close(_)) {
                return Err(End::gone());
            }
            if let Some(said) = parse(&message)? {
                return Ok(Some(said));
            }
        }
    }

    async fn send(&mut self, value: &Value) -> Result<(), End> {
        self.send_message(Message::Text(value.to_string().into())).await
    }

    /// A client that takes nothing any more is let go: it comes back and reads what it missed.
    async fn send_message(&mut self, message: Message) -> Result<(), End> {
        match tokio::time::timeout(SEND, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(End::gone()),
        }
    }
}

/// What a frame says; `None` for those that say nothing.
fn parse(message: &Message) -> Result<Option<Said>, End> {
    let Message::Text(text) = message else { return Ok(None) };
    let parsed = serde_json::from_str(text.as_str());
    parsed.map(Some).map_err(|error| {
        let reason: String = format!("not understood: {error}").chars().take(100).collect();
        End::new(close_code::POLICY, reason)
    })
}

fn view(event: &Event) -> Value {
    json!({
        "type": "event",
        "seq": event.seq,
        "id": event.id,
        "kind": event.kind,
        "subject": event.subject,
        "payload": event.payload,
        "at": event.created_at.to_rfc3339(),
    })
}
