//! Reads a stream of events as a client does.

use serde_json::Value;

/// An event.
#[derive(Debug, Clone)]
pub struct Event {
    pub id: String,
    pub name: String,
    pub data: Value,
}

/// The events of a whole stream; panics at any line that the format does not have.
pub fn parse(text: &str) -> Vec<Event> {
    let mut events = Vec::new();
    for block in text.split("\n\n").filter(|block| !block.is_empty()) {
        let lines: Vec<&str> = block.lines().filter(|line| !line.starts_with(':')).collect();
        if lines.is_empty() {
            continue;
        }
        let [id, name, data] = lines[..] else { panic!("not three lines: {block:?}") };
        events.push(Event {
            id: id.strip_prefix("id: ").expect("an id").to_owned(),
            name: name.strip_prefix("event: ").expect("a name").to_owned(),
            data: serde_json::from_str(data.strip_prefix("data: ").expect("data")).expect("JSON"),
        });
    }
    events
}

/// Checks what every stream that ended well obeys; its last event's data.
pub fn check(events: &[Event]) -> Value {
    let last = events.last().expect("events");
    assert_eq!(last.name, "done", "{events:?}");
    let ids: Vec<String> = (1..=events.len()).map(|id| id.to_string()).collect();
    assert_eq!(events.iter().map(|event| event.id.clone()).collect::<Vec<_>>(), ids);
    let first_token = events.iter().position(|event| event.name == "token").unwrap_or(events.len());
    let late_source = events[first_token..].iter().any(|event| event.name == "source");
    assert!(!late_source, "a source after the first token: {events:?}");
    let joined: String = tokens(events).concat();
    assert_eq!(joined, last.data["answer"].as_str().expect("an answer"));
    last.data.clone()
}

/// The texts of the tokens.
pub fn tokens(events: &[Event]) -> Vec<String> {
    let tokens = events.iter().filter(|event| event.name == "token");
    tokens.map(|event| event.data["text"].as_str().expect("a text").to_owned()).collect()
}
