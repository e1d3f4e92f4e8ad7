//! Evaluations: datasets of questions, runs over them, reports and comparisons.

mod cases;
mod collect;
mod datasets;

use crate::routes::Routes;

pub(super) fn routes() -> Routes {
    Routes::new().with(datasets::routes()).with(cases::routes()).with(collect::routes())
}
