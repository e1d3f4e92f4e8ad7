//! Conversations: what is inside of one.

#![expect(unused_qualifications, reason = "utoipa's macros qualify the types that they are given")]

pub(super) mod attachments;
mod export;
mod mentions;
mod messages;
mod notes;
mod reads;
mod timeline;
mod views;
mod words;

use domain::conversation::Conversation;
use domain::{ConversationId, DomainError, UserId};
use storage::{Conn, members};

use crate::auth::Caller;
use crate::error::{ApiError, ApiResult};
use crate::routes::Routes;

/// Every route of conversations.
pub(super) fn routes() -> Routes {
    Routes::new()
        .with(messages::routes())
        .with(attachments::routes())
        .with(notes::routes())
        .with(mentions::routes())
        .with(export::routes())
        .with(reads::routes())
        .with(timeline::routes())
}

/// The conversation, of the caller's workspace.
async fn found(conn: &mut Conn, caller: &Caller, id: ConversationId) -> ApiResult<Conversation> {
    let found = storage::conversations::get(conn, caller.workspace(), id).await?;
    Ok(found.ok_or_else(|| DomainError::not_found("conversation"))?)
}

/// The member that the caller is, by id and name.
async fn member(conn: &mut Conn, caller: &Caller) -> ApiResult<(UserId, String)> {
    let user = caller.person()?.user;
    let member = members::get(conn, caller.workspace(), user).await?;
    // Removed since the credential was looked at.
    let member = member.ok_or_else(ApiError::not_signed_in)?;
    Ok((user, member.user.name))
}
