//! Folders that are private, copied whole and removed whatever a command did to them.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

use tokio::process::Command;

use crate::error::{At, RunnerError};

/// Makes an empty folder that only its owner may enter; what was there before is gone.
pub(crate) fn create_private(folder: &Path) -> Result<(), RunnerError> {
    remove(folder)?;
    DirBuilder::new().recursive(true).mode(0o700).create(folder).at(folder)
}

/// Removes a folder with all that is in it, if it is there. A command may have locked folders in it against us.
pub(crate) fn remove(folder: &Path) -> Result<(), RunnerError> {
    let removed = match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            unlock(folder);
            fs::remove_dir_all(folder)
        }
        other => other,
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.at(folder),
    }
}

/// Opens every folder to its owner; what cannot be opened shows when it is removed.
fn unlock(folder: &Path) {
    let _ = fs::set_permissions(folder, Permissions::from_mode(0o700));
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            unlock(&entry.path());
        }
    }
}

/// Copies a folder with its times and hard links, sharing blocks where the file system can: build tools compare times.
pub(crate) async fn copy(from: &Path, to: &Path) -> Result<(), RunnerError> {
    let copied =
        Command::new("cp").args(["--archive", "--reflink=auto", "--"]).args([from, to]).output().await.at(from)?;
    if copied.status.success() {
        return Ok(());
    }
    Err(io::Error::other(String::from_utf8_lossy(&copied.stderr).into_owned())).at(from)
}
