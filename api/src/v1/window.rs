//! Pages of lists that are too long to be read whole: `page`, `take`, `order`, `orderBy`, `criteria`.

use axum::extract::FromRequestParts;
use http::request::Parts;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use super::paging::{List, Meta};
use crate::error::{ApiError, ApiResult};
use crate::extract::Query;
use crate::paging::whole_number;

const DEFAULT_TAKE: i64 = 10;
const MOST: i64 = 100;
/// No list is as long.
const MOST_PAGES: i64 = 1_000_000;
/// Most characters that are looked for.
const MAX_CRITERIA: usize = 200;

/// Which page of a long list.
#[derive(Debug, serde::Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub(super) struct WindowQuery {
    /// Which page, from 1.
    #[param(value_type = i64, minimum = 1, default = 1, required = false)]
    page: Option<String>,
    /// Entries of a page.
    #[param(value_type = i64, minimum = 1, maximum = 100, default = 10, required = false)]
    take: Option<String>,
    /// `ASC` or `DESC`.
    #[param(value_type = String, pattern = "^(ASC|DESC)$", default = "DESC", required = false)]
    order: Option<String>,
    /// Each list says which words it takes.
    #[param(ignore)]
    order_by: Option<String>,
    /// Only entries with these words, in any case and without accents.
    #[param(value_type = String, max_length = 200, required = false)]
    criteria: Option<String>,
}

/// Which page, and of what: both are query parameters.
#[derive(Debug)]
pub(super) struct Windowed<T>(pub WindowQuery, pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Windowed<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Query(window) = Query::from_request_parts(parts, state).await?;
        let Query(filter) = Query::from_request_parts(parts, state).await?;
        Ok(Self(window, filter))
    }
}

/// A page that was asked for.
#[derive(Debug)]
pub(super) struct Window<O> {
    page: i64,
    take: i64,
    /// The column.
    pub by: O,
    /// The greatest first.
    pub descending: bool,
    /// What is looked for; not empty.
    pub criteria: Option<String>,
}

impl WindowQuery {
    /// Reads the parameters: `columns` are the words that `orderBy` takes, the first one the default, in whose order the
    /// newest come first unless `order` says otherwise when `newest_first`.
    pub fn read<O: Copy>(&self, columns: &[(&str, O)], newest_first: bool) -> ApiResult<Window<O>> {
        let number = |field, text: &Option<String>, default, most| match text {
            None => Ok(default),
            Some(text) => whole_number(field, text, 1, most),
        };
        let by = match &self.order_by {
            None => columns.first(),
            Some(word) => columns.iter().find(|(name, _)| name == word),
        };
        let Some((_, by)) = by else {
            let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
            let message = format!("`orderBy` must be one of {}", names.join(", "));
            return Err(ApiError::invalid("orderBy", message));
        };
        let descending = match self.order.as_deref() {
            None => newest_first,
            Some("ASC") => false,
            Some("DESC") => true,
            Some(_) => return Err(ApiError::invalid("order", "`order` must be ASC or DESC")),
        };
        Ok(Window {
            page: number("page", &self.page, 1, MOST_PAGES)?,
            take: number("take", &self.take, DEFAULT_TAKE, MOST)?,
            by: *by,
            descending,
            criteria: sought("criteria", self.criteria.as_deref())?,
        })
    }
}

/// A text that is looked for; `None` when there is nothing in it.
pub(super) fn sought(field: &str, text: Option<&str>) -> ApiResult<Option<String>> {
    let Some(text) = text else { return Ok(None) };
    let text = domain::text::optional(field, text, MAX_CRITERIA)?;
    Ok((!text.is_empty()).then_some(text))
}

impl<O> Window<O> {
    /// Entries before the page.
    pub fn offset(&self) -> i64 {
        (self.page - 1).saturating_mul(self.take)
    }

    /// Entries of the page.
    pub fn limit(&self) -> i64 {
        self.take
    }

    /// The page in the form of the surface; `count` is how many entries the whole list has.
    pub fn list<T>(&self, data: Vec<T>, count: i64) -> List<T> {
        let number = |count: i64| usize::try_from(count).unwrap_or(usize::MAX);
        List { data, meta: Meta::of(number(self.page), number(self.take), number(count)) }
    }
}
