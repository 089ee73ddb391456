//! Files that are either the old or the new content, whatever happens in between.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::commits::Commits;

/// Writes files of mode 0600 by way of a scratch folder on the same file system.
#[derive(Debug)]
pub(crate) struct DurableWriter {
    scratch: PathBuf,
    commits: Commits,
}

impl DurableWriter {
    /// A writer over an emptied scratch folder: what a killed process left there was never named.
    pub(crate) fn open(scratch: PathBuf, commits: Commits) -> io::Result<Self> {
        match fs::remove_dir_all(&scratch) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => create_folder(&scratch)?,
        }
        Ok(DurableWriter { scratch, commits })
    }

    /// Puts the parts, one after the other, in the place of `path`.
    pub(crate) fn replace(&self, path: &Path, parts: &[&[u8]]) -> io::Result<()> {
        let file = self.write(parts)?;
        self.persist(file, path)
    }

    /// Gives a written file its name, in the place of whatever bears it.
    pub(crate) fn persist(&self, file: NamedTempFile, path: &Path) -> io::Result<()> {
        let write = || {
            file.persist(path)?;
            sync_parent(path)
        };
        self.commits.around(|| self.kind_of(path), write)
    }

    /// Where a file lies in the folder, without what is named by a number or a hash.
    fn kind_of(&self, path: &Path) -> String {
        let folder = self.scratch.parent().unwrap_or(Path::new(""));
        let parts = path.strip_prefix(folder).unwrap_or(path).iter().map(|part| part.to_string_lossy());
        let named = parts.filter(|part| !part.contains(|c: char| c.is_ascii_digit()));
        named.collect::<Vec<_>>().join("/")
    }

    /// Writes and syncs the parts to a file that has no name yet; the caller persists it.
    pub(crate) fn write(&self, parts: &[&[u8]]) -> io::Result<NamedTempFile> {
        self.commits.watched(self.written(parts))
    }

    fn written(&self, parts: &[&[u8]]) -> io::Result<NamedTempFile> {
        let mut file = NamedTempFile::new_in(&self.scratch)?;
        for part in parts {
            file.write_all(part)?;
        }
        file.as_file().sync_all()?;
        Ok(file)
    }
}

/// What is said of a file that holds what nobody wrote there.
pub(crate) fn damaged(path: &Path, problem: &dyn std::fmt::Display) -> String {
    let path = path.display();
    format!("{path} is damaged ({problem}): put a copy of it back, or move it away and go without what it held")
}

/// Creates a folder of mode 0700 with the parents it lacks, each durably in its own parent.
pub(crate) fn create_folder(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => sync_parent(path),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create_folder(path.parent().ok_or(error)?)?;
            create_folder(path)
        }
        Err(error) => Err(error),
    }
}

/// Makes the names in the file's folder durable.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
}
