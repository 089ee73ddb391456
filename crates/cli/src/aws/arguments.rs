//! `gatewright aws` as clap sees it.

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum AwsCommand {
    /// Who may ask and decide: bearers of people and runners, and IAM principals
    Tokens {
        #[command(subcommand)]
        command: TokensCommand,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokensCommand {
    /// Make a bearer for a person or a runner and show it, once; or grant an IAM principal a person's name and roles
    Add(NewToken),
    /// Everybody who has one, and until when; never the bearers
    List {
        /// The stage
        #[arg(long, value_name = "STAGE")]
        stage: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Take one back
    Revoke {
        /// The id that `list` shows
        id: String,
        /// The stage
        #[arg(long, value_name = "STAGE")]
        stage: String,
    },
}

#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("who").required(true).args(["person", "runner"]))]
pub(crate) struct NewToken {
    /// The stage
    #[arg(long, value_name = "STAGE")]
    pub(crate) stage: String,
    /// For this person
    #[arg(long, value_name = "NAME")]
    pub(crate) person: Option<String>,
    /// For this runner of checks, which may claim jobs and nothing else
    #[arg(long, value_name = "NAME", conflicts_with_all = ["roles", "principal"])]
    pub(crate) runner: Option<String>,
    /// A role in which the person decides: developer, tech_lead or devops_engineer
    #[arg(long = "role", value_name = "ROLE")]
    pub(crate) roles: Vec<run_model::person::ApproverRole>,
    /// Make no bearer: the person is known by this IAM role or user
    #[arg(long, value_name = "ARN")]
    pub(crate) principal: Option<String>,
    /// For how many days it counts
    #[arg(long, default_value_t = 90, value_name = "DAYS")]
    pub(crate) days: u32,
}
