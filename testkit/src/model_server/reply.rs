//! What the server answers, said in terms of what a test is about.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::Notify;

/// One step of a body.
#[derive(Debug, Clone)]
pub enum Step {
    /// Sends bytes.
    Send(Bytes),
    /// Waits.
    Wait(Duration),
    /// Waits until a test says so.
    WaitFor(Arc<Notify>),
    /// Says nothing more until the client leaves.
    Hang,
    /// Cuts the connection.
    Cut,
}

/// A reply to one request.
#[derive(Debug, Clone)]
pub struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Body,
}

#[derive(Debug, Clone)]
pub(super) enum Body {
    /// A chat completion, streamed or whole as the request asks.
    Chat(Box<Chat>),
    /// Steps as given.
    Steps(Vec<Step>),
    /// Not even a head, until the client leaves.
    Silence,
}

/// A chat completion to be.
#[derive(Debug, Clone)]
pub(super) struct Chat {
    pieces: Vec<Piece>,
    pace: Duration,
    usage: Option<(i64, i64)>,
    finish: Option<String>,
    done: bool,
    ending: Option<Step>,
    line_end: &'static str,
    comments: bool,
    split_every: Option<usize>,
    whole: bool,
}

#[derive(Debug, Clone)]
enum Piece {
    Text(String),
    ToolCall { index: usize, id: String, name: String, fragments: Vec<String> },
    Frame(String),
    Hold(Arc<Notify>),
}

impl Reply {
    /// A text, token by token: words with the space before them.
    pub fn text(text: &str) -> Self {
        Self::tokens(&super::tokens_of(text))
    }

    /// A text in exactly these tokens.
    pub fn tokens<T: AsRef<str>>(tokens: &[T]) -> Self {
        let pieces = tokens.iter().map(|token| Piece::Text(token.as_ref().to_owned())).collect();
        Self::with(200, Body::Chat(Box::new(Chat::new(pieces))))
    }

    /// A status with an error body in the provider's form.
    pub fn error(status: u16, message: &str) -> Self {
        Self::json_with(status, &json!({"error": {"message": message, "type": "scripted"}}))
    }

    /// 200 with a JSON body.
    pub fn json(body: &Value) -> Self {
        Self::json_with(200, body)
    }

    /// A status with a JSON body.
    pub fn json_with(status: u16, body: &Value) -> Self {
        let body = Bytes::from(body.to_string());
        Self::with(status, Body::Steps(vec![Step::Send(body)]))
            .header("content-type", "application/json")
    }

    /// 200 with an event stream in exactly these steps.
    pub fn steps(steps: Vec<Step>) -> Self {
        Self::with(200, Body::Steps(steps)).header("content-type", "text/event-stream")
    }

    /// Nothing at all, until the client leaves.
    pub fn silence() -> Self {
        Self::with(200, Body::Silence)
    }

    fn with(status: u16, body: Body) -> Self {
        Self { status, headers: Vec::new(), body }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a tool call whose arguments are streamed in these fragments.
    #[must_use]
    pub fn tool_call(self, id: &str, name: &str, fragments: &[&str]) -> Self {
        let fragments: Vec<String> = fragments.iter().map(|part| (*part).to_owned()).collect();
        self.chat(|chat| {
            let calls = chat.pieces.iter().filter(|p| matches!(p, Piece::ToolCall { .. }));
            let index = calls.count();
            let (id, name) = (id.to_owned(), name.to_owned());
            chat.pieces.push(Piece::ToolCall { index, id, name, fragments });
            chat.finish = Some("tool_calls".to_owned());
        })
    }

    /// Adds a frame with this payload after `data: `, well formed or not.
    #[must_use]
    pub fn frame(self, payload: &str) -> Self {
        self.chat(|chat| chat.pieces.push(Piece::Frame(payload.to_owned())))
    }

    /// Adds tokens.
    #[must_use]
    pub fn then<T: AsRef<str>>(self, tokens: &[T]) -> Self {
        let tokens = tokens.iter().map(|token| Piece::Text(token.as_ref().to_owned()));
        self.chat(|chat| chat.pieces.extend(tokens))
    }

    /// Holds the stream here until the test notifies.
    #[must_use]
    pub fn hold(self, until: Arc<Notify>) -> Self {
        self.chat(|chat| chat.pieces.push(Piece::Hold(until)))
    }

    /// The time from one piece to the next.
    #[must_use]
    pub fn pace(self, pace: Duration) -> Self {
        self.chat(|chat| chat.pace = pace)
    }

    /// The tokens counted, told when the request asks for it (`stream_options.include_usage`) or when the
    /// reply is whole.
    #[must_use]
    pub fn usage(self, prompt: i64, completion: i64) -> Self {
        self.chat(|chat| chat.usage = Some((prompt, completion)))
    }

    /// The finish reason, `stop` unless told.
    #[must_use]
    pub fn finish(self, reason: &str) -> Self {
        self.chat(|chat| chat.finish = Some(reason.to_owned()))
    }

    /// No finish reason.
    #[must_use]
    pub fn without_finish(self) -> Self {
        self.chat(|chat| chat.finish = None)
    }

    /// No `[DONE]` at the end.
    #[must_use]
    pub fn without_done(self) -> Self {
        self.chat(|chat| chat.done = false)
    }

    /// The connection is cut after the last piece.
    #[must_use]
    pub fn then_cut(self) -> Self {
        self.chat(|chat| chat.ending = Some(Step::Cut))
    }

    /// Nothing more comes after the last piece, until the client leaves.
    #[must_use]
    pub fn then_hang(self) -> Self {
        self.chat(|chat| chat.ending = Some(Step::Hang))
    }

    /// Lines end in CR LF.
    #[must_use]
    pub fn crlf(self) -> Self {
        self.chat(|chat| chat.line_end = "\r\n")
    }

    /// A comment line and an event name stand before each frame.
    #[must_use]
    pub fn comments(self) -> Self {
        self.chat(|chat| chat.comments = true)
    }

    /// The bytes arrive in pieces of this size, whatever they cut through.
    #[must_use]
    pub fn split_every(self, bytes: usize) -> Self {
        self.chat(|chat| chat.split_every = Some(bytes.max(1)))
    }

    /// One JSON object, even when a stream is asked for.
    #[must_use]
    pub fn whole(self) -> Self {
        self.chat(|chat| chat.whole = true)
    }

    /// # Panics
    /// When the reply is not a chat completion: the script contradicts itself.
    fn chat(mut self, change: impl FnOnce(&mut Chat)) -> Self {
        let Body::Chat(chat) = &mut self.body else {
            panic!("only a reply made with `text` or `tokens` can be changed like this");
        };
        change(chat);
        self
    }
}

impl Chat {
    fn new(pieces: Vec<Piece>) -> Self {
        Self {
            pieces,
            pace: Duration::ZERO,
            usage: None,
            finish: Some("stop".to_owned()),
            done: true,
            ending: None,
            line_end: "\n",
            comments: false,
            split_every: None,
            whole: false,
        }
    }

    /// Content type and steps of the body that answers `request`.
    pub(super) fn render(&self, request: &super::Recorded) -> (&'static str, Vec<Step>) {
        if self.whole || !request.streams() {
            let body = Bytes::from(self.completion(request.model()).to_string());
            return ("application/json", vec![Step::Send(body)]);
        }
        let counted = request.body["stream_options"]["include_usage"] == true;
        let steps = self.stream(request.model(), counted);
        let steps = match self.split_every {
            Some(bytes) => split(steps, bytes),
            None => steps,
        };
        ("text/event-stream", steps)
    }

    fn stream(&self, model: &str, counted: bool) -> Vec<Step> {
        let head = json!({
            "id": "chatcmpl-scripted", "object": "chat.completion.chunk", "created": 1_700_000_000,
            "model": model, "system_fingerprint": "fp_scripted",
        })
        .to_string();
        let head = head.trim_end_matches('}');
        let choice = |delta: &str, finish: &str| {
            let choices = format!(
                r#"[{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{finish}}}]"#
            );
            format!(r#"{head},"choices":{choices}}}"#)
        };
        let mut steps = vec![self.event(&choice(r#"{"role":"assistant","content":""}"#, "null"))];
        for piece in &self.pieces {
            match piece {
                Piece::Hold(until) => steps.push(Step::WaitFor(until.clone())),
                Piece::Frame(payload) => steps.push(self.event(payload)),
                Piece::Text(text) => {
                    self.wait(&mut steps);
                    let delta = format!(r#"{{"content":{}}}"#, json!(text));
                    steps.push(self.event(&choice(&delta, "null")));
                }
                Piece::ToolCall { index, id, name, fragments } => {
                    for delta in tool_deltas(*index, id, name, fragments) {
                        self.wait(&mut steps);
                        steps.push(self.event(&choice(&delta.to_string(), "null")));
                    }
                }
            }
        }
        if let Some(ending) = &self.ending {
            steps.push(ending.clone());
            return steps;
        }
        if let Some(reason) = &self.finish {
            steps.push(self.event(&choice("{}", &json!(reason).to_string())));
        }
        if let Some(usage) = self.usage.filter(|_| counted) {
            steps.push(
                self.event(&format!(r#"{head},"choices":[],"usage":{}}}"#, usage_json(usage))),
            );
        }
        if self.done {
            steps.push(self.event("[DONE]"));
        }
        steps
    }

    fn wait(&self, steps: &mut Vec<Step>) {
        if !self.pace.is_zero() {
            steps.push(Step::Wait(self.pace));
        }
    }

    fn event(&self, payload: &str) -> Step {
        let end = self.line_end;
        let before = if self.comments {
            format!(": keep-alive{end}event: message{end}")
        } else {
            String::new()
        };
        Step::Send(Bytes::from(format!("{before}data: {payload}{end}{end}")))
    }

    fn completion(&self, model: &str) -> Value {
        let mut text = String::new();
        let mut calls = Vec::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(token) => text.push_str(token),
                Piece::ToolCall { id, name, fragments, .. } => calls.push(json!({
                    "id": id, "type": "function",
                    "function": {"name": name, "arguments": fragments.concat()},
                })),
                Piece::Frame(_) | Piece::Hold(_) => {}
            }
        }
        let mut message = json!({"role": "assistant", "content": text});
        if !calls.is_empty() {
            message["tool_calls"] = Value::Array(calls);
        }
        let mut completion = json!({
            "id": "chatcmpl-scripted", "object": "chat.completion", "created": 1_700_000_000, "model": model,
            "choices": [{"index": 0, "message": message, "finish_reason": self.finish}],
        });
        if let Some(usage) = self.usage {
            completion["usage"] = usage_json(usage);
        }
        completion
    }
}

fn tool_deltas(index: usize, id: &str, name: &str, fragments: &[String]) -> Vec<Value> {
    let mut deltas = vec![json!({"tool_calls": [{
        "index": index, "id": id, "type": "function", "function": {"name": name, "arguments": ""},
    }]})];
    deltas.extend(
        fragments
            .iter()
            .map(|part| json!({"tool_calls": [{"index": index, "function": {"arguments": part}}]})),
    );
    deltas
}

fn usage_json((prompt, completion): (i64, i64)) -> Value {
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    })
}

/// The same bytes in pieces of `size`, across the borders of frames.
fn split(steps: Vec<Step>, size: usize) -> Vec<Step> {
    let mut result = Vec::new();
    let mut pending: Vec<u8> = Vec::new();
    for step in steps {
        match step {
            Step::Send(bytes) => pending.extend_from_slice(&bytes),
            other => {
                flush(&mut pending, size, &mut result);
                result.push(other);
            }
        }
    }
    flush(&mut pending, size, &mut result);
    result
}

fn flush(pending: &mut Vec<u8>, size: usize, into: &mut Vec<Step>) {
    let whole = Bytes::from(std::mem::take(pending));
    for start in (0..whole.len()).step_by(size) {
        into.push(Step::Send(whole.slice(start..whole.len().min(start + size))));
    }
}
