//! A deployed stage, as the environment's credentials reach it.

use std::sync::Arc;

use aws_types::SdkConfig;
use lambda_host::{Environment, OsRandomness, SystemClock};
use store::{Names, Store, StoreError};

use crate::problem::Problem;
use crate::signed::incomplete;

/// The resources of a stage on AWS. Nothing is asked before it is needed.
pub(crate) struct Stage {
    pub(crate) store: Store,
    region: String,
}

impl Stage {
    /// The stage of this name, in the region and with the credentials of the environment.
    pub(crate) fn of_environment(name: &str) -> Result<Self, Problem> {
        check_name(name)?;
        let environment = Environment::of_process();
        let sdk: SdkConfig = environment.sdk_config().map_err(|error| incomplete(&error))?;
        let region = environment.get("AWS_REGION").unwrap_or_default().to_owned();
        let store = Store::new(&sdk, Names::for_stage(name), Arc::new(SystemClock), Arc::new(OsRandomness));
        Ok(Self { store, region })
    }

    /// What a failure of the store means here: a missing table is a stage that is not deployed.
    pub(crate) fn problem(&self, error: StoreError) -> Problem {
        let text = error.with_causes();
        if text.contains("ResourceNotFoundException") {
            let (stage, region) = (&self.store.names().stage, &self.region);
            return Problem::input(format!(
                "--stage {stage}: there is no such stage in {region}: check the name and AWS_REGION, or deploy it first"
            ));
        }
        Problem::from(error)
    }
}

fn check_name(name: &str) -> Result<(), Problem> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name == Names::LOCAL {
        return Err(Problem::input(
            "--stage local: that is this machine, which needs no bearer; name a deployed stage",
        ));
    }
    if (1..=20).contains(&name.len()) && name.bytes().all(plain) {
        return Ok(());
    }
    Err(Problem::input(format!("--stage {name:?}: use 1 to 20 lower-case letters, digits and dashes")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_has_a_plain_name_and_is_not_this_machine() {
        assert!(check_name("dev").is_ok());
        for bad in ["", "local", "Dev", "a/b", "a-very-long-name-of-a-stage"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
