//! `gatewright init`: looks at a project and writes a commented gatewright.toml.

use std::path::Path;

use crate::problem::Problem;
use crate::{screen, settings};

pub(crate) async fn run(repository: &Path, force: bool) -> Result<u8, Problem> {
    let file = repository.join(settings::PROJECT_FILE);
    if file.exists() && !force {
        return Err(Problem::input(format!("{} is there already: edit it, or say --force", file.display())));
    }
    let found = settings::detect_in_work_tree(repository).await?.ok_or_else(|| {
        Problem::input(format!(
            "{} looks like no project that is known here (Rust so far): write {} by hand, with the command that tests it \
             under [[checks]]",
            repository.display(),
            settings::PROJECT_FILE
        ))
    })?;
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
