//! `gatewright completions` and `gatewright man`: made from the command line as clap sees it.

use std::io::Write;

use clap::CommandFactory;
use clap_complete::{Shell, generate};
use clap_mangen::Man;

use crate::arguments::Arguments;
use crate::problem::Problem;

const NAME: &str = "gatewright";

/// What completes commands in this shell, on standard output.
pub(crate) fn print(shell: Shell) -> Result<u8, Problem> {
    put(&script(shell))
}

/// The manual page of every command, on standard output.
pub(crate) fn print_manual() -> Result<u8, Problem> {
    put(&manual()?)
}

/// Whoever stops reading has read enough.
fn put(bytes: &[u8]) -> Result<u8, Problem> {
    match std::io::stdout().write_all(bytes) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(0),
    }
}

fn script(shell: Shell) -> Vec<u8> {
    let mut bytes = Vec::new();
    generate(shell, &mut Arguments::command(), NAME, &mut bytes);
    bytes
}

/// One page: the command, then each command below it as a section of its own.
fn manual() -> Result<Vec<u8>, Problem> {
    let mut command = Arguments::command();
    command.build();
    let mut bytes = Vec::new();
    Man::new(command.clone()).render(&mut bytes)?;
    of_subcommands(&command, NAME, &mut bytes)?;
    Ok(bytes)
}

fn of_subcommands(command: &clap::Command, path: &str, bytes: &mut Vec<u8>) -> Result<(), Problem> {
    for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
        let path = format!("{path} {}", below.get_name());
        writeln!(bytes, ".SH {}", path.to_uppercase())?;
        let page = Man::new(below.clone());
        page.render_description_section(bytes)?;
        if below.get_arguments().any(|argument| !argument.is_global_set() && argument.get_id() != "help") {
            page.render_options_section(bytes)?;
        }
        of_subcommands(below, &path, bytes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every command by its words.
    fn commands(command: &clap::Command, path: &str, all: &mut Vec<String>) {
        for below in command.get_subcommands() {
            let path = format!("{path} {}", below.get_name());
            commands(below, &path, all);
            all.push(path);
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_manual_has_every_command() {
        let page = String::from_utf8(manual().unwrap()).unwrap();
        let mut all = Vec::new();
        commands(&Arguments::command(), NAME, &mut all);
        assert!(all.len() > 40, "{all:?}");
        for path in all {
            assert!(page.contains(&format!(".SH {}\n", path.to_uppercase())), "{path}");
        }
    }

    #[test]
    fn each_shell_completes_every_command() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let text = String::from_utf8(script(shell)).unwrap();
            for command in Arguments::command().get_subcommands() {
                assert!(text.contains(command.get_name()), "{shell}: {}", command.get_name());
            }
        }
    }

    #[test]
    fn bash_takes_what_is_printed_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gatewright.bash");
        std::fs::write(&file, script(Shell::Bash)).unwrap();
        // A machine without bash has nobody to complete for.
        if let Ok(status) = std::process::Command::new("bash").arg("-n").arg(&file).status() {
            assert!(status.success());
        }
    }
}
