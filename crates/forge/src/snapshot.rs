//! A commit's files as an archive and a manifest.

use std::collections::BTreeSet;

use run_model::Sha256;
use run_model::snapshot::{Entry, EntryKind, Manifest};

use crate::archive::{self, Packed};
use crate::tree::Tree;
use crate::{ForgeError, LocalGit};

/// The most that the files of a snapshot have together, in bytes.
pub const MAX_SNAPSHOT_BYTES: u64 = 1 << 30;

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

impl Snapshot {
    /// The snapshot of these files, sorted by path; `dangerous` entries are only told of.
    pub(crate) async fn of(files: Vec<Packed>, dangerous: &Tree) -> Result<Self, ForgeError> {
        let manifest = Manifest { entries: files.iter().map(manifest_entry).collect() };
        let notices = notices(&files, dangerous);
        let packed = tokio::task::spawn_blocking(move || archive::pack(&files)).await;
        let archive = packed
            .map_err(std::io::Error::other)
            .flatten()
            .map_err(|source| ForgeError::Io { action: "pack the archive", source })?;
        Ok(Self { archive, manifest, notices })
    }
}

impl LocalGit {
    /// Takes a snapshot of a commit.
    ///
    /// # Errors
    /// [`ForgeError::TooLarge`], [`ForgeError::MissingObject`] in a partial clone, [`ForgeError::Git`].
    pub async fn snapshot(&self, commit: &str) -> Result<Snapshot, ForgeError> {
        let tree = self.tree(commit).await?;
        let (tree, dangerous): (Tree, Tree) = tree.into_iter().partition(|(path, _)| is_safe(path));
        let bytes = tree.values().map(|entry| entry.bytes).sum();
        if bytes > MAX_SNAPSHOT_BYTES {
            return Err(ForgeError::TooLarge { commit: commit.to_owned(), bytes, limit: MAX_SNAPSHOT_BYTES });
        }
        Snapshot::of(self.contents(tree).await?, &dangerous).await
    }

    /// The contents of all entries, in the tree's order.
    async fn contents(&self, tree: Tree) -> Result<Vec<Packed>, ForgeError> {
        let objects: BTreeSet<&str> = tree
            .values()
            .filter(|entry| entry.kind != EntryKind::Submodule)
            .map(|entry| entry.object.as_str())
            .collect();
        let wanted: String = objects.iter().map(|object| format!("{object}\n")).collect();
        let answered = self.call("cat-file").args(["--batch"]).bytes(wanted.as_bytes()).await?;
        let blobs = archive::split_batch(&answered).map_err(ForgeError::MissingObject)?;
        let content = |object: &str| blobs.get(object).map(|bytes| bytes.to_vec());
        tree.into_iter()
            .map(|(path, entry)| match entry.kind {
                EntryKind::Submodule => Ok(Packed { path, kind: entry.kind, content: entry.object.into_bytes() }),
                _ => {
                    let content = content(&entry.object).ok_or(ForgeError::MissingObject(entry.object))?;
                    Ok(Packed { path, kind: entry.kind, content })
                }
            })
            .collect()
    }
}

fn manifest_entry(file: &Packed) -> Entry {
    let bytes = if file.kind == EntryKind::Submodule { 0 } else { file.content.len() as u64 };
    let path = String::from_utf8_lossy(&file.path).into_owned();
    Entry { path, kind: file.kind, bytes, sha256: Sha256::of(&file.content) }
}

/// Whether unpacking the path stays inside the folder and outside of `.git`.
pub(crate) fn is_safe(path: &[u8]) -> bool {
    let safe = |part: &[u8]| !matches!(part, b"" | b"." | b"..") && !part.eq_ignore_ascii_case(b".git");
    path.split(|byte| *byte == b'/').all(safe)
}

fn notices(files: &[Packed], dangerous: &Tree) -> Vec<String> {
    let is_pointer = |file: &&Packed| {
        file.kind != EntryKind::Symlink
            && file.content.len() < 1024
            && file.content.starts_with(b"version https://git-lfs.github.com/spec/v1\n")
    };
    let list = |paths: Vec<&[u8]>, what: &str| {
        let shown: Vec<_> = paths.iter().take(5).map(|path| String::from_utf8_lossy(path)).collect();
        let more = if paths.len() > 5 { format!(" and {} more", paths.len() - 5) } else { String::new() };
        (!paths.is_empty()).then(|| format!("{what}: {}{more}", shown.join(", ")))
    };
    let paths =
        |choose: &dyn Fn(&&Packed) -> bool| files.iter().filter(choose).map(|file| file.path.as_slice()).collect();
    [
        list(
            paths(&|file| file.kind == EntryKind::Submodule),
            "submodules are left out, the crew does not see into them",
        ),
        list(paths(&is_pointer), "only the pointer of a large file (LFS) is there, not its content"),
        list(
            paths(&|file| std::str::from_utf8(&file.path).is_err()),
            "the name is not UTF-8, agents do not see the file",
        ),
        list(
            dangerous.keys().map(Vec::as_slice).collect(),
            "left out, since the path would leave the folder or enter .git",
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}
