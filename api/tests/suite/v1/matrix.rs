//! Each route of the panel × {no credential, garbage, another tenant, each role}, from the router's own table.

use api::Surface;
use domain::Role;
use http::Method;
use serde_json::{Value, json};

use super::{PASSWORD, Person};
use crate::support::{Reply, TestApp, read};

/// A body that the route would accept.
fn body_of(path: &str, owner: &Person) -> Value {
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

async fn ask(
    app: &TestApp,
    token: Option<&str>,
    method: &Method,
    path: &str,
    body: &Value,
) -> Reply {
    let request = app.client.request(method.clone(), format!("{}{path}", app.base));
    let request = match token {
        Some(token) => request.bearer_auth(token),
        None => request,
    };
    let sends = [Method::POST, Method::PATCH, Method::PUT].contains(method);
    read(if sends { request.json(body) } else { request }).await
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table of what stands for each parameter")]
async fn each_route_asks_for_a_credential_and_a_role() {
    for app in TestApp::on_each_database("panel matrix").await {
        let owner = Person::register(&app, "owner").await;
        let stranger = Person::register(&app, "stranger").await;
        let mut members = Vec::new();
        for role in [Role::Viewer, Role::Agent, Role::Admin] {
            let member = Person::register(&app, role.name()).await;
            owner.admit(&app, &member, role).await;
            members.push((role, member));
        }
        let other = &members[0].1;
        let projects = owner.get(&app, "/v1/projects").await.expect(200);
        let project = projects["data"][0]["id"].as_str().unwrap().to_owned();
        let fill = |path: &str| {
            let filled = path
                .replace("{workspaceId}", &owner.workspace)
                .replace("{memberId}", &other.id)
                .replace("{projectId}", &project)
                .replace("{endUserId}", "contact_00000000000000000000000000000000")
                .replace("{visitorId}", "v-1")
                .replace("{articleId}", "art_00000000000000000000000000000000")
                .replace("{categoryId}", "cat_00000000000000000000000000000000")
                .replace("{workspaceCode}", "nobody")
                .replace("{slug}", "nothing")
                .replace("{sessionId}", "sess_00000000000000000000000000000000")
                .replace("{conversationId}", "conv_00000000000000000000000000000000")
                .replace("{attachmentId}", "att_00000000000000000000000000000000")
                .replace("{noteId}", "note_00000000000000000000000000000000")
                .replace("{tagId}", "tag_00000000000000000000000000000000")
                .replace("{cannedReplyId}", "canned_00000000000000000000000000000000")
                .replace("{token}", "x")
                .replace("{keyId}", "key_00000000000000000000000000000000")
                .replace("{invitationId}", "inv_00000000000000000000000000000000");
            assert!(!filled.contains('{'), "{path} has a parameter that this test does not know");
            filled
        };
        let mut routes = api::routes_v1();
        // What ends the caller's session or place comes last.
        routes.sort_by_key(|route| {
            let last = ["logout", "logout-all", "leave", "switch"];
            let ends = last.iter().any(|word| route.path.ends_with(word));
            let deletes = route.method == Method::DELETE;
            (ends, deletes, deletes && route.path.ends_with("{memberId}"))
        });
        assert!(routes.len() >= 19, "{}", routes.len());
        for route in &routes {
            let (path, body) = (fill(&route.path), body_of(&route.path, &owner));
            let name = format!("{} {}", route.method, route.path);
            let Some(action) = route.action else {
                let reply = ask(&app, None, &route.method, &path, &body).await;
                assert!(!reply.status.is_server_error(), "{name}: {}", reply.text);
                if matches!(route.surface, Surface::Sites | Surface::Visitors) {
                    // What opens the panel opens no widget; `widget/doors` has the rest.
                    for token in [&owner.token, &app.tenant.key] {
                        let reply = ask(&app, Some(token), &route.method, &path, &body).await;
                        reply.expect_error(401, "UNAUTHORIZED");
                    }
                }
                continue;
            };
            let unknown = format!("vk_{}", "a".repeat(64));
            for token in
                [None, Some("garbage"), Some("a.b.c"), Some(&*unknown), Some(&*owner.refresh)]
            {
                let reply = ask(&app, token, &route.method, &path, &body).await;
                reply.expect_error(401, "UNAUTHORIZED");
            }
            if route.path.contains("{workspaceId}") {
                let reply = ask(&app, Some(&stranger.token), &route.method, &path, &body).await;
                reply.expect_error(404, "NOT_FOUND");
                let reply = ask(&app, Some(&app.tenant.key), &route.method, &path, &body).await;
                reply.expect_error(404, "NOT_FOUND");
            }
            for (role, member) in &members {
                let ends = ["logout", "logout-all", "leave", "switch"];
                if ends.iter().any(|word| route.path.ends_with(word)) {
                    continue;
                }
                let request =
                    app.client.request(route.method.clone(), format!("{}{path}", app.base));
                let request =
                    request.bearer_auth(&member.token).header("x-workspace-id", &owner.workspace);
                let sends = [Method::POST, Method::PATCH, Method::PUT].contains(&route.method);
                let reply = read(if sends { request.json(&body) } else { request }).await;
                let told = format!("{name} as {role}: {}", reply.text);
                assert!(!reply.status.is_server_error() && reply.status != 401, "{told}");
                assert_eq!(reply.status == 403, *role < action.needs().0, "{told}");
            }
        }
    }
}
