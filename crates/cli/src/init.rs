//! `gatewright init`: looks at a project and writes a commented gatewright.toml.

use std::path::{Component, Path};

use config::{CheckSpec, Detected, TestFormat};

use crate::problem::Problem;
use crate::{screen, settings};

pub(crate) async fn run(repository: &Path, root: Option<&Path>, force: bool) -> Result<u8, Problem> {
    let file = repository.join(settings::PROJECT_FILE);
    if file.exists() && !force {
        return Err(Problem::input(format!("{} is there already: edit it, or say --force", file.display())));
    }
    let found =
        match root {
            Some(root) => {
                let root = spelled(root)?;
                let found = settings::detect_in_folder(repository, &root).await?;
                Some(found.ok_or_else(|| {
                    Problem::input(format!("--root {root}: no project that is known here lies there"))
                })?)
            }
            None => settings::detect_in_work_tree(repository).await?,
        };
    let Some(found) = found else { return unknown(repository, &file).await };
    std::fs::write(&file, config::render_toml(&found))?;
    let place = if found.project.root == "." { String::new() } else { format!(" in {}", found.project.root) };
    screen::print(format!("found a {} project{place}", found.project.language));
    for command in &found.setup {
        screen::print(format!("  setup  {}", command.command));
    }
    for check in &found.checks {
        screen::print(format!("  check  {}", check.command));
    }
    for note in &found.notes {
        screen::print(format!("  note   {note}"));
    }
    screen::print(format!("wrote {}: read it, change what is wrong, commit it", file.display()));
    Ok(0)
}

/// A folder as paths of the repository begin.
fn spelled(root: &Path) -> Result<String, Problem> {
    let parts: Option<Vec<&str>> = root
        .components()
        .filter(|part| *part != Component::CurDir)
        .map(|part| if let Component::Normal(name) = part { name.to_str() } else { None })
        .collect();
    let parts = parts.ok_or_else(|| {
        Problem::input(format!(
            "--root {}: name a folder as the repository's paths begin: services/api",
            root.display()
        ))
    })?;
    Ok(if parts.is_empty() { ".".to_owned() } else { parts.join("/") })
}

/// Leaves one check whose command is left to write; until then the file is refused. Of several projects none is chosen.
async fn unknown(repository: &Path, file: &Path) -> Result<u8, Problem> {
    let roots = settings::project_roots(repository).await?;
    if roots.len() > 1 {
        let roots: Vec<String> = roots.iter().map(|root| format!("\n  gatewright init --root {root}")).collect();
        return Err(Problem::input(format!(
            "several projects lie here: say which one\n{}",
            roots.concat().trim_start_matches('\n')
        )));
    }
    let check = CheckSpec { name: "test".into(), command: String::new(), format: TestFormat::Plain };
    std::fs::write(file, config::render_toml(&Detected { checks: vec![check], ..Detected::default() }))?;
    screen::print(
        "this looks like no project that is known here (Rust, Python, Node, Go, or a Makefile with a target test)",
    );
    screen::print(format!("wrote {}: write the command that tests it under [[checks]], commit it", file.display()));
    Ok(0)
}
