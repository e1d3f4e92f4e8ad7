//! The settings of an installation. Their defaults and their meaning for operators stand in the one
//! commented `default.toml` that ships inside the binary; this is the same list as types.

use std::fmt;
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use secrecy::SecretString;
use serde::{Deserialize, Deserializer};
use url::Url;

/// Everything that can be set.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where the server listens and how it treats connections.
    pub server: ServerSettings,
    /// Where data lives.
    pub storage: StorageSettings,
    /// The vector index.
    pub index: IndexSettings,
    /// Chat models and embedders.
    pub models: ModelSettings,
    /// Fetching addresses that users supply.
    pub fetch: FetchSettings,
    /// Ingestion.
    pub ingest: IngestSettings,
    /// Answers.
    pub agents: AgentDefaults,
    /// People.
    pub accounts: AccountSettings,
    /// Mails to people.
    pub mail: MailSettings,
    /// Signing in with an account elsewhere.
    pub oidc: OidcSettings,
    /// Logs.
    pub log: LogSettings,
    /// What is told to a collector of traces.
    pub telemetry: TelemetrySettings,
}

/// Where the server listens and how it treats connections.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerSettings {
    /// Address of the HTTP surfaces. `VOCERO_LISTEN`.
    pub listen: SocketAddr,
    /// Address of `/metrics`; `off` turns it off.
    #[serde(default, deserialize_with = "address_or_off")]
    pub metrics_listen: Option<SocketAddr>,
    /// The address that people reach the server at; `None` means `http://` + `listen`. `VOCERO_PUBLIC_URL`.
    pub public_url: Option<Url>,
    /// What this process does. `VOCERO_ROLES`.
    #[serde(deserialize_with = "one_or_many")]
    pub roles: Vec<ProcessRole>,
    /// Requests a minute for each API key; 0 turns the limit off. `VOCERO_RATE_LIMIT`.
    pub rate_limit: u32,
    /// Messages a minute for each visitor of a site; 0 turns the limit off.
    pub visitor_rate_limit: u32,
    /// Proxies in front whose `X-Forwarded-For` entry is believed.
    pub trusted_hops: u32,
    /// Seconds that a client may take for its request head.
    #[serde(deserialize_with = "seconds")]
    pub header_timeout: Duration,
    /// Seconds that streams get to end on shutdown.
    #[serde(deserialize_with = "seconds")]
    pub shutdown_grace: Duration,
    /// Connections served at once; more wait in the backlog.
    pub max_connections: usize,
    /// Largest JSON body, in bytes.
    pub max_json_bytes: usize,
    /// Origins that a browser may call the API from; empty means none but the server's own.
    #[serde(deserialize_with = "one_or_many")]
    pub cors_origins: Vec<String>,
}

impl ServerSettings {
    /// What every address of the server begins with, without a slash at its end.
    pub fn public_base(&self) -> String {
        match &self.public_url {
            Some(url) => url.as_str().trim_end_matches('/').to_owned(),
            None => format!("http://{}", self.listen),
        }
    }
}

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProcessRole {
    /// Serves HTTP.
    Api,
    /// Runs jobs.
    Worker,
}

/// The address of a service. It may carry a credential, so its `Debug` shows it as [`without_secrets`] does.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct ServiceUrl(Url);

impl Deref for ServiceUrl {
    type Target = Url;

    fn deref(&self) -> &Url {
        &self.0
    }
}

impl FromStr for ServiceUrl {
    type Err = url::ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl From<Url> for ServiceUrl {
    fn from(url: Url) -> Self {
        Self(url)
    }
}

impl fmt::Debug for ServiceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_secrets(&self.0))
    }
}

/// An address as it may be shown: its password, a user name that stands alone, and the values of its query
/// are `***`.
pub fn without_secrets(url: &Url) -> String {
    let mut shown = url.clone();
    let hidden = "***";
    // The two calls fail only for addresses that cannot hold what is hidden.
    if shown.password().is_some() {
        let _ = shown.set_password(Some(hidden));
    } else if !shown.username().is_empty() {
        let _ = shown.set_username(hidden);
    }
    shown.set_fragment(None);
    let names: Vec<String> = url.query_pairs().map(|(name, _)| name.into_owned()).collect();
    if names.is_empty() {
        shown.set_query(None);
    } else {
        let query: Vec<String> = names.iter().map(|name| format!("{name}={hidden}")).collect();
        shown.set_query(Some(&query.join("&")));
    }
    shown.into()
}

/// Where data lives.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StorageSettings {
    /// Folder of the database, the index, the files and the keys. `VOCERO_DATA_DIR`.
    pub data_dir: PathBuf,
    /// `sqlite:<path>` or `postgres://…`; `None` means SQLite in the data folder. `DATABASE_URL`.
    pub database_url: Option<SecretString>,
    /// Connections of the pool (PostgreSQL), or of the readers' pool (SQLite).
    pub max_connections: u32,
    /// `s3://bucket/prefix`, or none for the data folder.
    pub blob_url: Option<ServiceUrl>,
    /// Keys that seal secrets, 64 hexadecimal digits each, one on a line; `None` means those of the data folder.
    /// `VOCERO_VAULT_KEY`.
    pub vault_key: Option<SecretString>,
}

/// The vector index.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IndexSettings {
    /// A Qdrant server (gRPC, usually port 6334); `None` means in process. `QDRANT_URL`.
    pub qdrant_url: Option<ServiceUrl>,
    /// Its key. `QDRANT_API_KEY`.
    pub qdrant_api_key: Option<SecretString>,
    /// Prefix of the collections' names, so that installations can share a server.
    pub collection_prefix: String,
}

/// Chat models and embedders.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSettings {
    /// Key of the OpenAI-compatible provider; without a key and a base URL the built-in answerer answers. `OPENAI_API_KEY`.
    pub openai_api_key: Option<SecretString>,
    /// Its address, up to and including `/v1`, or an Azure deployment's address. `OPENAI_BASE_URL`.
    pub openai_base_url: Option<ServiceUrl>,
    /// Azure's `api-version`; its presence chooses Azure-style requests.
    pub azure_api_version: Option<String>,
    /// Default chat model. `VOCERO_CHAT_MODEL`.
    pub chat_model: Option<String>,
    /// Models that agents may name; empty means what the provider lists.
    #[serde(deserialize_with = "one_or_many")]
    pub allowed_models: Vec<String>,
    /// Embedding model of the provider, or `local:<folder>`; `None` means none: search is lexical.
    /// `VOCERO_EMBEDDING_MODEL`.
    pub embedding_model: Option<String>,
    /// Reranker: `local:<folder>`, `llm` for the chat model, or a model behind `rerank_url`; `None` means none.
    /// `VOCERO_RERANK_MODEL`.
    pub rerank_model: Option<String>,
    /// Address of the reranker up to and including `/v1`; `None` means the provider's. `VOCERO_RERANK_URL`.
    pub rerank_url: Option<ServiceUrl>,
    /// Its key. `VOCERO_RERANK_API_KEY`.
    pub rerank_api_key: Option<SecretString>,
    /// Candidates that are reranked, at most.
    pub rerank_top: usize,
    /// Seconds that reranking may take; afterwards the order without it stands.
    #[serde(deserialize_with = "seconds")]
    pub rerank_timeout: Duration,
    /// Threads that local models run on; 0 means the number of cores.
    pub local_threads: usize,
    /// Seconds to connect.
    #[serde(deserialize_with = "seconds")]
    pub connect_timeout: Duration,
    /// Seconds to the first token.
    #[serde(deserialize_with = "seconds")]
    pub first_token_timeout: Duration,
    /// Seconds between two tokens.
    #[serde(deserialize_with = "seconds")]
    pub idle_timeout: Duration,
    /// Tries before the first token.
    pub max_attempts: u32,
    /// Weight of the dense vectors in the fusion, 0 to 1.
    pub dense_weight: f64,
    /// Models that the shipped catalogue lacks or describes otherwise.
    #[serde(default)]
    pub catalogue: Vec<ModelFacts>,
}

/// What is known of a model.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelFacts {
    /// Its name without a date or tag.
    pub name: String,
    /// Tokens of prompt and answer together.
    pub context: u32,
    /// Most tokens of one answer.
    pub max_output: Option<u32>,
    /// Micro-dollars (US) per million tokens of the prompt; `None` means no price.
    pub input: Option<i64>,
    /// Micro-dollars per million tokens of the prompt that the provider had kept; `None` means `input`.
    pub cached_input: Option<i64>,
    /// Micro-dollars per million tokens of the answer; `None` means no price.
    pub output: Option<i64>,
    /// Whether it takes images.
    #[serde(default)]
    pub sees: bool,
    /// How its tokens are counted.
    pub tokenizer: Option<TokenizerName>,
}

/// An encoding of texts as tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenizerName {
    /// Current OpenAI models; near for others.
    O200k,
    /// GPT-4 and GPT-3.5.
    Cl100k,
}

/// Fetching addresses that users supply.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FetchSettings {
    /// Networks that may be fetched although they are private, on any port. `VOCERO_FETCH_ALLOW`.
    #[serde(deserialize_with = "one_or_many")]
    pub allow: Vec<IpNet>,
    /// Largest body after decompression, in bytes.
    pub max_bytes: usize,
    /// Seconds for one fetch, redirects included.
    #[serde(deserialize_with = "seconds")]
    pub timeout: Duration,
}

/// Ingestion.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IngestSettings {
    /// Largest uploaded file, in bytes.
    pub max_upload_bytes: usize,
    /// Largest file that an operator sends in a conversation, in bytes; `max_upload_bytes` goes for it, too.
    pub max_attachment_bytes: usize,
    /// As `max_attachment_bytes`, for what a visitor sends. Four times as much within an hour.
    pub max_visitor_attachment_bytes: usize,
    /// Jobs at work at once; 0 means twice the number of cores.
    pub workers: usize,
    /// Largest chunk, in tokens.
    pub chunk_tokens: usize,
    /// Tokens that neighbouring chunks share.
    pub chunk_overlap: usize,
    /// Seconds of wall clock for one parser process.
    #[serde(deserialize_with = "seconds")]
    pub parse_timeout: Duration,
}

/// Answers.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentDefaults {
    /// Evidence below which an agent says that it does not know, where it sets none itself, 0 to 1; `None`
    /// means by the number of passages in its datastores.
    pub min_evidence: Option<f64>,
    /// Seconds for one whole turn.
    #[serde(deserialize_with = "seconds")]
    pub turn_timeout: Duration,
    /// Seconds after its end for which the events of a turn that can be rejoined are kept.
    #[serde(deserialize_with = "seconds")]
    pub stream_retention: Duration,
    /// Country that phone numbers without `+` are read in (ISO 3166).
    pub default_country: Option<String>,
    /// Largest image of a message, in bytes.
    pub max_image_bytes: usize,
    /// Times in a turn that a model may call tools and be told what came of it; then it must answer.
    pub tool_rounds: u32,
    /// Seconds from a turn's first call of a tool after which no tool is called any more.
    #[serde(deserialize_with = "seconds")]
    pub tool_timeout: Duration,
    /// Tokens of a turn, of prompts and answers together, after which no tool is called any more.
    pub turn_tokens: u32,
    /// Days that the trace of an answer is kept; 0 keeps none.
    pub trace_retention_days: u32,
}

/// People.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountSettings {
    /// Who may register. `VOCERO_REGISTRATION`.
    pub registration: Registration,
}

/// Who may register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Registration {
    /// Everybody.
    Open,
    /// The first person of the installation, and who is invited.
    Closed,
}

/// Signing in with an account elsewhere: `OpenID` Connect. On when issuer and client id are set.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OidcSettings {
    /// The provider's address, the very text that its tokens name. `VOCERO_OIDC_ISSUER`.
    pub issuer: Option<String>,
    /// What this installation is called there. `VOCERO_OIDC_CLIENT_ID`.
    pub client_id: Option<String>,
    /// What it shows there, unless it is a public client. `VOCERO_OIDC_CLIENT_SECRET`.
    pub client_secret: Option<SecretString>,
}

/// Mails to people.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MailSettings {
    /// `smtp://` or `smtps://`, with user and password where they are needed; without it links are shown instead of sent. `SMTP_URL`.
    pub smtp_url: Option<ServiceUrl>,
    /// Whom mails come from: `Vocero <vocero@example.com>`. `VOCERO_MAIL_FROM`.
    pub from: Option<String>,
    /// Seconds for one mail.
    #[serde(deserialize_with = "seconds")]
    pub timeout: Duration,
}

/// Logs.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSettings {
    /// A `tracing` filter: `info,sqlx=warn`. `VOCERO_LOG`.
    pub filter: String,
    /// Text for people or JSON for machines.
    pub format: LogFormat,
}

/// Traces for a collector that speaks OTLP over HTTP.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TelemetrySettings {
    /// Its address, to which `/v1/traces` is added; `None` exports nothing. `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub otlp_endpoint: Option<ServiceUrl>,
    /// Headers of each request, `name=value` with commas between them, values percent-encoded.
    /// `OTEL_EXPORTER_OTLP_HEADERS`.
    pub otlp_headers: Option<SecretString>,
    /// What the collector knows this installation by. `OTEL_SERVICE_NAME`.
    pub service_name: String,
    /// Whether spans carry what was asked and answered, and what tools were called with and answered.
    pub capture_content: bool,
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let value = f64::deserialize(deserializer)?;
    Duration::try_from_secs_f64(value)
        .map_err(|_| serde::de::Error::custom("expected a number of seconds, 0 or more"))
}

fn address_or_off<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text == "off" {
        return Ok(None);
    }
    let wrong = || serde::de::Error::custom(format!("`{text}`: expected address:port or off"));
    text.parse().map(Some).map_err(|_| wrong())
}

/// A list, or one text with commas, which is how a list arrives from the environment.
fn one_or_many<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: serde::de::DeserializeOwned,
{
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Given {
        Many(Vec<String>),
        One(String),
    }
    let texts = match Given::deserialize(deserializer)? {
        Given::Many(texts) => texts,
        Given::One(text) => text.split(',').map(str::to_owned).collect(),
    };
    let trimmed = texts.iter().map(|text| text.trim()).filter(|text| !text.is_empty());
    trimmed
        .map(|text| {
            let value = serde::de::value::StrDeserializer::<serde::de::value::Error>::new(text);
            T::deserialize(value)
                .map_err(|error| serde::de::Error::custom(format!("`{text}`: {error}")))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_what_opens_it() {
        for (address, shown) in [
            ("http://ollama.local:11434/v1", "http://ollama.local:11434/v1"),
            ("https://user:planted@host/v1", "https://user:***@host/v1"),
            ("https://planted@host/v1", "https://***@host/v1"),
            ("https://host/v1?api-key=planted&x=1#planted", "https://host/v1?api-key=***&x=***"),
            ("s3://bucket/prefix", "s3://bucket/prefix"),
        ] {
            let url: ServiceUrl = address.parse().unwrap();
            assert_eq!(format!("{url:?}"), shown);
            assert_eq!(url.as_str(), address);
        }
    }
}
