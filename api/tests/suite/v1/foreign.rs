//! What belongs to another workspace is absent: real things of each kind, in the path and in the body of every route.

use domain::Role;
use http::Method;
use serde_json::{Value, json};

use super::Person;
use super::matrix::{NOBODYS_ACCOUNT, PREFIXES, ask, body_of, fill, routes};
use super::threads::{begin, member, png, upload};
use super::widget::Site;
use crate::support::{TestApp, read};

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

async fn made(app: &TestApp, by: &Person, path: &str, body: &Value) -> String {
    text(&by.post(app, path, body).await.expect(201)["id"])
}

/// One thing of each kind that paths name, in the workspace that a person is signed in to.
async fn things_of(app: &TestApp, ana: &Person) -> Vec<(&'static str, String)> {
    let conversation = begin(app, "hola").await;
    let in_conversation = |rest: &str| format!("/v1/conversations/{conversation}{rest}");
    let in_workspace = |rest: &str| format!("/v1/workspaces/{}{rest}", ana.workspace);
    let file = upload(app, ana, &conversation, "a.png", png()).await.expect(201);
    let sessions = ana.get(app, "/v1/auth/sessions").await.expect(200);
    let project = json!({"name": "Funpark.cl", "domain": "https://funpark.cl"});
    let reply = json!({"shortcut": "hola", "title": "Saludo", "content": "¡Hola!"});
    let article = json!({"title": "Cambios", "content": "Hasta 24 horas antes."});
    let invitation = json!({"email": "nuevo@ejemplo.com", "role": "viewer"});
    let note = json!({"content": format!("@[{}], es VIP", ana.id)});
    vec![
        ("workspaceId", ana.workspace.clone()),
        ("memberId", ana.id.clone()),
        ("sessionId", text(&sessions["data"][0]["id"])),
        ("agentId", app.tenant.agent.clone()),
        ("projectId", made(app, ana, "/v1/projects", &project).await),
        ("attachmentId", text(&file["id"])),
        ("noteId", made(app, ana, &in_conversation("/notes"), &note).await),
        ("endUserId", made(app, ana, "/v1/end-users", &json!({"name": "Andrea"})).await),
        ("articleId", made(app, ana, "/v1/kb/articles", &article).await),
        (
            "categoryId",
            made(app, ana, "/v1/kb/categories", &json!({"names": {"es": "Entradas"}})).await,
        ),
        ("tagId", made(app, ana, "/v1/tags", &json!({"name": "vip"})).await),
        ("cannedReplyId", made(app, ana, "/v1/canned-replies", &reply).await),
        ("keyId", made(app, ana, "/v1/api-keys", &json!({"name": "web"})).await),
        ("invitationId", made(app, ana, &in_workspace("/members/invite"), &invitation).await),
        ("conversationId", conversation),
    ]
}

/// The paths that are the same but for whose ids are in them: another workspace's, nobody's, and such as are none.
fn trios(path: &str, things: &[(&'static str, String)], own: &str) -> Vec<[String; 3]> {
    let garbage: Vec<_> = PREFIXES.iter().map(|(name, _)| (*name, "x".to_owned())).collect();
    let mut trios = vec![[fill(path, things), fill(path, &[]), fill(path, &garbage)]];
    let in_own = path.replace("{workspaceId}", own);
    if in_own != path && in_own.contains('{') {
        trios.push([fill(&in_own, things), fill(&in_own, &[]), fill(&in_own, &garbage)]);
    }
    trios
}

/// What somebody sees of the things in their own workspace.
async fn seen(app: &TestApp, who: &Person, things: &[(&'static str, String)]) -> Vec<String> {
    let mut seen = Vec::new();
    for route in routes() {
        let is_asked = route.method == Method::GET && route.path.contains('{');
        if is_asked && !route.path.ends_with("/export") && !route.path.contains("{visitorId}") {
            let reply = who.get(app, &fill(&route.path, things)).await;
            assert_eq!(reply.status, 200, "{}: {}", route.path, reply.text);
            seen.push(reply.text);
        }
    }
    seen
}

#[tokio::test]
async fn what_a_path_names_of_another_workspace_is_absent() {
    for app in TestApp::on_each_database("foreign things in paths").await {
        let ana = member(&app, "ana", Role::Owner).await;
        let things = things_of(&app, &ana).await;
        let before = seen(&app, &ana, &things).await;
        let eva = Person::register(&app, "eva").await;
        let key = app.key_of(eva.workspace.parse().unwrap()).await;
        for route in routes() {
            if !route.path.contains('{') || route.path.contains("{visitorId}") {
                continue;
            }
            let body = body_of(&route.path, &eva);
            for trio in trios(&route.path, &things, &eva.workspace) {
                let mut words = Vec::new();
                for path in &trio {
                    let reply = ask(&app, Some(&eva.token), &route, path, &body).await;
                    assert_eq!(reply.status, 404, "{} {path}: {}", route.method, reply.text);
                    words.push(reply.expect_error(404, "NOT_FOUND"));
                }
                assert_eq!(words[0], words[1], "{} {}", route.method, route.path);
                for path in &trio[..2] {
                    let reply = ask(&app, Some(&key), &route, path, &body).await;
                    if reply.status == 403 {
                        assert_eq!(reply.expect_error(403, "FORBIDDEN"), NOBODYS_ACCOUNT);
                    } else {
                        assert_eq!(reply.expect_error(404, "NOT_FOUND"), words[0], "{path}");
                    }
                }
            }
        }
        assert_eq!(seen(&app, &ana, &things).await, before, "nothing was touched");
    }
}

#[tokio::test]
async fn a_visitor_is_blocked_in_the_workspace_of_who_blocks_alone() {
    for app in TestApp::on_each_database("foreign visitors").await {
        let site = Site::new(&app).await;
        let visitor = site.visitor(&app).await;
        visitor.say(&app, "Hola").await;
        let eva = Person::register(&app, "eva").await;
        let block = format!("/v1/visitors/{}/block", visitor.id);
        let unblock = format!("/v1/visitors/{}/unblock", visitor.id);
        eva.post(&app, &block, &Value::Null).await.expect(204);
        visitor.say(&app, "¿Siguen ahí?").await;
        site.owner.post(&app, &block, &Value::Null).await.expect(204);
        eva.post(&app, &unblock, &Value::Null).await.expect(204);
        let hello = json!({"content": "Hola"});
        visitor.post(&app, "/messages", &hello).await.expect_error(403, "BLOCKED");
    }
}

/// Somebody's own things, beside which bodies name another's.
struct Own {
    eva: Person,
    conversation: String,
    end_user: String,
    reply: String,
    project: String,
}

impl Own {
    async fn new(app: &TestApp) -> Self {
        let eva = Person::register(app, "eva").await;
        let key = app.key_of(eva.workspace.parse().unwrap()).await;
        let agents = read(app.request_as(&key, Method::GET, "/api/v2/agents")).await.expect(200);
        let chat = format!("/api/v2/agents/{}/chat", text(&agents["data"][0]["id"]));
        let said = app.request_as(&key, Method::POST, &chat).json(&json!({"query": "hola"}));
        let conversation = text(&read(said).await.expect(200)["conversationId"]);
        let reply = json!({"shortcut": "hola", "title": "Saludo", "content": "¡Hola!"});
        Self {
            conversation,
            end_user: made(app, &eva, "/v1/end-users", &json!({"name": "Eva"})).await,
            reply: made(app, &eva, "/v1/canned-replies", &reply).await,
            project: made(app, &eva, "/v1/projects", &json!({"name": "Eva.cl"})).await,
            eva,
        }
    }

    /// Routes with bodies that name the id in `kind`.
    fn bodies(&self, kind: &str, id: &str) -> Vec<(Method, String, Value)> {
        let conversation = |rest: &str| format!("/v1/conversations/{}{rest}", self.conversation);
        let (post, patch) = (|| Method::POST, || Method::PATCH);
        match kind {
            "memberId" => vec![
                (patch(), conversation(""), json!({"assignedToUserId": id})),
                (post(), conversation("/assign"), json!({"assignedToUserId": id})),
                (post(), conversation("/notes"), json!({"content": "x", "mentions": [id]})),
                (post(), conversation("/notes"), json!({"content": format!("@[{id}]")})),
                (
                    post(),
                    format!("/v1/workspaces/{}/transfer", self.eva.workspace),
                    json!({"userId": id}),
                ),
            ],
            "endUserId" => vec![(
                post(),
                format!("/v1/end-users/{}/merge", self.end_user),
                json!({"otherId": id}),
            )],
            "conversationId" => vec![
                (
                    post(),
                    format!("/v1/canned-replies/{}/render", self.reply),
                    json!({"conversationId": id}),
                ),
                (
                    post(),
                    "/v1/ai/suggest-reply".to_owned(),
                    json!({"conversationId": id, "lastMessage": "¿A qué hora abren?"}),
                ),
                (post(), "/v1/ai/summarize".to_owned(), json!({"conversationId": id})),
            ],
            "categoryId" => vec![(
                post(),
                "/v1/kb/articles".to_owned(),
                json!({"title": "x", "content": "y", "categoryId": id}),
            )],
            "agentId" => vec![(
                patch(),
                format!("/v1/projects/{}/widget", self.project),
                json!({"agentId": id}),
            )],
            "attachmentId" => vec![(
                post(),
                conversation("/messages"),
                json!({"type": "file", "attachmentIds": [id]}),
            )],
            _ => Vec::new(),
        }
    }
}

#[tokio::test]
async fn what_a_body_names_of_another_workspace_is_absent() {
    for app in TestApp::on_each_database("foreign things in bodies").await {
        let ana = member(&app, "ana", Role::Owner).await;
        let things = things_of(&app, &ana).await;
        let own = Own::new(&app).await;
        let mut count = 0;
        for (kind, foreign) in &things {
            let prefix = PREFIXES.iter().find(|(name, _)| name == kind).unwrap().1;
            let nobodys = format!("{prefix}00000000000000000000000000000000");
            let both = own.bodies(kind, foreign).into_iter().zip(own.bodies(kind, &nobodys));
            for ((method, path, body), (_, _, absent)) in both {
                let foreign_told = own.eva.ask(&app, method.clone(), &path, &body).await;
                let absent_told = own.eva.ask(&app, method, &path, &absent).await;
                let name = format!("{path} {body}: {}", foreign_told.text);
                assert!([400, 404].contains(&foreign_told.status.as_u16()), "{name}");
                assert_eq!(foreign_told.status, absent_told.status, "{name}");
                let mut words = [foreign_told.json(), absent_told.json()];
                for told in &mut words {
                    told["error"]["requestId"] = Value::Null;
                }
                let [foreign_words, absent_words] =
                    words.map(|told| told.to_string().replace(foreign, "…").replace(&nobodys, "…"));
                assert_eq!(foreign_words, absent_words, "{name}");
                count += 1;
            }
        }
        assert_eq!(count, 12);

        let (_, conversation) = things.iter().find(|(kind, _)| *kind == "conversationId").unwrap();
        let bulk = json!({"ids": [conversation, own.conversation], "action": "close"});
        let done = own.eva.post(&app, "/v1/conversations/bulk", &bulk).await.expect(200);
        assert_eq!(done["data"][0]["error"]["code"], "NOT_FOUND", "{done}");
        assert_eq!((&done["meta"]["done"], &done["meta"]["failed"]), (&json!(1), &json!(1)));
        let theirs = ana.get(&app, &format!("/v1/conversations/{conversation}")).await.expect(200);
        assert_eq!((&theirs["status"], &theirs["assignee"]), (&json!("open"), &Value::Null));
    }
}

#[tokio::test]
async fn what_a_filter_names_of_another_workspace_finds_nothing() {
    for app in TestApp::on_each_database("foreign things in filters").await {
        let ana = member(&app, "ana", Role::Owner).await;
        let things = things_of(&app, &ana).await;
        let own = Own::new(&app).await;
        let thing = |kind: &str| &things.iter().find(|(name, _)| *name == kind).unwrap().1;
        for query in [
            format!("/v1/conversations?projectId={}", thing("projectId")),
            format!("/v1/conversations?contactId={}", thing("endUserId")),
            format!("/v1/conversations?agentId={}", thing("agentId")),
            format!("/v1/conversations?assignedTo={}", thing("memberId")),
            format!("/v1/kb/articles?categoryId={}", thing("categoryId")),
            format!("/v1/audit?subject={}", thing("projectId")),
            format!("/v1/audit?actor={}", thing("memberId")),
            "/v1/end-users?search=Andrea".to_owned(),
            "/v1/canned-replies?criteria=vip".to_owned(),
        ] {
            let list = own.eva.get(&app, &query).await.expect(200);
            assert_eq!(list["data"], json!([]), "{query}: {list}");
        }
    }
}
