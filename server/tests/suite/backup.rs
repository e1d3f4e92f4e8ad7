//! Backup during work, restore, compare.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::vocero::{Installation, rounded};

/// What the API says about everything that was added, without what a restore may change.
fn state(installation: &Installation) -> Vec<Value> {
    let listed = installation.json(&["datastore", "list"]);
    let mut state = vec![listed, installation.json(&["init"]), installation.json(&["key", "list"])];
    for question in ["horarios de atención", "envío a Córdoba", "texto número 17"] {
        let found = installation.json(&["datastore", "search", question, "--top-k", "20"]);
        state.push(rounded(&found));
    }
    for key in state[2]["data"].as_array_mut().expect("keys") {
        // Moves with each call.
        key["lastUsedAt"] = Value::Null;
    }
    state
}

#[test]
fn a_backup_made_during_work_restores_to_the_same_installation() {
    let installation = Installation::new();
    fs::write(installation.folder().join("faq.md"), "# Horarios\n\nLa atención es de 9 a 18 hs.\n")
        .expect("a file");
    let server = installation.serve();
    installation.text(&[
        "datastore",
        "add",
        "faq.md",
        "--text",
        "El envío a Córdoba demora 3 días.",
    ]);
    let before = state(&installation);

    // Work goes on while the backup is made.
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for number in 0..5 {
                let text = format!("Un texto que llega durante la copia, número {number}.");
                installation.text(&["datastore", "add", "--text", &text, "--name", "later"]);
            }
        });
        installation.text(&["backup", "busy.tar.zst"]);
        writer.join().expect("the writer ends");
    });
    let report = installation.json(&["backup", "quiet.tar.zst"]);
    assert_eq!(report["backup"]["database"], "sqlite");
    let after = state(&installation);
    server.stop();
    let file = installation.folder().join("quiet.tar.zst");
    assert_eq!(fs::metadata(&file).expect("it is there").permissions().mode() & 0o777, 0o600);

    let busy = restored(&installation, "busy.tar.zst");
    let found = busy.json(&["datastore", "search", "horarios de atención", "--top-k", "1"]);
    assert_eq!(found["results"][0]["chunkId"], before[3]["results"][0]["chunkId"]);

    let quiet = restored(&installation, "quiet.tar.zst");
    assert_eq!(state(&quiet), after);
    // The files are there too: a source is read again from its blob.
    let blobs = |installation: &Installation| {
        let folder = installation.data().join("blobs");
        let files = walkdir::WalkDir::new(folder).sort_by_file_name().into_iter().flatten();
        let files = files.filter(|entry| entry.file_type().is_file());
        files.map(|entry| fs::read(entry.path()).expect("a file")).collect::<Vec<_>>()
    };
    assert_eq!(blobs(&quiet), blobs(&installation));
    assert_eq!(blobs(&quiet).len(), 1);
}

fn restored(from: &Installation, archive: &str) -> Installation {
    let installation = Installation::new();
    let archive = from.folder().join(archive);
    installation.text(&["restore", archive.to_str().expect("a path")]);
    installation
}

#[test]
fn restore_refuses_a_folder_that_is_in_use_and_files_that_are_no_backup() {
    let installation = Installation::new();
    installation.text(&["init"]);
    installation.text(&["backup", "copy.tar.zst"]);
    let message = installation.failure(&["backup", "copy.tar.zst"]);
    assert!(message.contains("there already"), "{message}");
    let message = installation.failure(&["restore", "copy.tar.zst"]);
    assert!(message.contains("not empty") && message.contains("--data-dir"), "{message}");

    fs::write(installation.folder().join("noise"), "no archive").expect("a file");
    let message = installation.failure(&["--data-dir", "other", "restore", "noise"]);
    assert!(message.contains("noise") || message.contains("Zstandard"), "{message}");
    let other = installation.folder().join("other");
    let is_empty = !other.exists() || other.read_dir().expect("a folder").next().is_none();
    assert!(is_empty, "nothing half done stays");
}

#[test]
fn on_postgresql_the_archive_holds_files_and_keys_and_says_how_the_rest_is_saved() {
    let test = "a backup on PostgreSQL";
    let Some(installation) = Installation::on_postgres(test) else { return };
    fs::write(installation.folder().join("faq.md"), "# Horarios\n\nLa atención es de 9 a 18 hs.\n")
        .expect("a file");
    installation.text(&[
        "datastore",
        "add",
        "faq.md",
        "--text",
        "El envío a Córdoba demora 3 días.",
    ]);
    let before = state(&installation);
    let shown = installation.text(&["backup", "shown.tar.zst"]);
    assert!(shown.contains("not in the archive") && shown.contains("pg_dump"), "{shown}");
    let report = installation.json(&["backup", "copy.tar.zst"]);
    assert_eq!(report["backup"]["database"], "postgres");
    assert!(report["dumpCommand"].as_str().is_some_and(|dump| dump.contains("pg_dump")));
    let archive = installation.folder().join("copy.tar.zst");
    let archive = archive.to_str().expect("a path");

    let message = Installation::new().failure(&["restore", archive]);
    assert!(message.contains("pg_restore") && message.contains("DATABASE_URL"), "{message}");
    let empty = Installation::on_postgres(test).expect("a cluster");
    let message = empty.failure(&["restore", archive]);
    assert!(message.contains("is empty") && message.contains("pg_restore"), "{message}");
    assert!(!empty.data().exists(), "nothing half done stays");

    let restored = installation.over_a_copy();
    restored.text(&["restore", archive]);
    assert_eq!(state(&restored), before);
    let blobs = walkdir::WalkDir::new(restored.data().join("blobs")).into_iter().flatten();
    assert_eq!(blobs.filter(|entry| entry.file_type().is_file()).count(), 1);
}

#[test]
fn a_sqlite_archive_is_not_restored_beside_a_database_url() {
    let installation = Installation::new();
    installation.text(&["init"]);
    installation.text(&["backup", "copy.tar.zst"]);
    let archive = installation.folder().join("copy.tar.zst");
    let other = Installation::new().with("DATABASE_URL", "postgres://vocero@127.0.0.1:1/vocero");
    let message = other.failure(&["restore", archive.to_str().expect("a path")]);
    assert!(message.contains("SQLite") && message.contains("DATABASE_URL"), "{message}");
    assert!(!other.data().exists(), "nothing half done stays");
}
