//! `gatewright init`: looks at a project and writes a commented gatewright.toml.

use std::path::Path;

use config::{CheckSpec, Detected, Project, TestFormat};

use crate::problem::Problem;
use crate::{screen, settings};

pub(crate) async fn run(repository: &Path, force: bool) -> Result<u8, Problem> {
    let file = repository.join(settings::PROJECT_FILE);
    if file.exists() && !force {
        return Err(Problem::input(format!("{} is there already: edit it, or say --force", file.display())));
    }
    let Some(found) = settings::detect_in_work_tree(repository).await? else {
        std::fs::write(&file, config::render_toml(&unknown()))?;
        screen::print("this looks like no project that is known here (Rust so far)");
        screen::print(format!("wrote {}: write the command that tests it under [[checks]], commit it", file.display()));
        return Ok(0);
    };
    std::fs::write(&file, config::render_toml(&found))?;
    screen::print(format!("found a {} project", found.project.language));
    for command in &found.setup {
        screen::print(format!("  setup  {}", command.command));
    }
    for check in &found.checks {
        screen::print(format!("  check  {}", check.command));
    }
    screen::print(format!("wrote {}: read it, change what is wrong, commit it", file.display()));
    Ok(0)
}

/// A project with one check whose command is left to write; until then the file is refused.
fn unknown() -> Detected {
    Detected {
        project: Project::default(),
        setup: Vec::new(),
        setup_files: Vec::new(),
        warm_up: Vec::new(),
        checks: vec![CheckSpec { name: "test".into(), command: String::new(), format: TestFormat::Plain }],
    }
}
