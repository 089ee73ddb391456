//! GitHub beside the local adapter: the same commit gives the same snapshot, the same change the same tree.

#![allow(clippy::unwrap_used, reason = "a test reports a broken expectation by its panic")]

#[allow(dead_code, reason = "a part of what the tests of the local adapter need")]
#[path = "../local_git/repository.rs"]
mod repository;

use forge::github::{GitHub, GitHubError, Need, Settings};
use forge::testing::FakeGitHub;
use forge::{ForgeError, LocalGit, Location, Publication, RemoteName, Room};
use repository::{Repository, git_in, overlay, run};
use run_model::change_set::Overlay;

const WRITE: Need = Need::Write { workflows: false };

fn name() -> RemoteName {
    match Location::parse("acme/app").unwrap() {
        Location::GitHub(name) => name,
        Location::Folder(path) => panic!("{}", path.display()),
    }
}

/// A GitHub that has a repository's main branch, reached.
async fn with(repository: &Repository) -> (FakeGitHub, GitHub) {
    let fake = FakeGitHub::start().await;
    repository.git(["push", "--quiet", fake.git_dir().to_str().unwrap(), "main"]);
    let settings = Settings::from_secret(fake.token_secret().as_object().unwrap()).unwrap();
    let github = GitHub::connect(&settings, &name(), WRITE).await.unwrap();
    (fake, github)
}

/// Everything that a commit may hold, and everything by which an archive differs from it.
fn everything() -> Repository {
    let repository = Repository::with_files();
    repository
        .write(".gitattributes", "hidden export-ignore\nsubst.txt export-subst\n*.bat text eol=crlf\n*.bin -text\n");
    repository.write("hidden/one", "1\n");
    repository.write("hidden/two", "2\n");
    repository.write("subst.txt", "$Format:%H$\n");
    repository.write("run.bat", "echo\n");
    repository.write_bytes(b"name-\xff", "not UTF-8\n");
    repository.write("with space/ä.txt", "ä\n");
    repository.write("empty", "");
    repository.write("large.dat", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n");
    std::fs::write(repository.at("hidden/raw.bin"), [0_u8, 159, 146, 150]).unwrap();
    let deep = format!("{}/file", ["a-folder-with-a-long-name"; 12].join("/"));
    repository.write(&deep, "deep\n");
    std::os::unix::fs::symlink(&deep, repository.at("long-link")).unwrap();
    repository.commit_all();
    let module = repository.git(["rev-parse", "HEAD"]);
    repository.git(["update-index", "--add", "--cacheinfo", &format!("160000,{module},module")]);
    repository.git(["commit", "--quiet", "--message=module"]);
    repository
}

#[tokio::test]
async fn the_snapshot_is_byte_for_byte_the_local_one() {
    let repository = everything();
    let (fake, github) = with(&repository).await;
    let commit = github.branch("HEAD").await.unwrap().commit;
    let there = github.snapshot(&commit).await.unwrap();
    let here = repository.open().await.snapshot(&commit).await.unwrap();
    assert_eq!(there.manifest, here.manifest);
    assert_eq!(there.notices, here.notices);
    assert!(there.notices.len() == 3, "{:?}", there.notices);
    assert!(there.archive == here.archive, "the archives differ");
    let asked = fake.asked();
    let of = |words: &str| asked.iter().filter(|asked| asked.path.contains(words)).count();
    assert_eq!((of("/graphql"), of("/git/blobs/")), (1, 1), "texts together, the binary file alone");
}

#[tokio::test]
async fn files_that_no_archive_holds_are_refused_when_there_are_too_many() {
    let repository = Repository::with_files();
    repository.write(".gitattributes", "hidden export-ignore\n");
    for number in 0..11_u8 {
        repository.write(&format!("hidden/{number}"), "x");
        std::fs::write(repository.at(&format!("hidden/{number}")), [0, number]).unwrap();
    }
    let commit = repository.commit_all();
    let (_fake, github) = with(&repository).await;
    let refused = github.snapshot(&commit).await.unwrap_err();
    let ForgeError::GitHub(GitHubError::TooManyLooseFiles { files: 11, shown }) = refused else { panic!("{refused}") };
    assert!(shown.starts_with("hidden/0, "), "{shown}");
}

#[tokio::test]
async fn a_base_is_a_branch_of_the_repository_itself_and_not_what_a_fork_has() {
    let repository = Repository::with_files();
    let (fake, github) = with(&repository).await;
    // GitHub keeps a fork's commits with those of its parent, and gives them out by their hash.
    let theirs = fake.commit("theirs", &[("src/lib.rs", "stolen\n")]);
    fake.git(&["update-ref", "refs/pull/7/head", &theirs]);
    fake.git(&["update-ref", "-d", "refs/heads/theirs"]);
    assert!(github.snapshot(&theirs).await.is_ok(), "it is there for whoever asks");
    for base in [theirs.as_str(), &theirs[..12], "refs/pull/7/head", "pull/7/head", "refs/pull/7/merge"] {
        let refused = github.branch(base).await.unwrap_err();
        let GitHubError::NotABranch { base: named, .. } = &refused else { panic!("{refused}") };
        assert_eq!(named, base);
    }
    let ours = repository.git(["rev-parse", "HEAD"]);
    assert!(github.branch(&ours).await.is_err(), "nor a commit without its branch, since nobody can merge into it");
    assert_eq!(github.branch("refs/heads/main").await.unwrap().commit, ours);
}

#[tokio::test]
async fn an_archive_without_room_is_refused_with_the_cure_before_it_is_held() {
    let repository = Repository::with_files();
    // It does not compress.
    let mut noise = 1_u64;
    let bytes: Vec<u8> = (0..300_000)
        .map(|_| {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (noise >> 56) as u8
        })
        .collect();
    std::fs::write(repository.at("noise.bin"), &bytes).unwrap();
    let commit = repository.commit_all();
    let (_fake, github) = with(&repository).await;
    let room = |archive_bytes| Room { archive_bytes, memory_mb: 128 };
    let github = github.within(room(200_000));
    let refused = github.snapshot(&commit).await.unwrap_err();
    assert!(matches!(refused, ForgeError::ArchiveTooLarge { limit: 200_000, .. }), "{refused}");
    let refused = refused.to_string();
    assert!(refused.contains("functions of 128 MB can hold"), "{refused}");
    assert!(refused.contains("`gatewright aws deploy --stage STAGE --memory 256`"), "{refused}");
    let taken = github.within(room(400_000)).snapshot(&commit).await.unwrap();
    assert!(taken.archive.len() > 300_000);
}

#[tokio::test]
async fn files_that_no_archive_holds_are_refused_when_they_are_too_large_to_hold() {
    let repository = Repository::with_files();
    repository.write(".gitattributes", "hidden export-ignore\n");
    repository.write("hidden", &"long ".repeat(10_000));
    let commit = repository.commit_all();
    let (_fake, github) = with(&repository).await;
    let refused = github.within(Room { archive_bytes: 100_000, memory_mb: 128 }).snapshot(&commit).await.unwrap_err();
    assert!(matches!(refused, ForgeError::GitHub(GitHubError::LooseFilesTooLarge { bytes: 50_000, .. })), "{refused}");
    assert!(refused.to_string().contains("take the attribute from the large ones (hidden)"), "{refused}");
}

fn publication<'a>(overlay: &'a Overlay, base: &'a str, run: &'a run_model::RunId) -> Publication<'a> {
    Publication {
        run,
        base_ref: "HEAD",
        base_commit: base,
        overlay,
        message: "Change\n\nGatewright-Run: run-1",
        when_ms: 0,
        title: "Change",
        body: "why",
    }
}

#[tokio::test]
async fn the_published_tree_is_the_one_that_git_makes() {
    for edits in [
        vec![("src/lib.rs", Some("pub fn two() {}\n")), ("README.md", None), ("run.sh", Some("#!/bin/sh\necho\n"))],
        vec![("hidden/one", None), ("hidden/two", None), ("hidden/raw.bin", None)],
        vec![("hidden/one", None), ("hidden/two", None), ("hidden/raw.bin", None), ("hidden", Some("a file now\n"))],
        vec![("empty", None), ("empty/new", Some("a folder now\n"))],
        vec![("new/deep/ö.txt", Some("line\r\n")), ("empty", Some("")), ("absent", None)],
    ] {
        let repository = everything();
        let (fake, github) = with(&repository).await;
        let (base, overlay, run) = (repository.git(["rev-parse", "HEAD"]), overlay(&edits), run());
        let there = github.publish(&publication(&overlay, &base, &run)).await.unwrap();
        let here = repository.open().await.publish(&run, &base, &overlay, "m", 0).await.unwrap();
        let tree = |commit: &str| format!("{commit}^{{tree}}");
        let made = fake.git(&["rev-parse", &tree(&there.commit)]);
        assert_eq!(made, repository.git(["rev-parse", &tree(&here)]), "{edits:?}");
        assert_eq!(fake.git(&["fsck", "--full", "--no-dangling"]), "");
        assert_eq!(LocalGit::open(fake.git_dir()).await.unwrap().tree_of(&there.commit).await.unwrap(), made);
    }
}

#[tokio::test]
async fn what_changes_nothing_or_goes_through_a_link_is_refused_before_anything_is_written() {
    let repository = everything();
    let (fake, github) = with(&repository).await;
    let (base, run) = (repository.git(["rev-parse", "HEAD"]), run());
    for edits in [
        vec![("src/lib.rs", Some("pub fn one() {}\n"))],
        vec![("absent", None)],
        vec![("link/new", Some("x"))],
        vec![("module/new", Some("x"))],
        vec![("module", None)],
        vec![("src", Some("x"))],
    ] {
        let overlay = overlay(&edits);
        let refused = github.publish(&publication(&overlay, &base, &run)).await.unwrap_err();
        assert!(matches!(refused, ForgeError::NothingChanged | ForgeError::Path { .. }), "{edits:?}: {refused}");
    }
    assert!(fake.asked().iter().all(|asked| asked.method == "GET"));
    assert_eq!(git_in(fake.git_dir(), &["for-each-ref", "--format=%(refname)"]), "refs/heads/main");
}
