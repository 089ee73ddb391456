//! What a model wrote is run by the project's checks: whatever it does, the run comes to a verdict, the evidence says what
//! happened, and the machine is as it was.
#![allow(clippy::unwrap_used, reason = "a scenario fails loudly")]

use std::fs;
use std::io::Read as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;

use serde_json::Value;
use tests::{Ended, Provider, Script, World};

const RIGHT: &str = "echo $(($1 + $2))\n";
const NEW_TEST: (&str, &str) = ("tests/two.sh", "test \"$(sh sum.sh 1 2)\" = 3\n");
const ONE_ROUND: &str = "[limits]\niterations = 1\n";

/// The run of a developer who writes this `sum.sh`.
fn run_with(world: &World, sum: &str, more: &[&str]) -> tests::Ended {
    let script = Script::default().planned().develops(1, "sum.sh", sum).tests(1, NEW_TEST.0, NEW_TEST.1).approves(1);
    let mut arguments = vec!["--yes", "--json"];
    arguments.extend(more);
    world.run(&script, &arguments)
}

/// The run ended at its bound with red evidence that says this, and nothing was kept of it.
fn red(world: &World, ended: tests::Ended, words: &str) {
    let run = ended.expect(3).json();
    assert_eq!(run["status"], "limit_reached");
    let reason = run["outcome"]["reason"].as_str().unwrap();
    assert!(reason.contains("red: ") && reason.contains(words), "{reason}");
    assert_eq!(world.branches(), Vec::<String>::new());
    assert_eq!(world.git(&["status", "--porcelain"]), "");
}

/// What the last check of a run wrote.
fn final_check(run: &Value) -> &Value {
    let evidence = run["evidence"].as_array().unwrap();
    let last = evidence.iter().find(|evidence| evidence["purpose"] == "final").unwrap();
    &last["commands"][0]
}

/// The processes of this machine whose command line holds these words.
fn processes_with(words: &str) -> Vec<String> {
    let listed =
        fs::read_dir("/proc").unwrap().filter_map(|entry| fs::read(entry.unwrap().path().join("cmdline")).ok());
    listed.map(|line| String::from_utf8_lossy(&line).replace('\0', " ")).filter(|line| line.contains(words)).collect()
}

/// Words that no other process on this machine has.
fn marker(world: &World) -> String {
    format!("stray-{}", world.state().parent().and_then(Path::file_name).unwrap().display())
}

#[test]
fn a_stray_process_would_be_seen() {
    let world = World::quick();
    let marker = marker(&world);
    let line = format!("echo ready; read line; : {marker}");
    let mut stray =
        Command::new("sh").args(["-c", &line]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    // A process that was only just started has no command line yet: its first word says that it has.
    stray.stdout.take().unwrap().read_exact(&mut [0; 5]).unwrap();
    assert_eq!(processes_with(&marker).len(), 1);
    drop(stray.stdin.take());
    stray.wait().unwrap();
}

#[test]
fn a_check_that_hangs_is_ended_at_its_limit() {
    let world = World::quick_with(&format!("{ONE_ROUND}check_wall_seconds = 2\n"));
    let marker = marker(&world);
    let hang = format!("sh -c 'sleep 1000; : {marker}'\n");
    red(&world, run_with(&world, &hang, &[]), "passed its limit (wall)");
    assert_eq!(processes_with(&marker), Vec::<String>::new());
}

#[test]
fn a_check_that_forks_without_end_is_ended_with_all_its_processes() {
    let world = World::quick_with(&format!("{ONE_ROUND}check_processes = 40\ncheck_wall_seconds = 20\n"));
    let marker = marker(&world);
    let forks = format!("breed() {{ (exec sh -c 'sleep 1000; : {marker}') & breed; }}\nbreed\n");
    red(&world, run_with(&world, &forks, &[]), "check `test`");
    assert_eq!(processes_with(&marker), Vec::<String>::new());
}

#[test]
fn a_process_that_is_left_behind_ends_with_the_check() {
    let world = World::quick();
    let marker = marker(&world);
    let leaves = format!("setsid sh -c 'sleep 1000; : {marker}' >/dev/null 2>&1 </dev/null &\n{RIGHT}");
    run_with(&world, &leaves, &[]).expect(0);
    assert_eq!(processes_with(&marker), Vec::<String>::new());
}

#[test]
fn keys_that_a_check_prints_reach_nobody() {
    // Put together by the shell alone, so that no source holds it.
    let key = format!("AK{}{}", "IA", "QWERTYUIOP123456");
    let prints = "k=QWERTYUIOP123456\necho \"left: AK\"\"IA$k\"\nexit 1\n";
    let script = Script::default()
        .planned()
        .develops(1, "sum.sh", prints)
        .tests(1, NEW_TEST.0, NEW_TEST.1)
        .develops(2, "sum.sh", RIGHT)
        .tests(2, NEW_TEST.0, NEW_TEST.1)
        .approves(2);
    let provider = Provider::playing(&script);
    let world = World::quick_with(&provider.settings());
    world.commit(&[("check.sh", "set -e\nsh sum.sh 0 0\nfor test in tests/*.sh; do sh \"$test\"; done\n")]);
    let mut command = world.command(&["run", "--requirements", "make it right", "--yes", "--json"]);
    let ended = Ended::of(&command.env("ANTHROPIC_API_KEY", "a-key-that-opens-nothing").output().unwrap()).expect(0);
    let requests = provider.requests();
    assert!(requests.iter().any(|request| request.contains("left: ***")), "what was red was read");
    assert!(requests.iter().all(|request| !request.contains(&key)));
    let run = ended.json()["run_id"].as_str().unwrap().to_owned();
    let shown =
        format!("{}{}{}", ended.stdout, ended.stderr, world.gatewright(&["runs", "show", &run, "--json"]).stdout);
    assert!(!shown.contains(&key), "{shown}");
}

/// A project whose checks let everything pass and print what `sum.sh` could do.
fn indifferent() -> World {
    let world = World::quick();
    world.commit(&[("check.sh", "sh sum.sh 0 0\n")]);
    world
}

/// Tries every way out and says of each whether it led anywhere.
fn ways_out(world: &World, port: u16) -> String {
    let outside = world.outside("outside", &[("kept.txt", "kept\n")]);
    let (outside, state, repository) = (outside.display(), world.state(), world.repository());
    let (state, repository) = (state.display(), repository.display());
    format!(
        "try() {{ name=$1; shift; if sh -c \"$*\" >/dev/null 2>&1; then echo \"$name: done\"; else echo \"$name: kept out\"; fi; }}\n\
         try write 'echo owned > {outside}/new.txt'\n\
         try overwrite 'echo owned > {outside}/kept.txt'\n\
         try repository 'echo owned > {repository}/.git/hooks/post-commit'\n\
         try state 'ls {state}/secrets.json && cat {state}/secrets.json'\n\
         git ls-remote git://127.0.0.1:{port}/x >/dev/null 2>&1\n\
         try environment \"cat /proc/[0-9]*/environ | tr '\\\\0' '\\\\n' | grep -q '^GATEWRIGHT_TEST_WORD='\"\n\
         try first 'tr \"\\\\0\" \"\\\\n\" < /proc/1/environ | grep -q -e ^HOME= -e ^USER= -e ^PATH='\n"
    )
}

/// The lines of the final check: what each way out led to.
fn tried(run: &Value) -> Vec<String> {
    final_check(run)["output_tail"].as_str().unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn every_way_out_is_closed_to_a_check() {
    let world = indifferent();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let sum = ways_out(&world, listener.local_addr().unwrap().port());
    let script = Script::default().planned().develops(1, "sum.sh", &sum).tests(1, NEW_TEST.0, NEW_TEST.1).approves(1);
    let mut command = world.run_command(&script, &["--yes", "--json"]);
    let ended = tests::Ended::of(&command.env("GATEWRIGHT_TEST_WORD", "seen").output().unwrap()).expect(0);
    let lines = tried(&ended.json());
    assert_eq!(lines.len(), 6, "{lines:#?}");
    assert!(lines.iter().all(|line| line.ends_with(": kept out")), "{lines:#?}");
    let outside = world.path("outside");
    assert!(!outside.join("new.txt").exists());
    assert_eq!(fs::read_to_string(outside.join("kept.txt")).unwrap(), "kept\n");
    assert!(!world.repository().join(".git/hooks/post-commit").exists());
    assert!(listener.accept().is_err(), "nobody came");
}

/// The same script without confinement gets out: the test above can fail.
#[test]
fn without_the_sandbox_the_same_ways_are_open() {
    let world = indifferent();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let sum = ways_out(&world, listener.local_addr().unwrap().port());
    let (came, visitors) = mpsc::channel();
    thread::spawn(move || listener.incoming().for_each(|visitor| drop((came.send(()), visitor))));
    let script = Script::default().planned().develops(1, "sum.sh", &sum).tests(1, NEW_TEST.0, NEW_TEST.1).approves(1);
    let mut command = world.run_command(&script, &["--yes", "--json", "--sandbox", "none"]);
    let ended = tests::Ended::of(&command.env("GATEWRIGHT_TEST_WORD", "seen").output().unwrap()).expect(0);
    assert!(ended.said("warning: --sandbox none"), "{}", ended.stderr);
    let lines = tried(&ended.json());
    for way in ["write", "overwrite", "repository", "state", "environment"] {
        assert!(lines.contains(&format!("{way}: done")), "{way}: {lines:#?}");
    }
    assert_eq!(fs::read_to_string(world.path("outside").join("kept.txt")).unwrap(), "owned\n");
    assert!(visitors.try_recv().is_ok(), "somebody came");
}

#[test]
fn a_write_outside_that_fails_makes_the_check_red() {
    let world = World::quick_with(ONE_ROUND);
    let outside = world.outside("outside", &[("kept.txt", "kept\n")]);
    let sum = format!("set -e\necho owned > {}/new.txt\n{RIGHT}", outside.display());
    red(&world, run_with(&world, &sum, &[]), "exited with");
    assert!(!outside.join("new.txt").exists());
}

#[test]
fn printed_results_are_no_results() {
    let world = World::quick();
    let settings = tests::world::QUICK.replace("\"plain\"", "\"cargo_test\"");
    world.commit(&[("gatewright.toml", &format!("{settings}{ONE_ROUND}"))]);
    let boasts = "echo 'running 2 tests'\necho 'test a ... ok'\necho 'test b ... ok'\n\
                  echo 'test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out'\n";
    let fails = format!("{boasts}exit 101\n");
    red(&world, run_with(&world, &fails, &[]), "check `test`");
    let script = Script::default()
        .planned()
        .develops(1, "sum.sh", RIGHT)
        .tests(1, "tests/zero.sh", &format!("{boasts}exit 0\n"))
        .approves(1);
    red(&world, world.run(&script, &["--yes", "--json"]), "cannot be trusted");
}

#[test]
fn a_flood_of_output_is_cut_and_does_no_harm() {
    let world = indifferent();
    world.commit(&[("gatewright.toml", &format!("{}[limits]\ncheck_output_mib = 1\n", tests::world::QUICK))]);
    let run = run_with(&world, "yes flood | head -c 80000000\necho last\n", &[]).expect(0).json();
    let check = final_check(&run);
    assert_eq!(check["truncated"], true);
    let tail = check["output_tail"].as_str().unwrap();
    assert!(tail.ends_with("last") && tail.len() <= 16 * 1024, "{} bytes", tail.len());
    assert!(size_of(&world.state()) < 16_000_000);
}

fn size_of(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries
        .map(|entry| if entry.path().is_dir() { size_of(&entry.path()) } else { entry.metadata().unwrap().len() })
        .sum()
}

#[test]
fn a_check_that_fills_the_disk_is_ended_at_its_limit() {
    let world = World::quick_with(&format!("{ONE_ROUND}check_disk_mib = 16\ncheck_wall_seconds = 30\n"));
    let fills = "i=0\nwhile :; do i=$((i + 1)); head -c 4000000 /dev/zero > f$i; done\n";
    red(&world, run_with(&world, fills, &[]), "check `test`");
    assert!(size_of(&world.state()) < 64_000_000, "what it wrote is gone");
}
