//! What is inside a conversation.

mod attachments;
mod messages;
mod notes;
mod timeline;

use domain::Role;
use http::Method;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use super::Person;
use crate::support::{Reply, TestApp, read};

/// Somebody who works in the first workspace, signed in there.
pub async fn member(app: &TestApp, name: &str, role: Role) -> Person {
    let person = Person::register(app, name).await;
    let mut tx = app.db.write().await.unwrap();
    let (workspace, user) = (app.tenant.workspace, person.id.parse().unwrap());
    storage::members::insert(&mut tx, workspace, user, role, app.ambient.now()).await.unwrap();
    tx.commit().await.unwrap();
    let path = format!("/v1/workspaces/{workspace}/switch");
    Person::of(&person.post(app, &path, &Value::Null).await.expect(200))
}

/// A conversation that a customer began with the first workspace's agent; its id.
pub async fn begin(app: &TestApp, query: &str) -> String {
    let body = json!({"query": query});
    let answer = app.post(&app.chat_path(), &body).await.expect(200);
    answer["conversationId"].as_str().unwrap().to_owned()
}

/// The smallest PNG.
pub fn png() -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    bytes.extend(b"\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89");
    bytes
}

pub async fn upload(
    app: &TestApp,
    person: &Person,
    conversation: &str,
    name: &str,
    content: Vec<u8>,
) -> Reply {
    let path = format!("/v1/conversations/{conversation}/attachments");
    let part = Part::bytes(content).file_name(name.to_owned());
    let form = Form::new().part("file", part);
    read(app.request_as(&person.token, Method::POST, &path).multipart(form)).await
}
