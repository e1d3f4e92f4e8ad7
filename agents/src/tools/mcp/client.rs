//! The guarded client beneath the protocol: what the library sends goes to a judged address only, with the operator's
//! headers, and what comes back is read within limits.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use fetch::header::{ACCEPT, CONTENT_TYPE};
use fetch::{FetchError, HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use futures::{StreamExt, stream};
use parking_lot::Mutex;
use rmcp::model::{ClientJsonRpcMessage, ServerJsonRpcMessage};
use rmcp::transport::common::client_side_sse::BoxedSseResponse;
use rmcp::transport::streamable_http_client::{
    SseError, StreamableHttpClient, StreamableHttpError, StreamableHttpPostResponse,
};
use tokio::sync::Notify;
use url::Url;

use super::events::Decoder;

/// Largest answer that is read, in bytes, whether it comes at once or event by event.
const MAX_BYTES: usize = 1 << 20;

/// Largest answer of a failure that is read, in bytes.
const MAX_FAILURE: usize = 64 << 10;

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");

type Failure = StreamableHttpError<FetchError>;

/// The client of one connection. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Guarded {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    fetch: fetch::Client,
    /// The operator's headers. The library never sees them.
    headers: HeaderMap,
    /// For the head of an answer, and for each silence within one.
    timeout: Duration,
    failure: Mutex<Option<String>>,
    failed: Notify,
}

impl Guarded {
    pub(super) fn new(fetch: fetch::Client, headers: HeaderMap, timeout: Duration) -> Self {
        let (failure, failed) = (Mutex::default(), Notify::new());
        Self { shared: Arc::new(Shared { fetch, headers, timeout, failure, failed }) }
    }

    /// Waits until an exchange fails, and says why: not every failure reaches who waits for an answer by the library.
    pub(super) async fn failed(&self) -> String {
        loop {
            if let Some(failure) = self.failure() {
                return failure;
            }
            self.shared.failed.notified().await;
        }
    }

    /// Why an exchange failed, if one did.
    pub(super) fn failure(&self) -> Option<String> {
        self.shared.failure.lock().clone()
    }

    fn fail(&self, why: &str) {
        self.shared.failure.lock().get_or_insert_with(|| why.to_owned());
        self.shared.failed.notify_one();
    }

    fn request(
        &self,
        method: Method,
        address: &str,
        session: Option<&str>,
        of_protocol: HashMap<HeaderName, HeaderValue>,
    ) -> Result<Request, Failure> {
        let url = Url::parse(address).map_err(|_| unexpected("the address is none"))?;
        let mut headers = self.shared.headers.clone();
        headers.extend(of_protocol);
        if let Some(session) = session {
            headers.insert(SESSION, value_of(session)?);
        }
        Ok(Request { method, headers, ..Request::get(url) })
    }

    async fn open(&self, request: Request) -> Result<Response, Failure> {
        let opened = self.shared.fetch.open(request, self.shared.timeout).await;
        opened.map_err(|error| {
            self.fail(&error.message);
            StreamableHttpError::Client(error)
        })
    }

    async fn read(&self, mut response: Response) -> Result<Vec<u8>, Failure> {
        let reading = tokio::time::timeout(self.shared.timeout, response.read_all(MAX_BYTES));
        let read =
            reading.await.unwrap_or_else(|_| Err(FetchError::timed_out(self.shared.timeout)));
        let body = read.map_err(|error| {
            self.fail(&error.message);
            StreamableHttpError::Client(error)
        })?;
        Ok(body.to_vec())
    }

    fn events(&self, response: Response) -> BoxedSseResponse {
        let mut decoder = Decoder::default();
        let guarded = self.clone();
        let pieces = response.into_stream(MAX_BYTES, self.shared.timeout);
        let events = pieces.map(move |piece| match piece {
            Ok(bytes) => decoder.push(&bytes).into_iter().map(Ok).collect::<Vec<_>>(),
            Err(error) => {
                guarded.fail(&error.message);
                vec![Err(SseError::Body(Box::new(error)))]
            }
        });
        events.flat_map(stream::iter).boxed()
    }

    /// What an answer that is no success says: an error of the protocol, or its status.
    async fn refused(&self, mut response: Response) -> Result<StreamableHttpPostResponse, Failure> {
        let status = response.status().as_u16();
        let body = tokio::time::timeout(self.shared.timeout, response.read_up_to(MAX_FAILURE));
        let body = body.await.ok().and_then(Result::ok).unwrap_or_default();
        let is_auth = matches!(status, 401 | 403);
        if !is_auth
            && let Ok(message @ ServerJsonRpcMessage::Error(_)) = serde_json::from_slice(&body)
        {
            return Ok(StreamableHttpPostResponse::Json(message, None));
        }
        let why = format!("the server answered {status}");
        self.fail(&why);
        Err(StreamableHttpError::UnexpectedServerResponse(why.into()))
    }
}

impl StreamableHttpClient for Guarded {
    type Error = FetchError;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session_id: Option<Arc<str>>,
        _auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<StreamableHttpPostResponse, Failure> {
        let mut request =
            self.request(Method::POST, &uri, session_id.as_deref(), custom_headers)?;
        let both = HeaderValue::from_static("application/json, text/event-stream");
        request.headers.insert(ACCEPT, both);
        request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        request.body = serde_json::to_vec(&message)?.into();
        let response = self.open(request).await?;
        let status = response.status().as_u16();
        if matches!(status, 202 | 204) {
            return Ok(StreamableHttpPostResponse::Accepted);
        }
        if status == 404 && session_id.is_some() {
            return Err(StreamableHttpError::SessionExpired);
        }
        if !response.status().is_success() {
            return self.refused(response).await;
        }
        let session = response.header(&SESSION).map(ToOwned::to_owned);
        let content_type = response.content_type();
        match content_type.as_deref() {
            Some("text/event-stream") => {
                Ok(StreamableHttpPostResponse::Sse(self.events(response), session))
            }
            // Only a request is answered.
            _ if !matches!(message, ClientJsonRpcMessage::Request(_)) => {
                Ok(StreamableHttpPostResponse::Accepted)
            }
            Some("application/json") => {
                let body = self.read(response).await?;
                match serde_json::from_slice(&body) {
                    Ok(message) => Ok(StreamableHttpPostResponse::Json(message, session)),
                    Err(error) => {
                        self.fail("the server does not speak the protocol");
                        Err(error.into())
                    }
                }
            }
            _ => {
                self.fail("the server does not speak the protocol");
                Err(StreamableHttpError::UnexpectedContentType(content_type))
            }
        }
    }

    async fn delete_session(
        &self,
        uri: Arc<str>,
        session_id: Arc<str>,
        _auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<(), Failure> {
        let request = self.request(Method::DELETE, &uri, Some(&session_id), custom_headers)?;
        // Servers need not know it.
        let sent = self.shared.fetch.open(request, self.shared.timeout).await;
        sent.map(drop).map_err(StreamableHttpError::Client)
    }

    async fn get_stream(
        &self,
        uri: Arc<str>,
        session_id: Option<Arc<str>>,
        last_event_id: Option<String>,
        _auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<BoxedSseResponse, Failure> {
        // Answers that broke off are taken up; what a server says unasked is of no use here.
        let Some(last_event) = last_event_id else {
            return Err(StreamableHttpError::ServerDoesNotSupportSse);
        };
        let mut request = self.request(Method::GET, &uri, session_id.as_deref(), custom_headers)?;
        request.headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        request.headers.insert(LAST_EVENT, value_of(&last_event)?);
        let response = self.open(request).await?;
        let is_stream = response.content_type().as_deref() == Some("text/event-stream");
        if !response.status().is_success() || !is_stream {
            self.fail("the server's answer broke off");
            return Err(StreamableHttpError::ServerDoesNotSupportSse);
        }
        Ok(self.events(response))
    }
}

fn value_of(text: &str) -> Result<HeaderValue, Failure> {
    HeaderValue::from_str(text).map_err(|_| unexpected("an id of the server is no header's value"))
}

fn unexpected(why: &'static str) -> Failure {
    StreamableHttpError::UnexpectedServerResponse(why.into())
}
