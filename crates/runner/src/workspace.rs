//! The tree that is checked: a base unpacked, edits laid over it, its hash.

use std::ffi::OsStr;
use std::fs::{self, File, FileTimes, OpenOptions, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use archive::{Bounds, Kind};
use run_model::change_set::{Edit, Overlay};
use run_model::snapshot::{Entry, EntryKind};
use run_model::{RepoPath, Sha256};

use crate::bench::blocking;
use crate::error::{At, RunnerError};
use crate::folders;
use crate::inputs::Inputs;

/// The age of every file of the base: older than any build, so that only what was laid over it counts as changed.
const BASE_TIME: Duration = Duration::from_secs(1_000_000_000);

/// A folder with a tree in it, and with what its commands need.
#[derive(Clone, Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// The workspace at a path, as it is.
    pub(crate) fn at(root: PathBuf) -> Self {
        Self { root }
    }

    /// An empty folder (mode 0700) with the base's files in `tree`; what was there before is gone.
    pub(crate) async fn create(root: &Path, inputs: &Arc<Inputs>) -> Result<Self, RunnerError> {
        let (workspace, inputs) = (Self::at(root.to_owned()), inputs.clone());
        blocking(move || {
            folders::create_private(&workspace.root)?;
            for folder in [workspace.tree(), workspace.home()] {
                fs::create_dir(&folder).at(&folder)?;
            }
            workspace.unpack(
                &inputs.archive,
                Bounds::of_files(inputs.manifest.entries.len() as u64, inputs.manifest.bytes()),
            )?;
            Ok(workspace)
        })
        .await
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

    /// Where a check may write its report: beside the tree, so that no file of a change stands there.
    pub(crate) fn report(&self) -> PathBuf {
        self.root.join("report")
    }

    /// Where setup fetches to.
    pub(crate) fn dependencies(&self) -> PathBuf {
        self.root.join("dependencies")
    }

    /// Unpacks a snapshot's archive, which is no larger than its manifest says.
    fn unpack(&self, archive: &[u8], bounds: Bounds) -> Result<(), RunnerError> {
        within(bounds, "the snapshot's archive", archive, |entry| {
            let place = self.place(&entry.path)?;
            match entry.kind {
                Kind::File { executable } => {
                    write_file(&place, entry.content)?;
                    let mode = if executable { 0o755 } else { 0o644 };
                    fs::set_permissions(&place, Permissions::from_mode(mode)).at(&place)?;
                    make_old(&place)
                }
                Kind::Link(target) => symlink(OsStr::from_bytes(&target), &place).at(&place),
            }
        })
    }

    /// Lays edits over the tree, none of them into a closed folder. They are new, so that build tools see them as changed.
    pub(crate) fn lay(&self, overlay: &Overlay, closed: &[RepoPath]) -> Result<(), RunnerError> {
        for (path, edit) in &overlay.0 {
            refuse_closed(path.as_str(), closed)?;
            let place = self.place(path.as_str().as_bytes())?;
            match edit {
                Edit::Write(content) => write_file(&place, &mut content.as_bytes())?,
                Edit::Delete => match fs::remove_file(&place) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    other => other.at(&place)?,
                },
            }
        }
        Ok(())
    }

    /// Lays an archive's regular files over the tree, as edits.
    pub(crate) fn lay_archive(&self, archive: &[u8], closed: &[RepoPath]) -> Result<(), RunnerError> {
        within(Bounds::SNAPSHOT, "the held-out archive", archive, |entry| match entry.kind {
            Kind::File { .. } => {
                let path = String::from_utf8_lossy(&entry.path);
                refuse_closed(&path, closed)?;
                write_file(&self.place(&entry.path)?, entry.content)
            }
            Kind::Link(_) => Ok(()),
        })
    }

    /// Gives the tree what setup made there, if it made it: a file if the tree has none, a folder in place of the tree's own.
    pub(crate) async fn add(&self, path: &RepoPath, from: &Path) -> Result<(), RunnerError> {
        let place = self.place(path.as_str().as_bytes())?;
        if from.is_dir() {
            folders::remove(&place)?;
            return folders::copy(from, &place).await;
        }
        if !from.is_file() || fs::symlink_metadata(&place).is_ok() {
            return Ok(());
        }
        fs::copy(from, &place).at(&place)?;
        make_old(&place)
    }

    /// Keeps a file or a folder of the tree that setup made; a link is not followed.
    pub(crate) fn keep(&self, path: &RepoPath, to: &Path) -> Result<(), RunnerError> {
        let place = self.place(path.as_str().as_bytes())?;
        let Ok(found) = fs::symlink_metadata(&place) else { return Ok(()) };
        to.parent().map_or(Ok(()), fs::create_dir_all).at(to)?;
        if found.is_dir() {
            fs::rename(&place, to).at(to)
        } else if found.is_file() {
            fs::copy(&place, to).map(drop).at(to)
        } else {
            Ok(())
        }
    }

    /// The hash of every path, kind and content of the tree.
    pub(crate) fn hash(&self) -> Result<Sha256, RunnerError> {
        let mut entries = Vec::new();
        collect(&self.tree(), "", &mut entries)?;
        // Two names that are not UTF-8 may be shown alike.
        entries.sort_by(|a, b| (&a.path, a.sha256.as_str()).cmp(&(&b.path, b.sha256.as_str())));
        Ok(Sha256::of_json(&entries))
    }

    /// Where a path lies, whatever bytes its name is made of, with its folders made; refused if it leaves the tree or the way there
    /// leads through a link.
    fn place(&self, path: &[u8]) -> Result<PathBuf, RunnerError> {
        let refused = |why: &str| Err(RunnerError::Refused(format!("{} {why}", String::from_utf8_lossy(path))));
        let mut place = self.tree();
        let mut parts = path.split(|byte| *byte == b'/').peekable();
        while let Some(part) = parts.next() {
            if matches!(part, b"" | b"." | b"..") {
                return refused("is no path inside the repository");
            }
            place.push(OsStr::from_bytes(part));
            if parts.peek().is_none() {
                break;
            }
            match fs::symlink_metadata(&place) {
                Ok(found) if found.is_dir() => {}
                Ok(_) => return refused("leads through a link or a file: nothing is written there"),
                Err(_) => fs::create_dir(&place).at(&place)?,
            }
        }
        Ok(place)
    }
}

/// Hands out an archive's files and links, as long as it keeps within its bounds.
fn within(
    bounds: Bounds,
    what: &str,
    archive: &[u8],
    take: impl FnMut(archive::Entry<'_>) -> Result<(), RunnerError>,
) -> Result<(), RunnerError> {
    archive::unpack(archive, bounds, take).map_err(|error| match error {
        RunnerError::Archive { problem, .. } => RunnerError::Archive { what: what.to_owned(), problem },
        other => other,
    })
}

/// What setup made is nobody's to change: it would be the project's own interpreter.
fn refuse_closed(path: &str, closed: &[RepoPath]) -> Result<(), RunnerError> {
    let is_inside = |folder: &&RepoPath| {
        path.strip_prefix(folder.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    match closed.iter().find(is_inside) {
        Some(folder) => {
            Err(RunnerError::Refused(format!("{path} lies in {folder}, which setup makes: no change is laid there")))
        }
        None => Ok(()),
    }
}

/// Replaces a file's content and keeps its mode; a new file is a plain one, and what is no file is left alone.
fn write_file(path: &Path, content: &mut dyn io::Read) -> Result<(), RunnerError> {
    if fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(RunnerError::Refused(format!(
            "{} is a link or a folder: nothing is written there",
            path.display()
        )));
    }
    let opened = OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(path);
    io::copy(content, &mut opened.at(path)?).map(drop).at(path)
}

fn make_old(path: &Path) -> Result<(), RunnerError> {
    let time = SystemTime::UNIX_EPOCH + BASE_TIME;
    let file = File::open(path).at(path)?;
    file.set_times(FileTimes::new().set_accessed(time).set_modified(time)).at(path)
}

fn collect(folder: &Path, prefix: &str, entries: &mut Vec<Entry>) -> Result<(), RunnerError> {
    for found in fs::read_dir(folder).at(folder)? {
        let found = found.at(folder)?;
        let (place, kind) = (found.path(), found.file_type().at(folder)?);
        let path = format!("{prefix}{}", found.file_name().to_string_lossy());
        if kind.is_dir() {
            collect(&place, &format!("{path}/"), entries)?;
            continue;
        }
        let (kind, content) = if kind.is_symlink() {
            (EntryKind::Symlink, fs::read_link(&place).at(&place)?.into_os_string().into_encoded_bytes())
        } else {
            let executable = found.metadata().at(&place)?.permissions().mode() & 0o111 != 0;
            (if executable { EntryKind::Executable } else { EntryKind::File }, fs::read(&place).at(&place)?)
        };
        entries.push(Entry { path, kind, bytes: content.len() as u64, sha256: Sha256::of(&content) });
    }
    Ok(())
}
