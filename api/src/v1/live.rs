//! The live connection of members: what happens in their workspace, who is there, who types.
//!
//! A browser cannot put a header on a WebSocket, and an address is logged: so the token comes in the first frame (or in
//! the header, from programs). It is checked again before anything is told, so a session that ends, or a member who is
//! removed, hears nothing more; a token that ran out is renewed by another `auth` frame on the same connection.

use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::response::Response;
use domain::{Action, ConversationId, UserId, WorkspaceId};
use http::header;
use http::request::Parts;
use serde::Deserialize;
use serde_json::{Value, json};
use storage::conversations;
use storage::events::Event;
use utoipa_axum::routes;

use crate::auth::{Caller, admit_to_panel};
use crate::error::{ApiError, ApiResult};
use crate::extract::Query;
use crate::live::{Attendance, End, FORBIDDEN, Frame, Heard, Line, Subscription, UNAUTHORIZED};
use crate::paging::whole_number;
use crate::routes::Routes;
use crate::state::AppState;

/// Bytes of a frame from a client.
const MAX_FRAME: usize = 16 << 10;

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

/// Where a program goes on.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct FollowQuery {
    /// The number of the last event that is known, where `Authorization` says who is there; else it stands in the first frame.
    #[param(value_type = i64, minimum = 0, required = false)]
    after: Option<String>,
}

/// Follow a workspace live
///
/// A WebSocket. The first frame says who is there: `{"type": "auth", "token": "…", "workspaceId"?: "ws_…", "after"?: 41}`;
/// programs may send `Authorization`, and `after` in the address, instead. The server answers `{"type": "ready", "seq", "workspaceId", "present":
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
    params(FollowQuery),
    responses(
        (status = 101, description = "The protocol changes to WebSocket."),
        (status = 400, description = "No WebSocket was asked for.", body = crate::error::ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v1.live.connect", skip_all)]
async fn connect(
    State(state): State<AppState>,
    Query(query): Query<FollowQuery>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    parts: Parts,
) -> ApiResult<Response> {
    let after = query.after.as_deref();
    let after = after.map(|seq| whole_number("after", seq, 0, i64::MAX)).transpose()?;
    let live = state.live.clone();
    live.open_line(upgrade, MAX_FRAME, move |line| {
        Connection { door: Door { state, parts }, line, after }.run()
    })
}

struct Connection {
    door: Door,
    line: Line,
    /// The number of the last event that a program knows, which has no first frame.
    after: Option<i64>,
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
        let end = End::of(&stopping, Box::pin(self.serve())).await;
        self.line.close(end).await;
    }

    async fn serve(&mut self) -> Result<(), End> {
        let listener = self.greet().await?;
        self.follow(listener).await
    }

    /// Learns who is there.
    async fn greet(&mut self) -> Result<Listener, End> {
        let header = self.door.parts.headers.get(header::AUTHORIZATION);
        let header = header.and_then(|value| value.to_str().ok()).and_then(|v| v.split_once(' '));
        let workspace = self.door.parts.headers.get("x-workspace-id");
        let workspace = workspace.and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (token, workspace, after) = match header {
            Some((_, token)) => (token.trim().to_owned(), workspace, self.after),
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
        self.line.tell(&ready).await?;
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
        match self.line.first_words(silent()).await? {
            Said::Auth { token, workspace_id, after } => Ok((token, workspace_id, after)),
            _ => Err(silent()),
        }
    }

    async fn follow(&mut self, mut listener: Listener) -> Result<(), End> {
        loop {
            tokio::select! {
                heard = listener.subscription.next() => {
                    let heard = heard.map_err(ApiError::from)?;
                    self.door.still_admits(&listener).await?;
                    self.tell(&listener, heard).await?;
                }
                frame = self.line.next() => match frame? {
                    Frame::Said(said) => self.answer(&mut listener, said).await?,
                    Frame::Quiet => {
                        self.door.still_admits(&listener).await?;
                        self.line.ping().await?;
                    }
                },
            }
        }
    }

    async fn answer(&mut self, listener: &mut Listener, said: Said) -> Result<(), End> {
        match said {
            Said::Ping => self.line.tell(&json!({"type": "pong"})).await,
            Said::Auth { token, .. } => {
                let workspace = listener.workspace.to_string();
                listener.caller = self.door.admit(&token, Some(&workspace)).await?;
                listener.token = token;
                self.line.tell(&json!({"type": "renewed"})).await
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
        self.line.tell(&json!({"type": "error", "code": code, "message": message})).await
    }

    async fn tell(&mut self, listener: &Listener, heard: Heard) -> Result<(), End> {
        match heard {
            Heard::Event(event) => self.line.tell(&view(&event)).await,
            Heard::Reset(seq) => self.line.tell(&json!({"type": "reset", "seq": seq})).await,
            Heard::Closed => Err(End::stopping()),
            Heard::Signal(signal) => {
                let mut told = (*signal).clone();
                let Some(fields) = told.as_object_mut() else { return Ok(()) };
                let Some(kind) = fields.remove("kind") else { return Ok(()) };
                let own = listener.user.map(|user| json!(user));
                if kind != "presence" && own.is_some() && fields.get("userId") == own.as_ref() {
                    return Ok(());
                }
                fields.insert("type".to_owned(), kind);
                self.line.tell(&told).await
            }
        }
    }
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
