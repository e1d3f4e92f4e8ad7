//! What types alone do not tell.

use std::time::Duration;

use domain::Vault;
use domain::settings::{ModelFacts, Settings};
use models::local;
use secrecy::ExposeSecret;
use tracing_subscriber::EnvFilter;
use url::Url;

use super::{Loaded, Origin, Problem};
use crate::spans;

/// Whether a value is wrong, its key, and the remedy.
type Rule = (bool, &'static str, &'static str);

const HTTP: &str = "give an address that begins with http:// or https://";
const ONE: &str = "give at least 1";
/// Longest retention.
const MOST_DAYS: u32 = 36_500;
const UNIT: &str = "give a number from 0 to 1";

/// Every value that is of the right type and wrong nevertheless.
pub(super) fn check(loaded: &Loaded) -> Vec<Problem> {
    let settings = &loaded.settings;
    let rules = [
        server_rules(settings),
        storage_rules(settings),
        model_rules(settings),
        work_rules(settings),
        people_rules(settings),
        telemetry_rules(settings),
        time_rules(settings),
    ];
    let broken = rules.into_iter().flatten().filter(|(wrong, _, _)| *wrong);
    let problems = broken.map(|(_, key, message)| Problem {
        key: key.to_owned(),
        origin: loaded.origins.get(key).cloned().unwrap_or(Origin::Default),
        message: message.to_owned(),
    });
    problems.collect()
}

fn server_rules(settings: &Settings) -> Vec<Rule> {
    let server = &settings.server;
    vec![
        (is_not_http(server.public_url.as_ref()), "server.public_url", HTTP),
        (server.roles.is_empty(), "server.roles", "give `api`, `worker` or both"),
        (server.max_connections == 0, "server.max_connections", ONE),
        (server.max_json_bytes < 1_024, "server.max_json_bytes", "give at least 1024 bytes"),
        (
            EnvFilter::try_new(&settings.log.filter).is_err(),
            "log.filter",
            "give a filter such as info or info,sqlx=warn",
        ),
    ]
}

fn storage_rules(settings: &Settings) -> Vec<Rule> {
    let storage = &settings.storage;
    let database = storage.database_url.as_ref().map(ExposeSecret::expose_secret);
    let known = ["sqlite:", "postgres://", "postgresql://"];
    vec![
        (
            database.is_some_and(|url| !known.iter().any(|scheme| url.starts_with(scheme))),
            "storage.database_url",
            "give sqlite:<path> or postgres://user:password@host/name",
        ),
        (storage.max_connections == 0, "storage.max_connections", ONE),
        (
            storage
                .vault_key
                .as_ref()
                .is_some_and(|key| Vault::parse(key.expose_secret()).is_err()),
            "storage.vault_key",
            "give 64 hexadecimal digits, for example from `openssl rand -hex 32`",
        ),
        (
            storage.blob_url.as_ref().is_some_and(|url| url.scheme() != "s3"),
            "storage.blob_url",
            "give s3://bucket/prefix, or leave it out for the data folder",
        ),
        (is_not_http(settings.index.qdrant_url.as_deref()), "index.qdrant_url", HTTP),
    ]
}

fn model_rules(settings: &Settings) -> Vec<Rule> {
    let models = &settings.models;
    vec![
        (is_not_http(models.openai_base_url.as_deref()), "models.openai_base_url", HTTP),
        (
            models.embedding_model.as_deref().is_some_and(is_no_folder),
            "models.embedding_model",
            "there is no such folder; give local:<folder of a sentence-transformers model>",
        ),
        (
            models.rerank_model.as_deref().is_some_and(is_no_folder),
            "models.rerank_model",
            "there is no such folder; give local:<folder of a cross-encoder>",
        ),
        (is_not_http(models.rerank_url.as_deref()), "models.rerank_url", HTTP),
        (!(1..=100).contains(&models.rerank_top), "models.rerank_top", "give 1 to 100"),
        (models.max_attempts == 0, "models.max_attempts", ONE),
        (
            !models.catalogue.iter().all(is_sound),
            "models.catalogue",
            "give each model a name, a context of at least 1 token, and prices of 0 or more, `input` and `output` together",
        ),
        (!(0.0..=1.0).contains(&models.dense_weight), "models.dense_weight", UNIT),
    ]
}

fn is_sound(facts: &ModelFacts) -> bool {
    let prices = [facts.input, facts.cached_input, facts.output];
    !facts.name.trim().is_empty()
        && facts.context > 0
        && facts.input.is_some() == facts.output.is_some()
        && prices.into_iter().flatten().all(|price| price >= 0)
}

fn work_rules(settings: &Settings) -> Vec<Rule> {
    let (ingest, agents) = (&settings.ingest, &settings.agents);
    let is_country = |code: &str| code.len() == 2 && code.bytes().all(|b| b.is_ascii_uppercase());
    vec![
        (settings.fetch.max_bytes == 0, "fetch.max_bytes", ONE),
        (ingest.max_upload_bytes == 0, "ingest.max_upload_bytes", ONE),
        (ingest.max_attachment_bytes == 0, "ingest.max_attachment_bytes", ONE),
        (ingest.max_visitor_attachment_bytes == 0, "ingest.max_visitor_attachment_bytes", ONE),
        (ingest.chunk_tokens < 16, "ingest.chunk_tokens", "give at least 16 tokens"),
        (
            ingest.chunk_overlap >= ingest.chunk_tokens,
            "ingest.chunk_overlap",
            "give less than ingest.chunk_tokens",
        ),
        (
            agents.min_evidence.is_some_and(|evidence| !(0.0..=1.0).contains(&evidence)),
            "agents.min_evidence",
            UNIT,
        ),
        (agents.max_image_bytes == 0, "agents.max_image_bytes", ONE),
        (
            agents.default_country.as_deref().is_some_and(|code| !is_country(code)),
            "agents.default_country",
            "give two capital letters such as AR",
        ),
    ]
}

fn people_rules(settings: &Settings) -> Vec<Rule> {
    let (mail, oidc) = (&settings.mail, &settings.oidc);
    let issuer = oidc.issuer.as_deref().map(Url::parse);
    let is_http = |url: &Url| matches!(url.scheme(), "http" | "https");
    let scheme = mail.smtp_url.as_ref().map(|url| url.scheme());
    vec![
        (
            scheme.is_some_and(|scheme| !matches!(scheme, "smtp" | "smtps")),
            "mail.smtp_url",
            "give an address that begins with smtp:// or smtps://",
        ),
        (
            scheme.is_some() && mail.from.is_none(),
            "mail.from",
            "give whom mails come from, such as Vocero <vocero@example.com>",
        ),
        (issuer.is_some_and(|issuer| !issuer.as_ref().is_ok_and(is_http)), "oidc.issuer", HTTP),
        (
            oidc.issuer.is_some() != oidc.client_id.is_some(),
            "oidc.client_id",
            "give oidc.issuer and oidc.client_id together",
        ),
        (
            mail.from.as_ref().is_some_and(|from| !from.contains('@')),
            "mail.from",
            "give an address, such as Vocero <vocero@example.com>",
        ),
    ]
}

fn telemetry_rules(settings: &Settings) -> Vec<Rule> {
    let telemetry = &settings.telemetry;
    let headers = telemetry.otlp_headers.as_ref().map(ExposeSecret::expose_secret);
    vec![
        (is_not_http(telemetry.otlp_endpoint.as_deref()), "telemetry.otlp_endpoint", HTTP),
        (
            headers.is_some_and(|headers| spans::headers(headers).is_none()),
            "telemetry.otlp_headers",
            "give name=value, several with commas between them, values percent-encoded",
        ),
        (telemetry.service_name.trim().is_empty(), "telemetry.service_name", "give a name"),
        (
            settings.agents.trace_retention_days > MOST_DAYS,
            "agents.trace_retention_days",
            "give at most 36500 days; 0 keeps none",
        ),
    ]
}

fn time_rules(settings: &Settings) -> Vec<Rule> {
    let times = [
        ("server.header_timeout", settings.server.header_timeout),
        ("models.rerank_timeout", settings.models.rerank_timeout),
        ("models.connect_timeout", settings.models.connect_timeout),
        ("models.first_token_timeout", settings.models.first_token_timeout),
        ("models.idle_timeout", settings.models.idle_timeout),
        ("fetch.timeout", settings.fetch.timeout),
        ("ingest.parse_timeout", settings.ingest.parse_timeout),
        ("mail.timeout", settings.mail.timeout),
        ("agents.turn_timeout", settings.agents.turn_timeout),
        ("agents.stream_retention", settings.agents.stream_retention),
        ("agents.tool_timeout", settings.agents.tool_timeout),
    ];
    times
        .into_iter()
        .map(|(key, time)| (time == Duration::ZERO, key, "give more than 0 seconds"))
        .collect()
}

fn is_no_folder(model: &str) -> bool {
    local::folder_of(model).is_some_and(|folder| !folder.is_dir())
}

fn is_not_http(url: Option<&Url>) -> bool {
    url.is_some_and(|url| !matches!(url.scheme(), "http" | "https"))
}
