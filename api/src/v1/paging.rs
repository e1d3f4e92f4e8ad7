//! Lists of the panel: `page`, `take`, `order`, `criteria`; `{data, meta}`.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::error::{ApiError, ApiResult};
use crate::paging::whole_number;

const DEFAULT_TAKE: usize = 10;
const MOST: i64 = 100;

/// Which page of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Which page, from 1.
    #[param(value_type = i64, minimum = 1, default = 1, required = false)]
    page: Option<String>,
    /// Entries of a page.
    #[param(value_type = i64, minimum = 1, maximum = 100, default = 10, required = false)]
    take: Option<String>,
    /// `ASC` or `DESC`.
    #[param(value_type = String, pattern = "^(ASC|DESC)$", default = "ASC", required = false)]
    order: Option<String>,
    /// `createdAt`, or `name` where entries have one. Lists that are put in order by name know nothing else.
    #[serde(rename = "orderBy")]
    #[param(value_type = String, pattern = "^(createdAt|name)$", required = false)]
    order_by: Option<String>,
    /// Only entries with this in a name or an address, in any case.
    #[param(value_type = String, required = false)]
    criteria: Option<String>,
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct List<T> {
    /// The entries.
    pub data: Vec<T>,
    pub meta: Meta,
}

/// Where a page stands in its list.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Meta {
    #[schema(minimum = 1, example = 1)]
    page: usize,
    #[schema(minimum = 1, example = 10)]
    take: usize,
    /// Entries of the whole list.
    #[schema(minimum = 0, example = 1)]
    item_count: usize,
    #[schema(minimum = 0, example = 1)]
    page_count: usize,
    has_previous_page: bool,
    has_next_page: bool,
}

impl Meta {
    /// Of a page of a list of `item_count` entries.
    pub fn of(page: usize, take: usize, item_count: usize) -> Self {
        let page_count = item_count.div_ceil(take);
        let (has_previous_page, has_next_page) = (page > 1, page < page_count);
        Self { page, take, item_count, page_count, has_previous_page, has_next_page }
    }

    /// The same, where the entries before and after do not follow from the page.
    pub fn between(self, has_previous_page: bool, has_next_page: bool) -> Self {
        Self { has_previous_page, has_next_page, ..self }
    }
}

impl<T> List<T> {
    /// A list that is always told whole: one page.
    pub fn whole(data: Vec<T>) -> Self {
        let count = data.len();
        Self { data, meta: Meta::of(1, count.max(1), count) }
    }
}

impl ListQuery {
    /// The page of a list that is small enough to be read whole, oldest first; `texts` are what `criteria` looks at, the name
    /// first.
    pub fn page_of<T, V: From<T>>(
        &self,
        mut all: Vec<T>,
        texts: impl Fn(&T) -> [&str; 2],
    ) -> ApiResult<List<V>> {
        match self.order_by.as_deref() {
            None | Some("createdAt") => {}
            Some("name") => all.sort_by_cached_key(|entry| texts(entry)[0].to_lowercase()),
            Some(_) => {
                let message = "`orderBy` must be createdAt or name";
                return Err(ApiError::invalid("orderBy", message));
            }
        }
        self.cut(all, texts)
    }

    /// The same of a list that begins with the newest, unless `order` is `ASC`.
    pub fn page_from_newest<T, V: From<T>>(
        &self,
        mut all: Vec<T>,
        texts: impl Fn(&T) -> [&str; 2],
    ) -> ApiResult<List<V>> {
        if self.order.is_none() {
            all.reverse();
        }
        self.page_of(all, texts)
    }

    /// The same of a list that is put in order by name.
    pub fn page_by_name<T, V: From<T>>(
        &self,
        all: Vec<T>,
        texts: impl Fn(&T) -> [&str; 2],
    ) -> ApiResult<List<V>> {
        if self.order_by.as_deref().is_some_and(|by| by != "name") {
            return Err(ApiError::invalid("orderBy", "`orderBy` must be name"));
        }
        self.cut(all, texts)
    }

    fn cut<T, V: From<T>>(
        &self,
        mut all: Vec<T>,
        texts: impl Fn(&T) -> [&str; 2],
    ) -> ApiResult<List<V>> {
        let number = |field, text: &Option<String>, default| match text {
            None => Ok(default),
            Some(text) => {
                whole_number(field, text, 1, if field == "take" { MOST } else { i64::MAX })
                    .map(|number| usize::try_from(number).unwrap_or(usize::MAX))
            }
        };
        let (page, take) =
            (number("page", &self.page, 1)?, number("take", &self.take, DEFAULT_TAKE)?);
        match self.order.as_deref() {
            None | Some("ASC") => {}
            Some("DESC") => all.reverse(),
            Some(_) => return Err(ApiError::invalid("order", "`order` must be ASC or DESC")),
        }
        if let Some(criteria) = self.criteria.as_deref().map(str::trim).filter(|c| !c.is_empty()) {
            let criteria = criteria.to_lowercase();
            all.retain(|entry| {
                texts(entry).iter().any(|text| text.to_lowercase().contains(&criteria))
            });
        }
        let meta = Meta::of(page, take, all.len());
        let start = (page - 1).saturating_mul(take);
        let data = all.into_iter().skip(start).take(take).map(V::from).collect();
        Ok(List { data, meta })
    }
}
