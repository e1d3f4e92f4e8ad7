//! Evaluations: datasets of questions, runs over them, reports and comparisons.

mod cases;
mod collect;
mod datasets;
mod reports;
mod runs;

use crate::routes::Routes;

pub(super) fn routes() -> Routes {
    Routes::new()
        .with(datasets::routes())
        .with(cases::routes())
        .with(collect::routes())
        .with(runs::routes())
        .with(reports::routes())
}
