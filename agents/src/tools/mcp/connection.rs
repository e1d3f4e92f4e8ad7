//! A connection to a server, and what is asked of it.

use std::time::Duration;

use domain::text;
use domain::tool::McpSettings;
use rmcp::model::{
    CallToolRequestParams, CallToolResult, ClientCapabilities, ClientConfig, ContentBlock,
    Implementation, PaginatedRequestParams, ResourceContents, Tool,
};
use rmcp::service::{RoleClient, RunningService};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::common::client_side_sse::ExponentialBackoff;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{ServiceError, ServiceExt};
use serde_json::{Map, Value};
use std::sync::Arc;

use super::client::Guarded;
use crate::run::Work;
use crate::tools::Called;
use crate::tools::headers::{self, Secrets};

/// Most pages of tools that are read, and most tools in all.
const MAX_PAGES: usize = 10;
const MAX_LISTED: usize = 500;

/// Longest result that the model is told, in characters.
const MAX_TOLD: usize = 20_000;

/// Longest reason of a failure that the model is told, in characters.
const MAX_FAILURE: usize = 500;

/// Attempts to take up an answer that broke off.
const RESUMPTIONS: usize = 3;

/// A connection. Dropping it gives up what is under way, and tells the server that its session is over.
pub(super) struct Connection {
    service: RunningService<RoleClient, ClientConfig>,
    guarded: Guarded,
    secrets: Secrets,
    timeout: Duration,
}

impl Connection {
    /// Greets the server. The error says why that failed, in words for a model.
    pub(super) async fn open(work: &Work, settings: &McpSettings) -> Result<Self, String> {
        let (headers, secrets) = headers::open(work, &settings.headers)?;
        let timeout = Duration::from_secs(settings.timeout);
        let guarded = Guarded::new(work.inner.options.fetch.clone(), headers, timeout);
        let mut config = StreamableHttpClientTransportConfig::with_uri(settings.url.as_str());
        let mut retries = ExponentialBackoff::default();
        retries.max_times = Some(RESUMPTIONS);
        config.retry_config = Arc::new(retries);
        let transport = StreamableHttpClientTransport::with_client(guarded.clone(), config);
        let myself = Implementation::new("vocero", env!("CARGO_PKG_VERSION"));
        let client = ClientConfig::new(ClientCapabilities::default(), myself);
        // Boxed, as it is large and short.
        let greeting = Box::pin(async {
            let greeted = client.serve(transport).await;
            greeted.map_err(|_| "the server does not speak the protocol".to_owned())
        });
        let service = within(timeout, &guarded, greeting).await;
        let service = service.map_err(|why| cut(&secrets.hide(why), MAX_FAILURE))?;
        Ok(Self { service, guarded, secrets, timeout })
    }

    /// The server's tools, as far as they are read.
    pub(super) async fn tools(&self) -> Result<Vec<Tool>, String> {
        let listing = async {
            let (mut tools, mut cursor) = (Vec::new(), None);
            for _ in 0..MAX_PAGES {
                let page = PaginatedRequestParams::default().with_cursor(cursor.take());
                let listed = self.service.list_tools(Some(page)).await;
                let listed = listed.map_err(|error| reason(&error))?;
                tools.extend(listed.tools);
                cursor = listed.next_cursor;
                if cursor.is_none() || tools.len() >= MAX_LISTED {
                    break;
                }
            }
            tools.truncate(MAX_LISTED);
            Ok(tools)
        };
        let listed = within(self.timeout, &self.guarded, listing).await;
        listed.map_err(|why| cut(&self.secrets.hide(why), MAX_FAILURE))
    }

    /// Calls a tool; what the model is to be told of it.
    pub(super) async fn call(&self, tool: &str, arguments: Map<String, Value>) -> Called {
        let params = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
        let calling =
            async { self.service.call_tool(params).await.map_err(|error| reason(&error)) };
        let shown = |said: String, most| cut(&self.secrets.hide(text::sanitize(&said)), most);
        match within(self.timeout, &self.guarded, calling).await {
            Err(why) => Called::Failed(shown(why, MAX_FAILURE)),
            Ok(result) if result.is_error == Some(true) => {
                let said = shown(said(&result), MAX_FAILURE);
                Called::Failed(format!("the tool failed: {said}"))
            }
            Ok(result) => Called::Told(shown(said(&result), MAX_TOLD)),
        }
    }

    /// Whether it can still be used.
    pub(super) fn is_good(&self) -> bool {
        self.guarded.failure().is_none() && !self.service.is_closed()
    }

    /// What the server says, without the secrets that it was sent.
    pub(super) fn hide(&self, said: &str) -> String {
        self.secrets.hide(text::sanitize(said))
    }
}

/// Waits for an exchange, for as long as it may take and only while it can still succeed.
async fn within<T>(
    timeout: Duration,
    guarded: &Guarded,
    exchange: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    tokio::select! {
        biased;
        done = exchange => done.map_err(|why| guarded.failure().unwrap_or(why)),
        why = guarded.failed() => Err(why),
        () = tokio::time::sleep(timeout) => {
            Err(format!("the server did not answer within {} seconds", timeout.as_secs()))
        }
    }
}

fn reason(error: &ServiceError) -> String {
    match error {
        ServiceError::McpError(error) => format!("the server refused: {}", error.message),
        _ => "the server's answer broke off or cannot be read".to_owned(),
    }
}

/// What a result says, as text; what is no text is named only.
fn said(result: &CallToolResult) -> String {
    let mut parts: Vec<String> = Vec::new();
    for block in &result.content {
        parts.push(match block {
            ContentBlock::Text(content) => content.text.clone(),
            ContentBlock::Image(image) => format!("[an image, {}, left out]", image.mime_type),
            ContentBlock::Audio(audio) => format!("[a sound, {}, left out]", audio.mime_type),
            ContentBlock::Resource(embedded) => match &embedded.resource {
                ResourceContents::TextResourceContents { text, .. } => text.clone(),
                _ => "[a file, left out]".to_owned(),
            },
            ContentBlock::ResourceLink(link) => format!("[a link, {}, left out]", link.name),
            _ => "[content of another kind, left out]".to_owned(),
        });
    }
    if let Some(structured) = &result.structured_content {
        let repeated = |part: &String| {
            serde_json::from_str::<Value>(part).is_ok_and(|value| value == *structured)
        };
        if !parts.iter().any(repeated) {
            parts.push(structured.to_string());
        }
    }
    if parts.is_empty() {
        return "The tool did its work and said nothing.".to_owned();
    }
    parts.join("\n")
}

fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}
