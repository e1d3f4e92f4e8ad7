//! The model speaks: its tokens pass the citation filter and go to the reader as they come.

use std::pin::Pin;
use std::time::Instant;

use futures::StreamExt;
use models::{ChatEvent, ChatModel, ChatRequest, FinishReason, ModelError, ToolCall, Usage};
use retrieval::Hit;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::begin::Reading;
use crate::citations::{CitationFilter, as_object, preview, read_answer};
use crate::prepare::citation;
use crate::running::Cut;
use crate::turn::{ToolStep, TurnEvent, TurnSource};

/// What the model has said in a turn, over all of its rounds.
#[derive(Debug)]
pub(crate) struct Spoken {
    /// The text that was sent, or would have been.
    pub(crate) text: String,
    /// Of an answer in JSON mode, once it is whole: its texts, which markers and checks are about.
    prose: Option<String>,
    /// Of an answer in JSON mode: what the model said so far; `None` otherwise.
    raw: Option<String>,
    /// What the filter knows of it.
    pub(crate) filter: CitationFilter,
    /// When the first text was sent.
    pub(crate) first_token: Option<Instant>,
    /// Tokens as the provider counted them, of all rounds.
    pub(crate) usage: Option<Usage>,
    /// Why the model stopped last.
    pub(crate) reason: Option<FinishReason>,
}

impl Spoken {
    /// What citations and checks are about.
    pub(crate) fn prose(&self) -> &str {
        self.prose.as_deref().unwrap_or(&self.text)
    }

    /// Whether it was to be a JSON object, is over, and is none.
    pub(crate) fn is_no_object(&self) -> bool {
        self.raw.is_some() && self.prose.is_none()
    }

    fn hear(&mut self, piece: String) -> Option<String> {
        let Some(raw) = &mut self.raw else { return self.filter.push(piece) };
        raw.push_str(&piece);
        None
    }
}

/// How a round of the model ended.
#[derive(Debug)]
pub(crate) enum End {
    /// By itself, or by saying that it does not know.
    Finished,
    /// With tools to be called.
    Calls(Vec<ToolCall>),
    /// Early, for our reasons.
    Cut(Cut),
    /// The provider failed.
    Failed(ModelError),
}

/// Whether what is said is held back until it is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Held {
    /// It is sent as it comes.
    Not,
    /// It is judged first.
    ForJudgement,
    /// It is to be one JSON object.
    ForJson,
}

/// Passes on what a model says.
#[derive(Debug)]
pub(crate) struct Speaker<'a> {
    events: &'a mpsc::Sender<TurnEvent>,
    reading: Reading,
    /// What the answer may cite, number 1 first.
    pub(crate) passages: Vec<Hit>,
    /// How many of them the reader was told.
    told: usize,
    /// What is said is judged before it is sent: the reader is told of tools only.
    held: bool,
    pub(crate) spoken: Spoken,
}

impl<'a> Speaker<'a> {
    pub(crate) fn new(
        events: &'a mpsc::Sender<TurnEvent>,
        reading: Reading,
        passages: Vec<Hit>,
        held: Held,
    ) -> Self {
        let spoken = Spoken {
            text: String::new(),
            prose: None,
            raw: (held == Held::ForJson).then(String::new),
            filter: CitationFilter::new(passages.len()),
            first_token: None,
            usage: None,
            reason: None,
        };
        Self { events, reading, passages, told: 0, held: held != Held::Not, spoken }
    }

    /// Forgets what was said so far, which nobody was told; gives it.
    pub(crate) fn start_over(&mut self) -> String {
        self.spoken.filter = CitationFilter::new(self.passages.len());
        self.spoken.first_token = None;
        self.spoken.prose = None;
        let text = std::mem::take(&mut self.spoken.text);
        self.spoken.raw.as_mut().map_or(text, std::mem::take)
    }

    /// Asks the model and passes its answer on until it ends, wants tools, or `cut` comes. Dropping the stream,
    /// which happens on return, ends the call to the provider.
    pub(crate) async fn round<C: Future<Output = Cut>>(
        &mut self,
        chat: &dyn ChatModel,
        request: ChatRequest,
        mut cut: Pin<&mut C>,
    ) -> End {
        let started = tokio::select! {
            biased;
            reason = &mut cut => return End::Cut(reason),
            started = chat.chat(request) => started,
        };
        let mut stream = match started {
            Ok(stream) => stream,
            Err(error) => return End::Failed(error),
        };
        let mut calls = Vec::new();
        loop {
            let event = tokio::select! {
                biased;
                reason = &mut cut => return End::Cut(reason),
                event = stream.next() => event,
            };
            let piece = match event {
                Some(Ok(ChatEvent::Token(piece))) => self.spoken.hear(piece),
                Some(Ok(ChatEvent::ToolCall { id, name, arguments })) => {
                    calls.push(ToolCall { id, name, arguments });
                    None
                }
                Some(Ok(ChatEvent::Finished { reason, usage })) => {
                    self.spoken.reason = Some(reason);
                    self.spoken.usage = match (self.spoken.usage, usage) {
                        (Some(before), Some(usage)) => Some(before.plus(usage)),
                        (before, usage) => before.or(usage),
                    };
                    break;
                }
                Some(Err(error)) => return End::Failed(error),
                None => {
                    let error = ModelError::Broken("the stream ended without an end".to_owned());
                    return End::Failed(error);
                }
            };
            let unknown = self.spoken.filter.met_sentinel();
            let worth_saying = !(unknown && self.spoken.text.is_empty());
            if let Some(piece) = piece.filter(|_| worth_saying)
                && let Err(reason) = self.say(piece, cut.as_mut()).await
            {
                return End::Cut(reason);
            }
            if unknown {
                return End::Finished;
            }
        }
        if calls.is_empty() { End::Finished } else { End::Calls(calls) }
    }

    /// The answer is over: what the filter held back and is text after all goes out.
    pub(crate) async fn finish<C: Future<Output = Cut>>(
        &mut self,
        cut: Pin<&mut C>,
    ) -> Result<(), Cut> {
        if let Some(raw) = &self.spoken.raw {
            let Some(answer) = read_answer(raw, self.passages.len()) else { return Ok(()) };
            self.spoken.filter = CitationFilter::settled(self.passages.len(), &answer);
            self.spoken.prose = Some(answer.prose);
            return if answer.text.is_empty() { Ok(()) } else { self.say(answer.text, cut).await };
        }
        let unknown = self.spoken.filter.met_sentinel();
        match self.spoken.filter.finish() {
            Some(rest) if !(unknown && self.spoken.text.is_empty()) => self.say(rest, cut).await,
            _ => Ok(()),
        }
    }

    /// Goes on after tools were called: what they found can be cited, and what comes is a paragraph of its own.
    pub(crate) fn go_on(&mut self) {
        self.spoken.filter.allow(self.passages.len());
        if let Some(raw) = &mut self.spoken.raw {
            // The object is what the model says last.
            raw.clear();
        }
        if !self.spoken.text.is_empty() {
            // White space goes out only when text follows, so nothing is to be sent now.
            let _ = self.spoken.filter.push("\n\n".to_owned());
        }
    }

    /// Adds words that are not the model's: what the customer is told when a person is called.
    pub(crate) async fn add<C: Future<Output = Cut>>(
        &mut self,
        words: &str,
        mut cut: Pin<&mut C>,
    ) -> Result<(), Cut> {
        if self.spoken.raw.is_some() {
            // One object: these words are the answer.
            self.start_over();
            self.spoken.prose = Some(words.to_owned());
            return self.say(as_object(words), cut).await;
        }
        self.finish(cut.as_mut()).await?;
        let gap = if self.spoken.text.is_empty() { "" } else { "\n\n" };
        self.say(format!("{gap}{words}"), cut).await
    }

    /// Tells how a tool stands.
    pub(crate) async fn tool<C: Future<Output = Cut>>(
        &mut self,
        step: ToolStep,
        cut: Pin<&mut C>,
    ) -> Result<(), Cut> {
        if self.reading == Reading::Whole {
            return Ok(());
        }
        send(self.events, TurnEvent::Tool(step), cut).await
    }

    /// Sends a piece of the answer; before it, the passages that it may cite and that were not told yet.
    async fn say<C: Future<Output = Cut>>(
        &mut self,
        piece: String,
        mut cut: Pin<&mut C>,
    ) -> Result<(), Cut> {
        self.spoken.text.push_str(&piece);
        if self.spoken.first_token.is_none() {
            self.spoken.first_token = Some(Instant::now());
        }
        if self.reading == Reading::Whole || self.held {
            return Ok(());
        }
        while let Some(hit) = self.passages.get(self.told) {
            self.told += 1;
            let marker = i64::try_from(self.told).unwrap_or(i64::MAX);
            // Which words an answer rests on is known when it is complete; until then, the beginning.
            let quote = preview(&hit.live.chunk.text);
            let source = TurnSource { citation: citation(hit, marker, quote) };
            send(self.events, TurnEvent::Source(Box::new(source)), cut.as_mut()).await?;
        }
        send(self.events, TurnEvent::Token(piece), cut).await
    }
}

/// Hands an event to the reader, waiting for room if need be.
pub(crate) async fn send<C: Future<Output = Cut>>(
    events: &mpsc::Sender<TurnEvent>,
    event: TurnEvent,
    cut: Pin<&mut C>,
) -> Result<(), Cut> {
    let event = match events.try_send(event) {
        Ok(()) => return Ok(()),
        Err(TrySendError::Closed(_)) => return Err(Cut::ClientGone),
        Err(TrySendError::Full(event)) => event,
    };
    tokio::select! {
        biased;
        reason = cut => Err(reason),
        sent = events.send(event) => sent.map_err(|_| Cut::ClientGone),
    }
}
