//! `vocero config`.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;

use crate::cli::{print, print_json};
use crate::settings::{self, Environment, Flags, Mistakes, load};

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Report every mistake in the settings, with its file or variable
    Check,
    /// Print the settings in force and where each comes from; secrets are left out
    Print,
}

pub fn run(
    command: &ConfigCommand,
    flags: &Flags,
    environment: &Environment,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let loaded = match load(flags, environment) {
        Ok(loaded) => loaded,
        Err(error) if json => {
            let Some(Mistakes(problems)) = error.downcast_ref() else {
                return Err(error);
            };
            let problems: Vec<_> = problems
                .iter()
                .map(|problem| {
                    json!({
                        "key": problem.key,
                        "origin": problem.origin.to_string(),
                        "message": problem.message,
                    })
                })
                .collect();
            print_json(&json!({ "ok": false, "problems": problems }))?;
            return Ok(ExitCode::FAILURE);
        }
        Err(error) => return Err(error),
    };
    match (command, json) {
        (ConfigCommand::Check, true) => {
            print_json(&json!({ "ok": true, "unknownVariables": loaded.unknown_variables }))?;
        }
        (ConfigCommand::Check, false) => {
            for name in &loaded.unknown_variables {
                print(&format!("note: {name} is set and no setting has this name"));
            }
            print("the settings have no mistakes");
        }
        (ConfigCommand::Print, true) => print_json(&settings::print_json(&loaded))?,
        (ConfigCommand::Print, false) => print(&settings::print_toml(&loaded)),
    }
    Ok(ExitCode::SUCCESS)
}
