//! Grants: who may ask and decide. A bearer is known by its hash alone; an IAM principal by its identity.

use std::collections::BTreeSet;

use run_model::Sha256;
use run_model::person::{self, ApproverRole, Person};
use serde::{Deserialize, Serialize};

use crate::listing::Listing;
use crate::record::{check_schema, number_of};
use crate::table::{ATTEMPTS, Attributes, Condition, EXPIRES_AT, Key, Range, number, sortable, text};
use crate::{Store, StoreError};

const GRANT_SCHEMA: u32 = 1;
/// How every bearer begins, so that logs can mask one and people recognise it.
const BEARER_PREFIX: &str = "gwb_";
const BEARER_BYTES: usize = 32;
/// How much of a bearer's hash names it to people.
const ID_DIGITS: usize = 16;
/// How long a grant that no longer counts is kept for people who look into it.
const KEPT_SECONDS: i64 = 90 * 24 * 3600;

/// What a grant is given to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantKind {
    /// A person with a bearer.
    Person,
    /// A runner of checks with a bearer: it may claim and end jobs and nothing else.
    Runner,
    /// A person, known by an IAM principal.
    Principal,
    /// Workflows, known by an IAM principal: they may ask for runs and decide nothing, and nobody knows who was behind them.
    Workflow,
}

impl GrantKind {
    /// The word for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Runner => "runner",
            Self::Principal => "principal",
            Self::Workflow => "workflow",
        }
    }
}

/// Who may ask or decide, without what it takes to prove it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Names the grant: the beginning of the bearer's hash, or the principal's identity.
    pub id: String,
    /// What it is given to.
    pub kind: GrantKind,
    /// The person's or runner's name. Grants of one name are one person's.
    pub name: String,
    /// In which roles the person decides.
    pub roles: BTreeSet<ApproverRole>,
    /// When it was given, in milliseconds since the epoch.
    pub created_ms: i64,
    /// From when on it no longer counts, in milliseconds since the epoch.
    pub expires_ms: i64,
    /// Since when it no longer counts, if it was taken back, in milliseconds since the epoch.
    pub revoked_ms: Option<i64>,
}

impl Grant {
    /// Whether it counts now.
    pub fn counts(&self, now_ms: i64) -> bool {
        self.revoked_ms.is_none() && now_ms < self.expires_ms
    }
}

/// What a new grant is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewGrant {
    /// The person's or runner's name.
    pub name: String,
    /// In which roles the person decides.
    pub roles: BTreeSet<ApproverRole>,
    /// For how long it counts, in seconds.
    pub lifetime_seconds: u32,
}

impl Store {
    /// Makes a bearer for a person, or for a runner, and returns it: the only time that anybody sees it.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn add_bearer(&self, kind: GrantKind, new: NewGrant) -> Result<(String, Grant), StoreError> {
        let bearer = format!("{BEARER_PREFIX}{}", self.0.randomness.hex_id(BEARER_BYTES));
        let hash = Sha256::of(bearer.as_bytes());
        let grant = self.new_grant(hash.as_str().chars().take(ID_DIGITS).collect(), kind, new);
        let outcome = self.put(row(&Key::bearer(&hash), &grant, 1)?, Condition::absent()).await?;
        if outcome.is_written() { Ok((bearer, grant)) } else { Err(StoreError::Conflict("a new bearer".into())) }
    }

    /// Grants an IAM principal (an identity as [`person::principal`] makes them) a person's name and roles, over what it was
    /// granted before.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if others were first again and again; [`StoreError::Unavailable`].
    pub async fn grant_principal(&self, identity: &str, new: NewGrant) -> Result<Grant, StoreError> {
        self.grant_identity(identity, GrantKind::Principal, new).await
    }

    /// Grants the workflows behind an IAM principal that they may ask for runs, over what it was granted before. Roles do not
    /// count.
    ///
    /// # Errors
    /// As [`Store::grant_principal`].
    pub async fn grant_workflow(&self, identity: &str, new: NewGrant) -> Result<Grant, StoreError> {
        let new = NewGrant { roles: BTreeSet::new(), ..new };
        self.grant_identity(identity, GrantKind::Workflow, new).await
    }

    async fn grant_identity(&self, identity: &str, kind: GrantKind, new: NewGrant) -> Result<Grant, StoreError> {
        let key = Key::principal(identity);
        let grant = self.new_grant(identity.to_owned(), kind, new);
        for _ in 0..ATTEMPTS {
            let (version, condition) = match self.get(&key).await? {
                Some(item) => (version(&item), Condition::version(version(&item))),
                None => (0, Condition::absent()),
            };
            if self.put(row(&key, &grant, version + 1)?, condition).await?.is_written() {
                return Ok(grant);
            }
        }
        Err(StoreError::Conflict(format!("the grant of {identity}")))
    }

    fn new_grant(&self, id: String, kind: GrantKind, NewGrant { name, roles, lifetime_seconds }: NewGrant) -> Grant {
        let created_ms = self.now_ms();
        let expires_ms = created_ms + i64::from(lifetime_seconds) * 1000;
        Grant { id, kind, name, roles, created_ms, expires_ms, revoked_ms: None }
    }

    /// The grant behind a bearer that somebody shows; `None` if there is none, it has expired or was revoked: nobody learns
    /// which. What is looked up is the hash, so that the time it takes says nothing about the bearer.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`]; [`StoreError::NewerSchema`]; [`StoreError::Unavailable`].
    pub async fn bearer(&self, shown: &str) -> Result<Option<Grant>, StoreError> {
        self.counting_grant(&Key::bearer(&Sha256::of(shown.as_bytes()))).await
    }

    /// The person behind an identity that IAM has authenticated. Without a grant it is a person without roles.
    ///
    /// # Errors
    /// As [`Store::bearer`].
    pub async fn principal(&self, identity: &str) -> Result<Person, StoreError> {
        let grant = self.counting_grant(&Key::principal(identity)).await?;
        let mut identities = BTreeSet::from([identity.to_owned()]);
        let (name, seen_as, roles) = match grant {
            Some(grant) if grant.kind == GrantKind::Workflow => (grant.name, person::WORKFLOW, BTreeSet::new()),
            Some(grant) => {
                identities.insert(person::named(&grant.name));
                (grant.name, "iam", grant.roles)
            }
            None => (identity.to_owned(), "iam", BTreeSet::new()),
        };
        Ok(Person { name, seen_as: seen_as.into(), identities, roles })
    }

    async fn counting_grant(&self, key: &Key) -> Result<Option<Grant>, StoreError> {
        let Some(item) = self.get(key).await? else { return Ok(None) };
        Ok(Some(self.read_grant(&item).await?).filter(|grant| grant.counts(self.now_ms())))
    }

    async fn read_grant(&self, item: &Attributes) -> Result<Grant, StoreError> {
        check_schema(item, GRANT_SCHEMA)?;
        self.decode_body(item).await
    }

    /// Every grant that is kept, the oldest first, those that no longer count too.
    ///
    /// # Errors
    /// As [`Store::bearer`].
    pub async fn grants(&self) -> Result<Vec<Grant>, StoreError> {
        let mut grants = Vec::new();
        for item in self.query(Range::of_index(&Listing::GRANTS), usize::MAX).await? {
            grants.push(self.read_grant(&item).await?);
        }
        Ok(grants)
    }

    /// Takes a grant back, by its exact id; once more changes nothing.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; otherwise as [`Store::grant_principal`].
    pub async fn revoke_grant(&self, id: &str) -> Result<Grant, StoreError> {
        for _ in 0..ATTEMPTS {
            let (key, mut grant, version) = self.find_grant(id).await?;
            if grant.revoked_ms.is_some() {
                return Ok(grant);
            }
            grant.revoked_ms = Some(self.now_ms());
            if self.put(row(&key, &grant, version + 1)?, Condition::version(version)).await?.is_written() {
                return Ok(grant);
            }
        }
        Err(StoreError::Conflict(format!("the grant {id}")))
    }

    /// The index knows which row it is; the table knows how it stands.
    async fn find_grant(&self, id: &str) -> Result<(Key, Grant, u64), StoreError> {
        for listed in self.query(Range::of_index(&Listing::GRANTS), usize::MAX).await? {
            let key = Key::read(&listed);
            if self.read_grant(&listed).await?.id == id
                && let Some(item) = self.get(&key).await?
            {
                let version = version(&item);
                return Ok((key, self.read_grant(&item).await?, version));
            }
        }
        Err(StoreError::NotFound(format!("grant {id}")))
    }
}

fn version(item: &Attributes) -> u64 {
    number_of(item, "version").and_then(|version| u64::try_from(version).ok()).unwrap_or_default()
}

fn row(key: &Key, grant: &Grant, version: u64) -> Result<Attributes, StoreError> {
    let body = serde_json::to_string(grant).map_err(|error| StoreError::corrupt(key, error))?;
    let mut item = key.attributes();
    item.extend([
        ("schema".into(), number(GRANT_SCHEMA)),
        ("version".into(), number(version)),
        ("body".into(), text(body)),
        ("gsi1pk".into(), text(Listing::GRANTS.partition)),
        ("gsi1sk".into(), text(format!("{}#{}", sortable(grant.created_ms), grant.id))),
        (EXPIRES_AT.into(), number(grant.expires_ms / 1000 + KEPT_SECONDS)),
    ]);
    Ok(item)
}
