//! What customers show beside a message. Only the model that answers sees an image; what is stored is that there was one.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use domain::DomainError;
use domain::message::ShownImage;
use models::Image;
use url::Url;

use crate::turn::Agents;

/// Images of one message.
pub const MAX_IMAGES: usize = 4;

/// How long fetching one may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// What models that see can read.
pub(crate) const TYPES: [&str; 4] = ["image/png", "image/jpeg", "image/webp", "image/gif"];

/// An image that was read and checked. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SeenImage {
    /// As the model is shown it, a `data:` address.
    pub(crate) image: Image,
    /// What is kept of it.
    pub(crate) shown: ShownImage,
}

impl Agents {
    /// Reads an image of a message: base64 in a `data:` address, or an http(s) address, which is fetched here, so that
    /// no provider is made to fetch what it can reach and the customer cannot.
    ///
    /// Errors: 400 naming `field` for an address that cannot be had, an image over `max_image_bytes`, or a type other
    /// than PNG, JPEG, WebP and GIF.
    pub async fn read_image(&self, field: &str, address: &str) -> Result<SeenImage, DomainError> {
        let invalid = |reason: &str| DomainError::invalid(field, format!("`{field}` {reason}"));
        let most = self.inner.options.defaults.max_image_bytes;
        let bytes = match address.trim().strip_prefix("data:") {
            Some(rest) => decode(rest).map_err(invalid)?,
            None => self.fetch_image(address, most).await.map_err(|reason| invalid(&reason))?,
        };
        if bytes.len() > most {
            return Err(invalid(&format!("is larger than {most} bytes; make it smaller")));
        }
        // By what it is, not by what it says it is.
        let found = infer::get(&bytes).map(|kind| kind.mime_type());
        let Some(media_type) = found.filter(|found| TYPES.contains(found)) else {
            return Err(invalid("must be a PNG, JPEG, WebP or GIF image"));
        };
        let image = format!("data:{media_type};base64,{}", STANDARD.encode(&bytes));
        let size = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
        let shown = ShownImage { media_type: media_type.to_owned(), bytes: size };
        Ok(SeenImage { image: Image::new(image), shown })
    }

    async fn fetch_image(&self, address: &str, most: usize) -> Result<Bytes, String> {
        let fetch = &self.inner.options.fetch;
        let url: Url = self.check_address(address).map_err(|reason| {
            format!("must be a data: address or one that can be fetched: {reason}")
        })?;
        let limits =
            fetch::Limits { timeout: PATIENCE, max_bytes: most, content_types: &["image/*"] };
        let answer = fetch.send(fetch::Request::get(url), &limits).await;
        let answer = answer.map_err(|error| format!("could not be fetched: {}", error.message))?;
        if !answer.status.is_success() {
            return Err(format!("could not be fetched: status {}", answer.status.as_u16()));
        }
        Ok(answer.body)
    }
}

/// The bytes of what follows `data:`.
fn decode(rest: &str) -> Result<Bytes, &'static str> {
    let wrong = "must be like data:image/png;base64,iVBORw0KGgo…";
    let (kind, text) = rest.split_once(',').ok_or(wrong)?;
    if !kind.to_ascii_lowercase().ends_with(";base64") {
        return Err(wrong);
    }
    STANDARD.decode(text.trim()).map(Bytes::from).map_err(|_| wrong)
}
