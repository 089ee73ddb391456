//! A commit's files as an archive and a manifest.

use std::collections::BTreeSet;
use std::io::{self, Read};

use run_model::Sha256Sum;
use run_model::snapshot::{Entry, EntryKind, Manifest};

use crate::archive::{self, Packer};
use crate::tree::Tree;
use crate::{ForgeError, LocalGit};

/// The most that the files of a snapshot have together, in bytes.
pub const MAX_SNAPSHOT_BYTES: u64 = 1 << 30;

/// How the pointer to a large file begins, and what none is longer than.
const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/v1\n";
const LONGEST_POINTER: u64 = 1024;

/// A commit's files.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Tar and gzip: paths relative to the root, sorted, one fixed time, no owner. The same commit gives the same bytes.
    /// Files marked export-ignore are included; a submodule is an empty folder; symbolic links are kept as links.
    pub archive: Vec<u8>,
    /// Every path. A name that is not UTF-8 is shown with replacement characters.
    pub manifest: Manifest,
    /// What a person should know: submodules, large file pointers, names that cannot be shown or unpacked.
    pub notices: Vec<String>,
}

/// How large a snapshot may be that functions have to hold; any other is bounded by [`MAX_SNAPSHOT_BYTES`] alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// The most bytes that its archive has.
    pub archive_bytes: u64,
    /// The memory, in megabytes, of the functions that have to hold the archive: what is too small if it does not fit.
    pub memory_mb: u32,
}

impl Room {
    fn exceeded(self, commit: &str) -> ForgeError {
        let Self { archive_bytes, memory_mb } = self;
        ForgeError::ArchiveTooLarge { commit: commit.to_owned(), limit: archive_bytes, memory_mb }
    }

    /// A failure to fetch an archive, which may be that it was longer than this.
    #[cfg(feature = "github")]
    pub(crate) fn explain(self, commit: &str, error: crate::github::GitHubError) -> ForgeError {
        match error {
            crate::github::GitHubError::TooLong { .. } => self.exceeded(commit),
            other => other.into(),
        }
    }
}

/// Whether there is room for an archive of so many bytes.
fn check_room(room: Option<Room>, commit: &str, bytes: u64) -> Result<(), ForgeError> {
    match room {
        Some(room) if bytes > room.archive_bytes => Err(room.exceeded(commit)),
        _ => Ok(()),
    }
}

/// A snapshot in the making. Its files come in the order of their paths; none is held.
pub(crate) struct Taking<'a> {
    commit: &'a str,
    room: Option<Room>,
    packer: Packer,
    manifest: Manifest,
    pointers: Vec<Vec<u8>>,
    unreadable: Vec<Vec<u8>>,
}

impl<'a> Taking<'a> {
    pub(crate) fn of(commit: &'a str, room: Option<Room>) -> Self {
        let (packer, manifest) = (Packer::new(), Manifest::default());
        Self { commit, room, packer, manifest, pointers: Vec::new(), unreadable: Vec::new() }
    }

    /// Adds a file of so many bytes, a link with its target as content, or a submodule with its commit.
    pub(crate) fn add(
        &mut self,
        path: &[u8],
        kind: EntryKind,
        bytes: u64,
        content: impl Read,
    ) -> Result<(), ForgeError> {
        let mut content = Summed { inner: content, sum: Sha256Sum::default() };
        let failed = |source| ForgeError::Io { action: "pack the archive", source };
        if bytes < LONGEST_POINTER && kind != EntryKind::Symlink {
            let mut small = Vec::new();
            content.read_to_end(&mut small).map_err(failed)?;
            if small.starts_with(POINTER) {
                self.pointers.push(path.to_vec());
            }
            self.packer.add(path, kind, bytes, small.as_slice()).map_err(failed)?;
        } else {
            self.packer.add(path, kind, bytes, &mut content).map_err(failed)?;
        }
        if std::str::from_utf8(path).is_err() {
            self.unreadable.push(path.to_vec());
        }
        let bytes = if kind == EntryKind::Submodule { 0 } else { bytes };
        let shown = String::from_utf8_lossy(path).into_owned();
        self.manifest.entries.push(Entry { path: shown, kind, bytes, sha256: content.sum.finish() });
        check_room(self.room, self.commit, self.packer.bytes())
    }

    /// The snapshot; `dangerous` entries are only told of.
    pub(crate) fn finish(self, dangerous: &Tree) -> Result<Snapshot, ForgeError> {
        let (notices, commit, room) = (self.notices(dangerous), self.commit, self.room);
        let packed = self.packer.finish();
        let archive = packed.map_err(|source| ForgeError::Io { action: "pack the archive", source })?;
        check_room(room, commit, archive.len() as u64)?;
        Ok(Snapshot { archive, manifest: self.manifest, notices })
    }

    fn notices(&self, dangerous: &Tree) -> Vec<String> {
        let list = |paths: Vec<&[u8]>, what: &str| {
            let shown: Vec<_> = paths.iter().take(5).map(|path| String::from_utf8_lossy(path)).collect();
            let more = if paths.len() > 5 { format!(" and {} more", paths.len() - 5) } else { String::new() };
            (!paths.is_empty()).then(|| format!("{what}: {}{more}", shown.join(", ")))
        };
        let entries = self.manifest.entries.iter();
        let modules = entries.filter(|entry| entry.kind == EntryKind::Submodule).map(|entry| entry.path.as_bytes());
        [
            list(modules.collect(), "submodules are left out, the crew does not see into them"),
            list(slices(&self.pointers), "only the pointer of a large file (LFS) is there, not its content"),
            list(slices(&self.unreadable), "the name is not UTF-8, agents do not see the file"),
            list(
                dangerous.keys().map(Vec::as_slice).collect(),
                "left out, since the path would leave the folder or enter .git",
            ),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

fn slices(paths: &[Vec<u8>]) -> Vec<&[u8]> {
    paths.iter().map(Vec::as_slice).collect()
}

/// A reader that sums up what it gives.
struct Summed<R> {
    inner: R,
    sum: Sha256Sum,
}

impl<R: Read> Read for Summed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.sum.add(&buffer[..read]);
        Ok(read)
    }
}

impl LocalGit {
    /// Takes a snapshot of a commit.
    ///
    /// # Errors
    /// [`ForgeError::TooLarge`], [`ForgeError::MissingObject`] in a partial clone, [`ForgeError::Git`].
    pub async fn snapshot(&self, commit: &str) -> Result<Snapshot, ForgeError> {
        let tree = self.tree(commit).await?;
        let (tree, dangerous) = safe(commit, tree)?;
        let objects: BTreeSet<&str> = tree
            .values()
            .filter(|entry| entry.kind != EntryKind::Submodule)
            .map(|entry| entry.object.as_str())
            .collect();
        let wanted: String = objects.iter().map(|object| format!("{object}\n")).collect();
        let answered = self.call("cat-file").args(["--batch"]).bytes(wanted.as_bytes()).await?;
        let commit = commit.to_owned();
        in_background(move || {
            let blobs = archive::split_batch(&answered).map_err(ForgeError::MissingObject)?;
            let mut taking = Taking::of(&commit, None);
            for (path, entry) in &tree {
                let content = match entry.kind {
                    EntryKind::Submodule => entry.object.as_bytes(),
                    _ => blobs
                        .get(entry.object.as_str())
                        .ok_or_else(|| ForgeError::MissingObject(entry.object.clone()))?,
                };
                taking.add(path, entry.kind, content.len() as u64, content)?;
            }
            taking.finish(&dangerous)
        })
        .await
    }
}

/// The entries that can be unpacked and those that cannot, unless all together are too large.
pub(crate) fn safe(commit: &str, tree: Tree) -> Result<(Tree, Tree), ForgeError> {
    let (tree, dangerous): (Tree, Tree) = tree.into_iter().partition(|(path, _)| is_safe(path));
    let bytes = tree.values().map(|entry| entry.bytes).sum();
    if bytes > MAX_SNAPSHOT_BYTES {
        return Err(ForgeError::TooLarge { commit: commit.to_owned(), bytes, limit: MAX_SNAPSHOT_BYTES });
    }
    Ok((tree, dangerous))
}

/// Does what takes the processor for long where it holds up nobody else.
pub(crate) async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ForgeError> + Send + 'static,
) -> Result<T, ForgeError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|problem| ForgeError::Io { action: "pack the archive", source: io::Error::other(problem) })?
}

/// Whether unpacking the path stays inside the folder and outside of `.git`.
fn is_safe(path: &[u8]) -> bool {
    let safe = |part: &[u8]| !matches!(part, b"" | b"." | b"..") && !part.eq_ignore_ascii_case(b".git");
    path.split(|byte| *byte == b'/').all(safe)
}
