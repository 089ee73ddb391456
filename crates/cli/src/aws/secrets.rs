//! `gatewright aws secrets`: the keys of models, forge and seals. What stands in them is never shown.

use std::io::{IsTerminal, Read};

use config::Dialect;
use models::{ApiKey, key_names, keys_of};
use serde_json::{Map, Value};
use store::{Names, Store, StoreError};

use crate::aws::arguments::{NewSecret, SecretName, SecretsCommand};
use crate::problem::{MISSING, Problem};
use crate::stage::Stage;
use crate::{screen, settings};

/// The longest value that Secrets Manager takes, in bytes.
const LONGEST: u64 = 65_536;

pub(crate) async fn run(command: SecretsCommand) -> Result<u8, Problem> {
    match command {
        SecretsCommand::Set(new) => set(new).await,
        SecretsCommand::List { stage } => {
            let stage = Stage::of_environment(&stage)?;
            for (name, condition, _) in look_at_all(&stage).await? {
                screen::print(format!("{:<28} {}", name.id(stage.store.names()), condition.words()));
            }
            Ok(0)
        }
        SecretsCommand::Check { stage } => check(&Stage::of_environment(&stage)?).await,
    }
}

async fn check(stage: &Stage) -> Result<u8, Problem> {
    let mut code = 0;
    for (name, condition, cure) in look_at_all(stage).await? {
        screen::print(format!("{:<8} {}", name.as_str(), condition.words()));
        if let Some(cure) = cure {
            screen::print(format!("         cure: {cure}"));
            code = MISSING;
        }
    }
    Ok(code)
}

async fn set(new: NewSecret) -> Result<u8, Problem> {
    if new.generate && new.name != SecretName::Signing {
        return Err(Problem::input("--generate: nobody but its issuer can make this key; only signing is made here"));
    }
    let stage = Stage::of_environment(&new.stage)?;
    let id = new.name.id(stage.store.names()).to_owned();
    let needed = keys_of(&settings::provider_here()?);
    let before = look(&stage.store, new.name, &needed).await.map_err(|error| stage.problem(error))?;
    if before == Condition::Absent {
        let cure = before.cure(new.name, &new.stage, &needed).unwrap_or_default();
        return Err(Problem::input(format!("there is no secret {id}: {cure}")));
    }
    if new.generate && matches!(before, Condition::Good(_)) {
        screen::tell(format!("{id} has a key that works: nothing changed"));
        return Ok(0);
    }
    let fields = match &new.field {
        _ if new.generate => stage.store.new_signing_secret(),
        None => object(new.name, &read(&id)?, &needed)?,
        Some(field) => {
            let value = read(&format!("{field} of {id}"))?;
            let mut fields = match stage.store.secret(&id).await {
                // What cannot be read is of no use to anybody.
                Err(StoreError::NotFound(_) | StoreError::Corrupt { .. }) => Map::new(),
                read => read.map_err(|error| stage.problem(error))?,
            };
            fields.insert(field.clone(), value.into());
            fields
        }
    };
    let fault = fault(new.name, &fields, &needed);
    match &fault {
        Some(Fault::Wrong(problem)) => return Err(Problem::input(format!("{id} would not work: it {problem}"))),
        Some(Fault::Incomplete(problem)) if new.field.is_none() => {
            return Err(Problem::input(format!("{id} would not work: it {problem}")));
        }
        _ => {}
    }
    stage.store.put_secret(&id, fields).await.map_err(|error| stage.problem(error))?;
    screen::tell(format!("{id} is set; functions that read it a moment ago use the former value for five minutes"));
    if let Some(Fault::Incomplete(problem)) = fault {
        screen::tell(format!("it does not work yet: it {problem}"));
    }
    Ok(0)
}

/// A secret as far as it may be known.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// There is none.
    Absent,
    /// Nobody has set it.
    Empty,
    /// What it is not or has not.
    Malformed(String),
    /// Nobody has set it, and the settings name no provider that asks for a key.
    Unneeded,
    /// It has these fields.
    Good(Vec<String>),
}

impl Condition {
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Absent => "absent".into(),
            Self::Empty => "empty".into(),
            Self::Malformed(problem) => format!("malformed: it {problem}"),
            Self::Unneeded => "empty, and the settings ask for no key".into(),
            Self::Good(fields) => format!("filled: {}", fields.join(", ")),
        }
    }

    /// What helps, if it is not as it should be; `needed` are the keys that `models` has to hold.
    fn cure(&self, name: SecretName, stage: &str, needed: &[&str]) -> Option<String> {
        let how = match name {
            SecretName::Models => format!("--field {}", key_to_name(needed)),
            SecretName::Forge => "--field github_token".into(),
            SecretName::Signing => "--generate".into(),
        };
        match self {
            Self::Good(_) | Self::Unneeded => None,
            Self::Absent => Some(format!("a deploy makes it: gatewright aws deploy --stage {stage}")),
            Self::Empty | Self::Malformed(_) => {
                Some(format!("gatewright aws secrets set {} --stage {stage} {how}", name.as_str()))
            }
        }
    }
}

impl SecretName {
    pub(crate) const ALL: [Self; 3] = [Self::Models, Self::Forge, Self::Signing];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Models => "models",
            Self::Forge => "forge",
            Self::Signing => "signing",
        }
    }

    /// As Secrets Manager knows it.
    fn id(self, names: &Names) -> &str {
        match self {
            Self::Models => &names.models_secret,
            Self::Forge => &names.forge_secret,
            Self::Signing => &names.signing_secret,
        }
    }
}

/// Every secret of a stage: how it stands, and what helps if that is not as it should be.
pub(crate) async fn look_at_all(stage: &Stage) -> Result<Vec<(SecretName, Condition, Option<String>)>, Problem> {
    let (mut found, needed) = (Vec::new(), keys_of(&settings::provider_here()?));
    for name in SecretName::ALL {
        let condition = look(&stage.store, name, &needed).await.map_err(|error| stage.problem(error))?;
        let cure = condition.cure(name, &stage.store.names().stage, &needed);
        found.push((name, condition, cure));
    }
    Ok(found)
}

/// The key to speak of: the one that is needed, or the default provider's.
fn key_to_name<'a>(needed: &[&'a str]) -> &'a str {
    needed.first().copied().unwrap_or(key_names(Dialect::Anthropic).key)
}

/// How a secret stands, if `models` has to hold these keys.
async fn look(store: &Store, name: SecretName, needed: &[&str]) -> Result<Condition, StoreError> {
    let id = name.id(store.names());
    match store.has_secret(id).await? {
        None => return Ok(Condition::Absent),
        Some(false) if name == SecretName::Models && needed.is_empty() => return Ok(Condition::Unneeded),
        Some(false) => return Ok(Condition::Empty),
        Some(true) => {}
    }
    match store.secret(id).await {
        Ok(fields) => Ok(match fault(name, &fields, needed) {
            Some(Fault::Wrong(problem) | Fault::Incomplete(problem)) => Condition::Malformed(problem),
            None => Condition::Good(fields.keys().cloned().collect()),
        }),
        Err(StoreError::NotFound(_)) => Ok(Condition::Empty),
        Err(StoreError::Corrupt { .. }) => Ok(Condition::Malformed("is no JSON object".into())),
        Err(error) => Err(error),
    }
}

/// Why a value does not work, never with what stands in it.
#[derive(Debug, PartialEq, Eq)]
enum Fault {
    /// A field is missing: another `set` may bring it.
    Incomplete(String),
    /// A field is not what it should be.
    Wrong(String),
}

/// What the functions that read the secret would say to it.
fn fault(name: SecretName, fields: &Map<String, Value>, needed: &[&str]) -> Option<Fault> {
    match name {
        SecretName::Models => models_fault(fields, needed),
        SecretName::Forge => forge_fault(fields),
        SecretName::Signing if Store::is_signing_secret(fields) => None,
        SecretName::Signing => Some(Fault::Wrong("has no token_key of 64 hexadecimal digits".into())),
    }
}

fn models_fault(fields: &Map<String, Value>, needed: &[&str]) -> Option<Fault> {
    let is_key = |value: &Value| {
        value
            .as_str()
            .is_some_and(|text| text.bytes().all(|byte| byte.is_ascii_graphic()) && ApiKey::new(text).is_some())
    };
    if let Some((field, _)) = fields.iter().find(|(_, value)| !is_key(value)) {
        return Some(Fault::Wrong(format!("has a {field} that is empty or has characters that no key has")));
    }
    let is_bad = |name: &&str| {
        let url = fields.get(*name).and_then(Value::as_str);
        url.is_some_and(|url| config::check_server(url).is_err())
    };
    if let Some(name) = Dialect::ALL.map(|dialect| key_names(dialect).base_url).into_iter().find(is_bad) {
        return Some(Fault::Wrong(format!("has a {name} that is no https address")));
    }
    let missing = needed.iter().find(|key| !fields.contains_key(**key));
    missing.map(|key| Fault::Incomplete(format!("has no {key}")))
}

fn forge_fault(fields: &Map<String, Value>) -> Option<Fault> {
    const KNOWN: [&str; 4] = ["github_token", "github_app_id", "github_private_key", "github_api_url"];
    let wrong = |problem: &str| Some(Fault::Wrong(problem.to_owned()));
    if let Some(unknown) = fields.keys().find(|field| !KNOWN.contains(&field.as_str())) {
        return wrong(&format!("has a field {unknown}; those that count are {}", KNOWN.join(", ")));
    }
    let text = |name: &str| fields.get(name).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty());
    let is_address = |url: &str| url.starts_with("https://") || url.starts_with("http://127.0.0.1:");
    if fields.contains_key("github_api_url") && !text("github_api_url").is_some_and(is_address) {
        return wrong("has a github_api_url that is no https address");
    }
    if let Some(token) = text("github_token") {
        let is_token = token.bytes().all(|byte| byte.is_ascii_graphic());
        return if is_token { None } else { wrong("has a github_token with characters that no token has") };
    }
    let id = fields.get("github_app_id");
    if id.is_some_and(|id| id.as_u64().or_else(|| id.as_str()?.trim().parse().ok()).is_none()) {
        return wrong("has a github_app_id that is no number");
    }
    let is_pem =
        |key: &str| key.starts_with("-----BEGIN ") && key.contains("PRIVATE KEY-----") && key.contains("-----END ");
    match (id, text("github_private_key")) {
        (_, Some(key)) if !is_pem(key) => wrong("has a github_private_key that is no RSA key in PEM"),
        (Some(_), Some(_)) => None,
        _ => Some(Fault::Incomplete("has neither github_token nor github_app_id and github_private_key".into())),
    }
}

fn object(name: SecretName, text: &str, needed: &[&str]) -> Result<Map<String, Value>, Problem> {
    // The parser's message may quote the value.
    serde_json::from_str(text).map_err(|_| {
        let field = match name {
            SecretName::Models => key_to_name(needed),
            SecretName::Forge => "github_token",
            SecretName::Signing => "token_key",
        };
        let cure = format!(r#"write {{"{field}": "..."}}, or the bare key with --field {field}"#);
        Problem::input(format!("what came is no JSON object: {cure}"))
    })
}

/// The value, from whoever sits at the terminal or from standard input.
fn read(what: &str) -> Result<String, Problem> {
    let stdin = std::io::stdin();
    let mut value = String::new();
    if stdin.is_terminal() {
        let hidden = Hidden::begin();
        screen::ask(question(what, hidden.is_some()));
        stdin.read_line(&mut value)?;
        // A key that is pasted has lines, and what is not read here would go to the shell.
        while value.starts_with("-----BEGIN") && !value.contains("-----END") && stdin.read_line(&mut value)? > 0 {}
    } else {
        let read = stdin.lock().take(LONGEST + 1).read_to_string(&mut value);
        read.map_err(|_| Problem::input("standard input is no text"))?;
    }
    if value.len() as u64 > LONGEST {
        return Err(Problem::input(format!("standard input holds more than {LONGEST} bytes, and no key does")));
    }
    // A file ends with a line end, and no key does.
    let value = value.trim_end_matches(['\r', '\n']);
    if value.trim().is_empty() {
        return Err(Problem::input("nothing came: write the value to standard input, or answer the question"));
    }
    Ok(value.to_owned())
}

/// What whoever sits at the terminal is asked.
fn question(what: &str, is_hidden: bool) -> String {
    if is_hidden {
        return format!("{what} (not shown): ");
    }
    format!(
        "This terminal cannot be kept from showing what is typed. Ctrl-C, and give it by standard input (`< FILE`, or a pipe), \
         keeps it off the screen.\n{what} (SHOWN as you type it): "
    )
}

/// A terminal that does not show what is typed. It does again once this is gone.
struct Hidden(rustix::termios::Termios);

impl Hidden {
    /// `None` if the terminal shows what is typed all the same.
    fn begin() -> Option<Self> {
        use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
        let stdin = std::io::stdin();
        let before = tcgetattr(&stdin).ok()?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        hidden.local_modes.insert(LocalModes::ECHONL);
        tcsetattr(&stdin, OptionalActions::Flush, &hidden).ok()?;
        let begun = Self(before);
        // A terminal may take a part of what is set, and call that a success.
        let is_silent = tcgetattr(&stdin).is_ok_and(|now| !now.local_modes.contains(LocalModes::ECHO));
        is_silent.then_some(begun)
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // A terminal that is gone shows nothing; what was typed beyond the answer is thrown away.
        let _ = rustix::termios::tcsetattr(std::io::stdin(), rustix::termios::OptionalActions::Flush, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fault_of(name: SecretName, fields: Value) -> Option<Fault> {
        fault(name, fields.as_object().unwrap(), &["ANTHROPIC_API_KEY"])
    }

    #[test]
    fn a_key_is_missed_only_if_the_settings_use_its_provider() {
        let fields = json!({ "OTHER_API_KEY": "k" });
        let fields = fields.as_object().unwrap();
        assert_eq!(fault(SecretName::Models, fields, &[]), None);
        let missing = Fault::Incomplete("has no ANTHROPIC_API_KEY".into());
        assert_eq!(fault(SecretName::Models, fields, &["ANTHROPIC_API_KEY"]), Some(missing));
        assert_eq!(Condition::Unneeded.cure(SecretName::Models, "dev", &[]), None);
    }

    #[test]
    fn a_terminal_that_shows_what_is_typed_is_said_to() {
        assert_eq!(question("a key", true), "a key (not shown): ");
        let said = question("a key", false);
        assert!(!said.contains("not shown") && said.contains("SHOWN") && said.contains("standard input"), "{said}");
    }

    #[test]
    fn what_a_function_would_take_has_no_fault() {
        for (name, fields) in [
            (SecretName::Models, json!({ "ANTHROPIC_API_KEY": "sk-ant-1", "OTHER_API_KEY": "k" })),
            (SecretName::Forge, json!({ "github_token": "github_pat_1" })),
            (SecretName::Forge, json!({ "github_token": "t", "github_api_url": "https://ghe.acme.com/api/v3" })),
            (
                SecretName::Forge,
                json!({ "github_app_id": "12", "github_private_key": "-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY-----" }),
            ),
            (SecretName::Signing, json!({ "token_key": "0f".repeat(32) })),
        ] {
            assert_eq!(fault_of(name, fields), None, "{name:?}");
        }
    }

    #[test]
    fn a_fault_says_what_is_wrong_and_never_what_stands_there() {
        for (name, fields, words) in [
            (SecretName::Models, json!({}), "has no ANTHROPIC_API_KEY"),
            (
                SecretName::Models,
                json!({ "ANTHROPIC_API_KEY": "k", "ANTHROPIC_BASE_URL": "http://models.example" }),
                "a ANTHROPIC_BASE_URL that is no https address",
            ),
            (
                SecretName::Models,
                json!({ "ANTHROPIC_API_KEY": "k", "OPENAI_BASE_URL": "http://models.example" }),
                "a OPENAI_BASE_URL that is no https address",
            ),
            (SecretName::Models, json!({ "ANTHROPIC_API_KEY": "" }), "a ANTHROPIC_API_KEY that is empty"),
            (SecretName::Models, json!({ "ANTHROPIC_API_KEY": "s3cret s3cret" }), "no key has"),
            (SecretName::Models, json!({ "ANTHROPIC_API_KEY": ["s3cret"] }), "no key has"),
            (SecretName::Forge, json!({}), "neither github_token nor"),
            (SecretName::Forge, json!({ "github_app_id": 1 }), "neither github_token nor"),
            (SecretName::Forge, json!({ "github_tokn": "s3cret" }), "a field github_tokn; those that count"),
            (SecretName::Forge, json!({ "github_token": "s3cret\nx" }), "no token has"),
            (SecretName::Forge, json!({ "github_app_id": "s3cret" }), "is no number"),
            (SecretName::Forge, json!({ "github_app_id": 1, "github_private_key": "s3cret" }), "no RSA key"),
            (SecretName::Forge, json!({ "github_token": "s3cret", "github_api_url": "http://a" }), "no https"),
            (SecretName::Signing, json!({ "token_key": "s3cret" }), "64 hexadecimal"),
        ] {
            let Some(Fault::Wrong(said) | Fault::Incomplete(said)) = fault_of(name, fields) else { panic!("{words}") };
            assert!(said.contains(words) && !said.contains("s3cret"), "{said}");
        }
    }

    #[test]
    fn a_key_that_is_no_json_is_told_how_and_not_repeated() {
        let problem = object(SecretName::Models, "sk-ant-s3cret", &[]).unwrap_err().message;
        assert!(problem.contains("--field ANTHROPIC_API_KEY") && !problem.contains("s3cret"), "{problem}");
        assert!(object(SecretName::Forge, r#"{"github_token":"t"}"#, &[]).is_ok());
    }

    #[test]
    fn every_condition_but_the_good_one_has_a_cure() {
        let malformed = Condition::Malformed("has no ANTHROPIC_API_KEY".into());
        for condition in [Condition::Absent, Condition::Empty, malformed] {
            for name in SecretName::ALL {
                assert!(condition.cure(name, "dev", &[]).unwrap().contains("--stage dev"), "{condition:?}");
            }
        }
        assert_eq!(Condition::Good(vec!["a".into()]).cure(SecretName::Forge, "dev", &[]), None);
        let other = Condition::Empty.cure(SecretName::Models, "dev", &["OPENAI_API_KEY"]).unwrap();
        assert!(other.ends_with("--field OPENAI_API_KEY"), "{other}");
    }
}
