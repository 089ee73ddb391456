//! The risk of an operation outside the repository.

use super::RiskLevel;

/// Where an operation takes effect. The order is the order of what can be lost there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Environment {
    /// Development.
    Development,
    /// Staging.
    Staging,
    /// Production.
    Production,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Data is read.
    Read,
    /// Configuration is looked at.
    QueryConfiguration,
    /// A release is deployed.
    Deploy,
    /// Data is imported.
    ImportData,
    /// Infrastructure is changed.
    ChangeInfrastructure,
    /// Something is deleted.
    Delete,
    /// A secret is read or written.
    TouchSecrets,
}

/// The risk of an operation in an environment.
pub fn assess_operation(operation: Operation, environment: Environment) -> RiskLevel {
    use {Environment as E, Operation as O, RiskLevel as L};
    match (operation, environment) {
        (O::TouchSecrets, _) | (O::Delete, E::Production) => L::Critical,
        (O::ChangeInfrastructure, _) | (O::Deploy | O::ImportData, E::Production) | (O::Delete, E::Staging) => L::High,
        (O::Deploy | O::ImportData | O::Delete, _) | (O::Read, E::Production) => L::Medium,
        (O::Read | O::QueryConfiguration, _) => L::Low,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_eight_examples_have_their_levels() {
        for (operation, environment, level) in [
            (Operation::Read, Environment::Development, RiskLevel::Low),
            (Operation::QueryConfiguration, Environment::Production, RiskLevel::Low),
            (Operation::Deploy, Environment::Staging, RiskLevel::Medium),
            (Operation::ImportData, Environment::Staging, RiskLevel::Medium),
            (Operation::Deploy, Environment::Production, RiskLevel::High),
            (Operation::ChangeInfrastructure, Environment::Development, RiskLevel::High),
            (Operation::Delete, Environment::Production, RiskLevel::Critical),
            (Operation::TouchSecrets, Environment::Development, RiskLevel::Critical),
        ] {
            assert_eq!(assess_operation(operation, environment), level, "{operation:?} in {environment:?}");
        }
    }

    #[test]
    fn no_operation_is_safer_where_more_can_be_lost() {
        use Operation as O;
        for operation in [
            O::Read,
            O::QueryConfiguration,
            O::Deploy,
            O::ImportData,
            O::ChangeInfrastructure,
            O::Delete,
            O::TouchSecrets,
        ] {
            let level = |environment| assess_operation(operation, environment);
            assert!(level(Environment::Development) <= level(Environment::Staging));
            assert!(level(Environment::Staging) <= level(Environment::Production));
        }
    }
}
