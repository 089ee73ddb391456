//! What a command sees of the file system: decided by the caller, built by the child.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::command::{Command, SandboxError};
use crate::spec::Confinement;

/// The system's directories; where one is a symbolic link it stays one.
const SYSTEM: [&str; 7] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];
/// The files of `/etc` that compilers, linkers and the C library need; the time zone is not among them.
const ETC: [&str; 5] =
    ["/etc/alternatives", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime"];
/// What the network needs besides.
const ETC_NETWORK: [&str; 8] = [
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/services",
    "/etc/protocols",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/ca-certificates",
    "/etc/pki/tls/certs",
];
/// The devices.
pub(crate) const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

/// Where a command with a view of its own sees its workspace: the same path on every machine and for every job.
pub const WORKSPACE: &str = "/workspace";

/// What may be done with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Access {
    Read,
    Write,
}

/// A path inside and what of the machine stands there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bind {
    /// The real path outside.
    pub(crate) source: PathBuf,
    pub(crate) access: Access,
}

/// The view.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct View {
    /// By the path inside: parents come before what lies in them.
    pub(crate) binds: BTreeMap<PathBuf, Bind>,
    /// Path inside to target.
    pub(crate) links: BTreeMap<PathBuf, PathBuf>,
    /// The path inside of the writable directory, where there is one.
    pub(crate) workspace: Option<PathBuf>,
}

impl View {
    /// The system's own directories.
    pub(crate) fn of_system(network: bool) -> Self {
        let mut view = Self::default();
        for path in SYSTEM.map(Path::new) {
            match path.read_link() {
                Ok(target) => drop(view.links.insert(path.to_owned(), target)),
                Err(_) => view.add_existing(path),
            }
        }
        let network_files: &[&str] = if network { &ETC_NETWORK } else { &[] };
        for path in ETC.iter().chain(network_files) {
            view.add_existing(Path::new(path));
        }
        view
    }

    /// What a command may see.
    ///
    /// # Errors
    /// [`SandboxError::Path`] when its workspace does not exist.
    pub(crate) fn of(command: &Command, confinement: Confinement) -> Result<Self, SandboxError> {
        let mut view = Self::of_system(command.network);
        for path in &command.read_only {
            if let Ok(real) = path.canonicalize() {
                view.add_existing(&real);
            }
        }
        let source = real(&command.workspace)?;
        let inside = if confinement == Confinement::Full { WORKSPACE.into() } else { source.clone() };
        view.binds.insert(inside.clone(), Bind { source, access: Access::Write });
        view.workspace = Some(inside);
        Ok(view)
    }

    fn add_existing(&mut self, path: &Path) {
        if let Ok(source) = path.canonicalize() {
            self.binds.insert(path.to_owned(), Bind { source, access: Access::Read });
        }
    }
}

/// A directory's path without symbolic links.
///
/// # Errors
/// [`SandboxError::Path`] when it does not exist.
pub(crate) fn real(path: &Path) -> Result<PathBuf, SandboxError> {
    path.canonicalize().map_err(|source| SandboxError::Path { path: path.to_owned(), source })
}
