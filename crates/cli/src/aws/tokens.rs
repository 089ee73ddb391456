//! `gatewright aws tokens`: who may ask and decide on a deployed stage.

use run_model::person::{self, ApproverRole};
use serde_json::json;
use store::{Grant, GrantKind, NewGrant};

use crate::aws::arguments::{NewToken, TokensCommand};
use crate::problem::Problem;
use crate::stage::Stage;
use crate::{render, screen};

const DAY_SECONDS: u32 = 24 * 3600;
/// The longest name of a grantee, in bytes.
pub(super) const LONGEST_NAME: usize = 64;

pub(crate) async fn run(command: TokensCommand) -> Result<u8, Problem> {
    match command {
        TokensCommand::Add(token) => add(token).await,
        TokensCommand::List { stage, json } => list(&Stage::of_environment(&stage)?, json).await,
        TokensCommand::Revoke { id, stage } => {
            let stage = Stage::of_environment(&stage)?;
            let grant = stage.store.revoke_grant(&id).await.map_err(|error| stage.problem(error))?;
            screen::print(format!("{} of {} no longer counts", grant.id, grant.name));
            Ok(0)
        }
    }
}

async fn add(token: NewToken) -> Result<u8, Problem> {
    let lifetime_seconds = token.days.checked_mul(DAY_SECONDS).filter(|seconds| *seconds > 0);
    let lifetime_seconds =
        lifetime_seconds.ok_or_else(|| Problem::input(format!("--days {}: use 1 to 36500", token.days)))?;
    let (kind, name) = match (token.person, token.runner, token.workflow) {
        (_, Some(name), _) => (GrantKind::Runner, name),
        (_, _, Some(name)) => (GrantKind::Workflow, name),
        (name, None, None) => (GrantKind::Person, name.unwrap_or_default()),
    };
    if name.trim().is_empty() || name.len() > LONGEST_NAME {
        return Err(Problem::input(format!(
            "the name is empty or longer than {LONGEST_NAME} bytes: use the person's or runner's name"
        )));
    }
    let stage = Stage::of_environment(&token.stage)?;
    let new = NewGrant { name, roles: token.roles.into_iter().collect(), lifetime_seconds };
    if let Some(arn) = token.principal {
        let identity = person::principal(&arn).ok_or_else(|| {
            Problem::input(format!(
                "--principal {arn}: use the ARN of an IAM role or user (arn:aws:iam::ACCOUNT:role/NAME)"
            ))
        })?;
        let grant = match kind {
            GrantKind::Workflow => stage.store.grant_workflow(&identity, new).await,
            _ => stage.store.grant_principal(&identity, new).await,
        };
        let grant = grant.map_err(|error| stage.problem(error))?;
        screen::tell(format!("{} is {} ({}) now", grant.id, grant.name, roles(&grant)));
        return Ok(0);
    }
    let (bearer, grant) = stage.store.add_bearer(kind, new).await.map_err(|error| stage.problem(error))?;
    let until = render::moment(grant.expires_ms);
    screen::tell(format!("{} {} ({}), id {}, until {until} UTC", kind.as_str(), grant.name, roles(&grant), grant.id));
    screen::tell("this bearer is shown once and kept nowhere:");
    screen::print(&bearer);
    Ok(0)
}

async fn list(stage: &Stage, as_json: bool) -> Result<u8, Problem> {
    let grants = stage.store.grants().await.map_err(|error| stage.problem(error))?;
    if as_json {
        screen::print_json(&json!(grants));
    } else if grants.is_empty() {
        screen::print("nobody has a bearer yet: make one with `gatewright aws tokens add`");
    }
    for grant in grants.iter().filter(|_| !as_json) {
        let stands = match grant.revoked_ms {
            Some(moment) => format!("revoked {} UTC", render::moment(moment)),
            None => format!("until {} UTC", render::moment(grant.expires_ms)),
        };
        screen::print(format!(
            "{:<16} {:<9} {:<16} {stands}  {}",
            grant.id,
            grant.kind.as_str(),
            grant.name,
            roles(grant)
        ));
    }
    Ok(0)
}

fn roles(grant: &Grant) -> String {
    if grant.kind == GrantKind::Workflow {
        return "asks for runs".to_owned();
    }
    let roles: Vec<&str> = grant.roles.iter().map(|role: &ApproverRole| role.as_str()).collect();
    if roles.is_empty() { "no approver".to_owned() } else { roles.join(", ") }
}
