//! AI help for operators: never sends by itself.

mod rewrite;
mod suggest;
mod summarize;

use domain::Action;
use utoipa_axum::routes;

use crate::routes::Routes;

pub(super) fn routes() -> Routes {
    Routes::new()
        .panel(Action::AskAssistant, routes!(suggest::suggest_reply))
        .panel(Action::AskAssistant, routes!(summarize::summarize))
        .panel(Action::AskAssistant, routes!(rewrite::rewrite))
}
