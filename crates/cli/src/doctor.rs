//! `gatewright doctor`: what is missing on this machine, and how to get it.

use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

use crate::local::Local;
use crate::problem::{MISSING, Problem};
use crate::settings;

/// One thing that was looked at.
struct Finding {
    good: bool,
    what: String,
    cure: Option<&'static str>,
}

pub(crate) async fn run(state: &Path) -> Result<u8, Problem> {
    let findings = [git().await, confinement().await, state_folder(state).await, key()];
    let mut code = 0;
    for finding in findings {
        println!("{} {}", if finding.good { "ok     " } else { "missing" }, finding.what);
        if let Some(cure) = finding.cure.filter(|_| !finding.good) {
            println!("        cure: {cure}");
            code = MISSING;
        }
    }
    Ok(code)
}

async fn git() -> Finding {
    let version = Command::new("git").arg("--version").stderr(Stdio::null()).output().await;
    let version = version.ok().filter(|output| output.status.success());
    Finding {
        good: version.is_some(),
        what: version.map_or_else(|| "git".into(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        cure: Some("install git, 2.30 or newer"),
    }
}

async fn confinement() -> Finding {
    let found = sandbox::Sandbox::probe().await;
    Finding {
        good: found.can_confine(),
        what: format!("confinement: {found}"),
        cure: Some(
            "allow unprivileged user namespaces (sysctl user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns=0), \
                    or use a kernel with Landlock 3 (Linux 6.2)",
        ),
    }
}

async fn state_folder(state: &Path) -> Finding {
    let opened = Local::read(state).await;
    let problem = match opened {
        Ok(local) => {
            local.close().await;
            None
        }
        Err(problem) => Some(problem),
    };
    Finding {
        good: problem.is_none(),
        what: match problem {
            None => format!("state folder {}", state.display()),
            Some(problem) => format!("state folder {}: {problem}", state.display()),
        },
        cure: Some("free the disk, mend the folder's owner and mode, or choose another with --state"),
    }
}

fn key() -> Finding {
    Finding {
        good: settings::environment("ANTHROPIC_API_KEY").is_some(),
        what: "ANTHROPIC_API_KEY in the environment".into(),
        cure: Some("export ANTHROPIC_API_KEY with a key of your provider; `gatewright demo` needs none"),
    }
}
