//! Python: the interpreter behind whatever `python3` is on the `PATH`, with its standard library.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::programs::{interpreter, is_of_system, is_program, missing, on_path};
use super::{Asking, Toolchain, ToolchainError};

const CURE: &str = "install Python 3 with its module venv (Debian: python3 and python3-venv)";
const UV_CURE: &str = "install uv: pipx install uv";
const POETRY_CURE: &str = "install Poetry: pipx install poetry";
/// The interpreter itself, never a virtual environment or a version manager's stand-in; what it is; where its library, its headers
/// and what it is linked with lie. Its prefix may hold anything else: it may be `~/.local`.
const QUESTION: &str = "import os, sys, sysconfig\n\
                        print(getattr(sys, '_base_executable', None) or sys.executable)\n\
                        print(sys.version.replace('\\n', ' '), sysconfig.get_platform())\n\
                        base = {'base': sys.base_prefix, 'platbase': sys.base_exec_prefix,\
                         'installed_base': sys.base_prefix, 'installed_platbase': sys.base_exec_prefix}\n\
                        for name in ('stdlib', 'platstdlib', 'include'): print(sysconfig.get_path(name, vars=base))\n\
                        folder, linked = map(sysconfig.get_config_var, ('LIBDIR', 'INSTSONAME'))\n\
                        if folder and linked: print(os.path.join(folder, linked))";

/// The interpreter and those of uv and Poetry that are asked for.
///
/// Which Python it is, whoever installs it decides; a file such as `.python-version` is not followed.
pub(super) async fn find(environment: &BTreeMap<String, String>, tools: &[&str]) -> Result<Toolchain, ToolchainError> {
    let asking = Asking::of(environment, &["PYENV_ROOT", "PYENV_VERSION"]);
    let python = Interpreter::of(&asking, Path::new("python3")).await?;
    let mut toolchain = Toolchain { identity: python.identity.clone(), ..Toolchain::default() };
    toolchain.folders.extend(python.program.parent().map(Path::to_owned));
    toolchain.read_only.extend(python.shown());
    if tools.contains(&"uv") {
        uv(environment, &python, &mut toolchain)?;
    }
    if tools.contains(&"poetry") {
        poetry(environment, &asking, &python, &mut toolchain).await?;
    }
    Ok(toolchain)
}

struct Interpreter {
    program: PathBuf,
    identity: String,
    /// What it needs besides its own folder.
    parts: Vec<PathBuf>,
}

impl Interpreter {
    async fn of(asking: &Asking, program: &Path) -> Result<Self, ToolchainError> {
        // Isolated: neither the user's packages nor a variable of theirs has a say.
        let said = asking.ask(program, &["-I", "-c", QUESTION], CURE).await?;
        let mut lines = said.lines();
        let program = PathBuf::from(lines.next().unwrap_or_default());
        let identity = lines.next().unwrap_or_default().to_owned();
        Ok(Self { program, identity, parts: lines.map(PathBuf::from).collect() })
    }

    /// What of it does not lie in the system's own folders.
    fn shown(&self) -> impl Iterator<Item = PathBuf> {
        // An interpreter may be a link to another place, and both have to be there.
        let real = self.program.canonicalize().ok();
        let folders = [Some(&self.program), real.as_ref()].into_iter().flatten();
        let folders = folders.filter_map(|program| program.parent()).map(Path::to_owned).collect::<Vec<_>>();
        let paths = self.parts.iter().cloned().chain(folders);
        paths.filter(|path| path.is_absolute() && path.parent().is_some() && !is_of_system(path))
    }
}

/// uv is one file; where a version manager puts something else in its place, the interpreter's own folder is asked.
fn uv(
    environment: &BTreeMap<String, String>,
    python: &Interpreter,
    toolchain: &mut Toolchain,
) -> Result<(), ToolchainError> {
    let candidates = candidates(environment, python, "uv");
    let real = candidates.iter().filter_map(|place| place.canonicalize().ok()).find(|real| interpreter(real).is_none());
    let real = real.ok_or_else(|| missing("uv", UV_CURE))?;
    toolchain.folders.extend(real.parent().map(Path::to_owned));
    toolchain.read_only.push(real);
    Ok(())
}

/// Poetry is a script with an interpreter and an environment of its own.
async fn poetry(
    environment: &BTreeMap<String, String>,
    asking: &Asking,
    python: &Interpreter,
    toolchain: &mut Toolchain,
) -> Result<(), ToolchainError> {
    let candidates = candidates(environment, python, "poetry");
    let script = candidates.iter().filter_map(|place| place.canonicalize().ok()).find_map(|script| {
        let named = interpreter(&script)?;
        named.file_name()?.to_str()?.starts_with("python").then_some((script, named))
    });
    let (script, own) = script.ok_or_else(|| missing("poetry", POETRY_CURE))?;
    let base = Interpreter::of(asking, &own).await?;
    toolchain.folders.extend(script.parent().map(Path::to_owned));
    toolchain.read_only.extend(base.shown());
    // The folder of its environment, if it has one of its own: `bin/poetry` and what it imports lie there.
    let environment = own.parent().and_then(Path::parent).filter(|home| home.join("pyvenv.cfg").is_file());
    toolchain.read_only.extend(environment.map(Path::to_owned));
    toolchain.read_only.push(script);
    Ok(())
}

fn candidates(environment: &BTreeMap<String, String>, python: &Interpreter, name: &str) -> Vec<PathBuf> {
    let beside = python.program.parent().map(|folder| folder.join(name)).filter(|place| is_program(place));
    on_path(environment, name).into_iter().chain(beside).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::super::ALONE;
    use super::*;

    /// A machine with these programs, each a shell script.
    fn machine(programs: &[(&str, &str)]) -> (tempfile::TempDir, BTreeMap<String, String>) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in programs {
            let place = folder.path().join(name);
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::write(&place, text).unwrap();
            fs::set_permissions(&place, PermissionsExt::from_mode(0o755)).unwrap();
        }
        let path = format!("{}:/bin", folder.path().join("bin").display());
        (folder, BTreeMap::from([("PATH".to_owned(), path)]))
    }

    /// Answers as an interpreter in `/opt/python` does, whatever it is asked.
    const STAND_IN: &str =
        "#!/bin/sh\nprintf '/opt/python/bin/python3.12\\n3.12.1 linux\\n/opt/python/lib/python3.12\\n'\n";

    #[tokio::test]
    async fn the_interpreter_is_the_one_behind_a_stand_in() {
        let _alone = ALONE.lock().await;
        let (_folder, environment) = machine(&[("bin/python3", STAND_IN)]);
        let found = find(&environment, &[]).await.unwrap();
        assert_eq!(found.identity, "3.12.1 linux");
        assert_eq!(found.folders, [Path::new("/opt/python/bin")]);
        assert_eq!(found.read_only, ["/opt/python/lib/python3.12", "/opt/python/bin"].map(PathBuf::from));
    }

    #[tokio::test]
    async fn a_tool_that_is_missing_or_only_stood_in_for_is_named_with_its_cure() {
        let _alone = ALONE.lock().await;
        let (_folder, environment) = machine(&[("bin/python3", STAND_IN), ("bin/uv", "#!/bin/sh\n")]);
        let error = find(&environment, &["uv"]).await.unwrap_err().to_string();
        assert!(error.contains("`uv`") && error.contains("pipx install uv"), "{error}");
        let error = find(&environment, &["poetry"]).await.unwrap_err().to_string();
        assert!(error.contains("`poetry`") && error.contains("pipx install poetry"), "{error}");
        let none = BTreeMap::from([("PATH".to_owned(), "/nowhere".to_owned())]);
        assert!(find(&none, &[]).await.unwrap_err().to_string().contains("install Python 3"));
    }

    #[tokio::test]
    async fn a_tool_is_shown_with_the_environment_it_lies_in() {
        let _alone = ALONE.lock().await;
        let (folder, environment) = machine(&[("bin/python3", STAND_IN), ("tools/poetry/bin/python", STAND_IN)]);
        let home = folder.path().canonicalize().unwrap().join("tools/poetry");
        fs::write(home.join("pyvenv.cfg"), "").unwrap();
        fs::write(home.join("bin/poetry"), format!("#!{}/bin/python\n", home.display())).unwrap();
        fs::set_permissions(home.join("bin/poetry"), PermissionsExt::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink(home.join("bin/poetry"), folder.path().join("bin/poetry")).unwrap();
        let found = find(&environment, &["poetry"]).await.unwrap();
        assert!(found.read_only.contains(&home), "{found:?}");
        assert!(found.path(&[]).contains(&format!("{}/bin:", home.display())), "{found:?}");
    }
}
