//! The widget: pages of a site and their visitors.

mod blocked;
mod chat;
mod doors;
mod files;
mod live;
mod visits;

use http::Method;
use serde_json::{Value, json};

use super::Person;
use crate::support::{Reply, TestApp, read};

pub const ORIGIN: &str = "https://funpark.cl";

/// A site with a widget, and who owns it.
pub struct Site {
    pub owner: Person,
    pub id: String,
    pub key: String,
}

/// A visitor of a site.
#[derive(Clone)]
pub struct Visitor {
    pub id: String,
    pub token: String,
    key: String,
}

impl Site {
    /// The text's own project, of a new person.
    pub async fn new(app: &TestApp) -> Self {
        Self::of(app, "ana").await
    }

    pub async fn of(app: &TestApp, name: &str) -> Self {
        let owner = Person::register(app, name).await;
        Self::owned_by(app, owner).await
    }

    pub async fn owned_by(app: &TestApp, owner: Person) -> Self {
        let body = json!({"name": "Funpark.cl", "domain": ORIGIN});
        let made = owner.post(app, "/v1/projects", &body).await.expect(201);
        let text = |name: &str| made[name].as_str().unwrap().to_owned();
        Self { owner, id: text("id"), key: text("siteKey") }
    }

    /// A site of the first workspace, whose agent can be taught.
    pub async fn of_tenant(app: &TestApp) -> Self {
        let owner = Person {
            id: String::new(),
            email: String::new(),
            token: app.tenant.key.clone(),
            refresh: String::new(),
            workspace: app.tenant.workspace.to_string(),
        };
        Self::owned_by(app, owner).await
    }

    pub fn path(&self, rest: &str) -> String {
        format!("/v1/projects/{}{rest}", self.id)
    }

    pub async fn change_widget(&self, app: &TestApp, change: &Value) {
        self.owner.patch(app, &self.path("/widget"), change).await.expect(200);
    }

    /// Opens the widget on a page of the site.
    pub async fn open(&self, app: &TestApp, body: &Value) -> Reply {
        let request = app.client.post(format!("{}/v1/widget/init", app.base));
        read(request.header("x-site-key", &self.key).header("origin", ORIGIN).json(body)).await
    }

    pub async fn visitor(&self, app: &TestApp) -> Visitor {
        self.visitor_of(&self.open(app, &json!({})).await.expect(200))
    }

    pub fn visitor_of(&self, opened: &Value) -> Visitor {
        let text = |name: &str| opened[name].as_str().unwrap().to_owned();
        Visitor { id: text("visitorId"), token: text("visitorToken"), key: self.key.clone() }
    }
}

impl Visitor {
    pub fn request(&self, app: &TestApp, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = app.client.request(method, format!("{}/v1/widget{path}", app.base));
        request
            .header("x-site-key", &self.key)
            .header("x-visitor-token", &self.token)
            .header("origin", ORIGIN)
    }

    pub async fn get(&self, app: &TestApp, path: &str) -> Reply {
        read(self.request(app, Method::GET, path)).await
    }

    pub async fn post(&self, app: &TestApp, path: &str, body: &Value) -> Reply {
        read(self.request(app, Method::POST, path).json(body)).await
    }

    /// Uploads a file.
    pub async fn upload(&self, app: &TestApp, name: &str, content: Vec<u8>) -> Reply {
        let part = reqwest::multipart::Part::bytes(content).file_name(name.to_owned());
        let form = reqwest::multipart::Form::new().part("file", part);
        read(self.request(app, Method::POST, "/attachments").multipart(form)).await
    }

    /// Says something in a new conversation; what is answered.
    pub async fn say(&self, app: &TestApp, content: &str) -> Value {
        let reply = self.post(app, "/messages", &json!({"content": content})).await;
        assert!(reply.status.is_success(), "{}", reply.text);
        reply.json()
    }
}
