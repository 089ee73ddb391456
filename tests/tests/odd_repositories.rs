//! A repository with everything that is unusual in one, from the requirement to the branch: what is not the change's stays as it
//! was, byte for byte, and what the crew cannot see is said.
#![allow(clippy::unwrap_used, reason = "a scenario fails loudly")]

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::process::Command;

use serde_json::{Value, json};
use tests::{Script, World};

const BIG_BYTES: u64 = 50 << 20;
const POINTER: &str = "version https://git-lfs.github.com/spec/v1\n\
                       oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n";
/// Sees that a tree has what the repository has, whatever is odd about it.
const CHECK: &str = "set -e\nfor test in tests/*.sh; do sh \"$test\"; done\nsha256sum --check --quiet sums.txt\n\
                     test \"$(readlink out)\" = /etc/passwd\ntest \"$(readlink up)\" = ../..\ntest -x run.sh\n\
                     test -z \"$(ls vendor/inner)\"\n";

fn odd() -> World {
    let world = World::quick();
    let place = |name: &str| world.repository().join(name);
    fs::write(place("crlf.txt"), "one\r\ntwo\r\nthree\r\n").unwrap();
    fs::write(place("mixed.txt"), b"\xef\xbb\xbfone\r\ntwo\nthree").unwrap();
    // Almost all of it is a hole.
    let big = File::create(place("big.bin")).unwrap();
    big.set_len(BIG_BYTES).unwrap();
    big.write_all_at(b"in the middle of nothing", BIG_BYTES / 2).unwrap();
    fs::write(place("blob.bin"), (0..=255).cycle().take(3 << 20).collect::<Vec<u8>>()).unwrap();
    fs::write(world.repository().join(OsStr::from_bytes(b"caf\xe9.txt")), "not UTF-8\n").unwrap();
    fs::write(place("large.psd"), POINTER).unwrap();
    fs::write(place(".gitattributes"), "*.psd filter=lfs diff=lfs merge=lfs -text\n").unwrap();
    symlink("/etc/passwd", place("out")).unwrap();
    symlink("../..", place("up")).unwrap();
    fs::write(place("run.sh"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(place("run.sh"), PermissionsExt::from_mode(0o755)).unwrap();
    fs::create_dir_all(place("vendor/inner")).unwrap();
    fs::write(place("vendor/inner/of-another.txt"), "another's\n").unwrap();
    let inner = ["init --quiet", "add --all", "commit --quiet --message another's"];
    for line in inner {
        let words = ["-C", "vendor/inner"].into_iter().chain(line.split(' '));
        world.git(&words.collect::<Vec<_>>());
    }
    fs::write(place(".gitmodules"), "[submodule \"inner\"]\n\tpath = vendor/inner\n\turl = ../inner\n").unwrap();
    let sums = "sha256sum mixed.txt big.bin blob.bin caf*.txt large.psd sums.sh > sums.txt";
    fs::write(place("sums.sh"), sums).unwrap();
    assert!(Command::new("sh").arg("sums.sh").current_dir(world.repository()).status().unwrap().success());
    world.commit(&[("check.sh", CHECK)]);
    assert!(world.git(&["ls-files", "--stage", "vendor/inner"]).starts_with("160000 "), "it is a submodule");
    world
}

/// A developer who looks at everything first, then edits one line.
fn script() -> Script {
    let read = |path: &str| ("read_file", json!({"path": path}));
    Script::default()
        .planned()
        .calls("developer", 1, &["big.bin", "blob.bin", "out", "up/x", "vendor/inner/of-another.txt"].map(read))
        .calls("developer", 1, &[("list_files", json!({})), ("search", json!({"pattern": "another"}))])
        .calls("developer", 1, &[("edit_file", json!({"path": "crlf.txt", "old": "two", "new": "TWO"}))])
        .develops(1, "sum.sh", "echo $(($1 + $2))\n")
        .tests(1, "tests/two.sh", "test \"$(sh sum.sh 1 2)\" = 3\n")
        .approves(1)
}

/// A whole run, after which nothing but the change is another's.
fn holds(world: &World) {
    let base = world.git(&["rev-parse", "HEAD"]);
    let run = world.run(&script(), &["--yes", "--json"]).expect(0).json();
    let notices: Vec<&str> = run["notices"].as_array().unwrap().iter().map(|notice| notice.as_str().unwrap()).collect();
    assert_eq!(
        notices,
        [
            "submodules are left out, the crew does not see into them: vendor/inner",
            "only the pointer of a large file (LFS) is there, not its content: large.psd",
            "the name is not UTF-8, agents do not see the file: caf\u{fffd}.txt",
        ]
    );
    let events = world.events(run["run_id"].as_str().unwrap());
    for path in ["big.bin", "blob.bin", "out", "up/x", "vendor/inner/of-another.txt"] {
        let told = events.lines().find(|line| line.contains("read_file") && line.contains(path));
        assert!(told.is_some_and(|line| line.contains("(refused)")), "{path}:\n{events}");
    }
    let branch = run["branch"].as_str().unwrap();
    assert_eq!(world.git(&["rev-parse", &format!("{branch}^")]), base);
    let changed = world.git(&["diff", "--name-status", "--no-renames", &base, branch]);
    assert_eq!(
        changed, "M\tcrlf.txt\nM\tsum.sh\nA\ttests/two.sh",
        "everything else has the mode and object of the base"
    );
    assert_eq!(world.on_branch(branch, "crlf.txt").as_deref(), Some("one\r\nTWO\r\nthree\r\n"));
    assert_eq!(world.git(&["status", "--porcelain"]), "", "the user's own tree is as it was");
    assert!(passed_everywhere(&run), "{run:#}");
}

/// Whether the check that compares every odd file with its sum passed on the base and on the change.
fn passed_everywhere(run: &Value) -> bool {
    let measured = |purpose: &str| {
        let evidence = run["evidence"].as_array().unwrap().iter().find(|evidence| evidence["purpose"] == purpose);
        evidence.is_some_and(|evidence| evidence["commands"][0]["exit"]["code"] == 0)
    };
    measured("baseline") && measured("final")
}

#[test]
fn a_repository_of_odd_things_and_its_shallow_clone_come_through_whole() {
    let world = odd();
    holds(&world);
    assert_eq!(fs::metadata(world.repository().join("big.bin")).unwrap().len(), BIG_BYTES);
    let clone = World::shallow(&world);
    assert_eq!(clone.git(&["rev-list", "--count", "HEAD"]), "1", "it is shallow");
    let shallow = || fs::read(clone.repository().join(".git/shallow")).unwrap();
    let before = shallow();
    holds(&clone);
    assert_eq!(shallow(), before, "nothing was fetched");
}
