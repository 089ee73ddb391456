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
async fn a_ref_that_leaves_no_room_for_those_of_runs_is_told_at_once() {
    for name in ["refs/heads/gatewright", "refs/gatewright"] {
        let repository = Repository::with_files();
        repository.git(["update-ref", name, "HEAD"]);
        let error = LocalGit::open(repository.root()).await.unwrap_err();
        let words = format!("{name} stands in the way of gatewright/RUN; rename or delete it");
        assert!(error.to_string().contains(&words), "{error}");
        assert_eq!(FunctionError::from(error).name, ErrorName::InvalidInput);
    }
}

#[tokio::test]
async fn a_file_is_text_or_the_first_wrong_byte_is_named() {
    let repository = Repository::with_files();
    repository.write("good.toml", "a = 1\n");
    std::fs::write(repository.at("bad.toml"), b"# caf\xe9\n").unwrap();
    repository.commit_all();
    let git = repository.open().await;
    let text = async |path: &str| git.text_at("HEAD", path).await;
    assert_eq!(text("good.toml").await.unwrap().as_deref(), Some("a = 1\n"));
    assert_eq!(text("none.toml").await.unwrap(), None);
    assert_eq!(text("bad.toml").await.unwrap_err().to_string(), "bad.toml is no UTF-8 text (byte 5); save it as UTF-8");
    assert!(matches!(text("src").await, Err(ForgeError::NoFile(_))));
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
