//! The child's side.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, ExitCode};

use rustix::process::{DumpableBehavior, Resource, Rlimit};

use super::Header;
use crate::extract::{self, Document, ExtractError, Input};

/// Address space, in bytes: enough for a 25 MiB file of any format.
const MAX_MEMORY: u64 = 768 * 1024 * 1024;
/// Processor seconds.
const MAX_CPU_SECONDS: u64 = 20;
/// Open files: the three standard ones and what starting `pdftotext` takes.
const MAX_FILES: u64 = 16;
/// Longest header line.
const MAX_HEADER_BYTES: usize = 16 * 1024;

/// What `vocero parse-worker` does: limits itself, reads stdin, parses, writes stdout. Never returns an
/// error to the shell but through its output; the exit code is 0 when it wrote one.
///
/// To be called first thing in the program, before any thread or runtime is started.
pub fn main() -> ExitCode {
    if limit_self().is_err() {
        return ExitCode::from(3);
    }
    match answer() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(4),
    }
}

/// Gives up what parsing does not need. The limits hold for whatever this process becomes.
fn limit_self() -> rustix::io::Result<()> {
    let limits = [
        (Resource::As, MAX_MEMORY),
        (Resource::Cpu, MAX_CPU_SECONDS),
        (Resource::Nofile, MAX_FILES),
        (Resource::Fsize, 0),
        (Resource::Core, 0),
    ];
    for (resource, limit) in limits {
        let limit = Rlimit { current: Some(limit), maximum: Some(limit) };
        rustix::process::setrlimit(resource, limit)?;
    }
    rustix::thread::set_no_new_privs(true)?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
}

fn answer() -> std::io::Result<()> {
    let mut input = File::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let header = read_header(&mut input)?;
    if let Some(program) = header.pdftotext {
        drop(input);
        // Reads the rest of stdin and writes stdout itself; returns only when it cannot be started.
        return Err(Command::new(program).args(["-q", "-enc", "UTF-8", "-", "-"]).exec());
    }
    let mut bytes = Vec::new();
    input.read_to_end(&mut bytes)?;
    let input = Input { format: header.format, charset: header.charset.as_deref(), bytes: &bytes };
    let result = parse(input);
    let mut output = std::io::BufWriter::new(std::io::stdout().lock());
    serde_json::to_writer(&mut output, &result)?;
    output.flush()
}

/// A panic is a parser's way of saying that it does not understand.
fn parse(input: Input<'_>) -> Result<Document, ExtractError> {
    std::panic::set_hook(Box::new(|_| {}));
    let parsed = catch_unwind(AssertUnwindSafe(|| extract::extract(input)));
    parsed.unwrap_or_else(|_| {
        Err(ExtractError::unreadable(
            "the file is damaged or of a kind that cannot be read; save it anew with another program",
        ))
    })
}

/// Byte by byte, so that what follows the line is left for whoever reads on.
fn read_header(input: &mut File) -> std::io::Result<Header> {
    let mut line = Vec::new();
    let mut byte = [0];
    loop {
        input.read_exact(&mut byte)?;
        if byte[0] == b'\n' {
            break;
        }
        line.push(byte[0]);
        if line.len() > MAX_HEADER_BYTES {
            return Err(std::io::Error::other("header line too long"));
        }
    }
    Ok(serde_json::from_slice(&line)?)
}
