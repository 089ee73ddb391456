//! `gatewright aws`: a stage in an account.

mod account;
pub(crate) mod arguments;
mod bootstrap;
mod built;
mod deploy;
mod destroy;
mod logs;
mod secrets;
pub(crate) mod stack;
mod status;
mod tokens;
mod tools;

use crate::problem::Problem;
use arguments::AwsCommand;

pub(crate) async fn run(command: AwsCommand) -> Result<u8, Problem> {
    match command {
        AwsCommand::Bootstrap(options) => bootstrap::run(options).await,
        AwsCommand::Deploy(options) => deploy::run(options).await,
        AwsCommand::Status { stage } => status::run(&stage).await,
        AwsCommand::Logs(options) => logs::run(options).await,
        AwsCommand::Secrets { command } => secrets::run(command).await,
        AwsCommand::Tokens { command } => tokens::run(command).await,
        AwsCommand::Destroy { stage, yes } => destroy::run(&stage, yes).await,
    }
}
