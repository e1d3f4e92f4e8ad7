//! The inbox of a workspace with 10,000 conversations: lists, filters, searches and counts, eight callers at once. Over
//! SQLite, and over PostgreSQL where `VOCERO_TEST_POSTGRES_URL` names a cluster (`scripts/test-postgres.sh`).

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use domain::contact::ContactDetails;
use domain::conversation::{Channel, Conversation, ConversationStatus, Handler, Transition};
use domain::inbox::{By, Priority};
use domain::message::{Author, Message, MessageKind, MessageState};
use domain::{Ambient, ContactId, UserId, WorkspaceId};
use serde_json::json;
use storage::messages::NewMessage;
use storage::{Db, DbOptions, Tx, agents, contacts, conversations, inbox, messages};

use crate::corpus::{Corpus, code};
use crate::http::{Api, concurrently};
use crate::measure::{Figure, Latencies};
use crate::server::Installation;

const CONVERSATIONS: usize = 10_000;
const CONTACTS: usize = 2_000;
/// Conversations that are made in one transaction.
const BATCH: usize = 100;
const CALLERS: usize = 8;
/// Calls of each kind.
const CALLS: usize = 4_000;

/// The kinds of calls, each with its queries.
const LISTS: [&str; 4] =
    ["", "orderBy=createdAt", "orderBy=waitingSince&take=50", "take=25&page=20"];
const FILTERS: [&str; 8] = [
    "status=open&channel=web",
    "status=pending&assignedTo=unassigned",
    "assignedTo=me",
    "channel=email&status=closed&orderBy=createdAt&order=ASC",
    "tag=vip",
    "priority=urgent&handler=operator",
    "unread=true&status=open",
    "snoozed=true",
];

pub async fn measure(binary: &Path) -> anyhow::Result<Vec<Figure>> {
    let installation = Installation::create(binary, &[]).await?;
    let url = format!("sqlite:{}", installation.data().join("vocero.db").display());
    let mut figures = measure_on(&installation, "SQLite", &url).await?;
    if let Some(database) = testkit::db::postgres("bench inbox").await {
        let url = database.guard.url();
        let installation = Installation::create(binary, &[("DATABASE_URL", &url)]).await?;
        figures.extend(measure_on(&installation, "PostgreSQL", &url).await?);
    }
    Ok(figures)
}

async fn measure_on(
    installation: &Installation,
    name: &str,
    url: &str,
) -> anyhow::Result<Vec<Figure>> {
    let server = installation.start().await?;
    let registration = json!({
        "name": "Andrea", "email": "andrea@ejemplo.com", "password": "tres tristes tigres",
    });
    let andrea = server.api.post("/v1/auth/register", &registration).await?;
    let text = |pointer: &str| {
        let text = andrea.pointer(pointer).and_then(|text| text.as_str());
        text.with_context(|| format!("no {pointer}"))
    };
    let workspace: WorkspaceId = text("/workspace/id")?.parse()?;
    let words = fill(url, workspace, text("/user/id")?.parse()?).await?;
    super::settle(&server).await?;
    let api = server.api.with_key(text("/token")?);

    let lists: Vec<String> = LISTS.iter().map(|query| path(query)).collect();
    let filters: Vec<String> = FILTERS.iter().map(|query| path(query)).collect();
    let searches: Vec<String> =
        words.iter().map(|word| path(&format!("criteria={word}"))).collect();
    let counts = ["/v1/conversations/counts".to_owned()];
    let mut figures = Vec::new();
    for (kind, paths) in
        [("list", &lists[..]), ("filter", &filters), ("search", &searches), ("counts", &counts)]
    {
        let mut times = calls(&api, paths).await?;
        for percent in [50.0, 99.0] {
            let figure = format!("{name}: {kind} p{percent}, {CALLERS} at once");
            figures.push(Figure::new(figure, times.percentile(percent), "ms"));
        }
    }
    server.stop().await?;
    Ok(figures)
}

fn path(query: &str) -> String {
    format!("/v1/conversations?{query}")
}

async fn calls(api: &Api, paths: &[String]) -> anyhow::Result<Latencies> {
    let ask = |index: usize| api.get(&paths[index % paths.len()]);
    concurrently(CALLERS, CALLS / 10, ask).await?;
    let times: Vec<Duration> = concurrently(CALLERS, CALLS, ask).await?;
    Ok(times.into_iter().collect())
}

/// Makes the conversations in the database; words to search for, frequent, rare and of a customer.
async fn fill(url: &str, workspace: WorkspaceId, member: UserId) -> anyhow::Result<Vec<String>> {
    let db = Db::connect(url, &DbOptions { max_connections: 1 }).await?;
    let ambient = Ambient::system();
    let mut corpus = Corpus::new(0);
    let mut tx = db.write().await?;
    let agent = agents::default(&mut tx, workspace).await?.context("no agent")?.id;
    let mut known = Vec::with_capacity(CONTACTS);
    for number in 0..CONTACTS {
        known.push(contact(&mut tx, &ambient, workspace, number).await?);
    }
    tx.commit().await?;
    let mut words = vec!["de".to_owned(), "par".to_owned(), "que%20una".to_owned()];
    for from in (0..CONVERSATIONS).step_by(BATCH) {
        let mut tx = db.write().await?;
        for number in from..from + BATCH {
            let text = corpus.text(number, 250);
            let now = ambient.now();
            let conversation = Conversation {
                id: ambient.new_id(),
                workspace_id: workspace,
                agent_id: agent,
                channel: Channel::ALL[number % Channel::ALL.len()],
                project_id: None,
                visitor_id: None,
                contact_id: Some(known[number % CONTACTS]),
                status: ConversationStatus::Open,
                handler: Handler::Bot,
                title: text.chars().take(60).collect(),
                messages_count: 0,
                context_after: 0,
                created_at: now,
                updated_at: now,
                closed_at: None,
            };
            conversations::insert(&mut tx, &conversation, None).await?;
            say(&mut tx, &ambient, &conversation, Author::Customer, text).await?;
            let answer = corpus.text(number, 400);
            say(&mut tx, &ambient, &conversation, Author::Agent, answer).await?;
            work(&mut tx, &ambient, &conversation, member, number).await?;
        }
        tx.commit().await?;
        words.extend([code(from), format!("cliente{from}")]);
    }
    db.close().await;
    Ok(words)
}

async fn contact(
    tx: &mut Tx,
    ambient: &Ambient,
    workspace: WorkspaceId,
    number: usize,
) -> anyhow::Result<ContactId> {
    let details = ContactDetails {
        first_name: Some("Belén".to_owned()),
        last_name: Some(format!("Pérez {number}")),
        email: Some(format!("cliente{number}@ejemplo.com")),
        phone: None,
    };
    let contact = contacts::resolve(tx, ambient, workspace, None, &details).await?;
    Ok(contact.context("no contact")?.id)
}

async fn say(
    tx: &mut Tx,
    ambient: &Ambient,
    conversation: &Conversation,
    author: Author,
    content: String,
) -> anyhow::Result<()> {
    let now = ambient.now();
    let message = Message {
        id: ambient.new_id(),
        conversation_id: conversation.id,
        seq: 0,
        author,
        operator: None,
        kind: MessageKind::Text,
        content,
        state: MessageState::Complete,
        outcome: None,
        model: None,
        reply_to: None,
        prompt_tokens: None,
        completion_tokens: None,
        unsupported: Vec::new(),
        answered_from: None,
        created_at: now,
    };
    let message = NewMessage {
        message,
        images: Vec::new(),
        citations: Vec::new(),
        passages: Vec::new(),
        tools: Vec::new(),
        trace: None,
        client_id: None,
    };
    messages::insert(tx, conversation.workspace_id, &message, now).await?;
    Ok(())
}

/// Of a hundred conversations sixty are closed, ten wait, ten are the member's, two are put off and five have a tag.
async fn work(
    tx: &mut Tx,
    ambient: &Ambient,
    conversation: &Conversation,
    member: UserId,
    number: usize,
) -> anyhow::Result<()> {
    let (workspace, id, now) = (conversation.workspace_id, conversation.id, ambient.now());
    let by = By::User(member);
    match number % 100 {
        0..60 => {
            let close = (Transition::Close, by);
            conversations::transition_by(tx, workspace, id, close, now).await?;
        }
        60..70 => {
            conversations::transition(tx, workspace, id, Transition::RequestHuman, now).await?;
        }
        70..80 => {
            inbox::assign(tx, workspace, id, (member, by), now).await?;
        }
        80..82 => {
            let until = now.plus(Duration::from_hours(24));
            inbox::snooze(tx, workspace, id, (until, by), now).await?;
        }
        _ => {}
    }
    if number.is_multiple_of(20) {
        inbox::set_tags(tx, ambient, workspace, id, (&["vip".to_owned()], by)).await?;
    }
    let priority = Priority::ALL[(number / 7) % 4];
    inbox::set_priority(tx, workspace, id, (priority, by), now).await?;
    Ok(())
}
