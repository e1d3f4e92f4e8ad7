//! End-users: the customers of the workspace.

mod actions;
mod change;
#[expect(unused_qualifications, reason = "in what the macro of the route's description makes")]
mod erase;
mod history;
mod list;
mod view;

use domain::Action;
use utoipa_axum::routes;

pub(in crate::v1) use self::change::{checked_tags, known_language};
use crate::routes::Routes;

pub(super) fn routes() -> Routes {
    Routes::new()
        .panel(Action::ReadContacts, routes!(list::list))
        .panel(Action::WorkContacts, routes!(change::create))
        .panel(Action::ReadContacts, routes!(list::tags))
        .panel(Action::ReadContacts, routes!(list::get))
        .panel(Action::WorkContacts, routes!(change::update))
        .panel(Action::ManageContacts, routes!(erase::erase))
        .panel(Action::ManageContacts, routes!(erase::export))
        .panel(Action::WorkContacts, routes!(actions::merge))
        .panel(Action::WorkContacts, routes!(actions::block))
        .panel(Action::WorkContacts, routes!(actions::unblock))
        .panel(Action::WorkContacts, routes!(actions::block_visitor))
        .panel(Action::WorkContacts, routes!(actions::unblock_visitor))
        .panel(Action::ReadContacts, routes!(history::timeline))
        .panel(Action::ReadContacts, routes!(history::conversations))
}
