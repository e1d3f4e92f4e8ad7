//! Turns as OpenTelemetry traces, named by the conventions for generative AI
//! (<https://opentelemetry.io/docs/specs/semconv/gen-ai/>) and sent by OTLP over HTTP.
//!
//! Spans are made once a turn is over, from its trace, with the times that it tells. They wait in a bounded queue for a
//! thread of their own: a collector that is slow or gone costs spans, never a turn.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use agents::{EndedTurn, TraceCall, TracePhase, TraceStep, TraceTool, TurnObserver, TurnTrace};
use anyhow::Context as _;
use domain::settings::{Settings, TelemetrySettings, without_secrets};
use opentelemetry::trace::{Span, SpanKind, Status, TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Array, Context, KeyValue, StringValue, Value};
use opentelemetry_otlp::{Protocol, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, SpanData, SpanExporter};
use secrecy::ExposeSecret;
use serde_json::json;
use url::Url;

/// How often it is said that the collector takes nothing.
const WARN_EVERY: Duration = Duration::from_mins(5);
/// How long what is left may take to be sent when the server stops.
const LAST_EXPORT: Duration = Duration::from_secs(5);

/// Sends turns to a collector.
#[derive(Debug)]
pub struct Spans {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    capture_content: bool,
    /// The provider of the installation.
    installation: Provider,
}

/// Where a model is.
#[derive(Debug, Clone)]
struct Provider {
    name: &'static str,
    address: Option<String>,
    port: Option<i64>,
}

impl Spans {
    /// To the collector of the settings; `None` when there is none.
    pub fn start(settings: &Settings) -> anyhow::Result<Option<Self>> {
        let telemetry = &settings.telemetry;
        let Some(endpoint) = &telemetry.otlp_endpoint else { return Ok(None) };
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(traces_address(endpoint))
            .with_headers(given_headers(telemetry))
            .build()
            .context("the traces cannot be exported; check telemetry.otlp_endpoint")?;
        let exporter = Telling { exporter, endpoint: (**endpoint).clone(), told: Mutex::default() };
        let resource = Resource::builder()
            .with_service_name(telemetry.service_name.clone())
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource)
            .build();
        let tracer = provider.tracer("vocero");
        let capture_content = telemetry.capture_content;
        let installation = Provider::of(settings);
        Ok(Some(Self { provider, tracer, capture_content, installation }))
    }

    /// Sends what is left, for a few seconds at most.
    pub async fn stop(&self) {
        let provider = self.provider.clone();
        let sending =
            tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(LAST_EXPORT));
        if !matches!(tokio::time::timeout(LAST_EXPORT, sending).await, Ok(Ok(Ok(())))) {
            tracing::warn!("not every trace reached the collector before the server stopped");
        }
    }

    fn root(&self, turn: &EndedTurn, start: SystemTime) -> Context {
        let trace = &turn.trace;
        let name = trace.agent_name.as_deref().unwrap_or_default();
        let mut attributes = vec![
            KeyValue::new("gen_ai.operation.name", "invoke_agent"),
            KeyValue::new("gen_ai.provider.name", self.provider_of(trace)),
            KeyValue::new("gen_ai.agent.name", name.to_owned()),
        ];
        let ids = [
            ("gen_ai.agent.id", trace.agent_id.map(|id| id.to_string())),
            ("gen_ai.conversation.id", trace.conversation_id.map(|id| id.to_string())),
            ("vocero.turn.id", trace.turn_id.map(|id| id.to_string())),
            ("vocero.outcome", trace.end.clone()),
            ("gen_ai.request.model", trace.model.clone()),
        ];
        texts(&mut attributes, ids);
        let counts = [
            ("gen_ai.usage.input_tokens", trace.prompt_tokens),
            ("gen_ai.usage.output_tokens", trace.completion_tokens),
            ("vocero.cost.micro_usd", trace.cost),
        ];
        numbers(&mut attributes, counts);
        if let Some(code) = turn.error {
            attributes.push(KeyValue::new("error.type", code));
        }
        if self.capture_content {
            let said = |role: &str, text: &str| {
                json!([{"role": role, "parts": [{"type": "text", "content": text}]}]).to_string()
            };
            let asked = trace.asked.as_deref().map(|text| said("user", text));
            let answered = turn.answer.as_deref().map(|text| said("assistant", text));
            let messages = [("gen_ai.input.messages", asked), ("gen_ai.output.messages", answered)];
            texts(&mut attributes, messages);
        }
        let builder = self
            .tracer
            .span_builder(format!("invoke_agent {name}"))
            .with_kind(SpanKind::Internal)
            .with_start_time(start)
            .with_attributes(attributes);
        let mut root = builder.start_with_context(&self.tracer, &Context::new());
        if let Some(code) = turn.error {
            root.set_status(Status::error(code));
        }
        Context::new().with_span(root)
    }

    /// The provider that answered, in the words of the conventions.
    fn provider_of(&self, trace: &TurnTrace) -> &'static str {
        if trace.calls.is_empty() { "vocero" } else { self.installation.name }
    }

    fn chat(&self, call: &TraceCall) -> Child {
        let mut attributes = vec![
            KeyValue::new("gen_ai.operation.name", "chat"),
            KeyValue::new("gen_ai.request.model", call.model.clone()),
            KeyValue::new("vocero.purpose", call.purpose.clone()),
        ];
        let own = call.provider.as_deref() == Some("installation");
        let at = own.then_some(&self.installation);
        let name = at.map_or("openai", |provider| provider.name);
        attributes.push(KeyValue::new("gen_ai.provider.name", name));
        let named = [
            ("server.address", at.and_then(|provider| provider.address.clone())),
            ("vocero.provider.id", call.provider.clone().filter(|_| !own)),
            ("gen_ai.response.model", call.finish_reason.as_ref().map(|_| call.model.clone())),
        ];
        texts(&mut attributes, named);
        let counts = [
            ("server.port", at.and_then(|provider| provider.port)),
            ("gen_ai.usage.input_tokens", call.prompt_tokens),
            ("gen_ai.usage.output_tokens", call.completion_tokens),
            ("gen_ai.usage.cache_read.input_tokens", call.cached_tokens.filter(|&n| n > 0)),
        ];
        numbers(&mut attributes, counts);
        if let Some(reason) = &call.finish_reason {
            let reasons = Array::String(vec![StringValue::from(reason.clone())]);
            attributes.push(KeyValue::new("gen_ai.response.finish_reasons", Value::Array(reasons)));
        }
        Child {
            name: format!("chat {}", call.model),
            kind: SpanKind::Client,
            attributes,
            error: call
                .error
                .as_ref()
                .map(|_| call.error_type.clone().unwrap_or_else(|| "_OTHER".to_owned())),
            start_ms: call.start_ms,
            ms: call.ms,
        }
    }

    fn tool(&self, tool: &TraceTool) -> Child {
        let mut attributes = vec![
            KeyValue::new("gen_ai.operation.name", "execute_tool"),
            KeyValue::new("gen_ai.tool.name", tool.name.clone()),
            KeyValue::new("gen_ai.tool.type", "function"),
        ];
        let id = tool.call_id.clone().filter(|id| !id.is_empty());
        let shown = |text: String| Some(text).filter(|_| self.capture_content);
        let named = [
            ("gen_ai.tool.call.id", id),
            ("gen_ai.tool.call.arguments", shown(tool.arguments.to_string())),
            ("gen_ai.tool.call.result", shown(tool.result.clone())),
        ];
        texts(&mut attributes, named);
        Child {
            name: format!("execute_tool {}", tool.name),
            kind: SpanKind::Internal,
            attributes,
            error: (tool.status == "failed").then(|| "tool_failed".to_owned()),
            start_ms: tool.start_ms,
            ms: tool.ms,
        }
    }

    fn start_child(&self, root: &Context, began: SystemTime, child: Child) {
        let start = began + time_of(child.start_ms);
        let mut attributes = child.attributes;
        let status = child.error.clone().map_or(Status::Unset, Status::error);
        attributes.extend(child.error.map(|error| KeyValue::new("error.type", error)));
        let builder = self
            .tracer
            .span_builder(child.name)
            .with_kind(child.kind)
            .with_start_time(start)
            .with_attributes(attributes);
        let mut span = builder.start_with_context(&self.tracer, root);
        span.set_status(status);
        span.end_with_timestamp(start + time_of(child.ms));
    }
}

/// A span below that of a turn.
struct Child {
    name: String,
    kind: SpanKind,
    attributes: Vec<KeyValue>,
    error: Option<String>,
    start_ms: Option<f64>,
    ms: Option<f64>,
}

impl TurnObserver for Spans {
    fn turn_ended(&self, turn: EndedTurn) {
        let trace = &turn.trace;
        let began = UNIX_EPOCH
            + Duration::from_micros(u64::try_from(trace.began_at.unwrap_or(0)).unwrap_or(0));
        let root = self.root(&turn, began);
        if root.span().is_recording() {
            for step in trace.steps() {
                let child = match step {
                    TraceStep::Phase(phase) if phase.name == "search" => retrieval(trace, phase),
                    TraceStep::Phase(_) => continue,
                    TraceStep::Call(call) => self.chat(call),
                    TraceStep::Tool(tool) => self.tool(tool),
                };
                self.start_child(&root, began, child);
            }
        }
        root.span().end_with_timestamp(began + time_of(trace.total_ms));
    }
}

fn retrieval(trace: &TurnTrace, phase: &TracePhase) -> Child {
    let found = trace.hits.iter().filter(|hit| hit.found_by.as_deref() != Some("tool")).count();
    let mut attributes = vec![
        KeyValue::new("gen_ai.operation.name", "retrieval"),
        KeyValue::new("vocero.retrieval.hits", i64::try_from(found).unwrap_or(i64::MAX)),
    ];
    let measures = [
        ("vocero.retrieval.evidence", trace.evidence),
        ("vocero.retrieval.threshold", trace.threshold),
    ];
    attributes
        .extend(measures.into_iter().filter_map(|(name, value)| Some(KeyValue::new(name, value?))));
    texts(&mut attributes, [("vocero.retrieval.gate", trace.gate.clone())]);
    Child {
        name: "retrieval".to_owned(),
        kind: SpanKind::Internal,
        attributes,
        error: None,
        start_ms: phase.start_ms,
        ms: phase.ms,
    }
}

fn texts<const N: usize>(
    attributes: &mut Vec<KeyValue>,
    named: [(&'static str, Option<String>); N],
) {
    attributes
        .extend(named.into_iter().filter_map(|(name, text)| Some(KeyValue::new(name, text?))));
}

fn numbers<const N: usize>(
    attributes: &mut Vec<KeyValue>,
    named: [(&'static str, Option<i64>); N],
) {
    attributes
        .extend(named.into_iter().filter_map(|(name, count)| Some(KeyValue::new(name, count?))));
}

fn time_of(ms: Option<f64>) -> Duration {
    Duration::try_from_secs_f64(ms.unwrap_or_default() / 1_000.0).unwrap_or_default()
}

impl Provider {
    /// That of the installation, named as the conventions do where they know it, and `openai` for others that speak as
    /// it does.
    fn of(settings: &Settings) -> Self {
        let url = settings.models.openai_base_url.as_deref();
        let address = url.and_then(Url::host_str).map(str::to_owned);
        let port = url.and_then(Url::port_or_known_default).map(i64::from);
        let host = address.as_deref().unwrap_or("api.openai.com");
        let known = [
            ("openai.azure.com", "azure.ai.openai"),
            ("api.anthropic.com", "anthropic"),
            ("api.mistral.ai", "mistral_ai"),
            ("api.groq.com", "groq"),
            ("api.deepseek.com", "deepseek"),
            ("api.perplexity.ai", "perplexity"),
            ("api.x.ai", "x_ai"),
            ("generativelanguage.googleapis.com", "gcp.gemini"),
        ];
        let name = match known.into_iter().find(|(end, _)| host.ends_with(end)) {
            Some((_, name)) => name,
            None if settings.models.azure_api_version.is_some() => "azure.ai.openai",
            None => "openai",
        };
        let (address, port) = match address {
            Some(address) => (Some(address), port),
            None => (Some("api.openai.com".to_owned()), Some(443)),
        };
        Self { name, address, port }
    }
}

/// Where traces go: `/v1/traces` below the address.
fn traces_address(endpoint: &Url) -> String {
    let mut address = endpoint.clone();
    let path = format!("{}/v1/traces", address.path().trim_end_matches('/'));
    address.set_path(&path);
    address.into()
}

fn given_headers(telemetry: &TelemetrySettings) -> HashMap<String, String> {
    let given = telemetry.otlp_headers.as_ref().map(ExposeSecret::expose_secret);
    given.and_then(headers).unwrap_or_default().into_iter().collect()
}

/// The headers of `name=value,name=value` with percent-encoded values; `None` when it is not that.
pub fn headers(text: &str) -> Option<Vec<(String, String)>> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (name, value) = part.split_once('=')?;
            let name = reqwest::header::HeaderName::try_from(name.trim()).ok()?;
            let value = decoded(value.trim())?;
            reqwest::header::HeaderValue::try_from(&value).ok()?;
            Some((name.to_string(), value))
        })
        .collect()
}

/// A text without its percent-encoding.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        if *first == b'%' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

/// Says now and then that the collector takes nothing.
#[derive(Debug)]
struct Telling {
    exporter: opentelemetry_otlp::SpanExporter,
    endpoint: Url,
    told: Mutex<Option<Instant>>,
}

impl Telling {
    fn tell(&self, error: &str) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_some_and(|at| at.elapsed() < WARN_EVERY) {
            return;
        }
        *told = Some(Instant::now());
        let endpoint = without_secrets(&self.endpoint);
        let error = error.replace(&traces_address(&self.endpoint), "…");
        tracing::warn!(endpoint, error, "the collector of traces takes nothing; spans are lost");
    }
}

impl SpanExporter for Telling {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let sent = self.exporter.export(batch).await;
        if let Err(error) = &sent {
            self.tell(&error.to_string());
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_as_the_variable_has_them() {
        let read = headers("api-key=secret%20one, x-tenant = shop ,").unwrap();
        let expected = [("api-key", "secret one"), ("x-tenant", "shop")];
        assert_eq!(read, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(headers(""), Some(Vec::new()));
        for wrong in ["key", "two words=x", "a=%2", "a=%zz", "a=%0a"] {
            assert_eq!(headers(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn traces_go_below_the_address() {
        for (given, address) in [
            ("http://localhost:4318", "http://localhost:4318/v1/traces"),
            ("https://host/otlp/?a=b", "https://host/otlp/v1/traces?a=b"),
        ] {
            assert_eq!(traces_address(&given.parse().unwrap()), address);
        }
    }
}
