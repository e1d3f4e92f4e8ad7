//! What a newcomer sees.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use crate::vocero::{Installation, Server, events, paste};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

/// Runs the three printed lines in order, one right after the other.
fn run_the_lines(server: &Server) {
    let lines = server.curl_lines();
    let added: Value = serde_json::from_str(&paste(lines[0])).expect("JSON");
    assert_eq!(added["status"], "ready", "{added}");
    assert!(added["id"].as_str().expect("an id").starts_with("src_"));

    let found: Value = serde_json::from_str(&paste(lines[1])).expect("JSON");
    let first = &found["results"][0];
    assert!(first["content"].as_str().expect("a passage").contains("9 a 18"), "{found}");
    assert_eq!(first["source"]["name"], "Horarios");

    let events = events(&paste(lines[2]));
    let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names[0], "source");
    assert_eq!(names.last(), Some(&"done"));
    let tokens = events.iter().filter(|(name, _)| name == "token");
    let joined: String = tokens.map(|(_, data)| data["text"].as_str().expect("a text")).collect();
    let (_, done) = events.last().expect("done");
    assert_eq!(done["answer"], joined);
    assert!(joined.contains("9 a 18"), "{joined}");
    assert_eq!(done["sources"][0]["source"], "Horarios");
}

#[test]
fn the_first_start_prints_three_lines_that_work_when_pasted() {
    for installation in Installation::on_each_database("the first start") {
        let server = installation.serve();
        assert!(server.url.starts_with("http://127.0.0.1:"), "{}", server.url);
        run_the_lines(&server);

        let key = fs::read_to_string(installation.data().join("keys/api-key")).expect("the key");
        let is_printed = server.greeting.iter().any(|line| line.ends_with(key.trim()));
        assert!(is_printed, "the key is printed");
        assert_eq!(mode(&installation.data()), 0o700);
        assert_eq!(mode(&installation.data().join("keys/api-key")), 0o600);
        let has_file = installation.data().join("vocero.db").exists();
        assert_eq!(has_file, installation.database == "sqlite");
        server.stop();
    }
}

#[test]
fn later_starts_print_lines_that_work_and_do_not_print_the_key() {
    for installation in Installation::on_each_database("later starts") {
        installation.serve().stop();
        let key = fs::read_to_string(installation.data().join("keys/api-key")).expect("the key");

        let again = installation.serve();
        let tells = again.greeting.iter().any(|line| line.contains(key.trim()));
        assert!(!tells, "{:?}", again.greeting);
        run_the_lines(&again);
        let kept = fs::read_to_string(installation.data().join("keys/api-key")).expect("the key");
        assert_eq!(key, kept);
    }
}

#[test]
fn a_newcomer_sees_no_warnings() {
    for filter in [None, Some("info")] {
        let installation = Installation::new().without("VOCERO_LOG");
        let installation = match filter {
            Some(filter) => installation.with("VOCERO_LOG", filter),
            None => installation,
        };
        let server = installation.serve();
        run_the_lines(&server);
        server.send(rustix::process::Signal::TERM);
        let (status, log) = server.wait();
        assert!(status.success() && log.contains("stopped"), "{log}");
        let loud = log.lines().find(|line| line.contains("WARN") || line.contains("ERROR"));
        assert_eq!(loud, None, "{filter:?}");
    }
}

#[test]
fn a_second_server_on_the_same_folder_is_refused_and_told_who_is_there() {
    let installation = Installation::new();
    let server = installation.serve();
    let message = installation.failure(&["serve"]);
    assert!(message.contains(&server.url), "{message}");
    assert!(message.contains(&server.id().to_string()), "{message}");
}

#[test]
fn an_address_that_is_taken_is_told_with_the_remedy() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address").to_string();
    let message = Installation::new().with("VOCERO_LISTEN", &address).failure(&["serve"]);
    assert!(message.contains(&address) && message.contains("VOCERO_LISTEN"), "{message}");
}
