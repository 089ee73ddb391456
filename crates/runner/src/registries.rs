//! Where packages come from: what the caller's environment and settings say of it, without any credential. Only setup is
//! told.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sandbox::toolchain::Toolchain;
use tokio::process::Command;

/// Variables that name a registry, or how it is reached.
const VARIABLES: [&str; 16] = [
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_CERT",
    "PIP_DEFAULT_TIMEOUT",
    "UV_DEFAULT_INDEX",
    "UV_INDEX",
    "UV_INDEX_URL",
    "NPM_CONFIG_REGISTRY",
    "npm_config_registry",
    "NODE_EXTRA_CA_CERTS",
    "REQUESTS_CA_BUNDLE",
    "GOPROXY",
    "GOSUMDB",
    "GONOSUMDB",
    "GOPRIVATE",
    "SSL_CERT_FILE",
];
/// Those of them that name a file.
const CERTIFICATES: [&str; 4] = ["PIP_CERT", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"];
/// pip's settings and the variables that say the same.
const PIP_SETTINGS: [(&str, &str); 3] = [
    ("global.index-url", "PIP_INDEX_URL"),
    ("global.extra-index-url", "PIP_EXTRA_INDEX_URL"),
    ("global.cert", "PIP_CERT"),
];
/// npm's.
const NPM_SETTINGS: [(&str, &str); 2] = [("registry", "NPM_CONFIG_REGISTRY"), ("cafile", "NODE_EXTRA_CA_CERTS")];

/// What setup is told of registries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Registries {
    pub(crate) variables: BTreeMap<String, String>,
}

impl Registries {
    /// What the caller's variables say and, where they are silent, the settings of the language's own installer.
    pub(crate) async fn find(language: &str, toolchain: &Toolchain, caller: &BTreeMap<String, String>) -> Self {
        let of_variables = VARIABLES.iter().filter_map(|name| Some(((*name).to_owned(), caller.get(*name)?.clone())));
        let mut said: BTreeMap<String, String> = of_variables.collect();
        let program = |name: &str| toolchain.folders.first().map(|folder| folder.join(name)).unwrap_or_default();
        match language {
            "python" => {
                let settings = ask(&program("python3"), &["-m", "pip", "config", "list"], caller).await;
                add_unsaid(&mut said, of_pip(&settings));
            }
            "node" => {
                for (setting, variable) in NPM_SETTINGS {
                    let value = ask(&program("npm"), &["config", "get", setting], caller).await;
                    let value = value.trim();
                    if !["", "null", "undefined"].contains(&value) {
                        add_unsaid(&mut said, vec![(variable.to_owned(), value.to_owned())]);
                    }
                }
            }
            _ => {}
        }
        Self { variables: without_credentials(said) }
    }

    /// Files that it names and that a command must see.
    pub(crate) fn files(&self) -> impl Iterator<Item = PathBuf> {
        let named = CERTIFICATES.iter().filter_map(|name| self.variables.get(*name)).map(PathBuf::from);
        named.filter(|path| path.is_file() && !path.starts_with("/etc/ssl"))
    }
}

/// Adds what settings say where the caller's variables, in either spelling, are silent.
fn add_unsaid(said: &mut BTreeMap<String, String>, settings: Vec<(String, String)>) {
    for (name, value) in settings {
        if !said.keys().any(|known| known.eq_ignore_ascii_case(&name)) {
            said.insert(name, value);
        }
    }
}

/// What a program says; nothing if it fails. Not in the repository, whose settings are not the machine's.
async fn ask(program: &Path, arguments: &[&str], caller: &BTreeMap<String, String>) -> String {
    let output = Command::new(program).args(arguments).env_clear().envs(caller).current_dir("/").output().await;
    output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}

/// `global.index-url='https://...'`
fn of_pip(settings: &str) -> Vec<(String, String)> {
    let set = settings.lines().filter_map(|line| line.split_once('='));
    set.filter_map(|(setting, value)| {
        let (_, variable) = PIP_SETTINGS.iter().find(|(known, _)| *known == setting)?;
        // A list of pip's own is shown with line ends.
        Some(((*variable).to_owned(), value.trim_matches('\'').replace("\\n", " ").trim().to_owned()))
    })
    .collect()
}

/// Leaves out each address that holds a user or a password, and says so by the name of its variable.
fn without_credentials(said: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let clean = said.into_iter().map(|(name, value)| {
        let parts = value.split(|c: char| c.is_whitespace() || ",|".contains(c));
        let (secret, open): (Vec<&str>, Vec<&str>) = parts.partition(|part| has_credential(part));
        if secret.is_empty() {
            return (name, value);
        }
        tracing::warn!(variable = name, "a registry's address that holds a credential is left out");
        let separator = if value.contains([',', '|']) { "," } else { " " };
        (name, open.join(separator))
    });
    clean.filter(|(_, value)| !value.trim().is_empty()).collect()
}

/// `https://user:password@host/path`
fn has_credential(address: &str) -> bool {
    let authority = address.split_once("://").map(|(_, rest)| rest.split(['/', '?', '#']).next().unwrap_or(rest));
    authority.is_some_and(|authority| authority.contains('@'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn an_address_with_a_credential_is_left_out_and_the_others_are_kept() {
        let said = map(&[
            ("PIP_INDEX_URL", "https://ann:secret@packages.example/simple"),
            ("PIP_EXTRA_INDEX_URL", "https://token@a.example https://b.example/simple"),
            ("GOPROXY", "https://proxy.example|direct"),
            ("UV_INDEX", "https://a.example|https://ann:secret@b.example"),
            ("NPM_CONFIG_REGISTRY", "https://npm.example/@scope/"),
        ]);
        let expected = map(&[
            ("PIP_EXTRA_INDEX_URL", "https://b.example/simple"),
            ("GOPROXY", "https://proxy.example|direct"),
            ("UV_INDEX", "https://a.example"),
            ("NPM_CONFIG_REGISTRY", "https://npm.example/@scope/"),
        ]);
        assert_eq!(without_credentials(said), expected);
    }

    #[test]
    fn the_settings_of_pip_are_read_as_it_lists_them() {
        let listed = concat!(
            "global.index-url='https://a.example/simple'\n",
            "global.timeout='60'\n",
            r"global.extra-index-url='\nhttps://b.example\nhttps://c.example'",
        );
        let expected = [
            ("PIP_INDEX_URL".to_owned(), "https://a.example/simple".to_owned()),
            ("PIP_EXTRA_INDEX_URL".to_owned(), "https://b.example https://c.example".to_owned()),
        ];
        assert_eq!(of_pip(listed), expected);
    }

    #[test]
    fn what_the_caller_says_goes_before_settings() {
        let mut said = map(&[("npm_config_registry", "https://a.example")]);
        let settings = [("NPM_CONFIG_REGISTRY", "https://b.example"), ("NODE_EXTRA_CA_CERTS", "/ca.pem")];
        add_unsaid(&mut said, settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
        assert_eq!(said, map(&[("npm_config_registry", "https://a.example"), ("NODE_EXTRA_CA_CERTS", "/ca.pem")]));
    }

    #[tokio::test]
    async fn nothing_but_what_names_a_registry_comes_along() {
        let caller =
            map(&[("PIP_INDEX_URL", "https://a.example"), ("AWS_SECRET_ACCESS_KEY", "x"), ("PATH", "/nowhere")]);
        let found = Registries::find("go", &Toolchain::default(), &caller).await;
        assert_eq!(found.variables, map(&[("PIP_INDEX_URL", "https://a.example")]));
    }
}
