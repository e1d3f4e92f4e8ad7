//! The command line.

mod agents;
mod ask;
mod config;
mod copy;
mod datastores;
mod doctor;
mod eval;
mod gaps;
mod keys;
mod reindex;
mod serve;
mod session;
mod trace;
mod vault;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use serde::Serialize;
use serde_json::json;

use crate::settings::{Environment, Flags, Loaded, load};
use crate::telemetry;

/// Answers your customers from your own documents, with citations.
#[derive(Debug, Parser)]
#[command(name = "vocero", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
struct Global {
    /// Print JSON for machines instead of text for people
    #[arg(long, global = true)]
    json: bool,
    /// Configuration file [default: vocero.toml in the working folder, when it is there]
    #[arg(long, global = true, value_name = "FILE", env = "VOCERO_CONFIG")]
    config: Option<PathBuf>,
    /// Folder of the database, the index, the files and the keys
    #[arg(long, global = true, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
    /// Log more; twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the server
    Serve(serve::ServeArgs),
    /// Make the first workspace if there is none; print its ids and this machine's API key
    Init,
    /// Create, list and revoke API keys
    #[command(subcommand)]
    Key(keys::KeyCommand),
    /// List, fill and search datastores
    #[command(subcommand)]
    Datastore(datastores::DatastoreCommand),
    /// Ask an agent; the answer streams, its sources follow
    Ask(ask::AskArgs),
    /// Versions of an agent: list, compare, draft, publish, put back
    Agent(agents::AgentArgs),
    /// Show how an answer came about: its steps, what was found, tokens and cost
    Trace(trace::TraceArgs),
    /// List, export, recheck and dismiss questions that could not be answered
    Gaps(gaps::GapsArgs),
    /// Build the search index again from the database
    Reindex,
    /// Copy database, files and keys into one archive; also while the server runs
    Backup(copy::BackupArgs),
    /// Unpack an archive into an empty data folder and build the index
    Restore(copy::RestoreArgs),
    /// Change the key that seals stored secrets
    #[command(subcommand)]
    Vault(vault::VaultCommand),
    /// Check or print the settings
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Print the OpenAPI description of the HTTP API
    Openapi {
        /// Which surface: `v2`, for programs, or `v1`, the panel.
        #[arg(value_parser = ["v1", "v2"], default_value = "v2")]
        surface: String,
    },
    /// Look for what is missing or set without effect
    Doctor,
    /// Evaluate answers and search on datasets of questions, and compare evaluations
    #[command(subcommand)]
    Eval(eval::EvalCommand),
    /// Print the completions of a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// What a command works with.
pub struct Run {
    /// The settings in force.
    pub loaded: Loaded,
    /// The variables, for the few that are no settings.
    pub environment: Environment,
    /// Whether to print JSON.
    pub json: bool,
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let json = cli.global.json;
    run(cli).unwrap_or_else(|error| {
        report(&error, json);
        ExitCode::FAILURE
    })
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "vocero", &mut std::io::stdout());
            return Ok(ExitCode::SUCCESS);
        }
        Command::Openapi { surface } => {
            let document = if surface == "v1" { api::openapi_v1() } else { api::openapi_v2() };
            print(&document.to_pretty_json().context("the description has no JSON form")?);
            return Ok(ExitCode::SUCCESS);
        }
        _ => {}
    }
    let environment = Environment::read()?;
    let flags = flags(&cli);
    if let Command::Config(command) = cli.command {
        return config::run(&command, &flags, &environment, cli.global.json);
    }
    let loaded = load(&flags, &environment)?;
    start_logs(&loaded, matches!(cli.command, Command::Serve(_)))?;
    let run = Run { loaded, environment, json: cli.global.json };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let done = runtime.block_on(run_command(cli.command, run));
    // Nothing that matters is left; a blocking call that hangs must not hold up the end.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    done
}

async fn run_command(command: Command, run: Run) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(_) => serve::run(run).await,
        Command::Init => keys::init(&run).await,
        Command::Key(command) => keys::run(command, &run).await,
        Command::Datastore(command) => datastores::run(command, &run).await,
        Command::Ask(arguments) => ask::run(&arguments, &run).await,
        Command::Agent(arguments) => agents::run(&arguments, &run).await,
        Command::Trace(arguments) => trace::run(&arguments, &run).await,
        Command::Gaps(arguments) => gaps::run(&arguments, &run).await,
        Command::Reindex => reindex::run(&run).await,
        Command::Backup(arguments) => copy::backup(&arguments, &run).await,
        Command::Restore(arguments) => copy::restore(&arguments, &run).await,
        Command::Eval(command) => eval::run(command, &run).await,
        Command::Doctor => doctor::run(&run).await,
        Command::Vault(command) => vault::run(&command, &run).await,
        Command::Config(_) | Command::Openapi { .. } | Command::Completions { .. } => {
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn flags(cli: &Cli) -> Flags {
    let listen = match &cli.command {
        Command::Serve(arguments) => arguments.listen.clone(),
        _ => None,
    };
    let log_filter = match cli.global.verbose {
        0 => None,
        1 => Some("debug".to_owned()),
        _ => Some("trace".to_owned()),
    };
    let global = &cli.global;
    Flags { config: global.config.clone(), data_dir: global.data_dir.clone(), listen, log_filter }
}

/// A server logs as the settings say; other commands keep quiet unless somebody asks for more.
fn start_logs(loaded: &Loaded, is_server: bool) -> anyhow::Result<()> {
    let mut settings = loaded.settings.log.clone();
    if !is_server && !loaded.is_set("log.filter") {
        "error".clone_into(&mut settings.filter);
    }
    telemetry::start_logs(&settings)
}

/// Tells the user what went wrong, on standard error.
fn report(error: &anyhow::Error, json: bool) {
    let text = if json {
        json!({ "error": { "message": format!("{error:#}") } }).to_string()
    } else {
        format!("error: {error:#}")
    };
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Prints a line. A reader that went away, as `| head` does, is no error.
pub fn print(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Prints an object as JSON.
pub fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    print(&serde_json::to_string_pretty(value)?);
    Ok(())
}

/// A table for people.
pub fn table<const N: usize>(header: [&str; N]) -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::UTF8_HORIZONTAL_ONLY);
    table.set_content_arrangement(comfy_table::ContentArrangement::Dynamic);
    table.set_header(header);
    table
}
