#![doc = include_str!("../README.md")]

mod corpus;
mod http;
mod measure;
mod relay;
mod scenarios;
mod server;

use std::path::PathBuf;

use anyhow::Context;
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(about, version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run scenarios and print their medians.
    Run(RunArgs),
    /// Forward a chat stream, line by line, and do nothing else: the floor.
    Relay {
        /// The model server's address, up to and including `/v1`.
        #[arg(long)]
        upstream: String,
        /// Where to listen.
        #[arg(long)]
        listen: std::net::SocketAddr,
    },
    /// Answer chats and embeddings from a script, in a process of its own.
    Model {
        /// Where to listen.
        #[arg(long)]
        listen: std::net::SocketAddr,
        /// Tokens of an answer.
        #[arg(long, default_value_t = 50)]
        tokens: usize,
        /// Tokens a second; 0 sends them at once.
        #[arg(long, default_value_t = 0)]
        rate: u32,
        /// Never send a token: for idle streams.
        #[arg(long)]
        silent: bool,
    },
}

/// What to run.
#[derive(Debug, Clone, clap::Args)]
pub struct RunArgs {
    /// The binary to measure.
    #[arg(long, default_value = "target/release/vocero")]
    vocero: PathBuf,
    /// Scenarios, by name; all when none is given.
    scenarios: Vec<String>,
    /// Repetitions of each scenario; the median is reported.
    #[arg(long, default_value_t = 3)]
    repeat: usize,
    /// Where to write `<scenario>.json`.
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start the runtime")?;
    runtime.block_on(async move {
        match args.command {
            Command::Run(run) => scenarios::run(&run).await,
            Command::Relay { upstream, listen } => relay::serve(upstream, listen).await,
            Command::Model { listen, tokens, rate, silent } => {
                server::serve_model(listen, tokens, rate, silent).await
            }
        }
    })
}

/// Thousands of streams need as many descriptors, here and in the processes started from here.
fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        eprintln!("could not raise the limit of open files: {error}");
    }
}
