//! Node: the program behind whatever `node` is on the `PATH`, with the npm that came with it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::programs::{is_of_system, missing, on_path};
use super::{Asking, Toolchain, ToolchainError};

const CURE: &str = "install Node.js 20 or later with npm";
const PNPM_CURE: &str = "install pnpm: npm install --global pnpm (a stand-in of corepack is not followed)";

/// Node, npm and, if it is asked for, pnpm.
pub(super) async fn find(environment: &BTreeMap<String, String>, tools: &[&str]) -> Result<Toolchain, ToolchainError> {
    let asking = Asking::of(environment, &["VOLTA_HOME", "ASDF_DIR", "ASDF_DATA_DIR", "FNM_DIR", "NVM_DIR"]);
    let question = "console.log(process.execPath); console.log(process.version, process.platform, process.arch)";
    let said = asking.ask(Path::new("node"), &["-e", question], CURE).await?;
    let (program, identity) = said.trim().split_once('\n').unwrap_or((said.trim(), ""));
    let bin = Path::new(program).parent().unwrap_or(Path::new("/")).to_owned();
    let mut toolchain = Toolchain { identity: identity.to_owned(), ..Toolchain::default() };
    // `bin/npm` leads into `lib/node_modules`, beside it. All else of the prefix is nobody's business: it may be `~/.local`.
    let packages = bin.parent().map(|prefix| prefix.join("lib/node_modules"));
    let shown = [Some(bin.clone()), packages].into_iter().flatten();
    toolchain.read_only.extend(shown.filter(|path| !is_of_system(path)));
    toolchain.folders.push(bin);
    if tools.contains(&"pnpm") {
        pnpm(environment, &mut toolchain)?;
    }
    Ok(toolchain)
}

/// pnpm is a package (then its whole folder is shown, and the folder of links that leads to it) or a program of its own.
fn pnpm(environment: &BTreeMap<String, String>, toolchain: &mut Toolchain) -> Result<(), ToolchainError> {
    let found = on_path(environment, "pnpm").into_iter().find_map(|place| {
        let real = place.canonicalize().ok()?;
        (!real.components().any(|part| part.as_os_str() == "corepack")).then_some((place, real))
    });
    let (place, real) = found.ok_or_else(|| missing("pnpm", PNPM_CURE))?;
    let folder = place.parent().and_then(|folder| folder.canonicalize().ok()).unwrap_or_default();
    let shown = [Some(folder.clone()), package(&real)];
    toolchain.read_only.extend(shown.into_iter().flatten().filter(|path| !is_of_system(path)));
    toolchain.folders.push(folder);
    Ok(())
}

/// The nearest folder above that is an installed package.
fn package(program: &Path) -> Option<PathBuf> {
    let is_installed = |folder: &&Path| folder.parent().is_some_and(|parent| parent.ends_with("node_modules"));
    program
        .ancestors()
        .skip(1)
        .filter(is_installed)
        .find(|folder| folder.join("package.json").is_file())
        .map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::super::ALONE;
    use super::*;

    /// A machine whose Node says that it lies in `/opt/node`, and whose `bin` has a link `pnpm` to this file.
    fn machine(pnpm: &str) -> (tempfile::TempDir, BTreeMap<String, String>) {
        let folder = tempfile::tempdir().unwrap();
        let program = |name: &str, text: &str| {
            let place = folder.path().join(name);
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::write(&place, text).unwrap();
            fs::set_permissions(&place, PermissionsExt::from_mode(0o755)).unwrap();
        };
        program("bin/node", "#!/bin/sh\nprintf '/opt/node/bin/node\\nv20.1.0 linux x64\\n'\n");
        program(pnpm, "#!/usr/bin/env node\n");
        symlink(folder.path().join(pnpm), folder.path().join("bin/pnpm")).unwrap();
        let path = format!("{}:/bin", folder.path().join("bin").display());
        (folder, BTreeMap::from([("PATH".to_owned(), path)]))
    }

    #[tokio::test]
    async fn node_is_shown_with_its_packages_and_pnpm_with_its_own() {
        let _alone = ALONE.lock().await;
        let (folder, environment) = machine("lib/node_modules/pnpm/bin/pnpm.cjs");
        let home = folder.path().canonicalize().unwrap();
        fs::write(home.join("lib/node_modules/pnpm/package.json"), "{}").unwrap();
        let found = find(&environment, &["pnpm"]).await.unwrap();
        assert_eq!(found.identity, "v20.1.0 linux x64");
        assert_eq!(found.folders, [PathBuf::from("/opt/node/bin"), home.join("bin")]);
        let shown = [
            PathBuf::from("/opt/node/bin"),
            PathBuf::from("/opt/node/lib/node_modules"),
            home.join("bin"),
            home.join("lib/node_modules/pnpm"),
        ];
        assert_eq!(found.read_only, shown);
    }

    #[tokio::test]
    async fn what_else_lies_beside_node_or_pnpm_is_not_shown() {
        let _alone = ALONE.lock().await;
        let (folder, mut environment) = machine("share/pnpm");
        let home = folder.path().canonicalize().unwrap();
        fs::write(home.join("package.json"), "{}").unwrap();
        environment.insert("HOME".into(), home.to_string_lossy().into_owned());
        let found = super::super::find("node", &["pnpm"], &environment, &home).await.unwrap();
        assert!(found.read_only.iter().all(|shown| !home.starts_with(shown)), "{found:?}");
        let here = format!("#!/bin/sh\nprintf '{}/node\\nv20\\n'\n", home.display());
        fs::write(home.join("bin/node"), here).unwrap();
        let error = super::super::find("node", &[], &environment, &home).await.unwrap_err().to_string();
        assert!(error.contains("holds your home"), "{error}");
    }

    #[tokio::test]
    async fn what_corepack_puts_in_the_place_of_pnpm_is_not_followed() {
        let _alone = ALONE.lock().await;
        let (_folder, environment) = machine("lib/node_modules/corepack/dist/pnpm.js");
        let error = find(&environment, &["pnpm"]).await.unwrap_err().to_string();
        assert!(error.contains("`pnpm`") && error.contains("npm install --global pnpm"), "{error}");
        assert!(find(&environment, &[]).await.is_ok(), "nobody asked for pnpm");
    }
}
