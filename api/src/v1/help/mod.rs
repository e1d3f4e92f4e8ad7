//! The help centre: published articles for everybody, as JSON. A workspace is named by its code or by the site key of one of
//! its projects; drafts and other workspaces are absent.

mod article;
mod list;
mod place;

use utoipa_axum::routes;

pub(in crate::v1) use self::place::link_of;
use crate::routes::Routes;

/// The routes; any page may call them.
pub(crate) fn routes() -> Routes {
    Routes::new()
        .open(routes!(list::home))
        .open(routes!(list::articles))
        .open(routes!(article::get))
        .open(routes!(article::rate))
}
