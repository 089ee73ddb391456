//! What lies in `.aws-sam/build` was built from: noted beside it, so that what is deployed later bears its own name.

use serde::{Deserialize, Serialize};

use crate::aws::tools::Checkout;
use crate::problem::Problem;
use crate::screen;

/// In the folder that `sam build` makes anew, so that it goes with what it is about.
const NOTE: &str = ".aws-sam/build/built-from.json";
/// The revision of what was built by other hands.
const UNKNOWN: &str = "unknown";

#[derive(Serialize, Deserialize)]
struct Note {
    commit: String,
    architecture: String,
}

/// Notes that a build of this checkout has ended; the revision that it bears. A tree that changed meanwhile is refused: nobody
/// knows which of it was compiled.
pub(crate) async fn note(checkout: &Checkout, architecture: &str) -> Result<String, Problem> {
    let now = Checkout::clean().await?;
    if now.commit != checkout.commit {
        return Err(Problem::input(format!(
            "the checkout went from {} to {} while it was built: build it again",
            checkout.commit, now.commit
        )));
    }
    let note = Note { commit: now.commit, architecture: architecture.to_owned() };
    let text = serde_json::to_string(&note).map_err(Problem::defect)?;
    std::fs::write(checkout.root.join(NOTE), text)?;
    Ok(note.commit)
}

/// The revision of what was built before. It says so if that is not what is checked out.
pub(crate) async fn revision(checkout: &Checkout, architecture: &str) -> Result<String, Problem> {
    let text = std::fs::read_to_string(checkout.root.join(NOTE)).ok();
    let Some(built) = text.and_then(|text| serde_json::from_str::<Note>(&text).ok()) else {
        screen::tell("note: `gatewright aws deploy` did not build what lies here, so the stage says revision unknown");
        return Ok(UNKNOWN.into());
    };
    if built.architecture != architecture {
        return Err(Problem::input(format!(
            "--no-build: what lies here was built for {}, and the stage is to have {architecture}: leave it out once, or say \
             --architecture {}",
            built.architecture, built.architecture
        )));
    }
    if built.commit != checkout.commit {
        screen::tell(format!("note: what lies here was built from {}, not from what is checked out", built.commit));
    } else if checkout.changes().await?.is_some() {
        screen::tell("note: the checkout has changes since, which are no part of what was built");
    }
    Ok(built.commit)
}
