//! What a client of the protocol may ask.

use http::request::Parts;
use rmcp::ServerHandler;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorData,
    Implementation, ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig,
    Tool,
};
use rmcp::service::{RequestContext, RoleServer};

use super::tools::ToolName;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::state::AppState;

/// Answers requests. Cheap to clone; there is one for each request.
#[derive(Clone)]
pub(super) struct Handler {
    state: AppState,
}

impl Handler {
    pub(super) fn new(state: AppState) -> Self {
        Self { state }
    }
}

impl ServerHandler for Handler {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().build();
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new("vocero", env!("CARGO_PKG_VERSION")))
            .with_instructions(
                "Searches a business's documents and asks its agents. Results carry the passages that they \
                 rest on; cite them.",
            )
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let caller = caller(&context)?;
        let allowed = ToolName::ALL.into_iter().filter(|tool| caller.may(tool.action()));
        Ok(ListToolsResult::with_all_items(allowed.map(ToolName::describe).collect()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let caller = caller(&context)?;
        let name = &*request.name;
        let tool = ToolName::ALL.into_iter().find(|tool| tool.name() == name);
        let tool = tool.ok_or_else(|| {
            let message = format!("there is no tool {name}; tools/list names them");
            ErrorData::invalid_params(message, None)
        })?;
        let needed = tool.action();
        if !caller.may(needed) {
            return Ok(failure(&ApiError::forbidden(needed.needs().1)).into());
        }
        let arguments = request.arguments.unwrap_or_default();
        // A client that goes away ends what is done for it: the future is dropped, and with it a turn.
        let outcome = tokio::select! {
            () = context.ct.cancelled() => return Err(ErrorData::internal_error("cancelled", None)),
            outcome = tool.run(&self.state, &caller, arguments) => outcome,
        };
        Ok(outcome.unwrap_or_else(|error| failure(&error)).into())
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        ToolName::ALL.into_iter().find(|tool| tool.name() == name).map(ToolName::describe)
    }
}

/// Who asks: put into the request by the gate.
fn caller(context: &RequestContext<RoleServer>) -> Result<Caller, ErrorData> {
    let request = context.extensions.get::<Parts>();
    let caller = request.and_then(|request| request.extensions.get::<Caller>());
    caller.cloned().ok_or_else(|| ErrorData::internal_error("no caller", None))
}

/// A failure that the model gets to read: what is wrong, and what to do.
fn failure(error: &ApiError) -> CallToolResult {
    let message = error.message(Some(domain::Lang::En));
    let text = format!("{}: {message}", error.domain().code);
    CallToolResult::error(vec![ContentBlock::text(text)])
}
