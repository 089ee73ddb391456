//! Secrets Manager over one private file, with secrets of the environment laid over it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use run_model::{Clock, Randomness};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::durable::DurableWriter;
use crate::error::AwsError;
use crate::{ACCOUNT, REGION};

const CURRENT: &str = "AWSCURRENT";
const PREVIOUS: &str = "AWSPREVIOUS";

/// Every secret, as the file holds them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Vault {
    secrets: BTreeMap<String, Secret>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Secret {
    arn: String,
    description: Option<String>,
    created_ms: i64,
    changed_ms: i64,
    versions: BTreeMap<String, Version>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Version {
    #[serde(flatten)]
    content: Content,
    stages: BTreeSet<String>,
    created_ms: i64,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
enum Content {
    #[serde(rename = "SecretString")]
    Text(String),
    /// Base64, as it travels.
    #[serde(rename = "SecretBinary")]
    Binary(String),
}

impl std::fmt::Debug for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Version").field("stages", &self.stages).finish_non_exhaustive()
    }
}

/// The secrets of one state folder.
pub(crate) struct Secrets {
    path: PathBuf,
    writer: Arc<DurableWriter>,
    environment: BTreeMap<String, Value>,
    clock: Arc<dyn Clock>,
    randomness: Arc<dyn Randomness>,
    vault: Mutex<Vault>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WriteRequest {
    #[serde(alias = "Name")]
    secret_id: String,
    description: Option<String>,
    client_request_token: Option<String>,
    secret_string: Option<String>,
    secret_binary: Option<String>,
    version_stages: Option<BTreeSet<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ReadRequest {
    secret_id: String,
    version_id: Option<String>,
    version_stage: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListRequest {
    max_results: Option<usize>,
    next_token: Option<String>,
    filters: Option<Value>,
}

/// What [`Secrets`] takes besides the file: where things come from that it must not read itself.
pub(crate) struct SecretSources {
    pub(crate) environment: BTreeMap<String, Value>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) randomness: Arc<dyn Randomness>,
}

impl Secrets {
    /// Reads the file, if there is one.
    pub(crate) fn open(path: PathBuf, writer: Arc<DurableWriter>, sources: SecretSources) -> io::Result<Self> {
        let vault = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vault::default(),
            Err(error) => return Err(error),
        };
        let SecretSources { environment, clock, randomness } = sources;
        Ok(Secrets { path, writer, environment, clock, randomness, vault: Mutex::new(vault) })
    }

    /// Answers one operation; blocks on the disk.
    pub(crate) fn handle(&self, operation: &str, body: &[u8]) -> Result<Value, AwsError> {
        match operation {
            "CreateSecret" => self.create(parse(body)?),
            "PutSecretValue" => self.put(parse(body)?),
            "GetSecretValue" => self.get(&parse(body)?),
            "DescribeSecret" => self.describe(&parse(body)?),
            "ListSecrets" => self.list(&parse(body)?),
            _ => Err(AwsError::unknown_operation("secretsmanager", operation)),
        }
    }

    fn create(&self, request: WriteRequest) -> Result<Value, AwsError> {
        check_name(&request.secret_id)?;
        let name = request.secret_id.clone();
        let now_ms = self.clock.now_ms();
        self.change(|vault| {
            if let Some(secret) = vault.secrets.get(&name) {
                return repeated_create(&name, secret, &request);
            }
            let arn = format!("arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{name}-{}", self.randomness.hex_id(3));
            let mut secret = Secret {
                arn: arn.clone(),
                description: request.description.clone(),
                created_ms: now_ms,
                changed_ms: now_ms,
                versions: BTreeMap::new(),
            };
            let mut answer = json!({ "ARN": arn, "Name": name });
            if let Some(content) = content_of(&request)? {
                let id = self.version_id(&request);
                secret.add_version(&id, content, &BTreeSet::from([CURRENT.into()]), now_ms)?;
                answer["VersionId"] = json!(id);
            }
            vault.secrets.insert(name.clone(), secret);
            Ok(answer)
        })
    }

    fn put(&self, request: WriteRequest) -> Result<Value, AwsError> {
        let content =
            content_of(&request)?.ok_or_else(|| invalid("You must provide either SecretString or SecretBinary."))?;
        let stages = request.version_stages.clone().unwrap_or_else(|| BTreeSet::from([CURRENT.into()]));
        if stages.is_empty() {
            return Err(invalid("VersionStages must name at least one staging label."));
        }
        self.change(|vault| {
            let name = vault.name_of(&request.secret_id).ok_or_else(not_found)?;
            let secret = vault.secrets.get_mut(&name).ok_or_else(not_found)?;
            let id = self.version_id(&request);
            secret.add_version(&id, content, &stages, self.clock.now_ms())?;
            Ok(json!({ "ARN": secret.arn, "Name": name, "VersionId": id, "VersionStages": stages }))
        })
    }

    fn get(&self, request: &ReadRequest) -> Result<Value, AwsError> {
        let vault = self.vault.lock().unwrap_or_else(PoisonError::into_inner);
        let name = vault.name_of(&request.secret_id);
        let stored = match &name {
            Some(name) => vault.secrets[name].version(request).map(|(id, version)| (&vault.secrets[name], id, version)),
            None => None,
        };
        let overlay = match (&request.version_id, request.version_stage.as_deref().unwrap_or(CURRENT)) {
            (None, CURRENT) => self.environment.get(name.as_deref().unwrap_or(&request.secret_id)),
            _ => None,
        };
        match (stored, overlay) {
            (Some((secret, id, version)), overlay) => {
                let mut answer = json!({
                    "ARN": secret.arn,
                    "Name": name,
                    "VersionId": id,
                    "VersionStages": version.stages,
                    "CreatedDate": seconds(version.created_ms),
                });
                let (field, text) = match overlaid(&version.content, overlay) {
                    Content::Text(text) => ("SecretString", text),
                    Content::Binary(base64) => ("SecretBinary", base64),
                };
                answer[field] = json!(text);
                Ok(answer)
            }
            (None, Some(value)) => Ok(json!({
                "ARN": environment_arn(&request.secret_id),
                "Name": request.secret_id,
                "VersionId": "environment",
                "VersionStages": [CURRENT],
                "SecretString": text_of(value),
            })),
            (None, None) if name.is_some() => Err(no_such_version(request)),
            (None, None) => Err(not_found()),
        }
    }

    fn describe(&self, request: &ReadRequest) -> Result<Value, AwsError> {
        let vault = self.vault.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(name) = vault.name_of(&request.secret_id) {
            return Ok(vault.secrets[&name].description_of(&name));
        }
        match self.environment.contains_key(&request.secret_id) {
            true => Ok(environment_description(&request.secret_id)),
            false => Err(not_found()),
        }
    }

    fn list(&self, request: &ListRequest) -> Result<Value, AwsError> {
        if request.filters.as_ref().is_some_and(|filters| filters != &json!([])) {
            return Err(invalid("the embedded cloud does not answer ListSecrets with Filters"));
        }
        let vault = self.vault.lock().unwrap_or_else(PoisonError::into_inner);
        let names: BTreeSet<&String> = vault.secrets.keys().chain(self.environment.keys()).collect();
        let limit = request.max_results.unwrap_or(100).clamp(1, 100);
        // The token is the last name of the page before: names sort, and survive a change in between.
        let mut rest = names.into_iter().filter(|name| request.next_token.as_ref().is_none_or(|token| *name > token));
        let page: Vec<&String> = rest.by_ref().take(limit).collect();
        let entries: Vec<Value> = page
            .iter()
            .map(|name| match vault.secrets.get(*name) {
                Some(secret) => secret.description_of(name),
                None => environment_description(name),
            })
            .collect();
        let mut answer = json!({ "SecretList": entries });
        if rest.next().is_some() {
            answer["NextToken"] = json!(page.last());
        }
        Ok(answer)
    }

    /// Applies a change to a copy, makes it durable, and only then lets it be seen.
    fn change(&self, apply: impl FnOnce(&mut Vault) -> Result<Value, AwsError>) -> Result<Value, AwsError> {
        let mut vault = self.vault.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = vault.clone();
        let answer = apply(&mut changed)?;
        serde_json::to_vec_pretty(&changed)
            .map_err(io::Error::from)
            .and_then(|bytes| self.writer.replace(&self.path, &[&bytes]))
            .map_err(|error| AwsError::internal(format!("could not write {}: {error}", self.path.display())))?;
        *vault = changed;
        Ok(answer)
    }

    fn version_id(&self, request: &WriteRequest) -> String {
        request.client_request_token.clone().unwrap_or_else(|| self.randomness.hex_id(16))
    }
}

impl Vault {
    /// The name behind a name, an ARN, or an ARN without its random suffix.
    fn name_of(&self, secret_id: &str) -> Option<String> {
        if self.secrets.contains_key(secret_id) {
            return Some(secret_id.to_owned());
        }
        let without_suffix = |arn: &str| arn.rsplit_once('-').is_some_and(|(start, _)| start == secret_id);
        self.secrets
            .iter()
            .find(|(_, secret)| secret.arn == secret_id || without_suffix(&secret.arn))
            .map(|(name, _)| name.clone())
    }
}

impl Secret {
    fn add_version(
        &mut self,
        id: &str,
        content: Content,
        stages: &BTreeSet<String>,
        now_ms: i64,
    ) -> Result<(), AwsError> {
        match self.versions.get(id) {
            Some(version) if version.content == content && stages.is_subset(&version.stages) => return Ok(()),
            Some(_) => return Err(exists(format!("The version {id} of the secret already exists."))),
            None => {}
        }
        if stages.contains(CURRENT) && self.versions.values().any(|version| version.stages.contains(CURRENT)) {
            for version in self.versions.values_mut() {
                version.stages.remove(PREVIOUS);
                if version.stages.contains(CURRENT) {
                    version.stages.insert(PREVIOUS.into());
                }
            }
        }
        for version in self.versions.values_mut() {
            version.stages.retain(|stage| !stages.contains(stage));
        }
        // A version without a label is deprecated; what nobody can name any more is not kept on disk.
        self.versions.retain(|_, version| !version.stages.is_empty());
        self.versions.insert(id.to_owned(), Version { content, stages: stages.clone(), created_ms: now_ms });
        self.changed_ms = now_ms;
        Ok(())
    }

    fn version(&self, request: &ReadRequest) -> Option<(&String, &Version)> {
        let stage = match (&request.version_id, &request.version_stage) {
            (None, None) => Some(CURRENT),
            (_, stage) => stage.as_deref(),
        };
        self.versions.iter().find(|(id, version)| {
            request.version_id.as_ref().is_none_or(|wanted| wanted == *id)
                && stage.is_none_or(|stage| version.stages.contains(stage))
        })
    }

    fn description_of(&self, name: &str) -> Value {
        let stages: BTreeMap<_, _> = self.versions.iter().map(|(id, version)| (id, &version.stages)).collect();
        let mut entry = Map::new();
        entry.insert("ARN".into(), json!(self.arn));
        entry.insert("Name".into(), json!(name));
        if let Some(description) = &self.description {
            entry.insert("Description".into(), json!(description));
        }
        entry.insert("CreatedDate".into(), seconds(self.created_ms));
        entry.insert("LastChangedDate".into(), seconds(self.changed_ms));
        entry.insert("VersionIdsToStages".into(), json!(stages));
        // DescribeSecret and ListSecrets spell the same map in two ways; an SDK skips what it does not know.
        entry.insert("SecretVersionsToStages".into(), json!(stages));
        Value::Object(entry)
    }
}

/// A create with the token and content of the version that is there is a retry, not a conflict.
fn repeated_create(name: &str, secret: &Secret, request: &WriteRequest) -> Result<Value, AwsError> {
    let same = request.client_request_token.as_ref().and_then(|token| {
        let version = secret.versions.get(token)?;
        (Some(&version.content) == content_of(request).ok()?.as_ref()).then_some(token)
    });
    match same {
        Some(token) => Ok(json!({ "ARN": secret.arn, "Name": name, "VersionId": token })),
        None => Err(exists(format!("The operation failed because the secret {name} already exists."))),
    }
}

/// The stored value with the environment's laid over it: field by field where both are JSON objects.
fn overlaid(stored: &Content, overlay: Option<&Value>) -> Content {
    let Some(overlay) = overlay else { return stored.clone() };
    let base = match stored {
        Content::Text(text) => serde_json::from_str(text).ok(),
        Content::Binary(_) => None,
    };
    match (base, overlay) {
        (Some(Value::Object(mut fields)), Value::Object(over)) => {
            fields.extend(over.clone());
            Content::Text(Value::Object(fields).to_string())
        }
        _ => Content::Text(text_of(overlay)),
    }
}

fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn environment_arn(name: &str) -> String {
    format!("arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{name}-environment")
}

fn environment_description(name: &str) -> Value {
    let stages = json!({ "environment": [CURRENT] });
    json!({
        "ARN": environment_arn(name),
        "Name": name,
        "Description": "read from the environment, not stored",
        "VersionIdsToStages": stages,
        "SecretVersionsToStages": stages,
    })
}

fn content_of(request: &WriteRequest) -> Result<Option<Content>, AwsError> {
    match (&request.secret_string, &request.secret_binary) {
        (Some(_), Some(_)) => Err(invalid("You can't specify both a binary secret value and a string secret value.")),
        (Some(text), None) => Ok(Some(Content::Text(text.clone()))),
        (None, Some(base64)) => Ok(Some(Content::Binary(base64.clone()))),
        (None, None) => Ok(None),
    }
}

fn check_name(name: &str) -> Result<(), AwsError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "/_+=.@-".contains(c);
    match (1..=512).contains(&name.len()) && name.chars().all(allowed) {
        true => Ok(()),
        false => Err(invalid(
            "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!",
        )),
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, AwsError> {
    serde_json::from_slice(body).map_err(|error| invalid(&error.to_string()))
}

fn seconds(moment_ms: i64) -> Value {
    json!(moment_ms as f64 / 1000.0)
}

fn invalid(message: &str) -> AwsError {
    AwsError::client("InvalidParameterException", message)
}

fn exists(message: String) -> AwsError {
    AwsError::client("ResourceExistsException", message)
}

fn not_found() -> AwsError {
    AwsError::client("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
}

fn no_such_version(request: &ReadRequest) -> AwsError {
    let wanted = match (&request.version_id, &request.version_stage) {
        (Some(id), _) => format!("VersionId: {id}"),
        (None, stage) => format!("staging label: {}", stage.as_deref().unwrap_or(CURRENT)),
    };
    AwsError::client(
        "ResourceNotFoundException",
        format!("Secrets Manager can't find the specified secret value for {wanted}"),
    )
}
