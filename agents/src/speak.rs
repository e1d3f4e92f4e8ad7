//! The model speaks: its tokens pass the citation filter and go to the reader as they come.

use std::pin::Pin;
use std::time::Instant;

use futures::StreamExt;
use models::{ChatEvent, ChatModel, ChatRequest, FinishReason, ModelError, Usage};
use retrieval::Hit;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::begin::Reading;
use crate::citations::{CitationFilter, preview};
use crate::prepare::citation;
use crate::running::Cut;
use crate::turn::{TurnEvent, TurnSource};

/// What the model said.
#[derive(Debug)]
pub(crate) struct Spoken {
    /// The text that was sent, or would have been.
    pub(crate) text: String,
    /// What the filter knows of it.
    pub(crate) filter: CitationFilter,
    /// How it ended.
    pub(crate) end: End,
    /// When the first text was sent.
    pub(crate) first_token: Option<Instant>,
    /// Tokens as the provider counted them.
    pub(crate) usage: Option<Usage>,
    /// Why the model stopped.
    pub(crate) reason: Option<FinishReason>,
}

/// How a model's answer ended.
#[derive(Debug)]
pub(crate) enum End {
    /// By itself, or by saying that it does not know.
    Finished,
    /// Early, for our reasons.
    Cut(Cut),
    /// The provider failed.
    Failed(ModelError),
}

/// Where the answer goes.
pub(crate) struct Listener<'a> {
    pub(crate) events: &'a mpsc::Sender<TurnEvent>,
    pub(crate) reading: Reading,
    pub(crate) passages: &'a [Hit],
}

/// Asks the model and passes its answer on until it ends or `cut` comes. Dropping the stream, which
/// happens on return, ends the call to the provider.
pub(crate) async fn speak<C: Future<Output = Cut>>(
    chat: &dyn ChatModel,
    request: ChatRequest,
    listener: Listener<'_>,
    mut cut: Pin<&mut C>,
) -> Spoken {
    let mut spoken = Spoken {
        text: String::new(),
        filter: CitationFilter::new(listener.passages.len()),
        end: End::Finished,
        first_token: None,
        usage: None,
        reason: None,
    };
    let started = tokio::select! {
        biased;
        reason = &mut cut => Err(End::Cut(reason)),
        started = chat.chat(request) => started.map_err(End::Failed),
    };
    let mut stream = match started {
        Ok(stream) => stream,
        Err(end) => {
            spoken.end = end;
            return spoken;
        }
    };
    loop {
        let event = tokio::select! {
            biased;
            reason = &mut cut => {
                spoken.end = End::Cut(reason);
                return spoken;
            }
            event = stream.next() => event,
        };
        let piece = match event {
            Some(Ok(ChatEvent::Token(piece))) => spoken.filter.push(piece),
            // No tool is offered; a model that calls one anyway has said nothing by it.
            Some(Ok(ChatEvent::ToolCall { .. })) => None,
            Some(Ok(ChatEvent::Finished { reason, usage })) => {
                spoken.reason = Some(reason);
                spoken.usage = usage;
                break;
            }
            Some(Err(error)) => {
                spoken.end = End::Failed(error);
                return spoken;
            }
            None => {
                let error = ModelError::Broken("the stream ended without an end".to_owned());
                spoken.end = End::Failed(error);
                return spoken;
            }
        };
        let unknown = spoken.filter.met_sentinel();
        let worth_saying = !(unknown && spoken.text.is_empty());
        if let Some(piece) = piece.filter(|_| worth_saying)
            && let Err(reason) = say(&mut spoken, piece, &listener, cut.as_mut()).await
        {
            spoken.end = End::Cut(reason);
            return spoken;
        }
        if unknown {
            return spoken;
        }
    }
    if let Some(rest) = spoken.filter.finish()
        && let Err(reason) = say(&mut spoken, rest, &listener, cut).await
    {
        spoken.end = End::Cut(reason);
    }
    spoken
}

/// Sends a piece of the answer; before the first one, the passages that it may cite.
async fn say<C: Future<Output = Cut>>(
    spoken: &mut Spoken,
    piece: String,
    listener: &Listener<'_>,
    mut cut: Pin<&mut C>,
) -> Result<(), Cut> {
    spoken.text.push_str(&piece);
    let first = spoken.first_token.is_none();
    if first {
        spoken.first_token = Some(Instant::now());
    }
    if listener.reading == Reading::Whole {
        return Ok(());
    }
    if first {
        for (index, hit) in listener.passages.iter().enumerate() {
            let marker = i64::try_from(index + 1).unwrap_or(i64::MAX);
            // Which words an answer rests on is known when it is complete; until then, the beginning.
            let quote = preview(&hit.live.chunk.text).to_owned();
            let source = TurnSource { citation: citation(hit, marker, quote) };
            send(listener.events, TurnEvent::Source(Box::new(source)), cut.as_mut()).await?;
        }
    }
    send(listener.events, TurnEvent::Token(piece), cut).await
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
