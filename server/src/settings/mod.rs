//! The settings of an installation, layered: defaults ← file ← `.env` ← environment ← flags.
//!
//! Each value keeps where it came from, and each is tried on its own, so that every mistake is reported at
//! once, with the file or variable to mend.

mod check;
mod environment;
mod print;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use domain::settings::Settings;
use serde::Deserialize;
use toml::{Table, Value};

pub use environment::{Environment, RESERVED_NAMES};
pub use print::{print_json, print_toml};

/// The commented defaults that ship inside the binary.
pub const DEFAULTS: &str = include_str!("../default.toml");

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The defaults inside the binary.
    Default,
    /// A configuration file.
    File(PathBuf),
    /// A variable of `.env`.
    DotEnv(String),
    /// A variable of the environment.
    Variable(String),
    /// A flag of the command line.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::DotEnv(name) => write!(f, "{name} in .env"),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// Something wrong with a setting, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The setting: `server.listen`.
    pub key: String,
    /// Where the value was given.
    pub origin: Origin,
    /// What is wrong, with the remedy.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (from {}): {}", self.key, self.origin, self.message)
    }
}

/// Settings in force, and where each came from.
#[derive(Clone)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// Where each given key came from; keys that nobody set are absent.
    pub origins: BTreeMap<String, Origin>,
    /// The merged values, for printing.
    pub table: Table,
    /// Variables that begin with `VOCERO_` and mean nothing.
    pub unknown_variables: Vec<String>,
}

impl fmt::Debug for Loaded {
    /// Leaves the table out, which holds secrets as they are.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loaded")
            .field("settings", &self.settings)
            .field("origins", &self.origins)
            .finish_non_exhaustive()
    }
}

impl Loaded {
    /// Whether somebody set the key.
    pub fn is_set(&self, key: &str) -> bool {
        self.origins.get(key).is_some_and(|origin| *origin != Origin::Default)
    }
}

/// Settings with mistakes in them.
#[derive(Debug, thiserror::Error)]
#[error("{}", list(.0))]
pub struct Mistakes(pub Vec<Problem>);

fn list(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(|problem| format!("  {problem}")).collect();
    format!("the settings have mistakes:\n{}", lines.join("\n"))
}

/// What the command line says about settings.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// The configuration file; `vocero.toml` in the working folder when not given, if it is there.
    pub config: Option<PathBuf>,
    /// Overrides `storage.data_dir`.
    pub data_dir: Option<PathBuf>,
    /// Overrides `server.listen`.
    pub listen: Option<String>,
    /// Overrides `log.filter`.
    pub log_filter: Option<String>,
}

/// One value of one layer.
struct Given {
    path: Vec<String>,
    origin: Origin,
    /// Spellings of the value as types, most literal first; a file's value has one.
    candidates: Vec<Value>,
}

impl Given {
    fn key(&self) -> String {
        self.path.join(".")
    }
}

/// Reads every layer; all mistakes are told together.
pub fn load(flags: &Flags, environment: &Environment) -> anyhow::Result<Loaded> {
    let mut table: Table = DEFAULTS.parse().context("the built-in defaults do not parse")?;
    let mut origins = BTreeMap::new();
    collect_keys(&table, &mut Vec::new(), &mut |key| {
        origins.insert(key, Origin::Default);
    });

    let mut problems = Vec::new();
    let mut layers = file_values(flags)?;
    let variables = environment.values(&mut problems);
    layers.extend(variables.given);
    layers.extend(flag_values(flags));
    let defaults = table.clone();
    for given in layers {
        match fitting_value(&defaults, &given) {
            Ok(value) => {
                set(&mut table, &given.path, value);
                origins.insert(given.key(), given.origin);
            }
            Err(message) => {
                problems.push(Problem { key: given.key(), origin: given.origin, message });
            }
        }
    }
    if !problems.is_empty() {
        return Err(Mistakes(problems).into());
    }
    let settings = deserialize(&table).map_err(anyhow::Error::msg)?;
    let loaded = Loaded { settings, origins, table, unknown_variables: variables.unknown };
    let problems = check::check(&loaded);
    if !problems.is_empty() {
        return Err(Mistakes(problems).into());
    }
    Ok(loaded)
}

fn file_values(flags: &Flags) -> anyhow::Result<Vec<Given>> {
    let ordinary = Path::new("vocero.toml");
    let path = match &flags.config {
        Some(path) => path.as_path(),
        None if ordinary.exists() => ordinary,
        None => return Ok(Vec::new()),
    };
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the configuration file {}", path.display()))?;
    let table: Table = text.parse().map_err(|error| invalid_toml(path, &text, &error))?;
    let mut given = Vec::new();
    collect_values(&table, &mut Vec::new(), &mut |keys, value| {
        given.push(Given {
            path: keys.to_vec(),
            origin: Origin::File(path.to_owned()),
            candidates: vec![value.clone()],
        });
    });
    Ok(given)
}

/// Where the file is wrong, without the line itself, which may hold a secret.
fn invalid_toml(path: &Path, text: &str, error: &toml::de::Error) -> anyhow::Error {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let path = path.display();
    anyhow::anyhow!(
        "the configuration file {path} is not valid TOML: line {line}: {}",
        error.message()
    )
}

fn flag_values(flags: &Flags) -> Vec<Given> {
    let data_dir = flags.data_dir.as_ref().map(|path| path.display().to_string());
    let all = [
        ("storage", "data_dir", "--data-dir", data_dir),
        ("server", "listen", "--listen", flags.listen.clone()),
        ("log", "filter", "--verbose", flags.log_filter.clone()),
    ];
    let given = all.into_iter().filter_map(|(section, key, flag, value)| {
        Some(Given {
            path: vec![section.to_owned(), key.to_owned()],
            origin: Origin::Flag(flag),
            candidates: vec![Value::String(value?)],
        })
    });
    given.collect()
}

/// The first spelling of the value that the settings take, tried with everything else at its default.
fn fitting_value(defaults: &Table, given: &Given) -> Result<Value, String> {
    let mut first_message = None;
    for value in &given.candidates {
        let mut table = defaults.clone();
        set(&mut table, &given.path, value.clone());
        match deserialize(&table) {
            Ok(_) => return Ok(value.clone()),
            Err(message) => {
                first_message.get_or_insert(message);
            }
        }
    }
    let message = first_message.unwrap_or_else(|| "has no value".to_owned());
    let key = given.key();
    if !print::may_hold_secret(&key) {
        return Err(message);
    }
    // The parser's message repeats the value.
    Err(if print::is_address(&key) {
        "is no address; give one with its scheme, such as https://host/path".to_owned()
    } else {
        "is not accepted; give a text".to_owned()
    })
}

fn deserialize(table: &Table) -> Result<Settings, String> {
    Settings::deserialize(Value::Table(table.clone())).map_err(|error| {
        let message = error.message().trim_end_matches('.');
        match message.strip_prefix("unknown field") {
            Some(rest) => format!("there is no such setting:{rest}"),
            None => message.to_owned(),
        }
    })
}

fn set(table: &mut Table, path: &[String], value: Value) {
    let Some((key, sections)) = path.split_last() else {
        return;
    };
    let mut at = table;
    for section in sections {
        let entry = at.entry(section.clone()).or_insert_with(|| Value::Table(Table::new()));
        if !entry.is_table() {
            *entry = Value::Table(Table::new());
        }
        let Value::Table(inner) = entry else {
            return;
        };
        at = inner;
    }
    at.insert(key.clone(), value);
}

fn collect_keys(table: &Table, path: &mut Vec<String>, found: &mut dyn FnMut(String)) {
    collect_values(table, path, &mut |keys, _| found(keys.join(".")));
}

fn collect_values(table: &Table, path: &mut Vec<String>, found: &mut dyn FnMut(&[String], &Value)) {
    for (key, value) in table {
        path.push(key.clone());
        match value {
            Value::Table(inner) if path.len() == 1 => collect_values(inner, path, found),
            _ => found(path, value),
        }
        path.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)]) -> anyhow::Result<Loaded> {
        load(&Flags::default(), &Environment::of(variables, &[]))
    }

    fn mistakes(result: anyhow::Result<Loaded>) -> Vec<Problem> {
        result.expect_err("mistakes").downcast::<Mistakes>().expect("mistakes").0
    }

    #[test]
    fn the_defaults_are_whole_and_without_mistakes() {
        let loaded = with(&[]).unwrap();
        assert_eq!(loaded.settings.server.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(loaded.settings.server.rate_limit, 600);
        assert!(loaded.settings.models.openai_api_key.is_none());
        assert!(!loaded.is_set("server.listen"));
    }

    #[test]
    fn short_names_generic_names_and_types_work() {
        let loaded = with(&[
            ("VOCERO_LISTEN", "0.0.0.0:80"),
            ("VOCERO_RATE_LIMIT", "7"),
            ("VOCERO_FETCH_ALLOW", "127.0.0.0/8, 10.0.0.0/8"),
            ("VOCERO_ROLES", "api"),
            ("VOCERO_CHAT_MODEL", "4"),
            ("VOCERO_SERVER__HEADER_TIMEOUT", "0.5"),
            ("VOCERO_SERVER__METRICS_LISTEN", "off"),
            ("VOCERO_MODELS__ALLOWED_MODELS", "a,b"),
            ("QDRANT_URL", ""),
        ])
        .unwrap();
        let server = &loaded.settings.server;
        assert_eq!(server.listen.port(), 80);
        assert_eq!(server.rate_limit, 7);
        assert_eq!(server.header_timeout.as_millis(), 500);
        assert_eq!(server.metrics_listen, None);
        assert_eq!(loaded.settings.fetch.allow.len(), 2);
        assert_eq!(loaded.settings.models.chat_model.as_deref(), Some("4"));
        assert_eq!(loaded.settings.models.allowed_models, ["a", "b"]);
        assert!(loaded.settings.index.qdrant_url.is_none(), "an empty variable is not set");
        assert_eq!(
            loaded.origins["server.rate_limit"],
            Origin::Variable("VOCERO_RATE_LIMIT".to_owned())
        );
    }

    #[test]
    fn the_environment_outranks_dot_env_and_flags_outrank_both() {
        let environment = Environment::of(
            &[("VOCERO_RATE_LIMIT", "2")],
            &[("VOCERO_RATE_LIMIT", "1"), ("VOCERO_LISTEN", "127.0.0.1:1")],
        );
        let flags = Flags { listen: Some("127.0.0.1:2".to_owned()), ..Flags::default() };
        let loaded = load(&flags, &environment).unwrap();
        assert_eq!(loaded.settings.server.rate_limit, 2);
        assert_eq!(loaded.settings.server.listen.port(), 2);
    }

    #[test]
    fn every_mistake_is_told_with_its_place() {
        let problems = mistakes(with(&[
            ("VOCERO_LISTEN", "nowhere"),
            ("VOCERO_SERVER__RATE_LIMT", "7"),
            ("VOCERO_SHOP__NAME", "x"),
            ("VOCERO_ROLES", "cook"),
            ("OPENAI_API_KEY_FILE", "/does/not/exist"),
        ]));
        let text: Vec<String> = problems.iter().map(ToString::to_string).collect();
        let has = |words: &[&str]| {
            assert!(
                text.iter().any(|line| words.iter().all(|word| line.contains(word))),
                "{words:?} in {text:#?}"
            );
        };
        assert_eq!(problems.len(), 5, "{text:#?}");
        has(&["server.listen", "VOCERO_LISTEN"]);
        has(&["server.rate_limt", "no such setting", "VOCERO_SERVER__RATE_LIMT"]);
        has(&["shop.name", "no such setting"]);
        has(&["server.roles", "`cook`"]);
        has(&["models.openai_api_key", "/does/not/exist"]);
    }

    #[test]
    fn values_out_of_range_are_told_too() {
        let problems = mistakes(with(&[
            ("VOCERO_AGENTS__MIN_EVIDENCE", "1.5"),
            ("VOCERO_INGEST__CHUNK_OVERLAP", "5000"),
            ("DATABASE_URL", "mysql://localhost"),
        ]));
        let keys: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(keys, ["storage.database_url", "ingest.chunk_overlap", "agents.min_evidence"]);
    }

    #[test]
    fn a_secret_is_read_from_a_file_and_never_printed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "sk-planted\n").unwrap();
        let path = file.path().to_str().unwrap();
        let loaded = with(&[
            ("OPENAI_API_KEY_FILE", path),
            ("DATABASE_URL", "postgres://user:planted@localhost/db"),
        ])
        .unwrap();
        let key = loaded.settings.models.openai_api_key.as_ref().unwrap();
        assert_eq!(secrecy::ExposeSecret::expose_secret(key), "sk-planted");
        let printed = format!("{}{}{loaded:?}", print_toml(&loaded), print_json(&loaded));
        assert!(printed.contains("postgres://user:***@localhost/db"), "{printed}");
        assert!(!printed.contains("planted"), "{printed}");
    }

    #[test]
    fn a_mistake_is_told_without_the_secret_in_it() {
        let long = "x".repeat(10);
        for (name, value) in [
            ("OPENAI_BASE_URL", "user:planted@host"),
            ("OPENAI_BASE_URL", "http://user:planted@host:99999999/"),
            ("QDRANT_URL", "planted"),
            ("DATABASE_URL", "mysql://user:planted@localhost/db"),
            ("VOCERO_STORAGE__BLOB_URL", "planted"),
            ("VOCERO_MODELS__OPENAI_API_KYE", "planted"),
        ] {
            let problems = mistakes(with(&[(name, value)]));
            let text = format!("{problems:?}{}", Mistakes(problems.clone()));
            assert_eq!(problems.len(), 1, "{text}");
            assert!(!text.contains("planted"), "{text}");
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        let flags = Flags { config: Some(file.path().to_owned()), ..Flags::default() };
        for text in [
            "[models]\nopenai_api_key = \"planted",
            "[models]\nopenai_api_key = planted",
            "[models]\nopenai_api_key = [\"planted\"]",
            "[models]\nopenai_api_key = { planted = 1 }",
            "[models]\nopenai_base_url = \"planted\"",
            "[index]\nqdrant_api_key = \"a\"\nqdrant_api_key = \"planted\"",
        ] {
            std::fs::write(file.path(), format!("# {long}\n{text}\n")).unwrap();
            let error = load(&flags, &Environment::of(&[], &[])).unwrap_err();
            let told = format!("{error:#} {error:?}");
            assert!(!told.contains("planted"), "{told}");
        }
        let environment = Environment::of(&[("OPENAI_API_KEY", "planted")], &[]);
        assert!(!format!("{environment:?}").contains("planted"));
    }
}
