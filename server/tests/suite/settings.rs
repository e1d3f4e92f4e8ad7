//! Settings from outside: files, variables, `.env`, flags.

use std::fs;

use serde_json::Value;

use crate::vocero::Installation;

#[test]
fn every_mistake_is_reported_with_its_place_and_remedy() {
    let installation = Installation::new()
        .with("VOCERO_LISTEN", "nowhere")
        .with("VOCERO_SERVER__COLOUR", "blue")
        .with("DATABASE_URL", "mysql://localhost/x");
    fs::write(
        installation.folder().join("vocero.toml"),
        "[agents]\nmin_evidence = \"much\"\n[servr]\nlisten = \"127.0.0.1:1\"\n",
    )
    .expect("a file");
    let output = installation.run(&["config", "check", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let problems = report["problems"].as_array().expect("problems");
    let at = |key: &str| {
        let found = problems.iter().find(|problem| problem["key"] == key);
        let problem = found.unwrap_or_else(|| panic!("{key} in {report}"));
        (problem["origin"].as_str().expect("text"), problem["message"].as_str().expect("text"))
    };
    assert_eq!(at("server.listen").0, "VOCERO_LISTEN");
    assert!(at("server.colour").1.contains("no such setting"));
    assert_eq!(at("agents.min_evidence").0, "vocero.toml");
    assert!(at("servr.listen").1.contains("servr"));

    let message = installation.failure(&["serve"]);
    assert!(message.contains("VOCERO_LISTEN") && message.contains("vocero.toml"), "{message}");
}

#[test]
fn a_wrong_value_of_the_right_type_is_reported_too() {
    let message = Installation::new()
        .with("DATABASE_URL", "mysql://localhost/x")
        .failure(&["config", "check"]);
    assert!(message.contains("storage.database_url (from DATABASE_URL)"), "{message}");
    assert!(message.contains("postgres://"), "{message}");
}

#[test]
fn the_layers_outrank_each_other_in_order_and_print_tells_which_won() {
    let installation = Installation::new().without("VOCERO_LOG");
    let folder = installation.folder();
    fs::write(
        folder.join("vocero.toml"),
        "[server]\nrate_limit = 1\nmax_connections = 11\n[log]\nfilter = \"info\"\n",
    )
    .expect("a file");
    fs::write(folder.join(".env"), "VOCERO_RATE_LIMIT=2\nVOCERO_LOG=debug\n").expect("a file");
    let installation = installation.with("VOCERO_RATE_LIMIT", "3");
    let printed = installation.json(&["config", "print", "--data-dir", "elsewhere"]);
    let at = |key: &str| (printed[key]["value"].clone(), printed[key]["origin"].as_str());
    assert_eq!(at("server.rate_limit"), (3.into(), Some("VOCERO_RATE_LIMIT")));
    assert_eq!(at("server.max_connections"), (11.into(), Some("vocero.toml")));
    assert_eq!(at("log.filter"), ("debug".into(), Some("VOCERO_LOG in .env")));
    assert_eq!(at("storage.data_dir"), ("elsewhere".into(), Some("--data-dir")));
    assert_eq!(at("ingest.workers"), (0.into(), Some("default")));
}

#[test]
fn secrets_are_never_printed() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("key");
    fs::write(&file, "sk-planted-1\n").expect("a file");
    let installation = Installation::new()
        .with("OPENAI_API_KEY_FILE", file.to_str().expect("a path"))
        .with("QDRANT_API_KEY", "planted-2")
        .with("DATABASE_URL", "postgres://vocero:planted-3@127.0.0.1:1/vocero");
    for arguments in
        [&["config", "print"][..], &["config", "print", "--json"], &["config", "check"]]
    {
        let text = installation.text(arguments);
        assert!(!text.contains("planted"), "{arguments:?}: {text}");
    }
    let output = installation.run(&["-vv", "init"]);
    assert!(!output.status.success(), "there is no database there");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("DATABASE_URL") && !text.contains("planted"), "{text}");
}

#[test]
fn the_shipped_defaults_are_a_file_that_is_taken_as_it_is() {
    let installation = Installation::new();
    let defaults = include_str!("../../src/default.toml");
    fs::write(installation.folder().join("mine.toml"), defaults).expect("a file");
    installation.text(&["config", "check", "--config", "mine.toml"]);
}

#[test]
fn doctor_reports_what_is_set_without_effect() {
    let installation = Installation::new()
        .with("VOCERO_CHAT_MODEL", "gpt-4o")
        .with("STRIPE_SECRET_KEY", "x")
        .with("QDRANT_API_KEY", "x")
        .with("VOCERO_LISTN", "typo");
    let report = installation.json(&["doctor"]);
    let text = report.to_string();
    for name in [
        "VOCERO_CHAT_MODEL",
        "STRIPE_SECRET_KEY",
        "QDRANT_API_KEY",
        "VOCERO_LISTN",
        "pdftotext",
        "tesseract",
    ] {
        assert!(text.contains(name), "{name} in {text}");
    }
    assert_eq!(report["ok"], true);
}

#[test]
fn doctor_fails_when_the_provider_cannot_be_reached() {
    let installation = Installation::new().with("OPENAI_BASE_URL", "http://127.0.0.1:1/v1");
    let output = installation.run(&["doctor", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let findings = report["findings"].as_array().expect("findings");
    let model = findings.iter().find(|finding| finding["what"] == "chat model").expect("the model");
    assert_eq!(model["verdict"], "fail", "{report}");
}

#[test]
fn models_are_added_to_the_catalogue_and_checked() {
    let installation = Installation::new();
    let file = installation.folder().join("vocero.toml");
    let entry = "[[models.catalogue]]\nname = \"casa\"\ncontext = 32768\ninput = 150000\n";
    fs::write(&file, format!("{entry}output = 600000\nsees = true\n")).expect("a file");
    let printed = installation.json(&["config", "print"]);
    assert_eq!(printed["models.catalogue"]["value"][0]["name"], "casa");
    assert_eq!(printed["models.catalogue"]["origin"], "vocero.toml");
    fs::write(&file, entry).expect("a file");
    let message = installation.failure(&["config", "check"]);
    assert!(message.contains("models.catalogue (from vocero.toml)"), "{message}");
    assert!(message.contains("`input` and `output` together"), "{message}");
    fs::write(&file, format!("{entry}outputt = 1\n")).expect("a file");
    let message = installation.failure(&["config", "check"]);
    assert!(message.contains("models.catalogue") && message.contains("outputt"), "{message}");
}
