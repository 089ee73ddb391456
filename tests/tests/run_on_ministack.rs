//! Whole runs through the deployed programs: asked for, decided and looked at over HTTP.
#![cfg(feature = "world")]
#![allow(clippy::unwrap_used, reason = "a test reports a broken expectation by its panic")]

use forge::testing::FakeGitHub;
use run_model::person::ApproverRole;
use serde_json::{Value, json};
use store::{GrantKind, NewGrant};
use tests::deployed::Deployed;
use tests::world::QUICK;
use tests::{Provider, Script};

struct Stage {
    deployed: Deployed,
    github: FakeGitHub,
    ann: String,
    bob: String,
}

impl Stage {
    /// A stage whose crew says what the script says, with two people: ann asks, bob is a tech lead.
    async fn playing(script: &Script) -> Self {
        let (github, provider) = (FakeGitHub::start().await, Provider::playing(script));
        github.commit(
            "main",
            &[
                ("sum.sh", "echo $(($1 - $2))\n"),
                ("check.sh", "set -e\nfor test in tests/*.sh; do sh \"$test\"; done\n"),
                ("tests/zero.sh", "test \"$(sh sum.sh 0 0)\" = 0\n"),
                ("gatewright.toml", &format!("{QUICK}{}", provider.settings())),
            ],
        );
        let deployed = Deployed::start().await;
        let names = deployed.store.names().clone();
        deployed.set_secret(&names.models_secret, &json!({ "ANTHROPIC_API_KEY": "a-key-for-the-loopback" })).await;
        deployed.set_secret(&names.forge_secret, &github.token_secret()).await;
        let ann = person(&deployed, "ann").await;
        let bob = person(&deployed, "bob").await;
        Self { deployed, github, ann, bob }
    }
}

/// A bearer of a tech lead of this name.
async fn person(deployed: &Deployed, name: &str) -> String {
    let roles = [ApproverRole::TechLead].into();
    let grant = NewGrant { name: name.into(), roles, lifetime_seconds: 3_600 };
    deployed.store.add_bearer(GrantKind::Person, grant).await.unwrap().0
}

fn script() -> Script {
    let test = "test \"$(sh sum.sh 1 2)\" = 3\n";
    Script::default().planned().develops(1, "sum.sh", "echo $(($1 + $2))\n").tests(1, "tests/two.sh", test).approves(1)
}

impl Stage {
    /// Asks for the change and waits for its gate: the run and the gate.
    async fn asked(&self) -> (String, Value) {
        let body = json!({ "repository": "acme/app", "requirements": "sum.sh subtracts", "idempotency_key": "once" });
        let (status, accepted) = self.deployed.ask(&self.ann, "/api/v1/orchestrate", Some(body.clone())).await;
        assert_eq!(status, 202, "{accepted}");
        let run = accepted["run_id"].as_str().unwrap().to_owned();
        let (status, again) = self.deployed.ask(&self.ann, "/api/v1/orchestrate", Some(body)).await;
        assert_eq!((status, &again["run_id"]), (200, &accepted["run_id"]), "{again}");
        let waiting = |run: &Value| run["status"] == "approval_pending" || run["outcome"].is_object();
        let waiting = self.deployed.run_when(&self.ann, &run, waiting).await;
        let gate = waiting["gate"].as_str().unwrap_or_else(|| panic!("{waiting:#}"));
        let (status, gate) = self.deployed.ask(&self.bob, &format!("/api/v1/gates/{gate}"), None).await;
        assert_eq!((status, &gate["state"]), (200, &json!("pending")), "{gate}");
        (run, gate)
    }

    async fn decide(&self, bearer: &str, gate: &Value, decision: &str) -> (u16, Value) {
        let path = format!("/api/v1/gates/{}", gate["gate_id"].as_str().unwrap());
        self.deployed.ask(bearer, &path, Some(json!({ "decision": decision, "binding": gate["binding"] }))).await
    }

    /// The run's end.
    async fn ended(&self, run: &str) -> Value {
        self.deployed.run_when(&self.ann, run, |run| run["outcome"].is_object()).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_approved_over_http_and_merged() {
    let stage = Stage::playing(&script()).await;
    let _runner = stage.deployed.start_runner().await;
    let (run, gate) = stage.asked().await;
    let (own, refusal) = stage.decide(&stage.ann, &gate, "approve").await;
    assert_eq!(own, 403, "one's own run: {refusal}");
    let (nobody, _) = stage.decide("gwb_nobody", &gate, "approve").await;
    assert_eq!(nobody, 401);
    let (decided, gate) = stage.decide(&stage.bob, &gate, "approve").await;
    assert_eq!((decided, &gate["decision"]["by"]), (200, &json!("bob")), "{gate}");
    let ended = stage.ended(&run).await;
    assert_eq!(ended["status"], "succeeded", "{ended:#}");
    assert_eq!(stage.github.git(&["show", "main:sum.sh"]), "echo $(($1 + $2))");
    assert!(stage.github.pulls().iter().all(|pull| pull.merged.is_some()), "{:?}", stage.github.pulls());
    assert!(ended["cost_microusd"].as_u64().unwrap() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_change_is_not_merged() {
    let stage = Stage::playing(&script()).await;
    let _runner = stage.deployed.start_runner().await;
    let (run, gate) = stage.asked().await;
    assert_eq!(stage.decide(&stage.bob, &gate, "deny").await.0, 200);
    assert_eq!(stage.ended(&run).await["status"], "denied");
    assert_eq!(stage.github.git(&["show", "main:sum.sh"]), "echo $(($1 - $2))");
}
