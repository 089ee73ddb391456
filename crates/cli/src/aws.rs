//! `gatewright aws`: a stage in an account.

pub(crate) mod arguments;
mod tokens;

use crate::problem::Problem;
use arguments::AwsCommand;

pub(crate) async fn run(command: AwsCommand) -> Result<u8, Problem> {
    match command {
        AwsCommand::Tokens { command } => tokens::run(command).await,
    }
}
