//! `gatewright aws deploy`: a commit becomes a stage, by the SAM CLI and cargo-lambda.

use crate::aws::account::Account;
use crate::aws::arguments::{Architecture, DeployOptions, SecretName};
use crate::aws::stack::{self, Stack};
use crate::aws::tools::{self, CARGO, CARGO_LAMBDA, Checkout, GIT, SAM};
use crate::aws::{built, secrets};
use crate::problem::Problem;
use crate::screen;
use crate::stage::Stage;

/// Where the SAM CLI puts what it built.
const BUILT: &str = ".aws-sam/build/template.yaml";
/// What the ARN of a session holds whose role `bootstrap` made.
const DEPLOY_ROLES: &str = ":assumed-role/gatewright-actions-";
const OUR_TEMPLATE: &str = include_str!("../../../../infra/template.yaml");

pub(crate) async fn run(options: DeployOptions) -> Result<u8, Problem> {
    let account = Account::of_environment()?;
    let tools: &[_] = if options.no_build { &[&GIT, &SAM] } else { &[&GIT, &SAM, &CARGO, &CARGO_LAMBDA] };
    tools::require(&account.environment, tools)?;
    let checkout = if options.no_build { Checkout::here().await? } else { Checkout::clean().await? };
    if options.no_build && !checkout.root.join(BUILT).is_file() {
        return Err(Problem::input(format!("--no-build: there is no {BUILT} yet; leave it out once")));
    }
    let identity = account.identity().await?;
    let region = account.signed.region();
    screen::tell(format!("account {} in {region}, as {}", identity.account, identity.arn));
    let before = stack::find(&account.signed, &stack::name_of(&options.stage)).await?;
    if let Some(obstacle) = before.as_ref().and_then(Stack::obstacle) {
        return Err(Problem::input(obstacle));
    }
    let stage = Stage::of_environment(&options.stage)?;
    if before.is_none() {
        free_names(&stage).await?;
    }
    if let Some(narrow) = account.narrowness().await? {
        screen::tell(format!("note: {narrow}"));
    }
    let plan = Plan::of(options, before.as_ref(), checkout.origin.clone());
    if let Some(repositories) = &plan.repositories {
        screen::tell(format!("it works on {repositories} and on nothing else"));
    }
    plan.check_boundary(&identity.arn)?;
    if plan.hardened {
        screen::tell(format!("hardened: beyond the rest, {}", hardened_cost(OUR_TEMPLATE)));
    }
    let revision = if plan.no_build {
        built::revision(&checkout, &plan.architecture).await?
    } else {
        tools::sam(&checkout.root, &plan.build()).await?;
        built::note(&checkout, &plan.architecture).await?
    };
    let deployed = tools::sam(&checkout.root, &plan.deploy(region, &revision)).await;
    let after = stack::find(&account.signed, &plan.stack).await?;
    if let Err(problem) = deployed {
        return Err(explained(&account, after, problem).await?);
    }
    let after =
        after.ok_or_else(|| Problem::missing(format!("the stack {} is not there after its deploy", plan.stack)))?;
    show_next(&plan, &after, &stage).await;
    Ok(0)
}

/// Nothing else may bear a name that the first deploy takes: half a stack would have to be taken back.
async fn free_names(stage: &Stage) -> Result<(), Problem> {
    let names = stage.store.names();
    let mut taken = Vec::new();
    if stage.store.has_table().await? {
        taken.push(format!("the table {}", names.table));
    }
    for secret in [&names.models_secret, &names.forge_secret, &names.signing_secret] {
        if stage.store.has_secret(secret).await?.is_some() {
            taken.push(format!("the secret {secret}"));
        }
    }
    if taken.is_empty() {
        return Ok(());
    }
    Err(Problem::input(format!(
        "there is no stack {}, and yet there is {}: something else made it; look what it is, and remove it or use another \
         stage",
        stack::name_of(&names.stage),
        taken.join(", ")
    )))
}

/// The problem, with what the stack's events say of it.
async fn explained(account: &Account, stack: Option<Stack>, problem: Problem) -> Result<Problem, Problem> {
    let Some(stack) = stack else { return Ok(problem) };
    let failures = stack::failures(&account.signed, &stack.id).await?;
    let mut message = problem.message;
    for failure in &failures {
        message.push('\n');
        message.push_str(&failure.words());
    }
    if let Some(obstacle) = stack.obstacle() {
        message.push('\n');
        message.push_str(&obstacle);
    }
    Ok(Problem { message, exit: problem.exit })
}

/// What is deployed: what was asked for, and what the stage has already.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    stage: String,
    stack: String,
    architecture: String,
    memory: Option<String>,
    hardened: bool,
    alarm_topic: Option<String>,
    /// As the template has them: `owner/name,owner/name`.
    repositories: Option<String>,
    boundary: Option<String>,
    no_build: bool,
    emulated: bool,
}

impl Plan {
    /// A setting that was not asked for stays: leaving it out must not take a key away, or rebuild for another machine.
    fn of(options: DeployOptions, before: Option<&Stack>, origin: Option<String>) -> Self {
        let kept = |name: &str| before.and_then(|stack| stack.parameter(name)).map(str::to_owned);
        let asked = Some(options.repositories.join(",")).filter(|list| !list.is_empty());
        let kept_repositories = kept("Repositories").filter(|list| !list.is_empty());
        let architecture = options.architecture.map(|architecture| architecture.as_str().to_owned());
        Self {
            stack: stack::name_of(&options.stage),
            stage: options.stage,
            architecture: architecture
                .or_else(|| kept("Architecture"))
                .unwrap_or_else(|| Architecture::Arm64.as_str().to_owned()),
            memory: options.memory.or_else(|| kept("Memory")),
            hardened: options.hardened.unwrap_or_else(|| kept("Hardened").as_deref() == Some("true")),
            alarm_topic: options.alarm_topic.or_else(|| kept("AlarmTopic")),
            repositories: asked.or(kept_repositories).or(origin),
            boundary: options.boundary.or_else(|| kept("Boundary")),
            no_build: options.no_build,
            emulated: options.emulated,
        }
    }

    /// The role of workflows makes no role without its boundary: half a stack would have to be taken back.
    fn check_boundary(&self, identity: &str) -> Result<(), Problem> {
        if self.boundary.is_some() || !identity.contains(DEPLOY_ROLES) {
            return Ok(());
        }
        Err(Problem::input(
            "the role of workflows makes roles within its boundary alone: add --boundary ARN, the output BoundaryArn of the \
             stack gatewright-actions-OWNER-NAME",
        ))
    }

    fn build(&self) -> Vec<String> {
        let architecture = format!("Architecture={}", self.architecture);
        ["build", "--template", tools::TEMPLATE, "--parameter-overrides", &architecture].map(str::to_owned).into()
    }

    fn deploy(&self, region: &str, revision: &str) -> Vec<String> {
        let words = [
            "deploy",
            "--template-file",
            BUILT,
            "--stack-name",
            &self.stack,
            "--region",
            region,
            "--resolve-s3",
            "--capabilities",
            "CAPABILITY_IAM",
            "CAPABILITY_AUTO_EXPAND",
            "--no-confirm-changeset",
            "--no-fail-on-empty-changeset",
            "--parameter-overrides",
        ];
        let mut words: Vec<String> = words.map(str::to_owned).into();
        words.push(format!("Stage={}", self.stage));
        words.push(format!("Architecture={}", self.architecture));
        words.push(format!("Hardened={}", self.hardened));
        words.push(format!("Revision={revision}"));
        words.extend(self.memory.as_ref().map(|megabytes| format!("Memory={megabytes}")));
        words.extend(self.alarm_topic.as_ref().map(|topic| format!("AlarmTopic={topic}")));
        words.extend(self.repositories.as_ref().map(|list| format!("Repositories={list}")));
        words.extend(self.boundary.as_ref().map(|arn| format!("Boundary={arn}")));
        if self.emulated {
            words.push("Emulated=true".into());
        }
        words
    }
}

/// What the template says of its hardened parts.
fn hardened_cost(template: &str) -> &str {
    let output = template.split_once("\n  HardenedCost:").map_or("", |(_, rest)| rest);
    let value = output.split_once("Value: ").map_or("", |(_, rest)| rest);
    value.lines().next().unwrap_or_default().trim()
}

/// The stage's address, and what it lacks before its first run. Whoever deploys need not have the right to look at that.
async fn show_next(plan: &Plan, stack: &Stack, stage: &Stage) {
    let name = &plan.stage;
    screen::print(format!("{} is {} for {}", plan.stack, stack.status, plan.architecture));
    if let Some(address) = stack.outputs.get("ApiUrl") {
        screen::print(format!("API: {address}"));
    }
    let lacking = lacking(name, stack, stage).await.unwrap_or_else(|problem| {
        screen::tell(format!("it is deployed; what it lacks could not be looked at: {}", problem.message));
        Vec::new()
    });
    screen::print("next:");
    if plan.repositories.is_none() {
        screen::print(format!("  what it works on: gatewright aws deploy --stage {name} --repository OWNER/NAME"));
    }
    for step in lacking {
        screen::print(format!("  {step}"));
    }
    screen::print(format!("  a run: gatewright run --stage {name} --repository OWNER/NAME --requirements TEXT"));
    screen::print(format!("how it does: gatewright aws status --stage {name}"));
}

/// What is to be done before the first run.
async fn lacking(name: &str, stack: &Stack, stage: &Stage) -> Result<Vec<String>, Problem> {
    let mut steps = Vec::new();
    for (secret, _, cure) in secrets::look_at_all(stage).await? {
        let what = match secret {
            SecretName::Models => "the key of your model provider",
            SecretName::Forge => "a token for your repositories",
            SecretName::Signing => "the key of seals",
        };
        steps.extend(cure.map(|cure| format!("{what}: {cure}")));
    }
    let grants = stage.store.grants().await.map_err(|error| stage.problem(error))?;
    if grants.is_empty() {
        steps.push(format!("people: gatewright aws tokens add --stage {name} --person NAME --role tech_lead"));
        let api = stack.outputs.get("ApiUrl").map_or("ADDRESS", String::as_str);
        steps.push(format!(
            "a runner of checks: gatewright aws tokens add --stage {name} --runner NAME, then on a Linux machine \
             GATEWRIGHT_RUNNER_BEARER=... gatewright runner --api {api}"
        ));
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> DeployOptions {
        DeployOptions {
            stage: "dev".into(),
            architecture: None,
            memory: None,
            hardened: None,
            alarm_topic: None,
            repositories: Vec::new(),
            boundary: None,
            no_build: false,
            emulated: false,
        }
    }

    fn hardened_stack() -> Stack {
        let parameters = [("Architecture", "x86_64"), ("Hardened", "true"), ("AlarmTopic", "arn:topic")];
        let parameters = parameters.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Stack { parameters: parameters.into(), ..Stack::default() }
    }

    #[test]
    fn a_first_deploy_is_plain() {
        let plan = Plan::of(options(), None, None);
        assert_eq!(plan.build().last().unwrap(), "Architecture=arm64");
        let words = plan.deploy("eu-north-1", "abc").join(" ");
        assert!(words.contains("--stack-name gatewright-dev --region eu-north-1 "), "{words}");
        assert!(words.ends_with("Stage=dev Architecture=arm64 Hardened=false Revision=abc"), "{words}");
    }

    #[test]
    fn what_was_not_asked_for_stays_and_what_was_counts() {
        let plan = Plan::of(options(), Some(&hardened_stack()), None);
        let words = plan.deploy("eu-north-1", "abc").join(" ");
        assert!(words.ends_with("Architecture=x86_64 Hardened=true Revision=abc AlarmTopic=arn:topic"), "{words}");
        let boundary = "arn:aws:iam::123456789012:policy/b".to_owned();
        let bounded = DeployOptions { boundary: Some(boundary.clone()), ..options() };
        let words = Plan::of(bounded, None, None).deploy("eu-north-1", "abc").join(" ");
        assert!(words.ends_with("Revision=abc Boundary=arn:aws:iam::123456789012:policy/b"), "{words}");
        let parameters = [("Boundary".to_owned(), boundary)].into();
        let again = Plan::of(options(), Some(&Stack { parameters, ..Stack::default() }), None);
        assert!(again.deploy("eu-north-1", "abc").join(" ").ends_with(":policy/b"));
        let asked = DeployOptions { hardened: Some(false), architecture: Some(Architecture::Arm64), ..options() };
        let words = Plan::of(asked, Some(&hardened_stack()), None).deploy("eu-north-1", "abc").join(" ");
        assert!(words.contains("Architecture=arm64 Hardened=false"), "{words}");
    }

    #[test]
    fn memory_stays_until_it_is_given_again() {
        let parameters = [("Memory".to_owned(), "256".to_owned())].into();
        let stack = Stack { parameters, ..Stack::default() };
        for (asked, memory) in [(None, "Memory=256"), (Some("512".to_owned()), "Memory=512")] {
            let words = Plan::of(DeployOptions { memory: asked, ..options() }, Some(&stack), None).deploy("r", "abc");
            assert_eq!(words.last().unwrap(), memory);
        }
    }

    #[test]
    fn a_stage_works_on_what_was_named_then_on_what_it_had_then_on_the_checkouts_origin() {
        let stack = |list: &str| {
            let parameters = [("Repositories".to_owned(), list.to_owned())];
            Stack { parameters: parameters.into(), ..Stack::default() }
        };
        let plan = |asked: &[&str], before: Option<&Stack>| {
            let repositories = asked.iter().map(|name| (*name).to_owned()).collect();
            Plan::of(DeployOptions { repositories, ..options() }, before, Some("acme/origin".into()))
        };
        for (plan, list) in [
            (plan(&["acme/a", "acme/b"], Some(&stack("acme/had"))), "acme/a,acme/b"),
            (plan(&[], Some(&stack("acme/had"))), "acme/had"),
            (plan(&[], Some(&stack(""))), "acme/origin"),
            (plan(&[], None), "acme/origin"),
        ] {
            let words = plan.deploy("eu-north-1", "abc");
            assert_eq!(words.last().unwrap(), &format!("Repositories={list}"));
        }
    }

    #[test]
    fn the_role_of_workflows_needs_its_boundary_and_a_person_does_not() {
        let role = "arn:aws:sts::123456789012:assumed-role/gatewright-actions-acme-app-DeployRole-1A2B/deploy";
        let without = Plan::of(options(), None, None);
        assert!(without.check_boundary(role).unwrap_err().message.contains("--boundary ARN"));
        assert!(without.check_boundary("arn:aws:iam::123456789012:user/ann").is_ok());
        let bounded = DeployOptions { boundary: Some("arn:b".into()), ..options() };
        assert!(Plan::of(bounded, None, None).check_boundary(role).is_ok());
    }

    #[test]
    fn the_template_says_what_hardened_costs() {
        assert!(
            hardened_cost(OUR_TEMPLATE).starts_with("$1.00 a month for the key"),
            "{}",
            hardened_cost(OUR_TEMPLATE)
        );
    }
}
