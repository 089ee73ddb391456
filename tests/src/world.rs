//! A world: a git repository, a state folder, and the program run on them.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::{Running, Script};

/// The settings of the quick project.
pub const QUICK: &str =
    "[project]\nlanguage = \"shell\"\n[[checks]]\nname = \"test\"\ncommand = \"sh check.sh\"\nformat = \"plain\"\n";

/// A repository and a state folder of its own; both vanish with it.
pub struct World {
    folder: TempDir,
}

/// How the program ended.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    pub fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code().unwrap_or(-1), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    /// How the command ends that reads this from its standard input.
    pub fn of_input(command: &mut Command, input: &str) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        Self::of(&child.wait_with_output().unwrap())
    }

    /// What `--json` printed.
    pub fn json(&self) -> Value {
        serde_json::from_str(self.stdout.trim()).unwrap_or_else(|error| panic!("{error} in {self:#?}"))
    }

    pub fn said(&self, words: &str) -> bool {
        self.stdout.contains(words) || self.stderr.contains(words)
    }

    /// Fails with everything that was said unless the code is this one.
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}\n{}", self.stderr, self.stdout);
        self
    }
}

/// The program, built beside the tests.
pub fn program(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let folder = tests.parent().and_then(Path::parent).unwrap();
    let program = folder.join(name);
    assert!(program.is_file(), "{} is not built: run `cargo build --workspace --bins`", program.display());
    program
}

impl World {
    /// A world whose repository holds one commit with these files.
    pub fn with(files: &[(&str, &str)]) -> Self {
        let world = Self::begun(files);
        world.commit(&[]);
        world
    }

    /// A world whose repository has these files in its working tree and no commit yet.
    pub fn begun(files: &[(&str, &str)]) -> Self {
        let world = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(world.repository()).unwrap();
        world.git(&["init", "--quiet", "--initial-branch=main"]);
        for (path, content) in files {
            write(&world.repository().join(path), content);
        }
        world
    }

    /// A world whose repository holds one commit with the files of a folder, and these laid over them.
    pub fn with_tree(folder: &Path, more: &[(&str, &str)]) -> Self {
        let mut files = Vec::new();
        collect(folder, "", &mut files);
        let mut files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        files.retain(|(path, _)| !more.iter().any(|(laid, _)| laid == path));
        files.extend(more);
        Self::with(&files)
    }

    /// A world whose repository is a clone of another's that has its last commit alone.
    pub fn shallow(of: &Self) -> Self {
        let world = Self { folder: tempfile::tempdir().unwrap() };
        let from = format!("file://{}", of.repository().display());
        let mut clone = Command::new("git");
        clone.args(["clone", "--quiet", "--depth", "1", &from]).arg(world.repository()).without_git();
        assert!(clone.status().unwrap().success(), "{from}");
        world
    }

    /// A project that is checked by a shell script in a moment: `sum` adds wrongly, `check.sh` does not notice.
    pub fn quick() -> Self {
        Self::with(&[
            ("sum.sh", "echo $(($1 - $2))\n"),
            ("check.sh", "set -e\nfor test in tests/*.sh; do sh \"$test\"; done\n"),
            ("tests/zero.sh", "test \"$(sh sum.sh 0 0)\" = 0\n"),
            ("gatewright.toml", QUICK),
        ])
    }

    /// The quick project with these settings besides.
    pub fn quick_with(settings: &str) -> Self {
        let world = Self::quick();
        world.commit(&[("gatewright.toml", &format!("{QUICK}{settings}"))]);
        world
    }

    /// A small crate without dependencies whose `double` is wrong.
    pub fn rust() -> Self {
        Self::with(&[
            ("Cargo.toml", "[package]\nname = \"sample\"\nversion = \"0.1.0\"\nedition = \"2021\"\n"),
            ("src/lib.rs", "/// Twice the number.\npub fn double(number: i64) -> i64 {\n    number + 2\n}\n"),
            ("tests/double.rs", "#[test]\nfn of_two() {\n    assert_eq!(sample::double(2), 4);\n}\n"),
        ])
    }

    pub fn repository(&self) -> PathBuf {
        self.folder.path().join("repository")
    }

    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// A place for files of the test.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes files into the repository and commits them.
    pub fn commit(&self, files: &[(&str, &str)]) {
        for (path, content) in files {
            write(&self.repository().join(path), content);
        }
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message", "files"]);
    }

    /// Writes files outside the repository, under `folder`, and returns where.
    pub fn outside(&self, folder: &str, files: &[(&str, &str)]) -> PathBuf {
        let place = self.path(folder);
        for (path, content) in files {
            write(&place.join(path), content);
        }
        place
    }

    /// Runs git in the repository; fails if git does.
    pub fn git(&self, arguments: &[&str]) -> String {
        let output = self.try_git(arguments);
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    pub fn try_git(&self, arguments: &[&str]) -> Output {
        Command::new("git")
            .args(["-c", "user.name=Test", "-c", "user.email=test@example.invalid", "-c", "commit.gpgsign=false"])
            .args(arguments)
            .current_dir(self.repository())
            .without_git()
            .output()
            .unwrap()
    }

    /// A file's content on a branch; `None` if the branch or the file is not there.
    pub fn on_branch(&self, branch: &str, path: &str) -> Option<String> {
        let output = self.try_git(&["show", &format!("{branch}:{path}")]);
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The branches that runs made.
    pub fn branches(&self) -> Vec<String> {
        let listed = self.git(&["branch", "--list", "gatewright/*", "--format=%(refname:short)"]);
        listed.lines().map(str::to_owned).collect()
    }

    /// The program with this world's state folder, without keys and without a terminal.
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.command_with(&self.state(), arguments)
    }

    /// The same, with another state folder.
    pub fn command_with(&self, state: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program("gatewright"));
        command
            .arg("--state")
            .arg(state)
            .args(arguments)
            .current_dir(self.repository())
            .without_git()
            .env_remove("ANTHROPIC_API_KEY")
            .env_remove("ANTHROPIC_BASE_URL")
            .env_remove("OPENAI_API_KEY")
            .env_remove("OPENAI_BASE_URL")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs the program to its end.
    pub fn gatewright(&self, arguments: &[&str]) -> Ended {
        Ended::of(&self.command(arguments).output().unwrap())
    }

    /// `gatewright run` with this script; `more` are further arguments.
    pub fn run(&self, script: &Script, more: &[&str]) -> Ended {
        Ended::of(&self.run_command(script, more).output().unwrap())
    }

    /// The same, in the background.
    pub fn spawn(&self, script: &Script, more: &[&str]) -> Running {
        Running::of(self.run_command(script, more).spawn().unwrap())
    }

    pub fn run_command(&self, script: &Script, more: &[&str]) -> Command {
        let file = self.path("script.jsonl");
        script.write(&file);
        let provider = format!("scripted:{}", file.display());
        let mut arguments = vec!["run", "--requirements", "make it right", "--provider", &provider];
        arguments.extend(more);
        self.command(&arguments)
    }

    /// A run as `runs show --json` has it.
    pub fn shown(&self, run: &str) -> Value {
        self.gatewright(&["runs", "show", run, "--json"]).expect(0).json()
    }

    /// A run's events, a line each.
    pub fn events(&self, run: &str) -> String {
        self.gatewright(&["runs", "events", run]).expect(0).stdout
    }

    /// The gates that wait, as `gates list --json` has them.
    pub fn pending_gates(&self) -> Vec<Value> {
        let listed = self.gatewright(&["gates", "list", "--json"]).expect(0).json();
        listed.as_array().cloned().unwrap_or_default()
    }
}

/// Takes a caller's git out of a command's environment.
trait WithoutGit {
    /// In a hook, or under `rebase --exec`, git's variables name the repository of whoever runs the tests.
    fn without_git(&mut self) -> &mut Self;
}

impl WithoutGit for Command {
    fn without_git(&mut self) -> &mut Self {
        let names = std::env::vars_os().map(|(name, _)| name);
        names
            .filter(|name| name.as_encoded_bytes().starts_with(b"GIT_"))
            .fold(self, |command, name| command.env_remove(name))
    }
}

fn write(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

fn collect(folder: &Path, prefix: &str, files: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type().unwrap().is_dir() {
            collect(&entry.path(), &format!("{path}/"), files);
        } else {
            files.push((path, fs::read_to_string(entry.path()).unwrap()));
        }
    }
}
