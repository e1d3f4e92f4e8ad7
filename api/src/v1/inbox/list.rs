//! The list of conversations, and how many there are of which kind.

use std::collections::BTreeMap;

use axum::extract::State;
use domain::Action;
use domain::conversation::Channel;
use serde::{Deserialize, Serialize};
use storage::inbox::{Listed, Order, OrderBy, Place, Window};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::filter::{ConversationFilter, id, word};
use super::views::ConversationView;
use super::words::{
    Channel as ChannelWord, ConversationOrder, ConversationStatus, Handler, Priority, SnoozedFilter,
};
use crate::auth::Caller;
use crate::error::{ApiError, ApiResult};
use crate::extract::{Json, Query};
use crate::paging::{Cursor, Paging, whole_number};
use crate::routes::Routes;
use crate::state::AppState;

pub(super) fn routes() -> Routes {
    Routes::new()
        .panel(Action::ReadConversations, routes!(list))
        .panel(Action::ReadConversations, routes!(counts))
        .schema::<ConversationOrder>()
}

/// Where the counting of a list ends.
const COUNTED: i64 = 1_000;
/// Where that of a search ends, which looks a frequent word up in one conversation after the other.
const COUNTED_OF_SEARCH: i64 = 200;
const DEFAULT_TAKE: i64 = 10;
const MOST: i64 = 100;

/// Which conversations, in which order, which page of them.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
struct ConversationQuery {
    /// Only in this status.
    #[param(value_type = ConversationStatus, required = false)]
    status: Option<String>,
    /// Only of this channel.
    #[param(value_type = ChannelWord, required = false)]
    channel: Option<String>,
    /// Only with this handler.
    #[param(value_type = Handler, required = false)]
    handler: Option<String>,
    /// `me`, `unassigned`, or the id of a member.
    #[param(
        value_type = String,
        pattern = "^(me|unassigned|user_[0-9a-f]{32})$",
        required = false
    )]
    assigned_to: Option<String>,
    /// Only with this agent.
    #[param(value_type = String, pattern = "^agent_[0-9a-f]{32}$", required = false)]
    agent_id: Option<String>,
    /// Only of this site or app.
    #[param(value_type = String, pattern = "^proj_[0-9a-f]{32}$", required = false)]
    project_id: Option<String>,
    /// Only of this customer.
    #[param(value_type = String, pattern = "^contact_[0-9a-f]{32}$", required = false)]
    contact_id: Option<String>,
    /// Only with the tag of this name.
    #[param(value_type = String, required = false)]
    tag: Option<String>,
    /// Only of this priority.
    #[param(value_type = Priority, required = false)]
    priority: Option<String>,
    /// `true`: only with messages that the caller has not read.
    #[param(value_type = bool, required = false)]
    unread: Option<String>,
    /// What is put off is left out, unless it is asked for (`true`, or `any` for both), or something is searched for.
    #[param(value_type = SnoozedFilter, required = false)]
    snoozed: Option<String>,
    /// Words of titles and messages, of names, addresses and numbers of customers; of three letters or more, the beginning
    /// of a word is enough.
    #[param(value_type = String, max_length = 200, required = false)]
    criteria: Option<String>,
    /// What comes first: what changed or began last, what is most urgent, or who has waited longest for a person.
    #[param(value_type = ConversationOrder, default = "updatedAt", required = false)]
    order_by: Option<String>,
    /// `ASC` or `DESC`; the default is `ASC` for `waitingSince`, and `DESC` else.
    #[param(value_type = String, pattern = "^(ASC|DESC)$", required = false)]
    order: Option<String>,
    /// Which page, from 1.
    #[param(value_type = i64, minimum = 1, default = 1, required = false)]
    page: Option<String>,
    /// Entries of a page.
    #[param(value_type = i64, minimum = 1, maximum = 100, default = 10, required = false)]
    take: Option<String>,
    /// The `nextCursor` of the page before, instead of `page`: nothing is left out or comes twice, whatever changes
    /// meanwhile.
    #[param(value_type = String, required = false)]
    cursor: Option<String>,
}

/// A page of conversations.
#[derive(Debug, Serialize, ToSchema)]
struct ConversationList {
    data: Vec<ConversationView>,
    meta: ConversationListMeta,
}

/// Where a page stands in the list of conversations.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ConversationListMeta {
    /// Absent where a cursor was followed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, example = 1, nullable = false)]
    page: Option<i64>,
    #[schema(minimum = 1, maximum = 100, example = 10)]
    take: i64,
    /// Conversations of the whole list, as far as they are counted; absent where a cursor was followed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, example = 1, nullable = false)]
    item_count: Option<i64>,
    /// Whether there are more than `itemCount`: counting ends at 1,000, of a search at 200, or behind the page.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    item_count_capped: Option<bool>,
    /// Pages of as many as were counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, example = 1, nullable = false)]
    page_count: Option<i64>,
    has_previous_page: bool,
    has_next_page: bool,
    /// Where the next page begins; null on the last one.
    next_cursor: Option<String>,
}

/// Conversations that are not closed, by kind; but for `snoozed`, only those that are not put off.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ConversationCounts {
    open: i64,
    pending: i64,
    /// Of the caller.
    mine: i64,
    /// Of nobody.
    unassigned: i64,
    /// Put off.
    snoozed: i64,
    /// By channel; those without any are left out.
    #[schema(example = json!({"web": 3, "whatsapp": 1}))]
    by_channel: BTreeMap<&'static str, i64>,
}

/// The place of an entry in a list of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PlaceIn(Order, Place);

impl Cursor for PlaceIn {
    fn write(&self) -> String {
        let Self(order, place) = self;
        let by = match order.by {
            OrderBy::UpdatedAt => "u",
            OrderBy::CreatedAt => "c",
            OrderBy::Priority => "p",
            OrderBy::WaitingSince => "w",
        };
        let direction = if order.descending { "d" } else { "a" };
        format!("inbox:{by}{direction}:{}:{}", place.value, place.id)
    }

    fn read(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix("inbox:")?.split(':');
        let (order, value, id) = (parts.next()?, parts.next()?, parts.next()?);
        let by = match order.get(..1)? {
            "u" => OrderBy::UpdatedAt,
            "c" => OrderBy::CreatedAt,
            "p" => OrderBy::Priority,
            "w" => OrderBy::WaitingSince,
            _ => return None,
        };
        let descending = match order.get(1..)? {
            "d" => true,
            "a" => false,
            _ => return None,
        };
        let place = Place { value: value.parse().ok()?, id: id.parse().ok()? };
        parts.next().is_none().then_some(Self(Order { by, descending }, place))
    }
}

/// List conversations
///
/// Of the workspace, last changed first unless ordered otherwise.
#[utoipa::path(
    get,
    path = "/v1/conversations",
    tag = "Conversations",
    operation_id = "listConversations",
    params(ConversationQuery),
    responses((status = 200, description = "A page of conversations.", body = ConversationList)),
)]
#[tracing::instrument(name = "handler.v1.conversations.list", skip_all)]
async fn list(
    State(state): State<AppState>,
    caller: Caller,
    Query(query): Query<ConversationQuery>,
) -> ApiResult<Json<ConversationList>> {
    let asked = query.paging()?;
    let filter = query.filter()?.checked(&caller)?;
    let reader = caller.person().ok().map(|person| person.user);
    let window = asked.window();
    let mut conn = state.db.read().await?;
    let which = (&filter, asked.order);
    let listed =
        storage::inbox::list(&mut conn, caller.workspace(), reader, which, &window).await?;
    Ok(Json(asked.page(listed)))
}

/// Count conversations
///
/// What stands beside the panel's filters.
#[utoipa::path(
    get,
    path = "/v1/conversations/counts",
    tag = "Conversations",
    operation_id = "countConversations",
    responses((status = 200, description = "The counts.", body = ConversationCounts)),
)]
#[tracing::instrument(name = "handler.v1.conversations.counts", skip_all)]
async fn counts(
    State(state): State<AppState>,
    caller: Caller,
) -> ApiResult<Json<ConversationCounts>> {
    let reader = caller.person().ok().map(|person| person.user);
    let mut conn = state.db.read().await?;
    let counts = storage::inbox::counts(&mut conn, caller.workspace(), reader).await?;
    let named = |(channel, count): (Channel, i64)| (channel.name(), count);
    Ok(Json(ConversationCounts {
        open: counts.open,
        pending: counts.pending,
        mine: counts.mine,
        unassigned: counts.unassigned,
        snoozed: counts.snoozed,
        by_channel: counts.by_channel.into_iter().map(named).collect(),
    }))
}

/// Which part of a list was asked for.
struct Asked {
    order: Order,
    page: i64,
    take: i64,
    after: Option<Place>,
    /// Where the counting ends.
    counted: i64,
}

impl ConversationQuery {
    fn filter(&self) -> ApiResult<ConversationFilter> {
        const CHANNELS: &str = "web, whatsapp, instagram, facebook, email, api or cli";
        Ok(ConversationFilter {
            status: word("status", self.status.as_deref(), "open, pending or closed")?,
            channel: word("channel", self.channel.as_deref(), CHANNELS)?,
            handler: word("handler", self.handler.as_deref(), "bot, queue or operator")?,
            assigned_to: self.assigned_to.clone(),
            agent_id: id("agentId", self.agent_id.as_deref())?,
            project_id: id("projectId", self.project_id.as_deref())?,
            contact_id: id("contactId", self.contact_id.as_deref())?,
            tag: self.tag.clone(),
            priority: word("priority", self.priority.as_deref(), "low, normal, high or urgent")?,
            unread: match self.unread.as_deref() {
                None | Some("false") => None,
                Some("true") => Some(true),
                Some(_) => {
                    return Err(ApiError::invalid("unread", "`unread` must be true or false"));
                }
            },
            snoozed: word("snoozed", self.snoozed.as_deref(), "true, false or any")?,
            criteria: self.criteria.clone(),
        })
    }

    fn paging(&self) -> ApiResult<Asked> {
        const ORDERS: &str = "updatedAt, createdAt, priority or waitingSince";
        let by = word::<ConversationOrder>("orderBy", self.order_by.as_deref(), ORDERS)?;
        let by = by.map_or(OrderBy::UpdatedAt, OrderBy::from);
        let descending = match self.order.as_deref() {
            None => by != OrderBy::WaitingSince,
            Some("ASC") => false,
            Some("DESC") => true,
            Some(_) => return Err(ApiError::invalid("order", "`order` must be ASC or DESC")),
        };
        let order = Order { by, descending };
        let take = match self.take.as_deref() {
            None => DEFAULT_TAKE,
            Some(text) => whole_number("take", text, 1, MOST)?,
        };
        let page = match self.page.as_deref() {
            None => 1,
            Some(text) => whole_number("page", text, 1, i64::MAX / MOST - 1)?,
        };
        let after = self.after(order)?;
        if after.is_some() && page > 1 {
            let message = "`page` and `cursor` exclude each other; send one of them";
            return Err(ApiError::invalid("page", message));
        }
        let is_search = self.criteria.as_deref().is_some_and(|text| !text.trim().is_empty());
        let counted = if is_search { COUNTED_OF_SEARCH } else { COUNTED };
        Ok(Asked { order, page, take, after, counted })
    }

    fn after(&self, order: Order) -> ApiResult<Option<Place>> {
        let read = Paging::<PlaceIn>::parse(None, self.cursor.as_deref())?;
        let Some(PlaceIn(of, place)) = read.after else { return Ok(None) };
        if of == order {
            return Ok(Some(place));
        }
        let message = "`cursor` is of a list in another order; send the same `orderBy` and `order`";
        Err(ApiError::invalid("cursor", message))
    }
}

impl Asked {
    fn window(&self) -> Window {
        let count_to = if self.after.is_some() { 0 } else { self.counted + 1 };
        let skip = (self.page - 1) * self.take;
        Window { after: self.after, skip, take: self.take, count_to }
    }

    fn page(&self, listed: Listed) -> ConversationList {
        let next_cursor = listed.next.map(|place| PlaceIn(self.order, place).wrap());
        let upto = self.counted.max(self.page * self.take);
        let found = listed.found;
        let counted = self.after.is_none();
        let meta = ConversationListMeta {
            page: counted.then_some(self.page),
            take: self.take,
            item_count: counted.then_some(found.min(upto)),
            item_count_capped: counted.then_some(found > upto),
            page_count: counted.then(|| pages(found.min(upto), self.take)),
            has_previous_page: self.page > 1 || self.after.is_some(),
            has_next_page: next_cursor.is_some(),
            next_cursor,
        };
        let data = listed.entries.into_iter().map(Into::into).collect();
        ConversationList { data, meta }
    }
}

fn pages(items: i64, take: i64) -> i64 {
    (items + take - 1) / take
}
