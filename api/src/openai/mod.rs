//! `/openai/v1`: agents behind the wire format of `OpenAI`'s API, so that its clients work unchanged. An agent is
//! a model. A subset: chat completions, models, embeddings; what is not here is refused by name.

mod answer;
mod chat;
mod embeddings;
mod error;
mod messages;
mod models;
mod stream;

pub(crate) use error::write as write_error;

use crate::routes::Routes;

/// The path that everything of the surface begins with.
const PREFIX: &str = "/openai/v1";

/// Every route of the surface.
pub(crate) fn routes() -> Routes {
    Routes::new().with(chat::routes()).with(models::routes()).with(embeddings::routes())
}

/// Whether a path belongs to the surface, which answers errors in its own shape.
pub(crate) fn owns(path: &str) -> bool {
    path.strip_prefix(PREFIX).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_surface_owns_its_prefix_and_nothing_beside_it() {
        assert!(owns("/openai/v1/models") && owns("/openai/v1"));
        assert!(!owns("/openai/v10/models") && !owns("/api/v2/agents") && !owns("/openai"));
    }
}
