use std::collections::BTreeMap;
use std::io::Read;

use flate2::read::GzDecoder;
use forge::ForgeError;
use run_model::Sha256;
use run_model::snapshot::{Entry, EntryKind};

use crate::repository::{Repository, git_in};

/// Path, mode, and content or target of every entry.
fn unpack(archive: &[u8]) -> BTreeMap<String, (u32, String)> {
    let mut archive = tar::Archive::new(GzDecoder::new(archive));
    let unpacked = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let mut content = String::new();
        entry.read_to_string(&mut content).unwrap();
        let target = entry.link_name().unwrap().map(|target| format!("-> {}", target.display()));
        (path, (entry.header().mode().unwrap(), target.unwrap_or(content)))
    });
    unpacked.collect()
}

#[tokio::test]
async fn a_snapshot_holds_the_commit_and_not_the_working_tree() {
    let repository = Repository::with_files();
    repository.write("hidden.txt", "x\n");
    repository.write("README.md", "# Title\r\n$Id$ $Format:%H$\n");
    repository.write(".gitattributes", "hidden.txt export-ignore\n*.md ident export-subst\n");
    let commit = repository.commit_all();
    repository.write("src/lib.rs", "changed\n");
    let before = repository.in_hand();
    let snapshot = repository.open().await.snapshot(&commit).await.unwrap();
    assert_eq!(repository.in_hand(), before);
    let files = unpack(&snapshot.archive);
    assert_eq!(files["src/lib.rs"], (0o644, "pub fn one() {}\n".into()));
    assert_eq!(files["README.md"], (0o644, "# Title\r\n$Id$ $Format:%H$\n".into()), "byte for byte");
    assert_eq!(files["run.sh"], (0o755, "#!/bin/sh\n".into()));
    assert_eq!(files["link"].1, "-> src");
    assert_eq!(files["hidden.txt"].1, "x\n", "export-ignore is not obeyed");
    assert_eq!(snapshot.notices, Vec::<String>::new());
    let kinds: Vec<_> = snapshot.manifest.entries.iter().map(|entry| (entry.path.as_str(), entry.kind)).collect();
    assert_eq!(
        kinds[2..],
        [
            ("hidden.txt", EntryKind::File),
            ("link", EntryKind::Symlink),
            ("run.sh", EntryKind::Executable),
            ("src/lib.rs", EntryKind::File)
        ]
    );
    let lib = snapshot.manifest.entries.last().unwrap();
    assert_eq!((lib.bytes, &lib.sha256), (16, &Sha256::of(b"pub fn one() {}\n")));
}

#[tokio::test]
async fn the_same_commit_is_the_same_archive_everywhere() {
    let repository = Repository::with_files();
    let commit = repository.git(["rev-parse", "HEAD"]);
    let beside = tempfile::tempdir().unwrap();
    let source = format!("file://{}", repository.root().display());
    git_in(beside.path(), &["clone", "--quiet", "--depth=1", &source, "shallow"]);
    let here = repository.open().await.snapshot(&commit).await.unwrap();
    let there = forge::LocalGit::open(&beside.path().join("shallow")).await.unwrap().snapshot(&commit).await.unwrap();
    assert_eq!(here.archive, there.archive);
    assert_eq!(here.manifest, there.manifest);
}

#[tokio::test]
async fn what_is_unusual_is_passed_through_and_said() {
    let repository = Repository::with_files();
    let pointer = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 9\n", "0".repeat(64));
    repository.write("large.bin", &pointer);
    repository.write_bytes(b"na\xefve.txt", "x\n");
    repository.write(&format!("{}/{}.txt", "deep".repeat(30), "long".repeat(30)), "y\n");
    let head = repository.git(["rev-parse", "HEAD"]);
    repository.git(["add", "--all"]);
    repository.git(["update-index", "--add", "--cacheinfo", &format!("160000,{head},vendor/module")]);
    repository.git(["commit", "--quiet", "--message=unusual"]);
    let git = repository.open().await;
    let snapshot = git.snapshot(&git.resolve("HEAD").await.unwrap()).await.unwrap();
    let files = unpack(&snapshot.archive);
    assert_eq!(files["large.bin"].1, pointer);
    assert_eq!(files["na\u{fffd}ve.txt"].1, "x\n");
    assert_eq!(files[&format!("{}/{}.txt", "deep".repeat(30), "long".repeat(30))].1, "y\n");
    assert_eq!(files["vendor/module"].0, 0o755);
    assert_eq!(
        snapshot.notices,
        [
            "submodules are left out, the crew does not see into them: vendor/module",
            "only the pointer of a large file (LFS) is there, not its content: large.bin",
            "the name is not UTF-8, agents do not see the file: na\u{fffd}ve.txt",
        ]
    );
    let module = snapshot.manifest.entries.last().unwrap();
    assert_eq!(
        module,
        &Entry {
            path: "vendor/module".into(),
            kind: EntryKind::Submodule,
            bytes: 0,
            sha256: Sha256::of(head.as_bytes())
        }
    );
}

#[tokio::test]
async fn a_path_that_would_leave_the_folder_is_left_out() {
    let repository = Repository::with_files();
    let blob = repository.git(["rev-parse", "HEAD:README.md"]);
    // A tree as no git would write it: the entry is called `..`.
    let object: Vec<u8> = (0..40).step_by(2).map(|at| u8::from_str_radix(&blob[at..at + 2], 16).unwrap()).collect();
    let raw = [b"100644 ..\0".as_slice(), &object, b"100644 good\0", &object].concat();
    std::fs::write(repository.at(".git/listing"), &raw).unwrap();
    let tree = repository.git([
        "hash-object",
        "-t",
        "tree",
        "--literally",
        "-w",
        repository.at(".git/listing").to_str().unwrap(),
    ]);
    let commit = repository.git(["commit-tree", "-m", "x", &tree]);
    let snapshot = repository.open().await.snapshot(&commit).await.unwrap();
    assert_eq!(unpack(&snapshot.archive).keys().collect::<Vec<_>>(), ["good"]);
    assert_eq!(snapshot.notices, ["left out, since the path would leave the folder or enter .git: .."]);
}

#[tokio::test]
async fn a_missing_object_is_named_with_a_cure() {
    let repository = Repository::with_files();
    let blob = repository.git(["rev-parse", "HEAD:src/lib.rs"]);
    std::fs::remove_file(repository.at(".git/objects").join(&blob[..2]).join(&blob[2..])).unwrap();
    let git = repository.open().await;
    let error = git.snapshot(&git.resolve("HEAD").await.unwrap()).await.unwrap_err();
    assert!(matches!(&error, ForgeError::MissingObject(object) if *object == blob), "{error}");
}
