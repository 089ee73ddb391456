use forge::{ForgeError, LocalGit};
use run_model::{ErrorName, FunctionError};

use crate::repository::{Repository, git_in};

#[tokio::test]
async fn what_is_no_repository_is_refused_with_a_cure() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().to_owned(), folder.path().join("missing")] {
        let error = LocalGit::open(&path).await.unwrap_err();
        assert!(matches!(error, ForgeError::NotARepository { .. }), "{error}");
        assert!(error.to_string().contains("run `git init` and commit"), "{error}");
        assert_eq!(FunctionError::from(error).name, ErrorName::InvalidInput);
    }
    let empty = Repository::empty();
    let error = LocalGit::open(empty.root()).await.unwrap_err();
    assert!(
        error.to_string().ends_with("has no commits; commit something first, the work is based on a commit"),
        "{error}"
    );
}

#[tokio::test]
async fn a_folder_inside_is_told_the_root() {
    let repository = Repository::with_files();
    let error = LocalGit::open(&repository.at("src")).await.unwrap_err().to_string();
    assert!(
        error.contains("lies inside the repository") && error.contains(repository.root().to_str().unwrap()),
        "{error}"
    );
}

#[tokio::test]
async fn bare_linked_and_shallow_repositories_are_repositories() {
    let repository = Repository::with_files();
    let head = repository.git(["rev-parse", "HEAD"]);
    let beside = tempfile::tempdir().unwrap();
    git_in(beside.path(), &["clone", "--quiet", "--bare", repository.root().to_str().unwrap(), "bare.git"]);
    let source = format!("file://{}", repository.root().display());
    git_in(beside.path(), &["clone", "--quiet", "--depth=1", &source, "shallow"]);
    repository.git(["worktree", "add", "--quiet", "--detach", beside.path().join("linked").to_str().unwrap()]);
    for name in ["bare.git", "shallow", "linked"] {
        let git = LocalGit::open(&beside.path().join(name)).await.unwrap();
        assert_eq!(git.resolve("HEAD").await.unwrap(), head, "{name}");
        assert_eq!(git.dirty().await.unwrap(), Vec::<String>::new(), "{name}");
    }
}

#[tokio::test]
async fn a_name_is_resolved_to_a_commit_or_refused() {
    let repository = Repository::with_files();
    let head = repository.git(["rev-parse", "HEAD"]);
    repository.git(["tag", "--annotate", "--message=x", "v1"]);
    let git = repository.open().await;
    for name in ["HEAD", "main", "v1", "refs/heads/main", &head, &head[..10]] {
        assert_eq!(git.resolve(name).await.unwrap(), head, "{name}");
    }
    for name in ["", "nowhere", "--all", "-h", "HEAD:src", "HEAD\0", &"0".repeat(40)] {
        let error = git.resolve(name).await.unwrap_err();
        assert!(matches!(error, ForgeError::UnknownRef(_)), "{name}: {error}");
    }
}

#[tokio::test]
async fn a_dirty_tree_is_seen_as_it_is() {
    let repository = Repository::with_files();
    let git = repository.open().await;
    assert_eq!(git.dirty().await.unwrap(), Vec::<String>::new());
    repository.write("src/lib.rs", "pub fn two() {}\n");
    repository.write("new file", "x");
    std::fs::remove_file(repository.at("run.sh")).unwrap();
    let before = repository.in_hand();
    assert_eq!(git.dirty().await.unwrap(), ["run.sh", "src/lib.rs", "new file"]);
    assert_eq!(repository.in_hand(), before);
}

#[tokio::test]
async fn looking_at_the_tree_runs_nothing_of_the_repository() {
    let repository = Repository::with_files();
    let trace = repository.trap(".git/trap");
    let trap = repository.at(".git/trap");
    repository.write(".gitattributes", "* filter=evil=x\n");
    repository.commit_all();
    for setting in ["filter.evil=x.clean", "core.fsmonitor"] {
        repository.git(["config", setting, trap.to_str().unwrap()]);
    }
    repository.write("README.md", "# Title\r\nmore\n");
    assert_eq!(repository.open().await.dirty().await.unwrap(), ["README.md"]);
    assert!(!trace.exists());
}
