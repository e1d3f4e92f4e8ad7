//! Each route that changes something writes into the audit log who changed what, from where, and no secret. The routes come
//! from the router's own tables: a new one is here by itself.

mod panel;
mod programs;
mod world;

use api::{RouteInfo, Surface};
use http::Method;
use storage::audit::AuditRecord;

use world::{Ask, By, World};

/// Routes that are no changes, and why.
const NO_CHANGES: [(&str, &str); 23] = [
    ("POST /v1/ai/rewrite", "answers; nothing is stored"),
    ("POST /v1/ai/suggest-reply", "answers; nothing is stored"),
    ("POST /v1/ai/summarize", "answers; nothing is stored"),
    ("POST /v1/canned-replies/{cannedReplyId}/render", "a preview"),
    ("POST /v1/auth/register", "begins a workspace and its log with it: `session.begun`"),
    ("POST /v1/auth/refresh", "goes on with a session"),
    ("POST /v1/auth/forgot-password", "asks for a mail; what comes of it is written down"),
    ("POST /v1/auth/verify/resend", "asks for a mail; what comes of it is written down"),
    ("POST /v1/workspaces/{workspaceId}/switch", "where a session goes on"),
    ("DELETE /v1/workspaces/{workspaceId}", "the log goes with the workspace"),
    ("POST /v1/conversations/{conversationId}/messages", "said in the conversation, with a name"),
    ("POST /v1/conversations/{conversationId}/attachments", "shown once a message has it"),
    ("POST /v1/conversations/{conversationId}/read", "what somebody has seen"),
    ("POST /v1/mentions/read", "what somebody has seen"),
    ("POST /v1/mentions/{noteId}/read", "what somebody has seen"),
    ("POST /v1/help/{workspaceCode}/articles/{slug}/feedback", "a reader's, who is nobody"),
    ("POST /api/v2/agent/{agentId}/chat", "a turn of a conversation"),
    ("POST /api/v2/agents/{agentId}/chat", "a turn of a conversation"),
    ("POST /api/v2/agent/{agentId}/chat/{messageId}/stop", "a turn of a conversation"),
    ("POST /api/v2/agents/{agentId}/chat/{messageId}/stop", "a turn of a conversation"),
    ("POST /api/v2/datastores/{datastoreId}/query", "a search"),
    ("POST /openai/v1/chat/completions", "answers"),
    ("POST /openai/v1/embeddings", "answers"),
];

/// The routes of every surface that somebody with a name can change something by; those of visitors have their conversation.
fn routes() -> Vec<RouteInfo> {
    let mut routes = api::routes_v1();
    routes.extend(api::routes_v2());
    routes.extend(api::routes_openai());
    routes.retain(|route| {
        route.method != Method::GET && matches!(route.surface, Surface::Programs | Surface::Panel)
    });
    // What is asked of a model after that would be asked of theirs.
    routes.sort_by_key(|route| route.path.starts_with("/api/v2/providers"));
    routes
}

fn name_of(route: &RouteInfo) -> String {
    format!("{} {}", route.method, route.path)
}

#[test]
fn what_is_said_to_be_no_change_is_a_route() {
    let names: Vec<String> = routes().iter().map(name_of).collect();
    for (name, _) in NO_CHANGES {
        assert!(names.iter().any(|known| known == name), "{name} is no route");
    }
}

#[tokio::test]
async fn each_route_that_changes_something_says_so_without_secrets() {
    for world in Box::pin(World::on_each_database("audited")).await {
        let (mut changing, mut wrong) = (0, Vec::new());
        for route in routes() {
            let name = name_of(&route);
            if NO_CHANGES.iter().any(|(known, _)| *known == name) {
                continue;
            }
            let ask = if route.path.starts_with("/v1/") {
                Box::pin(panel::ask(&world, &name)).await
            } else {
                Box::pin(programs::ask(&world, &name)).await
            };
            wrong.extend(check(&world, &route, &ask).await.err());
            changing += 1;
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert!(changing >= 90, "{changing}");
        world.check_secrets().await;
    }
}

/// Asks, and looks for the entry; what is wrong with it.
async fn check(world: &World, route: &RouteInfo, ask: &Ask) -> Result<(), String> {
    let name = name_of(route);
    let before = world.entries(&ask.workspace).await;
    let reply = world.send(&route.method, ask).await;
    if !reply.status.is_success() {
        return Err(format!("{name}: {} {}", reply.status, reply.text));
    }
    let made = reply.json();
    world.keep_secrets(&made);
    // A workspace that was made has a log of its own.
    let workspace = match name.as_str() {
        "POST /v1/workspaces" => made["id"].as_str().unwrap(),
        _ => ask.workspace.as_str(),
    };
    let mut entries = world.entries(workspace).await;
    entries.retain(|entry| before.iter().all(|known| known.id != entry.id));
    let found = entries.iter().find(|entry| is_of(entry, ask));
    let found = found.ok_or_else(|| format!("{name} wrote no {} but {entries:?}", ask.action))?;
    let says = match found.action.rsplit('.').next().unwrap() {
        "created" => found.after.is_some(),
        "updated" => found.after.is_some() && found.before != found.after,
        "deleted" | "removed" => found.after.is_none(),
        _ => true,
    };
    if found.subject.is_empty() || !says {
        return Err(format!("{name} says too little: {found:?}"));
    }
    Ok(())
}

/// Whether an entry is the one that was expected, of whom it was expected of.
fn is_of(entry: &AuditRecord, ask: &Ask) -> bool {
    let actor = (entry.actor_kind.as_str(), entry.actor_id.as_deref());
    let by_them = match &ask.by {
        By::Person(person) => actor == ("user", Some(person.id.as_str())),
        By::Key => actor.0 == "api-key" && actor.1.is_some(),
        By::Nobody => true,
    };
    entry.action == ask.action && by_them && entry.address.as_deref() == Some("127.0.0.1")
}
