//! The panel.

mod account;
mod ai;
mod api_keys;
mod audit;
mod canned_replies;
mod credentials;
mod end_users;
mod erasure;
mod foreign;
mod forgetting;
mod gone;
mod handoff;
mod inbox;
pub mod invitations;
mod kb;
mod links;
mod live;
mod matrix;
mod oidc;
mod projects;
mod removal;
pub mod second_factor;
mod specified;
mod stale;
mod threads;
mod widget;
mod workspaces;

use http::Method;
use serde_json::{Value, json};

use crate::support::{Reply, TestApp, read};

/// Somebody who is signed in.
#[derive(Clone)]
pub struct Person {
    pub id: String,
    pub email: String,
    pub token: String,
    pub refresh: String,
    pub workspace: String,
}

pub const PASSWORD: &str = "tres tristes tigres";

impl Person {
    /// From what register, login, refresh and switch answer.
    pub fn of(signed_in: &Value) -> Self {
        let text = |pointer: &str| signed_in.pointer(pointer).unwrap().as_str().unwrap().to_owned();
        Self {
            id: text("/user/id"),
            email: text("/user/email"),
            token: text("/token"),
            refresh: text("/refreshToken"),
            workspace: text("/workspace/id"),
        }
    }

    pub async fn register(app: &TestApp, name: &str) -> Self {
        let email = format!("{name}@ejemplo.com");
        let body = json!({"name": name, "email": email, "password": PASSWORD});
        Self::of(&open(app, "/v1/auth/register", &body).await.expect(201))
    }

    /// Makes another person a member of this one's workspace.
    pub async fn admit(&self, app: &TestApp, other: &Self, role: domain::Role) {
        let mut tx = app.db.write().await.unwrap();
        let (workspace, user) = (self.workspace.parse().unwrap(), other.id.parse().unwrap());
        storage::members::insert(&mut tx, workspace, user, role, app.ambient.now()).await.unwrap();
        tx.commit().await.unwrap();
    }

    pub async fn ask(&self, app: &TestApp, method: Method, path: &str, body: &Value) -> Reply {
        let request = app.request_as(&self.token, method, path);
        read(if body.is_null() { request } else { request.json(body) }).await
    }

    pub async fn patch(&self, app: &TestApp, path: &str, body: &Value) -> Reply {
        self.ask(app, Method::PATCH, path, body).await
    }

    pub async fn get(&self, app: &TestApp, path: &str) -> Reply {
        self.ask(app, Method::GET, path, &Value::Null).await
    }

    pub async fn post(&self, app: &TestApp, path: &str, body: &Value) -> Reply {
        self.ask(app, Method::POST, path, body).await
    }
}

/// A call without a credential.
pub async fn open(app: &TestApp, path: &str, body: &Value) -> Reply {
    read(app.client.post(format!("{}{path}", app.base)).json(body)).await
}
