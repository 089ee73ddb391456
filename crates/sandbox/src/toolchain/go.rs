//! Go: the tree behind whatever `go` is on the `PATH`.

use std::collections::BTreeMap;
use std::path::Path;

use super::programs::is_of_system;
use super::{Asking, Toolchain, ToolchainError};

const CURE: &str = "install Go (https://go.dev/dl, or Debian's golang-go)";

/// The installed Go. It never fetches the version that a module asks for: commands say so by `GOTOOLCHAIN`.
pub(super) async fn find(environment: &BTreeMap<String, String>) -> Result<Toolchain, ToolchainError> {
    let mut asking = Asking::of(environment, &["GOROOT"]);
    asking.set("GOTOOLCHAIN", Some("local".to_owned()));
    let said = asking.ask(Path::new("go"), &["env", "GOROOT"], CURE).await?;
    let root = Path::new(said.trim());
    let root = root.canonicalize().unwrap_or_else(|_| root.to_owned());
    let bin = root.join("bin");
    let identity = asking.ask(&bin.join("go"), &["version"], CURE).await?;
    let mut toolchain = Toolchain { identity: identity.trim().to_owned(), ..Toolchain::default() };
    toolchain.folders.push(bin);
    toolchain.read_only.extend((!is_of_system(&root)).then_some(root));
    Ok(toolchain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_missing_go_says_what_to_do() {
        let _alone = super::super::ALONE.lock().await;
        let environment = BTreeMap::from([("PATH".to_owned(), "/nowhere".to_owned())]);
        let error = find(&environment).await.unwrap_err().to_string();
        assert!(error.contains("install Go"), "{error}");
    }
}
