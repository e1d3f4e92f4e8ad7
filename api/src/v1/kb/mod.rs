//! The knowledge base: articles and their categories.

mod articles;
mod categories;
mod change;
mod view;

use domain::Action;
use utoipa_axum::routes;

pub(in crate::v1) use self::articles::words_sought;
use crate::routes::Routes;

pub(super) fn routes() -> Routes {
    Routes::new()
        .panel(Action::ReadArticles, routes!(articles::list))
        .panel(Action::ManageArticles, routes!(change::create))
        .panel(Action::ReadArticles, routes!(articles::get))
        .panel(Action::ManageArticles, routes!(change::update))
        .panel(Action::ManageArticles, routes!(articles::delete))
        .panel(Action::ReadArticles, routes!(categories::list))
        .panel(Action::ManageArticles, routes!(categories::create))
        .panel(Action::ManageArticles, routes!(categories::update))
        .panel(Action::ManageArticles, routes!(categories::delete))
}
