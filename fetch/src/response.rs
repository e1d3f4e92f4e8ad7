//! An answer that is still arriving.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::Stream;
use reqwest::StatusCode;
use reqwest::header::{self, HeaderMap};
use url::Url;

use crate::FetchError;

/// An answer whose body is still to be read. Dropping it closes the connection.
#[derive(Debug)]
pub struct Response {
    url: Url,
    inner: reqwest::Response,
}

impl Response {
    pub(crate) fn new(url: Url, inner: reqwest::Response) -> Self {
        Self { url, inner }
    }

    /// The address that answered.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The status, of whatever class.
    pub fn status(&self) -> StatusCode {
        self.inner.status()
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        self.inner.headers()
    }

    /// A header's text; `None` when it is absent, empty or no text.
    pub fn header(&self, name: &header::HeaderName) -> Option<&str> {
        let value = self.headers().get(name)?.to_str().ok()?.trim();
        (!value.is_empty()).then_some(value)
    }

    /// `Content-Type` without parameters, in lower case.
    pub fn content_type(&self) -> Option<String> {
        let essence = self.header(&header::CONTENT_TYPE)?.split(';').next()?.trim();
        (!essence.is_empty()).then(|| essence.to_ascii_lowercase())
    }

    /// Where a redirect leads; `None` when this is not one. Not judged yet.
    pub fn redirect_target(&self) -> Option<Result<Url, FetchError>> {
        let redirects = matches!(self.status().as_u16(), 301 | 302 | 303 | 307 | 308);
        let location = self.header(&header::LOCATION).filter(|_| redirects)?;
        let target = self.url.join(location).map(|mut url| {
            url.set_fragment(None);
            url
        });
        Some(
            target.map_err(|_| {
                FetchError::refused("the page redirects to an address that is not valid")
            }),
        )
    }

    /// The next piece of the body, decompressed; `None` at its end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, FetchError> {
        self.inner.chunk().await.map_err(|error| broken(&error))
    }

    /// Reads the body, decompressed, but for what comes after `limit` bytes.
    pub async fn read_up_to(&mut self, limit: usize) -> Result<Bytes, FetchError> {
        let mut body = BytesMut::new();
        while body.len() < limit {
            let Some(piece) = self.chunk().await? else {
                break;
            };
            let room = limit - body.len();
            body.extend_from_slice(&piece[..piece.len().min(room)]);
        }
        Ok(body.freeze())
    }

    /// Reads the whole body. Errors: `FETCH_TOO_LARGE` when there are more than `limit` bytes of it.
    pub async fn read_all(&mut self, limit: usize) -> Result<Bytes, FetchError> {
        let body = self.read_up_to(limit.saturating_add(1)).await?;
        if body.len() > limit {
            return Err(FetchError::too_large(limit));
        }
        Ok(body)
    }

    /// The body piece by piece. Ends with `FETCH_TOO_LARGE` after `limit` bytes, and with `FETCH_TIMEOUT`
    /// when nothing comes for `idle`.
    pub fn into_stream(
        mut self,
        limit: usize,
        idle: Duration,
    ) -> impl Stream<Item = Result<Bytes, FetchError>> + Send {
        async_stream::try_stream! {
            let mut read = 0_usize;
            loop {
                let piece = tokio::time::timeout(idle, self.chunk()).await;
                let Some(piece) = piece.map_err(|_| FetchError::timed_out(idle))?? else {
                    break;
                };
                read = read.saturating_add(piece.len());
                if read > limit {
                    Err(FetchError::too_large(limit))?;
                }
                yield piece;
            }
        }
    }
}

/// What went wrong on the way, in words that tell nothing of an inner network.
pub(crate) fn broken(error: &reqwest::Error) -> FetchError {
    if error.is_timeout() {
        return FetchError::timed_out(crate::client::CONNECT_TIMEOUT);
    }
    if error.is_body() || error.is_decode() {
        return FetchError::unreachable("the server's answer broke off or cannot be decoded");
    }
    FetchError::unreachable("the server cannot be reached; check the address or try again later")
}
