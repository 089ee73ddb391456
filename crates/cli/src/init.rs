//! `gatewright init`: looks at a project and writes a commented gatewright.toml.

use std::path::{Component, Path};

use config::{CheckSpec, Detected, TestFormat};
use forge::{ForgeError, LocalGit};

use crate::problem::Problem;
use crate::{screen, settings};

pub(crate) async fn run(repository: &Path, root: Option<&Path>, force: bool) -> Result<u8, Problem> {
    let note = standing(repository, root).await?;
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
    let Some(found) = found else {
        let code = unknown(repository, &file).await?;
        note.iter().for_each(screen::print);
        return Ok(code);
    };
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
    note.iter().for_each(screen::print);
    Ok(0)
}

/// What git has to say first: the settings lie in the repository's root, and a run needs a commit.
async fn standing(repository: &Path, root: Option<&Path>) -> Result<Option<String>, Problem> {
    let then = "then `gatewright run`";
    match LocalGit::open(repository).await {
        Err(ForgeError::InsideRepository { path, root: top }) => {
            let (top, path) = (top.canonicalize().unwrap_or(top), path.canonicalize().unwrap_or(path));
            let below = path.strip_prefix(&top).unwrap_or(&path);
            let below = root.map_or_else(|| below.to_owned(), |root| below.join(root));
            Err(Problem::input(format!(
                "{} lies inside the repository {top}, whose settings lie in its root: run `gatewright init --repo {top} --root {}`",
                path.display(),
                below.display(),
                top = top.display(),
            )))
        }
        Err(ForgeError::NotARepository { .. }) => {
            Ok(Some(format!("note: this is no git repository yet: `git init`, commit everything, {then}")))
        }
        Err(ForgeError::NoCommits(_)) => Ok(Some(format!("note: there is no commit yet: commit everything, {then}"))),
        // What else may be wrong with it is told by whoever needs it.
        _ => Ok(None),
    }
}

/// Files that say how other projects are tested, and a command that often does it.
const SEEN: [(&str, &str); 8] = [
    ("CMakeLists.txt", "cmake -B build && cmake --build build && ctest --test-dir build --output-on-failure"),
    ("meson.build", "meson setup build && meson test -C build"),
    ("pom.xml", "mvn --offline test"),
    ("build.gradle", "gradle --offline test"),
    ("build.gradle.kts", "gradle --offline test"),
    ("Gemfile", "bundle exec rake test"),
    ("composer.json", "vendor/bin/phpunit"),
    ("mix.exs", "mix test"),
];

/// What was seen and passed over.
fn seen(repository: &Path) -> Vec<String> {
    let there = SEEN.iter().filter(|(file, _)| repository.join(file).is_file());
    there.map(|(file, command)| format!("  saw    {file}: perhaps command = {command:?}")).collect()
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
    seen(repository).iter().for_each(screen::print);
    screen::print(format!("  note   {}", config::note_on_plain("test")));
    screen::print(format!("wrote {}: write the command that tests it under [[checks]], commit it", file.display()));
    Ok(0)
}
