//! `gatewright aws` as clap sees it.

use clap::{ArgAction, Args, Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
pub(crate) enum AwsCommand {
    /// Prepare an account, once: check it, and make the roles that workflows of a repository on GitHub take on
    Bootstrap(BootstrapOptions),
    /// Build and deploy a stage from a clean checkout of Gatewright
    Deploy(DeployOptions),
    /// What a stage is made of, whether it is well, what it does now
    Status {
        /// The stage
        #[arg(long, value_name = "STAGE")]
        stage: String,
    },
    /// What every function logged about a run, in order of time
    Logs(LogsOptions),
    /// The keys of models, forge and seals
    Secrets {
        #[command(subcommand)]
        command: SecretsCommand,
    },
    /// Who may ask and decide: bearers of people and runners, and IAM principals
    Tokens {
        #[command(subcommand)]
        command: TokensCommand,
    },
    /// Delete a stage with all that it keeps
    Destroy {
        /// The stage
        #[arg(long, value_name = "STAGE")]
        stage: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Args, Debug)]
pub(crate) struct BootstrapOptions {
    /// The repository whose workflows may take the roles on, as GitHub names it in its tokens: with ids
    /// (OWNER@ID/NAME@ID) if it was made or renamed since July 2026
    #[arg(long, value_name = "OWNER/NAME")]
    pub(crate) repository: String,
    /// The branch from which runs may be asked for
    #[arg(long, default_value = "main", value_name = "BRANCH")]
    pub(crate) branch: String,
}

#[derive(Args, Debug)]
pub(crate) struct DeployOptions {
    /// The stage
    #[arg(long, value_name = "STAGE", value_parser = ["dev", "staging", "prod"])]
    pub(crate) stage: String,
    /// What the functions are built for [default: what the stage has, or arm64]
    #[arg(long, value_name = "NAME")]
    pub(crate) architecture: Option<Architecture>,
    /// Megabytes of each function, which bound how large a repository may be [default: what the stage has, or 128]
    #[arg(long, value_name = "MEGABYTES", value_parser = ["128", "256", "512", "1024"])]
    pub(crate) memory: Option<String>,
    /// A customer's key, point-in-time recovery and a year of logs, at a price [default: what the stage has, or false]
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true",
        value_name = "BOOL")]
    pub(crate) hardened: Option<bool>,
    /// The SNS topic that hears the alarms [default: what the stage has, or none]
    #[arg(long, value_name = "ARN")]
    pub(crate) alarm_topic: Option<String>,
    /// What the stage works on, one after the other; nothing else is [default: what the stage has, or the origin of this
    /// checkout]
    #[arg(long = "repository", value_name = "OWNER/NAME", value_parser = crate::aws::tools::repository_name)]
    pub(crate) repositories: Vec<String>,
    /// The policy that bounds every role of the stage, which a deploy by the role of workflows needs; `bootstrap` prints it
    /// [default: what the stage has, or none]
    #[arg(long, value_name = "ARN")]
    pub(crate) boundary: Option<String>,
    /// Deploy what lies in .aws-sam/build, under the commit that it was built from
    #[arg(long)]
    pub(crate) no_build: bool,
    /// On an emulator: without versions of machines, and with a bucket that answers without TLS
    #[arg(long)]
    pub(crate) emulated: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Architecture {
    Arm64,
    #[value(name = "x86_64")]
    X86_64,
}

impl Architecture {
    /// As the template has it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Arm64 => "arm64",
            Self::X86_64 => "x86_64",
        }
    }
}

#[derive(Args, Debug)]
pub(crate) struct LogsOptions {
    /// The run
    #[arg(long, value_name = "RUN")]
    pub(crate) run: String,
    /// The stage
    #[arg(long, value_name = "STAGE")]
    pub(crate) stage: String,
    /// As JSON, an object a line
    #[arg(long)]
    pub(crate) json: bool,
    /// Go on until the run has ended
    #[arg(long)]
    pub(crate) follow: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SecretsCommand {
    /// Set a secret, or one field of it, to what standard input says; a terminal is asked, without an echo
    Set(NewSecret),
    /// Which secrets there are and which fields each has; never what stands in them
    List {
        /// The stage
        #[arg(long, value_name = "STAGE")]
        stage: String,
    },
    /// Which secret is absent, empty or malformed, and the cure
    Check {
        /// The stage
        #[arg(long, value_name = "STAGE")]
        stage: String,
    },
}

#[derive(Args, Debug)]
pub(crate) struct NewSecret {
    /// The secret
    pub(crate) name: SecretName,
    /// The stage
    #[arg(long, value_name = "STAGE")]
    pub(crate) stage: String,
    /// Set this field alone, to the text as it comes, and leave the others [default: all of them, a JSON object]
    #[arg(long, value_name = "FIELD")]
    pub(crate) field: Option<String>,
    /// Make a fresh value, if it has none that works; for signing alone
    #[arg(long, conflicts_with = "field")]
    pub(crate) generate: bool,
}

/// A secret of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SecretName {
    Models,
    Forge,
    Signing,
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
#[command(group = clap::ArgGroup::new("who").required(true).args(["person", "runner", "workflow"]))]
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
    /// For workflows of this name, known by the IAM role that they take on: they may ask for runs and decide nothing
    #[arg(long, value_name = "NAME", conflicts_with = "roles", requires = "principal")]
    pub(crate) workflow: Option<String>,
    /// A role in which the person decides, and which lets them ask for runs: developer, tech_lead or devops_engineer. Without
    /// one they look on
    #[arg(long = "role", value_name = "ROLE")]
    pub(crate) roles: Vec<run_model::person::ApproverRole>,
    /// Make no bearer: the person is known by this IAM role or user
    #[arg(long, value_name = "ARN")]
    pub(crate) principal: Option<String>,
    /// For how many days it counts
    #[arg(long, default_value_t = 90, value_name = "DAYS")]
    pub(crate) days: u32,
}
