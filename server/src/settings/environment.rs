//! Settings from environment variables and `.env`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use anyhow::{Context, bail};
use toml::Value;

use super::{Given, Origin, Problem};

/// Names that others rely on, and the settings behind them.
const SHORT_NAMES: [(&str, &str, &str); 27] = [
    ("VOCERO_LISTEN", "server", "listen"),
    ("VOCERO_PUBLIC_URL", "server", "public_url"),
    ("VOCERO_ROLES", "server", "roles"),
    ("VOCERO_RATE_LIMIT", "server", "rate_limit"),
    ("VOCERO_DATA_DIR", "storage", "data_dir"),
    ("DATABASE_URL", "storage", "database_url"),
    ("VOCERO_VAULT_KEY", "storage", "vault_key"),
    ("QDRANT_URL", "index", "qdrant_url"),
    ("QDRANT_API_KEY", "index", "qdrant_api_key"),
    ("OPENAI_API_KEY", "models", "openai_api_key"),
    ("OPENAI_BASE_URL", "models", "openai_base_url"),
    ("VOCERO_CHAT_MODEL", "models", "chat_model"),
    ("VOCERO_EMBEDDING_MODEL", "models", "embedding_model"),
    ("VOCERO_RERANK_MODEL", "models", "rerank_model"),
    ("VOCERO_RERANK_URL", "models", "rerank_url"),
    ("VOCERO_RERANK_API_KEY", "models", "rerank_api_key"),
    ("VOCERO_FETCH_ALLOW", "fetch", "allow"),
    ("VOCERO_REGISTRATION", "accounts", "registration"),
    ("SMTP_URL", "mail", "smtp_url"),
    ("VOCERO_MAIL_FROM", "mail", "from"),
    ("VOCERO_OIDC_ISSUER", "oidc", "issuer"),
    ("VOCERO_OIDC_CLIENT_ID", "oidc", "client_id"),
    ("VOCERO_OIDC_CLIENT_SECRET", "oidc", "client_secret"),
    ("VOCERO_LOG", "log", "filter"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "telemetry", "otlp_endpoint"),
    ("OTEL_EXPORTER_OTLP_HEADERS", "telemetry", "otlp_headers"),
    ("OTEL_SERVICE_NAME", "telemetry", "service_name"),
];

/// Names that are kept for providers which this version does not have; `vocero doctor` tells when one is set.
pub const RESERVED_NAMES: [&str; 5] = [
    "STRIPE_SECRET_KEY",
    "STRIPE_WEBHOOK_SECRET",
    "META_APP_SECRET",
    "META_VERIFY_TOKEN",
    "META_GRAPH_URL",
];

/// Names that begin with `VOCERO_` and are no settings: the command line's own, and those of the tests.
const OTHER_NAMES: [&str; 4] =
    ["VOCERO_URL", "VOCERO_API_KEY", "VOCERO_CONFIG", "VOCERO_EVAL_DATA"];
const OTHER_PREFIXES: [&str; 2] = ["VOCERO_TEST_", "VOCERO_BENCH_"];

/// The variables of the process and of `.env`.
#[derive(Clone, Default)]
pub struct Environment {
    process: BTreeMap<String, String>,
    dot_env: BTreeMap<String, String>,
}

impl fmt::Debug for Environment {
    /// Leaves the values out, which hold secrets as they are.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment")
            .field("process", &self.process.keys())
            .field("dot_env", &self.dot_env.keys())
            .finish()
    }
}

/// What the variables say.
pub(super) struct Values {
    pub given: Vec<Given>,
    pub unknown: Vec<String>,
}

impl Environment {
    /// Of this process, with the `.env` of the working folder.
    pub fn read() -> anyhow::Result<Self> {
        let process = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let path = Path::new(".env");
        let mut dot_env = BTreeMap::new();
        if path.exists() {
            let mut last = "its beginning".to_owned();
            for pair in dotenvy::from_path_iter(path).context("cannot read .env")? {
                // The cause would show the line, which may hold a secret.
                let Ok((name, value)) = pair else {
                    bail!(
                        "the line of .env after {last} is not NAME=value; put quotes around a value with spaces or #"
                    );
                };
                last.clone_from(&name);
                dot_env.insert(name, value);
            }
        }
        Ok(Self { process, dot_env })
    }

    /// Of the given variables.
    #[cfg(test)]
    pub fn of(process: &[(&str, &str)], dot_env: &[(&str, &str)]) -> Self {
        let map = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
        };
        Self { process: map(process), dot_env: map(dot_env) }
    }

    /// The value of a variable that is set and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        let value = self.process.get(name).or_else(|| self.dot_env.get(name))?;
        (!value.is_empty()).then_some(value)
    }

    /// The settings in it: `.env` first, so that the process's own variables outrank it.
    pub(super) fn values(&self, problems: &mut Vec<Problem>) -> Values {
        let mut values = Values { given: Vec::new(), unknown: Vec::new() };
        for (variables, is_file) in [(&self.dot_env, true), (&self.process, false)] {
            let mut short = Vec::new();
            for (name, value) in variables.iter().filter(|(_, value)| !value.is_empty()) {
                let Some((path, from_file, generic)) = meaning(name) else {
                    if is_unknown(name) {
                        values.unknown.push(name.clone());
                    }
                    continue;
                };
                let origin = if is_file {
                    Origin::DotEnv(name.clone())
                } else {
                    Origin::Variable(name.clone())
                };
                let both = name.strip_suffix("_FILE").is_some_and(|plain| {
                    from_file && variables.get(plain).is_some_and(|value| !value.is_empty())
                });
                let text = if both {
                    Err(format!("set it with or without _FILE, not both: {name}"))
                } else if from_file {
                    read_value(value)
                } else {
                    Ok(value.clone())
                };
                match text {
                    Ok(text) => {
                        let candidates = candidates(&text);
                        let given = Given { path, origin, candidates };
                        if generic { values.given.push(given) } else { short.push(given) }
                    }
                    Err(message) => {
                        problems.push(Problem { key: path.join("."), origin, message });
                    }
                }
            }
            // Where both spellings of one setting are given, the short one counts.
            values.given.extend(short);
        }
        values
    }
}

/// The setting behind a variable, whether its value is read from a file, and whether the name is generic.
fn meaning(name: &str) -> Option<(Vec<String>, bool, bool)> {
    for (plain, from_file) in [(Some(name), false), (name.strip_suffix("_FILE"), true)] {
        let found = SHORT_NAMES.iter().find(|(short, _, _)| Some(*short) == plain);
        if let Some((_, section, key)) = found {
            return Some((vec![(*section).to_owned(), (*key).to_owned()], from_file, false));
        }
    }
    let generic = name.strip_prefix("VOCERO_")?.to_lowercase();
    let (section, key) = generic.split_once("__")?;
    let (key, from_file) = match key.strip_suffix("_file") {
        Some(plain) => (plain, true),
        None => (key, false),
    };
    Some((vec![section.to_owned(), key.to_owned()], from_file, true))
}

fn is_unknown(name: &str) -> bool {
    name.starts_with("VOCERO_")
        && !OTHER_NAMES.contains(&name)
        && !OTHER_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

fn read_value(path: &str) -> Result<String, String> {
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("cannot read {path}: {error}"))?;
    let value = text.trim();
    if value.is_empty() {
        return Err(format!("{path} is empty"));
    }
    Ok(value.to_owned())
}

/// What a text may mean; a name such as `4` stays a text where a text is wanted.
fn candidates(text: &str) -> Vec<Value> {
    let mut candidates = vec![Value::String(text.to_owned())];
    candidates.extend(text.parse().ok().map(Value::Integer));
    candidates.extend(text.parse().ok().map(Value::Float));
    candidates.extend(text.parse().ok().map(Value::Boolean));
    candidates
}
