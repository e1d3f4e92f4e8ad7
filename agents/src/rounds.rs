//! The talk with a model: it speaks, calls tools, is told what came of them, and speaks again, within limits.

use std::pin::Pin;
use std::time::Instant;

use domain::agent::Unsupported;
use domain::approval::{Approval, ApprovalStatus};
use models::{ChatMessage, ChatModel, ChatRequest, ModelError, ToolCall, ToolChoice};
use serde_json::json;

use crate::approve::{self, Resumed, Waiting};
use crate::fit::LeftOut;
use crate::prepare::Effect;
use crate::run::Work;
use crate::running::Cut;
use crate::speak::{End, Speaker};
use crate::tools::{Called, Pending, Toolbox, handoff_text};
use crate::trace::Trace;
use crate::turn::{ToolPhase, ToolStep};
use crate::words::Words;

/// Calls of one round that are done; more are refused.
const MAX_CALLS: usize = 8;

/// How a talk ended.
#[derive(Debug)]
pub(crate) enum Over {
    /// By itself.
    Finished,
    /// A person was called.
    HandedOff,
    /// A person must allow a call.
    Waiting(Box<Waiting>),
    /// Early, for our reasons.
    Cut(Cut),
    /// The provider failed.
    Failed(ModelError),
}

/// What follows from the calls of a round.
enum After {
    /// The model speaks again.
    GoOn,
    /// A person was called.
    HandOff,
    /// A person must allow a call.
    Wait(Box<Pending>, String),
}

/// A talk with a model.
pub(crate) struct Talk<'a> {
    work: &'a Work,
    request: ChatRequest,
    words: &'static Words,
    pub(crate) toolbox: Toolbox<'a>,
    pub(crate) speaker: Speaker<'a>,
    /// Rounds in which tools were called.
    rounds: u32,
    /// When tools may no longer be called.
    tools_until: Option<tokio::time::Instant>,
}

impl<'a> Talk<'a> {
    pub(crate) fn new(
        work: &'a Work,
        mut request: ChatRequest,
        words: &'static Words,
        toolbox: Toolbox<'a>,
        speaker: Speaker<'a>,
    ) -> Self {
        if work.inner.options.defaults.tool_rounds > 0 {
            request.tools = toolbox.specs().into();
        }
        Self { work, request, words, toolbox, speaker, rounds: 0, tools_until: None }
    }

    /// Leaves out of the prompt what the model does not hold.
    pub(crate) async fn fit(&mut self, trace: &mut Trace) {
        let Some(model) = &self.work.model else { return };
        let Self { work, request, speaker, .. } = self;
        let passages = &mut speaker.passages;
        let left_out = model.sizes().fit(work, request, passages, model.context()).await;
        if left_out.passages > 0 {
            // Nothing was said yet; markers name the passages that are left.
            speaker.start_over();
        }
        if left_out != LeftOut::default() {
            let LeftOut { messages, passages } = left_out;
            trace.note("leftOut", json!({"messages": messages, "passages": passages}));
        }
    }

    /// Talks until the answer is complete.
    pub(crate) async fn run<C: Future<Output = Cut>>(
        &mut self,
        chat: &dyn ChatModel,
        trace: &mut Trace,
        mut cut: Pin<&mut C>,
    ) -> Over {
        loop {
            let request = self.next_request();
            let end = self.speaker.round(chat, request, cut.as_mut()).await;
            trace.round();
            let calls = match end {
                End::Calls(calls) => calls,
                End::Finished => {
                    return match self.speaker.finish(cut).await {
                        Ok(()) => Over::Finished,
                        Err(reason) => Over::Cut(reason),
                    };
                }
                End::Cut(reason) => return Over::Cut(reason),
                End::Failed(error) => return Over::Failed(error),
            };
            if self.request.tool_choice == ToolChoice::Never {
                let error = "the model calls tools after it was told to answer without";
                return Over::Failed(ModelError::Broken(error.to_owned()));
            }
            match Box::pin(self.call_all(calls, trace, cut.as_mut())).await {
                Ok(After::Wait(pending, call)) => return self.wait(*pending, call, cut).await,
                Ok(After::HandOff) => {
                    let words = handoff_text(self.work, self.words).unwrap_or_default();
                    return match self.speaker.add(&words, cut).await {
                        Ok(()) => Over::HandedOff,
                        Err(reason) => Over::Cut(reason),
                    };
                }
                Ok(After::GoOn) => {}
                Err(reason) => return Over::Cut(reason),
            }
            self.rounds += 1;
            self.speaker.go_on();
            if let Some(limit) = self.limit_reached() {
                trace.note("toolLimit", limit);
                self.request.tool_choice = ToolChoice::Never;
            }
        }
    }

    /// Asks for the whole answer once more, after telling the model what is wrong with the one that it gave. Right
    /// only while nothing of it was sent.
    pub(crate) async fn again<C: Future<Output = Cut>>(
        &mut self,
        chat: &dyn ChatModel,
        finding: String,
        trace: &mut Trace,
        cut: Pin<&mut C>,
    ) -> Over {
        let answer = self.speaker.start_over();
        self.request.messages.push(ChatMessage::assistant(answer));
        self.request.messages.push(ChatMessage::user(finding));
        if !self.request.tools.is_empty() {
            self.request.tool_choice = ToolChoice::Never;
        }
        self.rounds += 1;
        self.run(chat, trace, cut).await
    }

    /// The next request; the last use of it takes the messages along.
    fn next_request(&mut self) -> ChatRequest {
        let settings = &self.work.agent.settings;
        let may_repeat = settings.unsupported == Unsupported::Retry || settings.json_mode;
        let last = self.request.tools.is_empty() || self.request.tool_choice == ToolChoice::Never;
        if last && !may_repeat {
            let last =
                ChatRequest { tool_choice: self.request.tool_choice, ..ChatRequest::default() };
            return std::mem::replace(&mut self.request, last);
        }
        self.request.clone()
    }

    /// The turn ends for now: with what the model said, else with the words for that.
    async fn wait<C: Future<Output = Cut>>(
        &mut self,
        pending: Pending,
        call: String,
        mut cut: Pin<&mut C>,
    ) -> Over {
        // In JSON mode what was said beside the call is not the answer.
        let finished = if self.work.agent.settings.json_mode {
            Ok(())
        } else {
            self.speaker.finish(cut.as_mut()).await
        };
        let told = match finished {
            Ok(()) if self.speaker.spoken.text.trim().is_empty() => {
                let words = pending.words.as_ref().unwrap_or(&self.words.approval).clone();
                self.speaker.add(&words, cut).await
            }
            finished => finished,
        };
        if let Err(reason) = told {
            return Over::Cut(reason);
        }
        let (messages, rounds) = (self.request.messages.clone(), self.rounds);
        Over::Waiting(Box::new(Waiting { pending, call, messages, rounds }))
    }

    /// Takes the talk up where it waited for a person: the call is made, or the model is told why not.
    pub(crate) async fn take_up<C: Future<Output = Cut>>(
        &mut self,
        resumed: &Resumed,
        trace: &mut Trace,
        mut cut: Pin<&mut C>,
    ) -> Result<(), Over> {
        let began = Instant::now();
        self.rounds = resumed.rounds;
        let Resumed { approval, call, .. } = resumed;
        let (id, name) = (call.clone(), approval.tool.clone());
        let call = ToolCall { id, name, arguments: approval.arguments.to_string() };
        let called = tokio::select! {
            biased;
            reason = &mut cut => return Err(Over::Cut(reason)),
            called = Box::pin(self.decided(resumed)) => called,
        };
        let called = called.map_err(Over::Failed)?;
        self.toolbox.note(&call, &called, began);
        trace.tool(self.toolbox.shown(&call, &called), began.elapsed());
        self.answer(call.id, called);
        let ended = match approval.status {
            ApprovalStatus::Approved => ApprovalStatus::Done,
            decided => decided,
        };
        self.toolbox.effects.push(Effect::Approved(approval.id, ended));
        if let Some(limit) = self.limit_reached() {
            trace.note("toolLimit", limit);
            self.request.tool_choice = ToolChoice::Never;
        }
        Ok(())
    }

    /// What came of a call that a person was asked about.
    async fn decided(&mut self, resumed: &Resumed) -> Result<Called, ModelError> {
        let Resumed { approval, .. } = resumed;
        let note = approval.note.as_deref().map(|note| format!(" They said: {note}"));
        let failed =
            |why: &str| Ok(Called::Failed(format!("{why}{}", note.as_deref().unwrap_or_default())));
        match (approval.status, &resumed.result) {
            (ApprovalStatus::Approved, Some(kept)) => return Ok(approve::from_json(kept)),
            (ApprovalStatus::Approved, None) => {}
            (ApprovalStatus::Expired, _) => {
                return failed("nobody of the business allowed this call in time; it was not made");
            }
            _ => {
                return failed("a person of the business did not allow this call; it was not made");
            }
        }
        if resumed.sent && !self.toolbox.may_repeat(&approval.tool) {
            return failed(
                "the call was sent, but nobody knows what came of it: do not say that it was done, nor that it was not, \
                and do not call it again",
            );
        }
        approve::about_to_send(self.work, approval, resumed.sent).await?;
        let arguments = approval.arguments.as_object().cloned().unwrap_or_default();
        let passages = &mut self.speaker.passages;
        let Approval { tool, target, .. } = approval;
        let called = self.toolbox.allowed(tool, target, arguments, passages).await;
        approve::keep_result(self.work, approval, &called).await?;
        Ok(called)
    }

    /// Puts what came of a call into the request.
    fn answer(&mut self, call: String, called: Called) {
        let result = match called {
            Called::Told(text) => text,
            Called::Failed(reason) => json!({"error": reason}).to_string(),
            Called::HandOff | Called::Waiting(_) => String::new(),
        };
        self.request.messages.push(ChatMessage::tool(call, result));
    }

    /// Does every call and puts what came of it into the request. Those after one that a person must allow are not done.
    async fn call_all<C: Future<Output = Cut>>(
        &mut self,
        calls: Vec<ToolCall>,
        trace: &mut Trace,
        mut cut: Pin<&mut C>,
    ) -> Result<After, Cut> {
        let until = self.work.inner.options.defaults.tool_timeout;
        let until = *self.tools_until.get_or_insert_with(|| tokio::time::Instant::now() + until);
        self.request.messages.push(ChatMessage::tool_calls("", calls.clone()));
        let mut waiting = None;
        for (place, call) in calls.into_iter().enumerate() {
            if waiting.is_some() {
                let why =
                    "not done, since another call waits for a person; call it again if need be";
                self.answer(call.id, Called::Failed(why.to_owned()));
                continue;
            }
            let began = Instant::now();
            self.tell(&call, ToolPhase::Running, cut.as_mut()).await?;
            let called = if place >= MAX_CALLS {
                Called::Failed(format!("only {MAX_CALLS} calls are done at a time; call it again"))
            } else if tokio::time::Instant::now() >= until {
                too_late()
            } else {
                tokio::select! {
                    biased;
                    reason = &mut cut => return Err(reason),
                    () = tokio::time::sleep_until(until) => too_late(),
                    called = self.toolbox.call(&call, &mut self.speaker.passages) => called,
                }
            };
            self.toolbox.note(&call, &called, began);
            trace.tool(self.toolbox.shown(&call, &called), began.elapsed());
            let phase = match called {
                Called::Told(_) | Called::HandOff => ToolPhase::Done,
                Called::Failed(_) => ToolPhase::Failed,
                Called::Waiting(_) => ToolPhase::Waiting,
            };
            self.tell(&call, phase, cut.as_mut()).await?;
            match called {
                Called::HandOff => return Ok(After::HandOff),
                Called::Waiting(pending) => waiting = Some((pending, call.id)),
                called => self.answer(call.id, called),
            }
        }
        Ok(waiting.map_or(After::GoOn, |(pending, call)| After::Wait(pending, call)))
    }

    /// Tells the reader how a tool of the agent stands; calls of what it does not have are nobody's business.
    async fn tell<C: Future<Output = Cut>>(
        &mut self,
        call: &ToolCall,
        phase: ToolPhase,
        cut: Pin<&mut C>,
    ) -> Result<(), Cut> {
        let Some((kind, name)) = self.toolbox.find(call) else { return Ok(()) };
        self.speaker.tool(ToolStep { kind, name, phase }, cut).await
    }

    /// Why no more tools may be called, if so.
    fn limit_reached(&self) -> Option<&'static str> {
        let defaults = &self.work.inner.options.defaults;
        let spent = self
            .speaker
            .spoken
            .usage
            .map_or(0, |usage| usage.prompt_tokens + usage.completion_tokens);
        if self.rounds >= defaults.tool_rounds {
            return Some("rounds");
        }
        if self.tools_until.is_some_and(|until| tokio::time::Instant::now() >= until) {
            return Some("time");
        }
        (spent >= i64::from(defaults.turn_tokens)).then_some("tokens")
    }
}

fn too_late() -> Called {
    Called::Failed("the time for tools is over".to_owned())
}
