//! Providers whose addresses users supply: where a name leads is judged each time that a connection is made.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::Url;

/// Says where a provider may be spoken to.
#[async_trait]
pub trait Judge: Send + Sync + fmt::Debug {
    /// The addresses of the host of `url`, each of them allowed; the error says why it is not to be spoken to.
    async fn addresses(&self, url: &Url) -> Result<Vec<SocketAddr>, String>;
}

/// Resolves the one host of a provider as its judge says.
#[derive(Debug)]
pub(super) struct JudgedHost {
    pub judge: Arc<dyn Judge>,
    pub base: Url,
}

/// The judge said no.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NotAllowed(String);

impl Resolve for JudgedHost {
    fn resolve(&self, name: Name) -> Resolving {
        let (judge, base) = (self.judge.clone(), self.base.clone());
        Box::pin(async move {
            // The client is made for one address and follows no redirect.
            if base.host_str() != Some(name.as_str()) {
                return Err(NotAllowed("another host than the provider's".to_owned()).into());
            }
            let addresses = judge.addresses(&base).await.map_err(NotAllowed)?;
            let addresses: Addrs = Box::new(addresses.into_iter());
            Ok(addresses)
        })
    }
}
