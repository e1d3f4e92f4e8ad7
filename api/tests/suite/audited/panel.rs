//! How the routes of the panel are asked.

use domain::Role;
use serde_json::{Value, json};

use super::world::{Ask, Body, PLANTED, World, about, by, unknown};
use crate::v1::second_factor::{challenge, code, turn_on};
use crate::v1::{PASSWORD, Person};

pub async fn ask(world: &World, name: &str) -> Ask {
    let (_, path) = name.split_once(' ').unwrap();
    let first = path.split('/').nth(2).unwrap();
    match first {
        "auth" => Box::pin(account(world, name)).await,
        "workspaces" | "invitations" | "api-keys" => Box::pin(workspace(world, name)).await,
        "conversations" | "tags" | "canned-replies" => Box::pin(inbox(world, name)).await,
        "end-users" | "visitors" => Box::pin(customers(world, name)).await,
        _ => Box::pin(places(world, name)).await,
    }
}

async fn account(world: &World, name: &str) -> Ask {
    let (method, path) = name.split_once(' ').unwrap();
    let person = world.person().await;
    let own = |body: Body, action| by(&person, path.to_owned(), body, action);
    let login = json!({"email": person.email, "password": PASSWORD});
    match (method, path.strip_prefix("/v1/auth/").unwrap()) {
        (_, "login") => about(&person, path, login, "session.begun"),
        (_, "logout") => own(Body::None, "session.ended"),
        (_, "logout-all") => own(Body::None, "sessions.ended"),
        (_, "change-password") => {
            let body = json!({"currentPassword": PASSWORD, "newPassword": PLANTED});
            own(Body::Json(body), "password.changed")
        }
        (_, "reset-password") => {
            let forgot = json!({"email": person.email});
            world.open("/v1/auth/forgot-password", forgot, 202).await;
            let token = world.mailed(&person.email, "/reset/").await;
            let body = json!({"token": token, "newPassword": PLANTED});
            about(&person, path, body, "password.reset")
        }
        (_, "verify") => {
            let token = world.mailed(&person.email, "/verify/").await;
            about(&person, path, json!({"token": token}), "email.verified")
        }
        (_, "sessions/{sessionId}") => {
            let listed = person.get(&world.app, "/v1/auth/sessions").await.expect(200);
            let path = format!("/v1/auth/sessions/{}", id(&listed["data"][0]));
            by(&person, path, Body::None, "session.ended")
        }
        (_, "second-factor/setup") => {
            own(Body::Json(json!({"password": PASSWORD})), "second-factor.begun")
        }
        (_, "second-factor/confirm") => {
            let setup = json!({"password": PASSWORD});
            let made = person.post(&world.app, "/v1/auth/second-factor/setup", &setup).await;
            let made = made.expect(200);
            world.keep_secrets(&made);
            let code = code(&world.app, made["secret"].as_str().unwrap());
            own(Body::Json(json!({"code": code})), "second-factor.on")
        }
        _ => with_second_factor(world, name, &person).await,
    }
}

async fn with_second_factor(world: &World, name: &str, person: &Person) -> Ask {
    let (_, path) = name.split_once(' ').unwrap();
    if !path.starts_with("/v1/auth/second-factor") {
        return unknown(name);
    }
    let (secret, codes) = turn_on(&world.app, person).await;
    world.keep_secrets(&json!({"secret": secret, "recoveryCodes": codes}));
    let own = |body, action| by(person, path.to_owned(), Body::Json(body), action);
    match name {
        "POST /v1/auth/second-factor" => {
            let challenge = challenge(&world.app, person).await;
            let body = json!({"challenge": challenge, "code": codes[0]});
            about(person, path, body, "session.begun")
        }
        "DELETE /v1/auth/second-factor" => {
            own(json!({"password": PASSWORD, "code": codes[0]}), "second-factor.off")
        }
        "POST /v1/auth/second-factor/recovery-codes" => {
            own(json!({"code": codes[0]}), "second-factor.codes-renewed")
        }
        _ => unknown(name),
    }
}

async fn workspace(world: &World, name: &str) -> Ask {
    let at = |rest: &str| format!("/v1/workspaces/{}{rest}", world.workspace());
    let owner = |path, body, action| world.by_owner(path, body, action);
    let invite = || json!({"email": format!("x{}@ejemplo.com", world.next()), "role": "viewer"});
    let invited = async || world.made(&at("/members/invite"), invite()).await;
    match name {
        "POST /v1/workspaces" => {
            owner("/v1/workspaces".to_owned(), named("Otra"), "workspace.created")
        }
        "PATCH /v1/workspaces/{workspaceId}" => owner(at(""), named("Sol"), "workspace.updated"),
        "PUT /v1/workspaces/{workspaceId}/availability" => {
            let body = Body::Json(json!({"availability": "away"}));
            owner(at("/availability"), body, "member.availability")
        }
        "PATCH /v1/workspaces/{workspaceId}/inbox-settings" => {
            let body = Body::Json(json!({"mostOpen": 7}));
            owner(at("/inbox-settings"), body, "inbox.updated")
        }
        "PATCH /v1/workspaces/{workspaceId}/retention" => {
            let body = Body::Json(json!({"contactDays": 3000}));
            owner(at("/retention"), body, "retention.updated")
        }
        "POST /v1/workspaces/{workspaceId}/members/invite" => {
            owner(at("/members/invite"), Body::Json(invite()), "invitation.created")
        }
        "DELETE /v1/workspaces/{workspaceId}/invitations/{invitationId}" => {
            let path = at(&format!("/invitations/{}", invited().await));
            owner(path, Body::None, "invitation.revoked")
        }
        "POST /v1/workspaces/{workspaceId}/invitations/{invitationId}/resend" => {
            let path = at(&format!("/invitations/{}/resend", invited().await));
            owner(path, Body::None, "invitation.resent")
        }
        "POST /v1/invitations/{token}/accept" => {
            let person = world.person().await;
            let body = json!({"email": person.email, "role": "viewer"});
            world.made(&at("/members/invite"), body).await;
            let token = world.mailed(&person.email, "/invitations/").await;
            let path = format!("/v1/invitations/{token}/accept");
            let ask = by(&person, path, Body::Json(json!({})), "invitation.accepted");
            Ask { workspace: world.workspace(), ..ask }
        }
        "POST /v1/workspaces/{workspaceId}/leave" => {
            let member = world.member(Role::Agent).await;
            by(&member, at("/leave"), Body::None, "member.left")
        }
        "DELETE /v1/workspaces/{workspaceId}/members/{memberId}" => {
            let member = world.member(Role::Agent).await;
            owner(at(&format!("/members/{}", member.id)), Body::None, "member.removed")
        }
        "PATCH /v1/workspaces/{workspaceId}/members/{memberId}" => {
            let member = world.member(Role::Agent).await;
            let body = Body::Json(json!({"role": "viewer"}));
            owner(at(&format!("/members/{}", member.id)), body, "member.updated")
        }
        "POST /v1/workspaces/{workspaceId}/transfer" => {
            let (from, to) = (world.person().await, world.person().await);
            from.admit(&world.app, &to, Role::Admin).await;
            let path = format!("/v1/workspaces/{}/transfer", from.workspace);
            let body = Body::Json(json!({"userId": to.id}));
            by(&from, path, body, "workspace.transferred")
        }
        "POST /v1/api-keys" => owner("/v1/api-keys".to_owned(), named("web"), "api-key.created"),
        "DELETE /v1/api-keys/{keyId}" => {
            let key = world.made("/v1/api-keys", json!({"name": "web"})).await;
            owner(format!("/v1/api-keys/{key}"), Body::None, "api-key.revoked")
        }
        _ => unknown(name),
    }
}

async fn inbox(world: &World, name: &str) -> Ask {
    let (_, path) = name.split_once(' ').unwrap();
    if !path.starts_with("/v1/conversations") {
        return lists(world, name).await;
    }
    let id = world.conversation().await;
    let at = |rest: &str| format!("/v1/conversations/{id}{rest}");
    let change = |path, body| world.by_owner(path, body, "conversation.updated");
    let first = async |act: &str| {
        world.owner.post(&world.app, &at(act), &Value::Null).await.expect(200);
    };
    let note = async || world.made(&at("/notes"), json!({"content": "x"})).await;
    match path.strip_prefix("/v1/conversations").unwrap() {
        "/bulk" => {
            let body = json!({"ids": [id], "action": "close"});
            change("/v1/conversations/bulk".to_owned(), Body::Json(body))
        }
        "/{conversationId}" => change(at(""), Body::Json(json!({"priority": "high"}))),
        "/{conversationId}/assign" => {
            change(at("/assign"), Body::Json(json!({"assignedToUserId": world.owner.id})))
        }
        "/{conversationId}/close" => change(at("/close"), Body::None),
        "/{conversationId}/take-over" => change(at("/take-over"), Body::None),
        "/{conversationId}/reopen" => {
            first("/close").await;
            change(at("/reopen"), Body::None)
        }
        "/{conversationId}/hand-back" => {
            first("/take-over").await;
            change(at("/hand-back"), Body::None)
        }
        "/{conversationId}/notes" => {
            let body = Body::Json(json!({"content": "x"}));
            world.by_owner(at("/notes"), body, "note.created")
        }
        "/{conversationId}/notes/{noteId}" => {
            let path = at(&format!("/notes/{}", note().await));
            if name.starts_with("DELETE") {
                return world.by_owner(path, Body::None, "note.deleted");
            }
            world.by_owner(path, Body::Json(json!({"content": "otra nota"})), "note.updated")
        }
        _ => unknown(name),
    }
}

/// What is made, changed and removed in the same way.
async fn lists(world: &World, name: &str) -> Ask {
    let number = world.next();
    let reply = json!({"shortcut": format!("s{number}"), "title": "x", "content": "x"});
    let tag = json!({"name": format!("t{number}")});
    let canned = ["canned-reply.created", "canned-reply.updated", "canned-reply.deleted"];
    let tags = ["tag.created", "tag.updated", "tag.deleted"];
    if name.contains("canned-replies") {
        return one_of(world, name, reply, json!({"title": "y"}), canned).await;
    }
    one_of(world, name, tag, json!({"name": format!("u{number}")}), tags).await
}

/// A route that makes, changes or removes one of a list.
async fn one_of(
    world: &World,
    name: &str,
    new: Value,
    change: Value,
    [created, updated, deleted]: [&'static str; 3],
) -> Ask {
    let (method, path) = name.split_once(' ').unwrap();
    if method == "POST" && !path.contains('{') {
        return world.by_owner(path.to_owned(), Body::Json(new), created);
    }
    let (list, rest) = path.split_once("/{").unwrap();
    if rest.contains('/') {
        return unknown(name);
    }
    let path = format!("{list}/{}", world.made(list, new).await);
    match method {
        "PATCH" => world.by_owner(path, Body::Json(change), updated),
        "DELETE" => world.by_owner(path, Body::None, deleted),
        _ => unknown(name),
    }
}

async fn customers(world: &World, name: &str) -> Ask {
    let person = |number: usize| json!({"name": "Ana", "email": format!("c{number}@ejemplo.com")});
    let made = async || world.made("/v1/end-users", person(world.next())).await;
    let (_, path) = name.split_once(' ').unwrap();
    let act = path.rsplit('/').next().unwrap();
    if path.starts_with("/v1/visitors") {
        let visitor = world.answer("hola").await["visitorId"].as_str().unwrap().to_owned();
        let at = |act: &str| format!("/v1/visitors/{visitor}/{act}");
        if act == "block" {
            return world.by_owner(at(act), Body::Json(json!({})), "visitor.blocked");
        }
        world.owner.post(&world.app, &at("block"), &json!({})).await.expect(204);
        return world.by_owner(at(act), Body::Json(json!({})), "visitor.unblocked");
    }
    let actions = ["end-user.created", "end-user.updated", "end-user.erased"];
    if !["block", "unblock", "merge"].contains(&act) {
        let change = json!({"name": "Eva Luna"});
        return one_of(world, name, person(world.next()), change, actions).await;
    }
    let id = made().await;
    let at = |act: &str| format!("/v1/end-users/{id}/{act}");
    match act {
        "block" => world.by_owner(at(act), Body::Json(json!({})), "end-user.blocked"),
        "unblock" => {
            world.owner.post(&world.app, &at("block"), &json!({})).await.expect(200);
            world.by_owner(at(act), Body::Json(json!({})), "end-user.unblocked")
        }
        _ => {
            let other = json!({"otherId": made().await});
            world.by_owner(at(act), Body::Json(other), "end-user.merged")
        }
    }
}

async fn places(world: &World, name: &str) -> Ask {
    let number = world.next();
    let article = json!({"title": format!("Título {number}"), "content": "x"});
    let category = json!({"names": {"es": format!("Categoría {number}")}});
    let project = json!({"name": format!("Web {number}")});
    let (_, path) = name.split_once(' ').unwrap();
    if path.starts_with("/v1/kb/articles") {
        let actions = ["article.created", "article.updated", "article.deleted"];
        return one_of(world, name, article, json!({"title": "Otro"}), actions).await;
    }
    if path.starts_with("/v1/kb/categories") {
        let actions =
            ["article-category.created", "article-category.updated", "article-category.deleted"];
        return one_of(world, name, category, json!({"order": 3}), actions).await;
    }
    let rest = path.strip_prefix("/v1/projects/{projectId}/");
    let Some(rest) = rest else {
        let actions = ["project.created", "project.updated", "project.deleted"];
        return one_of(world, name, project, json!({"name": "Tienda"}), actions).await;
    };
    let path = format!("/v1/projects/{}/{rest}", world.made("/v1/projects", project).await);
    match rest {
        "site-key/rotate" => world.by_owner(path, Body::None, "project.site-key-rotated"),
        "widget" => {
            let body = Body::Json(json!({"primaryColor": "#123456"}));
            world.by_owner(path, body, "project.widget-updated")
        }
        "widget/identity-secret" => {
            world.by_owner(path, Body::None, "project.identity-secret-renewed")
        }
        _ => unknown(name),
    }
}

fn named(name: &str) -> Body {
    Body::Json(json!({"name": name}))
}

fn id(value: &Value) -> &str {
    value["id"].as_str().unwrap()
}
