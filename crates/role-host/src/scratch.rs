//! Snapshots on the scratch space: unpacked once, read only, without links.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use agent::ports::Tree;
use archive::{ArchiveError, Bounds, Kind};
use run_model::change_set::{Edit, Overlay};
use run_model::snapshot::{Entry, EntryKind, Manifest, SnapshotRef};
use run_model::{ErrorName, FunctionError, Randomness, RepoPath, Sha256};
use store::Store;

/// Snapshots that stay unpacked.
const KEPT: usize = 8;

/// The folder that snapshots are unpacked to.
pub(crate) struct Scratch {
    folder: PathBuf,
    randomness: Arc<dyn Randomness>,
}

impl Scratch {
    /// Has a folder of its own in `place`.
    pub(crate) fn new(place: &Path, randomness: Arc<dyn Randomness>) -> Self {
        Self { folder: place.join("snapshots"), randomness }
    }

    /// The files of a snapshot, unpacked now if nobody has done it before.
    pub(crate) async fn open(&self, store: &Store, snapshot: &SnapshotRef) -> Result<Base, FunctionError> {
        let manifest = store.get_object(&snapshot.manifest_key).await?;
        let manifest: Manifest =
            serde_json::from_slice(&manifest).map_err(|problem| damaged(&snapshot.manifest_key, &problem))?;
        let root = self.folder.join(snapshot.archive_sha256.as_str());
        if !root.is_dir() {
            let archive = store.get_archive(snapshot).await?;
            let fresh = self.folder.join(format!("new-{}", self.randomness.hex_id(8)));
            let (folder, target) = (self.folder.clone(), root.clone());
            let bounds = Bounds::of_files(manifest.entries.len() as u64, manifest.bytes());
            let unpacked =
                tokio::task::spawn_blocking(move || unpack(&archive, bounds, &folder, &fresh, &target)).await;
            let unpacked = unpacked.map_err(|problem| Unpacking::Disk(io::Error::other(problem))).flatten();
            unpacked.map_err(|problem| problem.at(&self.folder))?;
        }
        Ok(Base::new(root, manifest))
    }
}

fn damaged(object: &str, problem: &dyn std::fmt::Display) -> FunctionError {
    FunctionError::new(ErrorName::Internal, format!("object {object} is damaged: {problem}"))
}

/// Why a snapshot was not unpacked.
#[derive(Debug)]
enum Unpacking {
    /// It is no archive of ours.
    Archive(ArchiveError),
    /// The scratch space failed.
    Disk(io::Error),
}

impl Unpacking {
    fn at(self, folder: &Path) -> FunctionError {
        let (name, problem) = match self {
            Self::Archive(problem @ ArchiveError::Damaged(_)) => (ErrorName::Internal, problem.to_string()),
            Self::Archive(problem) => (ErrorName::PolicyRefused, problem.to_string()),
            Self::Disk(problem) => (ErrorName::StoreUnavailable, problem.to_string()),
        };
        FunctionError::new(name, format!("the snapshot could not be unpacked to {}: {problem}", folder.display()))
    }
}

impl From<ArchiveError> for Unpacking {
    fn from(problem: ArchiveError) -> Self {
        Self::Archive(problem)
    }
}

impl From<io::Error> for Unpacking {
    fn from(problem: io::Error) -> Self {
        Self::Disk(problem)
    }
}

/// Unpacks beside the target and moves it there when it is whole. Somebody else's finished copy is as good.
fn unpack(archive: &[u8], bounds: Bounds, folder: &Path, fresh: &Path, target: &Path) -> Result<(), Unpacking> {
    make_private(folder)?;
    make_private(fresh)?;
    archive::unpack(archive, bounds, |entry| {
        let path = String::from_utf8(entry.path).ok().and_then(|path| RepoPath::new(path).ok());
        let Some(path) = path.filter(|_| matches!(entry.kind, Kind::File { .. })) else { return Ok(()) };
        let place = fresh.join(path.as_str());
        if let Some(parent) = place.parent() {
            make_private(parent)?;
        }
        io::copy(entry.content, &mut File::create(place)?)?;
        Ok::<_, Unpacking>(())
    })?;
    let moved = match fs::rename(fresh, target) {
        Err(_) if target.is_dir() => fs::remove_dir_all(fresh),
        moved => moved.and_then(|()| forget_oldest(folder)),
    };
    Ok(moved?)
}

fn make_private(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Keeps the scratch space bounded: it outlives invocations.
fn forget_oldest(folder: &Path) -> io::Result<()> {
    let mut found: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with("new-") {
            found.push((entry.metadata()?.modified()?, entry.path()));
        }
    }
    found.sort();
    let surplus = found.len().saturating_sub(KEPT);
    found.iter().take(surplus).try_for_each(|(_, path)| fs::remove_dir_all(path))
}

/// The files of the base commit.
#[derive(Clone)]
pub(crate) struct Base {
    root: PathBuf,
    files: Arc<BTreeMap<RepoPath, Entry>>,
    obstacles: Arc<BTreeMap<String, EntryKind>>,
}

impl Base {
    fn new(root: PathBuf, manifest: Manifest) -> Self {
        let (mut files, mut obstacles) = (BTreeMap::new(), BTreeMap::new());
        for entry in manifest.entries {
            match (entry.kind, RepoPath::new(entry.path.as_str())) {
                // A name that is not UTF-8 is shown so, and no such file was unpacked.
                (EntryKind::File | EntryKind::Executable, Ok(path))
                    if path.as_str().contains(char::REPLACEMENT_CHARACTER) && !root.join(path.as_str()).is_file() => {}
                (EntryKind::File | EntryKind::Executable, Ok(path)) => drop(files.insert(path, entry)),
                (EntryKind::Symlink | EntryKind::Submodule, _) => drop(obstacles.insert(entry.path, entry.kind)),
                // A path that cannot be written down as a `RepoPath` is no agent's business.
                _ => {}
            }
        }
        Self { root, files: Arc::new(files), obstacles: Arc::new(obstacles) }
    }

    fn read(&self, path: &RepoPath) -> io::Result<Option<Vec<u8>>> {
        if !self.files.contains_key(path) {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        File::open(self.root.join(path.as_str()))?.read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// A file's content, if it is text.
    pub(crate) fn text(&self, path: &RepoPath) -> Option<String> {
        String::from_utf8(self.read(path).ok()??).ok()
    }

    /// An overlay without the edits that leave the base as it is.
    pub(crate) fn really_changed(&self, overlay: Overlay) -> Overlay {
        let changes = |path: &RepoPath, edit: &Edit| match (self.files.get(path), edit) {
            (Some(entry), Edit::Write(content)) => entry.sha256 != Sha256::of(content.as_bytes()),
            (None, Edit::Delete) => false,
            _ => true,
        };
        Overlay(overlay.0.into_iter().filter(|(path, edit)| changes(path, edit)).collect())
    }
}

/// The base with an overlay.
pub(crate) struct LaidOver {
    pub(crate) base: Base,
    pub(crate) given: Overlay,
}

impl LaidOver {
    /// How many bytes a file has, without reading it.
    pub(crate) fn size(&self, path: &RepoPath) -> Option<u64> {
        match self.given.0.get(path) {
            Some(Edit::Write(content)) => Some(content.len() as u64),
            Some(Edit::Delete) => None,
            None => self.base.files.get(path).map(|entry| entry.bytes),
        }
    }
}

impl Tree for LaidOver {
    fn paths(&self) -> Vec<RepoPath> {
        let gone = |path: &&RepoPath| self.given.0.get(*path) == Some(&Edit::Delete);
        let kept = self.base.files.keys().filter(|path| !gone(path));
        let written = self
            .given
            .0
            .iter()
            .filter(|(path, edit)| matches!(edit, Edit::Write(_)) && !self.base.files.contains_key(*path));
        let mut paths: Vec<RepoPath> = kept.chain(written.map(|(path, _)| path)).cloned().collect();
        paths.sort();
        paths
    }

    fn obstacle(&self, path: &RepoPath) -> Option<String> {
        let path = path.as_str();
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        let mut above = ends.filter_map(|end| self.base.obstacles.get_key_value(&path[..end]));
        above.next().map(|(place, kind)| match kind {
            EntryKind::Submodule => format!("{place} is a submodule"),
            _ => format!("{place} is a symbolic link"),
        })
    }

    fn read(&self, path: &RepoPath) -> io::Result<Option<Vec<u8>>> {
        match self.given.0.get(path) {
            Some(Edit::Write(content)) => Ok(Some(content.clone().into_bytes())),
            Some(Edit::Delete) => Ok(None),
            None => self.base.read(path),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::os::unix::fs::PermissionsExt;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    /// An archive of files and links as code-host makes one.
    pub(crate) fn archive(files: &[(&str, &str)], links: &[(&str, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (path, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            // Written raw, since the builder itself refuses paths that leave.
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_cksum();
            builder.append(&header, content.as_bytes()).unwrap();
        }
        for (path, target) in links {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            builder.append_link(&mut header, path, target).unwrap();
        }
        builder.into_inner().unwrap().finish().unwrap()
    }

    fn manifest(files: &[(&str, &str)], others: &[(&str, EntryKind)]) -> Manifest {
        let entry = |path: &str, kind, content: &str| Entry {
            path: path.into(),
            kind,
            bytes: content.len() as u64,
            sha256: Sha256::of(content.as_bytes()),
        };
        let files = files.iter().map(|(path, content)| entry(path, EntryKind::File, content));
        Manifest { entries: files.chain(others.iter().map(|(path, kind)| entry(path, *kind, ""))).collect() }
    }

    /// A base of these files, and the folder that it lives in.
    pub(crate) fn base(files: &[(&str, &str)]) -> (tempfile::TempDir, Base) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        unpack(&archive(files, &[]), Bounds::SNAPSHOT, folder.path(), &folder.path().join("new-1"), &root).unwrap();
        (folder, Base::new(root, manifest(files, &[])))
    }

    fn path(text: &str) -> RepoPath {
        RepoPath::new(text).unwrap()
    }

    fn overlay(edits: &[(&str, Option<&str>)]) -> Overlay {
        let edit = |content: &Option<&str>| content.map_or(Edit::Delete, |text| Edit::Write(text.into()));
        Overlay(edits.iter().map(|(at, content)| (path(at), edit(content))).collect())
    }

    #[test]
    fn links_and_paths_that_leave_are_never_created() {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("scratch");
        let files = [("a/b.rs", "b"), ("../escaped", "x"), ("a/../../escaped", "x"), (".git/hooks/x", "x")];
        let archive = archive(&files, &[("link", "/etc"), ("a/self", ".")]);
        let (fresh, root) = (folder.join("new-1"), folder.join("root"));
        unpack(&archive, Bounds::SNAPSHOT, &folder, &fresh, &root).unwrap();
        assert_eq!(fs::read_to_string(root.join("a/b.rs")).unwrap(), "b");
        assert!(!outer.path().join("escaped").exists() && !folder.join("escaped").exists());
        assert!(!root.join(".git").exists() && root.join("link").symlink_metadata().is_err());
        assert_eq!(fs::metadata(&root).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(!fresh.exists());
    }

    #[test]
    fn a_second_unpacking_finds_the_first_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        for fresh in ["new-1", "new-2"] {
            unpack(&archive(&[("a", "1")], &[]), Bounds::SNAPSHOT, folder.path(), &folder.path().join(fresh), &root)
                .unwrap();
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_archive_that_is_larger_than_its_manifest_says_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let (files, root) = ([("a", "1")], folder.path().join("root"));
        let bounds = Bounds::of_files(1, manifest(&files, &[]).bytes());
        let bomb = "0".repeat(8 << 20);
        let refused =
            unpack(&archive(&[("a", &bomb)], &[]), bounds, folder.path(), &folder.path().join("new-1"), &root);
        let refused = refused.unwrap_err().at(folder.path());
        assert_eq!(refused.name, ErrorName::PolicyRefused);
        assert!(refused.message.contains("it unpacks to more than"), "{refused}");
        assert!(!root.exists(), "nothing takes its place");
        unpack(&archive(&files, &[]), bounds, folder.path(), &folder.path().join("new-2"), &root).unwrap();
    }

    #[test]
    fn the_scratch_space_stays_bounded() {
        let folder = tempfile::tempdir().unwrap();
        for n in 0..KEPT + 3 {
            let root = folder.path().join(format!("root-{n}"));
            unpack(&archive(&[("a", "1")], &[]), Bounds::SNAPSHOT, folder.path(), &folder.path().join("new-1"), &root)
                .unwrap();
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), KEPT);
    }

    #[test]
    fn a_tree_is_the_base_with_the_overlay() {
        let (_folder, base) = base(&[("kept", "k"), ("changed", "old"), ("gone", "g")]);
        let tree = LaidOver { base, given: overlay(&[("changed", Some("new")), ("gone", None), ("added", Some("a"))]) };
        assert_eq!(tree.paths(), [path("added"), path("changed"), path("kept")]);
        let text = |at: &str| tree.read(&path(at)).unwrap().map(|bytes| String::from_utf8(bytes).unwrap());
        assert_eq!(text("changed").as_deref(), Some("new"));
        assert_eq!(text("kept").as_deref(), Some("k"));
        assert_eq!((text("gone"), text("nowhere")), (None, None));
    }

    #[test]
    fn a_file_whose_name_is_not_utf_8_is_no_agents_business() {
        let (_folder, base) = base(&[("kept", "k"), ("honest\u{fffd}", "h")]);
        let files = [("kept", "k"), ("honest\u{fffd}", "h"), ("caf\u{fffd}.txt", "x")];
        let tree = LaidOver { base: Base::new(base.root, manifest(&files, &[])), given: Overlay::default() };
        assert_eq!(tree.paths(), [path("honest\u{fffd}"), path("kept")]);
    }

    #[test]
    fn links_and_submodules_stand_in_the_way_of_writes() {
        let others = [("link", EntryKind::Symlink), ("sub/module", EntryKind::Submodule)];
        let base = Base::new("/nowhere".into(), manifest(&[], &others));
        let tree = LaidOver { base, given: Overlay::default() };
        assert_eq!(tree.obstacle(&path("link")).as_deref(), Some("link is a symbolic link"));
        assert_eq!(tree.obstacle(&path("link/x/y")).as_deref(), Some("link is a symbolic link"));
        assert_eq!(tree.obstacle(&path("sub/module/x")).as_deref(), Some("sub/module is a submodule"));
        assert_eq!(tree.obstacle(&path("sub/other")), None);
        assert_eq!(tree.obstacle(&path("linked")), None);
        assert!(tree.paths().is_empty());
    }

    #[test]
    fn edits_that_leave_the_base_as_it_is_are_no_change() {
        let (_folder, base) = base(&[("same", "s"), ("changed", "old")]);
        let edits = overlay(&[("same", Some("s")), ("changed", Some("new")), ("never", None)]);
        assert_eq!(base.really_changed(edits), overlay(&[("changed", Some("new"))]));
    }
}
