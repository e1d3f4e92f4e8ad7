//! `/v1/widget`: for the pages of a site and their visitors.
//!
//! What a visitor sees is theirs: the conversations that they began on this site, without notes, prompts or tools' words.

mod acts;
mod answering;
mod attachments;
mod details;
#[expect(unused_qualifications, reason = "in what the macro of the route's description makes")]
mod history;
mod init;
mod live;
mod messages;
mod offline;
#[expect(unused_qualifications, reason = "in what the macro of the route's description makes")]
mod socket;
#[expect(unused_qualifications, reason = "in what the macro of the route's description makes")]
mod stream;
mod views;

use domain::conversation::Conversation;
use domain::{ConversationId, DomainError};
use storage::{Conn, conversations};

use crate::error::{ApiError, ApiResult};
use crate::routes::Routes;
use crate::visitors::Guest;

pub(super) fn routes() -> Routes {
    Routes::new()
        .with(init::routes())
        .with(messages::routes())
        .with(attachments::routes())
        .with(history::routes())
        .with(offline::routes())
        .with(acts::routes())
        .with(stream::routes())
        .with(socket::routes())
}

/// A conversation that the visitor began on this site; 404 for every other one.
async fn own_conversation(
    conn: &mut Conn,
    guest: &Guest,
    id: ConversationId,
) -> ApiResult<Conversation> {
    let found = conversations::get(conn, guest.site.workspace, id).await?;
    found.filter(|conversation| is_own(guest, conversation)).ok_or_else(no_conversation)
}

/// Whether the visitor began it on this site.
fn is_own(guest: &Guest, conversation: &Conversation) -> bool {
    conversation.visitor_id.as_ref() == Some(&guest.visitor)
        && conversation.project_id == Some(guest.site.project.id)
}

/// A conversation named in a body. A malformed id names none.
fn read_conversation(text: &str) -> ApiResult<ConversationId> {
    text.parse().map_err(|_| no_conversation())
}

fn no_conversation() -> ApiError {
    DomainError::not_found("conversation").into()
}

/// Who a body says that its sender is, if it says so, is who the token says.
fn check_visitor(guest: &Guest, named: Option<&str>) -> ApiResult<()> {
    if named.is_none_or(|named| named == guest.visitor.as_str()) {
        return Ok(());
    }
    let message = "`visitorId` is not the visitor of the token; leave it out, or begin with POST /v1/widget/init";
    Err(DomainError::new(domain::ErrorKind::Forbidden, "FORBIDDEN", message).into())
}
