//! Finding the repository, its commits, and what the working tree holds beside them.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::ForgeError;
use crate::git::Call;
use crate::tree::paths;

/// A git repository on this machine.
#[derive(Clone, Debug)]
pub struct LocalGit {
    git_dir: PathBuf,
    work_tree: Option<PathBuf>,
}

impl LocalGit {
    /// The repository whose root is `path`: its working tree, a linked one, or a bare repository.
    ///
    /// # Errors
    /// [`ForgeError::NotARepository`], [`ForgeError::InsideRepository`] if its root is another folder,
    /// [`ForgeError::NoCommits`], [`ForgeError::NameInTheWay`], [`ForgeError::NoGit`].
    pub async fn open(path: &Path) -> Result<Self, ForgeError> {
        let not_a_repository = |said: String| ForgeError::NotARepository { path: path.to_owned(), said };
        let real = path.canonicalize().map_err(|problem| not_a_repository(problem.to_string()))?;
        let ask = |what: &'static str| Call::new("rev-parse").discovering_in(&real).args([what]).text(&[]);
        let git_dir = match ask("--absolute-git-dir").await {
            Err(ForgeError::Git { said, .. }) => return Err(not_a_repository(said)),
            other => PathBuf::from(other?),
        };
        let work_tree = match ask("--show-toplevel").await {
            Err(ForgeError::Git { .. }) => None,
            other => Some(PathBuf::from(other?)),
        };
        let root = work_tree.as_ref().unwrap_or(&git_dir);
        if root.canonicalize().ok().as_ref() != Some(&real) {
            return Err(ForgeError::InsideRepository { path: path.to_owned(), root: root.clone() });
        }
        let repository = Self { git_dir, work_tree };
        let head = repository.commit_of("HEAD").await?;
        let any = repository.call("for-each-ref").args(["--count=1"]).text(&[]).await?;
        if head.is_none() && any.is_empty() {
            return Err(ForgeError::NoCommits(path.to_owned()));
        }
        for (kind, name) in [("branch", "refs/heads/gatewright"), ("ref", "refs/gatewright")] {
            if repository.ref_target(name).await?.is_some() {
                return Err(ForgeError::NameInTheWay { kind, name });
            }
        }
        Ok(repository)
    }

    /// The user whom the repository belongs to, by number, if it is another than whoever this process is: git by itself would
    /// refuse it as of dubious ownership.
    pub fn foreign_owner(&self) -> Option<u32> {
        let folders = [Some(&self.git_dir), self.work_tree.as_ref()].into_iter().flatten();
        let mut owners = folders.filter_map(|folder| std::fs::metadata(folder).ok()).map(|found| found.uid());
        owners.find(|owner| *owner != rustix::process::geteuid().as_raw())
    }

    /// The commit that a branch, a tag, `HEAD` or a commit's own name stands for, as 40 or 64 hexadecimal digits.
    ///
    /// # Errors
    /// [`ForgeError::UnknownRef`]
    pub async fn resolve(&self, name: &str) -> Result<String, ForgeError> {
        self.commit_of(name).await?.ok_or_else(|| ForgeError::UnknownRef(name.to_owned()))
    }

    /// The paths in which working tree and `HEAD` differ, untracked ones included; empty for a bare repository.
    /// Submodules are not looked into, and files are compared as they are, without filters.
    ///
    /// # Errors
    /// [`ForgeError::Git`]
    pub async fn dirty(&self) -> Result<Vec<String>, ForgeError> {
        let Some(work_tree) = &self.work_tree else { return Ok(Vec::new()) };
        let status =
            Call::with_settings("status", &self.without_filters().await?).on_work_tree(&self.git_dir, work_tree);
        let status = status.args([
            "--porcelain=v1",
            "-z",
            "--no-renames",
            "--untracked-files=normal",
            "--ignore-submodules=all",
        ]);
        let listed = status.bytes(&[]).await?;
        let paths = listed.split(|byte| *byte == 0).filter_map(|entry| entry.get(3..));
        Ok(paths.map(|path| String::from_utf8_lossy(path).into_owned()).collect())
    }

    /// The paths of files in a folder of a working tree, relative to it: those that git keeps, or with `untracked` those too that it would not
    /// ignore. Needs no commit.
    ///
    /// # Errors
    /// [`ForgeError::Git`] if it is no working tree; [`ForgeError::NoGit`].
    pub async fn paths_in_work_tree(folder: &Path, untracked: bool) -> Result<Vec<String>, ForgeError> {
        let more: &[&str] = if untracked { &["--others", "--exclude-standard"] } else { &[] };
        let listed = Call::new("ls-files").discovering_in(folder).args(["-z", "--cached"]).args(more);
        Ok(paths(&listed.bytes(&[]).await?))
    }

    /// Settings that empty every filter the repository names: they are programs.
    async fn without_filters(&self) -> Result<Vec<(String, &'static str)>, ForgeError> {
        let pattern = r"^filter\..*\.(clean|smudge|process|required)$";
        let named =
            self.call("config").args(["-z", "--name-only", "--get-regexp", pattern]).found().await?.unwrap_or_default();
        Ok(named.split('\0').filter(|name| !name.is_empty()).map(|name| (name.to_owned(), "")).collect())
    }

    async fn commit_of(&self, name: &str) -> Result<Option<String>, ForgeError> {
        if name.is_empty() || name.contains('\0') {
            return Ok(None);
        }
        let commit = format!("{name}^{{commit}}");
        self.call("rev-parse").args(["--verify", "--quiet", "--end-of-options", &commit]).found().await
    }

    /// A call on this repository that needs no working tree.
    pub(crate) fn call(&self, command: &str) -> Call {
        Call::new(command).on(&self.git_dir)
    }
}
