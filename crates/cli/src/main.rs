//! The `gatewright` command.

mod agents;
mod archive;
mod arguments;
mod aws;
mod bill;
mod cassettes;
mod clean;
mod cloud;
mod columns;
mod completions;
mod demo;
mod doctor;
mod executions;
mod follow;
mod gates;
mod init;
mod introduction;
mod local;
mod logs;
mod machines;
mod place;
mod problem;
mod progress;
mod prompt;
mod registry;
mod render;
mod report;
mod run;
mod runner;
mod runs;
mod screen;
mod settings;
mod signed;
mod stage;
mod stop;
mod story;

use std::path::Path;
use std::process::ExitCode;

use arguments::{Arguments, Command};
use clap::Parser;
use clap::error::ErrorKind;
use lambda_host::Environment;
use lambda_host::logs::{Mask, Masked};
use problem::Problem;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

fn main() -> ExitCode {
    // The sandbox starts this program again to set up a confined child.
    sandbox::run_if_child();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            // Nothing is left to do if even this cannot be printed.
            drop(error.print());
            return if asked { ExitCode::SUCCESS } else { ExitCode::from(problem::USAGE) };
        }
    };
    start_log();
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .map_err(|error| Problem::missing(format!("the runtime cannot be started: {error}")))
        .and_then(|runtime| {
            let outcome = runtime.block_on(dispatch(arguments));
            // A question that still waits for an answer must not keep the process.
            runtime.shutdown_background();
            outcome
        });
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(problem) => {
            screen::tell(format!("gatewright: {problem}"));
            ExitCode::from(problem.exit)
        }
    }
}

async fn dispatch(arguments: Arguments) -> Result<u8, Problem> {
    match arguments.command {
        // These need no state folder, and no home in which it would be.
        Command::Agents { command } => agents::run(&command),
        Command::Cassettes { command } => cassettes::run(&command),
        Command::Completions { shell } => completions::print(shell),
        Command::Man => completions::print_manual(),
        command => on_state(&settings::state_folder(arguments.state)?, command).await,
    }
}

async fn on_state(state: &Path, command: Command) -> Result<u8, Problem> {
    match command {
        Command::Demo(options) => demo::run(state, options).await,
        Command::Init { repo, root, force } => init::run(&repo, root.as_deref(), force).await,
        Command::Run(options) => run::run(state, options).await,
        Command::Runs { at, command } => runs::run(state, at, command).await,
        Command::Gates { at, command } => gates::run(state, at, command).await,
        Command::Cloud { command } => cloud::run(state, command).await,
        Command::Runner(options) => runner::run(state, options).await,
        Command::Doctor => doctor::run(state).await,
        Command::Clean(options) => clean::run(state, options).await,
        Command::Aws { command } => aws::run(command).await,
        Command::Agents { .. } | Command::Cassettes { .. } | Command::Completions { .. } | Command::Man => {
            Err(Problem::defect("this command needs no state folder"))
        }
    }
}

/// Errors go to standard error, without keys; `GATEWRIGHT_LOG` asks for more. What the SDK says of connections of its own is
/// nobody's error: where it matters, the request fails too.
fn start_log() {
    let filter = EnvFilter::try_from_env("GATEWRIGHT_LOG");
    let filter = filter.unwrap_or_else(|_| EnvFilter::new("error,aws_smithy_runtime=off"));
    let mask = Mask::of(&Environment::of_process());
    let masked = move || Masked::new(std::io::stderr(), mask.clone());
    let shown = tracing_subscriber::fmt::layer().with_writer(masked).without_time().with_filter(filter);
    // A Lambda writes everything from this level on, whatever is shown here.
    let counted = bill::LogMeter.with_filter(LevelFilter::INFO);
    tracing_subscriber::registry().with(shown).with(counted).init();
}
