//! `gatewright aws` from an empty account to an empty account, with the real SAM CLI on another party's AWS.
#![cfg(feature = "world")]
#![allow(clippy::unwrap_used, reason = "a test reports a broken expectation by its panic")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use tests::machines::repository;
use tests::ministack::{MiniStack, lay_out};
use tests::{Ended, World};

/// An account of MiniStack, and a checkout with what a build leaves in it.
struct Place {
    ministack: MiniStack,
    world: World,
}

impl Place {
    fn new() -> Self {
        let world = World::quick();
        let ours = |path: &str| fs::read_to_string(repository().join(path)).unwrap();
        let (template, bootstrap) = (ours("infra/template.yaml"), ours("infra/bootstrap.yaml"));
        world.commit(&[
            ("infra/template.yaml", &template),
            ("infra/bootstrap.yaml", &bootstrap),
            (".gitignore", ".aws-sam\n"),
        ]);
        // A program that stands for all of them: nothing is invoked here.
        let program = world.path("bootstrap");
        fs::write(&program, "#!/bin/sh\nexit 1\n").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        lay_out(&world.repository(), ".aws-sam/build", &program);
        Self { ministack: MiniStack::start(&[]), world }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.world.command(&[&["aws"], arguments].concat());
        command.envs(self.ministack.environment());
        command
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        Ended::of(&self.command(arguments).output().unwrap())
    }

    fn run_with(&self, arguments: &[&str], input: &str) -> Ended {
        Ended::of_input(&mut self.command(arguments), input)
    }
}

#[track_caller]
fn says(ended: &Ended, words: &[&str]) {
    for words in words {
        assert!(ended.said(words), "{words:?} was not said:\n{}\n{}", ended.stderr, ended.stdout);
    }
}

#[test]
fn an_account_is_prepared_deployed_looked_at_and_left() {
    let place = Place::new();
    let bootstrap = ["bootstrap", "--repository", "acme/app"];
    let first = place.run(&bootstrap).expect(0);
    says(
        &first,
        &[
            "OIDC provider for GitHub was made",
            "the account is ready for acme/app",
            ":role/gatewright-actions-acme-app",
        ],
    );
    says(&place.run(&bootstrap).expect(0), &["is there already", "nothing changed: the account is ready"]);

    let deploy = [
        "deploy",
        "--stage",
        "dev",
        "--architecture",
        "x86_64",
        "--no-build",
        "--emulated",
        "--repository",
        "acme/app",
    ];
    let deployed = place.run(&deploy).expect(0);
    says(
        &deployed,
        &[
            "gatewright-dev is CREATE_COMPLETE for x86_64",
            "API: https://",
            "gatewright aws secrets set models --stage dev --field ANTHROPIC_API_KEY",
        ],
    );
    says(&place.run(&deploy).expect(0), &["No changes to deploy"]);

    let check = place.run(&["secrets", "check", "--stage", "dev"]).expect(69);
    says(&check, &["models   empty", "forge    empty", "signing  filled: token_key"]);
    for (name, field) in [("models", "ANTHROPIC_API_KEY"), ("forge", "github_token")] {
        place.run_with(&["secrets", "set", name, "--stage", "dev", "--field", field], "a-key-of-the-test").expect(0);
    }
    let check = place.run(&["secrets", "check", "--stage", "dev"]).expect(0);
    says(&check, &["models   filled: ANTHROPIC_API_KEY", "forge    filled: github_token"]);
    assert!(!check.said("a-key-of-the-test"));
    place.run(&["tokens", "add", "--stage", "dev", "--person", "ann", "--role", "tech_lead"]).expect(0);

    let status = place.run(&["status", "--stage", "dev"]).expect(0);
    // What was laid there for `--no-build` does not say which commit it was built from.
    says(
        &status,
        &[
            "gatewright-dev is in CREATE_COMPLETE in us-east-1: revision unknown, x86_64",
            "models: filled",
            "pipeline: there",
            "none under way",
        ],
    );

    let gone = place.run(&["destroy", "--stage", "dev", "--yes"]).expect(0);
    says(&gone, &["what stays: the account's OIDC provider", "gatewright-dev is gone"]);
    says(&place.run(&["status", "--stage", "dev"]).expect(65), &["no such stage"]);
}
