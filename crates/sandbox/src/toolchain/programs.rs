//! Programs on a `PATH`, by where they really lie.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::ToolchainError;

/// A folder of the system's, which every command sees.
pub(super) fn is_of_system(path: &Path) -> bool {
    path.starts_with("/usr") || path.starts_with("/bin")
}

/// The files of this name on the caller's `PATH` that can be run, in order.
pub(super) fn on_path(environment: &BTreeMap<String, String>, name: &str) -> Vec<PathBuf> {
    let path = environment.get("PATH").map(String::as_str).unwrap_or_default();
    let places = path.split(':').filter(|folder| folder.starts_with('/')).map(|folder| Path::new(folder).join(name));
    places.filter(|place| is_program(place)).collect()
}

/// Whether this is a file that its mode lets be run.
pub(super) fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// The program that a script names in its first line, if it names one by its path.
pub(super) fn interpreter(script: &Path) -> Option<PathBuf> {
    let mut begin = [0; 256];
    let read = File::open(script).and_then(|mut file| file.read(&mut begin)).ok()?;
    let line = std::str::from_utf8(begin[..read].split(|byte| *byte == b'\n').next()?).ok()?;
    let named = PathBuf::from(line.strip_prefix("#!")?.split_whitespace().next()?);
    named.is_absolute().then_some(named)
}

/// The error that says that a program is not there.
pub(super) fn missing(program: &str, cure: &'static str) -> ToolchainError {
    let source = std::io::Error::new(std::io::ErrorKind::NotFound, "it is not on the PATH");
    ToolchainError::NotFound { program: program.to_owned(), cure, source }
}
