//! The bare repository behind a fake GitHub, by the git program.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

const AUTHOR: [(&str, &str); 4] = [
    ("GIT_AUTHOR_NAME", "gatewright[bot]"),
    ("GIT_AUTHOR_EMAIL", "gatewright[bot]@users.noreply.github.com"),
    ("GIT_COMMITTER_NAME", "GitHub"),
    ("GIT_COMMITTER_EMAIL", "noreply@github.com"),
];

pub(super) struct Bare(TempDir);

impl Bare {
    pub(super) fn new() -> Self {
        let bare = Self(tempfile::tempdir().unwrap());
        bare.git(&["init", "--quiet", "--bare", "--initial-branch=main"]);
        bare
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn run(&self, arguments: &[&str], environment: &[(&str, &str)], input: &[u8]) -> Output {
        let mut git = Command::new("git");
        git.arg("-C").arg(self.path()).args(["-c", "core.quotePath=false", "-c", "gc.auto=0"]).args(arguments);
        git.envs(AUTHOR).envs(environment.iter().copied()).env("GIT_CONFIG_GLOBAL", "/dev/null");
        git.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = git.spawn().unwrap();
        // Git may end before it has read all.
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap()
    }

    pub(super) fn git(&self, arguments: &[&str]) -> String {
        self.git_with(arguments, &[], &[])
    }

    pub(super) fn git_with(&self, arguments: &[&str], environment: &[(&str, &str)], input: &[u8]) -> String {
        let ended = self.run(arguments, environment, input);
        assert!(ended.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&ended.stderr));
        String::from_utf8_lossy(&ended.stdout).trim().to_owned()
    }

    /// The output, if git succeeds.
    pub(super) fn found(&self, arguments: &[&str]) -> Option<String> {
        let ended = self.run(arguments, &[], &[]);
        ended.status.success().then(|| String::from_utf8_lossy(&ended.stdout).trim().to_owned())
    }

    pub(super) fn commit_of(&self, branch: &str) -> Option<String> {
        self.found(&["rev-parse", "--verify", "--quiet", &format!("refs/heads/{branch}^{{commit}}")])
    }

    /// A commit of a tree; the message is kept to the letter.
    pub(super) fn commit_tree(&self, tree: &str, parents: &[String], message: &str, seconds: u64) -> String {
        let date = format!("@{seconds} +0000");
        let mut arguments = vec!["commit-tree", tree, "-F", "-"];
        parents.iter().for_each(|parent| arguments.extend(["-p", parent]));
        let dates = [("GIT_AUTHOR_DATE", date.as_str()), ("GIT_COMMITTER_DATE", date.as_str())];
        self.git_with(&arguments, &dates, message.as_bytes())
    }

    /// A tree made of another by entries of `update-index --index-info`.
    pub(super) fn tree_with(&self, base: Option<&str>, entries: &[String]) -> Option<String> {
        let scratch = tempfile::tempdir().unwrap();
        let index = scratch.path().join("index");
        let index = [("GIT_INDEX_FILE", index.to_str().unwrap())];
        if let Some(base) = base {
            self.git_with(&["read-tree", base], &index, &[]);
        }
        let filled = self.run(&["update-index", "-z", "--index-info"], &index, entries.concat().as_bytes());
        filled.status.success().then(|| self.git_with(&["write-tree"], &index, &[]))
    }

    pub(super) fn write_blob(&self, content: &[u8]) -> String {
        self.git_with(&["hash-object", "-w", "--stdin"], &[], content)
    }

    pub(super) fn commit(&self, branch: &str, files: &[(&str, &str)]) -> String {
        let parent = self.commit_of(branch);
        let entry =
            |(path, content): &(&str, &str)| format!("100644 {}\t{path}\0", self.write_blob(content.as_bytes()));
        let entries: Vec<String> = files.iter().map(entry).collect();
        let tree = self.tree_with(parent.as_deref(), &entries).unwrap();
        let parents: Vec<String> = parent.into_iter().collect();
        let commit = self.commit_tree(&tree, &parents, &format!("files on {branch}\n"), 1_700_000_000);
        self.git(&["update-ref", &format!("refs/heads/{branch}"), &commit]);
        commit
    }
}
