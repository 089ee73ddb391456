//! The commands about runs and gates on a stage: the same words and exit codes as on one machine.
#![allow(clippy::unwrap_used, reason = "a scenario fails loudly")]

use run_model::GateId;
use run_model::gate::GateState;
use run_model::run::{Priority, RunStatus};
use tests::team::{Team, ended, listed, run_of};

const ASK: [&str; 7] = ["run", "--stage", "dev", "--repository", "acme/app", "--requirements", "make it right"];

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_asked_for_looked_at_and_decided_by_two_people() {
    let team = Team::open().await;
    let asked = [&ASK[..], &["--budget", "2.5", "--priority", "high", "--no-wait"]].concat();
    let parked = team.gatewright("ann", &asked).expect(4);
    let run_id = run_of(&parked);
    let run = team.store.run(&run_id).await.unwrap();
    assert_eq!((run.requester.seen_as.as_str(), run.priority), ("iam", Priority::High), "{:?}", run.requester);
    assert!(run.requester.identities.iter().any(|identity| identity.contains("user/ann")), "{:?}", run.requester);
    assert_eq!(team.store.budget(&run_id).await.unwrap().limit_microusd, 2_500_000);
    let gate = run.gate.unwrap();
    assert!(
        parked.said(&format!("gates approve {gate} --stage dev")) && parked.said("parked at its gate"),
        "{parked:#?}"
    );

    let gates = listed(&team.gatewright("ann", &["gates", "list", "--json", "--stage", "dev"]).expect(0));
    assert_eq!(gates.len(), 1);
    let shown = team.gatewright("ann", &["gates", "--stage", "dev", "show", gate.as_str()]).expect(0);
    assert!(shown.said("stands before this change lands") && shown.said("+echo 3"), "{shown:#?}");
    let own = team.gatewright("ann", &["gates", "approve", gate.as_str(), "--stage", "dev"]).expect(65);
    assert!(own.said("somebody else has to approve it"), "{own:#?}");
    let wrong = ["gates", "approve", gate.as_str(), "--stage", "dev", "--hash", "0123456789"];
    assert!(team.gatewright("bob", &wrong).expect(65).said("look at it again"));
    let right = ["gates", "approve", gate.as_str(), "--stage", "dev", "--comment", "looked"];
    assert!(team.gatewright("bob", &right).expect(0).said(&format!("{gate} approved")));
    assert_eq!(ended(&team.store, &run_id).await.status, RunStatus::Succeeded);
    let decided = team.store.gate(&GateId::new(gate.as_str()).unwrap()).await.unwrap();
    assert!(matches!(decided.state, GateState::Decided { ref approver, .. } if approver.name == "bob"), "{decided:?}");

    let look = |command: &str| {
        let ended = team.gatewright("ann", &["runs", command, run_id.as_str(), "--stage", "dev"]);
        ended.expect(0).stdout
    };
    assert!(look("show").contains(&format!("Branch: gatewright/{run_id}")));
    assert!(look("events").contains("run.ended"));
    let cost = look("cost");
    for words in
        ["of $2.5000", "What AWS charges, at least: $0.000", "states.transition", "stack-name = gatewright-dev"]
    {
        assert!(cost.contains(words), "{cost}");
    }
    let runs = team.gatewright("ann", &["runs", "list", "--stage", "dev"]).expect(0);
    assert!(runs.said(run_id.as_str()) && runs.said("acme/app"), "{runs:#?}");
    let again = team.gatewright("bob", &right).expect(65);
    assert!(again.said("no longer waits"), "{again:#?}");
    team.expect_nothing_kept_here();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asked_for_the_run_may_ask_the_crew_and_somebody_else_decides() {
    let team = Team::open().await;
    let run_id = run_of(&team.gatewright("ann", &[&ASK[..], &["--no-wait"]].concat()).expect(4));
    let gate = team.store.run(&run_id).await.unwrap().gate.unwrap();
    let asked = team.gatewright("ann", &["gates", "more-info", gate.as_str(), "why?", "--stage", "dev"]).expect(0);
    assert!(asked.said("then a fresh gate opens (`gatewright gates list --stage dev`)"), "{asked:#?}");
    team.gatewright("ann", &["runs", "resume", run_id.as_str(), "--stage", "dev", "--no-wait"]).expect(4);
    let fresh = team.store.run(&run_id).await.unwrap().gate.unwrap();
    assert_ne!(fresh, gate);
    let shown = team.gatewright("bob", &["gates", "show", fresh.as_str(), "--stage", "dev"]).expect(0);
    assert!(shown.said("ann asked (iam): why?") && shown.said("asked by iam, so I say it"), "{shown:#?}");
    let late = team.gatewright("bob", &["gates", "approve", gate.as_str(), "--stage", "dev"]).expect(65);
    assert!(late.said("asked by ann"), "{late:#?}");
    team.gatewright("bob", &["gates", "approve", fresh.as_str(), "--stage", "dev"]).expect(0);
    assert_eq!(ended(&team.store, &run_id).await.status, RunStatus::Succeeded);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_followed_to_its_end_while_somebody_else_denies() {
    let team = Team::open().await;
    let mut following = team.spawn("ann", &ASK);
    let line = tokio::task::block_in_place(|| following.until("gatewright gates deny "));
    let command: Vec<&str> = line.split_whitespace().skip(1).collect();
    assert!(team.gatewright("bob", &command).expect(0).said("denied"));
    let ended = tokio::task::block_in_place(|| following.end()).expect(2);
    assert!(ended.stdout.contains("denied") && ended.said("commands take --stage dev"), "{ended:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_stopped_taken_up_again_and_stopped_with_all_the_others() {
    let team = Team::open().await;
    let asked = [&ASK[..], &["--no-wait"]].concat();
    let [first, second] = [(), ()].map(|()| run_of(&team.gatewright("ann", &asked).expect(4)));
    let stop = team.gatewright("ann", &["runs", "stop", first.as_str(), "--stage", "dev"]).expect(0);
    assert!(
        stop.said(&format!("{first} is stopped")) && stop.said(&format!("resume {first} --stage dev")),
        "{stop:#?}"
    );
    assert_eq!(team.store.run(&first).await.unwrap().status, RunStatus::Stopped);
    let more = ["runs", "resume", first.as_str(), "--stage", "dev", "--budget", "9", "--no-wait"];
    team.gatewright("ann", &more).expect(4);
    let resumed = team.store.run(&first).await.unwrap();
    assert_eq!((resumed.status, resumed.executions), (RunStatus::ApprovalPending, 2));
    assert_eq!(team.store.budget(&first).await.unwrap().limit_microusd, 9_000_000);

    let all = ["runs", "stop", "--all", "--stage", "dev"];
    let stop = team.gatewright("ann", &all).expect(0);
    assert!(
        stop.said("2 executions stopped, of 2 runs; none is running any more, and none of their checks is open"),
        "{stop:#?}"
    );
    for run in [&first, &second] {
        assert!(stop.said(&format!("{run} is stopped")), "{stop:#?}");
        assert_eq!(team.store.run(run).await.unwrap().status, RunStatus::Stopped);
    }
    assert!(team.store.pending_gates().await.unwrap().is_empty());
    assert!(team.gatewright("ann", &all).expect(0).said("nothing was running"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_named_with_its_cure_and_nothing_begins() {
    let team = Team::open().await;
    let on = |stage: &'static str| ASK.map(|word| if word == "dev" { stage } else { word });
    for (who, stage, code, words) in [
        ("ann", "nowhere", 65, ["there is no such stage in us-east-1", "AWS_REGION"]),
        ("ann", "broken", 69, ["ROLLBACK_COMPLETE", "gatewright aws destroy --stage broken"]),
        ("ann", "moving", 69, ["UPDATE_IN_PROGRESS", "and try again"]),
        ("expired", "dev", 69, ["ExpiredToken", "sign in again"]),
        ("stranger", "dev", 69, ["turns these credentials away", "execute-api:Invoke"]),
    ] {
        let ended = team.gatewright(who, &on(stage)).expect(code);
        assert!(words.iter().all(|words| ended.said(words)), "{ended:#?}");
    }
    let missing = team.without_credentials(&["runs", "list", "--stage", "dev"]).expect(69);
    assert!(missing.said("AWS_ACCESS_KEY_ID is not set"), "{missing:#?}");
    team.gatewright("ann", &["runs", "stop", "--all", "--stage", "moving"]).expect(0);
    let yes = team.gatewright("ann", &[&ASK[..], &["--yes"]].concat()).expect(64);
    assert!(yes.said("a person looks at every gate"), "{yes:#?}");
    let resume = team.gatewright("ann", &["runs", "resume", "r-1", "--yes", "--stage", "dev"]).expect(64);
    assert!(resume.said("a person looks at every gate"), "{resume:#?}");
    team.gatewright("ann", &["runs", "show", "r-none", "--stage", "dev"]).expect(65);
    assert!(team.store.list_runs(1).await.unwrap().is_empty());
    team.expect_nothing_kept_here();
}
