//! A Rust project is built and tested inside, with nothing but its toolchain to be seen.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a test is a host: it reads the environment itself"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use sandbox::{Command, Exit, Limits, Mode, Sandbox, toolchain};

const MANIFEST: &str = "[package]\nname = \"tiny\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[workspace]\n";
const SOURCE: &str = "#[test]\nfn adds() {\n    assert_eq!(1 + 1, 2);\n}\n";

#[tokio::test]
async fn cargo_test_works_in_every_confinement() {
    let toolchain = toolchain::find("rust", &[], &std::env::vars().collect(), Path::new("/")).await.unwrap();
    for mode in [Mode::Full, Mode::Degraded] {
        let sandbox = Sandbox::with_child(Path::new(env!("CARGO_BIN_EXE_sandbox-child")));
        let job = tempfile::tempdir().unwrap();
        let inside = sandbox.workspace_inside(mode, job.path()).await;
        let inside = match inside {
            Ok(inside) => inside,
            Err(error) if mode == Mode::Degraded => {
                eprintln!("NOT TESTED on this kernel: confinement without namespaces ({error})");
                continue;
            }
            Err(error) => panic!("confinement cannot be tested here: {error}"),
        };
        let tree = job.path().join("tree");
        fs::create_dir_all(tree.join("src")).unwrap();
        fs::write(tree.join("Cargo.toml"), MANIFEST).unwrap();
        fs::write(tree.join("src/lib.rs"), SOURCE).unwrap();
        let cargo_home = inside.join("cargo-home").to_string_lossy().into_owned();
        let command = Command {
            program: "cargo".into(),
            args: vec!["test".into(), "--offline".into()],
            cwd: inside.join("tree"),
            env: BTreeMap::from([("PATH".to_owned(), toolchain.path(&[])), ("CARGO_HOME".to_owned(), cargo_home)]),
            workspace: job.path().into(),
            read_only: toolchain.read_only.clone(),
            network: false,
            limits: Limits::default(),
        };
        let outcome = sandbox.run(mode, &command).await.unwrap();
        let (stdout, stderr) = (String::from_utf8_lossy(&outcome.stdout), String::from_utf8_lossy(&outcome.stderr));
        assert_eq!(outcome.exit, Exit::Code(0), "{mode:?}\n{stdout}\n{stderr}");
        assert!(stdout.contains("test adds ... ok"), "{stdout}");
    }
}
