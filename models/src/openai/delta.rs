//! What a chat completion says, frame by frame or whole, put together into events.
//!
//! The types here are not those of async-openai on purpose: they read only what is used, skip the rest without
//! building it, and take what compatible servers send besides the specification (no `index`, `null` lists, `stop` after
//! tool calls). A token costs one allocation: its text.

use std::collections::VecDeque;
use std::fmt;

use serde::de::{IgnoredAny, Visitor};
use serde::{Deserialize, Deserializer};

use super::sse::Decoder;
use crate::{ChatEvent, FinishReason, Usage};

/// Most tool calls of one answer.
const MAX_CALLS: usize = 128;
/// Longest arguments of all tool calls together, in bytes.
const MAX_ARGUMENTS: usize = 1 << 20;

#[derive(Deserialize)]
struct Frame {
    choices: Option<Vec<Choice>>,
    usage: Option<Counted>,
    error: Option<ErrorFrame>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    index: u32,
    #[serde(alias = "message")]
    delta: Option<Delta>,
    finish_reason: Option<Finish>,
}

#[derive(Deserialize)]
struct Delta {
    content: Option<String>,
    refusal: Option<String>,
    tool_calls: Option<Vec<Fragment>>,
    /// Thoughts are not part of the answer, but show that the model is at work.
    reasoning_content: Option<IgnoredAny>,
    reasoning: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Fragment {
    index: Option<usize>,
    id: Option<String>,
    function: Option<FunctionFragment>,
}

#[derive(Deserialize)]
struct FunctionFragment {
    name: Option<String>,
    arguments: Option<String>,
}

#[derive(Deserialize)]
struct Counted {
    #[serde(default)]
    prompt_tokens: i64,
    #[serde(default)]
    completion_tokens: i64,
    prompt_tokens_details: Option<PromptDetails>,
}

#[derive(Default, Deserialize)]
struct PromptDetails {
    cached_tokens: Option<i64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ErrorFrame {
    Text(String),
    Object { message: Option<String> },
}

impl ErrorFrame {
    fn message(self) -> String {
        let message = match self {
            Self::Text(message) => Some(message),
            Self::Object { message } => message,
        };
        message.unwrap_or_else(|| "an error without a message".to_owned())
    }
}

struct Finish(FinishReason);

impl<'de> Deserialize<'de> for Finish {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reason;
        impl Visitor<'_> for Reason {
            type Value = Finish;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a finish reason")
            }
            fn visit_str<E>(self, text: &str) -> Result<Finish, E> {
                Ok(Finish(match text {
                    "length" => FinishReason::Length,
                    "tool_calls" | "function_call" => FinishReason::ToolCalls,
                    "content_filter" => FinishReason::ContentFilter,
                    // Servers have words of their own for a regular end: `eos`, `end_turn`, `stop_sequence`.
                    _ => FinishReason::Stop,
                }))
            }
        }
        deserializer.deserialize_str(Reason)
    }
}

/// Why no more can be read of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The bytes make no sense.
    Malformed(String),
    /// The provider reports an error in the middle of its answer.
    Reported(String),
}

#[derive(Debug, Default)]
struct Call {
    /// The provider's own number for it.
    index: Option<usize>,
    id: String,
    name: String,
    arguments: String,
}

/// Reads an answer into events.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    decoder: Decoder,
    parts: Parts,
}

#[derive(Debug, Default)]
struct Parts {
    ready: VecDeque<ChatEvent>,
    calls: Vec<Call>,
    arguments: usize,
    finish: Option<FinishReason>,
    usage: Option<Usage>,
    frames: u64,
    at_work: bool,
    done: bool,
    trouble: Option<Trouble>,
}

impl Assembler {
    /// Takes the next bytes of an event stream.
    pub fn push(&mut self, bytes: &[u8]) {
        let parts = &mut self.parts;
        if self.decoder.push(bytes, &mut |data| parts.take(data)).is_err() {
            self.parts.too_long();
        }
    }

    /// The bytes have ended.
    pub fn end(&mut self) {
        let parts = &mut self.parts;
        if self.decoder.end(&mut |data| parts.take(data)).is_err() {
            self.parts.too_long();
        }
    }

    /// Takes a completion that is one JSON object.
    pub fn take_whole(&mut self, body: &[u8]) {
        self.parts.take(body);
        self.parts.done = true;
    }

    /// The next event that is complete.
    pub fn next(&mut self) -> Option<ChatEvent> {
        self.parts.ready.pop_front()
    }

    /// Whether an event is complete.
    pub fn has_ready(&self) -> bool {
        !self.parts.ready.is_empty()
    }

    /// Whether something went wrong that has not been told yet.
    pub fn in_trouble(&self) -> bool {
        self.parts.trouble.is_some()
    }

    /// What went wrong, once the events before it have been taken.
    pub fn trouble(&mut self) -> Option<Trouble> {
        self.parts.trouble.take()
    }

    /// Whether the model has begun: text, a tool call or thoughts.
    pub fn is_at_work(&self) -> bool {
        self.parts.at_work
    }

    /// How many frames came so far, to tell life from keep-alive comments.
    pub fn frames(&self) -> u64 {
        self.parts.frames
    }

    /// Whether the provider said `[DONE]`.
    pub fn is_done(&self) -> bool {
        self.parts.done
    }

    /// Whether the answer may end here: it has a finish reason or `[DONE]`.
    pub fn may_end(&self) -> bool {
        self.parts.done || self.parts.finish.is_some()
    }

    /// The last events: tool calls and the end. Nothing after trouble.
    pub fn conclude(&mut self) {
        let parts = &mut self.parts;
        if parts.trouble.is_some() {
            return;
        }
        let calls = std::mem::take(&mut parts.calls);
        let reason = match parts.finish {
            // Some servers say `stop`, or nothing, after tool calls.
            None | Some(FinishReason::Stop) if !calls.is_empty() => FinishReason::ToolCalls,
            None => FinishReason::Stop,
            Some(reason) => reason,
        };
        // A call that was cut off or withheld must not run.
        if reason == FinishReason::ToolCalls {
            for (place, call) in calls.into_iter().enumerate() {
                let id = if call.id.is_empty() { format!("call_{place}") } else { call.id };
                let (name, arguments) = (call.name, call.arguments);
                parts.ready.push_back(ChatEvent::ToolCall { id, name, arguments });
            }
        }
        parts.ready.push_back(ChatEvent::Finished { reason, usage: parts.usage });
    }
}

impl Parts {
    /// Takes one frame; `false` when nothing after it matters.
    fn take(&mut self, data: &[u8]) -> bool {
        if self.done || self.trouble.is_some() {
            return false;
        }
        self.frames += 1;
        let data = data.trim_ascii();
        if data == b"[DONE]" {
            self.done = true;
            return false;
        }
        match serde_json::from_slice::<Frame>(data) {
            Ok(frame) => self.take_frame(frame),
            // After the finish reason only the count of tokens can be missed.
            Err(_) if self.finish.is_some() => {}
            Err(error) => {
                self.trouble = Some(Trouble::Malformed(format!("a malformed frame: {error}")));
            }
        }
        self.trouble.is_none()
    }

    fn too_long(&mut self) {
        self.trouble = Some(Trouble::Malformed("a frame of over 1 MiB".to_owned()));
    }

    fn take_frame(&mut self, frame: Frame) {
        if let Some(error) = frame.error {
            self.trouble = Some(Trouble::Reported(error.message()));
            return;
        }
        if let Some(counted) = frame.usage {
            let cached = counted.prompt_tokens_details.and_then(|details| details.cached_tokens);
            self.usage = Some(Usage {
                prompt_tokens: counted.prompt_tokens,
                completion_tokens: counted.completion_tokens,
                cached_tokens: cached.unwrap_or(0),
            });
        }
        // One answer is asked for; a server that sends more is heard once.
        let choices = frame.choices.unwrap_or_default();
        for choice in choices.into_iter().filter(|choice| choice.index == 0) {
            if let Some(delta) = choice.delta {
                self.take_delta(delta);
            }
            if let Some(Finish(reason)) = choice.finish_reason {
                self.finish = Some(reason);
            }
        }
    }

    fn take_delta(&mut self, delta: Delta) {
        self.at_work |= delta.reasoning.is_some() || delta.reasoning_content.is_some();
        for text in [delta.content, delta.refusal].into_iter().flatten() {
            if !text.is_empty() {
                self.at_work = true;
                self.ready.push_back(ChatEvent::Token(text));
            }
        }
        for fragment in delta.tool_calls.into_iter().flatten() {
            self.at_work = true;
            self.take_fragment(fragment);
        }
    }

    fn take_fragment(&mut self, fragment: Fragment) {
        let place = self.place_of(&fragment);
        let (name, arguments) = match fragment.function {
            Some(function) => (function.name, function.arguments),
            None => (None, None),
        };
        self.arguments += arguments.as_ref().map_or(0, String::len);
        if place >= MAX_CALLS || self.arguments > MAX_ARGUMENTS {
            self.trouble = Some(Trouble::Malformed("too many or too long tool calls".to_owned()));
            return;
        }
        if place == self.calls.len() {
            self.calls.push(Call { index: fragment.index, ..Call::default() });
        }
        let call = &mut self.calls[place];
        if let Some(id) = fragment.id.filter(|_| call.id.is_empty()) {
            call.id = id;
        }
        if let Some(name) = name.filter(|_| call.name.is_empty()) {
            call.name = name;
        }
        if let Some(arguments) = arguments {
            call.arguments.push_str(&arguments);
        }
    }

    /// Which call a fragment belongs to: the one of its index, unless it brings another id (servers that number every
    /// call 0); without an index, a new one when it brings an id, else the last.
    fn place_of(&self, fragment: &Fragment) -> usize {
        let id = fragment.id.as_deref().filter(|id| !id.is_empty());
        let same = |call: &Call| match (fragment.index, id) {
            (Some(index), Some(id)) => {
                call.index == Some(index) && (call.id.is_empty() || call.id == id)
            }
            (Some(index), None) => call.index == Some(index),
            (None, Some(id)) => call.id == id,
            (None, None) => true,
        };
        self.calls.iter().rposition(same).unwrap_or(self.calls.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(pieces: &[&[u8]]) -> (Vec<ChatEvent>, Option<Trouble>) {
        let mut assembler = Assembler::default();
        for piece in pieces {
            assembler.push(piece);
        }
        assembler.end();
        let trouble = assembler.trouble();
        if trouble.is_none() && assembler.may_end() {
            assembler.conclude();
        }
        (std::iter::from_fn(|| assembler.next()).collect(), trouble)
    }

    fn call(id: &str, name: &str, arguments: &str) -> ChatEvent {
        let (id, name, arguments) = (id.to_owned(), name.to_owned(), arguments.to_owned());
        ChatEvent::ToolCall { id, name, arguments }
    }

    fn finished(reason: FinishReason) -> ChatEvent {
        ChatEvent::Finished { reason, usage: None }
    }

    #[test]
    fn tool_calls_are_assembled_however_they_are_numbered() {
        let by_index = br#"data: {"choices":[{"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":""}}]}}]}

data: {"choices":[{"delta":{"tool_calls":[{"index":1,"id":"b","function":{"name":"g","arguments":"{}"}}]}}]}

data: {"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"x\""}}]}}]}

data: {"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":":1}"}}]},"finish_reason":"tool_calls"}]}

"#;
        let all_zero = br#"data: {"choices":[{"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\":1}"}}]}}]}

data: {"choices":[{"delta":{"tool_calls":[{"index":0,"id":"b","function":{"name":"g","arguments":"{}"}}]}}]}

data: {"choices":[{"delta":{},"finish_reason":"stop"}]}

"#;
        let no_index = br#"data: {"choices":[{"delta":{"tool_calls":[{"id":"a","function":{"name":"f","arguments":"{\"x\""}},{"function":{"arguments":":1}"}}]}}]}

data: {"choices":[{"delta":{"tool_calls":[{"id":"b","function":{"name":"g","arguments":"{}"}}]}}]}

data: [DONE]

"#;
        let expected = vec![
            call("a", "f", r#"{"x":1}"#),
            call("b", "g", "{}"),
            finished(FinishReason::ToolCalls),
        ];
        for stream in [by_index.as_slice(), all_zero, no_index] {
            assert_eq!(read(&[stream]), (expected.clone(), None));
        }
    }

    #[test]
    fn a_tool_call_that_was_cut_off_does_not_run() {
        let stream = br#"data: {"choices":[{"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x"}}]}}]}

data: {"choices":[{"delta":{},"finish_reason":"length"}]}

"#;
        assert_eq!(read(&[stream]), (vec![finished(FinishReason::Length)], None));
    }

    #[test]
    fn frames_that_say_nothing_are_passed_over() {
        let stream = b"data: {\"choices\":[],\"prompt_filter_results\":[{}]}\n\ndata: {}\n\ndata: {\"choices\":null}\n\n\
            data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n\
            data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"other\"}}]}\n\n\
            data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"},\"finish_reason\":\"eos\"}]}\n\n";
        let expected = vec![ChatEvent::Token("hi".to_owned()), finished(FinishReason::Stop)];
        assert_eq!(read(&[stream]), (expected, None));
    }

    #[test]
    fn thoughts_show_that_the_model_is_at_work() {
        let mut assembler = Assembler::default();
        assembler.push(b"data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"reasoning_content\":null}}]}\n\n");
        assert!(!assembler.is_at_work());
        assembler.push(b"data: {\"choices\":[{\"delta\":{\"reasoning_content\":\"hm\"}}]}\n\n");
        assert!(assembler.is_at_work());
        assert_eq!(assembler.next(), None);
    }

    proptest! {
        #[test]
        fn any_pieces_give_the_same_events(
            texts in prop::collection::vec("[a-zñ漢🙂\"\\\\\n ]{0,6}", 0..8),
            line_end in prop::sample::select(vec!["\n", "\r\n"]),
            broken in any::<bool>(),
            cuts in prop::collection::vec(0_usize..2_000, 0..24),
        ) {
            let mut frames: Vec<String> = texts
                .iter()
                .map(|text| serde_json::Value::from(text.as_str()))
                .map(|text| format!("{{\"choices\":[{{\"delta\":{{\"content\":{text}}}}}]}}"))
                .collect();
            let end = r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#;
            frames.push(if broken { &end[..12] } else { end }.to_owned());
            frames.push("[DONE]".to_owned());
            let framed: Vec<String> = frames
                .iter()
                .map(|frame| format!(": c{line_end}data: {frame}{line_end}{line_end}"))
                .collect();
            let stream = framed.concat();
            let bytes = stream.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();

            let (events, trouble) = read(&pieces);
            prop_assert_eq!(trouble.is_some(), broken);
            let mut expected: Vec<ChatEvent> =
                texts.into_iter().filter(|text| !text.is_empty()).map(ChatEvent::Token).collect();
            if !broken {
                expected.push(finished(FinishReason::Stop));
            }
            prop_assert_eq!(events, expected);
        }
    }
}
