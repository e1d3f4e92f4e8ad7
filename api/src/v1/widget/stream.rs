//! The live connection of a visitor as a stream of events, for where no WebSocket gets through.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;
use utoipa::IntoParams;
use utoipa_axum::routes;

use super::live::{Follower, Place, Told};
use super::messages::event_stream;
use crate::error::ApiResult;
use crate::extract::Query;
use crate::live::full;
use crate::routes::Routes;
use crate::state::AppState;
use crate::visitors::{Guest, Seat, too_many_sockets};

/// A comment line goes out after this long without an event, and it is looked whether the visitor is still let in.
const SILENCE: Duration = Duration::from_secs(15);

pub(super) fn routes() -> Routes {
    Routes::new().visitor(routes!(follow))
}

/// Where the stream is taken up.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct StreamQuery {
    /// As the header `Last-Event-ID`, which wins; or the `seq` of the newest message that the page has of `conversationId`.
    #[param(value_type = String, required = false)]
    after: Option<String>,
    /// The conversation that a number as `after` counts in; with a cursor it is not needed. Told are all of the visitor's.
    #[param(value_type = String, pattern = "^conv_[0-9a-f]{32}$", required = false)]
    conversation_id: Option<String>,
    /// The site key, for `EventSource`, which cannot set headers.
    #[serde(rename = "siteKey")]
    #[param(value_type = String, required = false)]
    _site_key: Option<String>,
    /// The visitor token, likewise.
    #[serde(rename = "visitorToken")]
    #[param(value_type = String, required = false)]
    _visitor_token: Option<String>,
}

/// Follow a visitor's conversations
///
/// Events: `ready` (`{visitorId, conversations, cursor}`), then, as they happen, `message` (`{message}`, whoever wrote it),
/// `conversation` (`{conversation}`: status or who answers is another) and `typing` (`{conversationId, typing, author}`). The id
/// of an event is the cursor to come back with: what happened meanwhile is told first, once.
#[utoipa::path(
    get,
    path = "/v1/widget/stream",
    tag = "Widget",
    operation_id = "followVisitor",
    params(
        ("last-event-id" = Option<String>, Header, description = "The id of the last event that you have."),
        StreamQuery,
    ),
    responses(
        (status = 200, description = "The events.", content((String = "text/event-stream"))),
        (status = 404, description = "The conversation is not the visitor's own.", body = crate::error::ErrorEnvelope),
    ),
)]
#[tracing::instrument(name = "handler.v1.widget.follow", skip_all)]
async fn follow(
    State(state): State<AppState>,
    guest: Guest,
    headers: HeaderMap,
    Query(query): Query<StreamQuery>,
) -> ApiResult<Response> {
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let last = last.filter(|last| !last.is_empty()).map(str::to_owned);
    let place = Place { after: last.or(query.after), conversation: query.conversation_id };
    let seat = state.visitors.seat(&guest).ok_or_else(too_many_sockets)?;
    let place_in_all = state.live.seat().ok_or_else(full)?;
    let follower = Follower::start(&state, &guest, &place).await?;
    let ready = json!({
        "visitorId": guest.visitor.as_str(),
        "conversations": follower.conversations().await?,
        "cursor": follower.cursor(),
    });
    let following = Following {
        stopping: state.live.stopping().clone(),
        first: Some(ready),
        follower,
        _seats: (seat, place_in_all),
    };
    let frames = futures::stream::unfold(following, |mut following| async move {
        let frame = following.frame().await?;
        Some((Ok::<_, Infallible>(frame), following))
    });
    Ok(event_stream(Body::from_stream(frames)))
}

struct Following {
    follower: Follower,
    stopping: tokio_util::sync::CancellationToken,
    first: Option<Value>,
    _seats: (Seat, OwnedSemaphorePermit),
}

impl Following {
    async fn frame(&mut self) -> Option<Bytes> {
        if let Some(ready) = self.first.take() {
            return Some(self.event("ready", &ready));
        }
        let stopping = self.stopping.clone();
        let next = tokio::time::timeout(SILENCE, self.follower.next());
        match stopping.run_until_cancelled(next).await? {
            Ok(Ok(Told::Closed) | Err(_)) => None,
            Ok(Ok(told)) => Some(self.event(told.kind(), &told.data())),
            Err(_) => {
                let is_let_in = self.follower.is_let_in().await.unwrap_or(false);
                is_let_in.then(|| Bytes::from_static(b": \n\n"))
            }
        }
    }

    fn event(&self, kind: &str, data: &Value) -> Bytes {
        format!("id: {}\nevent: {kind}\ndata: {data}\n\n", self.follower.cursor()).into()
    }
}
