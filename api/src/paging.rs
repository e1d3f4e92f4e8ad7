//! Lists in pages: `limit`, an opaque `cursor`, `nextCursor`.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::ids::PrefixedId;
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::{ApiError, ApiResult};

const DEFAULT_LIMIT: i64 = 20;
const MOST: i64 = 100;

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Page<T> {
    /// The entries.
    pub data: Vec<T>,
    /// Where the next page begins; null on the last one.
    #[schema(required = true, example = json!(null))]
    pub next_cursor: Option<String>,
}

/// What was asked for: how many, and after what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Paging<C> {
    /// 1 to 100.
    pub limit: i64,
    /// Where to go on.
    pub after: Option<C>,
}

/// Where a list goes on. Readable by the server only.
pub(crate) trait Cursor: Sized {
    /// As text, before it is wrapped.
    fn write(&self) -> String;
    /// From that text; `None` for anything else.
    fn read(text: &str) -> Option<Self>;

    /// As callers get it.
    fn wrap(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.write())
    }
}

impl<T: PrefixedId> Cursor for T {
    fn write(&self) -> String {
        self.to_string()
    }

    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl<C: Cursor> Paging<C> {
    /// Reads the two parameters.
    pub fn parse(limit: Option<&str>, cursor: Option<&str>) -> ApiResult<Self> {
        let limit = match limit {
            None => DEFAULT_LIMIT,
            Some(text) => whole_number("limit", text, 1, MOST)?,
        };
        Ok(Self { limit, after: cursor.map(read_cursor).transpose()? })
    }

    /// One more than asked for, which tells whether there is a next page.
    pub fn one_more(&self) -> i64 {
        self.limit + 1
    }

    /// The page out of the rows that were found with [`Self::one_more`].
    pub fn page<R, T>(
        &self,
        mut rows: Vec<R>,
        cursor: impl Fn(&R) -> C,
        convert: impl Fn(R) -> T,
    ) -> Page<T> {
        let next_cursor = self.cut(&mut rows, cursor);
        Page { data: rows.into_iter().map(convert).collect(), next_cursor }
    }

    /// Cuts the row too many off and gives the cursor of the next page.
    pub fn cut<R>(&self, rows: &mut Vec<R>, cursor: impl Fn(&R) -> C) -> Option<String> {
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let last = rows.last().filter(|_| more)?;
        Some(cursor(last).wrap())
    }
}

fn read_cursor<C: Cursor>(text: &str) -> ApiResult<C> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok();
    let cursor = bytes.and_then(|bytes| C::read(std::str::from_utf8(&bytes).ok()?));
    cursor.ok_or_else(|| {
        let message = "`cursor` is not one that this list gave; send its `nextCursor` unchanged";
        ApiError::invalid("cursor", message)
    })
}

/// Reads a whole number within bounds; the error names field and bounds.
pub(crate) fn whole_number(field: &str, text: &str, least: i64, most: i64) -> ApiResult<i64> {
    let number = text.parse::<i64>().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| {
        let message = format!("`{field}` must be a whole number from {least} to {most}");
        ApiError::invalid(field, message)
    })
}

/// Checks a whole number of a body against bounds; the error names field and bounds.
pub(crate) fn whole_number_in(field: &str, number: i64, least: u32, most: u32) -> ApiResult<u32> {
    let number = u32::try_from(number).ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| {
        let message = format!("`{field}` must be a whole number from {least} to {most}");
        ApiError::invalid(field, message)
    })
}

#[cfg(test)]
mod tests {
    use domain::{AgentId, SourceId};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn the_last_page_has_no_cursor_and_the_others_lead_on() {
        let ids: Vec<AgentId> = (1..=3).map(|n| AgentId::from_uuid(Uuid::from_u128(n))).collect();
        let paging = Paging::<AgentId>::parse(Some("2"), None).unwrap();
        let page = paging.page(ids.clone(), |id| *id, |id| id);
        assert_eq!(page.data, ids[..2]);
        let next = Paging::<AgentId>::parse(None, page.next_cursor.as_deref()).unwrap();
        assert_eq!(next, Paging { limit: 20, after: Some(ids[1]) });
        assert_eq!(next.page(ids, |id| *id, |id| id).next_cursor, None);
    }

    #[test]
    fn limits_and_cursors_out_of_bounds_are_named() {
        for bad in ["0", "101", "-1", "x", "", "1.5", "99999999999999999999"] {
            let error = Paging::<AgentId>::parse(Some(bad), None).unwrap_err();
            assert_eq!(error.domain().field.as_deref(), Some("limit"), "{bad}");
        }
        let of_another_list = URL_SAFE_NO_PAD.encode(SourceId::from_uuid(Uuid::nil()).to_string());
        for bad in ["", "%%%", "abc", of_another_list.as_str()] {
            let error = Paging::<AgentId>::parse(None, Some(bad)).unwrap_err();
            assert_eq!(error.domain().field.as_deref(), Some("cursor"), "{bad}");
        }
    }
}
