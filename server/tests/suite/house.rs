//! The invariants of the house: which room may use which, and who may say what.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

/// Each room and the rooms that it may use.
const MAY_USE: [(&str, &[&str]); 14] = [
    ("domain", &[]),
    ("migrations", &[]),
    ("storage", &["migrations", "domain"]),
    ("accounts", &["jobs", "storage", "domain"]),
    ("models", &["domain"]),
    ("jobs", &["storage", "domain"]),
    ("retrieval", &["models", "storage", "domain"]),
    ("fetch", &["domain"]),
    ("ingest", &["retrieval", "models", "jobs", "storage", "fetch", "domain"]),
    ("agents", &["retrieval", "models", "jobs", "storage", "fetch", "domain"]),
    ("evals", &["agents", "retrieval", "models", "jobs", "storage", "domain"]),
    (
        "api",
        &[
            "accounts",
            "agents",
            "evals",
            "ingest",
            "retrieval",
            "models",
            "jobs",
            "storage",
            "domain",
        ],
    ),
    (
        "server",
        &[
            "accounts",
            "api",
            "evals",
            "ingest",
            "agents",
            "jobs",
            "storage",
            "models",
            "retrieval",
            "fetch",
            "domain",
        ],
    ),
    ("testkit", &["storage", "domain", "models"]),
];

/// External crates and the rooms that alone may use them.
const RESERVED: [(&str, &[&str]); 14] = [
    ("argon2", &["accounts"]),
    ("jsonwebtoken", &["accounts"]),
    ("lettre", &["accounts"]),
    ("openidconnect", &["accounts"]),
    ("totp-rs", &["accounts"]),
    ("sqlx", &["storage", "migrations", "testkit"]),
    ("qdrant-edge", &["retrieval"]),
    ("qdrant-client", &["retrieval"]),
    ("tantivy", &["retrieval"]),
    ("async-openai", &["models"]),
    ("axum", &["api", "server", "testkit"]),
    ("rmcp", &["agents", "api"]),
    ("utoipa", &["api"]),
    ("object_store", &["storage"]),
];

/// Words and the rooms whose sources alone may hold them.
const WORDS: [(&str, &[&str]); 6] = [
    ("sqlx::", &["storage", "migrations", "testkit"]),
    ("qdrant_client", &["retrieval"]),
    ("qdrant_edge", &["retrieval"]),
    ("tantivy::", &["retrieval"]),
    ("async_openai", &["models"]),
    ("IntoResponse", &["api", "server", "testkit"]),
];

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .exec()
        .expect("cargo describes the workspace")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// What each room depends on outside its tests.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = metadata();
    let rooms = metadata.packages.iter().map(|package| {
        let used = package.dependencies.iter();
        let used = used.filter(|used| used.kind != DependencyKind::Development);
        (package.name.to_string(), used.map(|used| used.name.clone()).collect())
    });
    rooms.collect()
}

#[test]
fn arrows_between_rooms_point_down_only() {
    let may_use: BTreeMap<&str, &[&str]> = MAY_USE.into_iter().collect();
    for (room, used) in dependencies() {
        let Some(allowed) = may_use.get(room.as_str()) else {
            continue;
        };
        for other in used.iter().filter(|other| may_use.contains_key(other.as_str())) {
            assert!(allowed.contains(&other.as_str()), "{room} may not use {other}");
        }
    }
}

#[test]
fn every_room_of_the_picture_is_there() {
    let rooms = dependencies();
    for (room, _) in MAY_USE {
        assert!(rooms.contains_key(room), "{room}");
    }
}

#[test]
fn reserved_crates_are_used_by_their_rooms_only() {
    for (room, used) in dependencies() {
        for (name, rooms) in RESERVED {
            let uses_it = used.contains(name) && MAY_USE.iter().any(|(known, _)| *known == room);
            assert!(!uses_it || rooms.contains(&room.as_str()), "{room} may not use {name}");
        }
    }
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = walkdir::WalkDir::new(folder).into_iter().flatten();
    let files = entries.map(walkdir::DirEntry::into_path);
    files.filter(|path| path.extension().is_some_and(|ending| ending == "rs")).collect()
}

#[test]
fn reserved_words_stay_in_their_rooms() {
    let mut seen = 0;
    for (room, _) in MAY_USE {
        for path in sources(&root().join(room).join("src")) {
            let text = fs::read_to_string(&path).expect("a source");
            seen += 1;
            for (word, rooms) in WORDS {
                let says_it = text
                    .lines()
                    .any(|line| line.contains(word) && !line.trim_start().starts_with("//"));
                assert!(!says_it || rooms.contains(&room), "{} says {word}", path.display());
            }
        }
    }
    assert!(seen > 50, "the sources were found: {seen}");
}

/// What makes an error that clients see; its code is the next text.
const MAKERS: [&str; 6] = [
    "DomainError::new(",
    "DomainError::conflict(",
    "DomainError::unavailable(",
    "Self::conflict(",
    "Self::unavailable(",
    "Error::refused(",
];

/// Longest way from a maker to its code, in bytes.
const NEAR: usize = 120;

#[test]
fn the_table_of_errors_has_every_code_and_no_other() {
    let design = fs::read_to_string(root().join("docs/API-DESIGN.md")).expect("the design");
    let rows = design.lines().filter(|line| line.starts_with("| 4") || line.starts_with("| 5"));
    let cells = rows.filter_map(|row| row.split('|').nth(2));
    let told: BTreeSet<&str> = cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .filter(|code| is_code(code))
        .collect();
    assert!(told.len() > 50, "the table was found: {}", told.len());
    let mut everything = String::new();
    for (room, _) in MAY_USE.iter().filter(|(room, _)| *room != "testkit") {
        for path in sources(&root().join(room).join("src")) {
            let text = fs::read_to_string(&path).expect("a source");
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            for maker in MAKERS {
                for (at, _) in code.match_indices(maker) {
                    let rest = code[at + maker.len()..].split(';').next().unwrap_or_default();
                    let near = rest.char_indices().take_while(|(at, _)| *at < NEAR).map(|(_, c)| c);
                    let near: String = near.collect();
                    let mut pieces = near.split('"').skip(1);
                    if let (Some(made), Some(_)) = (pieces.next(), pieces.next())
                        && is_code(made)
                    {
                        assert!(told.contains(made), "{} makes {made}", path.display());
                    }
                }
            }
            everything.push_str(code);
        }
    }
    for code in told {
        assert!(everything.contains(&format!("\"{code}\"")), "nothing makes {code}");
    }
}

fn is_code(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    text.len() > 3 && text.chars().all(is_plain)
}

/// A test's own clients are its own business; the product has these four.
#[test]
fn http_clients_are_made_in_four_places_only() {
    let allowed =
        ["fetch/src/client.rs", "models/src/", "server/src/client.rs", "accounts/src/oidc.rs"];
    for (room, _) in MAY_USE.iter().filter(|(room, _)| *room != "testkit") {
        for path in sources(&root().join(room).join("src")) {
            let text = fs::read_to_string(&path).expect("a source");
            let makes_one = ["Client::builder()", "Client::new()", "ClientBuilder::new()"]
                .iter()
                .any(|call| text.contains(&format!("reqwest::{call}")));
            let name = path.strip_prefix(root()).expect("in the workspace").display().to_string();
            let is_allowed = allowed.iter().any(|place| name.starts_with(place));
            assert!(!makes_one || is_allowed, "{name} makes an HTTP client");
        }
    }
}

/// Every storage function names the tenant: it takes the workspace, or an object that carries it.
#[test]
#[expect(clippy::too_many_lines, reason = "a list of names, each with its reason")]
fn storage_functions_take_the_workspace() {
    // The queue is claimed across tenants, a key names its own, the list of tenants has none, a process that dies
    // held turns of all of them, and what is past its retention is removed whosesoever it is.
    let exempt = [
        "api_keys::find_by_hash",
        "attachments::delete_unused",
        "citations::delete_uncited",
        "contacts::index_missing",
        "budgets::delete_older",
        "conversations::free_turns",
        "events::delete_older",
        "gaps::delete_empty_groups",
        "jobs::claim",
        "jobs::counts",
        "jobs::delete_older",
        "jobs::expire_leases",
        "jobs::finish",
        "jobs::heartbeat",
        "jobs::holds",
        "jobs::next_due",
        "messages::delete_traces",
        "projects::lets_in",
        "streams::abandon",
        "streams::prolong",
        "streams::sweep",
        "workspaces::by_code",
        "workspaces::closing",
        "workspaces::create",
        "workspaces::first",
        "workspaces::list",
        // People belong to no workspace; the token of an invitation names its own.
        "identities::insert",
        "identities::insert_request",
        "identities::take_request",
        "identities::user",
        "invitations::by_hash",
        "links::by_hash",
        "links::delete_older",
        "links::end",
        "links::get",
        "links::insert",
        "links::take",
        "members::of_user",
        "second_factors::all",
        "second_factors::confirm",
        "second_factors::end_challenges",
        "second_factors::get",
        "second_factors::guess",
        "second_factors::hold",
        "second_factors::insert_challenge",
        "second_factors::put_recovery_codes",
        "second_factors::remove",
        "second_factors::replace",
        "second_factors::set_up",
        "second_factors::take_recovery_code",
        "second_factors::take_step",
        "sessions::by_refresh_token",
        "sessions::get",
        "sessions::give_token",
        "sessions::insert",
        "sessions::list",
        "sessions::renew",
        "sessions::revoke",
        "sessions::revoke_others",
        "users::by_email",
        "users::get",
        "users::insert",
        "users::none_yet",
        "users::set_password",
        "users::verify",
    ];
    // Rows that carry their workspace.
    let carriers = [
        "WorkspaceId",
        "&Agent",
        "&Article",
        "&ApiKey",
        "&AuditEntry",
        "&Datastore",
        "&Source",
        "&[Chunk]",
        "&Conversation",
        ": Held",
    ];
    let mut checked = 0;
    let mut wrong = Vec::new();
    for path in sources(&root().join("storage/src")) {
        let relative = path.strip_prefix(root().join("storage/src")).expect("in storage");
        let module = relative
            .components()
            .next()
            .map(|part| part.as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned());
        let module = module.unwrap_or_default();
        if ["db", "sql", "lib", "error", "compress", "blobs"].contains(&module.as_str()) {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a source");
        for signature in text.split("\npub async fn ").skip(1) {
            let signature = signature.split('{').next().unwrap_or_default();
            let name = signature.split(['(', '<']).next().unwrap_or_default();
            let name = format!("{module}::{name}");
            let takes_it = carriers.iter().any(|carrier| signature.contains(carrier));
            checked += 1;
            if !takes_it && !exempt.contains(&name.as_str()) {
                wrong.push(name);
            }
        }
    }
    assert!(checked > 50, "the functions were found: {checked}");
    assert!(wrong.is_empty(), "these take no workspace: {wrong:?}");
}
