//! Names and ARNs of machines and executions.

use crate::AwsError;

/// Where this Step Functions claims to be; part of every ARN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Region such as `us-east-1`.
    pub region: String,
    /// Twelve digits.
    pub account: String,
}

impl Default for Place {
    fn default() -> Self {
        Place { region: "us-east-1".into(), account: "000000000000".into() }
    }
}

impl Place {
    fn prefix(&self, kind: &str) -> String {
        format!("arn:aws:states:{}:{}:{kind}:", self.region, self.account)
    }

    /// The ARN of the machine `name`.
    pub fn machine_arn(&self, name: &str) -> String {
        self.prefix("stateMachine") + name
    }

    /// The ARN of one execution of `machine`.
    pub fn execution_arn(&self, machine: &str, name: &str) -> String {
        format!("{}{machine}:{name}", self.prefix("execution"))
    }

    /// The role that every machine claims to run as; nothing here checks it.
    pub fn role_arn(&self) -> String {
        format!("arn:aws:iam::{}:role/state-machines", self.account)
    }

    /// The machine's name in its ARN.
    pub(super) fn machine_name<'a>(&self, arn: &'a str) -> Result<&'a str, AwsError> {
        well_formed(arn, "stateMachine")?;
        arn.strip_prefix(&self.prefix("stateMachine")).ok_or_else(|| no_machine(arn))
    }

    /// Machine and name in an execution's ARN.
    pub(super) fn execution_name<'a>(&self, arn: &'a str) -> Result<(&'a str, &'a str), AwsError> {
        well_formed(arn, "execution")?;
        let rest = arn.strip_prefix(&self.prefix("execution"));
        rest.and_then(|rest| rest.split_once(':')).ok_or_else(|| no_execution(arn))
    }
}

fn well_formed(arn: &str, kind: &str) -> Result<(), AwsError> {
    let mut parts = arn.split(':');
    let head = [parts.next(), parts.next(), parts.next()];
    let tail = [parts.nth(2), parts.next().filter(|name| !name.is_empty())];
    if head == [Some("arn"), Some("aws"), Some("states")] && tail[0] == Some(kind) && tail[1].is_some() {
        return Ok(());
    }
    Err(AwsError::client("InvalidArn", format!("Invalid Arn: '{arn}'")))
}

pub(super) fn no_machine(arn: &str) -> AwsError {
    AwsError::client("StateMachineDoesNotExist", format!("State Machine Does Not Exist: '{arn}'"))
}

pub(super) fn no_execution(arn: &str) -> AwsError {
    AwsError::client("ExecutionDoesNotExist", format!("Execution Does Not Exist: '{arn}'"))
}

/// Refuses what AWS refuses as a machine's or execution's name: 1 to 80 characters, no white space, brackets,
/// wildcards, control characters or any of `"#%\^|~` and `` `$&,;:/ ``.
pub(super) fn check_name(name: &str) -> Result<(), AwsError> {
    let refused = |c: char| c.is_whitespace() || c.is_control() || "<>{}[]?*\"#%\\^|~`$&,;:/".contains(c);
    if (1..=80).contains(&name.chars().count()) && !name.contains(refused) {
        return Ok(());
    }
    Err(AwsError::client("InvalidName", format!("Invalid Name: '{name}'")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arns_come_apart_as_they_were_put_together() {
        let place = Place::default();
        assert_eq!(place.machine_name(&place.machine_arn("pipeline")).unwrap(), "pipeline");
        assert_eq!(place.execution_name(&place.execution_arn("pipeline", "r-1")).unwrap(), ("pipeline", "r-1"));
        let elsewhere = Place { region: "eu-west-1".into(), ..Place::default() };
        assert_eq!(place.machine_name(&elsewhere.machine_arn("m")).unwrap_err().code, "StateMachineDoesNotExist");
        assert_eq!(place.execution_name(&place.machine_arn("m")).unwrap_err().code, "InvalidArn");
        for broken in ["", "pipeline", "arn:aws:states:us-east-1:1:stateMachine:", "arn:aws:s3:::stateMachine:x"] {
            assert_eq!(place.machine_name(broken).unwrap_err().code, "InvalidArn", "{broken}");
        }
    }

    #[test]
    fn names_follow_the_documented_rules() {
        for good in ["a", "run-1_x.y", "émile", &"n".repeat(80), "(a)+=@!'"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", " ", "a b", "a/b", "a:b", "a\u{7f}", "a*", "{a}", &"n".repeat(81)] {
            assert_eq!(check_name(bad).unwrap_err().code, "InvalidName", "{bad}");
        }
    }
}
