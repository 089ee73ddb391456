use forge::{ForgeError, LocalGit};
use run_model::change_set::Overlay;

use crate::repository::{Repository, git_in, overlay, run};

const WHEN_MS: i64 = 1_764_000_000_123;

async fn publish(git: &LocalGit, overlay: &Overlay) -> Result<String, ForgeError> {
    git.publish(&run(), "HEAD", overlay, "Add two\n\nBecause one is not enough.", WHEN_MS).await
}

fn edits() -> Overlay {
    overlay(&[
        ("src/lib.rs", Some("pub fn two() {}\n")),
        ("new/file.txt", Some("a\r\nb")),
        ("run.sh", Some("#!/bin/sh\nls\n")),
    ])
}

#[tokio::test]
async fn a_change_becomes_a_commit_and_nothing_in_hand_moves() {
    let repository = Repository::with_files();
    repository.write("src/lib.rs", "uncommitted work\n");
    repository.write("staged.txt", "staged\n");
    repository.git(["add", "staged.txt"]);
    let before = repository.in_hand();
    let commit = publish(&repository.open().await, &edits()).await.unwrap();
    assert_eq!(repository.in_hand(), before);
    repository.git(["fsck", "--strict", "--no-dangling"]);
    assert_eq!(repository.git(["rev-parse", "refs/gatewright/run-1"]), commit);
    assert_eq!(repository.git(["rev-parse", &format!("{commit}^")]), repository.git(["rev-parse", "HEAD"]));
    let changed = repository.git(["diff-tree", "-r", "--name-status", "HEAD", &commit]);
    assert_eq!(changed, "A\tnew/file.txt\nM\trun.sh\nM\tsrc/lib.rs");
    assert!(repository.git(["ls-tree", &commit, "run.sh"]).starts_with("100755 "), "the mode is kept");
    assert_eq!(
        repository.git(["log", "-1", "--format=%an <%ae> %at %B", &commit]),
        "Gatewright <gatewright@localhost> 1764000000 Add two\n\nBecause one is not enough."
    );
}

#[tokio::test]
async fn what_is_published_is_what_was_measured() {
    let repository = Repository::with_files();
    let git = repository.open().await;
    let base = git.snapshot("HEAD").await.unwrap().manifest;
    let commit = publish(&git, &edits()).await.unwrap();
    assert_eq!(git.snapshot(&commit).await.unwrap().manifest.tree_hash(), base.with_overlay(&edits()).tree_hash());
}

#[tokio::test]
async fn publishing_twice_or_elsewhere_makes_the_same_commit() {
    let repository = Repository::with_files();
    let git = repository.open().await;
    let first = publish(&git, &edits()).await.unwrap();
    assert_eq!(publish(&git, &edits()).await.unwrap(), first);
    let beside = tempfile::tempdir().unwrap();
    let source = format!("file://{}", repository.root().display());
    git_in(beside.path(), &["clone", "--quiet", "--depth=1", &source, "shallow"]);
    git_in(&beside.path().join("shallow"), &["config", "core.autocrlf", "true"]);
    let shallow = LocalGit::open(&beside.path().join("shallow")).await.unwrap();
    assert_eq!(publish(&shallow, &edits()).await.unwrap(), first);
    let other = publish(&git, &overlay(&[("src/lib.rs", Some("x\n"))])).await.unwrap();
    assert_ne!(other, first);
    assert_eq!(repository.git(["rev-parse", "refs/gatewright/run-1"]), other, "the run's own ref follows the run");
}

#[tokio::test]
async fn a_repository_with_longer_hashes_is_published_to() {
    let repository = Repository::empty();
    std::fs::remove_dir_all(repository.at(".git")).unwrap();
    repository.git(["init", "--quiet", "--object-format=sha256"]);
    repository.write("a", "a\n");
    repository.commit_all();
    let git = repository.open().await;
    let commit = publish(&git, &overlay(&[("a", Some("b\n"))])).await.unwrap();
    assert_eq!(commit.len(), 64);
    assert_eq!(git.land(&run(), &commit).await.unwrap(), "gatewright/run-1");
}

#[tokio::test]
async fn nothing_of_the_repository_runs() {
    let repository = Repository::with_files();
    repository.write(".gitattributes", "* filter=evil\n");
    repository.commit_all();
    let trap = |name: &str| {
        let path = format!(".git/{name}");
        (repository.trap(&path), repository.at(&path).to_str().unwrap().to_owned())
    };
    let (trace, program) = trap("trap");
    for hook in ["reference-transaction", "post-commit", "pre-commit", "post-index-change"] {
        trap(&format!("hooks/{hook}"));
    }
    for setting in ["filter.evil.clean", "filter.evil.process", "core.fsmonitor", "gpg.program", "core.editor"] {
        repository.git(["config", setting, &program]);
    }
    repository.git(["config", "commit.gpgSign", "true"]);
    let git = repository.open().await;
    let commit = publish(&git, &edits()).await.unwrap();
    git.snapshot(&commit).await.unwrap();
    git.land(&run(), &commit).await.unwrap();
    assert!(!trace.exists());
}

#[tokio::test]
async fn names_of_all_kinds_are_kept() {
    let repository = Repository::with_files();
    repository.write_bytes(b"na\xefve.txt", "x\n");
    repository.write("with space\tand \"quotes\"", "y\n");
    repository.commit_all();
    let commit = publish(&repository.open().await, &edits()).await.unwrap();
    let kept = repository.git(["diff-tree", "-r", "--name-only", "HEAD", &commit]);
    assert_eq!(kept, "new/file.txt\nrun.sh\nsrc/lib.rs");
}

#[tokio::test]
async fn files_go_and_folders_take_their_place() {
    let repository = Repository::with_files();
    let git = repository.open().await;
    let swapped =
        overlay(&[("README.md", None), ("README.md/part.md", Some("x\n")), ("src/lib.rs", None), ("src", Some("y\n"))]);
    let commit = publish(&git, &swapped).await.unwrap();
    assert_eq!(repository.git(["ls-tree", "-r", "--name-only", &commit]), "README.md/part.md\nlink\nrun.sh\nsrc");
    let removed = publish(&git, &overlay(&[("link", None)])).await.unwrap();
    assert_eq!(repository.git(["ls-tree", "-r", "--name-only", &removed]), "README.md\nrun.sh\nsrc/lib.rs");
}

#[tokio::test]
async fn edits_never_follow_links_or_enter_submodules() {
    let repository = Repository::with_files();
    let head = repository.git(["rev-parse", "HEAD"]);
    repository.git(["update-index", "--add", "--cacheinfo", &format!("160000,{head},module")]);
    repository.git(["commit", "--quiet", "--message=module"]);
    let git = repository.open().await;
    for (edits, problem) in [
        (vec![("link", Some("x"))], "link cannot be changed: it is a symbolic link"),
        (vec![("link/lib.rs", Some("x"))], "link/lib.rs cannot be changed: link is a symbolic link"),
        (vec![("module", Some("x"))], "module cannot be changed: it is a submodule"),
        (vec![("module", None)], "module cannot be changed: it is a submodule"),
        (vec![("module/a", Some("x"))], "module/a cannot be changed: module is a submodule"),
        (vec![("run.sh/a", Some("x"))], "run.sh/a cannot be changed: run.sh is a file"),
        (vec![("a", Some("x")), ("a/b", Some("y"))], "a cannot be changed: it is a folder"),
        (vec![("src", Some("x"))], "src cannot be changed: it is a folder"),
    ] {
        let error = publish(&git, &overlay(&edits)).await.unwrap_err().to_string();
        assert!(error.starts_with(problem), "{error}");
    }
    assert_eq!(repository.git(["for-each-ref", "refs/gatewright"]), "");
}

#[tokio::test]
async fn a_change_that_changes_nothing_is_not_published() {
    let repository = Repository::with_files();
    let git = repository.open().await;
    for same in [overlay(&[]), overlay(&[("src/lib.rs", Some("pub fn one() {}\n"))]), overlay(&[("missing", None)])] {
        assert!(matches!(publish(&git, &same).await, Err(ForgeError::NothingChanged)));
    }
    assert_eq!(repository.git(["for-each-ref", "refs/gatewright"]), "");
}
