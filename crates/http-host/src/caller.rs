//! Who sends a request: what the bearer or the gateway says, and nothing else.

use run_model::person::{self, Person};
use store::{GrantKind, Store};

use crate::{Answer, Group, Request};

/// The person who asks.
///
/// # Errors
/// 401 without a bearer that counts; 403 for a runner's bearer and for what is no principal; 404 outside both groups; the
/// store's own.
pub async fn person(store: &Store, request: &Request<'_>) -> Result<Person, Answer> {
    match request.group {
        Some(Group::Bearer) => {
            let shown = request.bearer().ok_or_else(Answer::unauthenticated)?;
            let grant = store.bearer(shown).await?.ok_or_else(Answer::unauthenticated)?;
            if grant.kind != GrantKind::Person {
                return Err(Answer::not_allowed("this bearer is not a person's", "use your own bearer"));
            }
            let identities = [person::named(&grant.name)].into();
            Ok(Person { name: grant.name, seen_as: "bearer".into(), identities, roles: grant.roles })
        }
        Some(Group::Iam) => {
            let identity = request.principal().and_then(person::principal).ok_or_else(|| {
                Answer::not_allowed("no IAM principal was authenticated", "sign the request with AWS credentials")
            })?;
            Ok(store.principal(&identity).await?)
        }
        None => Err(Answer::not_found("there is nothing at this address")),
    }
}

/// The name of the runner that asks.
///
/// # Errors
/// 401 without a bearer that counts; 403 for a person's bearer; 404 outside `/api/v1`; the store's own.
pub async fn runner(store: &Store, request: &Request<'_>) -> Result<String, Answer> {
    if request.group != Some(Group::Bearer) {
        return Err(Answer::not_found("runners ask under /api/v1"));
    }
    let shown = request.bearer().ok_or_else(Answer::unauthenticated)?;
    let grant = store.bearer(shown).await?.ok_or_else(Answer::unauthenticated)?;
    if grant.kind != GrantKind::Runner {
        let cure = "`gatewright aws tokens add --runner` makes a runner's bearer";
        return Err(Answer::not_allowed("only a runner may do this", cure));
    }
    Ok(grant.name)
}
