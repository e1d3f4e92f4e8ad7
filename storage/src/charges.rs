//! The ledger: what turns cost, and what else is asked of models.

use domain::budget::Purpose;
use domain::{
    AgentId, ApiKeyId, ContactId, ConversationId, MessageId, Timestamp, VisitorId, WorkspaceId,
};
use sqlx::FromRow;

use crate::sql::{Id, Micros, Name, Statement};
use crate::{Conn, Result, Tx};

/// What a turn cost, or another use of models: all its calls together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// The answer, stored or not; what is no turn has an id of its own.
    pub message_id: MessageId,
    /// What it was for.
    pub purpose: Purpose,
    /// Where it was asked.
    pub conversation_id: Option<ConversationId>,
    /// The agent that answered.
    pub agent_id: Option<AgentId>,
    /// The key that asked.
    pub api_key_id: Option<ApiKeyId>,
    /// The customer, where known.
    pub contact_id: Option<ContactId>,
    /// The customer, by the caller's name.
    pub visitor_id: Option<VisitorId>,
    /// The model that answered.
    pub model: String,
    /// `builtin`, `installation`, or the id of a provider of the workspace.
    pub provider: String,
    /// Calls to models.
    pub calls: i64,
    /// Tokens of the prompts.
    pub prompt_tokens: i64,
    /// Tokens of the answers.
    pub completion_tokens: i64,
    /// Those of the prompts that the provider had kept.
    pub cached_tokens: i64,
    /// Micro-dollars (US).
    pub cost: i64,
    /// The provider did not count, or was cut off before it could.
    pub estimated: bool,
    /// Whether an answer was stored.
    pub answered: bool,
    /// When.
    pub at: Timestamp,
}

/// What usage is told apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UsageGroup {
    /// The day of UTC; the key is the number of days since 1970-01-01.
    Day,
    /// The agent's id.
    Agent,
    /// The model's name.
    Model,
    /// The API key's id.
    ApiKey,
    /// The contact's id.
    Contact,
    /// What it was for.
    Purpose,
}

/// What was used, summed up.
#[derive(Debug, Clone, PartialEq, Eq, Default, FromRow)]
pub struct Used {
    /// Of whom or when; `None` for what belongs to nobody, and for a total.
    pub key: Option<String>,
    /// Stored answers.
    pub answers: i64,
    /// Calls to models.
    pub calls: i64,
    /// Tokens of the prompts.
    pub prompt_tokens: i64,
    /// Tokens of the answers.
    pub completion_tokens: i64,
    /// Those of the prompts that the provider had kept.
    pub cached_tokens: i64,
    /// Micro-dollars (US).
    pub cost: i64,
}

macro_rules! select_used {
    ($key:literal, $rest:literal) => {
        concat!(
            "SELECT
                ",
            $key,
            " AS key,
                CAST(COALESCE(SUM(answers), 0) AS BIGINT) AS answers,
                CAST(COALESCE(SUM(calls), 0) AS BIGINT) AS calls,
                CAST(COALESCE(SUM(prompt_tokens), 0) AS BIGINT) AS prompt_tokens,
                CAST(COALESCE(SUM(completion_tokens), 0) AS BIGINT) AS completion_tokens,
                CAST(COALESCE(SUM(cached_tokens), 0) AS BIGINT) AS cached_tokens,
                CAST(COALESCE(SUM(cost), 0) AS BIGINT) AS cost
            FROM charges
            WHERE workspace_id = $1
                AND at >= $2
                AND at < $3 ",
            $rest
        )
    };
}

/// The dearest first, then those with most tokens.
macro_rules! select_used_by {
    ($key:literal) => {
        select_used!($key, "GROUP BY 1 ORDER BY 7 DESC, 4 DESC, 1 LIMIT $4")
    };
}

/// Writes a use of models down; `false` when it was written down before.
pub async fn insert(tx: &mut Tx, workspace: WorkspaceId, charge: &Charge) -> Result<bool> {
    insertion(tx, workspace, charge).changed().await
}

/// As [`insert`], where nothing depends on whether it was written down before.
pub(crate) async fn note(tx: &mut Tx, workspace: WorkspaceId, charge: &Charge) -> Result<()> {
    insertion(tx, workspace, charge).later().await
}

fn insertion<'c>(conn: &'c mut Conn, workspace: WorkspaceId, charge: &Charge) -> Statement<'c> {
    conn.statement(
        "INSERT INTO charges (
            message_id,
            workspace_id,
            conversation_id,
            agent_id,
            api_key_id,
            contact_id,
            visitor_id,
            model,
            provider,
            calls,
            prompt_tokens,
            completion_tokens,
            cached_tokens,
            cost,
            estimated,
            answers,
            at,
            purpose
        )
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)
        ON CONFLICT (message_id) DO NOTHING",
    )
    .bind(Id(charge.message_id))
    .bind(Id(workspace))
    .bind(charge.conversation_id.map(Id))
    .bind(charge.agent_id.map(Id))
    .bind(charge.api_key_id.map(Id))
    .bind(charge.contact_id.map(Id))
    .bind(charge.visitor_id.as_ref().map(VisitorId::as_str))
    .bind(&charge.model)
    .bind(&charge.provider)
    .bind(charge.calls)
    .bind(charge.prompt_tokens)
    .bind(charge.completion_tokens)
    .bind(charge.cached_tokens)
    .bind(charge.cost)
    .bind(charge.estimated)
    .bind(i64::from(charge.answered))
    .bind(Micros(charge.at))
    .bind(Name(charge.purpose))
}

/// What was used from `from` (included) to `to` (excluded), by group: days in order, others by cost, at
/// most `limit`.
pub async fn used_by(
    conn: &mut Conn,
    workspace: WorkspaceId,
    from: Timestamp,
    to: Timestamp,
    group: UsageGroup,
    limit: i64,
) -> Result<Vec<Used>> {
    let text = match group {
        UsageGroup::Day => {
            select_used!("CAST(at / 86400000000 AS TEXT)", "GROUP BY 1 ORDER BY MIN(at) LIMIT $4")
        }
        UsageGroup::Agent => select_used_by!("agent_id"),
        UsageGroup::Model => select_used_by!("model"),
        UsageGroup::ApiKey => select_used_by!("api_key_id"),
        UsageGroup::Contact => select_used_by!("contact_id"),
        UsageGroup::Purpose => select_used_by!("purpose"),
    };
    conn.statement(text)
        .bind(Id(workspace))
        .bind(Micros(from))
        .bind(Micros(to))
        .bind(limit)
        .all()
        .await
}

/// What was used from `from` (included) to `to` (excluded) in all.
pub async fn used(
    conn: &mut Conn,
    workspace: WorkspaceId,
    from: Timestamp,
    to: Timestamp,
) -> Result<Used> {
    conn.statement(select_used!("CAST(NULL AS TEXT)", ""))
        .bind(Id(workspace))
        .bind(Micros(from))
        .bind(Micros(to))
        .one()
        .await
}

#[derive(FromRow)]
struct ChargeRow {
    message_id: Id<MessageId>,
    conversation_id: Option<Id<ConversationId>>,
    agent_id: Option<Id<AgentId>>,
    api_key_id: Option<Id<ApiKeyId>>,
    contact_id: Option<Id<ContactId>>,
    visitor_id: Option<String>,
    model: String,
    provider: String,
    calls: i64,
    prompt_tokens: i64,
    completion_tokens: i64,
    cached_tokens: i64,
    cost: i64,
    estimated: bool,
    answers: i64,
    at: Micros,
    purpose: Name<Purpose>,
}

/// What a turn cost, by the id of its answer, or another use by its own.
pub async fn get(
    conn: &mut Conn,
    workspace: WorkspaceId,
    message: MessageId,
) -> Result<Option<Charge>> {
    let row: Option<ChargeRow> = conn
        .statement(
            "SELECT
                message_id,
                conversation_id,
                agent_id,
                api_key_id,
                contact_id,
                visitor_id,
                model,
                provider,
                calls,
                prompt_tokens,
                completion_tokens,
                cached_tokens,
                cost,
                estimated,
                answers,
                at,
                purpose
            FROM charges
            WHERE workspace_id = $1
                AND message_id = $2",
        )
        .bind(Id(workspace))
        .bind(Id(message))
        .optional()
        .await?;
    Ok(row.map(Charge::from))
}

impl From<ChargeRow> for Charge {
    fn from(row: ChargeRow) -> Self {
        Self {
            message_id: row.message_id.0,
            purpose: row.purpose.0,
            conversation_id: row.conversation_id.map(|id| id.0),
            agent_id: row.agent_id.map(|id| id.0),
            api_key_id: row.api_key_id.map(|id| id.0),
            contact_id: row.contact_id.map(|id| id.0),
            visitor_id: row.visitor_id.as_deref().and_then(VisitorId::parse),
            model: row.model,
            provider: row.provider,
            calls: row.calls,
            prompt_tokens: row.prompt_tokens,
            completion_tokens: row.completion_tokens,
            cached_tokens: row.cached_tokens,
            cost: row.cost,
            estimated: row.estimated,
            answered: row.answers > 0,
            at: row.at.0,
        }
    }
}
