//! People as the entrances see them: by a bearer, by their IAM principal, or not at all.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What makes a person's word count at a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApproverRole {
    /// Writes code.
    Developer,
    /// Answers for code.
    TechLead,
    /// Answers for what runs.
    DevopsEngineer,
}

impl ApproverRole {
    /// Every role.
    pub const ALL: [Self; 3] = [Self::Developer, Self::TechLead, Self::DevopsEngineer];

    /// The word that commands and JSON use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Developer => "developer",
            Self::TechLead => "tech_lead",
            Self::DevopsEngineer => "devops_engineer",
        }
    }
}

impl fmt::Display for ApproverRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// No approver role bears this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an approver role: use developer, tech_lead or devops_engineer")]
pub struct UnknownRole(String);

impl FromStr for ApproverRole {
    type Err = UnknownRole;

    fn from_str(word: &str) -> Result<Self, UnknownRole> {
        Self::ALL.into_iter().find(|role| role.as_str() == word).ok_or_else(|| UnknownRole(word.to_owned()))
    }
}

/// How workflows are seen: by an IAM role that whoever may push stands behind.
pub const WORKFLOW: &str = "workflow";

/// A person as an entrance saw them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The name for other people.
    pub name: String,
    /// How the person was seen: `bearer` or `iam`; as [`WORKFLOW`] it is no person.
    pub seen_as: String,
    /// All that the person is recognised by. Who has one of them in common is the same person.
    pub identities: BTreeSet<String>,
    /// The roles in which the person decides.
    pub roles: BTreeSet<ApproverRole>,
}

impl Person {
    /// Whether runs start at this person's word: who has a role, and workflows that were granted it. Anybody else looks on.
    pub fn may_ask(&self) -> bool {
        !self.roles.is_empty() || self.seen_as == WORKFLOW
    }
}

const NAMED: &str = "person:";

/// The identity of a person who is known by name.
pub fn named(name: &str) -> String {
    format!("{NAMED}{name}")
}

/// Whether this is the identity of a person who is known by name, and not of a principal that any person may stand behind.
pub(crate) fn is_named(identity: &str) -> bool {
    identity.starts_with(NAMED)
}

/// The identity behind an ARN that IAM has authenticated, whatever the session is called: of an assumed role
/// `<account>:role/<name>`, of a user or the root user the ARN itself. `None` if it is no such ARN, and for a federated user:
/// whoever calls GetFederationToken makes that name up, so one person could be two.
pub fn principal(arn: &str) -> Option<String> {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", _partition, service, "", account, resource] = parts.as_slice() else { return None };
    let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
    if !is_account || resource.is_empty() {
        return None;
    }
    match (*service, *resource) {
        ("sts", resource) if resource.starts_with("assumed-role/") => {
            let (role, session) = resource.strip_prefix("assumed-role/")?.split_once('/')?;
            (!role.is_empty() && !session.is_empty()).then(|| format!("{account}:role/{role}"))
        }
        // A role's own ARN, as an administrator writes it down; its path is no part of what a session's ARN shows.
        ("iam", resource) if resource.starts_with("role/") => {
            let role = resource.rsplit('/').next().filter(|role| !role.is_empty())?;
            Some(format!("{account}:role/{role}"))
        }
        ("iam", "root") => Some(arn.to_owned()),
        ("iam", resource) if resource.starts_with("user/") => Some(arn.to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_of_one_role_are_one_principal() {
        let ann = principal("arn:aws:sts::123456789012:assumed-role/admin/ann").unwrap();
        assert_eq!(principal("arn:aws:sts::123456789012:assumed-role/admin/ben").unwrap(), ann);
        assert_eq!(principal("arn:aws:iam::123456789012:role/aws-reserved/sso/admin").unwrap(), ann);
        assert_ne!(principal("arn:aws:sts::123456789013:assumed-role/admin/ann").unwrap(), ann);
        assert_ne!(principal("arn:aws:sts::123456789012:assumed-role/admin2/ann").unwrap(), ann);
    }

    #[test]
    fn users_are_their_arn() {
        for arn in [
            "arn:aws:iam::123456789012:user/ann",
            "arn:aws-cn:iam::123456789012:user/team/ann",
            "arn:aws:iam::123456789012:root",
        ] {
            assert_eq!(principal(arn).as_deref(), Some(arn));
        }
    }

    #[test]
    fn what_is_no_principal_is_nobody() {
        for arn in [
            "",
            "ann",
            "arn:aws:iam::123456789012:",
            "arn:aws:iam::12345678901:user/ann",
            "arn:aws:iam:us-east-1:123456789012:user/ann",
            "arn:aws:sts::123456789012:assumed-role/admin",
            "arn:aws:sts::123456789012:assumed-role//ann",
            "arn:aws:lambda::123456789012:user/ann",
            "arn:aws:sts::123456789012:federated-user/ann",
        ] {
            assert_eq!(principal(arn), None, "{arn}");
        }
    }

    #[test]
    fn a_role_is_spelt_in_one_way() {
        for role in ApproverRole::ALL {
            assert_eq!(role.as_str().parse(), Ok(role));
            assert_eq!(serde_json::to_value(role).unwrap(), role.as_str());
        }
        assert!("owner".parse::<ApproverRole>().unwrap_err().to_string().contains("tech_lead"));
    }
}
