//! Headers that an operator declared, with their secrets opened; and the secrets kept out of what comes back.

use domain::tool::HttpHeader;
use domain::vault::SecretPlace;
use fetch::{HeaderMap, check_header};
use secrecy::{ExposeSecret, SecretString};

use crate::run::Work;

/// What stands in place of a secret that a server sent back.
const HIDDEN: &str = "[secret]";

/// Shortest piece of a secret that is looked for in answers, in bytes: shorter ones would be found by chance.
const MIN_HIDDEN: usize = 6;

/// The secrets that a request carries.
#[derive(Debug, Default)]
pub(super) struct Secrets(Vec<SecretString>);

impl Secrets {
    /// The text without what a server repeats of the secrets that it was sent: whole, or one word of them, as of
    /// `Bearer …`.
    pub(super) fn hide(&self, text: String) -> String {
        let mut text = text;
        for secret in &self.0 {
            let secret = secret.expose_secret();
            for piece in std::iter::once(secret).chain(secret.split_whitespace()) {
                if piece.len() >= MIN_HIDDEN && text.contains(piece) {
                    text = text.replace(piece, HIDDEN);
                }
            }
        }
        text
    }
}

/// The secrets among the declared headers, as far as they open.
pub(super) fn secrets<'a>(
    work: &Work,
    declared: impl IntoIterator<Item = &'a HttpHeader>,
) -> Secrets {
    let sealed = declared.into_iter().filter_map(|header| header.sealed.as_deref());
    Secrets(sealed.filter_map(|sealed| unseal(work, sealed).ok()).collect())
}

/// The declared headers as they are sent.
pub(super) fn open(work: &Work, declared: &[HttpHeader]) -> Result<(HeaderMap, Secrets), String> {
    let mut headers = HeaderMap::new();
    let mut secrets = Secrets::default();
    for header in declared {
        let secret = header.sealed.as_deref().map(|sealed| unseal(work, sealed)).transpose()?;
        let value = match &secret {
            Some(secret) => secret.expose_secret(),
            None => header.value.as_deref().unwrap_or_default(),
        };
        let (name, mut value) = check_header(&header.name, value).map_err(|error| error.message)?;
        value.set_sensitive(header.secret);
        headers.append(name, value);
        secrets.0.extend(secret);
    }
    Ok((headers, secrets))
}

fn unseal(work: &Work, sealed: &str) -> Result<SecretString, String> {
    let row = work.agent.id.to_string();
    let place =
        SecretPlace { workspace: work.workspace(), table: "agents", column: "tools", row: &row };
    work.inner.options.vault.open(place, sealed).map_err(|error| {
        tracing::warn!(%error, agent = %work.agent.id, "a tool's secret cannot be read");
        "the tool's secret cannot be read; the operator must set it again".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_repeats_of_a_secret_is_hidden() {
        let secrets = Secrets(vec!["Bearer planted-token".into(), "ab".into()]);
        let said = "bad key Bearer planted-token, or planted-token; about".to_owned();
        assert_eq!(secrets.hide(said), "bad key [secret], or [secret]; about");
    }
}
