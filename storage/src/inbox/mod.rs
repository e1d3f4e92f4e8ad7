//! The inbox: conversations as people of the workspace see and work them.

mod change;
mod counts;
mod entry;
mod filter;
mod hand_out;
mod list;
pub(crate) mod log;
mod snooze;
mod tags;
mod words;

pub use self::change::{
    Assign, Take, assign, assignee, lock, set_priority, set_title, take_over, unassign,
};
pub use self::counts::{Counts, counts};
pub use self::entry::{Entry, LastMessage, Person, entry};
pub use self::filter::{Assigned, Filter, Snoozed};
pub(crate) use self::hand_out::hand_out;
pub use self::hand_out::{
    Standby, hand_out_waiting, is_anybody_there, release, set_availability, set_settings, settings,
    standbys,
};
pub use self::list::{Listed, Order, OrderBy, Place, Window, ids, list};
pub use self::log::history;
pub use self::snooze::{Snooze, snooze, unsnooze, wake};
pub use self::tags::{
    Tag, TagInUse, change_tag, create_tag, delete_tag, set_tags, tag, tags, tags_of,
};
pub(crate) use self::words::add_all_words;
pub use self::words::{SoughtWord, add_words, sought, titles_after};
