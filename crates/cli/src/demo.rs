//! `gatewright demo`: a real defect in a published package, fixed by the crew from recorded answers.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use config::Overrides;
use lambda_host::OsRandomness;
use run_model::Randomness;
use tokio::process::Command;

use crate::arguments::DemoOptions;
use crate::problem::{Problem, causes};
use crate::run::{Request, start};
use crate::{archive, screen, settings};

/// The package, the bug report, the held-out test and the recording, packed when this program was built.
const INPUT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/demo.tar"));

pub(crate) async fn run(state: &Path, options: DemoOptions) -> Result<u8, Problem> {
    let folder = state.join("demo").join(OsRandomness.hex_id(4));
    // The state folder is for this user's eyes only, also if the demo is the first to make it.
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    tar::Archive::new(INPUT).unpack(&folder)?;
    let repository = folder.join("repository");
    commit(&repository).await?;
    let requirement = std::fs::read_to_string(folder.join("requirement.md"))?;
    let acceptance = archive::pack(&folder.join("acceptance"))?;
    let overrides = Overrides {
        provider: Some(format!("replay:{}", folder.join("cassette.jsonl").display())),
        auto_approve: options.waiting.yes,
        ..Overrides::default()
    };
    let git = forge::LocalGit::open(&repository).await.map_err(|error| Problem::missing(causes(&error)))?;
    let config = settings::run_config(&git, &repository, "HEAD", overrides).await?;
    screen::tell("A user reports:\n");
    requirement.lines().for_each(|line| screen::tell(format!("  {line}")));
    screen::tell(
        "\nThe crew's answers are a recording of real model behaviour; all else happens now, on this machine.\n",
    );
    let request = Request { repository, requirement, base: "HEAD".into(), acceptance: Some(acceptance), config };
    start(state, request, &options.waiting).await
}

/// The package as a repository of one commit, always the same.
async fn commit(repository: &PathBuf) -> Result<(), Problem> {
    let steps: [&[&str]; 3] = [
        &["init", "--quiet", "--initial-branch=main"],
        &["add", "--all", "--force"],
        &["-c", "commit.gpgsign=false", "commit", "--quiet", "--message", "the package as it was published"],
    ];
    for step in steps {
        let status = Command::new("git")
            .args(["-c", "core.hooksPath=/dev/null", "-c", "core.autocrlf=false"])
            .args(step)
            .current_dir(repository)
            // Whoever started this may be git itself, in a hook: its variables name another repository.
            .env_clear()
            .env("PATH", settings::environment("PATH").unwrap_or_default())
            .envs([
                ("HOME", "/dev/null"),
                ("GIT_CONFIG_GLOBAL", "/dev/null"),
                ("GIT_CONFIG_NOSYSTEM", "1"),
                ("GIT_AUTHOR_NAME", "Gatewright demo"),
                ("GIT_AUTHOR_EMAIL", "demo@gatewright.invalid"),
                ("GIT_AUTHOR_DATE", "2026-01-01T00:00:00Z"),
                ("GIT_COMMITTER_NAME", "Gatewright demo"),
                ("GIT_COMMITTER_EMAIL", "demo@gatewright.invalid"),
                ("GIT_COMMITTER_DATE", "2026-01-01T00:00:00Z"),
            ])
            .stdin(Stdio::null())
            .status()
            .await
            .map_err(|error| Problem::missing(format!("git cannot be started ({error}): install git")))?;
        if !status.success() {
            return Err(Problem::missing(format!("git {} failed ({status})", step.join(" "))));
        }
    }
    Ok(())
}
