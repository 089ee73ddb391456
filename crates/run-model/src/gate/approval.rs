//! Whose word counts at a gate, and when enough people have said it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Approver, Gate, GateDecision};
use crate::person::{ApproverRole, Person};
use crate::risk::RiskLevel;
use crate::run::Requester;

/// One person's yes at a gate that may need more than one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Who.
    pub approver: Approver,
    /// All that the person was recognised by.
    pub identities: BTreeSet<String>,
    /// Why, if said.
    pub comment: Option<String>,
    /// When, in milliseconds since the epoch.
    pub approved_ms: i64,
}

/// Why a person's word does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The level asks for another role.
    #[error("a gate of {level} risk is decided by {needed}, and {name} is {has}", level = .level.as_str())]
    Role {
        /// The person.
        name: String,
        /// The gate's level.
        level: RiskLevel,
        /// The roles that would do.
        needed: String,
        /// The roles the person has.
        has: String,
    },
    /// The person asked for the run.
    #[error("{0} asked for this run, so somebody else has to approve it")]
    OwnRun(String),
}

/// What a person's word does to a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// It decides.
    Decides,
    /// It is kept, and another person has to approve too.
    AwaitsAnother,
    /// This person has approved before, and another person still has to.
    Repeated,
}

/// The roles that decide on a gate of this level.
pub fn approver_roles(level: RiskLevel) -> &'static [ApproverRole] {
    match level {
        RiskLevel::Low | RiskLevel::Medium => &[ApproverRole::Developer, ApproverRole::TechLead],
        RiskLevel::High => &[ApproverRole::TechLead, ApproverRole::DevopsEngineer],
        RiskLevel::Critical => &[ApproverRole::DevopsEngineer],
    }
}

/// How many different people have to approve: two where the risk is high and nobody knows who asked, since one of them may
/// have.
pub fn approvers_needed(level: RiskLevel, requester: &Requester) -> usize {
    if level >= RiskLevel::High && !requester.is_known() { 2 } else { 1 }
}

/// Weighs a person's word at a gate that waits.
///
/// # Errors
/// [`Refusal`]; a denial needs the role only, and one person's is enough.
pub fn weigh(gate: &Gate, requester: &Requester, person: &Person, decision: GateDecision) -> Result<Weight, Refusal> {
    check_role(gate.risk.level, person)?;
    if decision == GateDecision::Denied {
        return Ok(Weight::Decides);
    }
    if !requester.identities.is_disjoint(&person.identities) {
        return Err(Refusal::OwnRun(person.name.clone()));
    }
    let others = others(&gate.approvals, &person.identities);
    if others + 1 >= approvers_needed(gate.risk.level, requester) {
        return Ok(Weight::Decides);
    }
    Ok(if others < gate.approvals.len() { Weight::Repeated } else { Weight::AwaitsAnother })
}

/// Whether a person has a role that counts at gates of this level.
pub(super) fn check_role(level: RiskLevel, person: &Person) -> Result<(), Refusal> {
    let roles = approver_roles(level);
    if roles.iter().any(|role| person.roles.contains(role)) {
        return Ok(());
    }
    let listed = |roles: Vec<&str>| if roles.is_empty() { "no approver".to_owned() } else { roles.join(" or ") };
    Err(Refusal::Role {
        name: person.name.clone(),
        level,
        needed: listed(roles.iter().map(|role| role.as_str()).collect()),
        has: listed(person.roles.iter().map(|role| role.as_str()).collect()),
    })
}

/// How many of the approvals are other people's.
fn others(approvals: &[Approval], identities: &BTreeSet<String>) -> usize {
    approvals.iter().filter(|approval| approval.identities.is_disjoint(identities)).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::{Binding, GateKind, GateState};
    use crate::person;
    use crate::risk::{Risk, RiskReason};
    use crate::{GateId, RunId, Sha256};

    fn gate(level: RiskLevel) -> Gate {
        Gate {
            gate_id: GateId::new("r-1-1-abc").unwrap(),
            run_id: RunId::new("r-1").unwrap(),
            binding: Binding {
                kind: GateKind::Change,
                base_commit: "c".into(),
                content_sha256: Sha256::of(b""),
                target: "t".into(),
            },
            risk: Risk { level, reasons: vec![RiskReason::new(level, "rule", "seen")] },
            summary: String::new(),
            opened_ms: 0,
            deadline_ms: 1,
            state: GateState::Pending,
            approvals: Vec::new(),
            exchanges: Vec::new(),
        }
    }

    fn person(name: &str, roles: &[ApproverRole]) -> Person {
        Person {
            name: name.into(),
            seen_as: "bearer".into(),
            identities: [person::named(name)].into(),
            roles: roles.iter().copied().collect(),
        }
    }

    fn requester(name: &str) -> Requester {
        Requester { name: name.into(), seen_as: "bearer".into(), identities: [person::named(name)].into() }
    }

    /// The gate with this person's approval kept.
    fn approved_by(mut gate: Gate, person: &Person) -> Gate {
        let approver = Approver { name: person.name.clone(), seen_as: person.seen_as.clone() };
        let identities = person.identities.clone();
        gate.approvals.push(Approval { approver, identities, comment: None, approved_ms: 0 });
        gate
    }

    const APPROVED: GateDecision = GateDecision::Approved;

    #[test]
    fn each_level_has_its_roles() {
        use ApproverRole::{Developer, DevopsEngineer, TechLead};
        for (level, may) in [
            (RiskLevel::Medium, [true, true, false]),
            (RiskLevel::High, [false, true, true]),
            (RiskLevel::Critical, [false, false, true]),
        ] {
            for (role, may) in [Developer, TechLead, DevopsEngineer].into_iter().zip(may) {
                for decision in [GateDecision::Approved, GateDecision::Denied] {
                    let weighed = weigh(&gate(level), &requester("zoe"), &person("ann", &[role]), decision);
                    assert_eq!(weighed.is_ok(), may, "{role} {decision:?} at {level:?}");
                }
            }
        }
        let refused = weigh(&gate(RiskLevel::Critical), &requester("zoe"), &person("ann", &[]), APPROVED);
        let said = refused.unwrap_err().to_string();
        assert_eq!(said, "a gate of critical risk is decided by devops_engineer, and ann is no approver");
    }

    #[test]
    fn nobody_approves_what_they_asked_for_and_everybody_may_deny_it() {
        let ann = person("ann", &ApproverRole::ALL);
        for level in [RiskLevel::Medium, RiskLevel::High, RiskLevel::Critical] {
            let own = weigh(&gate(level), &requester("ann"), &ann, APPROVED);
            assert_eq!(own, Err(Refusal::OwnRun("ann".into())));
            assert_eq!(weigh(&gate(level), &requester("ann"), &ann, GateDecision::Denied), Ok(Weight::Decides));
            assert_eq!(weigh(&gate(level), &requester("anna"), &ann, APPROVED), Ok(Weight::Decides));
        }
    }

    #[test]
    fn a_person_seen_in_two_ways_is_one() {
        let mut by_iam = person("ann", &ApproverRole::ALL);
        by_iam.identities.insert("123456789012:role/admin".into());
        let role = Requester {
            name: "admin".into(),
            seen_as: "iam".into(),
            identities: ["123456789012:role/admin".to_owned()].into(),
        };
        assert!(weigh(&gate(RiskLevel::High), &role, &by_iam, APPROVED).is_err());
    }

    #[test]
    fn an_unknown_requester_needs_two_people_from_high_risk_on() {
        let (ann, ben) = (person("ann", &ApproverRole::ALL), person("ben", &ApproverRole::ALL));
        // Ben may be who stands behind the role: nobody granted it a person's name.
        let arn = "123456789012:role/admin".to_owned();
        let ungranted = Requester { name: arn.clone(), seen_as: "iam".into(), identities: [arn].into() };
        for unknown in [Requester::console(), ungranted] {
            needs_two(&unknown, &ann, &ben);
        }
    }

    fn needs_two(unknown: &Requester, ann: &Person, ben: &Person) {
        assert_eq!(weigh(&gate(RiskLevel::Medium), unknown, ann, APPROVED), Ok(Weight::Decides));
        for level in [RiskLevel::High, RiskLevel::Critical] {
            assert_eq!(weigh(&gate(level), unknown, ann, APPROVED), Ok(Weight::AwaitsAnother));
            let once = approved_by(gate(level), ann);
            assert_eq!(weigh(&once, unknown, ann, APPROVED), Ok(Weight::Repeated));
            assert_eq!(weigh(&once, unknown, ben, APPROVED), Ok(Weight::Decides));
            assert_eq!(weigh(&once, unknown, ann, GateDecision::Denied), Ok(Weight::Decides));
            // Who is known by one name of two is still the same person.
            let mut alias = person("ben", &ApproverRole::ALL);
            alias.identities.insert(person::named("ann"));
            assert_eq!(weigh(&once, unknown, &alias, APPROVED), Ok(Weight::Repeated));
        }
    }

    #[test]
    fn the_person_at_this_machine_is_known() {
        let local = Requester { name: "ann".into(), seen_as: "local".into(), identities: BTreeSet::new() };
        assert_eq!(approvers_needed(RiskLevel::Critical, &local), 1);
        assert_eq!(approvers_needed(RiskLevel::Critical, &Requester::console()), 2);
    }
}
