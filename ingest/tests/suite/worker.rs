//! The parser process and its limits.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ingest::extract::Format;
use ingest::worker::ParserPool;

use crate::support;

/// A stand-in for the parser that does what `script` says. A shell writes the file: were it open for
/// writing in this process, a child started by another test could keep it from being run.
fn impostor(folder: &tempfile::TempDir, script: &str) -> PathBuf {
    let path = folder.path().join("parser");
    let mut shell = Command::new("/bin/sh")
        .args(["-c", "cat > \"$0\" && chmod 700 \"$0\""])
        .arg(&path)
        .stdin(Stdio::piped())
        .spawn()
        .expect("start a shell");
    let mut stdin = shell.stdin.take().expect("stdin");
    stdin.write_all(format!("#!/bin/sh\n{script}\n").as_bytes()).expect("write the script");
    drop(stdin);
    assert!(shell.wait().expect("the shell ends").success());
    path
}

const PDF: Bytes = Bytes::from_static(b"%PDF-");

#[tokio::test]
async fn a_child_that_hangs_is_stopped_when_its_time_is_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = impostor(&folder, "exec /bin/sleep 600");
    let pool = ParserPool::new(program, Duration::from_millis(300)).without_pdftotext();
    let error = pool.extract(Format::Pdf, "a.pdf", PDF).await.unwrap_err();
    assert_eq!(error.code, "PARSER_LIMIT");
}

#[tokio::test]
async fn who_stops_waiting_kills_the_child_and_its_children() {
    let folder = tempfile::tempdir().expect("a folder");
    let pids_file = folder.path().join("pids");
    let script = format!("/bin/sleep 600 & echo $$ $! end > {}; wait", pids_file.display());
    let program = impostor(&folder, &script);
    let pool = ParserPool::new(program, Duration::from_mins(10)).without_pdftotext();
    let mut pids = String::new();
    let started = async {
        while !pids.ends_with("end\n") {
            tokio::task::yield_now().await;
            pids = std::fs::read_to_string(&pids_file).unwrap_or_default();
        }
    };
    tokio::select! {
        result = pool.extract(Format::Pdf, "a.pdf", PDF) => panic!("ended by itself: {result:?}"),
        () = started => {}
    }
    for pid in pids.trim_end_matches("end\n").split_whitespace() {
        let until = Instant::now() + Duration::from_secs(20);
        while is_running(pid) {
            assert!(Instant::now() < until, "process {pid} outlived its parser");
            tokio::task::yield_now().await;
        }
    }
}

/// Whether a process is there and not merely waiting to be collected.
fn is_running(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

#[tokio::test]
async fn a_child_that_dies_or_babbles_fails_one_file_only() {
    let folder = tempfile::tempdir().expect("a folder");
    for (script, code) in [
        ("kill -SEGV $$", "PARSER_LIMIT"),
        ("exit 7", "PARSER_LIMIT"),
        ("echo not json", "TOO_LARGE"),
        (
            "head -c 200000 /dev/zero >&2; echo '{\"Err\":{\"code\":\"EMPTY\",\"message\":\"m\",\"retry\":false}}'",
            "EMPTY",
        ),
    ] {
        let script = format!("PATH=/usr/bin:/bin; {script}");
        let pool = ParserPool::new(impostor(&folder, &script), Duration::from_secs(20))
            .without_pdftotext();
        let error =
            pool.extract(Format::Pdf, "a.pdf", Bytes::from(vec![b'x'; 1 << 20])).await.unwrap_err();
        assert_eq!(error.code, code, "{script}");
        assert!(!error.retry);
    }
}

#[tokio::test]
async fn a_program_that_cannot_be_started_is_worth_a_retry() {
    let pool = ParserPool::new(PathBuf::from("/no/such/program"), Duration::from_secs(5));
    let error = pool.extract(Format::Pdf, "a.pdf", PDF).await.unwrap_err();
    assert_eq!((error.code.as_str(), error.retry), ("PARSER_UNAVAILABLE", true));
}

#[tokio::test]
async fn the_child_limits_itself_and_inherits_no_environment() {
    // `pdftotext` is what the child becomes: a program that tells what it may do.
    let folder = tempfile::tempdir().expect("a folder");
    let script = "/usr/bin/env; /bin/cat /proc/self/limits; /bin/grep NoNewPrivs /proc/self/status";
    let spy = impostor(&folder, script);
    let header = serde_json::json!({ "format": "pdf", "charset": null, "pdftotext": spy });
    let mut child = Command::new(support::parser_program())
        .arg("parse-worker")
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start the parser");
    let mut stdin = child.stdin.take().expect("stdin");
    stdin.write_all(format!("{header}\nrest").as_bytes()).expect("ask");
    drop(stdin);
    let output = child.wait_with_output().expect("an answer");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<String> =
        said.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for wanted in [
        "NoNewPrivs: 1",
        "Max address space 805306368 805306368 bytes",
        "Max cpu time 20 20 seconds",
        "Max open files 16 16 files",
        "Max file size 0 0 bytes",
        "Max core file size 0 0 bytes",
    ] {
        assert!(lines.iter().any(|line| line == wanted), "{wanted} is missing in {said}");
    }
    assert!(!said.contains("CARGO"), "{said}");
}
