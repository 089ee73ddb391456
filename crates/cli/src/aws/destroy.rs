//! `gatewright aws destroy`: a stage goes, with all that it keeps.

use std::io::IsTerminal;
use std::sync::Arc;

use lambda_host::{OsRandomness, SystemClock};
use store::{Names, Store};

use crate::aws::account::Account;
use crate::aws::stack::{self, Resource, Stack};
use crate::aws::status;
use crate::machines::name_of;
use crate::problem::{FAILED, Problem};
use crate::signed::CLOUDFORMATION;
use crate::stage::Stage;
use crate::{executions, screen};

pub(crate) async fn run(stage: &str, yes: bool) -> Result<u8, Problem> {
    // The name is checked before anything is asked.
    Stage::of_environment(stage)?;
    let account = Account::of_environment()?;
    let identity = account.identity().await?;
    let found = stack::require(&account.signed, stage).await?;
    if found.is_busy() {
        return Err(Problem::input(found.obstacle().unwrap_or_else(|| found.status.clone())));
    }
    if found.parameter("Stage") != Some(stage) {
        return Err(Problem::input(format!(
            "the stack {} is no stage of Gatewright: nothing of it is deleted",
            found.name
        )));
    }
    let resources = stack::resources(&account.signed, &found.id).await?;
    refuse_while_at_work(&account, &resources, stage).await?;
    let bucket =
        resources.into_iter().find(|resource| resource.logical_id == "Bucket").map(|bucket| bucket.physical_id);
    let store = store_of(&account, stage, bucket.as_deref())?;
    if store.has_table().await? && store.is_table_protected().await? {
        let table = &store.names().table;
        return Err(Problem::input(format!(
            "the table {table} is protected from deletion: let go of it first, aws dynamodb update-table --table-name \
             {table} --no-deletion-protection-enabled"
        )));
    }
    screen::tell(format!("the stack {} in account {}, {}:", found.name, identity.account, account.signed.region()));
    screen::tell(
        "  what goes: every function and machine, the table with its runs, decisions and bearers, the bucket, the secrets, the logs",
    );
    screen::tell(
        "  what stays: the account's OIDC provider and the roles of workflows (aws bootstrap made them), the SAM CLI's own bucket",
    );
    if found.parameter("Hardened") == Some("true") {
        screen::tell("  what ends later: the customer's key, after its waiting period of 30 days");
    }
    if !yes {
        confirm(stage)?;
    }
    if bucket.is_some() && store.has_bucket().await? {
        let count = store.empty_bucket().await?;
        screen::tell(format!("{count} objects of {} are deleted", store.names().bucket));
    }
    account.signed.query(&CLOUDFORMATION, "DeleteStack", &[("StackName", &found.id)]).await?;
    screen::tell(format!("{} is being deleted", found.name));
    match stack::settled(&account.signed, &found.id).await? {
        None => {
            screen::print(format!("{} is gone", found.name));
            Ok(0)
        }
        Some(left) => Err(failed(&account, &left).await?),
    }
}

/// A store over the stage's table, and the stack's bucket if it has one.
fn store_of(account: &Account, stage: &str, bucket: Option<&str>) -> Result<Store, Problem> {
    let sdk = account.environment.sdk_config().map_err(|error| crate::signed::incomplete(&error))?;
    let mut names = Names::for_stage(stage);
    if let Some(bucket) = bucket {
        bucket.clone_into(&mut names.bucket);
    }
    Ok(Store::new(&sdk, names, Arc::new(SystemClock), Arc::new(OsRandomness)))
}

/// A run whose functions are gone would hang until its machine's time is up.
async fn refuse_while_at_work(account: &Account, resources: &[Resource], stage: &str) -> Result<(), Problem> {
    let client = status::step_functions(account)?;
    let at_work = executions::running(&client, &status::machine_arns(resources)).await?;
    if at_work.is_empty() {
        return Ok(());
    }
    let named: Vec<&str> = at_work.iter().map(|execution| name_of(execution)).collect();
    Err(Problem::input(format!(
        "executions are under way ({}): stop them first, gatewright runs stop --all --stage {stage}",
        named.join(", ")
    )))
}

fn confirm(stage: &str) -> Result<(), Problem> {
    if !std::io::stdin().is_terminal() {
        return Err(Problem::input("nobody is at this terminal to confirm it: --yes deletes without a question"));
    }
    screen::ask(format!("There is no way back. Type the stage's name ({stage}) to delete it: "));
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    if line.trim() == stage {
        return Ok(());
    }
    Err(Problem { message: "that is another name: nothing was deleted".into(), exit: FAILED })
}

async fn failed(account: &Account, left: &Stack) -> Result<Problem, Problem> {
    let mut message = format!("{} could not be deleted: it is in {}", left.name, left.status);
    for failure in stack::failures(&account.signed, &left.id).await? {
        message.push('\n');
        message.push_str(&failure.words());
    }
    message.push_str("\nmend that, and run this again: what is gone stays gone");
    Ok(Problem { message, exit: FAILED })
}
