//! What is looked for in the audit log.

use domain::Timestamp;
use serde::Deserialize;
use storage::audit::AuditFilter;
use utoipa::IntoParams;

use crate::error::{ApiError, ApiResult};
use crate::paging::whole_number;

const DEFAULT_TAKE: i64 = 10;
const MOST: i64 = 100;
/// Pages of a list: enough for every log, and no offset overflows.
const PAGES: i64 = 10_000_000;

/// Which entries.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct AuditQuery {
    /// What was done: `member.removed`, or `member` for all that was done to members.
    #[param(value_type = String, required = false, max_length = 100)]
    action: Option<String>,
    /// The id of the person or key that did it.
    #[param(value_type = String, required = false, max_length = 100)]
    actor: Option<String>,
    /// The id of what it was done to.
    #[param(value_type = String, required = false, max_length = 100)]
    subject: Option<String>,
    /// RFC 3339: not before.
    #[param(value_type = String, required = false, format = DateTime)]
    from: Option<String>,
    /// RFC 3339: before.
    #[param(value_type = String, required = false, format = DateTime)]
    to: Option<String>,
    /// Which page, from 1.
    #[param(value_type = i64, minimum = 1, default = 1, required = false)]
    page: Option<String>,
    /// Entries of a page.
    #[param(value_type = i64, minimum = 1, maximum = 100, default = 10, required = false)]
    take: Option<String>,
    /// `ASC` or `DESC`, by time.
    #[param(value_type = String, pattern = "^(ASC|DESC)$", default = "DESC", required = false)]
    order: Option<String>,
}

impl AuditQuery {
    /// What is looked for.
    pub fn filter(&self) -> ApiResult<AuditFilter> {
        let text = |field: &str, text: &Option<String>| match text {
            None => Ok(None),
            Some(text) => domain::text::required(field, text, 100).map(Some),
        };
        let time = |field: &str, text: &Option<String>| match text {
            None => Ok(None),
            Some(text) => Timestamp::parse_rfc3339(text).map(Some).ok_or_else(|| {
                let message = format!("`{field}` must be a time, like 2030-01-01T00:00:00Z");
                ApiError::invalid(field, message)
            }),
        };
        Ok(AuditFilter {
            action: text("action", &self.action)?,
            actor: text("actor", &self.actor)?,
            subject: text("subject", &self.subject)?,
            from: time("from", &self.from)?,
            to: time("to", &self.to)?,
        })
    }

    /// The page, from 1, and how many entries it has.
    pub fn page(&self) -> ApiResult<(i64, i64)> {
        let number = |field, text: &Option<String>, default, most| match text {
            None => Ok(default),
            Some(text) => whole_number(field, text, 1, most),
        };
        let page = number("page", &self.page, 1, PAGES)?;
        Ok((page, number("take", &self.take, DEFAULT_TAKE, MOST)?))
    }

    /// Whether the newest come first.
    pub fn newest_first(&self) -> ApiResult<bool> {
        match self.order.as_deref() {
            None | Some("DESC") => Ok(true),
            Some("ASC") => Ok(false),
            Some(_) => Err(ApiError::invalid("order", "`order` must be ASC or DESC")),
        }
    }
}
