//! What a Python project needs, and who installs it.

use toml::Table;

use super::super::{Files, command};
use super::{at, install};
use crate::CommandSpec;

/// Names of extras and groups that hold what tests need; the last only where there is none of the others.
const FOR_TESTS: [&str; 4] = ["test", "tests", "testing", "dev"];
/// The first pip that installs groups.
const PIP_OF_GROUPS: &str = "pip>=25.1";
/// What a project is called whose version is read from a history that no check sees.
const VERSION: &str = "99.0.0";

/// A project's requirements, by the files that name them.
pub(super) struct Packages {
    installer: Installer,
    /// Requirement files that name no hashes, in order.
    files: Vec<String>,
    /// Those that do, in order: pip takes nothing without one in the same command.
    locked: Vec<String>,
    /// Whether the project is a package itself, which then is linked and not copied.
    is_package: bool,
    extras: Vec<String>,
    groups: Vec<String>,
    /// A variable that says the version, if it cannot be known.
    version: Option<String>,
    /// Everything that names requirements.
    texts: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Installer {
    Pip,
    Uv,
    Poetry,
}

impl Packages {
    pub(super) fn of(files: &Files<'_>, pyproject: &Table) -> Self {
        let installer = match () {
            () if files.has("uv.lock") => Installer::Uv,
            () if files.has("poetry.lock") => Installer::Poetry,
            () => Installer::Pip,
        };
        let setup = ["setup.py", "setup.cfg"].map(|name| files.text(name).unwrap_or_default());
        let requirement_files: Vec<String> = files.all().filter(|path| is_installed(path)).map(str::to_owned).collect();
        let extras = for_tests(extras(pyproject, &setup));
        let groups = for_tests(groups(pyproject));
        let mut texts: Vec<String> = requirement_files.iter().filter_map(|path| files.text(path)).collect();
        let names_hashes = |path: &String| files.text(path).is_some_and(|text| text.contains("--hash="));
        let (locked, requirement_files) = requirement_files.into_iter().partition(names_hashes);
        texts.extend(files.text("uv.lock"));
        texts.extend(declared(pyproject, &extras, &groups));
        texts.extend(setup.iter().filter(|_| !extras.is_empty()).map(|text| text.replace("[tool:pytest]", "")));
        let has_metadata = setup[1].contains("[metadata]");
        Self {
            installer,
            is_package: pyproject.contains_key("project")
                || pyproject.contains_key("build-system")
                || files.has("setup.py")
                || has_metadata,
            extras,
            groups,
            version: version(pyproject, &setup),
            files: requirement_files,
            locked,
            texts: texts.join("\n"),
        }
    }

    /// Whether this package is among the requirements.
    pub(super) fn mention(&self, package: &str) -> bool {
        self.texts.contains(package)
    }

    pub(super) fn notes(&self) -> Vec<String> {
        let version = self
            .version
            .as_ref()
            .map(|_| format!("its version comes from git's history, which no check sees: it is set up as {VERSION}"));
        version.into_iter().collect()
    }

    /// The commands that make `.venv`, with `more` that no requirement names.
    pub(super) fn setup(&self, more: &[&str]) -> Vec<CommandSpec> {
        let names = more.join(" ");
        let version = self.version.as_ref().map(|variable| format!("{variable}={VERSION} ")).unwrap_or_default();
        match self.installer {
            Installer::Uv => {
                let more = (!more.is_empty()).then(|| command("pytest", format!("uv pip install {names}")));
                let sync = format!(
                    "{version}uv sync --frozen{}{}",
                    options("--extra", &self.extras),
                    options("--group", &self.groups)
                );
                [install(sync)].into_iter().chain(more).collect()
            }
            Installer::Poetry => {
                let line = format!(".venv/bin/python -m pip install {names}");
                let more = (!more.is_empty()).then(|| command("pytest", line));
                let line =
                    format!("poetry install{}{}", options("--extras", &self.extras), options("--with", &self.groups));
                [command("environment", "python3 -m venv .venv"), install(line)].into_iter().chain(more).collect()
            }
            Installer::Pip => self.by_pip(&version, more),
        }
    }

    fn by_pip(&self, version: &str, more: &[&str]) -> Vec<CommandSpec> {
        let mut commands = vec![command("environment", "python3 -m venv .venv")];
        let pip = ".venv/bin/python -m pip install";
        if !self.groups.is_empty() {
            commands.push(command("pip", format!("{pip} '{PIP_OF_GROUPS}'")));
        }
        if !self.locked.is_empty() {
            commands.push(command("locked", format!("{pip}{}", options("--requirement", &self.locked))));
        }
        let mut what = options("--requirement", &self.files);
        what += &options("--group", &self.groups);
        if self.is_package {
            let extras = if self.extras.is_empty() { String::new() } else { format!("[{}]", self.extras.join(",")) };
            what += &format!(" --editable '.{extras}'");
        }
        more.iter().for_each(|name| what += &format!(" {name}"));
        if !what.is_empty() {
            commands.push(install(format!("{version}{pip}{what}")));
        }
        commands
    }
}

fn options(name: &str, values: &[String]) -> String {
    values.iter().map(|value| format!(" {name} {value}")).collect()
}

/// Requirements of the project and of its tests, not those of its documentation.
fn is_installed(path: &str) -> bool {
    const KNOWN: [&str; 10] = [
        "requirements.txt",
        "requirements-dev.txt",
        "requirements-test.txt",
        "requirements-tests.txt",
        "requirements_dev.txt",
        "requirements_test.txt",
        "dev-requirements.txt",
        "test-requirements.txt",
        "tests/requirements.txt",
        "test/requirements.txt",
    ];
    let in_folder = path.strip_prefix("requirements/").and_then(|name| name.strip_suffix(".txt"));
    KNOWN.contains(&path) || in_folder.is_some_and(|name| FOR_TESTS.contains(&name) || name == "base")
}

/// Those for tests; those of developers, which hold much else, only where there are no others.
fn for_tests(names: Vec<String>) -> Vec<String> {
    let (dev, tests): (Vec<_>, Vec<_>) =
        names.into_iter().filter(|name| FOR_TESTS.contains(&name.as_str())).partition(|name| name == "dev");
    if tests.is_empty() { dev } else { tests }
}

fn keys(table: Option<&toml::Value>) -> Vec<String> {
    table.and_then(toml::Value::as_table).map(|table| table.keys().cloned().collect()).unwrap_or_default()
}

fn extras(pyproject: &Table, setup: &[String; 2]) -> Vec<String> {
    let mut names = keys(at(pyproject, &["project", "optional-dependencies"]));
    names.extend(keys(at(pyproject, &["tool", "poetry", "extras"])));
    let [script, cfg] = setup;
    if let Some((_, rest)) = cfg.split_once("[options.extras_require]") {
        let section = rest.lines().take_while(|line| !line.starts_with('['));
        let keys = section.filter(|line| !line.starts_with([' ', '\t'])).filter_map(|line| line.split_once('='));
        names.extend(keys.map(|(name, _)| name.trim().to_owned()));
    }
    if let Some((_, rest)) = script.split_once("extras_require") {
        let quoted = |name: &&&str| [format!("\"{name}\":"), format!("'{name}':")].iter().any(|key| rest.contains(key));
        names.extend(FOR_TESTS.iter().filter(quoted).map(|name| (*name).to_owned()));
    }
    names.sort();
    names.dedup();
    names
}

fn groups(pyproject: &Table) -> Vec<String> {
    let mut names = keys(pyproject.get("dependency-groups"));
    names.extend(keys(at(pyproject, &["tool", "poetry", "group"])));
    names.sort();
    names.dedup();
    names
}

/// The requirements that are installed, as the manifest spells them: pytest's own settings stand there too.
fn declared(pyproject: &Table, extras: &[String], groups: &[String]) -> Vec<String> {
    let in_table = |place: &[&str], names: &[String]| {
        let table = at(pyproject, place);
        names.iter().filter_map(|name| table?.get(name.as_str()).map(ToString::to_string)).collect::<Vec<_>>()
    };
    let mut texts = in_table(&["project", "optional-dependencies"], extras);
    texts.extend(in_table(&["dependency-groups"], groups));
    let whole: [&[&str]; 2] = [&["project", "dependencies"], &["tool", "poetry"]];
    texts.extend(whole.iter().filter_map(|place| at(pyproject, place).map(ToString::to_string)));
    texts
}

/// The variable that tells a build backend the version which it would read from git.
fn version(pyproject: &Table, setup: &[String; 2]) -> Option<String> {
    let backend = at(pyproject, &["build-system", "requires"]).map(ToString::to_string).unwrap_or_default();
    let says = |word: &str| backend.contains(word) || setup.iter().any(|text| text.contains(word));
    if says("pbr") {
        return Some("PBR_VERSION".into());
    }
    // It does not hand the project's name on.
    if says("hatch-vcs") {
        return Some("SETUPTOOLS_SCM_PRETEND_VERSION".into());
    }
    if says("pdm-backend") && at(pyproject, &["tool", "pdm", "version", "source"]).is_some() {
        return Some("PDM_BUILD_SCM_VERSION".into());
    }
    if !says("setuptools_scm") && !says("setuptools-scm") && !says("use_scm_version") {
        return None;
    }
    let name = at(pyproject, &["project", "name"]).and_then(toml::Value::as_str);
    let spelled = |name: &str| name.to_uppercase().replace(['-', '.'], "_");
    Some(match name {
        Some(name) => format!("SETUPTOOLS_SCM_PRETEND_VERSION_FOR_{}", spelled(name)),
        None => "SETUPTOOLS_SCM_PRETEND_VERSION".into(),
    })
}
