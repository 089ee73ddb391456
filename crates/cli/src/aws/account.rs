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
    fn ten_functions_at_once_are_few_and_a_thousand_are_not() {
        let said = narrow(10, "eu-north-1").unwrap();
        for words in ["may run 10 functions", "wants 50", "--region eu-north-1", "L-B99A9384"] {
            assert!(said.contains(words), "{said}");
        }
        assert_eq!(narrow(NEEDED_CONCURRENCY, "eu-north-1"), None);
        assert_eq!(narrow(1000, "eu-north-1"), None);
    }
}
