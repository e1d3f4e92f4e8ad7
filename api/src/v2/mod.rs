//! `/api/v2`: agents, knowledge, conversations, for programs with an API key.

#![expect(unused_qualifications, reason = "utoipa's macros qualify the types that they are given")]

mod agents;
mod api_keys;
mod approvals;
mod budgets;
mod chat;
mod chunks;
mod citations;
mod conversations;
mod datastores;
mod drafts;
mod evals;
mod gaps;
mod gates;
mod glossary;
mod leads;
mod messages;
mod metadata;
mod providers;
mod search;
mod sources;
mod stream;
mod tool_settings;
mod tools;
mod traces;
mod usage;
mod version_diff;
mod versions;
mod waiting;
mod words;

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    Components, Info, InfoBuilder, License, OpenApi, OpenApiBuilder, Paths, Server,
};
use utoipa::{IntoParams, ToSchema};

use crate::error::ApiResult;

use crate::paging::{Cursor, Paging};
use crate::patch::Patch;
use crate::routes::Routes;

/// Every route of the surface.
pub(crate) use chat::read_images;

pub(crate) fn routes() -> Routes {
    Routes::new()
        .with(agents::routes())
        .with(versions::routes())
        .with(drafts::routes())
        .with(gates::routes())
        .with(chat::routes())
        .with(conversations::routes())
        .with(messages::routes())
        .with(citations::routes())
        .with(traces::routes())
        .with(datastores::routes())
        .with(search::routes())
        .with(sources::routes())
        .with(chunks::routes())
        .with(glossary::routes())
        .with(gaps::routes())
        .with(leads::routes())
        .with(approvals::routes())
        .with(api_keys::routes())
        .with(usage::routes())
        .with(budgets::routes())
        .with(providers::routes())
        .with(evals::routes())
}

/// The description of the surface.
pub(crate) fn openapi() -> OpenApi {
    let mut components = Components::new();
    let scheme = Http::builder()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("vk_…")
        .description(Some("An API key: `vk_` and 64 hexadecimal digits."))
        .build();
    components.add_security_scheme("apiKey", SecurityScheme::Http(scheme));
    let mut document = OpenApiBuilder::new()
        .info(info())
        .servers(Some([Server::new("/")]))
        .paths(Paths::new())
        .components(Some(components))
        .security(Some([SecurityRequirement::new("apiKey", Vec::<String>::new())]))
        .build();
    routes().describe(&mut document);
    document
}

fn info() -> Info {
    let mut license = License::new("Apache-2.0");
    license.identifier = Some("Apache-2.0".to_owned());
    let description = "Answers customers from a business's own documents, with citations. \
        Every answer carries `x-request-id`; every error is `{\"error\": {code, message, details?, requestId}}`. \
        Lists take `limit` (1 to 100) and the `nextCursor` of the page before as `cursor`.";
    InfoBuilder::new()
        .title("Vocero API")
        .version("2")
        .description(Some(description))
        .license(Some(license))
        .build()
}

/// Which page of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct PageQuery {
    /// Entries of the page.
    #[param(value_type = i64, minimum = 1, maximum = 100, default = 20, required = false)]
    limit: Option<String>,
    /// The `nextCursor` of the page before.
    #[param(value_type = String, required = false)]
    cursor: Option<String>,
}

impl PageQuery {
    fn paging<C: Cursor>(&self) -> ApiResult<Paging<C>> {
        Paging::parse(self.limit.as_deref(), self.cursor.as_deref())
    }
}

/// Reads a field that must be there but may be null.
fn required_nullable<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::<T>::deserialize(deserializer)
}

/// One text or several, which are joined by line breaks.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(untagged, expecting = "a string or a list of strings")]
enum TextOrLines {
    /// A text.
    Text(String),
    /// Its lines.
    Lines(Vec<String>),
}

impl TextOrLines {
    fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Lines(lines) => lines.join("\n"),
        }
    }
}
