//! `gatewright doctor` says what is missing, and its log, like every log, holds no key.
#![allow(clippy::unwrap_used, reason = "a scenario fails loudly")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use tests::{Ended, World};

const KEY: &str = "a-key-of-no-known-shape";

/// The doctor with a key, and with a program `git` that says this; `more` are further variables.
fn doctor(world: &World, git: Option<&str>, more: &[(&str, &str)]) -> Ended {
    let programs = world.path("programs");
    fs::create_dir_all(&programs).unwrap();
    if let Some(says) = git {
        fs::write(programs.join("git"), format!("#!/bin/sh\necho '{says}'\n")).unwrap();
        fs::set_permissions(programs.join("git"), PermissionsExt::from_mode(0o755)).unwrap();
    }
    let mut command = world.command(&["doctor"]);
    Ended::of(&command.env("PATH", programs).envs(more.iter().copied()).output().unwrap())
}

#[test]
fn a_machine_that_has_everything_is_told_so() {
    let world = World::quick();
    let ended = doctor(&world, Some("git version 2.36.0"), &[("ANTHROPIC_API_KEY", KEY)]).expect(0);
    assert_eq!(ended.stdout.lines().filter(|line| line.starts_with("ok ")).count(), 4, "{}", ended.stdout);
}

#[test]
fn what_is_missing_is_named_with_its_cure() {
    let world = World::quick();
    let old = doctor(&world, Some("git version 2.17.1"), &[("ANTHROPIC_API_KEY", KEY)]).expect(69);
    assert!(old.said("missing git version 2.17.1\n        cure: install git 2.36 or later"), "{}", old.stdout);
    let none = doctor(&World::quick(), None, &[]).expect(69);
    assert!(none.said("missing git\n"), "{}", none.stdout);
    assert!(none.said("missing ANTHROPIC_API_KEY") && none.said("cure: export ANTHROPIC_API_KEY"), "{}", none.stdout);
}

#[test]
fn the_key_that_the_settings_ask_for_is_looked_for() {
    let (git, settings) = (Some("git version 2.50.0"), "[provider]\nkind = \"openai\"\n");
    let world = World::quick_with(settings);
    let none = doctor(&world, git, &[("ANTHROPIC_API_KEY", KEY)]).expect(69);
    assert!(none.said("missing OPENAI_API_KEY") && none.said("cure: export OPENAI_API_KEY"), "{}", none.stdout);
    assert!(!none.said("ANTHROPIC"), "{}", none.stdout);
    doctor(&world, git, &[("OPENAI_API_KEY", KEY)]).expect(0);
    let own = World::quick_with(&format!("{settings}base_url = \"http://127.0.0.1:8080/v1\"\n"));
    let ended = doctor(&own, git, &[]).expect(0);
    assert!(!ended.said("API_KEY"), "a server of one's own is asked without: {}", ended.stdout);
}

#[test]
fn what_rust_projects_need_is_looked_for_in_one() {
    let git = Some("git version 2.50.0");
    let ended = doctor(&World::rust(), git, &[("ANTHROPIC_API_KEY", KEY)]).expect(69);
    for (program, cure) in [("rustc", "rustup"), ("cargo", "rustup"), ("cc", "C compiler")] {
        assert!(ended.said(&format!("missing {program}\n")) && ended.said(cure), "{}", ended.stdout);
    }
}

#[test]
fn what_another_project_needs_is_looked_for_in_one() {
    let git = Some("git version 2.50.0");
    for (manifest, language, cure) in [
        ("requirements.txt", "python", "install Python 3"),
        ("package.json", "node", "install Node.js"),
        ("go.mod", "go", "install Go"),
    ] {
        let world = World::with(&[(manifest, "{}")]);
        world.gatewright(&["init"]).expect(0);
        let ended = doctor(&world, git, &[("ANTHROPIC_API_KEY", KEY)]).expect(69);
        assert!(ended.said(&format!("missing {language}\n")) && ended.said(cure), "{}", ended.stdout);
        assert!(!ended.said("rustc"), "{}", ended.stdout);
    }
}

#[test]
fn a_program_that_a_command_begins_with_and_nobody_has_is_named() {
    let settings = "[[setup]]\nname = \"fetch\"\ncommand = \"no-such-program fetch\"\n[[checks]]\nname = \"test\"\ncommand = \"./gone.sh\"\n";
    let world = World::with(&[("gatewright.toml", settings)]);
    let ended = doctor(&world, Some("git version 2.50.0"), &[("ANTHROPIC_API_KEY", KEY)]).expect(69);
    for program in ["no-such-program", "./gone.sh"] {
        assert!(
            ended.said(&format!("missing {program}\n        cure: install {program}, or name")),
            "{}",
            ended.stdout
        );
    }
}

#[test]
fn settings_that_cannot_be_read_are_named() {
    let world = World::with(&[("gatewright.toml", "[checks]\nformt = 1\n")]);
    let ended = doctor(&world, Some("git version 2.50.0"), &[("ANTHROPIC_API_KEY", KEY)]).expect(69);
    assert!(ended.said("missing the project's settings") && ended.said("cure: gatewright.toml: "), "{}", ended.stdout);
}

#[test]
fn a_state_folder_of_somebody_else_is_refused() {
    let world = World::quick();
    fs::create_dir(world.state()).unwrap();
    fs::set_permissions(world.state(), PermissionsExt::from_mode(0o700)).unwrap();
    // Only root can give a folder away, and then root it is that would read what others wrote.
    if std::os::unix::fs::chown(world.state(), Some(65_534), None).is_err() {
        return;
    }
    let ended = doctor(&world, Some("git version 2.50.0"), &[]).expect(69);
    assert!(ended.said("belongs to user 65534") && ended.said("chown -R"), "{}", ended.stdout);
}

#[test]
fn a_relative_state_home_is_ignored() {
    let world = World::quick();
    let home = world.outside("home", &[(".profile", "")]);
    let mut command = Command::new(tests::world::program("gatewright"));
    command.arg("doctor").current_dir(world.repository()).env("XDG_STATE_HOME", "relative").env("HOME", &home);
    let ended = Ended::of(&command.output().unwrap());
    let expected = format!("state folder {}", home.join(".local/state/gatewright").display());
    assert!(ended.said(&expected) && !world.repository().join("relative").exists(), "{}", ended.stdout);
}

#[test]
fn a_state_folder_that_others_can_enter_is_named() {
    let world = World::quick();
    fs::create_dir(world.state()).unwrap();
    fs::set_permissions(world.state(), PermissionsExt::from_mode(0o755)).unwrap();
    let ended = doctor(&world, Some("git version 2.50.0"), &[]).expect(69);
    assert!(ended.said("missing state folder") && ended.said("chmod 700"), "{}", ended.stdout);
}

#[test]
fn no_log_however_loud_holds_the_key() {
    let world = World::quick();
    let loud = [("ANTHROPIC_API_KEY", KEY), ("GATEWRIGHT_LOG", "trace")];
    let ended = doctor(&world, Some("git version 2.50.0"), &loud).expect(0);
    assert!(ended.stderr.contains("GetSecretValue") && ended.stderr.contains("***"), "{}", ended.stderr);
    assert!(!ended.said(KEY), "the key was logged");
}
