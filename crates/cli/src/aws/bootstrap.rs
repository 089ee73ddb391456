//! `gatewright aws bootstrap`: what an account needs once, before its first stage.

use crate::aws::account::{Account, OidcProvider};
use crate::aws::arguments::BootstrapOptions;
use crate::aws::stack::{self, Stack};
use crate::aws::tokens;
use crate::aws::tools::{self, Checkout, GIT, SAM};
use crate::problem::Problem;
use crate::screen;
use crate::signed::CLOUDFORMATION;

const TEMPLATE: &str = "infra/bootstrap.yaml";
/// CloudFormation's bound on a stack's name.
const LONGEST_NAME: usize = 128;

pub(crate) async fn run(options: BootstrapOptions) -> Result<u8, Problem> {
    let repository = Repository::read(&options.repository)?;
    check_branch(&options.branch)?;
    let account = Account::of_environment()?;
    tools::require(&account.environment, &[&GIT, &SAM])?;
    let checkout = Checkout::clean().await?;
    let identity = account.identity().await?;
    let region = account.signed.region().to_owned();
    screen::tell(format!("account {} in {region}, as {}", identity.account, identity.arn));
    if let Some(narrow) = account.narrowness().await? {
        screen::tell(format!("note: {narrow}"));
    }
    let OidcProvider { arn: provider, change } = account.oidc_provider().await?;
    let told = change.unwrap_or("is there already");
    screen::tell(format!("the account's OIDC provider for GitHub {told}: {provider}"));
    ready(&account, &repository).await?;
    let arguments = repository.deploy(&region, &options.branch, &provider);
    let said = tools::sam(&checkout.root, &arguments).await?;
    let made = stack::find(&account.signed, &repository.stack).await?;
    let made =
        made.ok_or_else(|| Problem::missing(format!("the stack {} is not there after its deploy", repository.stack)))?;
    if said.contains("No changes to deploy") && change.is_none() {
        screen::print(format!("nothing changed: the account is ready for {}", repository.subject));
    } else {
        screen::print(format!("the account is ready for {}", repository.subject));
    }
    show_next(&repository, &made);
    Ok(0)
}

/// What was made, and what a person has to do before it is used.
fn show_next(repository: &Repository, made: &Stack) {
    let parts = [
        ("PlanRoleArn", "may ask for runs and look at them"),
        ("DeployRoleArn", "may deploy stages, within the bound below"),
        ("BoundaryArn", "is what roles of a stage may do at most"),
    ];
    for (output, what) in parts {
        if let Some(arn) = made.outputs.get(output) {
            screen::print(format!("  {arn}  {what}"));
        }
    }
    let name = without_ids(&repository.subject).join("/");
    screen::print(format!(
        "before a workflow deploys: make the environment gatewright with required reviewers and a branch rule, at \
         https://github.com/{name}/settings/environments: GitHub makes an absent one without either, and whoever may push \
         a workflow could deploy"
    ));
    if let Some(arn) = made.outputs.get("PlanRoleArn") {
        screen::print("once a stage is deployed, let the workflows ask for runs there:");
        screen::print(format!("  {}", grant(&name, arn)));
    }
    let boundary = made.outputs.get("BoundaryArn").map(|arn| format!(" --boundary {arn}")).unwrap_or_default();
    screen::print(format!("next: gatewright aws deploy --stage dev{boundary}"));
}

/// The command that lets workflows ask a stage for runs: the role alone may reach the API and is nobody there.
fn grant(repository: &str, role: &str) -> String {
    let name = repository.get(..tokens::LONGEST_NAME).unwrap_or(repository);
    format!("gatewright aws tokens add --stage dev --workflow {name} --principal {role}")
}

/// Waits for what a run of this that was interrupted has begun, and clears away what never came to be.
async fn ready(account: &Account, repository: &Repository) -> Result<(), Problem> {
    let name = &repository.stack;
    let Some(found) = stack::find(&account.signed, name).await? else { return Ok(()) };
    if let Some(other) =
        found.parameter("Repository").filter(|other| without_ids(other) != without_ids(&repository.subject))
    {
        return Err(Problem::input(format!(
            "the stack {name} has the roles of {other}, whose name differs by a dot or dash alone: deploy {TEMPLATE} for {} \
             by hand, under another name",
            repository.subject
        )));
    }
    if found.is_busy() {
        screen::tell(format!("the stack {name} is in {}: waiting for it", found.status));
    }
    let Some(found) = stack::settled(&account.signed, &found.id).await? else { return Ok(()) };
    if matches!(found.status.as_str(), "ROLLBACK_COMPLETE" | "CREATE_FAILED" | "DELETE_FAILED" | "ROLLBACK_FAILED") {
        screen::tell(format!(
            "the stack {name} is in {}, with nothing in it to keep: it is deleted and made anew",
            found.status
        ));
        account.signed.query(&CLOUDFORMATION, "DeleteStack", &[("StackName", &found.id)]).await?;
        return match stack::settled(&account.signed, &found.id).await? {
            None => Ok(()),
            Some(left) => Err(Problem::input(format!(
                "the stack {name} cannot be deleted: {}",
                left.reason.unwrap_or(left.status)
            ))),
        };
    }
    found.obstacle().map_or(Ok(()), |obstacle| Err(Problem::input(obstacle)))
}

/// A repository on GitHub, and the stack of its roles.
#[derive(Debug, PartialEq, Eq)]
struct Repository {
    /// As the tokens of its workflows name it: `OWNER/NAME`, or `OWNER@ID/NAME@ID`.
    subject: String,
    stack: String,
}

impl Repository {
    fn read(text: &str) -> Result<Self, Problem> {
        let wrong =
            || Problem::input(format!("--repository {text:?}: use OWNER/NAME, or OWNER@ID/NAME@ID as its tokens say"));
        let (owner, name) = text.split_once('/').ok_or_else(wrong)?;
        let (owner, owner_id) = part(owner).ok_or_else(wrong)?;
        let (name, name_id) = part(name).ok_or_else(wrong)?;
        // An owner whose people are managed by an enterprise bears its short code after an underscore.
        if owner_id != name_id || owner.contains('.') {
            return Err(wrong());
        }
        // Stacks are named by letters, digits and dashes.
        let plain = format!("gatewright-actions-{owner}-{name}").replace(['.', '_'], "-");
        let stack = plain[..plain.len().min(LONGEST_NAME)].to_owned();
        Ok(Self { subject: text.to_owned(), stack })
    }

    fn deploy(&self, region: &str, branch: &str, provider: &str) -> Vec<String> {
        let words = [
            "deploy",
            "--template-file",
            TEMPLATE,
            "--stack-name",
            &self.stack,
            "--region",
            region,
            "--capabilities",
            "CAPABILITY_IAM",
            "--no-confirm-changeset",
            "--no-fail-on-empty-changeset",
            "--parameter-overrides",
        ];
        let mut words: Vec<String> = words.map(str::to_owned).into();
        words.push(format!("Repository={}", self.subject));
        words.push(format!("Branch={branch}"));
        words.push(format!("OidcProvider={provider}"));
        words
    }
}

/// `OWNER/NAME`, whichever way the repository is named.
fn without_ids(subject: &str) -> Vec<&str> {
    subject.split('/').map(|part| part.split_once('@').map_or(part, |(name, _)| name)).collect()
}

/// An owner's or a repository's name, and whether its id follows.
fn part(text: &str) -> Option<(&str, bool)> {
    let (name, id) = text.split_once('@').map_or((text, None), |(name, id)| (name, Some(id)));
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let is_good = (1..=100).contains(&name.len())
        && name.bytes().all(is_name)
        && id.is_none_or(|id| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()));
    is_good.then_some((name, id.is_some()))
}

/// A branch stands in the condition of a role, where `*` and `?` would let others in.
fn check_branch(branch: &str) -> Result<(), Problem> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/".contains(&byte);
    if !branch.is_empty() && branch.bytes().all(plain) {
        return Ok(());
    }
    Err(Problem::input(format!(
        "--branch {branch:?}: use one branch's name: letters, digits, dashes, dots and slashes"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_named_as_its_tokens_do() {
        for (text, stack) in [
            ("acme/app", "gatewright-actions-acme-app"),
            ("acme-inc/my.app_2", "gatewright-actions-acme-inc-my-app-2"),
            ("acme@12/app@34", "gatewright-actions-acme-app"),
            ("ann_acme/app", "gatewright-actions-ann-acme-app"),
        ] {
            let repository = Repository::read(text).unwrap();
            assert_eq!((repository.subject.as_str(), repository.stack.as_str()), (text, stack));
        }
        for text in [
            "",
            "app",
            "acme/",
            "acme/*",
            "acme/app/x",
            "ac*me/app",
            "acme@12/app",
            "acme@x/app@1",
            "a:b/c",
            "a b/c",
            "a.b/c",
        ] {
            assert!(Repository::read(text).unwrap_err().message.contains("OWNER/NAME"), "{text}");
        }
        let long = Repository::read(&format!("{}/{}", "a".repeat(99), "b".repeat(99))).unwrap();
        assert_eq!(long.stack.len(), LONGEST_NAME);
    }

    #[test]
    fn a_branch_lets_no_other_in() {
        assert!(check_branch("release/1.2").is_ok());
        for branch in ["", "*", "main*", "release/?", "a b", "$x"] {
            assert!(check_branch(branch).is_err(), "{branch}");
        }
    }

    #[test]
    fn the_roles_are_deployed_for_this_repository_and_this_branch() {
        let words = Repository::read("acme/app").unwrap().deploy("eu-north-1", "main", "arn:p").join(" ");
        assert!(words.contains("--stack-name gatewright-actions-acme-app --region eu-north-1"), "{words}");
        assert!(words.ends_with("Repository=acme/app Branch=main OidcProvider=arn:p"), "{words}");
    }
}
