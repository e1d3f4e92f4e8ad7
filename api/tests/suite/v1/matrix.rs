//! Each route of the panel × each role and each scope, from the router's own table. `credentials` has who is nobody,
//! `foreign` who is somebody elsewhere.

use api::{Callers, RouteInfo};
use domain::principal::Scopes;
use domain::{Role, Scope};
use http::Method;
use serde_json::{Value, json};

use super::threads::png;
use super::{PASSWORD, Person, open};
use crate::support::{Reply, TestApp, read};

/// A body that the route would accept.
pub fn body_of(path: &str, owner: &Person) -> Value {
    match path {
        "/v1/auth/register" => {
            json!({"name": "x", "email": "otra@ejemplo.com", "password": PASSWORD})
        }
        "/v1/auth/login" => json!({"email": owner.email, "password": PASSWORD}),
        "/v1/auth/refresh" => json!({"refreshToken": "vr_x"}),
        "/v1/auth/change-password" => {
            json!({"currentPassword": "no es esta", "newPassword": "cuatro gatos"})
        }
        "/v1/workspaces/{workspaceId}/transfer" => json!({"userId": owner.id}),
        "/v1/conversations/{conversationId}" => json!({"status": "pending"}),
        "/v1/conversations/{conversationId}/assign" => json!({"assignedToUserId": owner.id}),
        "/v1/conversations/bulk" => json!({"filter": {}, "action": "close"}),
        "/v1/workspaces/{workspaceId}/inbox-settings" => json!({"assignment": "least-busy"}),
        "/v1/workspaces/{workspaceId}/availability" => json!({"availability": "away"}),
        "/v1/kb/articles" => json!({"title": "x", "content": "y"}),
        "/v1/kb/categories" => json!({"names": {"es": "x"}}),
        "/v1/ai/suggest-reply" | "/v1/ai/summarize" => {
            json!({"conversationId": "conv_00000000000000000000000000000000", "lastMessage": "x"})
        }
        "/v1/ai/rewrite" => json!({"text": "x", "style": "fix"}),
        path if path.ends_with("/feedback") => json!({"helpful": true}),
        "/v1/end-users/{endUserId}/merge" => {
            json!({"otherId": "contact_00000000000000000000000000000001"})
        }
        // That of the member whom the test names, who is to stay what they are.
        path if path.ends_with("{memberId}") => json!({"role": "viewer"}),
        "/v1/conversations/{conversationId}/read" => json!({"seq": 1}),
        "/v1/canned-replies" => {
            json!({"shortcut": "x", "title": "x", "content": "x", "personal": true})
        }
        path if path.ends_with("/render") => {
            json!({"conversationId": "conv_00000000000000000000000000000000"})
        }
        path if path.ends_with("/messages") || path.ends_with("/notes") => json!({"content": "x"}),
        "/v1/workspaces/{workspaceId}/members/invite" => {
            json!({"email": "nuevo@ejemplo.com", "role": "viewer"})
        }
        "/v1/kb/categories/{categoryId}" => json!({"order": 1}),
        "/v1/workspaces/{workspaceId}" => json!({"name": "Otra", "confirm": "Otra"}),
        "/v1/auth/second-factor" => json!({"challenge": "x", "code": "123456"}),
        "/v1/auth/second-factor/setup" => json!({"password": "no es esta"}),
        "/v1/auth/second-factor/confirm" | "/v1/auth/second-factor/recovery-codes" => {
            json!({"code": "123456"})
        }
        "/v1/auth/verify" => json!({"token": "x"}),
        "/v1/auth/forgot-password" => json!({"email": "nadie@ejemplo.com"}),
        "/v1/auth/reset-password" => json!({"token": "x", "newPassword": PASSWORD}),
        _ => json!({"name": "x"}),
    }
}

/// The path with its parameters filled in: with what is given, else with what nobody has.
pub fn fill(path: &str, known: &[(&'static str, String)]) -> String {
    let mut filled = path.to_owned();
    for (parameter, value) in known {
        filled = filled.replace(&format!("{{{parameter}}}"), value);
    }
    for (parameter, prefix) in PREFIXES {
        let nobodys = format!("{prefix}00000000000000000000000000000000");
        filled = filled.replace(&format!("{{{parameter}}}"), &nobodys);
    }
    for (parameter, value) in
        [("visitorId", "v-1"), ("workspaceCode", "nobody"), ("slug", "nothing"), ("token", "x")]
    {
        filled = filled.replace(&format!("{{{parameter}}}"), value);
    }
    assert!(!filled.contains('{'), "{path} has a parameter that this test does not know");
    filled
}

/// What a key is told where it takes a person.
pub const NOBODYS_ACCOUNT: &str = "an API key is nobody's account; sign in";

/// What the ids in paths begin with.
pub const PREFIXES: [(&str, &str); 15] = [
    ("workspaceId", "ws_"),
    ("memberId", "user_"),
    ("projectId", "proj_"),
    ("endUserId", "contact_"),
    ("articleId", "art_"),
    ("categoryId", "cat_"),
    ("sessionId", "sess_"),
    ("conversationId", "conv_"),
    ("attachmentId", "att_"),
    ("noteId", "note_"),
    ("tagId", "tag_"),
    ("cannedReplyId", "canned_"),
    ("keyId", "key_"),
    ("invitationId", "inv_"),
    ("agentId", "agent_"),
];

/// A request to a route, with a body where it takes one.
pub fn request(
    app: &TestApp,
    token: Option<&str>,
    route: &RouteInfo,
    path: &str,
    body: &Value,
) -> reqwest::RequestBuilder {
    let request = app.client.request(route.method.clone(), format!("{}{path}", app.base));
    let request = match token {
        Some(token) => request.bearer_auth(token),
        None => request,
    };
    if route.method == Method::POST && route.path.ends_with("/attachments") {
        let part = reqwest::multipart::Part::bytes(png()).file_name("a.png");
        return request.multipart(reqwest::multipart::Form::new().part("file", part));
    }
    let confirms = ["/v1/workspaces/{workspaceId}", "/v1/auth/second-factor"];
    let sends = [Method::POST, Method::PATCH, Method::PUT].contains(&route.method)
        || (route.method == Method::DELETE && confirms.contains(&route.path.as_str()));
    if sends { request.json(body) } else { request }
}

pub async fn ask(
    app: &TestApp,
    token: Option<&str>,
    route: &RouteInfo,
    path: &str,
    body: &Value,
) -> Reply {
    read(request(app, token, route, path, body)).await
}

/// The routes that somebody must be let in to, those that delete last.
pub fn routes() -> Vec<RouteInfo> {
    let mut routes = api::routes_v1();
    routes.retain(|route| route.action.is_some());
    routes.sort_by_key(|route| {
        let deletes = route.method == Method::DELETE;
        (deletes, deletes && route.path.ends_with("{memberId}"))
    });
    routes
}

/// Whether a route ends the caller's session or place, or the workspace itself.
fn ends_something(route: &RouteInfo) -> bool {
    let words = ["/logout", "/logout-all", "/leave", "/switch", "/transfer"];
    let is_end = words.iter().any(|word| route.path.ends_with(word));
    is_end || (route.method == Method::DELETE && route.path == "/v1/workspaces/{workspaceId}")
}

/// Somebody of each role in a person's workspace.
async fn one_of_each_role(app: &TestApp, owner: &Person) -> Vec<(Role, Person)> {
    let mut members = Vec::new();
    for role in Role::ALL {
        let member = Person::register(app, &format!("some-{role}")).await;
        owner.admit(app, &member, role).await;
        members.push((role, member));
    }
    members
}

/// Asks as a member of a workspace, and checks that they may exactly if their role is enough.
async fn ask_as(
    app: &TestApp,
    (role, member, workspace): (Role, &Person, &str),
    route: &RouteInfo,
    (path, body): (&str, &Value),
) {
    let request = request(app, Some(&member.token), route, path, body);
    let reply = read(request.header("x-workspace-id", workspace)).await;
    let told = format!("{} {path} as {role}: {}", route.method, reply.text);
    assert!(!reply.status.is_server_error() && reply.status != 401, "{told}");
    let needed = route.action.unwrap().needs().0;
    assert_eq!(reply.status == 403, role < needed, "{told}");
}

#[test]
fn the_table_is_of_every_route_that_is_described() {
    let document = serde_json::to_value(api::openapi_v1()).unwrap();
    let mut described = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            described.push(format!("{} {path}", method.to_uppercase()));
        }
    }
    let table = api::routes_v1().into_iter();
    let mut table: Vec<_> = table.map(|route| format!("{} {}", route.method, route.path)).collect();
    described.sort();
    table.sort();
    assert_eq!(table, described);
}

#[tokio::test]
async fn each_route_asks_for_its_role() {
    for app in TestApp::on_each_database("panel roles").await {
        let owner = Person::register(&app, "owner").await;
        let members = one_of_each_role(&app, &owner).await;
        let projects = owner.get(&app, "/v1/projects").await.expect(200);
        let project = projects["data"][0]["id"].as_str().unwrap().to_owned();
        let known = [
            ("workspaceId", owner.workspace.clone()),
            ("memberId", members[0].1.id.clone()),
            ("projectId", project),
        ];
        for route in routes().iter().filter(|route| !ends_something(route)) {
            let (path, body) = (fill(&route.path, &known), body_of(&route.path, &owner));
            for (role, member) in &members {
                let caller = (*role, member, owner.workspace.as_str());
                ask_as(&app, caller, route, (path.as_str(), &body)).await;
            }
        }
    }
}

/// Each of these gets a workspace and a session of its own.
#[tokio::test]
async fn what_ends_a_session_a_place_or_a_workspace_asks_for_its_role() {
    for app in TestApp::on_each_database("panel ends").await {
        let owner = Person::register(&app, "owner").await;
        let members = one_of_each_role(&app, &owner).await;
        for route in routes().iter().filter(|route| ends_something(route)) {
            for (role, member) in &members {
                let name = json!({"name": "Otra"});
                let made = owner.post(&app, "/v1/workspaces", &name).await.expect(201);
                let workspace = made["id"].as_str().unwrap().to_owned();
                let there = Person { workspace: workspace.clone(), ..owner.clone() };
                there.admit(&app, member, *role).await;
                let login = json!({"email": member.email, "password": PASSWORD});
                let login = open(&app, "/v1/auth/login", &login).await.expect(200);
                let path = fill(&route.path, &[("workspaceId", workspace.clone())]);
                let body = body_of(&route.path, &owner);
                let caller = (*role, &Person::of(&login), workspace.as_str());
                ask_as(&app, caller, route, (path.as_str(), &body)).await;
                // Nobody may own any number of them.
                let place = format!("/v1/workspaces/{workspace}");
                let gone =
                    owner.ask(&app, Method::DELETE, &place, &json!({"confirm": "Otra"})).await;
                let was_gone = route.method == Method::DELETE && *role == Role::Owner;
                assert_eq!(gone.status.as_u16(), if was_gone { 404 } else { 204 }, "{}", gone.text);
            }
        }
    }
}

#[tokio::test]
async fn each_route_asks_for_the_scope_of_a_key() {
    for app in TestApp::on_each_database("panel scopes").await {
        let owner = Person::register(&app, "owner").await;
        let mut keys = Vec::new();
        for scope in Scope::ALL {
            keys.push((scope, app.key(&[scope], None).await));
        }
        let known = [("workspaceId", app.tenant.workspace.to_string())];
        for route in routes() {
            let (path, body) = (fill(&route.path, &known), body_of(&route.path, &owner));
            let (role, needed) = route.action.unwrap().needs();
            for (scope, key) in &keys {
                let reply = ask(&app, Some(key), &route, &path, &body).await;
                let told = format!("{} {path} with {scope}: {}", route.method, reply.text);
                assert!(!reply.status.is_server_error() && reply.status != 401, "{told}");
                let granted = [*scope].into_iter().collect::<Scopes>().grant(needed);
                if !granted || role > Role::Admin {
                    assert_eq!(reply.status, 403, "{told}");
                    reply.expect_error(403, "FORBIDDEN");
                } else if reply.status == 403 {
                    // What is done by somebody, as nobody's key: in other words than for want of a scope.
                    assert_eq!(reply.expect_error(403, "FORBIDDEN"), NOBODYS_ACCOUNT, "{told}");
                }
            }
        }
    }
}

#[tokio::test]
async fn an_api_key_is_refused_where_somebody_must_be_signed_in_and_nowhere_else() {
    for app in TestApp::on_each_database("panel keys").await {
        let owner = Person::register(&app, "keys").await;
        let workspace = app.tenant.workspace.to_string();
        for route in api::routes_v1().iter().filter(|route| route.action.is_some()) {
            let path = filled(&route.path, &workspace);
            let body = match route.path.as_str() {
                // A key has no replies of its own.
                "/v1/canned-replies" => json!({"shortcut": "x", "title": "x", "content": "x"}),
                path => body_of(path, &owner),
            };
            let reply = ask(&app, Some(&app.tenant.key), route, &path, &body).await;
            let told = format!("{} {}: {}", route.method, route.path, reply.text);
            assert!(!reply.status.is_server_error() && reply.status != 401, "{told}");
            assert_eq!(reply.status == 403, route.callers == Callers::People, "{told}");
        }
    }
}

/// The path in a workspace, with names of nothing for all else.
fn filled(path: &str, workspace: &str) -> String {
    let parts = path.split('/').map(|part| match part {
        "{workspaceId}" => workspace,
        part if part.starts_with('{') => "nothing",
        part => part,
    });
    parts.collect::<Vec<_>>().join("/")
}
