//! Parsing at the edge. Every extractor refuses with the error envelope.

mod body;
mod form;
mod headers;
mod ids;
mod query;
mod upload;

pub(crate) use body::{ChatJson, Json, JsonWithImages, OptionalJson};
pub(crate) use form::Form;
pub(crate) use headers::{client_id, id_headers};
pub(crate) use ids::{Id, Ids, Text, Version, no_version};
pub(crate) use query::Query;
pub(crate) use upload::Upload;
