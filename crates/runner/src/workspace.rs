//! The tree that is checked: a base unpacked, edits laid over it, its hash.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use run_model::Sha256;
use run_model::change_set::{Edit, Overlay};
use run_model::snapshot::{Entry, EntryKind};

use crate::{RunnerError, at};

/// A private folder with one tree in it.
pub(crate) struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// An empty folder (mode 0700) at `root` with the archive's files in `tree`; what was there before is gone.
    pub(crate) fn create(root: &Path, archive: &[u8]) -> Result<Self, RunnerError> {
        remove(root)?;
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(root);
        at(root, made)?;
        let workspace = Self { root: root.to_owned() };
        for folder in [workspace.tree(), workspace.home()] {
            at(&folder, fs::create_dir(&folder))?;
        }
        unpack(&workspace.tree(), archive)?;
        Ok(workspace)
    }

    /// The one folder that a command may write to.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The project's files.
    pub(crate) fn tree(&self) -> PathBuf {
        self.root.join("tree")
    }

    /// An empty home.
    pub(crate) fn home(&self) -> PathBuf {
        self.root.join("home")
    }

    /// What is built.
    pub(crate) fn target(&self) -> PathBuf {
        self.root.join("target")
    }

    /// Lays edits over the tree. They are new, so that build tools see them as changed.
    pub(crate) fn lay(&mut self, overlay: &Overlay) -> Result<(), RunnerError> {
        for (path, edit) in &overlay.0 {
            let file = self.place(path.as_str())?;
            match edit {
                Edit::Delete => match fs::remove_file(&file) {
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                    other => at(&file, other)?,
                },
                Edit::Write(content) => write_file(&file, content.as_bytes())?,
            }
        }
        Ok(())
    }

    /// Lays an archive's regular files over the tree, as edits.
    pub(crate) fn lay_archive(&mut self, archive: &[u8]) -> Result<(), RunnerError> {
        let bad = |problem: std::io::Error| RunnerError::Unreadable { what: "the held-out archive".into(), problem: problem.to_string() };
        let mut archive = tar::Archive::new(GzDecoder::new(archive));
        for entry in archive.entries().map_err(bad)? {
            let mut entry = entry.map_err(bad)?;
            if !entry.header().entry_type().is_file() {
                continue;
            }
            let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let path = run_model::RepoPath::new(path).map_err(|problem| RunnerError::Refused(problem.to_string()))?;
            let mut content = Vec::new();
            entry.read_to_end(&mut content).map_err(bad)?;
            write_file(&self.place(path.as_str())?, &content)?;
        }
        Ok(())
    }

    /// Where a path lies, with its folders made; refused if the way there leads through a link.
    fn place(&self, path: &str) -> Result<PathBuf, RunnerError> {
        let mut place = self.tree();
        let parts: Vec<&str> = path.split('/').collect();
        for (number, part) in parts.iter().enumerate() {
            place.push(part);
            match fs::symlink_metadata(&place) {
                Ok(found) if found.is_symlink() => {
                    return Err(RunnerError::Refused(format!("{path} leads through a symbolic link: edits never follow one")));
                }
                Ok(_) => {}
                Err(_) if number + 1 < parts.len() => at(&place, fs::create_dir(&place))?,
                Err(_) => {}
            }
        }
        Ok(place)
    }

    /// The hash of every path, kind and content of the tree.
    pub(crate) fn hash(&self) -> Result<Sha256, RunnerError> {
        let mut entries = Vec::new();
        collect(&self.tree(), "", &mut entries)?;
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Sha256::of_json(&entries))
    }

    /// Takes the folder away.
    pub(crate) fn remove(self) -> Result<(), RunnerError> {
        remove(&self.root)
    }
}

fn remove(folder: &Path) -> Result<(), RunnerError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => at(folder, other),
    }
}

/// Unpacks a snapshot's archive; the `tar` crate keeps every path inside `folder`.
fn unpack(folder: &Path, archive: &[u8]) -> Result<(), RunnerError> {
    let mut archive = tar::Archive::new(GzDecoder::new(archive));
    archive.set_preserve_permissions(true);
    archive.set_preserve_mtime(true);
    archive.set_overwrite(true);
    at(folder, archive.unpack(folder))
}

/// Replaces a file's content and keeps its mode; a new file is a plain one.
fn write_file(path: &Path, content: &[u8]) -> Result<(), RunnerError> {
    if let Ok(found) = fs::metadata(path) {
        let mut writable = found.permissions();
        writable.set_mode(writable.mode() | 0o600);
        at(path, fs::set_permissions(path, writable))?;
    }
    let opened = OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(path);
    at(path, at(path, opened)?.write_all(content))
}

fn collect(folder: &Path, prefix: &str, entries: &mut Vec<Entry>) -> Result<(), RunnerError> {
    for found in at(folder, fs::read_dir(folder))? {
        let found = at(folder, found)?;
        let (place, name) = (found.path(), found.file_name().to_string_lossy().into_owned());
        let path = format!("{prefix}{name}");
        let kind = at(&place, found.file_type())?;
        if kind.is_dir() {
            collect(&place, &format!("{path}/"), entries)?;
            continue;
        }
        let (kind, content) = if kind.is_symlink() {
            (EntryKind::Symlink, at(&place, fs::read_link(&place))?.to_string_lossy().into_owned().into_bytes())
        } else {
            let mut content = Vec::new();
            let mut file = at(&place, File::open(&place))?;
            let mode = at(&place, file.metadata())?.permissions().mode();
            at(&place, file.read_to_end(&mut content))?;
            (if mode & 0o111 == 0 { EntryKind::File } else { EntryKind::Executable }, content)
        };
        entries.push(Entry { path, kind, bytes: content.len() as u64, sha256: Sha256::of(&content) });
    }
    Ok(())
}
