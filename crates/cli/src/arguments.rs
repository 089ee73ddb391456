//! The command line as clap sees it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use embedded_cloud::EventPattern;

use crate::aws::arguments::AwsCommand;

/// Turns a requirement into a tested, approved change.
#[derive(Debug, Parser)]
#[command(
    name = "gatewright",
    version,
    max_term_width = 120,
    after_help = "\
Exit codes: 0 done, 1 failed, 2 denied, 3 timed out or limit reached, 4 waiting at a gate, 64 and up: wrong use, input or environment.
Environment: ANTHROPIC_API_KEY or OPENAI_API_KEY, ANTHROPIC_BASE_URL or OPENAI_BASE_URL (before base_url in gatewright.toml), GATEWRIGHT_LOG (error, info, debug, trace)."
)]
pub(crate) struct Arguments {
    /// Folder of runs, gates and caches [default: $XDG_STATE_HOME/gatewright]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Watch a crew fix a real defect in a published package, from recorded model answers
    Demo(DemoOptions),
    /// Write a commented gatewright.toml after looking at the project
    Init {
        /// The repository
        #[arg(long, default_value = ".", value_name = "PATH")]
        repo: PathBuf,
        /// The folder in the repository where the project lies, if it holds several
        #[arg(long, value_name = "DIR")]
        root: Option<PathBuf>,
        /// Overwrite a gatewright.toml that is there
        #[arg(long)]
        force: bool,
    },
    /// Turn a requirement into a tested change on a branch, after you approved it
    Run(RunOptions),
    /// Look at runs, take them up again, stop them
    Runs {
        #[command(flatten)]
        at: At,
        #[command(subcommand)]
        command: RunsCommand,
    },
    /// Look at gates and decide
    Gates {
        #[command(flatten)]
        at: At,
        #[command(subcommand)]
        command: GatesCommand,
    },
    /// Run a deployed stage's checks on this machine, until Ctrl-C
    Runner(RunnerOptions),
    /// This machine's cloud for other programs
    Cloud {
        #[command(subcommand)]
        command: CloudCommand,
    },
    /// Say what is missing on this machine and how to get it
    Doctor,
    /// Make room: remove what no run needs that is at work, waits or can be resumed
    Clean(CleanOptions),
    /// Who the agents are
    Agents {
        #[command(subcommand)]
        command: AgentsCommand,
    },
    /// Recordings of models' answers
    Cassettes {
        #[command(subcommand)]
        command: CassettesCommand,
    },
    /// Print what completes commands in a shell: source it, or put it where the shell looks
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page
    Man,
    /// Work on a stage in an AWS account, with the credentials and the region of the environment
    Aws {
        #[command(subcommand)]
        command: AwsCommand,
    },
}

/// Where the runs are that a command is about.
#[derive(Args, Clone, Debug)]
pub(crate) struct At {
    /// On this stage in an AWS account, with the credentials and the region of the environment [default: this machine]
    #[arg(long, global = true, value_name = "STAGE")]
    pub(crate) stage: Option<String>,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Waiting {
    /// Approve at every gate without looking (recorded as "flag, nobody looked")
    #[arg(long)]
    pub(crate) yes: bool,
    /// Leave the run parked at its gate and exit with 4
    #[arg(long, conflicts_with = "yes")]
    pub(crate) no_wait: bool,
    /// Print the result as JSON on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct DemoOptions {
    #[command(flatten)]
    pub(crate) waiting: Waiting,
}

#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("requirement").required(true).args(["text", "requirements"]))]
pub(crate) struct RunOptions {
    #[command(flatten)]
    pub(crate) at: At,
    /// The git repository [default: .]
    #[arg(long, value_name = "PATH")]
    pub(crate) repo: Option<PathBuf>,
    /// The repository on GitHub, for a run on a stage
    #[arg(long, value_name = "OWNER/NAME")]
    pub(crate) repository: Option<String>,
    /// What should be different: the text, @FILE, or - for standard input
    #[arg(value_name = "TEXT|@FILE|-")]
    pub(crate) text: Option<String>,
    /// The same, named
    #[arg(long, value_name = "TEXT|@FILE|-")]
    pub(crate) requirements: Option<String>,
    /// The commit, branch or tag to work on [default: HEAD]
    #[arg(long, value_name = "REF")]
    pub(crate) base: Option<String>,
    /// Tests that no agent ever sees: laid over the repository, they must pass at the end
    #[arg(long, value_name = "DIR")]
    pub(crate) acceptance: Option<PathBuf>,
    /// anthropic, openai, replay:FILE, record:FILE or scripted:FILE
    #[arg(long, value_name = "NAME")]
    pub(crate) provider: Option<String>,
    /// The most the run may cost
    #[arg(long, value_name = "USD")]
    pub(crate) budget: Option<f64>,
    /// auto, or none: the project's commands then run unconfined
    #[arg(long, value_name = "MODE")]
    pub(crate) sandbox: Option<String>,
    /// A folder that the project's commands may read besides the toolchain's, one after the other; setup, which has the
    /// network, could send away what it reads
    #[arg(long, value_name = "DIR")]
    pub(crate) read_only: Vec<PathBuf>,
    /// How urgent a run on a stage is: the checks of the more urgent one go first
    #[arg(long, value_parser = ["low", "normal", "high", "critical"])]
    pub(crate) priority: Option<String>,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RunsCommand {
    /// The newest runs, a line each
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// One run as a story: what was asked, what each round measured, who decided, what it cost
    Show {
        /// The run
        run: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// A run's events, in order
    Events {
        /// The run
        run: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// A run's whole change, as git writes it
    Diff {
        /// The run
        run: String,
        /// Only how many lines came and went, by file
        #[arg(long)]
        stat: bool,
    },
    /// What a run's checks printed: on the base, in each round, on the whole change
    Logs {
        /// The run
        run: String,
        /// Of this task's rounds alone
        #[arg(long, value_name = "TASK")]
        task: Option<String>,
    },
    /// A run as a page for a browser: one file, without scripts, that opens from the disk
    Report {
        /// The run
        run: String,
        /// The file to write [default: standard output]
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// What a run cost, per role, and what AWS would charge for it
    Cost {
        /// The run
        run: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Go on with a run that was interrupted, failed, denied or timed out
    Resume {
        /// The run
        run: String,
        /// The stage to begin with [default: where it ended]
        #[arg(long, value_name = "STAGE")]
        from: Option<String>,
        /// Raise what the run may cost, all told; its bound in tokens grows in the same proportion
        #[arg(long, value_name = "USD")]
        budget: Option<f64>,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Stop a run, or everything
    #[command(group = clap::ArgGroup::new("what").required(true).args(["run", "all"]))]
    Stop {
        /// The run
        run: Option<String>,
        /// Every execution of every machine, and see to it that none is left
        #[arg(long)]
        all: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum GatesCommand {
    /// Gates that wait for a decision
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// One gate: risk, reasons, diff and evidence
    Show {
        /// The gate
        gate: String,
    },
    /// Say yes
    Approve(Decision),
    /// Say no
    Deny(Decision),
    /// Ask the crew something first: it answers, and the gate opens afresh with the answer
    MoreInfo(Asking),
}

#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct CleanOptions {
    /// A run that ended longer ago is not going to be resumed: days (30d) or hours (12h)
    #[arg(long, value_name = "AGE", default_value = "30d", value_parser = crate::clean::age_ms)]
    pub(crate) older_than: i64,
    /// Also what runs left that ended longer ago: changes, evidence, snapshots; their records and events stay
    #[arg(long)]
    pub(crate) runs: bool,
    /// Only say what would be removed
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AgentsCommand {
    /// Each agent: what it may do, what it is shown, which model plays it and at what price
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum CassettesCommand {
    /// Which turns of a recording were asked with another prompt, or other tools, than the roles have now
    Stale {
        /// The recording
        file: PathBuf,
    },
}

#[derive(Args, Debug)]
pub(crate) struct Decision {
    /// The gate
    pub(crate) gate: String,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub(crate) comment: Option<String>,
    /// The hash that was shown; the decision is refused if it is another one by now
    #[arg(long, value_name = "HASH")]
    pub(crate) hash: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct Asking {
    /// The gate
    pub(crate) gate: String,
    /// The question
    pub(crate) question: String,
    /// The hash that was shown; the question is refused if it is another one by now
    #[arg(long, value_name = "HASH")]
    pub(crate) hash: Option<String>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Environment: GATEWRIGHT_RUNNER_BEARER, the runner's bearer (`gatewright aws tokens add --stage STAGE --runner NAME` makes one).
Exit codes with --once: 0 the job was measured, 1 it could not be, 75 no job waits, 130 it was given back.")]
#[command(group = clap::ArgGroup::new("where").required(true).multiple(true).args(["stage", "api"]))]
pub(crate) struct RunnerOptions {
    /// The stage, whose address is looked up with the AWS credentials and the region of the environment
    #[arg(long, value_name = "STAGE")]
    pub(crate) stage: Option<String>,
    /// The address of the stage's API, which needs no credentials: the stack's output ApiUrl
    #[arg(long, env = "GATEWRIGHT_API", value_name = "URL")]
    pub(crate) api: Option<String>,
    /// End after one job, or at once if none waits
    #[arg(long)]
    pub(crate) once: bool,
    /// auto, or none: the projects' commands then run unconfined
    #[arg(long, value_name = "MODE")]
    pub(crate) sandbox: Option<String>,
    /// A folder of this machine that the projects' commands may read besides the toolchain's, one after the other; setup
    /// could send away what it reads [default: none, whatever the projects' settings say]
    #[arg(long, value_name = "DIR")]
    pub(crate) read_only: Vec<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CloudCommand {
    /// Answer AWS's APIs on a port of the loopback, for any AWS SDK, until Ctrl-C
    Serve(ServeOptions),
}

#[derive(Args, Debug)]
pub(crate) struct ServeOptions {
    /// The port on 127.0.0.1; 0 takes a free one
    #[arg(long, value_name = "N")]
    pub(crate) port: u16,
    /// Send every invocation on to whatever answers Lambda's Invoke here, instead of running functions in this process
    #[arg(long, value_name = "URL")]
    pub(crate) lambda_endpoint: Option<String>,
    /// Time stands still, but for POST /_gatewright/clock {"advance_seconds": N}
    #[arg(long)]
    pub(crate) virtual_time: bool,
    /// The function that is told how executions begin and end, by name or ARN
    #[arg(long, value_name = "FUNCTION")]
    pub(crate) status_target: Option<String>,
    /// What it is told alone: the pattern of an EventBridge rule, JSON with lists of values
    #[arg(long, value_name = "PATTERN", requires = "status_target")]
    pub(crate) status_pattern: Option<EventPattern>,
}
