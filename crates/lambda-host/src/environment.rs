//! The environment, read once: region, credentials, endpoints, stage.

use std::collections::BTreeMap;
use std::fmt;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime_api::client::behavior_version::BehaviorVersion;
use aws_types::SdkConfig;
use aws_types::region::Region;
use aws_types::service_config::{LoadServiceConfig, ServiceConfigKey};
use run_model::repositories::Repositories;
use store::Names;

use crate::https::Https;

/// Why a function could not be hosted.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// A variable is missing: set it. Lambda sets those that begin with `AWS_` itself.
    #[error("the environment variable {0} is not set")]
    MissingVariable(&'static str),
    /// The program does not hold the function that Lambda asks it for: set the function's property `Handler`.
    #[error("the function's Handler is {handler:?}, which this program has not: set it to one of {known}")]
    UnknownHandler {
        /// What Lambda's variable `_HANDLER` says, or nothing if it is not set.
        handler: String,
        /// The functions of the program, with commas between.
        known: String,
    },
    /// The Runtime API failed: Lambda starts the function anew.
    #[error("could not serve the Lambda Runtime API")]
    RuntimeApi(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The variables a host reads.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

/// Values may be secret, so only the names are shown.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Environment {
    /// The variables of this process. Those that are not UTF-8 are left out.
    pub fn of_process() -> Self {
        let utf8 = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self(std::env::vars_os().filter_map(utf8).collect())
    }

    /// These variables.
    pub fn of<const N: usize>(variables: [(&str, &str); N]) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// A variable's value; `None` if it is missing or empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A variable's value.
    ///
    /// # Errors
    /// [`HostError::MissingVariable`] if it is missing or empty.
    pub fn require(&self, name: &'static str) -> Result<&str, HostError> {
        self.get(name).ok_or(HostError::MissingVariable(name))
    }

    /// What the stage's resources are called, and which repositories it works on. A bucket's name is shared by everybody on
    /// AWS, so it cannot be made of the stage alone and comes in a variable of its own.
    ///
    /// # Errors
    /// [`HostError::MissingVariable`] without `GATEWRIGHT_STAGE`.
    pub fn names(&self) -> Result<Names, HostError> {
        let mut names = Names::for_stage(self.require("GATEWRIGHT_STAGE")?);
        if let Some(bucket) = self.get("GATEWRIGHT_BUCKET") {
            bucket.clone_into(&mut names.bucket);
        }
        names.repositories = Repositories::parse(self.get("GATEWRIGHT_REPOSITORIES").unwrap_or_default());
        // Lambda says how much memory it gives.
        names.memory_mb = self.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE").and_then(|megabytes| megabytes.parse().ok());
        Ok(names)
    }

    /// Every variable's name and value.
    pub(crate) fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// An SDK configuration of these variables. Connections are made when a client is first used.
    ///
    /// # Errors
    /// [`HostError::MissingVariable`] without a region or credentials.
    pub fn sdk_config(&self) -> Result<SdkConfig, HostError> {
        let credentials = Credentials::new(
            self.require("AWS_ACCESS_KEY_ID")?,
            self.require("AWS_SECRET_ACCESS_KEY")?,
            self.get("AWS_SESSION_TOKEN").map(str::to_owned),
            None,
            "environment",
        );
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(self.require("AWS_REGION")?.to_owned()))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .http_client(Https::default())
            .service_config(Endpoints(self.clone()));
        Ok(config.build())
    }
}

/// Where each service is answered, if not at AWS.
#[derive(Debug)]
struct Endpoints(Environment);

impl LoadServiceConfig for Endpoints {
    fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
        let service = key.service_id().to_uppercase().replace([' ', '-'], "_");
        let of_service = self.0.get(&format!("{}_{service}", key.env()));
        of_service.or_else(|| self.0.get(key.env())).map(str::to_owned)
    }
}

/// An SDK configuration of this process' environment, without `aws-config` and its credential chain: Lambda hands
/// credentials over in variables, and the chain would be a fifth of the binary.
///
/// # Errors
/// [`HostError::MissingVariable`] without a region or credentials.
pub fn sdk_config_from_environment() -> Result<SdkConfig, HostError> {
    Environment::of_process().sdk_config()
}

/// What the resources of this process' stage are called, as [`Environment::names`] has it.
///
/// # Errors
/// [`HostError::MissingVariable`] without `GATEWRIGHT_STAGE`.
pub fn names_from_environment() -> Result<Names, HostError> {
    Environment::of_process().names()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREDENTIALS: [(&str, &str); 3] =
        [("AWS_REGION", "eu-central-1"), ("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "secret")];

    #[test]
    fn a_missing_variable_is_named() {
        let error = Environment::of([("AWS_REGION", "eu-central-1")]).sdk_config().unwrap_err();
        assert_eq!(error.to_string(), "the environment variable AWS_ACCESS_KEY_ID is not set");
        let empty = Environment::of([("AWS_ACCESS_KEY_ID", ""), ("AWS_REGION", "eu-central-1")]);
        assert!(empty.sdk_config().is_err());
    }

    #[test]
    fn an_endpoint_of_a_service_goes_before_the_one_of_all() {
        let mut environment = Environment::of(CREDENTIALS);
        environment.0.insert("AWS_ENDPOINT_URL".into(), "http://all".into());
        environment.0.insert("AWS_ENDPOINT_URL_SECRETS_MANAGER".into(), "http://secrets".into());
        let endpoints = Endpoints(environment);
        let endpoint_of = |service| {
            let key = ServiceConfigKey::builder().service_id(service).env("AWS_ENDPOINT_URL").profile("endpoint_url");
            endpoints.load_config(key.build().unwrap())
        };
        assert_eq!(endpoint_of("Secrets Manager").as_deref(), Some("http://secrets"));
        assert_eq!(endpoint_of("DynamoDB").as_deref(), Some("http://all"));
        let elsewhere = Endpoints(Environment::of(CREDENTIALS));
        let key = ServiceConfigKey::builder().service_id("S3").env("AWS_ENDPOINT_URL").profile("endpoint_url");
        assert_eq!(elsewhere.load_config(key.build().unwrap()), None);
    }

    #[test]
    fn a_bucket_may_have_a_name_of_its_own() {
        let names = Environment::of([("GATEWRIGHT_STAGE", "dev")]).names().unwrap();
        assert_eq!(names, Names::for_stage("dev"));
        let variables = [("GATEWRIGHT_STAGE", "dev"), ("GATEWRIGHT_BUCKET", "gatewright-dev-1-eu-central-1")];
        let elsewhere = Environment::of(variables).names().unwrap();
        assert_eq!(elsewhere, Names { bucket: "gatewright-dev-1-eu-central-1".into(), ..names });
        assert_eq!(elsewhere.memory_mb, None);
        let sized = [("GATEWRIGHT_STAGE", "dev"), ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")];
        assert_eq!(Environment::of(sized).names().unwrap().memory_mb, Some(256));
        assert!(Environment::default().names().is_err());
    }

    #[test]
    fn a_stage_works_on_what_its_variable_names_and_without_one_on_nothing() {
        let named = [("GATEWRIGHT_STAGE", "dev"), ("GATEWRIGHT_REPOSITORIES", "acme/app,acme/other")];
        let names = Environment::of(named).names().unwrap();
        assert!(names.check_repository("acme/other").is_ok() && names.check_repository("acme/evil").is_err());
        assert!(Environment::of([("GATEWRIGHT_STAGE", "dev")]).names().unwrap().check_repository("acme/app").is_err());
    }

    #[test]
    fn values_are_never_shown() {
        let shown = format!("{:?}", Environment::of(CREDENTIALS));
        assert!(shown.contains("AWS_SECRET_ACCESS_KEY") && !shown.contains("\"secret\""), "{shown}");
    }
}
