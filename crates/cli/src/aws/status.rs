//! `gatewright aws status`: what a stage is made of, whether it is well, what it does now.

use std::collections::BTreeMap;

use aws_sdk_sfn::Client;
use reqwest::{Method, Url};
use run_model::claim::no_runner_is_alive;
use run_model::run::RunStatus;
use store::Store;

use crate::aws::account::Account;
use crate::aws::arguments::SecretName;
use crate::aws::secrets;
use crate::aws::stack::{self, Resource, Stack};
use crate::machines::name_of;
use crate::problem::{MISSING, Problem, causes};
use crate::signed::API;
use crate::stage::Stage;
use crate::{executions, screen};

/// How many runs are named; the rest is counted.
const NAMED: usize = 20;
/// The machines, by what the template calls them.
const MACHINES: [(&str, &str); 3] = [("Pipeline", "pipeline"), ("TaskGraph", "task-graph"), ("Task", "task")];

/// A line of the report, with what helps if it is not as it should be.
struct Line {
    about: &'static str,
    what: String,
    cure: Option<String>,
}

impl Line {
    fn good(about: &'static str, what: impl Into<String>) -> Self {
        Self { about, what: what.into(), cure: None }
    }

    fn bad(about: &'static str, what: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { about, what: what.into(), cure: Some(cure.into()) }
    }
}

pub(crate) async fn run(name: &str) -> Result<u8, Problem> {
    let stage = Stage::of_environment(name)?;
    let account = Account::of_environment()?;
    let stack = stack::require(&account.signed, name).await?;
    let mut lines = vec![of_stack(&account, &stack)];
    if stack.is_whole() || stack.is_busy() {
        lines.extend(health(&account, &stack).await);
        lines.extend(of_secrets(&stage).await?);
        let resources = stack::resources(&account.signed, &stack.name).await?;
        let client = step_functions(&account)?;
        lines.extend(of_machines(&client, &stack, &resources).await);
        lines.push(of_runs(&client, &stage.store, &resources).await?);
        lines.push(of_runners(&stage.store, stack.outputs.get("ApiUrl")).await?);
    }
    lines.push(Line::good("idle", idle(&stack)));
    let mut code = 0;
    for Line { about, what, cure } in lines {
        screen::print(format!("{about:<9} {what}"));
        if let Some(cure) = cure {
            screen::print(format!("          cure: {cure}"));
            code = MISSING;
        }
    }
    Ok(code)
}

fn of_stack(account: &Account, stack: &Stack) -> Line {
    let of = |name: &str| stack.parameter(name).unwrap_or("unknown");
    let revision = stack.outputs.get("Revision").map_or("unknown", String::as_str);
    let what = format!(
        "{} is in {} in {}: revision {revision}, {}{}",
        stack.name,
        stack.status,
        account.signed.region(),
        of("Architecture"),
        if of("Hardened") == "true" { ", hardened" } else { "" }
    );
    match stack.obstacle() {
        Some(obstacle) => Line::bad("stack", what, obstacle),
        None if stack.status == "UPDATE_ROLLBACK_COMPLETE" => {
            let cure = format!(
                "the last deploy failed and was taken back, the stage is as before: aws cloudformation \
                 describe-stack-events --stack-name {}",
                stack.name
            );
            Line::bad("stack", what, cure)
        }
        None => Line::good("stack", what),
    }
}

/// What the stage says of itself, at its own address.
async fn health(account: &Account, stack: &Stack) -> Vec<Line> {
    let Some(address) = stack.outputs.get("ApiUrl") else { return Vec::new() };
    let mut lines = vec![Line::good("API", address.clone())];
    if stack.parameter("Emulated") == Some("true") {
        lines.push(Line::good("health", "not asked: an emulator does not answer at this address"));
        return lines;
    }
    let Ok(url) = Url::parse(&format!("{address}/iam/v1/health")) else { return lines };
    lines.push(match account.signed.rest_at(&API, Method::GET, &url, None).await {
        Ok(body) => Line::good("health", body["status"].as_str().unwrap_or("ok")),
        // A stage that is not well answers 503, and the other lines say what is the matter.
        Err(error) if error.code() == Some("Http503") => {
            Line::bad("health", "degraded", "see the lines below, and docs/runbooks/api-fails.md")
        }
        Err(error) => {
            let cure = "see docs/runbooks/api-fails.md; whoever asks needs execute-api:Invoke";
            Line::bad("health", causes(&error), cure)
        }
    });
    lines
}

async fn of_secrets(stage: &Stage) -> Result<Vec<Line>, Problem> {
    let of = |(name, condition, cure): (SecretName, secrets::Condition, _)| Line {
        about: "secret",
        what: format!("{}: {}", name.as_str(), condition.words()),
        cure,
    };
    Ok(secrets::look_at_all(stage).await?.into_iter().map(of).collect())
}

/// How a machine stands beside the version that the deploy published.
#[derive(Debug, PartialEq, Eq)]
enum Machine {
    AsDeployed,
    /// Somebody changed it in the console: runs go on by the version.
    Edited,
    /// The alias that runs start by points elsewhere.
    Elsewhere(String),
}

/// The stack's version of a machine is what was deployed; a change in the console makes the machine differ from it, or leads
/// the alias past it.
async fn of_machines(client: &Client, stack: &Stack, resources: &[Resource]) -> Vec<Line> {
    let ids: BTreeMap<&str, &str> = resources
        .iter()
        .map(|Resource { logical_id, physical_id }| (logical_id.as_str(), physical_id.as_str()))
        .collect();
    let mut lines = Vec::new();
    for (id, name) in MACHINES {
        let part = |end: &str| ids.get(format!("{id}{end}").as_str()).copied();
        let Some(machine) = part("") else {
            let cure =
                format!("deploy again: gatewright aws deploy --stage {}", stack.name.trim_start_matches("gatewright-"));
            lines.push(Line::bad("machine", format!("{name}: missing"), cure));
            continue;
        };
        let Some((version, alias)) = part("Version").zip(part("Alias")) else {
            lines.push(Line::good(
                "machine",
                format!("{name}: there; whether it was edited cannot be said without versions"),
            ));
            continue;
        };
        let found = compare(client, machine, version, alias).await;
        lines.push(match found {
            Ok(Machine::AsDeployed) => Line::good("machine", format!("{name}: as deployed")),
            Ok(Machine::Edited) => Line::bad(
                "machine",
                format!("{name}: edited by hand since its deploy; runs go by the deployed version"),
                format!(
                    "put the deployed definition back: aws stepfunctions update-state-machine --state-machine-arn {machine} \
                     --definition \"$(aws stepfunctions describe-state-machine --state-machine-arn {version} --query \
                     definition --output text)\""
                ),
            ),
            Ok(Machine::Elsewhere(routed)) => Line::bad(
                "machine",
                format!("{name}: runs start by {routed}, and not by the deployed version"),
                format!(
                    "if that is not meant: aws stepfunctions update-state-machine-alias --state-machine-alias-arn {alias} \
                     --routing-configuration stateMachineVersionArn={version},weight=100"
                ),
            ),
            Err(problem) => Line::bad("machine", format!("{name}: {problem}"), "deploy again, or ask for the right to look"),
        });
    }
    lines
}

/// A Step Functions client of this account.
pub(crate) fn step_functions(account: &Account) -> Result<Client, Problem> {
    let sdk = account.environment.sdk_config().map_err(|error| crate::signed::incomplete(&error))?;
    Ok(Client::new(&sdk))
}

/// The ARNs of the stage's machines that are there, callers first.
pub(crate) fn machine_arns(resources: &[Resource]) -> Vec<String> {
    let named = |id| resources.iter().find(|resource| resource.logical_id == id);
    MACHINES.into_iter().filter_map(|(id, _)| named(id)).map(|machine| machine.physical_id.clone()).collect()
}

async fn compare(client: &Client, machine: &str, version: &str, alias: &str) -> Result<Machine, String> {
    let definition = async |arn: &str| {
        let described = client.describe_state_machine().state_machine_arn(arn).send().await;
        described.map(|machine| machine.definition).map_err(|error| causes(&error))
    };
    let (now, deployed) = (definition(machine).await?, definition(version).await?);
    let routed = client.describe_state_machine_alias().state_machine_alias_arn(alias).send().await;
    let routed = routed.map_err(|error| causes(&error))?;
    let routes: Vec<&str> =
        routed.routing_configuration().iter().map(|route| route.state_machine_version_arn()).collect();
    Ok(standing(&now, &deployed, &routes, version))
}

fn standing(now: &str, deployed: &str, routes: &[&str], version: &str) -> Machine {
    if routes.iter().any(|route| *route != version) {
        return Machine::Elsewhere(routes.join(" and "));
    }
    if now == deployed { Machine::AsDeployed } else { Machine::Edited }
}

/// Who would run the checks now. A stage that has nobody is well as long as nobody asks it for anything.
async fn of_runners(store: &Store, api: Option<&String>) -> Result<Line, Problem> {
    let alive: Vec<String> = store.runners_alive().await?.into_iter().map(|runner| runner.name).collect();
    let what = if alive.is_empty() { no_runner_is_alive(api.map(String::as_str)) } else { alive.join(", ") };
    Ok(Line::good("runners", what))
}

/// The runs under way. What a run's task graph and tasks do is part of it, so `pipeline` alone is asked.
async fn of_runs(client: &Client, store: &Store, resources: &[Resource]) -> Result<Line, Problem> {
    let machines = machine_arns(resources);
    let running = executions::running(client, &machines[..machines.len().min(1)]).await?;
    if running.is_empty() {
        return Ok(Line::good("runs", "none under way"));
    }
    let mut named = Vec::new();
    for execution in running.iter().take(NAMED) {
        named.push(match executions::carried(store, execution).await? {
            Some(run) if run.status == RunStatus::ApprovalPending => format!("{} (waits at a gate)", run.run_id),
            Some(run) => format!("{} ({})", run.run_id, run.stage.as_str()),
            None => format!("{} (just begun)", name_of(execution)),
        });
    }
    let more = running.len() - named.len();
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    Ok(Line::good("runs", format!("{} under way: {}{more}", running.len(), named.join(", "))))
}

/// What the stage costs while nobody uses it; infra/README.md adds it up.
fn idle(stack: &Stack) -> String {
    let secrets = "$1.20 a month for three secrets";
    let hardened = if stack.parameter("Hardened") == Some("true") { ", $1.00 for the customer's key" } else { "" };
    format!(
        "{secrets}{hardened}, $0.40 for alarms if the account's ten free ones are used up, and what is kept by the GB"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_was_changed_by_hand_is_seen() {
        assert_eq!(standing("{}", "{}", &["v:1"], "v:1"), Machine::AsDeployed);
        assert_eq!(standing("{\"a\":1}", "{}", &["v:1"], "v:1"), Machine::Edited);
        assert_eq!(standing("{}", "{}", &["v:2"], "v:1"), Machine::Elsewhere("v:2".into()));
        assert_eq!(standing("{}", "{}", &["v:1", "v:0"], "v:1"), Machine::Elsewhere("v:1 and v:0".into()));
    }

    #[test]
    fn the_idle_bill_names_the_key_of_a_hardened_stage() {
        let mut stack = Stack::default();
        assert!(!idle(&stack).contains("customer"));
        stack.parameters.insert("Hardened".into(), "true".into());
        assert!(idle(&stack).contains("$1.00"));
    }
}
