#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

mod client;
mod error;
mod guard;
mod headers;
mod response;

pub use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
pub use reqwest::{Method, StatusCode};

pub use self::client::{Answer, Client, Limits, Request};
pub use self::error::FetchError;
pub use self::guard::{Target, check_url};
pub use self::headers::check_header;
pub use self::response::Response;

/// Redirects that are followed.
pub const MAX_REDIRECTS: usize = 3;
