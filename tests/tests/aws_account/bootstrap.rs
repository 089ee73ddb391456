//! An account is prepared once.

use tests::account::Stack;

use crate::{Place, says};

const PROVIDER: &str = "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com";

fn actions_stack(status: &'static str) -> Stack {
    let outputs = [("PlanRoleArn", "arn:plan"), ("DeployRoleArn", "arn:deploy"), ("BoundaryArn", "arn:boundary")];
    let outputs = outputs.map(|(name, arn)| (name, arn.into())).into();
    Stack { name: "gatewright-actions-acme-app".into(), status, outputs, ..Stack::default() }
}

#[test]
fn the_second_bootstrap_changes_nothing_and_says_so() {
    let place = Place::new();
    let made = actions_stack("CREATE_COMPLETE");
    place.account.state().deployed_by = Some((place.tools.join("deployed"), made));
    let bootstrap = || place.run(&["bootstrap", "--repository", "acme/app"]).expect(0);
    let first = bootstrap();
    says(&first, &["OIDC provider for GitHub was made", "the account is ready for acme/app", "arn:plan", "arn:deploy"]);
    says(&first, &["required reviewers", "https://github.com/acme/app/settings/environments"]);
    says(&first, &["gatewright aws tokens add --stage dev --workflow acme/app --principal arn:plan"]);
    says(&first, &["next: gatewright aws deploy --stage dev --boundary arn:boundary"]);
    assert!(!first.said("nothing changed"));
    let changes =
        |calls: &[String]| calls.iter().filter(|call| call.starts_with("Create") || call.starts_with("Add")).count();
    assert_eq!(changes(&place.account.state().calls), 1);
    says(&bootstrap(), &["is there already", "nothing changed: the account is ready for acme/app"]);
    let state = place.account.state();
    assert_eq!(changes(&state.calls), 1, "{:?}", state.calls);
    assert_eq!(state.providers[PROVIDER], ["sts.amazonaws.com"]);
    drop(state);
    let calls = place.sam_calls();
    assert!(calls[0].ends_with(&format!("Repository=acme/app Branch=main OidcProvider={PROVIDER}")), "{calls:?}");
}

#[test]
fn a_provider_of_somebody_else_is_used_and_takes_our_audience() {
    let place = Place::new();
    let made = actions_stack("CREATE_COMPLETE");
    place.account.state().deployed_by = Some((place.tools.join("deployed"), made));
    place.account.state().providers.insert(PROVIDER.into(), vec!["another".into()]);
    place.account.state().providers.insert("arn:aws:iam::123456789012:oidc-provider/gitlab.com".into(), Vec::new());
    says(&place.run(&["bootstrap", "--repository", "acme/app"]).expect(0), &["takes tokens for sts.amazonaws.com"]);
    assert_eq!(place.account.state().providers[PROVIDER], ["another", "sts.amazonaws.com"]);
}

#[test]
fn a_bootstrap_that_was_interrupted_goes_on() {
    let place = Place::new();
    let begun = Stack { then: ["CREATE_COMPLETE"].into(), ..actions_stack("CREATE_IN_PROGRESS") };
    place.account.put(begun);
    says(
        &place.run(&["bootstrap", "--repository", "acme/app"]).expect(0),
        &["CREATE_IN_PROGRESS: waiting", "is ready"],
    );

    let place = Place::new();
    place.account.put(actions_stack("ROLLBACK_COMPLETE"));
    place.account.state().deployed_by = Some((place.tools.join("deployed"), actions_stack("CREATE_COMPLETE")));
    says(&place.run(&["bootstrap", "--repository", "acme/app"]).expect(0), &["deleted and made anew", "is ready"]);
    assert!(place.account.state().calls.contains(&"DeleteStack".to_owned()));
}

#[test]
fn a_repository_or_branch_that_would_let_others_in_is_refused() {
    let place = Place::new();
    for arguments in [["--repository", "acme/*", "--branch", "main"], ["--repository", "acme/app", "--branch", "*"]] {
        place.run(&[&["bootstrap"], &arguments[..]].concat()).expect(65);
    }
    assert!(place.account.state().calls.is_empty());
}

#[test]
fn the_roles_of_another_repository_are_left_alone() {
    let place = Place::new();
    let parameters = vec![("Repository", "acme/a.pp".into())];
    let name = "gatewright-actions-acme-a-pp".into();
    place.account.put(Stack { name, parameters, ..actions_stack("CREATE_COMPLETE") });
    let ended = place.run(&["bootstrap", "--repository", "acme/a-pp"]).expect(65);
    says(&ended, &["gatewright-actions-acme-a-pp has the roles of acme/a.pp"]);
}
