//! A CloudFormation stack: how it stands, what it is made of, and what failed.

use std::collections::BTreeMap;
use std::time::Duration;

use lambda_host::SystemClock;
use run_model::Clock;

use crate::problem::Problem;
use crate::signed::{CLOUDFORMATION, CallError, Element, Signed};

/// How long to wait before a stack that is at work is looked at again, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A stack that has been at work for longer hangs.
const PATIENCE_MS: i64 = 60 * 60 * 1000;

/// A stack as CloudFormation describes it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stack {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) status: String,
    pub(crate) reason: Option<String>,
    pub(crate) outputs: BTreeMap<String, String>,
    pub(crate) parameters: BTreeMap<String, String>,
}

/// A part of a stack.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Resource {
    pub(crate) logical_id: String,
    pub(crate) physical_id: String,
}

/// A part of a stack that could not be made, changed or deleted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    logical_id: String,
    physical_id: String,
    kind: String,
    reason: String,
}

/// The stack of a stage.
pub(crate) fn name_of(stage: &str) -> String {
    format!("gatewright-{stage}")
}

/// The stack of this name, or of this id, if there is one.
pub(crate) async fn find(signed: &Signed, name: &str) -> Result<Option<Stack>, Problem> {
    match signed.query(&CLOUDFORMATION, "DescribeStacks", &[("StackName", name)]).await {
        Ok(answer) => Ok(answer.all("DescribeStacksResult/Stacks/member").first().map(|stack| Stack::read(stack))),
        // CloudFormation has no code of its own for it.
        Err(CallError::Refused { code, message, .. })
            if code == "ValidationError" && message.contains("does not exist") =>
        {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// The stack of a stage, which has to be there.
pub(crate) async fn require(signed: &Signed, stage: &str) -> Result<Stack, Problem> {
    find(signed, &name_of(stage)).await?.ok_or_else(|| {
        Problem::input(format!(
            "--stage {stage}: there is no such stage in {}: check the name and AWS_REGION, or deploy it: gatewright aws \
             deploy --stage {stage}",
            signed.region()
        ))
    })
}

/// Waits until a stack is not at work any more; `None` once it is gone.
pub(crate) async fn settled(signed: &Signed, id: &str) -> Result<Option<Stack>, Problem> {
    let (begun_ms, mut pause) = (SystemClock.now_ms(), FIRST_PAUSE);
    loop {
        let Some(stack) = find(signed, id).await? else { return Ok(None) };
        match stack.status.as_str() {
            "DELETE_COMPLETE" => return Ok(None),
            _ if !stack.is_busy() => return Ok(Some(stack)),
            status if SystemClock.now_ms() - begun_ms > PATIENCE_MS => {
                let name = stack.name;
                return Err(Problem::missing(format!(
                    "the stack {name} has been {status} for an hour: look at its events"
                )));
            }
            _ => tokio::time::sleep(pause).await,
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Every part of a stack that exists.
pub(crate) async fn resources(signed: &Signed, name: &str) -> Result<Vec<Resource>, Problem> {
    let (mut found, mut next) = (Vec::new(), None::<String>);
    loop {
        let mut asked = vec![("StackName", name)];
        asked.extend(next.as_deref().map(|token| ("NextToken", token)));
        let page = signed.query(&CLOUDFORMATION, "ListStackResources", &asked).await?;
        for resource in page.all("ListStackResourcesResult/StackResourceSummaries/member") {
            let text = |name: &str| resource.text(name).unwrap_or_default().to_owned();
            let (logical_id, physical_id) = (text("LogicalResourceId"), text("PhysicalResourceId"));
            if !physical_id.is_empty() && text("ResourceStatus") != "DELETE_COMPLETE" {
                found.push(Resource { logical_id, physical_id });
            }
        }
        next = page.text("ListStackResourcesResult/NextToken").map(str::to_owned);
        if next.is_none() {
            return Ok(found);
        }
    }
}

/// What failed when the stack was last made, changed or deleted, the first failure first.
pub(crate) async fn failures(signed: &Signed, id: &str) -> Result<Vec<Failure>, Problem> {
    let (mut found, mut next) = (Vec::new(), None::<String>);
    loop {
        let mut asked = vec![("StackName", id)];
        asked.extend(next.as_deref().map(|token| ("NextToken", token)));
        let page = signed.query(&CLOUDFORMATION, "DescribeStackEvents", &asked).await?;
        let is_begun = gather(&page.all("DescribeStackEventsResult/StackEvents/member"), &mut found);
        next = page.text("DescribeStackEventsResult/NextToken").map(str::to_owned);
        if is_begun || next.is_none() {
            found.reverse();
            return Ok(found);
        }
    }
}

/// Gathers failures from events, which come with the newest first, until the one that began it all; whether that was met.
fn gather(events: &[&Element], found: &mut Vec<Failure>) -> bool {
    for event in events {
        let text = |name: &str| event.text(name).unwrap_or_default().to_owned();
        let (kind, status) = (text("ResourceType"), text("ResourceStatus"));
        if kind == "AWS::CloudFormation::Stack" && text("PhysicalResourceId") == text("StackId") {
            if matches!(status.as_str(), "CREATE_IN_PROGRESS" | "UPDATE_IN_PROGRESS" | "DELETE_IN_PROGRESS") {
                return true;
            }
            continue;
        }
        let reason = text("ResourceStatusReason");
        // Whatever was under way when the first one failed is cancelled, and says nothing.
        if status.ends_with("_FAILED") && !reason.to_lowercase().contains("cancelled") {
            let (logical_id, physical_id) = (text("LogicalResourceId"), text("PhysicalResourceId"));
            found.push(Failure { logical_id, physical_id, kind, reason });
        }
    }
    false
}

impl Stack {
    fn read(stack: &Element) -> Self {
        let text = |name: &str| stack.text(name).unwrap_or_default().to_owned();
        let pairs = |path: &str, key: &str, value: &str| {
            let members = stack.all(path);
            let pair = |member: &&Element| {
                Some((member.text(key)?.to_owned(), member.text(value).unwrap_or_default().to_owned()))
            };
            members.iter().filter_map(pair).collect()
        };
        Self {
            name: text("StackName"),
            id: text("StackId"),
            status: text("StackStatus"),
            reason: stack.text("StackStatusReason").map(str::to_owned),
            outputs: pairs("Outputs/member", "OutputKey", "OutputValue"),
            parameters: pairs("Parameters/member", "ParameterKey", "ParameterValue"),
        }
    }

    /// A parameter that says something.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Whether CloudFormation is at work on it.
    pub(crate) fn is_busy(&self) -> bool {
        self.status.ends_with("_IN_PROGRESS") && self.status != "REVIEW_IN_PROGRESS"
    }

    /// Whether all of it is there: as it was deployed last, or as before if that failed.
    pub(crate) fn is_whole(&self) -> bool {
        matches!(
            self.status.as_str(),
            "CREATE_COMPLETE" | "UPDATE_COMPLETE" | "UPDATE_ROLLBACK_COMPLETE" | "IMPORT_COMPLETE"
        )
    }

    /// What keeps it from being deployed, with the cure.
    pub(crate) fn obstacle(&self) -> Option<String> {
        let Self { name, status, .. } = self;
        let stage = name.strip_prefix("gatewright-").unwrap_or(name);
        let cure = match status.as_str() {
            "REVIEW_IN_PROGRESS" => return None,
            _ if self.is_whole() => return None,
            _ if self.is_busy() => {
                let wait = if status.starts_with("DELETE") {
                    "stack-delete-complete"
                } else if status.starts_with("CREATE") {
                    "stack-create-complete"
                } else if status.contains("ROLLBACK") {
                    "stack-rollback-complete"
                } else {
                    "stack-update-complete"
                };
                format!(
                    "somebody changes it right now: wait (aws cloudformation wait {wait} --stack-name {name}) and try again"
                )
            }
            "UPDATE_ROLLBACK_FAILED" => format!(
                "a change failed, and so did taking it back: mend what its events name, then aws cloudformation \
                 continue-update-rollback --stack-name {name} (with --resources-to-skip for what cannot be mended)"
            ),
            "UPDATE_FAILED" => {
                format!("a change was left half done: aws cloudformation rollback-stack --stack-name {name}")
            }
            "ROLLBACK_COMPLETE" | "ROLLBACK_FAILED" | "CREATE_FAILED" | "DELETE_FAILED" => {
                let what = if status.starts_with("DELETE") { "its deletion failed" } else { "its first deploy failed" };
                format!(
                    "{what}, and it can only be deleted: mend what its events name, then gatewright aws destroy --stage \
                     {stage}, and deploy again"
                )
            }
            _ => "Gatewright does not know this state: look at the stack in the console".into(),
        };
        Some(format!("the stack {name} is in {status}: {cure}"))
    }
}

impl Failure {
    /// What failed and why, with the cure if it is known.
    pub(crate) fn words(&self) -> String {
        let Self { logical_id, kind, reason, .. } = self;
        let cure = self.cure().map(|cure| format!("\n  cure: {cure}")).unwrap_or_default();
        format!("{logical_id} ({kind}): {reason}{cure}")
    }

    fn cure(&self) -> Option<String> {
        let says = |words: &str| self.reason.to_lowercase().contains(words);
        let named = if self.physical_id.is_empty() { &self.logical_id } else { &self.physical_id };
        if says("scheduled for deletion") {
            let secret = quoted(&self.reason).unwrap_or(named);
            return Some(format!(
                "the secret of an earlier stage keeps its name for a while: aws secretsmanager delete-secret \
                 --force-delete-without-recovery --secret-id {secret}"
            ));
        }
        if says("already exists") || says("alreadyexists") || says("already owned by you") {
            let name = quoted(&self.reason).unwrap_or(named);
            let remove = match self.kind.as_str() {
                "AWS::Logs::LogGroup" => format!("aws logs delete-log-group --log-group-name {name}"),
                "AWS::DynamoDB::Table" => format!("aws dynamodb delete-table --table-name {name}"),
                "AWS::SecretsManager::Secret" => {
                    format!("aws secretsmanager delete-secret --force-delete-without-recovery --secret-id {name}")
                }
                "AWS::S3::Bucket" => format!("aws s3 rb --force s3://{name}"),
                _ => "use its service's own command".into(),
            };
            return Some(format!(
                "the name is taken by something outside this stack: look what it is, and remove it: {remove}"
            ));
        }
        if says("deletion protection") || says("deletionprotection") {
            return Some(format!("aws dynamodb update-table --table-name {named} --no-deletion-protection-enabled"));
        }
        if says("not empty") {
            return Some("something was written into it meanwhile: run gatewright aws destroy again".into());
        }
        if says("not authorized to perform") || says("accessdenied") || says("access denied") {
            return Some("whoever deploys lacks this right; infra/README.md says which are needed, and what the role of workflows may not".into());
        }
        if says("limitexceeded") || says("limit exceeded") || says("quota") {
            return Some(
                "the account's quota is used up: aws service-quotas list-service-quotas --service-code SERVICE".into(),
            );
        }
        None
    }
}

/// The first name between single quotes: AWS puts types and sentences there too, and names in a bit of JSON.
fn quoted(reason: &str) -> Option<&str> {
    let texts = reason.split('\'').skip(1).step_by(2);
    let mut names =
        texts.map(|text| if text.starts_with('{') { text.rsplit('"').nth(1).unwrap_or(text) } else { text });
    names.find(|text| !text.is_empty() && !text.contains("::") && !text.contains(' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(status: &str) -> Stack {
        Stack { name: "gatewright-dev".into(), status: status.into(), ..Stack::default() }
    }

    #[test]
    fn a_stack_that_cannot_be_deployed_says_what_to_do() {
        for (status, words) in [
            ("ROLLBACK_COMPLETE", "first deploy failed, and it can only be deleted"),
            ("ROLLBACK_FAILED", "gatewright aws destroy --stage dev"),
            ("CREATE_FAILED", "gatewright aws destroy --stage dev"),
            ("DELETE_FAILED", "its deletion failed"),
            ("UPDATE_ROLLBACK_FAILED", "continue-update-rollback --stack-name gatewright-dev"),
            ("UPDATE_FAILED", "rollback-stack --stack-name gatewright-dev"),
            ("CREATE_IN_PROGRESS", "wait stack-create-complete"),
            ("UPDATE_IN_PROGRESS", "wait stack-update-complete"),
            ("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "wait stack-update-complete"),
            ("UPDATE_ROLLBACK_IN_PROGRESS", "wait stack-rollback-complete"),
            ("DELETE_IN_PROGRESS", "wait stack-delete-complete"),
            ("SOMETHING_NEW", "does not know"),
        ] {
            let said = stack(status).obstacle().unwrap();
            assert!(said.contains(status) && said.contains(words), "{said}");
        }
        for status in ["CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "REVIEW_IN_PROGRESS"] {
            assert_eq!(stack(status).obstacle(), None, "{status}");
        }
    }

    fn event(kind: &str, logical: &str, status: &str, reason: &str) -> String {
        let physical = if kind == "AWS::CloudFormation::Stack" { "the-stack" } else { "" };
        format!(
            "<member><StackId>the-stack</StackId><LogicalResourceId>{logical}</LogicalResourceId>\
             <PhysicalResourceId>{physical}</PhysicalResourceId><ResourceType>{kind}</ResourceType>\
             <ResourceStatus>{status}</ResourceStatus><ResourceStatusReason>{reason}</ResourceStatusReason></member>"
        )
    }

    #[test]
    fn only_the_failures_of_the_last_time_count() {
        const STACK: &str = "AWS::CloudFormation::Stack";
        let events = [
            event(
                STACK,
                "gatewright-dev",
                "ROLLBACK_IN_PROGRESS",
                "The following resource(s) failed to create: [Table].",
            ),
            event("AWS::S3::Bucket", "Bucket", "CREATE_FAILED", "Resource creation cancelled"),
            event("AWS::DynamoDB::Table", "Table", "CREATE_FAILED", "gone wrong"),
            event(STACK, "gatewright-dev", "CREATE_IN_PROGRESS", "User Initiated"),
            event("AWS::DynamoDB::Table", "Table", "DELETE_FAILED", "of another time"),
        ];
        let root = Element::parse(&format!("<E>{}</E>", events.concat())).unwrap();
        let mut found = Vec::new();
        assert!(gather(&root.all("member"), &mut found));
        assert_eq!(found.iter().map(|failure| failure.reason.as_str()).collect::<Vec<_>>(), ["gone wrong"]);
    }

    #[test]
    fn what_aws_says_of_a_failure_has_its_cure() {
        for (kind, reason, cure) in [
            // As AWS words them.
            (
                "AWS::DynamoDB::Table",
                "Resource of type 'AWS::DynamoDB::Table' with identifier 'gatewright-dev' already exists.",
                "aws dynamodb delete-table --table-name gatewright-dev",
            ),
            (
                "AWS::Logs::LogGroup",
                "Resource handler returned message: \"Resource of type 'AWS::Logs::LogGroup' with identifier \
                 '{\"/properties/LogGroupName\":\"/aws/lambda/gatewright-dev-api\"}' already exists.\"",
                "aws logs delete-log-group --log-group-name /aws/lambda/gatewright-dev-api",
            ),
            (
                "AWS::SecretsManager::Secret",
                "Resource handler returned message: \"You can't create this secret because a secret with this name is \
                 already scheduled for deletion. (Service: SecretsManager, Status Code: 400)\"",
                "--force-delete-without-recovery",
            ),
            ("AWS::S3::Bucket", "gatewright-dev-123456789012-eu-north-1 already exists", "aws s3 rb --force s3://"),
            (
                "AWS::S3::Bucket",
                "The bucket you tried to delete is not empty (Service: S3, Status Code: 409, Request ID: 1)",
                "run gatewright aws destroy again",
            ),
            (
                "AWS::IAM::Role",
                "User: arn:aws:iam::123456789012:user/ann is not authorized to perform: iam:CreateRole on resource: a",
                "lacks this right",
            ),
            (
                "AWS::DynamoDB::Table",
                "Resource cannot be deleted as it is currently protected against deletion. Disable deletion protection first.",
                "--no-deletion-protection-enabled",
            ),
        ] {
            let failure = Failure {
                logical_id: "It".into(),
                physical_id: String::new(),
                kind: kind.into(),
                reason: reason.into(),
            };
            let words = failure.words();
            assert!(words.contains(reason) && words.contains(cure), "{words}");
        }
    }
}
