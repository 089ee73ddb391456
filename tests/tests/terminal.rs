//! At a terminal the program asks, and takes a clear answer only.
#![allow(clippy::unwrap_used, reason = "a scenario fails loudly")]

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::process::{Child, Stdio};

use run_model::gate::GateKind;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::json;
use tests::{Script, World};

/// What the model says; a plan that went before is the one that counts.
fn good_after(script: Script) -> Script {
    script
        .planned()
        .develops(1, "sum.sh", "echo $(($1 + $2))\n")
        .tests(1, "tests/two.sh", "test \"$(sh sum.sh 1 2)\" = 3\n")
        .approves(1)
}

/// A person's terminal with the program on it.
struct Terminal {
    screen: File,
    child: Child,
    shown: String,
}

impl Terminal {
    fn running(world: &World) -> Self {
        Self::playing(world, &good_after(Script::default()))
    }

    fn playing(world: &World, script: &Script) -> Self {
        let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&screen).unwrap();
        unlockpt(&screen).unwrap();
        let name = ptsname(&screen, Vec::new()).unwrap().into_string().unwrap();
        let line = File::options().read(true).write(true).open(name).unwrap();
        let end = || Stdio::from(line.try_clone().unwrap());
        let child = world.run_command(script, &[]).stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        Self { screen: File::from(screen), child, shown: String::new() }
    }

    /// Reads until these words are shown.
    fn until(&mut self, words: &str) {
        while !self.shown.contains(words) {
            assert!(self.read(), "it ended without {words:?}:\n{}", self.shown);
        }
    }

    fn types(&mut self, line: &str) {
        writeln!(self.screen, "{line}").unwrap();
    }

    /// Reads to the end; the exit code and all that was shown.
    fn end(mut self) -> (i32, String) {
        while self.read() {}
        (self.child.wait().unwrap().code().unwrap(), self.shown)
    }

    fn read(&mut self) -> bool {
        let mut bytes = [0; 4096];
        match self.screen.read(&mut bytes) {
            Ok(read) => {
                self.shown.push_str(&String::from_utf8_lossy(&bytes[..read]));
                read > 0
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => true,
            // The last one to hold the other end is gone.
            Err(_) => false,
        }
    }
}

#[test]
fn a_person_approves_at_the_prompt() {
    let world = World::quick();
    let mut terminal = Terminal::running(&world);
    terminal.until("[approve/deny, or q QUESTION] ");
    for words in ["Risk: medium", "+echo $(($1 + $2))", "checks on the change"] {
        assert!(terminal.shown.contains(words), "{words:?} was not shown before the question:\n{}", terminal.shown);
    }
    terminal.types("perhaps");
    terminal.until("Write approve or deny, or q and your question in one line: ");
    assert_eq!(world.pending_gates().len(), 1, "what is not clear decides nothing");
    terminal.types("approve");
    let (code, shown) = terminal.end();
    assert_eq!(code, 0, "{shown}");
    assert_eq!(world.branches().len(), 1);
    let (before, after) = shown.split_once("Write approve or deny, or q and your question in one line: ").unwrap();
    assert!(before.contains("| reviewer turn 1 |"), "the living line names role and turn:\n{before}");
    assert!(after.contains("| gate | reviewer turn 1 |"), "the living line comes back:\n{after}");
}

#[test]
fn a_person_denies_at_the_prompt() {
    let world = World::quick();
    let mut terminal = Terminal::running(&world);
    terminal.until("[approve/deny, or q QUESTION] ");
    terminal.types("deny");
    let (code, shown) = terminal.end();
    assert_eq!(code, 2, "{shown}");
    assert_eq!(world.branches(), Vec::<String>::new());
}

#[test]
fn a_person_asks_at_the_prompt_and_decides_when_it_is_answered() {
    let world = World::quick();
    let answer = json!({"text": "It adds now.", "places": []});
    let mut terminal = Terminal::playing(&world, &good_after(Script::default()).answers(GateKind::Change, 1, answer));
    terminal.until("[approve/deny, or q QUESTION] ");
    terminal.types("q what does it do?");
    let is_asked_again = |shown: &str| {
        let (_, rest) = shown.split_once("The crew answers: It adds now.").unwrap_or_default();
        rest.contains("[approve/deny, or q QUESTION] ")
    };
    while !is_asked_again(&terminal.shown) {
        assert!(terminal.read(), "nobody was asked again:\n{}", terminal.shown);
    }
    terminal.types("approve");
    let (code, shown) = terminal.end();
    assert_eq!(code, 0, "{shown}");
    assert_eq!(world.branches().len(), 1);
}

#[test]
fn a_prompt_ends_when_somebody_else_decided() {
    let world = World::quick();
    let mut terminal = Terminal::running(&world);
    terminal.until("[approve/deny, or q QUESTION] ");
    let gates = world.pending_gates();
    world.gatewright(&["gates", "approve", gates[0]["gate_id"].as_str().unwrap()]).expect(0);
    let (code, shown) = terminal.end();
    assert_eq!(code, 0, "{shown}");
    assert_eq!(world.branches().len(), 1);
}

#[test]
fn what_a_model_writes_cannot_steer_the_terminal() {
    let task = json!({"id": "fix", "title": "a\rtitle", "description": "it is right", "role": "developer"});
    let plan = json!({"summary": "harmless\x1b[2J\x1b[HRisk: low\x1b[8m\u{202e}\rz", "tasks": [task]});
    let world = World::quick();
    let ended = world.run(&good_after(Script::default().submits("orchestrator", 1, plan)), &["--no-wait"]).expect(4);
    let gate = world.pending_gates()[0].clone();
    let id = |name: &str| gate[name].as_str().unwrap().to_owned();
    let listed = world.gatewright(&["gates", "list"]);
    let shown = world.gatewright(&["gates", "show", &id("gate_id")]);
    for ended in [ended, listed, shown, world.gatewright(&["runs", "show", &id("run_id")])] {
        let steers = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!ended.stdout.contains(steers) && !ended.stderr.contains(steers), "{ended:?}");
    }
    let listed = world.gatewright(&["gates", "list"]).stdout;
    assert!(listed.contains(r"harmless\u{1b}[2J\u{1b}[HRisk: low\u{1b}[8m\u{202e}\rz"), "{listed}");
    assert!(world.events(&id("run_id")).contains(r"a\rtitle"));
    let parked = world.gatewright(&["runs", "show", &id("run_id")]).stdout;
    assert!(parked.contains(&format!("gatewright gates approve {}", id("gate_id"))), "{parked}");
}
