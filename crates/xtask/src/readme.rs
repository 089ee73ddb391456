//! `cargo xtask readme`: runs every block of the README as written, on a pseudo-terminal, as a new user would.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::crew;
use anyhow::{Context, Result, bail};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// The block that is this project's own tests: `cargo xtask test` is run by itself, not from here.
const TESTS: &str = "cargo xtask test";
/// Blocks that are read and not run.
const NOT_RUN: [&str; 5] = ["json", "rust", "text", "toml", "yaml"];
/// How long a block may take, compiling included.
const BOUND: Duration = Duration::from_secs(30 * 60);
/// The exit code of `timeout` when the time was up.
const TIME_WAS_UP: i32 = 124;
/// How a question at a gate ends.
const QUESTION: &str = "[approve/deny, or q QUESTION]";

/// A fenced block of the README and the heading it stands under.
#[derive(Debug, PartialEq, Eq)]
struct Block {
    heading: String,
    script: String,
}

/// Runs the blocks in order in one scratch home, each in the folder the block before it ended in.
pub(crate) fn run(root: &Path) -> Result<()> {
    let text = std::fs::read_to_string(root.join("README.md")).context("README.md")?;
    let model = crew::serve()?;
    let scratch = tempfile::tempdir()?;
    let place = scratch.path().join("place");
    std::fs::write(&place, root.to_string_lossy().as_bytes())?;
    for block in blocks(&text)?.iter().filter(|block| block.script.trim() != TESTS) {
        println!("== {}\n{}", block.heading, block.script);
        let script = in_order(&place, &block.script)?;
        run_block(scratch.path(), &script, &model, BOUND)
            .with_context(|| format!("the block under \"{}\"", block.heading))?;
    }
    println!("every command of the README did what it says");
    Ok(())
}

/// The block in the folder the block before it ended in.
fn in_order(place: &Path, script: &str) -> Result<String> {
    let folder = std::fs::read_to_string(place)?;
    Ok(format!("set -e\ncd '{}'\n{script}\npwd > '{}'\n", folder.trim_end(), place.display()))
}

/// Runs a script as somebody at a terminal would, who approves when asked, and who asks the loopback model.
fn run_block(home: &Path, script: &str, model: &str, bound: Duration) -> Result<()> {
    let (mut master, slave) = terminal()?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut command = Command::new("timeout");
    command.arg("--kill-after=10").arg(bound.as_secs_f64().to_string()).args(["bash", "-c", script]);
    // In a hook, git's variables name the repository of whoever runs this.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"GIT_")) {
        command.env_remove(name);
    }
    let mut child = command
        .env("XDG_STATE_HOME", home.join("state"))
        .env("CARGO_INSTALL_ROOT", home)
        .env("PATH", format!("{}:{}", home.join("bin").display(), path.to_string_lossy()))
        .env("ANTHROPIC_BASE_URL", model)
        .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_NAME"), "A reader")))
        .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_EMAIL"), "reader@example.invalid")))
        .stdin(slave.try_clone()?)
        .stdout(slave.try_clone()?)
        .stderr(Stdio::from(slave))
        .spawn()?;
    // It holds the terminal open.
    drop(command);
    // The terminal closes when the last program on it has ended; reading then fails, which is the end.
    let (mut seen, mut answered, mut buffer) = (String::new(), 0, [0; 4096]);
    while let Ok(count @ 1..) = master.read(&mut buffer) {
        let piece = String::from_utf8_lossy(&buffer[..count]).into_owned();
        print!("{piece}");
        seen.push_str(&piece);
        let questions = seen.matches(QUESTION).count();
        if questions > answered {
            answered = questions;
            master.write_all(b"approve\n")?;
        }
    }
    let status = child.wait()?;
    if status.code() == Some(TIME_WAS_UP) {
        bail!("did not end within {} s", bound.as_secs());
    }
    if !status.success() {
        bail!("failed ({status})");
    }
    Ok(())
}

/// A pseudo-terminal: our end and the programs' end.
fn terminal() -> Result<(File, File)> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let name = ptsname(&master, Vec::new())?;
    let slave = File::options().read(true).write(true).open(name.to_str()?)?;
    Ok((File::from(master), slave))
}

/// The fenced `sh` blocks, in order. A block of a kind that is not known here may be a command that nobody would run.
fn blocks(text: &str) -> Result<Vec<Block>> {
    let mut heading = String::new();
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(title) = line.strip_prefix('#') {
            heading = title.trim_start_matches('#').trim().to_owned();
            continue;
        }
        let Some(fence) = ["```", "~~~"].into_iter().find(|fence| line.trim_start().starts_with(fence)) else {
            continue;
        };
        let inside: Vec<&str> = lines.by_ref().take_while(|line| line.trim() != fence).collect();
        match line.strip_prefix("```") {
            Some("sh") => found.push(Block { heading: heading.clone(), script: inside.join("\n") }),
            Some(kind) if NOT_RUN.contains(&kind) => {}
            _ => bail!("the block {line:?} under \"{heading}\": write ```sh to have it run, or one of {NOT_RUN:?}"),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_with_their_heading() {
        let text = "# A\ntext\n## Run it\n```sh\ncargo run\n```\n```json\n{}\n```\n### B\n```sh\na\nb\n```\n";
        let found = blocks(text).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].heading.as_str(), found[0].script.as_str()), ("Run it", "cargo run"));
        assert_eq!((found[1].heading.as_str(), found[1].script.as_str()), ("B", "a\nb"));
    }

    #[test]
    fn a_block_of_an_unknown_kind_is_refused() {
        for fence in ["```", "```bash", "```console", "```sh ignore", "  ```sh", "~~~sh"] {
            let text = format!("## Use it\n{fence}\ncargo run\n```\n~~~\n");
            let refused = blocks(&text).unwrap_err().to_string();
            assert!(refused.contains("under \"Use it\""), "{refused}");
        }
        assert_eq!(blocks("```text\n# no heading\n```\n").unwrap(), []);
    }

    #[test]
    fn a_block_that_does_not_end_is_ended() {
        let home = tempfile::tempdir().unwrap();
        let run = |script| run_block(home.path(), script, "http://127.0.0.1:9", Duration::from_millis(100));
        assert!(run("cat /dev/zero > /dev/null").unwrap_err().to_string().contains("did not end within"));
        assert!(run("true").is_ok());
        assert!(run("false").unwrap_err().to_string().contains("failed"));
    }
}
