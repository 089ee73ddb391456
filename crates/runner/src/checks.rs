//! Runs the checks on a tree and keeps what they showed.

use config::{CheckSpec, RunConfig, TestFormat};
use run_model::evidence::{CommandEvidence, Exit, canonical_tail, parse_cargo_test};
use sandbox::{Outcome, Sandbox};

use crate::RunnerError;
use crate::environment::{Environment, Phase};
use crate::preparation::Prepared;
use crate::workspace::Workspace;

/// Every check, in order; all of them run. Also says what confined them.
pub(crate) async fn run(
    sandbox: &Sandbox,
    environment: &Environment,
    config: &RunConfig,
    prepared: &Prepared,
    workspace: &Workspace,
) -> Result<(Vec<CommandEvidence>, Vec<String>), RunnerError> {
    let replacements = environment.replacements(workspace, &prepared.dependencies());
    let (mut commands, mut layers) = (Vec::new(), Vec::new());
    for check in &config.checks {
        let phase = Phase::Check { dependencies: &prepared.dependencies() };
        let outcome = sandbox.run(&environment.command(config, workspace, &check.command, phase)).await?;
        layers = outcome.layers.iter().map(ToString::to_string).collect();
        commands.push(evidence(check, outcome, &replacements));
    }
    Ok((commands, layers))
}

fn evidence(check: &CheckSpec, outcome: Outcome, replacements: &[(String, String)]) -> CommandEvidence {
    let (stdout, stderr) = (text_of(&outcome.stdout), text_of(&outcome.stderr));
    let (tests, doubt) = match check.format {
        TestFormat::CargoTest => {
            let parsed = parse_cargo_test(&stdout, &stderr);
            (parsed.tests, parsed.doubt)
        }
        TestFormat::Plain => (Vec::new(), None),
    };
    let output_tail = match (stderr.trim().is_empty(), stdout.trim().is_empty()) {
        (true, _) => canonical_tail(&stdout, replacements),
        (false, true) => canonical_tail(&stderr, replacements),
        (false, false) => canonical_tail(&format!("{stderr}\n{stdout}"), replacements),
    };
    CommandEvidence {
        name: check.name.clone(),
        command: check.command.clone(),
        exit: match outcome.exit {
            sandbox::Exit::Code(code) => Exit::Code(code),
            sandbox::Exit::Signal(signal) => Exit::Signal(signal),
            sandbox::Exit::Limit(limit) => Exit::Limit(limit.to_string()),
            sandbox::Exit::NotStarted(why) => Exit::NotStarted(why),
        },
        tests,
        doubt,
        output_tail,
        truncated: outcome.truncated,
        duration_ms: outcome.duration_ms,
    }
}

pub(crate) fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
