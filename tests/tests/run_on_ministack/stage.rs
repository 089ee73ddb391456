//! A deployed stage with a repository on GitHub, a model, a runner, and two people.

use forge::testing::FakeGitHub;
use run_model::RunId;
use run_model::budget::{UsageEntry, UsageState};
use run_model::person::ApproverRole;
use serde_json::{Value, json};
use store::{GrantKind, NewGrant};
use tests::deployed::Deployed;
use tests::world::QUICK;
use tests::{Provider, Running, Script};

pub(crate) const RIGHT: &str = "echo $(($1 + $2))";

/// The crew does it right at once.
pub(crate) fn script() -> Script {
    let test = "test \"$(sh sum.sh 1 2)\" = 3\n";
    let change = format!("{RIGHT}\n");
    Script::default().planned().develops(1, "sum.sh", &change).tests(1, "tests/two.sh", test).approves(1)
}

/// Commits the quick project, with settings that lead to this model, on a branch.
pub(crate) fn commit(github: &FakeGitHub, branch: &str, provider: &Provider, settings: &str) {
    let files = [
        ("sum.sh", "echo $(($1 - $2))\n"),
        ("check.sh", "set -e\nfor test in tests/*.sh; do sh \"$test\"; done\n"),
        ("tests/zero.sh", "test \"$(sh sum.sh 0 0)\" = 0\n"),
        ("gatewright.toml", &format!("{QUICK}{}{settings}", provider.settings())),
    ];
    github.commit(branch, &files);
}

/// What is asked for.
pub(crate) fn request() -> Value {
    json!({ "repository": "acme/app", "requirements": "sum.sh subtracts", "idempotency_key": "once" })
}

/// The key that the model server on the loopback is asked with.
pub(crate) fn models_secret() -> Value {
    json!({ "ANTHROPIC_API_KEY": "a-key-for-the-loopback" })
}

/// Ann asks; ben is a tech lead.
pub(crate) struct Stage {
    pub(crate) deployed: Deployed,
    pub(crate) github: FakeGitHub,
    pub(crate) ann: String,
    pub(crate) ben: String,
    runners: Vec<Running>,
}

impl Stage {
    /// A stage whose crew says what the script says.
    pub(crate) async fn playing(script: &Script) -> Self {
        Self::with(&Provider::playing(script), "").await
    }

    /// A stage whose project has these settings besides.
    pub(crate) async fn with(provider: &Provider, settings: &str) -> Self {
        let github = FakeGitHub::start().await;
        commit(&github, "main", provider, settings);
        Self::over(github, &[]).await
    }

    /// A stage for what this GitHub has, deployed with these texts of the template replaced by others.
    pub(crate) async fn over(github: FakeGitHub, edits: &[(&str, &str)]) -> Self {
        let deployed = Deployed::edited(edits).await;
        let names = deployed.store.names().clone();
        deployed.set_secret(&names.models_secret, &models_secret()).await;
        deployed.set_secret(&names.forge_secret, &github.token_secret()).await;
        let (ann, ben) = (person(&deployed, "ann").await, person(&deployed, "ben").await);
        let runners = vec![deployed.start_runner("host").await];
        Self { deployed, github, ann, ben, runners }
    }

    /// A second runner, as if on another machine.
    pub(crate) async fn start_another_runner(&mut self) {
        self.runners.push(self.deployed.start_runner("another-host").await);
    }

    /// Asks for a change and returns its run.
    pub(crate) async fn ask(&self, request: &Value) -> String {
        let (status, accepted) = self.deployed.ask(&self.ann, "/api/v1/orchestrate", Some(request.clone())).await;
        assert_eq!(status, 202, "{accepted}");
        accepted["run_id"].as_str().unwrap().to_owned()
    }

    /// The run's gate, once it waits there.
    pub(crate) async fn gate(&self, run: &str) -> Value {
        let waiting = |run: &Value| run["status"] == "approval_pending" || run["outcome"].is_object();
        let waiting = self.deployed.run_when(&self.ann, run, waiting).await;
        let gate = waiting["gate"].as_str().unwrap_or_else(|| panic!("{waiting:#}"));
        let (status, gate) = self.deployed.ask(&self.ben, &format!("/api/v1/gates/{gate}"), None).await;
        assert_eq!((status, &gate["state"]), (200, &json!("pending")), "{gate}");
        gate
    }

    pub(crate) async fn decide(&self, bearer: &str, gate: &Value, decision: &str) -> (u16, Value) {
        let path = format!("/api/v1/gates/{}", gate["gate_id"].as_str().unwrap());
        self.deployed.ask(bearer, &path, Some(json!({ "decision": decision, "binding": gate["binding"] }))).await
    }

    /// The run's end.
    pub(crate) async fn ended(&self, run: &str) -> Value {
        self.deployed.run_when(&self.ann, run, |run| run["outcome"].is_object()).await
    }

    /// Has ben approve the quick project's run at its gate, and returns its end: it has succeeded and is merged.
    pub(crate) async fn approved(&self, run: &str) -> Value {
        let ended = self.landed(run).await;
        assert_eq!(self.github.git(&["show", "main:sum.sh"]), RIGHT);
        ended
    }

    /// Has ben approve the run at its gate, and returns its end: it has succeeded.
    pub(crate) async fn landed(&self, run: &str) -> Value {
        let gate = self.gate(run).await;
        let (decided, gate) = self.decide(&self.ben, &gate, "approve").await;
        assert_eq!((decided, &gate["decision"]["by"]), (200, &json!("ben")), "{gate}");
        let ended = self.ended(run).await;
        assert_eq!(ended["status"], "succeeded", "{ended:#}");
        ended
    }

    /// The run's calls of the model, in the order of their turns.
    pub(crate) async fn usage(&self, run: &str) -> Vec<UsageEntry> {
        self.deployed.store.usage(&RunId::new(run).unwrap()).await.unwrap()
    }
}

/// A bearer of a person of this name in every role.
async fn person(deployed: &Deployed, name: &str) -> String {
    let roles = ApproverRole::ALL.into();
    let grant = NewGrant { name: name.into(), roles, lifetime_seconds: 3_600 };
    deployed.store.add_bearer(GrantKind::Person, grant).await.unwrap().0
}

/// The turns of calls that stand so, each named `<session>#<turn>`.
pub(crate) fn turns(usage: &[UsageEntry], state: UsageState) -> Vec<&str> {
    let of_state = usage.iter().filter(|entry| entry.state == state);
    of_state.map(|entry| entry.call_id.rsplit_once('#').unwrap().0).collect()
}
