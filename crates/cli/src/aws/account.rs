//! The account and the region that the environment's credentials reach, and what stands in a stage's way there.

use lambda_host::Environment;
use reqwest::Method;

use crate::problem::Problem;
use crate::signed::{CallError, Service, Signed};

pub(crate) const STS: Service =
    Service { name: "STS", signing: "sts", host: "sts", version: "2011-06-15", global: false };
pub(crate) const IAM: Service =
    Service { name: "IAM", signing: "iam", host: "iam", version: "2010-05-08", global: true };
pub(crate) const LAMBDA: Service =
    Service { name: "Lambda", signing: "lambda", host: "lambda", version: "", global: false };

/// How many functions should be able to run at once: the stack's twenty slots for agents, and what serves them.
const NEEDED_CONCURRENCY: u64 = 50;
/// Who issues the tokens of workflows on GitHub, and whom they are for.
const ISSUER: &str = "token.actions.githubusercontent.com";
const AUDIENCE: &str = "sts.amazonaws.com";

/// An account and a region.
pub(crate) struct Account {
    pub(crate) signed: Signed,
    pub(crate) environment: Environment,
}

/// Whom the credentials belong to.
pub(crate) struct Identity {
    pub(crate) account: String,
    pub(crate) arn: String,
}

/// A stage's OIDC provider, and whether it was there before.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct OidcProvider {
    pub(crate) arn: String,
    pub(crate) change: Option<&'static str>,
}

impl Account {
    /// What the environment's region and credentials reach. Nothing is asked yet.
    pub(crate) fn of_environment() -> Result<Self, Problem> {
        let environment = Environment::of_process();
        let signed = Signed::of(&environment)?;
        check_region(signed.region())?;
        Ok(Self { signed, environment })
    }

    /// Asks whom the credentials belong to.
    pub(crate) async fn identity(&self) -> Result<Identity, Problem> {
        let answer = self.signed.query(&STS, "GetCallerIdentity", &[]).await?;
        let text = |name: &str| answer.text(&format!("GetCallerIdentityResult/{name}")).map(str::to_owned);
        let (account, arn) = text("Account").zip(text("Arn")).ok_or(CallError::Unreadable { service: STS.name })?;
        Ok(Identity { account, arn })
    }

    /// What to say about how many functions may run at once, if those are few.
    pub(crate) async fn narrowness(&self) -> Result<Option<String>, Problem> {
        let answer = self.signed.rest(&LAMBDA, Method::GET, "/2016-08-19/account-settings/", None).await?;
        let limit = answer["AccountLimit"]["ConcurrentExecutions"].as_u64();
        let limit = limit.ok_or(CallError::Unreadable { service: LAMBDA.name })?;
        Ok(narrow(limit, self.signed.region()))
    }

    /// Finds the account's OIDC provider for GitHub, or makes it. There is one in an account, whoever made it.
    pub(crate) async fn oidc_provider(&self) -> Result<OidcProvider, Problem> {
        if let Some(arn) = self.find_provider().await? {
            let asked = [("OpenIDConnectProviderArn", arn.as_str())];
            let found = self.signed.query(&IAM, "GetOpenIDConnectProvider", &asked).await?;
            let audiences = found.all("GetOpenIDConnectProviderResult/ClientIDList/member");
            if audiences.iter().any(|audience| audience.content() == AUDIENCE) {
                return Ok(OidcProvider { arn, change: None });
            }
            let added = [("OpenIDConnectProviderArn", arn.as_str()), ("ClientID", AUDIENCE)];
            self.signed.query(&IAM, "AddClientIDToOpenIDConnectProvider", &added).await?;
            return Ok(OidcProvider { arn, change: Some("takes tokens for sts.amazonaws.com from now on") });
        }
        let url = format!("https://{ISSUER}");
        let new = [("Url", url.as_str()), ("ClientIDList.member.1", AUDIENCE)];
        let arn = match self.signed.query(&IAM, "CreateOpenIDConnectProvider", &new).await {
            Ok(answer) => answer.text("CreateOpenIDConnectProviderResult/OpenIDConnectProviderArn").map(str::to_owned),
            // Somebody else was first.
            Err(error) if error.code() == Some("EntityAlreadyExists") => self.find_provider().await?,
            Err(error) => return Err(error.into()),
        };
        let arn = arn.ok_or(CallError::Unreadable { service: IAM.name })?;
        Ok(OidcProvider { arn, change: Some("was made") })
    }

    async fn find_provider(&self) -> Result<Option<String>, Problem> {
        let listed = self.signed.query(&IAM, "ListOpenIDConnectProviders", &[]).await?;
        let members = listed.all("ListOpenIDConnectProvidersResult/OpenIDConnectProviderList/member");
        let arns = members.iter().filter_map(|member| member.text("Arn"));
        let end = format!(":oidc-provider/{ISSUER}");
        Ok(arns.filter(|arn| arn.ends_with(&end)).map(str::to_owned).next())
    }
}

/// A misspelt region has no address, which would look like a network that is down.
fn check_region(region: &str) -> Result<(), Problem> {
    let parts: Vec<&str> = region.split('-').collect();
    let is_word = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase());
    let is_number = |part: &&str| part.len() == 1 && part.bytes().all(|byte| byte.is_ascii_digit());
    match parts.split_last() {
        Some((last, words)) if is_number(last) && words.len() >= 2 && words.iter().all(is_word) => Ok(()),
        _ => Err(Problem::input(format!("AWS_REGION={region}: there is no such region; use one like eu-central-1"))),
    }
}

fn narrow(limit: u64, region: &str) -> Option<String> {
    (limit < NEEDED_CONCURRENCY).then(|| {
        format!(
            "this account may run {limit} functions at once in {region}, all of its stacks together; a stage wants \
             {NEEDED_CONCURRENCY} (20 agents and what serves them) and is throttled with fewer.\n  cure: aws \
             service-quotas request-service-quota-increase --region {region} --service-code lambda --quota-code \
             L-B99A9384 --desired-value 1000"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_spelt_like_one() {
        for region in ["eu-central-1", "us-east-1", "us-gov-west-1", "ap-southeast-2"] {
            assert!(check_region(region).is_ok(), "{region}");
        }
        for region in ["eu_central_1", "frankfurt", "eu-central", "eu-central-1a", "EU-central-1", "eu--1", ""] {
            assert!(check_region(region).unwrap_err().message.contains("eu-central-1"), "{region}");
        }
    }

    #[test]
    fn ten_functions_at_once_are_few_and_a_thousand_are_not() {
        let said = narrow(10, "eu-north-1").unwrap();
        for words in ["may run 10 functions", "wants 50", "--region eu-north-1", "L-B99A9384"] {
            assert!(said.contains(words), "{said}");
        }
        assert_eq!(narrow(NEEDED_CONCURRENCY, "eu-north-1"), None);
        assert_eq!(narrow(1000, "eu-north-1"), None);
    }
}
