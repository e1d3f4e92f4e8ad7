//! The inbox: conversations as a whole, what people do with them, and how they are handed out.

#![expect(unused_qualifications, reason = "utoipa's macros qualify the types that they are given")]

mod bulk;
mod change;
mod filter;
mod list;
mod settings;
mod tags;
mod views;
mod words;
mod work;

use crate::routes::Routes;

pub(super) fn routes() -> Routes {
    Routes::new()
        .with(list::routes())
        .with(bulk::routes())
        .with(change::routes())
        .with(tags::routes())
        .with(settings::routes())
}
