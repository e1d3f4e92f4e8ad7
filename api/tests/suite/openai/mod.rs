//! `/openai/v1`.

mod chat;
mod clients;
mod embeddings;
mod models;

use serde_json::Value;

use crate::support::Reply;

/// Checks an error in `OpenAI`'s shape; its message.
pub fn expect_error(reply: &Reply, status: u16, code: &str, param: Option<&str>) -> String {
    assert_eq!(reply.status.as_u16(), status, "{}", reply.text);
    let body = reply.json();
    let error = body["error"].as_object().unwrap_or_else(|| panic!("{}", reply.text));
    let fields: Vec<&str> = error.keys().map(String::as_str).collect();
    assert_eq!(fields, ["message", "type", "param", "code"], "{}", reply.text);
    assert_eq!((&error["code"], error["param"].as_str()), (&Value::from(code), param));
    assert!(error["type"].is_string(), "{}", reply.text);
    assert_ne!(reply.header("x-request-id"), "");
    let message = error["message"].as_str().unwrap_or_default();
    assert!(!message.is_empty(), "{}", reply.text);
    message.to_owned()
}

/// The chunks of a stream, which must end with `[DONE]`.
pub fn chunks(text: &str) -> Vec<Value> {
    let mut chunks = Vec::new();
    let mut done = false;
    for block in text.split("\n\n").filter(|block| !block.is_empty()) {
        assert!(!done, "something follows [DONE]: {text}");
        let data = block.strip_prefix("data: ").unwrap_or_else(|| panic!("no data: {block}"));
        if data == "[DONE]" {
            done = true;
        } else {
            chunks.push(serde_json::from_str(data).unwrap());
        }
    }
    assert!(done, "{text}");
    chunks
}
