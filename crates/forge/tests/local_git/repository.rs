//! A repository in a temporary folder.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use forge::LocalGit;
use run_model::change_set::{Edit, Overlay};
use run_model::{RepoPath, RunId};

pub(crate) struct Repository {
    folder: tempfile::TempDir,
}

impl Repository {
    pub(crate) fn empty() -> Self {
        let repository = Self { folder: tempfile::tempdir().unwrap() };
        repository.git(["init", "--quiet", "--initial-branch=main"]);
        repository
    }

    /// With files of every kind, committed.
    pub(crate) fn with_files() -> Self {
        let repository = Self::empty();
        repository.write("src/lib.rs", "pub fn one() {}\n");
        repository.write("README.md", "# Title\r\n");
        repository.write("run.sh", "#!/bin/sh\n");
        let mut mode = std::fs::metadata(repository.at("run.sh")).unwrap().permissions();
        mode.set_mode(0o755);
        std::fs::set_permissions(repository.at("run.sh"), mode).unwrap();
        std::os::unix::fs::symlink("src", repository.at("link")).unwrap();
        repository.commit_all();
        repository
    }

    pub(crate) fn root(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    pub(crate) fn write(&self, path: &str, content: &str) {
        self.write_bytes(path.as_bytes(), content);
    }

    pub(crate) fn write_bytes(&self, path: &[u8], content: &str) {
        let place = self.root().join(OsStr::from_bytes(path));
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::write(place, content).unwrap();
    }

    /// A program that leaves a trace when it runs.
    pub(crate) fn trap(&self, path: &str) -> PathBuf {
        let trace = self.folder.path().join(".git/trace");
        let place = self.at(path);
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::write(&place, format!("#!/bin/sh\ntouch {}\ncat\n", trace.display())).unwrap();
        std::fs::set_permissions(&place, PermissionsExt::from_mode(0o755)).unwrap();
        trace
    }

    pub(crate) fn git<const N: usize>(&self, args: [&str; N]) -> String {
        git_in(self.root(), &args)
    }

    pub(crate) fn commit_all(&self) -> String {
        self.git(["add", "--all"]);
        self.git(["commit", "--quiet", "--message=base"]);
        self.git(["rev-parse", "HEAD"])
    }

    pub(crate) async fn open(&self) -> LocalGit {
        LocalGit::open(self.root()).await.unwrap()
    }

    /// Everything a person has in hand: the working tree, the index, `HEAD`, settings and branches, byte for byte.
    pub(crate) fn in_hand(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        collect(self.root(), &mut files);
        let ours = ["objects", "refs/gatewright", "refs/heads/gatewright", "logs/refs/heads/gatewright"];
        files.retain(|path, _| !ours.iter().any(|ours| path.starts_with(self.at(".git").join(ours))));
        files
    }
}

fn collect(folder: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let kind = std::fs::symlink_metadata(&path).unwrap();
        if kind.is_symlink() {
            files.insert(path.clone(), std::fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec());
        } else if kind.is_dir() {
            collect(&path, files);
        } else {
            files.insert(path.clone(), std::fs::read(&path).unwrap());
        }
    }
}

pub(crate) fn git_in(folder: &Path, args: &[&str]) -> String {
    let mut git = Command::new("git");
    // In a hook, git's variables name the repository of whoever runs the tests.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_bytes().starts_with(b"GIT_")) {
        git.env_remove(name);
    }
    git.current_dir(folder).args(args).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    for who in ["AUTHOR", "COMMITTER"] {
        git.env(format!("GIT_{who}_NAME"), "Ann").env(format!("GIT_{who}_EMAIL"), "ann@example.com");
        git.env(format!("GIT_{who}_DATE"), "@1700000000 +0000");
    }
    let ended = git.output().unwrap();
    assert!(ended.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&ended.stderr));
    String::from_utf8_lossy(&ended.stdout).trim().to_owned()
}

pub(crate) fn run() -> RunId {
    RunId::new("run-1").unwrap()
}

/// Written contents, or `None` for a deletion.
pub(crate) fn overlay(edits: &[(&str, Option<&str>)]) -> Overlay {
    let edit = |content: &Option<&str>| content.map_or(Edit::Delete, |text| Edit::Write(text.into()));
    Overlay(edits.iter().map(|(path, content)| (RepoPath::new(*path).unwrap(), edit(content))).collect())
}
